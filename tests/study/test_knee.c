/* The detector against the methods' simulations (appendix C.2, D). Noise is drawn from fixed streams. */
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "study/knee.h"
#include "tests/support/support.h"

enum { REPEATS = 30 };
typedef double truth(double t);

static double tau_100(double t) { return 2.5 + pow(t + 5000, -.15) + 1.5 * exp(-t / 100); }
static double tau_400(double t) { return 2.5 + pow(t + 5000, -.15) + 1.5 * exp(-t / 400); }
static double tau_400_small(double t) { return 2.5 + pow(t + 5000, -.15) + 0.3 * exp(-t / 400); }
static double function_preserving(double t) { return 2.5 + pow(t + 5000, -.15); }
static double power_law(double t) { return 2.5 + pow(t + 50, -.3); }
static double power_recovery(double t) { return 2.5 + pow(t + 5000, -.15) + 1.5 / (1 + t / 30); }

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median knee of 30 noisy copies, and how many had none. */
static double simulate(truth *curve, double noise, int *none)
{
    struct grid grid;
    double steps[64], losses[64], found[REPEATS];
    int count = 0;
    assert_int_equal(grid_init(&grid, 20000, 0, NULL), 0);
    *none = 0;
    for (int r = 0; r < REPEATS; r++) {
        struct rng rng = rng_stream(5, (uint64_t)r, RNG_PROBE);
        int n = grid.count - 1;                     /* without the last, which is no geometric point */
        for (int i = 0; i < n; i++) {
            steps[i] = (double)grid.steps[i];
            losses[i] = curve(steps[i]) * (1 + noise * rng_normal(&rng));
        }
        assert_int_equal(n, 47);
        struct knee knee = knee_detect(steps, losses, n);
        if (knee.kind == KNEE_FOUND)
            found[count++] = knee.step;
        else
            ++*none;
    }
    grid_fini(&grid);
    qsort(found, (size_t)count, sizeof *found, ascending);
    double median = count ? found[count / 2] : NAN;
    printf("noise %.1f %%: median knee %.0f, none %d of %d\n", 100 * noise, median, *none, REPEATS);
    return median;
}

static void recoveries_show_a_knee_at_about_three_time_constants(void **state)
{
    (void)state;
    int none;
    assert_true(simulate(tau_100, .002, &none) == 317 && none == 0);
    double noisy = simulate(tau_100, .01, &none);
    assert_true(noisy >= 317 && noisy <= 381 && none == 0);
    assert_true(simulate(tau_400, .002, &none) == 1367 && none == 0);
    noisy = simulate(tau_400, .01, &none);
    assert_true(noisy >= 1139 && noisy <= 1640 && none == 0);
    double small = simulate(tau_400_small, .002, &none);
    assert_true(small >= 949 && small <= 1367 && none == 0);
    simulate(tau_400_small, .01, &none);
    assert_true(none >= 15);                        /* the bump hides in the noise */
    noisy = simulate(power_recovery, .002, &none);
    assert_true(noisy >= 381 && noisy <= 549);
}

static void curves_without_a_transition_stay_unflagged(void **state)
{
    (void)state;
    int none;
    simulate(function_preserving, .002, &none);
    assert_true(none >= 27);
    simulate(function_preserving, .01, &none);
    assert_true(none >= 28);
    simulate(power_law, .002, &none);
    assert_true(none >= 18);
    simulate(power_law, .01, &none);
    assert_true(none >= 26);
}

/* Appendix D: 40 points of ratio 1.2, a break at 400, slopes -.12 and -.016, log noise .004. */
static void the_piecewise_demo_breaks_between_410_and_492(void **state)
{
    (void)state;
    int inside = 0;
    for (int r = 0; r < REPEATS; r++) {
        struct rng rng = rng_stream(11, (uint64_t)r, RNG_PROBE);
        double steps[40], losses[40], at = log(410);
        for (int i = 0; i < 40; i++) {
            steps[i] = floor(4 * pow(1.2, i + 1));
            double x = log(steps[i] + 10) - at;
            losses[i] = 3 * exp((x < 0 ? -.12 : -.016) * x + .004 * rng_normal(&rng));
        }
        struct knee knee = knee_detect(steps, losses, 40);
        assert_int_equal(knee.kind, KNEE_FOUND);
        inside += knee.step >= 317 && knee.step <= 549;
    }
    printf("break within one grid point of 400: %d of %d\n", inside, REPEATS);
    assert_true(inside >= 27);
}

static void exact_segments_are_found_exactly(void **state)
{
    (void)state;
    double steps[30], losses[30];
    for (int i = 0; i < 30; i++) {
        steps[i] = floor(10 * pow(1.25, i));
        double x = log(steps[i] + 10);
        losses[i] = exp(i < 12 ? 3 - .4 * x : i < 21 ? 1.5 - .15 * x : 0.9 - .05 * x);
    }
    struct knee knee = knee_detect(steps, losses, 30);
    assert_int_equal(knee.kind, KNEE_FOUND);
    assert_true(knee.step == steps[21]);            /* the last break into a slower regime */
}

static void a_fast_fall_that_goes_on_is_a_knee_ahead(void **state)
{
    (void)state;
    double steps[20], losses[20];
    for (int i = 0; i < 20; i++) {
        steps[i] = floor(4 * pow(1.2, i + 1));
        losses[i] = exp(2 - .3 * log(steps[i] + 10));
    }
    assert_int_equal(knee_detect(steps, losses, 20).kind, KNEE_AHEAD);
    for (int i = 0; i < 20; i++)
        losses[i] = exp(2 - .06 * log(steps[i] + 10));
    assert_int_equal(knee_detect(steps, losses, 20).kind, KNEE_NONE);
}

static void odd_input_has_no_knee_and_does_no_harm(void **state)
{
    (void)state;
    double steps[400], losses[400];
    for (int i = 0; i < 400; i++) {
        steps[i] = i;
        losses[i] = 2;
    }
    assert_int_equal(knee_detect(steps, losses, 0).kind, KNEE_NONE);
    assert_int_equal(knee_detect(steps, losses, 4).kind, KNEE_NONE);
    assert_int_equal(knee_detect(steps, losses, 7).kind, KNEE_NONE);
    assert_int_equal(knee_detect(steps, losses, 400).kind, KNEE_NONE);      /* flat, and more than are looked at */
    for (int i = 0; i < 400; i++)
        losses[i] = i % 3 ? NAN : i % 2 ? INFINITY : 0;
    struct knee knee = knee_detect(steps, losses, 400);
    assert_true(knee.kind == KNEE_NONE && isnan(knee.step));
}

TEST_MAIN(cmocka_unit_test(recoveries_show_a_knee_at_about_three_time_constants),
          cmocka_unit_test(curves_without_a_transition_stay_unflagged),
          cmocka_unit_test(the_piecewise_demo_breaks_between_410_and_492),
          cmocka_unit_test(exact_segments_are_found_exactly),
          cmocka_unit_test(a_fast_fall_that_goes_on_is_a_knee_ahead),
          cmocka_unit_test(odd_input_has_no_knee_and_does_no_harm))
