/* The weights of one tensor: through its axes, then noise. Recipes: methods 6.5, 6.10, appendix B. */
#include "growth/transform.h"

#include <math.h>
#include <string.h>

static double scale_of(const struct axis_map *axis, int position, int power)
{
    double share = axis->share[position];
    return power == 2 ? share * share : share;
}

void growth_tensor_map(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                       const struct axis_scaling *scaling, const float *before, float *after)
{
    const struct axis_map *outer = &transform->axes[to->row->axes[0]];
    const struct axis_map *inner = &transform->axes[to->row->rank == 2 ? to->row->axes[1] : AXIS_NONE];
    if (!outer->changed && !inner->changed) {
        memcpy(after, before, to->count * sizeof *after);
        return;
    }
    double whole = scaling->power == 2 ? scaling->factor * scaling->factor : scaling->factor;
    for (int i = 0; i < to->dims[0]; i++) {
        double row_scale = scaling->use[0] ? whole * scale_of(outer, i, scaling->power) : whole;
        float *row = after + (size_t)i * to->dims[1];
        for (int j = 0; j < to->dims[1]; j++) {
            int old_i = outer->source[i], old_j = inner->source[j];
            double scale = scaling->use[1] ? row_scale * scale_of(inner, j, scaling->power) : row_scale;
            if (old_i < 0 || old_j < 0)
                row[j] = scaling->new_value;
            else if (scaling->block_diagonal && outer->copy[i] != inner->copy[j])
                row[j] = 0;
            else
                row[j] = (float)(scale * (double)before[(size_t)old_i * from->dims[1] + old_j]);
        }
    }
}

/* A product sums over the copies of its input units: those weights are multiplied by the copies' shares. Everything
 * else is copied, except the final norm before a tied head, which divides in the head's place (the embedding must
 * stay whole). */
static struct axis_scaling weight_scaling(const struct growth_transform *transform, const struct tensor *to)
{
    enum role role = to->row->role;
    struct axis_scaling scaling = {.power = 1, .factor = growth_head_factor(transform, role)};
    scaling.block_diagonal = transform->stage->diagonal && role_is_hidden(role);
    if (scaling.block_diagonal)
        return scaling;
    scaling.use[0] = to->row->input_axis == 0 || growth_role_is_divided_norm(&transform->stage->to, role);
    scaling.use[1] = to->row->input_axis == 1;
    return scaling;
}

void growth_tensor_weights(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                           const float *before, float *after)
{
    const struct growth_plan_stage *stage = transform->stage;
    enum role role = to->row->role;
    bool identity = to->layer >= 0 && stage->identity != NULL && stage->identity[to->layer];
    if (from == NULL) {
        growth_tensor_draw(transform, to, after);
    } else if (identity && growth_role_is_output(role)) {
        memset(after, 0, to->count * sizeof *after);
    } else {
        struct axis_scaling scaling = weight_scaling(transform, to);
        growth_tensor_map(transform, from, to, &scaling, before, after);
        if (stage->noisy && role_is_hidden(role))
            growth_tensor_clone_noise(transform, from, to, before, after);
    }
    if (stage->blend > 0)
        growth_tensor_blend(transform, to, after);
}

/* ---- noise ---- */

static const double INITIAL_DEVIATION = 0.02;     /* GPT-2 */

void growth_tensor_draw(const struct growth_transform *transform, const struct tensor *to, float *after)
{
    enum role role = to->row->role;
    if (to->row->rank == 1) {
        float value = role_is_gain(role) ? 1.0f : 0.0f;
        for (size_t i = 0; i < to->count; i++)
            after[i] = value;
        return;
    }
    double deviation = INITIAL_DEVIATION;
    if (transform->stage->to.family == FAMILY_T5)
        deviation = tensor_initial_deviation(&transform->stage->to, to->row);
    else if (growth_role_is_output(role))
        deviation /= sqrt(2.0 * transform->stage->to.layers);
    struct rng rng = growth_transform_stream(transform, "fresh", to->name);
    for (size_t i = 0; i < to->count; i++)
        after[i] = (float)(deviation * rng_normal(&rng));
}

void growth_tensor_blend(const struct growth_transform *transform, const struct tensor *to, float *after)
{
    if (to->row->rank == 1)
        return;
    const struct shape *shape = &transform->stage->to;
    double width = shape->width, layers = shape->layers, blend = transform->stage->blend;
    double deviation = growth_role_is_output(to->row->role) ? 1 / (layers * sqrt(width)) : sqrt(2 / (5 * width));
    struct rng rng = growth_transform_stream(transform, "blend", to->name);
    for (size_t i = 0; i < to->count; i++)
        after[i] = (float)((1 - blend) * (double)after[i] + blend * deviation * rng_normal(&rng));
}

/* A cloned matrix seen as (output, input), whatever its orientation in the file. */
struct clone_view {
    size_t output_stride, input_stride, old_output_stride, old_input_stride;
    int outputs, old_outputs, old_inputs, copies;
    const struct axis_map *output;
    enum axis output_axis;
};

static struct clone_view clone_view_of(const struct growth_transform *transform, const struct tensor *from,
                                       const struct tensor *to)
{
    int in = to->row->input_axis, out = 1 - in;
    size_t stride[2] = {(size_t)to->dims[1], 1}, old_stride[2] = {(size_t)from->dims[1], 1};
    return (struct clone_view){
        .output_stride = stride[out], .input_stride = stride[in],
        .old_output_stride = old_stride[out], .old_input_stride = old_stride[in],
        .outputs = to->dims[out], .old_outputs = from->dims[out], .old_inputs = from->dims[in],
        .copies = transform->stage->copies,
        .output = &transform->axes[to->row->axes[out]], .output_axis = to->row->axes[out],
    };
}

/* A fused qkv is three matrices side by side, each with a power of its own. */
static int part_of(const struct growth_transform *transform, const struct clone_view *view, int old_output)
{
    const struct shape *from = &transform->stage->from;
    if (view->output_axis != AXIS_QKV)
        return 0;
    int heads = from->heads * from->head_size, kv = from->kv_heads * from->head_size;
    return old_output < heads ? 0 : old_output < heads + kv ? 1 : 2;
}

/* Standard deviation of the noise in each part: mean(W_block^2) / 10^(dB / 10), W_block = W / n or, diagonal, W; the
 * factor n / (n - 1) makes up for the mean that is taken off, so that the noise kept has that power. */
static void noise_deviations(const struct growth_transform *transform, const struct clone_view *view,
                             const float *before, double deviations[3])
{
    double squares[3] = {0}, counts[3] = {0};
    for (int o = 0; o < view->old_outputs; o++) {
        int part = part_of(transform, view, o);
        for (int i = 0; i < view->old_inputs; i++) {
            double value = (double)before[o * view->old_output_stride + i * view->old_input_stride];
            squares[part] += value * value;
        }
        counts[part] += view->old_inputs;
    }
    double n = view->copies, ratio = pow(10, transform->stage->noise_db / 10);
    double block = transform->stage->diagonal ? 1 : 1 / n;
    for (int part = 0; part < 3; part++)
        deviations[part] = counts[part] > 0 ? block * sqrt(squares[part] / counts[part] / ratio * n / (n - 1)) : 0;
}

/* n deviates of mean exactly 0 need n - 1 normal draws z (Helmert's basis): with c_j = 1 / sqrt(j (j + 1)), deviate
 * j (from 0) is sum over i > j of c_i z_i, minus j c_j z_j; each has variance (n - 1) / n, what subtracting the mean
 * of n draws gives. The copies' weights in one row are made to sum to the old weight up to one rounding: the first
 * takes up the rest. */
void growth_tensor_clone_noise(const struct growth_transform *transform, const struct tensor *from,
                               const struct tensor *to, const float *before, float *after)
{
    struct clone_view view = clone_view_of(transform, from, to);
    double deviations[3];
    noise_deviations(transform, &view, before, deviations);
    struct rng rng = growth_transform_stream(transform, "clone", to->name);
    size_t step = view.old_inputs * view.input_stride;     /* the inputs are tiled: copy by copy */
    for (int o = 0; o < view.outputs; o++) {
        int old_o = view.output->source[o];
        double deviation = deviations[part_of(transform, &view, old_o)];
        for (int i = 0; i < view.old_inputs; i++) {
            float *cell = after + o * view.output_stride + i * view.input_stride;
            double above = 0, rest = (double)before[old_o * view.old_output_stride + i * view.old_input_stride];
            for (int j = view.copies - 1; j > 0; j--) {
                double part = rng_normal(&rng) / sqrt(j * (j + 1.0));
                cell[j * step] = (float)((double)cell[j * step] + deviation * (above - j * part));
                rest -= (double)cell[j * step];
                above += part;
            }
            *cell = (float)rest;
        }
    }
}
