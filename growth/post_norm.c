/* Identity blocks of a model whose norms stand after the additions (bert): methods 6.16.
 *
 *     below  … + branch -> norm (g, b) -> next        below  … + branch -> norm (1, 0)
 *                                                     new    + 0        -> norm (1, 0)
 *                                                            + 0        -> norm (g, b) -> next
 *
 * A branch of zeros leaves the stream to the new block's norms, and a norm of unit gain does nothing to what another such
 * norm has left (but for epsilon). So gain and bias of the norm below the new blocks move, moments and all, to the last
 * norm of the last of them, and every norm between starts as (1, 0). Below a block at the bottom stands the embeddings'
 * norm. */
#include "growth/transform.h"

static bool is_norm(enum role role)
{
    return role == ROLE_NORM_GAIN || role == ROLE_NORM_BIAS;
}

static bool is_embedding_norm(enum role role)
{
    return role == ROLE_EMBEDDING_NORM_GAIN || role == ROLE_EMBEDDING_NORM_BIAS;
}

/* Which of the rows of its role it is. */
static int row_nth(const struct layout *layout, const struct tensor_row *row)
{
    int nth = 0;
    for (const struct tensor_row *other = layout->rows; other != row; other++)
        nth += other->role == row->role;
    return nth;
}

static bool is_new(const struct growth_plan_stage *stage, int layer)
{
    return layer < stage->to.layers && stage->identity[layer];
}

enum { LAST_NORM = 1 };     /* of a block: the one after its MLP */

/* Gain or bias that a run of new blocks which ends with `layer` takes over. */
static struct norm_origin origin_below(const struct growth_plan_stage *stage, int layer, enum role role)
{
    while (layer >= 0 && is_new(stage, layer))
        layer--;
    if (layer >= 0)
        return (struct norm_origin){NORM_MOVED, role, stage->layers[layer], LAST_NORM};
    role = role == ROLE_NORM_GAIN ? ROLE_EMBEDDING_NORM_GAIN : ROLE_EMBEDDING_NORM_BIAS;
    return (struct norm_origin){NORM_MOVED, role, -1, 0};
}

struct norm_origin growth_norm_origin(const struct growth_transform *transform, const struct tensor *to)
{
    const struct growth_plan_stage *stage = transform->stage;
    const struct layout *layout = layout_of(stage->to.family);
    const struct norm_origin mapped = {.kind = NORM_AS_MAPPED}, unit = {.kind = NORM_UNIT};
    enum role role = to->row->role;
    if (stage->identity == NULL || !layout->post_norm)
        return mapped;
    if (is_embedding_norm(role))
        return is_new(stage, 0) ? unit : mapped;
    if (!is_norm(role))
        return mapped;
    bool last = row_nth(layout, to->row) == LAST_NORM;
    if (last && is_new(stage, to->layer + 1))
        return unit;
    if (!is_new(stage, to->layer))
        return mapped;
    return last ? origin_below(stage, to->layer, role) : unit;
}
