/* Attention in all its kinds: the reference against its definition and central differences, every form of the cpu body
 * against the reference. */
#include "tests/model/shelf.h"

#include "tests/model/attention_variants.h"

static const double BOUND = 2e-8, CPU_BOUND = 4e-6;

/* ---- the reference ---- */

enum { HEADS = 4, KV_HEADS = 2, SIZE = 3, QUERIES = 7, KEYS = 9 };
enum { Q_STRIDE = HEADS * SIZE + 1, KV_STRIDE = 2 * KV_HEADS * SIZE + 2, OUT_STRIDE = HEADS * SIZE + 3 };
enum { Q_NUMBERS = VARIANT_BATCH * QUERIES * Q_STRIDE, KV_NUMBERS = VARIANT_BATCH * KEYS * KV_STRIDE };
enum { OUT_NUMBERS = VARIANT_BATCH * QUERIES * OUT_STRIDE, TABLE = VARIANT_BUCKETS * HEADS, SCRATCH = 64 };

struct reference_case {
    struct attention sizes;
    struct variant_masks masks;
    bool has_bias;
    double q[Q_NUMBERS], kv[KV_NUMBERS], table[TABLE], weight[OUT_NUMBERS], out[OUT_NUMBERS];
    double lse[VARIANT_BATCH * HEADS * QUERIES], scratch[SCRATCH];
};

static void reference_case_init(struct reference_case *c, const struct attention_variant *variant)
{
    memset(c, 0, sizeof *c);
    c->sizes = variant_sizes(variant, HEADS, KV_HEADS, SIZE, QUERIES, KEYS, &c->masks);
    c->has_bias = variant->has_bias;
    fill_normal(c->q, Q_NUMBERS, 1, 0, 1);
    fill_normal(c->kv, KV_NUMBERS, 2, 0, 1);
    fill_normal(c->table, TABLE, 3, 0, 1);
    fill_normal(c->weight, OUT_NUMBERS, 4, 0, 1);
    assert_true(kernels_ref_double()->ops->attention_scratch(&c->sizes) <= SCRATCH);
}

/* Sum of weight * out over what attention writes. */
static double reference_value(void *context)
{
    struct reference_case *c = context;
    struct attention_forward buffers = {
        .q = c->q, .k = c->kv, .v = c->kv + KV_HEADS * SIZE, .bias_table = c->has_bias ? c->table : NULL,
        .out = c->out, .lse = c->lse, .scratch = c->scratch,
    };
    kernels_ref_double()->ops->attention(&c->sizes, &buffers);
    return dot_doubles(c->weight, c->out, OUT_NUMBERS);
}

/* Does query t of row b see key s? As the variant says it, not as the kernel does. */
static bool query_sees(const struct attention_variant *variant, const struct reference_case *c, int b, int t, int s)
{
    if (variant->causal && s > t && !(variant->has_prefix && s < c->masks.prefix[b]))
        return false;
    if (variant->window > 0 && s <= t - variant->window)
        return false;
    return variant_shows_key(variant->padding, b, s, c->sizes.keys);
}

/* Largest difference of one query's output from the definition. */
static double query_residual(const struct attention_variant *variant, const struct reference_case *c, int b, int h,
                             int t)
{
    const double *q = c->q + (b * QUERIES + t) * Q_STRIDE + h * SIZE;
    double mixed[SIZE] = {0}, total = 0, worst = 0;
    for (int s = 0; s < c->sizes.keys; s++) {
        const double *k = c->kv + (b * c->sizes.keys + s) * KV_STRIDE + h / 2 * SIZE;
        if (!query_sees(variant, c, b, t, s))
            continue;
        double bias = c->has_bias ? c->table[c->masks.buckets[s - t + QUERIES - 1] * HEADS + h] : 0;
        double weight = exp(0.7 * dot_doubles(q, k, SIZE) + bias);
        total += weight;
        for (int d = 0; d < SIZE; d++)
            mixed[d] += weight * k[KV_HEADS * SIZE + d];
    }
    double lse = c->lse[(b * HEADS + h) * QUERIES + t];
    if (total == 0)
        assert_true(lse == -INFINITY);
    else
        worst = fabs(lse - log(total));
    for (int d = 0; d < SIZE; d++) {
        double expected = total == 0 ? 0 : mixed[d] / total;
        worst = fmax(worst, fabs(c->out[(b * QUERIES + t) * OUT_STRIDE + h * SIZE + d] - expected));
    }
    return worst;
}

static void every_kind_of_attention_is_what_its_definition_says(void **state)
{
    (void)state;
    static struct reference_case c;
    for (int i = 0; i < VARIANTS; i++) {
        double worst = 0;
        reference_case_init(&c, &attention_variants[i]);
        reference_value(&c);
        for (int b = 0; b < VARIANT_BATCH; b++)
            for (int h = 0; h < HEADS; h++)
                for (int t = 0; t < QUERIES; t++)
                    worst = fmax(worst, query_residual(&attention_variants[i], &c, b, h, t));
        print_message("    %s\n", attention_variants[i].name);
        assert_close(worst, 1e-13);
    }
}

static void every_kind_of_attention_backward_is_the_derivative(void **state)
{
    (void)state;
    static struct reference_case c;
    for (int i = 0; i < VARIANTS; i++) {
        double d_q[Q_NUMBERS] = {0}, d_kv[KV_NUMBERS] = {0}, d_table[TABLE] = {0};
        reference_case_init(&c, &attention_variants[i]);
        reference_value(&c);
        struct attention_backward buffers = {
            .q = c.q, .k = c.kv, .v = c.kv + KV_HEADS * SIZE, .out = c.out, .lse = c.lse, .d_out = c.weight,
            .bias_table = c.has_bias ? c.table : NULL, .d_q = d_q, .d_k = d_kv, .d_v = d_kv + KV_HEADS * SIZE,
            .d_bias_table = c.has_bias ? d_table : NULL, .scratch = c.scratch,
        };
        kernels_ref_double()->ops->attention_backward(&c.sizes, &buffers);
        print_message("    %s\n", attention_variants[i].name);
        assert_close(difference_residual(reference_value, &c, c.q, d_q, Q_NUMBERS), BOUND);
        assert_close(difference_residual(reference_value, &c, c.kv, d_kv, KV_NUMBERS), BOUND);
        assert_close(difference_residual(reference_value, &c, c.table, d_table, TABLE), BOUND);
    }
}

/* ---- the cpu body ---- */

static const struct attention_variant *variant;
static int head_size, query_count;

/* -Inf, where no key is seen, has no difference from itself. */
static void replace_infinite(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = isinf(x[i]) && x[i] < 0 ? 100 : x[i];
}

static void run_variant(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct variant_masks masks;
    struct attention sizes = variant_sizes(variant, 4, 2, head_size, query_count, 51, &masks);
    size_t queries = (size_t)(sizes.batch * sizes.queries), q_numbers = queries * (size_t)sizes.q_stride;
    size_t kv_numbers = (size_t)(sizes.batch * sizes.keys * sizes.kv_stride), table = VARIANT_BUCKETS * 4;
    size_t out_numbers = queries * (size_t)sizes.out_stride, lse_numbers = queries * 4;
    size_t values = 2 * (size_t)head_size;
    const float *q = shelf_normal(shelf, q_numbers, 1, 0, 1), *kv = shelf_normal(shelf, kv_numbers, 2, 0, 1);
    const float *bias = shelf_normal(shelf, table, 3, 0, 1), *d_out = shelf_normal(shelf, out_numbers, 4, 0, 1);
    float *out = shelf_take(shelf, out_numbers), *lse = shelf_take(shelf, lse_numbers);
    float *d_q = shelf_normal(shelf, q_numbers, 5, 0, 1), *d_kv = shelf_normal(shelf, kv_numbers, 6, 0, 1);
    float *d_bias = shelf_normal(shelf, table, 7, 0, 1);
    float *scratch = shelf_normal(shelf, kernels->ops->attention_scratch(&sizes), 8, 0, 1);
    struct attention_forward forward = {
        .q = q, .k = kv, .v = kv + values, .bias_table = variant->has_bias ? bias : NULL, .out = out, .lse = lse,
        .scratch = scratch,
    };
    struct attention_backward backward = {
        .q = q, .k = kv, .v = kv + values, .out = out, .lse = lse, .d_out = d_out,
        .bias_table = forward.bias_table, .d_q = d_q, .d_k = d_kv, .d_v = d_kv + values,
        .d_bias_table = variant->has_bias ? d_bias : NULL, .scratch = scratch,
    };
    kernels->ops->attention(&sizes, &forward);
    kernels->ops->attention_backward(&sizes, &backward);
    replace_infinite(lse, lse_numbers);
    result_add(result, out, out_numbers);
    result_add(result, lse, lse_numbers);
    result_add(result, d_q, q_numbers);
    result_add(result, d_kv, kv_numbers);
    result_add(result, d_bias, table);
}

static void every_kind_of_attention_agrees_with_ref(void **state)
{
    (void)state;
    static const int sizes[][2] = {{5, 77}, {16, 64}, {9, 33}, {8, 1}};
    for (int i = 0; i < VARIANTS; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            variant = &attention_variants[i];
            head_size = sizes[j][0];
            query_count = sizes[j][1];
            print_message("    %s, %d queries\n", variant->name, query_count);
            check_case(run_variant, CPU_BOUND);
        }
}

/* What padding hides may hold anything finite: neither results nor gradients change, and none arrives there. */
static void hidden_keys_change_no_bit_and_get_no_gradient(void **state)
{
    (void)state;
    enum { D = 7, T = 40, STRIDE = 3 * D, NUMBERS = T * STRIDE };
    unsigned char mask[T];
    for (int s = 0; s < T; s++)
        mask[s] = s % 5 != 1 && s < 35;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        struct attention sizes = {
            .batch = 1, .heads = 1, .kv_heads = 1, .head_size = D, .queries = T, .keys = T, .scale = 0.5,
            .q_stride = STRIDE, .kv_stride = STRIDE, .out_stride = D, .key_mask = mask,
        };
        float *x = floats_new(NUMBERS, 1), *d_out = floats_new(T * D, 2), *out[2], *d[2], lse[T];
        float *scratch = floats_new((*form)->ops->attention_scratch(&sizes), 3);
        for (int run = 0; run < 2; run++) {
            out[run] = floats_new(T * D, 4);
            d[run] = floats_new(NUMBERS, 5);
            for (int s = 0; s < T && run == 1; s++)
                for (int c = D; c < STRIDE && mask[s] == 0; c++)
                    x[s * STRIDE + c] = 1e3f * (float)c;
            struct attention_forward forward = {.q = x, .k = x + D, .v = x + 2 * D, .out = out[run], .lse = lse,
                                                .scratch = scratch};
            struct attention_backward backward = {
                .q = x, .k = x + D, .v = x + 2 * D, .out = out[run], .lse = lse, .d_out = d_out, .d_q = d[run],
                .d_k = d[run] + D, .d_v = d[run] + 2 * D, .scratch = scratch,
            };
            (*form)->ops->attention(&sizes, &forward);
            (*form)->ops->attention_backward(&sizes, &backward);
        }
        assert_memory_equal(out[0], out[1], T * D * sizeof(float));
        assert_memory_equal(d[0], d[1], NUMBERS * sizeof(float));
        for (int s = 0; s < T; s++)
            for (int c = D; c < STRIDE && mask[s] == 0; c++)
                assert_true(d[1][s * STRIDE + c] == 0);
        memory_free(x), memory_free(d_out), memory_free(scratch);
        for (int run = 0; run < 2; run++)
            memory_free(out[run]), memory_free(d[run]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_attention_is_what_its_definition_says),
        cmocka_unit_test(every_kind_of_attention_backward_is_the_derivative),
        cmocka_unit_test(every_kind_of_attention_agrees_with_ref),
        cmocka_unit_test(hidden_keys_change_no_bit_and_get_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
