/* Steps that do not end as an update: divergence, a stop, a corpus that is gone. */
#include "tests/support/support.h"

#include <math.h>

#include "model/kernels_ops.h"
#include "tests/trainer/fixture.h"

static struct fixture *plain_fixture(const struct kernels *kernels)
{
    const struct shape shape = fixture_shape();
    return fixture_new(kernels, &shape);
}

static void expect_divergence(struct fixture *fixture, struct trial *trial, struct scratch *scratch)
{
    const size_t bytes = trial_bytes(&trial->table.shape, &trial->options.training);
    struct error error = {0};
    void *before = memory_new(bytes);
    memcpy(before, trial->slab, bytes);
    for (int repeat = 0; repeat < 2; repeat++) {
        assert_ok(trial_step(trial, scratch, &fixture->train, NULL, &error), &error);
        assert_true(trial->diverged);
        assert_int_equal(trial->diverged_step, 3);
        assert_int_equal(trial->step, 3);
        assert_memory_equal(trial->slab, before, bytes);
    }
    memory_free(before);
}

static void nan_or_inf_marks_divergence_and_leaves_the_weights(void **state)
{
    (void)state;
    const float poisons[3] = {NAN, INFINITY, 3e38f};
    for (int i = 0; i < 3; i++) {
        struct fixture *fixture = plain_fixture(kernels_cpu());
        struct scratch *scratch = fixture_scratch(fixture);
        struct trial trial;
        fixture_start(fixture, &trial);
        fixture_train(fixture, &trial, scratch, 3);
        float *weights = trial.learners->weights;
        const struct tensor *tensor = tensor_find(&trial.table, "ln_f.weight");
        for (size_t j = 0; j < (i < 2 ? 1 : tensor->count); j++) {
            weights[tensor->offset + j] = poisons[i];
        }
        expect_divergence(fixture, &trial, scratch);
        trial_fini(&trial);
        scratch_free(scratch);
        fixture_free(fixture);
    }
}

/* Kernels in which one part alone goes wrong. */
static void nan_cross_entropy(void *logits, const int32_t *targets, int rows, int vocabulary, double scale,
                              double *losses)
{
    kernels_cpu()->ops->cross_entropy_gradient(logits, targets, rows, vocabulary, scale, losses);
    losses[0] = NAN;
}

static double infinite_squares(const void *x, size_t n)
{
    (void)x;
    (void)n;
    return INFINITY;
}

static void a_loss_or_a_norm_alone_is_enough_to_diverge(void **state)
{
    (void)state;
    for (int part = 0; part < 2; part++) {
        struct kernels kernels = *kernels_cpu();
        struct kernel_ops ops = *kernels.ops;
        kernels.ops = &ops;
        struct fixture *fixture = plain_fixture(&kernels);
        struct scratch *scratch = fixture_scratch(fixture);
        struct trial trial;
        fixture_start(fixture, &trial);
        fixture_train(fixture, &trial, scratch, 3);
        if (part == 0) {
            ops.cross_entropy_gradient = nan_cross_entropy;
        } else {
            kernels.sum_squares = infinite_squares;
        }
        expect_divergence(fixture, &trial, scratch);
        assert_int_equal(isfinite(trial.last_loss) != 0, part == 1);
        assert_int_equal(isfinite(trial.last_gradient_norm) != 0, part == 0);
        trial_fini(&trial);
        scratch_free(scratch);
        fixture_free(fixture);
    }
}

/* ---- stopping: kernels that raise the flag when the n-th micro-batch begins ---- */

static atomic_bool stop;
static int embeds, stop_at;
static struct kernels stopping_kernels;
static struct kernel_ops stopping_ops;

static void stopping_embed(const struct embedding *embedding, const int32_t *tokens, const void *table,
                           const void *positions, void *x)
{
    atomic_store(&stop, ++embeds == stop_at);
    kernels_cpu()->ops->embed(embedding, tokens, table, positions, x);
}

static void a_stopped_step_leaves_the_trial_as_it_was(void **state)
{
    (void)state;
    stopping_kernels = *kernels_cpu();
    stopping_ops = *stopping_kernels.ops;
    stopping_ops.embed = stopping_embed;
    stopping_kernels.ops = &stopping_ops;
    struct fixture *fixture = plain_fixture(&stopping_kernels);
    fixture->options.training.batch = 700;   /* 256 + 256 + 188 rows */
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial, whole;
    struct error error = {0};
    fixture_start(fixture, &trial);
    fixture_start(fixture, &whole);
    stop_at = 0;
    fixture_train(fixture, &whole, scratch, 2);
    assert_int_equal(embeds, 6);
    stop_at = 2;
    embeds = 0;
    assert_fails(trial_step(&trial, scratch, &fixture->train, &stop, &error), ERROR_CANCELLED, &error);
    assert_int_equal(embeds, 2);   /* the third micro-batch was not begun */
    assert_int_equal(trial.step, 0);
    assert_memory_equal(trial.learners->weights, fixture->checkpoint.weights, fixture->checkpoint.table.slab * sizeof(float));
    error_clear(&error);
    atomic_store(&stop, true);
    assert_fails(trial_step(&trial, scratch, &fixture->train, &stop, &error), ERROR_CANCELLED, &error);
    atomic_store(&stop, false);
    fixture_train(fixture, &trial, scratch, 2);
    assert_trials_equal(&trial, &whole);
    trial_fini(&trial);
    trial_fini(&whole);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void a_corpus_that_shrinks_is_an_error_and_leaves_the_trial(void **state)
{
    (void)state;
    struct fixture *fixture = plain_fixture(kernels_cpu());
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    fixture_start(fixture, &trial);
    FILE *file = fopen(test_path(path, fixture->directory, "tokens.bin"), "wb");
    assert_non_null(file);
    fclose(file);
    assert_fails(trial_step(&trial, scratch, &fixture->train, NULL, &error), ERROR_IO, &error);
    assert_int_equal(trial.step, 0);
    assert_memory_equal(trial.learners->weights, fixture->checkpoint.weights, fixture->checkpoint.table.slab * sizeof(float));
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

TEST_MAIN(cmocka_unit_test(nan_or_inf_marks_divergence_and_leaves_the_weights),
          cmocka_unit_test(a_loss_or_a_norm_alone_is_enough_to_diverge),
          cmocka_unit_test(a_stopped_step_leaves_the_trial_as_it_was),
          cmocka_unit_test(a_corpus_that_shrinks_is_an_error_and_leaves_the_trial))
