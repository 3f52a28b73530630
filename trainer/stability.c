#include "trainer/stability.h"

#include <math.h>

const double stability_warned_at_start = 1, stability_warned_at_end = 1.5;

/* rate * sharpness at which steps stop shrinking, and what the decay brings along: rate * (sharpness + shift) < bound. */
struct threshold { double bound, shift; };

static struct threshold of_adamw(const struct optimizer_spec *optimizer)
{
    return (struct threshold){(2 + 2 * optimizer->beta1) / (1 - optimizer->beta1), 0};
}

static struct threshold of_sgd(const struct optimizer_spec *optimizer)
{
    const double momentum = optimizer->momentum;
    return (struct threshold){(2 + 2 * momentum) / (optimizer->nesterov ? 1 + 2 * momentum : 1), 0};
}

static struct threshold of_schedule_free(const struct optimizer_spec *optimizer)
{
    const double decay = optimizer->name == OPTIMIZER_SCHEDULE_FREE_ADAMW ? optimizer->weight_decay : 0;
    return (struct threshold){2 / (1 - optimizer_beta(optimizer)), decay};
}

static struct threshold (*const thresholds[OPTIMIZER_COUNT])(const struct optimizer_spec *) = {
    [OPTIMIZER_ADAMW] = of_adamw,
    [OPTIMIZER_SGD] = of_sgd,
    [OPTIMIZER_SCHEDULE_FREE_ADAMW] = of_schedule_free,
    [OPTIMIZER_SCHEDULE_FREE_SGD] = of_schedule_free,
};

struct stability stability_of(const struct optimizer_spec *optimizer, double rate, double sharpness)
{
    if (!(sharpness > 0) || !isfinite(sharpness) || !(rate > 0)) {
        return (struct stability){NAN, NAN};
    }
    const struct threshold threshold = thresholds[optimizer->name](optimizer);
    const double safe = threshold.bound / (sharpness + threshold.shift);
    return (struct stability){rate / safe, safe};
}

double stability_rate(const struct training *training, uint64_t step)
{
    return step == 0 ? training->learning_rate : schedule_rate(training, step);
}
