/* The rows of a ranking: participants by score, each followed by its copies, then everybody else. */
#include <math.h>

#include "study/extrapolate.h"
#include "study/knee.h"
#include "study/outcome.h"

/* Where states stand among those that are not ranked by a score. */
static const int standing[CANDIDATE_STATE_COUNT] = {
    [CANDIDATE_COMPLETED] = 0, [CANDIDATE_ELIMINATED] = 1,   [CANDIDATE_DIVERGED] = 2, [CANDIDATE_FAILED] = 3,
    [CANDIDATE_RUNNING] = 4,   [CANDIDATE_INTERRUPTED] = 4,  [CANDIDATE_PENDING] = 4,  [CANDIDATE_CANCELLED] = 5,
};

/* Logical FLOPs: of growing, where it learns from data; of training those of the last point, and for a candidate that
 * diverged after it those of the steps between. A copy spent nothing. */
double outcome_flops_spent(const struct study *study, int candidate)
{
    const struct candidate *it = &study->candidates[candidate];
    const struct point *last = curve_last(&it->curve);
    if (it->same_as >= 0)
        return 0;
    double flops = (it->grown ? it->growth_flops : 0) + (last ? last->flops : 0);
    uint64_t step = last ? last->step : 0;
    if (it->state == CANDIDATE_DIVERGED && it->diverged_step > step)
        flops += (double)(it->diverged_step - step) * it->flops_per_token * study->tokens_per_step;
    return flops;
}

/* The loss at the horizon T; with too few points in the slow regime the line of the rule stands in. */
static double predicted_final_loss(const struct assembly *assembly, int p)
{
    const struct study *study = assembly->study;
    int candidate = assembly->contest.candidates[p];
    double steps[KNEE_POINTS_MAX], losses[KNEE_POINTS_MAX];
    double k = (double)assembly->outcome->k, horizon = (double)study->spec->training.steps;
    if (horizon <= k)
        return assembly->contest.now[p];
    int count = slow_regime_points(study, candidate, assembly->outcome->knees[candidate], assembly->outcome->k, steps,
                                   losses, KNEE_POINTS_MAX);
    if (count >= EXTRAPOLATE_POINTS_MIN)
        return extrapolate_power(steps, losses, count, horizon);
    return assembly->contest.now[p] + assembly->contest.slopes[p] * (log(horizon + 10) - log(k + 10));
}

static double loss_at(const struct study *study, int candidate, uint64_t step)
{
    const struct point *point = curve_at(&study->candidates[candidate].curve, step);
    return point ? point->loss : NAN;
}

const struct point *outcome_measured(const struct study *study, int candidate, uint64_t until)
{
    const struct curve *curve = &study->candidates[candidate].curve;
    for (int i = curve->count - 1; i >= 0; i--)
        if (curve->points[i].step <= until && curve->points[i].landscape.measured)
            return &curve->points[i];
    return NULL;
}

static struct ranking_row empty_row(const struct assembly *assembly, int candidate)
{
    const struct study *study = assembly->study;
    const struct study_outcome *outcome = assembly->outcome;
    int trained = study->candidates[candidate].same_as >= 0 ? study->candidates[candidate].same_as : candidate;
    struct ranking_row row = { .candidate = candidate, .score = NAN, .loss = NAN, .margin = NAN, .standard_error = NAN,
                               .p_best = NAN, .slope = NAN, .predicted_final_loss = NAN };
    row.loss_at_0 = loss_at(study, trained, 0);
    row.loss_at_transition = outcome->has_transition ? loss_at(study, trained, outcome->transition_step) : NAN;
    row.flops_spent = outcome_flops_spent(study, candidate);
    const struct point *measured = outcome_measured(study, trained, outcome->k > 0 ? outcome->k : UINT64_MAX);
    row.stability_ratio = measured ? measured->landscape.stability_ratio : NAN;
    return row;
}

/* Margin and its error: to the best, for the best to the second; NaN for a candidate alone. */
static void fill_margin(const struct assembly *assembly, int position, struct ranking_row *row)
{
    const struct contest *contest = &assembly->contest;
    if (contest->count < 2)
        return;
    int own = assembly->order[position], other = assembly->order[position == 0 ? 1 : 0];
    struct difference difference = contest_difference(contest, own, other);
    row->margin = position == 0 ? difference.mean : -difference.mean;
    row->standard_error = difference.standard_error;
}

static struct ranking_row ranked_row(const struct assembly *assembly, int position)
{
    int p = assembly->order[position];
    const struct contest *contest = &assembly->contest;
    struct ranking_row row = empty_row(assembly, contest->candidates[p]);
    row.tie_group = assembly->groups[p];
    row.score = contest->scores[p];
    row.loss = contest->now[p];
    row.p_best = assembly->p_best[p];
    row.slope = contest->slopes[p];
    row.predicted_final_loss = predicted_final_loss(assembly, p);
    fill_margin(assembly, position, &row);
    return row;
}

static void append_row(struct ranking *ranking, struct ranking_row row)
{
    row.rank = ranking->count + 1;
    ranking->rows[ranking->count++] = row;
}

static void append_copies(const struct assembly *assembly, struct ranking_row row)
{
    int trained = row.candidate;
    for (int i = 0; i < assembly->study->spec->candidate_count; i++)
        if (assembly->study->candidates[i].same_as == trained) {
            row.candidate = i;
            row.flops_spent = 0;
            append_row(&assembly->outcome->ranking, row);
        }
}

static bool is_listed(const struct ranking *ranking, int candidate)
{
    for (int i = 0; i < ranking->count; i++)
        if (ranking->rows[i].candidate == candidate)
            return true;
    return false;
}

void outcome_fill_rows(struct assembly *assembly)
{
    struct ranking *ranking = &assembly->outcome->ranking;
    for (int position = 0; position < assembly->contest.count; position++) {
        struct ranking_row row = ranked_row(assembly, position);
        append_row(ranking, row);
        append_copies(assembly, row);
    }
    ranking->completed = ranking->count;
    for (int class = 0; class < CANDIDATE_STATE_COUNT; class++)
        for (int i = 0; i < assembly->study->spec->candidate_count; i++)
            if (standing[assembly->study->candidates[i].state] == class && !is_listed(ranking, i))
                append_row(ranking, empty_row(assembly, i));
}
