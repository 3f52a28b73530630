#include "trainer/symmetric.h"

#include <math.h>

enum { SWEEPS_MAX = 60 };

/* Rows and columns p and q turned by the angle that makes matrix[p][q] zero. */
static void rotate(double *matrix, int n, int stride, int p, int q, double *vectors)
{
    const double apq = matrix[p * stride + q];
    const double theta = (matrix[q * stride + q] - matrix[p * stride + p]) / (2 * apq);
    const double t = copysign(1, theta) / (fabs(theta) + sqrt(theta * theta + 1));
    const double c = 1 / sqrt(t * t + 1), s = t * c;
    for (int i = 0; i < n; i++) {
        const double a = matrix[i * stride + p], b = matrix[i * stride + q];
        matrix[i * stride + p] = c * a - s * b;
        matrix[i * stride + q] = s * a + c * b;
    }
    for (int i = 0; i < n; i++) {
        const double a = matrix[p * stride + i], b = matrix[q * stride + i];
        matrix[p * stride + i] = c * a - s * b;
        matrix[q * stride + i] = s * a + c * b;
    }
    matrix[p * stride + q] = matrix[q * stride + p] = 0;
    for (int i = 0; i < n; i++) {
        const double a = vectors[i * stride + p], b = vectors[i * stride + q];
        vectors[i * stride + p] = c * a - s * b;
        vectors[i * stride + q] = s * a + c * b;
    }
}

/* One turn for every pair that is not negligible beside its diagonal; false: none was left. */
static int sweep(double *matrix, int n, int stride, double *vectors)
{
    int turned = 0;
    for (int p = 0; p < n; p++) {
        for (int q = p + 1; q < n; q++) {
            const double size = fabs(matrix[p * stride + p]) + fabs(matrix[q * stride + q]);
            const double off = fabs(matrix[p * stride + q]);
            if (off > 1e-300 && off > 1e-17 * size) {
                rotate(matrix, n, stride, p, q, vectors);
                turned = 1;
            }
        }
    }
    return turned;
}

static void swap_columns(double *vectors, int n, int stride, int a, int b)
{
    for (int i = 0; i < n; i++) {
        const double kept = vectors[i * stride + a];
        vectors[i * stride + a] = vectors[i * stride + b];
        vectors[i * stride + b] = kept;
    }
}

void symmetric_eigen(double *matrix, int n, int stride, double *values, double *vectors)
{
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            vectors[i * stride + j] = i == j;
        }
    }
    for (int i = 0; i < SWEEPS_MAX && sweep(matrix, n, stride, vectors); i++) {
        continue;
    }
    for (int i = 0; i < n; i++) {
        values[i] = matrix[i * stride + i];
    }
    for (int i = 0; i < n; i++) {
        int largest = i;
        for (int j = i + 1; j < n; j++) {
            largest = values[j] > values[largest] ? j : largest;
        }
        const double kept = values[i];
        values[i] = values[largest];
        values[largest] = kept;
        if (largest != i) {
            swap_columns(vectors, n, stride, i, largest);
        }
    }
}
