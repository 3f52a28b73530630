/* What a family supplies to the network: its state (blocks with their buffers), and the way from token ids to hidden
 * states and back. The head and everything around it are the same for all. One row per family, in network.c. */
#ifndef MODEL_NETWORK_FAMILY_H
#define MODEL_NETWORK_FAMILY_H

#include "model/block.h"

struct network_family {
    enum family family;
    /* Bytes of the state; 0 on overflow. */
    size_t (*state_bytes)(const struct shape *shape);
    /* Carves every buffer. state NULL: only the bytes are wanted. */
    void (*plan)(void *state, const struct shape *shape, const struct network_sizes *sizes, struct carve *carve);
    /* Finds every weight in the table. */
    void (*bind)(void *state, const struct tensor_table *table);
    /* Token ids -> hidden states (N, C), ready for the transform or, without one, the head. Nothing else reads them any
     * more, so the network may move those of the positions that predict together. */
    void *(*forward)(const void *state, const struct pass *pass);
    /* NULL: none. What comes between hidden states and head, over the positions of the pass: x (N, C) as forward
     * returned it -> what the head reads; and the way back, from hidden_gradient to hidden_gradient. */
    const void *(*transform)(const void *state, const struct pass *pass, const void *x);
    void (*transform_backward)(const void *state, const struct pass *pass);
    /* Where the head puts the gradient (N, C) of what it reads, and the way back from there. */
    void *(*hidden_gradient)(const void *state);
    void (*backward)(const void *state, const struct pass *pass);
    /* The load-balance loss of the last forward pass, unweighted (mixtral); NULL: there is none. */
    double (*balance)(const void *state);
};

extern const struct network_family network_gpt2, network_llama, network_mistral, network_qwen2, network_t5,
    network_bert, network_mixtral;

#endif
