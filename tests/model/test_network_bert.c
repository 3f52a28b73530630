/* The bert network: its gradient against central differences in double, the cpu body against the reference, and what a
 * caller relies on: everything sees everything but padding, types, heads that are kept but not trained. */
#include "tests/model/network_checks.h"

static struct shape bert_shape(int layers, int heads, int head_size, int ff, int context, int vocabulary)
{
    return (struct shape){
        .family = FAMILY_BERT, .layers = layers, .width = heads * head_size, .heads = heads, .kv_heads = heads,
        .head_size = head_size, .ff = ff, .context = context, .vocabulary = vocabulary, .tied = true, .types = 2,
        .activation = ACTIVATION_GELU_ERF, .norm_epsilon = 1e-12,
    };
}

static unsigned char masks[4 * 128];
static int32_t types[4 * 128];

/* Row 0 is padded in front, the others behind; nothing is predicted at padding. */
static void with_mask(struct batch *batch)
{
    for (int b = 0; b < batch->rows; b++)
        for (int t = 0; t < batch->context; t++)
            masks[b * batch->context + t] = b == 0 ? t >= 2 : t < batch->context - b;
    batch->mask = masks;
}

static void with_types(struct batch *batch)
{
    for (int i = 0; i < batch->rows * batch->context; i++)
        types[i] = i % batch->context > batch->context / 2;
    batch->types = types;
}

static void with_both(struct batch *batch)
{
    with_mask(batch);
    with_types(batch);
}

/* ---- the gradient is the derivative ---- */

static void gradient_of_every_tensor_is_the_derivative(void **state)
{
    (void)state;
    static void (*const variants[])(struct batch *) = {NULL, with_types, with_mask, with_both};
    for (int i = 0; i < 4; i++)
        for (int activation = 0; activation < ACTIVATION_COUNT; activation++) {
            struct network_fixture fixture;
            struct shape shape = bert_shape(2, 3, 3, 7, 6, 11);
            shape.activation = (enum activation)activation;
            fixture_init(&fixture, kernels_ref_double(), &shape, 2, 5, true);
            fixture.targets[3] = TARGET_IGNORED;
            if (variants[i] != NULL)
                variants[i](&fixture.batch);
            check_every_tensor(&fixture);
            fixture_fini(&fixture);
        }
}

/* ---- the cpu body against the reference ---- */

static void cpu_agrees_with_ref_on_awkward_sizes(void **state)
{
    (void)state;
    struct shape odd = bert_shape(3, 3, 15, 101, 37, 53), long_rows = bert_shape(2, 2, 9, 31, 120, 67);
    struct shape least = bert_shape(1, 1, 2, 1, 1, 2);
    least.types = 1;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        check_varied_against_ref(*form, &odd, 3, 37, with_both);
        check_varied_against_ref(*form, &odd, 2, 36, NULL);
        check_varied_against_ref(*form, &long_rows, 2, 117, with_types);
        check_against_ref(*form, &least, 1, 1);
    }
}

/* ---- what sees what ---- */

static void logits_of(struct network_fixture *fixture, double *logits)
{
    network_logits(fixture->network, fixture->weights, &fixture->batch, logits);
}

static bool position_changed(const double *a, const double *b, int position, int vocabulary)
{
    size_t at = (size_t)position * (size_t)vocabulary;
    return memcmp(a + at, b + at, (size_t)vocabulary * sizeof *a) != 0;
}

static void every_position_sees_every_other_of_its_row(void **state)
{
    (void)state;
    enum { T = 5, V = 9 };
    struct network_fixture fixture;
    struct shape shape = bert_shape(1, 2, 3, 8, T, V);
    double before[2 * T * V], after[2 * T * V];
    fixture_init(&fixture, kernels_ref_double(), &shape, 2, T, false);
    logits_of(&fixture, before);
    fixture.inputs[T - 1] = (fixture.inputs[T - 1] + 1) % V;
    logits_of(&fixture, after);
    for (int i = 0; i < 2 * T; i++)
        assert_int_equal(position_changed(before, after, i, V), i < T);
    fixture_fini(&fixture);
}

static void padding_is_seen_by_none(void **state)
{
    (void)state;
    enum { T = 6, V = 9 };
    struct network_fixture fixture;
    struct shape shape = bert_shape(2, 2, 3, 8, T, V);
    double before[T * V], after[T * V], alone[T * V];
    unsigned char mask[T] = {1, 1, 1, 1, 0, 0};
    fixture_init(&fixture, kernels_ref_double(), &shape, 1, T, false);
    fixture.batch.mask = mask;
    logits_of(&fixture, before);
    fixture.inputs[4] = (fixture.inputs[4] + 1) % V;
    fixture.inputs[5] = (fixture.inputs[5] + 2) % V;
    logits_of(&fixture, after);
    fixture.batch.mask = NULL;
    fixture.batch.context = 4;
    logits_of(&fixture, alone);
    assert_memory_equal(before, after, 4 * V * sizeof(double));
    assert_close(largest_difference_double(before, alone, 4 * V), 1e-13);
    fixture_fini(&fixture);
}

static void absent_types_are_all_of_type_zero(void **state)
{
    (void)state;
    enum { T = 6, V = 9 };
    struct network_fixture fixture;
    struct shape shape = bert_shape(2, 2, 3, 8, T, V);
    int32_t zeros[T] = {0}, ones[T] = {1, 1, 1, 1, 1, 1};
    double absent[T * V], given[T * V], other[T * V];
    fixture_init(&fixture, kernels_ref_double(), &shape, 1, T, true);
    size_t slab = fixture.table.slab;
    double *gradient = memory_array(slab, sizeof(double));
    logits_of(&fixture, absent);
    fixture_gradient(&fixture, 1);
    memcpy(gradient, fixture.gradients, slab * sizeof(double));
    fixture.batch.types = zeros;
    logits_of(&fixture, given);
    fixture_gradient(&fixture, 1);
    assert_close(largest_difference_double(absent, given, T * V), 1e-13);
    assert_close(largest_difference_double(gradient, fixture.gradients, slab), 1e-12);
    fixture.batch.types = ones;
    logits_of(&fixture, other);
    assert_true(largest_difference_double(absent, other, T * V) > 1e-3);
    memory_free(gradient);
    fixture_fini(&fixture);
}

/* ---- losses ---- */

static void a_network_without_gradients_gives_the_same_losses(void **state)
{
    (void)state;
    struct network_fixture with, without;
    struct shape shape = bert_shape(3, 3, 15, 60, 37, 53);
    for (int variant = 0; variant < 2; variant++) {
        double losses[3], lean[3];
        fixture_init(&with, kernels_cpu(), &shape, 3, 37, true);
        fixture_init(&without, kernels_cpu(), &shape, 3, 37, false);
        if (variant == 1) {
            with_both(&with.batch);
            with_both(&without.batch);
        }
        network_loss(with.network, with.weights, &with.batch, losses, NULL);
        network_loss(without.network, without.weights, &without.batch, lean, NULL);
        assert_memory_equal(losses, lean, sizeof losses);
        assert_true(network_bytes(kernels_cpu(), &shape, 3, 37, false) < network_bytes(kernels_cpu(), &shape, 3, 37, true));
        fixture_fini(&with);
        fixture_fini(&without);
    }
}

static void heads_of_other_tasks_get_no_gradient(void **state)
{
    (void)state;
    static const enum role roles[] = {ROLE_POOLER, ROLE_POOLER_BIAS, ROLE_NEXT_SENTENCE, ROLE_NEXT_SENTENCE_BIAS};
    struct network_fixture with, without;
    struct shape bare = bert_shape(2, 2, 4, 16, 9, 17), whole = bare;
    whole.pooler = whole.next_sentence = true;
    fixture_init(&with, kernels_cpu(), &whole, 2, 9, true);
    fixture_init(&without, kernels_cpu(), &bare, 2, 9, true);
    assert_int_equal(with.table.count, without.table.count + 4);
    assert_int_equal(shape_parameters(&whole), shape_parameters(&bare) + 8 * 8 + 8 + 2 * 8 + 2);
    assert_int_equal(shape_product_weights(&whole), shape_product_weights(&bare));
    fixture_gradient(&with, 1);
    for (int i = 0; i < 4; i++) {
        const struct tensor *tensor = tensor_find_role(&with.table, roles[i], -1, 0);
        assert_non_null(tensor);
        assert_false(role_is_trained(roles[i]));
        assert_true(with.kernels->sum_squares((float *)with.gradients + tensor->offset, tensor->count) == 0);
        assert_null(tensor_find_role(&without.table, roles[i], -1, 0));
    }
    fixture_fini(&with);
    fixture_fini(&without);
}

TEST_MAIN(cmocka_unit_test(gradient_of_every_tensor_is_the_derivative),
          cmocka_unit_test(cpu_agrees_with_ref_on_awkward_sizes),
          cmocka_unit_test(every_position_sees_every_other_of_its_row),
          cmocka_unit_test(padding_is_seen_by_none),
          cmocka_unit_test(absent_types_are_all_of_type_zero),
          cmocka_unit_test(a_network_without_gradients_gives_the_same_losses),
          cmocka_unit_test(heads_of_other_tasks_get_no_gradient))
