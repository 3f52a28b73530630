/* A run's life: made from its stored row, loaded, advanced from phase to phase, stopped. */
#include "server/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "server/service_state.h"

enum { RETRY_SECONDS = 5 };

struct run *run_new(struct service *service, struct study_row *row, struct error *error)
{
    struct run *run = memory_new(sizeof *run);

    if (!run || request_new(&run->request, row->request, strlen(row->request), error)) {
        if (!run)
            error_set(error, ERROR_NO_MEMORY, "study %s: out of memory", row->id);
        memory_free(run);
        study_row_fini(row);
        return NULL;
    }
    run->service = service;
    run->row = *row;
    *row = (struct study_row){ 0 };
    run->loss_before = (double)NAN;
    return run;
}

void run_free(struct run *run)
{
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        seat_release(&run->seats[i]);
    memory_free(run->seats);
    if (run->has_outcome)
        study_outcome_fini(&run->outcome);
    if (run->has_study)
        study_fini(&run->study);
    if (run->has_spec)
        study_spec_fini(&run->spec);
    sources_close(&run->sources);
    request_free(run->request);
    study_row_fini(&run->row);
    memory_free(run->warnings);
    memory_free(run->recipe);
    memory_free(run);
}

/* ---- loading: files and facts on a worker, then the stored curves on the loop */

static int verify_sources(const struct run *run, struct error *error)
{
    if (strcmp(run->sources.parent.hash, run->row.checkpoint_hash) != 0)
        return error_set(error, ERROR_INVALID, "the checkpoint %s is not the one this study was admitted with; put the "
                         "old files back and resume, or start a new study", run->row.checkpoint);
    if (strcmp(run->sources.data_hash, run->row.data_hash) != 0)
        return error_set(error, ERROR_INVALID, "the data %s is not what this study was admitted with; put the old file "
                         "back and resume, or start a new study", run->row.train);
    return 0;
}

static int measure_loss_before(struct run *run, struct error *error)
{
    float *losses = memory_array((size_t)run->windows.count, sizeof *losses);
    struct evaluated evaluated = {
        .kernels = run->service->kernels, .checkpoint = &run->sources.parent, .valid = &run->sources.valid,
        .windows = &run->windows, .objective = &run->spec.training.objective, .seed = run->spec.training.seed,
    };

    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "measuring the checkpoint's loss: out of memory");
    if (evaluate_weights(&evaluated, losses, error) == 0)
        run->loss_before = loss_summarize(losses, run->windows.count).mean;
    memory_free(losses);
    return (int)error->code;
}

static void load_run(struct pool_job *job)
{
    struct run *run = job->owner;
    struct error *error = &run->error;

    error_clear(error);
    FAULT_POINT(recover);
    if (sources_open(&run->sources, &run->service->store, service_data_root(run->service), run->request, error)
        || verify_sources(run, error))
        return;
    if (request_resolve(run->request, &run->sources.facts, &run->spec, error))
        return;
    run->has_spec = true;
    run->windows = windows_of(&run->sources.valid, run->spec.training.context, run->spec.selection.valid_tokens);
    measure_loss_before(run, error);
}

static void reopen_candidates(struct run *run)
{
    for (int i = 0; i < run->spec.candidate_count; i++) {
        struct candidate *candidate = &run->study.candidates[i];
        bool ended = candidate->state == CANDIDATE_DIVERGED;

        if (!ended)
            candidate->state = candidate->step > 0 ? CANDIDATE_RUNNING : CANDIDATE_PENDING;
        if (!ended)
            candidate->reason[0] = '\0';
    }
}

static void forget_sources(struct run *run)
{
    sources_close(&run->sources);
    if (run->has_spec)
        study_spec_fini(&run->spec);
    run->has_spec = false;
}

/* The workers' scratch comes off the limit for trials: of the largest candidate there is. */
static void reserve_scratch(struct run *run)
{
    struct service *service = run->service;
    struct error ignored = { 0 };

    for (int i = 0; i < run->spec.candidate_count; i++) {
        struct growth_plan plan;
        if (growth_plan_init(&plan, &run->sources.parent.table.shape, &run->spec.candidates[i].operators, &ignored))
            return;
        uint64_t left = service_trial_memory(service, scratch_bytes(service->kernels, &plan.to, &run->spec.training));
        growth_plan_fini(&plan);
        if (left < service->trial_memory)
            service->trial_memory = left;
    }
}

static int open_study(struct run *run, struct error *error)
{
    if (study_init(&run->study, &run->spec, run->windows.count, error))
        return (int)error->code;
    run->has_study = true;
    run->study.vocabulary = run->sources.facts.parent.vocabulary;
    run->seats = memory_array((size_t)run->spec.candidate_count, sizeof *run->seats);
    if (!run->seats)
        return error_set(error, ERROR_NO_MEMORY, "study %s: out of memory", run->row.id);
    for (int i = 0; i < run->spec.candidate_count; i++) {
        run->seats[i].run = run;
        run->seats[i].candidate = i;
    }
    if (store_load_candidates(&run->service->store, run->row.id, &run->study, error))
        return (int)error->code;
    reopen_candidates(run);
    reserve_scratch(run);
    return 0;
}

static void close_study(struct run *run)
{
    memory_free(run->seats);
    run->seats = NULL;
    if (run->has_study)
        study_fini(&run->study);
    run->has_study = false;
    forget_sources(run);
}

static void load_done(struct pool_job *job, bool cancelled)
{
    struct run *run = job->owner;
    struct error error = run->error;

    run->job_running = false;
    if (!cancelled && !error.code)
        open_study(run, &error);
    if (error.code || cancelled) {
        close_study(run);
        if (error.code && run->intent == INTENT_GO)
            (error_http_status(error.code) == 422 ? run_fail : run_pause)(run, &error);
    } else {
        run->phase = RUN_GROWING;
        if (run->recovered)
            run->service->counts.recovered_studies++;
    }
    service_pump_soon(run->service);
}

void run_load(struct run *run)
{
    run->job = (struct pool_job){ .lane = POOL_SERVICE, .run = load_run, .done = load_done, .owner = run };
    run->job_running = true;
    run->service->pool.submit(&run->service->pool, &run->job);
}

/* ---- trouble and stopping */

bool run_is_idle(const struct run *run)
{
    if (run->job_running || run->commits_pending > 0)
        return false;
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        if (run->seats[i].state != SEAT_EMPTY && run->seats[i].state != SEAT_IDLE)
            return false;
    return true;
}

void run_pause(struct run *run, const struct error *error)
{
    struct log_fields fields = { .study = run->row.id, .error = error };

    snprintf(run->reason, sizeof run->reason, "%.500s", error->message);
    run->retry_ns = service_now(run->service) + (int64_t)RETRY_SECONDS * 1000000000;
    if (run->row.state != STUDY_QUEUED)
        log_write(LOG_WARNING, &fields, "the study waits and is tried again");
    run->row.state = STUDY_QUEUED;
}

void run_fail(struct run *run, const struct error *error)
{
    struct log_fields fields = { .study = run->row.id, .error = error };

    log_write(LOG_ERROR, &fields, "the study failed");
    snprintf(run->reason, sizeof run->reason, "%.500s", error->message);
    run_stop(run, INTENT_FAIL);
}

void run_stop(struct run *run, enum run_intent intent)
{
    run->intent = intent;
    run->retry_ns = 0;
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        if (run->seats[i].state == SEAT_LENT) {
            atomic_store(&run->seats[i].slice.stop, true);
            run->service->pool.cancel(&run->service->pool, &run->seats[i].slice.job);
        }
    service_pump_soon(run->service);
}

static void tell_waiters(struct run *run, const struct error *error)
{
    struct service_waiter *waiter = run->waiters, *next;

    run->waiters = NULL;
    for (; waiter; waiter = next) {
        next = waiter->next;
        waiter->callback(waiter->context, error, run->row.id, false);
        memory_free(waiter);
    }
}

static void stopped_done(struct journal_entry *entry, const struct error *error)
{
    struct run *run = entry->owner;

    memory_free(entry);
    run->commits_pending--;
    if (error->code) {      /* nothing is lost: the next start finds the study as it was */
        struct log_fields fields = { .study = run->row.id, .error = error };
        log_write(LOG_ERROR, &fields, "the study's state could not be written");
    }
    service_notify(run->service, run->row.id);
    tell_waiters(run, error);
    service_run_remove(run->service, run);
}

static void fill_stopped(struct run *run, struct changes *changes)
{
    bool drain = run->intent == INTENT_DRAIN;
    enum study_state_name state = run->intent == INTENT_CANCEL ? STUDY_CANCELLED : STUDY_FAILED;
    struct buffer result, event;

    for (int i = 0; run->has_study && i < run->spec.candidate_count; i++) {
        struct candidate *candidate = &run->study.candidates[i];
        if (candidate->state == CANDIDATE_RUNNING || candidate->state == CANDIDATE_PENDING)
            candidate->state = drain ? CANDIDATE_INTERRUPTED
                               : state == STUDY_CANCELLED ? CANDIDATE_CANCELLED : CANDIDATE_INTERRUPTED;
        if (candidate->grown)
            store_set_candidate(changes, run->row.id, i, candidate);
    }
    if (drain)
        return;
    run->row.state = state;
    run->row.ended_ms = service_wall(run->service);
    buffer_init(&result);
    buffer_init(&event);
    if (run->has_study) {
        struct study_view view;
        run_view(run, &view);
        response_study(&result, &view);
    }
    response_event_state(&event, state, run->reason);
    store_set_state(changes, run->row.id, state, run->reason, run->row.started_ms, run->row.ended_ms,
                    result.data ? result.data : "");
    char identity[64];
    snprintf(identity, sizeof identity, "%lld", (long long)run->row.ended_ms);
    store_add_event(changes, run->row.id, "state", identity, event.data ? event.data : "{}");
    store_add_event(changes, run->row.id, "end", identity, event.data ? event.data : "{}");
    changes->failed |= result.failed || event.failed;
    buffer_fini(&result);
    buffer_fini(&event);
}

/* Saves what is not saved; true when nothing is left to save. */
static bool save_all(struct run *run)
{
    bool all = true;

    for (int i = 0; run->seats && i < run->spec.candidate_count; i++) {
        struct seat *seat = &run->seats[i];
        bool unsaved = seat->resident && seat->trial.step > 0 && !seat->trial.diverged
                       && (!seat->saved || seat->saved_step != seat->trial.step);
        if (unsaved && seat->state == SEAT_IDLE && !run->error.code) {
            seat_save(seat, NULL);
            all = false;
        }
    }
    return all;
}

static void advance_stopping(struct run *run)
{
    if (!run_is_idle(run) || run->ending || !save_all(run))
        return;
    run->ending = true;
    struct journal_entry *entry = memory_new(sizeof *entry);
    if (!entry) {
        struct error error = { 0 };
        error_set(&error, ERROR_NO_MEMORY, "stopping study %s: out of memory", run->row.id);
        tell_waiters(run, &error);
        service_run_remove(run->service, run);
        return;
    }
    changes_init(&entry->changes);
    entry->done = stopped_done;
    entry->owner = run;
    fill_stopped(run, &entry->changes);
    run->commits_pending++;
    journal_append(&run->service->journal, entry);
}

/* ---- advancing */

static void start_over(struct run *run)
{
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        seat_release(&run->seats[i]);
    if (run->has_outcome)
        study_outcome_fini(&run->outcome);
    run->has_outcome = run->reload = false;
    close_study(run);
    run->phase = RUN_LOADING;
}

static void unpause(struct run *run)
{
    if (run->reload) {
        if (!run_is_idle(run))
            return;
        start_over(run);
    }
    run->retry_ns = 0;
    run->reason[0] = '\0';
    error_clear(&run->error);
    if (run->phase == RUN_LOADING && !run->job_running)
        run_load(run);
}

void run_advance(struct run *run)
{
    if (run->intent != INTENT_GO) {
        advance_stopping(run);
        return;
    }
    if (run->retry_ns) {
        if (service_now(run->service) < run->retry_ns)
            return;
        unpause(run);
    }
    if (run->phase == RUN_GROWING && run_all_grown(run))
        run_grown(run);
    if (run->phase == RUN_ACTIVE) {
        if (run->row.state != STUDY_RUNNING) {
            if (!run->row.started_ms)
                run->row.started_ms = service_wall(run->service);
            run->row.state = STUDY_RUNNING;
            run_record_state(run, STUDY_RUNNING, "");
        }
        run_record_decisions(run);
        if (run->study.finished && run_is_idle(run)) {
            run->phase = RUN_FINISHING;
            run_finish(run);
        }
    } else if (run->phase == RUN_FINISHING && !run->job_running && run_is_idle(run)) {
        run_finish(run);
    }
}

int run_refresh_outcome(struct run *run)
{
    struct error error = { 0 };

    if (!run->has_study)
        return -1;
    if (run->has_outcome && run->outcome_decisions == run->study.decision_count)
        return 0;
    if (run->has_outcome)
        study_outcome_fini(&run->outcome);
    run->has_outcome = study_outcome_init(&run->outcome, &run->study, &error) == 0;
    run->outcome_decisions = run->study.decision_count;
    return run->has_outcome ? 0 : -1;
}

void run_view(struct run *run, struct study_view *view)
{
    *view = (struct study_view){
        .id = run->row.id, .state = run->row.state, .reason = run->reason,
        .spec = run->has_spec ? &run->spec : NULL, .study = run->has_study ? &run->study : NULL,
        .outcome = run_refresh_outcome(run) == 0 ? &run->outcome : NULL, .recipe = run->recipe,
        .created_ms = run->row.created_ms, .started_ms = run->row.started_ms, .ended_ms = run->row.ended_ms,
        .parent = run->has_spec ? &run->sources.facts.parent : NULL,
        .parent_tokens_seen = run->sources.parent.provenance.tokens_seen,
        .warnings = NULL, .warning_count = 0, .has_files = run->phase == RUN_ENDED,
    };
}
