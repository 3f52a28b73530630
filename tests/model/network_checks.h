/* What the network of every family must keep: its gradient is the derivative, and the bodies agree. */
#ifndef TESTS_MODEL_NETWORK_CHECKS_H
#define TESTS_MODEL_NETWORK_CHECKS_H

#include "tests/model/network_fixture.h"

/* ---- the gradient against central differences; fixtures in double ---- */

struct difference_case { struct network_fixture *fixture; double scale; };

static inline double scaled_loss(void *context)
{
    struct difference_case *c = context;
    double losses[4], sum = 0;
    network_loss(c->fixture->network, c->fixture->weights, &c->fixture->batch, losses, NULL);
    for (int b = 0; b < c->fixture->batch.rows; b++)
        sum += losses[b];
    return c->scale * sum;
}

static inline void check_every_tensor(struct network_fixture *fixture)
{
    struct difference_case c = {fixture, 0.25};
    fixture_gradient(fixture, c.scale);
    for (int i = 0; i < fixture->table.count; i++) {
        const struct tensor *tensor = &fixture->table.tensors[i];
        double *weights = (double *)fixture->weights + tensor->offset;
        const double *gradient = (double *)fixture->gradients + tensor->offset;
        double residual = difference_residual(scaled_loss, &c, weights, gradient, tensor->count);
        if (!(residual <= 3e-8))
            print_error("%s\n", tensor->name);
        assert_close(residual, 3e-8);
    }
}

/* ---- the cpu body against the reference, both in float ---- */

static inline double tensor_norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* Norm of the difference per tensor, beyond 1e-7 of the largest norm, relative to the tensor's own. */
static inline double gradients_residual(const struct tensor_table *table, const float *gradient, const float *expected)
{
    double worst = 0, largest = 0;
    for (int i = 0; i < table->count; i++)
        largest = fmax(largest, tensor_norm(expected + table->tensors[i].offset, table->tensors[i].count));
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        double difference = 0, norm = tensor_norm(expected + tensor->offset, tensor->count);
        for (size_t j = tensor->offset; j < tensor->offset + tensor->count; j++)
            difference += pow((double)gradient[j] - expected[j], 2);
        double residual = fmax(0, sqrt(difference) - 1e-7 * largest) / norm;
        worst = residual <= worst ? worst : residual;
    }
    return worst;
}

/* `vary` (NULL: nothing) gives the batch a mask, a prefix and so on. */
static inline void check_varied_against_ref(const struct kernels *kernels, const struct shape *shape, int rows,
                                            int context, void (*vary)(struct batch *))
{
    struct network_fixture ref, cpu;
    fixture_init(&ref, kernels_ref_float(), shape, rows, context, true);
    fixture_init(&cpu, kernels, shape, rows, context, true);
    if (vary != NULL) {
        vary(&ref.batch);
        vary(&cpu.batch);
    }
    double expected = fixture_gradient(&ref, 0.01), loss = fixture_gradient(&cpu, 0.01);
    size_t logits = (size_t)(rows * context) * (size_t)shape->vocabulary;
    float *expected_logits = memory_array(logits, sizeof(float)), *cpu_logits = memory_array(logits, sizeof(float));
    assert_near(loss / expected, 1, 1e-6);
    assert_close(gradients_residual(&cpu.table, cpu.gradients, ref.gradients), 2e-5);
    network_logits(ref.network, ref.weights, &ref.batch, expected_logits);
    network_logits(cpu.network, cpu.weights, &cpu.batch, cpu_logits);
    assert_close(relative_difference(cpu_logits, expected_logits, logits), 2e-5);
    memory_free(expected_logits);
    memory_free(cpu_logits);
    fixture_fini(&ref);
    fixture_fini(&cpu);
}

static inline void check_against_ref(const struct kernels *kernels, const struct shape *shape, int rows, int context)
{
    check_varied_against_ref(kernels, shape, rows, context, NULL);
}

#endif
