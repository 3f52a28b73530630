/* Extrapolation of one curve far ahead: the loss at the horizon (methods 7.4). Pure functions. */
#ifndef STUDY_EXTRAPOLATE_H
#define STUDY_EXTRAPOLATE_H

#include "study/study.h"

/* Forms of a curve's slow regime:
 *   power        L(t) = floor + amount (t + offset)^-exponent, exponent on a grid in [0.05, 2], offset 0, a quarter,
 *                half or the whole of the first step
 *   exponential  L(t) = floor + amount e^(-t / tau), tau on a grid from a tenth of the span to ten times it
 *   line         L(t) = intercept + slope ln(t + 10)
 * floor and amount are not negative: least squares in them for each grid value, and the best of all. */
enum extrapolate_form { EXTRAPOLATE_POWER, EXTRAPOLATE_EXPONENTIAL, EXTRAPOLATE_LINE, EXTRAPOLATE_FORMS };
enum { EXTRAPOLATE_POINTS_MIN = 5 };

struct extrapolation {
    double at;                 /* the value asked for */
    double squares;            /* of the residuals */
    int parameters;
};
/* Steps ascending, positive. `at` is NaN for fewer than EXTRAPOLATE_POINTS_MIN points. */
struct extrapolation extrapolate(enum extrapolate_form form, const double *steps, const double *losses, int count,
                                 double at);
double extrapolate_power(const double *steps, const double *losses, int count, double at);

/* The deciding points of a candidate's averaged curve that belong to the slow regime seen from step k: from the knee
 * (NaN: none), the end of warm-up (k / 2 at most) and k / 10 on, where the averaged weights have forgotten the fast
 * phase. Returns how many, at most `most`. */
int slow_regime_points(const struct study *study, int candidate, double knee, uint64_t k, double *steps, double *losses,
                       int most);

#endif
