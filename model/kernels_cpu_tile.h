/* Tiles of a product: up to TILE_ROWS rows by TILE_VECTORS vectors of c, summed in registers over a part of k. The
 * sizes fill the 32 registers of AVX-512: 28 sums, two vectors of b, one number of a in all lanes, so that each
 * number that is loaded from a serves TILE_VECTORS multiplications and each vector from b TILE_ROWS (Goto & van de
 * Geijn, 2008, Van Zee & van de Geijn, 2015: the anatomy of matrix products). A sum runs over k in order whatever the
 * tile, so its bits do not depend on where in c it lies. */

enum { TILE_ROWS = 14, TILE_VECTORS = 2, TILE_WIDTH = TILE_VECTORS * LANES, LINE_NUMBERS = 16 };

/* c (rows, vectors * LANES) = alpha a b + beta c. */
struct tile {
    const float *a;                /* in rows: (rows, depth), rows a_step apart; else packed: (depth, LANES) */
    size_t a_step;
    const float *b;                /* (depth, vectors * LANES), rows b_step apart */
    size_t b_step;
    size_t depth;
    float *c;
    size_t ldc;
    float alpha, beta;             /* beta 0: c is not read */
    const float *ahead;            /* will be read soon: a number's line is fetched for every four of k, */
    size_t ahead_step;             /* so far from the last one; 0: nothing to fetch */
};

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

/* Where a is read: rows by threes share a pointer, since x86 adds a register times one or two to it for free. */
struct tile_rows {
    const float *at[(TILE_ROWS + 2) / 3];
};

ALWAYS_INLINE void tile_rows_forward(struct tile_rows *a, const int pointers, size_t numbers)
{
    UNROLL
    for (int g = 0; g < pointers; g++) {
        a->at[g] += numbers;
        __asm__("" : "+r"(a->at[g]));    /* or the compiler makes a pointer per row, which are too many, or vectors */
    }
}

/* Sums += one k of a times one k of b. */
ALWAYS_INLINE void tile_step(floats sums[TILE_ROWS][TILE_VECTORS], const struct tile_rows *a, size_t a_step,
                             const float *b, const int rows, const int vectors, const bool in_rows)
{
    floats right[TILE_VECTORS];
    UNROLL
    for (int v = 0; v < vectors; v++)
        right[v] = vector_load(b + v * LANES);
    UNROLL
    for (int i = 0; i < rows; i++) {
        floats left = vector_of(in_rows ? a->at[i / 3][(size_t)(i % 3) * a_step] : a->at[0][i]);
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[i][v] += left * right[v];
    }
}

ALWAYS_INLINE void tile_compute(const struct tile *tile, const int rows, const int vectors, const bool in_rows)
{
    floats sums[TILE_ROWS][TILE_VECTORS];
    struct tile_rows a;
    const float *b = tile->b, *ahead = tile->ahead;
    const size_t a_step = tile->a_step, b_step = tile->b_step, ahead_step = tile->ahead_step, depth = tile->depth;
    const int pointers = in_rows ? (rows + 2) / 3 : 1, k_step = in_rows ? 1 : LANES;
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            __builtin_prefetch(tile->c + (size_t)i * tile->ldc + v * LANES, 1);
            sums[i][v] = (floats){0};
        }
    }
    UNROLL
    for (int g = 0; g < pointers; g++)
        a.at[g] = tile->a + 3 * (size_t)g * a_step;
    tile_rows_forward(&a, pointers, 0);
    for (size_t k = depth / 4; k > 0; k--) {
        __builtin_prefetch(ahead, 0, 2);
        ahead += ahead_step;
        UNROLL
        for (int s = 0; s < 4; s++) {
            tile_step(sums, &a, a_step, b, rows, vectors, in_rows);
            tile_rows_forward(&a, pointers, k_step);
            b += b_step;
        }
    }
    for (size_t k = depth % 4; k > 0; k--) {
        tile_step(sums, &a, a_step, b, rows, vectors, in_rows);
        tile_rows_forward(&a, pointers, k_step);
        b += b_step;
    }
    UNROLL
    for (int i = 0; i < rows; i++) {
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *c = tile->c + (size_t)i * tile->ldc + v * LANES;
            floats sum = tile->alpha * sums[i][v];
            vector_store(c, tile->beta != 0 ? sum + tile->beta * vector_load(c) : sum);
        }
    }
}

/* Every number of rows, of vectors and either way of a is a function of its own: the loops unroll into registers. */
#define TILE_EACH(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
#define TILE_FUNCTION(name, rows, vectors, in_rows) \
    static void name(const struct tile *tile) { tile_compute(tile, rows, vectors, in_rows); }
#define TILE_FUNCTIONS(rows) \
    TILE_FUNCTION(tile_packed_##rows##_1, rows, 1, false) \
    TILE_FUNCTION(tile_packed_##rows##_2, rows, 2, false) \
    TILE_FUNCTION(tile_rows_##rows##_1, rows, 1, true) \
    TILE_FUNCTION(tile_rows_##rows##_2, rows, 2, true)
#define TILE_NAMES(rows) \
    {{tile_packed_##rows##_1, tile_packed_##rows##_2}, {tile_rows_##rows##_1, tile_rows_##rows##_2}},

TILE_EACH(TILE_FUNCTIONS)

/* [rows - 1][a in rows][vectors - 1] */
static void (*const tile_functions[TILE_ROWS][2][TILE_VECTORS])(const struct tile *) = {TILE_EACH(TILE_NAMES)};
