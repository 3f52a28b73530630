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

/* Of the decay over the last decay_steps of the horizon: 1 before it. *begin: the last step that is not of the decay. */
static double tail_factor(const struct training *training, uint64_t step, uint64_t *begin)
{
    const struct schedule_spec *schedule = &training->schedule;
    const uint64_t decay = schedule->decay_steps < training->steps ? schedule->decay_steps : training->steps;
    *begin = training->steps - decay;
    if (step < *begin) {
        return 1;
    }
    if (decay == 0 || step >= training->steps) {
        return schedule->minimum;
    }
    return decay_factor(schedule->decay_form, (double)(step - *begin) / (double)decay, schedule->minimum);
}

static double factor_wsd(const struct training *training, uint64_t step)
{
    uint64_t begin;
    return tail_factor(training, step, &begin);
}

/* How far a step is between the warm-up's end and the horizon: 0 to 1. */
static double progress(const struct training *training, uint64_t step)
{
    const uint64_t begin = training->schedule.warmup_steps;
    if (step >= training->steps) {
        return 1;
    }
    return step <= begin ? 0 : (double)(step - begin) / (double)(training->steps - begin);
}

static double factor_linear(const struct training *training, uint64_t step)
{
    return decay_factor(DECAY_LINEAR, progress(training, step), training->schedule.minimum);
}

static double factor_cosine(const struct training *training, uint64_t step)
{
    const double minimum = training->schedule.minimum;
    return minimum + (1 - minimum) * 0.5 * (1 + cos(M_PI * progress(training, step)));
}

/* 1 at the last update of the warm-up (without one: at the first). */
static double factor_inverse_sqrt(const struct training *training, uint64_t step)
{
    const uint64_t warmup = training->schedule.warmup_steps > 0 ? training->schedule.warmup_steps : 1;
    return step < warmup ? 1 : sqrt((double)warmup / ((double)step + 1));
}

/* B a n^b over the largest rate, at most 1: n tokens when the update's own have been seen. */
static double power_factor(const struct training *training, uint64_t step)
{
    const struct schedule_spec *schedule = &training->schedule;
    const double seen = (double)schedule->tokens_seen + (double)training_tokens(training, step + 1) -
                        (double)training_tokens(training, schedule->tokens_step);
    const double batch = (double)training->batch * training->context / 4096;
    return fmin(1, batch * schedule->a * pow(seen, schedule->b) / training->learning_rate);
}

static double factor_power(const struct training *training, uint64_t step)
{
    const uint64_t warmup = training->schedule.warmup_steps;
    uint64_t begin;
    const double tail = tail_factor(training, step, &begin);
    if (step + 1 < warmup) {
        step = warmup - 1;                   /* the warm-up rises to the law's value at its end */
    }
    if (step >= begin) {
        step = begin > 0 ? begin - 1 : 0;    /* the decay falls from the law's value before it */
    }
    return tail * power_factor(training, step);
}

/* One function per row of SCHEDULE_TABLE. */
static double (*const factors[SCHEDULE_COUNT])(const struct training *, uint64_t) = {
    [SCHEDULE_CONSTANT] = factor_constant,
    [SCHEDULE_WSD] = factor_wsd,
    [SCHEDULE_LINEAR] = factor_linear,
    [SCHEDULE_COSINE] = factor_cosine,
    [SCHEDULE_POWER] = factor_power,
    [SCHEDULE_INVERSE_SQRT] = factor_inverse_sqrt,
};

double schedule_rate(const struct training *training, uint64_t step)
{
    const struct schedule_spec *schedule = &training->schedule;
    CHECK((unsigned)schedule->name < SCHEDULE_COUNT && factors[schedule->name] != NULL);
    const double warmup = step < schedule->warmup_steps ? ((double)step + 1) / (double)schedule->warmup_steps : 1;
    return training->learning_rate * warmup * factors[schedule->name](training, step) *
           learners_rate_factor(training, step);
}
