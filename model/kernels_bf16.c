/* The choice of a form, and the one that any processor can run. */
#include "model/kernels_bf16.h"

#include <string.h>

#include "model/dtype.h"
#include "model/kernels_bodies.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* ---- emulation: rounded blocks, multiplied as floats ---- */

enum { EMULATED_DEPTH = 256, EMULATED_COLUMNS = 1024, EMULATED_ROWS = 256, EMULATED_SMALL = 32 };
_Static_assert(EMULATED_DEPTH * (EMULATED_COLUMNS + EMULATED_ROWS) * sizeof(float) <= BF16_SCRATCH_BYTES, "scratch");

/* As it lies in memory: rows of `width` numbers, `stride` apart, to rows without gaps. */
static void round_block(const float *from, size_t stride, int rows, int width, float *to)
{
    for (int i = 0; i < rows; i++, from += stride, to += width)
        for (int j = 0; j < width; j++)
            to[j] = dtype_from_bf16(dtype_to_bf16(from[j]));
}

/* A block of a factor that starts at row, column of what is stored; returns its leading dimension. */
static int round_factor(const float *x, int stride, bool transposed, const int at[2], const int sizes[2], float *to)
{
    int row = at[transposed], column = at[!transposed], rows = sizes[transposed], columns = sizes[!transposed];
    round_block(x + (size_t)row * (size_t)stride + column, (size_t)stride, rows, columns, to);
    return columns;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static void emulate(const struct product *p, int rows_most, int columns_most, int depth_most, float *room,
                    const float *a, const float *b, float *c)
{
    float *left = room, *right = room + rows_most * depth_most;
    struct product part = *p;
    for (int j = 0; j < p->n; j += columns_most)
        for (int k = 0; k < p->k || k == 0; k += depth_most) {
            part.n = least(columns_most, p->n - j);
            part.k = least(depth_most, p->k - k);
            part.beta = k > 0 ? 1 : p->beta;
            part.ldb = round_factor(b, p->ldb, p->transpose_b, (int[]){k, j}, (int[]){part.k, part.n}, right);
            for (int i = 0; i < p->m; i += rows_most) {
                part.m = least(rows_most, p->m - i);
                part.lda = round_factor(a, p->lda, p->transpose_a, (int[]){i, k}, (int[]){part.m, part.k}, left);
                kernels_blas_product(&part, left, right, c + (size_t)i * (size_t)p->ldc + j);
            }
        }
}

static void product_emulated(const struct product *p, const void *a, const void *b, void *c)
{
    if (p->scratch != NULL) {
        emulate(p, EMULATED_ROWS, EMULATED_COLUMNS, EMULATED_DEPTH, p->scratch, a, b, c);
        return;
    }
    float room[EMULATED_SMALL * EMULATED_SMALL * 2];
    emulate(p, EMULATED_SMALL, EMULATED_SMALL, EMULATED_SMALL, room, a, b, c);
}

/* ---- the choice ---- */

struct form {
    const char *name;
    bf16_product *product;
    bool (*is_supported)(void);
};

#if defined(__x86_64__)
/* gcc 12 has no name for these in __builtin_cpu_supports (avx512bf16, amx-bf16): leaf 7 of CPUID. */
static bool has_avx512bf16(void)
{
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a >> 5 & 1);
}

/* The system saves tiles (XCR0 bits 17 and 18), and lends them to this process: Linux keeps their 8 KiB from processes
 * that do not ask (arch_prctl, ARCH_REQ_XCOMP_PERM). Threads inherit the permission. */
static bool system_lends_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18, TILE_STATE = 3 << 17 };
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & TILE_STATE) == TILE_STATE && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static bool has_amx(void)
{
    unsigned a, b, c, d;
    return has_avx512bf16() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) &&
           system_lends_tiles();
}
#endif

static bool always(void)
{
    return true;
}

/* Best first. */
static const struct form forms[] = {
#if defined(__x86_64__)
    {"amx", kernels_bf16_in_amx, has_amx},
    {"avx512bf16", kernels_bf16_in_avx512bf16, has_avx512bf16},
#endif
    {"emulated", product_emulated, always},
};

static const struct form *chosen;

/* Once: whoever asks for the cpu body again may be a thread beside others. */
void kernels_bf16_start(void)
{
    const struct form *form = forms;
    if (chosen != NULL)
        return;
    while (!form->is_supported())
        form++;
    chosen = form;
}

bf16_product *kernels_bf16_form(const char *name)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i].name, name) == 0)
            return forms[i].is_supported() ? forms[i].product : NULL;
    return NULL;
}

const char *kernels_bf16_name(void)
{
    return chosen->name;
}

bool kernels_bf16_is_native(void)
{
    return chosen->product != product_emulated;
}

void kernels_bf16_product(const struct product *product, const void *a, const void *b, void *c)
{
    chosen->product(product, a, b, c);
}

size_t kernels_bf16_scratch(void)
{
    return BF16_SCRATCH_BYTES;
}
