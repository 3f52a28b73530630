/* Part of both bodies: which experts are chosen must not depend on the body. Before: a definition of ROUTED, the body's
 * element. */
#ifndef MODEL_KERNELS_EXPERTS_H
#define MODEL_KERNELS_EXPERTS_H

#include "model/kernels_ops.h"

static bool is_among(const int32_t *chosen, int count, int expert)
{
    for (int j = 0; j < count; j++)
        if (chosen[j] == expert)
            return true;
    return false;
}

/* The largest logits; the lowest number of equal ones, and of what is not comparable. */
static void choose_experts(const ROUTED *logits, int experts, int top_k, int32_t *chosen)
{
    for (int j = 0; j < top_k; j++) {
        int best = -1;
        for (int e = 0; e < experts; e++)
            if (!is_among(chosen, j, e) && (best < 0 || logits[e] > logits[best]))
                best = e;
        chosen[j] = best;
    }
}

static bool position_counts(const struct routing *routing, size_t position)
{
    return routing->mask == NULL || routing->mask[position] != 0;
}

#endif
