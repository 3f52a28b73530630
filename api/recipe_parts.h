/* The pieces that a recipe is written and read with; private to this room. Thread rule: caller-owned. */
#ifndef API_RECIPE_PARTS_H
#define API_RECIPE_PARTS_H

#include "api/recipe.h"
#include "api/request_parts.h"

/* The members "base" and "laws" of the chosen candidate. True: some tensor has a law of its own. */
bool recipe_write_law(struct buffer *out, const struct study_view *view, double hidden_rate_scale, bool *first);
/* Takes both out of the tree. *base: `shape` with the base's sizes put in; without "base" it is `shape`. Mistakes are
 * recorded. */
void recipe_take_base(cJSON *tree, const struct shape *shape, struct shape *base, struct error *error);
/* One text for users of PyTorch: batch, optimizer, clipping, rates, schedule, where to go on, and what of
 * optimizer.safetensors is its state. */
struct recipe_words {
    const struct training *training;
    uint64_t step, data_cursor;          /* where to go on */
    double scale;                        /* of the hidden rates */
    bool laws;                           /* some tensor has one of its own */
};
void recipe_write_pytorch(struct buffer *text, const struct recipe_words *words);

#endif
