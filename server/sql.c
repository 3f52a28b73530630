#include "server/sql.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>

int sql_error(sqlite3 *database, struct error *error, const char *doing)
{
    int status = database ? sqlite3_errcode(database) : SQLITE_NOMEM;
    const char *text = database ? sqlite3_errmsg(database) : "out of memory";

    switch (status) {
    case SQLITE_FULL:
        return error_set(error, ERROR_DISK_FULL, "%s: the store's disk is full; free some space, it is tried again", doing);
    case SQLITE_NOMEM:
        return error_set(error, ERROR_NO_MEMORY, "%s: out of memory", doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return error_set(error, ERROR_DAMAGED, "%s: %s; run `lag check` on the store, it names the repair", doing, text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(error, ERROR_UNAVAILABLE, "%s: the store's database is busy; try again", doing);
    default:
        return error_set(error, ERROR_IO, "%s: %s", doing, text);
    }
}

int sql_run(sqlite3 *database, const char *text, struct error *error)
{
    if (sqlite3_exec(database, text, NULL, NULL, NULL) != SQLITE_OK)
        return sql_error(database, error, "the store's database");
    return 0;
}

int sql_open(sqlite3 **database, const char *path, bool read_only, struct error *error)
{
    int flags = read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;

    *database = NULL;
    if (sqlite3_open_v2(path, database, flags | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        int code = sql_error(*database, error, "cannot open the store's database");
        sqlite3_close(*database);
        *database = NULL;
        return code;
    }
    sqlite3_busy_timeout(*database, 5000);
    if (!read_only
        && sql_run(*database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;", error)) {
        sqlite3_close(*database);
        *database = NULL;
        return (int)error->code;
    }
    return 0;
}

static void bind_value(sqlite3_stmt *statement, int index, char type, va_list *values)
{
    if (type == 'i') {
        sqlite3_bind_int64(statement, index, va_arg(*values, int64_t));
    } else if (type == 'r') {
        double value = va_arg(*values, double);
        if (isnan(value))
            sqlite3_bind_null(statement, index);
        else
            sqlite3_bind_double(statement, index, value);
    } else {
        const char *text = va_arg(*values, const char *);
        if (text)
            sqlite3_bind_text(statement, index, text, -1, SQLITE_TRANSIENT);
        else
            sqlite3_bind_null(statement, index);
    }
}

int sql_query(struct sql_query *query, sqlite3 *database, struct error *error, const char *text, const char *format, ...)
{
    va_list values;

    query->database = database;
    query->statement = NULL;
    query->row = false;
    if (sqlite3_prepare_v2(database, text, -1, &query->statement, NULL) != SQLITE_OK)
        return sql_error(database, error, "reading the store");
    va_start(values, format);
    for (int i = 0; format[i]; i++)
        bind_value(query->statement, i + 1, format[i], &values);
    va_end(values);
    return 0;
}

int sql_next(struct sql_query *query, struct error *error)
{
    int status = query->statement ? sqlite3_step(query->statement) : SQLITE_DONE;

    query->row = status == SQLITE_ROW;
    if (status == SQLITE_ROW || status == SQLITE_DONE)
        return 0;
    return sql_error(query->database, error, "reading the store");
}

void sql_finish(struct sql_query *query)
{
    sqlite3_finalize(query->statement);
    query->statement = NULL;
}

const char *sql_text(const struct sql_query *query, int column)
{
    const char *text = (const char *)sqlite3_column_text(query->statement, column);
    return text ? text : "";
}

int64_t sql_integer(const struct sql_query *query, int column)
{
    return sqlite3_column_int64(query->statement, column);
}

double sql_real(const struct sql_query *query, int column)
{
    if (sqlite3_column_type(query->statement, column) == SQLITE_NULL)
        return (double)NAN;
    return sqlite3_column_double(query->statement, column);
}

const void *sql_blob(const struct sql_query *query, int column, int *bytes)
{
    const void *blob = sqlite3_column_blob(query->statement, column);
    *bytes = sqlite3_column_bytes(query->statement, column);
    return blob;
}
