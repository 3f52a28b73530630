#include <math.h>

#include "base/fault.h"
#include "trainer/kavg.h"
#include "trainer/scratch.h"

/* Reads window `index` as row `row` of the scratch's batch. Its masks are those of its place in the corpus, whatever
 * windows are evaluated with it. */
static int window_read(struct scratch *scratch, const struct corpus *valid, const struct window_group *group, int index,
                       int row, struct error *error)
{
    const int context = group->windows->context;
    const uint64_t position = windows_position(group->windows, index);
    int status = corpus_read(valid, position, context + 1, scratch->tokens, error);
    if (status == 0) {
        objective_fill_row(&scratch->parts, row, context, scratch->tokens, group->masks, position / (uint64_t)context);
    }
    return status;
}

int evaluate_group(struct scratch *scratch, const void *weights, const struct corpus *valid,
                   const struct window_group *group, float *losses, int *done, struct error *error)
{
    const struct windows *windows = group->windows;
    const int left = group->count - group->first;
    const int rows = left < scratch->rows ? left : scratch->rows;
    if (windows->context > scratch->context) {
        return error_set(error, ERROR_INTERNAL, "Validation windows are longer than the worker's scratch.");
    }
    for (int row = 0; row < rows; row++) {
        const int index = (int)((int64_t)(group->first + row) * windows->count / group->count);
        int status = window_read(scratch, valid, group, index, row, error);
        if (status != 0) {
            return status;
        }
    }
    struct batch batch = objective_batch(&scratch->parts, rows, windows->context);
    batch.masking = group->masking;
    network_loss(scratch->network, weights, &batch, scratch->row_losses, scratch->row_counts);
    for (int row = 0; row < rows; row++) {
        losses[group->first + row] = (float)(scratch->row_losses[row] / scratch->row_counts[row]);
    }
    *done = rows;
    return 0;
}

/* The next group: first the evaluated weights on all windows, then the raw ones on their share. */
static int evaluation_advance(const struct trial *trial, struct scratch *scratch, const struct corpus *valid,
                              struct evaluation *evaluation, int *done, struct error *error)
{
    const bool raw = evaluation->next == evaluation->windows.count;
    const void *weights = raw || trial->average == NULL ? trial->learners->weights : trial->average;
    int *cursor = raw ? &evaluation->raw_next : &evaluation->next;
    const struct window_group group = {
        .windows = &evaluation->windows,
        .count = raw ? evaluation->raw_count : evaluation->windows.count,
        .first = *cursor,
        .masks = rng_stream(trial->options.training.seed, trial->options.seed_index, RNG_VALIDATION),
        .masking = growth_masks_at(&scratch->masks, trial->options.ramps, trial->step),
    };
    float *losses = raw ? evaluation->raw_losses : evaluation->losses;
    int status = evaluate_group(scratch, weights, valid, &group, losses, done, error);
    if (status == 0) {
        *cursor += *done;
        FAULT_POINT(evaluate_window);
    }
    return status;
}

int trial_evaluate(const struct trial *trial, struct scratch *scratch, const struct corpus *valid,
                   struct evaluation *evaluation, uint64_t budget_tokens, const atomic_bool *stop, bool *finished,
                   struct error *error)
{
    *finished = false;
    if (!trial_is_joined(trial)) {
        return error_set(error, ERROR_INTERNAL, "A trial was evaluated between two averages of its learners.");
    }
    if (!scratch_fits(scratch, trial)) {
        return error_set(error, ERROR_INTERNAL, "A worker's scratch was made for another shape or batch.");
    }
    uint64_t tokens = 0;
    while (evaluation->next < evaluation->windows.count || evaluation->raw_next < evaluation->raw_count) {
        if (stop != NULL && atomic_load_explicit(stop, memory_order_relaxed)) {
            return error_set(error, ERROR_CANCELLED, "The evaluation was stopped.");
        }
        if (tokens > 0 && tokens >= budget_tokens) {
            return 0;
        }
        int done = 0;
        int status = evaluation_advance(trial, scratch, valid, evaluation, &done, error);
        if (status != 0) {
            return status;
        }
        tokens += (uint64_t)done * (uint64_t)evaluation->windows.context;
    }
    *finished = true;
    return 0;
}

static int evaluate_all(const struct evaluated *evaluated, struct scratch *scratch, const void *weights, float *losses,
                        struct error *error)
{
    const struct windows *windows = evaluated->windows;
    for (int first = 0, done = 0; first < windows->count; first += done) {
        const struct window_group group = {
            .windows = windows, .count = windows->count, .first = first,
            .masks = rng_stream(evaluated->seed, evaluated->seed_index, RNG_VALIDATION),
        };
        int status = evaluate_group(scratch, weights, evaluated->valid, &group, losses, &done, error);
        if (status != 0) {
            return status;
        }
    }
    return 0;
}

int evaluate_weights(const struct evaluated *evaluated, float *losses, struct error *error)
{
    const struct kernels *kernels = evaluated->kernels;
    const struct checkpoint *checkpoint = evaluated->checkpoint;
    const struct windows *windows = evaluated->windows;
    if (kernels->element != sizeof(float)) {
        return error_set(error, ERROR_INTERNAL, "Weights are evaluated in float32.");
    }
    if (windows->count == 0) {
        return 0;
    }
    int status = objective_check(evaluated->objective, &checkpoint->table.shape, windows->context, error);
    if (status != 0) {
        return status;
    }
    const struct scratch_sizes sizes = {
        .batch = windows->count, .context = windows->context, .objective = evaluated->objective,
    };
    struct scratch *scratch;
    status = scratch_make(&scratch, kernels, &checkpoint->table.shape, &sizes, error);
    if (status != 0) {
        return status;
    }
    const size_t bytes = checkpoint->table.slab * sizeof(float);
    void *weights = kernels->alloc(bytes);
    if (weights == NULL) {
        status = error_set(error, ERROR_NO_MEMORY, "No memory for the weights to evaluate.");
    } else {
        kernels->upload(weights, checkpoint->weights, bytes);
        status = evaluate_all(evaluated, scratch, weights, losses, error);
        kernels->release(weights);
    }
    scratch_free(scratch);
    return status;
}

struct loss_summary loss_summarize(const float *losses, int count)
{
    if (count < 1) {
        return (struct loss_summary){NAN, NAN};
    }
    double sum = 0;
    for (int i = 0; i < count; i++) {
        sum += losses[i];
    }
    const double mean = sum / count;
    double squares = 0;
    for (int i = 0; i < count; i++) {
        squares += (losses[i] - mean) * (losses[i] - mean);
    }
    return (struct loss_summary){mean, count > 1 ? sqrt(squares / (count - 1) / count) : NAN};
}
