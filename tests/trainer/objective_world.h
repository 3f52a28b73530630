/* What the tests of the span objectives share: windows of random text, rows made from them, and the way back. */
#ifndef TESTS_TRAINER_OBJECTIVE_WORLD_H
#define TESTS_TRAINER_OBJECTIVE_WORLD_H

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"
#include "trainer/objective.h"

/* Text is bytes; above them pad, end, modes, and 100 sentinels that count down from the last token. */
enum { TEXT = 256, PAD = 256, END = 257, MODE_TOKEN_R = 258, VOCABULARY = 361, SENTINEL = VOCABULARY - 1 };

static inline struct objective_spec span_spec(enum objective_name name, bool modes)
{
    struct objective_spec spec = objective_defaults(FAMILY_T5);
    spec.name = name;
    spec.pad_token = PAD;
    spec.eos_token = END;
    spec.sentinel_first = SENTINEL;
    spec.sentinel_count = 100;
    for (int mode = 0; modes && mode < MODE_COUNT; mode++)
        spec.mode_tokens[mode] = MODE_TOKEN_R + mode;
    return spec;
}

static inline struct shape model_shape(enum family family, int context)
{
    struct shape shape = {
        .family = family, .layers = 1, .width = 8, .heads = 2, .kv_heads = 2, .head_size = 4, .ff = 8,
        .context = context, .vocabulary = VOCABULARY, .tied = true, .activation = ACTIVATION_RELU, .norm_epsilon = 1e-6,
    };
    if (family == FAMILY_T5) {
        shape.decoder_layers = 1;
        shape.buckets = 32;
        shape.bucket_distance = 128;
        shape.scaled_head = true;
    }
    return shape;
}

/* context + 1 tokens of text. */
static inline int32_t *text_new(int context, uint64_t seed)
{
    int32_t *tokens = memory_array((size_t)context + 1, sizeof *tokens);
    struct rng rng = rng_stream(seed, 0, RNG_DATA);
    assert_non_null(tokens);
    for (int i = 0; i <= context; i++)
        tokens[i] = (int32_t)rng_below(&rng, TEXT);
    return tokens;
}

/* Puts the runs of `target` back where their sentinels stand in `input` and compares with the text. Sentinels must come
 * in order from the first. Returns how many tokens of text there were; *spans: how many runs. */
static inline int rebuilt(const int32_t *input, int inputs, const int32_t *target, int targets, const int32_t *text,
                          int *spans)
{
    int length = 0, at = 0;
    *spans = 0;
    assert_int_equal(target[targets - 1], END);
    for (int i = 0; i < inputs; i++) {
        if (input[i] < TEXT) {
            assert_int_equal(input[i], text[length++]);
            continue;
        }
        assert_int_equal(input[i], SENTINEL - *spans);
        assert_int_equal(target[at++], SENTINEL - *spans);
        assert_true(target[at] < TEXT);
        while (target[at] < TEXT)
            assert_int_equal(target[at++], text[length++]);
        ++*spans;
    }
    assert_int_equal(at, targets - 1);
    return length;
}

static inline void refused(const struct objective_spec *spec, const struct shape *shape, int context,
                           const char *pointer)
{
    struct error error = {0};
    assert_fails(objective_check(spec, shape, context, &error), ERROR_INVALID, &error);
    assert_true(error.detail_count > 0);
    assert_string_equal(error.details[0].pointer, pointer);
}

#endif
