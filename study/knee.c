#include "study/knee.h"

#include <math.h>

enum { SEGMENTS_MAX = 3, SEGMENT_POINTS_MIN = 4, TAIL_POINTS = 5 };

/* Accept one more segment only if BIC falls by this much: evaluation noise is autocorrelated (methods 7.6 A). */
static const double bic_margin = 6;
/* A break is a knee if the slope after it is flatter than this share of the slope before. */
static const double slope_ratio = 0.5;
/* Without a knee, a curve that falls faster than this in ln(loss) per unit of ln(step + 10) over its last five
 * points has its knee still ahead. Methods 7.6 A says 0.05; the slow regime of real byte-level curves is itself as
 * steep as that (0.08 nats at 1.66), and would hold a study up for ever. A fast recovery is several times steeper. */
static const double fast_slope = 0.2;
/* The residual of one point below which a fit counts as exact: losses are means of float32 numbers. */
static const double least_residual = 1e-7;

/* Sums over the first i points, of values moved to their means (prefix sums of raw values would cancel). */
struct prefix { double x, y, xx, xy, yy; };

struct fit {
    int count;
    double x[KNEE_POINTS_MAX], y[KNEE_POINTS_MAX], step[KNEE_POINTS_MAX];
    struct prefix prefix[KNEE_POINTS_MAX + 1];
};

struct moments_of_range { double slope, squares; };

/* Least squares over points [begin, end). */
static struct moments_of_range fit_range(const struct fit *fit, int begin, int end)
{
    const struct prefix *a = &fit->prefix[begin], *b = &fit->prefix[end];
    double n = end - begin, x = b->x - a->x, y = b->y - a->y;
    double xx = b->xx - a->xx - x * x / n, xy = b->xy - a->xy - x * y / n, yy = b->yy - a->yy - y * y / n;
    double slope = xx > 0 ? xy / xx : 0, squares = yy - slope * xy;
    return (struct moments_of_range){ slope, squares > 0 ? squares : 0 };
}

static void fit_load(struct fit *fit, const double *steps, const double *losses, int count)
{
    fit->count = 0;
    for (int i = count > KNEE_POINTS_MAX ? count - KNEE_POINTS_MAX : 0; i < count; i++) {
        if (!(losses[i] > 0) || isinf(losses[i]))
            continue;
        fit->step[fit->count] = steps[i];
        fit->x[fit->count] = log(steps[i] + 10);
        fit->y[fit->count++] = log(losses[i]);
    }
    double mean_x = 0, mean_y = 0;
    for (int i = 0; i < fit->count; i++) {
        mean_x += fit->x[i] / fit->count;
        mean_y += fit->y[i] / fit->count;
    }
    fit->prefix[0] = (struct prefix){ 0 };
    for (int i = 0; i < fit->count; i++) {
        double x = fit->x[i] - mean_x, y = fit->y[i] - mean_y;
        const struct prefix *p = &fit->prefix[i];
        fit->prefix[i + 1] = (struct prefix){ p->x + x, p->y + y, p->xx + x * x, p->xy + x * y, p->yy + y * y };
    }
}

/* The best split of all points into each number of segments: begins[q - 1][s] is where segment s of q begins. */
struct split { double squares[SEGMENTS_MAX]; int begins[SEGMENTS_MAX][SEGMENTS_MAX]; };

/* Exact dynamic programme: least[q][j] = min over i of least[q - 1][i] + squares of [i, j). */
static void fit_split(const struct fit *fit, struct split *split)
{
    static const int shortest = SEGMENT_POINTS_MIN;
    double least[SEGMENTS_MAX][KNEE_POINTS_MAX + 1];
    int from[SEGMENTS_MAX][KNEE_POINTS_MAX + 1];
    int n = fit->count;

    for (int j = 0; j <= n; j++) {
        least[0][j] = j >= shortest || j == n ? fit_range(fit, 0, j).squares : INFINITY;
        from[0][j] = 0;
    }
    for (int q = 1; q < SEGMENTS_MAX; q++)
        for (int j = 0; j <= n; j++) {
            least[q][j] = INFINITY;
            from[q][j] = 0;
            for (int i = q * shortest; i + shortest <= j; i++) {
                double squares = least[q - 1][i] + fit_range(fit, i, j).squares;
                if (squares < least[q][j]) {
                    least[q][j] = squares;
                    from[q][j] = i;
                }
            }
        }
    for (int q = 0; q < SEGMENTS_MAX; q++) {
        split->squares[q] = least[q][n];
        for (int s = q, end = n; s >= 0; s--) {
            split->begins[q][s] = from[s][end];
            end = from[s][end];
        }
    }
}

/* BIC_q = n ln(SSE_q / n) + 3 q ln n: 2 q coefficients, q - 1 breaks, 1 variance. */
static double split_bic(const struct split *split, int segments, int n)
{
    double least = n * least_residual * least_residual, squares = split->squares[segments - 1];
    return n * log(fmax(squares, least) / n) + 3.0 * segments * log(n);
}

static int choose_segments(const struct split *split, int n)
{
    int chosen = 1;
    for (int q = 2; q <= SEGMENTS_MAX; q++)
        if (n >= q * SEGMENT_POINTS_MIN && split_bic(split, q, n) < split_bic(split, chosen, n) - bic_margin)
            chosen = q;
    return chosen;
}

struct knee knee_detect(const double *steps, const double *losses, int count)
{
    struct fit fit;
    struct split split;
    struct knee knee = { KNEE_NONE, NAN };
    fit_load(&fit, steps, losses, count);
    if (fit.count < TAIL_POINTS)
        return knee;
    fit_split(&fit, &split);

    int segments = choose_segments(&split, fit.count);
    const int *begins = split.begins[segments - 1];
    for (int s = segments - 1; s > 0; s--) {
        int end = s + 1 < segments ? begins[s + 1] : fit.count;
        double right = fit_range(&fit, begins[s], end).slope, left = fit_range(&fit, begins[s - 1], begins[s]).slope;
        if (fabs(right) < slope_ratio * fabs(left))
            return (struct knee){ KNEE_FOUND, fit.step[begins[s]] };
    }
    if (fit_range(&fit, fit.count - TAIL_POINTS, fit.count).slope < -fast_slope)
        knee.kind = KNEE_AHEAD;
    return knee;
}

struct knee knee_of_candidate(const struct study *study, int candidate, uint64_t step)
{
    const struct curve *curve = &study->candidates[candidate].curve;
    double steps[KNEE_POINTS_MAX], losses[KNEE_POINTS_MAX];
    int count = 0;
    for (int i = 0; i < curve->count && count < KNEE_POINTS_MAX; i++) {
        const struct point *point = &curve->points[i];
        if (point->step > step)
            break;
        if (point->step != 0 && !grid_is_geometric(&study->grid, point->step))
            continue;
        steps[count] = (double)point->step;
        losses[count++] = point->raw_loss;
    }
    return knee_detect(steps, losses, count);
}
