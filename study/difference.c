/* Paired differences of two participants and their errors (methods 7.5, C.5). */
#include <math.h>

#include "study/contest.h"
#include "study/statistics.h"

/* Variance of the mean of the paired differences over the windows. */
static double sampling_variance(const struct contest *contest, int a, int b)
{
    int windows = contest->windows;
    const double *x = contest->values + (size_t)a * windows, *y = contest->values + (size_t)b * windows;
    if (windows < 2)
        return NAN;
    double mean = 0, squares = 0;
    for (int w = 0; w < windows; w++)
        mean += x[w] - y[w];
    mean /= windows;
    for (int w = 0; w < windows; w++)
        squares += (x[w] - y[w] - mean) * (x[w] - y[w] - mean);
    return squares / (windows - 1) / windows;
}

/* Variance of the score's difference from the residuals of the last points of the difference curve: each point
 * counts with the square of its weight. */
static double jitter_variance(const struct contest *contest, int a, int b)
{
    int n = contest->jitter_points;
    const double *x = contest->residuals + (size_t)a * n, *y = contest->residuals + (size_t)b * n;
    if (n < 3)
        return NAN;
    double squares = 0, scale = 0;
    for (int j = 0; j < n; j++)
        squares += (x[j] - y[j]) * (x[j] - y[j]);
    for (int j = 0; j < contest->points; j++)
        scale += contest->weights[j] * contest->weights[j];
    return scale * squares / (n - 2);
}

/* The degrees of freedom of a sum of two variance estimates: Satterthwaite, Biometrics Bulletin 2 (1946), eq. 17. */
static double satterthwaite(double first, double first_degrees, double second, double second_degrees)
{
    double sum = first + second, spread = first * first / first_degrees + second * second / second_degrees;
    return spread > 0 ? sum * sum / spread : INFINITY;
}

struct difference contest_difference(const struct contest *contest, int a, int b)
{
    struct difference difference = { .mean = contest->scores[a] - contest->scores[b] };
    double sampling = sampling_variance(contest, a, b), jitter = jitter_variance(contest, a, b);
    difference.sampling = sqrt(sampling);
    difference.jitter = sqrt(jitter);
    difference.degrees = contest->windows - 1;
    if (!isnan(jitter)) {
        difference.degrees = satterthwaite(sampling, contest->windows - 1, jitter, contest->jitter_points - 2);
        sampling += jitter;
    }
    difference.standard_error = sqrt(sampling);
    return difference;
}

double difference_p_value(const struct difference *difference)
{
    if (isnan(difference->standard_error))
        return NAN;
    if (!(difference->standard_error > 0))
        return difference->mean > 0 ? 0 : 1;
    return student_tail(difference->mean / difference->standard_error, difference->degrees);
}
