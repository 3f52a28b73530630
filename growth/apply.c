/* Growing a checkpoint: stage by stage, tensor by tensor. */
#include "growth/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "growth/stage.h"
#include "growth/transform.h"

int growth_list_hash(const struct growth_list *list, uint64_t *hash, struct error *error)
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
    const struct moments *old = before->moments;
    if (from == NULL || !growth_moments_kept(transform, policy, to) || old->steps[from - before->table.tensors] == 0)
        return;     /* they are 0 already */
    struct moments *grown = after->moments;
    const struct tensor *second = growth_tensor_second(transform, &before->table, to);
    uint64_t step = old->steps[from - before->table.tensors];
    uint64_t other = second == NULL ? 0 : old->steps[second - before->table.tensors];
    for (int part = 0; part < MOMENT_PART_COUNT; part++) {
        if (part == MOMENT_Z || old->parts[part] == NULL)
            continue;
        struct growth_values values = {.own = old->parts[part] + from->offset, .second_is_new = second != NULL && other == 0};
        values.second = other > 0 ? old->parts[part] + second->offset : NULL;
        growth_tensor_moment(transform, from, to, (enum moment_part)part, values, grown->parts[part] + to->offset);
    }
    if (other > 0)
        step = other < step ? other : step;
    grown->steps[to - after->table.tensors] = growth_tensor_step(transform, old, from, step);
}

/* Schedule-free's iterate goes where the average goes, through the same maps; what is drawn is the same in both (methods 2.7).
 * A tensor without moments begins with the iterate at its weights. */
static void grow_tensor_iterate(const struct growth_transform *transform, const struct checkpoint *before,
                                const struct tensor *from, const struct tensor *to, struct clone_power *power,
                                struct checkpoint *after)
{
    const struct moments *old = before->moments;
    float *grown = after->moments->z + to->offset;
    if (after->moments->steps[to - after->table.tensors] == 0) {
        memcpy(grown, after->weights + to->offset, to->count * sizeof *grown);
        return;
    }
    const struct tensor *second = growth_tensor_second(transform, &before->table, to);
    const struct growth_partner *partner = transform->stage->partner;
    const struct growth_values values = {
        .own = old->z + from->offset, .second = second == NULL ? NULL : old->z + second->offset, .power = power,
        .partner = partner != NULL && partner->checkpoint->moments != NULL ? partner->checkpoint->moments->z : NULL,
    };
    growth_tensor_weights(transform, from, to, values, grown);
}

/* Moments of a learned stage stay 0, its iterate is at the weights. */
static int stage_learn(const struct growth_transform *transform, const struct checkpoint *before,
                       const struct growth_learner *learner, struct checkpoint *after, struct error *error)
{
    int code = learner->learn(learner->owner, transform, before, after, error);
    for (int i = 0; i < after->table.count && code == 0 && transform->stage->blend > 0; i++) {
        const struct tensor *to = &after->table.tensors[i];
        growth_tensor_blend(transform, to, (struct growth_values){0}, after->weights + to->offset);
    }
    if (code == 0 && after->moments != NULL && after->moments->z != NULL)
        memcpy(after->moments->z, after->weights, after->table.slab * sizeof *after->weights);
    return code;
}

static void stage_map(const struct growth_transform *transform, const struct checkpoint *before,
                      enum moments_policy policy, struct checkpoint *after)
{
    bool moments = after->moments != NULL;
    for (int i = 0; i < after->table.count; i++) {
        const struct tensor *to = &after->table.tensors[i];
        const struct tensor *from = growth_tensor_source(transform, &before->table, to);
        const struct tensor *second = growth_tensor_second(transform, &before->table, to);
        struct clone_power power = {0};
        const struct growth_values values = {
            .own = from == NULL ? NULL : before->weights + from->offset,
            .second = second == NULL ? NULL : before->weights + second->offset,
            .power = &power,
        };
        growth_tensor_weights(transform, from, to, values, after->weights + to->offset);
        if (moments)
            grow_tensor_moments(transform, policy, before, from, to, after);
        if (moments && after->moments->z != NULL)
            grow_tensor_iterate(transform, before, from, to, &power, after);
    }
}

/* One stage: `after` is initialised here. */
static int stage_apply(const struct growth_transform *transform, const struct checkpoint *before,
                       const struct growth_options *options, struct checkpoint *after, struct error *error)
{
    int code = checkpoint_init(after, &transform->stage->to, error);
    if (code != 0)
        return code;
    if (options->moments != MOMENTS_RESET && before->moments != NULL)
        code = checkpoint_set_moments(after, moments_parts(before->moments) & ~(unsigned)MOMENTS_RAW, error);
    if (code == 0 && transform->stage->learned_steps > 0)
        code = stage_learn(transform, before, options->learner, after, error);
    else if (code == 0)
        stage_map(transform, before, options->moments, after);
    if (code != 0)
        checkpoint_fini(after);
    return code;
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

static int check_learner(const struct growth_plan *plan, const struct growth_learner *learner, struct error *error)
{
    char pointer[ERROR_POINTER_BYTES];
    int stage = growth_plan_learns(plan);
    if (stage < 0 || learner != NULL)
        return 0;
    snprintf(pointer, sizeof pointer, "/operators/%d/op", stage);
    return error_set_at(error, ERROR_INVALID, pointer, "%s learns from data: give training data",
                        plan->stages[stage].op->name);
}

int growth_apply(const struct growth_plan *plan, const struct growth_list *list, const struct checkpoint *parent,
                 enum moments_policy moments, uint64_t seed, struct checkpoint *grown, struct error *error)
{
    const struct growth_options options = {.moments = moments, .seed = seed};
    return growth_apply_with(plan, list, parent, &options, grown, error);
}

int growth_apply_with(const struct growth_plan *plan, const struct growth_list *list, const struct checkpoint *parent,
                      const struct growth_options *options, struct checkpoint *grown, struct error *error)
{
    uint64_t hash = 0;
    if (!shape_equal(&plan->from, &parent->table.shape) || plan->stage_count != list->count)
        return error_set(error, ERROR_INTERNAL, "the growth plan was made for another model: plan it anew");
    int code = check_learner(plan, options->learner, error);
    if (code == 0)
        code = growth_list_hash(list, &hash, error);
    struct checkpoint before = {0};     /* the stage before, once it is no longer the parent */
    for (int s = 0; s < plan->stage_count && code == 0; s++) {
        struct growth_transform transform;
        struct checkpoint after = {0};
        const struct checkpoint *from = s == 0 ? parent : &before;
        code = growth_transform_init(&transform, &plan->stages[s], &from->table, options->seed, hash, s, error);
        if (code == 0) {
            transform.parametrization = options->parametrization;
            transform.base = options->base != NULL ? options->base : &plan->from;
            code = stage_apply(&transform, from, options, &after, error);
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
