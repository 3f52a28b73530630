/* The tensor table: which named tensors a shape has, how each axis grows, and where each lies in a slab of float32.
 *
 * Every family is one table of rows (model/layout_<family>.c). A row is a kind of tensor ("h.%d.attn.c_attn.weight");
 * a tensor is a row at a layer. Loaders, growth, optimizer and saver are all written over this table, never over names.
 * Tensors keep the orientation of the Hugging Face file; `input_axis` tells which axis a product sums over. */
#ifndef MODEL_TENSOR_H
#define MODEL_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "model/shape.h"

/* What an axis counts. */
enum axis {
    AXIS_NONE,
    AXIS_WIDTH,        /* the residual stream, C */
    AXIS_HEADS,        /* query heads * head size, head-major */
    AXIS_KV,           /* kv heads * head size */
    AXIS_QKV,          /* q, k, v side by side: heads + 2 * kv heads, times head size */
    AXIS_FF,           /* hidden units of the MLP */
    AXIS_VOCABULARY,
    AXIS_CONTEXT,
    AXIS_BUCKETS,      /* of relative positions (t5) */
    AXIS_HEAD_COUNT,   /* query heads, one number each (t5) */
    AXIS_TYPES,        /* token types (bert) */
    AXIS_SENTENCES,    /* is the second sentence the next one: yes, no (bert) */
    AXIS_EXPERTS,      /* one number for each expert (mixtral) */
    AXIS_COUNT
};

/* What a tensor is for: operators decide by role, not by name. */
enum role {
    ROLE_TOKEN_EMBEDDING, ROLE_POSITION_EMBEDDING,
    ROLE_NORM_GAIN, ROLE_NORM_BIAS,                 /* inside a block */
    ROLE_FINAL_NORM_GAIN, ROLE_FINAL_NORM_BIAS,
    ROLE_QKV, ROLE_QKV_BIAS,                        /* read the stream */
    ROLE_ATTENTION_OUT, ROLE_ATTENTION_OUT_BIAS,    /* write the stream */
    ROLE_UP, ROLE_UP_BIAS,                          /* read the stream */
    ROLE_DOWN, ROLE_DOWN_BIAS,                      /* write the stream */
    ROLE_HEAD,                                      /* untied output projection */
    ROLE_QUERY, ROLE_QUERY_BIAS,                    /* read the stream, each a tensor of its own */
    ROLE_KEY, ROLE_KEY_BIAS,
    ROLE_VALUE, ROLE_VALUE_BIAS,
    ROLE_GATE, ROLE_GATE_BIAS,                      /* read the stream: the gate of a gated MLP, beside ROLE_UP */
    ROLE_RELATIVE_BIAS,                             /* scores by relative position (t5): one table for a stack */
    ROLE_TYPE_EMBEDDING,
    ROLE_EMBEDDING_NORM_GAIN, ROLE_EMBEDDING_NORM_BIAS,
    ROLE_TRANSFORM, ROLE_TRANSFORM_BIAS,            /* between the last block and the final norm (bert's head) */
    ROLE_HEAD_BIAS,
    ROLE_POOLER, ROLE_POOLER_BIAS,                  /* kept and grown, never trained */
    ROLE_NEXT_SENTENCE, ROLE_NEXT_SENTENCE_BIAS,
    ROLE_ROUTER                                     /* reads the stream: scores of the experts (mixtral) */
};

/* Matrices between hidden units: what cancelling noise and a width clone's learning rates are about. */
bool role_is_hidden(enum role role);

/* In which shapes a row makes tensors. */
enum presence {
    PRESENT_ALWAYS,
    PRESENT_UNTIED,            /* a head of its own */
    PRESENT_ATTENTION_BIAS,
    PRESENT_OUT_BIAS,          /* attention's output: not in qwen2, whose q, k and v have biases all the same */
    PRESENT_MLP_BIAS,
    PRESENT_PLAIN_MLP, PRESENT_GATED_MLP,  /* t5, which has either */
    PRESENT_POOLER, PRESENT_NEXT_SENTENCE,
    PRESENT_EXPERTS            /* one tensor for each expert of a block: the second "%d" of the name */
};

/* Which stack of blocks a row repeats with. Blocks are numbered through both stacks: the decoder's come after the
 * encoder's, so that a block's number alone tells its stack. */
enum stack {
    STACK_NONE,         /* a tensor outside blocks */
    STACK_LAYERS,       /* the blocks; of an encoder-decoder: the encoder's, 0 .. layers - 1 */
    STACK_DECODER       /* of an encoder-decoder: layers .. layers + decoder_layers - 1 */
};

struct tensor_row {
    const char *name;       /* "h.%d.attn.c_attn.weight"; without the family's optional prefix */
    enum role role;
    enum stack stack;
    int rank;               /* 1 or 2 */
    enum axis axes[2];      /* as in the file, outermost first */
    int input_axis;         /* the axis a product sums over; -1 for vectors and embeddings */
    enum presence presence;
};

enum { TENSOR_NAME_BYTES = 96, TENSOR_ALIGN = 16 };   /* offsets are multiples of 16 floats */
enum { LAYOUT_ROWS_MAX = 64 };

struct tensor {
    const struct tensor_row *row;
    int layer;                      /* number of its block through both stacks; -1: outside blocks */
    int expert;                     /* of its block; 0 where there is one tensor for the block */
    int dims[2];                    /* dims[1] = 1 for vectors */
    size_t offset, count;           /* in floats, within the slab */
    char name[TENSOR_NAME_BYTES];   /* the row's name with the layer put in, without prefix */
};

/* Where a row's tensors stand in the table: that of expert e (0) of block b is tensors[first + (b - base) * stride + e]. */
struct tensor_run { int first, stride, layers, base, experts; };   /* layers 0: the shape has none of them */

struct tensor_table {
    struct shape shape;
    int count;
    /* in the order of the family's table: outer tensors, then layer by layer, then the end */
    struct tensor *tensors;
    size_t slab;                    /* floats of a slab, padding included; a multiple of TENSOR_ALIGN */
    uint64_t parameters;            /* without padding */
    struct tensor_run runs[LAYOUT_ROWS_MAX];   /* by row of the layout: look-ups cost the rows, not the tensors */
};

/* Builds the table of a shape that passed shape_check. Pair with tensor_table_fini. ERROR_NO_MEMORY. */
int tensor_table_init(struct tensor_table *table, const struct shape *shape, struct error *error);
void tensor_table_fini(struct tensor_table *table);

/* The tensor of a row's role (and block, -1 outside blocks); several rows of a stack may share a role, as ROLE_NORM_GAIN
 * or the decoder's two attentions (self before cross): `nth` from 0, which also counts the experts of a block.
 * NULL if the shape has none. */
const struct tensor *tensor_find_role(const struct tensor_table *table, enum role role, int layer, int nth);
/* By name without prefix; NULL if unknown. */
const struct tensor *tensor_find(const struct tensor_table *table, const char *name);

/* The family's rows. */
struct layout {
    enum family family;
    const char *prefix;                  /* "transformer.": optional in files */
    const char *outside;                 /* names that begin so never carry it; NULL: only the head's */
    const struct tensor_row *rows;
    int row_count;
    /* name endings that ship in files and are no parameters (".attn.bias"); NULL-ended */
    const char *const *ignored;
    /* endings of older names, each followed by today's ("LayerNorm.gamma", "LayerNorm.weight"); NULL-ended, or NULL */
    const char *const *renamed;
    bool post_norm;                      /* norms stand after the additions; the embeddings have one of their own */
    bool heads_fill_width;               /* width = heads * head size is a rule of the family */
    bool grouped_queries;                /* kv heads may be fewer than heads */
    /* names that may ship beside the token embedding and must equal it (tied encoders and decoders); NULL or NULL-ended */
    const char *const *embedding_copies;
    const char *const *head_bias_copies; /* the same for the head's bias */
    bool head_decides;                   /* whether the head is tied is told by the file, not by config.json */
    bool rotary;                         /* positions turn pairs of a head's numbers */
};
const struct layout *layout_of(enum family family);
/* True for a buffer that ships in files and is no parameter. Only for names that are no tensor of the table. */
bool layout_ignores(const struct layout *layout, const char *name);
/* True for a tensor whose name in files never carries the family's prefix. */
bool layout_is_outside(const struct layout *layout, const struct tensor_row *row);
/* Gains of norms, which are 1 in a model that was never trained. */
bool role_is_gain(enum role role);
/* Are there gradients for it? Tensors of other tasks' heads are kept and grown, not trained. */
bool role_is_trained(enum role role);
/* Standard deviation of the values a row's tensors start with; 0: all are equal. */
double tensor_initial_deviation(const struct shape *shape, const struct tensor_row *row);
/* Does a row's weight enter a product? A tied head multiplies by the token embedding. */
bool shape_row_in_products(const struct tensor_row *row, const struct shape *shape);
/* In how many blocks a row makes tensors under a shape (1 outside blocks; 0: the head of a tied model); how many tensors
 * that is, with one for each expert; how many of them a token's products pass; elements of one, -1 on overflow. */
int layout_row_layers(const struct tensor_row *row, const struct shape *shape);
int layout_row_tensors(const struct tensor_row *row, const struct shape *shape);
int layout_row_active(const struct tensor_row *row, const struct shape *shape);
int layout_row_elements(const struct tensor_row *row, const struct shape *shape, uint64_t *elements);

extern const struct layout layout_gpt2, layout_llama, layout_mistral, layout_qwen2, layout_t5, layout_bert,
    layout_mixtral;

/* Size of an axis under a shape. */
int axis_size(enum axis axis, const struct shape *shape);

#endif
