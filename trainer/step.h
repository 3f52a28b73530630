/* Step: the two halves of an update, shared by a trial of one learner (trainer/trial_step.c) and by learners in rounds
 * (trainer/kavg.c): the gradient of a share of the batch, and what is made of it. Inside the trainer only.
 * Thread rule: a learner, its share and the scratch are the caller's own; of the trial only what no step changes is read. */
#ifndef TRAINER_STEP_H
#define TRAINER_STEP_H

#include "trainer/scratch.h"

struct step_place {
    const struct trial *trial;
    uint64_t step;                     /* the update's number: of batch, rate and masks */
    struct batch_share share;
    struct scratch *scratch;
    const struct corpus *train;
    const atomic_bool *stop;           /* NULL: none */
};

/* The rows of one of the trial's learners at a step; with learners_mode gradients as a part of the mean over all. */
struct batch_share step_share(const struct trial *trial, int learner, uint64_t step);
/* The gradient for a learner's weights. ERROR_CANCELLED, ERROR_IO, ERROR_INTERNAL (scratch_fits). */
int step_gradient(const struct step_place *place, const struct learner *learner, struct gradient_sum *sum,
                  struct error *error);
/* Clips and updates the learner. *norm: of the mean gradient. False: loss or gradient are not finite, nothing changed. */
bool step_update(const struct step_place *place, struct learner *learner, const void *gradients,
                 const struct gradient_sum *sum, double *norm);
/* Moves the running average to the weights that `steps` updates have led to (K-AVG: those of a round). */
void step_average(struct trial *trial, uint64_t steps);

#endif
