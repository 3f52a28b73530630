/* Adam's moments grow with the weights: methods 6.18. */
#include "growth/transform.h"

bool growth_moments_kept(const struct growth_transform *transform, enum moments_policy policy, const struct tensor *to)
{
    const struct growth_plan_stage *stage = transform->stage;
    if (policy == MOMENTS_RESET)
        return false;
    struct norm_origin origin = growth_norm_origin(transform, to);
    if (origin.kind != NORM_AS_MAPPED)
        return origin.kind == NORM_MOVED;
    if (to->layer < 0 || stage->layers == NULL)
        return true;
    if (stage->layers[to->layer] < 0 || (stage->identity != NULL && stage->identity[to->layer]))
        return false;
    if (policy == MOMENTS_CARRY)
        return true;
    for (int i = 0; i < to->layer; i++)     /* old_only: is it the first true copy of its old layer? */
        if (stage->layers[i] == stage->layers[to->layer] && (stage->identity == NULL || !stage->identity[i]))
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

/* The gradient that reaches a copy of an output unit is its share of the old one: signals come back through the
 * weights that were multiplied by the shares. Input axes pass the old activations on and change nothing. The final
 * norm before a tied head carries the division itself and reads whole signals: its moments stay, but for what the head's
 * own scale changes. */
void growth_tensor_moments(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                           const float *m_before, const float *v_before, float *m_after, float *v_after)
{
    struct axis_scaling scaling = {.power = 1, .factor = 1 / growth_head_factor(transform, to->row->role)};
    scaling.use[0] = to->row->input_axis != 0 && !growth_role_is_divided_norm(&transform->stage->to, to->row->role);
    scaling.use[1] = to->row->rank == 2 && to->row->input_axis != 1;
    growth_tensor_map(transform, from, to, &scaling, m_before, m_after);
    scaling.power = 2;
    scaling.new_value = mean_of(from, v_before);
    growth_tensor_map(transform, from, to, &scaling, v_before, v_after);
}
