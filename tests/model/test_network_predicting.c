/* The head runs over the positions that predict, and the first micro-batch writes the gradients: neither may change
 * what comes out. */
#include "tests/model/network_models.h"

static const struct network_sizes sizes = {.rows = ROWS, .context = CONTEXT, .gradients = true};
enum { POSITIONS = ROWS * CONTEXT };

static double number_at(const struct kernels *kernels, const void *numbers, size_t i)
{
    return kernels->element == sizeof(double) ? ((const double *)numbers)[i] : (double)((const float *)numbers)[i];
}

/* Largest difference of any tensor's numbers. */
static double slabs_differ(const struct network_fixture *fixture, const void *a, const void *b)
{
    double worst = 0;
    for (int i = 0; i < fixture->table.count; i++) {
        const struct tensor *tensor = &fixture->table.tensors[i];
        for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++) {
            double difference = fabs(number_at(fixture->kernels, a, j) - number_at(fixture->kernels, b, j));
            worst = difference <= worst ? worst : difference;
        }
    }
    return worst;
}

static void *slab_new(const struct network_fixture *fixture)
{
    void *slab = fixture->kernels->alloc(fixture->table.slab * fixture->kernels->element);
    assert_non_null(slab);
    return slab;
}

static void check_first(const struct kernels *kernels, const struct model *model)
{
    struct network_fixture fixture;
    model_init(&fixture, kernels, model, &sizes);
    void *first = slab_new(&fixture);
    memset(first, 0xff, fixture.table.slab * kernels->element);    /* NaN */
    double loss = fixture_gradient(&fixture, 0.5);
    assert_true(loss == network_gradient_first(fixture.network, fixture.weights, &fixture.batch, 0.5, first));
    assert_close(slabs_differ(&fixture, first, fixture.gradients), 0);
    network_gradient(fixture.network, fixture.weights, &fixture.batch, 0.25, first);
    network_gradient(fixture.network, fixture.weights, &fixture.batch, 0.25, fixture.gradients);
    assert_close(slabs_differ(&fixture, first, fixture.gradients), 0);
    kernels->release(first);
    fixture_fini(&fixture);
}

static void first_gradient_does_not_read_what_the_slab_holds(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        print_message("  %s\n", models[i].title);
        check_first(kernels_ref_double(), &models[i]);
        for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
            check_first(*form, &models[i]);
    }
}

/* Keeps the targets of every third position, those with this remainder. */
static void keep_third(struct network_fixture *fixture, const int32_t *targets, int remainder)
{
    for (int i = 0; i < POSITIONS; i++)
        fixture->targets[i] = i % 3 == remainder ? targets[i] : TARGET_IGNORED;
}

/* Losses, counts and gradients of three parts of the targets, added up, against those of all at once. */
static void check_parts(const struct model *model)
{
    struct network_fixture fixture;
    const struct kernels *kernels = kernels_ref_double();
    int32_t targets[POSITIONS];
    double loss, parts = 0, losses[ROWS], row_losses[ROWS] = {0};
    int counts[ROWS], row_counts[ROWS] = {0};
    model_init(&fixture, kernels, model, &sizes);
    void *sum = slab_new(&fixture);
    memcpy(targets, fixture.targets, sizeof targets);
    loss = fixture_gradient(&fixture, 0.5);
    for (int remainder = 0; remainder < 3; remainder++) {
        keep_third(&fixture, targets, remainder);
        parts += network_gradient(fixture.network, fixture.weights, &fixture.batch, 0.5, sum);
        network_loss(fixture.network, fixture.weights, &fixture.batch, losses, counts);
        for (int b = 0; b < ROWS; b++) {
            row_losses[b] += losses[b];
            row_counts[b] += counts[b];
        }
    }
    assert_close(slabs_differ(&fixture, sum, fixture.gradients), 1e-12);
    assert_near(parts / loss, 1, 1e-13);
    memcpy(fixture.targets, targets, sizeof targets);
    network_loss(fixture.network, fixture.weights, &fixture.batch, losses, counts);
    for (int b = 0; b < ROWS; b++) {
        assert_near(row_losses[b] / losses[b], 1, 1e-13);
        assert_int_equal(row_counts[b], counts[b]);
    }
    kernels->release(sum);
    fixture_fini(&fixture);
}

static void parts_of_the_targets_add_up(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++) {
        print_message("  %s\n", models[i].title);
        check_parts(&models[i]);
    }
}

static void batch_without_targets_has_no_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
            struct network_fixture fixture;
            model_init(&fixture, *form, &models[i], &sizes);
            void *first = slab_new(&fixture);
            memset(first, 0xff, fixture.table.slab * sizeof(float));
            keep_third(&fixture, fixture.targets, 3);
            assert_true(fixture_gradient(&fixture, 1) == 0);
            assert_true(network_gradient_first(fixture.network, fixture.weights, &fixture.batch, 1, first) == 0);
            assert_close(slabs_differ(&fixture, first, fixture.gradients), 0);
            for (size_t j = 0; j < fixture.table.slab; j++)
                assert_true(((float *)fixture.gradients)[j] == 0);
            (*form)->release(first);
            fixture_fini(&fixture);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_gradient_does_not_read_what_the_slab_holds),
        cmocka_unit_test(parts_of_the_targets_add_up),
        cmocka_unit_test(batch_without_targets_has_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
