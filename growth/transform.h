/* A transform: one stage made ready to be applied. Every tensor of the grown model comes from exactly one tensor of the
 * model before (or from the initial distribution), through the maps of its axes; so tensors can be grown one at a time,
 * in any order, with nothing else in memory. Internal to growth/. Thread rule: const after growth_transform_init. */
#ifndef GROWTH_TRANSFORM_H
#define GROWTH_TRANSFORM_H

#include "base/rng.h"
#include "growth/deviates.h"
#include "growth/stage.h"
#include "model/checkpoint.h"
#include "model/parametrization.h"
#include "model/tensor.h"

enum { AXIS_KINDS = AXIS_COUNT };

struct axis_run { int begin, end, source, copy; bool further; double share; };

/* A stage's unit maps spelled out for the positions along one kind of axis. */
struct axis_map {
    struct axis_run *runs;   /* the positions again, as runs of consecutive old ones that have all else in common */
    int run_count;
    int count;           /* positions of the grown axis */
    int32_t *source;     /* old position, -1: new, filled as the next two say */
    int32_t *copy;       /* which copy of an n-fold clone it belongs to; 0 elsewhere */
    bool *further;       /* a copy of a unit that stands before it, too */
    double *share;       /* of its old position's outgoing weight; the copies' shares sum to 1 */
    enum unit_fill written, read;
    bool changed;        /* false: every position from itself with share 1 */
    bool has_new;        /* some position has no source */
};

struct growth_transform {
    const struct growth_plan_stage *stage;
    const struct tensor_table *before;   /* of the model that is grown */
    struct axis_map axes[AXIS_KINDS];
    uint64_t seed;       /* study's + operator's (which is in the list's text, too) */
    uint64_t list_hash;  /* of the canonical operator list */
    int index;           /* of the stage in the list */
    float *deviates;     /* table of growth/deviates.h */
    enum parametrization parametrization;   /* of what is drawn afresh; its base, borrowed: NULL for standard */
    const struct shape *base;
};

/* `before`: the table of the stage's `from`; it must stay. ERROR_INTERNAL: a partner was planned with but not loaded. */
int growth_transform_init(struct growth_transform *transform, const struct growth_plan_stage *stage,
                          const struct tensor_table *before, uint64_t seed, uint64_t list_hash, int index,
                          struct error *error);
void growth_transform_fini(struct growth_transform *transform);
/* The random stream of (seed, list, stage, purpose, name): independent of every other tensor's. */
struct rng growth_transform_stream(const struct growth_transform *transform, const char *purpose, const char *name);

/* Where a norm comes from when new blocks stand in a post-norm model (growth/post_norm.c). */
struct norm_origin {
    enum { NORM_AS_MAPPED, NORM_UNIT, NORM_MOVED } kind;   /* as every tensor; gain 1, bias 0; from the tensor named: */
    enum role role;
    int layer, nth;
};
struct norm_origin growth_norm_origin(const struct growth_transform *transform, const struct tensor *to);

/* The tensor before the stage that `to` comes from; NULL: it is drawn fresh. */
const struct tensor *growth_tensor_source(const struct growth_transform *transform, const struct tensor_table *before,
                                          const struct tensor *to);

/* Is it an expert's tensor made of an MLP's? */
bool growth_tensor_is_upcycled(const struct growth_transform *transform, const struct tensor *to);
/* Of a token's gradient the part that reaches such an expert is its share, K of E times about 1 / K while the router is
 * next to nothing and 0 otherwise: the mean of it, 1 / E, and the root of the mean of its square, 1 / sqrt(E K). What
 * tokens' gradients have in common adds up as the mean, their noise, which is most of a second moment, as the square.
 * Both 1 for every other tensor. */
struct share_means { double mean, root_mean_square; };
struct share_means growth_share_means(const struct growth_transform *transform, const struct tensor *to);

/* The tensor that the further copies of its output units come from (stage.second); NULL: `from` like all else. */
const struct tensor *growth_tensor_second(const struct growth_transform *transform, const struct tensor_table *before,
                                          const struct tensor *to);

/* How values follow the two axes: times (factor * share of each axis in use)^power. */
struct axis_scaling {
    bool use[2];
    int power;
    double factor;
    bool block_diagonal;   /* cross_value where the copies along the two axes differ */
    float cross_value;     /* 0 */
    float new_value;       /* at positions without a source, or (moments) of a share of 0 */
    bool second_is_new;    /* new_value at the further copies of output units */
    const float *second;   /* what the further copies of output units are taken from, (from->dims); NULL: the same */
    const float *partner;  /* of a fusion: what the second copies hold, (from->dims); NULL: the same as the first */
    bool partner_is_new;   /* new_value in the second copies */
    int first_row, rows, base_row;   /* as in struct growth_values; partner begins at base_row, too */
};
/* after: (to->dims), before: (from->dims). Contract of every caller: `from` is growth_tensor_source of `to`. What lies on
 * no axis that changed is, in a fusion, the mean of both. */
void growth_tensor_map(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                       const struct axis_scaling *scaling, const float *before, float *after);

/* Values of the tensor before the stage, and of its second source. */
struct growth_values {
    const float *own, *second;   /* second NULL: none */
    bool second_is_new;          /* moments: there is one, and it has none */
    /* Only some rows of the tensor, where it takes that: rows first_row … first_row + rows - 1 of `to` (rows 0: all),
     * from values that begin at row base_row of `from` (0 but where the rows stay as they are). */
    int first_row, rows, base_row;
    struct clone_power *power;   /* kept from one piece to the next; NULL: measured anew */
    const float *partner;        /* weights, of a fusion: the partner's slab instead of its weights; NULL: its weights */
};
/* Power of the weights that a clone's noise follows, one for each matrix of a fused qkv. */
struct clone_power { bool known; double deviations[3]; };
/* How many values are asked for. */
size_t growth_values_count(const struct tensor *to, struct growth_values values);
/* Can it be grown some rows at a time? `from` NULL: drawn. */
bool growth_tensor_takes_rows(const struct growth_transform *transform, const struct tensor *from,
                              const struct tensor *to);

/* Grown weights of one tensor; `from` and before.own NULL: drawn fresh. */
void growth_tensor_weights(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                           struct growth_values before, float *after);

/* Fresh weights: GPT-2's initialisation for the grown shape. */
void growth_tensor_draw(const struct growth_transform *transform, const struct tensor *to, struct growth_values rows,
                        float *after);
double growth_fresh_deviation(const struct growth_transform *transform, const struct tensor *to);
/* What a mapped tensor holds at new units (growth/transform_fill.c). `after` was filled by growth_tensor_map. */
void growth_tensor_fill(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                        const struct axis_scaling *scaling, const float *before, float *after);
/* Adds to a cloned hidden matrix noise that cancels over the n copies along the input axis (appendix B.1). */
void growth_tensor_clone_noise(const struct growth_transform *transform, const struct tensor *from,
                               const struct tensor *to, struct growth_values before, float *after);
/* The G_stack blend W <- (1 - alpha) W + alpha eps (methods 6.5); vectors stay. */
void growth_tensor_blend(const struct growth_transform *transform, const struct tensor *to, struct growth_values rows,
                         float *after);

/* Do the moments of `to` come from the model before under this policy, or start at 0 with step 0? */
bool growth_moments_kept(const struct growth_transform *transform, enum moments_policy policy, const struct tensor *to);
/* One grown moment of a tensor whose moments are kept: m and momentum as gradients, v as their squares, methods 6.18. Not z,
 * which is weights. */
void growth_tensor_moment(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                          enum moment_part part, struct growth_values before, float *after);

/* The step counter that goes with them, of a tensor whose own is `step`: in a fusion the smaller one of both, so that
 * nothing young is taken for old; the parent's where the other model's state is of another optimizer. */
uint64_t growth_tensor_step(const struct growth_transform *transform, const struct moments *own, const struct tensor *from,
                            uint64_t step);

/* Roles. */
bool growth_role_is_output(enum role role);        /* what a block adds to the stream: zeroed in an identity block */
bool growth_role_is_divided_norm(const struct shape *shape, enum role role);   /* final norm before a tied head */
/* What the weight that divides in a head's place (a head of its own, or the final norm before a tied one) is multiplied
 * by because the head carries width^-1/2 and the width grows: sqrt(width' / width); 1 for everything else. */
double growth_head_factor(const struct growth_transform *transform, enum role role);
/* The factor of a tensor's weights that no share tells: growth_head_factor, and the stage's norm_factor for gains. Its
 * gradients, and so its moments, are divided by it. */
double growth_role_factor(const struct growth_transform *transform, enum role role);

#endif
