/* Lanczos on matrices whose spectra are known: A = H2 H1 diag(values) H1 H2, with Householder reflections H = I - 2 u u^T. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "model/kernels_bodies.h"
#include "trainer/lanczos.h"
#include "trainer/symmetric.h"

enum { N = 120 };

struct matrix {
    int n;
    double values[N], mirrors[2][N];
};

static void matrix_make(struct matrix *matrix, int n, const double *values)
{
    struct rng rng = rng_stream(5, 0, RNG_PROBE);
    matrix->n = n;
    memcpy(matrix->values, values, (size_t)n * sizeof *values);
    for (int mirror = 0; mirror < 2; mirror++) {
        double squares = 0;
        for (int i = 0; i < n; i++) {
            matrix->mirrors[mirror][i] = rng_normal(&rng);
            squares += matrix->mirrors[mirror][i] * matrix->mirrors[mirror][i];
        }
        for (int i = 0; i < n; i++)
            matrix->mirrors[mirror][i] /= sqrt(squares);
    }
}

static void reflect(const struct matrix *matrix, int mirror, double *x)
{
    const double *u = matrix->mirrors[mirror];
    double part = 0;
    for (int i = 0; i < matrix->n; i++)
        part += u[i] * x[i];
    for (int i = 0; i < matrix->n; i++)
        x[i] -= 2 * part * u[i];
}

static double number(const void *x, size_t element, int i)
{
    return element == sizeof(double) ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static void number_set(void *x, size_t element, int i, double value)
{
    if (element == sizeof(double))
        ((double *)x)[i] = value;
    else
        ((float *)x)[i] = (float)value;
}

static void matrix_multiply(const struct matrix *matrix, size_t element, const void *direction, void *product)
{
    double x[N];
    for (int i = 0; i < matrix->n; i++)
        x[i] = number(direction, element, i);
    reflect(matrix, 1, x);
    reflect(matrix, 0, x);
    for (int i = 0; i < matrix->n; i++)
        x[i] *= matrix->values[i];
    reflect(matrix, 0, x);
    reflect(matrix, 1, x);
    for (int i = 0; i < matrix->n; i++)
        number_set(product, element, i, x[i]);
}

struct space { const struct kernels *kernels; int n; };

static void fill(void *owner, struct rng *rng, void *vector)
{
    const struct space *space = owner;
    for (int i = 0; i < space->n; i++)
        number_set(vector, space->kernels->element, i, rng_u64(rng) & 1 ? 1 : -1);
}

struct solved { int found, products; bool converged, exact; double values[LANCZOS_WANTED_MAX]; };

static struct solved solve(const struct matrix *matrix, const struct kernels *kernels, int wanted, double tolerance)
{
    struct error error = {0};
    struct lanczos *lanczos;
    struct space space = {kernels, matrix->n};
    const size_t n = (size_t)matrix->n;
    const struct lanczos_options options = {kernels, n, wanted, tolerance, fill, &space, rng_stream(9, 0, RNG_PROBE)};
    struct solved solved;
    assert_ok(lanczos_new(&lanczos, kernels, n, wanted, &error), &error);
    lanczos_begin(lanczos, &options);
    while (!lanczos->finished) {
        matrix_multiply(matrix, kernels->element, lanczos_direction(lanczos), lanczos_product(lanczos));
        lanczos_take(lanczos);
    }
    solved = (struct solved){lanczos->found, lanczos->products, lanczos->converged, lanczos->exact, {0}};
    memcpy(solved.values, lanczos->values, sizeof solved.values);
    lanczos_free(lanczos);
    return solved;
}

/* The values, sorted down, beside those found; residual and bound are printed. */
static void check(const char *name, const double *values, int n, int wanted, int least_products, int most_products)
{
    const struct kernels *bodies[] = {kernels_ref_double(), kernels_ref_float(), kernels_cpu()};
    static struct matrix matrix;
    double sorted[N];
    matrix_make(&matrix, n, values);
    memcpy(sorted, values, (size_t)n * sizeof *values);
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (sorted[j] > sorted[i]) {
                const double kept = sorted[i];
                sorted[i] = sorted[j];
                sorted[j] = kept;
            }
    for (size_t body = 0; body < sizeof bodies / sizeof bodies[0]; body++) {
        const bool exact = bodies[body]->element == sizeof(double);
        const struct solved solved = solve(&matrix, bodies[body], wanted, exact ? 1e-9 : 1e-5);
        double worst = 0, size = fmax(fabs(sorted[0]), fabs(sorted[n - 1]));
        assert_int_equal(solved.found, wanted < n ? wanted : n);
        for (int i = 0; i < solved.found; i++)
            worst = fmax(worst, fabs(solved.values[i] - sorted[i]));
        print_message("  %s, %s: %d products, residual %.2e of %.2e\n", name, bodies[body]->name, solved.products,
                      worst / fmax(size, 1e-30), exact ? 1e-10 : 5e-6);
        assert_true(solved.converged);
        assert_true(worst <= (exact ? 1e-10 : 5e-6) * fmax(size, 1e-30));
        assert_in_range(solved.products, least_products, most_products);
    }
}

static void a_wide_spectrum_gives_its_largest_values(void **state)
{
    double values[N];
    (void)state;
    for (int i = 0; i < N; i++)
        values[i] = 100.0 / (1 + i);
    check("wide", values, N, 5, 6, 60);
}

static void negative_values_of_larger_size_do_not_hide_the_largest(void **state)
{
    double values[N];
    (void)state;
    for (int i = 0; i < N; i++)
        values[i] = i < 10 ? -50.0 - 10 * i : (double)(i % 10) / 5;
    values[60] = 7;
    check("negative", values, N, 2, 3, 150);
    for (int i = 0; i < N; i++)
        values[i] = -1.0 - i;
    check("all negative", values, N, 3, 4, 200);
}

static void close_values_are_told_apart_through_restarts(void **state)
{
    double values[N];
    (void)state;
    for (int i = 0; i < N; i++)
        values[i] = 1.0 * i / N;
    values[3] = 10;
    values[50] = 10.01;
    values[77] = 10.05;
    check("cluster", values, N, 4, 5, 200);
}

static void repeated_values_are_found_as_often_as_they_are_there(void **state)
{
    double values[N] = {0};
    (void)state;
    for (int i = 0; i < 30; i++)
        values[i] = i < 3 ? 4 : i < 8 ? 2 : -1;
    check("repeated", values, 30, 5, 6, 30);
}

static void breakdown_of_a_rank_deficient_matrix_goes_on_with_a_fresh_vector(void **state)
{
    double values[N] = {0};
    (void)state;
    values[4] = 3;
    values[5] = 1;
    check("rank two", values, N, 4, 4, 40);
    values[4] = values[5] = 0;
    check("zero", values, N, 2, 2, 40);
}

static void a_space_smaller_than_what_is_wanted_gives_all_it_has(void **state)
{
    const double values[] = {2, -3, 0.5};
    (void)state;
    check("three", values, 3, 7, 3, 3);
    check("one", values + 1, 1, 1, 1, 1);
}

static void a_product_that_is_not_finite_ends_it_without_values(void **state)
{
    static struct matrix matrix;
    double values[N] = {1, 2, (double)NAN};
    (void)state;
    matrix_make(&matrix, 8, values);
    const struct solved solved = solve(&matrix, kernels_cpu(), 2, 1e-5);
    assert_int_equal(solved.found, 0);
    assert_false(solved.converged);
}

static void the_same_stream_gives_the_same_bits(void **state)
{
    static struct matrix matrix;
    double values[N];
    (void)state;
    for (int i = 0; i < N; i++)
        values[i] = sin(i * 1.7);
    matrix_make(&matrix, N, values);
    const struct solved first = solve(&matrix, kernels_cpu(), 3, 1e-5), again = solve(&matrix, kernels_cpu(), 3, 1e-5);
    assert_memory_equal(first.values, again.values, sizeof first.values);
    assert_int_equal(first.products, again.products);
}

static void every_failed_allocation_is_answered(void **state)
{
    (void)state;
    for (long nth = 1;; nth++) {
        struct error error = {0};
        struct lanczos *lanczos;
        fault_arm(FAULT_ALLOC, nth);
        const int status = lanczos_new(&lanczos, kernels_cpu(), 100, 3, &error);
        fault_arm(FAULT_ALLOC, 0);
        if (status == 0) {
            assert_true(nth > 3);
            lanczos_free(lanczos);
            return;
        }
        assert_int_equal(status, ERROR_NO_MEMORY);
    }
}

/* Vectors too: A v = value v, and all columns are orthonormal. */
static void small_matrices_are_taken_apart(void **state)
{
    enum { SIDE = 23 };
    double matrix[SIDE * SIDE], kept[SIDE * SIDE], values[SIDE], vectors[SIDE * SIDE], worst = 0;
    struct rng rng = rng_stream(3, 0, RNG_PROBE);
    (void)state;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j <= i; j++)
            matrix[i * SIDE + j] = matrix[j * SIDE + i] = rng_normal(&rng);
    memcpy(kept, matrix, sizeof kept);
    symmetric_eigen(matrix, SIDE, SIDE, values, vectors);
    for (int k = 0; k < SIDE; k++) {
        assert_true(k == 0 || values[k] <= values[k - 1]);
        for (int i = 0; i < SIDE; i++) {
            double product = 0, inner = 0;
            for (int j = 0; j < SIDE; j++) {
                product += kept[i * SIDE + j] * vectors[j * SIDE + k];
                inner += vectors[j * SIDE + i] * vectors[j * SIDE + k];
            }
            worst = fmax(worst, fabs(product - values[k] * vectors[i * SIDE + k]));
            worst = fmax(worst, fabs(inner - (i == k)));
        }
    }
    print_message("  residual %.2e of 1e-12\n", worst);
    assert_true(worst < 1e-12);
}

TEST_MAIN(cmocka_unit_test(small_matrices_are_taken_apart), cmocka_unit_test(a_wide_spectrum_gives_its_largest_values),
          cmocka_unit_test(negative_values_of_larger_size_do_not_hide_the_largest),
          cmocka_unit_test(close_values_are_told_apart_through_restarts),
          cmocka_unit_test(repeated_values_are_found_as_often_as_they_are_there),
          cmocka_unit_test(breakdown_of_a_rank_deficient_matrix_goes_on_with_a_fresh_vector),
          cmocka_unit_test(a_space_smaller_than_what_is_wanted_gives_all_it_has),
          cmocka_unit_test(a_product_that_is_not_finite_ends_it_without_values),
          cmocka_unit_test(the_same_stream_gives_the_same_bits), cmocka_unit_test(every_failed_allocation_is_answered))
