/* Llama and its kin as Hugging Face stores them: Linear weights are [out, in], a product sums over axis 1; q, k, v, gate
 * and up are tensors of their own. One table serves all three: mistral never has biases, qwen2 has those of q, k and v. */
#include "model/tensor.h"

#define VECTOR(axis) 1, {axis, AXIS_NONE}, -1
#define TABLE(rows, columns) 2, {rows, columns}, -1
#define LINEAR(out, in) 2, {out, in}, 1

static const struct tensor_row rows[] = {
    {"embed_tokens.weight", ROLE_TOKEN_EMBEDDING, STACK_NONE, TABLE(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.input_layernorm.weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.q_proj.weight", ROLE_QUERY, STACK_LAYERS, LINEAR(AXIS_HEADS, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.q_proj.bias", ROLE_QUERY_BIAS, STACK_LAYERS, VECTOR(AXIS_HEADS), PRESENT_ATTENTION_BIAS},
    {"layers.%d.self_attn.k_proj.weight", ROLE_KEY, STACK_LAYERS, LINEAR(AXIS_KV, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.k_proj.bias", ROLE_KEY_BIAS, STACK_LAYERS, VECTOR(AXIS_KV), PRESENT_ATTENTION_BIAS},
    {"layers.%d.self_attn.v_proj.weight", ROLE_VALUE, STACK_LAYERS, LINEAR(AXIS_KV, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.v_proj.bias", ROLE_VALUE_BIAS, STACK_LAYERS, VECTOR(AXIS_KV), PRESENT_ATTENTION_BIAS},
    {"layers.%d.self_attn.o_proj.weight", ROLE_ATTENTION_OUT, STACK_LAYERS, LINEAR(AXIS_WIDTH, AXIS_HEADS),
     PRESENT_ALWAYS},
    {"layers.%d.self_attn.o_proj.bias", ROLE_ATTENTION_OUT_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_OUT_BIAS},
    {"layers.%d.post_attention_layernorm.weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.mlp.gate_proj.weight", ROLE_GATE, STACK_LAYERS, LINEAR(AXIS_FF, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.mlp.gate_proj.bias", ROLE_GATE_BIAS, STACK_LAYERS, VECTOR(AXIS_FF), PRESENT_MLP_BIAS},
    {"layers.%d.mlp.up_proj.weight", ROLE_UP, STACK_LAYERS, LINEAR(AXIS_FF, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.mlp.up_proj.bias", ROLE_UP_BIAS, STACK_LAYERS, VECTOR(AXIS_FF), PRESENT_MLP_BIAS},
    {"layers.%d.mlp.down_proj.weight", ROLE_DOWN, STACK_LAYERS, LINEAR(AXIS_WIDTH, AXIS_FF), PRESENT_ALWAYS},
    {"layers.%d.mlp.down_proj.bias", ROLE_DOWN_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_MLP_BIAS},
    {"norm.weight", ROLE_FINAL_NORM_GAIN, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, STACK_NONE, LINEAR(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_UNTIED},
};

/* Frequencies that older exports ship; they follow from the configuration. */
static const char *const ignored[] = {".inv_freq", NULL};

#define LAYOUT(of_family)                                                                        \
    {                                                                                            \
        .family = of_family, .prefix = "model.", .rows = rows,                                   \
        .row_count = sizeof rows / sizeof rows[0], .ignored = ignored, .grouped_queries = true,  \
        .rotary = true,                                                                          \
    }

const struct layout layout_llama = LAYOUT(FAMILY_LLAMA);
const struct layout layout_mistral = LAYOUT(FAMILY_MISTRAL);
const struct layout layout_qwen2 = LAYOUT(FAMILY_QWEN2);

_Static_assert(sizeof rows / sizeof rows[0] <= LAYOUT_ROWS_MAX, "raise LAYOUT_ROWS_MAX");
