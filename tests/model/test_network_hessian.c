/* Hessian-vector products of every family: against central differences of the gradient in double, symmetric, linear;
 * the cpu body against the reference. */
#include "tests/model/network_models.h"

static const struct network_sizes with_tangents = {
    .rows = ROWS, .context = CONTEXT, .gradients = true, .tangents = true,
};

/* A slab of normal numbers where there are weights, the same for every body. */
static void *slab_new(const struct network_fixture *fixture, uint64_t seed)
{
    size_t element = fixture->kernels->element;
    void *slab = fixture->kernels->alloc(fixture->table.slab * element);
    assert_non_null(slab);
    for (int i = 0; i < fixture->table.count && seed > 0; i++) {
        const struct tensor *tensor = &fixture->table.tensors[i];
        struct rng rng = rng_stream(seed, (uint64_t)i, RNG_PROBE);
        for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++) {
            float value = (float)rng_normal(&rng);
            if (element == sizeof(double))
                ((double *)slab)[j] = value;
            else
                ((float *)slab)[j] = value;
        }
    }
    return slab;
}

/* H direction, from zero; free with the body's release. */
static void *product_new(struct network_fixture *fixture, const void *direction, double scale)
{
    void *product = slab_new(fixture, 0);
    network_hessian_product(fixture->network, fixture->weights, direction, &fixture->batch, scale, product);
    return product;
}

static double norm(const double *x, size_t n)
{
    return sqrt(dot_doubles(x, x, n));
}

static void add_scaled(double *to, const double *from, double factor, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += factor * from[i];
}

/* ---- against differences ---- */

/* differences += weight * gradient at the weights moved by step * direction */
static void add_gradient_at(struct network_fixture *fixture, const double *direction, double step, double weight,
                            double *differences)
{
    size_t slab = fixture->table.slab;
    double *kept = doubles_new(slab, 1);
    memcpy(kept, fixture->weights, slab * sizeof(double));
    add_scaled(fixture->weights, direction, step, slab);
    fixture_gradient(fixture, 0.25);
    add_scaled(differences, fixture->gradients, weight, slab);
    memcpy(fixture->weights, kept, slab * sizeof(double));
    memory_free(kept);
}

static void check_differences(struct network_fixture *fixture)
{
    const double step = 2e-5;
    size_t slab = fixture->table.slab;
    double *direction = slab_new(fixture, 11), *differences = slab_new(fixture, 0);
    double *product = product_new(fixture, direction, 0.25);
    add_gradient_at(fixture, direction, step, 8 / (12 * step), differences);
    add_gradient_at(fixture, direction, -step, -8 / (12 * step), differences);
    add_gradient_at(fixture, direction, 2 * step, -1 / (12 * step), differences);
    add_gradient_at(fixture, direction, -2 * step, 1 / (12 * step), differences);
    double size = norm(product, slab);
    assert_true(size > 1e-3);
    for (int i = 0; i < fixture->table.count; i++) {
        const struct tensor *tensor = &fixture->table.tensors[i];
        double *part = differences + tensor->offset;
        add_scaled(part, product + tensor->offset, -1, tensor->count);
        double residual = norm(part, tensor->count) / fmax(norm(product + tensor->offset, tensor->count), 1e-3 * size);
        if (!(residual <= 1e-7))
            print_error("%s\n", tensor->name);
        assert_close(residual, 1e-7);
    }
    fixture->kernels->release(direction);
    fixture->kernels->release(differences);
    fixture->kernels->release(product);
}

static void hessian_product_is_the_derivative_of_the_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture fixture;
        print_message("  %s\n", models[i].title);
        model_init(&fixture, kernels_ref_double(), &models[i], &with_tangents);
        check_differences(&fixture);
        fixture_fini(&fixture);
    }
}

/* ---- what a Hessian is ---- */

static void hessian_is_symmetric_and_linear(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture fixture;
        print_message("  %s\n", models[i].title);
        model_init(&fixture, kernels_ref_double(), &models[i], &with_tangents);
        size_t slab = fixture.table.slab;
        double *u = slab_new(&fixture, 21), *v = slab_new(&fixture, 22), *mixed = slab_new(&fixture, 21);
        double *h_u = product_new(&fixture, u, 1), *h_v = product_new(&fixture, v, 1);
        double size = norm(u, slab) * norm(h_v, slab);
        assert_close(fabs(dot_doubles(u, h_v, slab) - dot_doubles(v, h_u, slab)) / size, 1e-13);
        add_scaled(mixed, u, 1, slab);
        add_scaled(mixed, v, -3, slab);    /* 2 u - 3 v */
        double *h_mixed = product_new(&fixture, mixed, 0.5);
        add_scaled(h_mixed, h_u, -1, slab);
        add_scaled(h_mixed, h_v, 1.5, slab);
        assert_close(norm(h_mixed, slab) / norm(h_v, slab), 1e-13);
        double *slabs[] = {u, v, mixed, h_u, h_v, h_mixed};
        for (size_t j = 0; j < sizeof slabs / sizeof slabs[0]; j++)
            fixture.kernels->release(slabs[j]);
        fixture_fini(&fixture);
    }
}

static void product_is_added_and_the_loss_returned(void **state)
{
    (void)state;
    struct network_fixture fixture;
    model_init(&fixture, kernels_ref_double(), &models[0], &with_tangents);
    size_t slab = fixture.table.slab;
    double *direction = slab_new(&fixture, 31), *once = product_new(&fixture, direction, 1);
    double *twice = slab_new(&fixture, 32), *start = slab_new(&fixture, 32);
    double loss = fixture_gradient(&fixture, 1);
    assert_true(network_hessian_product(fixture.network, fixture.weights, direction, &fixture.batch, 1, twice) == loss);
    network_hessian_product(fixture.network, fixture.weights, direction, &fixture.batch, 1, twice);
    add_scaled(twice, start, -1, slab);
    add_scaled(twice, once, -2, slab);
    assert_close(norm(twice, slab) / norm(once, slab), 1e-14);
    double *slabs[] = {direction, once, twice, start};
    for (size_t j = 0; j < sizeof slabs / sizeof slabs[0]; j++)
        fixture.kernels->release(slabs[j]);
    fixture_fini(&fixture);
}

/* ---- beside the rest ---- */

static void cpu_product_agrees_with_ref(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture exact, fixture;
        print_message("  %s\n", models[i].title);
        model_init(&exact, kernels_ref_double(), &models[i], &with_tangents);
        size_t slab = exact.table.slab;
        double *exact_direction = slab_new(&exact, 41), *expected = product_new(&exact, exact_direction, 0.25);
        for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
            model_init(&fixture, *form, &models[i], &with_tangents);
            float *direction = slab_new(&fixture, 41), *product = product_new(&fixture, direction, 0.25);
            double difference = 0;
            for (size_t j = 0; j < slab; j++)
                difference += pow(product[j] - expected[j], 2);
            assert_close(sqrt(difference) / norm(expected, slab), 1e-5);
            (*form)->release(direction);
            (*form)->release(product);
            fixture_fini(&fixture);
        }
        exact.kernels->release(exact_direction);
        exact.kernels->release(expected);
        fixture_fini(&exact);
    }
}

/* Products in between leave no trace: the next gradient has the bits of a network without tangents. */
static void gradients_do_not_depend_on_tangents(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture with, without;
        model_init(&with, kernels_cpu(), &models[i], &with_tangents);
        fixture_init(&without, kernels_cpu(), &models[i].shape, ROWS, CONTEXT, true);
        vary(&without.batch, &models[i]);
        without.targets[4] = TARGET_IGNORED;
        void *direction = slab_new(&with, 51), *product = product_new(&with, direction, 1);
        assert_true(fixture_gradient(&with, 0.5) == fixture_gradient(&without, 0.5));
        assert_memory_equal(with.gradients, without.gradients, with.table.slab * sizeof(float));
        with.kernels->release(direction);
        with.kernels->release(product);
        fixture_fini(&with);
        fixture_fini(&without);
    }
}

static size_t counted_bytes;

static void *counting_alloc(size_t bytes)
{
    counted_bytes += bytes;
    return kernels_cpu()->alloc(bytes);
}

static void tangents_double_the_buffers_and_only_on_demand(void **state)
{
    (void)state;
    struct kernels counting = *kernels_cpu();
    counting.alloc = counting_alloc;
    for (int i = 0; i < MODELS; i++) {
        struct network_sizes plain = {.rows = ROWS, .context = CONTEXT, .gradients = true}, sizes = plain;
        struct tensor_table table;
        struct network *network;
        struct error error = {0};
        sizes.tangents = true;
        counted_bytes = 0;
        assert_ok(tensor_table_init(&table, &models[i].shape, &error), &error);
        assert_ok(network_new_sized(&network, &counting, &table, &sizes, &error), &error);
        size_t with = network_sizes_bytes(&counting, &models[i].shape, &sizes);
        size_t without = network_sizes_bytes(&counting, &models[i].shape, &plain);
        assert_int_equal(with - without, counted_bytes / 2);
        assert_int_equal(without, network_bytes(&counting, &models[i].shape, ROWS, CONTEXT, true));
        network_free(network);
        tensor_table_fini(&table);
    }
}

TEST_MAIN(cmocka_unit_test(hessian_product_is_the_derivative_of_the_gradient),
          cmocka_unit_test(hessian_is_symmetric_and_linear), cmocka_unit_test(product_is_added_and_the_loss_returned),
          cmocka_unit_test(cpu_product_agrees_with_ref), cmocka_unit_test(gradients_do_not_depend_on_tangents),
          cmocka_unit_test(tangents_double_the_buffers_and_only_on_demand))
