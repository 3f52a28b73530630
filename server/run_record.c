/* What a run makes durable: points and decisions with their events, candidates, states. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"

struct record {
    struct journal_entry entry;
    struct run *run;
    struct seat *seat;          /* whose point it is, or NULL */
    bool optional;              /* nobody misses it */
};

static void start_over(struct run *run, const struct error *error)
{
    run_trouble(run, error);
    run->reload = true;
}

static void record_done(struct journal_entry *entry, const struct error *error)
{
    struct record *record = entry->owner;
    struct run *run = record->run;
    bool lost = error->code && !record->optional;

    run->commits_pending--;
    if (record->seat)
        record->seat->commits_pending--;
    memory_free(record);
    /* What was lost is a function of what is saved: start over from the store once it takes writes again. A trial must
     * not be saved past a point that was lost. */
    if (lost && run->intent != INTENT_GO)
        run->unsavable = true;
    if (lost)
        start_over(run, error);
    service_notify(run->service, run->row.id);
    service_pump_soon(run->service);
}

static struct record *record_make(struct run *run, struct seat *seat)
{
    struct record *record = memory_new(sizeof *record);

    if (!record)
        return NULL;
    record->run = run;
    record->seat = seat;
    record->entry.done = record_done;
    record->entry.owner = record;
    changes_init(&record->entry.changes);
    return record;
}

static struct record *record_new(struct run *run, struct seat *seat)
{
    struct record *record = record_make(run, seat);
    struct error error = { 0 };

    if (!record) {
        error_set(&error, ERROR_NO_MEMORY, "recording study %s: out of memory", run->row.id);
        run->unsavable |= run->intent != INTENT_GO;
        start_over(run, &error);
    }
    return record;
}

static void record_commit(struct record *record)
{
    record->run->commits_pending++;
    if (record->seat)
        record->seat->commits_pending++;
    journal_append(&record->run->service->journal, &record->entry);
}

/* ---- events */

/* Does the study's stream have it? The whole tells its own states. */
static bool is_told(const struct run *run, const char *kind)
{
    static const char *const of_rounds[] = { "decision", "ranking", "transition" };

    if (!run->whole)
        return true;
    for (size_t i = 0; i < sizeof of_rounds / sizeof *of_rounds; i++)
        if (strcmp(kind, of_rounds[i]) == 0)
            return run->part.search;
    return strcmp(kind, "state") != 0 && strcmp(kind, "end") != 0;
}

void run_add_event(struct changes *changes, const struct run *run, const char *kind, const char *identity,
                   struct buffer *data)
{
    char name[STAGES_PART_NAME_BYTES], own[96];
    struct buffer text;

    changes->failed |= data->failed || !data->data;
    if (!run->whole && !changes->failed) {
        store_add_event(changes, run->row.id, kind, identity, data->data);
    } else if (!changes->failed && is_told(run, kind)) {
        buffer_init(&text);
        buffer_format(&text, "{\"stage\": %d, \"chain\": \"%s\", ", run->part.stage,
                      stages_chain_name(&run->whole->staging->stages, run->part.chain));
        buffer_text(&text, data->data + 1);            /* every event's data is an object with members */
        stages_part_name(&run->part, name);
        snprintf(own, sizeof own, "%s:%s", name, identity);
        changes->failed |= text.failed;
        store_add_event(changes, run->whole->row.id, kind, own, text.data ? text.data : "{}");
        buffer_fini(&text);
    }
    buffer_fini(data);
}

/* ---- points */

void run_add_point(struct changes *changes, struct run *run, int candidate, const struct point *point)
{
    char identity[64];
    struct buffer data;

    buffer_init(&data);
    response_event_evaluation(&data, run->spec.candidates[candidate].name, point);
    snprintf(identity, sizeof identity, "%d:%llu", candidate, (unsigned long long)point->step);
    store_add_point(changes, run->row.id, candidate, point, run->windows.count);
    run_add_event(changes, run, "evaluation", identity, &data);
}

/* A candidate's row; one that will train no more is an `error` event too. */
static void add_candidate(struct changes *changes, struct run *run, int candidate)
{
    const struct candidate *facts = &run->study.candidates[candidate];
    struct buffer data;
    char identity[32];

    store_set_candidate(changes, run->row.id, candidate, facts);
    if (facts->state != CANDIDATE_DIVERGED && facts->state != CANDIDATE_FAILED)
        return;
    buffer_init(&data);
    response_event_error(&data, run->spec.candidates[candidate].name, (double)facts->diverged_step, facts->reason);
    snprintf(identity, sizeof identity, "%d", candidate);
    run_add_event(changes, run, "error", identity, &data);
}

void run_record_point(struct seat *seat, const struct point *point)
{
    struct run *run = seat->run;
    struct record *record = record_new(run, seat);

    if (!record)
        return;
    run_add_point(&record->entry.changes, run, seat->candidate, point);
    if (run->study.candidates[seat->candidate].state == CANDIDATE_DIVERGED)
        add_candidate(&record->entry.changes, run, seat->candidate);
    record_commit(record);
}

void run_record_candidate(struct run *run, int candidate)
{
    struct record *record = record_new(run, NULL);

    if (!record)
        return;
    add_candidate(&record->entry.changes, run, candidate);
    record_commit(record);
}

/* ---- states */

static void add_state(struct record *record, enum study_state_name state, const char *reason)
{
    struct run *run = record->run;
    struct buffer data;
    char identity[64];

    buffer_init(&data);
    response_event_state(&data, state, reason);
    service_event_identity(run->service, identity);
    store_set_state(&record->entry.changes, run->row.id, state, reason, run->row.started_ms, run->row.ended_ms, "");
    run_add_event(&record->entry.changes, run, "state", identity, &data);
    record_commit(record);
}

void run_record_state(struct run *run, enum study_state_name state, const char *reason)
{
    struct record *record = record_new(run, NULL);

    if (record)
        add_state(record, state, reason);
}

void run_record_pause(struct run *run)
{
    struct record *record = record_make(run, NULL);

    if (!record)
        return;
    record->optional = true;
    add_state(record, STUDY_QUEUED, run->reason);
}

void run_forget_points(struct run *run, int candidate, uint64_t from)
{
    struct record *record = record_new(run, NULL);

    if (!record)
        return;
    changes_add(&record->entry.changes, "DELETE FROM point WHERE study=? AND candidate=? AND step>=?", "tii", run->row.id,
                (int64_t)candidate, (int64_t)from);
    changes_add(&record->entry.changes, "UPDATE candidate SET step=0 WHERE study=? AND number=?", "ti", run->row.id,
                (int64_t)candidate);
    record_commit(record);
    run->reload = true;
}

/* ---- decisions */

static void add_ranking_event(struct changes *changes, struct run *run, const char *identity)
{
    struct study_view view;
    struct buffer data;

    run_view(run, &view);
    if (!view.outcome)
        return;
    buffer_init(&data);
    response_event_ranking(&data, &run->study, view.outcome);
    run_add_event(changes, run, "ranking", identity, &data);
}

static void add_decision(struct changes *changes, struct run *run, const struct decision *decision)
{
    uint64_t step = 0, settled_at = 0;
    struct buffer data;
    char identity[64];

    buffer_init(&data);
    response_event_decision(&data, &run->study, decision);
    snprintf(identity, sizeof identity, "%llu", (unsigned long long)decision->step);
    run_add_event(changes, run, "decision", identity, &data);
    if (study_transition(&run->study, &step, &settled_at)) {
        buffer_init(&data);
        buffer_format(&data, "{\"step\":%llu,\"method\":\"agreement\",\"settled_at\":%llu}",
                      (unsigned long long)step, (unsigned long long)settled_at);
        run_add_event(changes, run, "transition", "transition", &data);
    }
    add_ranking_event(changes, run, identity);
}

void run_record_decisions(struct run *run)
{
    struct error error = { 0 };

    for (;;) {
        struct decision decision = study_decide(&run->study, &error);
        struct record *record;

        if (error.code) {
            run_trouble(run, &error);
            return;
        }
        if (decision.kind == DECISION_NONE || !(record = record_new(run, NULL)))
            return;
        FAULT_POINT(decide);
        add_decision(&record->entry.changes, run, &decision);
        record_commit(record);
    }
}
