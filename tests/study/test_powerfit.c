/* The power law fitted to runs that are made: parabolas in ln(rate) around beta a T^b, with noise. */
#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/rng.h"
#include "study/powerfit.h"
#include "tests/support/support.h"

enum { CONTEXT = 64, RUNS_MOST = 1024 };

struct made {
    double a, b, batch_exponent;     /* best = a beta^exponent T^b */
    double noise;                    /* of every loss, nats */
    double bend;                     /* nats for a factor of e */
    double first_rate;               /* 8 rates in factors of two from here */
    double cliff;                    /* rates from here on diverge; 0: none */
    int batches, lengths, seeds;
    uint64_t seed;                   /* of the noise */
};
static const struct made plain = {.a = 4, .b = -0.51, .batch_exponent = 1, .bend = 0.05, .first_rate = 4e-4, .batches = 3,
                                  .lengths = 4, .seeds = 1, .seed = 5};

static int runs_make(const struct made *made, struct power_run *runs)
{
    struct rng rng = rng_stream(made->seed, 0, RNG_PROBE);
    int count = 0;
    for (int batch = 0; batch < made->batches; batch++)
        for (int length = 0; length < made->lengths; length++)
            for (int rate = 0; rate < 8; rate++)
                for (int seed = 0; seed < made->seeds; seed++) {
                    struct power_run run = {.batch = 64 << batch, .context = CONTEXT, .tokens = (uint64_t)1 << (19 + length),
                                            .rate = ldexp(made->first_rate, rate), .seed = (uint64_t)seed + 1};
                    double best = made->a * pow(power_beta(run.batch, run.context), made->batch_exponent)
                                  * pow((double)run.tokens, made->b);
                    double distance = log(run.rate / best);
                    run.loss = 3 - 0.1 * length + made->bend * distance * distance + made->noise * rng_normal(&rng);
                    if (made->cliff > 0 && run.rate >= made->cliff)
                        run.loss = (double)NAN;
                    runs[count++] = run;
                }
    return count;
}

static struct power_fit *fitted(const struct made *made)
{
    static struct power_run runs[RUNS_MOST];
    static struct power_fit fit;
    struct error error = {0};
    assert_ok(power_fit_runs(runs, runs_make(made, runs), 1, &fit, &error), &error);
    return &fit;
}

static void show(const struct power_fit *fit)
{
    print_message("  %s: a %.4g (%.3g to %.3g), b %.4f (%.3f to %.3f), batch exponent %.3f (%.2f to %.2f), spread %.3g\n  %s\n",
                  power_answer_name(fit->answer), fit->a.middle, fit->a.low, fit->a.high, fit->b.middle, fit->b.low, fit->b.high,
                  fit->batch_exponent.middle, fit->batch_exponent.low, fit->batch_exponent.high, fit->spread, fit->reason);
}

static void without_noise_the_constants_come_back(void **state)
{
    (void)state;
    const struct power_fit *fit = fitted(&plain);
    show(fit);
    assert_int_equal(fit->answer, POWER_FITTED);
    assert_int_equal(fit->cell_count, 12);
    assert_int_equal(fit->used, 12);
    assert_true(fabs(fit->a.middle / 4 - 1) < 1e-9 && fabs(fit->b.middle + 0.51) < 1e-10);
    assert_true(fabs(fit->batch_exponent.middle - 1) < 1e-9 && fit->spread < 1e-9);
    for (int i = 0; i < fit->cell_count; i++) {
        const struct power_cell *cell = &fit->cells[i];
        double best = 4 * power_beta(cell->batch, cell->context) * pow((double)cell->tokens, -0.51);
        assert_true(fabs(cell->best.middle / best - 1) < 1e-9 && fabs(cell->law / best - 1) < 1e-9);
    }
    assert_true(fit->line_tokens[0] == 1 << 19 && fabs(fit->line_tokens[POWER_LINE_POINTS - 1] / (1 << 22) - 1) < 1e-12);
    assert_string_equal(power_answer_name(fit->answer), "fitted");
}

/* Of 200 sweeps with noise, an interval of 95 % should hold the truth in about 190. */
static void intervals_hold_the_truth_as_often_as_they_say(void **state)
{
    (void)state;
    struct made made = plain;
    int holds_a = 0, holds_b = 0, holds_exponent = 0;
    double width = 0;
    made.noise = 0.003;
    made.batches = 2;
    for (made.seed = 1; made.seed <= 200; made.seed++) {
        const struct power_fit *fit = fitted(&made);
        holds_a += fit->a.low <= 4 && fit->a.high >= 4;
        holds_b += fit->b.low <= -0.51 && fit->b.high >= -0.51;
        holds_exponent += fit->batch_exponent.low <= 1 && fit->batch_exponent.high >= 1;
        width += (fit->b.high - fit->b.low) / 200;
    }
    print_message("  of 200: a in %d, b in %d, batch exponent in %d; mean width for b %.3f\n", holds_a, holds_b, holds_exponent,
                  width);
    assert_in_range(holds_a, 180, 198);
    assert_in_range(holds_b, 180, 198);
    assert_in_range(holds_exponent, 180, 198);
    assert_true(width < 0.1);
}

static void a_batch_law_of_another_power_is_told(void **state)
{
    (void)state;
    struct made made = plain;
    made.batch_exponent = 0.5;
    made.noise = 1e-3;
    const struct power_fit *fit = fitted(&made);
    show(fit);
    assert_int_equal(fit->answer, POWER_FITTED);
    assert_true(fabs(fit->batch_exponent.middle - 0.5) < 0.1);
    assert_contains(fit->reason, "not 1: trust this law for batches like those of the runs");
    made.batches = 1;
    assert_true(isnan(fitted(&made)->batch_exponent.middle));
}

static void cells_whose_best_rate_is_at_an_end_are_left_out(void **state)
{
    (void)state;
    struct made made = plain;
    made.first_rate = 2e-2;
    const struct power_fit *fit = fitted(&made);
    show(fit);
    assert_int_equal(fit->answer, POWER_NONE);
    assert_int_equal(fit->used, 0);
    assert_true(isnan(fit->a.middle) && isnan(fit->largest_best));
    assert_contains(fit->reason, "In 12 cells the lowest rate is best (sweep lower ones)");
    made.first_rate = 1e-6;
    assert_contains(fitted(&made)->reason, "in 12 the highest (sweep higher ones)");
    made.first_rate = 2e-3;      /* some cells */
    fit = fitted(&made);
    show(fit);
    assert_int_equal(fit->answer, POWER_FITTED);
    assert_in_range(fit->used, 3, 11);
    assert_true(fabs(fit->b.middle + 0.51) < 1e-6);
}

static void rates_that_diverge_are_a_cliff_and_no_end(void **state)
{
    (void)state;
    struct made made = plain;
    made.batches = 1;
    made.cliff = 9e-3;           /* the shortest runs' best rate is 4.8e-3 */
    const struct power_fit *fit = fitted(&made);
    show(fit);
    assert_int_equal(fit->used, 4);
    assert_true(fabs(fit->b.middle + 0.51) < 1e-6);
    made.cliff = 3e-4;
    fit = fitted(&made);
    assert_int_equal(fit->cells[0].state, POWER_CELL_FEW);
    assert_contains(fit->reason, "in 4 fewer than three rates train");
}

static void a_rate_that_stays_is_no_power_law(void **state)
{
    (void)state;
    struct made made = plain;
    made.a = 4 * pow(1 << 20, -0.51);
    made.b = 0;
    made.noise = 0.01;
    const struct power_fit *fit = fitted(&made);
    show(fit);
    assert_int_equal(fit->answer, POWER_UNRESOLVED);
    assert_contains(fit->reason, "Sweep longer runs");
}

static void one_length_is_no_fit(void **state)
{
    (void)state;
    struct made made = plain;
    made.lengths = 1;
    assert_int_equal(fitted(&made)->answer, POWER_NONE);
    static struct power_fit fit;
    struct error error = {0};
    assert_ok(power_fit_runs(NULL, 0, 1, &fit, &error), &error);
    assert_int_equal(fit.answer, POWER_NONE);
}

static void impossible_runs_are_refused(void **state)
{
    (void)state;
    static const struct power_run good = {.tokens = 1 << 20, .batch = 8, .context = 64, .rate = 1e-3, .seed = 1, .loss = 2};
    static struct power_fit fit;
    struct power_run wrong[6] = {good, good, good, good, good, good};
    wrong[0].batch = 0, wrong[1].context = -1, wrong[2].rate = 0, wrong[3].rate = (double)NAN, wrong[4].tokens = 5;
    wrong[5].tokens = UINT64_MAX;
    for (int i = 0; i < 6; i++) {
        struct error error = {0};
        assert_fails(power_fit_runs(&wrong[i], 1, 1, &fit, &error), ERROR_INVALID, &error);
    }
    struct power_run twice[2] = {good, good};
    struct error error = {0};
    assert_fails(power_fit_runs(twice, 2, 1, &fit, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "two runs");
    static struct power_run many[POWER_CELLS_MAX + 1];
    for (int i = 0; i <= POWER_CELLS_MAX; i++)
        many[i] = good, many[i].tokens += (uint64_t)i;
    error_clear(&error);
    assert_fails(power_fit_runs(many, POWER_CELLS_MAX + 1, 1, &fit, &error), ERROR_INVALID, &error);
    for (int i = 0; i <= POWER_RATES_MAX; i++)
        many[i] = good, many[i].rate = 1e-3 * (i + 1);
    error_clear(&error);
    assert_fails(power_fit_runs(many, POWER_RATES_MAX + 1, 1, &fit, &error), ERROR_INVALID, &error);
    for (int i = 0; i <= POWER_SEEDS_MAX; i++)
        many[i] = good, many[i].seed = (uint64_t)i;
    error_clear(&error);
    assert_fails(power_fit_runs(many, POWER_SEEDS_MAX + 1, 1, &fit, &error), ERROR_INVALID, &error);
}

static void the_order_of_runs_does_not_matter_and_memory_may_fail(void **state)
{
    (void)state;
    static struct power_run runs[RUNS_MOST], reversed[RUNS_MOST];
    static struct power_fit one, two;
    struct made made = plain;
    struct error error = {0};
    made.noise = 0.003;
    made.seeds = 3;
    int count = runs_make(&made, runs);
    for (int i = 0; i < count; i++)
        reversed[i] = runs[count - 1 - i];
    assert_ok(power_fit_runs(runs, count, 1, &one, &error), &error);
    assert_ok(power_fit_runs(reversed, count, 1, &two, &error), &error);
    assert_true(one.a.low == two.a.low && one.b.high == two.b.high && one.cells[3].best.low == two.cells[3].best.low);
    assert_string_equal(one.reason, two.reason);
    for (int64_t nth = 1; nth <= 4; nth++) {
        error_clear(&error);
        fault_arm(FAULT_ALLOC, nth);
        int code = power_fit_runs(runs, count, 1, &two, &error);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(code, nth < 4 ? ERROR_NO_MEMORY : 0);
    }
}

TEST_MAIN(cmocka_unit_test(without_noise_the_constants_come_back),
          cmocka_unit_test(intervals_hold_the_truth_as_often_as_they_say), cmocka_unit_test(a_batch_law_of_another_power_is_told),
          cmocka_unit_test(cells_whose_best_rate_is_at_an_end_are_left_out),
          cmocka_unit_test(rates_that_diverge_are_a_cliff_and_no_end), cmocka_unit_test(a_rate_that_stays_is_no_power_law),
          cmocka_unit_test(one_length_is_no_fit), cmocka_unit_test(impossible_runs_are_refused),
          cmocka_unit_test(the_order_of_runs_does_not_matter_and_memory_may_fail))
