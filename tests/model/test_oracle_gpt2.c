/* Logits, loss and every gradient of both kernel bodies against Hugging Face transformers in PyTorch, float64
 * (tests/oracle/). */
#include "tests/support/support.h"

#include <math.h>

#include "base/memory.h"
#include "model/kernels_bodies.h"
#include "tests/support/oracle.h"

static const char *const models[] = {"gpt2_a", "gpt2_b"};
static const char *const batches[] = {"short", "full"};

/* What a body must keep. Gradients: |g - reference| <= gradient |reference| + floor (largest |reference| of all tensors)
 * as Euclidean norms; the floor is for gradients that are zero but for rounding, as those of key biases. */
struct bounds { double logits, loss, gradient, floor; };
static const struct bounds float_bounds = {2e-5, 1e-6, 1e-4, 1e-7};
/* In double what is left is the references' own rounding: F32, the loss two of them. */
static const struct bounds double_bounds = {1e-7, 1e-12, 1e-7, 1e-9};

struct subject {
    const struct oracle *oracle;
    const char *batch_name;
    struct batch batch;
    const struct kernels *kernels;
    const struct bounds *bounds;
    struct network *network;
    void *weights, *gradients;          /* of the body's element */
};

static void subject_init(struct subject *subject, const struct oracle *oracle, const char *batch,
                         const struct kernels *kernels)
{
    const struct tensor_table *table = &oracle->checkpoint.table;
    struct error error = {0};
    *subject = (struct subject){.oracle = oracle, .batch_name = batch, .kernels = kernels};
    subject->batch = oracle_batch(oracle, batch);
    subject->bounds = kernels->element == sizeof(double) ? &double_bounds : &float_bounds;
    assert_ok(network_new(&subject->network, kernels, table, subject->batch.rows, subject->batch.context, true, &error),
              &error);
    subject->weights = kernels->alloc(table->slab * kernels->element);
    subject->gradients = kernels->alloc(table->slab * kernels->element);
    assert_true(subject->weights != NULL && subject->gradients != NULL);
    for (size_t i = 0; i < table->slab; i++) {
        if (kernels->element == sizeof(double))
            ((double *)subject->weights)[i] = (double)oracle->checkpoint.weights[i];
        else
            ((float *)subject->weights)[i] = oracle->checkpoint.weights[i];
    }
}

static void subject_fini(struct subject *subject)
{
    network_free(subject->network);
    subject->kernels->release(subject->weights);
    subject->kernels->release(subject->gradients);
    oracle_batch_free(&subject->batch);
}

static int counted_positions(const struct batch *batch)
{
    int count = 0;
    for (int i = 0; i < batch->rows * batch->context; i++)
        count += batch->targets[i] != TARGET_IGNORED;
    return count;
}

static void check_logits(const struct subject *subject)
{
    const struct kernels *kernels = subject->kernels;
    size_t count = (size_t)subject->batch.rows * (size_t)subject->batch.context *
                   (size_t)subject->oracle->checkpoint.table.shape.vocabulary;
    float *reference = oracle_floats(subject->oracle, count, "%s.logits", subject->batch_name);
    void *logits = kernels->alloc(count * kernels->element);
    assert_non_null(logits);
    network_logits(subject->network, subject->weights, &subject->batch, logits);
    double *actual = oracle_doubles(logits, kernels->element, 0, count);
    double difference = 0, largest = 0;
    for (size_t i = 0; i < count; i++) {
        double here = fabs(actual[i] - (double)reference[i]);
        difference = here <= difference ? difference : here;       /* NaN stays */
        largest = fmax(largest, fabs((double)reference[i]));
    }
    assert_close(difference / largest, subject->bounds->logits);
    memory_free(actual);
    kernels->release(logits);
    memory_free(reference);
}

static void check_loss(const struct subject *subject)
{
    double row_losses[8], sum = 0;
    int row_counts[8], count = 0;
    char name[32];
    assert_true(subject->batch.rows <= 8);
    network_loss(subject->network, subject->weights, &subject->batch, row_losses, row_counts);
    for (int b = 0; b < subject->batch.rows; b++) {
        sum += row_losses[b];
        count += row_counts[b];
    }
    assert_int_equal(count, counted_positions(&subject->batch));
    snprintf(name, sizeof name, "%s.loss", subject->batch_name);
    double loss = sum / count;
    assert_near(loss, oracle_number(subject->oracle, name, 0), subject->bounds->loss);
}

/* Each tensor's distance to its reference; returns the largest reference. */
static double measure_gradients(const struct subject *subject, struct oracle_distance *distances)
{
    const struct tensor_table *table = &subject->oracle->checkpoint.table;
    double largest = 0;
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        float *reference = oracle_floats(subject->oracle, tensor->count, "%s.gradient.%s", subject->batch_name,
                                         tensor->name);
        double *actual = oracle_doubles(subject->gradients, subject->kernels->element, tensor->offset, tensor->count);
        distances[i] = oracle_distance(actual, reference, tensor->count);
        largest = fmax(largest, distances[i].reference);
        memory_free(actual);
        memory_free(reference);
    }
    return largest;
}

/* Shows the tensor nearest to its bound, or the first one beyond it. */
static void check_gradients(const struct subject *subject)
{
    const struct tensor_table *table = &subject->oracle->checkpoint.table;
    struct oracle_distance *distances = memory_array((size_t)table->count, sizeof *distances);
    const double scale = 1.0 / counted_positions(&subject->batch);
    double residual = 0, bound = 1;
    const char *name = "";
    assert_non_null(distances);
    network_gradient(subject->network, subject->weights, &subject->batch, scale, subject->gradients);
    const double largest = measure_gradients(subject, distances);
    for (int i = 0; i < table->count && residual <= bound; i++) {
        double own = subject->bounds->gradient * distances[i].reference + subject->bounds->floor * largest;
        if (i == 0 || !(distances[i].difference / own <= residual / bound)) {
            residual = distances[i].difference;
            bound = own;
            name = table->tensors[i].name;
        }
    }
    print_message("    %d gradients, nearest to its bound: %s\n", table->count, name);
    assert_close(residual, bound);
    memory_free(distances);
}

static void check_body(const struct kernels *kernels, const char *label)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct oracle oracle;
        oracle_open(&oracle, models[i]);
        for (size_t j = 0; j < sizeof batches / sizeof batches[0]; j++) {
            struct subject subject;
            subject_init(&subject, &oracle, batches[j], kernels);
            print_message("  %s, %s, batch %s of %d x %d\n", label, models[i], batches[j], subject.batch.rows,
                          subject.batch.context);
            check_logits(&subject);
            check_loss(&subject);
            check_gradients(&subject);
            subject_fini(&subject);
        }
        oracle_close(&oracle);
    }
}

static void reference_kernels_in_float_agree_with_transformers(void **state)
{
    (void)state;
    check_body(kernels_ref_float(), "ref");
}

static void reference_kernels_in_double_agree_with_transformers(void **state)
{
    (void)state;
    check_body(kernels_ref_double(), "ref double");
}

static void every_form_of_the_cpu_kernels_agrees_with_transformers(void **state)
{
    static const char *const forms[] = {"portable", "avx2", "avx512"};
    (void)state;
    check_body(kernels_cpu(), kernels_description(kernels_cpu()));
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct kernels *kernels = kernels_cpu_form(forms[i]);
        if (kernels == NULL)
            print_message("  skipped: this processor lacks %s\n", forms[i]);
        else
            check_body(kernels, forms[i]);
    }
}

/* What the fixtures are for: both heads, both forms of gelu, a batch below and one at the full context, ignored
 * positions in one of them. */
static void fixtures_cover_what_they_promise(void **state)
{
    (void)state;
    struct oracle tied, untied;
    oracle_open(&tied, "gpt2_a");
    oracle_open(&untied, "gpt2_b");
    assert_true(tied.checkpoint.table.shape.tied);
    assert_false(untied.checkpoint.table.shape.tied);
    assert_int_equal(tied.checkpoint.table.shape.activation, ACTIVATION_GELU_TANH);
    assert_int_equal(untied.checkpoint.table.shape.activation, ACTIVATION_GELU_ERF);
    assert_int_equal(tied.checkpoint.table.shape.ff, 52);
    assert_int_equal(untied.checkpoint.table.shape.ff, 4 * untied.checkpoint.table.shape.width);
    struct batch below = oracle_batch(&untied, "short"), full = oracle_batch(&untied, "full");
    assert_true(below.context < untied.checkpoint.table.shape.context);
    assert_int_equal(full.context, untied.checkpoint.table.shape.context);
    assert_true(counted_positions(&below) < below.rows * (below.context - 1));
    assert_int_equal(counted_positions(&full), full.rows * full.context);
    oracle_batch_free(&below);
    oracle_batch_free(&full);
    oracle_close(&tied);
    oracle_close(&untied);
}

TEST_MAIN(cmocka_unit_test(fixtures_cover_what_they_promise),
          cmocka_unit_test(reference_kernels_in_float_agree_with_transformers),
          cmocka_unit_test(reference_kernels_in_double_agree_with_transformers),
          cmocka_unit_test(every_form_of_the_cpu_kernels_agrees_with_transformers))
