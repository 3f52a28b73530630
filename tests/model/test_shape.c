#include "model/shape.h"

#include "tests/support/support.h"

/* GPT-2 small, 124M: the numbers below were worked out by hand from the paper's sizes. */
static struct shape gpt2_small(void)
{
    return (struct shape){.family = FAMILY_GPT2, .layers = 12, .width = 768, .heads = 12, .kv_heads = 12,
                          .head_size = 64, .ff = 3072, .context = 1024, .vocabulary = 50257, .tied = true,
                          .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5};
}

static void parameters_of_gpt2_small_are_124439808(void **state)
{
    (void)state;
    struct shape shape = gpt2_small();
    assert_int_equal(shape_parameters(&shape), 124439808);
    shape.tied = false;
    assert_int_equal(shape_parameters(&shape), 124439808 + 50257 * 768);
}

static void product_weights_leave_look_ups_out_and_count_the_head_once(void **state)
{
    (void)state;
    struct shape shape = gpt2_small();
    const uint64_t expected = 12ull * (12ull * 768 * 768) + 50257ull * 768;
    assert_int_equal(shape_product_weights(&shape), expected);
    shape.tied = false;
    assert_int_equal(shape_product_weights(&shape), expected);
    assert_near(shape_flops_per_token(&shape, 1024), 6.0 * (double)expected + 12.0 * 12 * 768 * 1024, 0.5);
}

static void every_size_out_of_range_is_refused_by_name(void **state)
{
    (void)state;
    struct shape base = gpt2_small();
    const struct { const char *pointer; size_t offset; } sizes[] = {
        {"/layers", offsetof(struct shape, layers)},       {"/width", offsetof(struct shape, width)},
        {"/heads", offsetof(struct shape, heads)},         {"/kv_heads", offsetof(struct shape, kv_heads)},
        {"/head_size", offsetof(struct shape, head_size)}, {"/ff", offsetof(struct shape, ff)},
        {"/context", offsetof(struct shape, context)},     {"/vocabulary", offsetof(struct shape, vocabulary)},
    };
    const int wrong[] = {0, -1, SHAPE_SIZE_MAX + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t j = 0; j < 3; j++) {
            struct error error = {0};
            struct shape shape = base;
            *(int *)((char *)&shape + sizes[i].offset) = wrong[j];
            assert_fails(shape_check(&shape, &error), ERROR_INVALID, &error);
            assert_string_equal(error.details[0].pointer, sizes[i].pointer);
        }
    struct error error = {0};
    assert_ok(shape_check(&base, &error), &error);
}

static void epsilon_must_be_a_positive_finite_number(void **state)
{
    (void)state;
    const double wrong[] = {0, -1e-5, 1, __builtin_nan(""), __builtin_inf()};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct error error = {0};
        struct shape shape = gpt2_small();
        shape.norm_epsilon = wrong[i];
        assert_fails(shape_check(&shape, &error), ERROR_INVALID, &error);
    }
}

static void sizes_that_do_not_fit_together_are_all_named(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = gpt2_small();
    shape.heads = 10;
    assert_fails(shape_check(&shape, &error), ERROR_INVALID, &error);
    assert_int_equal(error.detail_count, 2);
    assert_string_equal(error.details[0].pointer, "/heads");
    assert_string_equal(error.details[1].pointer, "/kv_heads");
    assert_contains(error.message, "640");
}

static void parameter_counts_beyond_60_bits_are_refused(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = gpt2_small();
    shape.layers = SHAPE_LAYERS_MAX;
    shape.width = shape.ff = SHAPE_SIZE_MAX;
    shape.heads = shape.kv_heads = 1;
    shape.head_size = SHAPE_SIZE_MAX;
    assert_fails(shape_check(&shape, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "60 bits");
}

static void equality_looks_at_every_field(void **state)
{
    (void)state;
    struct shape base = gpt2_small(), other = base;
    assert_true(shape_equal(&base, &other));
    const size_t offsets[] = {offsetof(struct shape, layers),    offsetof(struct shape, width),
                              offsetof(struct shape, heads),     offsetof(struct shape, kv_heads),
                              offsetof(struct shape, head_size), offsetof(struct shape, ff),
                              offsetof(struct shape, context),   offsetof(struct shape, vocabulary)};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        other = base;
        ++*(int *)((char *)&other + offsets[i]);
        assert_false(shape_equal(&base, &other));
    }
    other = base, other.tied = false;
    assert_false(shape_equal(&base, &other));
    other = base, other.activation = ACTIVATION_RELU;
    assert_false(shape_equal(&base, &other));
    other = base, other.norm_epsilon = 1e-6;
    assert_false(shape_equal(&base, &other));
}

static void names_are_found_again_and_aliases_mean_the_same_function(void **state)
{
    (void)state;
    for (int i = 0; i < ACTIVATION_COUNT; i++)
        assert_int_equal(activation_parse(activation_name((enum activation)i)), i);
    for (int i = 0; i < FAMILY_COUNT; i++)
        assert_int_equal(family_parse(family_name((enum family)i)), i);
    assert_int_equal(activation_parse("gelu_pytorch_tanh"), ACTIVATION_GELU_TANH);
    assert_int_equal(activation_parse("gelu_fast"), ACTIVATION_GELU_TANH);
    assert_int_equal(activation_parse("swish"), ACTIVATION_SILU);
    assert_int_equal(activation_parse("tanh"), -1);
    assert_int_equal(family_parse("gpt3"), -1);
}

/* T5's sides, each weight with the tokens that pass it: the decoder's keys and values of the encoder's output are made
 * from the encoder's tokens. Counted by hand from the sizes. */
static void flops_of_an_encoder_decoder_count_each_side_by_its_length(void **state)
{
    (void)state;
    struct shape shape = {
        .family = FAMILY_T5, .layers = 2, .decoder_layers = 3, .width = 7, .heads = 3, .kv_heads = 3, .head_size = 2,
        .ff = 5, .context = 100, .vocabulary = 11, .buckets = 8, .bucket_distance = 20, .norm_epsilon = 1e-6,
        .activation = ACTIVATION_RELU,
    };
    for (int gated = 0; gated < 2; gated++) {
        const double square = 7 * 6, mlp = (gated ? 3 : 2) * 7 * 5, head = 11 * 7, read = 30, written = 9;
        const double encoder = 2 * (4 * square + mlp) * read + 3 * 2 * square * read;
        const double decoder = 3 * (6 * square + mlp) * written + head * written;
        const double pairs = 2 * read * read + 3 * written * (written + read);
        shape.gated = gated;
        assert_near(shape_flops_per_row(&shape, 30, 9), 6 * (encoder + decoder) + 12 * pairs * 6, 1e-6);
        shape.tied = !shape.tied;
        assert_near(shape_flops_per_row(&shape, 30, 9), 6 * (encoder + decoder) + 12 * pairs * 6, 1e-6);
        assert_near(shape_flops_per_token(&shape, 20), shape_flops_per_row(&shape, 20, 20) / 40, 1e-6);
    }
}

TEST_MAIN(cmocka_unit_test(parameters_of_gpt2_small_are_124439808),
          cmocka_unit_test(product_weights_leave_look_ups_out_and_count_the_head_once),
          cmocka_unit_test(every_size_out_of_range_is_refused_by_name),
          cmocka_unit_test(epsilon_must_be_a_positive_finite_number),
          cmocka_unit_test(sizes_that_do_not_fit_together_are_all_named),
          cmocka_unit_test(parameter_counts_beyond_60_bits_are_refused),
          cmocka_unit_test(equality_looks_at_every_field),
          cmocka_unit_test(names_are_found_again_and_aliases_mean_the_same_function),
          cmocka_unit_test(flops_of_an_encoder_decoder_count_each_side_by_its_length))
