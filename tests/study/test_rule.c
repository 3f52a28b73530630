/* The rule of agreement on golden curves: upside down and stable at first, crossing later. */
#include <math.h>
#include <string.h>

#include "study/agreement.h"
#include "study/knee.h"
#include "study/statistics.h"
#include "tests/support/study_world.h"
#include "tests/support/support.h"

/* As on real curves: who starts low ends high, pairs cross between 250 and 500. Lines in ln(t + 10). */
static double upside_down(const struct world *world, int candidate, double step)
{
    (void)world;
    static const double shift[] = { 0, .02, -.02, .03, -.03, .01, 0, -.01 };
    double share = (log(step + 10) - log(110)) / (log(1000) - log(110));
    double start = 1.8 + 0.04 * candidate + shift[candidate], end = 1.7 - 0.03 * candidate;
    return start + (end - start) * share;
}

/* Those that start high recover within the first 50 steps. */
static double recovering(const struct world *world, int candidate, double step)
{
    double slow = upside_down(world, candidate, step < 60 ? 60 : step);
    return slow + (candidate > 2 ? 1.2 * exp(-step / 12) : 0);
}

static void upside_down_world(struct world *world, int count, uint64_t max_k)
{
    world_init(world, count, max_k, 20000, upside_down);
    world->spec.training.schedule.warmup_steps = 60;
    world->spec.selection.k_min = 120;
    world->jitter = 2e-4;
    world->raw = recovering;
}

static double losses_tau(const struct study *study, uint64_t step, uint64_t other)
{
    double a[SPEC_CANDIDATES_MAX], b[SPEC_CANDIDATES_MAX];
    for (int i = 0; i < study->spec->candidate_count; i++) {
        a[i] = curve_at(&study->candidates[i].curve, step)->loss;
        b[i] = curve_at(&study->candidates[i].curve, other)->loss;
    }
    return correlation_kendall(a, b, study->spec->candidate_count);
}

static void knee_and_stability_would_stop_where_the_ranking_is_upside_down(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    upside_down_world(&world, 8, 1000);
    assert_ok(world_run(&world, 2, 1, &error), &error);
    const struct study *study = &world.study;
    int knees = 0;
    for (int i = 0; i < 8; i++)
        knees += knee_of_candidate(study, i, 127).kind == KNEE_FOUND;
    uint64_t end = curve_last(&study->candidates[0].curve)->step;
    double stability = losses_tau(study, 127, 88), truth = losses_tau(study, 127, end);
    printf("at 127: %d knees passed, tau with step 88 %.2f, tau with the end %.2f, a(t) %.2f\n", knees, stability,
           truth, study->decisions[0].agreement);
    assert_true(knees >= 5 && stability > 0.9 && truth < 0);
    assert_int_equal(study->decisions[0].step, 127);
    assert_true(study->decisions[0].agreement < 0 && !study->decisions[0].holds && study->decisions[0].knees_passed);
    assert_int_equal(study->decisions[0].kind, DECISION_CONTINUE);
    world_fini(&world);
}

static void the_rule_settles_after_the_crossing_at_two_successive_points(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    upside_down_world(&world, 8, 2000);
    assert_ok(world_run(&world, 2, 1, &error), &error);
    const struct study *study = &world.study;
    int last = study->decision_count - 1;
    for (int i = 0; i <= last; i++)
        printf("%5d  a = %5.2f  %s\n", (int)study->decisions[i].step, study->decisions[i].agreement,
               study->decisions[i].reason);
    assert_int_equal(study->decisions[last].kind, DECISION_SETTLED);
    assert_true(study->decisions[last].holds && study->decisions[last - 1].holds && !study->decisions[last - 2].holds);
    assert_true(study->decisions[last].step >= 379 && study->decisions[last].step <= 791);
    for (int i = 0; i < last; i++)
        assert_int_equal(study->decisions[i].kind, DECISION_CONTINUE);
    uint64_t transition = 0, k = 0;
    assert_true(study_transition(study, &transition, &k));
    assert_int_equal(transition, study->decisions[last - 1].step);
    assert_int_equal(k, study->decisions[last].step);
    assert_int_equal(study->decisions[last].best_predicted, 7);
    world_fini(&world);
}

static void the_agreement_is_tau_b_of_now_and_the_lines_at_three_t(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    upside_down_world(&world, 8, 2000);
    world.jitter = 0;
    assert_ok(world_run(&world, 1, 1, &error), &error);
    for (int i = 0; i < world.study.decision_count; i++) {
        double now[8], later[8], t = (double)world.study.decisions[i].step;
        for (int c = 0; c < 8; c++) {   /* the curves are lines by then: the prediction is the function itself */
            now[c] = upside_down(&world, c, t);
            later[c] = upside_down(&world, c, 3 * t);
        }
        if (t > 150)
            assert_near(world.study.decisions[i].agreement, correlation_kendall(now, later, 8), 1e-12);
    }
    world_fini(&world);
}

static void the_cap_before_the_crossing_is_provisional(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    upside_down_world(&world, 8, 300);
    assert_ok(world_run(&world, 2, 1, &error), &error);
    const struct decision *last = &world.study.decisions[world.study.decision_count - 1];
    uint64_t transition;
    assert_int_equal(last->kind, DECISION_PROVISIONAL);
    assert_int_equal(last->step, 300);
    assert_false(study_transition(&world.study, &transition, NULL));
    assert_int_equal(world.study.candidates[0].state, CANDIDATE_COMPLETED);
    world_fini(&world);
}

static void a_given_k_is_trained_to_and_settled_if_the_rule_held_by_then(void **state)
{
    (void)state;
    struct error error = { 0 };
    for (int late = 0; late < 2; late++) {
        struct world world;
        uint64_t transition = 0, k = late ? 1700 : 333;
        upside_down_world(&world, 8, k);
        world.spec.selection.k_auto = false;
        world.spec.selection.k = k;
        assert_ok(world_run(&world, 2, 1, &error), &error);
        const struct decision *last = &world.study.decisions[world.study.decision_count - 1];
        assert_int_equal(last->step, k);
        assert_int_equal(last->kind, late ? DECISION_SETTLED : DECISION_PROVISIONAL);
        assert_int_equal(study_transition(&world.study, &transition, NULL), late);
        if (late)
            assert_true(transition > 300 && transition < 700);
        assert_non_null(curve_at(&world.study.candidates[3].curve, k));
        world_fini(&world);
    }
}

static void a_given_k_below_k_min_is_the_only_barrier_and_provisional(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    upside_down_world(&world, 8, 3);
    world.spec.selection.k_auto = false;
    world.spec.selection.k = 3;
    assert_ok(world_run(&world, 4, 1, &error), &error);
    assert_int_equal(world.study.decision_count, 1);
    assert_int_equal(world.study.decisions[0].step, 3);
    assert_int_equal(world.study.decisions[0].kind, DECISION_PROVISIONAL);
    assert_contains(world.study.decisions[0].reason, "k_min");
    world_fini(&world);
}

static void three_and_two_candidates_settle_when_every_pair_has_its_predicted_sign(void **state)
{
    (void)state;
    struct error error = { 0 };
    for (int count = 2; count <= 3; count++) {
        struct world world;
        upside_down_world(&world, count, 2000);
        world.window_noise = 1e-4;
        world.jitter = 0;
        assert_ok(world_run(&world, 2, 1, &error), &error);
        const struct study *study = &world.study;
        assert_int_equal(study->decisions[0].kind, DECISION_CONTINUE);
        for (int i = 0; i < study->decision_count; i++) {
            bool agree = true;
            double t = (double)study->decisions[i].step;
            for (int a = 0; a < count; a++)
                for (int b = 0; b < a; b++)
                    agree = agree && (upside_down(&world, a, t) > upside_down(&world, b, t)) ==
                                         (upside_down(&world, a, 3 * t) > upside_down(&world, b, 3 * t));
            assert_int_equal(study->decisions[i].holds, agree);
            assert_true(isnan(study->decisions[i].agreement));
        }
        assert_int_equal(study->decisions[study->decision_count - 1].kind, DECISION_SETTLED);
        world_fini(&world);
    }
}

static double equal_curves(const struct world *world, int candidate, double step)
{
    (void)world;
    return 2 - 0.05 * log(step + 10) + 1e-5 * candidate * (candidate % 2 ? 1 : -1) * (log(step + 10) - 5.5);
}

static void pairs_that_are_tied_settle_whatever_their_signs(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    world_init(&world, 3, 1000, 20000, equal_curves);
    world.jitter = 1e-3;
    assert_ok(world_run(&world, 2, 1, &error), &error);
    assert_int_equal(world.study.decision_count, 2);
    assert_int_equal(world.study.decisions[1].kind, DECISION_SETTLED);
    world_fini(&world);
}

static double slow_fall(const struct world *world, int candidate, double step)
{
    (void)world;
    (void)candidate;
    return step < 200 ? exp(2 - 0.35 * log(step + 10)) : exp(2 - 0.35 * log(210) - 0.02 * (log(step + 10) - log(210)));
}

static void one_candidate_settles_once_past_its_knee_and_k_min(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    world_init(&world, 1, 2000, 20000, slow_fall);
    assert_ok(world_run(&world, 2, 1, &error), &error);
    const struct study *study = &world.study;
    const struct decision *last = &study->decisions[study->decision_count - 1];
    uint64_t transition = 0;
    assert_false(study->decisions[0].knees_passed);
    assert_contains(study->decisions[0].reason, "fast phase");
    assert_int_equal(last->kind, DECISION_SETTLED);
    assert_true(last->step > 219 && last->step < 600);
    assert_true(study_transition(study, &transition, NULL));
    assert_int_equal(transition, last->step);
    world_fini(&world);
}

static void a_prediction_beyond_the_horizon_is_capped_and_said(void **state)
{
    (void)state;
    struct world world;
    struct error error = { 0 };
    upside_down_world(&world, 8, 600);
    world.spec.training.steps = 600;
    assert_ok(world_run(&world, 2, 1, &error), &error);
    const struct decision *decisions = world.study.decisions;
    assert_null(strstr(decisions[0].reason, "horizon"));
    assert_contains(decisions[world.study.decision_count - 1].reason, "step 600 (the horizon");
    world_fini(&world);
}

static void copies_take_no_part(void **state)
{
    (void)state;
    struct world with, without;
    struct error error = { 0 };
    upside_down_world(&without, 7, 1500);
    assert_ok(world_run(&without, 2, 1, &error), &error);
    upside_down_world(&with, 8, 1500);
    study_grown(&with.study, 2, "same", 1, 1, 0, 0);
    study_grown(&with.study, 7, "same", 1, 1, 0, 0);
    assert_ok(world_run(&with, 2, 1, &error), &error);
    assert_int_equal(with.study.decision_count, without.study.decision_count);
    for (int i = 0; i < with.study.decision_count; i++) {
        assert_int_equal(with.study.decisions[i].live, 7);
        assert_true(with.study.decisions[i].agreement == without.study.decisions[i].agreement);
    }
    assert_int_equal(with.study.candidates[7].state, CANDIDATE_COMPLETED);
    assert_int_equal(with.study.candidates[7].curve.count, 0);
    world_fini(&with);
    world_fini(&without);
}

TEST_MAIN(cmocka_unit_test(knee_and_stability_would_stop_where_the_ranking_is_upside_down),
          cmocka_unit_test(the_rule_settles_after_the_crossing_at_two_successive_points),
          cmocka_unit_test(the_agreement_is_tau_b_of_now_and_the_lines_at_three_t),
          cmocka_unit_test(the_cap_before_the_crossing_is_provisional),
          cmocka_unit_test(a_given_k_is_trained_to_and_settled_if_the_rule_held_by_then),
          cmocka_unit_test(a_given_k_below_k_min_is_the_only_barrier_and_provisional),
          cmocka_unit_test(three_and_two_candidates_settle_when_every_pair_has_its_predicted_sign),
          cmocka_unit_test(pairs_that_are_tied_settle_whatever_their_signs),
          cmocka_unit_test(one_candidate_settles_once_past_its_knee_and_k_min),
          cmocka_unit_test(a_prediction_beyond_the_horizon_is_capped_and_said),
          cmocka_unit_test(copies_take_no_part))
