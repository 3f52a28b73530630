/* Stability thresholds (methods 4.2), by their numbers and by runs on a quadratic. */
#include "tests/support/support.h"

#include <math.h>

#include "trainer/stability.h"

static void thresholds_are_those_of_the_optimizers(void **state)
{
    (void)state;
    struct optimizer_spec spec = optimizer_defaults(OPTIMIZER_SGD);
    spec.momentum = 0;
    assert_true(fabs(stability_of(&spec, 0.1, 20).ratio - 1) < 1e-12);             /* 2 / eta */
    spec.momentum = 0.9;
    assert_true(fabs(stability_of(&spec, 0.1, 38).ratio - 1) < 1e-12);             /* (2 + 2 b) / eta */
    spec.nesterov = true;
    assert_true(fabs(stability_of(&spec, 0.1, 38 / 2.8).ratio - 1) < 1e-12);
    spec = optimizer_defaults(OPTIMIZER_ADAMW);
    assert_true(fabs(stability_of(&spec, 1e-3, 38e3).ratio - 1) < 1e-12);
    assert_true(fabs(stability_of(&spec, 1e-3, 76e3).safe_rate - 5e-4) < 1e-15);
    spec = optimizer_defaults(OPTIMIZER_SCHEDULE_FREE_ADAMW);
    spec.beta1 = 0.9;
    spec.weight_decay = 0.1;
    assert_true(fabs(stability_of(&spec, 1e-2, 2 / (0.1 * 1e-2) - 0.1).ratio - 1) < 1e-12);
    assert_true(isnan(stability_of(&spec, 1e-2, NAN).ratio) && isnan(stability_of(&spec, 1e-2, -1).ratio) &&
                isnan(stability_of(&spec, 0, 1).ratio));
}

/* Gradient descent itself on f(x) = lambda x^2 / 2, by the rules of the optimizers: it shrinks just below the threshold and
 * grows just above. */
static double simulate(bool nesterov, double momentum, double rate, double lambda)
{
    double x = 1, v = 0, largest = 0;
    for (int i = 0; i < 4000 && fabs(x) < 1e9; i++) {
        const double g = lambda * x;
        v = momentum * v + g;
        x -= rate * (nesterov ? g + momentum * v : v);
        largest = i > 3900 || fabs(x) >= 1e9 ? fmax(largest, fabs(x)) : largest;
    }
    return largest;
}

static void runs_grow_just_above_the_threshold_and_shrink_just_below(void **state)
{
    (void)state;
    for (int nesterov = 0; nesterov < 2; nesterov++)
        for (int i = 0; i < 3; i++) {
            struct optimizer_spec spec = optimizer_defaults(OPTIMIZER_SGD);
            spec.momentum = 0.45 * i;
            spec.nesterov = nesterov != 0;
            const double safe = stability_of(&spec, 1, 3).safe_rate;
            assert_true(simulate(spec.nesterov, spec.momentum, 0.98 * safe, 3) < 1e-3);
            assert_true(simulate(spec.nesterov, spec.momentum, 1.02 * safe, 3) > 1e3);
        }
}

TEST_MAIN(cmocka_unit_test(thresholds_are_those_of_the_optimizers),
          cmocka_unit_test(runs_grow_just_above_the_threshold_and_shrink_just_below))
