/* Every optimizer with every schedule in a trial: resumed and continued bit for bit, different from the default, evaluated
 * without a trace; what is saved, grown and refused. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "growth/plan.h"
#include "tests/trainer/fixture.h"
#include "trainer/optimizer.h"
#include "trainer/scratch.h"

static struct fixture *fixture;
static struct scratch *scratch;

static void begin(enum optimizer_name optimizer, enum schedule_name schedule)
{
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels_cpu(), &shape);
    struct training *training = &fixture->options.training;
    training->optimizer = optimizer_defaults(optimizer);
    training->clip = training_default_clip(optimizer);
    training->average.kind = AVERAGE_NONE;
    training->schedule.name = schedule;
    training->learning_rate = training_default_rate(optimizer, schedule, 64);
    training->schedule.tokens_seen = 1000000;
    training->schedule.minimum = 0.1;
    training->steps = 14;
    scratch = NULL;
}

static void end(void)
{
    scratch_free(scratch);
    fixture_free(fixture);
}

static bool goes_together(enum optimizer_name optimizer, enum schedule_name schedule)
{
    return !optimizer_is_schedule_free(optimizer) || schedule == SCHEDULE_CONSTANT;
}

static void expect_same_bits(struct trial *whole)
{
    struct trial half, rest;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    test_path(path, fixture->directory, "a.trial");
    fixture_start(fixture, whole);
    fixture_start(fixture, &half);
    fixture_train(fixture, whole, scratch, 12);
    fixture_train(fixture, &half, scratch, 6);
    assert_ok(trial_save(&half, path, &error), &error);
    assert_ok(trial_init_empty(&rest, &fixture->checkpoint.table.shape, &fixture->options, &error), &error);
    assert_ok(trial_load(&rest, path, &error), &error);
    assert_trials_equal(&rest, &half);
    assert_memory_equal(&rest.learners->averaging, &half.learners->averaging, sizeof half.learners->averaging);
    fixture_train(fixture, &rest, scratch, 6);
    assert_trials_equal(&rest, whole);
    assert_memory_equal(&rest.learners->averaging, &whole->learners->averaging, sizeof rest.learners->averaging);
    trial_fini(&half);
    trial_fini(&rest);
}

static void every_pair_resumes_bit_for_bit_and_differs_from_the_default(void **state)
{
    (void)state;
    int pairs = 0;
    for (int optimizer = 0; optimizer < OPTIMIZER_COUNT; optimizer++) {
        for (int schedule = 0; schedule < SCHEDULE_COUNT; schedule++) {
            struct trial trial, plain;
            if (!goes_together((enum optimizer_name)optimizer, (enum schedule_name)schedule)) {
                continue;
            }
            begin((enum optimizer_name)optimizer, (enum schedule_name)schedule);
            scratch = fixture_scratch(fixture);
            expect_same_bits(&trial);
            assert_false(trial.diverged);
            if (optimizer != OPTIMIZER_ADAMW || schedule != SCHEDULE_CONSTANT) {
                const size_t bytes = trial.table.slab * sizeof(float);
                fixture->options.training.optimizer = optimizer_defaults(OPTIMIZER_ADAMW);
                fixture->options.training.schedule.name = SCHEDULE_CONSTANT;
                fixture->options.training.learning_rate = 2e-3;
                fixture_start(fixture, &plain);
                fixture_train(fixture, &plain, scratch, 12);
                assert_true(memcmp(plain.learners->weights, trial.learners->weights, bytes) != 0);
                trial_fini(&plain);
            }
            trial_fini(&trial);
            end();
            pairs++;
        }
    }
    assert_int_equal(pairs, 2 * SCHEDULE_COUNT + 2);
}

static void every_wrong_pair_is_refused_with_its_pointer(void **state)
{
    (void)state;
    for (int optimizer = 0; optimizer < OPTIMIZER_COUNT; optimizer++) {
        for (int schedule = 0; schedule < SCHEDULE_COUNT; schedule++) {
            struct error error = {0};
            begin((enum optimizer_name)optimizer, (enum schedule_name)schedule);
            const int status = training_check(&fixture->options.training, &fixture->checkpoint.table.shape, &error);
            if (goes_together((enum optimizer_name)optimizer, (enum schedule_name)schedule)) {
                assert_ok(status, &error);
            } else {
                assert_fails(status, ERROR_INVALID, &error);
                assert_string_equal(error.details[0].pointer, "/schedule/name");
                assert_contains(error.details[0].text, "use constant");
            }
            end();
        }
    }
    begin(OPTIMIZER_SCHEDULE_FREE_ADAMW, SCHEDULE_CONSTANT);
    struct error error = {0};
    fixture->options.training.average.kind = AVERAGE_WINDOW;
    assert_fails(training_check(&fixture->options.training, &fixture->checkpoint.table.shape, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/average/kind");
    end();
}

/* Saved as a directory and loaded again, then on from the raw weights. */
static void continuing_from_a_checkpoint_is_the_uninterrupted_run(void **state)
{
    (void)state;
    for (int optimizer = 0; optimizer < OPTIMIZER_COUNT; optimizer++) {
        struct trial whole, half, rest;
        struct checkpoint loaded;
        struct error error = {0};
        char path[FILE_PATH_BYTES];
        begin((enum optimizer_name)optimizer, SCHEDULE_CONSTANT);
        scratch = fixture_scratch(fixture);
        fixture_start(fixture, &whole);
        fixture_train(fixture, &whole, scratch, 12);
        fixture_start(fixture, &half);
        fixture_train(fixture, &half, scratch, 6);
        assert_ok(trial_export(&half, &fixture->checkpoint, &error), &error);
        const struct checkpoint_save save = {.moments = fixture->checkpoint.moments,
                                             .report = "{\"training\": {\"step\": 6, \"tokens_seen\": 288, "
                                                       "\"data_cursor\": 6, \"seed\": 1}}"};
        test_path(path, fixture->directory, "saved");
        assert_ok(checkpoint_save(&fixture->checkpoint, path, &save, &error), &error);
        assert_ok(checkpoint_load(&loaded, path, &(struct checkpoint_load){.moments = true}, &error), &error);
        assert_int_equal(moments_parts(loaded.moments), optimizer_parts(optimizer_of((enum optimizer_name)optimizer)));
        struct trial_options options = fixture->options;
        options.from_raw = true;
        assert_ok(trial_init(&rest, &loaded, &options, &error), &error);
        fixture_train(fixture, &rest, scratch, 6);
        assert_memory_equal(rest.slab, whole.slab, trial_slab_bytes(&whole.table.shape, &fixture->options.training));
        assert_memory_equal(rest.tensor_steps, whole.tensor_steps, (size_t)whole.table.count * sizeof *whole.tensor_steps);
        assert_memory_equal(&rest.learners->averaging, &whole.learners->averaging, sizeof rest.learners->averaging);
        trial_fini(&whole);
        trial_fini(&half);
        trial_fini(&rest);
        checkpoint_fini(&loaded);
        end();
    }
}

static void evaluating_leaves_no_trace_and_a_step_allocates_nothing(void **state)
{
    (void)state;
    for (int optimizer = 0; optimizer < OPTIMIZER_COUNT; optimizer++) {
        struct trial trial;
        struct error error = {0};
        float losses[16];
        bool finished = false;
        begin((enum optimizer_name)optimizer, SCHEDULE_CONSTANT);
        scratch = fixture_scratch(fixture);
        struct evaluation evaluation = {.windows = windows_of(&fixture->valid, 8, 128), .losses = losses};
        fixture_start(fixture, &trial);
        fixture_train(fixture, &trial, scratch, 2);
        const size_t bytes = trial_slab_bytes(&trial.table.shape, &trial.options.training);
        char *before = memory_array(bytes, 1);
        assert_non_null(before);
        memcpy(before, trial.slab, bytes);
        fault_arm(FAULT_ALLOC, 0);
        assert_ok(trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, UINT64_MAX, NULL, &finished, &error), &error);
        assert_true(finished);
        assert_memory_equal(before, trial.slab, bytes);
        fixture_train(fixture, &trial, scratch, 3);
        assert_int_equal(fault_count(FAULT_ALLOC), 0);
        memory_free(before);
        trial_fini(&trial);
        end();
    }
}

static void gradients_are_taken_between_the_average_and_the_iterate(void **state)
{
    (void)state;
    struct trial trial;
    begin(OPTIMIZER_SCHEDULE_FREE_ADAMW, SCHEDULE_CONSTANT);
    fixture->options.training.optimizer.beta1 = 0.75;
    scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    const struct learner *learner = trial.learners;
    double correction;
    assert_memory_equal(learner->weights, learner->state[0], trial.table.slab * sizeof(float));
    assert_null(learner_second_moment(&trial, learner, 0, &correction));
    fixture_train(fixture, &trial, scratch, 3);
    const float *x = learner->weights, *z = learner->state[0], *y = learner_point(&trial, learner, scratch);
    double apart = 0, worst = 0;
    for (size_t i = 0; i < trial.table.slab; i++) {
        worst = fmax(worst, fabs((double)y[i] - (0.75 * (double)x[i] + 0.25 * (double)z[i])));
        apart = fmax(apart, fabs((double)x[i] - (double)z[i]));
    }
    assert_close(worst, 1e-7);
    assert_true(apart > 1e-4);
    assert_ptr_equal(learner_second_moment(&trial, learner, 0, &correction), learner->state[1]);
    assert_near(correction, 1 - pow(0.95, 3), 1e-12);
    trial_fini(&trial);
    end();
}

static void planned_bytes_count_the_slabs(void **state)
{
    (void)state;
    const int slabs[OPTIMIZER_COUNT] = {[OPTIMIZER_ADAMW] = 3, [OPTIMIZER_SGD] = 2, [OPTIMIZER_SCHEDULE_FREE_ADAMW] = 3,
                                        [OPTIMIZER_SCHEDULE_FREE_SGD] = 2};
    for (int optimizer = 0; optimizer < OPTIMIZER_COUNT; optimizer++) {
        begin((enum optimizer_name)optimizer, SCHEDULE_CONSTANT);
        const struct shape *shape = &fixture->checkpoint.table.shape;
        const struct training *training = &fixture->options.training;
        assert_int_equal(trial_bytes(shape, training), (size_t)slabs[optimizer] * slab_floats(shape) * sizeof(float));
        struct training plain = *training;
        plain.optimizer = optimizer_defaults(OPTIMIZER_ADAMW);
        const size_t more = scratch_bytes(kernels_cpu(), shape, training) - scratch_bytes(kernels_cpu(), shape, &plain);
        const bool free_of_schedule = optimizer_is_schedule_free((enum optimizer_name)optimizer);
        assert_int_equal(more, free_of_schedule ? slab_floats(shape) * sizeof(float) : 0);
        end();
    }
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    begin(OPTIMIZER_SCHEDULE_FREE_ADAMW, SCHEDULE_CONSTANT);
    int failures = 0;
    for (unsigned n = 1;; n++) {
        struct trial trial;
        struct scratch *made = NULL;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int status = trial_init(&trial, &fixture->checkpoint, &fixture->options, &error);
        if (status == 0) {
            status = scratch_new(&made, kernels_cpu(), &fixture->checkpoint.table, &fixture->options.training, &error);
            if (status == 0) {
                status = trial_export(&trial, &fixture->checkpoint, &error);
            }
            scratch_free(made);
            trial_fini(&trial);
        }
        fault_arm(FAULT_ALLOC, 0);
        if (status == 0) {
            break;
        }
        assert_int_equal(status, ERROR_NO_MEMORY);
        failures++;
    }
    assert_true(failures > 8);
    end();
}

/* ---- growing ---- */

static void grow(const struct checkpoint *parent, enum moments_policy policy, struct checkpoint *grown)
{
    struct error error = {0};
    struct growth_list list = {.count = 1, .steps[0] = {.op = growth_operator_find("hyperclone")}};
    struct parameter_value *width = (struct parameter_value *)growth_step_value(&list.steps[0], "width");
    struct parameter_value *noise = (struct parameter_value *)growth_step_value(&list.steps[0], "noise_db");
    struct growth_plan plan;
    *width = (struct parameter_value){.given = true, .present = true, .integer = 32};
    *noise = (struct parameter_value){.given = true, .present = true, .number = 10};
    assert_ok(growth_plan_init(&plan, &parent->table.shape, &list, &error), &error);
    assert_ok(growth_apply(&plan, &list, parent, policy, 3, grown, &error), &error);
    growth_plan_fini(&plan);
}

static struct checkpoint trained_parent(enum optimizer_name optimizer)
{
    struct checkpoint parent;
    struct trial trial;
    struct error error = {0};
    begin(optimizer, SCHEDULE_CONSTANT);
    scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 5);
    assert_ok(checkpoint_copy(&parent, &fixture->checkpoint, &error), &error);
    assert_ok(trial_export(&trial, &parent, &error), &error);
    trial_fini(&trial);
    end();
    return parent;
}

/* What was drawn is the same in both: the difference of x and z grows as a tensor without noise does. */
static void growing_maps_the_iterate_as_the_average(void **state)
{
    (void)state;
    struct checkpoint parent = trained_parent(OPTIMIZER_SCHEDULE_FREE_ADAMW), grown, other, moved;
    struct error error = {0};
    grow(&parent, MOMENTS_CARRY, &grown);
    assert_true(grown.moments != NULL && grown.moments->z != NULL && grown.moments->m == NULL);
    assert_int_equal(grown.moments->averaging.updates, 0);
    /* G(x + t) with t = z - x and the noise of x: grown z */
    assert_ok(checkpoint_copy(&moved, &parent, &error), &error);
    double apart = 0, across = 0;
    for (size_t i = 0; i < grown.table.slab; i++) {
        apart = fmax(apart, fabs((double)grown.moments->z[i] - (double)grown.weights[i]));
    }
    for (size_t i = 0; i < parent.table.slab; i++) {
        across = fmax(across, fabs((double)parent.moments->z[i] - (double)parent.weights[i]));
    }
    assert_true(across > 1e-4);
    assert_true(apart <= across + 1e-6 && apart > across / 100);     /* shares are at most 1, noise cancels in the difference */
    /* reset: nothing is carried */
    grow(&parent, MOMENTS_RESET, &other);
    assert_null(other.moments);
    assert_memory_equal(other.weights, grown.weights, grown.table.slab * sizeof(float));
    /* a parent whose iterate is its average: the copies are equal to the bit, noise and all */
    memcpy(moved.moments->z, moved.weights, moved.table.slab * sizeof(float));
    checkpoint_fini(&grown);
    grow(&moved, MOMENTS_CARRY, &grown);
    assert_memory_equal(grown.moments->z, grown.weights, grown.table.slab * sizeof(float));
    checkpoint_fini(&parent);
    checkpoint_fini(&grown);
    checkpoint_fini(&other);
    checkpoint_fini(&moved);
}

static void momentum_grows_as_a_first_moment(void **state)
{
    (void)state;
    struct checkpoint parent = trained_parent(OPTIMIZER_SGD), adam = {0}, grown, grown_adam;
    struct error error = {0};
    assert_ok(checkpoint_copy(&adam, &parent, &error), &error);
    assert_ok(checkpoint_set_moments(&adam, MOMENTS_ADAM | MOMENT_BIT(MOMENT_MOMENTUM), &error), &error);
    memcpy(adam.moments->m, adam.moments->momentum, adam.table.slab * sizeof(float));
    grow(&parent, MOMENTS_CARRY, &grown);
    grow(&adam, MOMENTS_CARRY, &grown_adam);
    assert_memory_equal(grown.moments->momentum, grown_adam.moments->m, grown.table.slab * sizeof(float));
    assert_memory_equal(grown.moments->steps, grown_adam.moments->steps, (size_t)grown.table.count * sizeof(uint64_t));
    assert_int_equal(grown.moments->steps[0], 5);
    checkpoint_fini(&parent);
    checkpoint_fini(&adam);
    checkpoint_fini(&grown);
    checkpoint_fini(&grown_adam);
}

/* Another optimizer's state is of no use: the trial starts as from weights alone. */
static void the_state_of_another_optimizer_is_left_aside(void **state)
{
    (void)state;
    for (int from = 0; from < OPTIMIZER_COUNT; from++) {
        for (int to = 0; to < OPTIMIZER_COUNT; to++) {
            struct checkpoint parent = trained_parent((enum optimizer_name)from);
            struct trial with, without;
            struct error error = {0};
            begin((enum optimizer_name)to, SCHEDULE_CONSTANT);
            assert_ok(trial_init(&with, &parent, &fixture->options, &error), &error);
            const unsigned parts = optimizer_parts(optimizer_of((enum optimizer_name)to));
            const bool fits = (moments_parts(parent.moments) & parts) == parts;
            assert_int_equal(optimizer_state_warning((enum optimizer_name)to, parent.moments) == NULL, fits);
            assert_int_equal(with.learners->tensor_steps[0], fits ? 5 : 0);
            assert_int_equal(with.learners->averaging.updates, 0);
            struct moments *kept = parent.moments;
            parent.moments = NULL;
            assert_ok(trial_init(&without, &parent, &fixture->options, &error), &error);
            const size_t bytes = trial_slab_bytes(&with.table.shape, &with.options.training);
            assert_int_equal(memcmp(with.slab, without.slab, bytes) == 0, !fits);
            parent.moments = kept;
            trial_fini(&with);
            trial_fini(&without);
            checkpoint_fini(&parent);
            end();
        }
    }
}

TEST_MAIN(cmocka_unit_test(every_pair_resumes_bit_for_bit_and_differs_from_the_default),
          cmocka_unit_test(every_wrong_pair_is_refused_with_its_pointer),
          cmocka_unit_test(continuing_from_a_checkpoint_is_the_uninterrupted_run),
          cmocka_unit_test(evaluating_leaves_no_trace_and_a_step_allocates_nothing),
          cmocka_unit_test(gradients_are_taken_between_the_average_and_the_iterate),
          cmocka_unit_test(planned_bytes_count_the_slabs),
          cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
          cmocka_unit_test(growing_maps_the_iterate_as_the_average), cmocka_unit_test(momentum_grows_as_a_first_moment),
          cmocka_unit_test(the_state_of_another_optimizer_is_left_aside))
