/* Packing: parts of the factors of a product copied to where its tiles read them line after line. A panel is as many
 * columns as a tile has, row after row of k; columns that are not there are zeros. */

enum { PACK_ROWS = 8 };    /* rows of a part are copied before the next panel's: rows are read from front to end */

ALWAYS_INLINE size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Panels of `panel` columns, `stored` of them in memory, of x (depth, width). */
ALWAYS_INLINE void pack_rows(const float *x, size_t step, size_t depth, size_t width, const size_t panel,
                             const size_t stored, float *to)
{
    for (size_t first = 0; first < depth; first += PACK_ROWS) {
        size_t end = smaller(first + PACK_ROWS, depth);
        float *part = to;
        for (size_t j = 0; j < width; j += panel, part += stored * depth)
            for (size_t k = first; k < end; k++) {
                UNROLL
                for (size_t v = 0; v < stored; v += LANES) {
                    floats numbers = {0};
                    if (j + v < width)
                        numbers = vector_load_part(x + k * step + j + v, width - j - v);
                    vector_store(part + k * stored + v, numbers);
                }
            }
    }
}

/* The lower (upper) halves of both, number by number in turn. */
ALWAYS_INLINE floats weave_low(floats a, floats b)
{
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

ALWAYS_INLINE floats weave_high(floats a, floats b)
{
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

/* Transposes in place. Each round moves the top bit of a row's index to the bottom of the column's. */
ALWAYS_INLINE void transpose(floats x[LANES])
{
    UNROLL
    for (int round = 1; round < LANES; round *= 2) {
        floats y[LANES];
        UNROLL
        for (int i = 0; i < LANES / 2; i++) {
            y[2 * i] = weave_low(x[i], x[i + LANES / 2]);
            y[2 * i + 1] = weave_high(x[i], x[i + LANES / 2]);
        }
        UNROLL
        for (int i = 0; i < LANES; i++)
            x[i] = y[i];
    }
}

/* Up to LANES columns by LANES of k: `to` (depth, LANES) with rows TILE_WIDTH apart, from x (width, depth). */
static void pack_square_part(const float *x, size_t step, size_t depth, size_t width, float *to)
{
    floats numbers[LANES] = {{0}};
    for (size_t i = 0; i < width; i++)
        numbers[i] = vector_load_part(x + i * step, depth);
    transpose(numbers);
    for (size_t k = 0; k < depth; k++)
        vector_store(to + k * TILE_WIDTH, numbers[k]);
}

ALWAYS_INLINE void pack_square(const float *x, size_t step, float *to)
{
    floats numbers[LANES];
    UNROLL
    for (int i = 0; i < LANES; i++) {
        __builtin_prefetch(x + ((size_t)i + LANES) * step);
        numbers[i] = vector_load(x + (size_t)i * step);
    }
    transpose(numbers);
    UNROLL
    for (int k = 0; k < LANES; k++)
        vector_store(to + (size_t)k * TILE_WIDTH, numbers[k]);
}

/* Panels of TILE_WIDTH columns of x, which is stored (width, depth). */
static void pack_columns(const float *x, size_t step, size_t depth, size_t width, float *to)
{
    for (size_t j = 0; j < width; j += LANES) {
        float *panel = to + j / TILE_WIDTH * TILE_WIDTH * depth + j % TILE_WIDTH;
        for (size_t k = 0; k < depth; k += LANES) {
            if (width - j >= LANES && depth - k >= LANES)
                pack_square(x + j * step + k, step, panel + k * TILE_WIDTH);
            else
                pack_square_part(x + j * step + k, step, smaller(depth - k, LANES), smaller(width - j, LANES),
                                 panel + k * TILE_WIDTH);
        }
    }
}
