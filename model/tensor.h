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
    AXIS_CONTEXT
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
    ROLE_HEAD                                       /* untied output projection */
};

struct tensor_row {
    const char *name;       /* "h.%d.attn.c_attn.weight"; without the family's optional prefix */
    enum role role;
    bool per_layer;
    int rank;               /* 1 or 2 */
    enum axis axes[2];      /* as in the file, outermost first */
    int input_axis;         /* the axis a product sums over; -1 for vectors and embeddings */
    bool when_untied;       /* present only in models with a head of their own */
};

enum { TENSOR_NAME_BYTES = 96, TENSOR_ALIGN = 16 };   /* offsets are multiples of 16 floats */
enum { LAYOUT_ROWS_MAX = 64 };

struct tensor {
    const struct tensor_row *row;
    int layer;                      /* -1: not per layer */
    int dims[2];                    /* dims[1] = 1 for vectors */
    size_t offset, count;           /* in floats, within the slab */
    char name[TENSOR_NAME_BYTES];   /* the row's name with the layer put in, without prefix */
};

/* Where a row's tensors stand in the table: the one of layer l is tensors[first + l * stride]. */
struct tensor_run { int first, stride, layers; };   /* layers 0: the shape has none of them */

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

/* The tensor of a row's role (and layer, -1 outside blocks); several rows may share ROLE_NORM_GAIN: `nth` from 0.
 * NULL if the shape has none. */
const struct tensor *tensor_find_role(const struct tensor_table *table, enum role role, int layer, int nth);
/* By name without prefix; NULL if unknown. */
const struct tensor *tensor_find(const struct tensor_table *table, const char *name);

/* The family's rows. */
struct layout {
    enum family family;
    const char *prefix;                  /* "transformer.": optional in files */
    const struct tensor_row *rows;
    int row_count;
    /* name endings that ship in files and are no parameters (".attn.bias"); NULL-ended */
    const char *const *ignored;
    bool heads_fill_width;               /* width = heads * head size is a rule of the family */
    bool grouped_queries;                /* kv heads may be fewer than heads */
};
const struct layout *layout_of(enum family family);
/* True for a buffer that ships in files and is no parameter. Only for names that are no tensor of the table. */
bool layout_ignores(const struct layout *layout, const char *name);
/* How many tensors a row makes under a shape (0: an untied head of a tied model), and elements of one; -1 on
 * overflow. */
int layout_row_layers(const struct tensor_row *row, const struct shape *shape);
int layout_row_elements(const struct tensor_row *row, const struct shape *shape, uint64_t *elements);

extern const struct layout layout_gpt2;

/* Size of an axis under a shape. */
int axis_size(enum axis axis, const struct shape *shape);

#endif
