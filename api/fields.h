/* The request's fields: one table. Refusal of unknown fields, types, ranges, what a later release brings, storing
 * into the spec, the echo and the documents all read it; adding a field is one row here (and its use). What it is
 * not: checks across fields (api/request_checks.c) or the parameters of operators, optimizers and schedules (their
 * own tables). Thread rule: const. */
#ifndef API_FIELDS_H
#define API_FIELDS_H

#include <stddef.h>

#include "api/json.h"
#include "study/spec.h"

enum field_type {
    FIELD_OBJECT,
    FIELD_ARRAY,         /* of objects; their rows have "*" in the place of the index */
    FIELD_TEXT,          /* minimum and maximum: bytes */
    FIELD_INTEGER,
    FIELD_NUMBER,
    FIELD_BOOLEAN,
    FIELD_CHOICE,
    FIELD_K,             /* "auto" or an integer */
    FIELD_KEEP,          /* all, winner, top:N */
    FIELD_OPERATORS,     /* by the growth table */
    FIELD_OPTIMIZER,     /* by the trainer's tables */
    FIELD_SCHEDULE,
    FIELD_TOKENS,        /* a list of token ids; minimum and maximum: of an id */
    FIELD_CHOICES,       /* a list of different names */
    FIELD_LEARNER_STEPS, /* "auto", an integer, or a list of them; maximum: of one */
    FIELD_ANY            /* not looked into: comes with a later release */
};

/* How a value lies in struct study_spec. */
enum field_store { STORE_NONE, STORE_INT, STORE_U64, STORE_DOUBLE, STORE_BOOL, STORE_ENUM, STORE_TEXT, STORE_TOKENS, STORE_LEARNERS,
                   STORE_CHOICES /* unsigned: a bit per index */ };

struct field {
    const char *pointer;         /* JSON pointer; "*" stands for any element */
    enum field_type type;
    double minimum, maximum;     /* inclusive */
    const char *choices;         /* "a|b|c"; a value is stored as its index */
    const char *fallback;        /* default in words, for documents; NULL: none */
    const char *today;           /* NULL: every value; else the only value accepted now, as JSON text ("" for none) */
    bool nullable;               /* null means absent (stored as 0 or "") */
    enum field_store store;
    size_t offset;               /* in struct study_spec */
    bool (*shown)(const struct study_spec *spec);   /* echoed only if true; NULL: always */
    const char *summary;
};

/* The table, parents before their members. */
const struct field *field_rows(int *count);
/* The row of member `key` below `pattern` ("" at the top); NULL if there is none. */
const struct field *field_find(const char *pattern, const char *key);
const char *field_key(const struct field *field);             /* the last part of its pointer */
bool field_is_below(const struct field *field, const char *pattern);
const char *field_type_words(const struct field *field);      /* "an integer", "one of a, b" … */

/* Checks `node` (an object) against the rows below `pattern`; mistakes are recorded at `place`, up to five of them. */
int fields_check(const cJSON *node, const char *pattern, struct place *place, struct error *error);
/* Stores every plain value that is given into the spec. The node must have passed fields_check. */
void fields_store(const cJSON *node, const char *pattern, struct study_spec *spec);
/* Writes one plain value from the spec as JSON; for a row that is only accepted with one value, that value. */
void field_print(const struct field *field, const struct study_spec *spec, struct buffer *out);

#endif
