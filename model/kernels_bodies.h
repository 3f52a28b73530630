/* Inside of the kernel seam: what the files of its bodies share. Users include model/kernels.h.
 *   kernels.c         the choice of a body, at run time
 *   kernels_ref.c     the reference, compiled for float and for double; its text is spread over kernels_ref_*.h
 *   kernels_cpu.c     the fast body, compiled once per instruction set; its text is spread over kernels_cpu_*.h
 *   kernels_blas.c    products of floats where we have none of our own; the only file that knows BLAS
 *   kernels_bf16.c    products of factors rounded to bfloat16, in forms of their own (kernels_bf16.h)
 * The Makefile lists the forms in which the first two are compiled (FORMS_model/…). */
#ifndef MODEL_KERNELS_BODIES_H
#define MODEL_KERNELS_BODIES_H

#include <stddef.h>
#include <stdint.h>

#include "model/kernels.h"
#include "model/kernels_ops.h"
#include "model/kernels_tangents.h"

/* The name of a form's table of functions: kernels_ref_in_double, kernels_cpu_in_avx2. */
#define KERNELS_PASTE(body, form) body##_in_##form
#define KERNELS_IN(body, form) KERNELS_PASTE(body, form)

extern const struct kernels kernels_ref_in_float, kernels_ref_in_double;
/* The last two exist on x86-64 only. */
extern const struct kernels kernels_cpu_in_portable, kernels_cpu_in_avx2, kernels_cpu_in_avx512;

/* The cpu body in the form "portable", "avx2" or "avx512", so that tests can run each; NULL where the processor lacks
 * it. Same once-before-threads rule as kernels_cpu. */
const struct kernels *kernels_cpu_form(const char *form);

/* Host memory, shared by all bodies that compute on the host. */
void *kernels_host_alloc(size_t bytes);
void kernels_host_copy(void *to, const void *from, size_t bytes);
/* rows_select and rows_restore of model/kernels_ops.h on rows of so many bytes. */
void kernels_host_select(void *x, const int32_t *rows, int count, size_t row_bytes);
void kernels_host_restore(void *x, const int32_t *rows, int count, int total, size_t row_bytes);

/* c = alpha op(a) op(b) + beta c on floats. */
void kernels_blas_product(const struct product *product, const void *a, const void *b, void *c);
/* One BLAS thread per caller: workers are the parallelism. */
void kernels_blas_start(void);
/* "OpenBLAS 0.3.21 SkylakeX". */
void kernels_blas_describe(char *text, size_t bytes);

#endif
