#include <math.h>

#include "trainer/optimizer.h"
#include "trainer/scratch.h"

static bool is_stopped(const atomic_bool *stop)
{
    return stop != NULL && atomic_load_explicit(stop, memory_order_relaxed);
}

/* Rows [first, first + rows) of a batch. */
static int rows_fill(const struct batch_place *place, struct scratch *scratch, const struct corpus *train, int first,
                     int rows, struct error *error)
{
    const struct training *training = place->training;
    const struct sampling sampling = {place->sampler, training->seed, place->seed_index, training->batch,
                                      training->context};
    const struct rng masks = rng_stream(training->seed, place->seed_index, RNG_MASK);
    const uint64_t data_step = place->data_step;
    for (int row = 0; row < rows; row++) {
        int status = sample_row(&sampling, train, data_step, first + row, scratch->tokens, error);
        if (status != 0) {
            return status;
        }
        objective_fill_row(&scratch->parts, row, training->context, scratch->tokens, masks,
                           sample_number(&sampling, data_step, first + row));
    }
    return 0;
}

int gradient_of_batch(const struct batch_place *place, const void *weights, struct scratch *scratch,
                      const struct corpus *train, const atomic_bool *stop, struct gradient_sum *result,
                      struct error *error)
{
    const struct training *training = place->training;
    const double targets = (double)training->batch * scratch->parts.sizes.targets, scale = 1.0 / targets;
    uint64_t predicted = 0;
    double sum = 0;
    for (int row = 0; row < training->batch; row += scratch->rows) {
        if (is_stopped(stop)) {
            return error_set(error, ERROR_CANCELLED, "The training step was stopped.");
        }
        const int left = training->batch - row;
        const int rows = left < scratch->rows ? left : scratch->rows;
        int status = rows_fill(place, scratch, train, row, rows, error);
        if (status != 0) {
            return status;
        }
        struct batch batch = objective_batch(&scratch->parts, rows, training->context);
        batch.masking = place->masking;
        sum += (row == 0 ? network_gradient_first : network_gradient)(scratch->network, weights, &batch, scale,
                                                                      scratch->gradients);
        predicted += batch_predicted(&batch);
    }
    result->scale = targets / (double)predicted;
    result->loss = sum * scale * result->scale;
    return 0;
}

/* Global norm: squares summed in double, tensor by tensor in the table's order. */
static double gradient_norm(const struct trial *trial, const struct scratch *scratch)
{
    const struct kernels *kernels = scratch->kernels;
    double sum = 0;
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        const char *gradient = (const char *)scratch->gradients + tensor->offset * kernels->element;
        sum += kernels->sum_squares(gradient, tensor->count);
    }
    return sqrt(sum);
}

double clip_scale(double clip, double norm)
{
    return clip > 0 ? fmin(1, clip / (norm + 1e-6)) : 1;
}

/* The weight of the newest iterate: window c_t = min(1, 1 / (fraction t)) (methods 7.8), t counted from the average's
 * start; ema c = 1 - decay. */
static double average_weight(const struct average_spec *average, uint64_t t)
{
    return average->kind == AVERAGE_EMA ? 1 - average->decay : fmin(1, 1 / (average->fraction * (double)t));
}

static void average_update(struct trial *trial)
{
    if (trial->average != NULL) {
        const double c = average_weight(&trial->options.training.average, trial->step - trial->average_start);
        trial->options.kernels->lerp(trial->average, trial->weights, c, trial->table.slab);
    }
}

int trial_step(struct trial *trial, struct scratch *scratch, const struct corpus *train, const atomic_bool *stop,
               struct error *error)
{
    const struct training *training = &trial->options.training;
    if (trial->diverged) {
        return 0;
    }
    if (!scratch_fits(scratch, trial)) {
        return error_set(error, ERROR_INTERNAL, "A worker's scratch was made for another shape or batch.");
    }
    struct gradient_sum gradient = {0};
    const struct batch_place place = {training, trial->options.sampler, trial->options.seed_index,
                                      trial->first_data_step + trial->step,
                                      growth_masks_at(&scratch->masks, trial->options.ramps, trial->step)};
    int status = gradient_of_batch(&place, trial->weights, scratch, train, stop, &gradient, error);
    if (status != 0) {
        return status;
    }
    const double norm = gradient.scale * gradient_norm(trial, scratch);
    trial->last_loss = gradient.loss;
    trial->last_gradient_norm = norm;
    if (!isfinite(gradient.loss) || !isfinite(norm)) {
        trial->diverged = true;
        trial->diverged_step = trial->step;
        return 0;
    }
    optimizer_of(training->optimizer.name)->update(trial, scratch->gradients,
                                                   gradient.scale * clip_scale(training->clip, norm),
                                                   schedule_rate(training, trial->step));
    trial->step++;
    average_update(trial);
    return 0;
}
