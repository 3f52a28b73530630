/* A landscape's products: what its measurements are made of (trainer/landscape.c). Internal to these two files. */
#ifndef TRAINER_LANDSCAPE_PARTS_H
#define TRAINER_LANDSCAPE_PARTS_H

#include "trainer/landscape.h"
#include "trainer/scratch.h"

enum { CHUNK_NUMBERS = 4096, HESSIAN_PASSES = 9 /* of a product beside a forward pass */ };

/* A product under way: micro-batches done, and tokens they predicted. */
struct product_state { int row; uint64_t predicted; };

struct landscape {
    const struct trial *trial;
    struct landscape_spec spec;
    struct scratch *scratch;
    struct lanczos *lanczos;
    const void *point;                /* weights at which everything is measured */
    void *scales, *moved;             /* owned, slabs: D^-1/2; a direction times scales */
    float *host;                      /* owned: CHUNK_NUMBERS */
    int32_t *targets;                 /* owned: of the kernel's positions */
    int quantity;                     /* the one being measured; LANDSCAPE_QUANTITY_COUNT: finished */
    bool begun;
    bool scaled_elementwise;          /* by scales; else by the law of each tensor */
    struct product_state product;
    int probe;
    double probes[LANDSCAPE_PROBES];
    struct landscape_values values;
};

/* Random signs where there are trained numbers; 0 in paddings and in what is kept but not trained. owner: the landscape. */
void landscape_fill_signs(void *owner, struct rng *rng, void *vector);
/* landscape->scales = D^-1/2, from moments, or where there are none from the gradient of the fixed batch. ERROR_CANCELLED,
 * ERROR_IO. */
int landscape_precondition(struct landscape *landscape, const struct corpus *train, const atomic_bool *stop, struct error *error);
/* One micro-batch of product = H direction; *finished: it was the last. ERROR_IO. */
int landscape_hessian_step(struct landscape *landscape, const struct corpus *train, const void *direction, void *product,
                           bool *finished, struct error *error);
/* product = J^T J direction / n over the first positions that predict. ERROR_IO. */
int landscape_kernel_step(struct landscape *landscape, const struct corpus *train, const void *direction, void *product,
                          struct error *error);

#endif
