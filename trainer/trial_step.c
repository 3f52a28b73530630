#include <math.h>

#include "trainer/kavg.h"
#include "trainer/optimizer.h"
#include "trainer/step.h"

static bool is_stopped(const atomic_bool *stop)
{
    return stop != NULL && atomic_load_explicit(stop, memory_order_relaxed);
}

int batch_rows_fill(const struct batch_place *place, const struct batch_share *share, struct scratch *scratch,
                    const struct corpus *train, int first, int rows, struct error *error)
{
    const struct training *training = place->training;
    const struct sampling sampling = {place->sampler, training->seed, place->seed_index, training->batch,
                                      training->context};
    const struct rng masks = rng_stream(training->seed, place->seed_index, RNG_MASK);
    for (int row = 0; row < rows; row++) {
        const uint64_t number = share->number + (uint64_t)(first + row);
        int status = sample_numbered(&sampling, train, number, scratch->tokens, error);
        if (status != 0) {
            return status;
        }
        objective_fill_row(&scratch->parts, row, training->context, scratch->tokens, masks, number);
    }
    return 0;
}

int gradient_of_batch(const struct batch_place *place, const void *weights, struct scratch *scratch,
                      const struct corpus *train, const atomic_bool *stop, struct gradient_sum *result,
                      struct error *error)
{
    const struct training *training = place->training;
    const struct batch_share whole = {place->data_step * (uint64_t)training->batch, training->batch, training->batch, NULL};
    const struct batch_share *share = place->share != NULL ? place->share : &whole;
    const double targets = (double)share->total * scratch->parts.sizes.targets, scale = 1.0 / targets;
    void *gradients = share->gradients != NULL ? share->gradients : scratch->gradients;
    uint64_t predicted = 0;
    double sum = 0;
    for (int row = 0; row < share->rows; row += scratch->rows) {
        if (is_stopped(stop)) {
            return error_set(error, ERROR_CANCELLED, "The training step was stopped.");
        }
        const int left = share->rows - row;
        const int rows = left < scratch->rows ? left : scratch->rows;
        int status = batch_rows_fill(place, share, scratch, train, row, rows, error);
        if (status != 0) {
            return status;
        }
        struct batch batch = objective_batch(&scratch->parts, rows, training->context);
        batch.masking = place->masking;
        sum += (row == 0 ? network_gradient_first : network_gradient)(scratch->network, weights, &batch, scale,
                                                                      gradients);
        predicted += batch_predicted(&batch);
    }
    result->predicted = predicted;
    result->scale = targets / (double)predicted;
    result->loss = sum * scale * result->scale;
    return 0;
}

/* Global norm, of the gradients that the parametrization's own parameters have: squares summed in double, tensor by tensor
 * in the table's order. */
static double gradient_norm(const struct trial *trial, const void *gradients)
{
    const struct kernels *kernels = trial->options.kernels;
    double sum = 0;
    for (int i = 0; i < trial->table.count; i++) {
        const struct tensor *tensor = &trial->table.tensors[i];
        const char *gradient = (const char *)gradients + tensor->offset * kernels->element;
        const double factor = trial->laws[i].gradient;
        sum += factor * factor * kernels->sum_squares(gradient, tensor->count);
    }
    return sqrt(sum);
}

double clip_scale(double clip, double norm)
{
    return clip > 0 ? fmin(1, clip / (norm + 1e-6)) : 1;
}

struct batch_share step_share(const struct trial *trial, int learner, uint64_t step)
{
    const struct training *training = &trial->options.training;
    const int rows = learners_rows(training, step);
    const bool together = training->learners.mode == LEARNERS_GRADIENTS;
    return (struct batch_share){
        .number = trial->first_data_step * (uint64_t)training->batch + learners_rows_before(training, step) +
                  (uint64_t)learner * (uint64_t)rows,
        .rows = rows,
        .total = together ? rows * training->learners.count : rows,
    };
}

int step_gradient(const struct step_place *place, const struct learner *learner, struct gradient_sum *sum,
                  struct error *error)
{
    const struct trial_options *options = &place->trial->options;
    if (!scratch_fits(place->scratch, place->trial)) {
        return error_set(error, ERROR_INTERNAL, "A worker's scratch was made for another shape or batch.");
    }
    const struct batch_place batch = {&options->training, options->sampler, options->seed_index,
                                      place->trial->first_data_step + place->step,
                                      growth_masks_at(&place->scratch->masks, options->ramps, place->step),
                                      &place->share};
    return gradient_of_batch(&batch, learner_point(place->trial, learner, place->scratch), place->scratch, place->train,
                             place->stop, sum, error);
}

bool step_update(const struct step_place *place, struct learner *learner, const void *gradients,
                 const struct gradient_sum *sum, double *norm)
{
    const struct trial *trial = place->trial;
    const struct training *training = &trial->options.training;
    *norm = sum->scale * gradient_norm(trial, gradients);
    if (!isfinite(sum->loss) || !isfinite(*norm)) {
        return false;
    }
    optimizer_of(training->optimizer.name)->update(trial, learner, gradients,
                                                   sum->scale * clip_scale(training->clip, *norm),
                                                   schedule_rate(training, place->step));
    return true;
}

/* The weight of an iterate that `steps` updates have led to: window c_t = min(1, steps / (fraction t)) (methods 7.8, with
 * K-AVG min(1, 5K/t)), t counted from the average's start; ema 1 - decay^steps. */
static double average_weight(const struct average_spec *average, uint64_t steps, uint64_t t)
{
    return average->kind == AVERAGE_EMA ? 1 - pow(average->decay, (double)steps)
                                        : fmin(1, (double)steps / (average->fraction * (double)t));
}

void step_average(struct trial *trial, uint64_t steps)
{
    if (trial->average != NULL) {
        const double c = average_weight(&trial->options.training.average, steps, trial->step - trial->average_start);
        trial->options.kernels->lerp(trial->average, trial->learners->weights, c, trial->table.slab);
    }
}

int trial_step(struct trial *trial, struct scratch *scratch, const struct corpus *train, const atomic_bool *stop,
               struct error *error)
{
    if (trial->diverged) {
        return 0;
    }
    if (trial->kavg != NULL) {
        return kavg_round(trial, trial->options.training.steps, scratch, train, stop, error);
    }
    struct gradient_sum gradient = {0};
    const struct step_place place = {trial, trial->step, step_share(trial, 0, trial->step), scratch, train, stop};
    int status = step_gradient(&place, trial->learners, &gradient, error);
    if (status != 0) {
        return status;
    }
    const bool finite = step_update(&place, trial->learners, scratch->gradients, &gradient, &trial->last_gradient_norm);
    trial->last_loss = gradient.loss;
    if (!finite) {
        trial->diverged = true;
        trial->diverged_step = trial->step;
        return 0;
    }
    trial->step++;
    step_average(trial, 1);
    return 0;
}
