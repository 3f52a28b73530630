/* Products of floats: of our own for AVX-512, where they are up to a third faster than OpenBLAS's, and OpenBLAS's else or
 * without scratch (docs/decisions/0014).
 *
 *   for each block of columns of c                     so many that its part of b fits the second-level cache
 *     for each part of k                               rows of a by that many numbers fit the first-level cache
 *       pack the part's block of b
 *       for each TILE_ROWS rows of c                   a is read where it lies; packed, some rows at a time, if it is
 *         for each TILE_WIDTH columns: a tile          stored (k, m), whose columns are a page apart
 *
 * How k is cut depends on k alone and every sum runs over k in order, so the bits of a number of c depend on nothing
 * but its row of a and its column of b. */

#if defined(__AVX512F__)
#include "model/kernels_cpu_tile.h"
#include "model/kernels_cpu_pack.h"

enum {
    PART_ROWS = 384, PART_COLUMNS = 192,    /* most of k at once: a stored (m, k), (k, m) */
    BLOCK_NUMBERS = 192 * 1024,    /* of b that are packed at once: 768 KiB */
    GROUP_TILES = 8,               /* of a stored (k, m): tiles' rows that are packed at once */
    GROUP_NUMBERS = GROUP_TILES * LANES * PART_COLUMNS,
    UNPACKED_TILES = 20, UNPACKED_STEP = 512,    /* b is read where it lies: for so few tiles' rows, with short rows */
};

/* The product that tiles compute. */
struct factors {
    const float *a, *b;
    float *c;
    size_t m, n, k, lda, ldb, ldc;
    bool a_in_rows, b_in_rows;     /* stored (m, k), (k, n) */
    float alpha, beta;
    float *packed_a, *packed_b;
};

/* A block of columns and a part of k. */
struct part {
    size_t column, width, first, depth;
    bool unpacked;                 /* b is read where it lies */
};

/* What the next part packs: each tile fetches a row of it on its way, since a core that waits for memory gets but a
 * fraction of what the third-level cache can give. */
struct ahead {
    const float *at;
    size_t rows, width, step;      /* rows that are left, numbers of each, numbers from one to the next */
};

static struct factors factors_of(const struct product *p, const float *a, const float *b, float *c)
{
    struct factors factors = {
        .a = a, .b = b, .c = c, .m = (size_t)p->m, .n = (size_t)p->n, .k = (size_t)p->k, .lda = (size_t)p->lda,
        .ldb = (size_t)p->ldb, .ldc = (size_t)p->ldc, .a_in_rows = !p->transpose_a, .b_in_rows = !p->transpose_b,
        .alpha = (float)p->alpha, .beta = (float)p->beta,
        .packed_b = p->scratch, .packed_a = (float *)p->scratch + BLOCK_NUMBERS,
    };
    return factors;
}

/* c = sums + beta c, for a tile at the edge of c. */
static void tile_store_part(const struct tile *tile, const float *sums, size_t rows, size_t columns)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j += LANES) {
            float *c = tile->c + i * tile->ldc + j;
            floats sum = vector_load(sums + i * TILE_WIDTH + j);
            if (tile->beta != 0)
                sum += tile->beta * vector_load_part(c, columns - j);
            vector_store_part(c, sum, columns - j);
        }
}

static void tile_run(const struct factors *f, const struct tile *tile, size_t rows, size_t columns)
{
    size_t vectors = columns > LANES ? 2 : 1;
    void (*compute)(const struct tile *) = tile_functions[rows - 1][f->a_in_rows][vectors - 1];
    if (columns == vectors * LANES) {
        compute(tile);
        return;
    }
    float sums[TILE_ROWS * TILE_WIDTH] __attribute__((aligned(64)));
    struct tile whole = *tile;
    whole.c = sums;
    whole.ldc = TILE_WIDTH;
    whole.beta = 0;
    compute(&whole);
    tile_store_part(tile, sums, rows, columns);
}

/* Rows of `whole` numbers, `width` of them wanted; as long rows as a tile can fetch if all are wanted. */
static struct ahead ahead_of(const float *from, size_t whole, size_t rows, size_t width, size_t depth)
{
    size_t most = depth / 4 * LINE_NUMBERS;
    if (width == whole && most > 0)
        return (struct ahead){from, (rows * width + most - 1) / most, most, most};
    return (struct ahead){from, rows, width, whole};
}

static void ahead_take(struct ahead *ahead, struct tile *tile)
{
    size_t fetches = tile->depth / 4;
    tile->ahead = ahead->at;
    tile->ahead_step = 0;
    if (ahead->rows == 0 || fetches == 0)
        return;
    tile->ahead_step = smaller((ahead->width + fetches - 1) / fetches, LINE_NUMBERS);
    ahead->at += ahead->step;
    ahead->rows--;
}

static const float *part_of_b(const struct factors *f, const struct part *part)
{
    return f->b_in_rows ? f->b + part->first * f->ldb + part->column : f->b + part->column * f->ldb + part->first;
}

static struct ahead ahead_of_b(const struct factors *f, const struct part *part, const struct part *next)
{
    return ahead_of(part_of_b(f, next), f->ldb, f->b_in_rows ? next->depth : next->width,
                    f->b_in_rows ? next->width : next->depth, part->depth);
}

static struct ahead ahead_of_a(const struct factors *f, const struct part *part, const struct part *next)
{
    return ahead_of(f->a + next->first * f->lda, f->lda, f->a_in_rows ? 0 : next->depth, f->m, part->depth);
}

/* Where the tiles of rows from `row` on read a; packs a group of them when its first is due. */
static void tile_place_a(const struct factors *f, const struct part *part, size_t row, struct tile *tile)
{
    tile->a_step = f->lda;
    tile->a = f->a + row * f->lda + part->first;
    if (f->a_in_rows)
        return;
    size_t place = row / TILE_ROWS % GROUP_TILES;
    if (place == 0)
        pack_rows(f->a + part->first * f->lda + row, f->lda, part->depth,
                  smaller(f->m - row, GROUP_TILES * TILE_ROWS), TILE_ROWS, LANES, f->packed_a);
    tile->a_step = LANES;
    tile->a = f->packed_a + place * LANES * part->depth;
}

static void part_run(const struct factors *f, const struct part *part, const struct part *next)
{
    struct tile tile = {
        .b_step = part->unpacked ? f->ldb : TILE_WIDTH, .depth = part->depth, .ldc = f->ldc, .alpha = f->alpha,
        .beta = part->first == 0 ? f->beta : 1,
    };
    struct ahead ahead_b = ahead_of_b(f, part, next), ahead_a = ahead_of_a(f, part, next);
    for (size_t i = 0; i < f->m; i += TILE_ROWS) {
        tile_place_a(f, part, i, &tile);
        for (size_t j = 0; j < part->width; j += TILE_WIDTH) {
            tile.b = part->unpacked ? part_of_b(f, part) + j : f->packed_b + j * part->depth;
            tile.c = f->c + i * f->ldc + part->column + j;
            ahead_take(ahead_b.rows > 0 ? &ahead_b : &ahead_a, &tile);
            tile_run(f, &tile, smaller(TILE_ROWS, f->m - i), smaller(TILE_WIDTH, part->width - j));
        }
    }
}

static void part_pack(const struct factors *f, const struct part *part)
{
    if (f->b_in_rows)
        pack_rows(part_of_b(f, part), f->ldb, part->depth, part->width, TILE_WIDTH, TILE_WIDTH, f->packed_b);
    else
        pack_columns(part_of_b(f, part), f->ldb, part->depth, part->width, f->packed_b);
}

/* `whole` in as few parts of at most `most` as will do, as even as multiples of `unit` allow. */
static size_t part_size(size_t whole, size_t most, size_t unit)
{
    size_t parts = whole > 0 ? (whole + most - 1) / most : 1;
    return ((whole + parts - 1) / parts + unit - 1) / unit * unit;
}

/* The part that comes after: the next of k, or of columns. Beyond the last: empty. */
static struct part part_next(const struct factors *f, const struct part *part, size_t depth, size_t width)
{
    struct part next = *part;
    next.first += part->depth;
    if (next.first >= f->k) {
        next.first = 0;
        next.column += part->width;
    }
    next.depth = smaller(depth, f->k - next.first);
    next.width = smaller(width, f->n - next.column);
    if (next.width == 0)
        next.depth = 0;
    return next;
}

static void factors_multiply(const struct factors *f)
{
    size_t depth = part_size(f->k, f->a_in_rows ? PART_ROWS : PART_COLUMNS, 8);
    size_t most = depth > 0 ? BLOCK_NUMBERS / depth / TILE_WIDTH * TILE_WIDTH : f->n;
    size_t width = part_size(f->n, most, TILE_WIDTH);
    struct part part = {
        .width = smaller(width, f->n), .depth = smaller(depth, f->k),
        .unpacked = f->b_in_rows && f->n % LANES == 0 &&
                    (f->m <= TILE_ROWS || (f->m <= UNPACKED_TILES * TILE_ROWS && f->ldb < UNPACKED_STEP)),
    };
    while (part.width > 0) {
        struct part next = part_next(f, &part, depth, width);
        if (!part.unpacked)
            part_pack(f, &part);
        part_run(f, &part, &next);
        part = next;
    }
}

static void product(const struct product *p, const void *a, const void *b, void *c)
{
    if (p->scratch == NULL) {
        kernels_blas_product(p, a, b, c);
        return;
    }
    struct factors factors = factors_of(p, a, b, c);
    factors_multiply(&factors);
}

static size_t product_scratch(enum product_type type)
{
    (void)type;
    return (BLOCK_NUMBERS + GROUP_NUMBERS) * sizeof(float);
}
#else
static void product(const struct product *p, const void *a, const void *b, void *c)
{
    kernels_blas_product(p, a, b, c);
}

static size_t product_scratch(enum product_type type)
{
    (void)type;
    return 0;
}
#endif
