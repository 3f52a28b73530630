/* Scratch: what a worker needs beside a trial's own state: gradients, a network with room for one micro-batch, token
 * buffers. Allocated once; a step or an evaluation allocates nothing. Inside the trainer only. */
#ifndef TRAINER_SCRATCH_H
#define TRAINER_SCRATCH_H

#include "trainer/trial.h"

struct scratch {
    const struct kernels *kernels;
    struct tensor_table table;       /* of its own: the network keeps pointing at it */
    struct network *network;
    void *gradients;                 /* a slab; NULL in a scratch for evaluation alone */
    void *point;                     /* a slab: where a schedule-free optimizer takes gradients (learner_point); else NULL */
    int batch;                       /* most rows of a learner in the training it was made for */
    int rows, context;               /* a micro-batch: (rows, context) */
    bool recompute;                  /* what the network was made with, as is compute */
    enum product_type compute;
    struct growth_masks masks;       /* of the trial's present step */
    struct objective_parts parts;    /* what windows become */
    int32_t *tokens;                 /* context + 1: one raw window */
    double *row_losses;              /* rows */
    int *row_counts;                 /* rows */
};

/* Rows of a micro-batch: about 2048 tokens, at least one row, at most `batch`. A function of sizes alone, so that
 * sums are formed in the same order wherever a trial runs. */
int micro_batch_rows(int batch, int context);

struct scratch_sizes {
    int batch, context;
    bool gradients, recompute, tangents;   /* as struct network_sizes */
    bool point;                      /* beside gradients */
    enum product_type compute;       /* of gradients */
    const struct objective_spec *objective;
};
int scratch_make(struct scratch **scratch, const struct kernels *kernels, const struct shape *shape,
                 const struct scratch_sizes *sizes, struct error *error);

size_t scratch_sized_bytes(const struct kernels *kernels, const struct shape *shape, const struct scratch_sizes *sizes);

/* Floats of a slab of this shape, as tensor_table_init lays it out; 0 on overflow. */
size_t slab_floats(const struct shape *shape);

/* Some rows of a batch. */
struct batch_share {
    uint64_t number;                 /* of the first row (sample_number) */
    int rows;
    int total;                       /* rows whose mean loss the gradient belongs to: these, or a whole batch */
    void *gradients;                 /* the slab that it goes into; NULL: the scratch's */
};

/* Which batch of a study's training data: the one of data step `data_step`; and the model's masks then. */
struct batch_place {
    const struct training *training;
    enum sampler sampler;
    uint64_t seed_index, data_step;
    const struct masking *masking;   /* NULL: none */
    const struct batch_share *share; /* NULL: all rows of the step */
};

/* Rows first, first + 1, … of a share into the scratch's parts. ERROR_IO. */
int batch_rows_fill(const struct batch_place *place, const struct batch_share *share, struct scratch *scratch,
                    const struct corpus *train, int first, int rows, struct error *error);

/* What a batch's gradient came to. How many tokens are predicted is known only when all masks are drawn: the slab holds
 * the gradient of the sum of losses over the number of targets there are, and `scale` turns it into that of the mean over
 * predicted tokens; 1 where every token is predicted. */
struct gradient_sum { double loss, scale; uint64_t predicted; };

/* scratch->gradients (=) at `weights`, micro-batch by micro-batch, in order. ERROR_CANCELLED when *stop (NULL: none) was
 * seen between them, ERROR_IO. The scratch was made for this training. */
int gradient_of_batch(const struct batch_place *place, const void *weights, struct scratch *scratch,
                      const struct corpus *train, const atomic_bool *stop, struct gradient_sum *result,
                      struct error *error);
/* PyTorch's clip_grad_norm_: max_norm / (norm + 1e-6), and never above 1; clip 0: off. */
double clip_scale(double clip, double norm);

/* The mean loss of the windows at positions first, first + 1, … of a set of `count` spread over all windows (the
 * i-th is window floor(i W / count)): one group of at most scratch->rows. *done: how many. `masks`: (seed, seed index,
 * RNG_VALIDATION). masking: of the model; NULL: none. */
struct window_group { const struct windows *windows; int count, first; struct rng masks; const struct masking *masking; };
int evaluate_group(struct scratch *scratch, const void *weights, const struct corpus *valid,
                   const struct window_group *group, float *losses, int *done, struct error *error);

#endif
