/* Packing for products of bfloat16. A tile is 1 KiB: 16 rows of 16 words, a word holds the numbers of two neighbours
 * along k. A tile of the left factor has a row per row of op(a), the words run along k; one of the right factor has a
 * row per two of k, the words run along the columns of op(b) (the pair order of tdpbf16ps and vdpbf16ps, Intel
 * Architecture Instruction Set Extensions Programming Reference). So each is the other's transposed, and
 * what differs is how the numbers lie in memory:
 *   along    k is contiguous: op(a) = a, op(b) = b^T
 *   across   k is the stride: op(a) = a^T, op(b) = b
 * A panel is two tiles side by side, 32 rows or columns, for as many steps of 32 along k as there are. Beyond the edges
 * tiles are zero. Included by kernels_bf16_packed.c only. */
#include <immintrin.h>
#include <stdint.h>

enum { TILE = 16, STEP = 32, EDGE = BF16_EDGE, TILE_BYTES = 1024, STEP_BYTES = 2 * TILE_BYTES };

/* A factor in memory: from[outer * outer_stride + k * k_stride], one of the strides is 1. */
struct factor {
    const float *from;
    size_t stride;             /* of what is not contiguous */
    bool along;                /* k is contiguous */
    bool words_along_k;        /* how its tiles are to lie */
};

static inline __mmask16 first_of(int left)
{
    unsigned mask = left >= TILE ? 0xFFFF : left <= 0 ? 0 : (1u << left) - 1;
    return (__mmask16)mask;
}

static inline __m512i rounded(__m512 low, __m512 high)
{
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* A row per outer index, words along k. */
static inline __attribute__((always_inline)) void gather_along(const struct factor *factor, const float *from,
                                                               int outer, int depth, __m512i tile[TILE])
{
    __mmask16 low = first_of(depth), high = first_of(depth - TILE);
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) {
        const float *row = from + (size_t)i * factor->stride;
        bool there = i < outer;
        tile[i] = rounded(_mm512_maskz_loadu_ps(there ? low : 0, row),
                          _mm512_maskz_loadu_ps(there ? high : 0, row + TILE));
    }
}

/* A row per pair of k, words along the outer index. */
static inline __attribute__((always_inline)) void gather_across(const struct factor *factor, const float *from,
                                                                int outer, int depth, __m512i tile[TILE])
{
    const __m512i pairs = _mm512_add_epi32(_mm512_set1_epi32(TILE << 16),
                                           _mm512_mullo_epi32(_mm512_set1_epi32(0x10001),
                                                              _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5,
                                                                               4, 3, 2, 1, 0)));
    __mmask16 there = first_of(outer);
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++) {
        const float *row = from + (size_t)(2 * i) * factor->stride;
        __m512i both = rounded(_mm512_maskz_loadu_ps(2 * i < depth ? there : 0, row),
                               _mm512_maskz_loadu_ps(2 * i + 1 < depth ? there : 0, row + factor->stride));
        tile[i] = _mm512_permutexvar_epi16(pairs, both);
    }
}

/* The words of 16 rows, transposed: by single words, pairs, then quarters of a row. */
static inline __attribute__((always_inline)) void transpose(__m512i tile[TILE])
{
    __m512i half[TILE];
#pragma GCC unroll 8
    for (int i = 0; i < TILE; i += 2) {
        half[i] = _mm512_unpacklo_epi32(tile[i], tile[i + 1]);
        half[i + 1] = _mm512_unpackhi_epi32(tile[i], tile[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < TILE; i += 4) {
        tile[i] = _mm512_unpacklo_epi64(half[i], half[i + 2]);
        tile[i + 1] = _mm512_unpackhi_epi64(half[i], half[i + 2]);
        tile[i + 2] = _mm512_unpacklo_epi64(half[i + 1], half[i + 3]);
        tile[i + 3] = _mm512_unpackhi_epi64(half[i + 1], half[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        half[i] = _mm512_shuffle_i32x4(tile[i], tile[i + 4], 0x88);
        half[i + 4] = _mm512_shuffle_i32x4(tile[i], tile[i + 4], 0xDD);
        half[i + 8] = _mm512_shuffle_i32x4(tile[i + 8], tile[i + 12], 0x88);
        half[i + 12] = _mm512_shuffle_i32x4(tile[i + 8], tile[i + 12], 0xDD);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        tile[i] = _mm512_shuffle_i32x4(half[i], half[i + 8], 0x88);
        tile[i + 8] = _mm512_shuffle_i32x4(half[i], half[i + 8], 0xDD);
        tile[i + 4] = _mm512_shuffle_i32x4(half[i + 4], half[i + 12], 0x88);
        tile[i + 12] = _mm512_shuffle_i32x4(half[i + 4], half[i + 12], 0xDD);
    }
}

static inline __attribute__((always_inline)) void pack_tile(const struct factor *factor, const float *from, int outer,
                                                            int depth, unsigned char *to)
{
    __m512i tile[TILE];
    if (factor->along)
        gather_along(factor, from, outer, depth, tile);
    else
        gather_across(factor, from, outer, depth, tile);
    if (factor->along != factor->words_along_k)
        transpose(tile);
#pragma GCC unroll 16
    for (int i = 0; i < TILE; i++)
        _mm512_store_si512(to + i * 64, tile[i]);
}

static inline int steps_of(int depth)
{
    return (depth + STEP - 1) / STEP;
}

/* A block of `outer` rows (of op(a)) or columns (of op(b)) by `depth` of k, whole panels. Goes along memory: both
 * orders read runs of whole rows. */
static inline __attribute__((always_inline)) void pack_block(const struct factor *factor, int first, int outer,
                                                             int first_depth, int depth, unsigned char *to)
{
    int steps = steps_of(depth), tiles = (outer + EDGE - 1) / EDGE * 2;
    size_t outer_stride = factor->along ? factor->stride : 1, depth_stride = factor->along ? 1 : factor->stride;
    const float *from = factor->from + (size_t)first * outer_stride + (size_t)first_depth * depth_stride;
    int rows = factor->along ? tiles : steps, columns = factor->along ? steps : tiles;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            int tile = factor->along ? i : j, step = factor->along ? j : i;
            size_t place = (size_t)(tile / 2 * steps + step) * STEP_BYTES + (size_t)(tile % 2) * TILE_BYTES;
            int outer_left = outer - tile * TILE, depth_left = depth - step * STEP;
            const float *at = outer_left > 0 ? from + (size_t)(tile * TILE) * outer_stride +
                                                   (size_t)(step * STEP) * depth_stride : from;
            pack_tile(factor, at, outer_left, depth_left, to + place);
        }
}

/* One body per way the numbers lie, so that none asks in its loops. */
static void pack(const struct factor *factor, int first, int outer, int first_depth, int depth, unsigned char *to)
{
    struct factor known = *factor;
#define PACK_AS(is_along, is_words)                                                                                    \
    if (factor->along == (is_along) && factor->words_along_k == (is_words)) {                                          \
        known.along = (is_along);                                                                                      \
        known.words_along_k = (is_words);                                                                              \
        pack_block(&known, first, outer, first_depth, depth, to);                                                      \
    }
    PACK_AS(true, true)
    PACK_AS(true, false)
    PACK_AS(false, true)
    PACK_AS(false, false)
#undef PACK_AS
}
