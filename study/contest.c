#include "study/contest.h"

#include <math.h>

#include "base/memory.h"
#include "study/statistics.h"

/* The fit reaches back to this share of the present step, and predicts this many times ahead (methods 7.8). */
static const double reach_back = 0.4;
enum { REACH_AHEAD = 3 };

static double log_time(uint64_t step)
{
    return log((double)step + 10);
}

static void contest_participants(struct contest *contest, const struct study *study)
{
    int candidates = study->spec->candidate_count;
    for (int i = 0; i < candidates && contest->count < SPEC_CANDIDATES_MAX; i++)
        if (study_takes_part(study, i, contest->step))
            contest->candidates[contest->count++] = i;
}

static bool everyone_has(const struct contest *contest, const struct study *study, uint64_t step)
{
    for (int p = 0; p < contest->count; p++)
        if (!curve_at(&study->candidates[contest->candidates[p]].curve, step))
            return false;
    return true;
}

/* The deciding points in [0.4 t, t], t itself always among them; the latest if there were more than fit. */
static void contest_points(struct contest *contest, const struct study *study)
{
    const struct grid *grid = &study->grid;
    int last = grid->count - 1;
    while (last >= 0 && grid->steps[last] >= contest->step)
        last--;
    uint64_t back[CONTEST_POINTS_MAX] = { contest->step };
    int count = 1;
    for (int i = last; i >= 0 && count < CONTEST_POINTS_MAX; i--) {
        if ((double)grid->steps[i] < reach_back * (double)contest->step)
            break;
        if (grid->geometric[i] && everyone_has(contest, study, grid->steps[i]))
            back[count++] = grid->steps[i];
    }
    contest->points = count;
    for (int i = 0; i < count; i++)
        contest->steps[i] = back[count - 1 - i];
}

static int contest_alloc(struct contest *contest, struct error *error)
{
    size_t count = (size_t)contest->count, windows = (size_t)contest->windows;
    contest->now = memory_array(count, sizeof(double));
    contest->scores = memory_array(count, sizeof(double));
    contest->slopes = memory_array(count, sizeof(double));
    contest->predicted = memory_array(count, sizeof(double));
    contest->losses = memory_array(count * CONTEST_POINTS_MAX, sizeof(double));
    contest->residuals = memory_array(count * JITTER_POINTS, sizeof(double));
    contest->values = memory_array(count, windows * sizeof(double));
    if (contest->now && contest->scores && contest->slopes && contest->predicted && contest->losses &&
        contest->residuals && contest->values)
        return 0;
    contest_fini(contest);
    return error_set(error, ERROR_NO_MEMORY, "no memory to compare %zu candidates on %zu windows", count, windows);
}

/* Weights that turn the losses at the points into the line's value at the target: 1/n + (x* - mean)(x_j - mean)/Sxx. */
static void line_weights(const struct contest *contest, double *weights)
{
    double mean = 0, xx = 0, n = contest->points;
    for (int j = 0; j < contest->points; j++)
        mean += log_time(contest->steps[j]) / n;
    for (int j = 0; j < contest->points; j++)
        xx += (log_time(contest->steps[j]) - mean) * (log_time(contest->steps[j]) - mean);
    for (int j = 0; j < contest->points; j++)
        weights[j] = 1 / n + (log_time(contest->target) - mean) * (log_time(contest->steps[j]) - mean) / xx;
}

static void contest_trend(struct contest *contest, int p)
{
    double x[CONTEST_POINTS_MAX];
    contest->slopes[p] = contest->predicted[p] = NAN;
    if (contest->points < TREND_POINTS_MIN)
        return;
    for (int j = 0; j < contest->points; j++)
        x[j] = log_time(contest->steps[j]);
    struct line line = line_fit(x, contest->losses + (size_t)p * contest->points, contest->points);
    contest->slopes[p] = line.slope;
    contest->predicted[p] = line.intercept + line.slope * log_time(contest->target);
}

/* Residuals of the last points from their own line. Lines are linear in the data, so that the residuals of a paired
 * difference curve are the differences of these. */
static void contest_residuals(struct contest *contest, int p)
{
    int n = contest->jitter_points, first = contest->points - n;
    const double *losses = contest->losses + (size_t)p * contest->points + first;
    double x[JITTER_POINTS];
    for (int j = 0; j < n; j++)
        x[j] = log_time(contest->steps[first + j]);
    struct line line = line_fit(x, losses, n);
    for (int j = 0; j < n; j++)
        contest->residuals[(size_t)p * n + j] = losses[j] - (line.intercept + line.slope * x[j]);
}

static void contest_values(struct contest *contest, const struct curve *curve, int p)
{
    double *values = contest->values + (size_t)p * contest->windows;
    for (int j = 0; j < contest->points; j++) {
        double weight = contest->weights[j];
        const float *losses = curve_at(curve, contest->steps[j])->losses;
        if (weight != 0)
            for (int w = 0; w < contest->windows; w++)
                values[w] += weight * losses[w];
    }
}

static void contest_participant(struct contest *contest, const struct study *study, int p)
{
    const struct curve *curve = &study->candidates[contest->candidates[p]].curve;
    double *losses = contest->losses + (size_t)p * contest->points;
    for (int j = 0; j < contest->points; j++)
        losses[j] = curve_at(curve, contest->steps[j])->loss;
    contest->now[p] = losses[contest->points - 1];
    contest_trend(contest, p);
    contest_residuals(contest, p);
    contest_values(contest, curve, p);
    contest->scores[p] = contest->by == RANK_BY_PREDICTED ? contest->predicted[p] : contest->now[p];
}

int contest_init(struct contest *contest, const struct study *study, uint64_t step, enum rank_by by,
                 struct error *error)
{
    uint64_t horizon = study->spec->training.steps;
    *contest = (struct contest){ .step = step, .by = by, .windows = study->windows };
    contest->target = step > horizon / REACH_AHEAD ? horizon : REACH_AHEAD * step;
    contest->capped = step > horizon / REACH_AHEAD;
    if (contest->target < step)
        contest->target = step;
    contest_participants(contest, study);
    contest_points(contest, study);
    contest->jitter_points = contest->points < JITTER_POINTS ? contest->points : JITTER_POINTS;
    if (contest_alloc(contest, error))
        return ERROR_NO_MEMORY;

    if (contest->points < TREND_POINTS_MIN)
        contest->by = RANK_BY_LOSS;
    if (contest->by == RANK_BY_PREDICTED)
        line_weights(contest, contest->weights);
    else
        contest->weights[contest->points - 1] = 1;
    for (int p = 0; p < contest->count; p++)
        contest_participant(contest, study, p);
    return 0;
}

void contest_fini(struct contest *contest)
{
    memory_free(contest->now);
    memory_free(contest->scores);
    memory_free(contest->slopes);
    memory_free(contest->predicted);
    memory_free(contest->losses);
    memory_free(contest->residuals);
    memory_free(contest->values);
    contest->now = contest->scores = contest->slopes = contest->predicted = contest->losses = NULL;
    contest->residuals = contest->values = NULL;
}

static bool comes_before(const struct contest *contest, const struct study *study, int a, int b)
{
    double cost_a = study->candidates[contest->candidates[a]].flops_per_token;
    double cost_b = study->candidates[contest->candidates[b]].flops_per_token;
    if (contest->scores[a] != contest->scores[b])
        return contest->scores[a] < contest->scores[b];
    if (contest->predicted[a] < contest->predicted[b] || contest->predicted[a] > contest->predicted[b])
        return contest->predicted[a] < contest->predicted[b];
    if (cost_a != cost_b)
        return cost_a < cost_b;
    return a < b;
}

void contest_order(const struct contest *contest, const struct study *study, int order[SPEC_CANDIDATES_MAX])
{
    for (int i = 0; i < contest->count; i++) {
        int at = i;
        for (; at > 0 && comes_before(contest, study, i, order[at - 1]); at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}
