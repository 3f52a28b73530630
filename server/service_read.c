/* What the service tells: studies, lists, documents, files, events, numbers. From memory while a study runs, from the store
 * afterwards. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"

/* ---- studies */

bool service_works_on(struct service *service, const char *id)
{
    return service_run_find(service, id) != NULL;
}

/* A study that is not loaded yet, or failed before it could be: its row says what there is. */
static void row_json(struct buffer *out, const struct study_row *row, const struct run *run)
{
    buffer_text(out, "{\"id\":");
    buffer_json_string(out, row->id);
    buffer_text(out, ",\"name\":");
    buffer_json_string(out, row->name);
    buffer_format(out, ",\"state\":\"%s\",\"reason\":", study_state_text(run ? run->row.state : row->state));
    buffer_json_string(out, run ? run->reason : row->reason);
    buffer_text(out, ",\"request\":");
    buffer_text(out, row->request);
    buffer_text(out, "}");
}

int service_study_json(struct service *service, const char *id, struct buffer *out, bool *ended, struct error *error)
{
    struct run *run = service_run_find(service, id);
    struct study_row row;
    struct stages stages;

    *ended = false;
    if (run && run->has_study && !run->ending) {
        struct study_view view;
        run_view(run, &view);
        response_study(out, &view);
    } else if (store_study(&service->store, id, &row, error) == 0) {
        *ended = !run && row.state != STUDY_QUEUED && row.state != STUDY_RUNNING;
        if (*row.result)
            buffer_text(out, row.result);
        else if (stages_of(service, id, &stages, error) == 0 && stages.count > 0)
            stages_json(service, &row, &stages, run && !run->ending ? run : NULL, false, out, error);
        else
            row_json(out, &row, run && !run->ending ? run : NULL);
        study_row_fini(&row);
    }
    if (out->failed)
        error_set(error, ERROR_NO_MEMORY, "showing study %s: out of memory; try again", id);
    return (int)error->code;
}

int service_study_state(struct service *service, const char *id, enum study_state_name *state, struct error *error)
{
    struct run *run = service_run_find(service, id);
    struct study_row row;

    if (run) {
        *state = run->row.state;
    } else if (store_study(&service->store, id, &row, error) == 0) {
        *state = row.state;
        study_row_fini(&row);
    }
    return (int)error->code;
}

int service_study_reason(struct service *service, const char *id, enum study_state_name *state, char reason[512],
                         struct error *error)
{
    struct study_row row;

    if (store_study(&service->store, id, &row, error))
        return (int)error->code;
    *state = row.state;
    snprintf(reason, 512, "%.511s", row.reason);
    study_row_fini(&row);
    return 0;
}

int service_list(struct service *service, const char *kind, const char *state, int limit, const char *after,
                 struct buffer *out, struct error *error)
{
    return store_list(&service->store, kind, state, limit, after, out, error);
}

int service_show(struct service *service, const char *kind, const char *id, struct buffer *out, struct error *error)
{
    return store_item(&service->store, kind, id, out, error);
}

static void write_report(struct buffer *out, struct run *run)
{
    struct study_view view;

    run_view(run, &view);
    response_report(out, &view);
}

static int document_from_memory(struct run *run, const char *what, struct buffer *out)
{
    if (strcmp(what, "curves.csv") == 0)
        response_curves_csv(out, &run->study);
    else if (strcmp(what, "curves.json") == 0)
        response_curves_json(out, &run->study);
    else if (strcmp(what, "table.txt") == 0 && run_refresh_outcome(run) == 0)
        response_table(out, &run->study, &run->outcome, 80);
    else if (strcmp(what, "report.html") == 0)
        write_report(out, run);
    else
        response_plot(out, &run->study, run_refresh_outcome(run) == 0 ? &run->outcome : NULL,
                      *run->row.name ? run->row.name : run->row.id);
    return 0;
}

/* Points of a study that is not in memory and left no document (cancelled, failed): as CSV straight from the rows. */
static int document_from_store(struct service *service, const char *id, const char *what, struct buffer *out,
                               struct error *error)
{
    char path[FILE_PATH_BYTES], *text = NULL;
    struct study_row row;
    size_t length = 0;

    if (store_study(&service->store, id, &row, error))
        return (int)error->code;
    study_row_fini(&row);
    if (store_path(&service->store, path, error, "studies/%s/%s", id, what))
        return (int)error->code;
    if (!file_exists(path))
        return error_set(error, ERROR_CONFLICT, "study %s has no %s now; it is written when the study ends, and shown "
                         "while it runs: resume it", id, what);
    if (file_read(path, (size_t)1 << 30, &text, &length, error) == 0)
        buffer_append(out, text, length);
    memory_free(text);
    return (int)error->code;
}

int service_study_document(struct service *service, const char *id, const char *what, struct buffer *out,
                           struct error *error)
{
    struct run *run = service_run_find(service, id);
    struct stages stages;

    if (run && run->has_study)
        return document_from_memory(run, what, out);
    if (stages_of(service, id, &stages, error))
        return (int)error->code;
    if (stages.count > 0)
        return stages_document(service, id, &stages, what, out, error);
    return document_from_store(service, id, what, out, error);
}

/* ---- files */

static bool is_file_name(const char *name)
{
    static const char *const names[] = { "config.json", "model.safetensors", "initial/model.safetensors",
                                         "optimizer.safetensors", "lag_report.json", "README.md" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return !strchr(name, '/') && name[0] != '.';       /* tokenizer files */
}

static int list_files(const char *directory, struct buffer *listing, struct error *error)
{
    struct file_names names;

    if (file_list(directory, &names, error))
        return (int)error->code;
    buffer_text(listing, "{\"files\":[");
    for (int i = 0; i < names.count; i++) {
        char name[512];
        snprintf(name, sizeof name, "%s%s", names.names[i],
                 strcmp(names.names[i], "initial") == 0 ? "/model.safetensors" : "");
        buffer_text(listing, i ? "," : "");
        buffer_json_string(listing, name);
    }
    buffer_text(listing, "]}");
    file_names_free(&names);
    return 0;
}

/* The candidate's number by its name in the stored request, and the study that keeps its files: of a staged one a part. */
static int find_candidate(struct service *service, const char *id, const char *name, char keeper[SERVICE_ID_BYTES],
                          int *number, struct error *error)
{
    struct sql_query query;
    struct stages stages;

    *number = -1;
    snprintf(keeper, SERVICE_ID_BYTES, "%s", id);
    if (stages_of(service, id, &stages, error))
        return (int)error->code;
    if (stages.count > 0)
        return stages_find_candidate(service, id, &stages, name, keeper, number, error);
    sql_query(&query, service->store.reader, error,
              "SELECT CAST(c.key AS INTEGER) FROM study s, json_each(s.request, '$.candidates') c"
              " WHERE s.id=? AND json_extract(c.value, '$.name')=?", "tt", id, name);
    if (!error->code && sql_next(&query, error) == 0 && query.row)
        *number = (int)sql_integer(&query, 0);
    sql_finish(&query);
    if (!error->code && *number < 0)
        error_set(error, ERROR_NOT_FOUND, "study %s has no candidate \"%.64s\"; GET the study for its names", id, name);
    return (int)error->code;
}

int service_candidate_file(struct service *service, const char *id, const char *candidate, const char *file,
                           char path[4096], struct buffer *listing, struct error *error)
{
    char keeper[SERVICE_ID_BYTES];
    struct study_row row;
    struct stages stages;
    bool succeeded;
    int number;

    if (store_study(&service->store, id, &row, error))
        return (int)error->code;
    succeeded = row.state == STUDY_SUCCEEDED;
    study_row_fini(&row);
    if (stages_of(service, id, &stages, error)
        || ((succeeded || stages.count == 0)          /* before its end a staged study may not know its last candidates */
            && find_candidate(service, id, candidate, keeper, &number, error)))
        return (int)error->code;
    if (!succeeded)
        return error_set(error, ERROR_CONFLICT, "study %s has not succeeded yet; its files come with its end: GET it with "
                         "?wait=600", id);
    if (store_path(&service->store, path, error, "studies/%s/candidates/%d", keeper, number))
        return (int)error->code;
    if (!file_is_directory(path))
        return error_set(error, ERROR_NOT_FOUND, "the files of \"%.64s\" were not kept; set \"keep\" to \"all\" in the "
                         "next study", candidate);
    if (!*file)
        return list_files(path, listing, error);
    if (!is_file_name(file) || store_path(&service->store, path, error, "studies/%s/candidates/%d/%s", keeper, number, file)
        || !file_exists(path) || file_is_directory(path))
        return error_set(error, ERROR_NOT_FOUND, "there is no file \"%.100s\" here; the empty file name lists them", file);
    return 0;
}

/* The same of a staged study. */
static int kept_of_stages(struct service *service, const char *id, const struct stages *stages, int nth, char name[65],
                          char path[4096], struct error *error)
{
    char keeper[SERVICE_ID_BYTES];
    int number;

    for (int i = 0; stages_candidate_name(service, id, stages, i, name, error); i++)
        if (stages_find_candidate(service, id, stages, name, keeper, &number, error) == 0
            && store_path(&service->store, path, error, "studies/%s/candidates/%d", keeper, number) == 0
            && file_is_directory(path) && nth-- == 0)
            return 0;
    return error->code ? (int)error->code : -1;
}

int service_kept_directory(struct service *service, const char *id, int nth, char name[65], char path[4096],
                           struct error *error)
{
    struct sql_query query;
    struct stages stages;
    int found = -1;

    if (stages_of(service, id, &stages, error))
        return (int)error->code;
    if (stages.count > 0)
        return kept_of_stages(service, id, &stages, nth, name, path, error);
    sql_query(&query, service->store.reader, error,
              "SELECT CAST(c.key AS INTEGER), json_extract(c.value, '$.name')"
              " FROM study s, json_each(s.request, '$.candidates') c WHERE s.id=? ORDER BY 1", "t", id);
    while (found < 0 && !error->code && sql_next(&query, error) == 0 && query.row) {
        snprintf(name, 65, "%s", sql_text(&query, 1));
        if (store_path(&service->store, path, error, "studies/%s/candidates/%lld", id,
                       (long long)sql_integer(&query, 0)) == 0 && file_is_directory(path) && nth-- == 0)
            found = 0;
    }
    sql_finish(&query);
    return error->code ? (int)error->code : found;
}

/* ---- events */

int service_events(struct service *service, const char *id, uint64_t *last, int limit, struct buffer *out, bool *ended,
                   struct error *error)
{
    if (store_events(&service->store, id, last, limit, out, ended, error) == 0 && out->failed)
        error_set(error, ERROR_NO_MEMORY, "reading events: out of memory; connect again");
    return (int)error->code;
}

/* ---- readiness and numbers */

bool service_ready(const struct service *service, char reason[256])
{
    const char *why = service->draining ? "stopping"
                      : !service->started || !service->recovered ? "recovering the stored studies"
                      : service->trouble[0] ? service->trouble : "";

    snprintf(reason, 256, "%.255s", why);
    return !*why;
}

void service_ready_verbose(struct service *service, struct buffer *out)
{
    struct error error = { 0 };
    uint64_t free_bytes = 0;
    char reason[256];
    int counts[STUDY_STATE_COUNT];

    buffer_text(out, "[+]process ok\n");
    if (store_count_states(&service->store, counts, &error) == 0)
        buffer_text(out, "[+]store ok\n");
    else
        buffer_format(out, "[-]store failed: %s\n", error.message);
    error_clear(&error);
    if (file_free_bytes(service->store.directory, &free_bytes, &error) == 0 && free_bytes > (1u << 20))
        buffer_text(out, "[+]disk ok\n");
    else
        buffer_format(out, "[-]disk failed: %llu bytes free\n", (unsigned long long)free_bytes);
    if (service_ready(service, reason))
        buffer_text(out, "[+]recovery ok\n");
    else
        buffer_format(out, "[-]recovery failed: %s\n", reason);
}

/* Bytes of all files below a directory; counted again at most every half minute. */
static uint64_t tree_bytes(const char *directory, int depth)
{
    struct error ignored = { 0 };
    struct file_names names;
    uint64_t bytes = 0;

    if (file_list(directory, &names, &ignored))
        return 0;
    for (int i = 0; i < names.count; i++) {
        char path[FILE_PATH_BYTES];
        struct stat status;
        if (file_join(path, directory, names.names[i], &ignored) || lstat(path, &status))
            continue;
        if (S_ISREG(status.st_mode))
            bytes += (uint64_t)status.st_size;
        else if (S_ISDIR(status.st_mode) && depth > 0)
            bytes += tree_bytes(path, depth - 1);
    }
    file_names_free(&names);
    return bytes;
}

static void count_store(struct service *service)
{
    int64_t now = service_now(service);

    if (service->store_counted_ns && now - service->store_counted_ns < (int64_t)30 * 1000000000)
        return;
    service->store_counted_ns = now;
    service->counts.store_bytes = tree_bytes(service->store.directory, 5);
}

static void count_run(const struct run *run, struct service_counts *counts)
{
    for (int i = 0; run->has_study && i < run->spec.candidate_count; i++)
        counts->candidates[run->study.candidates[i].state]++;
}

void service_counts(struct service *service, struct service_counts *counts)
{
    struct error ignored = { 0 };

    count_store(service);
    *counts = service->counts;
    (void)store_count_states(&service->store, counts->studies, &ignored);
    for (const struct run *run = service->runs; run; run = run->next)
        count_run(run, counts);
    counts->commit_seconds = service->journal.seconds;
    (void)file_free_bytes(service->store.directory, &counts->store_free_bytes, &ignored);
    counts->workers = service->options.workers;
    for (int i = 0; i < service->options.workers; i++)
        counts->workers_busy += service->slots[i].busy;
    counts->memory_limit = service->options.memory_bytes;
    counts->memory_used = service->memory_used;
}

const struct study *service_study(struct service *service, const char *id)
{
    struct run *run = service_run_find(service, id), *part;

    for (part = service->runs; run && run->staging && part; part = part->next)
        if (part->whole == run && part->has_study)
            return &part->study;
    return run && run->has_study ? &run->study : NULL;
}

const struct study_outcome *service_outcome(struct service *service, const char *id)
{
    struct run *run = service_run_find(service, id);

    return run && run_refresh_outcome(run) == 0 ? &run->outcome : NULL;
}
