/* A small model of every family and kind, with batches that use what it understands. */
#ifndef TESTS_MODEL_NETWORK_MODELS_H
#define TESTS_MODEL_NETWORK_MODELS_H

#include "tests/model/network_fixture.h"

enum { ROWS = 3, CONTEXT = 7, DECODER_CONTEXT = 5, VOCABULARY = 13 };

struct model {
    const char *title;
    struct shape shape;
    bool padding, prefix, types;
};

#define SIZES .layers = 2, .context = 9, .vocabulary = VOCABULARY, .norm_epsilon = 1e-5
#define GPT2 .family = FAMILY_GPT2, .width = 10, .heads = 5, .kv_heads = 5, .head_size = 2, .ff = 7, SIZES
#define LLAMA .width = 7, .heads = 6, .kv_heads = 3, .head_size = 4, .ff = 5, .activation = ACTIVATION_SILU, \
    .rope = {.theta = 10}, SIZES
#define BERT .family = FAMILY_BERT, .width = 9, .heads = 3, .kv_heads = 3, .head_size = 3, .ff = 7, .tied = true, \
    .types = 2, SIZES
#define T5 .family = FAMILY_T5, .decoder_layers = 3, .width = 7, .heads = 3, .kv_heads = 3, .head_size = 2, .ff = 5, \
    .buckets = 6, .bucket_distance = 5, SIZES

static const struct model models[] = {
    {"gpt2, tied, gelu_new", {GPT2, .tied = true, .activation = ACTIVATION_GELU_TANH}, .padding = false},
    {"gpt2, own head, gelu", {GPT2, .activation = ACTIVATION_GELU_ERF}, .padding = false},
    {"gpt2, tied, relu, prefix", {GPT2, .tied = true, .activation = ACTIVATION_RELU}, .prefix = true},
    {"gpt2, own head, silu, padding", {GPT2, .activation = ACTIVATION_SILU}, .padding = true},
    {"llama, own head", {.family = FAMILY_LLAMA, LLAMA}, .padding = false},
    {"llama, tied, biases, padding", {.family = FAMILY_LLAMA, .tied = true, .attention_bias = true, .mlp_bias = true,
                                      LLAMA}, .padding = true},
    {"mistral, window, prefix", {.family = FAMILY_MISTRAL, .window = 3, LLAMA}, .prefix = true},
    {"qwen2, tied", {.family = FAMILY_QWEN2, .tied = true, .attention_bias = true, LLAMA}, .padding = false},
    {"bert, gelu", {BERT, .activation = ACTIVATION_GELU_ERF}, .padding = false},
    {"bert, relu, types, padding", {BERT, .activation = ACTIVATION_RELU}, .padding = true, .types = true},
    {"mixtral, padding", {.family = FAMILY_MIXTRAL, .experts = 4, .top_k = 2, .router_aux = 0.3, LLAMA}, .padding = true},
    {"mixtral, one of three, tied, window", {.family = FAMILY_MIXTRAL, .experts = 3, .top_k = 1, .router_aux = 2, .tied = true,
                                             .window = 3, LLAMA}, .padding = false},
    {"t5, tied, scaled, relu", {T5, .tied = true, .scaled_head = true, .activation = ACTIVATION_RELU},
     .padding = false},
    {"t5, own head, gated, padding", {T5, .gated = true, .activation = ACTIVATION_GELU_TANH}, .padding = true},
};
enum { MODELS = sizeof models / sizeof models[0] };

static const int32_t prefixes[ROWS] = {3, 0, CONTEXT};
static unsigned char masks[2][ROWS * CONTEXT];
static int32_t types[ROWS * CONTEXT], decoder_inputs[ROWS * DECODER_CONTEXT];

/* The last row is padded in front, the others behind. */
static inline void vary(struct batch *batch, const struct model *model)
{
    for (int i = 0; i < ROWS * CONTEXT; i++) {
        int b = i / CONTEXT, t = i % CONTEXT;
        masks[0][i] = b == 2 ? t >= 2 : t < CONTEXT - b - 1;
        masks[1][i] = i % DECODER_CONTEXT < DECODER_CONTEXT - i / DECODER_CONTEXT % ROWS;
        types[i] = t > 3;
    }
    for (int i = 0; i < ROWS * DECODER_CONTEXT; i++)
        decoder_inputs[i] = i * i % VOCABULARY;
    batch->mask = model->padding ? masks[0] : NULL;
    batch->prefix = model->prefix ? prefixes : NULL;
    batch->types = model->types ? types : NULL;
    if (model->shape.decoder_layers > 0) {
        batch->decoder_context = DECODER_CONTEXT;
        batch->decoder_inputs = decoder_inputs;
        batch->decoder_mask = model->padding ? masks[1] : NULL;
    }
}

/* A fixture whose network is of these sizes; they hold ROWS rows of CONTEXT. */
static inline void model_init(struct network_fixture *fixture, const struct kernels *kernels, const struct model *model,
                              const struct network_sizes *sizes)
{
    struct error error = {0};
    fixture_init(fixture, kernels, &model->shape, ROWS, CONTEXT, true);
    network_free(fixture->network);
    assert_ok(network_new_sized(&fixture->network, kernels, &fixture->table, sizes, &error), &error);
    vary(&fixture->batch, model);
    fixture->targets[4] = TARGET_IGNORED;
}

#endif
