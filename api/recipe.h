/* Recipe: how to go on with a study's winner. One JSON object: the fields of a study's `training`, all resolved, and
 *
 *   format              1
 *   study, candidate    where it comes from, for humans
 *   step                optimizer updates done so far: the schedule goes on from here, up to `steps`
 *   tokens              training tokens of these updates
 *   total_tokens        those of all its `steps`
 *   tokens_seen         tokens of the whole lineage, the parent's included
 *   data_cursor         the sampler's next step
 *   data                a study's `data` object, resolved
 *   width_factor        copies of each unit of the stream, on average: n of an n-fold clone; else 1 (null: not known)
 *   learning_rate_scale what hidden learning rates are multiplied by: 1 / n under width_learning_rate "scaled", else 1
 *   base                sizes that the parametrization's ratios refer to: the parent's; null: standard
 *   laws                of tensors that differ from the rest, what their rate, weight decay and epsilon are multiplied by,
 *                       and their gradients in the norm that is clipped; follows from base and the shape
 *   state               the file that holds raw weights and moments: "optimizer.safetensors"
 *   pytorch             the same in words of PyTorch
 *
 * `lag train --recipe FILE --checkpoint DIR` reads it with recipe_read. Thread rule: caller-owned values. */
#ifndef API_RECIPE_H
#define API_RECIPE_H

#include "api/response.h"

struct recipe {
    struct training training;
    struct spec_data data;
    uint64_t step, tokens, tokens_seen, data_cursor;
    double learning_rate_scale;
    struct shape base;
    char study[129], candidate[SPEC_NAME_MAX + 1];
};

/* Reads and checks a recipe for a checkpoint of `shape`; unknown members are refused as a request's are. ERROR_SYNTAX,
 * ERROR_INVALID, ERROR_NO_MEMORY. */
int recipe_read(const char *text, size_t length, const struct shape *shape, struct recipe *recipe,
                struct error *error);

#endif
