/* Training and evaluating with a masked objective: the mean is over predicted tokens, masks are a pure function of seed
 * and place, grouping changes nothing. */
#include <math.h>
#include <string.h>

#include "tests/support/support.h"
#include "tests/trainer/fixture.h"
#include "trainer/scratch.h"

enum { MASK = FIXTURE_VOCABULARY - 1 };

static struct shape bert_shape(int context)
{
    struct shape shape = fixture_shape();
    shape.family = FAMILY_BERT;
    shape.types = 2;
    shape.activation = ACTIVATION_GELU_ERF;
    shape.norm_epsilon = 1e-12;
    shape.context = context;
    return shape;
}

/* ---- training ---- */

static struct fixture *mlm_fixture(const struct kernels *kernels)
{
    struct shape shape = bert_shape(16);
    struct fixture *fixture = fixture_new(kernels, &shape);
    fixture->options.training.objective.mask_token = MASK;
    return fixture;
}

/* The step's batch made whole here: its loss is the mean over predicted tokens, and the gradient its derivative. The
 * batch of 300 rows is several micro-batches. */
static void a_step_takes_the_mean_over_predicted_tokens(void **state)
{
    (void)state;
    enum { BATCH = 300, T = 8 };
    const struct kernels *kernels = kernels_ref_float();
    struct fixture *fixture = mlm_fixture(kernels);
    struct training *training = &fixture->options.training;
    struct error error = {0};
    struct trial trial;
    struct objective_parts parts;
    struct network *network;
    int32_t tokens[T + 1];
    training->batch = BATCH;
    struct scratch *scratch = fixture_scratch(fixture);
    assert_true(scratch->rows < BATCH);
    fixture_start(fixture, &trial);
    const struct shape *shape = &trial.table.shape;
    const struct sampling sampling = {SAMPLER_RANDOM, training->seed, 0, BATCH, T};
    assert_ok(objective_parts_make(&parts, &training->objective, shape, BATCH, T, &error), &error);
    for (int row = 0; row < BATCH; row++) {
        assert_ok(sample_row(&sampling, &fixture->train, 0, row, tokens, &error), &error);
        objective_fill_row(&parts, row, T, tokens, rng_stream(training->seed, 0, RNG_MASK), (uint64_t)row);
    }
    struct batch batch = objective_batch(&parts, BATCH, T);
    const double predicted = (double)batch_predicted(&batch);
    assert_true(predicted > 0.1 * BATCH * T && predicted < 0.3 * BATCH * T);
    float *gradients = kernels->alloc(trial.table.slab * sizeof(float));
    assert_ok(network_new(&network, kernels, &trial.table, BATCH, T, true, &error), &error);
    const double loss = network_gradient(network, trial.learners->weights, &batch, 1 / predicted, gradients) / predicted;
    const double norm = sqrt(kernels->sum_squares(gradients, trial.table.slab));
    fixture_train(fixture, &trial, scratch, 1);
    assert_near(trial.last_loss, loss, 1e-6);
    assert_near(trial.last_gradient_norm / norm, 1, 1e-5);
    /* the clipped gradient's first moment */
    const double scale = (1 - training->optimizer.beta1) * fmin(1, training->clip / (norm + 1e-6));
    double difference = 0, largest = 0;
    for (size_t i = 0; i < trial.table.slab; i++) {
        difference = fmax(difference, fabs(((float *)trial.learners->state[0])[i] - scale * (double)gradients[i]));
        largest = fmax(largest, fabs(scale * (double)gradients[i]));
    }
    assert_close(difference / largest, 1e-5);
    network_free(network);
    kernels->release(gradients);
    objective_parts_free(&parts);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void a_step_has_the_same_masks_again_and_each_step_others(void **state)
{
    (void)state;
    struct fixture *fixture = mlm_fixture(kernels_cpu());
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial a, b;
    fixture_start(fixture, &a);
    fixture_start(fixture, &b);
    fixture_train(fixture, &a, scratch, 2);
    const size_t targets = (size_t)scratch->rows * (size_t)scratch->context;
    int32_t *before = memory_array(targets, sizeof *before);
    assert_non_null(before);
    memcpy(before, scratch->parts.targets, targets * sizeof *before);
    fixture_train(fixture, &a, scratch, 1);
    int moved = 0;
    for (size_t i = 0; i < targets; i++) {
        moved += (before[i] == TARGET_IGNORED) != (scratch->parts.targets[i] == TARGET_IGNORED);
    }
    assert_true(moved > 0);
    fixture_train(fixture, &b, scratch, 3);
    assert_trials_equal(&a, &b);
    memory_free(before);
    trial_fini(&b);
    fixture->options.training.objective.mask_token = 0;
    assert_true(scratch_fits(scratch, &a));
    fixture_start(fixture, &b);
    assert_false(scratch_fits(scratch, &b));
    trial_fini(&a);
    trial_fini(&b);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void mlm_learns(void **state)
{
    (void)state;
    struct fixture *fixture = mlm_fixture(kernels_cpu());
    fixture->options.training.batch = 32;
    fixture->options.training.steps = 400;
    fixture->options.training.learning_rate = 3e-3;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    double first = 0, last = 0;
    fixture_start(fixture, &trial);
    for (int i = 0; i < 400; i++) {
        fixture_train(fixture, &trial, scratch, 1);
        first += i < 20 ? trial.last_loss / 20 : 0;
        last += i >= 380 ? trial.last_loss / 20 : 0;
    }
    print_message("    loss %.3f in the first 20 steps, %.3f in the last\n", first, last);
    assert_true(last < 0.75 * first);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

static void a_trial_of_the_wrong_objective_is_refused(void **state)
{
    (void)state;
    struct fixture *fixture = mlm_fixture(kernels_cpu());
    struct error error = {0};
    struct trial trial;
    fixture->options.training.objective.mask_token = TOKEN_NONE;
    assert_fails(trial_init(&trial, &fixture->checkpoint, &fixture->options, &error), ERROR_INVALID, &error);
    error_clear(&error);
    fixture->options.training.objective = objective_defaults(FAMILY_GPT2);
    assert_fails(trial_init(&trial, &fixture->checkpoint, &fixture->options, &error), ERROR_INVALID, &error);
    fixture_free(fixture);
}

/* ---- evaluating ---- */

enum { WINDOWS = 24 };

static void evaluate(const struct fixture *fixture, const struct windows *windows, uint64_t seed, float *losses)
{
    struct error error = {0};
    const struct evaluated evaluated = {
        .kernels = kernels_ref_float(), .checkpoint = &fixture->checkpoint, .valid = &fixture->valid, .windows = windows,
        .objective = &fixture->options.training.objective, .seed = seed,
    };
    assert_ok(evaluate_weights(&evaluated, losses, &error), &error);
}

/* A window's masks are those of its place in the corpus: found again in a larger set, and alone. */
static void validation_masks_do_not_depend_on_the_grouping(void **state)
{
    (void)state;
    struct fixture *fixture = mlm_fixture(kernels_ref_float());
    const struct windows all = windows_of(&fixture->valid, 8, UINT64_MAX), some = windows_of(&fixture->valid, 8, 8 * 7);
    float *losses = memory_array((size_t)all.count, sizeof *losses), few[7], other[7], one[1];
    assert_true(all.count > WINDOWS && some.count == 7 && losses != NULL);
    evaluate(fixture, &all, 4, losses);
    evaluate(fixture, &some, 4, few);
    evaluate(fixture, &some, 5, other);
    for (int i = 0; i < 7; i++) {
        const uint64_t place = windows_position(&some, i) / 8;
        assert_near(few[i], losses[place], 1e-6);
        assert_true(isfinite(few[i]));
    }
    assert_memory_not_equal(few, other, sizeof few);
    const struct windows first = windows_of(&fixture->valid, 8, 8);
    evaluate(fixture, &first, 4, one);
    assert_near(one[0], few[0], 1e-6);
    memory_free(losses);
    fixture_free(fixture);
}

static void a_window_s_loss_is_the_mean_over_its_predicted_tokens(void **state)
{
    (void)state;
    struct fixture *fixture = mlm_fixture(kernels_ref_float());
    const struct windows windows = windows_of(&fixture->valid, 8, 8 * 5);
    struct error error = {0};
    struct objective_parts parts;
    struct network *network;
    float losses[5];
    int32_t tokens[9];
    evaluate(fixture, &windows, 4, losses);
    const struct tensor_table *table = &fixture->checkpoint.table;
    assert_ok(objective_parts_make(&parts, &fixture->options.training.objective, &table->shape, 1, 8, &error), &error);
    assert_ok(network_new(&network, kernels_ref_float(), table, 1, 8, false, &error), &error);
    for (int i = 0; i < 5; i++) {
        double sum;
        int count;
        const uint64_t position = windows_position(&windows, i);
        assert_ok(corpus_read(&fixture->valid, position, 9, tokens, &error), &error);
        objective_fill_row(&parts, 0, 8, tokens, rng_stream(4, 0, RNG_VALIDATION), position / 8);
        struct batch batch = objective_batch(&parts, 1, 8);
        network_loss(network, fixture->checkpoint.weights, &batch, &sum, &count);
        assert_int_equal(count, batch_predicted(&batch));
        assert_near(losses[i], sum / count, 1e-6);
    }
    network_free(network);
    objective_parts_free(&parts);
    fixture_free(fixture);
}

TEST_MAIN(cmocka_unit_test(a_step_takes_the_mean_over_predicted_tokens),
          cmocka_unit_test(a_step_has_the_same_masks_again_and_each_step_others),
          cmocka_unit_test(mlm_learns),
          cmocka_unit_test(a_trial_of_the_wrong_objective_is_refused),
          cmocka_unit_test(validation_masks_do_not_depend_on_the_grouping),
          cmocka_unit_test(a_window_s_loss_is_the_mean_over_its_predicted_tokens))
