/* Lanczos: the largest eigenvalues of a symmetric matrix that is known by its products with vectors alone.
 *
 *   lanczos_new -> { lanczos_direction, lanczos_product: the owner makes product = A direction; lanczos_take } until finished
 *
 * The owner multiplies whenever it likes, so that a product can be spread over many slices. Every new vector is made
 * orthogonal to all before it, twice, and the projected matrix is kept whole: so no copies of a converged eigenvalue appear,
 * and a full basis is replaced by its best Ritz vectors without losing anything (thick restart: Wu & Simon, 2000, SIAM J.
 * Matrix Anal. Appl. 22(2)). Where the space of a start is exhausted (a rank-deficient matrix, repeated eigenvalues), a fresh
 * random vector goes on.
 * Values are exact up to the rounding of the products; `residuals` bound their distance to an eigenvalue.
 * Determinism: same stream and products, same bits. Thread rule: one thread at a time. */
#ifndef TRAINER_LANCZOS_H
#define TRAINER_LANCZOS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/rng.h"
#include "model/kernels.h"

enum { LANCZOS_WANTED_MAX = 16, LANCZOS_BASIS_MAX = 2 * LANCZOS_WANTED_MAX + 14 };

struct lanczos_options {
    const struct kernels *kernels;
    size_t numbers;              /* of a vector, padding included */
    int wanted;                  /* eigenvalues, 1 .. LANCZOS_WANTED_MAX; fewer if the space has fewer */
    double tolerance;            /* residual beside the eigenvalue at which it counts as found */
    /* A random vector with entries of size one where the space has a dimension, 0 elsewhere. */
    void (*fill)(void *owner, struct rng *rng, void *vector);
    void *owner;
    struct rng rng;
};

struct lanczos {
    struct lanczos_options options;
    int basis;                   /* vectors of a full basis */
    int count, products;         /* vectors so far, the last one is the direction; products taken */
    bool finished, converged, exact;   /* exact: the whole space was seen */
    int found;                   /* values there are: wanted, or fewer; 0: a product was not finite */
    double values[LANCZOS_WANTED_MAX], residuals[LANCZOS_WANTED_MAX];   /* descending */
    void *memory;                /* owned, backend memory: basis + 1 vectors, and a block of each for a restart */
    double *projected, *work, *ritz, *ritz_values;   /* owned: (basis, basis) and (basis) */
};

/* Backend memory and host memory of these options together; 0 on overflow. */
size_t lanczos_bytes(const struct kernels *kernels, size_t numbers, int wanted);
/* ERROR_NO_MEMORY. */
int lanczos_new(struct lanczos **lanczos, const struct kernels *kernels, size_t numbers, int wanted_most, struct error *error);
void lanczos_free(struct lanczos *lanczos);
/* Begins anew with another matrix: kernels and numbers are those of lanczos_new, wanted at most wanted_most. */
void lanczos_begin(struct lanczos *lanczos, const struct lanczos_options *options);
const void *lanczos_direction(const struct lanczos *lanczos);     /* a unit vector */
void *lanczos_product(struct lanczos *lanczos);                   /* to be written; what it holds at first is anything */
/* Takes the product: sets finished (with the answers), or a new direction. */
void lanczos_take(struct lanczos *lanczos);
/* Vector `index` (0, 1) of the memory, for owners that need some between two uses. */
void *lanczos_borrow(struct lanczos *lanczos, int index);

#endif
