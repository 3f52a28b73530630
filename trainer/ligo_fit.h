/* Fitting LiGO's map: a study's training data, the small model's weights frozen, a few gradient steps on the learned numbers
 * (Wang et al., 2023; the authors' run_grow_distributed.py). Optimizer, theirs: AdamW with betas 0.9 and 0.999, on all learned
 * numbers the weight decay, clipping (of the global norm of their gradient) and learning rate that the model is trained with,
 * linear decay to 0 over the fit. Ours: no warm-up (their configuration's, of 10000 steps, is longer than the fit), and where
 * the study trains by another optimizer than AdamW, AdamW's default rate.
 *
 * Step i reads the batch that training would read at step T + i, T the horizon: none that a trial sees, and the same for
 * every candidate. A step whose loss or gradient is not finite ends the fit; what was learned before it stays.
 *
 * Determinism: same weights, plan, training values and data, same bytes. Thread rule: one thread. */
#ifndef TRAINER_LIGO_FIT_H
#define TRAINER_LIGO_FIT_H

#include "growth/plan.h"
#include "trainer/trial.h"

struct ligo_fit {
    const struct kernels *kernels;       /* float32 */
    struct training training;            /* the study's; a context above the stage's positions is cut to them */
    enum sampler sampler;
    uint64_t seed_index;                 /* 0 */
    const struct corpus *train;
    const atomic_bool *stop;             /* looked at between micro-batches; NULL: none */
    /* answers, of the last stage fitted */
    double first_loss, last_loss;        /* mean training loss of the first and of the last step */
    uint64_t steps_done;
};

/* `fit` must stay. learn: ERROR_CANCELLED, ERROR_IO, ERROR_NO_MEMORY, ERROR_INVALID (objective_check). */
struct growth_learner ligo_fit_learner(struct ligo_fit *fit);

/* What growing a plan's learned stages takes: bytes beside a worker's scratch of the stage's shape (0: nothing is learned),
 * and operations. ERROR_NO_MEMORY, ERROR_INVALID (too large). */
struct fit_need { size_t bytes, scratch_bytes; double flops; };
int ligo_fit_measure(const struct growth_plan *plan, const struct training *training, const struct kernels *kernels,
                     struct fit_need *need, struct error *error);

/* Bytes that a candidate keeps while it is grown and trained: its trial's, or more while it is fitted; those of a worker's
 * scratch; and operations spent on growing. */
struct candidate_need { size_t bytes, scratch_bytes; double growth_flops; };
int candidate_measure(const struct growth_plan *plan, const struct training *training, const struct kernels *kernels,
                      struct candidate_need *need, struct error *error);

#endif
