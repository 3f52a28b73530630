/* Logits, loss and every gradient of a kernel body against a fixture of tests/oracle/: what the program of every family
 * shares. */
#ifndef TESTS_MODEL_ORACLE_CHECKS_H
#define TESTS_MODEL_ORACLE_CHECKS_H

#include "tests/support/support.h"

#include <math.h>

#include "base/memory.h"
#include "model/kernels_bodies.h"
#include "tests/support/oracle.h"

/* What a body must keep. Gradients: |g - reference| <= gradient |reference| + floor (largest |reference| of all tensors)
 * as Euclidean norms; the floor is for gradients that are zero but for rounding, as those of key biases. */
struct bounds { double logits, loss, gradient, floor; };
static const struct bounds float_bounds = {2e-5, 1e-6, 1e-4, 1e-7};

/* What a program checks: fixtures and their batches (NULL-ended), and what is left in double. */
struct oracle_plan {
    const char *const *models, *const *batches;
    struct bounds in_double;
};

struct subject {
    const struct oracle *oracle;
    const char *batch_name;
    struct batch batch;
    const struct kernels *kernels;
    const struct bounds *bounds;
    unsigned char *mask, *decoder_mask;
    int32_t *types;
    struct network *network;
    void *weights, *gradients;          /* of the body's element */
};

/* <batch>.<part>, where there is one: `context` numbers a row. */
static inline int64_t *subject_read(const struct subject *subject, const char *part, int context)
{
    struct error error = {0};
    char name[64];
    snprintf(name, sizeof name, "%s.%s", subject->batch_name, part);
    const struct safetensors_entry *entry = safetensors_find(&subject->oracle->reference, name);
    size_t count = (size_t)subject->batch.rows * (size_t)context;
    if (entry == NULL)
        return NULL;
    int64_t *wide = memory_array(count, sizeof *wide);
    assert_true(wide != NULL && safetensors_entry_elements(entry) == count);
    assert_ok(safetensors_read_raw(&subject->oracle->reference, entry, wide, &error), &error);
    return wide;
}

static inline unsigned char *subject_read_mask(const struct subject *subject, const char *part, int context)
{
    size_t count = (size_t)subject->batch.rows * (size_t)context;
    int64_t *wide = subject_read(subject, part, context);
    if (wide == NULL)
        return NULL;
    unsigned char *mask = memory_array(count, sizeof *mask);
    assert_non_null(mask);
    for (size_t i = 0; i < count; i++)
        mask[i] = wide[i] != 0;
    memory_free(wide);
    return mask;
}

static inline void subject_read_masks_and_types(struct subject *subject)
{
    struct batch *batch = &subject->batch;
    size_t count = (size_t)batch->rows * (size_t)batch->context;
    int64_t *types = subject_read(subject, "token_type_ids", batch->context);
    subject->types = types == NULL ? NULL : memory_array(count, sizeof *subject->types);
    assert_true(types == NULL || subject->types != NULL);
    for (size_t i = 0; i < count && types != NULL; i++)
        subject->types[i] = (int32_t)types[i];
    memory_free(types);
    subject->mask = subject_read_mask(subject, "attention_mask", batch->context);
    if (batch->decoder_inputs != NULL)
        subject->decoder_mask = subject_read_mask(subject, "decoder_attention_mask", batch->decoder_context);
    batch->mask = subject->mask;
    batch->decoder_mask = subject->decoder_mask;
    batch->types = subject->types;
}

static inline void subject_init(struct subject *subject, const struct oracle *oracle, const char *batch,
                                const struct kernels *kernels, const struct oracle_plan *plan)
{
    const struct tensor_table *table = &oracle->checkpoint.table;
    struct error error = {0};
    *subject = (struct subject){.oracle = oracle, .batch_name = batch, .kernels = kernels};
    subject->batch = oracle_batch(oracle, batch);
    subject_read_masks_and_types(subject);
    subject->bounds = kernels->element == sizeof(double) ? &plan->in_double : &float_bounds;
    int context = subject->batch.context, targets = oracle_batch_targets(&subject->batch);
    assert_ok(network_new(&subject->network, kernels, table, subject->batch.rows, context > targets ? context : targets,
                          true, &error), &error);
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

static inline void subject_fini(struct subject *subject)
{
    network_free(subject->network);
    subject->kernels->release(subject->weights);
    subject->kernels->release(subject->gradients);
    oracle_batch_free(&subject->batch);
    memory_free(subject->mask);
    memory_free(subject->decoder_mask);
    memory_free(subject->types);
}

static inline int counted_positions(const struct batch *batch)
{
    int count = 0;
    for (int i = 0; i < batch->rows * oracle_batch_targets(batch); i++)
        count += batch->targets[i] != TARGET_IGNORED;
    return count;
}

static inline void check_logits(const struct subject *subject)
{
    const struct kernels *kernels = subject->kernels;
    size_t count = (size_t)subject->batch.rows * (size_t)oracle_batch_targets(&subject->batch) *
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

static inline void check_loss(const struct subject *subject)
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
static inline double measure_gradients(const struct subject *subject, struct oracle_distance *distances)
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
static inline void check_gradients(const struct subject *subject)
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

/* Of models with experts: what the last pass left. */
static inline void check_balance(const struct subject *subject)
{
    char name[32];
    snprintf(name, sizeof name, "%s.balance", subject->batch_name);
    double balance = network_balance(subject->network);
    assert_int_equal(safetensors_find(&subject->oracle->reference, name) != NULL, balance != 0);
    if (balance != 0)
        assert_near(balance, oracle_number(subject->oracle, name, 0), 1e-6);
}

static inline void check_body(const struct oracle_plan *plan, const struct kernels *kernels, const char *label)
{
    for (const char *const *model = plan->models; *model != NULL; model++) {
        struct oracle oracle;
        oracle_open(&oracle, *model);
        for (const char *const *batch = plan->batches; *batch != NULL; batch++) {
            struct subject subject;
            subject_init(&subject, &oracle, *batch, kernels, plan);
            print_message("  %s, %s, batch %s of %d x %d\n", label, *model, *batch, subject.batch.rows,
                          subject.batch.context);
            check_logits(&subject);
            check_loss(&subject);
            check_gradients(&subject);
            check_balance(&subject);
            subject_fini(&subject);
        }
        oracle_close(&oracle);
    }
}

static inline void check_every_cpu_form(const struct oracle_plan *plan)
{
    static const char *const forms[] = {"portable", "avx2", "avx512"};
    check_body(plan, kernels_cpu(), kernels_description(kernels_cpu()));
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        const struct kernels *kernels = kernels_cpu_form(forms[i]);
        if (kernels == NULL)
            print_message("  skipped: this processor lacks %s\n", forms[i]);
        else
            check_body(plan, kernels, forms[i]);
    }
}

#endif
