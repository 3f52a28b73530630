/* Ten steps of a bert or t5 trial's optimizer against PyTorch's AdamW with clip_grad_norm_ on the same model and batch,
 * in float64 (tests/oracle/export_bert.py, export_t5.py). The masks of the batch are the fixture's, not a trial's: the
 * step is put together here from the network's gradient and the optimizer's update. */
#include "tests/support/support.h"

#include <math.h>

#include "base/memory.h"
#include "tests/support/oracle.h"
#include "trainer/optimizer.h"

enum { STEPS = 10 };
static const double rate = 1e-4;

struct run {
    struct oracle oracle;
    struct batch batch;
    struct trial trial;
    struct network *network;
    float *gradients;
};

static void run_init(struct run *run, const char *model, const struct kernels *kernels)
{
    struct error error = {0};
    *run = (struct run){0};
    oracle_open(&run->oracle, model);
    run->batch = oracle_batch(&run->oracle, "full");
    const struct tensor_table *table = &run->oracle.checkpoint.table;
    struct trial_options options = {.kernels = kernels, .training = training_defaults(&table->shape), .hidden_rate_scale = 1};
    options.training.batch = run->batch.rows;
    options.training.context = run->batch.context;
    options.training.average.kind = AVERAGE_NONE;
    options.training.objective = (struct objective_spec){      /* needed to be there, never drawn from */
        .name = objective_defaults(table->shape.family).name, .mask_token = 0, .pad_token = 0, .eos_token = 1,
        .sentinel_first = 2, .sentinel_count = 9, .sentinel_step = 1,
        .mode_tokens = {TOKEN_NONE, TOKEN_NONE, TOKEN_NONE},
    };
    assert_ok(trial_init(&run->trial, &run->oracle.checkpoint, &options, &error), &error);
    assert_ok(network_new(&run->network, kernels, &run->trial.table, run->batch.rows, run->batch.context, true, &error),
              &error);
    run->gradients = kernels->alloc(table->slab * sizeof(float));
    assert_non_null(run->gradients);
}

static void run_fini(struct run *run)
{
    run->trial.options.kernels->release(run->gradients);
    network_free(run->network);
    trial_fini(&run->trial);
    oracle_batch_free(&run->batch);
    oracle_close(&run->oracle);
}

static double larger(double a, double b)
{
    return b <= a ? a : b;      /* NaN of b stays */
}

static void train(struct run *run)
{
    const struct kernels *kernels = run->trial.options.kernels;
    double losses = 0, norms = 0;
    int counted = 0;
    for (int i = 0; i < run->batch.rows * oracle_batch_targets(&run->batch); i++)
        counted += run->batch.targets[i] != TARGET_IGNORED;
    for (size_t step = 0; step < STEPS; step++) {
        kernels->zero(run->gradients, run->trial.table.slab);
        double loss = network_gradient(run->network, run->trial.learners->weights, &run->batch, 1.0 / counted, run->gradients);
        double norm = sqrt(kernels->sum_squares(run->gradients, run->trial.table.slab));
        double expected = oracle_number(&run->oracle, "adamw.norms", step);
        losses = larger(losses, fabs(loss / counted - oracle_number(&run->oracle, "adamw.losses", step)));
        norms = larger(norms, fabs(norm - expected) / expected);
        assert_true(norm > 1);          /* so that every step clips */
        optimizer_of(OPTIMIZER_ADAMW)->update(&run->trial, run->trial.learners, run->gradients, 1 / (norm + 1e-6), rate);
    }
    assert_close(losses, 1e-6);
    assert_close(norms, 1e-5);
}

/* Gradients of key biases are zero but for rounding (softmax ignores what is common to all keys), and Adam makes steps of
 * any noise: no element of them can be expected closer than the rate times the steps. */
static double largest_of(const double *actual, const float *reference, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = larger(largest, fabs(actual[i] - (double)reference[i]));
    return largest;
}

static void check_tensor(const struct run *run, int index, double *worst, double *key_biases)
{
    const struct tensor *tensor = &run->trial.table.tensors[index];
    bool trained = role_is_trained(tensor->row->role);
    float *w = oracle_floats(&run->oracle, tensor->count, "adamw.%s.w", tensor->name);
    float *m = oracle_floats(&run->oracle, tensor->count, "adamw.%s.m", tensor->name);
    double *actual_w = oracle_doubles(run->trial.learners->weights, sizeof(float), tensor->offset, tensor->count);
    double *actual_m = oracle_doubles(run->trial.learners->state[0], sizeof(float), tensor->offset, tensor->count);
    struct oracle_distance of_w = oracle_distance(actual_w, w, tensor->count);
    struct oracle_distance of_m = oracle_distance(actual_m, m, tensor->count);
    assert_int_equal(run->trial.learners->tensor_steps[index], trained ? STEPS : 0);
    if (tensor->row->role == ROLE_KEY_BIAS) {
        *key_biases = larger(*key_biases, largest_of(actual_w, w, tensor->count));
    } else if (!trained) {
        assert_true(of_w.difference == 0 && of_m.difference == 0);
    } else {
        worst[0] = larger(worst[0], of_w.difference / of_w.reference);
        worst[1] = larger(worst[1], of_m.difference / of_m.reference);
    }
    memory_free(actual_w);
    memory_free(actual_m);
    memory_free(w);
    memory_free(m);
}

static void check(const char *model, const struct kernels *kernels)
{
    struct run run;
    double worst[2] = {0}, key_biases = 0;
    run_init(&run, model, kernels);
    train(&run);
    for (int i = 0; i < run.trial.table.count; i++)
        check_tensor(&run, i, worst, &key_biases);
    assert_close(worst[0], 1e-5);
    assert_close(worst[1], 1e-4);
    assert_close(key_biases, STEPS * rate);
    run_fini(&run);
}

static void ten_steps_agree_with_pytorch(void **state)
{
    (void)state;
    static const char *const models[] = {"bert_a", "bert_b", "t5_a", "t5_b"};
    for (int i = 0; i < 4; i++) {
        check(models[i], kernels_ref_float());
        check(models[i], kernels_cpu());
    }
}

TEST_MAIN(cmocka_unit_test(ten_steps_agree_with_pytorch))
