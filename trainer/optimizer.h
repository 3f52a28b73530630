/* Optimizers: one row per available row of OPTIMIZER_TABLE, one function each. An optimizer turns the clipped mean
 * gradient into an update of a trial's weights and of its own state; clipping, running average and divergence are
 * trial_step's. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include "trainer/trial.h"

struct optimizer {
    int state_slabs;      /* slabs of state beside the weights */
    /* `gradients`: a slab of the trial's table; used as gradient_scale times what it holds. `rate`: of this update,
     * before the trial's hidden_rate_scale. */
    void (*update)(struct trial *trial, const void *gradients, double gradient_scale, double rate);
};

/* NULL: not available yet. */
const struct optimizer *optimizer_of(enum optimizer_name name);

#endif
