#include "server/run_stages.h"

#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/service_state.h"

/* ---- loading */

static int take_last(void *context, const struct stage_part *part, const struct study_spec *spec,
                     const struct shape *parent, struct error *error)
{
    struct staging *staging = context;

    (void)parent, (void)error;
    if (part->chain > 0)
        return 0;
    staging->compare.training = spec->training;
    staging->compare.selection = spec->selection;
    staging->compare.keep = spec->keep;
    return 0;
}

static int name_chains(struct staging *staging, struct error *error)
{
    struct study_spec *compare = &staging->compare;
    uint64_t steps = staging->stages.of[staging->stages.count - 1].steps;

    compare->candidate_count = stages_chains(&staging->stages);
    compare->candidates = memory_array((size_t)compare->candidate_count, sizeof *compare->candidates);
    if (!compare->candidates) {
        compare->candidate_count = 0;
        return error_set(error, ERROR_NO_MEMORY, "reading the stages: out of memory");
    }
    for (int i = 0; i < compare->candidate_count; i++)
        snprintf(compare->candidates[i].name, sizeof compare->candidates[i].name, "%s",
                 stages_chain_name(&staging->stages, i));
    compare->selection.k_auto = false;
    compare->selection.k = compare->selection.max_k = steps;
    return 0;
}

int run_stages_load(struct run *run, struct error *error)
{
    struct staging *staging = memory_new(sizeof *staging);
    struct stages_visitor visitor = { take_last, staging };
    struct windows windows;

    if (!staging)
        return error_set(error, ERROR_NO_MEMORY, "study %s: out of memory", run->row.id);
    run->staging = staging;
    if (request_resolve_stages(run->request, &run->sources.facts, &staging->stages, &visitor, error)
        || name_chains(staging, error))
        return (int)error->code;
    windows = windows_of(&run->sources.valid, staging->compare.training.context, staging->compare.selection.valid_tokens);
    staging->windows = windows.count;
    staging->vocabulary = run->sources.facts.parent.vocabulary;
    staging->parent_layers = run->sources.facts.parent.layers;
    for (int i = 0; i < stages_chains(&staging->stages); i++)
        staging->chains[i] = (struct chain){ .whole = run, .part = stages_first(i) };
    return 0;
}

void run_stages_free(struct run *run)
{
    if (!run->staging)
        return;
    study_spec_fini(&run->staging->compare);
    memory_free(run->staging->comparison);
    memory_free(run->staging);
    run->staging = NULL;
}

/* ---- making a part */

static struct run *part_run(const struct run *whole, const struct stage_part *part)
{
    char id[SERVICE_ID_BYTES];

    run_part_id(whole, part, id);
    return service_run_find(whole->service, id);
}

/* The number of the search's choice; -1: none. */
static int chosen_number(struct service *service, const char *search, struct error *error)
{
    struct sql_query query;
    int number = -1;

    sql_query(&query, service->store.reader, error,
              "SELECT CAST(c.key AS INTEGER) FROM study s, json_each(s.result, '$.request.candidates') c WHERE s.id=?"
              " AND json_extract(c.value, '$.name')=json_extract(s.result, '$.choice.candidate')", "t", search);
    if (!error->code && sql_next(&query, error) == 0 && query.row)
        number = (int)sql_integer(&query, 0);
    sql_finish(&query);
    if (!error->code && number < 0)
        error_set(error, ERROR_DAMAGED, "the stored result of %s names no choice; run `lag check`", search);
    return number;
}

/* What the search knows of its choice becomes the training's: it goes on from there. */
static void take_over(struct changes *changes, const char *training, const char *search, int number)
{
    changes_add(changes, "INSERT INTO candidate(study, number, state, reason, same_as, diverged_step, grown, hash, parameters,"
                " flops_per_token, preservation, loss_before, step, seconds) SELECT ?, 0, 'interrupted', '', -1, 0, grown,"
                " hash, parameters, flops_per_token, preservation, loss_before, step, seconds FROM candidate WHERE study=?"
                " AND number=?", "tti", training, search, (int64_t)number);
    changes_add(changes, "INSERT INTO point(study, candidate, step, tokens, flops, loss, standard_error, raw_loss,"
                " learning_rate, losses) SELECT ?, 0, step, tokens, flops, loss, standard_error, raw_loss, learning_rate,"
                " losses FROM point WHERE study=? AND candidate=?", "tti", training, search, (int64_t)number);
}

/* The candidate that a training trains; of a search's choice its number there, else -1. */
static int trained_candidate(const struct chain *chain, struct buffer *text, int *number, struct error *error)
{
    const struct run *whole = chain->whole;
    const struct stages *stages = &whole->staging->stages;
    struct stage_part search = { .stage = chain->part.stage, .search = true };
    struct study_row row;
    char from[SERVICE_ID_BYTES];

    *number = -1;
    if (chain->part.search)
        return 0;
    if (chain->part.chain > 0) {
        int layers = chain->part.stage > 1 ? stages->of[chain->part.stage - 2].layers : whole->staging->parent_layers;
        request_baseline(stages, &chain->part, layers, text);
        return text->failed ? error_set(error, ERROR_NO_MEMORY, "beginning a stage: out of memory") : 0;
    }
    run_part_id(whole, &search, from);
    if (store_study(&whole->service->store, from, &row, error))
        return (int)error->code;
    response_part_winner(row.result, text, error);
    study_row_fini(&row);
    if (!error->code)
        *number = chosen_number(whole->service, from, error);
    return (int)error->code;
}

static int fill_row(const struct chain *chain, const char *candidate, struct study_row *row, struct error *error)
{
    const struct run *whole = chain->whole;
    char checkpoint[FILE_PATH_BYTES], title[192];
    struct buffer text;

    snprintf(checkpoint, sizeof checkpoint, "%s", whole->row.checkpoint);
    if (chain->part.stage > 1)
        snprintf(checkpoint, sizeof checkpoint, "stage-%d", chain->part.stage - 1);
    else
        memcpy(row->checkpoint_hash, whole->row.checkpoint_hash, sizeof row->checkpoint_hash);
    memcpy(row->data_hash, whole->row.data_hash, sizeof row->data_hash);
    buffer_init(&text);
    request_part(whole->request, &whole->staging->stages, &chain->part, checkpoint, candidate, &text, error);
    row->request = buffer_take(&text, NULL);
    snprintf(title, sizeof title, "%.128s, stage %d of %d: %d layers", whole->row.name, chain->part.stage,
             whole->staging->stages.count, whole->staging->stages.of[chain->part.stage - 1].layers);
    row->name = memory_string(title);
    row->checkpoint = memory_string(checkpoint);
    row->train = memory_string(whole->row.train);
    row->valid = memory_string(whole->row.valid);
    row->reason = memory_string("");
    row->result = memory_string("");
    row->body_hash = memory_string("");
    row->content = memory_string("");
    row->created_ms = service_wall(whole->service);
    row->state = STUDY_QUEUED;
    if (!error->code && !(row->request && row->name && row->checkpoint && row->train && row->valid && row->reason
                          && row->result && row->body_hash && row->content))
        error_set(error, ERROR_NO_MEMORY, "beginning a stage: out of memory");
    return (int)error->code;
}

/* A stage of the adaptive chain that begins is a `state` event. */
static void tell_stage(struct changes *changes, const struct chain *chain)
{
    const struct staging *staging = chain->whole->staging;
    const struct stage *stage = &staging->stages.of[chain->part.stage - 1];
    char identity[32], reason[128];
    struct buffer data;

    if (!chain->part.search)
        return;
    snprintf(identity, sizeof identity, "stage:%d", chain->part.stage);
    snprintf(reason, sizeof reason, "stage %d of %d begins: %d layers, %llu steps", chain->part.stage,
             staging->stages.count, stage->layers, (unsigned long long)stage->steps);
    buffer_init(&data);
    response_event_state(&data, STUDY_RUNNING, reason);
    run_add_event(changes, chain->whole, "state", identity, &data);
}

static void part_stored(struct journal_entry *entry, const struct error *error)
{
    struct chain *chain = entry->owner;
    struct run *whole = chain->whole;

    whole->commits_pending--;
    chain->state = CHAIN_LOOKING;
    if (error->code)
        run_trouble(whole, error);
    service_notify(whole->service, whole->row.id);
    service_pump_soon(whole->service);
}

static void make_part(struct chain *chain)
{
    struct run *whole = chain->whole;
    struct stage_part search = { .stage = chain->part.stage, .search = true };
    struct study_row row = { 0 };
    struct error error = { 0 };
    char from[SERVICE_ID_BYTES];
    struct buffer candidate;
    int number;

    chain->entry = (struct journal_entry){ .done = part_stored, .owner = chain, .has_points = true,
                                           .before = FAULT_AT_admit_before_commit, .after = FAULT_AT_admit_after_commit };
    changes_init(&chain->entry.changes);
    buffer_init(&candidate);
    run_part_id(whole, &chain->part, row.id);
    run_part_id(whole, &search, from);
    if (trained_candidate(chain, &candidate, &number, &error) == 0
        && fill_row(chain, chain->part.search ? NULL : candidate.data, &row, &error) == 0) {
        store_add_study(&chain->entry.changes, &row);
        if (number >= 0)
            take_over(&chain->entry.changes, row.id, from, number);
        tell_stage(&chain->entry.changes, chain);
    }
    buffer_fini(&candidate);
    study_row_fini(&row);
    if (error.code) {
        changes_fini(&chain->entry.changes);
        run_trouble(whole, &error);
        return;
    }
    chain->state = CHAIN_COMMITTING;
    whole->commits_pending++;
    journal_append(&whole->service->journal, &chain->entry);
}

/* ---- advancing */

/* Behind the whole and its other parts: before every study that was admitted later. */
static void insert_run(struct service *service, struct run *whole, struct run *run)
{
    struct run *after = whole;

    (void)service;
    while (after->next && after->next->whole == whole)
        after = after->next;
    run->next = after->next;
    after->next = run;
}

static void start_part(struct chain *chain, struct study_row *row)
{
    struct run *whole = chain->whole, *run;
    struct service *service = whole->service;
    struct stage_part search = { .stage = chain->part.stage, .search = true };
    struct error error = { 0 };
    char id[SERVICE_ID_BYTES];
    int taken_over = -1;

    if (chain->part.chain == 0 && !chain->part.search) {
        run_part_id(whole, &search, id);
        taken_over = chosen_number(service, id, &error);
    }
    run = error.code ? NULL : run_new(service, row, &error);
    if (!run) {
        study_row_fini(row);
        run_trouble(whole, &error);
        return;
    }
    run->whole = whole;
    run->part = chain->part;
    run->taken_over = taken_over;
    insert_run(service, whole, run);
    chain->state = CHAIN_RUNNING;
    run_load(run);
}

/* true: look again at once. */
static bool look(struct chain *chain)
{
    struct run *whole = chain->whole;
    struct error error = { 0 };
    struct study_row row;
    char id[SERVICE_ID_BYTES];

    run_part_id(whole, &chain->part, id);
    if (store_study(&whole->service->store, id, &row, &error)) {
        if (error.code == ERROR_NOT_FOUND)
            make_part(chain);
        else
            run_trouble(whole, &error);
        return false;
    }
    if (row.state == STUDY_QUEUED || row.state == STUDY_RUNNING) {
        start_part(chain, &row);
        return false;
    }
    bool more = row.state == STUDY_SUCCEEDED && stages_next(&whole->staging->stages, &chain->part);
    if (!more)
        chain->state = row.state == STUDY_SUCCEEDED ? CHAIN_ENDED : CHAIN_FAILED;
    snprintf(chain->reason, sizeof chain->reason, "%s", row.reason);
    study_row_fini(&row);
    return more;
}

static void advance_chain(struct chain *chain)
{
    if (chain->state == CHAIN_RUNNING && !part_run(chain->whole, &chain->part))
        chain->state = CHAIN_LOOKING;
    while (chain->state == CHAIN_LOOKING && !chain->whole->retry_ns && !chain->whole->service->draining && look(chain))
        continue;
}

/* A part that waits (a full disk) makes the whole wait; both run again together. */
static void mirror_state(struct run *run)
{
    const struct run *waiting = NULL;

    for (int i = 0; i < stages_chains(&run->staging->stages); i++) {
        const struct run *part = part_run(run, &run->staging->chains[i].part);
        if (part && part->intent == INTENT_GO && part->reason[0])
            waiting = part;
    }
    if (waiting && run->row.state == STUDY_RUNNING) {
        run->row.state = STUDY_QUEUED;
        snprintf(run->reason, sizeof run->reason, "%s", waiting->reason);
        run_record_pause(run);
    } else if (!waiting && run->row.state != STUDY_RUNNING) {
        if (!run->row.started_ms)
            run->row.started_ms = service_wall(run->service);
        run->row.state = STUDY_RUNNING;
        run->reason[0] = '\0';
        run_record_state(run, STUDY_RUNNING, "");
    }
}

static void fail(struct run *run)
{
    struct log_fields fields = { .study = run->row.id };
    const struct chain *chain = &run->staging->chains[0];

    snprintf(run->reason, sizeof run->reason, "stage %d (%d layers)%s: %.400s", chain->part.stage,
             run->staging->stages.of[chain->part.stage - 1].layers,
             chain->part.search ? "" : ", while its choice was trained on", chain->reason);
    log_write(LOG_ERROR, &fields, "a stage failed");
    run_stop(run, INTENT_FAIL);
}

void run_stages_advance(struct run *run)
{
    struct staging *staging = run->staging;
    bool ended = true;

    mirror_state(run);
    for (int i = 0; i < stages_chains(&staging->stages); i++) {
        advance_chain(&staging->chains[i]);
        ended &= staging->chains[i].state == CHAIN_ENDED || staging->chains[i].state == CHAIN_FAILED;
    }
    if (run->intent != INTENT_GO || run->retry_ns)
        return;
    if (staging->chains[0].state == CHAIN_FAILED) {
        fail(run);
    } else if (ended && run_is_idle(run)) {
        run->phase = RUN_FINISHING;
        run_stages_finish(run);
    }
}

void run_stages_stop(struct run *run)
{
    for (struct run *part = run->service->runs; part; part = part->next)
        if (part->whole == run && part->intent == INTENT_GO && part->phase != RUN_ENDED)
            run_stop(part, INTENT_DRAIN);
}

bool run_stages_are_quiet(const struct run *run)
{
    for (const struct run *part = run->service->runs; part; part = part->next)
        if (part->whole == run)
            return false;
    return true;
}
