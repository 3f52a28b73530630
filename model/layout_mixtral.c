/* Mixtral as Hugging Face stores it: llama without biases, its MLP replaced by a router and experts, each of them a gated
 * MLP of three tensors (w1 the gate, w3 up, w2 down). transformers 5 joins the experts in memory and writes these names
 * all the same. */
#include "model/tensor.h"

#define VECTOR(axis) 1, {axis, AXIS_NONE}, -1
#define TABLE(rows, columns) 2, {rows, columns}, -1
#define LINEAR(out, in) 2, {out, in}, 1

static const struct tensor_row rows[] = {
    {"embed_tokens.weight", ROLE_TOKEN_EMBEDDING, STACK_NONE, TABLE(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.input_layernorm.weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.q_proj.weight", ROLE_QUERY, STACK_LAYERS, LINEAR(AXIS_HEADS, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.k_proj.weight", ROLE_KEY, STACK_LAYERS, LINEAR(AXIS_KV, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.v_proj.weight", ROLE_VALUE, STACK_LAYERS, LINEAR(AXIS_KV, AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.self_attn.o_proj.weight", ROLE_ATTENTION_OUT, STACK_LAYERS, LINEAR(AXIS_WIDTH, AXIS_HEADS),
     PRESENT_ALWAYS},
    {"layers.%d.post_attention_layernorm.weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"layers.%d.block_sparse_moe.gate.weight", ROLE_ROUTER, STACK_LAYERS, LINEAR(AXIS_EXPERTS, AXIS_WIDTH),
     PRESENT_ALWAYS},
    {"layers.%d.block_sparse_moe.experts.%d.w1.weight", ROLE_GATE, STACK_LAYERS, LINEAR(AXIS_FF, AXIS_WIDTH),
     PRESENT_EXPERTS},
    {"layers.%d.block_sparse_moe.experts.%d.w3.weight", ROLE_UP, STACK_LAYERS, LINEAR(AXIS_FF, AXIS_WIDTH),
     PRESENT_EXPERTS},
    {"layers.%d.block_sparse_moe.experts.%d.w2.weight", ROLE_DOWN, STACK_LAYERS, LINEAR(AXIS_WIDTH, AXIS_FF),
     PRESENT_EXPERTS},
    {"norm.weight", ROLE_FINAL_NORM_GAIN, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, STACK_NONE, LINEAR(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_UNTIED},
};

/* Frequencies that older exports ship; they follow from the configuration. */
static const char *const ignored[] = {".inv_freq", NULL};

const struct layout layout_mixtral = {
    .family = FAMILY_MIXTRAL, .prefix = "model.", .rows = rows, .row_count = sizeof rows / sizeof rows[0],
    .ignored = ignored, .grouped_queries = true, .rotary = true,
};

_Static_assert(sizeof rows / sizeof rows[0] <= LAYOUT_ROWS_MAX, "raise LAYOUT_ROWS_MAX");
