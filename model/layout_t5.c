/* T5 as Hugging Face stores it: Linear weights are [out, in], no biases, RMS norms. The decoder's blocks hold a second
 * attention, over the encoder's output. The tables of relative positions ship in block 0 of either stack and serve all
 * its blocks: they are tensors of the stack, not of a block, and stay what they are when blocks are copied. The
 * encoder's last norm is no final norm in our sense: what reads it are keys and values, not the head. */
#include "model/tensor.h"

#define VECTOR(axis) 1, {axis, AXIS_NONE}, -1
#define TABLE(rows, columns) 2, {rows, columns}, -1
#define LINEAR(out, in) 2, {out, in}, 1
#define NORM(name, stack) {name, ROLE_NORM_GAIN, stack, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS}
#define ATTENTION(name, stack)                                                                                    \
    {name ".q.weight", ROLE_QUERY, stack, LINEAR(AXIS_HEADS, AXIS_WIDTH), PRESENT_ALWAYS},                        \
    {name ".k.weight", ROLE_KEY, stack, LINEAR(AXIS_KV, AXIS_WIDTH), PRESENT_ALWAYS},                             \
    {name ".v.weight", ROLE_VALUE, stack, LINEAR(AXIS_KV, AXIS_WIDTH), PRESENT_ALWAYS},                           \
    {name ".o.weight", ROLE_ATTENTION_OUT, stack, LINEAR(AXIS_WIDTH, AXIS_HEADS), PRESENT_ALWAYS}
#define MLP(name, stack)                                                                                          \
    {name ".wi.weight", ROLE_UP, stack, LINEAR(AXIS_FF, AXIS_WIDTH), PRESENT_PLAIN_MLP},                          \
    {name ".wi_0.weight", ROLE_GATE, stack, LINEAR(AXIS_FF, AXIS_WIDTH), PRESENT_GATED_MLP},                      \
    {name ".wi_1.weight", ROLE_UP, stack, LINEAR(AXIS_FF, AXIS_WIDTH), PRESENT_GATED_MLP},                        \
    {name ".wo.weight", ROLE_DOWN, stack, LINEAR(AXIS_WIDTH, AXIS_FF), PRESENT_ALWAYS}
#define RELATIVE(name) {name, ROLE_RELATIVE_BIAS, STACK_NONE, TABLE(AXIS_BUCKETS, AXIS_HEAD_COUNT), PRESENT_ALWAYS}

static const struct tensor_row rows[] = {
    {"shared.weight", ROLE_TOKEN_EMBEDDING, STACK_NONE, TABLE(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_ALWAYS},
    RELATIVE("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    RELATIVE("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"),
    NORM("encoder.block.%d.layer.0.layer_norm.weight", STACK_LAYERS),
    ATTENTION("encoder.block.%d.layer.0.SelfAttention", STACK_LAYERS),
    NORM("encoder.block.%d.layer.1.layer_norm.weight", STACK_LAYERS),
    MLP("encoder.block.%d.layer.1.DenseReluDense", STACK_LAYERS),
    NORM("encoder.final_layer_norm.weight", STACK_NONE),
    NORM("decoder.block.%d.layer.0.layer_norm.weight", STACK_DECODER),
    ATTENTION("decoder.block.%d.layer.0.SelfAttention", STACK_DECODER),
    NORM("decoder.block.%d.layer.1.layer_norm.weight", STACK_DECODER),
    ATTENTION("decoder.block.%d.layer.1.EncDecAttention", STACK_DECODER),
    NORM("decoder.block.%d.layer.2.layer_norm.weight", STACK_DECODER),
    MLP("decoder.block.%d.layer.2.DenseReluDense", STACK_DECODER),
    {"decoder.final_layer_norm.weight", ROLE_FINAL_NORM_GAIN, STACK_NONE, VECTOR(AXIS_WIDTH), PRESENT_ALWAYS},
    {"lm_head.weight", ROLE_HEAD, STACK_NONE, LINEAR(AXIS_VOCABULARY, AXIS_WIDTH), PRESENT_UNTIED},
};

/* A table of a cross attention that some old exports ship and no version reads. */
static const char *const ignored[] = {".EncDecAttention.relative_attention_bias.weight", NULL};
static const char *const copies[] = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", NULL};

const struct layout layout_t5 = {
    .family = FAMILY_T5,
    .prefix = "",
    .rows = rows,
    .row_count = sizeof rows / sizeof rows[0],
    .ignored = ignored,
    .embedding_copies = copies,
    .head_decides = true,
};

_Static_assert(sizeof rows / sizeof rows[0] <= LAYOUT_ROWS_MAX, "raise LAYOUT_ROWS_MAX");
