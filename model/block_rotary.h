/* Rotary positions (Su et al., 2021): tables of cosines and sines, and the turn of q or k. All layers share one. */
#ifndef MODEL_BLOCK_ROTARY_H
#define MODEL_BLOCK_ROTARY_H

#include "model/block.h"

struct rotary_block {
    const struct kernels *kernels;
    int head_size, context;
    void *cosines, *sines;         /* (T, D / 2) */
};

/* Radians per position of pairs first .. first + count - 1 of a head (pair i turns numbers i and i + D / 2), for rows of
 * `positions`: only the dynamic scaling looks at them, and only beyond the shape's context. Computed in float32, as
 * transformers computes its inv_freq whatever the model's dtype. */
void rotary_frequencies(const struct shape *shape, int positions, int first, int count, float *frequencies);

void rotary_block_plan(struct rotary_block *block, const struct shape *shape, int context, struct carve *carve);
/* Fills the tables. */
void rotary_block_bind(struct rotary_block *block, const struct shape *shape);
/* Turns x (B, T, heads, D), rows `stride` apart, in place; `back` by the negative angles. */
void rotary_block_turn(const struct pass *pass, const struct rotary_block *block, int heads, int stride, bool back,
                       void *x);

#endif
