/* Every kind of attention that a family or an objective asks for, at some sizes, for the tests of kernels. */
#ifndef TESTS_MODEL_ATTENTION_VARIANTS_H
#define TESTS_MODEL_ATTENTION_VARIANTS_H

#include "tests/model/numbers.h"

enum { VARIANT_BATCH = 3, VARIANT_POSITIONS_MAX = 128, VARIANT_BUCKETS = 6 };

/* What is hidden by key_mask. */
enum padding { PADDING_NONE, PADDING_RIGHT, PADDING_LEFT, PADDING_SCATTERED };

struct attention_variant {
    const char *name;
    bool causal, has_prefix, has_bias, is_cross;
    int window;
    enum padding padding;
};

static const struct attention_variant attention_variants[] = {
    {.name = "causal", .causal = true},
    {.name = "all keys"},
    {.name = "window", .causal = true, .window = 3},
    {.name = "window of one", .causal = true, .window = 1},
    {.name = "wide window", .causal = true, .window = 37},
    {.name = "prefix", .causal = true, .has_prefix = true},
    {.name = "prefix and window", .causal = true, .has_prefix = true, .window = 4},
    {.name = "padding", .padding = PADDING_RIGHT},
    {.name = "scattered padding", .padding = PADDING_SCATTERED},
    {.name = "causal, padded left", .causal = true, .padding = PADDING_LEFT},
    {.name = "window, padded left", .causal = true, .window = 3, .padding = PADDING_LEFT},
    {.name = "window, scattered padding", .causal = true, .window = 2, .padding = PADDING_SCATTERED},
    {.name = "bias", .has_bias = true},
    {.name = "bias, causal", .has_bias = true, .causal = true},
    {.name = "bias and padding", .has_bias = true, .padding = PADDING_SCATTERED},
    {.name = "cross", .is_cross = true},
    {.name = "cross with padding", .is_cross = true, .padding = PADDING_RIGHT},
    {.name = "cross with bias", .is_cross = true, .has_bias = true, .padding = PADDING_LEFT},
    {.name = "everything", .causal = true, .window = 5, .has_prefix = true, .has_bias = true,
     .padding = PADDING_SCATTERED},
};
enum { VARIANTS = sizeof attention_variants / sizeof attention_variants[0] };

/* Host arrays that a struct attention points to. */
struct variant_masks {
    int32_t prefix[VARIANT_BATCH], buckets[2 * VARIANT_POSITIONS_MAX];
    unsigned char key_mask[VARIANT_BATCH * VARIANT_POSITIONS_MAX];
};

static inline bool variant_shows_key(enum padding padding, int b, int s, int keys)
{
    int shown = b == 0 ? keys : b == 1 ? keys / 3 + 1 : 0;    /* the last row is padding alone */
    switch (padding) {
    case PADDING_RIGHT: return s < shown;
    case PADDING_LEFT: return s >= keys - shown;
    case PADDING_SCATTERED: return b < 2 && (s * 7 + b) % 3 != 0;
    default: return true;
    }
}

/* q (B, Q, H D + 1) apart from kv (B, K, 2 G D + 2) with k before v; out (B, Q, H D + 3). */
static inline struct attention variant_sizes(const struct attention_variant *variant, int heads, int kv_heads,
                                             int head_size, int queries, int cross_keys, struct variant_masks *masks)
{
    int keys = variant->is_cross ? cross_keys : queries;
    for (int b = 0; b < VARIANT_BATCH; b++) {
        masks->prefix[b] = b == 0 ? 0 : b == 1 ? queries / 2 : queries;
        for (int s = 0; s < keys; s++)
            masks->key_mask[b * keys + s] = variant_shows_key(variant->padding, b, s, keys) ? 1 + (unsigned char)s : 0;
    }
    for (int i = 0; i < queries + keys - 1; i++)
        masks->buckets[i] = i * i % VARIANT_BUCKETS;
    return (struct attention){
        .batch = VARIANT_BATCH, .heads = heads, .kv_heads = kv_heads, .head_size = head_size,
        .queries = queries, .keys = keys, .causal = variant->causal, .scale = 0.7,
        .q_stride = heads * head_size + 1, .kv_stride = 2 * kv_heads * head_size + 2,
        .out_stride = heads * head_size + 3, .window = variant->window,
        .prefix = variant->has_prefix ? masks->prefix : NULL,
        .key_mask = variant->padding != PADDING_NONE ? masks->key_mask : NULL,
        .bias_buckets = variant->has_bias ? masks->buckets : NULL,
        .buckets = variant->has_bias ? VARIANT_BUCKETS : 0,
    };
}

#endif
