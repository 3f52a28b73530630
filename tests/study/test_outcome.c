/* Outcomes: every field of a result, and what is said about it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "study/rank.h"
#include "study/statistics.h"
#include "tests/support/study_world.h"
#include "tests/support/support.h"

static double upside_down(const struct world *world, int candidate, double step)
{
    (void)world;
    double share = (log(step + 10) - log(110)) / (log(1000) - log(110));
    double start = 1.8 + 0.04 * candidate + .02 * sin(7 * candidate), end = 1.7 - 0.03 * candidate;
    return start + (end - start) * share;
}

static double recovering(const struct world *world, int candidate, double step)
{
    return upside_down(world, candidate, step < 60 ? 60 : step) + (candidate > 2 ? 1.2 * exp(-step / 12) : 0);
}

static void outcome_world(struct world *world, int count, uint64_t max_k)
{
    world_init(world, count, max_k, 20000, upside_down);
    world->raw = recovering;
    world->spec.selection.k_min = 120;
    world->jitter = 2e-4;
    for (int i = 0; i < count; i++) {
        char hash[8];
        snprintf(hash, sizeof hash, "h%d", i);
        study_grown(&world->study, i, hash, 1000, 1e6, NAN, 2);
    }
}

static void outcome_of(struct world *world, struct study_outcome *outcome)
{
    struct error error = { 0 };
    assert_ok(world_run(world, 2, 1, &error), &error);
    assert_ok(study_outcome_init(outcome, &world->study, &error), &error);
}

static void a_settled_study_says_everything(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 8, 2000);
    outcome_of(&world, &outcome);
    const struct ranking_row *rows = outcome.ranking.rows;
    double at_0[8], at_transition[8], at_k[8];
    assert_true(outcome.settled && outcome.has_transition && outcome.transition_step < outcome.k);
    assert_string_equal(outcome.provisional_reason, "");
    assert_int_equal(outcome.ranking.count, 8);
    assert_int_equal(outcome.ranking.completed, 8);
    for (int i = 0; i < 8; i++) {
        const struct curve *curve = &world.study.candidates[rows[i].candidate].curve;
        assert_int_equal(rows[i].rank, i + 1);
        at_k[i] = curve_at(curve, outcome.k)->loss;
        at_0[i] = curve_at(curve, 0)->loss;
        at_transition[i] = curve_at(curve, outcome.transition_step)->loss;
        assert_true(rows[i].score == at_k[i] && rows[i].loss == at_k[i] && rows[i].loss_at_0 == at_0[i]);
        assert_true(rows[i].loss_at_transition == at_transition[i]);
        assert_true(i == 0 || rows[i].score >= rows[i - 1].score);
        assert_near(rows[i].margin, at_k[0] - (i ? at_k[i] : rows[1].score), 1e-12);
        assert_true(rows[i].margin <= 0 && rows[i].standard_error > 0 && rows[i].tie_group >= 1);
        assert_true(rows[i].slope < 0 && rows[i].predicted_final_loss < rows[i].loss);
        assert_true(rows[i].flops_spent == (double)outcome.k * 1024 * 1e6);
    }
    assert_near(rows[0].standard_error, rows[1].standard_error, 0);
    assert_near(outcome.rank_agreement_at_0, correlation_spearman(at_0, at_k, 8), 1e-12);
    assert_near(outcome.rank_agreement_at_transition, correlation_spearman(at_transition, at_k, 8), 1e-12);
    assert_true(outcome.rank_agreement_at_0 < -0.3 && outcome.rank_agreement_at_transition > 0.7);
    assert_true(outcome.agreement >= 0.6 && outcome.choice >= 0);
    for (int i = 0; i < 8; i++)
        assert_true(i > 2 ? outcome.knees[i] > 10 && outcome.knees[i] < 100 : isnan(outcome.knees[i]));
    assert_int_equal(outcome.warning_count, 0);
    printf("%s\n", outcome.choice_reason);
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void costs_are_those_beyond_training_the_choice(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 8, 2000);
    outcome_of(&world, &outcome);
    double step_flops = 1024 * 1e6;
    assert_near(outcome.search_flops / (7 * (double)outcome.k * step_flops), 1, 1e-12);
    assert_near(outcome.exhaustive_flops / (7 * 20000 * step_flops), 1, 1e-12);
    assert_near(outcome.cost_fraction, (double)outcome.k / 20000, 1e-12);
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void a_provisional_study_says_why_and_what_to_do(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 8, 350);
    outcome_of(&world, &outcome);
    printf("%s\n", outcome.provisional_reason);
    assert_false(outcome.settled || outcome.has_transition);
    assert_int_equal(outcome.k, 350);
    assert_contains(outcome.provisional_reason, "cap of 350 steps");
    assert_contains(outcome.provisional_reason, "0.6 needed");
    assert_contains(outcome.provisional_reason, "Raise selection.max_k to ");
    int advised = atoi(strstr(outcome.provisional_reason, "max_k to ") + 9);
    assert_in_range(advised, 525, 1400);
    assert_true(isnan(outcome.rank_agreement_at_transition) && !isnan(outcome.rank_agreement_at_0));
    assert_true(isnan(outcome.ranking.rows[0].loss_at_transition));
    study_outcome_fini(&outcome);

    world.spec.training.steps = 350;
    assert_int_equal(study_outcome_init(&outcome, &world.study, NULL), 0);
    assert_contains(outcome.provisional_reason, "raise training.steps");
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static double close_pair(const struct world *world, int candidate, double step)
{
    (void)world;
    double slope = candidate == 0 ? -.05 : candidate == 1 ? -.06 : -.05 + 0.001 * candidate;
    return 2 + (candidate == 1 ? .0005 : candidate ? .2 + .01 * candidate : 0) + slope * (log(step + 10) - log(230));
}

static void within_the_first_tie_group_the_best_predicted_is_chosen(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    world_init(&world, 5, 220, 20000, close_pair);
    world.spec.selection.k_auto = false;
    world.spec.selection.k = 220;
    outcome_of(&world, &outcome);
    printf("%s\n%s\n", outcome.choice_reason, outcome.provisional_reason);
    assert_int_equal(outcome.ranking.rows[0].candidate, 0);
    assert_int_equal(outcome.ranking.rows[0].tie_group, 1);
    assert_int_equal(outcome.ranking.rows[1].tie_group, 1);
    assert_int_equal(outcome.ranking.rows[2].tie_group, 2);
    assert_int_equal(outcome.choice, 1);
    assert_contains(outcome.choice_reason, "\"c1\" is chosen though it ranks 2");
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static double flat(const struct world *world, int candidate, double step)
{
    (void)world, (void)candidate, (void)step;
    return 2;
}

static void of_equal_candidates_the_cheapest_is_chosen_and_costs_are_warned_of(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    world_init(&world, 4, 220, 20000, flat);
    world.window_noise = 0;
    static const double costs[] = { 1.2e6, 1.3e6, 1.0e6, 1.1e6 };
    for (int i = 0; i < 4; i++)
        study_grown(&world.study, i, &"a\0b\0c\0d"[2 * i], 1000, costs[i], NAN, 2);
    outcome_of(&world, &outcome);
    assert_int_equal(outcome.choice, 2);
    assert_int_equal(outcome.ranking.rows[3].tie_group, 1);
    assert_int_equal(outcome.warning_count, 1);
    assert_contains(outcome.warnings[0], "\"c1\" needs 30 % more than \"c2\"");
    assert_true(isnan(outcome.agreement) && isnan(outcome.rank_agreement_at_0));
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static double some_die(const struct world *world, int candidate, double step)
{
    return candidate == 2 && step >= 100 ? NAN : upside_down(world, candidate, step);
}

static void copies_follow_their_twin_and_the_dead_come_last(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 8, 2000);
    world.averaged = some_die;
    study_grown(&world.study, 1, "same", 1000, 1e6, NAN, 2);
    study_grown(&world.study, 6, "same", 1000, 1e6, NAN, 2);
    study_grown(&world.study, 2, "dead", 1000, 1e6, NAN, 2);
    study_grown(&world.study, 5, "dead", 1000, 1e6, NAN, 2);
    study_candidate_failed(&world.study, 3, "its operator can't be applied");
    outcome_of(&world, &outcome);
    const struct ranking_row *rows = outcome.ranking.rows;
    assert_int_equal(outcome.ranking.completed, 5);
    for (int i = 1; i < 5; i++)
        if (rows[i].candidate == 6) {
            assert_int_equal(rows[i - 1].candidate, 1);
            assert_true(rows[i].score == rows[i - 1].score && rows[i].margin == rows[i - 1].margin);
            assert_true(rows[i].tie_group == rows[i - 1].tie_group && rows[i].flops_spent == 0);
        }
    assert_int_equal(world.study.candidates[6].state, CANDIDATE_COMPLETED);
    assert_int_equal(world.study.candidates[5].state, CANDIDATE_DIVERGED);
    assert_int_equal(rows[5].candidate, 2);
    assert_int_equal(rows[6].candidate, 5);
    assert_int_equal(rows[7].candidate, 3);
    for (int i = 5; i < 8; i++)
        assert_true(rows[i].rank == i + 1 && rows[i].tie_group == 0 && isnan(rows[i].score) && isnan(rows[i].p_best));
    assert_true(rows[5].loss_at_0 > 0 && isnan(rows[7].loss_at_0));
    double all = 0;
    for (int i = 0; i < outcome.warning_count; i++)
        printf("%s\n", outcome.warnings[i]);
    assert_int_equal(outcome.warning_count, 4);
    for (int i = 0; i < 8; i++)
        all += rows[i].flops_spent;
    assert_near((all - outcome.search_flops) / ((double)outcome.k * 1024 * 1e6), 1, 1e-9);
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void a_study_without_survivors_has_an_outcome_too(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 3, 2000);
    for (int i = 0; i < 3; i++)
        study_diverged(&world.study, i, 7, "the loss is not finite");
    outcome_of(&world, &outcome);
    assert_false(outcome.settled);
    assert_true(outcome.k == 0 && outcome.choice == -1 && outcome.ranking.completed == 0 && outcome.ranking.count == 3);
    assert_contains(outcome.provisional_reason, "all have diverged");
    assert_true(isnan(outcome.cost_fraction) || outcome.cost_fraction == 1);
    assert_int_equal(outcome.warning_count, 3);
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void a_running_study_is_ranked_at_the_last_step_all_share(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 5, 2000);
    assert_int_equal(study_outcome_init(&outcome, &world.study, NULL), 0);
    assert_true(outcome.k == 0 && outcome.ranking.completed == 0 && outcome.ranking.count == 5);
    study_outcome_fini(&outcome);
    for (int i = 0; i < 5; i++)
        for (int g = 0; world.study.grid.steps[g] <= (i == 3 ? 61u : 88u); g++)
            assert_int_equal(world_point(&world, i, world.study.grid.steps[g], NULL), 0);
    assert_int_equal(study_outcome_init(&outcome, &world.study, NULL), 0);
    assert_int_equal(outcome.k, 61);
    assert_int_equal(outcome.ranking.completed, 5);
    assert_false(outcome.settled);
    assert_contains(outcome.provisional_reason, "has not ended");
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void ranking_by_prediction_scores_the_prediction(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome by_loss, by_prediction;
    outcome_world(&world, 8, 350);
    outcome_of(&world, &by_loss);
    world.spec.selection.rank_by = RANK_BY_PREDICTED;
    assert_int_equal(study_outcome_init(&by_prediction, &world.study, NULL), 0);
    assert_true(by_loss.ranking.rows[0].candidate != by_prediction.ranking.rows[0].candidate);
    for (int i = 0; i < 8; i++) {
        const struct ranking_row *row = &by_prediction.ranking.rows[i];
        assert_near(row->score, upside_down(&world, row->candidate, 1050), 2e-3);
        assert_near(row->loss, upside_down(&world, row->candidate, 350), 1e-3);
        assert_true(i == 0 || row->margin == by_prediction.ranking.rows[0].score - row->score);
    }
    study_outcome_fini(&by_prediction);
    study_outcome_fini(&by_loss);
    world_fini(&world);
}

static void one_window_gives_no_errors_and_says_so(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 5, 300);
    study_fini(&world.study);
    assert_int_equal(study_init(&world.study, &world.spec, 1, NULL), 0);
    outcome_of(&world, &outcome);
    assert_true(isnan(outcome.ranking.rows[0].standard_error) && isnan(outcome.ranking.rows[0].p_best));
    assert_int_equal(outcome.ranking.rows[4].tie_group, 1);
    assert_contains(outcome.warnings[0], "only one validation window");
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void one_candidate_alone_has_no_margin(void **state)
{
    (void)state;
    struct world world;
    struct study_outcome outcome;
    outcome_world(&world, 1, 300);
    outcome_of(&world, &outcome);
    assert_true(outcome.settled && outcome.choice == 0 && isnan(outcome.ranking.rows[0].margin));
    assert_true(outcome.ranking.rows[0].p_best == 1 && isnan(outcome.cost_fraction));
    assert_contains(outcome.choice_reason, "no other candidate");
    study_outcome_fini(&outcome);
    world_fini(&world);
}

static void every_failed_allocation_of_a_study_is_survived(void **state)
{
    (void)state;
    struct world world;
    int rounds = 0;
    outcome_world(&world, 4, 160);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct study_outcome outcome;
        struct error error = { 0 };
        int failed = world_restart(&world, &error);
        if (!failed)
            failed = world_run(&world, 2, 3, &error);
        if (!failed)
            failed = study_outcome_init(&outcome, &world.study, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(failed, ERROR_NO_MEMORY, &error);
            if (world.study.candidates) {           /* what failed can be done again */
                error_clear(&error);
                while (study_decide(&world.study, &error).kind != DECISION_NONE)
                    ;
                assert_ok(world_run(&world, 2, 3, &error), &error);
                assert_true(world.study.finished);
            }
        } else {
            assert_ok(failed, &error);
            study_outcome_fini(&outcome);
        }
        rounds++;
    }
    printf("%d rounds\n", rounds);
    assert_true(rounds > 100);
    world_fini(&world);
}

/* 64 candidates, 400 windows, a grid to 20,000 steps: a decision is to cost milliseconds. CPU time, with a bound that
 * leaves room for sanitizers. */
static void decisions_cost_milliseconds(void **state)
{
    (void)state;
    enum { COUNT = 64, WINDOWS = 400 };
    struct world world;
    outcome_world(&world, COUNT, 20000);
    study_fini(&world.study);
    memory_free(world.effects);
    memory_free(world.losses);
    world.effects = memory_array(COUNT * WINDOWS, sizeof *world.effects);
    world.losses = memory_array(WINDOWS, sizeof *world.losses);
    world.jitter = 0.01;
    assert_int_equal(study_init(&world.study, &world.spec, WINDOWS, NULL), 0);
    for (int i = 0; i < COUNT; i++)
        for (int g = 0; g < world.study.grid.count; g++)
            assert_int_equal(world_point(&world, i, world.study.grid.steps[g], NULL), 0);
    clock_t begin = clock();
    int decisions = 0;
    while (study_decide(&world.study, NULL).kind != DECISION_NONE)
        decisions++;
    double each = (double)(clock() - begin) / CLOCKS_PER_SEC / decisions;
    struct study_outcome outcome;
    begin = clock();
    assert_int_equal(study_outcome_init(&outcome, &world.study, NULL), 0);
    double last = (double)(clock() - begin) / CLOCKS_PER_SEC;
    printf("%d decisions, %.2f ms each; outcome %.1f ms\n", decisions, 1e3 * each, 1e3 * last);
    assert_true(each < 0.1 && last < 2);
    study_outcome_fini(&outcome);
    world_fini(&world);
}

TEST_MAIN(cmocka_unit_test(a_settled_study_says_everything),
          cmocka_unit_test(costs_are_those_beyond_training_the_choice),
          cmocka_unit_test(a_provisional_study_says_why_and_what_to_do),
          cmocka_unit_test(within_the_first_tie_group_the_best_predicted_is_chosen),
          cmocka_unit_test(of_equal_candidates_the_cheapest_is_chosen_and_costs_are_warned_of),
          cmocka_unit_test(copies_follow_their_twin_and_the_dead_come_last),
          cmocka_unit_test(a_study_without_survivors_has_an_outcome_too),
          cmocka_unit_test(a_running_study_is_ranked_at_the_last_step_all_share),
          cmocka_unit_test(ranking_by_prediction_scores_the_prediction),
          cmocka_unit_test(one_window_gives_no_errors_and_says_so),
          cmocka_unit_test(one_candidate_alone_has_no_margin),
          cmocka_unit_test(every_failed_allocation_of_a_study_is_survived),
          cmocka_unit_test(decisions_cost_milliseconds))
