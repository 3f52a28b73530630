#include "trainer/trial.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "trainer/optimizer.h"
#include "trainer/scratch.h"

/* Slabs of a trial: weights, the optimizer's state, the running average. */
static int slab_count(const struct training *training)
{
    const struct optimizer *optimizer = optimizer_of(training->optimizer.name);
    return 1 + (optimizer != NULL ? optimizer->state_slabs : 0) + (training->average.kind != AVERAGE_NONE);
}

size_t trial_bytes(const struct shape *shape, const struct training *training)
{
    size_t bytes;
    if (memory_multiply(slab_floats(shape), (size_t)slab_count(training) * sizeof(float), &bytes) != 0) {
        return 0;
    }
    return bytes;
}

static int trial_check(const struct shape *shape, const struct trial_options *options, struct error *error)
{
    if (options->kernels->element != sizeof(float)) {
        return error_set(error, ERROR_INVALID, "A trial trains in float32; these kernels do not.");
    }
    if (!(options->hidden_rate_scale > 0 && isfinite(options->hidden_rate_scale))) {
        return error_set(error, ERROR_INVALID, "The scale of the hidden learning rates must be a positive number.");
    }
    int status = training_check(&options->training, shape, error);
    return status != 0 ? status : objective_check(&options->training.objective, shape, options->training.context, error);
}

/* Where each part lies in the slab. */
static void trial_place(struct trial *trial)
{
    const size_t bytes = trial->table.slab * sizeof(float);
    char *slab = trial->slab;
    trial->weights = slab;
    trial->m = slab + bytes;
    trial->v = slab + 2 * bytes;
    trial->average = trial->options.training.average.kind == AVERAGE_NONE ? NULL : slab + 3 * bytes;
}

int trial_init_empty(struct trial *trial, const struct shape *shape, const struct trial_options *options,
                     struct error *error)
{
    memset(trial, 0, sizeof *trial);
    trial->options = *options;
    trial->last_loss = NAN;
    trial->last_gradient_norm = NAN;
    int status = trial_check(shape, options, error);
    if (status != 0) {
        return status;
    }
    status = tensor_table_init(&trial->table, shape, error);
    if (status != 0) {
        return status;
    }
    trial->tensor_steps = memory_array((size_t)trial->table.count, sizeof *trial->tensor_steps);
    trial->slab = options->kernels->alloc(trial_bytes(shape, &options->training));
    if (trial->tensor_steps == NULL || trial->slab == NULL) {
        trial_fini(trial);
        return error_set(error, ERROR_NO_MEMORY, "No memory for a trial's weights and optimizer state (%zu bytes).",
                         trial_bytes(shape, &options->training));
    }
    trial_place(trial);
    return 0;
}

static void trial_take_moments(struct trial *trial, const struct moments *moments)
{
    const struct kernels *kernels = trial->options.kernels;
    const size_t bytes = trial->table.slab * sizeof(float);
    kernels->upload(trial->m, moments->m, bytes);
    kernels->upload(trial->v, moments->v, bytes);
    memcpy(trial->tensor_steps, moments->steps, (size_t)trial->table.count * sizeof *trial->tensor_steps);
}

int trial_init(struct trial *trial, const struct checkpoint *checkpoint, const struct trial_options *options,
               struct error *error)
{
    const struct moments *moments = checkpoint->moments;
    if (options->from_raw && (moments == NULL || moments->raw == NULL)) {
        memset(trial, 0, sizeof *trial);
        return error_set(error, ERROR_INVALID, "The checkpoint has no raw weights to continue from: it lacks "
                         "optimizer.safetensors. Start anew from its weights instead.");
    }
    int status = trial_init_empty(trial, &checkpoint->table.shape, options, error);
    if (status != 0) {
        return status;
    }
    const struct kernels *kernels = options->kernels;
    const float *start = options->from_raw ? moments->raw : checkpoint->weights;
    const size_t bytes = trial->table.slab * sizeof(float);
    kernels->upload(trial->weights, start, bytes);
    if (trial->average != NULL) {
        kernels->upload(trial->average, start, bytes);
    }
    if (moments != NULL) {
        trial_take_moments(trial, moments);
    }
    if (options->from_raw) {
        trial->step = checkpoint->provenance.step;
        trial->average_start = trial->step;
        trial->first_data_step = checkpoint->provenance.data_cursor - trial->step;
    }
    return 0;
}

void trial_fini(struct trial *trial)
{
    if (trial->slab != NULL) {
        trial->options.kernels->release(trial->slab);
    }
    memory_free(trial->tensor_steps);
    tensor_table_fini(&trial->table);
    memset(trial, 0, sizeof *trial);
}

int trial_export(const struct trial *trial, struct checkpoint *checkpoint, struct error *error)
{
    if (!shape_equal(&trial->table.shape, &checkpoint->table.shape)) {
        return error_set(error, ERROR_INTERNAL, "A trial was exported into a checkpoint of another shape.");
    }
    int status = checkpoint_add_moments(checkpoint, true, error);
    if (status != 0) {
        return status;
    }
    const struct kernels *kernels = trial->options.kernels;
    const size_t bytes = trial->table.slab * sizeof(float);
    kernels->download(checkpoint->weights, trial->average != NULL ? trial->average : trial->weights, bytes);
    kernels->download(checkpoint->moments->raw, trial->weights, bytes);
    kernels->download(checkpoint->moments->m, trial->m, bytes);
    kernels->download(checkpoint->moments->v, trial->v, bytes);
    memcpy(checkpoint->moments->steps, trial->tensor_steps, (size_t)trial->table.count * sizeof *trial->tensor_steps);
    checkpoint->provenance.step = trial->step;
    checkpoint->provenance.data_cursor = trial->first_data_step + trial->step;
    checkpoint->provenance.seed = trial->options.training.seed;
    checkpoint_rehash(checkpoint);
    return 0;
}
