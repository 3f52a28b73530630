/* The reference body in double: products against indexed sums, every other operation's backward against central
 * differences of its forward. */
#include "tests/model/numbers.h"

#include "model/network.h"

static const double BOUND = 2e-8;
static const struct kernel_ops *ops;

enum { ROWS = 4, WIDTH = 7 };

/* ---- product ---- */

static void product_agrees_with_sums(bool transpose_a, bool transpose_b, double alpha, double beta)
{
    enum { M = 3, N = 4, K = 5, LDA = 8, LDB = 9, LDC = 6 };
    double a[K * LDA], b[K * LDB], c[M * LDC], before[M * LDC], worst = 0;
    struct product product = {
        .m = M, .n = N, .k = K, .transpose_a = transpose_a, .transpose_b = transpose_b, .lda = LDA, .ldb = LDB,
        .ldc = LDC, .alpha = alpha, .beta = beta,
    };
    fill_normal(a, K * LDA, 1, 0, 1);
    fill_normal(b, K * LDB, 2, 0, 1);
    fill_normal(c, M * LDC, 3, 0, 1);
    memcpy(before, c, sizeof c);
    ops->product(&product, a, b, c);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < LDC; j++) {
            double expected = before[i * LDC + j];
            if (j < N) {
                double sum = 0;
                for (int k = 0; k < K; k++)
                    sum += a[transpose_a ? k * LDA + i : i * LDA + k] * b[transpose_b ? j * LDB + k : k * LDB + j];
                expected = alpha * sum + beta * expected;
            }
            worst = fmax(worst, fabs(c[i * LDC + j] - expected));
        }
    assert_close(worst, 1e-14);
}

static void product_is_the_sum_in_every_orientation(void **state)
{
    (void)state;
    for (int t = 0; t < 4; t++) {
        product_agrees_with_sums(t & 1, t & 2, 1, 0);
        product_agrees_with_sums(t & 1, t & 2, 0.5, 1);
        product_agrees_with_sums(t & 1, t & 2, 2, -0.25);
    }
}

static void product_without_beta_does_not_read_its_result(void **state)
{
    (void)state;
    double a = 2, b = 3, c = NAN;
    struct product product = {.m = 1, .n = 1, .k = 1, .lda = 1, .ldb = 1, .ldc = 1, .alpha = 1};
    ops->product(&product, &a, &b, &c);
    assert_true(c == 6);
}

/* ---- embedding and bias ---- */

static void embed_looks_up_and_its_backward_adds_repeated_tokens(void **state)
{
    (void)state;
    const int32_t tokens[] = {1, 0, 1, 1};
    const double table[] = {1, 2, 3, 4}, positions[] = {10, 20, 30, 40};
    const double d_x[] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct embedding embedding = {2, 2, 2};
    double x[8], d_table[4] = {100, 0, 0, 0}, d_positions[4] = {0, 0, 0, 100};
    ops->embed(&embedding, tokens, table, positions, x);
    const double expected[] = {13, 24, 31, 42, 13, 24, 33, 44};
    assert_memory_equal(x, expected, sizeof x);
    ops->embed_backward(&embedding, tokens, d_x, d_table, d_positions);
    const double expected_table[] = {103, 4, 13, 16}, expected_positions[] = {6, 8, 10, 112};
    assert_memory_equal(d_table, expected_table, sizeof d_table);
    assert_memory_equal(d_positions, expected_positions, sizeof d_positions);
    ops->embed(&embedding, tokens, table, NULL, x);
    assert_true(x[0] == 3 && x[3] == 2);
}

static void bias_is_added_to_rows_and_its_gradient_is_the_column_sum(void **state)
{
    (void)state;
    double x[] = {1, 2, 3, 4, 5, 6}, d_bias[] = {0, 0, 1};
    const double bias[] = {10, 20, 30}, expected[] = {11, 22, 33, 14, 25, 36}, expected_d[] = {25, 47, 70};
    ops->bias_add(x, bias, 2, 3);
    assert_memory_equal(x, expected, sizeof x);
    ops->bias_backward(x, d_bias, 2, 3);
    assert_memory_equal(d_bias, expected_d, sizeof d_bias);
}

/* ---- layer norm ---- */

struct norm_case {
    double x[ROWS * WIDTH], branch[ROWS * WIDTH], branch_bias[WIDTH], gain[WIDTH], bias[WIDTH];
    double weight[ROWS * WIDTH];               /* value = sum of weight * out */
    double sum[ROWS * WIDTH], out[ROWS * WIDTH], statistics[2 * ROWS];
};

static double norm_value(void *context)
{
    struct norm_case *c = context;
    struct norm norm = {.rows = ROWS, .width = WIDTH, .epsilon = 1e-5};
    struct norm_forward buffers = {c->x, c->branch, c->branch_bias, c->gain, c->bias, c->sum, c->out, c->statistics};
    ops->layer_norm(&norm, &buffers);
    return dot_doubles(c->weight, c->out, ROWS * WIDTH);
}

static void norm_case_fill(struct norm_case *c)
{
    fill_normal(c->x, ROWS * WIDTH, 11, 1, 2);
    fill_normal(c->branch, ROWS * WIDTH, 12, 0, 1);
    fill_normal(c->branch_bias, WIDTH, 13, 0, 1);
    fill_normal(c->gain, WIDTH, 14, 1, 0.3);
    fill_normal(c->bias, WIDTH, 15, 0, 0.3);
    fill_normal(c->weight, ROWS * WIDTH, 16, 0, 1);
}

static void layer_norm_normalises_the_joined_stream(void **state)
{
    (void)state;
    struct norm_case c;
    norm_case_fill(&c);
    norm_value(&c);
    for (int i = 0; i < ROWS; i++) {
        double mean = 0, square = 0;
        for (int j = 0; j < WIDTH; j++) {
            double n = (c.out[i * WIDTH + j] - c.bias[j]) / c.gain[j];
            assert_true(c.sum[i * WIDTH + j] == c.x[i * WIDTH + j] + c.branch[i * WIDTH + j] + c.branch_bias[j]);
            mean += n / WIDTH;
            square += n * n / WIDTH;
        }
        assert_close(fabs(mean), 1e-12);
        assert_close(fabs(square - 1), 1e-4);    /* epsilon */
    }
}

static void layer_norm_backward_is_the_derivative(void **state)
{
    (void)state;
    struct norm_case c;
    double d_sum[ROWS * WIDTH] = {0}, d_gain[WIDTH] = {0}, d_bias[WIDTH] = {0};
    norm_case_fill(&c);
    norm_value(&c);
    struct norm norm = {.rows = ROWS, .width = WIDTH, .epsilon = 1e-5};
    struct norm_backward buffers = {c.sum, c.statistics, c.gain, c.weight, d_sum, d_gain, d_bias};
    ops->layer_norm_backward(&norm, &buffers);
    assert_close(difference_residual(norm_value, &c, c.x, d_sum, ROWS * WIDTH), BOUND);
    assert_close(difference_residual(norm_value, &c, c.branch, d_sum, ROWS * WIDTH), BOUND);
    assert_close(difference_residual(norm_value, &c, c.gain, d_gain, WIDTH), BOUND);
    assert_close(difference_residual(norm_value, &c, c.bias, d_bias, WIDTH), BOUND);
    ops->layer_norm_backward(&norm, &buffers);    /* accumulates */
    for (int j = 0; j < WIDTH; j++)
        d_gain[j] /= 2;
    assert_close(difference_residual(norm_value, &c, c.gain, d_gain, WIDTH), BOUND);
}

/* ---- activations ---- */

struct activation_case {
    enum activation activation;
    double x[ROWS * WIDTH], weight[ROWS * WIDTH];
};

static double activation_value(void *context)
{
    struct activation_case *c = context;
    double out[ROWS * WIDTH];
    ops->activate(c->activation, c->x, NULL, out, ROWS, WIDTH);
    return dot_doubles(c->weight, out, ROWS * WIDTH);
}

static void every_activation_backward_is_the_derivative(void **state)
{
    (void)state;
    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        struct activation_case c = {.activation = (enum activation)a};
        double d[ROWS * WIDTH];
        fill_normal(c.x, ROWS * WIDTH, 21, 0, 2);
        fill_normal(c.weight, ROWS * WIDTH, 22, 0, 1);
        memcpy(d, c.weight, sizeof d);
        ops->activate_backward(c.activation, c.x, d, ROWS, WIDTH);
        print_message("    %s\n", activation_name(c.activation));
        assert_close(difference_residual(activation_value, &c, c.x, d, ROWS * WIDTH), BOUND);
    }
}

/* Values from the definitions: GELU(1) = Phi(1), its tanh form, SiLU(1) = 1 / (1 + 1/e). */
static void activations_have_their_known_values_at_one(void **state)
{
    (void)state;
    const double expected[] = {
        [ACTIVATION_GELU_TANH] = 0.84119199060827676,
        [ACTIVATION_GELU_ERF] = 0.84134474606854293,
        [ACTIVATION_RELU] = 1,
        [ACTIVATION_SILU] = 0.73105857863000488,
    };
    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        double x = 0.25, bias = 0.75, out;
        ops->activate((enum activation)a, &x, &bias, &out, 1, 1);
        assert_true(x == 1);
        assert_near(out, expected[a], 1e-15);
    }
}

/* ---- attention ---- */

enum { BATCH = 2, QUERIES = 5, HEADS = 4, KV_HEADS = 2, HEAD_SIZE = 3, STRIDE = (HEADS + 2 * KV_HEADS) * HEAD_SIZE };
enum { OUT_STRIDE = HEADS * HEAD_SIZE, JOINED = BATCH * QUERIES * STRIDE, OUT = BATCH * QUERIES * OUT_STRIDE };

struct attention_case {
    struct attention sizes;
    double joined[JOINED], weight[OUT], out[OUT], lse[BATCH * HEADS * QUERIES], scratch[64];
};

static double attention_value(void *context)
{
    struct attention_case *c = context;
    struct attention_forward buffers = {
        .q = c->joined, .k = c->joined + OUT_STRIDE, .v = c->joined + OUT_STRIDE + KV_HEADS * HEAD_SIZE,
        .out = c->out, .lse = c->lse, .scratch = c->scratch,
    };
    ops->attention(&c->sizes, &buffers);
    return dot_doubles(c->weight, c->out, OUT);
}

static struct attention_case attention_case_of(bool causal)
{
    struct attention_case c = {
        .sizes = {.batch = BATCH, .heads = HEADS, .kv_heads = KV_HEADS, .head_size = HEAD_SIZE, .queries = QUERIES,
                  .keys = QUERIES, .causal = causal, .scale = 0.7, .q_stride = STRIDE, .kv_stride = STRIDE,
                  .out_stride = OUT_STRIDE},
    };
    fill_normal(c.joined, JOINED, 31, 0, 1);
    fill_normal(c.weight, OUT, 32, 0, 1);
    assert_true(ops->attention_scratch(&c.sizes) <= 64);
    return c;
}

static void attention_backward_is_the_derivative(void **state)
{
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct attention_case c = attention_case_of(causal);
        double d_joined[JOINED];
        attention_value(&c);
        size_t k = OUT_STRIDE, v = OUT_STRIDE + KV_HEADS * HEAD_SIZE;
        struct attention_backward buffers = {
            .q = c.joined, .k = c.joined + k, .v = c.joined + v, .out = c.out, .lse = c.lse, .d_out = c.weight,
            .d_q = d_joined, .d_k = d_joined + k, .d_v = d_joined + v, .scratch = c.scratch,
        };
        ops->attention_backward(&c.sizes, &buffers);
        assert_close(difference_residual(attention_value, &c, c.joined, d_joined, JOINED), BOUND);
    }
}

/* The last query of a causal row sees all keys, the first only its own value. */
static void causal_attention_sees_no_later_key(void **state)
{
    (void)state;
    struct attention_case c = attention_case_of(true);
    double before[OUT];
    attention_value(&c);
    for (int h = 0; h < HEADS; h++)
        assert_near(c.out[h * HEAD_SIZE], c.joined[OUT_STRIDE + KV_HEADS * HEAD_SIZE + h / 2 * HEAD_SIZE], 1e-14);
    memcpy(before, c.out, sizeof before);
    for (int i = 0; i < STRIDE; i++)
        c.joined[3 * STRIDE + i] += 5;            /* position 3 of row 0 */
    attention_value(&c);
    assert_memory_equal(c.out, before, 3 * OUT_STRIDE * sizeof(double));
    assert_true(c.out[4 * OUT_STRIDE] != before[4 * OUT_STRIDE]);
    assert_memory_equal(c.out + 5 * OUT_STRIDE, before + 5 * OUT_STRIDE, 5 * OUT_STRIDE * sizeof(double));
}

/* ---- cross-entropy ---- */

struct entropy_case { double logits[ROWS * WIDTH]; };
static const int32_t entropy_targets[ROWS] = {0, WIDTH - 1, TARGET_IGNORED, 3};

static double entropy_value(void *context)
{
    struct entropy_case *c = context;
    double losses[ROWS], sum = 0;
    ops->cross_entropy(c->logits, entropy_targets, ROWS, WIDTH, losses);
    for (int i = 0; i < ROWS; i++)
        sum += 0.5 * losses[i];
    return sum;
}

static void cross_entropy_gradient_is_the_derivative_and_skips_ignored(void **state)
{
    (void)state;
    struct entropy_case c;
    double d[ROWS * WIDTH], losses[ROWS], again[ROWS];
    fill_normal(c.logits, ROWS * WIDTH, 41, 0, 3);
    memcpy(d, c.logits, sizeof d);
    ops->cross_entropy_gradient(d, entropy_targets, ROWS, WIDTH, 0.5, losses);
    ops->cross_entropy(c.logits, entropy_targets, ROWS, WIDTH, again);
    assert_memory_equal(losses, again, sizeof losses);
    assert_true(losses[2] == 0);
    for (int j = 0; j < WIDTH; j++)
        assert_true(d[2 * WIDTH + j] == 0);
    assert_close(difference_residual(entropy_value, &c, c.logits, d, ROWS * WIDTH), BOUND);
}

static void cross_entropy_of_equal_logits_is_the_log_of_the_vocabulary(void **state)
{
    (void)state;
    double logits[WIDTH], loss;
    const int32_t target = 2;
    for (int j = 0; j < WIDTH; j++)
        logits[j] = 1000;                          /* exp would overflow without the shift */
    ops->cross_entropy(logits, &target, 1, WIDTH, &loss);
    assert_near(loss, log(WIDTH), 1e-12);
}

/* ---- vectors ---- */

/* g' = 0.5 * 4 + 0.1 * 1 = 2.1 */
static void sgd_takes_the_steps_of_its_definition(void **state)
{
    (void)state;
    double w = 1, b = 2, g = 4;
    struct sgd_step step = {.rate = 0.1, .momentum = 0.5, .decay = 0.1, .gradient_scale = 0.5};
    kernels_ref_double()->sgd(&step, &w, &b, &g, 1);
    assert_near(b, 3.1, 1e-15);
    assert_near(w, 0.69, 1e-15);
    w = 1;
    b = 2;
    step.nesterov = true;
    kernels_ref_double()->sgd(&step, &w, &b, &g, 1);
    assert_near(b, 3.1, 1e-15);
    assert_near(w, 1 - 0.1 * (2.1 + 0.5 * 3.1), 1e-15);
}

/* y = 0.75 * 1 + 0.25 * 5 = 2; g' = 1, with v = 0.5 * 3 + 0.5 * 1 = 2 over 0.5: 1 / 2. */
static void schedule_free_takes_the_steps_of_its_definition(void **state)
{
    (void)state;
    double x = 1, z = 5, v = 3, g = 2;
    struct schedule_free_step step = {.rate = 0.1, .beta = 0.75, .decay = 0.5, .gradient_scale = 0.5, .weight = 0.25};
    kernels_ref_double()->schedule_free(&step, &x, &z, NULL, &g, 1);
    assert_near(z, 4.8, 1e-15);
    assert_near(x, 1.95, 1e-15);
    x = 1;
    z = 5;
    step.beta2 = 0.5;
    step.correction2 = 0.5;
    step.decay_at_z = true;
    kernels_ref_double()->schedule_free(&step, &x, &z, &v, &g, 1);
    assert_near(v, 2, 1e-15);
    assert_near(z, 5 - 0.1 * (0.5 + 2.5), 1e-15);
    assert_near(x, 1 + 0.25 * 3.7, 1e-15);
}

/* Two steps by hand: after the first, m / (1 - b1) = g and v / (1 - b2) = g^2, so the step is rate * sign(g). */
static void adamw_takes_the_steps_of_its_definition(void **state)
{
    (void)state;
    double w = 1, m = 0, v = 0, g = -4;
    struct adamw_step step = {0.1, 0.9, 0.99, 0, 0.5, 0.5, 1 - 0.9, 1 - 0.99};
    kernels_ref_double()->adamw(&step, &w, &m, &v, &g, 1);
    assert_near(w, 0.95 + 0.1, 1e-14);
    assert_near(m, -0.2, 1e-15);
    assert_near(v, 0.04, 1e-15);
    step.correction1 = 1 - 0.9 * 0.9;
    step.correction2 = 1 - 0.99 * 0.99;
    g = 2;
    kernels_ref_double()->adamw(&step, &w, &m, &v, &g, 1);
    assert_near(m, -0.08, 1e-15);
    assert_near(v, 0.0496, 1e-15);
    assert_near(w, 1.05 * 0.95 + 0.1 / 0.19 * 0.08 / sqrt(0.0496 / 0.0199), 1e-14);
}

static void lerp_and_sum_squares_do_what_they_say(void **state)
{
    (void)state;
    double a[] = {1, 2, 3};
    const double b[] = {3, 2, -1};
    kernels_ref_double()->lerp(a, b, 0.25, 3);
    assert_true(a[0] == 1.5 && a[1] == 2 && a[2] == 2);
    assert_true(kernels_ref_double()->sum_squares(a, 3) == 10.25);
    kernels_ref_double()->zero(a, 2);
    assert_true(a[0] == 0 && a[1] == 0 && a[2] == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product_is_the_sum_in_every_orientation),
        cmocka_unit_test(product_without_beta_does_not_read_its_result),
        cmocka_unit_test(embed_looks_up_and_its_backward_adds_repeated_tokens),
        cmocka_unit_test(bias_is_added_to_rows_and_its_gradient_is_the_column_sum),
        cmocka_unit_test(layer_norm_normalises_the_joined_stream),
        cmocka_unit_test(layer_norm_backward_is_the_derivative),
        cmocka_unit_test(every_activation_backward_is_the_derivative),
        cmocka_unit_test(activations_have_their_known_values_at_one),
        cmocka_unit_test(attention_backward_is_the_derivative),
        cmocka_unit_test(causal_attention_sees_no_later_key),
        cmocka_unit_test(cross_entropy_gradient_is_the_derivative_and_skips_ignored),
        cmocka_unit_test(cross_entropy_of_equal_logits_is_the_log_of_the_vocabulary),
        cmocka_unit_test(adamw_takes_the_steps_of_its_definition),
        cmocka_unit_test(sgd_takes_the_steps_of_its_definition),
        cmocka_unit_test(schedule_free_takes_the_steps_of_its_definition),
        cmocka_unit_test(lerp_and_sum_squares_do_what_they_say),
    };
    ops = kernels_ref_double()->ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
