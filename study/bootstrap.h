/* Bootstrap: how often each participant would be the best on other validation windows and at another moment of its
 * curve. */
#ifndef STUDY_BOOTSTRAP_H
#define STUDY_BOOTSTRAP_H

#include "study/contest.h"

enum { BOOTSTRAP_RESAMPLES = 1000 };

/* p_best[p] per participant, sums to 1; NaN if the windows are fewer than 2. The paired bootstrap of methods C.5:
 * one draw of windows for all participants, and one draw of jitter for all, from the stream (seed, 0,
 * RNG_BOOTSTRAP).
 *
 * Jitter: with R the residuals of the last n points (one row per participant), the vector R g / sqrt(n - 2), g
 * standard normal, has the residuals' covariance, so that every paired difference jitters as its difference curve
 * does; times sqrt((n - 2) / chi-square(n - 2)) it is Student's t with n - 2 degrees of freedom, as the variance is
 * an estimate. ERROR_NO_MEMORY. */
int bootstrap_best(const struct contest *contest, uint64_t seed, double *p_best, struct error *error);

#endif
