/* Saved curves as a study again: the grid found again, the same decisions at once and point by point, parts. */
#include "study/replay.h"

#include <math.h>
#include <string.h>

#include "study/outcome.h"
#include "tests/support/replay_world.h"
#include "tests/support/support.h"

static void the_grid_is_found_again_from_the_points(void **state)
{
    (void)state;
    static const uint64_t every[] = { 0, 7, 125 };
    for (int e = 0; e < 3; e++) {
        struct world world;
        struct replay replay;
        upside_down_world_init(&world, 2000);
        world.spec.selection.evaluate_every = every[e];
        assert_int_equal(world_restart(&world, NULL), 0);
        world_fill(&world);
        world_replay(&world, &replay);
        const struct grid *found = &replay.study.grid, *grid = &world.study.grid;
        assert_int_equal(found->count, grid->count);
        assert_memory_equal(found->steps, grid->steps, (size_t)grid->count * sizeof *grid->steps);
        assert_memory_equal(found->geometric, grid->geometric, (size_t)grid->count * sizeof *grid->geometric);
        assert_int_equal(replay_last(&replay), 2000);
        assert_int_equal(replay_step(&replay, 90), 88);
        replay_fini(&replay);
        world_fini(&world);
    }
}

/* With K-AVG the points are rounded up to multiples of K: the first at or after a geometric one decides. */
static void points_rounded_up_to_multiples_decide(void **state)
{
    (void)state;
    struct replay replay;
    struct error error = { 0 };
    static const uint64_t steps[] = { 0, 10, 20, 30, 40, 50, 60, 70 };
    assert_ok(replay_init(&replay, 1, 0, &error), &error);
    replay.spec.training.steps = 100;
    for (int i = 0; i < 8; i++) {
        struct point point = { .step = steps[i], .loss = 2, .raw_loss = 2 };
        assert_ok(curve_append(&replay.study.candidates[0].curve, &point, &error), &error);
    }
    assert_ok(replay_finish(&replay, UINT64_MAX, &error), &error);
    /* 4 5 6 8 9 -> 10; 11 14 17 -> 20; 20; 24 29 -> 30; 35 -> 40; 42 -> 50; 51 -> 60; 61 -> 70 */
    static const bool decides[] = { false, true, true, true, true, true, true, true };
    assert_memory_equal(replay.study.grid.geometric, decides, sizeof decides);
    replay_fini(&replay);
}

static void assert_same_decisions(const struct study *a, const struct study *b)
{
    assert_int_equal(a->decision_count, b->decision_count);
    for (int i = 0; i < a->decision_count; i++) {
        const struct decision *x = &a->decisions[i], *y = &b->decisions[i];
        assert_true(x->kind == y->kind && x->step == y->step && x->holds == y->holds && x->live == y->live &&
                    x->best_now == y->best_now && x->best_predicted == y->best_predicted &&
                    x->knees_passed == y->knees_passed);
        assert_memory_equal(&x->agreement, &y->agreement, sizeof x->agreement);
        assert_string_equal(x->reason, y->reason);
    }
}

static void assert_same_outcome(const struct study *a, const struct study *b)
{
    struct study_outcome x, y;
    assert_int_equal(study_outcome_init(&x, a, NULL), 0);
    assert_int_equal(study_outcome_init(&y, b, NULL), 0);
    assert_true(x.k == y.k && x.choice == y.choice && x.settled == y.settled && x.ranking.completed == y.ranking.completed);
    assert_string_equal(x.choice_reason, y.choice_reason);
    for (int r = 0; r < x.ranking.completed; r++) {
        const struct ranking_row *p = &x.ranking.rows[r], *q = &y.ranking.rows[r];
        assert_true(p->candidate == q->candidate && p->tie_group == q->tie_group && p->score == q->score &&
                    p->p_best == q->p_best && p->predicted_final_loss == q->predicted_final_loss);
    }
    study_outcome_fini(&x);
    study_outcome_fini(&y);
}

/* Online: workers that finish in any order, a decision at every barrier. Saved: whole curves, cut at the cap. */
static void the_answer_is_the_same_fed_at_once_or_point_by_point(void **state)
{
    (void)state;
    static const uint64_t caps[] = { 264, 457, 1640 };
    struct world whole;
    struct replay saved;
    struct error error = { 0 };
    upside_down_world_init(&whole, 2000);
    world_fill(&whole);
    world_replay(&whole, &saved);
    for (int c = 0; c < 3; c++)
        for (int workers = 1; workers <= 3; workers += 2) {
            struct world online;
            struct replay at_once;
            struct replay_part part = { .last = caps[c] };
            upside_down_world_init(&online, caps[c]);
            assert_int_equal(world_restart(&online, NULL), 0);
            assert_ok(world_run(&online, workers, (uint64_t)workers, &error), &error);
            assert_ok(replay_take(&at_once, &saved, &part, &error), &error);
            assert_ok(replay_decide(&at_once, &error), &error);
            assert_true(at_once.study.finished && online.study.finished);
            assert_same_decisions(&at_once.study, &online.study);
            assert_same_outcome(&at_once.study, &online.study);
            replay_fini(&at_once);
            world_fini(&online);
        }
    replay_fini(&saved);
    world_fini(&whole);
}

static void a_part_has_its_candidates_and_the_mean_of_its_windows(void **state)
{
    (void)state;
    struct world world;
    struct replay whole, taken;
    struct error error = { 0 };
    static const int candidates[] = { 5, 2, 7 };
    int windows[60];
    upside_down_world_init(&world, 300);
    world_fill(&world);
    world_replay(&world, &whole);
    for (int w = 0; w < 60; w++)
        windows[w] = w / 2;
    struct replay_part part = { candidates, 3, windows, 200 };
    assert_ok(replay_take(&taken, &whole, &part, &error), &error);
    assert_int_equal(replay_last(&taken), 184);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(taken.spec.candidates[i].name, whole.spec.candidates[candidates[i]].name);
        const struct point *from = curve_at(&whole.study.candidates[candidates[i]].curve, 127);
        const struct point *to = curve_at(&taken.study.candidates[i].curve, 127);
        double mean = 0;
        for (int w = 0; w < 30; w++)
            mean += (double)from->losses[w] / 30;
        assert_near(to->loss, mean, 1e-12);
        assert_true(to->raw_loss == from->raw_loss);
    }
    replay_fini(&taken);
    replay_fini(&whole);
    world_fini(&world);
}

static void a_curve_that_ends_early_counts_as_diverged_from_there(void **state)
{
    (void)state;
    struct world world;
    struct replay replay;
    struct error error = { 0 };
    upside_down_world_init(&world, 300);
    world_fill(&world);
    world.study.candidates[2].curve.points[20].loss = NAN;     /* at step 127 */
    curve_truncate(&world.study.candidates[5].curve, 42);
    curve_truncate(&world.study.candidates[6].curve, 0);
    curve_fini(&world.study.candidates[7].curve);
    world_replay(&world, &replay);
    uint64_t ended = world.study.candidates[2].curve.points[19].step;
    assert_true(replay_has(&replay, 2, ended) && !replay_has(&replay, 2, grid_next(&replay.study.grid, ended)));
    assert_true(replay_has(&replay, 5, 42) && !replay_has(&replay, 5, 51) && replay_has(&replay, 6, 0));
    assert_true(!replay_has(&replay, 6, 4) && !replay_has(&replay, 7, 0));
    assert_int_equal(replay.study.candidates[2].state, CANDIDATE_DIVERGED);
    assert_int_equal(replay.study.candidates[7].state, CANDIDATE_FAILED);
    assert_ok(replay_decide(&replay, &error), &error);
    assert_true(replay.study.finished);
    assert_int_equal(replay.study.decisions[0].live, ended >= 127 ? 5 : 4);
    assert_int_equal(replay.study.decisions[replay.study.decision_count - 1].live, 4);
    replay_fini(&replay);
    world_fini(&world);
}

static void curves_without_points_are_refused(void **state)
{
    (void)state;
    struct replay replay;
    struct error error = { 0 };
    assert_fails(replay_init(&replay, 0, 4, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_fails(replay_init(&replay, SPEC_CANDIDATES_MAX + 1, 4, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_ok(replay_init(&replay, 2, 0, &error), &error);
    struct point point = { .loss = 1, .raw_loss = 1 };
    assert_ok(curve_append(&replay.study.candidates[0].curve, &point, &error), &error);
    assert_fails(replay_finish(&replay, UINT64_MAX, &error), ERROR_INVALID, &error);
    replay_fini(&replay);
}

static void every_failed_allocation_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    struct world world;
    struct replay whole;
    int rounds = 0;
    upside_down_world_init(&world, 200);
    world_fill(&world);
    world_replay(&world, &whole);
    int windows[60] = { 0 };
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct replay taken;
        struct error error = { 0 };
        struct replay_part part = { .windows = windows, .last = 100 };
        int failed = replay_take(&taken, &whole, &part, &error);
        if (!failed) {
            failed = replay_decide(&taken, &error);
            replay_fini(&taken);
        }
        assert_int_equal(failed, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
        rounds++;
    }
    assert_true(rounds > 100);
    replay_fini(&whole);
    world_fini(&world);
}

TEST_MAIN(cmocka_unit_test(the_grid_is_found_again_from_the_points),
          cmocka_unit_test(points_rounded_up_to_multiples_decide),
          cmocka_unit_test(the_answer_is_the_same_fed_at_once_or_point_by_point),
          cmocka_unit_test(a_part_has_its_candidates_and_the_mean_of_its_windows),
          cmocka_unit_test(a_curve_that_ends_early_counts_as_diverged_from_there),
          cmocka_unit_test(curves_without_points_are_refused),
          cmocka_unit_test(every_failed_allocation_is_told_and_leaves_nothing))
