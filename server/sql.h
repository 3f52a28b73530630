/* SQLite in a few words: open with our settings, statements with typed values, errors in our table.
 * Thread rule: a connection is used by one thread at a time. */
#ifndef SERVER_SQL_H
#define SERVER_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* WAL, synchronous=FULL, foreign keys, 5 s busy time-out. read_only: the file must be there. */
int sql_open(sqlite3 **database, const char *path, bool read_only, struct error *error);
int sql_run(sqlite3 *database, const char *text, struct error *error);      /* any number of statements, no rows */

/* A query: prepare with values by format (i: int64_t, r: double, NaN becomes NULL; t: const char *, NULL allowed), then
 * while (sql_next(…) == 0 && row) read columns. sql_finish always. */
struct sql_query { sqlite3 *database; sqlite3_stmt *statement; bool row; };
int sql_query(struct sql_query *query, sqlite3 *database, struct error *error, const char *text, const char *format, ...);
int sql_next(struct sql_query *query, struct error *error);
void sql_finish(struct sql_query *query);
const char *sql_text(const struct sql_query *query, int column);        /* "" for NULL; valid until the next step */
int64_t sql_integer(const struct sql_query *query, int column);
double sql_real(const struct sql_query *query, int column);             /* NaN for NULL */
const void *sql_blob(const struct sql_query *query, int column, int *bytes);

/* Records the connection's last failure: full disk, damaged file, no memory, or I/O. Returns the code. */
int sql_error(sqlite3 *database, struct error *error, const char *doing);

#endif
