/* The cpu body's products in every form, with scratch and without, against sums in double: every transpose, the edges
 * of tiles, of parts of k and of blocks of columns, alpha and beta, rows longer than what is used, unaligned buffers. */
#include "tests/model/numbers.h"

enum { GUARD = 16 };

struct sizes { int m, n, k; };

/* A factor in a block that ends with its last number. */
static float *factor_new(int rows, int columns, int step, int skew, uint64_t seed, float **block)
{
    size_t count = rows > 0 && columns > 0 ? (size_t)(rows - 1) * (size_t)step + (size_t)columns : 0;
    *block = floats_new(count + (size_t)skew + 1, seed);
    return *block + skew + 1;
}

/* Bound of the rounding of k products and their sum, in any order (Higham, 2002, section 3.1). */
static double rounding(int k)
{
    return (k + 8) * ldexp(1, -24);
}

static double stored(const float *x, int step, bool transposed, int row, int column)
{
    return transposed ? x[(size_t)column * (size_t)step + (size_t)row] : x[(size_t)row * (size_t)step + (size_t)column];
}

static void check_number(const struct product *p, const float *a, const float *b, float before, float after, int i,
                         int j)
{
    double sum = 0, size = 0;
    for (int k = 0; k < p->k; k++) {
        double term = stored(a, p->lda, p->transpose_a, i, k) * stored(b, p->ldb, p->transpose_b, k, j);
        sum += term;
        size += fabs(term);
    }
    double expected = p->alpha * sum, bound = fabs(p->alpha) * size;
    if (p->beta != 0) {
        expected += p->beta * before;
        bound += fabs(p->beta * before);
    }
    double residual = fabs(after - expected);
    bound = bound * rounding(p->k) + 1e-30;
    if (!(residual <= bound)) {
        print_error("m %d n %d k %d, transposed %d %d, alpha %g beta %g, number %d %d: residual %g, bound %g\n", p->m,
                    p->n, p->k, p->transpose_a, p->transpose_b, p->alpha, p->beta, i, j, residual, bound);
        fail();
    }
}

/* Runs the product of these sizes with `extra` unused numbers after each row and checks every number of c, and that
 * those between its rows are as before. With beta 0, c holds NaN before. */
static void check_product(const struct kernels *kernels, struct product p, int extra, int skew)
{
    float *a_block, *b_block;
    p.lda = (p.transpose_a ? p.m : p.k) + extra;
    p.ldb = (p.transpose_b ? p.k : p.n) + extra;
    p.ldc = p.n + extra;
    float *a = factor_new(p.transpose_a ? p.k : p.m, p.transpose_a ? p.m : p.k, p.lda, skew, 1, &a_block);
    float *b = factor_new(p.transpose_b ? p.n : p.k, p.transpose_b ? p.k : p.n, p.ldb, skew, 2, &b_block);
    size_t count = (size_t)p.m * (size_t)p.ldc + (size_t)skew + 2 * GUARD;
    float *c = floats_new(count, 3), *before = memory_array(count, sizeof *before);
    assert_non_null(before);
    for (size_t i = 0; p.beta == 0 && i < count; i++)
        c[i] = NAN;
    memcpy(before, c, count * sizeof *c);
    size_t first = GUARD + (size_t)skew;
    kernels->ops->product(&p, a, b, c + first);
    for (int i = 0; i < p.m; i++)
        for (int j = 0; j < p.n; j++) {
            size_t at = first + (size_t)i * (size_t)p.ldc + (size_t)j;
            check_number(&p, a, b, before[at], c[at], i, j);
            c[at] = before[at];
        }
    assert_memory_equal(c, before, count * sizeof *c);
    memory_free(a_block);
    memory_free(b_block);
    memory_free(c);
    memory_free(before);
}

/* The scratch of a body, full of NaN, with a guard behind it. */
static void *scratch_new_of(const struct kernels *kernels, size_t *bytes)
{
    *bytes = kernels->ops->product_scratch(PRODUCT_F32);
    unsigned char *scratch = kernels->alloc(*bytes + GUARD);
    assert_non_null(scratch);
    memset(scratch, 0xff, *bytes + GUARD);
    return scratch;
}

static void scratch_check_and_free(const struct kernels *kernels, unsigned char *scratch, size_t bytes)
{
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(scratch[bytes + i], 0xff);
    kernels->release(scratch);
}

/* A product in each transpose by each form, with scratch and without. */
static void check_sizes(const struct sizes *sizes, double alpha, double beta, int extra, int skew)
{
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        size_t bytes;
        void *scratch = scratch_new_of(*form, &bytes);
        for (int t = 0; t < 8; t++) {
            struct product product = {
                .m = sizes->m, .n = sizes->n, .k = sizes->k, .transpose_a = t & 1, .transpose_b = t & 2,
                .alpha = alpha, .beta = beta, .scratch = t & 4 ? NULL : scratch,
            };
            check_product(*form, product, extra, skew);
        }
        scratch_check_and_free(*form, scratch, bytes);
    }
}

static void tiles_are_sums_at_every_edge(void **state)
{
    (void)state;
    static const int columns[] = {1, 7, 15, 16, 17, 31, 32, 33, 48, 49, 65}, depths[] = {1, 2, 3, 4, 5, 8, 15, 17};
    for (int m = 1; m <= 30; m++)
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            struct sizes sizes = {m, columns[i], depths[(m + (int)i) % 8]};
            check_sizes(&sizes, 1, m % 2, m % 3, m % 5);
        }
}

static void parts_are_sums_at_every_edge(void **state)
{
    (void)state;
    static const struct sizes sizes[] = {
        {3, 5, 191},  {15, 33, 192}, {17, 31, 193},  {14, 64, 383},   {29, 48, 384}, {5, 40, 385},   {9, 35, 777},
        {2, 513, 20}, {4, 545, 390}, {16, 1090, 11}, {113, 36, 19},   {230, 17, 30}, {112, 16, 200}, {281, 32, 21},
        {14, 528, 9}, {15, 528, 9},  {280, 48, 9},   {2, 3080, 200},  {1, 2000, 7},  {1, 1, 1000},   {40, 1, 401},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_sizes(&sizes[i], 1, 0, i % 2 ? 3 : 0, (int)i % 4);
}

static void alpha_and_beta_scale(void **state)
{
    (void)state;
    static const double factors[][2] = {{1, 0}, {1, 1}, {0.5, 0}, {-2, 1}, {1, -0.25}, {0.75, 3}, {0, 1}, {0, 0}};
    static const struct sizes sizes[] = {{16, 33, 20}, {9, 64, 400}};
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            check_sizes(&sizes[s], factors[i][0], factors[i][1], 0, 0);
}

static void nothing_to_sum_leaves_beta_times_c(void **state)
{
    (void)state;
    for (int beta = 0; beta <= 2; beta++) {
        struct sizes sizes = {15, 37, 0};
        check_sizes(&sizes, 1, beta, 1, 0);
    }
}

static void no_rows_and_no_columns_write_nothing(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++) {
        size_t bytes;
        void *scratch = scratch_new_of(*form, &bytes);
        for (int t = 0; t < 8; t++) {
            float a[64] = {0}, b[64] = {0}, c[64] = {7};
            struct product product = {
                .m = t & 4 ? 0 : 5, .n = t & 4 ? 5 : 0, .k = 6, .transpose_a = t & 1, .transpose_b = t & 2, .lda = 8,
                .ldb = 8, .ldc = 8, .alpha = 1, .scratch = scratch,
            };
            (*form)->ops->product(&product, a, b, c);
            assert_true(c[0] == 7);
        }
        scratch_check_and_free(*form, scratch, bytes);
    }
}

/* Sizes whose product uses each of the ways through a body: packed and unpacked, whole tiles and edges, two parts. */
static const struct sizes ways[] = {{30, 70, 50}, {100, 64, 400}, {14, 48, 390}, {300, 32, 20}};

static float *product_new(const struct kernels *kernels, struct product product, const float *a, const float *b,
                          void *scratch)
{
    float *c = memory_array((size_t)product.m * (size_t)product.n, sizeof *c);
    assert_non_null(c);
    product.scratch = scratch;
    kernels->ops->product(&product, a, b, c);
    return c;
}

static struct product product_dense(const struct sizes *sizes, int transposes)
{
    bool a = transposes & 1, b = transposes & 2;
    return (struct product){
        .m = sizes->m, .n = sizes->n, .k = sizes->k, .transpose_a = a, .transpose_b = b,
        .lda = a ? sizes->m : sizes->k, .ldb = b ? sizes->k : sizes->n, .ldc = sizes->n, .alpha = 1,
    };
}

static void bits_do_not_depend_on_where_buffers_lie(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
        for (int i = 0; i < 16; i++) {
            const struct sizes *sizes = &ways[i / 4];
            struct product product = product_dense(sizes, i % 4);
            size_t bytes, a_count = (size_t)(sizes->m * sizes->k), b_count = (size_t)(sizes->n * sizes->k);
            float *a = floats_new(a_count + 4, 5), *b = floats_new(b_count + 4, 6);
            void *scratch = scratch_new_of(*form, &bytes);
            float *once = product_new(*form, product, a, b, scratch);
            memmove(a + 3, a, a_count * sizeof *a);
            memmove(b + 1, b, b_count * sizeof *b);
            float *again = product_new(*form, product, a + 3, b + 1, scratch);
            assert_memory_equal(once, again, (size_t)(sizes->m * sizes->n) * sizeof *once);
            memory_free(a);
            memory_free(b);
            memory_free(once);
            memory_free(again);
            scratch_check_and_free(*form, scratch, bytes);
        }
}

/* Rows of a body that packs by itself do not know of each other: any rows alone are the same rows to the bit. */
static void rows_alone_have_the_bits_of_rows_together(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
        for (int i = 0; i < 8 && (*form)->ops->product_scratch(PRODUCT_F32) > 0; i++) {
            const struct sizes *sizes = &ways[i / 2];
            struct product product = product_dense(sizes, i % 2 ? 2 : 0), some = product;
            size_t bytes;
            int first = sizes->m / 3;
            float *a = floats_new((size_t)(sizes->m * sizes->k), 5), *b = floats_new((size_t)(sizes->n * sizes->k), 6);
            void *scratch = scratch_new_of(*form, &bytes);
            float *whole = product_new(*form, product, a, b, scratch);
            some.m = sizes->m / 2;
            float *part = product_new(*form, some, a + first * sizes->k, b, scratch);
            assert_memory_equal(part, whole + first * sizes->n, (size_t)(some.m * sizes->n) * sizeof *part);
            memory_free(a);
            memory_free(b);
            memory_free(whole);
            memory_free(part);
            scratch_check_and_free(*form, scratch, bytes);
        }
}

/* An infinite number of a reaches every column of its row and nothing else, one of b its column; so does NaN. */
static void numbers_that_are_not_finite_stay_in_row_and_column(void **state)
{
    (void)state;
    for (const struct kernels *const *form = cpu_forms(); *form != NULL; form++)
        for (int i = 0; i < 32; i++) {
            const struct sizes *sizes = &ways[i / 8];
            struct product product = product_dense(sizes, i % 4);
            size_t bytes;
            int row = sizes->m - 1, column = sizes->n - 1, k = sizes->k / 2;
            float *a = floats_new((size_t)(sizes->m * sizes->k), 7), *b = floats_new((size_t)(sizes->n * sizes->k), 8);
            void *scratch = scratch_new_of(*form, &bytes);
            a[product.transpose_a ? k * sizes->m + row : row * sizes->k + k] = i & 4 ? NAN : INFINITY;
            b[product.transpose_b ? column * sizes->k + k : k * sizes->n + column] = i & 4 ? NAN : -INFINITY;
            float *c = product_new(*form, product, a, b, scratch);
            for (int j = 0; j < sizes->m * sizes->n; j++)
                assert_int_equal(!isfinite(c[j]), j / sizes->n == row || j % sizes->n == column);
            memory_free(a);
            memory_free(b);
            memory_free(c);
            scratch_check_and_free(*form, scratch, bytes);
        }
}

TEST_MAIN(cmocka_unit_test(tiles_are_sums_at_every_edge), cmocka_unit_test(parts_are_sums_at_every_edge),
          cmocka_unit_test(alpha_and_beta_scale), cmocka_unit_test(nothing_to_sum_leaves_beta_times_c),
          cmocka_unit_test(no_rows_and_no_columns_write_nothing),
          cmocka_unit_test(bits_do_not_depend_on_where_buffers_lie),
          cmocka_unit_test(rows_alone_have_the_bits_of_rows_together),
          cmocka_unit_test(numbers_that_are_not_finite_stay_in_row_and_column))
