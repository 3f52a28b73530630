/* The choice among kernel bodies. The cpu body's vector code is picked once, at run time, by a table and
 * __builtin_cpu_supports; no ifunc, which crashes under ThreadSanitizer. */
#include "model/kernels_bodies.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/kernels_bf16.h"

enum { SMALLEST_BYTES = 4096 };    /* from here on memory_new aligns to 64 bytes */

struct form {
    const char *name;
    const struct kernels *kernels;
    bool (*is_supported)(void);
};

#if defined(__x86_64__)
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

static bool always(void)
{
    return true;
}

/* Best first. */
static const struct form forms[] = {
#if defined(__x86_64__)
    {"avx512", &kernels_cpu_in_avx512, has_avx512},
    {"avx2", &kernels_cpu_in_avx2, has_avx2},
#endif
    {"portable", &kernels_cpu_in_portable, always},
};

static char description[96];

static const struct kernels *start(const struct form *form)
{
    char blas[64];
    kernels_blas_start();
    kernels_bf16_start();
    kernels_blas_describe(blas, sizeof blas);
    snprintf(description, sizeof description, "%s, %s, bf16 %s", blas, form->name, kernels_bf16_name());
    return form->kernels;
}

const struct kernels *kernels_cpu_form(const char *name)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (strcmp(forms[i].name, name) == 0)
            return forms[i].is_supported() ? start(&forms[i]) : NULL;
    return NULL;
}

static const struct kernels *best;

static void pick_best(void)
{
    const struct form *form = forms;
    while (!form->is_supported())
        form++;
    best = start(form);
}

const struct kernels *kernels_cpu(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, pick_best);
    return best;
}

const char *kernels_description(const struct kernels *kernels)
{
    return strcmp(kernels->name, "cpu") == 0 ? description : "plain loops";
}

bool kernels_have_bf16(const struct kernels *kernels)
{
    return strcmp(kernels->name, "cpu") == 0 && kernels_bf16_is_native();
}

void *kernels_host_alloc(size_t bytes)
{
    return memory_new(bytes < SMALLEST_BYTES ? SMALLEST_BYTES : bytes);
}

void kernels_host_copy(void *to, const void *from, size_t bytes)
{
    if (bytes > 0)
        memcpy(to, from, bytes);
}

const struct kernels *kernels_ref_float(void)
{
    return &kernels_ref_in_float;
}

const struct kernels *kernels_ref_double(void)
{
    return &kernels_ref_in_double;
}

/* Where row i goes to or comes from is never before row i, so going up nothing is lost, */
void kernels_host_select(void *x, const int32_t *rows, int count, size_t row_bytes)
{
    unsigned char *to = x;
    for (int i = 0; i < count; i++, to += row_bytes)
        if (rows[i] != i)
            memcpy(to, (unsigned char *)x + (size_t)rows[i] * row_bytes, row_bytes);
}

/* and here going down. */
void kernels_host_restore(void *x, const int32_t *rows, int count, int total, size_t row_bytes)
{
    for (int i = count - 1, to = total - 1; to >= 0; to--) {
        unsigned char *row = (unsigned char *)x + (size_t)to * row_bytes;
        if (i < 0 || rows[i] != to)
            memset(row, 0, row_bytes);
        else if (i-- != to)
            memcpy(row, (unsigned char *)x + (size_t)(i + 1) * row_bytes, row_bytes);
    }
}
