/* Products of factors rounded to bfloat16, sums in float32: what the cpu body does with PRODUCT_BF16. In forms:
 *   amx          tiles of the processor's matrix unit (AMX-BF16), packed with AVX512-BF16
 *   avx512bf16   the same packing, dot products of pairs in vectors
 *   emulated     any processor: blocks are rounded in the scratch and multiplied as floats
 * The first two read and write denormals as zero, as the instructions do; the last does not. Thread rule: start once
 * before threads, products from any thread; a product leaves no tile state behind. */
#ifndef MODEL_KERNELS_BF16_H
#define MODEL_KERNELS_BF16_H

#include <stdbool.h>
#include <stddef.h>

#include "model/kernels_ops.h"

/* c (m, n) = alpha * rounded(op(a)) rounded(op(b)) + beta * c; what product->type says is not looked at. */
typedef void bf16_product(const struct product *product, const void *a, const void *b, void *c);

/* Both on x86-64 only. Contract: the processor has the instructions, and the system lends the tiles. */
bf16_product kernels_bf16_in_amx, kernels_bf16_in_avx512bf16;

/* Picks the best form; asks the system for the tiles' state, which threads started later inherit. */
void kernels_bf16_start(void);
/* The form of that name, for tests; NULL where it can't run. Same once-before-threads rule. */
bf16_product *kernels_bf16_form(const char *form);
/* The picked form's name, and whether it is more than emulation. */
const char *kernels_bf16_name(void);
bool kernels_bf16_is_native(void);
/* By the picked form. scratch NULL: a few rows and columns at a time, on the stack, to the same bits but for emulation,
 * whose sums may be grouped otherwise. */
void kernels_bf16_product(const struct product *product, const void *a, const void *b, void *c);
/* Bytes of scratch for any form and any sizes. */
size_t kernels_bf16_scratch(void);

/* A product is cut into blocks: k runs over BF16_DEPTH at a time, n over BF16_COLUMNS, m over BF16_ROWS. Both blocks lie
 * packed in the scratch. */
enum { BF16_DEPTH = 512, BF16_COLUMNS = 4096, BF16_ROWS = 512, BF16_EDGE = 32 };
enum { BF16_SCRATCH_BYTES = BF16_DEPTH * (BF16_COLUMNS + BF16_ROWS) * 2 };

#endif
