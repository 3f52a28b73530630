/* The end of a staged study: its chains are compared at equal steps, and one commit makes the result final. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"

/* ---- the comparison with the baselines */

/* FLOPs that a chain spent on the stages before the last. */
static double earlier_flops(const struct run *run, int chain, struct error *error)
{
    double flops = 0;

    for (int stage = 1; stage < run->staging->stages.count && !error->code; stage++) {
        struct stage_part part = { .chain = chain, .stage = stage };
        struct sql_query query;
        char id[SERVICE_ID_BYTES];
        run_part_id(run, &part, id);
        sql_query(&query, run->service->store.reader, error,
                  "SELECT json_extract(result, '$.ranking[0].flops_spent') FROM study WHERE id=?", "t", id);
        if (!error->code && sql_next(&query, error) == 0 && query.row)
            flops += sql_real(&query, 0);
        sql_finish(&query);
    }
    return flops;
}

static int load_chains(const struct run *run, struct study *study, struct error *error)
{
    const struct staging *staging = run->staging;

    for (int i = 0; i < stages_chains(&staging->stages) && !error->code; i++) {
        struct stage_part part = { .chain = i, .stage = staging->stages.count };
        char id[SERVICE_ID_BYTES];
        run_part_id(run, &part, id);
        if (staging->chains[i].state == CHAIN_FAILED) {
            study_diverged(study, i, 0, staging->chains[i].reason);
        } else if (store_load_candidate(&run->service->store, id, i, study, error) == 0) {
            study->candidates[i].growth_flops = earlier_flops(run, i, error);
        }
    }
    return (int)error->code;
}

static int compare(struct run *run, struct error *error)
{
    struct staging *staging = run->staging;
    struct study_outcome outcome;
    struct study study;
    struct buffer text;

    if (study_init(&study, &staging->compare, staging->windows, error))
        return (int)error->code;
    study.vocabulary = staging->vocabulary;
    load_chains(run, &study, error);
    while (!error->code && study_decide(&study, error).kind != DECISION_NONE)
        continue;
    if (!error->code && study_outcome_init(&outcome, &study, error) == 0) {
        buffer_init(&text);
        response_stages_comparison(&text, &study, &outcome, stages_steps(&staging->stages));
        memory_free(staging->comparison);
        staging->comparison = buffer_take(&text, NULL);
        if (!staging->comparison)
            error_set(error, ERROR_NO_MEMORY, "comparing the baselines: out of memory");
        study_outcome_fini(&outcome);
    }
    study_fini(&study);
    return (int)error->code;
}

/* ---- the commit, and what is left over */

static void cleanup_run(struct pool_job *job)
{
    struct run *run = job->owner;
    const struct staging *staging = run->staging;

    for (int i = 0; i < stages_chains(&staging->stages); i++) {
        struct stage_part part = stages_first(i);
        do {
            bool last = part.stage == staging->stages.count && i == 0;
            run_part_remove(run, &part, "trials");
            if (!last && staging->compare.keep != KEEP_ALL)
                run_part_remove(run, &part, "candidates");
        } while (stages_next(&staging->stages, &part));
    }
}

static void cleanup_done(struct pool_job *job, bool cancelled)
{
    struct run *run = job->owner;

    (void)cancelled;
    run->job_running = false;
    service_run_remove(run->service, run);
}

static void commit_done(struct journal_entry *entry, const struct error *error)
{
    struct run *run = entry->owner;

    memory_free(entry);
    run->commits_pending--;
    if (error->code) {
        run->phase = RUN_FINISHING;
        run->ending = false;
        run->row.state = STUDY_RUNNING;
        run_trouble(run, error);
        service_pump_soon(run->service);
        return;
    }
    service_notify(run->service, run->row.id);
    run->job = (struct pool_job){ .lane = POOL_SERVICE, .run = cleanup_run, .done = cleanup_done, .owner = run };
    run->job_running = true;
    run->service->pool.submit(&run->service->pool, &run->job);
}

static int fill_end(struct run *run, struct changes *changes, struct error *error)
{
    struct buffer result, data;
    char identity[64];

    buffer_init(&result);
    if (stages_json(run->service, &run->row, &run->staging->stages, run, true, &result, error)) {
        buffer_fini(&result);
        return (int)error->code;
    }
    store_set_state(changes, run->row.id, run->row.state, "", run->row.started_ms, run->row.ended_ms, result.data);
    buffer_fini(&result);
    service_event_identity(run->service, identity);
    for (int i = 0; i < 2; i++) {
        buffer_init(&data);
        response_event_state(&data, run->row.state, "");
        run_add_event(changes, run, i == 0 ? "state" : "end", identity, &data);
    }
    return 0;
}

void run_stages_finish(struct run *run)
{
    struct journal_entry *entry = memory_new(sizeof *entry);
    struct error error = { 0 };

    if (!entry)
        error_set(&error, ERROR_NO_MEMORY, "finishing study %s: out of memory", run->row.id);
    if (error.code || (run->staging->stages.baseline_count > 0 && compare(run, &error))) {
        memory_free(entry);
        run_trouble(run, &error);
        return;
    }
    *entry = (struct journal_entry){ .done = commit_done, .owner = run, .has_points = true,
                                     .before = FAULT_AT_finish_before_commit, .after = FAULT_AT_finish_after_commit };
    changes_init(&entry->changes);
    run->row.ended_ms = service_wall(run->service);
    run->row.state = STUDY_SUCCEEDED;
    if (fill_end(run, &entry->changes, &error)) {
        changes_fini(&entry->changes);
        memory_free(entry);
        run->row.state = STUDY_RUNNING;
        run_trouble(run, &error);
        return;
    }
    run->ending = true;
    run->phase = RUN_ENDED;
    run->commits_pending++;
    journal_append(&run->service->journal, entry);
}
