/* Adam's moments grow with the weights: methods 6.18. */
#include "growth/transform.h"

/* It takes no old block's place: it copies one, and starts as an identity block or behind a mask. */
static bool is_added(const struct growth_plan_stage *stage, int layer)
{
    return (stage->identity != NULL && stage->identity[layer]) || (stage->masked != NULL && stage->masked[layer]);
}

bool growth_moments_kept(const struct growth_transform *transform, enum moments_policy policy, const struct tensor *to)
{
    const struct growth_plan_stage *stage = transform->stage;
    if (policy == MOMENTS_RESET)
        return false;
    if (policy == MOMENTS_OLD_ONLY && to->expert > 0 && growth_tensor_is_upcycled(transform, to))
        return false;
    struct norm_origin origin = growth_norm_origin(transform, to);
    if (origin.kind != NORM_AS_MAPPED)
        return origin.kind == NORM_MOVED;
    if (to->layer < 0 || stage->layers == NULL)
        return true;
    if (stage->layers[to->layer] < 0 || is_added(stage, to->layer))
        return false;
    if (policy == MOMENTS_CARRY)
        return true;
    for (int i = 0; i < to->layer; i++)     /* old_only: is it the first true copy of its old layer? */
        if (stage->layers[i] == stage->layers[to->layer] && !is_added(stage, i))
            return false;
    return true;
}

/* Contract 3: a new row or column inside an old tensor starts with m = 0 and v = mean of the tensor's old v. */
static float mean_of(const struct tensor *from, const float *v)
{
    double sum = 0;
    for (size_t i = 0; i < from->count; i++)
        sum += (double)v[i];
    return (float)(sum / (double)from->count);
}

/* The partner's moments where it has some for this tensor, of the same optimizer; NULL: without them its part counts as
 * new. */
static const struct moments *partner_moments(const struct growth_transform *transform, const struct tensor *from)
{
    const struct growth_partner *partner = transform->stage->partner;
    const struct moments *moments = partner == NULL ? NULL : partner->checkpoint->moments;
    return moments == NULL || moments->steps[from - transform->before->tensors] == 0 ? NULL : moments;
}

uint64_t growth_tensor_step(const struct growth_transform *transform, const struct moments *own, const struct tensor *from,
                            uint64_t step)
{
    const struct moments *partner = partner_moments(transform, from);
    if (partner != NULL && (moments_parts(own) & ~moments_parts(partner) & ~(unsigned)MOMENTS_RAW) != 0)
        return step;        /* of another optimizer: its part counts as new, and its counter with it */
    uint64_t other = partner == NULL ? step : partner->steps[from - transform->before->tensors];
    return other < step ? other : step;
}

/* The gradient that reaches a copy of an output unit is its share of the old one: signals come back through the
 * weights that were multiplied by the shares. Input axes pass the old activations on and change nothing. The final
 * norm before a tied head carries the division itself and reads whole signals: its moments stay, but for what the head's
 * own scale changes. A factor of the weights divides the gradient. Between the two models of a fusion nothing was
 * learned yet: those blocks count as new. */
void growth_tensor_moment(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                          enum moment_part part, struct growth_values before, float *after)
{
    const struct moments *partner = partner_moments(transform, from);
    const float *partner_slab = partner == NULL ? NULL : partner->parts[part];
    bool fused = transform->stage->partner != NULL, squares = part == MOMENT_V;
    const struct share_means shares = growth_share_means(transform, to);
    struct axis_scaling scaling = {
        .power = squares ? 2 : 1,
        .factor = 1 / growth_role_factor(transform, to->row->role) * (squares ? shares.root_mean_square : shares.mean),
        .block_diagonal = fused && role_is_hidden(to->row->role),
        .partner = partner_slab == NULL ? NULL : partner_slab + from->offset, .partner_is_new = fused && partner_slab == NULL,
        .second = before.second, .second_is_new = before.second_is_new,
    };
    scaling.use[0] = to->row->input_axis != 0 && !growth_role_is_divided_norm(&transform->stage->to, to->row->role);
    scaling.use[1] = to->row->rank == 2 && to->row->input_axis != 1;
    if (squares) {
        scaling.new_value = mean_of(from, before.own);
        if (partner_slab != NULL)
            scaling.new_value = (scaling.new_value + mean_of(from, scaling.partner)) / 2;
        scaling.cross_value = scaling.new_value;
    }
    growth_tensor_map(transform, from, to, &scaling, before.own, after);
}
