/* Trouble and stopping: what pauses a run, what fails it, and how it leaves: saved, told, gone. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"
#include "trainer/kavg.h"

/* The first pause is short: what failed once (a signal, a moment without memory) works the next time. */
enum { RETRY_FIRST_MS = 200, RETRY_LAST_MS = 5000 };

static int64_t retry_delay_ns(const struct run *run)
{
    int64_t ms = RETRY_FIRST_MS;

    for (int i = 0; i < run->retries && ms < RETRY_LAST_MS; i++)
        ms *= 2;
    return (ms < RETRY_LAST_MS ? ms : RETRY_LAST_MS) * 1000000;
}

static bool may_pass(enum error_code code)
{
    return code == ERROR_NO_MEMORY || code == ERROR_DISK_FULL || code == ERROR_IO || code == ERROR_UNAVAILABLE
           || code == ERROR_CANCELLED;
}

static void pause_run(struct run *run, const struct error *error)
{
    struct log_fields fields = { .study = run->row.id, .error = error };

    if (run->retry_ns)             /* several seats met the same trouble: the first one said it */
        return;
    snprintf(run->reason, sizeof run->reason, "%.500s", error->message);
    run->retry_ns = service_now(run->service) + retry_delay_ns(run);
    run->retries++;
    if (run->row.state == STUDY_QUEUED)
        return;
    log_write(LOG_WARNING, &fields, "the study waits and is tried again");
    run->row.state = STUDY_QUEUED;
    run_record_pause(run);
}

void run_trouble(struct run *run, const struct error *error)
{
    struct log_fields fields = { .study = run->row.id, .error = error };

    if (run->intent != INTENT_GO)
        return;
    if (may_pass(error->code)) {
        pause_run(run, error);
        return;
    }
    log_write(LOG_ERROR, &fields, "the study failed");
    snprintf(run->reason, sizeof run->reason, "%.500s", error->message);
    run_stop(run, INTENT_FAIL);
}

void run_stop(struct run *run, enum run_intent intent)
{
    run->intent = intent;
    run->retry_ns = 0;
    atomic_store(&run->stop, true);
    if (run->staging)
        run_stages_stop(run);
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        if (run->seats[i].state == SEAT_LENT) {
            atomic_store(&run->seats[i].slice.stop, true);
            run->service->pool.cancel(&run->service->pool, &run->seats[i].slice.job);
            seat_stop_parts(&run->seats[i]);
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

/* ---- the last commit */

/* A drained process ends anyway, and the next start finds the study as it was; who cancelled is told, and while the
 * process lives it goes on trying, unless the database itself is broken. */
static void stop_again(struct run *run, const struct error *error)
{
    struct log_fields fields = { .study = run->row.id, .error = error };

    log_write(LOG_ERROR, &fields, "the study's state could not be written");
    tell_waiters(run, error);
    if (run->intent == INTENT_DRAIN || run->service->draining || error->code == ERROR_DAMAGED) {
        service_run_remove(run->service, run);
        return;
    }
    run->ending = false;
    run->row.state = run->row.started_ms ? STUDY_RUNNING : STUDY_QUEUED;
    run->retry_ns = service_now(run->service) + retry_delay_ns(run);
    run->retries++;
}

static void stopped_done(struct journal_entry *entry, const struct error *error)
{
    struct run *run = entry->owner;
    struct service *service = run->service;

    memory_free(entry);
    run->commits_pending--;
    if (error->code) {
        stop_again(run, error);
    } else {
        tell_waiters(run, error);
        service_run_remove(service, run);
    }
    service_pump_soon(service);
}

static void interrupt_candidates(struct run *run, struct changes *changes)
{
    enum candidate_state_name left = run->intent == INTENT_CANCEL ? CANDIDATE_CANCELLED : CANDIDATE_INTERRUPTED;

    for (int i = 0; run->has_study && i < run->spec.candidate_count; i++) {
        struct candidate *candidate = &run->study.candidates[i];
        if (candidate->state == CANDIDATE_RUNNING || candidate->state == CANDIDATE_PENDING)
            candidate->state = left;
        if (candidate->grown)
            store_set_candidate(changes, run->row.id, i, candidate);
    }
}

static void add_error(struct changes *changes, const struct run *run, const char *identity)
{
    struct buffer data;

    buffer_init(&data);
    response_event_error(&data, NULL, (double)NAN, run->reason);
    run_add_event(changes, run, "error", identity, &data);
}

static void fill_stopped(struct run *run, struct changes *changes)
{
    struct buffer result, event;
    char identity[64];

    interrupt_candidates(run, changes);
    if (run->intent == INTENT_DRAIN)
        return;
    run->row.state = run->intent == INTENT_CANCEL ? STUDY_CANCELLED : STUDY_FAILED;
    run->row.ended_ms = service_wall(run->service);
    buffer_init(&result);
    if (run->has_study) {
        struct study_view view;
        run_view(run, &view);
        response_study(&result, &view);
    }
    store_set_state(changes, run->row.id, run->row.state, run->reason, run->row.started_ms, run->row.ended_ms,
                    result.data ? result.data : "");
    service_event_identity(run->service, identity);
    for (int i = 0; i < 2; i++) {
        if (i == 1 && run->row.state == STUDY_FAILED)
            add_error(changes, run, identity);
        buffer_init(&event);
        response_event_state(&event, run->row.state, run->reason);
        run_add_event(changes, run, i == 0 ? "state" : "end", identity, &event);
    }
    changes->failed |= result.failed;
    buffer_fini(&result);
}

/* Saves what is not saved; true when nothing is left to save. */
static bool save_all(struct run *run)
{
    bool all = true;

    for (int i = 0; run->seats && !run->unsavable && i < run->spec.candidate_count; i++) {
        struct seat *seat = &run->seats[i];
        bool unsaved = seat->resident && seat->trial.step > 0 && !seat->trial.diverged && trial_is_joined(&seat->trial)
                       && (!seat->saved || seat->saved_step != seat->trial.step);
        if (unsaved && seat->state == SEAT_IDLE) {
            seat_save(seat, NULL);
            all = false;
        }
    }
    return all;
}

void run_advance_stopping(struct run *run)
{
    struct journal_entry *entry;

    if (run->ending || (run->retry_ns && service_now(run->service) < run->retry_ns) || !run_is_idle(run)
        || (run->staging && !run_stages_are_quiet(run))
        || !save_all(run))
        return;
    entry = memory_new(sizeof *entry);
    if (!entry)
        return;                    /* the next tick asks again */
    run->ending = true;
    run->retry_ns = 0;
    changes_init(&entry->changes);
    entry->done = stopped_done;
    entry->owner = run;
    fill_stopped(run, &entry->changes);
    run->commits_pending++;
    journal_append(&run->service->journal, entry);
}
