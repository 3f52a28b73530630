#include "study/statistics.h"

#include <math.h>
#include <stdlib.h>

void ranks_average(const double *values, int count, double *ranks)
{
    for (int i = 0; i < count; i++) {
        int below = 0, equal = 0;
        for (int j = 0; j < count; j++) {
            below += values[j] < values[i];
            equal += values[j] == values[i];
        }
        ranks[i] = below + (equal + 1) / 2.0;
    }
}

static double mean_of(const double *values, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += values[i];
    return sum / count;
}

double correlation_pearson(const double *a, const double *b, int count)
{
    if (count < 2)
        return NAN;
    double mean_a = mean_of(a, count), mean_b = mean_of(b, count), aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < count; i++) {
        aa += (a[i] - mean_a) * (a[i] - mean_a);
        bb += (b[i] - mean_b) * (b[i] - mean_b);
        ab += (a[i] - mean_a) * (b[i] - mean_b);
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

/* Twice the average rank of values[i], an integer. */
static double doubled_rank(const double *values, int count, int i)
{
    int doubled = 1;
    for (int j = 0; j < count; j++)
        doubled += 2 * (values[j] < values[i]) + (values[j] == values[i]);
    return doubled;
}

/* Pearson's formula on doubled ranks about their mean count + 1: everything is an integer until the last division,
 * and no memory is needed. */
double correlation_spearman(const double *a, const double *b, int count)
{
    if (count < 2)
        return NAN;
    double aa = 0, bb = 0, ab = 0;
    for (int i = 0; i < count; i++) {
        if (isnan(a[i]) || isnan(b[i]))
            return NAN;
        double x = doubled_rank(a, count, i) - (count + 1), y = doubled_rank(b, count, i) - (count + 1);
        aa += x * x;
        bb += y * y;
        ab += x * y;
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : NAN;
}

/* (C - D) / sqrt((C + D + Ta)(C + D + Tb)), Ta and Tb: pairs tied only in a, only in b (methods 1.4). */
double correlation_kendall(const double *a, const double *b, int count)
{
    double concordant = 0, discordant = 0, tied_a = 0, tied_b = 0;
    for (int i = 0; i < count; i++) {
        if (isnan(a[i]) || isnan(b[i]))
            return NAN;
        for (int j = 0; j < i; j++) {
            int sign_a = (a[i] > a[j]) - (a[i] < a[j]), sign_b = (b[i] > b[j]) - (b[i] < b[j]);
            concordant += sign_a * sign_b > 0;
            discordant += sign_a * sign_b < 0;
            tied_a += sign_a == 0 && sign_b != 0;
            tied_b += sign_a != 0 && sign_b == 0;
        }
    }
    double untied = concordant + discordant, product = (untied + tied_a) * (untied + tied_b);
    return product > 0 ? (concordant - discordant) / sqrt(product) : NAN;
}

struct line line_fit(const double *x, const double *y, int count)
{
    if (count < 1)
        return (struct line){ NAN, NAN, NAN };
    double mean_x = mean_of(x, count), mean_y = mean_of(y, count), xx = 0, xy = 0, squares = 0;
    for (int i = 0; i < count; i++) {
        xx += (x[i] - mean_x) * (x[i] - mean_x);
        xy += (x[i] - mean_x) * (y[i] - mean_y);
    }
    struct line line = { .slope = xx > 0 ? xy / xx : 0 };
    line.intercept = mean_y - line.slope * mean_x;
    for (int i = 0; i < count; i++) {
        double residual = (y[i] - mean_y) - line.slope * (x[i] - mean_x);
        squares += residual * residual;
    }
    line.residual_sd = count > 2 ? sqrt(squares / (count - 2)) : 0;
    return line;
}

double normal_tail(double z)
{
    return 0.5 * erfc(z / sqrt(2.0));
}

/* ln(Gamma(a + 1/2) / Gamma(a)). For large a by the asymptotic series (Tricomi & Erdelyi 1951), since the
 * difference of two large log-gammas would lose what the caller is promised. */
static double log_gamma_half_step(double a)
{
    if (a < 20) {
        int sign;
        return lgamma_r(a + 0.5, &sign) - lgamma_r(a, &sign);
    }
    double r = 1 / a, r2 = r * r;
    return 0.5 * log(a) - r * (1.0 / 8 - r2 * (1.0 / 192 - r2 * (1.0 / 640 - r2 * (17.0 / 14336))));
}

/* The continued fraction of the incomplete beta function (DLMF 8.17.22) by the modified Lentz method; converges fast
 * for x < (a + 1) / (a + b + 2). */
static double beta_fraction(double x, double a, double b)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1), value;
    d = 1 / (fabs(d) < tiny ? tiny : d);
    value = d;
    for (int m = 1; m < 20000; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        for (int half = 0; half < 2; half++) {
            double term = half ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            value *= d * c;
        }
        if (fabs(d * c - 1) < 1e-16)
            break;
    }
    return value;
}

/* P(T > t) = I_x(degrees/2, 1/2) / 2 with x = degrees / (degrees + t^2) for t >= 0 (DLMF 8.17, Student's t). */
double student_tail(double t, double degrees)
{
    if (isnan(t) || isnan(degrees) || degrees <= 0)
        return NAN;
    if (t < 0)
        return 1 - student_tail(-t, degrees);
    if (isinf(degrees))
        return normal_tail(t);
    if (isinf(t))
        return 0;
    double a = degrees / 2, square = t * t;
    if (isinf(square))
        return 0;
    double x = degrees / (degrees + square), rest = square / (degrees + square);   /* 1 - x, uncancelled */
    double log_beta = 0.5 * log(M_PI) - log_gamma_half_step(a);
    double front = exp(-a * log1p(square / degrees) + 0.5 * log(rest) - log_beta);
    if (x < (a + 1) / (a + 2.5))
        return 0.5 * front * beta_fraction(x, a, 0.5) / a;
    return 0.5 * (1 - front * beta_fraction(rest, 0.5, a) / 0.5);
}

/* Holm 1979: the smallest p-value against alpha / count, the next against alpha / (count - 1), … until one is not
 * below. A p-value that is NaN is never rejected. */
void holm_reject(const double *p_values, int count, double alpha, bool *rejected)
{
    for (int i = 0; i < count; i++)
        rejected[i] = false;
    for (int left = count; left > 0; left--) {
        int least = -1;
        for (int i = 0; i < count; i++)
            if (!rejected[i] && !isnan(p_values[i]) && (least < 0 || p_values[i] < p_values[least]))
                least = i;
        if (least < 0 || p_values[least] > alpha / left)
            return;
        rejected[least] = true;
    }
}

static int compare_values(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct interval interval_of(double *values, int count, double confidence, double middle)
{
    int tail = (int)(count * (1 - confidence) / 2);
    if (count < 1)
        return (struct interval){ NAN, middle, NAN };
    qsort(values, (size_t)count, sizeof *values, compare_values);
    return (struct interval){ fmin(values[tail], middle), middle, fmax(values[count - 1 - tail], middle) };
}
