/* The weights of one tensor: through its axes, then noise. Recipes: methods 6.5, 6.10, appendix B. */
#include "growth/transform.h"

#include <string.h>

#include "base/wide.h"

static double scale_of(double share, int power)
{
    return power == 2 ? share * share : share;
}

static void fill_run(float *row, const struct axis_run *run, float value)
{
    for (int j = run->begin; j < run->end; j++)
        row[j] = value;
}

/* A product with a factor that float32 holds is rounded once, in float32 as by way of double. */
WIDE_LOOP scale_values_loop(float *to, const float *values, size_t count, double scale)
{
    const float factor = (float)scale;
    if ((double)factor == scale) {
#pragma omp simd
        for (size_t j = 0; j < count; j++)
            to[j] = factor * values[j];
    } else {
#pragma omp simd
        for (size_t j = 0; j < count; j++)
            to[j] = (float)(scale * (double)values[j]);
    }
}

WIDE_FORMS(scale_values, (float *to, const float *values, size_t count, double scale), (to, values, count, scale))

/* old: (from->dims[1]). */
static void copy_run(float *row, const struct axis_run *run, const float *old, double scale)
{
    const float *values = old + run->source;
    float *to = row + run->begin;
    size_t count = (size_t)(run->end - run->begin);
    if (scale == 1)
        memcpy(to, values, count * sizeof *to);
    else
        scale_values(to, values, count, scale);
}

/* On no axis that changed: times a factor; or of two models the mean. */
static void map_whole(size_t count, const float *before, const float *partner, double factor, float *after)
{
    if (partner == NULL && factor == 1) {
        memcpy(after, before, count * sizeof *after);
        return;
    }
    for (size_t i = 0; i < count; i++)
        after[i] = (float)(factor * (partner == NULL ? (double)before[i] : ((double)before[i] + (double)partner[i]) / 2));
}

void growth_tensor_map(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                       const struct axis_scaling *scaling, const float *before, float *after)
{
    const struct axis_map *outer = &transform->axes[to->row->axes[0]];
    const struct axis_map *inner = &transform->axes[to->row->rank == 2 ? to->row->axes[1] : AXIS_NONE];
    double whole = scaling->power == 2 ? scaling->factor * scaling->factor : scaling->factor;
    if (!outer->changed && !inner->changed) {
        size_t columns = (size_t)to->dims[1], skipped = (size_t)(scaling->first_row - scaling->base_row) * columns;
        size_t rows = (size_t)(scaling->rows > 0 ? scaling->rows : to->dims[0]);
        map_whole(rows * columns, before + skipped, scaling->partner == NULL ? NULL : scaling->partner + skipped, whole,
                  after);
        return;
    }
    const float *const values[2] = {before, scaling->partner != NULL ? scaling->partner : before};
    bool has_second = scaling->second != NULL || scaling->second_is_new;
    const bool *further[2] = {
        has_second && to->row->input_axis != 0 ? outer->further : NULL,
        has_second && to->row->rank == 2 && to->row->input_axis != 1 ? inner->further : NULL,
    };
    int rows = scaling->rows > 0 ? scaling->rows : to->dims[0];
    for (int r = 0; r < rows; r++) {
        int i = scaling->first_row + r, old_i = outer->source[i];
        double row_scale = scaling->use[0] ? whole * scale_of(outer->share[i], scaling->power) : whole;
        float *row = after + (size_t)r * to->dims[1];
        for (const struct axis_run *run = inner->runs; run < inner->runs + inner->run_count; run++) {
            double scale = scaling->use[1] ? row_scale * scale_of(run->share, scaling->power) : row_scale;
            int copy = outer->copy[i] | run->copy;     /* 0: of the model that is grown */
            bool second = (further[0] != NULL && further[0][i]) || (further[1] != NULL && run->further);
            const float *old = second ? scaling->second : values[copy != 0];
            if (old_i < 0 || run->source < 0 || scale == 0)
                fill_run(row, run, scaling->new_value);
            else if (scaling->block_diagonal && outer->copy[i] != run->copy)
                fill_run(row, run, scaling->cross_value);
            else if ((scaling->partner_is_new && copy != 0) || (scaling->second_is_new && second))
                fill_run(row, run, scaling->new_value);
            else
                copy_run(row, run, old + (size_t)(old_i - scaling->base_row) * from->dims[1], scale);
        }
    }
}

/* A product sums over the copies of its input units: those weights are multiplied by the copies' shares. Everything
 * else is copied, except the final norm before a tied head, which divides in the head's place (the embedding must
 * stay whole). */
static struct axis_scaling weight_scaling(const struct growth_transform *transform, const struct tensor *to)
{
    enum role role = to->row->role;
    struct axis_scaling scaling = {.power = 1, .factor = growth_role_factor(transform, role)};
    scaling.block_diagonal = transform->stage->diagonal && role_is_hidden(role);
    if (scaling.block_diagonal)
        return scaling;
    scaling.use[0] = to->row->input_axis == 0 || growth_role_is_divided_norm(&transform->stage->to, role);
    scaling.use[1] = to->row->input_axis == 1;
    return scaling;
}

void growth_tensor_weights(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                           struct growth_values before, float *after)
{
    const struct growth_plan_stage *stage = transform->stage;
    enum role role = to->row->role;
    bool identity = to->layer >= 0 && stage->identity != NULL && stage->identity[to->layer];
    if (from == NULL) {
        growth_tensor_draw(transform, to, before, after);
    } else if (identity && growth_role_is_output(role)) {
        memset(after, 0, growth_values_count(to, before) * sizeof *after);
    } else {
        struct axis_scaling scaling = weight_scaling(transform, to);
        scaling.first_row = before.first_row;
        scaling.rows = before.rows;
        scaling.base_row = before.base_row;
        if (stage->partner != NULL)
            scaling.partner = (before.partner != NULL ? before.partner : stage->partner->checkpoint->weights) + from->offset +
                              (size_t)before.base_row * (size_t)from->dims[1];
        scaling.second = before.second;
        growth_tensor_map(transform, from, to, &scaling, before.own, after);
        growth_tensor_fill(transform, from, to, &scaling, before.own, after);
        if (stage->noisy && role_is_hidden(role))
            growth_tensor_clone_noise(transform, from, to, before, after);
    }
    if (stage->blend > 0)
        growth_tensor_blend(transform, to, before, after);
}
