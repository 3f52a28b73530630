#include <math.h>

#include "study/statistics.h"
#include "tests/support/support.h"

static const double a[] = { 3.10, 3.05, 3.05, 3.20, 3.40 }, b[] = { 2.50, 2.48, 2.55, 2.60, 2.58 };

static void the_published_example_of_five_comes_out(void **state)
{
    (void)state;
    static const double ranks[] = { 3, 1.5, 1.5, 4, 5 };
    double own[5];
    ranks_average(a, 5, own);
    for (int i = 0; i < 5; i++)
        assert_true(own[i] == ranks[i]);
    assert_near(correlation_pearson(a, b, 5), .659042, 5e-7);
    assert_near(correlation_spearman(a, b, 5), .718185, 5e-7);
    assert_near(correlation_kendall(a, b, 5), .527046, 5e-7);
}

static void spearman_is_pearson_on_average_ranks(void **state)
{
    (void)state;
    double ranks_a[5], ranks_b[5];
    ranks_average(a, 5, ranks_a);
    ranks_average(b, 5, ranks_b);
    assert_near(correlation_spearman(a, b, 5), correlation_pearson(ranks_a, ranks_b, 5), 1e-14);
}

static void what_is_undefined_is_nan(void **state)
{
    (void)state;
    static const double flat[] = { 1, 1, 1, 1, 1 }, missing[] = { 1, NAN, 2, 3, 4 };
    assert_true(isnan(correlation_pearson(a, flat, 5)) && isnan(correlation_spearman(flat, a, 5)));
    assert_true(isnan(correlation_kendall(flat, a, 5)) && isnan(correlation_kendall(a, b, 1)));
    assert_true(isnan(correlation_pearson(a, b, 1)) && isnan(correlation_spearman(a, b, 1)));
    assert_true(isnan(correlation_spearman(missing, a, 5)) && isnan(correlation_kendall(a, missing, 5)));
    assert_true(isnan(student_tail(NAN, 3)) && isnan(student_tail(1, 0)));
}

static void a_line_is_found_with_its_residual(void **state)
{
    (void)state;
    static const double x[] = { 1, 2, 3, 4 }, y[] = { 3.5, 4.5, 7.5, 8.5 };
    struct line line = line_fit(x, y, 4);        /* by hand: y = 1.5 + 1.8 x, residuals .2 -.6 .6 -.2 */
    assert_near(line.slope, 1.8, 1e-14);
    assert_near(line.intercept, 1.5, 1e-14);
    assert_near(line.residual_sd, sqrt(0.8 / 2), 1e-14);
    assert_near(line_fit(x, y, 2).residual_sd, 0, 0);
    assert_near(line_fit(x + 1, y + 1, 1).intercept, 4.5, 0);
    assert_true(isnan(line_fit(x, y, 0).slope));
}

/* Closed forms for whole degrees (Abramowitz & Stegun 26.7.3, 26.7.4): A(t) = P(-t < T < t). */
static double closed_tail(double t, int degrees)
{
    double theta = atan2(t, sqrt(degrees)), cosine = cos(theta), inside;
    if (degrees % 2) {
        double sum = 0, term = cosine;
        for (int k = 1; k <= degrees - 2; k += 2) {
            sum += term;
            term *= cosine * cosine * (k + 1) / (k + 2);
        }
        inside = 2 / M_PI * (theta + sin(theta) * sum);
    } else {
        double sum = 0, term = 1;
        for (int k = 0; k <= degrees - 2; k += 2) {
            sum += term;
            term *= cosine * cosine * (k + 1) / (k + 2);
        }
        inside = sin(theta) * sum;
    }
    return (1 - inside) / 2;
}

static void student_tails_equal_the_closed_forms(void **state)
{
    (void)state;
    static const double ts[] = { 0, 1e-8, 0.1, 0.5, 1, 1.5, 2, 2.5, 3, 4, 6, 10, 30 };
    static const int degrees[] = { 1, 2, 3, 4, 5, 7, 10, 29, 39, 40, 41, 100, 399, 1000, 9999, 100000 };
    double worst = 0;
    for (size_t i = 0; i < sizeof ts / sizeof *ts; i++)
        for (size_t j = 0; j < sizeof degrees / sizeof *degrees; j++) {
            double own = student_tail(ts[i], degrees[j]), off = fabs(own - closed_tail(ts[i], degrees[j]));
            worst = fmax(worst, off);
            assert_true(fabs(student_tail(-ts[i], degrees[j]) - (1 - own)) < 1e-15);
        }
    printf("Student's t against closed forms: worst %.2g (bound 1e-10)\n", worst);
    assert_true(worst < 1e-10);
}

/* P(T > t) for any degrees by integrating the density with Simpson's rule in s, u = t + s / (1 - s). */
static double integrated_tail(double t, double degrees)
{
    double front = exp(lgamma((degrees + 1) / 2) - lgamma(degrees / 2)) / sqrt(degrees * M_PI), sum = 0;
    enum { PANELS = 200000 };
    for (int i = 0; i <= PANELS; i++) {
        double s = (double)i / PANELS, weight = i == 0 || i == PANELS ? 1 : i % 2 ? 4 : 2;
        if (i == PANELS)
            continue;
        double u = t + s / (1 - s);
        sum += weight * pow(1 + u * u / degrees, -(degrees + 1) / 2) / ((1 - s) * (1 - s));
    }
    return front * sum / (3.0 * PANELS);
}

static void student_tails_of_fractional_degrees_equal_the_integral(void **state)
{
    (void)state;
    static const double degrees[] = { 3.7, 12.25, 57.9 };
    for (int j = 0; j < 3; j++)
        for (double t = 0.3; t < 5; t += 1.1)
            assert_near(student_tail(t, degrees[j]), integrated_tail(t, degrees[j]), 1e-10);
}

static void normal_tails_are_the_known_ones(void **state)
{
    (void)state;
    assert_near(normal_tail(0), 0.5, 0);
    assert_near(normal_tail(1.959963984540054), 0.025, 1e-15);
    assert_near(student_tail(1.6448536269514722, INFINITY), 0.05, 1e-15);
    assert_near(student_tail(1.6448536269514722, 1e9), 0.05, 1e-9);
    assert_near(student_tail(INFINITY, 3), 0, 0);
}

static void holm_steps_down_until_the_first_that_is_not_small_enough(void **state)
{
    (void)state;
    static const double p[] = { 0.01, 0.04, 0.03, 0.005 };
    static const double chain[] = { 0.0125, 0.0166, 0.0250, 0.0500 }, stuck[] = { 0.02, 0.0001, NAN, 0.03 };
    bool rejected[4];
    holm_reject(p, 4, 0.05, rejected);             /* .005 <= .0125, .01 <= .0167, .03 > .025: stop */
    assert_true(rejected[3] && rejected[0] && !rejected[2] && !rejected[1]);
    holm_reject(chain, 4, 0.05, rejected);
    assert_true(rejected[0] && rejected[1] && rejected[2] && rejected[3]);
    holm_reject(stuck, 4, 0.05, rejected);         /* .02 > .0167 though alone it would do */
    assert_true(rejected[1] && !rejected[0] && !rejected[2] && !rejected[3]);
    holm_reject(p, 0, 0.05, rejected);
}

TEST_MAIN(cmocka_unit_test(the_published_example_of_five_comes_out),
          cmocka_unit_test(spearman_is_pearson_on_average_ranks),
          cmocka_unit_test(what_is_undefined_is_nan),
          cmocka_unit_test(a_line_is_found_with_its_residual),
          cmocka_unit_test(student_tails_equal_the_closed_forms),
          cmocka_unit_test(student_tails_of_fractional_degrees_equal_the_integral),
          cmocka_unit_test(normal_tails_are_the_known_ones),
          cmocka_unit_test(holm_steps_down_until_the_first_that_is_not_small_enough))
