/* The store's reads that answer requests: lists, items, events. */
#include <stdio.h>
#include <string.h>

#include "server/store.h"

int store_count_states(struct store *store, int counts[STUDY_STATE_COUNT], struct error *error)
{
    struct sql_query query;
    enum study_state_name state;

    memset(counts, 0, STUDY_STATE_COUNT * sizeof *counts);
    sql_query(&query, store->reader, error, "SELECT state, count(*) FROM study WHERE instr(id, '/')=0 GROUP BY state", "");
    while (!error->code && sql_next(&query, error) == 0 && query.row)
        if (study_state_parse(sql_text(&query, 0), &state) == 0)
            counts[state] = (int)sql_integer(&query, 1);
    sql_finish(&query);
    return (int)error->code;
}

static void time_member(struct buffer *out, const char *name, int64_t ms)
{
    char text[CLOCK_TEXT_BYTES];

    if (!ms) {
        buffer_format(out, ",\"%s\":null", name);
        return;
    }
    clock_format(ms, text);
    buffer_format(out, ",\"%s\":\"%s\"", name, text);
}

static void study_line(struct buffer *out, const struct sql_query *query)
{
    buffer_text(out, "{\"id\":");
    buffer_json_string(out, sql_text(query, 0));
    buffer_text(out, ",\"name\":");
    buffer_json_string(out, sql_text(query, 1));
    buffer_text(out, ",\"state\":");
    buffer_json_string(out, sql_text(query, 2));
    buffer_text(out, ",\"reason\":");
    buffer_json_string(out, sql_text(query, 3));
    time_member(out, "created", sql_integer(query, 4));
    time_member(out, "started", sql_integer(query, 5));
    time_member(out, "ended", sql_integer(query, 6));
    buffer_text(out, "}");
}

static void item_line(struct buffer *out, const struct sql_query *query)
{
    buffer_text(out, "{\"id\":");
    buffer_json_string(out, sql_text(query, 0));
    time_member(out, "created", sql_integer(query, 1));
    const char *info = sql_text(query, 2);     /* a JSON object, our own: its members are spliced in */
    if (strlen(info) > 2) {
        buffer_text(out, ",");
        buffer_append(out, info + 1, strlen(info) - 2);
    }
    buffer_text(out, "}");
}

static const char *item_kind(const char *kind)
{
    return strcmp(kind, "checkpoints") == 0 ? "checkpoint" : "dataset";
}

static int query_page(struct sql_query *query, struct store *store, const char *kind, const char *state, int limit,
                      const char *after, struct error *error)
{
    if (strcmp(kind, "studies") != 0)
        return sql_query(query, store->reader, error,
                         "SELECT id, created_ms, info FROM item WHERE kind=? AND id>? ORDER BY id LIMIT ?", "tti",
                         item_kind(kind), after ? after : "", (int64_t)limit + 1);
    return sql_query(query, store->reader, error,
                     "SELECT id, name, state, reason, created_ms, started_ms, ended_ms FROM study"
                     " WHERE id>? AND (?='' OR state=?) AND instr(id, '/')=0 ORDER BY id LIMIT ?", "ttti", after ? after : "",
                     state ? state : "", state ? state : "", (int64_t)limit + 1);
}

int store_list(struct store *store, const char *kind, const char *state, int limit, const char *after,
               struct buffer *out, struct error *error)
{
    bool studies = strcmp(kind, "studies") == 0;
    char last[STORE_ID_BYTES] = "";
    struct sql_query query;
    bool more = false;
    int count = 0;

    buffer_text(out, "{\"items\":[");
    query_page(&query, store, kind, state, limit, after, error);
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        if (count == limit) {
            more = true;
            break;
        }
        buffer_text(out, count++ ? "," : "");
        snprintf(last, sizeof last, "%s", sql_text(&query, 0));
        (studies ? study_line : item_line)(out, &query);
    }
    sql_finish(&query);
    buffer_text(out, "],\"next\":");
    if (more)
        buffer_json_string(out, last);
    else
        buffer_text(out, "null");
    buffer_text(out, "}");
    return (int)error->code;
}

int store_item(struct store *store, const char *kind, const char *id, struct buffer *out, struct error *error)
{
    struct sql_query query;

    if (sql_query(&query, store->reader, error, "SELECT id, created_ms, info FROM item WHERE kind=? AND id=?", "tt",
                  item_kind(kind), id) == 0 && sql_next(&query, error) == 0) {
        if (query.row)
            item_line(out, &query);
        else
            error_set(error, ERROR_NOT_FOUND, "there is no %s %s; GET /v1/%s lists them", item_kind(kind), id, kind);
    }
    sql_finish(&query);
    return (int)error->code;
}

int store_item_user(struct store *store, const char *id, char study[STORE_ID_BYTES], struct error *error)
{
    struct sql_query query;

    /* a further checkpoint of an operator (fuse) stands in the echoed request alone */
    study[0] = '\0';
    if (sql_query(&query, store->reader, error,
                  "SELECT id FROM study WHERE (checkpoint=? OR train=? OR valid=? OR instr(request, '\"with\":\"'||?||'\"')>0)"
                  " AND state<>'succeeded' AND instr(id, '/')=0 LIMIT 1",
                  "tttt", id, id, id, id) == 0 && sql_next(&query, error) == 0 && query.row)
        snprintf(study, STORE_ID_BYTES, "%s", sql_text(&query, 0));
    sql_finish(&query);
    return (int)error->code;
}

int store_events(struct store *store, const char *id, uint64_t *last, int limit, struct buffer *out, bool *ended,
                 struct error *error)
{
    struct sql_query query;

    *ended = false;
    sql_query(&query, store->reader, error,
              "SELECT number, kind, data FROM event WHERE study=? AND number>? ORDER BY number LIMIT ?", "tii", id,
              (int64_t)*last, (int64_t)limit);
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        *last = (uint64_t)sql_integer(&query, 0);
        buffer_format(out, "id: %llu\nevent: ", (unsigned long long)*last);
        buffer_text(out, sql_text(&query, 1));
        buffer_text(out, "\ndata: ");
        buffer_text(out, sql_text(&query, 2));
        buffer_text(out, "\n\n");
        *ended = strcmp(sql_text(&query, 1), "end") == 0;
    }
    sql_finish(&query);
    return (int)error->code;
}
