/* Stability: from which sharpness on an optimizer's steps grow instead of shrink, on a quadratic (methods 4.2).
 *
 *     sgd, momentum b                          eta lambda(R^1/2 H R^1/2) > 2 + 2 b          Nesterov: (2 + 2 b) / (1 + 2 b)
 *     adamw                                    eta lambda(P^-1/2 H P^-1/2) > (2 + 2 b1) / (1 - b1)
 *     schedule-free sgd, adamw (gradients at y)    the same lambda > 2 / ((1 - b) eta) - weight decay (adamw)
 *
 * (Cohen et al., arXiv 2207.14484, for Adam and heavy ball; Song et al., arXiv 2507.09846, propositions 4.1 and 4.2, for
 * schedule-free.) lambda: the largest eigenvalue in the optimizer's own metric, with every tensor's factor of the rate in
 * it: what trainer/landscape.h calls preconditioned. Training with mini-batches is unstable somewhat before.
 * Pure functions. */
#ifndef TRAINER_STABILITY_H
#define TRAINER_STABILITY_H

#include "trainer/training.h"

struct stability {
    double ratio;        /* rate over the largest stable one; NaN where it can't be told: no sharpness, none positive, rate 0 */
    double safe_rate;    /* the rate at which the ratio is 1; NaN likewise */
};
struct stability stability_of(const struct optimizer_spec *optimizer, double rate, double sharpness);

/* The rate that counts at a step: the peak at 0, whatever the warm-up is, then the schedule's. */
double stability_rate(const struct training *training, uint64_t step);

/* Above these a study warns: at the start, and at k, where training sits near 1 by itself (methods 4.2). */
extern const double stability_warned_at_start, stability_warned_at_end;

#endif
