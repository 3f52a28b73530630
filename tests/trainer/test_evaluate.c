#include "tests/support/support.h"

#include <math.h>

#include "tests/trainer/fixture.h"
#include "trainer/scratch.h"

static struct fixture *fixture;
static struct scratch *scratch;
static struct trial trial;
enum { WINDOWS = 29, RAW = 8 };   /* groups of 6 rows: the last of each kind is smaller */

static int setup(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels_cpu(), &shape);
    scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 12);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
    return 0;
}

static struct evaluation evaluation_of(float losses[WINDOWS], float raw_losses[RAW])
{
    const struct windows windows = windows_of(&fixture->valid, 8, 8 * WINDOWS);
    assert_int_equal(windows.possible, 37);
    assert_int_equal(windows.count, WINDOWS);
    return (struct evaluation){.windows = windows, .raw_count = RAW, .losses = losses, .raw_losses = raw_losses};
}

/* Calls until finished; returns how many. */
static int run(struct evaluation *evaluation, uint64_t budget)
{
    struct error error = {0};
    bool finished = false;
    int calls = 0;
    while (!finished) {
        assert_ok(trial_evaluate(&trial, scratch, &fixture->valid, evaluation, budget, NULL, &finished, &error),
                  &error);
        calls++;
    }
    return calls;
}

/* The loss of one window by the reference kernels in double, its tokens taken from memory. */
static double reference_loss(const float *weights, int window)
{
    const struct tensor_table *table = &fixture->checkpoint.table;
    const int start = FIXTURE_TOKENS - FIXTURE_TOKENS / 10 + window * 37 / WINDOWS * 8;
    struct network *network;
    struct error error = {0};
    double *doubles = memory_array(table->slab, sizeof *doubles), loss;
    int32_t inputs[8], targets[8];
    int count;
    for (size_t i = 0; i < table->slab; i++) {
        doubles[i] = weights[i];
    }
    for (int t = 0; t < 8; t++) {
        inputs[t] = fixture->tokens[start + t];
        targets[t] = fixture->tokens[start + t + 1];
    }
    const struct batch batch = {.rows = 1, .context = 8, .inputs = inputs, .targets = targets};
    assert_ok(network_new(&network, kernels_ref_double(), table, 1, 8, false, &error), &error);
    network_loss(network, doubles, &batch, &loss, &count);
    assert_int_equal(count, 8);
    network_free(network);
    memory_free(doubles);
    return loss / 8;
}

static void losses_are_those_of_each_window_by_the_reference(void **state)
{
    (void)state;
    float losses[WINDOWS], raw_losses[RAW];
    struct evaluation evaluation = evaluation_of(losses, raw_losses);
    double worst = 0, raw_worst = 0, apart = 0;
    assert_int_equal(run(&evaluation, 1000000), 1);
    for (int i = 0; i < WINDOWS; i++) {
        worst = fmax(worst, fabs(losses[i] - reference_loss(trial.average, i)));
    }
    for (int j = 0; j < RAW; j++) {
        const int window = j * WINDOWS / RAW;
        raw_worst = fmax(raw_worst, fabs(raw_losses[j] - reference_loss(trial.learners->weights, window)));
        apart = fmax(apart, fabs(raw_losses[j] - losses[window]));
    }
    assert_close(worst, 2e-6);
    assert_close(raw_worst, 2e-6);
    assert_true(apart > 1e-4);   /* averaged and raw weights are really two */
}

static void the_budget_does_not_change_a_bit(void **state)
{
    (void)state;
    float whole[WINDOWS], whole_raw[RAW], losses[WINDOWS], raw_losses[RAW];
    struct evaluation evaluation = evaluation_of(whole, whole_raw);
    run(&evaluation, UINT64_MAX);
    const struct { uint64_t budget; int calls; } cases[] = {{0, 7}, {1, 7}, {48, 6}, {49, 4}, {96, 3}, {1000, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(losses, 0, sizeof losses);
        memset(raw_losses, 0, sizeof raw_losses);
        evaluation = evaluation_of(losses, raw_losses);
        assert_int_equal(run(&evaluation, cases[i].budget), cases[i].calls);
        assert_memory_equal(losses, whole, sizeof losses);
        assert_memory_equal(raw_losses, whole_raw, sizeof raw_losses);
        assert_int_equal(evaluation.next, WINDOWS);
        assert_int_equal(evaluation.raw_next, RAW);
    }
}

static void evaluating_changes_nothing_of_the_trial(void **state)
{
    (void)state;
    struct trial other;
    float losses[WINDOWS], raw_losses[RAW];
    struct evaluation evaluation = evaluation_of(losses, raw_losses);
    fixture_start(fixture, &other);
    fixture_train(fixture, &other, scratch, 12);
    run(&evaluation, 100);
    assert_trials_equal(&trial, &other);
    fixture_train(fixture, &trial, scratch, 2);
    fixture_train(fixture, &other, scratch, 2);
    assert_trials_equal(&trial, &other);
    trial_fini(&other);
}

static void a_stopped_evaluation_goes_on_where_it_was(void **state)
{
    (void)state;
    float whole[WINDOWS], whole_raw[RAW], losses[WINDOWS], raw_losses[RAW];
    struct evaluation evaluation = evaluation_of(whole, whole_raw);
    run(&evaluation, UINT64_MAX);
    evaluation = evaluation_of(losses, raw_losses);
    atomic_bool stop = false;
    bool finished;
    struct error error = {0};
    assert_ok(trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, 48, &stop, &finished, &error), &error);
    assert_false(finished);
    atomic_store(&stop, true);
    assert_fails(trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, 48, &stop, &finished, &error),
                 ERROR_CANCELLED, &error);
    assert_false(finished);
    assert_int_equal(evaluation.next, 6);
    run(&evaluation, 48);
    assert_memory_equal(losses, whole, sizeof losses);
    assert_memory_equal(raw_losses, whole_raw, sizeof raw_losses);
}

static void without_an_average_the_raw_weights_are_evaluated(void **state)
{
    (void)state;
    trial_fini(&trial);
    fixture->options.training.average.kind = AVERAGE_NONE;
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 12);
    float losses[WINDOWS];
    struct evaluation evaluation = evaluation_of(losses, NULL);
    evaluation.raw_count = 0;
    run(&evaluation, UINT64_MAX);
    for (int i = 0; i < WINDOWS; i += 7) {
        assert_near(losses[i], reference_loss(trial.learners->weights, i), 2e-6);
    }
}

static void plain_weights_give_the_same_losses(void **state)
{
    (void)state;
    float losses[WINDOWS], raw_losses[RAW], plain[WINDOWS];
    struct evaluation evaluation = evaluation_of(losses, raw_losses);
    struct error error = {0};
    run(&evaluation, UINT64_MAX);
    assert_ok(trial_export(&trial, &fixture->checkpoint, &error), &error);
    const struct kernels *bodies[2] = {kernels_cpu(), kernels_ref_float()};
    struct evaluated evaluated = {
        .checkpoint = &fixture->checkpoint, .valid = &fixture->valid, .windows = &evaluation.windows,
        .objective = &fixture->options.training.objective,
    };
    for (int i = 0; i < 2; i++) {
        evaluated.kernels = bodies[i];
        assert_ok(evaluate_weights(&evaluated, plain, &error), &error);
        assert_close(largest_difference(plain, losses, WINDOWS), 3e-6);
    }
    evaluated.kernels = kernels_cpu();
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        int result = evaluate_weights(&evaluated, plain, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(result, ERROR_NO_MEMORY, &error);
            error_clear(&error);
        } else {
            assert_ok(result, &error);
        }
    }
    const struct windows none = {0};
    evaluated.windows = &none;
    assert_ok(evaluate_weights(&evaluated, plain, &error), &error);
}

static void nan_weights_give_nan_losses(void **state)
{
    (void)state;
    float losses[WINDOWS], raw_losses[RAW];
    struct evaluation evaluation = evaluation_of(losses, raw_losses);
    ((float *)trial.average)[tensor_find(&trial.table, "ln_f.bias")->offset] = NAN;
    run(&evaluation, UINT64_MAX);
    for (int i = 0; i < WINDOWS; i++) {
        assert_true(isnan(losses[i]));
    }
    assert_true(isfinite(raw_losses[0]));
}

static void windows_longer_than_the_scratch_are_an_error(void **state)
{
    (void)state;
    float losses[4];
    struct evaluation evaluation = {.windows = windows_of(&fixture->valid, 9, 36), .losses = losses};
    struct error error = {0};
    bool finished;
    assert_fails(trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, 1, NULL, &finished, &error),
                 ERROR_INTERNAL, &error);
}

static void summaries_are_mean_and_standard_error(void **state)
{
    (void)state;
    const float losses[4] = {1, 2, 4, 9};
    const struct loss_summary summary = loss_summarize(losses, 4);
    assert_near(summary.mean, 4, 1e-15);
    assert_near(summary.standard_error, sqrt(38.0 / 3 / 4), 1e-15);
    assert_true(loss_summarize(losses, 1).mean == 1);
    assert_true(isnan(loss_summarize(losses, 1).standard_error));
    assert_true(isnan(loss_summarize(losses, 0).mean));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(CASE(losses_are_those_of_each_window_by_the_reference),
          CASE(the_budget_does_not_change_a_bit),
          CASE(evaluating_changes_nothing_of_the_trial),
          CASE(a_stopped_evaluation_goes_on_where_it_was),
          CASE(without_an_average_the_raw_weights_are_evaluated),
          CASE(plain_weights_give_the_same_losses),
          CASE(nan_weights_give_nan_losses),
          CASE(windows_longer_than_the_scratch_are_an_error),
          CASE(summaries_are_mean_and_standard_error))
