/* A run's life: made from its stored row, loaded, advanced from phase to phase. */
#include "server/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"

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
    run->lost_candidate = run->taken_over = -1;
    return run;
}

/* Back to what run_new made of the row. */
static void close_study(struct run *run)
{
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++) {
        seat_release(&run->seats[i]);
        growth_ramps_fini(&run->seats[i].ramps);
        seat_parts_fini(&run->seats[i]);
    }
    memory_free(run->seats);
    run->seats = NULL;
    for (int i = 0; i < run->warning_count; i++)
        memory_free((char *)run->warnings[i]);
    memory_free(run->warnings);
    run->warnings = NULL;
    run->warning_count = 0;
    if (run->has_outcome)
        study_outcome_fini(&run->outcome);
    if (run->has_study)
        study_fini(&run->study);
    if (run->has_spec)
        study_spec_fini(&run->spec);
    run->has_outcome = run->has_study = run->has_spec = false;
    run->partner_bytes = 0;
    sources_close(&run->sources);
    run_stages_free(run);
}

void run_free(struct run *run)
{
    close_study(run);
    request_free(run->request);
    study_row_fini(&run->row);
    memory_free(run->recipe);
    memory_free(run);
}

/* ---- loading: files and facts on a worker, then the stored curves on the loop */

static int verify_sources(const struct run *run, struct error *error)
{
    bool made_here = run->whole && run->part.stage > 1;        /* of the part before */

    if (!made_here && strcmp(run->sources.parent.hash, run->row.checkpoint_hash) != 0)
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

static int open_sources(struct run *run, struct error *error)
{
    char parent[FILE_PATH_BYTES];

    if (run_part_parent(run, parent, error)
        || sources_open_from(&run->sources, &run->service->store, service_data_root(run->service), run->request, parent,
                             error))
        return (int)error->code;
    run->first_data_step = *parent ? run->sources.parent.provenance.data_cursor : 0;
    return verify_sources(run, error);
}

static void load_run(struct pool_job *job)
{
    struct run *run = job->owner;
    struct error *error = &run->error;

    error_clear(error);
    FAULT_POINT(recover);
    if (open_sources(run, error))
        return;
    if (request_is_staged(run->request)) {
        run_stages_load(run, error);
        sources_close(&run->sources);
        return;
    }
    if (request_resolve(run->request, &run->sources.facts, &run->spec, error))
        return;
    run->has_spec = true;
    run->windows = windows_of(&run->sources.valid, run->spec.training.context, run->spec.selection.valid_tokens);
    if (run->spec.training.context <= run->sources.parent.table.shape.context)    /* else only the grown ones can read them */
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
    if (run_plan_seats(run, error)
        || store_load_candidates(&run->service->store, run->row.id, &run->study, error))
        return (int)error->code;
    reopen_candidates(run);
    run->partner_bytes = partners_bytes(&run->sources.partners);
    service_memory_limit(run->service);
    return 0;
}

static void load_done(struct pool_job *job, bool cancelled)
{
    struct run *run = job->owner;
    struct error error = run->error;

    run->job_running = false;
    if (!cancelled && !error.code && !run->staging)
        open_study(run, &error);
    if (error.code || cancelled) {
        close_study(run);
        if (error.code)
            run_trouble(run, &error);
    } else {
        run->phase = run->staging ? RUN_STAGED : RUN_GROWING;
        run->retries = 0;
        if (run->recovered)
            run->service->counts.recovered_studies++;
        run->recovered = false;
    }
    service_pump_soon(run->service);
}

void run_load(struct run *run)
{
    run->job = (struct pool_job){ .lane = POOL_SERVICE, .run = load_run, .done = load_done, .owner = run };
    run->job_running = true;
    run->service->pool.submit(&run->service->pool, &run->job);
}

bool run_is_idle(const struct run *run)
{
    if (run->job_running || run->commits_pending > 0)
        return false;
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        if (run->seats[i].state != SEAT_EMPTY && run->seats[i].state != SEAT_IDLE)
            return false;
    return true;
}

/* ---- advancing */

/* Nothing under way that would come back to what is about to be thrown away. A seat that waits has nothing under way. */
static bool may_start_over(const struct run *run)
{
    if (run->job_running || run->commits_pending > 0)
        return false;
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++) {
        enum seat_state state = run->seats[i].state;
        if (state != SEAT_EMPTY && state != SEAT_IDLE && state != SEAT_WAITING)
            return false;
    }
    return true;
}

/* The end of a pause; false: not yet. */
static bool unpause(struct run *run)
{
    if (run->staging)
        run->reload = false;         /* what was lost is a state, and is told again */
    if (run->reload) {
        if (!may_start_over(run))
            return false;
        close_study(run);
        run->reload = false;
        run->phase = RUN_LOADING;
    }
    run->retry_ns = 0;
    run->reason[0] = '\0';
    if (run->phase == RUN_LOADING && !run->job_running)
        run_load(run);
    return true;
}

static void advance_active(struct run *run)
{
    if (run->row.state != STUDY_RUNNING) {
        if (!run->row.started_ms)
            run->row.started_ms = service_wall(run->service);
        run->row.state = STUDY_RUNNING;
        run_record_state(run, STUDY_RUNNING, "");
    }
    run_record_decisions(run);
    if (run->study.finished && !run->retry_ns && run_is_idle(run)) {
        run->phase = RUN_FINISHING;
        run_finish(run);
    }
}

void run_advance(struct run *run)
{
    if (run->intent != INTENT_GO) {
        run_advance_stopping(run);
        return;
    }
    if (run->retry_ns && (service_now(run->service) < run->retry_ns || !unpause(run)))
        return;
    if (run->phase == RUN_STAGED)
        run_stages_advance(run);
    if (run->phase == RUN_GROWING && run_all_grown(run))
        run_grown(run);
    if (run->phase == RUN_ACTIVE && !run->retry_ns)
        advance_active(run);
    else if (run->phase == RUN_FINISHING && !run->retry_ns && run_is_idle(run))
        (run->staging ? run_stages_finish : run_finish)(run);
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
        .id = run_public_id(run), .first_data_step = run->first_data_step, .state = run->row.state, .reason = run->reason,
        .spec = run->has_spec ? &run->spec : NULL, .study = run->has_study ? &run->study : NULL,
        .outcome = run_refresh_outcome(run) == 0 ? &run->outcome : NULL, .recipe = run->recipe,
        .created_ms = run->row.created_ms, .started_ms = run->row.started_ms, .ended_ms = run->row.ended_ms,
        .parent = run->has_spec ? &run->sources.facts.parent : NULL,
        .base = run->has_spec ? run_base(run) : NULL,
        .parent_tokens_seen = run->sources.parent.provenance.tokens_seen,
        .warnings = run->warnings, .warning_count = run->warning_count, .has_files = run->phase == RUN_ENDED,
    };
}
