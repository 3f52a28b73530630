#include "study/parabola.h"

#include <math.h>

double parabola_at(const struct parabola *parabola, double x)
{
    double t = x - parabola->centre;
    return parabola->a + parabola->b * t + parabola->c * t * t;
}

double parabola_lowest(const struct parabola *parabola)
{
    double x = parabola->bent ? parabola->centre - parabola->b / (2 * parabola->c)
                              : parabola->b > 0 ? parabola->low : parabola->high;
    return fmin(fmax(x, parabola->low), parabola->high);
}

/* Least squares of y on 1, t, t^2 by elimination. */
static void solve(double matrix[3][4], double out[3])
{
    for (int i = 0; i < 3; i++) {
        int pivot = i;
        for (int j = i + 1; j < 3; j++)
            pivot = fabs(matrix[j][i]) > fabs(matrix[pivot][i]) ? j : pivot;
        for (int k = 0; k < 4; k++) {
            double kept = matrix[i][k];
            matrix[i][k] = matrix[pivot][k];
            matrix[pivot][k] = kept;
        }
        for (int j = 0; j < 3; j++) {
            double factor = j == i ? 0 : matrix[j][i] / matrix[i][i];
            for (int k = i; k < 4; k++)
                matrix[j][k] -= factor * matrix[i][k];
        }
    }
    for (int i = 0; i < 3; i++)
        out[i] = matrix[i][3] / matrix[i][i];
}

int lowest_index(const double *values, int count)
{
    int best = -1;
    for (int i = 0; i < count; i++)
        if (isfinite(values[i]) && (best < 0 || values[i] < values[best]))
            best = i;
    return best;
}

bool parabola_fit(struct parabola *parabola, const double *x, const double *y, int count)
{
    int best = lowest_index(y, count), used = 0, first = best - PARABOLA_POINTS / 2;
    double matrix[3][4] = { { 0 } }, values[3], squares = 0;
    if (best < 0)
        return false;
    if (first + PARABOLA_POINTS > count)
        first = count - PARABOLA_POINTS;
    if (first < 0)
        first = 0;
    *parabola = (struct parabola){ .centre = x[best], .low = x[0], .high = x[count - 1] };
    for (int i = first; i < count && i < first + PARABOLA_POINTS; i++) {
        double t = x[i] - parabola->centre, power[5] = { 1, t, t * t, t * t * t, t * t * t * t };
        if (!isfinite(y[i]))
            continue;
        used++;
        for (int row = 0; row < 3; row++) {
            for (int column = 0; column < 3; column++)
                matrix[row][column] += power[row + column];
            matrix[row][3] += power[row] * y[i];
        }
    }
    if (used < 3)
        return false;
    solve(matrix, values);
    parabola->a = values[0];
    parabola->b = values[1];
    parabola->c = values[2];
    parabola->bent = parabola->c > 0;
    for (int i = first; i < count && i < first + PARABOLA_POINTS; i++)
        if (isfinite(y[i]))
            squares += (y[i] - parabola_at(parabola, x[i])) * (y[i] - parabola_at(parabola, x[i]));
    parabola->deviation = used > 3 ? sqrt(squares / (used - 3)) : 0;
    return true;
}
