/* Products of factors rounded to bfloat16: every form and the reference against sums in double over factors rounded
 * here, on all orders of both factors, sizes that end within a tile and several blocks; nothing read or written beside;
 * and what they leave behind. */
#include "tests/model/numbers.h"

#include "model/kernels_bf16.h"

enum { MARGIN = 19 };

/* The forms this processor runs; NULL-ended. */
struct form { const char *name; bf16_product *product; bool native; };
static const struct form *forms(void)
{
    static const char *const names[] = {"amx", "avx512bf16", "emulated"};
    static struct form found[4];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        bf16_product *product = kernels_bf16_form(names[i]);
        if (product == NULL)
            print_message("    skipped: this processor or system lacks %s\n", names[i]);
        else
            found[count++] = (struct form){names[i], product, i < 2};
    }
    found[count] = (struct form){NULL, NULL, false};
    assert_true(count > 0);
    return found;
}

static float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* To the nearer of two neighbours, at a tie to the even one. Not for NaN. */
static float rounded(float x)
{
    uint32_t bits = bits_of(x), upper = bits >> 16, rest = bits & 0xFFFF;
    if (rest > 0x8000 || (rest == 0x8000 && upper % 2 == 1))
        upper++;
    return float_of(upper << 16);
}

/* ---- rounding: x * 1 for every upper half of a float ---- */

static const uint32_t lower_halves[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
enum { UPPER = 65536 };

static bool is_denormal(float x)
{
    return x != 0 && fabsf(x) < 0x1p-126f;
}

static void check_rounding(bf16_product *product, bool native, uint32_t lower)
{
    float *x = memory_array(UPPER, sizeof *x), *c = memory_array(UPPER, sizeof *c), one = 1;
    void *scratch = memory_new(kernels_bf16_scratch());
    struct product p = {.m = UPPER, .n = 1, .k = 1, .lda = 1, .ldb = 1, .ldc = 1, .alpha = 1, .scratch = scratch};
    assert_true(x != NULL && c != NULL && scratch != NULL);
    p.type = PRODUCT_BF16;
    for (uint32_t upper = 0; upper < UPPER; upper++)
        x[upper] = float_of(upper << 16 | lower);
    product(&p, x, &one, c);
    for (uint32_t upper = 0; upper < UPPER; upper++) {
        if (isnan(x[upper])) {
            assert_true(isnan(c[upper]));
            continue;
        }
        float expected = rounded(x[upper]);
        bool same = c[upper] == expected || (native && is_denormal(x[upper]) && c[upper] == 0);
        if (!same)
            print_error("%a gives %a, not %a\n", x[upper], c[upper], expected);
        assert_true(same);
        assert_true(is_denormal(x[upper]) || signbit(c[upper]) == signbit(expected) || c[upper] == 0);
    }
    memory_free(x);
    memory_free(c);
    memory_free(scratch);
}

static void every_upper_half_of_a_float_is_rounded_to_nearest_even(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lower_halves / sizeof lower_halves[0]; i++) {
        check_rounding(kernels_ref_float()->ops->product, false, lower_halves[i]);
        for (const struct form *form = forms(); form->name != NULL; form++)
            check_rounding(form->product, form->native, lower_halves[i]);
    }
}

/* ---- products ---- */

/* A factor (rows, columns) as stored, with NaN between its rows and around it: whoever reads those shows it. */
static float *factor_new(int rows, int columns, int stride, uint64_t seed)
{
    size_t count = (size_t)rows * (size_t)stride + 2 * MARGIN;
    float *x = floats_new(count, seed);
    for (size_t i = 0; i < count; i++)
        if (i < MARGIN || (int)((i - MARGIN) / (size_t)stride) >= rows ||
            (int)((i - MARGIN) % (size_t)stride) >= columns)
            x[i] = NAN;
    return x;
}

/* Largest error, relative to the sum of the products' magnitudes. */
static double product_error(const struct product *p, const float *a, const float *b, const float *before, const float *c)
{
    double worst = 0;
    for (int i = 0; i < p->m; i++)
        for (int j = 0; j < p->n; j++) {
            size_t at = (size_t)i * (size_t)p->ldc + (size_t)j;
            double sum = 0, size = 1e-30;
            for (int k = 0; k < p->k; k++) {
                double product = (double)rounded(p->transpose_a ? a[k * p->lda + i] : a[i * p->lda + k]) *
                                 rounded(p->transpose_b ? b[j * p->ldb + k] : b[k * p->ldb + j]);
                sum += product;
                size += fabs(product);
            }
            double kept = p->beta != 0 ? p->beta * before[at] : 0;
            double error = fabs(p->alpha * sum + kept - c[at]) / (fabs(p->alpha) * size + fabs(kept));
            worst = error <= worst ? worst : error;    /* a NaN stays */
        }
    return worst;
}

/* Nothing beside c's numbers has changed. */
static void check_beside(const struct product *p, const float *before, const float *after)
{
    size_t count = (size_t)p->m * (size_t)p->ldc + 2 * MARGIN;
    for (size_t i = 0; i < count; i++) {
        bool within = i >= MARGIN && i < count - MARGIN && (i - MARGIN) % (size_t)p->ldc < (size_t)p->n;
        if (!within)
            assert_memory_equal(&before[i], &after[i], sizeof(float));
    }
}

struct sizes { int m, n, k; };

/* Returns the largest error of the four orders. */
static double check_product(bf16_product *product, const struct sizes *sizes, double alpha, double beta, void *scratch)
{
    double worst = 0;
    for (int order = 0; order < 4; order++) {
        struct product p = {.m = sizes->m, .n = sizes->n, .k = sizes->k, .transpose_a = order & 1,
                            .transpose_b = order & 2, .alpha = alpha, .beta = beta, .type = PRODUCT_BF16,
                            .scratch = scratch};
        int a_rows = p.transpose_a ? p.k : p.m, a_columns = p.transpose_a ? p.m : p.k;
        int b_rows = p.transpose_b ? p.n : p.k, b_columns = p.transpose_b ? p.k : p.n;
        p.lda = a_columns + 3;
        p.ldb = b_columns + 1;
        p.ldc = p.n + 2;
        size_t count = (size_t)p.m * (size_t)p.ldc + 2 * MARGIN;
        float *a = factor_new(a_rows, a_columns, p.lda, 1), *b = factor_new(b_rows, b_columns, p.ldb, 2);
        float *c = floats_new(count, 3), *before = floats_new(count, 3);
        for (size_t i = 0; i < count && beta == 0; i++)
            c[i] = before[i] = NAN;
        product(&p, a + MARGIN, b + MARGIN, c + MARGIN);
        check_beside(&p, before, c);
        worst = fmax(worst, product_error(&p, a + MARGIN, b + MARGIN, before + MARGIN, c + MARGIN));
        for (int i = 0; i < p.m; i++)
            assert_false(isnan(c[MARGIN + i * p.ldc + p.n - 1]));
        memory_free(a);
        memory_free(b);
        memory_free(c);
        memory_free(before);
    }
    return worst;
}

static const int edges[] = {1, 2, 15, 17, 32, 33, 65};
enum { EDGES = sizeof edges / sizeof edges[0] };

static double check_edges(bf16_product *product, void *scratch)
{
    static const double factors[][2] = {{1, 0}, {1, 1}, {0.75, 0}, {-2, 1}, {1, 0.5}};
    double worst = 0;
    for (int i = 0; i < EDGES; i++)
        for (int j = 0; j < EDGES; j++)
            for (int k = 0; k < EDGES; k++) {
                struct sizes sizes = {edges[i], edges[j], edges[k]};
                const double *by = factors[(i + 2 * j + 3 * k) % 5];
                worst = fmax(worst, check_product(product, &sizes, by[0], by[1], scratch));
            }
    return worst;
}

/* More than one block along each size. */
static double check_blocks(bf16_product *product, void *scratch)
{
    static const struct sizes sizes[] = {
        {BF16_ROWS + 5, 9, BF16_DEPTH + 13}, {3, BF16_COLUMNS + 35, 37}, {7, 600, 2 * BF16_DEPTH + 1},
    };
    double worst = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        worst = fmax(worst, check_product(product, &sizes[i], i == 2 ? 0.5 : 1, i != 0, scratch));
    }
    return worst;
}

static void products_of_every_form_sum_rounded_factors(void **state)
{
    (void)state;
    void *scratch = memory_new(kernels_bf16_scratch());
    assert_non_null(scratch);
    for (const struct form *form = forms(); form->name != NULL; form++) {
        print_message("  %s\n", form->name);
        assert_close(check_edges(form->product, scratch), 5e-7);
        assert_close(check_edges(form->product, NULL), 5e-7);
        assert_close(check_blocks(form->product, scratch), 1e-6);
        assert_close(check_blocks(form->product, NULL), 1e-6);
    }
    memory_free(scratch);
}

static void reference_defines_it(void **state)
{
    (void)state;
    assert_close(check_edges(kernels_ref_float()->ops->product, NULL), 1.2e-7);
    double a[6] = {1.00390625, 1.01171875, -3.3, 0.1, 1e-20, 7}, b[6] = {2, 0.3, 1.7, -5, 1, 1e20}, c = NAN, sum = 0;
    struct product p = {.m = 1, .n = 1, .k = 6, .lda = 6, .ldb = 1, .ldc = 1, .alpha = 1, .type = PRODUCT_BF16};
    for (int i = 0; i < 6; i++)
        sum += (double)rounded((float)a[i]) * (double)rounded((float)b[i]);
    kernels_ref_double()->ops->product(&p, a, b, &c);
    assert_true(c == sum);
}

static void the_cpu_body_of_every_form_takes_the_best_form(void **state)
{
    (void)state;
    struct sizes sizes = {70, 50, 90};
    const struct form *best = forms();
    size_t count = (size_t)(sizes.m * sizes.n);
    float *a = floats_new((size_t)(sizes.m * sizes.k), 1), *b = floats_new((size_t)(sizes.k * sizes.n), 2);
    float *expected = floats_new(count, 3), *c = floats_new(count, 4);
    for (const struct kernels *const *body = cpu_forms(); *body != NULL; body++) {
        void *scratch = memory_new((*body)->ops->product_scratch(PRODUCT_BF16));
        struct product p = {.m = sizes.m, .n = sizes.n, .k = sizes.k, .lda = sizes.k, .ldb = sizes.n, .ldc = sizes.n,
                            .alpha = 1, .type = PRODUCT_BF16, .scratch = scratch};
        assert_non_null(scratch);
        best->product(&p, a, b, expected);
        (*body)->ops->product(&p, a, b, c);
        assert_memory_equal(c, expected, count * sizeof *c);
        p.type = PRODUCT_F32;
        p.scratch = NULL;
        (*body)->ops->product(&p, a, b, c);
        assert_true(relative_difference(c, expected, count) > 1e-4);
        assert_int_equal(kernels_have_bf16(*body), best->native);
        assert_non_null(strstr(kernels_description(*body), best->name));
        memory_free(scratch);
    }
    assert_false(kernels_have_bf16(kernels_ref_float()));
    memory_free(a);
    memory_free(b);
    memory_free(c);
    memory_free(expected);
}

/* ---- the same bits ---- */

/* Wherever the numbers lie, and, but for emulation, with and without scratch. */
static void check_bits(const struct form *form, void *scratch)
{
    enum { M = 85, N = 70, K = 1100 };
    float *a = floats_new(M * K + 16, 1), *b = floats_new(N * K + 16, 2), *c = floats_new(M * N + 16, 3);
    float *moved_a = floats_new(M * K + 16, 4), *moved_b = floats_new(N * K + 16, 5), *moved_c = floats_new(M * N + 16, 3);
    struct product p = {.m = M, .n = N, .k = K, .lda = K, .ldb = N, .ldc = N, .alpha = 1, .type = PRODUCT_BF16,
                        .scratch = scratch};
    form->product(&p, a, b, c);
    for (size_t shift = 0; shift < 16; shift += 5) {
        memcpy(moved_a + shift, a, M * K * sizeof *a);
        memcpy(moved_b + shift, b, N * K * sizeof *b);
        for (int again = 0; again < 2; again++) {
            p.scratch = again && form->native ? NULL : scratch;
            form->product(&p, moved_a + shift, moved_b + shift, moved_c + shift);
            assert_memory_equal(moved_c + shift, c, M * N * sizeof *c);
        }
    }
    memory_free(a);
    memory_free(b);
    memory_free(c);
    memory_free(moved_a);
    memory_free(moved_b);
    memory_free(moved_c);
}

static void products_have_the_same_bits_wherever_the_numbers_lie(void **state)
{
    (void)state;
    void *scratch = memory_new(kernels_bf16_scratch());
    assert_non_null(scratch);
    for (const struct form *form = forms(); form->name != NULL; form++)
        check_bits(form, scratch);
    memory_free(scratch);
}

/* Tile state left behind would be saved at every switch of threads (XINUSE: XGETBV with ECX 1, bit 18). */
static void a_product_leaves_no_tile_state(void **state)
{
    (void)state;
#if defined(__x86_64__)
    bf16_product *product = kernels_bf16_form("amx");
    float a[64 * 64] = {1}, b[64 * 64] = {1}, c[64 * 64];
    struct product p = {.m = 64, .n = 64, .k = 64, .lda = 64, .ldb = 64, .ldc = 64, .alpha = 1};
    uint32_t low, high;
    if (product == NULL) {
        print_message("    skipped: this processor or system lacks amx\n");
        return;
    }
    product(&p, a, b, c);
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
    assert_int_equal(low >> 18 & 1, 0);
    assert_true(c[0] == 1);
#endif
}

TEST_MAIN(cmocka_unit_test(every_upper_half_of_a_float_is_rounded_to_nearest_even),
          cmocka_unit_test(products_of_every_form_sum_rounded_factors), cmocka_unit_test(reference_defines_it),
          cmocka_unit_test(the_cpu_body_of_every_form_takes_the_best_form),
          cmocka_unit_test(products_have_the_same_bits_wherever_the_numbers_lie),
          cmocka_unit_test(a_product_leaves_no_tile_state))
