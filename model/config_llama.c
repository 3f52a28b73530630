/* config.json of llama, mistral, qwen2 and mixtral. Keys and defaults: transformers, LlamaConfig, MistralConfig,
 * Qwen2Config, MixtralConfig; an absent num_key_value_heads means as many as heads for the first three. */
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "model/config_family.h"

#define SHAPE(field) offsetof(struct shape, field)

#define COMMON_KEYS(epsilon)                                                              \
    {"num_hidden_layers", NULL, CONFIG_SIZE, SHAPE(layers), true, 0},                      \
    {"hidden_size", NULL, CONFIG_SIZE, SHAPE(width), true, 0},                             \
    {"num_attention_heads", NULL, CONFIG_SIZE, SHAPE(heads), true, 0},                     \
    {"num_key_value_heads", NULL, CONFIG_SIZE, SHAPE(kv_heads), false, 0},                 \
    {"head_dim", NULL, CONFIG_SIZE, SHAPE(head_size), false, 0},                           \
    {"intermediate_size", NULL, CONFIG_SIZE, SHAPE(ff), true, 0},                          \
    {"max_position_embeddings", NULL, CONFIG_SIZE, SHAPE(context), true, 0},               \
    {"vocab_size", NULL, CONFIG_SIZE, SHAPE(vocabulary), true, 0},                         \
    {"hidden_act", NULL, CONFIG_ACTIVATION, SHAPE(activation), false, ACTIVATION_SILU},    \
    {"rms_norm_eps", NULL, CONFIG_NUMBER, SHAPE(norm_epsilon), false, epsilon},            \
    {"tie_word_embeddings", NULL, CONFIG_BOOLEAN, SHAPE(tied), false, false}

static const struct config_key llama_keys[] = {
    COMMON_KEYS(1e-6),
    {"attention_bias", NULL, CONFIG_BOOLEAN, SHAPE(attention_bias), false, false},
    {"mlp_bias", NULL, CONFIG_BOOLEAN, SHAPE(mlp_bias), false, false},
};
static const struct config_key common_keys[] = {COMMON_KEYS(1e-6)};
static const struct config_key mixtral_keys[] = {
    COMMON_KEYS(1e-5),
    {"num_local_experts", NULL, CONFIG_SIZE, SHAPE(experts), false, 8},
    {"num_experts_per_tok", NULL, CONFIG_SIZE, SHAPE(top_k), false, 2},
};

static const char *const dropouts[] = {"attention_dropout", NULL};

/* A model of one's own has no tokens of somebody's vocabulary. */
static const char *const fresh[] = {
    "attention_dropout", "0.0", "bos_token_id", "null", "eos_token_id", "null", "pad_token_id", "null", NULL,
};

static int derive(struct shape *shape, struct error *error)
{
    if (shape->kv_heads == 0)
        shape->kv_heads = shape->heads;
    if (shape->head_size == 0 && shape->width % shape->heads != 0)
        return error_set_at(error, ERROR_INVALID, "/num_attention_heads", "hidden_size %d is not a multiple of "
                            "num_attention_heads %d and there is no head_dim; correct one of them or add head_dim.",
                            shape->width, shape->heads);
    if (shape->head_size == 0)
        shape->head_size = shape->width / shape->heads;
    return 0;
}

/* ---- mistral, mixtral: one window for all layers; null: none; absent: the default of MistralConfig, MixtralConfig ---- */

enum { MISTRAL_WINDOW = 4096, MIXTRAL_WINDOW = 0 };

static int read_window(const cJSON *root, int absent, struct shape *shape, struct error *error)
{
    const cJSON *window = cJSON_GetObjectItemCaseSensitive(root, "sliding_window");
    shape->window = window == NULL ? absent : 0;
    return config_find(root, "sliding_window") == NULL
               ? 0 : config_read_size(window, "sliding_window", &shape->window, error);
}

static int mistral_read(const cJSON *root, struct shape *shape, struct error *error)
{
    int code = read_window(root, MISTRAL_WINDOW, shape, error);
    return code == 0 ? config_rope_read(root, shape, error) : code;
}

static bool put_window(cJSON *root, const struct shape *shape)
{
    return config_put(root, "sliding_window", shape->window > 0 ? cJSON_CreateNumber(shape->window)
                                                                : cJSON_CreateNull());
}

static bool mistral_put(cJSON *root, const struct shape *shape)
{
    return put_window(root, shape) && config_rope_put(root, shape);
}

enum { MIXTRAL_KV_HEADS = 8 };
static const double MIXTRAL_ROUTER_AUX = 0.001;

/* output_router_logits only says what transformers returns: training has the load-balance loss all the same. */
static int read_router(const cJSON *root, struct shape *shape, struct error *error)
{
    const cJSON *weight = config_find(root, "router_aux_loss_coef"), *noise = config_find(root, "router_jitter_noise");
    shape->router_aux = weight == NULL ? MIXTRAL_ROUTER_AUX : weight->valuedouble;
    if (weight != NULL && (!cJSON_IsNumber(weight) || !(shape->router_aux >= 0) || !(shape->router_aux < 1e30)))
        return config_fail(error, "router_aux_loss_coef", "must be a number of at least 0");
    if (noise != NULL && !(cJSON_IsNumber(noise) && noise->valuedouble == 0))
        return config_fail(error, "router_jitter_noise", "is not 0: noise on what the router reads is not supported; "
                           "set it to 0");
    return 0;
}

static int mixtral_read(const cJSON *root, struct shape *shape, struct error *error)
{
    int code = read_window(root, MIXTRAL_WINDOW, shape, error);
    if (cJSON_GetObjectItemCaseSensitive(root, "num_key_value_heads") == NULL)
        shape->kv_heads = MIXTRAL_KV_HEADS;
    if (code == 0)
        code = read_router(root, shape, error);
    return code == 0 ? config_rope_read(root, shape, error) : code;
}

static bool mixtral_put(cJSON *root, const struct shape *shape)
{
    return config_put_float(root, "router_aux_loss_coef", shape->router_aux) &&
           config_put_float(root, "router_jitter_noise", 0) && mistral_put(root, shape);
}

/* ---- qwen2: windows in the layers from max_window_layers on, or as layer_types says. Here all layers are alike: depth
 * operators copy layers to other heights. ---- */

static const char SOME_WINDOWS[] = "gives some layers a sliding window and others none, which is not supported; set "
                                   "use_sliding_window to false, or max_window_layers to 0, and drop layer_types";

/* Has every layer a window, none (0), or some only (-1)? */
static int windows_by_types(const cJSON *types)
{
    int layers = cJSON_GetArraySize(types), windows = 0;
    const cJSON *type;
    cJSON_ArrayForEach(type, types)
        windows += cJSON_IsString(type) && strcmp(type->valuestring, "sliding_attention") == 0;
    return windows == 0 ? 0 : windows == layers ? 1 : -1;
}

static int qwen2_windows(const cJSON *root, bool *windows, struct error *error)
{
    const cJSON *use = config_find(root, "use_sliding_window"), *types = config_find(root, "layer_types");
    const cJSON *first = config_find(root, "max_window_layers");
    *windows = false;
    if (use != NULL && !cJSON_IsBool(use))
        return config_fail(error, "use_sliding_window", "must be true or false");
    if (types != NULL && !cJSON_IsArray(types))
        return config_fail(error, "layer_types", "must be a list");
    if (!cJSON_IsTrue(use))
        return 0;
    if (types != NULL && windows_by_types(types) < 0)
        return config_fail(error, "layer_types", SOME_WINDOWS);
    if (types == NULL && !(cJSON_IsNumber(first) && first->valuedouble == 0))
        return config_fail(error, "max_window_layers", SOME_WINDOWS);
    *windows = types == NULL || windows_by_types(types) == 1;
    return 0;
}

static int qwen2_read(const cJSON *root, struct shape *shape, struct error *error)
{
    const cJSON *window = config_find(root, "sliding_window");
    bool windows;
    int code = qwen2_windows(root, &windows, error);
    if (code == 0 && windows && window != NULL)
        code = config_read_size(window, "sliding_window", &shape->window, error);
    shape->attention_bias = true;
    return code == 0 ? config_rope_read(root, shape, error) : code;
}

/* A list with one entry per layer must have the right length. */
static bool put_layer_types(cJSON *root, const struct shape *shape)
{
    const char *type = shape->window > 0 ? "sliding_attention" : "full_attention";
    cJSON *types = cJSON_CreateArray();
    for (int layer = 0; types != NULL && layer < shape->layers; layer++)
        if (!cJSON_AddItemToArray(types, cJSON_CreateString(type))) {
            cJSON_Delete(types);
            return false;
        }
    return config_put(root, "layer_types", types);
}

static bool qwen2_put(cJSON *root, const struct shape *shape)
{
    bool windows = shape->window > 0;
    if (config_find(root, "layer_types") != NULL && !put_layer_types(root, shape))
        return false;
    if (windows && (!put_window(root, shape) || !config_put(root, "max_window_layers", cJSON_CreateNumber(0))))
        return false;
    return config_put(root, "use_sliding_window", cJSON_CreateBool(windows)) && config_rope_put(root, shape);
}

#define AXIS_KEYS                                                                                             \
    {                                                                                                         \
        [AXIS_NONE] = "the layout", [AXIS_WIDTH] = "hidden_size", [AXIS_HEADS] = "num_attention_heads or head_dim",  \
        [AXIS_KV] = "num_key_value_heads or head_dim", [AXIS_QKV] = "num_attention_heads", [AXIS_FF] = "intermediate_size", \
        [AXIS_VOCABULARY] = "vocab_size", [AXIS_CONTEXT] = "max_position_embeddings",                         \
        [AXIS_EXPERTS] = "num_local_experts",                                                                 \
    }

const struct config_family config_llama = {
    .architecture = "LlamaForCausalLM",
    .keys = llama_keys, .key_count = sizeof llama_keys / sizeof llama_keys[0],
    .dropouts = dropouts, .axis_keys = AXIS_KEYS, .derive = derive, .fresh = fresh,
    .read = config_rope_read, .put = config_rope_put,
};

const struct config_family config_mistral = {
    .architecture = "MistralForCausalLM",
    .keys = common_keys, .key_count = sizeof common_keys / sizeof common_keys[0],
    .dropouts = dropouts, .axis_keys = AXIS_KEYS, .derive = derive, .fresh = fresh,
    .read = mistral_read, .put = mistral_put,
};

const struct config_family config_qwen2 = {
    .architecture = "Qwen2ForCausalLM",
    .keys = common_keys, .key_count = sizeof common_keys / sizeof common_keys[0],
    .dropouts = dropouts, .axis_keys = AXIS_KEYS, .derive = derive, .fresh = fresh,
    .read = qwen2_read, .put = qwen2_put,
};

const struct config_family config_mixtral = {
    .architecture = "MixtralForCausalLM",
    .keys = mixtral_keys, .key_count = sizeof mixtral_keys / sizeof mixtral_keys[0],
    .dropouts = dropouts, .axis_keys = AXIS_KEYS, .derive = derive, .fresh = fresh,
    .read = mixtral_read, .put = mixtral_put,
};
