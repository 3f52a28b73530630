/* Every operation of every form of the cpu body against the float reference, on sizes that end within a vector, at
 * starts that are not aligned; and the same bits wherever the buffers lie. */
#include "tests/model/shelf.h"

#include "model/network.h"

enum { ROWS = 37, WIDTH = 45, VOCABULARY = 1031 };
static const double BOUND = 3e-6;
enum { STATISTICS = 2 * ROWS, NUMBERS = ROWS * WIDTH };

/* ---- the cases ---- */

static void run_products(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    const float *a = shelf_normal(shelf, 60 * 60, 1, 0, 1), *b = shelf_normal(shelf, 60 * 60, 2, 0, 1);
    for (int t = 0; t < 4; t++) {
        struct product product = {
            .m = 33, .n = 31, .k = 45, .transpose_a = t & 1, .transpose_b = t & 2, .lda = 47, .ldb = 49, .ldc = 35,
            .alpha = 0.75, .beta = t == 3,
        };
        float *c = shelf_normal(shelf, 33 * 35, 3, 0, 1);
        kernels->ops->product(&product, a, b, c);
        result_add(result, c, 33 * 35);
    }
}

static void run_embed(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct embedding embedding = {3, 7, WIDTH};
    int32_t tokens[21];
    for (int i = 0; i < 21; i++)
        tokens[i] = i * i % 11;
    const float *table = shelf_normal(shelf, 11 * WIDTH, 1, 0, 1), *positions = shelf_normal(shelf, 7 * WIDTH, 2, 0, 1);
    float *x = shelf_take(shelf, 21 * WIDTH), *d_table = shelf_normal(shelf, 11 * WIDTH, 3, 0, 1);
    float *d_positions = shelf_normal(shelf, 7 * WIDTH, 4, 0, 1);
    kernels->ops->embed(&embedding, tokens, table, positions, x);
    kernels->ops->embed_backward(&embedding, tokens, x, d_table, d_positions);
    result_add(result, x, 21 * WIDTH);
    result_add(result, d_table, 11 * WIDTH);
    result_add(result, d_positions, 7 * WIDTH);
}

static void run_bias(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    for (int width = 135; width > 0; width = width * 2 / 5) {
        float *x = shelf_normal(shelf, (size_t)(ROWS * width), 1, 0, 1);
        const float *bias = shelf_normal(shelf, (size_t)width, 2, 0, 1);
        float *d_bias = shelf_normal(shelf, (size_t)width, 3, 0, 1);
        kernels->ops->bias_add(x, bias, ROWS, width);
        kernels->ops->bias_backward(x, d_bias, ROWS, width);
        if (result->count < 8)
            result_add(result, d_bias, (size_t)width);
    }
}

static void run_layer_norm(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct norm norm = {.rows = ROWS, .width = WIDTH, .epsilon = 1e-5};
    float *sum = shelf_take(shelf, NUMBERS), *out = shelf_take(shelf, NUMBERS);
    float *statistics = shelf_take(shelf, STATISTICS);
    const float *gain = shelf_normal(shelf, WIDTH, 1, 1, 0.3f), *d_out = shelf_normal(shelf, NUMBERS, 2, 0, 1);
    struct norm_forward forward = {
        shelf_normal(shelf, NUMBERS, 3, 2, 3), shelf_normal(shelf, NUMBERS, 4, 0, 1),
        shelf_normal(shelf, WIDTH, 5, 0, 1), gain, shelf_normal(shelf, WIDTH, 6, 0, 1), sum, out, statistics,
    };
    float *d_sum = shelf_normal(shelf, NUMBERS, 7, 0, 1), *d_gain = shelf_take(shelf, WIDTH);
    float *d_bias = shelf_take(shelf, WIDTH);
    struct norm_backward backward = {sum, statistics, gain, d_out, d_sum, d_gain, d_bias};
    kernels->ops->layer_norm(&norm, &forward);
    kernels->ops->layer_norm_backward(&norm, &backward);
    result_add(result, sum, NUMBERS);
    result_add(result, out, NUMBERS);
    result_add(result, d_sum, NUMBERS);
    result_add(result, d_gain, WIDTH);
    result_add(result, d_bias, WIDTH);
    struct norm_forward alone = {.x = sum, .gain = gain, .bias = gain, .out = forward.sum, .statistics = statistics};
    float *plain = shelf_take(shelf, NUMBERS);
    alone.out = plain;
    kernels->ops->layer_norm(&norm, &alone);
    result_add(result, plain, NUMBERS);
}

static void run_activations(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        float *x = shelf_normal(shelf, NUMBERS, 1, 0, 2), *out = shelf_take(shelf, NUMBERS);
        float *d = shelf_normal(shelf, NUMBERS, 2, 0, 1);
        const float *bias = shelf_normal(shelf, WIDTH, 3, 0, 1);
        kernels->ops->activate((enum activation)a, x, bias, out, ROWS, WIDTH);
        kernels->ops->activate_backward((enum activation)a, x, d, ROWS, WIDTH);
        result_add(result, out, NUMBERS);
        result_add(result, d, NUMBERS);
    }
}

static void run_attention_sizes(const struct kernels *kernels, struct shelf *shelf, struct result *result,
                                const struct attention *sizes)
{
    size_t keys = (size_t)(sizes->heads * sizes->head_size);
    size_t values = keys + (size_t)(sizes->kv_heads * sizes->head_size);
    size_t positions = (size_t)(sizes->batch * sizes->queries), joined = positions * (size_t)sizes->q_stride;
    size_t out_numbers = positions * (size_t)sizes->out_stride;
    size_t lse_numbers = (size_t)(sizes->batch * sizes->heads * sizes->queries);
    const float *qkv = shelf_normal(shelf, joined, 1, 0, 1.5f), *d_out = shelf_normal(shelf, out_numbers, 2, 0, 1);
    float *out = shelf_take(shelf, out_numbers), *lse = shelf_take(shelf, lse_numbers);
    float *d_qkv = shelf_normal(shelf, joined, 3, 0, 1);    /* overwritten */
    float *scratch = shelf_normal(shelf, kernels->ops->attention_scratch(sizes), 4, 0, 1);
    struct attention_forward forward = {
        .q = qkv, .k = qkv + keys, .v = qkv + values, .out = out, .lse = lse, .scratch = scratch,
    };
    struct attention_backward backward = {
        .q = qkv, .k = qkv + keys, .v = qkv + values, .out = out, .lse = lse, .d_out = d_out,
        .d_q = d_qkv, .d_k = d_qkv + keys, .d_v = d_qkv + values, .scratch = scratch,
    };
    kernels->ops->attention(sizes, &forward);
    kernels->ops->attention_backward(sizes, &backward);
    result_add(result, out, out_numbers);
    result_add(result, lse, lse_numbers);
    result_add(result, d_qkv, joined);
}

/* Three heads of 15, 77 positions: blocks of queries end within a vector and the last block is short. */
static void run_attention(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct attention causal = {
        .batch = 2, .heads = 3, .kv_heads = 3, .head_size = 15, .queries = 77, .keys = 77,
        .causal = true, .scale = 0.26, .q_stride = 135, .kv_stride = 135, .out_stride = 45,
    };
    run_attention_sizes(kernels, shelf, result, &causal);
}

static void run_grouped_attention(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct attention grouped = {
        .batch = 2, .heads = 6, .kv_heads = 2, .head_size = 5, .queries = 41, .keys = 41,
        .causal = false, .scale = 0.5, .q_stride = 50, .kv_stride = 50, .out_stride = 30,
    };
    run_attention_sizes(kernels, shelf, result, &grouped);
    grouped.causal = true;
    run_attention_sizes(kernels, shelf, result, &grouped);
}

static void run_single_position(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct attention single = {
        .batch = 3, .heads = 1, .kv_heads = 1, .head_size = 1, .queries = 1, .keys = 1,
        .causal = true, .scale = 1, .q_stride = 3, .kv_stride = 3, .out_stride = 1,
    };
    run_attention_sizes(kernels, shelf, result, &single);
}

static void run_cross_entropy(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    float *logits = shelf_normal(shelf, ROWS * VOCABULARY, 1, -30, 4), *losses_float = shelf_take(shelf, 2 * ROWS);
    int32_t targets[ROWS];
    double losses[2 * ROWS];
    for (int i = 0; i < ROWS; i++)
        targets[i] = i % 5 == 2 ? TARGET_IGNORED : i * 97 % VOCABULARY;
    kernels->ops->cross_entropy(logits, targets, ROWS, VOCABULARY, losses);
    kernels->ops->cross_entropy_gradient(logits, targets, ROWS, VOCABULARY, 0.125, losses + ROWS);
    for (int i = 0; i < 2 * ROWS; i++)
        losses_float[i] = (float)losses[i];
    result_add(result, losses_float, 2 * ROWS);
    result_add(result, logits, ROWS * VOCABULARY);
}

static void run_vectors(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    enum { N = 1003 };
    struct adamw_step step = {1e-2, 0.9, 0.95, 1e-8, 0.1, 0.5, 1 - 0.9 * 0.9, 1 - 0.95 * 0.95};
    float *w = shelf_normal(shelf, N, 1, 0, 1), *m = shelf_normal(shelf, N, 2, 0, 0.1f);
    float *v = shelf_normal(shelf, N, 3, 0, 1);
    float *a = shelf_normal(shelf, N, 4, 0, 1), *squares = shelf_take(shelf, 1);
    for (int i = 0; i < N; i++)
        v[i] *= v[i];
    kernels->lerp(a, w, 0.3, N);
    *squares = (float)kernels->sum_squares(a, N);
    kernels->adamw(&step, w, m, v, a, N);
    result_add(result, a, N);
    result_add(result, squares, 1);
    result_add(result, w, N);
    result_add(result, m, N);
    result_add(result, v, N);
}

static void run_gradient_descent(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    enum { N = 1003 };
    for (int nesterov = 0; nesterov < 2; nesterov++) {
        struct sgd_step step = {1e-2, 0.9, 0.1, 0.5, nesterov};
        float *w = shelf_normal(shelf, N, 1, 0, 1), *b = shelf_normal(shelf, N, 2, 0, 0.1f);
        float *g = shelf_normal(shelf, N, 3, 0, 1);
        kernels->sgd(&step, w, b, g, N);
        result_add(result, w, N);
        result_add(result, b, N);
    }
}

static void run_schedule_free_either(const struct kernels *kernels, struct shelf *shelf, struct result *result,
                                     bool adaptive)
{
    enum { N = 1003 };
    for (int at_z = 0; at_z < 2; at_z++) {
        struct schedule_free_step step = {1e-2, 0.9, 0.1, 0.5, 0.3, 0.95, 1e-8, 1 - 0.95 * 0.95, at_z};
        float *x = shelf_normal(shelf, N, 1, 0, 1), *z = shelf_normal(shelf, N, 2, 0, 1);
        float *v = shelf_normal(shelf, N, 3, 0, 1), *g = shelf_normal(shelf, N, 4, 0, 1);
        for (int i = 0; i < N; i++)
            v[i] *= v[i];
        kernels->schedule_free(&step, x, z, adaptive ? v : NULL, g, N);
        result_add(result, x, N);
        result_add(result, z, N);
        result_add(result, v, N);
    }
}

static void run_schedule_free(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    run_schedule_free_either(kernels, shelf, result, false);
}

static void run_schedule_free_adaptive(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    run_schedule_free_either(kernels, shelf, result, true);
}

/* ---- the tests ---- */

#define AGREES(noun)                                    \
    static void noun##_agree_with_ref(void **state)     \
    {                                                   \
        (void)state;                                    \
        check_case(run_##noun, BOUND);                         \
    }
AGREES(products)
AGREES(gradient_descent)
AGREES(schedule_free)
AGREES(schedule_free_adaptive)
AGREES(embed)
AGREES(bias)
AGREES(layer_norm)
AGREES(activations)
AGREES(attention)
AGREES(grouped_attention)
AGREES(single_position)
AGREES(cross_entropy)
AGREES(vectors)

static void nan_passes_through_every_operation(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        const struct kernel_ops *ops = (*form)->ops;
        float x[35], out[35], statistics[2], gain[35], lse[2], scratch[1 << 16];
        const int32_t target = 3;
        double loss;
        for (int place = 0; place < 35; place += 17) {
            for (int i = 0; i < 35; i++) {
                x[i] = i == place ? NAN : 1;
                gain[i] = 1;
            }
            struct norm norm = {.rows = 1, .width = 35, .epsilon = 1e-5};
            struct norm_forward normed = {.x = x, .gain = gain, .bias = gain, .out = out, .statistics = statistics};
            ops->layer_norm(&norm, &normed);
            assert_true(isnan(out[0]) && isnan(out[34]));
            ops->cross_entropy(x, &target, 1, 35, &loss);
            assert_true(isnan(loss));
            assert_true(isnan((*form)->sum_squares(x, 35)));
            struct attention sizes = {
        .batch = 1, .heads = 1, .kv_heads = 1, .head_size = 35, .queries = 1, .keys = 1,
        .causal = true, .scale = 1, .q_stride = 35, .kv_stride = 35, .out_stride = 35,
    };
            assert_true(ops->attention_scratch(&sizes) <= 1 << 16);
            struct attention_forward attention = {.q = x, .k = gain, .v = gain, .out = out, .lse = lse,
                                                  .scratch = scratch};
            ops->attention(&sizes, &attention);
            assert_true(isnan(out[0]) && isnan(out[34]));
        }
    }
}

static void description_names_blas_and_vector_code(void **state)
{
    (void)state;
    const struct kernels *kernels = kernels_cpu();
    print_message("    %s\n", kernels_description(kernels));
    assert_contains(kernels_description(kernels), "OpenBLAS 0.");
    assert_non_null(strchr(kernels_description(kernels), ','));
    assert_string_equal(kernels->name, "cpu");
    assert_int_equal(kernels->element, sizeof(float));
    assert_int_equal(kernels_ref_double()->element, sizeof(double));
    assert_null(kernels_cpu_form("sse9"));
}

static void alloc_is_zeroed_and_aligned(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 10000; bytes += 999) {
        unsigned char *block = kernels_cpu()->alloc(bytes);
        assert_non_null(block);
        assert_true((uintptr_t)block % 64 == 0);
        for (size_t i = 0; i < bytes; i++)
            assert_true(block[i] == 0);
        kernels_cpu()->upload(block, "", 0);
        kernels_cpu()->release(block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_ref),
        cmocka_unit_test(gradient_descent_agree_with_ref), cmocka_unit_test(schedule_free_agree_with_ref),
        cmocka_unit_test(schedule_free_adaptive_agree_with_ref),
        cmocka_unit_test(embed_agree_with_ref),
        cmocka_unit_test(bias_agree_with_ref),
        cmocka_unit_test(layer_norm_agree_with_ref),
        cmocka_unit_test(activations_agree_with_ref),
        cmocka_unit_test(attention_agree_with_ref),
        cmocka_unit_test(grouped_attention_agree_with_ref),
        cmocka_unit_test(single_position_agree_with_ref),
        cmocka_unit_test(cross_entropy_agree_with_ref),
        cmocka_unit_test(vectors_agree_with_ref),
        cmocka_unit_test(nan_passes_through_every_operation),
        cmocka_unit_test(description_names_blas_and_vector_code),
        cmocka_unit_test(alloc_is_zeroed_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
