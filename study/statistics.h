/* Statistics of rankings and curves (methods 1.4, 7.5, 7.6, C.5): pure functions on plain arrays, double throughout. */
#ifndef STUDY_STATISTICS_H
#define STUDY_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Average ranks from 1 (ties get the mean rank). */
void ranks_average(const double *values, int count, double *ranks);
double correlation_pearson(const double *a, const double *b, int count);      /* NaN if a variance is 0 or count < 2 */
double correlation_spearman(const double *a, const double *b, int count);     /* Pearson on average ranks */
double correlation_kendall(const double *a, const double *b, int count);      /* tau-b; NaN if undefined */
/* y = intercept + slope x by least squares; residual_sd with count - 2 degrees of freedom (0 for two points). */
struct line { double intercept, slope, residual_sd; };
struct line line_fit(const double *x, const double *y, int count);
/* Upper tail P(Z > z) of the normal and P(T > t) of Student's t. */
double normal_tail(double z);
double student_tail(double t, double degrees);
/* Holm's step-down: rejected[i] tells whether hypothesis i is rejected at family-wise level alpha. */
void holm_reject(const double *p_values, int count, double alpha, bool *rejected);
/* A percentile interval of resampled values, which it sorts; it always holds `middle`. */
struct interval { double low, middle, high; };
struct interval interval_of(double *values, int count, double confidence, double middle);

#endif
