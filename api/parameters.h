/* Values described by struct parameter (of operators, optimizers, schedules): JSON -> parameter_value, and the tables
 * as JSON Schema. What it is not: the tables themselves. Thread rule: const and caller-owned. */
#ifndef API_PARAMETERS_H
#define API_PARAMETERS_H

#include "api/json.h"
#include "base/parameter.h"

struct parameter_table {
    const char *owner;                  /* whose they are, for messages: "stack" */
    const char *key;                    /* the member that named the owner ("op", "name"): skipped */
    const struct parameter *parameters;
    int count;
    /* A chance to say something better about a member that is not in the table: nonzero if it recorded a refusal.
     * NULL: none. */
    int (*unknown)(const struct parameter_table *table, const char *member, const struct place *place,
                   struct error *error);
    bool owner_judges;                  /* ranges of integers are left to the owner, who knows nearer valid values */
};

/* Reads the members of `object` into values[count] (zeroed by the caller, in the table's order; lists are owned by
 * the values, also after a failure). Unknown members, wrong types, values out of range and missing ones are recorded
 * at `place`; defaults with a fixed text become present values. ERROR_INVALID, ERROR_NO_MEMORY. */
int parameters_read(const struct parameter_table *table, const cJSON *object, struct place *place,
                    struct parameter_value *values, struct error *error);

/* {"type": "object", "properties": {…}, "required": […], "additionalProperties": false}; `name`: the constant value
 * of the member `key`. */
void parameters_schema(const struct parameter_table *table, const char *name, struct buffer *out);
/* "layers (integer, required), block (integer; default …)" for the text tables. */
void parameter_words(const struct parameter *parameter, struct buffer *out);

/* Shared by the field table: a number's range, a text's choices. */
int range_check(const char *name, double value, double minimum, double maximum, const struct place *place,
                struct error *error);
int choice_check(const char *name, const char *text, const char *choices, const struct place *place,
                 struct error *error);

#endif
