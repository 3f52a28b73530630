/* The verdict on a sweep of learning rates at two sizes, on losses that are made: parabolas in ln(rate) with noise. */
#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/rng.h"
#include "study/transfer.h"
#include "tests/support/support.h"

enum { WINDOWS = 40 };

struct made {
    double best[TRANSFER_SIZES];      /* where the parabola is lowest */
    double bend;                      /* nats for a factor of e */
    double window_noise, run_noise;
    double cliff[TRANSFER_SIZES];     /* rates from here on diverge; 0: none */
    int rates, seeds;
};

static struct transfer_sweep *sweep_make(const struct made *made)
{
    struct transfer_sweep *sweep = memory_new(sizeof *sweep);
    struct rng rng = rng_stream(11, 0, RNG_PROBE);
    double windows[WINDOWS];
    assert_non_null(sweep);
    sweep->rates = made->rates;
    sweep->seeds = made->seeds;
    sweep->windows = WINDOWS;
    sweep->seed = 1;
    sweep->tolerance = 0.01;
    for (int w = 0; w < WINDOWS; w++)
        windows[w] = 0.3 * rng_normal(&rng);
    for (int size = 0; size < TRANSFER_SIZES; size++)
        for (int rate = 0; rate < made->rates; rate++)
            for (int seed = 0; seed < made->seeds; seed++) {
                struct transfer_run *run = &sweep->runs[size][rate][seed];
                double distance, noise = made->run_noise * rng_normal(&rng), sum = 0;
                sweep->rate[rate] = 1e-4 * pow(2, rate);
                distance = log(sweep->rate[rate] / made->best[size]);
                run->losses = memory_array(WINDOWS, sizeof *run->losses);
                assert_non_null(run->losses);
                for (int w = 0; w < WINDOWS; w++) {
                    run->losses[w] = (float)(2 - 0.1 * size + made->bend * distance * distance + windows[w] + noise
                                             + made->window_noise * rng_normal(&rng));
                    sum += (double)run->losses[w];
                }
                run->done = true;
                run->diverged = made->cliff[size] > 0 && sweep->rate[rate] >= made->cliff[size];
                run->loss = run->diverged ? (double)NAN : sum / WINDOWS;
            }
    return sweep;
}

static void sweep_free(struct transfer_sweep *sweep)
{
    for (int size = 0; size < TRANSFER_SIZES; size++)
        for (int rate = 0; rate < sweep->rates; rate++)
            for (int seed = 0; seed < sweep->seeds; seed++)
                memory_free(sweep->runs[size][rate][seed].losses);
    memory_free(sweep);
}

static struct transfer_verdict judged(const struct made *made)
{
    struct error error = { 0 };
    struct transfer_verdict verdict;
    struct transfer_sweep *sweep = sweep_make(made);
    assert_ok(transfer_judge(sweep, &verdict, &error), &error);
    print_message("  %s: best %.3g (%.3g to %.3g) and %.3g (%.3g to %.3g), cost %.4f (%.4f to %.4f)\n  %s\n",
                  transfer_answer_name(verdict.answer), verdict.best[0].middle, verdict.best[0].low, verdict.best[0].high,
                  verdict.best[1].middle, verdict.best[1].low, verdict.best[1].high, verdict.cost.middle, verdict.cost.low,
                  verdict.cost.high, verdict.reason);
    sweep_free(sweep);
    return verdict;
}

static void the_same_best_rate_transfers(void **state)
{
    (void)state;
    const struct transfer_verdict verdict =
        judged(&(struct made){
            .best = { 8e-4, 8e-4 }, .bend = 0.03, .window_noise = 0.01, .run_noise = 5e-4, .rates = 7, .seeds = 2 });
    assert_int_equal(verdict.answer, TRANSFER_YES);
    assert_true(fabs(verdict.recommended / 8e-4 - 1) < 0.1);
    assert_true(verdict.ratio.low <= 1 && verdict.ratio.high >= 1 && verdict.ratio.high < 2);
    assert_string_equal(transfer_answer_name(verdict.answer), "yes");
}

static void a_best_rate_that_moves_is_recommended_with_its_interval(void **state)
{
    (void)state;
    const struct transfer_verdict verdict =
        judged(&(struct made){
            .best = { 16e-4, 4e-4 }, .bend = 0.03, .window_noise = 0.01, .run_noise = 5e-4, .rates = 7, .seeds = 2 });
    assert_int_equal(verdict.answer, TRANSFER_USE);
    assert_true(fabs(verdict.recommended / 4e-4 - 1) < 0.1);
    assert_true(verdict.best[TRANSFER_GROWN].low <= 4e-4 && verdict.best[TRANSFER_GROWN].high >= 4e-4);
    assert_true(fabs(verdict.ratio.middle - 0.25) < 0.05 && verdict.ratio.high < 0.4);
    assert_true(fabs(verdict.cost.middle - 0.03 * log(4) * log(4)) < 0.01);
    assert_contains(verdict.reason, "use 0.0004");
}

static void a_best_rate_at_the_end_of_the_sweep_is_no_answer(void **state)
{
    (void)state;
    struct transfer_verdict verdict =
        judged(&(struct made){
            .best = { 8e-4, 2e-5 }, .bend = 0.03, .window_noise = 0.01, .run_noise = 1e-4, .rates = 7, .seeds = 1 });
    assert_int_equal(verdict.answer, TRANSFER_NO);
    assert_true(verdict.at_edge[TRANSFER_GROWN] && !verdict.at_edge[TRANSFER_SMALL]);
    assert_contains(verdict.reason, "Sweep lower rates");
    verdict =
        judged(&(struct made){
            .best = { 1, 8e-4 }, .bend = 0.03, .window_noise = 0.01, .run_noise = 1e-4, .rates = 7, .seeds = 1 });
    assert_contains(verdict.reason, "Sweep higher rates");
}

static void noise_that_hides_the_answer_is_undecided(void **state)
{
    (void)state;
    const struct transfer_verdict verdict =
        judged(&(struct made){
            .best = { 8e-4, 8e-4 }, .bend = 0.01, .window_noise = 0.2, .run_noise = 0.03, .rates = 7, .seeds = 1 });
    assert_true(verdict.answer == TRANSFER_UNDECIDED || verdict.answer == TRANSFER_NO);
    assert_true(verdict.best[0].high > verdict.best[0].low);
}

/* The rates above a cliff diverge: what is left decides. */
static void rates_that_diverge_are_left_out(void **state)
{
    (void)state;
    struct transfer_verdict verdict = judged(&(struct made){ .best = { 4e-4, 4e-4 }, .bend = 0.03, .window_noise = 0.01,
                                                             .run_noise = 1e-4, .cliff = { 0, 12e-4 }, .rates = 7, .seeds = 2 });
    assert_int_equal(verdict.answer, TRANSFER_YES);
    verdict = judged(&(struct made){ .best = { 4e-4, 4e-4 }, .bend = 0.03, .window_noise = 0.01, .run_noise = 1e-4,
                                     .cliff = { 0, 3e-4 }, .rates = 7, .seeds = 1 });
    assert_int_equal(verdict.answer, TRANSFER_NO);
    assert_true(isnan(verdict.recommended));
    assert_contains(verdict.reason, "Sweep rates below 0.0001");
}

static void the_intervals_are_the_same_every_time_and_memory_may_fail(void **state)
{
    (void)state;
    const struct made made = { .best = { 16e-4, 4e-4 }, .bend = 0.03, .window_noise = 0.01, .run_noise = 5e-4,
                               .rates = 7, .seeds = 3 };
    const struct transfer_verdict one = judged(&made), two = judged(&made);
    assert_true(one.cost.low == two.cost.low && one.cost.high == two.cost.high && one.best[0].low == two.best[0].low);
    struct transfer_sweep *sweep = sweep_make(&made);
    for (int64_t nth = 1; nth <= 3; nth++) {
        struct error error = { 0 };
        struct transfer_verdict verdict;
        fault_arm(FAULT_ALLOC, nth);
        const int code = transfer_judge(sweep, &verdict, &error);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(code, nth < 3 ? ERROR_NO_MEMORY : 0);
    }
    sweep_free(sweep);
}

TEST_MAIN(cmocka_unit_test(the_same_best_rate_transfers),
          cmocka_unit_test(a_best_rate_that_moves_is_recommended_with_its_interval),
          cmocka_unit_test(a_best_rate_at_the_end_of_the_sweep_is_no_answer),
          cmocka_unit_test(noise_that_hides_the_answer_is_undecided), cmocka_unit_test(rates_that_diverge_are_left_out),
          cmocka_unit_test(the_intervals_are_the_same_every_time_and_memory_may_fail))
