#include "trainer/trial.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "trainer/kavg.h"
#include "trainer/optimizer.h"
#include "trainer/scratch.h"

/* Slabs of a learner: weights and the optimizer's state. */
static int learner_slabs(const struct training *training)
{
    const struct optimizer *optimizer = optimizer_of(training->optimizer.name);
    return 1 + (optimizer != NULL ? optimizer->state_slabs : 0);
}

/* Slabs of a trial's state: its learners', the running average, what the outer step keeps. */
static int slab_count(const struct training *training)
{
    return kavg_replicas(training) * learner_slabs(training) + (training->average.kind != AVERAGE_NONE) +
           kavg_state_slabs(training);
}

static size_t slabs_bytes(const struct shape *shape, int count)
{
    size_t bytes;
    return memory_multiply(slab_floats(shape), (size_t)count * sizeof(float), &bytes) == 0 ? bytes : 0;
}

size_t trial_slab_bytes(const struct shape *shape, const struct training *training)
{
    return slabs_bytes(shape, slab_count(training));
}

size_t trial_bytes(const struct shape *shape, const struct training *training)
{
    return slabs_bytes(shape, slab_count(training) + kavg_work_slabs(training));
}

static int trial_check(const struct shape *shape, const struct trial_options *options, struct error *error)
{
    if (options->kernels->element != sizeof(float)) {
        return error_set(error, ERROR_INVALID, "A trial trains in float32; these kernels do not.");
    }
    int status = training_check(&options->training, shape, error);
    return status != 0 ? status : objective_check(&options->training.objective, shape, options->training.context, error);
}

/* Where each part lies in the slab. */
static void trial_place(struct trial *trial)
{
    const size_t bytes = trial->table.slab * sizeof(float);
    const int slabs = learner_slabs(&trial->options.training);
    char *slab = trial->slab;
    for (int i = 0; i < trial->learner_count; i++) {
        struct learner *learner = &trial->learners[i];
        learner->weights = slab;
        for (int j = 1; j < slabs; j++) {
            learner->state[j - 1] = slab + (size_t)j * bytes;
        }
        learner->tensor_steps = trial->tensor_steps + (size_t)i * (size_t)trial->table.count;
        slab += (size_t)slabs * bytes;
    }
    trial->average = trial->options.training.average.kind == AVERAGE_NONE ? NULL : slab;
}

static int trial_laws(struct trial *trial, struct error *error)
{
    const struct training *training = &trial->options.training;
    const struct law_options options = {training->parametrization, training->optimizer.name, trial->options.base,
                                        trial->options.hidden_rate_scale};
    trial->laws = memory_array((size_t)trial->table.count, sizeof *trial->laws);
    if (trial->laws == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for the laws of a trial's tensors.");
    }
    return laws_fill(&trial->table, &options, trial->laws, error);
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
    status = trial_laws(trial, error);
    if (status != 0) {
        trial_fini(trial);
        return status;
    }
    trial->learner_count = kavg_replicas(&options->training);
    trial->learners = memory_array((size_t)trial->learner_count, sizeof *trial->learners);
    trial->tensor_steps = memory_array((size_t)trial->learner_count * (size_t)trial->table.count,
                                       sizeof *trial->tensor_steps);
    trial->slab = options->kernels->alloc(trial_slab_bytes(shape, &options->training));
    if (trial->learners == NULL || trial->tensor_steps == NULL || trial->slab == NULL) {
        trial_fini(trial);
        return error_set(error, ERROR_NO_MEMORY, "No memory for a trial's weights and optimizer state (%zu bytes).",
                         trial_bytes(shape, &options->training));
    }
    trial_place(trial);
    status = kavg_new(trial, error);
    if (status != 0) {
        trial_fini(trial);
    }
    return status;
}

/* The optimizer's state out of a checkpoint's, where that is of the same optimizer; else it starts anew. The weights are there.
 * A schedule-free average goes on only with its run (methods 2.7: after growing it would lag behind). */
static void trial_take_state(struct trial *trial, const struct moments *moments)
{
    const struct kernels *kernels = trial->options.kernels;
    const struct optimizer *optimizer = optimizer_of(trial->options.training.optimizer.name);
    struct learner *learner = trial->learners;
    const size_t bytes = trial->table.slab * sizeof(float);
    if (moments == NULL || optimizer_state_warning(trial->options.training.optimizer.name, moments) != NULL) {
        if (optimizer->schedule_free) {
            kernels->ops->blend(1, learner->weights, 0, learner->state[0], trial->table.slab);
        }
        return;
    }
    for (int i = 0; i < optimizer->state_slabs; i++) {
        kernels->upload(learner->state[i], moments->parts[optimizer->parts[i]], bytes);
    }
    memcpy(learner->tensor_steps, moments->steps, (size_t)trial->table.count * sizeof *trial->tensor_steps);
    if (trial->options.from_raw) {
        learner->averaging = moments->averaging;
    }
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
    kernels->upload(trial->learners->weights, start, bytes);
    if (trial->average != NULL) {
        kernels->upload(trial->average, start, bytes);
    }
    trial_take_state(trial, moments);
    if (options->from_raw) {
        trial->step = checkpoint->provenance.step;
        trial->average_start = trial->step;
        trial->first_data_step = checkpoint->provenance.data_cursor - trial->step;
    }
    kavg_start(trial);
    return 0;
}

void trial_fini(struct trial *trial)
{
    if (trial->slab != NULL) {
        trial->options.kernels->release(trial->slab);
    }
    memory_free(trial->tensor_steps);
    kavg_free(trial);
    memory_free(trial->learners);
    memory_free(trial->laws);
    tensor_table_fini(&trial->table);
    memset(trial, 0, sizeof *trial);
}

int trial_export(const struct trial *trial, struct checkpoint *checkpoint, struct error *error)
{
    if (!shape_equal(&trial->table.shape, &checkpoint->table.shape)) {
        return error_set(error, ERROR_INTERNAL, "A trial was exported into a checkpoint of another shape.");
    }
    if (!trial_is_joined(trial)) {
        return error_set(error, ERROR_INTERNAL, "A trial was exported between two averages of its learners.");
    }
    const struct optimizer *optimizer = optimizer_of(trial->options.training.optimizer.name);
    int status = checkpoint_set_moments(checkpoint, optimizer_parts(optimizer), error);
    if (status != 0) {
        return status;
    }
    const struct kernels *kernels = trial->options.kernels;
    const struct learner *learner = trial->learners;
    const size_t bytes = trial->table.slab * sizeof(float);
    kernels->download(checkpoint->weights, trial->average != NULL ? trial->average : learner->weights, bytes);
    kernels->download(checkpoint->moments->raw, learner->weights, bytes);
    for (int i = 0; i < optimizer->state_slabs; i++) {
        kernels->download(checkpoint->moments->parts[optimizer->parts[i]], learner->state[i], bytes);
    }
    checkpoint->moments->averaging = learner->averaging;
    memcpy(checkpoint->moments->steps, learner->tensor_steps, (size_t)trial->table.count * sizeof *trial->tensor_steps);
    checkpoint->provenance.step = trial->step;
    checkpoint->provenance.data_cursor = trial->first_data_step + trial->step;
    checkpoint->provenance.seed = trial->options.training.seed;
    checkpoint_rehash(checkpoint);
    return 0;
}
