/* The head: hidden states -> logits -> cross-entropy, in chunks of positions, so that logits are never held whole. */
#ifndef MODEL_BLOCK_HEAD_H
#define MODEL_BLOCK_HEAD_H

#include "model/block.h"

struct head_block {
    struct linear linear;      /* (V, C): its own, or the token embedding when tied; bert's has a bias */
    int chunk;                 /* positions at a time */
    void *logits;              /* (chunk, V) */
    double *losses;            /* (chunk), host memory */
};

/* Positions at a time: about HEAD_CHUNK_NUMBERS logits, but at least HEAD_CHUNK_LEAST (a weight of a large vocabulary
 * is read once per chunk) and at most HEAD_CHUNK_MOST. */
enum { HEAD_CHUNK_NUMBERS = 1 << 20, HEAD_CHUNK_LEAST = 256, HEAD_CHUNK_MOST = 1024 };
int head_block_chunk(int vocabulary, size_t positions);
void head_block_bind(struct head_block *head, const struct tensor_table *table);
/* Adds up losses and counts per row of the batch; either may be NULL. hidden: (N, C). */
void head_block_loss(const struct pass *pass, const struct head_block *head, const void *hidden, double *row_losses,
                     int *row_counts);
/* d_hidden (N, C) = scale * d(sum of losses)/d(hidden), the head's gradients likewise; returns the sum of losses. */
double head_block_gradient(const struct pass *pass, const struct head_block *head, const void *hidden, double scale,
                           void *d_hidden);
/* d_hidden (N, C) = scale * (derivative of the logits by hidden, transposed) t, the head's gradients likewise, t the tangents
 * of the logits. forward has a direction; back is the same pass without, and with gradients. Positions without a target
 * count for nothing. */
void head_block_jacobian(const struct pass *forward, const struct pass *back, const struct head_block *head,
                         const void *hidden, double scale, void *d_hidden);
/* logits (N, V), whole. */
void head_block_logits(const struct pass *pass, const struct head_block *head, const void *hidden, void *logits);

#endif
