/* Extrapolation of one curve far ahead: the loss at the horizon (methods 7.4). Pure function. */
#ifndef STUDY_EXTRAPOLATE_H
#define STUDY_EXTRAPOLATE_H

#include <stdint.h>

/* L(t) = floor + amount (t + offset)^-exponent with floor, amount >= 0, exponent on a grid in [0.05, 2] and offset
 * 0, a quarter, half or the whole of the first step: least squares in (floor, amount) for each, and the best of
 * all. Steps ascending, positive. NaN for fewer than EXTRAPOLATE_POINTS_MIN points. */
enum { EXTRAPOLATE_POINTS_MIN = 5 };
double extrapolate_power(const double *steps, const double *losses, int count, double at);

#endif
