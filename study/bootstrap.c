#include "study/bootstrap.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"

static void draw_windows(struct rng *rng, double *counts, int windows)
{
    memset(counts, 0, (size_t)windows * sizeof *counts);
    for (int w = 0; w < windows; w++)
        counts[rng_below(rng, (uint64_t)windows)] += 1;
}

/* The jitter's coordinates: a t-distributed vector, one number per residual. */
static void draw_jitter(struct rng *rng, const struct contest *contest, double *coordinates)
{
    int n = contest->jitter_points, degrees = n - 2;
    double chi_square = 0, scale = 0;
    for (int j = 0; j < contest->points; j++)
        scale += contest->weights[j] * contest->weights[j];
    for (int d = 0; d < degrees; d++) {
        double normal = rng_normal(rng);
        chi_square += normal * normal;
    }
    for (int j = 0; j < n; j++)
        coordinates[j] = degrees > 0 && chi_square > 0 ? rng_normal(rng) * sqrt(scale / chi_square) : 0;
}

static double resampled_score(const struct contest *contest, int p, const double *counts, const double *coordinates)
{
    const double *values = contest->values + (size_t)p * contest->windows;
    const double *residuals = contest->residuals + (size_t)p * contest->jitter_points;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int w = 0; w < contest->windows; w++)
        sum += counts[w] * values[w];
    sum /= contest->windows;
    for (int j = 0; j < contest->jitter_points; j++)
        sum += residuals[j] * coordinates[j];
    return sum;
}

int bootstrap_best(const struct contest *contest, uint64_t seed, double *p_best, struct error *error)
{
    for (int p = 0; p < contest->count; p++)
        p_best[p] = contest->windows < 2 ? NAN : 0;
    if (contest->windows < 2 || contest->count < 1)
        return 0;
    double *counts = memory_array((size_t)contest->windows, sizeof *counts), coordinates[JITTER_POINTS];
    if (!counts)
        return error_set(error, ERROR_NO_MEMORY, "no memory to resample %d windows", contest->windows);

    struct rng rng = rng_stream(seed, 0, RNG_BOOTSTRAP);
    int wins[SPEC_CANDIDATES_MAX] = { 0 };
    for (int r = 0; r < BOOTSTRAP_RESAMPLES; r++) {
        draw_windows(&rng, counts, contest->windows);
        draw_jitter(&rng, contest, coordinates);
        int best = 0;
        double least = INFINITY;
        for (int p = 0; p < contest->count; p++) {
            double score = resampled_score(contest, p, counts, coordinates);
            if (score < least) {
                least = score;
                best = p;
            }
        }
        wins[best]++;
    }
    for (int p = 0; p < contest->count; p++)
        p_best[p] = (double)wins[p] / BOOTSTRAP_RESAMPLES;
    memory_free(counts);
    return 0;
}
