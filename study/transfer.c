#include "study/transfer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "study/parabola.h"

static const double confidence = 0.95;

const char *transfer_answer_name(enum transfer_answer answer)
{
    static const char *const names[] = { "yes", "use", "no", "undecided" };
    return names[answer];
}

const char *transfer_size_name(enum transfer_size size)
{
    static const char *const names[TRANSFER_SIZES] = { "small", "grown" };
    return names[size];
}

double transfer_loss(const struct transfer_sweep *sweep, enum transfer_size size, int rate)
{
    double sum = 0;
    for (int seed = 0; seed < sweep->seeds; seed++)
        sum += sweep->runs[size][rate][seed].loss;
    return sum / sweep->seeds;
}

/* ---- resampling */

/* Mean losses of a size over drawn windows and seeds, with noise of the parabola's residuals. */
static void resample(const struct transfer_sweep *sweep, enum transfer_size size, const int *windows, const int *seeds,
                     double deviation, struct rng *rng, double *y)
{
    for (int rate = 0; rate < sweep->rates; rate++) {
        double sum = 0;
        for (int s = 0; s < sweep->seeds; s++) {
            const struct transfer_run *run = &sweep->runs[size][rate][seeds[s]];
            double of_run = run->diverged ? NAN : 0;
            for (int w = 0; !run->diverged && w < sweep->windows; w++)
                of_run += (double)run->losses[windows[w]];
            sum += of_run / sweep->windows;
        }
        y[rate] = sum / sweep->seeds + deviation * rng_normal(rng);
    }
}

struct samples { double *best[TRANSFER_SIZES], *ratio, *cost; int *windows; };

static void samples_fini(struct samples *samples)
{
    memory_free(samples->best[0]);
    memory_free(samples->windows);
}

static int samples_init(struct samples *samples, const struct transfer_sweep *sweep, struct error *error)
{
    samples->best[0] = memory_array((size_t)4 * TRANSFER_RESAMPLES, sizeof(double));
    samples->windows = memory_array((size_t)sweep->windows, sizeof *samples->windows);
    if (!samples->best[0] || !samples->windows) {
        samples_fini(samples);
        return error_set(error, ERROR_NO_MEMORY, "no memory for judging a sweep of learning rates");
    }
    samples->best[1] = samples->best[0] + TRANSFER_RESAMPLES;
    samples->ratio = samples->best[1] + TRANSFER_RESAMPLES;
    samples->cost = samples->ratio + TRANSFER_RESAMPLES;
    return 0;
}

/* Fills sample `count`; false: a resample without a parabola. */
static bool draw(const struct transfer_sweep *sweep, const struct parabola *fitted, const double *x, struct samples *samples,
                 struct rng *rng, int count)
{
    int seeds[TRANSFER_SEEDS_MAX];
    double lowest[TRANSFER_SIZES];
    struct parabola parabola[TRANSFER_SIZES];
    for (int w = 0; w < sweep->windows; w++)
        samples->windows[w] = (int)rng_below(rng, (uint64_t)sweep->windows);
    for (int s = 0; s < sweep->seeds; s++)
        seeds[s] = (int)rng_below(rng, (uint64_t)sweep->seeds);
    for (int size = 0; size < TRANSFER_SIZES; size++) {
        double y[TRANSFER_RATES_MAX];
        resample(sweep, (enum transfer_size)size, samples->windows, seeds, fitted[size].deviation, rng, y);
        if (!parabola_fit(&parabola[size], x, y, sweep->rates))
            return false;
        lowest[size] = parabola_lowest(&parabola[size]);
        samples->best[size][count] = exp(lowest[size]);
    }
    samples->ratio[count] = exp(lowest[TRANSFER_GROWN] - lowest[TRANSFER_SMALL]);
    samples->cost[count] = parabola_at(&parabola[TRANSFER_GROWN], lowest[TRANSFER_SMALL])
                           - parabola_at(&parabola[TRANSFER_GROWN], lowest[TRANSFER_GROWN]);
    return true;
}

/* ---- the answer */

static void answer(struct transfer_verdict *verdict, const struct transfer_sweep *sweep)
{
    double cost = verdict->cost.high, small = verdict->best[TRANSFER_SMALL].middle, grown = verdict->best[TRANSFER_GROWN].middle;
    verdict->recommended = grown;
    if (verdict->at_edge[TRANSFER_SMALL] || verdict->at_edge[TRANSFER_GROWN]) {
        bool at_grown = verdict->at_edge[TRANSFER_GROWN], both = at_grown && verdict->at_edge[TRANSFER_SMALL];
        bool low = (at_grown ? grown : small) < sqrt(sweep->rate[0] * sweep->rate[sweep->rates - 1]);
        verdict->answer = TRANSFER_NO;
        snprintf(verdict->reason, sizeof verdict->reason, "No answer from this sweep: %s lowest loss at its %s end, %.3g. Sweep %s "
                 "rates.", both ? "both sizes have their" : at_grown ? "the grown size has its" : "the small size has its",
                 low ? "lower" : "upper", sweep->rate[low ? 0 : sweep->rates - 1], low ? "lower" : "higher");
    } else if (cost <= sweep->tolerance) {
        verdict->answer = TRANSFER_YES;
        verdict->recommended = small;
        snprintf(verdict->reason, sizeof verdict->reason, "Yes: the small size's best rate, %.3g, costs the grown size %.4f nats "
                 "(at most %.4f), within the tolerance of %.3g.", small, verdict->cost.middle, cost, sweep->tolerance);
    } else if (verdict->cost.low > sweep->tolerance / 2) {
        verdict->answer = TRANSFER_USE;
        snprintf(verdict->reason, sizeof verdict->reason, "No: use %.3g (%.3g to %.3g) at the grown size. The small size's best "
                 "rate, %.3g, costs it %.4f nats (%.4f to %.4f).", grown, verdict->best[TRANSFER_GROWN].low,
                 verdict->best[TRANSFER_GROWN].high, small, verdict->cost.middle, verdict->cost.low, cost);
    } else {
        verdict->answer = TRANSFER_UNDECIDED;
        snprintf(verdict->reason, sizeof verdict->reason, "Undecided: keeping the small size's best rate, %.3g, costs the grown "
                 "size %.4f to %.4f nats, which may or may not be more than the tolerance of %.3g. Its own best is %.3g. More "
                 "--seeds, --steps or --valid-tokens decide.", small, verdict->cost.low, cost, sweep->tolerance, grown);
    }
}

static void answer_without_parabola(struct transfer_verdict *verdict, const struct transfer_sweep *sweep)
{
    verdict->answer = TRANSFER_NO;
    verdict->recommended = NAN;
    snprintf(verdict->reason, sizeof verdict->reason, "No answer from this sweep: fewer than three of its rates train without "
             "diverging at both sizes. Sweep rates below %.3g.", sweep->rate[0]);
}

int transfer_judge(const struct transfer_sweep *sweep, struct transfer_verdict *verdict, struct error *error)
{
    struct parabola fitted[TRANSFER_SIZES];
    double x[TRANSFER_RATES_MAX], lowest[TRANSFER_SIZES];
    struct rng rng = rng_stream(sweep->seed, 0, RNG_BOOTSTRAP);
    struct samples samples = { .windows = NULL };
    const struct interval nothing = { NAN, NAN, NAN };
    int count = 0;
    *verdict = (struct transfer_verdict){ .best = { nothing, nothing }, .ratio = nothing, .cost = nothing };
    for (int i = 0; i < sweep->rates; i++)
        x[i] = log(sweep->rate[i]);
    for (int size = 0; size < TRANSFER_SIZES; size++) {
        double y[TRANSFER_RATES_MAX];
        for (int i = 0; i < sweep->rates; i++)
            y[i] = transfer_loss(sweep, (enum transfer_size)size, i);
        if (!parabola_fit(&fitted[size], x, y, sweep->rates)) {
            answer_without_parabola(verdict, sweep);
            return 0;
        }
        int best = lowest_index(y, sweep->rates);
        bool last = best + 1 == sweep->rates;      /* the next rate diverged: that is no end, it is a cliff */
        lowest[size] = parabola_lowest(&fitted[size]);
        verdict->at_edge[size] = best == 0 || last || !fitted[size].bent;
    }
    if (samples_init(&samples, sweep, error))
        return ERROR_NO_MEMORY;
    for (int i = 0; i < TRANSFER_RESAMPLES; i++)
        count += draw(sweep, fitted, x, &samples, &rng, count);
    const double cost = parabola_at(&fitted[TRANSFER_GROWN], lowest[TRANSFER_SMALL])
                        - parabola_at(&fitted[TRANSFER_GROWN], lowest[TRANSFER_GROWN]);
    for (int size = 0; size < TRANSFER_SIZES && count > 0; size++)
        verdict->best[size] = interval_of(samples.best[size], count, confidence, exp(lowest[size]));
    if (count > 0) {
        verdict->ratio = interval_of(samples.ratio, count, confidence, exp(lowest[TRANSFER_GROWN] - lowest[TRANSFER_SMALL]));
        verdict->cost = interval_of(samples.cost, count, confidence, cost);
        answer(verdict, sweep);
    } else {
        answer_without_parabola(verdict, sweep);
    }
    samples_fini(&samples);
    return 0;
}
