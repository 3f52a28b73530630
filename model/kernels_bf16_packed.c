/* Products of bfloat16 by instructions made for them, compiled once per set of these (LAG_FORM); nothing remains of this
 * file on other processors. Blocks of both factors are rounded and packed into panels of 32 (kernels_bf16_tiles.h); a
 * pair of panels gives 32 x 32 numbers of c, all of them summed over the same steps in the same order, edge or not. */
#if defined(LAG_FORM)
#include "model/kernels_bf16.h"

#include <string.h>

#include "model/kernels_bodies.h"
#include "model/kernels_bf16_tiles.h"

#if defined(__AMX_BF16__)
#include "model/kernels_bf16_amx.h"
#else
#include "model/kernels_bf16_vector.h"
#endif

/* How the sums of a block come into c: c = alpha sums + kept c. */
struct target {
    size_t stride;
    float alpha, kept;
};

/* At the edges, and with factors. */
static void merge(const struct target *target, const float *sums, float *c, int rows, int columns)
{
    __mmask16 there[2] = {first_of(columns), first_of(columns - TILE)};
    __m512 alpha = _mm512_set1_ps(target->alpha), kept = _mm512_set1_ps(target->kept);
    for (int i = 0; i < rows; i++)
        for (int half = 0; half < 2; half++) {
            float *to = c + (size_t)i * target->stride + half * TILE;
            __m512 sum = _mm512_mul_ps(alpha, _mm512_load_ps(sums + i * EDGE + half * TILE));
            if (target->kept != 0)
                sum = _mm512_fmadd_ps(kept, _mm512_maskz_loadu_ps(there[half], to), sum);
            _mm512_mask_storeu_ps(to, there[half], sum);
        }
}

/* 32 x 32 numbers of c, or what there is of them. */
static void block(const struct target *target, const unsigned char *left, const unsigned char *right, int steps,
                  float *c, int rows, int columns)
{
    if (rows >= EDGE && columns >= EDGE && target->alpha == 1 && (target->kept == 0 || target->kept == 1)) {
        multiply(left, right, steps, c, target->stride, target->kept == 1);
        return;
    }
    float sums[EDGE * EDGE] __attribute__((aligned(64)));
    multiply(left, right, steps, sums, EDGE, false);
    merge(target, sums, c, rows < EDGE ? rows : EDGE, columns < EDGE ? columns : EDGE);
}

/* Columns that all rows of a packed block are taken through before the next: as many as stay near, beside the rows. */
enum { GROUP = 512 };

/* What is packed at a time: up to so many rows and columns, by BF16_DEPTH of k. */
struct plan {
    int rows, columns;
    unsigned char *left, *right;
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* c (rows, columns), from its panels. */
static void multiply_panels(const struct target *target, const struct plan *plan, int steps, float *c, int rows,
                            int columns)
{
    size_t panel = (size_t)steps * STEP_BYTES;
    for (int group = 0; group < columns; group += GROUP)
        for (int row = 0; row < rows; row += EDGE)
            for (int column = group; column < columns && column < group + GROUP; column += EDGE)
                block(target, plan->left + (size_t)(row / EDGE) * panel, plan->right + (size_t)(column / EDGE) * panel,
                      steps, c + (size_t)row * target->stride + column, rows - row, columns - column);
}

static void multiply_blocks(const struct product *p, const struct plan *plan, const struct factor *a,
                            const struct factor *b, float *c)
{
    for (int j = 0; j < p->n; j += plan->columns)
        for (int k = 0; k < p->k; k += BF16_DEPTH) {
            int columns = least(plan->columns, p->n - j), depth = least(BF16_DEPTH, p->k - k);
            struct target target = {(size_t)p->ldc, (float)p->alpha, k > 0 ? 1 : (float)p->beta};
            pack(b, j, columns, k, depth, plan->right);
            for (int i = 0; i < p->m; i += plan->rows) {
                int rows = least(plan->rows, p->m - i);
                pack(a, i, rows, k, depth, plan->left);
                multiply_panels(&target, plan, steps_of(depth), c + (size_t)i * target.stride + j, rows, columns);
            }
        }
}

/* Without a sum only c is scaled. */
static void scale_only(const struct product *p, float *c)
{
    struct target target = {(size_t)p->ldc, 0, (float)p->beta};
    static const float none[EDGE * EDGE] __attribute__((aligned(64)));
    for (int i = 0; i < p->m; i += EDGE)
        for (int j = 0; j < p->n; j += EDGE)
            merge(&target, none, c + (size_t)i * target.stride + j, least(EDGE, p->m - i), least(EDGE, p->n - j));
}

static void multiply_with(const struct product *p, const struct plan *plan, const void *a, const void *b, float *c)
{
    struct factor left = {a, (size_t)p->lda, !p->transpose_a, true};
    struct factor right = {b, (size_t)p->ldb, p->transpose_b, false};
    unit_begin();
    multiply_blocks(p, plan, &left, &right, c);
    unit_end();
}

/* Apart from the other, so that its stack is taken only then. */
static __attribute__((noinline)) void multiply_on_stack(const struct product *p, const void *a, const void *b, float *c)
{
    unsigned char left[BF16_DEPTH * EDGE * 2] __attribute__((aligned(64)));
    unsigned char right[BF16_DEPTH * EDGE * 2] __attribute__((aligned(64)));
    struct plan plan = {EDGE, EDGE, left, right};
    multiply_with(p, &plan, a, b, c);
}

void KERNELS_IN(kernels_bf16, LAG_FORM)(const struct product *p, const void *a, const void *b, void *c)
{
    unsigned char *scratch = p->scratch;
    if (p->k <= 0) {
        scale_only(p, c);
    } else if (scratch == NULL) {
        multiply_on_stack(p, a, b, c);
    } else {
        struct plan plan = {BF16_ROWS, BF16_COLUMNS, scratch, scratch + BF16_DEPTH * BF16_ROWS * 2};
        multiply_with(p, &plan, a, b, c);
    }
}
#endif
