/* A transform: one stage made ready to be applied. Every tensor of the grown model comes from exactly one tensor of the
 * model before (or from the initial distribution), through the maps of its axes; so tensors can be grown one at a time,
 * in any order, with nothing else in memory. Internal to growth/. Thread rule: const after growth_transform_init. */
#ifndef GROWTH_TRANSFORM_H
#define GROWTH_TRANSFORM_H

#include "base/rng.h"
#include "growth/stage.h"
#include "model/tensor.h"

enum { AXIS_KINDS = AXIS_COUNT };

/* A stage's unit maps spelled out for the positions along one kind of axis. */
struct axis_map {
    int count;           /* positions of the grown axis */
    int32_t *source;     /* old position, -1: new, filled with zeros */
    int32_t *copy;       /* which copy of an n-fold clone it belongs to; 0 elsewhere */
    double *share;       /* of its old position's outgoing weight; the copies' shares sum to 1 */
    bool changed;        /* false: every position from itself with share 1 */
};

struct growth_transform {
    const struct growth_plan_stage *stage;
    struct axis_map axes[AXIS_KINDS];
    uint64_t seed;       /* study's + operator's (which is in the list's text, too) */
    uint64_t list_hash;  /* of the canonical operator list */
    int index;           /* of the stage in the list */
};

int growth_transform_init(struct growth_transform *transform, const struct growth_plan_stage *stage, uint64_t seed,
                          uint64_t list_hash, int index, struct error *error);
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

/* How values follow the two axes: times (factor * share of each axis in use)^power. */
struct axis_scaling {
    bool use[2];
    int power;
    double factor;
    bool block_diagonal;   /* zero where the copies along the two axes differ */
    float new_value;       /* at positions without a source */
};
/* after: (to->dims), before: (from->dims). Contract of every caller: `from` is growth_tensor_source of `to`. */
void growth_tensor_map(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                       const struct axis_scaling *scaling, const float *before, float *after);

/* Grown weights of one tensor; `from` and `before` NULL: drawn fresh. */
void growth_tensor_weights(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                           const float *before, float *after);

/* Fresh weights: GPT-2's initialisation for the grown shape. */
void growth_tensor_draw(const struct growth_transform *transform, const struct tensor *to, float *after);
/* Adds to a cloned hidden matrix noise that cancels over the n copies along the input axis (appendix B.1). */
void growth_tensor_clone_noise(const struct growth_transform *transform, const struct tensor *from,
                               const struct tensor *to, const float *before, float *after);
/* The G_stack blend W <- (1 - alpha) W + alpha eps (methods 6.5); vectors stay. */
void growth_tensor_blend(const struct growth_transform *transform, const struct tensor *to, float *after);

/* Do the moments of `to` come from the model before under this policy, or start at 0 with step 0? */
bool growth_moments_kept(const struct growth_transform *transform, enum moments_policy policy, const struct tensor *to);
/* Grown Adam moments of one tensor whose moments are kept: first and second, methods 6.18. */
void growth_tensor_moments(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                           const float *m_before, const float *v_before, float *m_after, float *v_after);

/* Roles. */
bool growth_role_is_output(enum role role);        /* what a block adds to the stream: zeroed in an identity block */
bool growth_role_is_divided_norm(const struct shape *shape, enum role role);   /* final norm before a tied head */
/* What the weight that divides in a head's place (a head of its own, or the final norm before a tied one) is multiplied
 * by because the head carries width^-1/2 and the width grows: sqrt(width' / width); 1 for everything else. */
double growth_head_factor(const struct growth_transform *transform, enum role role);

#endif
