/* Operations that came with the llama-like families and T5: gates, rotary positions, the root mean square norm. The
 * reference against definitions and central differences, the cpu body against the reference. */
#include "tests/model/shelf.h"

static const double BOUND = 2e-8, CPU_BOUND = 3e-6;
static const struct kernel_ops *ops;

enum { ROWS = 4, WIDTH = 7, STRIDE = 2 * WIDTH + 3, JOINED = ROWS * STRIDE, NUMBERS = ROWS * WIDTH };

/* ---- gates ---- */

struct gate_case {
    enum activation activation;
    double joined[JOINED], weight[NUMBERS], out[NUMBERS];
};

static double gate_value(void *context)
{
    struct gate_case *c = context;
    ops->gate(c->activation, c->joined, c->joined + WIDTH, c->out, ROWS, WIDTH, STRIDE);
    return dot_doubles(c->weight, c->out, NUMBERS);
}

static void every_gate_multiplies_and_its_backward_is_the_derivative(void **state)
{
    (void)state;
    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        struct gate_case c = {.activation = (enum activation)a};
        double d[JOINED] = {0}, activated[NUMBERS];
        fill_normal(c.joined, JOINED, 1, 0, 2);
        fill_normal(c.weight, NUMBERS, 2, 0, 1);
        for (int i = 0; i < ROWS; i++)
            ops->activate(c.activation, c.joined + i * STRIDE, NULL, activated + i * WIDTH, 1, WIDTH);
        gate_value(&c);
        for (int i = 0; i < NUMBERS; i++)
            assert_near(c.out[i], activated[i] * c.joined[i / WIDTH * STRIDE + WIDTH + i % WIDTH], 1e-15);
        ops->gate_backward(c.activation, c.joined, c.joined + WIDTH, c.weight, d, d + WIDTH, ROWS, WIDTH, STRIDE);
        print_message("    %s\n", activation_name(c.activation));
        assert_close(difference_residual(gate_value, &c, c.joined, d, JOINED), BOUND);
    }
}

/* Results may lie on inputs where both have the same rows. */
static void gates_work_in_place(void **state)
{
    (void)state;
    double gates[NUMBERS], up[NUMBERS], expected[NUMBERS], d_out[NUMBERS], d_gate[NUMBERS], d_up[NUMBERS];
    fill_normal(gates, NUMBERS, 1, 0, 1);
    fill_normal(up, NUMBERS, 2, 0, 1);
    fill_normal(d_out, NUMBERS, 3, 0, 1);
    ops->gate(ACTIVATION_SILU, gates, up, expected, ROWS, WIDTH, WIDTH);
    ops->gate_backward(ACTIVATION_SILU, gates, up, d_out, d_gate, d_up, ROWS, WIDTH, WIDTH);
    for (int i = 0; i < 2; i++) {
        double in_place[NUMBERS], other[NUMBERS];
        memcpy(in_place, i == 0 ? gates : up, sizeof in_place);
        ops->gate(ACTIVATION_SILU, i == 0 ? in_place : gates, i == 0 ? up : in_place, in_place, ROWS, WIDTH, WIDTH);
        assert_memory_equal(in_place, expected, sizeof expected);
        memcpy(in_place, d_out, sizeof in_place);
        ops->gate_backward(ACTIVATION_SILU, gates, up, in_place, i == 0 ? in_place : other, i == 0 ? other : in_place,
                           ROWS, WIDTH, WIDTH);
        assert_memory_equal(i == 0 ? in_place : other, d_gate, sizeof d_gate);
        assert_memory_equal(i == 0 ? other : in_place, d_up, sizeof d_up);
    }
}

/* ---- rotary positions ---- */

enum { BATCH = 2, POSITIONS = 3, HEADS = 2, HALF = 2, ROTATED = BATCH * POSITIONS * 10 };

static void angles(double *cosines, double *sines)
{
    for (int i = 0; i < POSITIONS * HALF; i++) {
        cosines[i] = cos(0.3 * i + 0.1);
        sines[i] = sin(0.3 * i + 0.1);
    }
}

/* x[d] + i x[d + D / 2] is a complex number that turns. */
static void rotate_turns_the_two_halves_of_each_head(void **state)
{
    (void)state;
    struct rotation rotation = {.batch = BATCH, .positions = POSITIONS, .heads = HEADS, .head_size = 2 * HALF,
                                .stride = 10};
    double before[ROTATED], x[ROTATED], cosines[POSITIONS * HALF], sines[POSITIONS * HALF];
    fill_normal(before, ROTATED, 1, 0, 1);
    memcpy(x, before, sizeof x);
    angles(cosines, sines);
    ops->rotate(&rotation, cosines, sines, x);
    for (int i = 0; i < BATCH * POSITIONS; i++)
        for (int c = 0; c < 10; c++) {
            double *after = x + i * 10 + c, *from = before + i * 10 + c, angle = 0.3 * (i % 3 * HALF + c % HALF) + 0.1;
            if (c >= HEADS * 2 * HALF)
                assert_true(*after == *from);
            else if (c % 4 < HALF)
                assert_near(*after, from[0] * cos(angle) - from[HALF] * sin(angle), 1e-15);
            else
                assert_near(*after, from[0] * cos(angle) + from[-HALF] * sin(angle), 1e-15);
        }
    rotation.inverse = true;
    ops->rotate(&rotation, cosines, sines, x);
    for (int i = 0; i < ROTATED; i++)
        assert_near(x[i], before[i], 1e-15);
}

/* <rotate x, y> = <x, rotate^-1 y>: the inverse is the transpose, which is what a backward pass needs. */
static void inverse_rotation_is_the_backward_pass(void **state)
{
    (void)state;
    struct rotation rotation = {.batch = BATCH, .positions = POSITIONS, .heads = HEADS, .head_size = 2 * HALF,
                                .stride = 10};
    double x[ROTATED], y[ROTATED], turned[ROTATED], back[ROTATED], cosines[POSITIONS * HALF], sines[POSITIONS * HALF];
    fill_normal(x, ROTATED, 1, 0, 1);
    fill_normal(y, ROTATED, 2, 0, 1);
    memcpy(turned, x, sizeof x);
    memcpy(back, y, sizeof y);
    angles(cosines, sines);
    ops->rotate(&rotation, cosines, sines, turned);
    rotation.inverse = true;
    ops->rotate(&rotation, cosines, sines, back);
    assert_near(dot_doubles(turned, y, ROTATED), dot_doubles(x, back, ROTATED), 1e-13);
}

/* ---- root mean square norm ---- */

struct norm_case {
    double x[NUMBERS], branch[NUMBERS], gain[WIDTH], weight[NUMBERS], sum[NUMBERS], out[NUMBERS], statistics[2 * ROWS];
};

static const struct norm rms = {.rows = ROWS, .width = WIDTH, .epsilon = 1e-3, .rms = true};

static double norm_value(void *context)
{
    struct norm_case *c = context;
    struct norm_forward buffers = {.x = c->x, .branch = c->branch, .gain = c->gain, .sum = c->sum, .out = c->out,
                                   .statistics = c->statistics};
    ops->layer_norm(&rms, &buffers);
    return dot_doubles(c->weight, c->out, NUMBERS);
}

static void rms_norm_divides_by_the_root_mean_square(void **state)
{
    (void)state;
    struct norm_case c;
    double d_sum[NUMBERS] = {0}, d_gain[WIDTH] = {0};
    fill_normal(c.x, NUMBERS, 1, 1, 2);
    fill_normal(c.branch, NUMBERS, 2, 0, 1);
    fill_normal(c.gain, WIDTH, 3, 1, 0.3);
    fill_normal(c.weight, NUMBERS, 4, 0, 1);
    norm_value(&c);
    for (int i = 0; i < ROWS; i++) {
        const double *sum = c.sum + i * WIDTH;
        double root = sqrt(dot_doubles(sum, sum, WIDTH) / WIDTH + 1e-3);
        assert_true(c.statistics[2 * i] == 0);
        for (int j = 0; j < WIDTH; j++)
            assert_near(c.out[i * WIDTH + j], sum[j] / root * c.gain[j], 1e-15);
    }
    struct norm_backward backward = {.sum = c.sum, .statistics = c.statistics, .gain = c.gain, .d_out = c.weight,
                                     .d_sum = d_sum, .d_gain = d_gain};
    ops->layer_norm_backward(&rms, &backward);
    assert_close(difference_residual(norm_value, &c, c.x, d_sum, NUMBERS), BOUND);
    assert_close(difference_residual(norm_value, &c, c.branch, d_sum, NUMBERS), BOUND);
    assert_close(difference_residual(norm_value, &c, c.gain, d_gain, WIDTH), BOUND);
}

/* ---- the cpu body ---- */

static void run_gates(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    enum { N = 13, F = 45, APART = 97 };
    for (int a = 0; a < ACTIVATION_COUNT; a++) {
        const float *joined = shelf_normal(shelf, N * APART, 1, 0, 2), *d_out = shelf_normal(shelf, N * F, 2, 0, 1);
        float *out = shelf_take(shelf, N * F), *d = shelf_normal(shelf, N * APART, 3, 0, 1);
        enum activation activation = (enum activation)a;
        kernels->ops->gate(activation, joined, joined + F, out, N, F, APART);
        kernels->ops->gate_backward(activation, joined, joined + F, d_out, d, d + F, N, F, APART);
        result_add(result, out, N * F);
        result_add(result, d, N * APART);
    }
}

static void run_rotations(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    for (int half = 37; half > 0; half /= 3) {
        struct rotation rotation = {.batch = 2, .positions = 9, .heads = 3, .head_size = 2 * half,
                                    .stride = 6 * half + 5};
        size_t numbers = (size_t)(18 * rotation.stride), of_angles = (size_t)(9 * half);
        float *x = shelf_normal(shelf, numbers, 1, 0, 1), *y = shelf_normal(shelf, numbers, 2, 0, 1);
        const float *cosines = shelf_normal(shelf, of_angles, 3, 0, 1);
        const float *sines = shelf_normal(shelf, of_angles, 4, 0, 1);
        kernels->ops->rotate(&rotation, cosines, sines, x);
        rotation.inverse = true;
        kernels->ops->rotate(&rotation, cosines, sines, y);
        result_add(result, x, numbers);
        result_add(result, y, numbers);
    }
}

static void run_rms(const struct kernels *kernels, struct shelf *shelf, struct result *result)
{
    enum { N = 11, C = 45 };
    struct norm norm = {.rows = N, .width = C, .epsilon = 1e-6, .rms = true};
    float *out = shelf_take(shelf, N * C), *statistics = shelf_take(shelf, 2 * N), *sum = shelf_take(shelf, N * C);
    float *d_sum = shelf_normal(shelf, N * C, 1, 0, 1), *d_gain = shelf_normal(shelf, C, 2, 0, 1);
    const float *gain = shelf_normal(shelf, C, 3, 1, 0.3f), *d_out = shelf_normal(shelf, N * C, 4, 0, 1);
    const float *x = shelf_normal(shelf, N * C, 5, 2, 1), *branch = shelf_normal(shelf, N * C, 6, 0, 1);
    struct norm_forward forward = {.x = x, .branch = branch, .gain = gain, .sum = sum, .out = out,
                                   .statistics = statistics};
    struct norm_backward backward = {.sum = sum, .statistics = statistics, .gain = gain, .d_out = d_out,
                                     .d_sum = d_sum, .d_gain = d_gain};
    kernels->ops->layer_norm(&norm, &forward);
    kernels->ops->layer_norm_backward(&norm, &backward);
    result_add(result, out, N * C);
    result_add(result, statistics, 2 * N);
    result_add(result, d_sum, N * C);
    result_add(result, d_gain, C);
}

static void cpu_body_agrees_with_ref(void **state)
{
    (void)state;
    check_case(run_gates, CPU_BOUND);
    check_case(run_rotations, CPU_BOUND);
    check_case(run_rms, CPU_BOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gate_multiplies_and_its_backward_is_the_derivative),
        cmocka_unit_test(gates_work_in_place),
        cmocka_unit_test(rotate_turns_the_two_halves_of_each_head),
        cmocka_unit_test(inverse_rotation_is_the_backward_pass),
        cmocka_unit_test(rms_norm_divides_by_the_root_mean_square),
        cmocka_unit_test(cpu_body_agrees_with_ref),
    };
    ops = kernels_ref_double()->ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
