/* Growing a checkpoint: stage by stage, tensor by tensor. */
#include "growth/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "growth/stage.h"
#include "growth/transform.h"

static int list_hash(const struct growth_list *list, uint64_t *hash, struct error *error)
{
    struct buffer text;
    buffer_init(&text);
    growth_list_json(list, &text);
    bool failed = text.failed;
    if (!failed)
        *hash = hash_u64(text.data, text.length);
    buffer_fini(&text);
    return failed ? error_set(error, ERROR_NO_MEMORY, "no memory to write the operators down") : 0;
}

static void grow_tensor_moments(const struct growth_transform *transform, enum moments_policy policy,
                                const struct checkpoint *before, const struct tensor *from, const struct tensor *to,
                                struct checkpoint *after)
{
    if (from == NULL || !growth_moments_kept(transform, policy, to))
        return;     /* they are 0 already */
    const struct moments *old = before->moments;
    struct moments *grown = after->moments;
    growth_tensor_moments(transform, from, to, old->m + from->offset, old->v + from->offset, grown->m + to->offset,
                          grown->v + to->offset);
    grown->steps[to - after->table.tensors] = old->steps[from - before->table.tensors];
}

/* One stage: `after` is initialised here. */
static int stage_apply(const struct growth_transform *transform, const struct checkpoint *before,
                       enum moments_policy policy, struct checkpoint *after, struct error *error)
{
    int code = checkpoint_init(after, &transform->stage->to, error);
    if (code != 0)
        return code;
    bool moments = policy != MOMENTS_RESET && before->moments != NULL;
    if (moments && (code = checkpoint_add_moments(after, false, error)) != 0) {
        checkpoint_fini(after);
        return code;
    }
    for (int i = 0; i < after->table.count; i++) {
        const struct tensor *to = &after->table.tensors[i];
        const struct tensor *from = growth_tensor_source(transform, &before->table, to);
        growth_tensor_weights(transform, from, to, from == NULL ? NULL : before->weights + from->offset,
                              after->weights + to->offset);
        if (moments)
            grow_tensor_moments(transform, policy, before, from, to, after);
    }
    return 0;
}

/* Everything of the parent that growing does not change. Growing starts from the model file, so the raw iterate of the
 * grown model is its weights. */
static int inherit(const struct checkpoint *parent, struct checkpoint *grown, struct error *error)
{
    grown->provenance = parent->provenance;
    grown->dtype = parent->dtype;
    grown->prefixed = parent->prefixed;
    grown->dropout = parent->dropout;
    snprintf(grown->directory, sizeof grown->directory, "%s", parent->directory);
    if (parent->config_text != NULL) {
        memory_free(grown->config_text);
        grown->config_text = memory_string(parent->config_text);
        if (grown->config_text == NULL)
            return error_set(error, ERROR_NO_MEMORY, "no memory for the grown checkpoint's config");
    }
    if (grown->moments != NULL && parent->moments->raw != NULL) {
        size_t slab = grown->table.slab;
        grown->moments->raw = memory_array(slab, sizeof *grown->moments->raw);
        if (grown->moments->raw == NULL)
            return error_set(error, ERROR_NO_MEMORY, "no memory for the grown checkpoint's raw weights");
        memcpy(grown->moments->raw, grown->weights, slab * sizeof *grown->weights);
    }
    checkpoint_rehash(grown);
    return 0;
}

int growth_apply(const struct growth_plan *plan, const struct growth_list *list, const struct checkpoint *parent,
                 enum moments_policy moments, uint64_t seed, struct checkpoint *grown, struct error *error)
{
    uint64_t hash = 0;
    if (!shape_equal(&plan->from, &parent->table.shape) || plan->stage_count != list->count)
        return error_set(error, ERROR_INTERNAL, "the growth plan was made for another model: plan it anew");
    int code = list_hash(list, &hash, error);
    struct checkpoint before = {0};     /* the stage before, once it is no longer the parent */
    for (int s = 0; s < plan->stage_count && code == 0; s++) {
        struct growth_transform transform;
        struct checkpoint after = {0};
        code = growth_transform_init(&transform, &plan->stages[s], seed, hash, s, error);
        if (code == 0) {
            code = stage_apply(&transform, s == 0 ? parent : &before, moments, &after, error);
            growth_transform_fini(&transform);
        }
        if (s > 0)
            checkpoint_fini(&before);
        before = after;
    }
    if (code != 0)
        return code;
    if ((code = inherit(parent, &before, error)) != 0) {
        checkpoint_fini(&before);
        return code;
    }
    *grown = before;
    return 0;
}
