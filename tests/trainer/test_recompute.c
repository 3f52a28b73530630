/* Training that computes activations again: every bit of a trial and of its evaluation as without, in less memory, and
 * one trial file for both. */
#include "tests/trainer/family_worlds.h"

enum { BATCH = 300 };     /* 300 rows of 8 tokens: two micro-batches of unequal size */

static void start(struct fixture *fixture, bool recompute, struct trial *trial, struct scratch **scratch)
{
    fixture->options.training.recompute = recompute;
    *scratch = fixture_scratch(fixture);
    fixture_start(fixture, trial);
    assert_true(scratch_fits(*scratch, trial));
}

static double evaluated(const struct fixture *fixture, struct trial *trial, struct scratch *scratch)
{
    const struct windows windows = windows_of(&fixture->valid, 8, 8 * 20);
    float losses[20];
    struct evaluation evaluation = {.windows = windows, .losses = losses};
    struct error error = {0};
    bool finished = false;
    assert_int_equal(windows.count, 20);
    assert_ok(trial_evaluate(trial, scratch, &fixture->valid, &evaluation, UINT64_MAX, NULL, &finished, &error), &error);
    assert_true(finished);
    return loss_summarize(losses, 20).mean;
}

static void a_trial_has_the_same_bits(void **state)
{
    (void)state;
    const struct kernels *bodies[] = {kernels_cpu(), kernels_ref_float()};
    for (int i = 0; i < FAMILY_WORLDS; i++)
        for (int body = 0; body < 2; body++) {
            struct fixture *fixture = family_fixture(&family_worlds[i], bodies[body], BATCH);
            struct trial kept, again;
            struct scratch *plain, *recomputing;
            start(fixture, false, &kept, &plain);
            start(fixture, true, &again, &recomputing);
            assert_true(plain->rows < BATCH);
            const int steps = body == 0 ? 3 : 1;
            fixture_train(fixture, &kept, plain, steps);
            fixture_train(fixture, &again, recomputing, steps);
            assert_trials_equal(&kept, &again);
            assert_false(kept.diverged);
            const double loss = evaluated(fixture, &kept, plain);
            assert_true(loss > 0 && loss == evaluated(fixture, &again, recomputing));
            trial_fini(&kept);
            trial_fini(&again);
            scratch_free(plain);
            scratch_free(recomputing);
            fixture_free(fixture);
        }
}

static void a_trial_file_serves_both(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILY_WORLDS; i++) {
        struct fixture *fixture = family_fixture(&family_worlds[i], kernels_cpu(), 6);
        struct error error = {0};
        struct trial kept, again;
        struct scratch *plain, *recomputing;
        char path[FILE_PATH_BYTES];
        start(fixture, false, &kept, &plain);
        fixture_train(fixture, &kept, plain, 2);
        assert_ok(trial_save(&kept, test_path(path, fixture->directory, "trial"), &error), &error);
        start(fixture, true, &again, &recomputing);
        assert_ok(trial_load(&again, path, &error), &error);
        fixture_train(fixture, &kept, plain, 2);
        fixture_train(fixture, &again, recomputing, 2);
        assert_trials_equal(&kept, &again);
        trial_fini(&kept);
        trial_fini(&again);
        scratch_free(plain);
        scratch_free(recomputing);
        fixture_free(fixture);
    }
}

/* Sixteen layers more cost sixteen inputs of blocks beside their gradients; kept activations are many times that. */
static void scratch_shrinks_to_the_inputs_of_blocks(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILY_WORLDS; i++) {
        const struct kernels *kernels = kernels_cpu();
        struct fixture *fixture = family_fixture(&family_worlds[i], kernels, BATCH);
        struct training kept = fixture->options.training, again = kept;
        struct shape shape = family_worlds[i].shape, deep = shape;
        deep.layers += 16;
        again.recompute = true;
        const size_t gradients = (slab_floats(&deep) - slab_floats(&shape)) * kernels->element;
        const size_t stream = (size_t)micro_batch_rows(BATCH, 8) * 8 * 16 * sizeof(float);
        const size_t many = (scratch_bytes(kernels, &deep, &kept) - scratch_bytes(kernels, &shape, &kept) - gradients) / 16;
        const size_t few = (scratch_bytes(kernels, &deep, &again) - scratch_bytes(kernels, &shape, &again) - gradients) / 16;
        print_message("    %-16s %zu bytes a layer kept, %zu recomputed, %zu an input\n", family_worlds[i].title, many, few,
                      stream);
        assert_true(few >= stream && few < stream + 4096 && many > 8 * few);
        assert_true(scratch_bytes(kernels, &shape, &again) < scratch_bytes(kernels, &shape, &kept));
        fixture_free(fixture);
    }
}

static void a_scratch_of_the_other_kind_is_refused(void **state)
{
    (void)state;
    struct fixture *fixture = family_fixture(&family_worlds[0], kernels_cpu(), 6);
    struct error error = {0};
    struct trial kept, again;
    struct scratch *plain, *recomputing;
    start(fixture, false, &kept, &plain);
    start(fixture, true, &again, &recomputing);
    assert_false(scratch_fits(plain, &again));
    assert_false(scratch_fits(recomputing, &kept));
    assert_fails(trial_step(&again, plain, &fixture->train, NULL, &error), ERROR_INTERNAL, &error);
    trial_fini(&kept);
    trial_fini(&again);
    scratch_free(plain);
    scratch_free(recomputing);
    fixture_free(fixture);
}

TEST_MAIN(cmocka_unit_test(a_trial_has_the_same_bits), cmocka_unit_test(a_trial_file_serves_both),
          cmocka_unit_test(scratch_shrinks_to_the_inputs_of_blocks),
          cmocka_unit_test(a_scratch_of_the_other_kind_is_refused))
