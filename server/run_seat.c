/* Seats: lending a trial to a worker for a slice, taking it back, bringing it back from disk, letting it go. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "server/run_stages.h"
#include "server/metrics.h"
#include "server/service_state.h"

static const double slice_seconds = 0.05;
static const double flops_guess = 2e10;           /* per second and core: only sets how long a slice lasts */
enum { SAVE_EVERY_SECONDS = 30 };

int seat_buffers(struct seat *seat, struct error *error)
{
    const struct run *run = seat->run;
    struct evaluation *evaluation = &seat->evaluation;
    int count = run->windows.count;

    *evaluation = (struct evaluation){ .windows = run->windows };
    if (run->spec.training.average.kind != AVERAGE_NONE)
        evaluation->raw_count = (int)ceil(run->spec.selection.raw_share * count);
    evaluation->losses = memory_array((size_t)count, sizeof(float));
    evaluation->raw_losses = memory_array((size_t)evaluation->raw_count, sizeof(float));
    if (evaluation->losses && evaluation->raw_losses)
        return 0;
    memory_free(evaluation->losses);
    memory_free(evaluation->raw_losses);
    evaluation->losses = evaluation->raw_losses = NULL;
    return error_set(error, ERROR_NO_MEMORY, "a candidate's evaluation: out of memory");
}

/* Forgets measurements under way: of `seat` on all slots but `keep`, and of another seat on `keep` (-1: none is kept). They
 * are functions of the trial: begun again they come out the same. */
static void drop_measurements(struct seat *seat, int keep)
{
    struct service *service = seat->run->service;

    for (int i = 0; i < service->options.workers; i++) {
        struct slot *slot = &service->slots[i];
        bool own = slot->measured == seat;
        if ((own && i != keep) || (!own && i == keep && !slot->busy)) {
            landscape_free(slot->landscape);
            slot->landscape = NULL;
            slot->measured = NULL;
        }
    }
}

bool seat_measured_elsewhere(const struct seat *seat, int slot)
{
    const struct service *service = seat->run->service;

    for (int i = 0; i < service->options.workers; i++)
        if (service->slots[i].measured == seat && i != slot)
            return true;
    return false;
}

void seat_release(struct seat *seat)
{
    struct service *service = seat->run->service;

    if (seat->resident) {
        drop_measurements(seat, -1);
        trial_fini(&seat->trial);
        memory_free(seat->evaluation.losses);
        memory_free(seat->evaluation.raw_losses);
        seat->evaluation = (struct evaluation){ 0 };
        service_memory_give(service, seat->bytes);
        seat->bytes = 0;
    }
    seat->resident = seat->evaluating = seat->measuring = false;
    seat->state = SEAT_EMPTY;
}

/* ---- a slice */

int slot_scratch(struct slot *slot, const struct trial *trial, struct error *error)
{
    if (slot->scratch && scratch_fits(slot->scratch, trial))
        return 0;
    scratch_free(slot->scratch);
    slot->scratch = NULL;
    return scratch_new(&slot->scratch, trial->options.kernels, &trial->table, &trial->options.training, error);
}

static int slot_landscape(const struct seat *seat, struct slot *slot, struct error *error)
{
    if (slot->landscape)
        return 0;
    return landscape_new(&slot->landscape, &seat->trial, &seat->run->spec.landscape, error);
}

static void slice_body(struct pool_job *job)
{
    struct slice *slice = (struct slice *)job;
    struct seat *seat = job->owner;
    struct slot *slot = &seat->run->service->slots[seat->slot];

    seat->begun_ns = service_now(seat->run->service);
    error_clear(&slice->error);
    slice->landscape = NULL;
    slice->status = seat->measuring ? slot_landscape(seat, slot, &slice->error)
                                    : slot_scratch(slot, slice->trial, &slice->error);
    slice->scratch = slot->scratch;
    if (seat->measuring)
        slice->landscape = slot->landscape;
    if (!slice->status)
        slice_run(slice);
    if (seat->measuring && !slice->status && slice->evaluation_finished) {
        seat->landscape = landscape_answer(slot->landscape);
        landscape_free(slot->landscape);
        slot->landscape = NULL;
    }
}

static void seat_point(struct seat *seat)
{
    struct run *run = seat->run;
    const struct evaluation *evaluation = &seat->evaluation;
    struct loss_summary summary = loss_summarize(evaluation->losses, evaluation->windows.count);
    uint64_t step = seat->trial.step;
    uint64_t tokens = training_tokens(&run->spec.training, step);
    struct point point = {
        .step = step, .tokens = tokens,
        .flops = (double)tokens * run->study.candidates[seat->candidate].flops_per_token,
        .loss = summary.mean, .standard_error = summary.standard_error, .raw_loss = summary.mean,
        .learning_rate = schedule_rate(&run->spec.training, step), .losses = evaluation->losses,
        .landscape = seat->landscape,
    };

    if (evaluation->raw_count > 0)
        point.raw_loss = loss_summarize(evaluation->raw_losses, evaluation->raw_count).mean;
    seat->evaluating = false;
    run->service->counts.points++;
    if (study_is_barrier(&run->study, step)) {
        seat_save(seat, &point);
        return;
    }
    error_clear(&seat->error);
    if (study_point(&run->study, seat->candidate, &point, &seat->error)) {
        run_trouble(run, &seat->error);
        return;
    }
    run_record_point(seat, &point);
}

static void seat_diverged(struct seat *seat)
{
    study_diverged(&seat->run->study, seat->candidate, seat->trial.diverged_step,
                   "the training loss or gradient was not finite");
    run_record_candidate(seat->run, seat->candidate);
}

static void seat_trained(struct seat *seat, double seconds)
{
    struct run *run = seat->run;
    struct service_counts *counts = &run->service->counts;
    uint64_t done = seat->slice.steps_done;
    uint64_t before = training_tokens(&run->spec.training, seat->trial.step - done);
    double tokens = (double)(training_tokens(&run->spec.training, seat->trial.step) - before);
    double flops = tokens * run->study.candidates[seat->candidate].flops_per_token;

    counts->tokens += (uint64_t)tokens;
    counts->flops += flops;
    counts->step_flops[run->spec.training.compute] += flops;
    counts->step_seconds[run->spec.training.compute] += seconds;
    seat_moved(seat, done);
}

void seat_moved(struct seat *seat, uint64_t steps)
{
    struct run *run = seat->run;

    run->service->counts.steps += steps;
    study_trained(&run->study, seat->candidate, seat->trial.step);
    if (seat->trial.diverged)
        seat_diverged(seat);
    else if (run->intent == INTENT_GO
             && service_now(run->service) - seat->saved_ns > (int64_t)SAVE_EVERY_SECONDS * 1000000000)
        seat_save(seat, NULL);
}

/* A measurement of the landscape counts as worker time in evaluation, and is no further evaluation. */
static void observe_slice(struct seat *seat, double seconds)
{
    struct metrics *metrics = seat->run->service->options.metrics;
    bool evaluates = seat->slice.evaluation && !seat->measuring;

    if (evaluates)
        seat->evaluation_seconds += seconds;
    else if (metrics && seat->slice.steps_done > 0)
        metrics_observe(metrics, METRICS_STEP, seconds / (double)seat->slice.steps_done);
    if (metrics && evaluates && seat->slice.evaluation_finished)
        metrics_observe(metrics, METRICS_EVALUATION, seat->evaluation_seconds);
    if (metrics)
        metrics_observe(metrics, METRICS_QUEUE, (double)(seat->begun_ns - seat->lent_ns) * 1e-9);
}

/* What comes after an evaluation, or after the measurement behind it. */
static void seat_evaluated(struct seat *seat)
{
    struct run *run = seat->run;

    if (!seat->measuring && study_measures(&run->study, seat->trial.step)) {
        seat->measuring = true;
        return;
    }
    run->service->slots[seat->slot].measured = seat->measuring ? NULL : run->service->slots[seat->slot].measured;
    if (!seat->measuring)
        seat->landscape = landscape_nothing();
    seat->measuring = false;
    seat_point(seat);
}

static void slice_finished(struct pool_job *job, bool cancelled)
{
    struct slice *slice = (struct slice *)job;
    struct seat *seat = job->owner;
    struct run *run = seat->run;
    struct service *service = run->service;
    double seconds = cancelled ? 0 : (double)(service_now(service) - seat->begun_ns) * 1e-9;

    service->slots[seat->slot].busy = false;
    seat->state = SEAT_IDLE;
    if (!cancelled) {
        run->study.candidates[seat->candidate].seconds += seconds;
        observe_slice(seat, seconds);
        *(slice->evaluation ? &service->counts.evaluate_seconds : &service->counts.train_seconds) += seconds;
        if (!slice->evaluation)
            seat_trained(seat, seconds);
        if (slice->status && slice->status != ERROR_CANCELLED)
            run_trouble(run, &slice->error);
        else if (slice->evaluation && slice->evaluation_finished && !slice->status)
            seat_evaluated(seat);
    }
    service_pump_soon(service);
}

static uint64_t evaluation_budget(const struct seat *seat)
{
    const struct training *training = &seat->run->spec.training;
    double per_token =
        objective_flops_per_token(&training->objective, &seat->trial.table.shape, training->context) / 3;
    double tokens = slice_seconds * flops_guess / per_token;

    return tokens < 1 ? 1 : (uint64_t)tokens;
}

uint64_t seat_slice_steps(const struct seat *seat)
{
    return slice_steps(&seat->trial.table.shape, &seat->run->spec.training, slice_seconds, flops_guess);
}

void seat_lend(struct seat *seat, int slot, const struct work *work)
{
    struct run *run = seat->run;
    struct service *service = run->service;
    struct slice *slice = &seat->slice;
    bool evaluate = work->kind == WORK_EVALUATE;

    if (!evaluate && seat->trial.kavg) {
        seat_lend_learner(seat, slot, work->step);
        return;
    }
    if (evaluate && !seat->evaluating) {
        seat->evaluating = true;
        seat->measuring = false;
        seat->evaluation_seconds = 0;
        seat->evaluation.next = seat->evaluation.raw_next = 0;
    }
    if (seat->measuring) {
        drop_measurements(seat, slot);
        service->slots[slot].measured = seat;
    }
    slice->job = (struct pool_job){ .lane = POOL_TRAIN, .run = slice_body, .done = slice_finished, .owner = seat };
    slice->trial = &seat->trial;
    slice->train = &run->sources.train;
    slice->valid = &run->sources.valid;
    slice->until_step = work->step;
    slice->steps_limit = seat_slice_steps(seat);
    slice->evaluation = evaluate ? &seat->evaluation : NULL;
    slice->evaluation_tokens = evaluation_budget(seat);
    slice->evaluation_finished = false;
    slice->steps_done = 0;
    slice->status = 0;
    atomic_store(&slice->stop, false);
    seat->state = SEAT_LENT;
    seat->slot = slot;
    seat->lent_ns = service_now(service);
    service->slots[slot].busy = true;
    run->study.candidates[seat->candidate].state = CANDIDATE_RUNNING;
    service->pool.submit(&service->pool, &slice->job);
}

/* ---- back from disk */

static void load_trial(struct pool_job *job)
{
    struct seat *seat = job->owner;
    struct run *run = seat->run;
    struct trial_options options = run_trial_options(run, seat->candidate);
    char path[FILE_PATH_BYTES];

    error_clear(&seat->error);
    if (run_saved_trial(run, seat->candidate, path, &seat->error)
        || trial_init_empty(&seat->trial, &seat->shape, &options, &seat->error))
        return;
    if (trial_load(&seat->trial, path, &seat->error))
        trial_fini(&seat->trial);
}

static void load_refused(struct seat *seat)
{
    struct run *run = seat->run;
    struct service *service = run->service;

    service_memory_give(service, seat->bytes);
    seat->bytes = 0;
    seat->state = SEAT_EMPTY;
    if (seat->error.code == ERROR_DAMAGED || seat->error.code == ERROR_NOT_FOUND) {
        /* Trained anew it comes out the same, bit for bit; its curve is known already. */
        struct log_fields fields = { .study = run->row.id, .error = &seat->error,
                                     .candidate = run->spec.candidates[seat->candidate].name };
        log_write(LOG_WARNING, &fields, "a saved trial is of no use; the candidate is trained anew");
        seat->saved = false;
        seat->damaged = true;
        run->study.candidates[seat->candidate].step = 0;
    } else if (seat->error.code) {
        run_trouble(run, &seat->error);
    }
}

static void load_finished(struct pool_job *job, bool cancelled)
{
    struct seat *seat = job->owner;
    struct run *run = seat->run;
    struct service *service = run->service;

    service->slots[seat->slot].busy = false;
    if (!cancelled && !seat->error.code && seat_buffers(seat, &seat->error))
        trial_fini(&seat->trial);
    if (cancelled || seat->error.code) {
        load_refused(seat);
    } else {
        seat->resident = true;
        seat->state = SEAT_IDLE;
        seat->saved = true;
        seat->saved_step = seat->trial.step;
        seat->saved_ns = service_now(service);
        study_trained(&run->study, seat->candidate, seat->trial.step);
    }
    service_pump_soon(service);
}

void seat_load(struct seat *seat, int slot)
{
    struct service *service = seat->run->service;

    seat->state = SEAT_LOADING;
    seat->slot = slot;
    service->slots[slot].busy = true;
    seat->job = (struct pool_job){ .lane = POOL_TRAIN, .run = load_trial, .done = load_finished, .owner = seat };
    service->pool.submit(&service->pool, &seat->job);
}
