/* BERT's config.json. Keys and defaults: transformers, BertConfig. Whether a pooler and a next-sentence head ship is told
 * by the file of weights, not here: "architectures" of old exports names another class than the one that saved them. */
#include <string.h>

#include <cjson/cJSON.h>

#include "model/config_family.h"

#define SHAPE(field) offsetof(struct shape, field)

static const struct config_key keys[] = {
    {"num_hidden_layers", NULL, CONFIG_SIZE, SHAPE(layers), true, 0},
    {"hidden_size", NULL, CONFIG_SIZE, SHAPE(width), true, 0},
    {"num_attention_heads", NULL, CONFIG_SIZE, SHAPE(heads), true, 0},
    {"intermediate_size", NULL, CONFIG_SIZE, SHAPE(ff), true, 0},
    {"max_position_embeddings", NULL, CONFIG_SIZE, SHAPE(context), true, 0},
    {"vocab_size", NULL, CONFIG_SIZE, SHAPE(vocabulary), true, 0},
    {"type_vocab_size", NULL, CONFIG_SIZE, SHAPE(types), false, 2},
    {"hidden_act", NULL, CONFIG_ACTIVATION, SHAPE(activation), false, ACTIVATION_GELU_ERF},
    {"layer_norm_eps", NULL, CONFIG_NUMBER, SHAPE(norm_epsilon), false, 1e-12},
};

static const struct config_switch switches[] = {
    {"is_decoder", false, "a bert that only looks back is not supported; use gpt2"},
    {"add_cross_attention", false, "cross attention is not supported; use an encoder alone"},
    {"tie_word_embeddings", true, "a bert whose decoder is not the word embedding is not supported; use a tied one"},
};

static const char *const dropouts[] = {"hidden_dropout_prob", "attention_probs_dropout_prob", NULL};

/* A model of one's own has no padding token of somebody's vocabulary. */
static const char *const fresh[] = {
    "hidden_dropout_prob", "0.0", "attention_probs_dropout_prob", "0.0", "pad_token_id", "null", NULL,
};

static int derive(struct shape *shape, struct error *error)
{
    if (shape->width % shape->heads != 0)
        return error_set_at(error, ERROR_INVALID, "/num_attention_heads", "hidden_size %d is not a multiple of "
                            "num_attention_heads %d; correct one of them.", shape->width, shape->heads);
    shape->kv_heads = shape->heads;
    shape->head_size = shape->width / shape->heads;
    shape->tied = true;
    return 0;
}

static int bert_read(const cJSON *root, struct shape *shape, struct error *error)
{
    const cJSON *positions = config_find(root, "position_embedding_type");
    (void)shape;
    if (positions == NULL || (cJSON_IsString(positions) && strcmp(positions->valuestring, "absolute") == 0))
        return 0;
    return config_fail(error, "position_embedding_type", "is not \"absolute\": relative positions of bert are not "
                       "supported; use a model with learned absolute ones");
}

/* The class of transformers that has all these tensors and no others. */
static bool bert_put(cJSON *root, const struct shape *shape)
{
    const char *architecture = shape->next_sentence ? "BertForPreTraining" : "BertForMaskedLM";
    return config_put(root, "architectures", cJSON_CreateStringArray(&architecture, 1));
}

const struct config_family config_bert = {
    .architecture = "BertForMaskedLM",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .switches = switches,
    .switch_count = sizeof switches / sizeof switches[0],
    .dropouts = dropouts,
    .axis_keys = {
        [AXIS_NONE] = "the layout", [AXIS_WIDTH] = "hidden_size", [AXIS_HEADS] = "hidden_size",
        [AXIS_KV] = "hidden_size", [AXIS_FF] = "intermediate_size", [AXIS_VOCABULARY] = "vocab_size",
        [AXIS_CONTEXT] = "max_position_embeddings", [AXIS_TYPES] = "type_vocab_size",
        [AXIS_SENTENCES] = "the layout",
    },
    .derive = derive,
    .read = bert_read,
    .put = bert_put,
    .fresh = fresh,
};
