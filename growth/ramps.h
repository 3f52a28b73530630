/* Ramps: when what a plan grows in behind masks counts in full (masked structural growth, arXiv 2305.02869). At optimizer
 * step s since growing, a structure with a ramp of R steps has the share min(1, s / R): 0 before the first update, 1 from
 * step R on, where the model is an ordinary one. What is evaluated at step s, and update number s (from 0), both see the
 * shares of step s. So the masks are a function of plan and step; nothing of them is stored with a trial.
 * Thread rule: const after growth_ramps_init. */
#ifndef GROWTH_RAMPS_H
#define GROWTH_RAMPS_H

#include "base/hash.h"
#include "growth/plan.h"
#include "model/masking.h"

enum ramp_units { RAMP_STREAM, RAMP_HEADS, RAMP_FF, RAMP_UNITS };

struct growth_ramps {
    int32_t *blocks;          /* owned: ramp steps of each block through both stacks, 0: not masked; NULL: none is */
    int block_count;
    int32_t *units[RAMP_UNITS];   /* owned: the same of the stream's units, of heads, of MLP units; NULL: none is masked */
    int unit_counts[RAMP_UNITS];
    uint64_t longest;         /* steps; 0: nothing is masked */
};

/* The ramps of a plan's result: later stages carry masks along their maps. ERROR_NO_MEMORY. After a failure there is nothing
 * to free. */
int growth_ramps_init(struct growth_ramps *ramps, const struct growth_plan *plan, struct error *error);
void growth_ramps_fini(struct growth_ramps *ramps);
/* Share of a structure with a ramp of `ramp` steps (0: not masked). */
double growth_ramp_share(int32_t ramp, uint64_t step);
/* Everything that tells these ramps from others: checkpoints of equal bytes behind different masks are different models. */
void growth_ramps_hash(const struct growth_ramps *ramps, struct hash_state *hash);

/* The shares of one step, as a network takes them. A worker owns one for a shape; it is filled anew for every pass, and
 * filling allocates nothing. */
struct growth_masks {
    const struct kernels *kernels;
    struct masking masking;
    double *blocks;           /* owned, one per block */
    void *units[RAMP_UNITS];  /* owned, backend memory: (C), (H D), (FF) */
    void *host;               /* owned: one of them, on its way there */
    int head_size;
};
/* Bytes for a shape. */
size_t growth_masks_bytes(const struct kernels *kernels, const struct shape *shape);
/* ERROR_NO_MEMORY. */
int growth_masks_init(struct growth_masks *masks, const struct shape *shape, const struct kernels *kernels,
                      struct error *error);
void growth_masks_fini(struct growth_masks *masks);
/* The masking of a step, valid until the next call; NULL: none (also for ramps NULL). The ramps are of the same shape. */
const struct masking *growth_masks_at(struct growth_masks *masks, const struct growth_ramps *ramps, uint64_t step);

#endif
