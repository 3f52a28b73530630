#include "study/extrapolate.h"

#include <math.h>

#include "study/statistics.h"

static const double exponent_least = 0.05, exponent_most = 2;
/* Time constants of the exponential, as multiples of the span of the points. */
static const double tau_least = 0.1, tau_most = 10;
enum { GRID_VALUES = 60, OFFSETS = 4 };
static const double offsets[OFFSETS] = { 0, 0.25, 0.5, 1 };

/* One shape of decay, u(t): (t + offset)^-value, or e^(-(t - offset) / value). */
struct decay { enum extrapolate_form form; double value, offset; };

static double decay_at(const struct decay *decay, double step)
{
    if (decay->form == EXTRAPOLATE_EXPONENTIAL)
        return exp(-(step - decay->offset) / decay->value);
    return pow(step + decay->offset, -decay->value);
}

struct fitted { struct decay decay; double floor, amount, squares; };

/* Non-negative least squares of the losses on (1, u): the free solution, or the better edge. */
static void fit_solve(struct fitted *fitted, const double *steps, const double *losses, int count)
{
    double mean_u = 0, mean_y = 0, uu = 0, uy = 0;
    for (int i = 0; i < count; i++) {
        mean_u += decay_at(&fitted->decay, steps[i]) / count;
        mean_y += losses[i] / count;
    }
    for (int i = 0; i < count; i++) {
        double u = decay_at(&fitted->decay, steps[i]) - mean_u;
        uu += u * u;
        uy += u * (losses[i] - mean_y);
    }
    fitted->amount = uu > 0 && uy > 0 ? uy / uu : 0;
    fitted->floor = mean_y - fitted->amount * mean_u;
    if (fitted->floor < 0) {
        fitted->floor = 0;
        fitted->amount = (uy + count * mean_u * mean_y) / (uu + count * mean_u * mean_u);
    }
    fitted->squares = 0;
    for (int i = 0; i < count; i++) {
        double residual = losses[i] - fitted->floor - fitted->amount * decay_at(&fitted->decay, steps[i]);
        fitted->squares += residual * residual;
    }
}

static double grid_value(double least, double most, int index)
{
    return least * pow(most / least, (double)index / (GRID_VALUES - 1));
}

static struct extrapolation extrapolate_decay(enum extrapolate_form form, const double *steps, const double *losses,
                                              int count, double at)
{
    struct fitted best = { .squares = INFINITY };
    bool power = form == EXTRAPOLATE_POWER;
    double span = steps[count - 1] - steps[0];
    for (int o = 0; o < (power ? OFFSETS : 1); o++)
        for (int g = 0; g < GRID_VALUES; g++) {
            struct fitted fitted = { .decay = { .form = form, .offset = power ? offsets[o] * steps[0] : steps[0] } };
            fitted.decay.value = power ? grid_value(exponent_least, exponent_most, g)
                                       : grid_value(tau_least * span, tau_most * span, g);
            fit_solve(&fitted, steps, losses, count);
            if (fitted.squares < best.squares)
                best = fitted;
        }
    return (struct extrapolation){ best.floor + best.amount * decay_at(&best.decay, at), best.squares, power ? 4 : 3 };
}

static struct extrapolation extrapolate_line(const double *steps, const double *losses, int count, double at)
{
    double x[GRID_GEOMETRIC_MAX + 2];
    int first = count > GRID_GEOMETRIC_MAX + 2 ? count - (GRID_GEOMETRIC_MAX + 2) : 0, n = count - first;
    for (int i = 0; i < n; i++)
        x[i] = log(steps[first + i] + 10);
    struct line line = line_fit(x, losses + first, n);
    return (struct extrapolation){ line.intercept + line.slope * log(at + 10),
                                   line.residual_sd * line.residual_sd * (n - 2), 2 };
}

struct extrapolation extrapolate(enum extrapolate_form form, const double *steps, const double *losses, int count,
                                 double at)
{
    if (count < EXTRAPOLATE_POINTS_MIN)
        return (struct extrapolation){ NAN, NAN, 0 };
    return form == EXTRAPOLATE_LINE ? extrapolate_line(steps, losses, count, at)
                                    : extrapolate_decay(form, steps, losses, count, at);
}

double extrapolate_power(const double *steps, const double *losses, int count, double at)
{
    return extrapolate(EXTRAPOLATE_POWER, steps, losses, count, at).at;
}

int slow_regime_points(const struct study *study, int candidate, double knee, uint64_t k, double *steps, double *losses,
                       int most)
{
    const struct curve *curve = &study->candidates[candidate].curve;
    double begin = fmin((double)study->spec->training.schedule.warmup_steps, (double)k / 2);
    begin = fmax(begin, (double)k / 10);
    if (!isnan(knee))
        begin = fmax(begin, knee);
    int count = 0;
    for (int i = 0; i < curve->count && count < most && curve->points[i].step <= k; i++) {
        if ((double)curve->points[i].step < begin || !grid_is_geometric(&study->grid, curve->points[i].step))
            continue;
        steps[count] = (double)curve->points[i].step;
        losses[count++] = curve->points[i].loss;
    }
    return count;
}
