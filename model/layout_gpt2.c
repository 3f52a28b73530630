/* GPT-2 as Hugging Face stores it. Conv1D weights are [in, out]: a product sums over axis 0; the untied head is a
 * Linear, [out, in]. c_attn holds q, k and v side by side; widening treats each third apart. */
#include "model/tensor.h"

#define VECTOR(axis) 1, {axis, AXIS_NONE}, -1
#define TABLE(rows, columns) 2, {rows, columns}, -1
#define CONV1D(in, out) 2, {in, out}, 0
#define LINEAR(out, in) 2, {out, in}, 1

static const struct tensor_row rows[] = {
    {"wte.weight", ROLE_TOKEN_EMBEDDING, STACK_NONE, TABLE(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_ALWAYS},
    {"wpe.weight", ROLE_POSITION_EMBEDDING, STACK_NONE, TABLE(AXIS_CONTEXT, AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.ln_1.weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.ln_1.bias", ROLE_NORM_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.attn.c_attn.weight", ROLE_QKV, STACK_LAYERS, CONV1D(AXIS_WIDTH, AXIS_QKV), PRESENT_ALWAYS},
    {"h.%d.attn.c_attn.bias", ROLE_QKV_BIAS, STACK_LAYERS, VECTOR(AXIS_QKV), PRESENT_ALWAYS},
    {"h.%d.attn.c_proj.weight", ROLE_ATTENTION_OUT, STACK_LAYERS, CONV1D(AXIS_HEADS, AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.attn.c_proj.bias", ROLE_ATTENTION_OUT_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.ln_2.weight", ROLE_NORM_GAIN, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.ln_2.bias", ROLE_NORM_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.mlp.c_fc.weight", ROLE_UP, STACK_LAYERS, CONV1D(AXIS_WIDTH, AXIS_FF), PRESENT_ALWAYS},
    {"h.%d.mlp.c_fc.bias", ROLE_UP_BIAS, STACK_LAYERS, VECTOR(AXIS_FF), PRESENT_ALWAYS},
    {"h.%d.mlp.c_proj.weight", ROLE_DOWN, STACK_LAYERS, CONV1D(AXIS_FF, AXIS_WIDTH), PRESENT_ALWAYS},
    {"h.%d.mlp.c_proj.bias", ROLE_DOWN_BIAS, STACK_LAYERS, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"ln_f.weight", ROLE_FINAL_NORM_GAIN, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"ln_f.bias", ROLE_FINAL_NORM_BIAS, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, STACK_NONE, LINEAR(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_UNTIED},
};

/* Causal masks that older exports ship. With the dot: "attn.c_attn.bias" must not match. */
static const char *const ignored[] = {".attn.bias", ".attn.masked_bias", NULL};

const struct layout layout_gpt2 = {
    .family = FAMILY_GPT2,
    .prefix = "transformer.",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .ignored = ignored,
    .heads_fill_width = true,
    .grouped_queries = false,
};

_Static_assert(sizeof rows / sizeof rows[0] <= LAYOUT_ROWS_MAX, "raise LAYOUT_ROWS_MAX");
