/* The t5 network: gradients against central differences in double, the cpu body against the reference, and what its
 * parts mean: which positions see which, padding, buckets of relative positions, the scaled head. */
#include "tests/model/network_checks.h"

#include <stdlib.h>

#include "model/block_relative.h"

/* Head size times heads is not the width, the stacks differ in depth, nothing a multiple of a vector. */
static struct shape t5_shape(bool tied, bool gated)
{
    return (struct shape){
        .family = FAMILY_T5, .layers = 2, .decoder_layers = 3, .width = 7, .heads = 3, .kv_heads = 3, .head_size = 2,
        .ff = 5, .context = 9, .vocabulary = 11, .tied = tied, .gated = gated, .buckets = 6, .bucket_distance = 5,
        .activation = gated ? ACTIVATION_GELU_TANH : ACTIVATION_RELU, .norm_epsilon = 1e-6, .scaled_head = tied,
    };
}

enum { ROWS_MOST = 4, CONTEXT_MOST = 128 };
static int32_t decoder_inputs[ROWS_MOST * CONTEXT_MOST];
static unsigned char masks[2][ROWS_MOST * CONTEXT_MOST];
static int decoder_context;        /* of the batches that are made next */

/* The decoder's side: its own tokens, of another length than the encoder's. */
static void with_decoder(struct batch *batch)
{
    struct rng rng = rng_stream(9, 1, RNG_DATA);
    assert_true(batch->rows <= ROWS_MOST && decoder_context <= CONTEXT_MOST);
    for (int i = 0; i < batch->rows * decoder_context; i++)
        decoder_inputs[i] = (int32_t)rng_below(&rng, 11);
    batch->decoder_context = decoder_context;
    batch->decoder_inputs = decoder_inputs;
}

/* Rows padded behind, each by another length; the targets there are ignored, as objectives make them. */
static void with_padding(struct batch *batch)
{
    with_decoder(batch);
    for (int b = 0; b < batch->rows; b++) {
        for (int t = 0; t < batch->context; t++)
            masks[0][b * batch->context + t] = t < batch->context - 1 - b;
        for (int t = 0; t < decoder_context; t++)
            masks[1][b * decoder_context + t] = t < decoder_context - b;
    }
    batch->mask = masks[0];
    batch->decoder_mask = masks[1];
}

/* ---- the gradient is the derivative ---- */

struct variant {
    const char *title;
    bool tied, gated, scaled;
    int context, decoder_context;
    void (*vary)(struct batch *);
};

static const struct variant variants[] = {
    {"tied, scaled, relu", true, false, true, 5, 5, with_decoder},
    {"own head, gated", false, true, false, 5, 5, with_decoder},
    {"tied, unscaled, gated", true, true, false, 6, 4, with_decoder},
    {"own head, scaled, relu", false, false, true, 3, 8, with_decoder},
    {"tied, scaled, gated, padding", true, true, true, 7, 5, with_padding},
    {"own head, relu, padding", false, false, false, 5, 7, with_padding},
};

static void gradient_of_every_tensor_is_the_derivative(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variants / sizeof variants[0]; i++) {
        const struct variant *variant = &variants[i];
        struct network_fixture fixture;
        struct shape shape = t5_shape(variant->tied, variant->gated);
        shape.scaled_head = variant->scaled;
        fixture_init(&fixture, kernels_ref_double(), &shape, 2, 8, true);
        fixture.batch.context = variant->context;
        decoder_context = variant->decoder_context;
        variant->vary(&fixture.batch);
        fixture.targets[2] = TARGET_IGNORED;
        /* Norms of short vectors bend too much for central differences. */
        const struct tensor *shared = tensor_find(&fixture.table, "shared.weight");
        for (size_t j = 0; j < shared->count; j++)
            ((double *)fixture.weights)[shared->offset + j] *= 3;
        print_message("  %s\n", variant->title);
        check_every_tensor(&fixture);
        fixture_fini(&fixture);
    }
}

/* ---- the cpu body ---- */

static void cpu_agrees_with_ref(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++)
        for (int gated = 0; gated < 2; gated++) {
            struct shape shape = t5_shape(tied, gated);
            decoder_context = 7;
            check_varied_against_ref(kernels_cpu(), &shape, 3, 9, with_decoder);
            check_varied_against_ref(kernels_cpu(), &shape, 3, 9, with_padding);
        }
}

/* Wider than a vector, longer than a block of queries. Weights as small as T5's own: unscaled scores of larger ones
 * would be nearly all or nothing, and float32 gradients of those are mostly rounding. */
static void cpu_agrees_with_ref_on_larger_sizes(void **state)
{
    (void)state;
    struct shape shape = t5_shape(true, true);
    struct network_fixture ref, cpu;
    shape.width = 48;
    shape.heads = shape.kv_heads = 5;
    shape.head_size = 12;
    shape.ff = 70;
    shape.context = 101;
    shape.buckets = 32;
    shape.bucket_distance = 64;
    decoder_context = 37;
    fixture_init(&ref, kernels_ref_float(), &shape, 2, 101, true);
    fixture_init(&cpu, kernels_cpu(), &shape, 2, 101, true);
    fixture_weights(&ref, 0.1);
    fixture_weights(&cpu, 0.1);
    with_padding(&ref.batch);
    with_padding(&cpu.batch);
    double expected = fixture_gradient(&ref, 0.01), loss = fixture_gradient(&cpu, 0.01);
    assert_near(loss / expected, 1, 1e-6);
    assert_close(gradients_residual(&cpu.table, cpu.gradients, ref.gradients), 2e-5);
    fixture_fini(&ref);
    fixture_fini(&cpu);
}

/* ---- what sees what; logits of two batches in double ---- */

static double *logits_of(struct network_fixture *fixture, const struct batch *batch)
{
    size_t count = (size_t)batch->rows * (size_t)batch->decoder_context * (size_t)fixture->table.shape.vocabulary;
    double *logits = memory_array(count, sizeof *logits);
    assert_non_null(logits);
    network_logits(fixture->network, fixture->weights, batch, logits);
    return logits;
}

/* Do the logits of decoder positions [0, same) of row `row` agree, and those behind differ? */
static void check_positions(const double *a, const double *b, int row, int same)
{
    for (int t = 0; t < decoder_context; t++) {
        double difference = 0;
        for (int v = 0; v < 11; v++)
            difference = fmax(difference, fabs(a[(row * decoder_context + t) * 11 + v] -
                                               b[(row * decoder_context + t) * 11 + v]));
        if (t < same)
            assert_true(difference == 0);
        else
            assert_true(difference > 1e-6);
    }
}

static void start(struct network_fixture *fixture, int context, void (*vary)(struct batch *))
{
    struct shape shape = t5_shape(true, false);
    fixture_init(fixture, kernels_ref_double(), &shape, 2, 9, false);
    fixture->batch.context = context;
    decoder_context = 6;
    vary(&fixture->batch);
}

static void decoder_sees_the_whole_encoder_and_only_its_own_past(void **state)
{
    (void)state;
    struct network_fixture fixture;
    start(&fixture, 8, with_decoder);
    double *before = logits_of(&fixture, &fixture.batch);
    decoder_inputs[4] = (decoder_inputs[4] + 1) % 11;
    double *decoder = logits_of(&fixture, &fixture.batch);
    check_positions(before, decoder, 0, 4);
    check_positions(before, decoder, 1, decoder_context);
    decoder_inputs[4] = (decoder_inputs[4] + 10) % 11;
    fixture.inputs[8 + 7] = (fixture.inputs[8 + 7] + 1) % 11;      /* row 1, its last position */
    double *encoder = logits_of(&fixture, &fixture.batch);
    check_positions(before, encoder, 0, decoder_context);
    check_positions(before, encoder, 1, 0);
    memory_free(before);
    memory_free(decoder);
    memory_free(encoder);
    fixture_fini(&fixture);
}

static void padding_of_the_encoder_is_as_if_it_were_not_there(void **state)
{
    (void)state;
    struct network_fixture fixture;
    start(&fixture, 8, with_padding);
    struct batch one = fixture.batch, cut;
    one.rows = 1;
    cut = one;
    cut.context = 7;               /* row 0 is padded by one */
    cut.mask = NULL;
    double *padded = logits_of(&fixture, &one), *shorter = logits_of(&fixture, &cut);
    double difference = 0;
    for (int i = 0; i < decoder_context * 11; i++)
        difference = fmax(difference, fabs(padded[i] - shorter[i]));
    assert_close(difference, 1e-12);
    memory_free(padded);
    memory_free(shorter);
    fixture_fini(&fixture);
}

/* A network without room for a backward pass shares buffers among layers. */
static void forward_only_network_computes_the_same(void **state)
{
    (void)state;
    for (int gated = 0; gated < 2; gated++) {
        struct shape shape = t5_shape(false, gated);
        struct network_fixture kept, shared;
        double losses[2][2];
        int counts[2][2];
        fixture_init(&kept, kernels_ref_double(), &shape, 2, 9, true);
        fixture_init(&shared, kernels_ref_double(), &shape, 2, 9, false);
        decoder_context = 5;
        with_padding(&kept.batch);
        with_padding(&shared.batch);
        kept.targets[9] = shared.targets[9] = TARGET_IGNORED;
        network_loss(kept.network, kept.weights, &kept.batch, losses[0], counts[0]);
        network_loss(shared.network, shared.weights, &shared.batch, losses[1], counts[1]);
        double *a = logits_of(&kept, &kept.batch), *b = logits_of(&shared, &shared.batch);
        assert_memory_equal(a, b, sizeof(double) * 2 * 5 * 11);
        assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
        assert_int_equal(counts[0][0], 5);
        assert_int_equal(counts[0][1], 4);      /* targets are the decoder's: row 1 is [5, 10) */
        assert_memory_equal(counts[0], counts[1], sizeof counts[0]);
        memory_free(a);
        memory_free(b);
        fixture_fini(&kept);
        fixture_fini(&shared);
    }
}

static void scaled_head_divides_the_logits_by_the_root_of_the_width(void **state)
{
    (void)state;
    struct network_fixture plain, scaled;
    struct shape shape = t5_shape(true, false);
    shape.scaled_head = false;
    fixture_init(&plain, kernels_ref_double(), &shape, 2, 9, false);
    shape.scaled_head = true;
    fixture_init(&scaled, kernels_ref_double(), &shape, 2, 9, false);
    decoder_context = 4;
    with_decoder(&plain.batch);
    with_decoder(&scaled.batch);
    double *a = logits_of(&plain, &plain.batch), *b = logits_of(&scaled, &scaled.batch), difference = 0;
    for (int i = 0; i < 2 * 4 * 11; i++)
        difference = fmax(difference, fabs(a[i] / sqrt(7) - b[i]));
    assert_close(difference, 1e-14);
    memory_free(a);
    memory_free(b);
    fixture_fini(&plain);
    fixture_fini(&scaled);
}

/* Buffers as long as either side needs: less memory, the same bits. */
static void sides_of_their_own_lengths_compute_the_same(void **state)
{
    static const int lengths[][2] = {{9, 4}, {4, 9}, {1, 9}, {9, 1}};
    (void)state;
    struct shape shape = t5_shape(true, true);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int recompute = 0; recompute < 2; recompute++) {
            struct network_fixture whole, fitted;
            struct error error = {0};
            struct network_sizes sizes = {
                .rows = 2, .context = lengths[i][0], .decoder_context = lengths[i][1], .gradients = true,
                .recompute = recompute,
            };
            decoder_context = lengths[i][1];
            fixture_init(&whole, kernels_cpu(), &shape, 2, 9, true);
            fixture_init(&fitted, kernels_cpu(), &shape, 2, 9, true);
            network_free(fitted.network);
            assert_ok(network_new_sized(&fitted.network, kernels_cpu(), &fitted.table, &sizes, &error), &error);
            assert_true(network_sizes_bytes(kernels_cpu(), &shape, &sizes) <
                        network_bytes(kernels_cpu(), &shape, 2, 9, true));
            whole.batch.context = fitted.batch.context = lengths[i][0];
            with_decoder(&whole.batch);
            with_decoder(&fitted.batch);
            assert_true(fixture_gradient(&whole, 0.5) == fixture_gradient(&fitted, 0.5));
            assert_memory_equal(whole.gradients, fitted.gradients, whole.table.slab * sizeof(float));
            fixture_fini(&whole);
            fixture_fini(&fitted);
        }
    struct network *network;
    struct network_fixture fixture;
    struct error error = {0};
    struct network_sizes sizes = {.rows = 1, .context = 9, .decoder_context = 10};
    fixture_init(&fixture, kernels_cpu(), &shape, 2, 9, false);
    assert_fails(network_new_sized(&network, kernels_cpu(), &fixture.table, &sizes, &error), ERROR_INVALID, &error);
    fixture_fini(&fixture);
}

static void equal_batches_give_equal_bits(void **state)
{
    (void)state;
    struct network_fixture fixture;
    struct shape shape = t5_shape(true, true);
    fixture_init(&fixture, kernels_cpu(), &shape, 2, 9, true);
    decoder_context = 7;
    with_padding(&fixture.batch);
    size_t bytes = fixture.table.slab * sizeof(float);
    void *first = memory_new(bytes);
    assert_non_null(first);
    double loss = fixture_gradient(&fixture, 0.5);
    memcpy(first, fixture.gradients, bytes);
    assert_true(loss == fixture_gradient(&fixture, 0.5));
    assert_memory_equal(first, fixture.gradients, bytes);
    memory_free(first);
    fixture_fini(&fixture);
}

/* ---- buckets ---- */

/* The definition once more, in exact terms: the largest number of logarithmic steps k with
 * exact * (farthest / exact)^(k / steps) <= away, that is away^steps >= exact^(steps - k) * farthest^k. */
static int plain_bucket(int distance, bool bidirectional, int buckets, int farthest)
{
    int first = 0, away = abs(distance);
    if (bidirectional) {
        buckets /= 2;
        first = distance > 0 ? buckets : 0;
    } else {
        away = distance < 0 ? -distance : 0;
    }
    int exact = buckets / 2, steps = buckets - exact, k = 0;
    if (away < exact)
        return first + away;
    while (k + 1 < steps && steps * log(away) * (1 + 1e-12) >= (steps - k - 1) * log(exact) + (k + 1) * log(farthest))
        k++;
    return first + exact + k;
}

static void buckets_are_those_of_the_definition(void **state)
{
    static const int sizes[][2] = {{32, 128}, {32, 64}, {6, 5}, {8, 20}, {4, 3}, {64, 1000}, {10, 128}};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int way = 0; way < 2; way++)
            for (int distance = -1500; distance <= 1500; distance++)
                if (relative_bucket(distance, way, sizes[i][0], sizes[i][1]) !=
                    plain_bucket(distance, way, sizes[i][0], sizes[i][1]))
                    fail_msg("%d buckets to %d, distance %d, %s: %d, not %d", sizes[i][0], sizes[i][1], distance,
                             way ? "both ways" : "one way",
                             relative_bucket(distance, way, sizes[i][0], sizes[i][1]),
                             plain_bucket(distance, way, sizes[i][0], sizes[i][1]));
}

/* As transformers gives them for the default sizes: distances where a bucket begins, key before query. */
static void buckets_of_the_default_sizes_begin_where_transformers_has_them(void **state)
{
    static const int both[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91};
    static const int causal[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                   16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113};
    (void)state;
    for (int i = 0; i < 16; i++) {
        assert_int_equal(relative_bucket(-both[i], true, 32, 128), i);
        if (i > 0) {
            assert_int_equal(relative_bucket(1 - both[i], true, 32, 128), i - 1);
            assert_int_equal(relative_bucket(both[i], true, 32, 128), 16 + i);
        }
    }
    for (int i = 0; i < 32; i++) {
        assert_int_equal(relative_bucket(-causal[i], false, 32, 128), i);
        assert_int_equal(relative_bucket(causal[i], false, 32, 128), 0);
        if (i > 0)
            assert_int_equal(relative_bucket(1 - causal[i], false, 32, 128), i - 1);
    }
}

TEST_MAIN(cmocka_unit_test(gradient_of_every_tensor_is_the_derivative), cmocka_unit_test(cpu_agrees_with_ref),
          cmocka_unit_test(cpu_agrees_with_ref_on_larger_sizes),
          cmocka_unit_test(decoder_sees_the_whole_encoder_and_only_its_own_past),
          cmocka_unit_test(padding_of_the_encoder_is_as_if_it_were_not_there),
          cmocka_unit_test(forward_only_network_computes_the_same),
          cmocka_unit_test(scaled_head_divides_the_logits_by_the_root_of_the_width),
          cmocka_unit_test(sides_of_their_own_lengths_compute_the_same),
          cmocka_unit_test(equal_batches_give_equal_bits), cmocka_unit_test(buckets_are_those_of_the_definition),
          cmocka_unit_test(buckets_of_the_default_sizes_begin_where_transformers_has_them))
