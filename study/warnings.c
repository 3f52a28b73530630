/* Warnings of an outcome: what a reader of the ranking must know. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "study/outcome.h"
#include "trainer/stability.h"

/* Candidates are called of unequal cost when their FLOPs per token differ by more than this (contract 2). */
static const double cost_tolerance = 0.05;

static void warn(struct assembly *assembly, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct assembly *assembly, const char *format, ...)
{
    struct study_outcome *outcome = assembly->outcome;
    va_list arguments;
    if (outcome->warning_count >= OUTCOME_WARNINGS_EACH * assembly->study->spec->candidate_count + OUTCOME_WARNINGS_EXTRA)
        return;
    va_start(arguments, format);
    vsnprintf(outcome->warnings[outcome->warning_count++], sizeof outcome->warnings[0], format, arguments);
    va_end(arguments);
}

/* Second moments that no step has filled: what a measurement takes instead, g^2 of its batch, has entries near zero. */
static bool guesses_moments(const struct assembly *assembly, int i)
{
    const struct study_spec *spec = assembly->study->spec;
    enum optimizer_name name = spec->training.optimizer.name;
    return (name == OPTIMIZER_ADAMW || name == OPTIMIZER_SCHEDULE_FREE_ADAMW) && spec->candidates[i].moments == MOMENTS_RESET;
}

static void warn_of_start(struct assembly *assembly, int i, const struct landscape_values *start)
{
    const char *name = assembly->study->spec->candidates[i].name;
    double rate = assembly->study->spec->training.learning_rate;
    if (guesses_moments(assembly, i))
        warn(assembly, "\"%s\" starts above the edge of stability: its stability ratio at step 0 is %.3g at the learning rate "
             "%.3g; %.3g would be safe there without a warm-up. Before the first step the optimizer's v is taken as g^2 of one "
             "batch, near 0 in places, so that nearly every AdamW study is above 1 here: a warm-up lowers it, and the ratio at "
             "a later step, if measured, tells more.", name, start->stability_ratio, rate, start->safe_rate);
    else
        warn(assembly, "\"%s\" starts above the edge of stability: its stability ratio at step 0 is %.3g at the learning rate "
             "%.3g, so that a spike is likely. A learning rate of %.3g would be safe there; or lengthen the warm-up.", name,
             start->stability_ratio, rate, start->safe_rate);
}

/* A ratio above 1 at the start, or well above it at k: training sits near 1 by itself (methods 4.2). */
static void warn_of_stability(struct assembly *assembly, int i)
{
    const struct curve *curve = &assembly->study->candidates[i].curve;
    const struct point *start = curve_at(curve, 0);
    const struct point *end = outcome_measured(assembly->study, i, assembly->outcome->k);
    const char *name = assembly->study->spec->candidates[i].name;
    double base = assembly->study->spec->training.learning_rate;
    if (start && start->landscape.measured && start->landscape.stability_ratio > stability_warned_at_start)
        warn_of_start(assembly, i, &start->landscape);
    if (end && end->step > 0 && end->landscape.stability_ratio > stability_warned_at_end)
        warn(assembly, "\"%s\" is above the edge of stability at step %" PRIu64 ": its stability ratio is %.3g at the rate %.3g. "
             "A rate of %.3g would be safe there: training.learning_rate %.3g.", name, end->step, end->landscape.stability_ratio,
             end->landscape.safe_rate * end->landscape.stability_ratio, end->landscape.safe_rate,
             base / end->landscape.stability_ratio);
}

static void warn_of_candidate(struct assembly *assembly, int i)
{
    const struct candidate *candidate = &assembly->study->candidates[i];
    const struct spec_candidate *names = assembly->study->spec->candidates;
    if (candidate->same_as >= 0) {
        warn(assembly, "\"%s\" grew into the same weights as \"%s\": trained once, ranked right behind it with its "
             "numbers, and left out of the agreement.", names[i].name, names[candidate->same_as].name);
        return;
    }
    if (candidate->state == CANDIDATE_DIVERGED)
        warn(assembly, "\"%s\" diverged at step %" PRIu64 ": %s. A lower learning rate or a longer warm-up may help.",
             names[i].name, candidate->diverged_step, candidate->reason);
    warn_of_stability(assembly, i);
    if (candidate->state == CANDIDATE_FAILED)
        warn(assembly, "\"%s\" failed: %s.", names[i].name, candidate->reason);
}

static void warn_of_cost(struct assembly *assembly)
{
    const struct study *study = assembly->study;
    int cheapest = -1, dearest = -1;
    for (int p = 0; p < assembly->contest.count; p++) {
        int i = assembly->contest.candidates[p];
        double cost = study->candidates[i].flops_per_token;
        if (cheapest < 0 || cost < study->candidates[cheapest].flops_per_token)
            cheapest = i;
        if (dearest < 0 || cost > study->candidates[dearest].flops_per_token)
            dearest = i;
    }
    if (cheapest < 0)
        return;
    double low = study->candidates[cheapest].flops_per_token, high = study->candidates[dearest].flops_per_token;
    if (high > low * (1 + cost_tolerance))
        warn(assembly, "FLOPs per token differ: \"%s\" needs %.0f %% more than \"%s\". "
             "The ranking compares equal steps, not equal cost.", study->spec->candidates[dearest].name,
             100 * (high / low - 1), study->spec->candidates[cheapest].name);
}

void outcome_warn(struct assembly *assembly)
{
    const struct contest *contest = &assembly->contest;
    warn_of_cost(assembly);
    if (contest->count > 1 && contest->windows < 2)
        warn(assembly, "There is only one validation window: differences have no standard error, so that all "
             "candidates count as tied. Give more validation data.");
    if (contest->count && contest->by != assembly->study->spec->selection.rank_by)
        warn(assembly, "There are too few evaluation points for a prediction: ranked by the averaged loss at step "
             "%" PRIu64 ".", contest->step);
    if (contest->count && contest->by == RANK_BY_PREDICTED && contest->capped)
        warn(assembly, "The predicted ranking is for the horizon, step %" PRIu64 ", which comes before 3 k.",
             contest->target);
    for (int i = 0; i < assembly->study->spec->candidate_count; i++)
        warn_of_candidate(assembly, i);
}
