/* What tensors hold at new units: positions of an axis without a source. Along the axis that a product sums over, its map
 * says what stands there (`read`), whatever the output is; along the other one, and in embeddings and vectors, `written`.
 * Source: methods 6.9 and B.3 (means and zeros that a norm turns into zeros, random columns that multiply them). */
#include "growth/transform.h"

static const struct axis_map *axis_of(const struct growth_transform *transform, const struct tensor *to, int which)
{
    return &transform->axes[to->row->rank > which ? to->row->axes[which] : AXIS_NONE];
}

/* Mean of the old values along axis `which`, at one old position of the other axis. */
static double old_mean(const struct tensor *from, const float *before, int which, int other)
{
    int along = from->dims[which], stride = which == 0 ? from->dims[1] : 1;
    size_t begin = which == 0 ? (size_t)other : (size_t)other * from->dims[1];
    double sum = 0;
    for (int unit = 0; unit < along; unit++)
        sum += (double)before[begin + (size_t)unit * stride];
    return sum / along;
}

/* The cells of one new unit's line: at (unit, position) of axes (which, other). */
static float *cell_at(const struct tensor *to, int which, int unit, int position, float *after)
{
    return which == 0 ? after + (size_t)unit * to->dims[1] + position : after + (size_t)position * to->dims[1] + unit;
}

/* Writes `value` to every new unit of axis `which` at one position of the other axis. */
static void put_line(const struct axis_map *axis, const struct tensor *to, int which, int position, float value,
                     float *after)
{
    for (int unit = 0; unit < axis->count; unit++)
        if (axis->source[unit] < 0)
            *cell_at(to, which, unit, position, after) = value;
}

static void draw_line(const struct axis_map *axis, const struct tensor *to, int which, int position, double deviation,
                      struct rng *rng, float *after)
{
    for (int unit = 0; unit < axis->count; unit++)
        if (axis->source[unit] < 0)
            *cell_at(to, which, unit, position, after) = (float)(deviation * rng_normal(rng));
}

/* One axis of a matrix or a table. `input`: the axis that a product sums over, -1 without one. */
static void fill_axis(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                      const struct axis_scaling *scaling, int which, const float *before, float *after)
{
    const struct axis_map *axis = axis_of(transform, to, which), *across = axis_of(transform, to, 1 - which);
    int input = to->row->input_axis;
    enum unit_fill fill = which == input ? axis->read : axis->written;
    struct rng rng = growth_transform_stream(transform, which == 0 ? "new rows" : "new columns", to->name);
    double deviation = growth_fresh_deviation(transform, to);
    int first = which == 1 ? scaling->first_row : 0, positions = to->dims[1 - which], fresh = 0;
    if (which == 1 && scaling->rows > 0)
        positions = scaling->rows;
    for (int unit = 0; unit < axis->count; unit++)
        fresh += axis->source[unit] < 0;
    rng.position = 2 * (uint64_t)first * (uint64_t)fresh;      /* a normal draw takes two */
    for (int position = 0; position < positions; position++) {
        int old = across->source[first + position];
        if (old < 0 && which != input && (input >= 0 || which == 1))
            continue;       /* the other axis has filled it */
        double scale = scaling->use[1 - which] ? scaling->factor * across->share[first + position] : scaling->factor;
        if (fill == FILL_DRAW)
            draw_line(axis, to, which, position, deviation, &rng, after);
        else
            put_line(axis, to, which, position, fill == FILL_MEAN && old >= 0
                     ? (float)(scale * old_mean(from, before, which, old - scaling->base_row)) : 0.0f, after);
    }
}

/* Units that were not there do not count in a norm: no bias, and a gain of the usual size once they do. */
static void fill_vector(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                        const struct axis_scaling *scaling, const float *before, float *after)
{
    const struct axis_map *axis = axis_of(transform, to, 0);
    enum role role = to->row->role;
    bool is_bias_of_norm = role == ROLE_NORM_BIAS || role == ROLE_FINAL_NORM_BIAS || role == ROLE_EMBEDDING_NORM_BIAS;
    bool is_mean = role_is_gain(role) || (axis->written == FILL_MEAN && !is_bias_of_norm);
    int known = 0;
    for (int unit = 0; unit < axis->count; unit++)
        known += axis->source[unit] >= 0;
    double share = scaling->use[0] ? (double)from->dims[0] / known : 1;
    double mean = is_mean ? scaling->factor * share * old_mean(from, before, 0, 0) : 0;
    put_line(axis, to, 0, 0, (float)mean, after);
}

void growth_tensor_fill(const struct growth_transform *transform, const struct tensor *from, const struct tensor *to,
                        const struct axis_scaling *scaling, const float *before, float *after)
{
    if (to->row->rank == 1) {
        if (axis_of(transform, to, 0)->has_new)
            fill_vector(transform, from, to, scaling, before, after);
        return;
    }
    for (int which = 0; which < 2; which++)
        if (axis_of(transform, to, which)->has_new)
            fill_axis(transform, from, to, scaling, which, before, after);
}
