/* Advice: why a study is provisional, and what to do about it, in numbers. */
#include <inttypes.h>
#include <math.h>

#include "study/agreement.h"
#include "study/outcome.h"
#include "study/sentence.h"
#include "study/statistics.h"

/* The trend of a(t) is read from so many decisions; the advised cap lies between these multiples of the present one. */
enum { TREND_DECISIONS = 4 };
static const double advised_least = 1.5, advised_most = 4;
/* Two successive deciding points are needed: one more factor of the grid's ratio. */
static const double one_point_more = 1.2;

/* Up to two significant digits, so that nobody takes the advice for a measurement. */
static double round_up(double value)
{
    double unit = pow(10, floor(log10(fmax(value, 10))) - 1);
    return ceil(value / unit) * unit;
}

/* Where a(t), a line in ln t through the last decisions, reaches the threshold; NaN if it does not rise. */
static double threshold_step(const struct study *study)
{
    double x[TREND_DECISIONS], y[TREND_DECISIONS];
    int count = 0;
    for (int i = study->decision_count - 1; i >= 0 && count < TREND_DECISIONS; i--)
        if (!isnan(study->decisions[i].agreement)) {
            x[count] = log((double)study->decisions[i].step);
            y[count++] = study->decisions[i].agreement;
        }
    if (count < 3)
        return NAN;
    struct line line = line_fit(x, y, count);
    return line.slope > 0 ? exp((agreement_threshold - line.intercept) / line.slope) : NAN;
}

static double advised_steps(const struct assembly *assembly)
{
    double k = (double)assembly->outcome->k, horizon = (double)assembly->study->spec->training.steps;
    double wanted = threshold_step(assembly->study) * one_point_more;
    if (assembly->verdict.holds)
        wanted = advised_least * k;
    if (isnan(wanted))
        wanted = advised_most * k;
    wanted = fmin(fmax(wanted, advised_least * k), advised_most * k);
    wanted = fmax(wanted, 2.0 * (double)assembly->study->spec->selection.k_min);
    return fmin(round_up(wanted), horizon);
}

static void say_why(const struct assembly *assembly, char *text, size_t size)
{
    const struct decision *verdict = &assembly->verdict;
    sentence_add(text, size, "The cap of %" PRIu64 " steps came first. %s", assembly->outcome->k, verdict->reason);
    if (verdict->holds && verdict->knees_passed)
        sentence_add(text, size, " This held at the last point only; it must hold at two successive ones.");
}

static void say_steps(const struct assembly *assembly, char *text, size_t size)
{
    const struct study_spec *spec = assembly->study->spec;
    double advised = advised_steps(assembly);
    if (advised > (double)assembly->outcome->k)
        sentence_add(text, size, spec->selection.k_auto ? " Raise selection.max_k to %.0f."
                                                        : " Ask for selection.k = %.0f, or \"auto\".", advised);
    else
        sentence_add(text, size, " The horizon of %" PRIu64 " steps is used up: raise training.steps.",
                     spec->training.steps);
}

/* Validation tokens that would bring the first two candidates of tie group 1 to two standard errors: the sampling
 * variance must fall to mean^2 / 4 - jitter^2. */
static void say_tokens(const struct assembly *assembly, char *text, size_t size)
{
    const struct contest *contest = &assembly->contest;
    if (contest->count < 2 || assembly->groups[assembly->order[1]] != 1)
        return;
    struct difference difference = contest_difference(contest, assembly->order[1], assembly->order[0]);
    if (isnan(difference.sampling) || !(difference.mean > 0))
        return;
    double jitter = isnan(difference.jitter) ? 0 : difference.jitter;
    double allowed = difference.mean * difference.mean / 4 - jitter * jitter;
    double have = (double)contest->windows * assembly->study->spec->training.context;
    double factor = difference.sampling * difference.sampling / allowed;
    if (allowed > 0 && factor > 1 && factor < 100)
        sentence_add(text, size, " To tell the first two apart (%.4f nats), raise selection.valid_tokens to about "
                     "%.0f.", difference.mean, round_up(factor * have));
    else if (allowed <= 0)
        sentence_add(text, size, " The first two differ by %.4f nats, within twice the jitter of their curves (%.4f): "
                     "more steps, not more validation tokens, will tell.", difference.mean, jitter);
}

void outcome_advise(struct assembly *assembly)
{
    struct study_outcome *outcome = assembly->outcome;
    const struct study *study = assembly->study;
    char *text = outcome->provisional_reason;
    size_t size = sizeof outcome->provisional_reason;
    if (outcome->settled)
        return;
    if (!study->finished) {
        sentence_add(text, size, "The study has not ended: this is how it stands at step %" PRIu64 ".", outcome->k);
    } else if (assembly->contest.count == 0) {
        sentence_add(text, size, "%s", study->decisions[study->decision_count - 1].reason);
    } else {
        say_why(assembly, text, size);
        say_steps(assembly, text, size);
        say_tokens(assembly, text, size);
    }
}
