/* Ten steps of the trial against PyTorch's AdamW with clip_grad_norm_ on the same model, in float64 (tests/oracle/).
 * The corpus is a circle of B T tokens, so that the sequential sampler reads the same batch at every step. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/oracle.h"
#include "trainer/trial.h"

enum { STEPS = 10 };
static const double rate = 1e-4;
static const char *const models[] = {"gpt2_a", "gpt2_b", "llama_a", "llama_b", "mistral_a", "mistral_b", "qwen2_a",
                                     "qwen2_b", "mixtral_a", "mixtral_b"};

struct run {
    struct oracle oracle;
    char directory[FILE_PATH_BYTES];
    struct corpus corpus;
    struct trial trial;
    struct scratch *scratch;
};

/* The fixture's rows one after another, a byte per token. */
static void corpus_write(const struct run *run, const struct batch *batch, char path[FILE_PATH_BYTES])
{
    unsigned char bytes[256];
    size_t count = (size_t)batch->rows * (size_t)batch->context;
    assert_true(count <= sizeof bytes);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (unsigned char)batch->inputs[i];
        assert_int_equal(batch->targets[i], batch->inputs[(i + 1) % count]);
    }
    test_write_file(test_path(path, run->directory, "tokens.bin"), bytes, count);
}

static void run_init(struct run *run, const char *model, const struct kernels *kernels)
{
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    memset(run, 0, sizeof *run);
    test_directory_make(run->directory);
    oracle_open(&run->oracle, model);
    const struct tensor_table *table = &run->oracle.checkpoint.table;
    struct batch batch = oracle_batch(&run->oracle, "full");
    corpus_write(run, &batch, path);
    struct training training = training_defaults(&table->shape);
    training.batch = batch.rows;
    training.context = batch.context;
    training.steps = 1000;
    training.learning_rate = rate;
    training.optimizer = optimizer_defaults(OPTIMIZER_ADAMW);
    training.schedule = (struct schedule_spec){.name = SCHEDULE_CONSTANT, .warmup_steps = 0};
    training.average.kind = AVERAGE_NONE;
    training.clip = 1;
    const struct trial_options options = {.kernels = kernels, .training = training, .hidden_rate_scale = 1,
                                          .sampler = SAMPLER_SEQUENTIAL};
    assert_ok(corpus_open(&run->corpus, path, CORPUS_BYTES, table->shape.vocabulary, batch.context, &error), &error);
    assert_ok(trial_init(&run->trial, &run->oracle.checkpoint, &options, &error), &error);
    assert_ok(scratch_new(&run->scratch, kernels, table, &training, &error), &error);
    oracle_batch_free(&batch);
}

static void run_fini(struct run *run)
{
    scratch_free(run->scratch);
    trial_fini(&run->trial);
    corpus_close(&run->corpus);
    oracle_close(&run->oracle);
    test_directory_remove(run->directory);
}

/* The larger one; NaN stays, whichever it is. */
static double larger(double a, double b)
{
    return b <= a || isnan(a) ? a : b;
}

/* Loss and norm of each step, as the trial saw them; the largest distances over all steps. */
static void train(struct run *run)
{
    struct error error = {0};
    double loss_difference = 0, norm_difference = 0;
    for (size_t step = 0; step < STEPS; step++) {
        assert_ok(trial_step(&run->trial, run->scratch, &run->corpus, NULL, &error), &error);
        assert_false(run->trial.diverged);
        const double loss = oracle_number(&run->oracle, "adamw.losses", step);
        const double norm = oracle_number(&run->oracle, "adamw.norms", step);
        loss_difference = larger(loss_difference, fabs(run->trial.last_loss - loss));
        norm_difference = larger(norm_difference, fabs(run->trial.last_gradient_norm - norm) / norm);
        assert_true(norm > 1);          /* so that every step clips */
    }
    assert_close(loss_difference, 1e-6);
    assert_close(norm_difference, 1e-5);
}

struct worst { double residual, bound; const char *name; };

/* The tensor nearest to its bound, or the first one beyond it. */
static void worst_take(struct worst *worst, double residual, double bound, const char *name)
{
    if (worst->name == NULL ||
        (worst->residual <= worst->bound && !(residual / bound <= worst->residual / worst->bound)))
        *worst = (struct worst){residual, bound, name};
}

/* Gradients of key biases are zero but for rounding (softmax ignores what is common to all keys; with rotary positions
 * the slow pairs hardly differ from that), and Adam makes steps of any noise: no element of them can be expected closer
 * than the rate times the steps. Returns the largest distance and takes them out of the lists. */
static double take_key_biases_out(const struct tensor *tensor, int width, double *actual, float *reference)
{
    double largest = 0;
    enum role role = tensor->row->role;
    if (role != ROLE_QKV_BIAS && role != ROLE_KEY_BIAS)
        return 0;
    int first = role == ROLE_KEY_BIAS ? 0 : width, count = role == ROLE_KEY_BIAS ? (int)tensor->count : width;
    for (int i = first; i < first + count; i++) {
        largest = larger(largest, fabs(actual[i] - (double)reference[i]));
        actual[i] = reference[i] = 0;
    }
    return largest;
}

static void check_weights(const struct run *run)
{
    const struct tensor_table *table = &run->trial.table;
    struct worst weights = {0}, moments = {0};
    double key_biases = 0;
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        float *w = oracle_floats(&run->oracle, tensor->count, "adamw.%s.w", tensor->name);
        float *m = oracle_floats(&run->oracle, tensor->count, "adamw.%s.m", tensor->name);
        double *actual_w = oracle_doubles(run->trial.learners->weights, sizeof(float), tensor->offset, tensor->count);
        double *actual_m = oracle_doubles(run->trial.learners->state[0], sizeof(float), tensor->offset, tensor->count);
        key_biases = larger(key_biases, take_key_biases_out(tensor, table->shape.width, actual_w, w));
        take_key_biases_out(tensor, table->shape.width, actual_m, m);
        struct oracle_distance of_w = oracle_distance(actual_w, w, tensor->count);
        struct oracle_distance of_m = oracle_distance(actual_m, m, tensor->count);
        if (tensor->row->role != ROLE_KEY_BIAS) {
            worst_take(&weights, of_w.difference, 1e-5 * of_w.reference, tensor->name);
            worst_take(&moments, of_m.difference, 1e-4 * of_m.reference, tensor->name);
        }
        assert_int_equal(run->trial.learners->tensor_steps[i], STEPS);
        memory_free(actual_w);
        memory_free(actual_m);
        memory_free(w);
        memory_free(m);
    }
    print_message("    weights, nearest to its bound of %d: %s\n", table->count, weights.name);
    assert_close(weights.residual, weights.bound);
    /* Adam's step hardly depends on the gradient's scale; its first moment shows that the clip is right. */
    print_message("    first moments, nearest to its bound of %d: %s\n", table->count, moments.name);
    assert_close(moments.residual, moments.bound);
    assert_close(key_biases, STEPS * rate);
}

static void check(const char *model, const struct kernels *kernels)
{
    struct run run;
    print_message("  %s, %s\n", kernels_description(kernels), model);
    run_init(&run, model, kernels);
    train(&run);
    check_weights(&run);
    run_fini(&run);
}

static void ten_steps_of_reference_kernels_agree_with_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        check(models[i], kernels_ref_float());
}

static void ten_steps_of_cpu_kernels_agree_with_pytorch(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
        check(models[i], kernels_cpu());
}

TEST_MAIN(cmocka_unit_test(ten_steps_of_reference_kernels_agree_with_pytorch),
          cmocka_unit_test(ten_steps_of_cpu_kernels_agree_with_pytorch))
