/* Cancel, resume, delete. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "server/service_state.h"

struct control {
    struct service *service;
    struct journal_entry entry;
    struct pool_job job;
    struct error error;
    char id[SERVICE_ID_BYTES];
    char path[FILE_PATH_BYTES];
    bool resume;
    service_callback *callback;
    void *context;
};

static void control_answer(struct control *control, const struct error *error)
{
    struct service *service = control->service;

    control->callback(control->context, error, control->id, false);
    memory_free(control);
    service->jobs--;
    service_pump_soon(service);
}

static struct control *control_new(struct service *service, const char *id, service_callback *callback, void *context)
{
    struct control *control = memory_new(sizeof *control);

    if (!control)
        return NULL;
    control->service = service;
    control->callback = callback;
    control->context = context;
    snprintf(control->id, sizeof control->id, "%s", id);
    service->jobs++;
    return control;
}

/* Refusals too are answered from a job's done: never before the caller has returned. */
static void control_nothing(struct pool_job *job)
{
    (void)job;
}

static void control_refused(struct pool_job *job, bool cancelled)
{
    struct control *control = job->owner;

    (void)cancelled;
    control_answer(control, &control->error);
}

static int control_refuse(struct control *control)
{
    control->job = (struct pool_job){ .lane = POOL_SERVICE, .run = control_nothing, .done = control_refused,
                                      .owner = control };
    control->service->pool.submit(&control->service->pool, &control->job);
    return 0;
}

/* ---- cancel */

static int cancel_refused(struct service *service, const char *id, const struct run *run, service_callback *callback,
                          void *context)
{
    struct control *control = control_new(service, id, callback, context);
    struct study_row row;

    if (!control)
        return ERROR_NO_MEMORY;
    if (run) {
        error_set(&control->error, ERROR_CONFLICT, "study %s is ending already; GET it for its result", id);
    } else if (store_study(&service->store, id, &row, &control->error) == 0) {
        if (row.state != STUDY_CANCELLED)
            error_set(&control->error, ERROR_CONFLICT, "study %s is %s; only queued and running studies can be cancelled",
                      id, study_state_text(row.state));
        study_row_fini(&row);
    }
    return control_refuse(control);
}

int service_cancel(struct service *service, const char *id, service_callback *callback, void *context)
{
    struct run *run = service_run_find(service, id);
    struct service_waiter *waiter;

    if (!run || run->phase == RUN_ENDED || (run->intent != INTENT_GO && run->intent != INTENT_CANCEL))
        return cancel_refused(service, id, run, callback, context);
    waiter = memory_new(sizeof *waiter);
    if (!waiter)
        return ERROR_NO_MEMORY;
    *waiter = (struct service_waiter){ .callback = callback, .context = context, .next = run->waiters };
    run->waiters = waiter;
    snprintf(run->reason, sizeof run->reason, "cancelled on request; POST …/resume goes on from here");
    run_stop(run, INTENT_CANCEL);
    return 0;
}

/* ---- resume */

static void resumed(struct journal_entry *entry, const struct error *error)
{
    struct control *control = entry->owner;

    control->error = *error;
    if (!error->code)
        service_begin_run(control->service, control->id, true, &control->error);
    control_answer(control, &control->error);
}

static void record_resume(struct control *control, const struct study_row *row)
{
    struct service *service = control->service;
    struct buffer event;
    char identity[64];

    control->entry = (struct journal_entry){ .done = resumed, .owner = control };
    changes_init(&control->entry.changes);
    store_set_state(&control->entry.changes, control->id, STUDY_QUEUED, "", row->started_ms, 0, "");
    changes_add(&control->entry.changes, "UPDATE study SET state='queued', reason='', ended_ms=0, result='' WHERE"
                " state='failed' AND substr(id, 1, length(?)+1)=?||'/'", "tt", control->id, control->id);
    buffer_init(&event);
    response_event_state(&event, STUDY_QUEUED, "");
    control->entry.changes.failed |= event.failed;
    service_event_identity(service, identity);
    store_add_event(&control->entry.changes, control->id, "state", identity, event.data ? event.data : "{}");
    changes_add(&control->entry.changes, "DELETE FROM event WHERE study=? AND kind='end'", "t", control->id);
    buffer_fini(&event);
    journal_append(&service->journal, &control->entry);
}

int service_resume(struct service *service, const char *id, service_callback *callback, void *context)
{
    struct control *control = control_new(service, id, callback, context);
    struct study_row row;

    if (!control)
        return ERROR_NO_MEMORY;
    if (service_run_find(service, id)) {
        error_set(&control->error, ERROR_CONFLICT, "study %s is under way already; nothing to resume", id);
        return control_refuse(control);
    }
    if (store_study(&service->store, id, &row, &control->error))
        return control_refuse(control);
    if (row.state != STUDY_CANCELLED && row.state != STUDY_FAILED)
        error_set(&control->error, ERROR_CONFLICT, "study %s is %s; only cancelled and failed studies can be resumed", id,
                  study_state_text(row.state));
    else
        record_resume(control, &row);
    study_row_fini(&row);
    return control->error.code ? control_refuse(control) : 0;
}

/* ---- delete: the row first, then the files (check names what a crash in between leaves) */

static void remove_run(struct pool_job *job)
{
    struct control *control = job->owner;

    (void)file_remove_tree(control->path, &control->error);
}

static void removed(struct journal_entry *entry, const struct error *error)
{
    struct control *control = entry->owner;

    control->error = *error;
    if (error->code) {
        control_answer(control, &control->error);
        return;
    }
    control->job = (struct pool_job){ .lane = POOL_SERVICE, .run = remove_run, .done = control_refused,
                                      .owner = control };
    control->service->pool.submit(&control->service->pool, &control->job);
}

static void check_delete_study(struct control *control)
{
    struct service *service = control->service;
    struct study_row row;

    if (service_run_find(service, control->id)) {
        error_set(&control->error, ERROR_CONFLICT, "study %s is under way; cancel it first", control->id);
    } else if (store_study(&service->store, control->id, &row, &control->error) == 0) {
        study_row_fini(&row);
        store_remove_study(&control->entry.changes, control->id);
        store_path(&service->store, control->path, &control->error, "studies/%s", control->id);
    }
}

static void check_delete_item(struct control *control, const char *kind)
{
    struct service *service = control->service;
    bool checkpoint = strcmp(kind, "checkpoints") == 0;
    char user[STORE_ID_BYTES];
    struct buffer ignored;

    buffer_init(&ignored);
    if (store_item(&service->store, kind, control->id, &ignored, &control->error) == 0
        && store_item_user(&service->store, control->id, user, &control->error) == 0) {
        if (user[0])
            error_set(&control->error, ERROR_CONFLICT, "%s is used by study %s; delete that study first", control->id, user);
        store_remove_item(&control->entry.changes, checkpoint ? "checkpoint" : "dataset", control->id);
        store_path(&service->store, control->path, &control->error, "%s/%s", kind, control->id);
    }
    buffer_fini(&ignored);
}

int service_delete(struct service *service, const char *kind, const char *id, service_callback *callback, void *context)
{
    struct control *control = control_new(service, id, callback, context);

    if (!control)
        return ERROR_NO_MEMORY;
    control->entry = (struct journal_entry){ .done = removed, .owner = control };
    changes_init(&control->entry.changes);
    if (strcmp(kind, "studies") == 0)
        check_delete_study(control);
    else
        check_delete_item(control, kind);
    if (control->error.code) {
        changes_fini(&control->entry.changes);
        return control_refuse(control);
    }
    journal_append(&service->journal, &control->entry);
    return 0;
}
