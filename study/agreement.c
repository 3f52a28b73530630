#include "study/agreement.h"

#include <inttypes.h>
#include <math.h>

#include "study/contest.h"
#include "study/knee.h"
#include "study/rank_ties.h"
#include "study/sentence.h"
#include "study/statistics.h"

const double agreement_threshold = 0.6;

static const char *name_of(const struct study *study, int candidate)
{
    return study->spec->candidates[candidate].name;
}

static int least(const double *values, int count)
{
    int best = 0;
    for (int i = 1; i < count; i++)
        if (values[i] < values[best])
            best = i;
    return best;
}

/* The candidate whose knee is still ahead, -1: all are past theirs ("no knee" counts as past). */
static int knee_missing(const struct study *study, const struct contest *contest)
{
    for (int p = 0; p < contest->count; p++)
        if (knee_of_candidate(study, contest->candidates[p], contest->step).kind == KNEE_AHEAD)
            return contest->candidates[p];
    return -1;
}

static bool few_hold(const struct contest *contest, double confidence)
{
    bool tied[TIES_FEW][TIES_FEW];
    ties_pairs(contest, confidence, tied);
    for (int a = 0; a < contest->count; a++)
        for (int b = 0; b < a; b++) {
            double now = contest->now[a] - contest->now[b], later = contest->predicted[a] - contest->predicted[b];
            bool same_sign = (now > 0) == (later > 0) && (now < 0) == (later < 0);
            if (!same_sign && !tied[a][b])
                return false;
        }
    return true;
}

static bool many_hold(const struct contest *contest, const struct study *study, double agreement, int best_predicted)
{
    int order[SPEC_CANDIDATES_MAX];
    bool tied[SPEC_CANDIDATES_MAX];
    if (!(agreement >= agreement_threshold))
        return false;
    contest_order(contest, study, order);
    ties_with_best(contest, order, study->spec->selection.confidence, tied);
    return tied[best_predicted];
}

static void say_prediction(const struct contest *contest, struct decision *decision)
{
    char *text = decision->reason;
    size_t size = sizeof decision->reason;
    sentence_add(text, size, "step %" PRIu64, contest->target);
    if (contest->capped)
        sentence_add(text, size, " (the horizon, before 3 t: agreement rises by construction)");
}

static void say(const struct study *study, const struct contest *contest, struct decision *decision, int missing)
{
    char *text = decision->reason;
    size_t size = sizeof decision->reason;
    bool trend = contest->points >= TREND_POINTS_MIN;
    if (contest->count == 1) {
        sentence_add(text, size, "One candidate takes part.");
    } else if (!trend) {
        sentence_add(text, size, "%d evaluation points from 0.4 t on are too few for a slope; %d are needed.",
                     contest->points, TREND_POINTS_MIN);
    } else if (contest->count < AGREEMENT_CANDIDATES_MIN) {
        sentence_add(text, size, "%s pair of the %d candidates is tied or in the order that the slopes predict for ",
                     decision->holds ? "Every" : "Not every", contest->count);
        say_prediction(contest, decision);
        sentence_add(text, size, ".");
    } else {
        sentence_add(text, size, "Agreement %.2f (%.1f needed) between the order now and the order that the slopes "
                     "predict for ", decision->agreement, agreement_threshold);
        say_prediction(contest, decision);
        sentence_add(text, size, ".");
        if (decision->best_now == decision->best_predicted)
            sentence_add(text, size, " \"%s\" is best in both.", name_of(study, decision->best_now));
        else
            sentence_add(text, size, " Best now is \"%s\", best predicted \"%s\"%s.",
                         name_of(study, decision->best_now), name_of(study, decision->best_predicted),
                         decision->holds ? ", tied with it"
                         : decision->agreement >= agreement_threshold ? ", not tied with it" : "");
    }
    if (missing >= 0)
        sentence_add(text, size, " \"%s\" is still in its fast phase.", name_of(study, missing));
    if (contest->step < study->spec->selection.k_min)
        sentence_add(text, size, " Step %" PRIu64 " is before k_min = %" PRIu64 ".", contest->step,
                     study->spec->selection.k_min);
}

static void judge(const struct study *study, const struct contest *contest, struct decision *decision)
{
    double confidence = study->spec->selection.confidence;
    bool trend = contest->points >= TREND_POINTS_MIN;
    int best_now = least(contest->now, contest->count), missing = knee_missing(study, contest);
    int best_predicted = trend ? least(contest->predicted, contest->count) : -1;

    decision->best_now = contest->candidates[best_now];
    decision->best_predicted = trend ? contest->candidates[best_predicted] : -1;
    decision->knees_passed = missing < 0;
    if (trend && contest->count >= AGREEMENT_CANDIDATES_MIN)
        decision->agreement = correlation_kendall(contest->now, contest->predicted, contest->count);

    if (contest->step < study->spec->selection.k_min)
        decision->holds = false;
    else if (contest->count == 1)
        decision->holds = decision->knees_passed;
    else if (!trend)
        decision->holds = false;
    else if (contest->count < AGREEMENT_CANDIDATES_MIN)
        decision->holds = few_hold(contest, confidence);
    else
        decision->holds = many_hold(contest, study, decision->agreement, best_predicted);
    say(study, contest, decision, missing);
}

int agreement_judge(const struct study *study, uint64_t step, struct decision *decision, struct error *error)
{
    struct contest contest;
    *decision = (struct decision){ .step = step, .agreement = NAN, .best_now = -1, .best_predicted = -1 };
    if (contest_init(&contest, study, step, RANK_BY_LOSS, error))
        return ERROR_NO_MEMORY;
    decision->live = contest.count;
    if (contest.count > 0)
        judge(study, &contest, decision);
    contest_fini(&contest);
    return 0;
}
