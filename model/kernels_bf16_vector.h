/* 32 x 32 numbers by dot products of pairs in vectors: eight rows at a time, two vectors of sums each. Included by
 * kernels_bf16_packed.c only. */

enum { ROWS_AT_ONCE = 8 };

static inline void unit_begin(void)
{
}

static inline void unit_end(void)
{
}

static inline __attribute__((always_inline)) void multiply_rows(const unsigned char *left, const unsigned char *right,
                                                                int steps, float *c, size_t stride, bool add)
{
    __m512 sums[ROWS_AT_ONCE][2];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS_AT_ONCE; i++)
        for (int half = 0; half < 2; half++)
            sums[i][half] = add ? _mm512_loadu_ps(c + (size_t)i * stride + half * TILE) : _mm512_setzero_ps();
    for (int s = 0; s < steps; s++, left += STEP_BYTES, right += STEP_BYTES)
        for (int pair = 0; pair < TILE; pair++) {
            __m512bh low = (__m512bh)_mm512_load_si512(right + pair * 64);
            __m512bh high = (__m512bh)_mm512_load_si512(right + TILE_BYTES + pair * 64);
#pragma GCC unroll 8
            for (int i = 0; i < ROWS_AT_ONCE; i++) {
                int word;
                memcpy(&word, left + i * 64 + pair * 4, sizeof word);
                __m512bh one = (__m512bh)_mm512_set1_epi32(word);
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], one, low);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], one, high);
            }
        }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS_AT_ONCE; i++)
        for (int half = 0; half < 2; half++)
            _mm512_storeu_ps(c + (size_t)i * stride + half * TILE, sums[i][half]);
}

/* c (32, 32) = panels, or += with `add`. */
static inline void multiply(const unsigned char *left, const unsigned char *right, int steps, float *c, size_t stride,
                            bool add)
{
    for (int row = 0; row < EDGE; row += ROWS_AT_ONCE)
        multiply_rows(left + row / TILE * TILE_BYTES + row % TILE * 64, right, steps, c + (size_t)row * stride, stride,
                      add);
}
