/* T5's config.json. Keys and defaults: transformers, T5Config. T5 has no positions of its own: n_positions, which only
 * old files carry, is the longest row that is worked on. */
#include "model/config_family.h"

#include <string.h>

#include <cjson/cJSON.h>

#define SHAPE(field) offsetof(struct shape, field)

static const struct config_key keys[] = {
    {"num_layers", NULL, CONFIG_SIZE, SHAPE(layers), true, 0},
    {"num_decoder_layers", NULL, CONFIG_SIZE, SHAPE(decoder_layers), false, 0},
    {"d_model", NULL, CONFIG_SIZE, SHAPE(width), true, 0},
    {"d_kv", NULL, CONFIG_SIZE, SHAPE(head_size), true, 0},
    {"d_ff", NULL, CONFIG_SIZE, SHAPE(ff), true, 0},
    {"num_heads", NULL, CONFIG_SIZE, SHAPE(heads), true, 0},
    {"vocab_size", NULL, CONFIG_SIZE, SHAPE(vocabulary), true, 0},
    {"n_positions", NULL, CONFIG_SIZE, SHAPE(context), false, 512},
    {"relative_attention_num_buckets", NULL, CONFIG_SIZE, SHAPE(buckets), false, 32},
    {"relative_attention_max_distance", NULL, CONFIG_SIZE, SHAPE(bucket_distance), false, 128},
    {"layer_norm_epsilon", NULL, CONFIG_NUMBER, SHAPE(norm_epsilon), false, 1e-6},
};

static const struct config_switch switches[] = {
    {"is_encoder_decoder", true, "an encoder or a decoder alone is not supported; use the whole model"},
    {"is_decoder", false, "a decoder alone is not supported; use the whole model"},
};

static const char *const dropouts[] = {"dropout_rate", NULL};

static const char *const fresh[] = {
    "is_encoder_decoder", "true", "dropout_rate", "0.0", "pad_token_id", "0", "eos_token_id", "1",
    "decoder_start_token_id", "0", NULL,
};

/* X(name in feed_forward_proj, gated, the function): transformers takes "gated-gelu" for gelu_new. */
static const struct { const char *name, *dense; bool gated; enum activation activation; } projections[] = {
    {"relu", "relu", false, ACTIVATION_RELU},
    {"gated-gelu", "gelu_new", true, ACTIVATION_GELU_TANH},
};

static int read_projection(const cJSON *root, struct shape *shape, struct error *error)
{
    const cJSON *item = config_find(root, "feed_forward_proj"), *dense = config_find(root, "dense_act_fn");
    const char *name = item == NULL ? "relu" : cJSON_IsString(item) ? item->valuestring : "";
    for (size_t i = 0; i < sizeof projections / sizeof projections[0]; i++) {
        if (strcmp(projections[i].name, name) != 0)
            continue;
        shape->gated = projections[i].gated;
        shape->activation = projections[i].activation;
        if (dense != NULL && (!cJSON_IsString(dense) ||
                              activation_parse(dense->valuestring) != (int)shape->activation))
            return config_fail(error, "dense_act_fn", "is not what feed_forward_proj says; remove it");
        return 0;
    }
    return config_fail(error, "feed_forward_proj", "must be relu or gated-gelu; other MLPs are not supported");
}

static int read_flag(const cJSON *root, const char *key, bool fallback, bool *flag, struct error *error)
{
    const cJSON *item = config_find(root, key);
    *flag = item == NULL ? fallback : cJSON_IsTrue(item);
    return item == NULL || cJSON_IsBool(item) ? 0 : config_fail(error, key, "must be true or false");
}

/* Newer versions say apart what tie_word_embeddings used to say for both. Whether the head is tied is settled by the
 * file (layout.head_decides): newer versions write true for models with a head of their own. */
static int read_more(const cJSON *root, struct shape *shape, struct error *error)
{
    int code = read_projection(root, shape, error);
    if (code == 0)
        code = read_flag(root, "tie_word_embeddings", true, &shape->tied, error);
    return code != 0 ? code : read_flag(root, "scale_decoder_outputs", shape->tied, &shape->scaled_head, error);
}

static bool put_projection(cJSON *root, const struct shape *shape)
{
    for (size_t i = 0; i < sizeof projections / sizeof projections[0]; i++)
        if (projections[i].gated == shape->gated && projections[i].activation == shape->activation)
            return config_put(root, "feed_forward_proj", cJSON_CreateString(projections[i].name)) &&
                   (!cJSON_HasObjectItem(root, "dense_act_fn") ||
                    config_put(root, "dense_act_fn", cJSON_CreateString(projections[i].dense))) &&
                   (!cJSON_HasObjectItem(root, "is_gated_act") ||
                    config_put(root, "is_gated_act", cJSON_CreateBool(shape->gated)));
    return false;
}

/* tie_word_embeddings is what older versions take the scale from, so it follows the scale; where tying and scale part,
 * both are written and the file decides about the head. */
static bool put_more(cJSON *root, const struct shape *shape)
{
    bool parted = shape->tied != shape->scaled_head || cJSON_HasObjectItem(root, "scale_decoder_outputs");
    return put_projection(root, shape) &&
           config_put(root, "tie_word_embeddings", cJSON_CreateBool(shape->scaled_head)) &&
           (!parted || config_put(root, "scale_decoder_outputs", cJSON_CreateBool(shape->scaled_head)));
}

static int derive(struct shape *shape, struct error *error)
{
    (void)error;
    shape->kv_heads = shape->heads;
    if (shape->decoder_layers == 0)
        shape->decoder_layers = shape->layers;
    return 0;
}

const struct config_family config_t5 = {
    .architecture = "T5ForConditionalGeneration",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .switches = switches,
    .switch_count = sizeof switches / sizeof switches[0],
    .dropouts = dropouts,
    .axis_keys = {
        [AXIS_NONE] = "the layout", [AXIS_WIDTH] = "d_model", [AXIS_HEADS] = "num_heads and d_kv",
        [AXIS_KV] = "num_heads and d_kv", [AXIS_QKV] = "num_heads and d_kv", [AXIS_FF] = "d_ff",
        [AXIS_VOCABULARY] = "vocab_size", [AXIS_CONTEXT] = "n_positions",
        [AXIS_BUCKETS] = "relative_attention_num_buckets", [AXIS_HEAD_COUNT] = "num_heads",
    },
    .derive = derive,
    .read = read_more,
    .put = put_more,
    .fresh = fresh,
};
