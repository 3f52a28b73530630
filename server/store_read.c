/* The store's reads: studies, candidates, curves. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "server/store.h"

static char *column_copy(const struct sql_query *query, int column, bool *failed)
{
    char *text = memory_string(sql_text(query, column));
    if (!text)
        *failed = true;
    return text;
}

static void copy_fixed(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

int store_study(struct store *store, const char *id, struct study_row *row, struct error *error)
{
    struct sql_query query;
    bool failed = false;

    *row = (struct study_row){ 0 };
    if (sql_query(&query, store->reader, error,
                  "SELECT name, reason, request, idempotency_key, body_hash, content, checkpoint, train, valid, result,"
                  " checkpoint_hash, data_hash, state, created_ms, started_ms, ended_ms FROM study WHERE id=?", "t", id)
            == 0 && sql_next(&query, error) == 0 && query.row) {
        char **texts[] = { &row->name, &row->reason, &row->request, &row->idempotency_key, &row->body_hash,
                           &row->content, &row->checkpoint, &row->train, &row->valid, &row->result };
        for (int i = 0; i < 10; i++)
            *texts[i] = column_copy(&query, i, &failed);
        copy_fixed(row->id, sizeof row->id, id);
        copy_fixed(row->checkpoint_hash, sizeof row->checkpoint_hash, sql_text(&query, 10));
        copy_fixed(row->data_hash, sizeof row->data_hash, sql_text(&query, 11));
        if (study_state_parse(sql_text(&query, 12), &row->state))
            error_set(error, ERROR_DAMAGED, "study %s has an unknown state; run `lag check`", id);
        row->created_ms = sql_integer(&query, 13);
        row->started_ms = sql_integer(&query, 14);
        row->ended_ms = sql_integer(&query, 15);
    } else if (!error->code) {
        error_set(error, ERROR_NOT_FOUND, "there is no study %s; GET /v1/studies lists them", id);
    }
    sql_finish(&query);
    if (failed)
        error_set(error, ERROR_NO_MEMORY, "reading study %s: out of memory", id);
    if (error->code)
        study_row_fini(row);
    return (int)error->code;
}

int store_find_study(struct store *store, const char *column, const char *value, char id[STORE_ID_BYTES],
                     char body_hash[65], struct error *error)
{
    bool by_key = strcmp(column, "idempotency_key") == 0;
    struct sql_query query;

    id[0] = body_hash[0] = '\0';
    if (sql_query(&query, store->reader, error,
                  by_key ? "SELECT id, body_hash FROM study WHERE idempotency_key=?"
                         : "SELECT id, body_hash FROM study WHERE content=? ORDER BY id LIMIT 1", "t", value) == 0
        && sql_next(&query, error) == 0 && query.row) {
        copy_fixed(id, STORE_ID_BYTES, sql_text(&query, 0));
        copy_fixed(body_hash, 65, sql_text(&query, 1));
    }
    sql_finish(&query);
    return (int)error->code;
}

int store_studies_in(struct store *store, enum study_state_name state, struct id_list *list, struct error *error)
{
    struct sql_query query;

    *list = (struct id_list){ 0 };
    sql_query(&query, store->reader, error, "SELECT id FROM study WHERE state=? AND instr(id, '/')=0 ORDER BY id", "t",
              study_state_text(state));
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        void *ids = memory_resize(list->ids, (size_t)(list->count + 1) * sizeof *list->ids);
        if (!ids) {
            error_set(error, ERROR_NO_MEMORY, "reading the studies: out of memory");
            break;
        }
        list->ids = ids;
        copy_fixed(list->ids[list->count++], STORE_ID_BYTES, sql_text(&query, 0));
    }
    sql_finish(&query);
    if (error->code)
        id_list_fini(list);
    return (int)error->code;
}

static void candidate_read(const struct sql_query *query, struct candidate *candidate)
{
    const char *state = sql_text(query, 1);

    for (int i = 0; i < CANDIDATE_STATE_COUNT; i++)
        if (strcmp(state, candidate_state_text((enum candidate_state_name)i)) == 0)
            candidate->state = (enum candidate_state_name)i;
    copy_fixed(candidate->reason, sizeof candidate->reason, sql_text(query, 2));
    candidate->same_as = (int)sql_integer(query, 3);
    candidate->diverged_step = (uint64_t)sql_integer(query, 4);
    candidate->grown = sql_integer(query, 5) != 0;
    copy_fixed(candidate->hash, sizeof candidate->hash, sql_text(query, 6));
    candidate->parameters = (uint64_t)sql_integer(query, 7);
    candidate->flops_per_token = sql_real(query, 8);
    candidate->preservation = sql_real(query, 9);
    candidate->loss_before = sql_real(query, 10);
    candidate->step = (uint64_t)sql_integer(query, 11);
    candidate->seconds = sql_real(query, 12);
}

/* Where the candidate with a stored number goes; -1: nowhere. `to` -1: each to its own number. */
static int place_of(int64_t number, int to, const struct study *study)
{
    if (to >= 0)
        return number == 0 ? to : -1;
    return number >= 0 && number < study->spec->candidate_count ? (int)number : -1;
}

static int load_rows(struct store *store, const char *id, int to, struct study *study, struct error *error)
{
    struct sql_query query;

    sql_query(&query, store->reader, error,
              "SELECT number, state, reason, same_as, diverged_step, grown, hash, parameters, flops_per_token,"
              " preservation, loss_before, step, seconds FROM candidate WHERE study=? ORDER BY number", "t", id);
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        int number = place_of(sql_integer(&query, 0), to, study);
        if (number >= 0)
            candidate_read(&query, &study->candidates[number]);
    }
    sql_finish(&query);
    return (int)error->code;
}

static int point_read(const struct sql_query *query, const struct study *study, struct point *point, struct error *error)
{
    int bytes = 0;
    const void *blob = sql_blob(query, 8, &bytes);

    const int losses = study->windows * (int)sizeof(float);

    point->landscape = landscape_nothing();
    if (bytes == losses + (int)sizeof point->landscape) {
        memcpy(&point->landscape, (const char *)blob + losses, sizeof point->landscape);
        point->landscape.measured = true;
        bytes = losses;
    }
    if (bytes != losses)
        return error_set(error, ERROR_DAMAGED, "a stored point has %d bytes of window losses instead of %d; "
                         "run `lag check`", bytes, losses);
    memcpy(point->losses, blob, (size_t)bytes);
    point->step = (uint64_t)sql_integer(query, 1);
    point->tokens = (uint64_t)sql_integer(query, 2);
    point->flops = sql_real(query, 3);
    point->loss = sql_real(query, 4);
    point->standard_error = sql_real(query, 5);
    point->raw_loss = sql_real(query, 6);
    point->learning_rate = sql_real(query, 7);
    return 0;
}

static int load_points(struct store *store, const char *id, int to, struct study *study, float *losses,
                       struct error *error)
{
    struct sql_query query;
    struct point point = { .losses = losses };

    sql_query(&query, store->reader, error,
              "SELECT candidate, step, tokens, flops, loss, standard_error, raw_loss, learning_rate, losses FROM point"
              " WHERE study=? ORDER BY candidate, step", "t", id);
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        int number = place_of(sql_integer(&query, 0), to, study);
        if (number < 0)
            continue;
        if (point_read(&query, study, &point, error) == 0)
            study_point(study, number, &point, error);        /* judged again: its verdict may not have been stored */
    }
    sql_finish(&query);
    return (int)error->code;
}

static int load_candidates(struct store *store, const char *id, int to, struct study *study, struct error *error)
{
    float *losses = memory_array((size_t)study->windows, sizeof *losses);

    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "reading study %s: out of memory", id);
    if (load_rows(store, id, to, study, error) == 0)
        load_points(store, id, to, study, losses, error);
    memory_free(losses);
    return (int)error->code;
}

int store_load_candidates(struct store *store, const char *id, struct study *study, struct error *error)
{
    return load_candidates(store, id, -1, study, error);
}

int store_load_candidate(struct store *store, const char *id, int to, struct study *study, struct error *error)
{
    return load_candidates(store, id, to, study, error);
}
