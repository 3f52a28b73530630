/* A tiny shape of every kind of model that growing treats apart. */
#ifndef TESTS_GROWTH_FAMILY_SHAPES_H
#define TESTS_GROWTH_FAMILY_SHAPES_H

#include "tests/growth/fixture.h"

enum { FAMILY_SHAPE_GPT2, FAMILY_SHAPE_LLAMA, FAMILY_SHAPE_QWEN2, FAMILY_SHAPE_BERT, FAMILY_SHAPE_T5, FAMILY_SHAPE_COUNT };

static UNUSED struct shape family_shape(int kind)
{
    struct shape shape = {
        .family = FAMILY_GPT2, .layers = 3, .width = 8, .heads = 2, .kv_heads = 2, .head_size = 4, .ff = 12,
        .context = 10, .vocabulary = 19, .tied = true, .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5,
    };
    if (kind == FAMILY_SHAPE_LLAMA || kind == FAMILY_SHAPE_QWEN2) {
        shape.family = kind == FAMILY_SHAPE_LLAMA ? FAMILY_LLAMA : FAMILY_QWEN2;
        shape.tied = kind == FAMILY_SHAPE_QWEN2;
        shape.attention_bias = kind == FAMILY_SHAPE_QWEN2;
        shape.activation = ACTIVATION_SILU;
        shape.kv_heads = kind == FAMILY_SHAPE_QWEN2 ? 1 : 2;
        shape.rope.theta = 10000;
    } else if (kind == FAMILY_SHAPE_BERT) {
        shape.family = FAMILY_BERT;
        shape.activation = ACTIVATION_GELU_ERF;
        shape.norm_epsilon = 1e-12;
        shape.types = 2;
        shape.pooler = shape.next_sentence = true;
    } else if (kind == FAMILY_SHAPE_T5) {
        shape.family = FAMILY_T5;
        shape.layers = 2;
        shape.decoder_layers = 3;
        shape.gated = shape.scaled_head = true;
        shape.buckets = 8;
        shape.bucket_distance = 6;
        shape.norm_epsilon = 1e-6;
    }
    return shape;
}

#endif
