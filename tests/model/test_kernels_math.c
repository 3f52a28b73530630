/* Accuracy of the cpu body's exp, sigmoid and normal distribution against libm in double, in every form. */
#include "tests/model/numbers.h"

#include "model/kernels_cpu_vector.h"

enum { POINTS = 200001 };

static float sweep_x[POINTS], sweep_y[POINTS];

static float sweep_point(int i, double low, double high)
{
    return (float)(low + (high - low) * i / (POINTS - 1));
}

static void exp_is_within_2e_7_over_its_range(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i < POINTS; i++) {
        float x = sweep_point(i, -87.2, 88.7), y = vector_exp(vector_of(x))[0];
        worst = fmax(worst, fabs(y / exp(x) - 1));
    }
    assert_close(worst, 2e-7);
}

static void exp_has_its_limits(void **state)
{
    (void)state;
    assert_true(vector_exp(vector_of(0))[0] == 1);
    assert_true(vector_exp(vector_of(-88))[0] == 0);
    assert_true(vector_exp(vector_of(-INFINITY))[0] == 0);
    assert_true(vector_exp(vector_of(89.5f))[0] == INFINITY);
    assert_true(vector_exp(vector_of(INFINITY))[0] == INFINITY);
    assert_true(isnan(vector_exp(vector_of(NAN))[0]));
}

/* Largest error of f over [low, high], each point's relative to `unit` + |f|. */
static double sweep_error(const struct kernels *kernels, enum activation activation, bool slope, double low,
                          double high, double unit)
{
    double worst = 0;
    for (int i = 0; i < POINTS; i++) {
        sweep_x[i] = sweep_point(i, low, high);
        sweep_y[i] = 1;
    }
    if (slope)
        kernels->ops->activate_backward(activation, sweep_x, sweep_y, 1, POINTS);
    else
        kernels->ops->activate(activation, sweep_x, NULL, sweep_y, 1, POINTS);
    for (int i = 0; i < POINTS; i++) {
        double x = sweep_x[i], expected = 1;
        if (slope)
            kernels_ref_double()->ops->activate_backward(activation, &x, &expected, 1, 1);
        else
            kernels_ref_double()->ops->activate(activation, &x, NULL, &expected, 1, 1);
        double error = fabs(sweep_y[i] - expected) / (unit + fabs(expected));
        worst = error <= worst ? worst : error;
    }
    return worst;
}

static void activations_are_within_4e_7_of_libm(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
        for (int a = 0; a < ACTIVATION_COUNT; a++) {
            print_message("    %s\n", activation_name((enum activation)a));
            assert_close(sweep_error(*form, (enum activation)a, false, -20, 20, 0.5), 4e-7);
            assert_close(sweep_error(*form, (enum activation)a, true, -20, 20, 0.5), 4e-7);
            assert_close(sweep_error(*form, (enum activation)a, false, -1e30, 1e30, 0.5), 4e-7);
            assert_close(sweep_error(*form, (enum activation)a, true, -1000, 1000, 0.5), 4e-7);
        }
}

/* x sigmoid(x) for x << 0 is x e^x: nothing is lost to cancellation. */
static void silu_keeps_relative_accuracy_far_below_zero(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
        assert_close(sweep_error(*form, ACTIVATION_SILU, false, -80, -1, 1e-35), 5e-7);
}

static void activations_pass_nan_on_and_keep_infinity(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
        for (int a = 0; a < ACTIVATION_COUNT; a++) {
            float x[3] = {NAN, INFINITY, 1e30f}, y[3], d[3] = {1, 1, 1};
            (*form)->ops->activate((enum activation)a, x, NULL, y, 1, 3);
            (*form)->ops->activate_backward((enum activation)a, x, d, 1, 3);
            assert_true(isnan(y[0]) && y[1] == INFINITY && y[2] == 1e30f);
            assert_true(isnan(d[0]) && d[2] == 1);
        }
}

/* The softmax of (0, -x) is e^-x / (1 + e^-x). */
static void softmax_keeps_relative_accuracy_of_small_probabilities(void **state)
{
    (void)state;
    const int32_t target = 0;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        double worst = 0;
        for (int i = 0; i < 1700; i++) {
            float x = 0.05f * (float)i, logits[2] = {0, -x};
            double loss;
            (*form)->ops->cross_entropy_gradient(logits, &target, 1, 2, 1, &loss);
            worst = fmax(worst, fabs(logits[1] / (exp(-(double)x) / (1 + exp(-(double)x))) - 1));
            worst = fmax(worst, fabs(loss - log1p(exp(-(double)x))));
        }
        assert_close(worst, 4e-7);
    }
}

TEST_MAIN(cmocka_unit_test(exp_is_within_2e_7_over_its_range), cmocka_unit_test(exp_has_its_limits),
          cmocka_unit_test(activations_are_within_4e_7_of_libm),
          cmocka_unit_test(silu_keeps_relative_accuracy_far_below_zero),
          cmocka_unit_test(activations_pass_nan_on_and_keep_infinity),
          cmocka_unit_test(softmax_keeps_relative_accuracy_of_small_probabilities))
