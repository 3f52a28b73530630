/* BERT as Hugging Face stores it (BertForMaskedLM, BertForPreTraining): Linear weights are [out, in], a product sums over
 * axis 1. The head of masked-language models stands outside the prefix: transform, norm, then the token embedding as
 * decoder with a bias of its own. Its norm is the final norm: what reads it is the tied head. Pooler and next-sentence
 * head are there if the file has them. */
#include "model/tensor.h"

#define VECTOR(axis) 1, {axis, AXIS_NONE}, -1
#define TABLE(rows, columns) 2, {rows, columns}, -1
#define LINEAR(out, in) 2, {out, in}, 1

static const struct tensor_row rows[] = {
    {"embeddings.word_embeddings.weight", ROLE_TOKEN_EMBEDDING, STACK_NONE, TABLE(AXIS_VOCABULARY, AXIS_WIDTH),
     PRESENT_ALWAYS},
    {"embeddings.position_embeddings.weight", ROLE_POSITION_EMBEDDING, STACK_NONE, TABLE(AXIS_CONTEXT, AXIS_WIDTH),
     PRESENT_ALWAYS},
    {"embeddings.token_type_embeddings.weight", ROLE_TYPE_EMBEDDING, STACK_NONE, TABLE(AXIS_TYPES, AXIS_WIDTH),
     PRESENT_ALWAYS},
    {"embeddings.LayerNorm.weight", ROLE_EMBEDDING_NORM_GAIN, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"embeddings.LayerNorm.bias", ROLE_EMBEDDING_NORM_BIAS, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
#define WEIGHT_AND_BIAS(name, role, out, in)                                                                          \
    {"encoder.layer.%d." name ".weight", role, STACK_LAYERS, LINEAR(out, in), PRESENT_ALWAYS},                       \
    {"encoder.layer.%d." name ".bias", role##_BIAS, STACK_LAYERS, VECTOR(out), PRESENT_ALWAYS}
#define NORM(name)                                                                                                    \
    {"encoder.layer.%d." name ".weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},          \
    {"encoder.layer.%d." name ".bias", ROLE_NORM_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS}
    WEIGHT_AND_BIAS("attention.self.query", ROLE_QUERY, AXIS_HEADS, AXIS_WIDTH),
    WEIGHT_AND_BIAS("attention.self.key", ROLE_KEY, AXIS_KV, AXIS_WIDTH),
    WEIGHT_AND_BIAS("attention.self.value", ROLE_VALUE, AXIS_KV, AXIS_WIDTH),
    WEIGHT_AND_BIAS("attention.output.dense", ROLE_ATTENTION_OUT, AXIS_WIDTH, AXIS_HEADS),
    NORM("attention.output.LayerNorm"),
    WEIGHT_AND_BIAS("intermediate.dense", ROLE_UP, AXIS_FF, AXIS_WIDTH),
    WEIGHT_AND_BIAS("output.dense", ROLE_DOWN, AXIS_WIDTH, AXIS_FF),
    NORM("output.LayerNorm"),
    {"pooler.dense.weight", ROLE_POOLER, STACK_NONE, LINEAR(AXIS_WIDTH, AXIS_WIDTH), PRESENT_POOLER},
    {"pooler.dense.bias", ROLE_POOLER_BIAS, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_POOLER},
    {"cls.predictions.transform.dense.weight", ROLE_TRANSFORM, STACK_NONE, LINEAR(AXIS_WIDTH, AXIS_WIDTH),
     PRESENT_ALWAYS},
    {"cls.predictions.transform.dense.bias", ROLE_TRANSFORM_BIAS, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"cls.predictions.transform.LayerNorm.weight", ROLE_FINAL_NORM_GAIN, STACK_NONE, VECTOR(AXIS_WIDTH),
     PRESENT_ALWAYS},
    {"cls.predictions.transform.LayerNorm.bias", ROLE_FINAL_NORM_BIAS, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"cls.predictions.bias", ROLE_HEAD_BIAS, STACK_NONE, VECTOR(AXIS_VOCABULARY), PRESENT_ALWAYS},
    {"cls.seq_relationship.weight", ROLE_NEXT_SENTENCE, STACK_NONE, LINEAR(AXIS_SENTENCES, AXIS_WIDTH),
     PRESENT_NEXT_SENTENCE},
    {"cls.seq_relationship.bias", ROLE_NEXT_SENTENCE_BIAS, STACK_NONE, VECTOR(AXIS_SENTENCES), PRESENT_NEXT_SENTENCE},
};

static const char *const ignored[] = {".position_ids", NULL};
static const char *const decoder[] = {"cls.predictions.decoder.weight", NULL};
static const char *const decoder_bias[] = {"cls.predictions.decoder.bias", NULL};
static const char *const renamed[] = {
    "LayerNorm.gamma", "LayerNorm.weight", "LayerNorm.beta", "LayerNorm.bias", NULL,
};

const struct layout layout_bert = {
    .family = FAMILY_BERT,
    .prefix = "bert.",
    .outside = "cls.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .ignored = ignored,
    .renamed = renamed,
    .embedding_copies = decoder,
    .head_bias_copies = decoder_bias,
    .post_norm = true,
    .heads_fill_width = true,
};

_Static_assert(sizeof rows / sizeof rows[0] <= LAYOUT_ROWS_MAX, "raise LAYOUT_ROWS_MAX");
