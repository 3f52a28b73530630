/* Tangents of operations and of their backward passes: the reference in double against central differences of the
 * operation along a direction, every form of the cpu body against the reference. Each kind of operation is one function
 * of all its inputs: those of the forward pass and the gradient that comes back. */
#include "tests/model/attention_variants.h"
#include "tests/model/shelf.h"

#include "model/network.h"

static const double BOUND = 2e-8, CPU_BOUND = 4e-6;

/* Where results lie: those that are written, then those that are added to, then the gradients of weights, which are
 * added to as well and which the tangent of a backward pass leaves out. */
struct counts { size_t inputs, written, added, weights; };

struct operation {
    struct counts (*count)(void);
    void (*run)(const struct kernels *kernels, const void *in, void *out, void *scratch);
    void (*tangent)(const struct kernels *kernels, const void *in, const void *t_in, void *out, void *t_out,
                    void *scratch, void *t_scratch);
};

enum { SCRATCH = 1 << 15 };

/* What an operation works on now. */
static int rows, width;
static enum activation activation;
static bool is_rms, has_branch;
static const struct attention_variant *variant;
static int queries, head_size;

/* Cuts a buffer into parts. */
struct cursor { const struct kernels *kernels; const void *at; };

static const void *part(struct cursor *cursor, size_t numbers)
{
    const void *at = cursor->at;
    cursor->at = numbers_at_const(cursor->kernels->element, at, numbers);
    return at;
}

static void *part_to_write(struct cursor *cursor, size_t numbers)
{
    return (void *)(uintptr_t)part(cursor, numbers);
}

/* ---- norms ---- */

static struct counts norm_count(void)
{
    size_t n = (size_t)(rows * width), c = (size_t)width;
    return (struct counts){3 * n + 3 * c, 2 * n + 2 * (size_t)rows, n, 2 * c};
}

static void norm_buffers(const struct kernels *kernels, const void *in, const void *out, struct norm_forward *forward,
                         struct norm_backward *backward)
{
    size_t n = (size_t)(rows * width), c = (size_t)width;
    struct cursor from = {kernels, in}, to = {kernels, out};
    *forward = (struct norm_forward){.x = part(&from, n), .branch = part(&from, n), .branch_bias = part(&from, c),
                                     .gain = part(&from, c), .bias = part(&from, c), .sum = part_to_write(&to, n),
                                     .out = part_to_write(&to, n),
                                     .statistics = part_to_write(&to, 2 * (size_t)rows)};
    *backward = (struct norm_backward){.sum = has_branch ? forward->sum : forward->x,
                                       .statistics = forward->statistics, .gain = forward->gain,
                                       .d_out = part(&from, n), .d_sum = part_to_write(&to, n),
                                       .d_gain = part_to_write(&to, c), .d_bias = part_to_write(&to, c)};
    if (!has_branch) {
        forward->branch = forward->branch_bias = NULL;
        kernels->zero(forward->sum, n);
    }
    if (is_rms)
        forward->bias = backward->d_bias = NULL;
}

static void norm_run(const struct kernels *kernels, const void *in, void *out, void *scratch)
{
    (void)scratch;
    struct norm norm = {.rows = rows, .width = width, .epsilon = 1e-2, .rms = is_rms};
    struct norm_forward forward;
    struct norm_backward backward;
    norm_buffers(kernels, in, out, &forward, &backward);
    kernels->ops->layer_norm(&norm, &forward);
    kernels->ops->layer_norm_backward(&norm, &backward);
}

static void norm_tangent(const struct kernels *kernels, const void *in, const void *t_in, void *out, void *t_out,
                         void *scratch, void *t_scratch)
{
    (void)scratch, (void)t_scratch;
    struct norm norm = {.rows = rows, .width = width, .epsilon = 1e-2, .rms = is_rms};
    struct norm_forward forward, t_forward;
    struct norm_backward backward, t_backward;
    norm_buffers(kernels, in, out, &forward, &backward);
    norm_buffers(kernels, t_in, t_out, &t_forward, &t_backward);
    backward.d_gain = backward.d_bias = NULL;
    kernels->ops->layer_norm(&norm, &forward);
    kernels->tangents->layer_norm(&norm, &forward, &t_forward);
    kernels->tangents->layer_norm_backward(&norm, &backward, &t_backward);
}

/* ---- activations: x, bias, d in; x with its bias, out, d out ---- */

static struct counts activation_count(void)
{
    size_t n = (size_t)(rows * width);
    return (struct counts){2 * n + (size_t)width, 3 * n, 0, 0};
}

struct activated { void *x, *out, *d; const void *bias; };

static struct activated activation_buffers(const struct kernels *kernels, const void *in, void *results)
{
    size_t n = (size_t)(rows * width);
    struct cursor from = {kernels, in}, to = {kernels, results};
    const void *x = part(&from, n), *d = part(&from, n);
    struct activated buffers = {.x = part_to_write(&to, n), .out = part_to_write(&to, n), .d = part_to_write(&to, n),
                                .bias = part(&from, (size_t)width)};
    memcpy(buffers.x, x, n * kernels->element);
    memcpy(buffers.d, d, n * kernels->element);
    return buffers;
}

static void activation_run(const struct kernels *kernels, const void *in, void *results, void *scratch)
{
    (void)scratch;
    struct activated at = activation_buffers(kernels, in, results);
    kernels->ops->activate(activation, at.x, at.bias, at.out, rows, width);
    kernels->ops->activate_backward(activation, at.x, at.d, rows, width);
}

static void activation_tangent(const struct kernels *kernels, const void *in, const void *t_in, void *results,
                               void *t_results, void *scratch, void *t_scratch)
{
    (void)scratch, (void)t_scratch;
    struct activated at = activation_buffers(kernels, in, results);
    struct activated t_at = activation_buffers(kernels, t_in, t_results);
    kernels->ops->activate(activation, at.x, at.bias, at.out, rows, width);
    kernels->tangents->activate(activation, at.x, t_at.x, t_at.bias, t_at.out, rows, width);
    kernels->tangents->activate_backward(activation, at.x, t_at.x, at.d, t_at.d, rows, width);
}

/* ---- gates: gate and up side by side ---- */

enum { GAP = 3 };

static struct counts gate_count(void)
{
    size_t n = (size_t)(rows * width), joined = 2 * n + (size_t)(rows * GAP);
    return (struct counts){joined + n, n + joined, 0, 0};
}

static struct gate_sizes gate_buffers(const struct kernels *kernels, const void *in, void *results,
                                      struct gate_forward *forward, struct gate_backward *backward)
{
    struct gate_sizes sizes = {activation, rows, width, 2 * width + GAP};
    size_t n = (size_t)(rows * width), joined = (size_t)(rows * sizes.stride);
    struct cursor from = {kernels, in}, to = {kernels, results};
    const void *gate = part(&from, joined), *up = numbers_at_const(kernels->element, gate, (size_t)width);
    *forward = (struct gate_forward){gate, up, part_to_write(&to, n)};
    void *d = part_to_write(&to, joined);
    kernels->zero(d, joined);
    *backward = (struct gate_backward){gate, up, part(&from, n), d, numbers_at(kernels->element, d, (size_t)width)};
    return sizes;
}

static void gate_run(const struct kernels *kernels, const void *in, void *results, void *scratch)
{
    (void)scratch;
    struct gate_forward f;
    struct gate_backward b;
    struct gate_sizes sizes = gate_buffers(kernels, in, results, &f, &b);
    kernels->ops->gate(activation, f.gate, f.up, f.out, rows, width, sizes.stride);
    kernels->ops->gate_backward(activation, b.gate, b.up, b.d_out, b.d_gate, b.d_up, rows, width, sizes.stride);
}

static void gate_tangent(const struct kernels *kernels, const void *in, const void *t_in, void *results,
                         void *t_results, void *scratch, void *t_scratch)
{
    (void)scratch, (void)t_scratch;
    struct gate_forward f, t_f;
    struct gate_backward b, t_b;
    struct gate_sizes sizes = gate_buffers(kernels, in, results, &f, &b);
    gate_buffers(kernels, t_in, t_results, &t_f, &t_b);
    kernels->ops->gate(activation, f.gate, f.up, f.out, rows, width, sizes.stride);
    kernels->tangents->gate(&sizes, &f, &t_f);
    kernels->tangents->gate_backward(&sizes, &b, &t_b);
}

/* ---- attention ---- */

enum { HEADS = 4, KV_HEADS = 2, CROSS_KEYS = 41, TABLE = VARIANT_BUCKETS * HEADS };
static struct variant_masks masks;

static struct attention attention_sizes(void)
{
    return variant_sizes(variant, HEADS, KV_HEADS, head_size, queries, CROSS_KEYS, &masks);
}

static struct counts attention_count(void)
{
    struct attention a = attention_sizes();
    size_t q = (size_t)(a.batch * a.queries * a.q_stride), kv = (size_t)(a.batch * a.keys * a.kv_stride);
    size_t out = (size_t)(a.batch * a.queries * a.out_stride), lse = (size_t)(a.batch * HEADS * a.queries);
    return (struct counts){q + kv + TABLE + out, out + lse + q + kv, 0, TABLE};
}

static struct attention attention_buffers(const struct kernels *kernels, const void *in, void *results, void *scratch,
                                          struct attention_forward *forward, struct attention_backward *backward)
{
    struct attention a = attention_sizes();
    size_t q = (size_t)(a.batch * a.queries * a.q_stride), kv = (size_t)(a.batch * a.keys * a.kv_stride);
    size_t out = (size_t)(a.batch * a.queries * a.out_stride), lse = (size_t)(a.batch * HEADS * a.queries);
    size_t values = (size_t)(KV_HEADS * head_size);
    struct cursor from = {kernels, in}, to = {kernels, results};
    assert_true(kernels->ops->attention_scratch(&a) <= SCRATCH);
    kernels->zero(results, out + lse + q + kv);    /* gaps between rows */
    *forward = (struct attention_forward){.q = part(&from, q), .k = part(&from, kv), .bias_table = part(&from, TABLE),
                                          .out = part_to_write(&to, out), .lse = part_to_write(&to, lse),
                                          .scratch = scratch};
    forward->v = numbers_at_const(kernels->element, forward->k, values);
    *backward = (struct attention_backward){
        .q = forward->q, .k = forward->k, .v = forward->v, .bias_table = forward->bias_table, .out = forward->out,
        .lse = forward->lse, .d_out = part(&from, out), .d_q = part_to_write(&to, q), .d_k = part_to_write(&to, kv),
        .d_bias_table = part_to_write(&to, TABLE), .scratch = scratch,
    };
    backward->d_v = numbers_at(kernels->element, backward->d_k, values);
    if (!variant->has_bias)
        forward->bias_table = backward->bias_table = backward->d_bias_table = NULL;
    return a;
}

/* -Inf, of a query that sees no key, has no difference. */
static void attention_lse_clean(const struct kernels *kernels, const struct attention *a, void *lse)
{
    for (size_t i = 0; i < (size_t)(a->batch * HEADS * a->queries); i++) {
        double *wide = lse;
        float *narrow = lse;
        if (kernels->element == sizeof(double))
            wide[i] = isinf(wide[i]) ? 0 : wide[i];
        else
            narrow[i] = isinf(narrow[i]) ? 0 : narrow[i];
    }
}

static void attention_run(const struct kernels *kernels, const void *in, void *results, void *scratch)
{
    struct attention_forward forward;
    struct attention_backward backward;
    struct attention a = attention_buffers(kernels, in, results, scratch, &forward, &backward);
    kernels->ops->attention(&a, &forward);
    kernels->ops->attention_backward(&a, &backward);
    attention_lse_clean(kernels, &a, forward.lse);
}

static void attention_tangent(const struct kernels *kernels, const void *in, const void *t_in, void *results,
                              void *t_results, void *scratch, void *t_scratch)
{
    struct attention_forward forward, t_forward;
    struct attention_backward backward, t_backward;
    struct attention a = attention_buffers(kernels, in, results, scratch, &forward, &backward);
    attention_buffers(kernels, t_in, t_results, t_scratch, &t_forward, &t_backward);
    backward.d_bias_table = NULL;
    kernels->ops->attention(&a, &forward);
    kernels->tangents->attention(&a, &forward, &t_forward);
    kernels->tangents->attention_backward(&a, &backward, &t_backward);
    attention_lse_clean(kernels, &a, forward.lse);
}

/* ---- cross-entropy ---- */

static struct counts entropy_count(void)
{
    size_t n = (size_t)(rows * width);
    return (struct counts){n, n, 0, 0};
}

static const int32_t *entropy_targets(void)
{
    static int32_t targets[64];
    for (int i = 0; i < rows; i++)
        targets[i] = i % 4 == 1 ? TARGET_IGNORED : i * 37 % width;
    return targets;
}

static void entropy_run(const struct kernels *kernels, const void *in, void *out, void *scratch)
{
    double losses[64];
    (void)scratch;
    memcpy(out, in, (size_t)(rows * width) * kernels->element);
    kernels->ops->cross_entropy_gradient(out, entropy_targets(), rows, width, 0.5, losses);
}

static void entropy_tangent(const struct kernels *kernels, const void *in, const void *t_in, void *out, void *t_out,
                            void *scratch, void *t_scratch)
{
    double losses[64], again[64];
    (void)scratch, (void)t_scratch;
    memcpy(out, in, (size_t)(rows * width) * kernels->element);
    memcpy(t_out, t_in, (size_t)(rows * width) * kernels->element);
    kernels->ops->cross_entropy(out, entropy_targets(), rows, width, again);
    kernels->tangents->cross_entropy_gradient(out, t_out, entropy_targets(), rows, width, 0.5, losses);
    for (int i = 0; i < rows; i++)
        assert_near(losses[i], again[i], 1e-6);
}

static const struct operation norm_operation = {norm_count, norm_run, norm_tangent};
static const struct operation activation_operation = {activation_count, activation_run, activation_tangent};
static const struct operation gate_operation = {gate_count, gate_run, gate_tangent};
static const struct operation attention_operation = {attention_count, attention_run, attention_tangent};
static const struct operation entropy_operation = {entropy_count, entropy_run, entropy_tangent};

/* ---- the reference against differences ---- */

/* Largest difference of t_out from (above - below) / (2 step), relative to the largest number. */
static double tangent_residual(const double *t_out, const double *above, const double *below, double step, size_t n)
{
    double worst = 0, largest = 1;
    for (size_t i = 0; i < n; i++) {
        double residual = fabs((above[i] - below[i]) / (2 * step) - t_out[i]);
        worst = residual <= worst ? worst : residual;
        largest = fmax(largest, fabs(t_out[i]));
    }
    return worst / largest;
}

static void check_differences(const struct operation *operation)
{
    const struct kernels *kernels = kernels_ref_double();
    struct counts counts = operation->count();
    size_t total = counts.written + counts.added + counts.weights;
    double *in = doubles_new(counts.inputs, 1), *t_in = doubles_new(counts.inputs, 2), step = 1e-5;
    double *scratch = doubles_new(SCRATCH, 3), *t_scratch = doubles_new(SCRATCH, 4), *results[5];
    for (int i = 0; i < 5; i++) {
        results[i] = doubles_new(total, 5);
        kernels->zero(results[i], total);
    }
    operation->run(kernels, in, results[0], scratch);
    operation->tangent(kernels, in, t_in, results[1], results[2], scratch, t_scratch);
    for (size_t i = 0; i < counts.written + counts.added; i++)
        assert_near(results[1][i], results[0][i], 1e-12);
    for (size_t i = counts.written + counts.added; i < total; i++)
        assert_true(results[1][i] == 0);
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < counts.inputs; i++)
            in[i] += (side == 0 ? 1 : -2) * step * t_in[i];
        operation->run(kernels, in, results[3 + side], scratch);
    }
    assert_close(tangent_residual(results[2], results[3], results[4], step, total), BOUND);
    for (int i = 0; i < 5; i++)
        memory_free(results[i]);
    memory_free(in), memory_free(t_in), memory_free(scratch), memory_free(t_scratch);
}

/* What is written does not depend on what was there; what is added does. */
static void check_accumulation(const struct operation *operation)
{
    const struct kernels *kernels = kernels_ref_double();
    struct counts counts = operation->count();
    size_t total = counts.written + counts.added + counts.weights, kept = counts.written + counts.added;
    double *in = doubles_new(counts.inputs, 1), *t_in = doubles_new(counts.inputs, 2);
    double *scratch = doubles_new(SCRATCH, 3), *t_scratch = doubles_new(SCRATCH, 4), *results[4];
    for (int i = 0; i < 4; i++) {
        results[i] = doubles_new(total, 5);
        for (size_t j = 0; j < total; j++)
            results[i][j] = i < 2 ? 0 : 2;
    }
    operation->tangent(kernels, in, t_in, results[0], results[1], scratch, t_scratch);
    operation->tangent(kernels, in, t_in, results[2], results[3], scratch, t_scratch);
    for (size_t i = 0; i < total; i++) {
        bool wanted = !(operation == &norm_operation && is_rms && i >= total - (size_t)width) &&
                      !(operation == &attention_operation && !variant->has_bias && i >= kept);
        assert_near(results[2][i], results[0][i] + (i < counts.written ? 0 : 2), 1e-12);
        assert_near(results[3][i], results[1][i] + (i < counts.written ? 0 : 2), 1e-12);
        assert_true(wanted || results[1][i] == 0);
    }
    for (int i = 0; i < 4; i++)
        memory_free(results[i]);
    memory_free(in), memory_free(t_in), memory_free(scratch), memory_free(t_scratch);
}

/* ---- the cpu body against the reference ---- */

static const struct operation *present;

static void run_present(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    struct counts counts = present->count();
    size_t total = counts.written + counts.added + counts.weights;
    const float *in = shelf_normal(shelf, counts.inputs, 1, 0, 1), *t_in = shelf_normal(shelf, counts.inputs, 2, 0, 1);
    float *scratch = shelf_normal(shelf, SCRATCH, 3, 0, 1), *t_scratch = shelf_normal(shelf, SCRATCH, 4, 0, 1);
    float *out = shelf_take(shelf, total), *t_out = shelf_take(shelf, total);
    present->tangent(kernels, in, t_in, out, t_out, scratch, t_scratch);
    result_add(result, out, total);
    result_add(result, t_out, total);
}

static void check_operation(const struct operation *operation)
{
    check_differences(operation);
    check_accumulation(operation);
}

static void check_cpu(const struct operation *operation)
{
    present = operation;
    check_case(run_present, CPU_BOUND);
}

/* ---- the tests ---- */

static void each_norm(void (*check)(const struct operation *operation))
{
    for (int i = 0; i < 4; i++) {
        is_rms = i & 1;
        has_branch = i & 2;
        print_message("    %s norm, %s branch\n", is_rms ? "root mean square" : "layer", has_branch ? "with" : "no");
        check(&norm_operation);
    }
}

static void each_activation(const struct operation *operation, void (*check)(const struct operation *operation))
{
    for (int i = 0; i < ACTIVATION_COUNT; i++) {
        activation = (enum activation)i;
        print_message("    %s\n", activation_name(activation));
        check(operation);
    }
}

static void each_variant(void (*check)(const struct operation *operation))
{
    for (int i = 0; i < VARIANTS; i++) {
        variant = &attention_variants[i];
        print_message("    %s\n", variant->name);
        check(&attention_operation);
    }
}

static void norm_tangents_are_derivatives(void **state)
{
    (void)state;
    rows = 4, width = 7;
    each_norm(check_operation);
}

static void activation_and_gate_tangents_are_derivatives(void **state)
{
    (void)state;
    rows = 4, width = 7;
    each_activation(&activation_operation, check_operation);
    each_activation(&gate_operation, check_operation);
}

static void attention_tangents_are_derivatives(void **state)
{
    (void)state;
    queries = 7, head_size = 3;
    each_variant(check_operation);
}

static void cross_entropy_tangent_is_the_derivative(void **state)
{
    (void)state;
    rows = 5, width = 7;
    check_operation(&entropy_operation);
}

static void cpu_body_agrees_with_ref(void **state)
{
    (void)state;
    rows = 13, width = 45;
    each_norm(check_cpu);
    each_activation(&activation_operation, check_cpu);
    each_activation(&gate_operation, check_cpu);
    width = 1031;
    check_cpu(&entropy_operation);
    queries = 67, head_size = 5;
    each_variant(check_cpu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norm_tangents_are_derivatives),
        cmocka_unit_test(activation_and_gate_tangents_are_derivatives),
        cmocka_unit_test(attention_tangents_are_derivatives),
        cmocka_unit_test(cross_entropy_tangent_is_the_derivative),
        cmocka_unit_test(cpu_body_agrees_with_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
