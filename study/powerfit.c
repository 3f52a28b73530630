#include "study/powerfit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/rng.h"
#include "study/parabola.h"
#include "study/powerfit_parts.h"

static const double confidence = 0.95;

const char *power_answer_name(enum power_answer answer)
{
    static const char *const names[] = { "fitted", "unresolved", "none" };
    return names[answer];
}

double power_beta(int batch, int context)
{
    return (double)batch * context / 4096;
}

/* ---- cells */

static struct parabola cell_parabola(const struct power_cell *cell, const double *losses, bool *fits)
{
    struct parabola parabola = { 0 };
    double x[POWER_RATES_MAX];
    for (int i = 0; i < cell->rate_count; i++)
        x[i] = log(cell->rates[i]);
    *fits = parabola_fit(&parabola, x, losses, cell->rate_count);
    return parabola;
}

static double cell_beta(const struct power_cell *cell)
{
    return power_beta(cell->batch, cell->context);
}

/* Finds each cell's best rate. The deviation of the residuals, over all cells that are used. */
static double cells_judge(struct power_fit *fit)
{
    double squares = 0;
    for (int i = 0; i < fit->cell_count; i++) {
        struct power_cell *cell = &fit->cells[i];
        bool fits;
        const struct parabola parabola = cell_parabola(cell, cell->losses, &fits);
        int lowest = lowest_index(cell->losses, cell->rate_count);
        cell->best = (struct interval){ NAN, NAN, NAN };
        cell->law = NAN;
        if (!fits)
            cell->state = POWER_CELL_FEW;
        else if (lowest == 0)
            cell->state = POWER_CELL_LOWER_END;
        else if (lowest + 1 == cell->rate_count || !parabola.bent)
            cell->state = POWER_CELL_UPPER_END;
        else {
            cell->state = POWER_CELL_USED;
            cell->best.middle = exp(parabola_lowest(&parabola));
            squares += parabola.deviation * parabola.deviation;
            fit->largest_best = fit->used++ ? fmax(fit->largest_best, cell->best.middle) : cell->best.middle;
        }
    }
    return fit->used ? sqrt(squares / fit->used) : 0;
}

/* ---- the law */

struct law { double a, b, batch_exponent, spread; };

/* Of ln(best) in the cells picked. False: all of one length. */
static bool law_fit(const struct power_cell *const *cells, const double *log_best, int count, struct law *law)
{
    double t[POWER_CELLS_MAX], z[POWER_CELLS_MAX], mean_t = 0, mean_s = 0, mean_y = 0;
    double tt = 0, ss = 0, ts = 0, ty = 0, sy = 0;
    for (int i = 0; i < count; i++) {
        t[i] = log((double)cells[i]->tokens);
        z[i] = log_best[i] - log(cell_beta(cells[i]));
        mean_t += t[i] / count;
        mean_s += log(cell_beta(cells[i])) / count;
        mean_y += log_best[i] / count;
    }
    for (int i = 0; i < count; i++) {
        double dt = t[i] - mean_t, ds = log(cell_beta(cells[i])) - mean_s, dy = log_best[i] - mean_y;
        tt += dt * dt, ss += ds * ds, ts += dt * ds, ty += dt * dy, sy += ds * dy;
    }
    if (!(tt > 1e-9))
        return false;
    const struct line line = line_fit(t, z, count);
    double determinant = tt * ss - ts * ts;
    *law = (struct law){ .a = exp(line.intercept), .b = line.slope, .spread = line.residual_sd };
    law->batch_exponent = determinant > 1e-6 * tt * ss && ss > 1e-9 ? (sy * tt - ty * ts) / determinant : (double)NAN;
    return true;
}

/* ---- resampling */

struct samples { double *best, *a, *b, *batch_exponent, *line[POWER_LINE_POINTS]; int count, exponents; };

static int samples_init(struct samples *samples, const struct power_fit *fit, struct error *error)
{
    int columns = fit->cell_count + 3 + POWER_LINE_POINTS;
    *samples = (struct samples){ .best = memory_array((size_t)columns * POWER_RESAMPLES, sizeof(double)) };
    if (!samples->best)
        return error_set(error, ERROR_NO_MEMORY, "no memory for fitting the power law");
    samples->a = samples->best + (size_t)fit->cell_count * POWER_RESAMPLES;
    samples->b = samples->a + POWER_RESAMPLES;
    samples->batch_exponent = samples->b + POWER_RESAMPLES;
    for (int i = 0; i < POWER_LINE_POINTS; i++)
        samples->line[i] = samples->batch_exponent + (size_t)(i + 1) * POWER_RESAMPLES;
    return 0;
}

/* ln of a cell's best rate with other seeds and noise; within the rates of the cell. */
static double draw_best(const struct cell_runs *runs, const struct power_cell *cell, double deviation, struct rng *rng)
{
    double losses[POWER_RATES_MAX], uniform[POWER_SEEDS_MAX];
    bool fits;
    for (int s = 0; s < POWER_SEEDS_MAX; s++)
        uniform[s] = rng_uniform(rng);
    for (int i = 0; i < cell->rate_count; i++)
        losses[i] = cell_runs_mean(runs, i, uniform) + deviation * rng_normal(rng);
    const struct parabola parabola = cell_parabola(cell, losses, &fits);
    return fits ? parabola_lowest(&parabola) : log(cell->best.middle);
}

static void draw(const struct cell_runs *runs, const struct power_fit *fit, double deviation, struct samples *samples,
                 struct rng *rng, int resample)
{
    const struct power_cell *used[POWER_CELLS_MAX], *picked[POWER_CELLS_MAX];
    double of_picked[POWER_CELLS_MAX];
    struct law law;
    int count = 0;
    for (int i = 0; i < fit->cell_count; i++) {
        const struct power_cell *cell = &fit->cells[i];
        if (cell->state != POWER_CELL_USED)
            continue;
        samples->best[(size_t)i * POWER_RESAMPLES + (size_t)resample] = exp(draw_best(&runs[i], cell, deviation, rng));
        used[count++] = cell;
    }
    for (int i = 0; i < count; i++) {
        picked[i] = used[rng_below(rng, (uint64_t)count)];
        of_picked[i] = log(picked[i]->best.middle);
    }
    if (!law_fit(picked, of_picked, count, &law))
        return;
    samples->a[samples->count] = law.a;
    samples->b[samples->count] = law.b;
    for (int i = 0; i < POWER_LINE_POINTS; i++)
        samples->line[i][samples->count] = law.a * pow(fit->line_tokens[i], law.b);
    samples->count++;
    if (isfinite(law.batch_exponent))
        samples->batch_exponent[samples->exponents++] = law.batch_exponent;
}

static int resample(const struct cell_runs *runs, struct power_fit *fit, double deviation, uint64_t seed, struct error *error)
{
    struct rng rng = rng_stream(seed, 0, RNG_BOOTSTRAP);
    struct samples samples;
    if (samples_init(&samples, fit, error))
        return (int)error->code;
    for (int i = 0; i < POWER_RESAMPLES; i++)
        draw(runs, fit, deviation, &samples, &rng, i);
    for (int i = 0; i < fit->cell_count; i++)
        if (fit->cells[i].state == POWER_CELL_USED)
            fit->cells[i].best = interval_of(samples.best + (size_t)i * POWER_RESAMPLES, POWER_RESAMPLES, confidence,
                                             fit->cells[i].best.middle);
    fit->a = interval_of(samples.a, samples.count, confidence, fit->a.middle);
    fit->b = interval_of(samples.b, samples.count, confidence, fit->b.middle);
    if (isfinite(fit->batch_exponent.middle))
        fit->batch_exponent = interval_of(samples.batch_exponent, samples.exponents, confidence, fit->batch_exponent.middle);
    for (int i = 0; i < POWER_LINE_POINTS; i++)
        fit->line[i] = interval_of(samples.line[i], samples.count, confidence, fit->line[i].middle);
    memory_free(samples.best);
    return 0;
}

/* ---- the answer */

/* True: there is a law. */
static bool fit_middle(struct power_fit *fit)
{
    const struct power_cell *used[POWER_CELLS_MAX];
    double log_best[POWER_CELLS_MAX], first = INFINITY, last = 0;
    struct law law;
    int count = 0;
    for (int i = 0; i < fit->cell_count; i++) {
        if (fit->cells[i].state != POWER_CELL_USED)
            continue;
        used[count] = &fit->cells[i];
        log_best[count++] = log(fit->cells[i].best.middle);
        first = fmin(first, (double)fit->cells[i].tokens);
        last = fmax(last, (double)fit->cells[i].tokens);
    }
    if (count < 3 || !law_fit(used, log_best, count, &law))
        return false;
    fit->a.middle = law.a;
    fit->b.middle = law.b;
    fit->batch_exponent.middle = law.batch_exponent;
    fit->spread = law.spread;
    for (int i = 0; i < fit->cell_count; i++)
        fit->cells[i].law = cell_beta(&fit->cells[i]) * law.a * pow((double)fit->cells[i].tokens, law.b);
    for (int i = 0; i < POWER_LINE_POINTS; i++) {
        fit->line_tokens[i] = first * pow(last / first, (double)i / (POWER_LINE_POINTS - 1));
        fit->line[i].middle = law.a * pow(fit->line_tokens[i], law.b);
    }
    return true;
}

static void answer(struct power_fit *fit)
{
    const struct interval *a = &fit->a, *b = &fit->b, *c = &fit->batch_exponent;
    if (!(b->high < 0) || !(b->low >= -5) || !(a->middle >= 1e-9 && a->middle <= 1e9)) {
        fit->answer = POWER_UNRESOLVED;
        snprintf(fit->reason, sizeof fit->reason, "Unresolved: b is %.3g (%.3g to %.3g), so these runs don't tell how the best "
                 "rate falls with tokens. Sweep longer runs, more lengths or more seeds.", b->middle, b->low, b->high);
        return;
    }
    fit->answer = POWER_FITTED;
    int length = snprintf(fit->reason, sizeof fit->reason, "a = %.3g (%.3g to %.3g) and b = %.3f (%.3f to %.3f) from %d of %d "
                          "cells, %.3g to %.3g tokens.", a->middle, a->low, a->high, b->middle, b->low, b->high, fit->used,
                          fit->cell_count, fit->line_tokens[0], fit->line_tokens[POWER_LINE_POINTS - 1]);
    if (isfinite(c->middle) && !(c->low <= 1 && c->high >= 1))
        snprintf(fit->reason + length, sizeof fit->reason - (size_t)length, " But the best rate goes as the batch to the power of "
                 "%.2f (%.2f to %.2f), not 1: trust this law for batches like those of the runs.", c->middle, c->low, c->high);
}

static void answer_none(struct power_fit *fit)
{
    int ends[POWER_CELL_FEW + 1] = { 0 };
    for (int i = 0; i < fit->cell_count; i++)
        ends[fit->cells[i].state]++;
    fit->answer = POWER_NONE;
    snprintf(fit->reason, sizeof fit->reason, "No fit: it takes three cells or more of two lengths or more with their best rate "
             "inside the sweep; here are %d. In %d cells the lowest rate is best (sweep lower ones), in %d the highest (sweep "
             "higher ones), in %d fewer than three rates train.", fit->used, ends[POWER_CELL_LOWER_END],
             ends[POWER_CELL_UPPER_END], ends[POWER_CELL_FEW]);
}

int power_fit_runs(const struct power_run *runs, int count, uint64_t seed, struct power_fit *fit, struct error *error)
{
    const struct interval nothing = { NAN, NAN, NAN };
    struct cell_runs *of_cells = NULL;
    *fit = (struct power_fit){ .a = nothing, .b = nothing, .batch_exponent = nothing, .largest_best = NAN, .spread = NAN };
    for (int i = 0; i < POWER_LINE_POINTS; i++)
        fit->line[i] = nothing, fit->line_tokens[i] = NAN;
    if (cell_runs_new(runs, count, fit, &of_cells, error))
        return (int)error->code;
    double deviation = cells_judge(fit);
    if (fit_middle(fit)) {
        if (resample(of_cells, fit, deviation, seed, error) == 0)
            answer(fit);
    } else {
        answer_none(fit);
    }
    cell_runs_free(of_cells);
    return (int)error->code;
}
