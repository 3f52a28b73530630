/* Products by OpenBLAS. */
#include "model/kernels_bodies.h"

#include <cblas.h>
#include <stdio.h>
#include <string.h>

void kernels_blas_start(void)
{
    openblas_set_num_threads(1);
}

void kernels_blas_describe(char *text, size_t bytes)
{
    const char *config = openblas_get_config();    /* "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH …" */
    int name = (int)strcspn(config, " ");
    int version = config[name] == ' ' ? 1 + (int)strcspn(config + name + 1, " ") : 0;
    snprintf(text, bytes, "%.*s %s", name + version, config, openblas_get_corename());
}

void kernels_blas_product(const struct product *p, const void *a, const void *b, void *c)
{
    cblas_sgemm(CblasRowMajor, p->transpose_a ? CblasTrans : CblasNoTrans, p->transpose_b ? CblasTrans : CblasNoTrans,
                p->m, p->n, p->k, (float)p->alpha, a, p->lda, b, p->ldb, (float)p->beta, c, p->ldc);
}
