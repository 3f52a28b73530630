#include "server/changes.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "base/memory.h"

enum { CHANGE_VALUES_MAX = 20 };

struct change_value {
    char type;               /* i r t b, or n for NULL */
    int64_t integer;
    double real;
    void *bytes;             /* text or blob, owned */
    size_t length;
};

struct change {
    const char *text;
    struct change_value values[CHANGE_VALUES_MAX];
    int count;
};

void changes_init(struct changes *changes)
{
    *changes = (struct changes){ 0 };
}

void changes_fini(struct changes *changes)
{
    for (int i = 0; i < changes->count; i++)
        for (int j = 0; j < changes->items[i].count; j++)
            memory_free(changes->items[i].values[j].bytes);
    memory_free(changes->items);
    *changes = (struct changes){ 0 };
}

static int value_copy(struct change_value *value, const void *bytes, size_t length)
{
    if (!bytes) {
        value->type = 'n';
        return 0;
    }
    value->bytes = memory_array(length + 1, 1);
    if (!value->bytes)
        return -1;
    memcpy(value->bytes, bytes, length);
    value->length = length;
    return 0;
}

static int value_take(struct change_value *value, char type, va_list *values)
{
    const void *bytes;

    value->type = type;
    if (type == 'i') {
        value->integer = va_arg(*values, int64_t);
    } else if (type == 'r') {
        value->real = va_arg(*values, double);
        if (isnan(value->real))
            value->type = 'n';
    } else if (type == 't') {
        bytes = va_arg(*values, const char *);
        return value_copy(value, bytes, bytes ? strlen(bytes) : 0);
    } else {
        bytes = va_arg(*values, const void *);
        return value_copy(value, bytes, va_arg(*values, size_t));
    }
    return 0;
}

static struct change *changes_grow(struct changes *changes)
{
    if (changes->count == changes->capacity) {
        int capacity = changes->capacity ? 2 * changes->capacity : 4;
        struct change *items = memory_resize(changes->items, (size_t)capacity * sizeof *items);
        if (!items)
            return NULL;
        changes->items = items;
        changes->capacity = capacity;
    }
    return &changes->items[changes->count++];
}

void changes_add(struct changes *changes, const char *text, const char *format, ...)
{
    struct change *change = changes->failed ? NULL : changes_grow(changes);
    va_list values;

    if (!change) {
        changes->failed = true;
        return;
    }
    memset(change, 0, sizeof *change);
    change->text = text;
    va_start(values, format);
    for (; format[change->count] && change->count < CHANGE_VALUES_MAX; change->count++) {
        if (value_take(&change->values[change->count], format[change->count], &values)) {
            changes->failed = true;
            break;
        }
    }
    va_end(values);
}

static void bind_change(sqlite3_stmt *statement, const struct change *change)
{
    for (int i = 0; i < change->count; i++) {
        const struct change_value *value = &change->values[i];

        if (value->type == 'i')
            sqlite3_bind_int64(statement, i + 1, value->integer);
        else if (value->type == 'r')
            sqlite3_bind_double(statement, i + 1, value->real);
        else if (value->type == 't')
            sqlite3_bind_text(statement, i + 1, value->bytes, (int)value->length, SQLITE_STATIC);
        else if (value->type == 'b')
            sqlite3_bind_blob64(statement, i + 1, value->bytes, value->length, SQLITE_STATIC);
        else
            sqlite3_bind_null(statement, i + 1);
    }
}

int changes_apply(const struct changes *changes, sqlite3 *database, struct error *error)
{
    if (changes->failed)
        return error_set(error, ERROR_NO_MEMORY, "writing the store: out of memory; it is tried again");
    for (int i = 0; i < changes->count; i++) {
        sqlite3_stmt *statement = NULL;
        int status = sqlite3_prepare_v2(database, changes->items[i].text, -1, &statement, NULL);

        if (status == SQLITE_OK) {
            bind_change(statement, &changes->items[i]);
            status = sqlite3_step(statement);
        }
        if (status != SQLITE_DONE && status != SQLITE_ROW && status != SQLITE_OK) {
            int code = sql_error(database, error, "writing the store");
            sqlite3_finalize(statement);
            return code;
        }
        sqlite3_finalize(statement);
    }
    return 0;
}
