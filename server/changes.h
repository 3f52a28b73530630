/* Changes: a list of database writes with their values, built on the loop thread and applied later by the journal on a
 * worker. Values are copied. A list that ran out of memory keeps `failed` set and applies nothing. */
#ifndef SERVER_CHANGES_H
#define SERVER_CHANGES_H

#include "server/sql.h"

struct change;

struct changes {
    struct change *items;
    int count, capacity;
    bool failed;
};

void changes_init(struct changes *changes);
void changes_fini(struct changes *changes);
/* `text` is a constant; format as sql_query, and b: (const void *, size_t) a blob. */
void changes_add(struct changes *changes, const char *text, const char *format, ...);
/* Applies all in order; the caller holds the transaction. ERROR_NO_MEMORY if building failed. */
int changes_apply(const struct changes *changes, sqlite3 *database, struct error *error);

#endif
