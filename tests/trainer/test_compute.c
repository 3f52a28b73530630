/* Training steps whose products take bfloat16 factors: they learn what float32 steps learn, have their bits again after
 * a file, and are evaluated in float32. */
#include "tests/trainer/family_worlds.h"

enum { BATCH = 300 };     /* 300 rows of 8 tokens: two micro-batches of unequal size */

static struct fixture *world_new(int world, const struct kernels *kernels, enum product_type compute)
{
    struct fixture *fixture = family_fixture(&family_worlds[world], kernels, 6);
    fixture->options.training.compute = compute;
    return fixture;
}

static double evaluated(const struct fixture *fixture, struct trial *trial, struct scratch *scratch)
{
    float losses[20];
    struct evaluation evaluation = {.windows = windows_of(&fixture->valid, 8, 8 * 20), .losses = losses};
    struct error error = {0};
    bool finished = false;
    assert_ok(trial_evaluate(trial, scratch, &fixture->valid, &evaluation, UINT64_MAX, NULL, &finished, &error), &error);
    assert_true(finished);
    return loss_summarize(losses, 20).mean;
}

/* Losses before and after so many steps. */
static void train(int world, enum product_type compute, int steps, double losses[2])
{
    struct fixture *fixture = world_new(world, kernels_cpu(), compute);
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    fixture->options.training.average.kind = AVERAGE_NONE;
    fixture->options.training.learning_rate = 3e-3;
    fixture->options.training.steps = (uint64_t)steps;
    fixture_start(fixture, &trial);
    losses[0] = evaluated(fixture, &trial, scratch);
    fixture_train(fixture, &trial, scratch, steps);
    assert_false(trial.diverged);
    losses[1] = evaluated(fixture, &trial, scratch);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void fifty_steps_learn_what_float32_steps_learn(void **state)
{
    (void)state;
    for (int world = 0; world < FAMILY_WORLDS; world++) {
        double full[2], fast[2];
        train(world, PRODUCT_F32, 50, full);
        train(world, PRODUCT_BF16, 50, fast);
        print_message("    %-16s %.4f to %.4f in f32, %.4f in bf16\n", family_worlds[world].title, full[0], full[1],
                      fast[1]);
        assert_true(full[0] == fast[0]);    /* evaluations are float32's */
        assert_true(full[1] != fast[1]);
        assert_true(full[1] < full[0] - 0.3);
        assert_near(fast[1], full[1], 0.05 * (full[0] - full[1]));
    }
}

static void a_resumed_trial_equals_the_uninterrupted_one(void **state)
{
    (void)state;
    const struct kernels *bodies[2] = {kernels_cpu(), kernels_ref_float()};
    for (int world = 0; world < FAMILY_WORLDS; world++)
        for (int body = 0; body < 2; body++) {
            struct fixture *fixture = world_new(world, bodies[body], PRODUCT_BF16);
            struct scratch *scratch = fixture_scratch(fixture);
            struct trial whole, half, rest;
            struct error error = {0};
            char path[FILE_PATH_BYTES];
            const int steps = body == 0 ? 6 : 1;
            fixture_start(fixture, &whole);
            fixture_start(fixture, &half);
            fixture_train(fixture, &whole, scratch, 2 * steps);
            fixture_train(fixture, &half, scratch, steps);
            assert_ok(trial_save(&half, test_path(path, fixture->directory, "trial"), &error), &error);
            assert_ok(trial_init_empty(&rest, &fixture->checkpoint.table.shape, &fixture->options, &error), &error);
            assert_ok(trial_load(&rest, path, &error), &error);
            scratch_free(scratch);
            scratch = fixture_scratch(fixture);
            fixture_train(fixture, &rest, scratch, steps);
            assert_trials_equal(&rest, &whole);
            trial_fini(&whole);
            trial_fini(&half);
            trial_fini(&rest);
            scratch_free(scratch);
            fixture_free(fixture);
        }
}

static void recomputed_steps_have_the_same_bits(void **state)
{
    (void)state;
    struct fixture *fixture = family_fixture(&family_worlds[0], kernels_cpu(), BATCH);
    struct trial kept, again;
    fixture->options.training.compute = PRODUCT_BF16;
    struct scratch *plain = fixture_scratch(fixture);
    fixture_start(fixture, &kept);
    fixture->options.training.recompute = true;
    struct scratch *recomputing = fixture_scratch(fixture);
    fixture_start(fixture, &again);
    fixture_train(fixture, &kept, plain, 3);
    fixture_train(fixture, &again, recomputing, 3);
    assert_trials_equal(&kept, &again);
    trial_fini(&kept);
    trial_fini(&again);
    scratch_free(plain);
    scratch_free(recomputing);
    fixture_free(fixture);
}

static void a_scratch_of_the_other_kind_is_refused(void **state)
{
    (void)state;
    struct fixture *full = world_new(0, kernels_cpu(), PRODUCT_F32), *fast = world_new(0, kernels_cpu(), PRODUCT_BF16);
    struct scratch *scratch = fixture_scratch(full);
    struct trial trial;
    struct error error = {0};
    fixture_start(fast, &trial);
    assert_false(scratch_fits(scratch, &trial));
    assert_fails(trial_step(&trial, scratch, &fast->train, NULL, &error), ERROR_INTERNAL, &error);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(full);
    fixture_free(fast);
}

static void emulation_is_warned_of(void **state)
{
    (void)state;
    struct training training = training_defaults(&family_worlds[0].shape);
    assert_int_equal(training.compute, PRODUCT_F32);
    assert_null(training_compute_warning(&training, kernels_ref_float()));
    assert_null(training_compute_warning(&training, kernels_cpu()));
    training.compute = PRODUCT_BF16;
    assert_contains(training_compute_warning(&training, kernels_ref_float()), "no bfloat16 products");
    const char *warning = training_compute_warning(&training, kernels_cpu());
    assert_true((warning == NULL) == kernels_have_bf16(kernels_cpu()));
}

TEST_MAIN(cmocka_unit_test(fifty_steps_learn_what_float32_steps_learn),
          cmocka_unit_test(a_resumed_trial_equals_the_uninterrupted_one),
          cmocka_unit_test(recomputed_steps_have_the_same_bits), cmocka_unit_test(a_scratch_of_the_other_kind_is_refused),
          cmocka_unit_test(emulation_is_warned_of))
