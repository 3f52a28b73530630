/* What happens at an average, on numbers set by hand: the outer step, moments, the running average, divergence; and the sizes
 * of rounds, batches and memory. */
#include "tests/trainer/kavg_world.h"

static void fill(void *numbers, float value)
{
    for (size_t i = 0; i < slab(); i++)
        ((float *)numbers)[i] = value;
}

/* A round in which learner j ends at `ends[j]`. */
static void round_by_hand(struct trial *trial, struct scratch *scratch, const float *ends)
{
    kavg_open(trial, 1000);
    for (int i = 0; i < trial->kavg->count; i++) {
        fill(trial->learners[i].weights, ends[i]);
        fill(trial->learners[i].state[0], 2 * ends[i]);
        trial->kavg->parts[i].done = trial->kavg->parts[i].steps;
    }
    kavg_join(trial, scratch);
}

/* Appendix D of the methods: theta0 = 1, delta .2 .1 .05, rate .7, momentum .9. */
static void outer_step_gives_the_numbers_of_diloco(void **state)
{
    (void)state;
    static const double deltas[] = {0.2, 0.1, 0.05}, theta[] = {0.734, 0.4876, 0.26234}, v[] = {0.2, 0.28, 0.302};
    struct trial trial;
    learners(2, 4)->outer.name = OUTER_NESTEROV;
    struct scratch *scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    fill(trial.learners[0].weights, 1);
    kavg_start(&trial);
    for (int i = 0; i < 3; i++) {
        const float before = ((float *)trial.learners[0].weights)[3], ends[] = {before - (float)deltas[i] - 0.01f,
                                                                                before - (float)deltas[i] + 0.01f};
        round_by_hand(&trial, scratch, ends);
        for (int j = 0; j < 2; j++) {
            const float now = ((float *)trial.learners[j].weights)[slab() - 1];
            print_message("    theta %.7f, expected %.5f\n", (double)now, theta[i]);
            assert_true(fabs((double)now - theta[i]) < 1e-6);
        }
        assert_true(fabs((double)((float *)trial.kavg->velocity)[5] - v[i]) < 1e-6);
    }
    trial_fini(&trial);
    scratch_free(scratch);
}

static void moments_are_local_or_averaged(void **state)
{
    (void)state;
    static const float ends[] = {1, 2, 3, 6};
    for (int averaged = 0; averaged < 2; averaged++) {
        struct trial trial;
        learners(4, 2)->averaged_moments = averaged;
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &trial);
        round_by_hand(&trial, scratch, ends);
        for (int i = 0; i < 4; i++) {
            assert_true(((float *)trial.learners[i].weights)[7] == 3);
            assert_true(((float *)trial.learners[i].state[0])[7] == (averaged ? 6 : 2 * ends[i]));
        }
        trial_fini(&trial);
        scratch_free(scratch);
    }
}

/* c = min(1, 5K / t) for a fifth; ema forgets as if it had seen K steps. */
static void running_average_counts_the_steps_of_a_round(void **state)
{
    (void)state;
    for (int kind = AVERAGE_WINDOW; kind <= AVERAGE_EMA; kind++) {
        struct trial trial;
        learners(2, 4);
        fixture->options.training.average.kind = (enum average_kind)kind;
        fixture->options.training.average.decay = 0.9;
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &trial);
        fill(trial.average, 1);
        double expected = 1;
        for (int round = 1; round <= 12; round++) {
            const float ends[] = {(float)round, (float)round};
            const double c = kind == AVERAGE_WINDOW ? fmin(1, 5.0 * 4 / (4.0 * round)) : 1 - pow(0.9, 4);
            round_by_hand(&trial, scratch, ends);
            expected += c * (round - expected);
            assert_true(fabs((double)((float *)trial.average)[9] - expected) < 1e-5);
        }
        trial_fini(&trial);
        scratch_free(scratch);
    }
}

static void a_learner_that_diverges_ends_the_trial_at_its_first_step(void **state)
{
    (void)state;
    for (int mode = 0; mode < LEARNERS_MODE_COUNT; mode++) {
        struct trial trial;
        struct error error = {0};
        learners(4, mode == LEARNERS_WEIGHTS ? 3 : 1)->mode = (enum learners_mode)mode;
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &trial);
        fixture_train(fixture, &trial, scratch, 1);
        const uint64_t at = trial.step;
        fill(trial.learners[trial.learner_count - 1].weights, NAN);
        assert_ok(trial_step(&trial, scratch, &fixture->train, NULL, &error), &error);
        assert_true(trial.diverged);
        assert_int_equal(trial.diverged_step, at);
        assert_int_equal(trial.step, at);
        assert_true(trial_is_joined(&trial));
        assert_ok(trial_step(&trial, scratch, &fixture->train, NULL, &error), &error);
        trial_fini(&trial);
        scratch_free(scratch);
    }
}

static void a_last_round_is_cut(void **state)
{
    (void)state;
    struct trial trial;
    learners(2, 16);
    fixture->options.training.steps = 40;
    struct scratch *scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    for (int i = 0; i < 3; i++)
        fixture_train(fixture, &trial, scratch, 1);
    assert_int_equal(trial.step, 40);
    assert_int_equal(trial.learners[1].tensor_steps[0], 40);
    fixture_train(fixture, &trial, scratch, 1);
    assert_int_equal(trial.step, 40);
    trial_fini(&trial);
    scratch_free(scratch);
}

static void bytes_are_as_many_for_each_learner(void **state)
{
    (void)state;
    const struct shape *shape = &fixture->checkpoint.table.shape;
    const struct training *training = &fixture->options.training;
    struct learners_spec *spec = learners(1, 1);
    assert_int_equal(trial_bytes(shape, training), 16 * slab());
    spec = learners(4, 8);
    assert_int_equal(trial_bytes(shape, training), (4 * 12 + 4) * slab());
    spec->outer.name = OUTER_NESTEROV;
    assert_int_equal(trial_bytes(shape, training), (4 * 12 + 4 + 8) * slab());
    spec = learners(4, 1);
    spec->mode = LEARNERS_GRADIENTS;
    assert_int_equal(trial_bytes(shape, training), (12 + 4 + 4 * 4) * slab());
    assert_int_equal(trial_slab_bytes(shape, training), (12 + 4) * slab());
}

static void no_allocation_failure_leaks(void **state)
{
    (void)state;
    for (int mode = 0; mode < LEARNERS_MODE_COUNT; mode++) {
        learners(3, 1)->mode = (enum learners_mode)mode;
        fixture->options.training.batch = 6;
        SWEEP_FAULTS(FAULT_ALLOC, n) {
            struct trial trial;
            struct error error = {0};
            const bool started = trial_init(&trial, &fixture->checkpoint, &fixture->options, &error) == 0;
            assert_int_equal(started, !fault_struck(FAULT_ALLOC, n));
            assert_int_equal(error.code, started ? ERROR_NONE : ERROR_NO_MEMORY);
            if (started)
                trial_fini(&trial);
        }
    }
}

static void a_growing_batch_reads_every_row_once(void **state)
{
    (void)state;
    struct training *training = &fixture->options.training;
    struct learners_spec *spec = learners(2, 3);
    spec->batch_growth = 0.25;
    training->steps = 30;
    uint64_t rows = 0;
    for (uint64_t step = 0; step < training->steps; step++) {
        assert_int_equal(learners_rows_before(training, step), rows);
        assert_int_equal(training_tokens(training, step), rows * 8);
        const int expected = (int)floor(4 * (1 + 0.25 * (double)(step / 3)));
        assert_int_equal(learners_rows(training, step), expected);
        assert_true(fabs(learners_rate_factor(training, step) - sqrt(4.0 / expected)) < 1e-12);
        rows += 2 * (uint64_t)expected;
    }
    assert_int_equal(learners_rows_most(training), 13);
    /* one learner: rounds are steps */
    struct trial trial;
    spec = learners(1, 1);
    spec->batch_growth = 0.5;
    struct scratch *scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 3);
    assert_int_equal(training_tokens(training, 3), (8 + 12 + 16) * 8);
    assert_true(isfinite(trial.last_loss));
    trial_fini(&trial);
    scratch_free(scratch);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(CASE(outer_step_gives_the_numbers_of_diloco),
          CASE(moments_are_local_or_averaged),
          CASE(running_average_counts_the_steps_of_a_round),
          CASE(a_growing_batch_reads_every_row_once),
          CASE(a_learner_that_diverges_ends_the_trial_at_its_first_step),
          CASE(a_last_round_is_cut),
          CASE(bytes_are_as_many_for_each_learner),
          CASE(no_allocation_failure_leaks))
