/* Selection rules on golden curves whose order turns over, and on small cases worked out by hand. */
#include "study/rules.h"

#include <math.h>
#include <string.h>

#include "study/judgement.h"
#include "tests/support/replay_world.h"
#include "tests/support/support.h"

static struct rule_answer apply(const struct replay *replay, const char *name, uint64_t step, uint64_t cap)
{
    struct rule_answer answer;
    struct error error = { 0 };
    struct rule_settings settings = { .step = step, .cap = cap, .seed = 1 };
    const struct rule_row *row = rule_find(name);
    assert_non_null(row);
    assert_ok(rule_apply(row, replay, &settings, &answer, &error), &error);
    return answer;
}

static struct truth final_truth(const struct replay *replay)
{
    struct truth truth;
    double finals[1][SPEC_CANDIDATES_MAX];
    for (int i = 0; i < replay->spec.candidate_count; i++)
        finals[0][i] = upside_down_loss(i, 20000);
    truth_from_runs(&truth, (const double (*)[SPEC_CANDIDATES_MAX])finals, 1, replay->spec.candidate_count);
    return truth;
}

/* ---- curves on which the knee rule and rank stability fail */

static void knee_and_stability_stop_where_the_order_is_upside_down(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    upside_down_world_init(&world, 2000);
    world_fill(&world);
    world_replay(&world, &replay);
    struct truth truth = final_truth(&replay);
    static const char *const early[] = { "knee", "stability" };
    for (int i = 0; i < 2; i++) {
        struct rule_answer answer = apply(&replay, early[i], 0, 2000);
        struct judgement judgement = judge(&answer, &truth);
        printf("%s: step %d, spearman %.2f, regret %.0f %%\n", early[i], (int)answer.step, judgement.spearman,
               100 * judgement.regret_share);
        assert_true(answer.settled && answer.step < 200);
        assert_true(judgement.spearman < -0.5 && judgement.regret_share > 0.5 && !judgement.hit);
    }
    struct rule_answer start = apply(&replay, "start", 0, 0);
    assert_true(judge(&start, &truth).regret_share > 0.5 && start.search_flops == 0 && start.step == 0);
    replay_fini(&replay);
    world_fini(&world);
}

static void agreement_waits_for_the_crossing_and_the_slopes_see_it_first(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    upside_down_world_init(&world, 2000);
    world_fill(&world);
    world_replay(&world, &replay);
    struct truth truth = final_truth(&replay);
    struct rule_answer agreement = apply(&replay, "agreement", 0, 2000), predicted = apply(&replay, "agreement_predicted", 0, 2000);
    assert_true(agreement.settled && agreement.step >= 379 && agreement.step <= 791);
    assert_true(judge(&agreement, &truth).hit && agreement.p_best > 0.5);
    assert_true(predicted.step == agreement.step && judge(&predicted, &truth).spearman > 0.95);
    struct rule_answer now = apply(&replay, "averaged", 320, 0), slope = apply(&replay, "slope", 320, 0);
    assert_true(judge(&slope, &truth).spearman > judge(&now, &truth).spearman + 0.2);
    assert_int_equal(now.step, 317);
    struct rule_answer capped = apply(&replay, "agreement", 0, 300);
    assert_true(!capped.settled && capped.step == 264);
    replay_fini(&replay);
    world_fini(&world);
}

/* ---- every row of the table, on curves in one order from the start */

static double ordered(const struct world *world, int candidate, double step)
{
    (void)world;
    return 1.5 + 0.05 * candidate + 2 * pow(step + 50, -0.4);
}

static void every_rule_finds_the_best_of_ordered_curves_within_its_budget(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    world_init(&world, 13, 4000, 4000, ordered);
    world_fill(&world);
    world_replay(&world, &replay);
    double finals[1][SPEC_CANDIDATES_MAX];
    struct truth truth;
    for (int i = 0; i < 13; i++)
        finals[0][i] = ordered(NULL, i, 4000);
    truth_from_runs(&truth, (const double (*)[SPEC_CANDIDATES_MAX])finals, 1, 13);
    int rows = 0;
    for (const struct rule_row *row = rule_rows(); row->name; row++, rows++) {
        struct rule_answer answer = apply(&replay, row->name, 400, 1000);
        struct judgement judgement = judge(&answer, &truth);
        uint64_t steps = 0;
        for (int i = 0; i < 13; i++)
            steps += answer.trained[i];
        printf("%-20s step %4d, %5d steps in all, cost %.3f, spearman %.2f\n", row->name, (int)answer.step, (int)steps,
               answer.fraction, judgement.spearman);
        assert_int_equal(answer.choice, 0);
        assert_true(judgement.hit && judgement.regret == 0 && judgement.spearman > (row->kind == RULE_BUDGET ? 0.7 : 0.99));
        assert_true(strlen(row->summary) > 10 && rule_find(row->name) == row);
        if (row->kind == RULE_BUDGET) {
            assert_true(steps <= 13 * 400 && steps > 13 * 400 / 2);
            assert_true(answer.step > 400);       /* what the stopped ones leave, others use */
        }
        if (row->kind == RULE_STOPS)
            assert_true(answer.step <= 1000 && answer.settled);
    }
    assert_int_equal(rows, 15);
    assert_null(rule_find("no such rule"));
    struct rule_answer all = apply(&replay, "exhaustive", 0, 0);
    assert_near(all.fraction, 1, 0);
    struct rule_answer tenth = apply(&replay, "raw", 400, 0);
    assert_near(tenth.fraction, 381.0 / 4000, 1e-12);
    replay_fini(&replay);
    world_fini(&world);
}

/* ---- small cases by hand. Losses: candidate i is at 1 + i / 10 and hardly falls, 9 candidates. */

static double level(const struct world *world, int candidate, double step)
{
    (void)world;
    return 1 + 0.1 * candidate - 1e-6 * step;
}

static int trained_to(const struct rule_answer *answer, uint64_t step)
{
    int count = 0;
    for (int i = 0; i < 9; i++)
        count += answer->trained[i] == step;
    return count;
}

static void races_train_whom_the_papers_say(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    world_init(&world, 9, 900, 900, level);
    world.window_noise = 0;
    world.spec.selection.evaluate_every = 25;
    assert_int_equal(world_restart(&world, NULL), 0);
    world_fill(&world);
    world_replay(&world, &replay);
    /* halving by 3: nine at R / 3, the best three at R. With R = 900: 9 * 300 + 3 * 600 = 4500 = 9 * 500 */
    struct rule_answer halving = apply(&replay, "halving", 500, 0);
    assert_int_equal(trained_to(&halving, 300), 6);
    assert_int_equal(trained_to(&halving, 900), 3);
    assert_true(halving.trained[0] == 900 && halving.trained[1] == 900 && halving.trained[2] == 900 && halving.choice == 0);
    /* one step less of budget: R falls to the evaluation point before */
    struct rule_answer poorer = apply(&replay, "halving", 475, 0);
    assert_true(poorer.trained[0] < 900 && poorer.trained[0] >= 800);
    /* ASHA by 4: nine at R / 4; of nine two are promoted (floor(9 / 4)), and perhaps one early that would not be later */
    struct rule_answer asha = apply(&replay, "asha", 500, 0);
    int promoted = trained_to(&asha, asha.step);
    assert_true(promoted >= 2 && promoted <= 3 && asha.trained[0] == asha.step && asha.choice == 0);
    assert_int_equal(trained_to(&asha, asha.step) + trained_to(&asha, replay_step(&replay, asha.step / 4)), 9);
    /* median stopping: the running means are the losses nearly, so that who is above their median
     * stops at the first deciding point from k_min = 50 on */
    struct rule_answer median = apply(&replay, "median", 150, 0);
    assert_int_equal(trained_to(&median, 51), 4);
    for (int i = 5; i < 9; i++)
        assert_int_equal(median.trained[i], 51);
    assert_true(median.trained[0] > 150 && median.choice == 0);
    /* Hyperband: brackets of 9, 5, 3 at R / 9, R / 3, R; every candidate at R / 9 at least, three or more at R */
    struct rule_answer hyperband = apply(&replay, "hyperband", 500, 0);
    uint64_t least = replay_step(&replay, hyperband.step / 9);
    for (int i = 0; i < 9; i++)
        assert_true(hyperband.trained[i] >= least);
    assert_true(trained_to(&hyperband, hyperband.step) >= 3 && hyperband.choice == 0);
    replay_fini(&replay);
    world_fini(&world);
}

/* Losses that differ only later: what a rule has stopped can't win, and the answer says where it stopped. */
static double late(const struct world *world, int candidate, double step)
{
    (void)world;
    return 2 + 0.1 * candidate - (candidate == 8 ? 2e-3 * step : 0);
}

static void a_race_loses_the_one_that_comes_late(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    world_init(&world, 9, 900, 900, late);
    world_fill(&world);
    world_replay(&world, &replay);
    struct rule_answer exhaustive = apply(&replay, "exhaustive", 0, 0), halving = apply(&replay, "halving", 200, 0);
    assert_int_equal(exhaustive.choice, 8);
    assert_int_not_equal(halving.choice, 8);
    assert_true(halving.trained[8] < halving.step && halving.scores[8] > halving.scores[0]);
    replay_fini(&replay);
    world_fini(&world);
}

/* ---- extrapolation: a power law is continued, and the ensemble takes the form that fits */

static double crossing_powers(const struct world *world, int candidate, double step)
{
    (void)world;
    return candidate == 0 ? 1.8 + 8 * pow(step + 1, -0.8) : 1.4 + 4 * pow(step + 1, -0.25) - 0.02 * candidate;
}

static void extrapolations_see_crossings_after_the_last_point(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    world_init(&world, 5, 2000, 20000, crossing_powers);
    world_fill(&world);
    world_replay(&world, &replay);
    static const char *const rules[] = { "power", "ensemble" };
    assert_int_equal(apply(&replay, "raw", 2000, 0).choice, 0);
    for (int i = 0; i < 2; i++) {
        struct rule_answer answer = apply(&replay, rules[i], 2000, 0);
        assert_int_equal(answer.choice, 4);
        assert_near(answer.scores[0], crossing_powers(NULL, 0, 20000), 0.02);
        assert_near(answer.scores[4], crossing_powers(NULL, 4, 20000), 0.02);
    }
    replay_fini(&replay);
    world_fini(&world);
}

/* ---- judgements */

static void regret_is_measured_against_the_truth(void **state)
{
    (void)state;
    static const double runs[3][SPEC_CANDIDATES_MAX] = { { 1.0, 1.1, 1.4, NAN }, { 1.1, 1.2, 1.5, 1 }, { 1.2, 1.3, 1.6, 1 } };
    struct truth truth;
    truth_from_runs(&truth, runs, 3, 4);
    assert_near(truth.losses[0], 1.1, 1e-12);
    assert_true(isnan(truth.losses[3]));
    assert_near(truth.noise, 0, 1e-12);       /* the runs differ by a shift only */
    struct rule_answer answer = { .choice = 1, .scores = { 3, 1, 2, 0 }, .tied = { false, true, true, true } };
    struct judgement judgement = judge(&answer, &truth);
    assert_int_equal(judgement.best, 0);
    assert_near(judgement.spread, 0.4, 1e-12);
    assert_near(judgement.regret, 0.1, 1e-12);
    assert_near(judgement.regret_share, 0.25, 1e-12);
    assert_near(judgement.tied_share, 0.25, 1e-12);
    assert_near(judgement.spearman, -0.5, 1e-12);
    answer.tied[0] = true;
    assert_near(judge(&answer, &truth).tied_regret, 0, 0);
    answer.choice = -1;
    assert_true(isnan(judge(&answer, &truth).regret));
    static const double noisy[2][SPEC_CANDIDATES_MAX] = { { 1, 2 }, { 2, 1 } };
    truth_from_runs(&truth, noisy, 2, 2);
    assert_near(truth.noise, 1, 1e-12);       /* residuals of a half each, one degree of freedom */
}

static void calibration_draws_parts_of_six_or_more_and_repeats_itself(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    struct error error = { 0 };
    upside_down_world_init(&world, 2000);
    world_fill(&world);
    world_replay(&world, &replay);
    struct truth truth = final_truth(&replay);
    struct rule_settings settings = { .step = 500, .cap = 1000, .seed = 3 };
    int sizes[9] = { 0 }, hits = 0;
    for (uint64_t draw = 0; draw < 60; draw++) {
        struct calibration one, again;
        memset(&one, 0, sizeof one);
        memset(&again, 0, sizeof again);
        assert_ok(calibrate(rule_find("agreement"), &replay, &truth, &settings, draw, &one, &error), &error);
        assert_ok(calibrate(rule_find("agreement"), &replay, &truth, &settings, draw, &again, &error), &error);
        assert_true(one.p_best == again.p_best && one.hit == again.hit && one.step == again.step);
        assert_in_range(one.candidates, 6, 8);
        assert_true(one.p_best >= 0 && one.p_best <= 1);
        sizes[one.candidates]++;
        hits += one.hit;
    }
    assert_true(sizes[6] > 5 && sizes[7] > 5 && sizes[8] > 5 && hits > 50);
    replay_fini(&replay);
    world_fini(&world);
}

static void every_failed_allocation_is_told_by_every_rule(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    upside_down_world_init(&world, 150);
    world_fill(&world);
    world_replay(&world, &replay);
    struct truth truth = final_truth(&replay);
    int rounds = 0;
    for (const struct rule_row *row = rule_rows(); row->name; row++)
        SWEEP_FAULTS(FAULT_ALLOC, n) {
            struct rule_answer answer;
            struct error error = { 0 };
            struct rule_settings settings = { .step = 100, .cap = 127, .seed = 1 };
            int failed = rule_apply(row, &replay, &settings, &answer, &error);
            assert_int_equal(failed, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
            rounds++;
        }
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct calibration result;
        struct error error = { 0 };
        struct rule_settings settings = { .step = 100, .cap = 100, .seed = 1 };
        int failed = calibrate(rule_find("averaged"), &replay, &truth, &settings, 1, &result, &error);
        assert_int_equal(failed, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
        rounds++;
    }
    assert_true(rounds > 300);
    replay_fini(&replay);
    world_fini(&world);
}

TEST_MAIN(cmocka_unit_test(knee_and_stability_stop_where_the_order_is_upside_down),
          cmocka_unit_test(agreement_waits_for_the_crossing_and_the_slopes_see_it_first),
          cmocka_unit_test(every_rule_finds_the_best_of_ordered_curves_within_its_budget),
          cmocka_unit_test(races_train_whom_the_papers_say),
          cmocka_unit_test(a_race_loses_the_one_that_comes_late),
          cmocka_unit_test(extrapolations_see_crossings_after_the_last_point),
          cmocka_unit_test(regret_is_measured_against_the_truth),
          cmocka_unit_test(calibration_draws_parts_of_six_or_more_and_repeats_itself),
          cmocka_unit_test(every_failed_allocation_is_told_by_every_rule))
