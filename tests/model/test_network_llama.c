/* The llama, mistral and qwen2 networks: gradients against central differences in double, the cpu body against the
 * reference, and what the parts mean: which positions see which, grouped queries, rotary frequencies. */
#include "tests/model/network_checks.h"

#include "model/block_rotary.h"

/* Head sizes and widths that do not fill each other, 3 kv heads, nothing a multiple of a vector. */
static struct shape llama_shape(enum family family, bool tied)
{
    return (struct shape){
        .family = family, .layers = 2, .width = 7, .heads = 6, .kv_heads = 3, .head_size = 2, .ff = 5, .context = 9,
        .vocabulary = 11, .tied = tied, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5,
        .rope = {.theta = 1e4}, .attention_bias = family == FAMILY_QWEN2,
    };
}

static const int32_t prefixes[4] = {3, 0, 7, 1};
static unsigned char masks[4 * 128];

static void with_prefix(struct batch *batch)
{
    batch->prefix = prefixes;
}

/* Row 0 is padded in front (its first query sees nothing), the others behind. */
static void with_mask(struct batch *batch)
{
    for (int b = 0; b < batch->rows; b++)
        for (int t = 0; t < batch->context; t++)
            masks[b * batch->context + t] = b == 0 ? t >= 2 : t < batch->context - b;
    batch->mask = masks;
}

static void with_both(struct batch *batch)
{
    with_prefix(batch);
    with_mask(batch);
}

/* ---- the gradient is the derivative ---- */

struct variant {
    const char *title;
    enum family family;
    bool tied, attention_bias, mlp_bias;
    int kv_heads, head_size, window;
    struct rope rope;
    void (*vary)(struct batch *);
};

#define LLAMA3 {.theta = 50, .scaling = ROPE_LLAMA3, .factor = 8, .low_frequency = 1, .high_frequency = 4, \
                .original_context = 24}

static const struct variant variants[] = {
    {"llama, own head", FAMILY_LLAMA, false, false, false, 3, 4, 0, {.theta = 1e4}, NULL},
    {"llama, tied", FAMILY_LLAMA, true, false, false, 3, 2, 0, {.theta = 1e4}, NULL},
    {"llama, all biases", FAMILY_LLAMA, false, true, true, 2, 4, 0, {.theta = 5e5}, NULL},
    {"llama, one kv head", FAMILY_LLAMA, true, false, true, 1, 6, 0, {.theta = 1e4}, NULL},
    {"llama, as many kv heads as heads", FAMILY_LLAMA, true, true, false, 6, 2, 0, {.theta = 1e4}, NULL},
    {"llama, linear", FAMILY_LLAMA, true, false, false, 3, 4, 0,
     {.theta = 100, .scaling = ROPE_LINEAR, .factor = 3}, NULL},
    {"llama, dynamic", FAMILY_LLAMA, true, false, false, 3, 4, 0,
     {.theta = 100, .scaling = ROPE_DYNAMIC, .factor = 2}, NULL},
    {"llama, llama3", FAMILY_LLAMA, true, false, false, 3, 8, 0, LLAMA3, NULL},
    {"llama, prefix", FAMILY_LLAMA, false, false, false, 3, 4, 0, {.theta = 10}, with_prefix},
    {"llama, mask", FAMILY_LLAMA, true, true, true, 3, 4, 0, {.theta = 10}, with_mask},
    {"mistral, window", FAMILY_MISTRAL, false, false, false, 3, 4, 3, {.theta = 10}, NULL},
    {"mistral, window, prefix and mask", FAMILY_MISTRAL, true, false, false, 2, 2, 4, {.theta = 10}, with_both},
    {"qwen2, tied", FAMILY_QWEN2, true, true, false, 3, 2, 0, {.theta = 1e6}, NULL},
    {"qwen2, own head, mask", FAMILY_QWEN2, false, true, false, 2, 4, 0, {.theta = 1e6}, with_mask},
};

static void gradient_of_every_tensor_is_the_derivative(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        const struct variant *variant = &variants[i];
        struct network_fixture fixture;
        struct shape shape = llama_shape(variant->family, variant->tied);
        shape.attention_bias = variant->attention_bias;
        shape.mlp_bias = variant->mlp_bias;
        shape.kv_heads = variant->kv_heads;
        shape.head_size = variant->head_size;
        shape.window = variant->window;
        shape.rope = variant->rope;
        print_message("  %s\n", variant->title);
        fixture_init(&fixture, kernels_ref_double(), &shape, 2, 9, true);
        if (variant->vary != NULL)
            variant->vary(&fixture.batch);
        fixture.targets[3] = TARGET_IGNORED;
        check_every_tensor(&fixture);
        fixture_fini(&fixture);
    }
}

/* ---- the cpu body against the reference ---- */

static void cpu_agrees_with_ref_on_awkward_sizes(void **state)
{
    (void)state;
    struct shape odd = llama_shape(FAMILY_LLAMA, true), wide = llama_shape(FAMILY_MISTRAL, false);
    struct shape biased = llama_shape(FAMILY_QWEN2, false), least = llama_shape(FAMILY_LLAMA, true);
    odd.width = 45, odd.heads = 9, odd.head_size = 10, odd.ff = 101, odd.context = 37, odd.vocabulary = 53;
    odd.attention_bias = odd.mlp_bias = true;
    wide.width = 31, wide.heads = 4, wide.kv_heads = 2, wide.head_size = 18, wide.ff = 77, wide.context = 70;
    wide.window = 13;
    biased.width = 24, biased.head_size = 16, biased.ff = 51, biased.context = 67, biased.vocabulary = 67;
    least.layers = least.width = least.heads = least.kv_heads = least.ff = least.context = 1, least.vocabulary = 2;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        check_against_ref(*form, &odd, 3, 37);
        check_varied_against_ref(*form, &odd, 3, 33, with_both);
        check_against_ref(*form, &wide, 2, 67);
        check_varied_against_ref(*form, &wide, 4, 66, with_mask);
        check_against_ref(*form, &biased, 2, 65);
        check_varied_against_ref(*form, &biased, 2, 31, with_prefix);
        check_against_ref(*form, &least, 1, 1);
    }
}

/* ---- who sees whom ---- */

enum { ROWS = 2, CONTEXT = 9, VOCABULARY = 11, NUMBERS = ROWS * CONTEXT * VOCABULARY };

/* Changes the token at (b, s); seen[t] tells whether the logits of row b at t moved. No other row may move. */
static void find_seen(struct network_fixture *fixture, int b, int s, bool seen[CONTEXT])
{
    static double before[NUMBERS], after[NUMBERS];
    int32_t *token = &fixture->inputs[b * CONTEXT + s];
    network_logits(fixture->network, fixture->weights, &fixture->batch, before);
    *token = (*token + 1) % VOCABULARY;
    network_logits(fixture->network, fixture->weights, &fixture->batch, after);
    for (int row = 0; row < ROWS; row++)
        for (int t = 0; t < CONTEXT; t++) {
            size_t at = (size_t)(row * CONTEXT + t) * VOCABULARY;
            bool moved = memcmp(before + at, after + at, VOCABULARY * sizeof(double)) != 0;
            if (row == b)
                seen[t] = moved;
            else
                assert_false(moved);
        }
}

/* One layer: position t sees s directly or not at all. */
static void check_sight(int window, void (*vary)(struct batch *))
{
    struct network_fixture fixture;
    struct shape shape = llama_shape(FAMILY_MISTRAL, false);
    shape.layers = 1;
    shape.window = window;
    fixture_init(&fixture, kernels_ref_double(), &shape, ROWS, CONTEXT, false);
    if (vary != NULL)
        vary(&fixture.batch);
    const struct batch *batch = &fixture.batch;
    for (int b = 0; b < ROWS; b++)
        for (int s = 0; s < CONTEXT; s++) {
            bool seen[CONTEXT], there = batch->mask == NULL || batch->mask[b * CONTEXT + s] != 0;
            int prefix = batch->prefix == NULL ? 0 : batch->prefix[b];
            find_seen(&fixture, b, s, seen);
            for (int t = 0; t < CONTEXT; t++) {
                bool expected = there && (s <= t || s < prefix) && (window == 0 || t - s < window);
                assert_int_equal(seen[t], expected || s == t);
            }
        }
    fixture_fini(&fixture);
}

static void positions_see_what_window_prefix_and_mask_allow(void **state)
{
    (void)state;
    check_sight(0, NULL);
    check_sight(3, NULL);
    check_sight(0, with_prefix);
    check_sight(0, with_mask);
    check_sight(4, with_both);
}

static void a_window_as_long_as_the_context_changes_nothing(void **state)
{
    (void)state;
    struct network_fixture open, windowed;
    struct shape shape = llama_shape(FAMILY_MISTRAL, true);
    double a[NUMBERS], b[NUMBERS];
    fixture_init(&open, kernels_ref_double(), &shape, ROWS, CONTEXT, false);
    shape.window = CONTEXT;
    fixture_init(&windowed, kernels_ref_double(), &shape, ROWS, CONTEXT, false);
    network_logits(open.network, open.weights, &open.batch, a);
    network_logits(windowed.network, windowed.weights, &windowed.batch, b);
    assert_memory_equal(a, b, sizeof a);
    fixture_fini(&open);
    fixture_fini(&windowed);
}

/* ---- grouped queries: query h reads kv head h / g ---- */

static double *weights_of(struct network_fixture *fixture, enum role role, int layer)
{
    return (double *)fixture->weights + tensor_find_role(&fixture->table, role, layer, 0)->offset;
}

static void grouped_queries_equal_repeated_kv_heads(void **state)
{
    (void)state;
    struct network_fixture grouped, repeated;
    struct shape shape = llama_shape(FAMILY_LLAMA, true), many = shape;
    double a[NUMBERS], b[NUMBERS];
    many.kv_heads = many.heads;
    fixture_init(&grouped, kernels_ref_double(), &shape, ROWS, CONTEXT, false);
    fixture_init(&repeated, kernels_ref_double(), &many, ROWS, CONTEXT, false);
    for (int i = 0; i < grouped.table.count; i++) {
        const struct tensor *from = &grouped.table.tensors[i], *to = &repeated.table.tensors[i];
        if (from->count == to->count)
            memcpy((double *)repeated.weights + to->offset, (double *)grouped.weights + from->offset,
                   from->count * sizeof(double));
    }
    size_t head = (size_t)(shape.head_size * shape.width);
    for (int layer = 0; layer < shape.layers; layer++)
        for (int h = 0; h < many.kv_heads; h++) {
            size_t to = (size_t)h * head, from = (size_t)(h / 2) * head;
            memcpy(weights_of(&repeated, ROLE_KEY, layer) + to, weights_of(&grouped, ROLE_KEY, layer) + from,
                   head * sizeof(double));
            memcpy(weights_of(&repeated, ROLE_VALUE, layer) + to, weights_of(&grouped, ROLE_VALUE, layer) + from,
                   head * sizeof(double));
        }
    network_logits(grouped.network, grouped.weights, &grouped.batch, a);
    network_logits(repeated.network, repeated.weights, &repeated.batch, b);
    assert_close(largest_difference_double(a, b, NUMBERS), 1e-13);
    fixture_fini(&grouped);
    fixture_fini(&repeated);
}

/* ---- rotary frequencies ---- */

/* The formulas in double; the code computes in float32 as transformers does. */
static double plain_frequency(double theta, int pair, int head_size)
{
    return pow(theta, -2.0 * pair / head_size);
}

static void check_frequencies(const struct shape *shape, int positions, double (*expected)(const struct shape *, int))
{
    float frequencies[64];
    rotary_frequencies(shape, positions, 0, shape->head_size / 2, frequencies);
    for (int pair = 0; pair < shape->head_size / 2; pair++)
        assert_near((double)frequencies[pair] / expected(shape, pair), 1, 4e-7);
    float later;
    rotary_frequencies(shape, positions, 5, 1, &later);
    assert_true(later == frequencies[5]);
}

static double expected_plain(const struct shape *shape, int pair)
{
    return plain_frequency(shape->rope.theta, pair, shape->head_size);
}

static double expected_linear(const struct shape *shape, int pair)
{
    return expected_plain(shape, pair) / 4;
}

/* 3 times the context: theta (2 * 3 - 1)^(64 / 62). */
static double expected_dynamic(const struct shape *shape, int pair)
{
    return plain_frequency(1e4 * pow(5, 64.0 / 62), pair, shape->head_size);
}

static double expected_llama3(const struct shape *shape, int pair)
{
    double frequency = expected_plain(shape, pair), turns = 8192 * frequency / (2 * M_PI);
    if (turns > 4)
        return frequency;
    if (turns < 1)
        return frequency / 8;
    double smooth = (turns - 1) / 3;
    return (1 - smooth) * frequency / 8 + smooth * frequency;
}

static void frequencies_follow_each_scaling(void **state)
{
    (void)state;
    struct shape shape = llama_shape(FAMILY_LLAMA, true);
    shape.head_size = 64;
    shape.context = 128;
    check_frequencies(&shape, 128, expected_plain);
    shape.rope = (struct rope){.theta = 1e4, .scaling = ROPE_LINEAR, .factor = 4};
    check_frequencies(&shape, 128, expected_linear);
    shape.rope = (struct rope){.theta = 1e4, .scaling = ROPE_DYNAMIC, .factor = 2};
    check_frequencies(&shape, 100, expected_plain);
    check_frequencies(&shape, 128, expected_plain);
    check_frequencies(&shape, 384, expected_dynamic);
    shape.rope = (struct rope){.theta = 5e5, .scaling = ROPE_LLAMA3, .factor = 8, .low_frequency = 1,
                               .high_frequency = 4, .original_context = 8192};
    check_frequencies(&shape, 128, expected_llama3);
}

/* Attention depends on differences of positions: with padding in front the same tokens give the same logits. */
static void positions_count_only_as_differences(void **state)
{
    (void)state;
    enum { SHIFT = 3 };
    struct network_fixture plain, shifted;
    struct shape shape = llama_shape(FAMILY_LLAMA, true);
    double a[NUMBERS], b[NUMBERS];
    unsigned char mask[ROWS * CONTEXT];
    shape.head_size = 8;
    fixture_init(&plain, kernels_ref_double(), &shape, ROWS, CONTEXT, false);
    fixture_init(&shifted, kernels_ref_double(), &shape, ROWS, CONTEXT, false);
    for (int b_row = 0; b_row < ROWS; b_row++)
        for (int t = 0; t < CONTEXT; t++) {
            mask[b_row * CONTEXT + t] = t >= SHIFT;
            if (t >= SHIFT)
                shifted.inputs[b_row * CONTEXT + t] = plain.inputs[b_row * CONTEXT + t - SHIFT];
        }
    shifted.batch.mask = mask;
    network_logits(plain.network, plain.weights, &plain.batch, a);
    network_logits(shifted.network, shifted.weights, &shifted.batch, b);
    for (int row = 0; row < ROWS; row++)
        assert_close(largest_difference_double(a + row * CONTEXT * VOCABULARY,
                                               b + (row * CONTEXT + SHIFT) * VOCABULARY,
                                               (CONTEXT - SHIFT) * VOCABULARY), 1e-5);
    fixture_fini(&plain);
    fixture_fini(&shifted);
}

/* ---- memory ---- */

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
    for (int gradients = 0; gradients < 2; gradients++) {
        struct error error = {0};
        struct shape shape = llama_shape(FAMILY_QWEN2, true);
        struct tensor_table table;
        struct network *network;
        counted_bytes = 0;
        assert_ok(tensor_table_init(&table, &shape, &error), &error);
        assert_ok(network_new(&network, &counting, &table, 3, 9, gradients, &error), &error);
        size_t stated = network_bytes(&counting, &shape, 3, 9, gradients);
        assert_true(stated >= counted_bytes && stated - counted_bytes <= 16384);
        network_free(network);
        tensor_table_fini(&table);
    }
}

static void a_network_without_gradients_gives_the_same_losses(void **state)
{
    (void)state;
    struct network_fixture with, without;
    struct shape shape = llama_shape(FAMILY_LLAMA, false);
    double a[4], b[4];
    shape.attention_bias = shape.mlp_bias = true;
    fixture_init(&with, kernels_cpu(), &shape, 4, CONTEXT, true);
    fixture_init(&without, kernels_cpu(), &shape, 4, CONTEXT, false);
    network_loss(with.network, with.weights, &with.batch, a, NULL);
    network_loss(without.network, without.weights, &without.batch, b, NULL);
    assert_memory_equal(a, b, sizeof a);
    fixture_fini(&with);
    fixture_fini(&without);
}

static void a_shorter_context_and_fewer_rows_fit_a_larger_network(void **state)
{
    (void)state;
    struct network_fixture small, large;
    struct shape shape = llama_shape(FAMILY_QWEN2, true);
    fixture_init(&small, kernels_ref_double(), &shape, 2, 5, true);
    fixture_init(&large, kernels_ref_double(), &shape, 4, CONTEXT, true);
    large.batch = small.batch;
    assert_true(fixture_gradient(&large, 1) == fixture_gradient(&small, 1));
    assert_memory_equal(large.gradients, small.gradients, small.table.slab * sizeof(double));
    fixture_fini(&small);
    fixture_fini(&large);
}

TEST_MAIN(cmocka_unit_test(gradient_of_every_tensor_is_the_derivative),
          cmocka_unit_test(cpu_agrees_with_ref_on_awkward_sizes),
          cmocka_unit_test(positions_see_what_window_prefix_and_mask_allow),
          cmocka_unit_test(a_window_as_long_as_the_context_changes_nothing),
          cmocka_unit_test(grouped_queries_equal_repeated_kv_heads),
          cmocka_unit_test(frequencies_follow_each_scaling), cmocka_unit_test(positions_count_only_as_differences),
          cmocka_unit_test(stated_bytes_are_the_allocated_ones),
          cmocka_unit_test(a_network_without_gradients_gives_the_same_losses),
          cmocka_unit_test(a_shorter_context_and_fewer_rows_fit_a_larger_network))
