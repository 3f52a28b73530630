/* Parabolas: where is a loss lowest over ln(rate)? Least squares through the PARABOLA_POINTS points around the lowest one,
 * since a loss is a parabola only near its bottom. Thread rule: pure functions of values. */
#ifndef STUDY_PARABOLA_H
#define STUDY_PARABOLA_H

#include <stdbool.h>

enum { PARABOLA_POINTS = 5 };

/* y = a + b t + c t^2, t = x - centre. */
struct parabola {
    double a, b, c, centre;
    double low, high;            /* ends of all of x */
    double deviation;            /* of the residuals, used - 3 degrees of freedom; 0 with three points */
    bool bent;                   /* c > 0: it has a lowest point */
};

/* x ascending; points whose y is not finite are left out. False: fewer than three are left around the lowest. */
bool parabola_fit(struct parabola *parabola, const double *x, const double *y, int count);
double parabola_at(const struct parabola *parabola, double x);
/* Where it is lowest between low and high: at an end unless it is bent. */
double parabola_lowest(const struct parabola *parabola);
/* The index of the lowest finite value; -1: there is none. */
int lowest_index(const double *values, int count);

#endif
