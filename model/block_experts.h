/* Experts in an MLP's place (Shazeer et al., 2017; Mixtral, Jiang et al., 2024): a router scores E gated MLPs, each
 * position passes its top_k, and the branch is the sum of their outputs times their shares, which sum to 1.
 *   x (N, C) -> router -> shares of K chosen experts
 *   x -> rows (N K, C), expert by expert, positions in order -> gated MLP of each -> rows -> branch
 * Nothing is dropped: there are N K rows in all, however they are spread. Every sum has a fixed order.
 * And the load-balance loss of all layers (Fedus et al., 2021, equations 4 to 6; as transformers computes it):
 *   E * sum over experts of (choices of it / n) * (sum of its probabilities / n),  n = layers * positions that are no padding
 * whose gradient reaches the router through the probabilities alone. */
#ifndef MODEL_BLOCK_EXPERTS_H
#define MODEL_BLOCK_EXPERTS_H

#include "model/block.h"

/* One for all layers of a network, in host memory: sums over a forward pass, then derivatives for its backward pass. */
struct balance {
    int experts;
    double places;                         /* n */
    double choices[SHAPE_EXPERTS_MAX];     /* how often each expert was chosen */
    double sums[SHAPE_EXPERTS_MAX];        /* of its probabilities */
    double derivative[SHAPE_EXPERTS_MAX];  /* of the weighted loss by each probability */
};

/* One of the three maps of all experts: expert e's weight lies `step` numbers behind that of e - 1. */
struct expert_map {
    struct linear first;
    size_t step;
};

struct experts_block {
    struct linear router;
    struct expert_map gate, up, down;
    int experts, top_k;
    enum activation activation;
    void *probabilities;       /* (N, E) */
    void *shares;              /* (N, K) */
    void *gates, *ups;         /* (N K, FF), before the activation */
    void *gated;               /* (N K, FF); gates when there is no backward pass */
    int32_t *chosen, *slots;   /* (N, K) host memory: experts, and the row of each choice */
    int32_t *begins;           /* (E + 1) host memory: the first row of each expert */
    void *rows;                /* (N K, C), shared by all layers */
    struct balance *balance;
};

/* What a backward pass needs for itself, shared by all layers. */
struct experts_scratch {
    void *d_rows;              /* (N K, C) */
    void *d_gates, *d_ups;     /* (N K, FF) */
    void *d_shares;            /* (N, K) */
    void *d_logits;            /* (N, E) */
};

/* What carving needs, and the buffers that all layers share. */
void experts_block_size(struct experts_block *block, const struct shape *shape, size_t positions, struct carve *carve);
/* Buffers of one block for `positions`; `kept`: for a backward pass. */
void experts_block_plan(struct experts_block *block, const struct shape *shape, size_t positions, bool kept,
                        struct carve *carve);
void experts_scratch_plan(struct experts_scratch *scratch, const struct shape *shape, size_t positions,
                          struct carve *carve);
void experts_block_bind(struct experts_block *block, const struct tensor_table *table, int layer);
/* branch (N, C) from x (N, C); NULL: only what the backward pass needs, computed again, with nothing added to the
 * balance. */
void experts_block_forward(const struct pass *pass, const struct experts_block *block, const void *x, void *branch);
/* d_x (N, C) from d_branch (N, C). */
void experts_block_backward(const struct pass *pass, const struct experts_block *block, const void *x,
                            const void *d_branch, const struct experts_scratch *scratch, void *d_x);

/* Before the first layer of a forward pass; before the last layer of a backward pass, `weight` the loss's. */
void balance_begin(struct balance *balance, int experts);
void balance_turn(struct balance *balance, double weight);
double balance_loss(const struct balance *balance);

#endif
