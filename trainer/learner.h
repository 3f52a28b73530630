/* Learner: one copy of a trial's weights and of its optimizer's state. A trial has one, under K-AVG several.
 *
 * `weights` is what evaluations look at and what is saved. Gradients are taken at learner_point (trainer/optimizer.h): for the
 * schedule-free optimizers that is between the average x (`weights`) and the iterate z; for all others the weights.
 * Thread rule: as its trial's; different learners of a trial may be lent to different workers. */
#ifndef TRAINER_LEARNER_H
#define TRAINER_LEARNER_H

#include <stdint.h>

#include "model/checkpoint.h"

enum { OPTIMIZER_SLABS_MAX = 2 };

struct learner {
    void *weights;                        /* views into the trial's slab */
    void *state[OPTIMIZER_SLABS_MAX];     /* in the order of the optimizer's row (trainer/optimizer.h): adamw m, v */
    uint64_t *tensor_steps;               /* per tensor: updates that its state has seen */
    struct averaging averaging;
};

#endif
