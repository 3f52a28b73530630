/* Optimizers: one row per row of OPTIMIZER_TABLE, one function each. An optimizer turns the clipped mean gradient into an
 * update of a learner's weights and of its own state; clipping, running average and divergence are trial_step's.
 *
 *              weights    state        gradients at
 *     adamw    w          m, v         w
 *     sgd      w          momentum     w
 *     schedule_free_adamw x, the average      z, v    y = beta x + (1 - beta) z
 *     schedule_free_sgd   x, the average      z       y
 *
 * The average itself is kept, not y (arXiv 2405.15682's code keeps y): evaluations and files take it as it is, so they
 * change nothing, and y, a sum of the two, is the same wherever it is made; a worker has room for it. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include "model/checkpoint.h"
#include "trainer/trial.h"

struct optimizer {
    int state_slabs;      /* slabs of state beside the weights */
    enum moment_part parts[OPTIMIZER_SLABS_MAX];   /* what each is called in a checkpoint */
    bool schedule_free;   /* gradients at y; no decaying schedule, no running average beside its own */
    /* `gradients`: a slab of the trial's table; used as gradient_scale times what it holds. `rate`: of this update,
     * before the law of each tensor. */
    void (*update)(const struct trial *trial, struct learner *learner, const void *gradients, double gradient_scale,
                   double rate);
};

/* NULL: no such row. */
const struct optimizer *optimizer_of(enum optimizer_name name);
/* The bits of moments_parts that a trial with this optimizer exports. */
unsigned optimizer_parts(const struct optimizer *optimizer);

/* What a user must know: that the checkpoint's state is another optimizer's, and this one starts anew. NULL: nothing. */
const char *optimizer_state_warning(enum optimizer_name name, const struct moments *moments);

/* Where the next gradient is taken: the weights, or for a schedule-free optimizer y, written to the scratch (made for this
 * training), where it stays until that is used again. */
const void *learner_point(const struct trial *trial, const struct learner *learner, struct scratch *scratch);
/* Adam's v of a tensor, for preconditioners: v / *correction is the mean square without the bias of its zero start. NULL:
 * the optimizer has none, or has not seen a gradient of it yet. */
const void *learner_second_moment(const struct trial *trial, const struct learner *learner, int tensor, double *correction);

#endif
