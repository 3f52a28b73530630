/* A stage: one operator of a list resolved against the shape before it. Filled by the operator's plan function, read by
 * growth/apply.c, growth/moments.c and growth/plan_json.c. Nothing here touches weights.
 *
 * Layer map    layers[i] = old block of new block i, -1 for a fresh one; identity[i]: its output projections are 0. The
 *              blocks of an encoder-decoder are numbered through both stacks, as in the tensor table.
 * Unit maps    per kind of axis, units[kind].source[j] = old unit of new unit j, -1 for a new unit, which holds what
 *              `written` and `read` say. Copies of one unit have shares that sum to 1: a product that sums over the
 *              units multiplies its weights by them, and the gradient that reaches a copy is its share of the old one
 *              (methods 6.18, appendix B). Shares are equal (1 / copies), drawn when applied (`unequal`), or given.
 * Clone        an n-fold clone tiles every unit map n times; `diagonal` and the cancelling noise concern only it.
 * Second       second[i]: the old block that says what the further copies of output units do in new block i, -1: its own.
 * Learned      of a fitted map (growth/ligo.h) the layer map says what each new layer mostly is before the fit, new units
 *              are mixtures of all old ones.
 * Partner      of a fusion: the second copy of a diagonal clone holds another checkpoint's values. */
#ifndef GROWTH_STAGE_H
#define GROWTH_STAGE_H

#include "growth/operator.h"

enum { GROWTH_LAYERS_MAX = PARAMETER_LIST_MAX, GROWTH_WIDTH_MAX = 1 << 17, GROWTH_FF_MAX = 1 << 20,
       GROWTH_LEARNED_MAX = 100000 };
enum { GROWTH_RAMP_MAX = 1000000 };      /* steps */

/* Heads and kv heads count whole heads; width and ff single units. */
enum unit_kind { UNIT_WIDTH, UNIT_HEADS, UNIT_KV, UNIT_FF, UNIT_CONTEXT, UNIT_KIND_COUNT };

/* What a tensor holds at a new unit: 0; the mean over the old units (of a row, a column, a vector; norms: their biases
 * are 0 and their gains the mean whatever is said here); values of the initial distribution. */
enum unit_fill { FILL_ZERO, FILL_MEAN, FILL_DRAW };

struct unit_map {
    int32_t *source;      /* owned; NULL: this kind does not change */
    double *shares;       /* owned, one per entry of source; NULL: 1 / copies, or drawn */
    int count;            /* entries of source */
    bool unequal;         /* shares drawn from the operator's seed instead of 1 / copies */
    enum unit_fill written;   /* at a new unit: of tensors that write the units (rows of outputs, embeddings, biases) */
    enum unit_fill read;      /* of products that sum over the units (columns of inputs) */
};

struct growth_plan_stage {
    const struct growth_operator *op;
    struct shape from, to;                   /* `to` starts as a copy of `from` */
    int32_t *layers;                         /* owned, one entry per block of `to`; NULL: every block from itself */
    bool *identity;                          /* owned, one entry per block of `to`; NULL: none */
    bool *masked;                            /* owned, one entry per block of `to`: new ones, grown in; NULL: none */
    int ramp_steps;                          /* of a stage whose new structures are masked; 0: none are */
    struct unit_map units[UNIT_KIND_COUNT];
    int32_t *second;                         /* owned, one entry per block of `to`; NULL: none */
    int copies;                              /* n of an n-fold clone, else 1 */
    bool diagonal;                           /* clone blocks on the diagonal only, undivided */
    bool noisy;                              /* cancelling noise on the clone's hidden matrices */
    double noise_db;                         /* its signal-to-noise ratio */
    double norm_factor;                      /* of every norm's gain: what new units of the stream do to its norms */
    int learned_steps;                       /* that fit the map on data; 0: nothing is learned */
    const struct growth_partner *partner;    /* borrowed from the step; NULL: none */
    const char *inexact;                     /* why the row's promise does not hold here, shown as a warning; NULL */
    double blend;                            /* alpha of the G_stack noise on the whole stage's result */
    uint64_t seed;                           /* of the operator, added to the study's */
    enum promise promise;                    /* starts as the row's */
    enum symmetry symmetry;                  /* starts as the row's */
};

void growth_stage_fini(struct growth_plan_stage *stage);
/* Maps new unit j to old unit j mod `from`, for j < `to`. ERROR_NO_MEMORY. */
int growth_stage_units(struct growth_plan_stage *stage, enum unit_kind kind, int from, int to, struct error *error);
/* Parameters that rows share; `noise` and `seed` are the last two of every row. */
#define GROWTH_NOISE_PARAMETER                                                                                     \
    {.name = "noise", .type = PARAMETER_NUMBER, .minimum = 0, .maximum = 1, .fallback = "0",                       \
     .summary = "alpha of the G_stack blend W <- (1 - alpha) W + alpha eps on every matrix; 0: none"}
#define GROWTH_SEED_PARAMETER                                                                                      \
    {.name = "seed", .type = PARAMETER_INTEGER, .minimum = 0, .maximum = 9007199254740992.0, .fallback = "0",      \
     .summary = "added to the study's seed for everything this operator draws"}
/* Of rows that grow behind masks. The default is what every study waits at least before it can settle. */
#define GROWTH_RAMP_PARAMETER                                                                                      \
    {.name = "ramp_steps", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_RAMP_MAX, .fallback = "50",  \
     .summary = "steps over which the masks rise from 0 to 1; a study judges no earlier"}
/* Families whose blocks are alike for a row of the table. */
#define GROWTH_LLAMA_FAMILIES \
    (1u << FAMILY_LLAMA | 1u << FAMILY_MISTRAL | 1u << FAMILY_QWEN2 | 1u << FAMILY_MIXTRAL)

#define GROWTH_COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* The rows, one per operator (growth/op_*.c); growth/operators.c lists them. */
extern const struct growth_operator growth_op_stack, growth_op_interleave, growth_op_first, growth_op_gradual_last,
    growth_op_middle, growth_op_solar, growth_op_layer_map, growth_op_identity, growth_op_random, growth_op_hyperclone,
    growth_op_fpi, growth_op_aki, growth_op_lemon, growth_op_zero_pad, growth_op_widen_ff, growth_op_add_heads,
    growth_op_staged, growth_op_ligo, growth_op_fuse, growth_op_extend_context, growth_op_upcycle, growth_op_msg_depth,
    growth_op_msg_width;

#endif
