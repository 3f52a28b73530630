/* The state machine: who may work, when barriers are decided, who has diverged; the same for any number of workers. */
#include <math.h>
#include <string.h>

#include "tests/support/study_world.h"
#include "tests/support/support.h"

/* Lines in ln(t + 10) that cross, fast recoveries on top: nothing settles early. */
static double crossing(const struct world *world, int candidate, double step)
{
    (void)world;
    double u = log(step + 10), share = (u - log(110)) / (log(1000) - log(110));
    double start = 1.8 + 0.04 * candidate + 0.02 * sin(5 * candidate), end = 1.7 - 0.03 * candidate;
    return start + (end - start) * share + (candidate > 2 ? 0.8 * exp(-step / 12) : 0);
}

static double one_explodes(const struct world *world, int candidate, double step)
{
    if (candidate == 1 && step >= 80)
        return step >= 153 ? NAN : 1.9;
    return crossing(world, candidate, step);
}

static void states_have_words_both_ways(void **state)
{
    (void)state;
    for (int i = 0; i < STUDY_STATE_COUNT; i++) {
        enum study_state_name parsed = STUDY_STATE_COUNT;
        assert_int_equal(study_state_parse(study_state_text((enum study_state_name)i), &parsed), 0);
        assert_int_equal(parsed, i);
    }
    enum study_state_name unchanged = STUDY_RUNNING;
    assert_int_equal(study_state_parse("Running", &unchanged), -1);
    assert_int_equal(study_state_parse("", &unchanged), -1);
    assert_int_equal(unchanged, STUDY_RUNNING);
    assert_string_equal(candidate_state_text(CANDIDATE_INTERRUPTED), "interrupted");
    assert_string_equal(candidate_state_text(CANDIDATE_DIVERGED), "diverged");
}

static void a_candidate_evaluates_step_zero_then_trains_from_point_to_point(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 2, 1000, 20000, crossing);
    struct study *study = &world.study;
    struct work work = study_candidate_work(study, 1);
    assert_true(work.kind == WORK_EVALUATE && work.step == 0 && work.candidate == 1);
    assert_int_equal(world_point(&world, 1, 0, NULL), 0);
    assert_int_equal(study->candidates[1].state, CANDIDATE_RUNNING);
    work = study_candidate_work(study, 1);
    assert_true(work.kind == WORK_TRAIN && work.step == 4);
    study_trained(study, 1, 2);                          /* a slice that ended between points */
    work = study_candidate_work(study, 1);
    assert_true(work.kind == WORK_TRAIN && work.step == 4);
    study_trained(study, 1, 4);
    work = study_candidate_work(study, 1);
    assert_true(work.kind == WORK_EVALUATE && work.step == 4);
    assert_int_equal(world_point(&world, 1, 4, NULL), 0);
    work = study_candidate_work(study, 1);
    assert_true(work.kind == WORK_TRAIN && work.step == 5);
    world_fini(&world);
}

static void the_fewest_steps_go_first_and_the_lowest_index_among_equals(void **state)
{
    (void)state;
    struct world world;
    bool busy[4] = { false };
    world_init(&world, 4, 1000, 20000, crossing);
    struct study *study = &world.study;
    assert_int_equal(study_next_work(study, busy).candidate, 0);
    busy[0] = true;
    assert_int_equal(study_next_work(study, busy).candidate, 1);
    busy[0] = false;
    study_trained(study, 0, 4);
    study_trained(study, 1, 4);
    study_trained(study, 2, 3);
    study_trained(study, 3, 9);
    assert_int_equal(study_next_work(study, busy).candidate, 2);
    study_candidate_failed(study, 2, "no more");
    assert_int_equal(study_next_work(study, busy).candidate, 0);
    busy[0] = busy[1] = busy[3] = true;
    assert_int_equal(study_next_work(study, busy).kind, WORK_NONE);
    world_fini(&world);
}

static void nobody_passes_a_barrier_that_is_not_decided(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 3, 1000, 20000, crossing);
    struct study *study = &world.study;
    assert_true(study_is_barrier(study, 51) && study_is_barrier(study, 61) && study_is_barrier(study, 1000));
    assert_false(study_is_barrier(study, 42) || study_is_barrier(study, 52) || study_is_barrier(study, 0));
    for (int i = 0; i < 3; i++) {
        for (int g = 0; g < study->grid.count && study->grid.steps[g] <= 51; g++) {
            study_trained(study, i, study->grid.steps[g]);
            assert_int_equal(study_decide(study, NULL).kind, DECISION_NONE);
            assert_int_equal(world_point(&world, i, study->grid.steps[g], NULL), 0);
        }
        assert_int_equal(study_candidate_work(study, i).kind, WORK_NONE);
    }
    assert_int_equal(study_decide(study, NULL).kind, DECISION_CONTINUE);
    assert_int_equal(study_decide(study, NULL).kind, DECISION_NONE);
    for (int i = 0; i < 3; i++) {
        struct work work = study_candidate_work(study, i);
        assert_true(work.kind == WORK_TRAIN && work.step == 61);
    }
    world_fini(&world);
}

static void dead_and_cancelled_candidates_get_no_work_and_interrupted_ones_go_on(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 3, 1000, 20000, crossing);
    struct study *study = &world.study;
    study_diverged(study, 0, 3, "the loss is not finite");
    study->candidates[1].state = CANDIDATE_CANCELLED;
    study->candidates[2].state = CANDIDATE_INTERRUPTED;
    assert_int_equal(study_candidate_work(study, 0).kind, WORK_NONE);
    assert_int_equal(study_candidate_work(study, 1).kind, WORK_NONE);
    assert_int_equal(study_candidate_work(study, 2).kind, WORK_EVALUATE);
    study_candidate_failed(study, 0, "later");           /* the first cause stays */
    assert_int_equal(study->candidates[0].state, CANDIDATE_DIVERGED);
    assert_string_equal(study->candidates[0].reason, "the loss is not finite");
    world_fini(&world);
}

static void equal_grown_candidates_are_trained_once_whoever_is_grown_first(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 4, 1000, 20000, crossing);
    struct study *study = &world.study;
    world.spec.candidates[3].moments = MOMENTS_CARRY;
    study_grown(study, 2, "aa", 10, 60, 0, 2);
    study_grown(study, 3, "aa", 10, 60, 0, 2);           /* other moments: another trial */
    study_grown(study, 1, "bb", 10, 60, 0, 2);
    assert_int_equal(study->candidates[2].same_as, -1);
    study_grown(study, 0, "aa", 10, 60, 0, 2);
    assert_int_equal(study->candidates[2].same_as, 0);
    assert_int_equal(study->candidates[3].same_as, -1);
    assert_int_equal(study->candidates[0].same_as, -1);
    assert_int_equal(study_candidate_work(study, 2).kind, WORK_NONE);
    world_fini(&world);
}

static double explodes(const struct world *world, int candidate, double step)
{
    (void)world;
    if (candidate == 0)
        return step < 20 ? 2 : step < 30 ? 9 : 2;       /* above the bound at 20, 24 and 29 */
    if (candidate == 1)
        return step == 24 ? 9 : 2;                      /* once only */
    return step == 0 ? 8.2 : 9;                         /* above 2 + 1 but not above its own start + 1 */
}

static void two_successive_losses_above_the_bound_after_warm_up_are_divergence(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 3, 1000, 20000, explodes);
    world.spec.training.schedule.warmup_steps = 20;
    world.study.vocabulary = 256;                        /* ln V = 5.5 */
    for (int i = 0; i < 3; i++)
        for (int g = 0; world.study.grid.steps[g] <= 51; g++)
            assert_int_equal(world_point(&world, i, world.study.grid.steps[g], NULL), 0);
    const struct candidate *candidates = world.study.candidates;
    assert_int_equal(candidates[0].state, CANDIDATE_DIVERGED);
    assert_int_equal(candidates[0].diverged_step, 29);   /* 20 is still warm-up; 24 is the first */
    assert_contains(candidates[0].reason, "6.54");
    assert_int_equal(candidates[1].state, CANDIDATE_RUNNING);
    assert_int_equal(candidates[2].state, CANDIDATE_RUNNING);
    world_fini(&world);
}

static void points_for_drawing_do_not_make_a_candidate_diverge(void **state)
{
    (void)state;
    struct world world;
    world_init(&world, 1, 1000, 20000, explodes);
    world.spec.selection.evaluate_every = 1;
    assert_int_equal(world_restart(&world, NULL), 0);
    static const uint64_t steps[] = { 0, 4, 21, 22, 23 };
    for (int i = 0; i < 5; i++)
        assert_int_equal(world_point(&world, 0, steps[i], NULL), 0);
    assert_int_equal(world.study.candidates[0].state, CANDIDATE_RUNNING);
    assert_int_equal(world_point(&world, 0, 24, NULL), 0);
    assert_int_equal(world_point(&world, 0, 29, NULL), 0);
    assert_int_equal(world.study.candidates[0].state, CANDIDATE_DIVERGED);
    world_fini(&world);
}

static void a_nan_loss_diverges_and_the_study_goes_on_without_it(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    world_init(&world, 5, 300, 20000, one_explodes);
    assert_ok(world_run(&world, 2, 1, &error), &error);
    const struct study *study = &world.study;
    assert_true(study->finished);
    assert_int_equal(study->candidates[1].state, CANDIDATE_DIVERGED);
    assert_int_equal(study->candidates[1].diverged_step, 153);
    for (int i = 0; i < 5; i++)
        if (i != 1)
            assert_int_equal(study->candidates[i].state, CANDIDATE_COMPLETED);
    assert_int_equal(study->decisions[0].live, 5);
    assert_int_equal(study->decisions[study->decision_count - 1].live, 4);
    world_fini(&world);
}

static double all_nan(const struct world *world, int candidate, double step)
{
    return step >= 20 + 10 * candidate ? NAN : crossing(world, candidate, step);
}

static void a_study_whose_candidates_all_diverge_fails(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    world_init(&world, 3, 300, 20000, all_nan);
    assert_ok(world_run(&world, 2, 3, &error), &error);
    assert_true(world.study.finished);
    assert_int_equal(world.study.decision_count, 1);
    assert_int_equal(world.study.decisions[0].kind, DECISION_FAILED);
    world_fini(&world);
}

static void assert_same_decisions(const struct study *a, const struct study *b)
{
    assert_int_equal(a->decision_count, b->decision_count);
    for (int i = 0; i < a->decision_count; i++) {
        const struct decision *x = &a->decisions[i], *y = &b->decisions[i];
        assert_int_equal(x->kind, y->kind);
        assert_int_equal(x->step, y->step);
        assert_memory_equal(&x->agreement, &y->agreement, sizeof x->agreement);
        assert_true(x->holds == y->holds && x->knees_passed == y->knees_passed && x->live == y->live);
        assert_true(x->best_now == y->best_now && x->best_predicted == y->best_predicted);
        assert_string_equal(x->reason, y->reason);
    }
    for (int i = 0; i < a->spec->candidate_count; i++) {
        assert_int_equal(a->candidates[i].state, b->candidates[i].state);
        assert_int_equal(a->candidates[i].curve.count, b->candidates[i].curve.count);
    }
}

static void decisions_are_the_same_for_any_number_of_workers_and_finishing_order(void **state)
{
    (void)state;
    struct world one, many;
    struct error error = { 0 };
    world_init(&one, 7, 900, 20000, one_explodes);
    assert_ok(world_run(&one, 1, 0, &error), &error);
    assert_true(one.study.decision_count > 8);
    for (uint64_t seed = 0; seed < 12; seed++) {
        world_init(&many, 7, 900, 20000, one_explodes);
        assert_ok(world_run(&many, (int)(1 + seed % 4) * 2 - 1, seed, &error), &error);
        assert_same_decisions(&one.study, &many.study);
        world_fini(&many);
    }
    world_fini(&one);
}

static void decisions_can_be_recomputed_from_whole_curves(void **state)
{
    (void)state;
    struct world lived, loaded;
    struct error error = { 0 };
    world_init(&lived, 7, 900, 20000, one_explodes);
    assert_ok(world_run(&lived, 2, 5, &error), &error);
    world_init(&loaded, 7, 900, 20000, one_explodes);
    for (int i = 6; i >= 0; i--) {
        const struct curve *curve = &lived.study.candidates[i].curve;
        for (int j = 0; j < curve->count; j++)
            assert_int_equal(study_point(&loaded.study, i, &curve->points[j], NULL), 0);
        study_trained(&loaded.study, i, curve_last(curve)->step);
    }
    while (study_decide(&loaded.study, &error).kind != DECISION_NONE)
        assert_int_equal(error.code, 0);
    assert_same_decisions(&lived.study, &loaded.study);
    world_fini(&loaded);
    world_fini(&lived);
}

/* A crash: trials come back from their last saves, their curves with fewer points, one with more than its save. */
static void a_study_redone_from_truncated_curves_decides_the_same(void **state)
{
    (void)state;
    struct world lived, redone;
    struct error error = { 0 };
    world_init(&lived, 7, 900, 20000, one_explodes);
    assert_ok(world_run(&lived, 2, 5, &error), &error);
    for (uint64_t crash = 1; crash < 30; crash += 4) {
        world_init(&redone, 7, 900, 20000, one_explodes);
        for (int i = 0; i < 7; i++) {
            const struct curve *curve = &lived.study.candidates[i].curve;
            int points = (int)crash + i % 2;
            if (points > curve->count)
                points = curve->count;
            for (int j = 0; j < points; j++)
                assert_int_equal(study_point(&redone.study, i, &curve->points[j], NULL), 0);
            if (i == 3)
                study_trained(&redone.study, i, 0);      /* its save was lost: trains again, points stay */
            else
                study_trained(&redone.study, i, curve->points[points - 1].step);
            if (i == 4) {
                uint64_t back = curve->points[points > 2 ? points - 2 : 0].step;
                curve_truncate(&redone.study.candidates[i].curve, back);
                study_trained(&redone.study, i, back);
            }
        }
        while (study_decide(&redone.study, &error).kind != DECISION_NONE)
            ;
        assert_ok(world_run(&redone, 3, crash, &error), &error);
        assert_same_decisions(&lived.study, &redone.study);
        world_fini(&redone);
    }
    world_fini(&lived);
}

static void a_study_needs_candidates_and_steps(void **state)
{
    (void)state;
    struct world world;
    struct study study;
    struct error error = { 0 };
    world_init(&world, 2, 100, 200, crossing);
    world.spec.candidate_count = 0;
    assert_fails(study_init(&study, &world.spec, 10, &error), ERROR_INVALID, &error);
    study_fini(&study);
    world.spec.candidate_count = 2;
    world.spec.selection.max_k = 0;
    error_clear(&error);
    assert_fails(study_init(&study, &world.spec, 10, &error), ERROR_INVALID, &error);
    study_fini(&study);
    world_fini(&world);
}

TEST_MAIN(cmocka_unit_test(states_have_words_both_ways),
          cmocka_unit_test(a_candidate_evaluates_step_zero_then_trains_from_point_to_point),
          cmocka_unit_test(the_fewest_steps_go_first_and_the_lowest_index_among_equals),
          cmocka_unit_test(nobody_passes_a_barrier_that_is_not_decided),
          cmocka_unit_test(dead_and_cancelled_candidates_get_no_work_and_interrupted_ones_go_on),
          cmocka_unit_test(equal_grown_candidates_are_trained_once_whoever_is_grown_first),
          cmocka_unit_test(two_successive_losses_above_the_bound_after_warm_up_are_divergence),
          cmocka_unit_test(points_for_drawing_do_not_make_a_candidate_diverge),
          cmocka_unit_test(a_nan_loss_diverges_and_the_study_goes_on_without_it),
          cmocka_unit_test(a_study_whose_candidates_all_diverge_fails),
          cmocka_unit_test(decisions_are_the_same_for_any_number_of_workers_and_finishing_order),
          cmocka_unit_test(decisions_can_be_recomputed_from_whole_curves),
          cmocka_unit_test(a_study_redone_from_truncated_curves_decides_the_same),
          cmocka_unit_test(a_study_needs_candidates_and_steps))
