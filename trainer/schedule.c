#include <math.h>

#include "base/check.h"
#include "trainer/training.h"

/* The decay's factor at u in [0, 1]: 1 at 0, `minimum` at 1. exponential: A e^-u + B with
 * A = (1 - r) e / (e - 1), B = (r e - 1) / (e - 1), which hits both ends exactly (Power scheduler, arXiv
 * 2408.13359). */
static double decay_factor(enum decay_form form, double u, double minimum)
{
    switch (form) {
    case DECAY_EXPONENTIAL:
        return ((1 - minimum) * exp(1 - u) + minimum * M_E - 1) / (M_E - 1);
    case DECAY_SQRT:
        return minimum + (1 - minimum) * (1 - sqrt(u));
    default:
        return 1 - (1 - minimum) * u;
    }
}

static double factor_constant(const struct training *training, uint64_t step)
{
    (void)training;
    (void)step;
    return 1;
}

static double factor_wsd(const struct training *training, uint64_t step)
{
    const struct schedule_spec *schedule = &training->schedule;
    const uint64_t decay = schedule->decay_steps < training->steps ? schedule->decay_steps : training->steps;
    const uint64_t begin = training->steps - decay;
    if (step < begin) {
        return 1;
    }
    if (decay == 0 || step >= training->steps) {
        return schedule->minimum;
    }
    return decay_factor(schedule->decay_form, (double)(step - begin) / (double)decay, schedule->minimum);
}

/* One function per available row of SCHEDULE_TABLE. */
static double (*const factors[SCHEDULE_COUNT])(const struct training *, uint64_t) = {
    [SCHEDULE_CONSTANT] = factor_constant,
    [SCHEDULE_WSD] = factor_wsd,
};

double schedule_rate(const struct training *training, uint64_t step)
{
    const struct schedule_spec *schedule = &training->schedule;
    CHECK((unsigned)schedule->name < SCHEDULE_COUNT && factors[schedule->name] != NULL);
    const double warmup = step < schedule->warmup_steps ? ((double)step + 1) / (double)schedule->warmup_steps : 1;
    return training->learning_rate * warmup * factors[schedule->name](training, step);
}
