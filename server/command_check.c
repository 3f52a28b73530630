/* lag check STORE: verifies a store and names the repair of each finding. Reads only. Exit 0 clean, 3 damaged. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/request.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "server/command.h"
#include "server/items.h"
#include "server/sources.h"
#include "server/store.h"
#include "trainer/trial.h"

struct checking {
    const char *directory;
    sqlite3 *database;
    struct buffer findings;           /* JSON members or text lines */
    bool json;
    int count, looked;
};

static void found(struct checking *checking, const char *where, const char *what, const char *repair)
{
    struct buffer *out = &checking->findings;

    if (checking->json) {
        buffer_text(out, checking->count ? ",{\"where\":" : "{\"where\":");
        buffer_json_string(out, where);
        buffer_text(out, ",\"what\":");
        buffer_json_string(out, what);
        buffer_text(out, ",\"repair\":");
        buffer_json_string(out, repair);
        buffer_text(out, "}");
    } else {
        buffer_format(out, "%s: %s\n  repair: %s\n", where, what, repair);
    }
    checking->count++;
}

static int path_of(const struct checking *checking, char path[FILE_PATH_BYTES], const char *first, const char *id,
                   const char *last)
{
    int length = snprintf(path, FILE_PATH_BYTES, "%s/%s%s%s%s%s", checking->directory, first, *id ? "/" : "", id,
                          *last ? "/" : "", last);
    return length < FILE_PATH_BYTES ? 0 : -1;
}

/* ---- database */

static int check_database(struct checking *checking, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct sql_query query;

    if (path_of(checking, path, "lag.db", "", "") || !file_exists(path))
        return error_set(error, ERROR_INVALID, "%s holds no store (no lag.db); give the directory that --store named",
                         checking->directory);
    if (sql_open(&checking->database, path, true, error))
        return (int)error->code;
    sql_query(&query, checking->database, error, "PRAGMA integrity_check", "");
    while (!error->code && sql_next(&query, error) == 0 && query.row)
        if (strcmp(sql_text(&query, 0), "ok") != 0)
            found(checking, "lag.db", sql_text(&query, 0),
                  "sqlite3 lag.db .recover | sqlite3 new.db, then put new.db in its place");
    sql_finish(&query);
    checking->looked++;
    return (int)error->code;
}

/* ---- items */

static void check_checkpoint(struct checking *checking, const char *id)
{
    struct checkpoint_load options = { .moments = true };
    struct checkpoint checkpoint;
    struct error error = { 0 };
    char path[FILE_PATH_BYTES], actual[STORE_ID_BYTES];

    if (path_of(checking, path, "checkpoints", id, ""))
        return;
    if (checkpoint_load(&checkpoint, path, &options, &error)) {
        found(checking, path, error.message, "delete the checkpoint (DELETE /v1/checkpoints/{id}) and upload it again");
        return;
    }
    if (item_checkpoint_id(path, checkpoint.hash, actual, &error) || strcmp(actual, id) != 0)
        found(checking, path, "its files are not what its name says", "delete the checkpoint and upload it again");
    checkpoint_fini(&checkpoint);
}

static void check_dataset(struct checking *checking, const char *id)
{
    char path[FILE_PATH_BYTES], hex[65];
    struct error error = { 0 };

    if (path_of(checking, path, "datasets", id, "tokens"))
        return;
    if (source_hash_file(path, hex, &error))
        found(checking, path, error.message, "delete the dataset (DELETE /v1/datasets/{id}) and upload it again");
    else if (strncmp(hex, id + strlen("data_"), strlen(id) - strlen("data_")) != 0)
        found(checking, path, "its bytes are not what its name says", "delete the dataset and upload it again");
}

static int check_items(struct checking *checking, struct error *error)
{
    struct sql_query query;

    sql_query(&query, checking->database, error, "SELECT id, kind FROM item ORDER BY id", "");
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        char id[STORE_ID_BYTES];
        snprintf(id, sizeof id, "%s", sql_text(&query, 0));
        bool checkpoint = strcmp(sql_text(&query, 1), "checkpoint") == 0;
        (checkpoint ? check_checkpoint : check_dataset)(checking, id);
        checking->looked++;
    }
    sql_finish(&query);
    return (int)error->code;
}

/* ---- studies */

static void check_trials(struct checking *checking, const char *id)
{
    char path[FILE_PATH_BYTES], file[FILE_PATH_BYTES];
    struct error error = { 0 };
    struct file_names names;

    if (path_of(checking, path, "studies", id, "trials") || !file_is_directory(path) || file_list(path, &names, &error))
        return;
    for (int i = 0; i < names.count; i++) {
        struct error inner = { 0 };
        if (file_is_temporary(names.names[i]))        /* being written, or left by a crash: never read */
            continue;
        if (file_join(file, path, names.names[i], &inner) || trial_file_check(file, &inner))
            found(checking, file, inner.message, "remove the file: its trial is trained anew, with the same result");
        checking->looked++;
    }
    file_names_free(&names);
}

static void check_documents(struct checking *checking, const char *id)
{
    static const char *const documents[] = { "curves.csv", "curves.json", "plot.svg", "report.html", "table.txt",
                                             "candidates" };
    char path[FILE_PATH_BYTES];

    size_t count = sizeof documents / sizeof *documents - (strchr(id, '/') != NULL);     /* a stage's go when it is over */

    for (size_t i = 0; i < count; i++)
        if (path_of(checking, path, "studies", id, documents[i]) == 0 && !file_exists(path))
            found(checking, path, "missing from a study that succeeded",
                  "send the study again with a new Idempotency-Key; it gives the identical result");
}

static void check_candidate_files(struct checking *checking, const char *id)
{
    char path[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    struct checkpoint_load options = { .moments = true };
    struct error error = { 0 };
    struct file_names names;

    if (path_of(checking, path, "studies", id, "candidates") || !file_is_directory(path)
        || file_list(path, &names, &error))
        return;
    for (int i = 0; i < names.count; i++) {
        struct checkpoint checkpoint;
        struct error inner = { 0 };

        checking->looked++;
        if (file_join(directory, path, names.names[i], &inner))
            continue;
        if (strstr(names.names[i], ".new")) {
            found(checking, directory, "left over from an interrupted write", "remove the directory");
        } else if (checkpoint_load(&checkpoint, directory, &options, &inner) == 0) {
            checkpoint_fini(&checkpoint);
        } else {
            found(checking, directory, inner.message,
                  "send the study again with a new Idempotency-Key; it gives the identical result");
        }
    }
    file_names_free(&names);
}

/* Whether it is a staged one, whose documents are put together when they are asked for. */
static bool check_request(struct checking *checking, const char *id, const char *text)
{
    struct error error = { 0 };
    struct request *request = NULL;

    if (request_new(&request, text, strlen(text), &error))
        found(checking, id, error.message, "delete the study (DELETE /v1/studies/{id}) and send it again");
    bool staged = request && request_is_staged(request);
    request_free(request);
    return staged;
}

static int check_studies(struct checking *checking, struct error *error)
{
    struct sql_query query;

    sql_query(&query, checking->database, error, "SELECT id, state, request FROM study ORDER BY id", "");
    while (!error->code && sql_next(&query, error) == 0 && query.row) {
        enum study_state_name state;
        char id[STORE_ID_BYTES];

        snprintf(id, sizeof id, "%s", sql_text(&query, 0));
        checking->looked++;
        if (study_state_parse(sql_text(&query, 1), &state)) {
            found(checking, id, "unknown state", "delete the study and send it again");
            continue;
        }
        bool staged = check_request(checking, id, sql_text(&query, 2));
        check_trials(checking, id);
        if (state == STUDY_SUCCEEDED) {        /* before, what lies there is written anew at the end */
            check_candidate_files(checking, id);
            if (!staged)
                check_documents(checking, id);
        }
    }
    sql_finish(&query);
    return (int)error->code;
}

/* Directories that no row knows: left by a crash between deleting a row and its files. */
static int check_orphans(struct checking *checking, const char *kind, const char *select, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct file_names names;

    if (path_of(checking, path, kind, "", "") || !file_is_directory(path) || file_list(path, &names, error))
        return (int)error->code;
    for (int i = 0; i < names.count && !error->code; i++) {
        struct sql_query query;
        if (sql_query(&query, checking->database, error, select, "t", names.names[i]) == 0
            && sql_next(&query, error) == 0 && !query.row)
            found(checking, names.names[i], "files that no row of the database knows", "remove the directory");
        sql_finish(&query);
    }
    file_names_free(&names);
    return (int)error->code;
}

static void tell(const struct checking *checking, struct error *error)
{
    struct buffer out;

    buffer_init(&out);
    if (checking->json) {
        buffer_format(&out, "{\"checked\":%d,\"findings\":[", checking->looked);
        if (checking->findings.length)
            buffer_append(&out, checking->findings.data, checking->findings.length);
        buffer_text(&out, "]}\n");
    } else {
        if (checking->findings.length)
            buffer_append(&out, checking->findings.data, checking->findings.length);
        buffer_format(&out, "%d things checked, %d found wrong\n", checking->looked, checking->count);
    }
    command_print(&out, error);
    buffer_fini(&out);
}

int command_check(const struct options *options, struct error *error)
{
    struct checking checking = { .directory = options->arguments[0], .json = options->values[OPTION_JSON] != NULL };

    buffer_init(&checking.findings);
    if (check_database(&checking, error) == 0 && check_items(&checking, error) == 0
        && check_studies(&checking, error) == 0
        && check_orphans(&checking, "studies", "SELECT 1 FROM study WHERE id=?", error) == 0
        && check_orphans(&checking, "checkpoints", "SELECT 1 FROM item WHERE id=?", error) == 0)
        check_orphans(&checking, "datasets", "SELECT 1 FROM item WHERE id=?", error);
    sqlite3_close(checking.database);
    if (!error->code || checking.count > 0)         /* what was found is said, even if the looking had to end early */
        tell(&checking, error);
    buffer_fini(&checking.findings);
    return checking.count > 0 ? 3 : 0;
}
