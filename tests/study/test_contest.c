/* Differences with their errors, tie groups, p_best and extrapolation, against references made by other means. */
#include <math.h>

#include "base/memory.h"
#include "base/rng.h"
#include "study/bootstrap.h"
#include "study/extrapolate.h"
#include "study/rank_ties.h"
#include "study/statistics.h"
#include "tests/support/study_world.h"
#include "tests/support/support.h"

static double level_of[SPEC_CANDIDATES_MAX], slope_of[SPEC_CANDIDATES_MAX];

static double levels(const struct world *world, int candidate, double step)
{
    (void)world;
    return 2 + level_of[candidate] + slope_of[candidate] * (log(step + 10) - log(201));
}

/* Every candidate's points on the grid up to `last`. */
static void fill(struct world *world, uint64_t last)
{
    for (int i = 0; i < world->spec.candidate_count; i++)
        for (int g = 0; g < world->study.grid.count && world->study.grid.steps[g] <= last; g++)
            assert_int_equal(world_point(world, i, world->study.grid.steps[g], NULL), 0);
}

static void level_world(struct world *world, int count, const double *at_183, const double *slopes)
{
    for (int i = 0; i < count; i++) {
        level_of[i] = at_183[i];
        slope_of[i] = slopes ? slopes[i] : -0.05;
    }
    world_init(world, count, 1000, 20000, levels);
}

static void the_line_goes_through_the_deciding_points_from_0_4_t_on(void **state)
{
    (void)state;
    struct world world;
    struct contest contest;
    static const double at[] = { 0, .01 }, slopes[] = { -.05, -.1 };
    level_world(&world, 2, at, slopes);
    world.spec.selection.evaluate_every = 7;            /* regular points take no part */
    assert_int_equal(world_restart(&world, NULL), 0);
    fill(&world, 184);
    assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
    static const uint64_t steps[] = { 88, 106, 127, 153, 184 };     /* 0.4 * 184 = 73.6: 73 is out */
    assert_int_equal(contest.points, 5);
    for (int j = 0; j < 5; j++)
        assert_int_equal(contest.steps[j], steps[j]);
    assert_int_equal(contest.target, 552);
    for (int i = 0; i < 2; i++) {
        assert_near(contest.slopes[i], slopes[i], 1e-6);
        assert_near(contest.predicted[i], levels(&world, i, 552), 1e-6);
        assert_near(contest.now[i], levels(&world, i, 184), 1e-6);
    }
    contest_fini(&contest);
    assert_int_equal(contest_init(&contest, &world.study, 5, RANK_BY_PREDICTED, NULL), 0);
    assert_true(contest.points == 2 && contest.by == RANK_BY_LOSS && isnan(contest.predicted[0]));
    contest_fini(&contest);
    world_fini(&world);
}

static void the_sampling_error_is_that_of_paired_window_differences(void **state)
{
    (void)state;
    struct world world;
    struct contest contest;
    static const double at[] = { 0, .01 };
    level_world(&world, 2, at, NULL);
    fill(&world, 184);
    assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
    struct difference difference = contest_difference(&contest, 1, 0);
    double sum = 0, squares = 0;
    const float *x = curve_at(&world.study.candidates[1].curve, 184)->losses;
    const float *y = curve_at(&world.study.candidates[0].curve, 184)->losses;
    for (int w = 0; w < 60; w++) {
        sum += (double)x[w] - y[w];
        squares += ((double)x[w] - y[w]) * ((double)x[w] - y[w]);
    }
    double reference = sqrt((squares - sum * sum / 60) / 59 / 60);
    assert_near(difference.mean, .01, 1e-6);
    assert_near(difference.sampling, reference, 1e-9);
    assert_close(difference.jitter, 1e-6);
    assert_near(difference.standard_error, reference, 1e-8);
    assert_near(difference.degrees, 59, 0.1);
    assert_near(difference_p_value(&difference), student_tail(.01 / reference, 59), 1e-3);
    struct difference back = contest_difference(&contest, 0, 1);
    assert_near(back.mean, -difference.mean, 0);
    assert_near(difference_p_value(&back), 1 - difference_p_value(&difference), 1e-12);
    contest_fini(&contest);
    world_fini(&world);
}

static void the_jitter_is_the_residual_of_the_difference_curve_with_three_degrees(void **state)
{
    (void)state;
    struct world world;
    struct contest contest;
    static const double at[] = { 0, .01 };
    level_world(&world, 2, at, NULL);
    world.window_noise = 0;
    world.jitter = 0.003;
    fill(&world, 184);
    assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
    struct difference difference = contest_difference(&contest, 1, 0);
    static const uint64_t steps[] = { 88, 106, 127, 153, 184 };
    double x[5], d[5], sx = 0, sy = 0, sxx = 0, sxy = 0, squares = 0;
    for (int j = 0; j < 5; j++) {
        x[j] = log((double)steps[j] + 10);
        d[j] = curve_at(&world.study.candidates[1].curve, steps[j])->loss -
               curve_at(&world.study.candidates[0].curve, steps[j])->loss;
        sx += x[j], sy += d[j], sxx += x[j] * x[j], sxy += x[j] * d[j];
    }
    double slope = (5 * sxy - sx * sy) / (5 * sxx - sx * sx), intercept = (sy - slope * sx) / 5;
    for (int j = 0; j < 5; j++)
        squares += pow(d[j] - intercept - slope * x[j], 2);
    assert_near(difference.jitter, sqrt(squares / 3), 1e-10);
    assert_near(difference.degrees, 3, 1e-3);
    assert_near(difference.standard_error, difference.jitter, 1e-8);
    contest_fini(&contest);
    world_fini(&world);
}

/* 400 worlds whose scores are predictions: the error claimed must be that of the predictions' spread. */
static void the_error_of_a_predicted_difference_covers_its_spread(void **state)
{
    (void)state;
    static const double at[] = { 0, .01 };
    double claimed = 0, spread = 0, truth = 0.01;
    enum { WORLDS = 400 };
    struct world world;
    level_world(&world, 2, at, NULL);
    world.window_noise = 0;
    for (int r = 0; r < WORLDS; r++) {
        struct contest contest;
        struct rng rng = rng_stream(31, (uint64_t)r, RNG_PROBE);
        assert_int_equal(world_restart(&world, NULL), 0);
        for (int g = 0; world.study.grid.steps[g] <= 184; g++)
            for (int i = 0; i < 2; i++) {
                level_of[i] = at[i] + 0.002 * rng_normal(&rng);
                assert_int_equal(world_point(&world, i, world.study.grid.steps[g], NULL), 0);
            }
        assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_PREDICTED, NULL), 0);
        struct difference difference = contest_difference(&contest, 1, 0);
        assert_near(contest.scores[0], contest.predicted[0], 0);
        claimed += difference.standard_error * difference.standard_error / WORLDS;
        spread += (difference.mean - truth) * (difference.mean - truth) / WORLDS;
        contest_fini(&contest);
    }
    printf("claimed variance %.3g, spread %.3g\n", claimed, spread);
    assert_true(claimed / spread > 0.8 && claimed / spread < 1.25);
    world_fini(&world);
}

static void tie_groups_repeat_on_the_rest(void **state)
{
    (void)state;
    struct world world;
    struct contest contest;
    static const double at[] = { .101, 0, .1, .001, .5, .102 };
    static const int expected[] = { 2, 1, 2, 1, 3, 2 };
    int order[SPEC_CANDIDATES_MAX], groups[SPEC_CANDIDATES_MAX];
    bool tied[SPEC_CANDIDATES_MAX];
    level_world(&world, 6, at, NULL);
    fill(&world, 184);
    assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
    contest_order(&contest, &world.study, order);
    static const int best_first[] = { 1, 3, 2, 0, 5, 4 };
    for (int i = 0; i < 6; i++)
        assert_int_equal(order[i], best_first[i]);
    ties_assign(&contest, order, 0.95, groups);
    ties_with_best(&contest, order, 0.95, tied);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(groups[i], expected[i]);
        assert_int_equal(tied[i], expected[i] == 1);
    }
    contest_fini(&contest);
    world_fini(&world);
}

static void equal_scores_go_by_prediction_then_cost_then_the_order_of_the_spec(void **state)
{
    (void)state;
    struct world world;
    struct contest contest;
    int order[SPEC_CANDIDATES_MAX];
    static const double at[] = { 0, 0, 0, 0 };
    level_world(&world, 4, at, NULL);
    world.window_noise = 0;
    fill(&world, 184);
    world.study.candidates[0].flops_per_token = world.study.candidates[1].flops_per_token = 5;
    world.study.candidates[2].flops_per_token = world.study.candidates[3].flops_per_token = 4;
    assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
    contest.predicted[3] -= 1e-3;
    contest_order(&contest, &world.study, order);
    assert_true(order[0] == 3 && order[1] == 2 && order[2] == 0 && order[3] == 1);
    contest_fini(&contest);
    world_fini(&world);
}

static void p_best_is_the_normal_tail_where_windows_decide(void **state)
{
    (void)state;
    static const double gaps[] = { 0, .002, .004, .008 };
    for (int i = 0; i < 4; i++) {
        struct world world;
        struct contest contest;
        double at[] = { 0, gaps[i] }, p_best[2];
        level_world(&world, 2, at, NULL);
        fill(&world, 184);
        assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
        assert_int_equal(bootstrap_best(&contest, 1, p_best, NULL), 0);
        struct difference difference = contest_difference(&contest, 1, 0);
        assert_near(p_best[0], 1 - normal_tail(gaps[i] / difference.sampling), 0.045);
        assert_near(p_best[0] + p_best[1], 1, 1e-12);
        contest_fini(&contest);
        world_fini(&world);
    }
}

static void p_best_is_the_t_tail_where_jitter_decides(void **state)
{
    (void)state;
    static const double gaps[] = { 0, .002, .005, .02 };
    for (int i = 0; i < 4; i++) {
        struct world world;
        struct contest contest;
        double at[] = { 0, gaps[i] }, p_best[2];
        level_world(&world, 2, at, NULL);
        world.window_noise = 0;
        world.jitter = 0.003;
        fill(&world, 184);
        assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
        assert_int_equal(bootstrap_best(&contest, 1, p_best, NULL), 0);
        struct difference difference = contest_difference(&contest, 1, 0);
        assert_near(p_best[0], 1 - student_tail(difference.mean / difference.jitter, 3), 0.045);
        contest_fini(&contest);
        world_fini(&world);
    }
}

static void p_best_depends_on_the_seed_only(void **state)
{
    (void)state;
    struct world world;
    struct contest contest;
    static const double at[] = { 0, .002, .003, .004 };
    double first[4], again[4], other[4];
    level_world(&world, 4, at, NULL);
    world.jitter = 0.001;
    fill(&world, 184);
    assert_int_equal(contest_init(&contest, &world.study, 184, RANK_BY_LOSS, NULL), 0);
    assert_int_equal(bootstrap_best(&contest, 1, first, NULL), 0);
    assert_int_equal(bootstrap_best(&contest, 1, again, NULL), 0);
    assert_int_equal(bootstrap_best(&contest, 2, other, NULL), 0);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
    contest_fini(&contest);
    world_fini(&world);
}

static void power_laws_are_extrapolated(void **state)
{
    (void)state;
    double steps[12], losses[12];
    for (int i = 0; i < 12; i++) {
        steps[i] = floor(100 * pow(1.2, i));
        losses[i] = 1.5 + 3 * pow(steps[i], -.4);
    }
    assert_near(extrapolate_power(steps, losses, 12, 20000), 1.5 + 3 * pow(20000, -.4), 5e-3);
    for (int i = 0; i < 12; i++)
        losses[i] = 4 * pow(steps[i] + 50, -.3);        /* no floor */
    assert_near(extrapolate_power(steps, losses, 12, 5000), 4 * pow(5050, -.3), 1e-2);
    for (int i = 0; i < 12; i++)
        losses[i] = 2;
    assert_near(extrapolate_power(steps, losses, 12, 20000), 2, 1e-9);
    for (int i = 0; i < 12; i++)
        losses[i] = 2 + .01 * i;                        /* rising: no power law falls like that; the mean is the best */
    assert_near(extrapolate_power(steps, losses, 12, 20000), 2.055, 1e-9);
    assert_true(isnan(extrapolate_power(steps, losses, 4, 20000)));
}

TEST_MAIN(cmocka_unit_test(the_line_goes_through_the_deciding_points_from_0_4_t_on),
          cmocka_unit_test(the_sampling_error_is_that_of_paired_window_differences),
          cmocka_unit_test(the_jitter_is_the_residual_of_the_difference_curve_with_three_degrees),
          cmocka_unit_test(the_error_of_a_predicted_difference_covers_its_spread),
          cmocka_unit_test(tie_groups_repeat_on_the_rest),
          cmocka_unit_test(equal_scores_go_by_prediction_then_cost_then_the_order_of_the_spec),
          cmocka_unit_test(p_best_is_the_normal_tail_where_windows_decide),
          cmocka_unit_test(p_best_is_the_t_tail_where_jitter_decides),
          cmocka_unit_test(p_best_depends_on_the_seed_only),
          cmocka_unit_test(power_laws_are_extrapolated))
