#include "trainer/kavg.h"

#include <math.h>

#include "base/fault.h"
#include "base/memory.h"
#include "model/kernels_ops.h"
#include "trainer/optimizer.h"
#include "trainer/step.h"

int kavg_replicas(const struct training *training)
{
    return training->learners.count > 1 && training->learners.mode == LEARNERS_WEIGHTS ? training->learners.count : 1;
}

int kavg_state_slabs(const struct training *training)
{
    return training->learners.count > 1 && training->learners.outer.name != OUTER_NONE ? 2 : 0;
}

int kavg_work_slabs(const struct training *training)
{
    return training->learners.count > 1 && training->learners.mode == LEARNERS_GRADIENTS ? training->learners.count : 0;
}

int kavg_new(struct trial *trial, struct error *error)
{
    const struct training *training = &trial->options.training;
    const size_t slab = trial->table.slab * sizeof(float), work = (size_t)kavg_work_slabs(training);
    if (training->learners.count <= 1) {
        return 0;
    }
    struct kavg *kavg = memory_new(sizeof *kavg);
    trial->kavg = kavg;
    if (kavg != NULL && work > 0) {
        kavg->gradients = trial->options.kernels->alloc(work * slab);
    }
    if (kavg == NULL || (work > 0 && kavg->gradients == NULL)) {
        return error_set(error, ERROR_NO_MEMORY, "No memory for the learners of a trial.");
    }
    kavg->count = training->learners.count;
    if (kavg_state_slabs(training) > 0) {
        char *behind = (char *)trial->slab + trial_slab_bytes(&trial->table.shape, training) - 2 * slab;
        kavg->anchor = behind;
        kavg->velocity = behind + slab;
    }
    return 0;
}

void kavg_free(struct trial *trial)
{
    if (trial->kavg != NULL && trial->kavg->gradients != NULL) {
        trial->options.kernels->release(trial->kavg->gradients);
    }
    memory_free(trial->kavg);
    trial->kavg = NULL;
}

/* ---- slabs, element by element ---- */

/* A piece of all slabs that fits a core's cache beside the others; sums are of single elements, so its size changes no
 * bit. */
enum { PIECE = 1 << 14 };

static void *at(void *slab, size_t element)
{
    return (float *)slab + element;
}

static void copy(const struct kernels *kernels, void *to, const void *from, size_t n)
{
    kernels->ops->blend(1, from, 0, to, n);
}

/* Adds `count` pieces into the first: neighbours, then pairs of these, and so on. */
static void add_tree(const struct kernels *kernels, void *const *pieces, int count, size_t n)
{
    for (int apart = 1; apart < count; apart *= 2) {
        for (int i = 0; i + apart < count; i += 2 * apart) {
            kernels->ops->blend(1, pieces[i + apart], 1, pieces[i], n);
        }
    }
}

/* v = momentum v + d, w0 -= rate (d + momentum v), d = w0 - average; the average gives its place to d. */
static void outer_step(const struct trial *trial, void *average, void *anchor, void *velocity, size_t n)
{
    const struct kernel_ops *ops = trial->options.kernels->ops;
    const struct outer_spec *outer = &trial->options.training.learners.outer;
    ops->blend(1, anchor, -1, average, n);
    ops->blend(1, average, outer->momentum, velocity, n);
    ops->blend(-outer->learning_rate, average, 1, anchor, n);
    ops->blend(-outer->learning_rate * outer->momentum, velocity, 1, anchor, n);
}

/* Averages one slab of every learner; the weights also take the outer step. */
static void average_slabs(struct trial *trial, void *const *slabs, bool weights)
{
    const struct kernels *kernels = trial->options.kernels;
    const struct kavg *kavg = trial->kavg;
    const bool outer = weights && kavg->anchor != NULL;
    const size_t total = trial->table.slab;
    for (size_t begin = 0; begin < total; begin += PIECE) {
        const size_t n = total - begin < PIECE ? total - begin : PIECE;
        void *pieces[LEARNERS_MAX];
        for (int i = 0; i < kavg->count; i++) {
            pieces[i] = at(slabs[i], begin);
        }
        add_tree(kernels, pieces, kavg->count, n);
        kernels->ops->blend(1.0 / kavg->count, pieces[0], 0, pieces[0], n);
        if (outer) {
            outer_step(trial, pieces[0], at(kavg->anchor, begin), at(kavg->velocity, begin), n);
        }
        for (int i = outer ? 0 : 1; i < kavg->count; i++) {
            copy(kernels, pieces[i], outer ? at(kavg->anchor, begin) : pieces[0], n);
        }
    }
}

static void average_learners(struct trial *trial)
{
    const struct training *training = &trial->options.training;
    const struct optimizer *optimizer = optimizer_of(training->optimizer.name);
    void *slabs[LEARNERS_MAX];
    for (int i = 0; i < trial->learner_count; i++) {
        slabs[i] = trial->learners[i].weights;
    }
    average_slabs(trial, slabs, true);
    for (int j = 0; j < optimizer->state_slabs; j++) {
        if (!training->learners.averaged_moments && optimizer->parts[j] != MOMENT_Z) {
            continue;
        }
        for (int i = 0; i < trial->learner_count; i++) {
            slabs[i] = trial->learners[i].state[j];
        }
        average_slabs(trial, slabs, false);
    }
}

void kavg_start(struct trial *trial)
{
    const struct kernels *kernels = trial->options.kernels;
    const int slabs = optimizer_of(trial->options.training.optimizer.name)->state_slabs;
    const struct learner *first = trial->learners;
    if (trial->kavg == NULL) {
        return;
    }
    for (int i = 1; i < trial->learner_count; i++) {
        struct learner *learner = &trial->learners[i];
        copy(kernels, learner->weights, first->weights, trial->table.slab);
        for (int j = 0; j < slabs; j++) {
            copy(kernels, learner->state[j], first->state[j], trial->table.slab);
        }
        for (int j = 0; j < trial->table.count; j++) {
            learner->tensor_steps[j] = first->tensor_steps[j];
        }
        learner->averaging = first->averaging;
    }
    if (trial->kavg->anchor != NULL) {
        copy(kernels, trial->kavg->anchor, first->weights, trial->table.slab);
    }
}

/* ---- rounds ---- */

bool trial_is_joined(const struct trial *trial)
{
    return trial->kavg == NULL || !trial->kavg->open;
}

void kavg_open(struct trial *trial, uint64_t until)
{
    const struct training *training = &trial->options.training;
    struct kavg *kavg = trial->kavg;
    if (kavg->open || trial->diverged || trial->step >= until) {
        return;
    }
    kavg->open = true;
    kavg->end = learners_round_end(training, trial->step, until);
    for (int i = 0; i < kavg->count; i++) {
        kavg->parts[i] = (struct kavg_part){.steps = learners_local_steps(training, i, kavg->end - trial->step)};
    }
}

bool kavg_has_work(const struct trial *trial, int learner)
{
    const struct kavg *kavg = trial->kavg;
    return kavg->open && !kavg->parts[learner].diverged && kavg->parts[learner].done < kavg->parts[learner].steps;
}

bool kavg_is_ready(const struct trial *trial)
{
    if (trial_is_joined(trial)) {
        return false;
    }
    for (int i = 0; i < trial->kavg->count; i++) {
        if (kavg_has_work(trial, i)) {
            return false;
        }
    }
    return true;
}

/* One step of a learner; gradients: only its gradient, into its slab. */
static int local_step(struct trial *trial, const struct kavg_work *work, struct kavg_part *part, struct error *error)
{
    const bool together = trial->kavg->gradients != NULL;
    const uint64_t step = trial->step + part->done;
    struct learner *learner = &trial->learners[together ? 0 : work->learner];
    struct step_place place = {trial, step, step_share(trial, work->learner, step), work->scratch, work->train, work->stop};
    struct gradient_sum sum = {0};
    if (together) {
        place.share.gradients = at(trial->kavg->gradients, (size_t)work->learner * trial->table.slab);
    }
    int status = step_gradient(&place, learner, &sum, error);
    if (status != 0) {
        return status;
    }
    part->loss = sum.loss;
    part->predicted = sum.predicted;
    if (!together && !step_update(&place, learner, work->scratch->gradients, &sum, &part->norm)) {
        part->diverged = true;
        part->diverged_step = step;
        return 0;
    }
    part->done++;
    return 0;
}

int kavg_run(struct trial *trial, const struct kavg_work *work, uint64_t *done, struct error *error)
{
    struct kavg_part *part = &trial->kavg->parts[work->learner];
    const uint64_t before = part->done;
    int status = 0;
    while (status == 0 && part->done - before < work->limit && kavg_has_work(trial, work->learner)) {
        status = local_step(trial, work, part, error);
    }
    *done = part->done - before;
    return status;
}

/* One update from the gradients of all: the mean over the tokens that all predicted. */
static void join_gradients(struct trial *trial, struct scratch *scratch)
{
    const struct kernels *kernels = trial->options.kernels;
    struct kavg *kavg = trial->kavg;
    struct step_place place = {.trial = trial, .step = trial->step, .scratch = scratch};
    struct gradient_sum sum = {0};
    void *slabs[LEARNERS_MAX];
    double losses = 0;
    for (int i = 0; i < kavg->count; i++) {
        slabs[i] = at(kavg->gradients, (size_t)i * trial->table.slab);
        sum.predicted += kavg->parts[i].predicted;
        losses += kavg->parts[i].loss * (double)kavg->parts[i].predicted;
    }
    add_tree(kernels, slabs, kavg->count, trial->table.slab);
    sum.loss = losses / (double)sum.predicted;
    const double targets = (double)step_share(trial, 0, trial->step).total * scratch->parts.sizes.targets;
    sum.scale = targets / (double)sum.predicted;
    const bool finite = step_update(&place, trial->learners, slabs[0], &sum, &trial->last_gradient_norm);
    trial->last_loss = sum.loss;
    if (!finite) {
        trial->diverged = true;
        trial->diverged_step = trial->step;
    }
}

/* The first step at which a learner diverged is the trial's. */
static void join_weights(struct trial *trial)
{
    const struct kavg *kavg = trial->kavg;
    double loss = 0, norm = 0;
    for (int i = 0; i < kavg->count; i++) {
        const struct kavg_part *part = &kavg->parts[i];
        loss += part->loss;
        norm += part->norm;
        if (part->diverged && (!trial->diverged || part->diverged_step < trial->diverged_step)) {
            trial->diverged = true;
            trial->diverged_step = part->diverged_step;
        }
    }
    trial->last_loss = loss / kavg->count;
    trial->last_gradient_norm = norm / kavg->count;
    if (!trial->diverged) {
        average_learners(trial);
    }
}

void kavg_join(struct trial *trial, struct scratch *scratch)
{
    struct kavg *kavg = trial->kavg;
    const uint64_t steps = kavg->end - trial->step;
    if (kavg->gradients != NULL) {
        join_gradients(trial, scratch);
    } else {
        join_weights(trial);
    }
    kavg->open = false;
    if (!trial->diverged) {
        trial->step = kavg->end;
        step_average(trial, steps);
    }
    FAULT_POINT(learners_joined);
}

int kavg_round(struct trial *trial, uint64_t until, struct scratch *scratch, const struct corpus *train,
               const atomic_bool *stop, struct error *error)
{
    kavg_open(trial, until);
    if (!trial->kavg->open) {
        return 0;
    }
    for (int i = 0; i < trial->kavg->count; i++) {
        const struct kavg_work work = {i, UINT64_MAX, scratch, train, stop};
        uint64_t done;
        int status = kavg_run(trial, &work, &done, error);
        if (status != 0) {
            return status;
        }
    }
    kavg_join(trial, scratch);
    return 0;
}
