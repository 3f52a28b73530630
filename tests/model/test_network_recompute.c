/* Networks that keep only the inputs of their blocks: the same gradients and Hessian products, bit for bit, in less
 * memory. */
#include "tests/model/network_models.h"

static const struct network_sizes keeping = {
    .rows = ROWS, .context = CONTEXT, .gradients = true, .tangents = true,
};
static const struct network_sizes recomputing = {
    .rows = ROWS, .context = CONTEXT, .gradients = true, .tangents = true, .recompute = true,
};

static void *direction_new(const struct network_fixture *fixture)
{
    float *direction = fixture->kernels->alloc(fixture->table.slab * fixture->kernels->element);
    assert_non_null(direction);
    for (size_t i = 0; i < fixture->table.slab; i++)
        direction[i] = (float)(i * i % 17) - 8;
    return direction;
}

static void check_bits(const struct kernels *kernels, const struct model *model)
{
    struct network_fixture kept, again;
    model_init(&kept, kernels, model, &keeping);
    model_init(&again, kernels, model, &recomputing);
    size_t bytes = kept.table.slab * kernels->element;
    float *direction = direction_new(&kept);
    for (int round = 0; round < 2; round++) {
        assert_true(fixture_gradient(&kept, 0.5) == fixture_gradient(&again, 0.5));
        assert_memory_equal(kept.gradients, again.gradients, bytes);
    }
    kernels->zero(kept.gradients, kept.table.slab);
    kernels->zero(again.gradients, kept.table.slab);
    network_hessian_product(kept.network, kept.weights, direction, &kept.batch, 0.5, kept.gradients);
    network_hessian_product(again.network, again.weights, direction, &again.batch, 0.5, again.gradients);
    assert_memory_equal(kept.gradients, again.gradients, bytes);
    kernels->release(direction);
    fixture_fini(&kept);
    fixture_fini(&again);
}

static void gradients_and_products_have_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (int layers = 1; layers < 5; layers += 3) {
            struct model model = models[i];
            model.shape.layers = layers;
            print_message("  %s, %d layers\n", model.title, layers);
            check_bits(kernels_ref_float(), &model);
            for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
                check_bits(*form, &model);
        }
}

static void losses_have_the_same_bits(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        struct network_fixture kept, again;
        double a[ROWS], b[ROWS];
        model_init(&kept, kernels_cpu(), &models[i], &keeping);
        model_init(&again, kernels_cpu(), &models[i], &recomputing);
        network_loss(kept.network, kept.weights, &kept.batch, a, NULL);
        network_loss(again.network, again.weights, &again.batch, b, NULL);
        assert_memory_equal(a, b, sizeof a);
        fixture_fini(&kept);
        fixture_fini(&again);
    }
}

/* One more layer costs its input and nothing else. */
static void another_layer_costs_one_stream(void **state)
{
    (void)state;
    const struct kernels *kernels = kernels_cpu();
    struct network_sizes sizes = {.rows = 2, .context = 64, .gradients = true, .recompute = true};
    for (int i = 0; i < MODELS; i++) {
        struct shape shape = models[i].shape, deeper = shape;
        shape.context = deeper.context = 64;
        deeper.layers += 16;
        size_t more = network_sizes_bytes(kernels, &deeper, &sizes) - network_sizes_bytes(kernels, &shape, &sizes);
        size_t stream = (2 * 64 * (size_t)shape.width * sizeof(float) + 63) / 64 * 64, host = 4096;
        print_message("  %s: %zu bytes a layer, %zu of them its input\n", models[i].title, more / 16, stream);
        assert_true(more / 16 >= stream && more / 16 < stream + host);
    }
}

static size_t counted_bytes;

static void *counting_alloc(size_t bytes)
{
    counted_bytes += bytes;
    return kernels_cpu()->alloc(bytes);
}

static void stated_bytes_are_the_allocated_ones(void **state)
{
    (void)state;
    struct kernels counting = *kernels_cpu();
    counting.alloc = counting_alloc;
    for (int i = 0; i < MODELS; i++) {
        struct tensor_table table;
        struct network *network;
        struct error error = {0};
        counted_bytes = 0;
        assert_ok(tensor_table_init(&table, &models[i].shape, &error), &error);
        assert_ok(network_new_sized(&network, &counting, &table, &recomputing, &error), &error);
        size_t stated = network_sizes_bytes(&counting, &models[i].shape, &recomputing);
        assert_true(stated >= counted_bytes && stated - counted_bytes <= 16384);
        network_free(network);
        tensor_table_fini(&table);
    }
}

TEST_MAIN(cmocka_unit_test(gradients_and_products_have_the_same_bits), cmocka_unit_test(losses_have_the_same_bits),
          cmocka_unit_test(another_layer_costs_one_stream), cmocka_unit_test(stated_bytes_are_the_allocated_ones))
