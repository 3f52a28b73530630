/* What an operator draws: fresh tensors, the blend, the clone's cancelling noise. Every draw belongs to one element of a
 * tensor, whichever rows are asked for. Recipes: methods 6.5, 6.10, appendix B. */
#include "growth/transform.h"

#include <math.h>

#include "base/wide.h"

enum { PIECE = 2048 };     /* deviates at a time */

static const double INITIAL_DEVIATION = 0.02;     /* GPT-2 */

static double standard_deviation(const struct shape *shape, const struct tensor_row *row)
{
    if (shape->family == FAMILY_T5 || shape->family == FAMILY_BERT)     /* post-norm: no sum of branches that grows with depth */
        return tensor_initial_deviation(shape, row);
    return growth_role_is_output(row->role) ? INITIAL_DEVIATION / sqrt(2.0 * shape->layers) : INITIAL_DEVIATION;
}

double growth_fresh_deviation(const struct growth_transform *transform, const struct tensor *to)
{
    const struct shape *shape = &transform->stage->to;
    if (transform->parametrization == PARAMETRIZATION_STANDARD)
        return standard_deviation(shape, to->row);
    const struct shape reference = parametrization_reference(transform->parametrization, transform->base, shape);
    const struct tensor_ratios ratios = tensor_ratios_of(transform->base, shape, to->row);
    return parametrization_deviation(transform->parametrization, &ratios) * standard_deviation(&reference, to->row);
}

size_t growth_values_count(const struct tensor *to, struct growth_values values)
{
    return values.rows > 0 ? (size_t)values.rows * (size_t)to->dims[1] : to->count;
}

static size_t first_element(const struct tensor *to, struct growth_values values)
{
    return (size_t)values.first_row * (size_t)to->dims[1];
}

void growth_tensor_draw(const struct growth_transform *transform, const struct tensor *to, struct growth_values rows,
                        float *after)
{
    size_t count = growth_values_count(to, rows);
    if (to->row->rank == 1) {
        float value = role_is_gain(to->row->role) ? 1.0f : 0.0f;
        for (size_t i = 0; i < count; i++)
            after[i] = value;
        return;
    }
    double deviation = growth_fresh_deviation(transform, to);
    deviates_fill(transform->deviates, growth_transform_stream(transform, "fresh", to->name), first_element(to, rows),
                  after, count);
    for (size_t i = 0; i < count; i++)
        after[i] = (float)(deviation * (double)after[i]);
}

void growth_tensor_blend(const struct growth_transform *transform, const struct tensor *to, struct growth_values rows,
                         float *after)
{
    if (to->row->rank == 1)
        return;
    const struct shape *shape = &transform->stage->to;
    double width = shape->width, layers = shape->layers, blend = transform->stage->blend;
    double deviation = growth_role_is_output(to->row->role) ? 1 / (layers * sqrt(width)) : sqrt(2 / (5 * width));
    struct rng stream = growth_transform_stream(transform, "blend", to->name);
    size_t count = growth_values_count(to, rows), first = first_element(to, rows);
    float noise[PIECE];
    for (size_t done = 0; done < count; done += PIECE) {
        size_t now = count - done < PIECE ? count - done : PIECE;
        deviates_fill(transform->deviates, stream, first + done, noise, now);
        for (size_t i = 0; i < now; i++)
            after[done + i] = (float)((1 - blend) * (double)after[done + i] + blend * deviation * (double)noise[i]);
    }
}

/* ---- the clone's noise ---- */

/* A cloned matrix as lines of old cells, contiguous in the file: one line per new row where the inputs are columns, per
 * old row where they are rows. A cell's copies along the input axis lie `step` apart. */
struct clone_lines {
    bool inputs_are_rows;
    int cells, copies;
    size_t step;
    const struct axis_map *output;
    enum axis output_axis;
};

static struct clone_lines clone_lines_of(const struct growth_transform *transform, const struct tensor *from,
                                         const struct tensor *to)
{
    bool rows = to->row->input_axis == 0;
    return (struct clone_lines){
        .inputs_are_rows = rows, .cells = rows ? to->dims[1] : from->dims[1], .copies = transform->stage->copies,
        .step = rows ? (size_t)from->dims[0] * (size_t)to->dims[1] : (size_t)from->dims[1],
        .output = &transform->axes[to->row->axes[rows ? 1 : 0]], .output_axis = to->row->axes[rows ? 1 : 0],
    };
}

/* A fused qkv is three matrices side by side, each with a power of its own. */
static int part_of(const struct growth_transform *transform, const struct clone_lines *lines, int old_output)
{
    const struct shape *from = &transform->stage->from;
    if (lines->output_axis != AXIS_QKV)
        return 0;
    int heads = from->heads * from->head_size, kv = from->kv_heads * from->head_size;
    return old_output < heads ? 0 : old_output < heads + kv ? 1 : 2;
}

/* Sum of squares in eight fixed lanes: fast, and the same on every kind of processor. */
static double sum_of_squares(const float *values, int count)
{
    double lanes[8] = {0}, sum = 0;
    int j = 0;
    for (; j + 8 <= count; j += 8)
        for (int lane = 0; lane < 8; lane++)
            lanes[lane] += (double)values[j + lane] * (double)values[j + lane];
    for (; j < count; j++)
        sum += (double)values[j] * (double)values[j];
    for (int lane = 0; lane < 8; lane++)
        sum += lanes[lane];
    return sum;
}

/* Standard deviation of the noise in each part: mean(W_block^2) / 10^(dB / 10), W_block = W / n or, diagonal, W; the
 * factor n / (n - 1) makes up for the mean that is taken off, so that the noise kept has that power. */
static void noise_deviations(const struct growth_transform *transform, const struct clone_lines *lines,
                             const struct tensor *from, const float *before, double deviations[3])
{
    double squares[3] = {0}, counts[3] = {0};
    for (int i = 0; i < from->dims[0]; i++) {
        const float *row = before + (size_t)i * (size_t)from->dims[1];
        for (int begin = 0, end; begin < from->dims[1]; begin = end) {
            int part = part_of(transform, lines, lines->inputs_are_rows ? begin : i);
            end = from->dims[1];
            while (lines->inputs_are_rows && part_of(transform, lines, end - 1) != part)
                end--;
            squares[part] += sum_of_squares(row + begin, end - begin);
            counts[part] += end - begin;
        }
    }
    double n = lines->copies, ratio = pow(10, transform->stage->noise_db / 10);
    double block = transform->stage->diagonal ? 1 : 1 / n;
    for (int part = 0; part < 3; part++)
        deviations[part] = counts[part] > 0 ? block * sqrt(squares[part] / counts[part] / ratio * n / (n - 1)) : 0;
}

/* A piece of a line: cells that come from consecutive old ones, of one part. */
struct clone_piece {
    int line, begin, count;
    const float *old;      /* the old weights */
    float *first;          /* the first copies */
    double deviation;
};

/* One copy's cells of a piece, and what the copies above it leave: the sums of growth_tensor_clone_noise. */
struct copy_noise {
    const float *noise, *old;
    double scale, deviation, j;
    double *above, *rest;
    float *cell, *first;      /* the copy's cells; the first copy's, written after the last of the others */
    int count;
    bool begins, ends;        /* the highest copy, the lowest but one */
};

WIDE_LOOP add_noise_cells(const struct copy_noise *copy, bool begins, bool ends)
{
    const float *noise = copy->noise, *old = copy->old;
    double scale = copy->scale, deviation = copy->deviation, j = copy->j, *aboves = copy->above, *rests = copy->rest;
    float *cell = copy->cell, *first = copy->first;
#pragma omp simd
    for (int k = 0; k < copy->count; k++) {
        double above = begins ? 0 : aboves[k], rest = begins ? (double)old[k] : rests[k];
        double part = (double)noise[k] * scale;
        float value = (float)((double)cell[k] + deviation * (above - j * part));
        cell[k] = value;
        if (ends) {
            first[k] = (float)(rest - (double)value);
        } else {
            rests[k] = rest - (double)value;
            aboves[k] = above + part;
        }
    }
}

WIDE_LOOP add_noise_loop(const struct copy_noise *copy)
{
    if (copy->begins && copy->ends)
        add_noise_cells(copy, true, true);
    else if (copy->begins)
        add_noise_cells(copy, true, false);
    else if (copy->ends)
        add_noise_cells(copy, false, true);
    else
        add_noise_cells(copy, false, false);
}

WIDE_FORMS(add_noise, (const struct copy_noise *copy), (copy))

static void piece_noise(const struct growth_transform *transform, const struct clone_lines *lines, struct rng stream,
                        const struct clone_piece *piece)
{
    double above[PIECE], rest[PIECE];
    float noise[PIECE];
    for (int j = lines->copies - 1; j > 0; j--) {
        size_t plane = (size_t)piece->line * (size_t)(lines->copies - 1) + (size_t)(j - 1);
        const struct copy_noise copy = {
            .noise = noise, .old = piece->old, .scale = 1 / sqrt(j * (j + 1.0)), .deviation = piece->deviation, .j = j,
            .above = above, .rest = rest, .cell = piece->first + (size_t)j * lines->step, .first = piece->first,
            .count = piece->count, .begins = j == lines->copies - 1, .ends = j == 1,
        };
        deviates_fill(transform->deviates, stream, plane * (size_t)lines->cells + (size_t)piece->begin, noise,
                      (size_t)piece->count);
        add_noise(&copy);
    }
}

/* How many cells from `begin` on make a piece. */
static int piece_count(const struct growth_transform *transform, const struct clone_lines *lines, int begin)
{
    const int32_t *source = lines->output->source;
    int most = lines->cells - begin < PIECE ? lines->cells - begin : PIECE, count = 1;
    if (!lines->inputs_are_rows)
        return most;
    int part = part_of(transform, lines, source[begin]);
    while (count < most && source[begin + count] == source[begin] + count &&
           part_of(transform, lines, source[begin + count]) == part)
        count++;
    return count;
}

/* n deviates of mean exactly 0 need n - 1 normal draws z (Helmert's basis): with c_j = 1 / sqrt(j (j + 1)), deviate
 * j (from 0) is sum over i > j of c_i z_i, minus j c_j z_j; each has variance (n - 1) / n, what subtracting the mean
 * of n draws gives. The copies' weights in one row are made to sum to the old weight up to one rounding: the first
 * takes up the rest. */
void growth_tensor_clone_noise(const struct growth_transform *transform, const struct tensor *from,
                               const struct tensor *to, struct growth_values before, float *after)
{
    struct clone_lines lines = clone_lines_of(transform, from, to);
    struct clone_power own = {0}, *power = before.power != NULL ? before.power : &own;
    struct rng stream = growth_transform_stream(transform, "clone", to->name);
    if (!power->known)
        noise_deviations(transform, &lines, from, before.own, power->deviations);
    power->known = true;
    int rows = before.rows > 0 ? before.rows : to->dims[0], count = lines.inputs_are_rows ? from->dims[0] : rows;
    for (int i = 0; i < count; i++) {
        int line = before.first_row + i;
        int old_row = lines.inputs_are_rows ? line : lines.output->source[line];
        for (int begin = 0, now; begin < lines.cells; begin += now) {
            int old_output = lines.inputs_are_rows ? lines.output->source[begin] : old_row;
            now = piece_count(transform, &lines, begin);
            struct clone_piece piece = {
                .line = line, .begin = begin, .count = now,
                .old = before.own + (size_t)old_row * (size_t)from->dims[1] + (lines.inputs_are_rows ? old_output : begin),
                .first = after + (size_t)i * (size_t)to->dims[1] + begin,
                .deviation = power->deviations[part_of(transform, &lines, old_output)],
            };
            piece_noise(transform, &lines, stream, &piece);
        }
    }
}

bool growth_tensor_takes_rows(const struct growth_transform *transform, const struct tensor *from,
                              const struct tensor *to)
{
    bool noisy = transform->stage->noisy && role_is_hidden(to->row->role) && to->row->input_axis == 0;
    return to->row->rank == 2 && (from == NULL || (!transform->axes[to->row->axes[0]].has_new && !noisy));
}
