/* "average_every": "auto": K from what one step and one average cost on this machine, and from the convergence bound of K-AVG
 * where that speaks of the optimizer (Zhou & Cong, arXiv 1708.01012, theorem 3.1; methods 5.1). Measured once, when a study is
 * admitted; what comes out is written into the request, so that nothing later depends on a clock.
 * Thread rule: one thread. */
#ifndef TRAINER_KAVG_AUTO_H
#define TRAINER_KAVG_AUTO_H

#include "base/clock.h"
#include "trainer/trial.h"

struct kavg_costs {
    double step_seconds[LEARNERS_MAX];   /* one local step of each learner */
    double average_seconds;              /* of all learners */
    double loss, smoothness, variance;   /* F(w1); L along the gradient; M, the gradient's variance over single rows */
};

/* What is measured on: a model, at its weights, with the rows of step 0 to 1. */
struct kavg_subject {
    const struct kernels *kernels;
    const struct checkpoint *checkpoint;
    const struct training *training;
    enum sampler sampler;
    const struct corpus *train;
    struct clock *clock;
    double step_factor, average_factor;  /* times a step and an average take in the model that is trained; 1: this one */
};
/* Takes a trial of one learner, two slabs and a scratch while it lasts. ERROR_NO_MEMORY, ERROR_IO, ERROR_INVALID. */
int kavg_measure(const struct kavg_subject *subject, struct kavg_costs *costs, struct error *error);

/* The bound's size at K for equal time: K / (K - 1 + d) [A (1 + a / K) + B (K / P + L g (2K - 1)(K - 1) / 6)], A = 2 F / (S g),
 * B = L g M / rows, d = 1 - (L g)^2, g the step, a the seconds of an average over those of a step, S local steps without any
 * average. Infinite where the theorem's conditions don't hold. F* is taken as 0: no loss is below. */
struct kavg_bound { double loss, smoothness, variance, step, rows, steps, average; int learners; };
double kavg_bound_at(const struct kavg_bound *bound, uint64_t k);

/* K: with sgd the least bound; other optimizers, of which the theorem says nothing, from 4 to 16, with an outer step 32 to
 * 500, as much as keeps averaging below a tenth of the time (methods 5.4). At most an eighth of `steps`, those of a trial.
 * Learners slower than the fastest by more than a quarter get proportionally fewer steps, where the optimizer allows it.
 * Sets local_steps and why, clears automatic. Pure. */
void kavg_choose(const struct training *training, const struct kavg_costs *costs, uint64_t steps,
                 struct learners_spec *learners);

#endif
