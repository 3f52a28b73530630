/* Saving a trial, and committing the point that goes with it: file first, then the row (see run.h). */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "server/run.h"
#include "server/service_state.h"

int seat_trial_path(const struct run *run, int candidate, char path[FILE_PATH_BYTES], struct error *error)
{
    return store_path(&run->service->store, path, error, "studies/%s/trials/%d.trial", run->row.id, candidate);
}

/* ---- commit */

static void save_retry_later(struct seat *seat, const struct error *error)
{
    struct run *run = seat->run;

    if (run->intent == INTENT_GO) {
        seat->state = SEAT_WAITING;        /* the pump asks again once the study is no longer paused */
        run_trouble(run, error);
    } else {
        seat->state = SEAT_IDLE;           /* stopping: the last saved state will do */
        run->unsavable = true;
    }
    service_pump_soon(run->service);
}

static void commit_done(struct journal_entry *entry, const struct error *error)
{
    struct seat *seat = entry->owner;
    struct run *run = seat->run;
    struct error inner = { 0 };

    run->commits_pending--;
    if (error->code) {
        save_retry_later(seat, error);
        return;
    }
    seat->state = SEAT_IDLE;
    run->retries = 0;
    if (seat->save_has_point && study_point(&run->study, seat->candidate, &seat->pending, &inner))
        save_retry_later(seat, &inner);
    else if (seat->save_has_point && run->study.candidates[seat->candidate].state == CANDIDATE_DIVERGED)
        run_record_candidate(run, seat->candidate);
    service_notify(run->service, run->row.id);
    service_pump_soon(run->service);
}

static void commit_save(struct seat *seat)
{
    struct run *run = seat->run;

    seat->state = SEAT_COMMITTING;
    seat->entry = (struct journal_entry){ .done = commit_done, .owner = seat, .has_points = true,
                                          .before = FAULT_AT_point_before_commit,
                                          .after = FAULT_AT_point_after_commit };
    changes_init(&seat->entry.changes);
    store_set_candidate(&seat->entry.changes, run->row.id, seat->candidate, &run->study.candidates[seat->candidate]);
    if (seat->save_has_point)
        run_add_point(&seat->entry.changes, run, seat->candidate, &seat->pending);
    run->commits_pending++;
    journal_append(&run->service->journal, &seat->entry);
}

/* ---- file */

static void save_run(struct pool_job *job)
{
    struct seat *seat = job->owner;
    struct run *run = seat->run;
    char path[FILE_PATH_BYTES];

    error_clear(&seat->error);
    if (store_path(&run->service->store, path, &seat->error, "studies/%s/trials", run->row.id)
        || file_make_directory(path, &seat->error) || seat_trial_path(run, seat->candidate, path, &seat->error))
        return;
    trial_save(&seat->trial, path, &seat->error);
}

static void save_done(struct pool_job *job, bool cancelled)
{
    struct seat *seat = job->owner;

    if (cancelled || seat->error.code) {
        save_retry_later(seat, &seat->error);
        return;
    }
    seat->saved = true;
    seat->damaged = false;
    seat->saved_step = seat->trial.step;
    seat->saved_ns = service_now(seat->run->service);
    commit_save(seat);
}

static void save_begin(struct seat *seat)
{
    struct service *service = seat->run->service;

    seat->state = SEAT_SAVING;
    seat->job = (struct pool_job){ .lane = POOL_SERVICE, .run = save_run, .done = save_done, .owner = seat };
    service->pool.submit(&service->pool, &seat->job);
}

void seat_save(struct seat *seat, const struct point *point)
{
    seat->save_has_point = point != NULL;
    if (point)
        seat->pending = *point;        /* its losses stay in seat->evaluation until the next evaluation begins */
    if (seat->commits_pending > 0)
        seat->state = SEAT_WAITING;
    else
        save_begin(seat);
}

void seat_save_again(struct seat *seat)
{
    if (seat->run->unsavable) {
        seat->state = SEAT_IDLE;
        service_pump_soon(seat->run->service);
    } else {
        save_begin(seat);
    }
}
