/* K by itself: the bound against its formula worked out by hand, the choice for made-up costs, and one real measurement. */
#include "tests/support/support.h"

#include <math.h>

#include "tests/trainer/fixture.h"
#include "trainer/kavg_auto.h"

static struct fixture *fixture;

static int setup(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels_cpu(), &shape);
    fixture->options.training.batch = 8;
    fixture->options.training.steps = 1000;
    fixture->options.training.learners.count = 4;
    fixture->options.training.learners.automatic = true;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

static struct kavg_costs costs_of(double step, double average)
{
    struct kavg_costs costs = {.average_seconds = average, .loss = 3, .smoothness = 2, .variance = 4};
    for (int i = 0; i < LEARNERS_MAX; i++)
        costs.step_seconds[i] = step;
    return costs;
}

/* L 2, step 0.1: L g = 0.2, delta 0.96; A = 2 * 3 / (1000 * 0.1) = 0.06; B = 0.2 * 4 / 2 = 0.4. K 2, P 4, average a fifth of
 * a step: 2 / 1.96 (0.06 * 1.1 + 0.4 (0.5 + 0.2 * 3 / 6)) = 0.312244898. */
static void bound_is_its_formula(void **state)
{
    (void)state;
    struct kavg_bound bound = {.loss = 3, .smoothness = 2, .variance = 4, .step = 0.1, .rows = 2, .steps = 1000, .average = 0.2,
                               .learners = 4};
    support_assert_near("K 2", kavg_bound_at(&bound, 2), 0.31224489795918, 1e-12, __FILE__, __LINE__);
    assert_true(isfinite(kavg_bound_at(&bound, 3)));
    assert_true(isinf(kavg_bound_at(&bound, 5)));          /* 1 - 0.04 * 6 * 3 / 2 - 1 < 0 */
    /* the rule of methods 5.1: K 2 beats K 1 iff A (1 - d) > B [(3 d - 1) / P + d L g], without averages' cost */
    bound.average = 0;
    for (int i = 0; i < 200; i++) {
        bound.loss = 10 * exp(0.1 * i);
        const double d = 0.96, a = 2 * bound.loss / 100, noise = 0.4;
        assert_int_equal(kavg_bound_at(&bound, 2) < kavg_bound_at(&bound, 1), a * (1 - d) > noise * ((3 * d - 1) / 4 + d * 0.2));
    }
}

static uint64_t chosen(const struct kavg_costs *costs, uint64_t steps)
{
    struct learners_spec learners = fixture->options.training.learners;
    kavg_choose(&fixture->options.training, costs, steps, &learners);
    print_message("    %s\n", learners.why);
    assert_false(learners.automatic);
    assert_true(learners.why[0] != '\0');
    assert_int_equal(learners.local_steps[0], learners.local_steps[3]);
    return learners.local_steps[0];
}

static void adaptive_optimizers_keep_averages_below_a_tenth(void **state)
{
    (void)state;
    struct kavg_costs cheap = costs_of(0.1, 0.001), middle = costs_of(0.1, 0.08), dear = costs_of(0.1, 1);
    assert_int_equal(chosen(&cheap, 1000), 4);
    assert_int_equal(chosen(&middle, 1000), 8);
    assert_int_equal(chosen(&dear, 1000), 16);
    assert_int_equal(chosen(&dear, 80), 10);
    assert_int_equal(chosen(&dear, 5), 1);
    fixture->options.training.learners.outer.name = OUTER_NESTEROV;
    assert_int_equal(chosen(&cheap, 1000), 32);
}

static void sgd_follows_the_bound(void **state)
{
    (void)state;
    struct training *training = &fixture->options.training;
    training->optimizer = (struct optimizer_spec){.name = OPTIMIZER_SGD};
    struct kavg_costs far = costs_of(0.1, 0.05), near = costs_of(0.1, 0), wild = costs_of(0.1, 0.05);
    training->learning_rate = 0.01;
    far.variance = 1e-4;
    near.variance = 100;
    wild.smoothness = 1e4;
    assert_true(chosen(&far, 1000) > 8);
    assert_int_equal(chosen(&near, 1000), 1);
    assert_int_equal(chosen(&wild, 1000), 1);
}

static void slow_learners_take_fewer_steps_where_they_may(void **state)
{
    (void)state;
    struct training *training = &fixture->options.training;
    struct kavg_costs costs = costs_of(0.1, 0.2);
    costs.step_seconds[1] = 0.11;
    costs.step_seconds[2] = 0.4;
    struct learners_spec learners = training->learners;
    kavg_choose(training, &costs, 1000, &learners);
    assert_int_equal(learners.local_steps[0], 5);
    assert_int_equal(learners.local_steps[1], 5);
    assert_int_equal(learners.local_steps[2], 1);
    assert_contains(learners.why, "slower learners");
    learners.averaged_moments = true;
    kavg_choose(training, &costs, 1000, &learners);
    assert_int_equal(learners.local_steps[2], learners.local_steps[0]);
}

static void measuring_finds_finite_costs_and_leaves_no_trace(void **state)
{
    (void)state;
    struct clock clock = clock_system();
    struct kavg_costs costs;
    struct error error = {0};
    const struct kavg_subject subject = {.kernels = kernels_cpu(), .checkpoint = &fixture->checkpoint,
                                         .training = &fixture->options.training, .train = &fixture->train, .clock = &clock,
                                         .step_factor = 1, .average_factor = 1};
    checkpoint_rehash(&fixture->checkpoint);
    char hash[HASH_HEX_BYTES];
    memcpy(hash, fixture->checkpoint.hash, sizeof hash);
    assert_ok(kavg_measure(&subject, &costs, &error), &error);
    print_message("    step %.3g s, average %.3g s, loss %.3f, smoothness %.3g, variance %.3g\n", costs.step_seconds[0],
                  costs.average_seconds, costs.loss, costs.smoothness, costs.variance);
    assert_true(costs.step_seconds[0] > 0 && costs.step_seconds[3] > 0 && costs.average_seconds > 0);
    assert_true(costs.loss > 3 && costs.loss < 5 && costs.smoothness > 0 && costs.variance > 0);
    checkpoint_rehash(&fixture->checkpoint);
    assert_string_equal(hash, fixture->checkpoint.hash);
    for (int64_t n = 1; n < 200; n++) {
        error_clear(&error);
        fault_arm(FAULT_ALLOC, n);
        const int status = kavg_measure(&subject, &costs, &error);
        const bool past = fault_count(FAULT_ALLOC) < n;
        fault_arm(FAULT_ALLOC, 0);
        if (past) {
            assert_int_equal(status, 0);
            return;
        }
        assert_int_equal(status, ERROR_NO_MEMORY);
    }
    fail_msg("more allocations than expected");
}

TEST_MAIN(cmocka_unit_test_setup_teardown(bound_is_its_formula, setup, teardown),
          cmocka_unit_test_setup_teardown(adaptive_optimizers_keep_averages_below_a_tenth, setup, teardown),
          cmocka_unit_test_setup_teardown(sgd_follows_the_bound, setup, teardown),
          cmocka_unit_test_setup_teardown(slow_learners_take_fewer_steps_where_they_may, setup, teardown),
          cmocka_unit_test_setup_teardown(measuring_finds_finite_costs_and_leaves_no_trace, setup, teardown))
