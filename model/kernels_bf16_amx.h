/* 32 x 32 numbers by the matrix unit: four tiles of sums, two of each factor. Tile configuration is state of the thread:
 * taken for a product, given back at its end. Included by kernels_bf16_packed.c only. */

/* Palette 1, eight tiles of 16 rows of 64 bytes (Intel 64 Software Developer's Manual, LDTILECFG). */
struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
static const struct tile_configuration tiles = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
};

static inline void unit_begin(void)
{
    _tile_loadconfig(&tiles);
}

static inline void unit_end(void)
{
    _tile_release();
}

/* c (32, 32) = panels, or += with `add`. The compiler does not know what tile loads read: the barrier stands for it. */
static inline void multiply(const unsigned char *left, const unsigned char *right, int steps, float *c, size_t stride,
                            bool add)
{
    size_t bytes = stride * sizeof(float);
    float *lower = c + TILE * stride;
    __asm__ volatile("" ::: "memory");
    if (add) {
        _tile_loadd(0, c, bytes);
        _tile_loadd(1, c + TILE, bytes);
        _tile_loadd(2, lower, bytes);
        _tile_loadd(3, lower + TILE, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int s = 0; s < steps; s++, left += STEP_BYTES, right += STEP_BYTES) {
        _tile_loadd(4, left, 64);
        _tile_loadd(6, right, 64);
        _tile_loadd(7, right + TILE_BYTES, 64);
        _tile_loadd(5, left + TILE_BYTES, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, bytes);
    _tile_stored(1, c + TILE, bytes);
    _tile_stored(2, lower, bytes);
    _tile_stored(3, lower + TILE, bytes);
}
