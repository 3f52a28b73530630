/* GPT-2's config.json. Keys and defaults: transformers, GPT2Config. */
#include "model/config_family.h"

#define SHAPE(field) offsetof(struct shape, field)

static const struct config_key keys[] = {
    {"n_layer", NULL, CONFIG_SIZE, SHAPE(layers), true, 0},
    {"n_embd", NULL, CONFIG_SIZE, SHAPE(width), true, 0},
    {"n_head", NULL, CONFIG_SIZE, SHAPE(heads), true, 0},
    {"n_positions", "n_ctx", CONFIG_SIZE, SHAPE(context), true, 0},
    {"vocab_size", NULL, CONFIG_SIZE, SHAPE(vocabulary), true, 0},
    {"n_inner", NULL, CONFIG_SIZE, SHAPE(ff), false, 0},
    {"activation_function", NULL, CONFIG_ACTIVATION, SHAPE(activation), false, ACTIVATION_GELU_TANH},
    {"layer_norm_epsilon", NULL, CONFIG_NUMBER, SHAPE(norm_epsilon), false, 1e-5},
    {"tie_word_embeddings", NULL, CONFIG_BOOLEAN, SHAPE(tied), false, true},
};

/* reorder_and_upcast_attn changes only the order of rounding and is let through. */
static const struct config_switch switches[] = {
    {"add_cross_attention", false, "cross attention is not supported; use a decoder without an encoder"},
    {"scale_attn_by_inverse_layer_idx", false, "attention scaled by the layer's number is not supported; layers could "
     "not be copied to other depths"},
    {"scale_attn_weights", true, "unscaled attention is not supported; use a model trained with the usual scale"},
};

static const char *const dropouts[] = {"resid_pdrop", "embd_pdrop", "attn_pdrop", NULL};

/* What a model that was never a GPT-2 of OpenAI's must say: no dropout, no tokens of a vocabulary of 50,257. */
static const char *const fresh[] = {
    "resid_pdrop", "0.0", "embd_pdrop", "0.0", "attn_pdrop", "0.0", "bos_token_id", "null",
    "eos_token_id", "null", NULL,
};

static int derive(struct shape *shape, struct error *error)
{
    if (shape->width % shape->heads != 0)
        return error_set_at(error, ERROR_INVALID, "/n_head", "n_embd %d is not a multiple of n_head %d; correct one of "
                            "them.", shape->width, shape->heads);
    shape->kv_heads = shape->heads;
    shape->head_size = shape->width / shape->heads;
    if (shape->ff == 0)
        shape->ff = 4 * shape->width;
    return 0;
}

const struct config_family config_gpt2 = {
    .architecture = "GPT2LMHeadModel",
    .keys = keys,
    .key_count = sizeof keys / sizeof keys[0],
    .switches = switches,
    .switch_count = sizeof switches / sizeof switches[0],
    .dropouts = dropouts,
    .axis_keys = {
        [AXIS_NONE] = "the layout", [AXIS_WIDTH] = "n_embd", [AXIS_HEADS] = "n_embd", [AXIS_KV] = "n_embd",
        [AXIS_QKV] = "n_embd", [AXIS_FF] = "n_inner", [AXIS_VOCABULARY] = "vocab_size", [AXIS_CONTEXT] = "n_positions",
    },
    .derive = derive,
    .fresh = fresh,
};
