#include "server/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/memory.h"

static const char schema_text[] =
    "CREATE TABLE IF NOT EXISTS study("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, request TEXT NOT NULL,"
    " idempotency_key TEXT UNIQUE, body_hash TEXT, content TEXT NOT NULL,"
    " checkpoint TEXT NOT NULL, train TEXT NOT NULL, valid TEXT NOT NULL,"
    " checkpoint_hash TEXT NOT NULL, data_hash TEXT NOT NULL,"
    " created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,"
    " result TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS study_state ON study(state, id);"
    "CREATE INDEX IF NOT EXISTS study_content ON study(content);"
    "CREATE TABLE IF NOT EXISTS candidate("
    " study TEXT NOT NULL REFERENCES study(id) ON DELETE CASCADE, number INTEGER NOT NULL, state TEXT NOT NULL,"
    " reason TEXT NOT NULL, same_as INTEGER NOT NULL, diverged_step INTEGER NOT NULL, grown INTEGER NOT NULL,"
    " hash TEXT NOT NULL, parameters INTEGER NOT NULL, flops_per_token REAL, preservation REAL, loss_before REAL,"
    " step INTEGER NOT NULL, seconds REAL NOT NULL, PRIMARY KEY(study, number)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS point("
    " study TEXT NOT NULL REFERENCES study(id) ON DELETE CASCADE, candidate INTEGER NOT NULL, step INTEGER NOT NULL,"
    " tokens INTEGER NOT NULL, flops REAL, loss REAL, standard_error REAL, raw_loss REAL, learning_rate REAL,"
    " losses BLOB NOT NULL, PRIMARY KEY(study, candidate, step)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS event("
    " number INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL REFERENCES study(id) ON DELETE CASCADE,"
    " kind TEXT NOT NULL, identity TEXT NOT NULL, data TEXT NOT NULL, UNIQUE(study, kind, identity));"
    "CREATE INDEX IF NOT EXISTS event_study ON event(study, number);"
    "CREATE TABLE IF NOT EXISTS item("
    " id TEXT PRIMARY KEY, kind TEXT NOT NULL, created_ms INTEGER NOT NULL, info TEXT NOT NULL) WITHOUT ROWID;";

int store_path(const struct store *store, char path[FILE_PATH_BYTES], struct error *error, const char *format, ...)
{
    char name[FILE_PATH_BYTES];
    va_list arguments;

    va_start(arguments, format);
    int length = vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof name)
        return error_set(error, ERROR_INVALID, "a path below the store is too long; use a shorter --store");
    return file_join(path, store->directory, name, error);
}

static int lock_refused(const struct store *store, const char *path, struct error *error)
{
    char *owner = NULL;
    size_t length = 0;
    struct error ignored = { 0 };

    (void)file_read(path, 4096, &owner, &length, &ignored);
    int code = error_set(error, ERROR_CONFLICT,
                         "the store %s is in use by process %.20s; stop that process or choose another --store",
                         store->directory, owner && *owner ? owner : "(unknown)");
    memory_free(owner);
    return code;
}

static int lock_take(struct store *store, struct error *error)
{
    char path[FILE_PATH_BYTES], owner[32];

    if (store_path(store, path, error, "lag.lock"))
        return (int)error->code;
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (store->lock_fd < 0)
        return error_set_errno(error, errno, "cannot open %s", path);
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB)) {
        close(store->lock_fd);
        store->lock_fd = -1;
        return lock_refused(store, path, error);
    }
    int length = snprintf(owner, sizeof owner, "%ld", (long)getpid());
    if (ftruncate(store->lock_fd, 0) || pwrite(store->lock_fd, owner, (size_t)length, 0) != length)
        return error_set_errno(error, errno, "cannot write %s", path);
    return 0;
}

static int make_directories(const struct store *store, struct error *error)
{
    static const char *const names[] = { "checkpoints", "datasets", "studies", "uploads" };
    char path[FILE_PATH_BYTES];

    if (store_path(store, path, error, "uploads") || file_remove_tree(path, error))
        return (int)error->code;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (store_path(store, path, error, "%s", names[i]) || file_make_directory(path, error))
            return (int)error->code;
    return 0;
}

static int schema_check(struct store *store, struct error *error)
{
    struct sql_query query;
    int64_t version = 0;

    if (sql_query(&query, store->writer, error, "PRAGMA user_version", "") == 0 && sql_next(&query, error) == 0
        && query.row)
        version = sql_integer(&query, 0);
    sql_finish(&query);
    if (error->code)
        return (int)error->code;
    if (version > STORE_SCHEMA)
        return error_set(error, ERROR_INVALID, "the store %s was written by a newer lag (schema %lld, this one knows %d); "
                         "use that version, or another --store", store->directory, (long long)version, STORE_SCHEMA);
    if (sql_run(store->writer, "BEGIN IMMEDIATE", error) || sql_run(store->writer, schema_text, error)
        || sql_run(store->writer, "PRAGMA user_version=1; COMMIT", error))
        return (int)error->code;
    return 0;
}

static int open_databases(struct store *store, struct error *error)
{
    char path[FILE_PATH_BYTES];

    if (store_path(store, path, error, "lag.db") || sql_open(&store->writer, path, false, error)
        || schema_check(store, error) || sql_open(&store->reader, path, true, error))
        return (int)error->code;
    return 0;
}

int store_open(struct store *store, const char *directory, struct error *error)
{
    *store = (struct store){ .lock_fd = -1 };
    if (file_make_directory(directory, error))
        return error_wrap(error, "cannot use the store %s", directory);
    char *resolved = realpath(directory, store->directory);
    if (!resolved)
        return error_set_errno(error, errno, "cannot use the store %s", directory);
    if (lock_take(store, error) || make_directories(store, error) || open_databases(store, error)) {
        store_close(store);
        return (int)error->code;
    }
    return 0;
}

void store_close(struct store *store)
{
    sqlite3_close(store->reader);
    sqlite3_close(store->writer);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    *store = (struct store){ .lock_fd = -1 };
}

void study_row_fini(struct study_row *row)
{
    memory_free(row->name);
    memory_free(row->reason);
    memory_free(row->request);
    memory_free(row->idempotency_key);
    memory_free(row->body_hash);
    memory_free(row->checkpoint);
    memory_free(row->train);
    memory_free(row->valid);
    memory_free(row->content);
    memory_free(row->result);
    *row = (struct study_row){ 0 };
}

void id_list_fini(struct id_list *list)
{
    memory_free(list->ids);
    *list = (struct id_list){ 0 };
}
