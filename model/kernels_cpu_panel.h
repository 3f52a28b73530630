/* Part of the cpu body: small products of attention, in registers. See kernels_cpu.c.
 *
 * A panel is `rows` x `vectors` sums that stay in registers while the terms pass: each term loads `vectors` vectors of
 * the right factor and multiplies them with one number of the left factor per row. Rows are walked in groups of
 * PANEL_GROUP, columns in whole vectors: callers pad with zeros. */

enum { PANEL_GROUP = 8, PANEL_VECTORS = LANES == 16 ? 4 : 2 };
#define PANEL_INLINE static inline __attribute__((always_inline))

/* What becomes of the numbers that out holds: nothing, they are added to, they are multiplied by keep[row] and added
 * to. */
enum panel_mode { PANEL_WRITE, PANEL_ADD, PANEL_SCALE };

/* out (rows, columns) = left (rows, terms) right (terms, columns). Left's number of row r and term i lies at
 * r * row_step + i * term_step, one of the two steps being 1. */
struct panel {
    const float *left, *right;
    float *out;
    size_t row_step, term_step, right_stride, out_stride, terms;
    const float *keep;
};

PANEL_INLINE void panel_rows(const struct panel *t, enum panel_mode mode, bool columns, int rows, int vectors)
{
    const float *left = t->left, *right = t->right;
    size_t row_step = columns ? 1 : t->row_step, term_step = columns ? t->term_step : 1;
    floats sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            const float *there = t->out + (size_t)r * t->out_stride + (size_t)v * LANES;
            sum[r][v] = mode == PANEL_WRITE ? (floats){0} : vector_load(there);
            if (mode == PANEL_SCALE)
                sum[r][v] *= t->keep[r];
        }
    for (size_t i = 0; i < t->terms; i++, left += term_step, right += t->right_stride) {
        floats column[4];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            column[v] = vector_load(right + (size_t)v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            floats factor = vector_of(left[(size_t)r * row_step]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] += factor * column[v];
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            vector_store(t->out + (size_t)r * t->out_stride + (size_t)v * LANES, sum[r][v]);
}

/* A group of rows: as many at a time as leave registers for the rest. */
PANEL_INLINE void panel_group(struct panel t, enum panel_mode mode, bool columns, int vectors)
{
    enum { MOST = LANES == 16 ? 8 : 4 };
    int rows = vectors > 2 ? MOST / 2 : MOST;
    for (int r = 0; r < PANEL_GROUP; r += rows) {
        panel_rows(&t, mode, columns, rows, vectors);
        t.left += (size_t)rows * (columns ? 1 : t.row_step);
        t.out += (size_t)rows * t.out_stride;
        if (mode == PANEL_SCALE)
            t.keep += rows;
    }
}

/* One group of rows by all columns, `vectors` vectors of them. */
PANEL_INLINE void panel_all(struct panel t, enum panel_mode mode, bool columns, size_t vectors)
{
    while (vectors > 0) {
        size_t now = vectors < PANEL_VECTORS ? vectors : PANEL_VECTORS;
        switch (now) {
        case 1: panel_group(t, mode, columns, 1); break;
        case 2: panel_group(t, mode, columns, 2); break;
        case 3: panel_group(t, mode, columns, 3); break;
        default: panel_group(t, mode, columns, 4); break;
        }
        vectors -= now;
        t.right += now * LANES;
        t.out += now * LANES;
    }
}

/* The forms that are used, by how left lies: its rows, or its columns, are contiguous. */
static void panel_write_rows(const struct panel *t, size_t vectors)
{
    panel_all(*t, PANEL_WRITE, false, vectors);
}

static void panel_add_rows(const struct panel *t, size_t vectors)
{
    panel_all(*t, PANEL_ADD, false, vectors);
}

static void panel_add_columns(const struct panel *t, size_t vectors)
{
    panel_all(*t, PANEL_ADD, true, vectors);
}

static void panel_scale_columns(const struct panel *t, size_t vectors)
{
    panel_all(*t, PANEL_SCALE, true, vectors);
}

/* to (padded rows, width) = scale * from (count, size), zeros in the rest; width is size in whole vectors. */
static void panel_pack(const float *from, size_t stride, size_t count, size_t size, float scale, float *to,
                      size_t padded, size_t width)
{
    for (size_t i = 0; i < count; i++, from += stride, to += width)
        for (size_t c = 0; c < width; c += LANES) {
            vector_expect(from + ROWS_AHEAD * stride + c);
            vector_store(to + c, scale * vector_load_part(from + c, size - c));
        }
    memset(to, 0, (padded - count) * width * sizeof(float));
}

/* Rows of LANES numbers become columns. */
static inline void panel_transpose(const float *from, size_t from_stride, float *to, size_t to_stride)
{
    floats x[LANES];
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        x[i] = vector_load(from + (size_t)i * from_stride);
#pragma GCC unroll 4
    for (int width = 1; width < LANES; width *= 2) {
        masks is_second = (vector_lanes() & width) != 0, low = vector_lanes() + (is_second & (LANES - width));
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            if ((i & width) == 0) {
                floats a = x[i], b = x[i + width];
                x[i] = __builtin_shuffle(a, b, low);
                x[i + width] = __builtin_shuffle(a, b, low + width);
            }
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        vector_store(to + (size_t)i * to_stride, x[i]);
}

/* to (width, rows) = from (rows, width), both multiples of LANES. */
static void panel_pack_transposed(const float *from, size_t rows, size_t width, float *to)
{
    for (size_t r = 0; r < rows; r += LANES)
        for (size_t c = 0; c < width; c += LANES)
            panel_transpose(from + r * width + c, width, to + c * rows + r, rows);
}
