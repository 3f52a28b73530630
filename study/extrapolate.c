#include "study/extrapolate.h"

#include <math.h>

static const double exponent_least = 0.05, exponent_most = 2;
enum { EXPONENTS = 60, OFFSETS = 4 };
static const double offsets[OFFSETS] = { 0, 0.25, 0.5, 1 };

struct power { double floor, amount, exponent, offset, squares; };

/* Non-negative least squares of the losses on (1, u), u = (t + offset)^-exponent: the free solution, or the better
 * edge. */
static void power_solve(struct power *power, const double *steps, const double *losses, int count)
{
    double mean_u = 0, mean_y = 0, uu = 0, uy = 0;
    for (int i = 0; i < count; i++) {
        mean_u += pow(steps[i] + power->offset, -power->exponent) / count;
        mean_y += losses[i] / count;
    }
    for (int i = 0; i < count; i++) {
        double u = pow(steps[i] + power->offset, -power->exponent) - mean_u;
        uu += u * u;
        uy += u * (losses[i] - mean_y);
    }
    power->amount = uu > 0 && uy > 0 ? uy / uu : 0;
    power->floor = mean_y - power->amount * mean_u;
    if (power->floor < 0) {
        power->floor = 0;
        power->amount = (uy + count * mean_u * mean_y) / (uu + count * mean_u * mean_u);
    }
    power->squares = 0;
    for (int i = 0; i < count; i++) {
        double u = pow(steps[i] + power->offset, -power->exponent);
        double residual = losses[i] - power->floor - power->amount * u;
        power->squares += residual * residual;
    }
}

double extrapolate_power(const double *steps, const double *losses, int count, double at)
{
    if (count < EXTRAPOLATE_POINTS_MIN)
        return NAN;
    struct power best = { .squares = INFINITY };
    for (int o = 0; o < OFFSETS; o++)
        for (int e = 0; e < EXPONENTS; e++) {
            double share = (double)e / (EXPONENTS - 1);
            struct power power = { .offset = offsets[o] * steps[0],
                                   .exponent = exponent_least * pow(exponent_most / exponent_least, share) };
            power_solve(&power, steps, losses, count);
            if (power.squares < best.squares)
                best = power;
        }
    return best.floor + best.amount * pow(at + best.offset, -best.exponent);
}
