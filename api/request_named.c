#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"
#include "base/check.h"

enum bind_kind { BIND_U64, BIND_DOUBLE, BIND_PAIR, BIND_CHOICE, BIND_BOOL };
struct binding { const char *name; enum bind_kind kind; size_t offset; };

static const struct binding OPTIMIZER_BINDINGS[] = {
    {"betas", BIND_PAIR, offsetof(struct training, optimizer.beta1)},
    {"epsilon", BIND_DOUBLE, offsetof(struct training, optimizer.epsilon)},
    {"weight_decay", BIND_DOUBLE, offsetof(struct training, optimizer.weight_decay)},
    {"momentum", BIND_DOUBLE, offsetof(struct training, optimizer.momentum)},
    {"nesterov", BIND_BOOL, offsetof(struct training, optimizer.nesterov)},
    {"r", BIND_DOUBLE, offsetof(struct training, optimizer.r)},
    {"weight_power", BIND_DOUBLE, offsetof(struct training, optimizer.weight_power)},
    {"decay_at", BIND_CHOICE, offsetof(struct training, optimizer.decay_at)},
    {"decoupling", BIND_DOUBLE, offsetof(struct training, optimizer.decoupling)},
    {"averaged_moments", BIND_BOOL, offsetof(struct training, learners.averaged_moments)},
};
static const struct binding SCHEDULE_BINDINGS[] = {
    {"warmup_steps", BIND_U64, offsetof(struct training, schedule.warmup_steps)},
    {"decay_steps", BIND_U64, offsetof(struct training, schedule.decay_steps)},
    {"decay_form", BIND_CHOICE, offsetof(struct training, schedule.decay_form)},
    {"minimum", BIND_DOUBLE, offsetof(struct training, schedule.minimum)},
    {"a", BIND_DOUBLE, offsetof(struct training, schedule.a)},
    {"b", BIND_DOUBLE, offsetof(struct training, schedule.b)},
    {"maximum", BIND_DOUBLE, offsetof(struct training, learning_rate)},
    {"tokens_seen", BIND_U64, offsetof(struct training, schedule.tokens_seen)},
};
_Static_assert(offsetof(struct optimizer_spec, beta2) == offsetof(struct optimizer_spec, beta1) + sizeof(double),
               "betas");
_Static_assert(DECAY_AT_Y == 0 && DECAY_AT_Z == 1 && sizeof(enum decay_point) == sizeof(int), "decay_at");

#define COUNT(array) (int)(sizeof(array) / sizeof *(array))
const struct named NAMED_OPTIMIZER = {
    "optimizer", "/training/optimizer", optimizer_rows, OPTIMIZER_BINDINGS, COUNT(OPTIMIZER_BINDINGS),
    offsetof(struct training, optimizer.name)};
const struct named NAMED_SCHEDULE = {
    "schedule", "/training/schedule", schedule_rows, SCHEDULE_BINDINGS, COUNT(SCHEDULE_BINDINGS),
    offsetof(struct training, schedule.name)};

static const struct binding *binding_find(const struct named *named, const char *name)
{
    for (int i = 0; i < named->binding_count; i++)
        if (!strcmp(named->bindings[i].name, name)) return &named->bindings[i];
    return NULL;
}

bool named_is_bound(const struct named *named, const char *parameter)
{
    return binding_find(named, parameter) != NULL;
}

/* The names that can be used now, "a, b". */
static void list_available(const struct table_row *rows, int count, char text[256])
{
    text[0] = 0;
    for (int i = 0; i < count; i++) {
        size_t length = strlen(text);
        if (rows[i].available) snprintf(text + length, 256 - length, "%s%s", length ? ", " : "", rows[i].name);
    }
}

/* The row that the object names; the table's first when it names none. NULL after a refusal. */
static const struct table_row *row_of(const struct named *named, const cJSON *node, const struct place *place,
                                      struct error *error)
{
    int count;
    const struct table_row *rows = named->rows(&count);
    const cJSON *name = json_member(node, "name");
    char available[256];
    list_available(rows, count, available);
    if (!name) return &rows[0];
    if (!cJSON_IsString(name)) {
        refuse_member(error, place, "name", "name must be text, not %s; valid: %s", json_kind(name), available);
        return NULL;
    }
    const char *names[32];
    for (int i = 0; i < count && i < 32; i++) {
        names[i] = rows[i].name;
        if (strcmp(rows[i].name, name->valuestring)) continue;
        if (rows[i].available) return &rows[i];
        refuse_member(error, place, "name", "the %s %s arrives in a later release; use one of: %s", named->what,
                      rows[i].name, available);
        return NULL;
    }
    struct shown shown = shown_text(name->valuestring);
    const char *nearest = name_nearest(name->valuestring, names, count);
    if (nearest)
        refuse_member(error, place, "name", "unknown %s \"%s\"; did you mean \"%s\"?", named->what, shown.text,
                      nearest);
    else
        refuse_member(error, place, "name", "unknown %s \"%s\"; use one of: %s", named->what, shown.text, available);
    return NULL;
}

/* What comes later, or belongs to another row, deserves a better sentence than "unknown". */
static int explain_unknown(const struct named *named, const struct parameter_table *table, const char *member,
                           const struct place *place, struct error *error)
{
    int count;
    const struct table_row *rows = named->rows(&count);
    for (int i = 0; i < count; i++)
        for (int j = 0; rows[i].available && j < rows[i].parameter_count; j++)
            if (!strcmp(rows[i].parameters[j].name, member))
                return refuse(error, place, "%s belongs to the %s %s, not to %s; leave it out or use that %s", member,
                              named->what, rows[i].name, table->owner, named->what);
    const struct field *field = field_find(named->pattern, member);
    if (!field) return 0;
    return refuse(error, place, "%s (%s) arrives in a later release; leave it out", member, field->summary);
}

static int optimizer_unknown(const struct parameter_table *table, const char *member, const struct place *place,
                             struct error *error)
{
    return explain_unknown(&NAMED_OPTIMIZER, table, member, place, error);
}

static int schedule_unknown(const struct parameter_table *table, const char *member, const struct place *place,
                            struct error *error)
{
    return explain_unknown(&NAMED_SCHEDULE, table, member, place, error);
}

enum { NAMED_PARAMETERS_MAX = 16 };

static int named_read(const struct named *named, const cJSON *node, const struct table_row *row, struct place *place,
                      struct parameter_value values[NAMED_PARAMETERS_MAX], struct error *error)
{
    CHECK(row->parameter_count <= NAMED_PARAMETERS_MAX);
    struct parameter_table table = {row->name, "name", row->parameters, row->parameter_count,
                                    named == &NAMED_OPTIMIZER ? optimizer_unknown : schedule_unknown, false};
    return parameters_read(&table, node, place, values, error);
}

int named_check(const struct named *named, const cJSON *node, struct place *place, struct error *error)
{
    struct parameter_value values[NAMED_PARAMETERS_MAX] = {{0}};
    const struct table_row *row = row_of(named, node, place, error);
    return row ? named_read(named, node, row, place, values, error) : ERROR_INVALID;
}

static void binding_store(const struct binding *binding, const struct parameter_value *value, struct training *training)
{
    char *at = (char *)training + binding->offset;
    switch (binding->kind) {
    case BIND_U64: { uint64_t number = (uint64_t)value->integer; memcpy(at, &number, sizeof number); return; }
    case BIND_DOUBLE: memcpy(at, &value->number, sizeof value->number); return;
    case BIND_PAIR: memcpy(at, value->numbers, 2 * sizeof(double)); return;
    case BIND_CHOICE: { int choice = (int)value->integer; memcpy(at, &choice, sizeof choice); return; }
    case BIND_BOOL: { bool answer = value->integer != 0; memcpy(at, &answer, sizeof answer); return; }
    }
}

int named_store(const struct named *named, const cJSON *node, struct training *training, struct error *error)
{
    struct parameter_value values[NAMED_PARAMETERS_MAX] = {{0}};
    struct place place = {0};
    if (!node) return 0;
    const struct table_row *row = row_of(named, node, &place, error);
    int code = row ? named_read(named, node, row, &place, values, error) : ERROR_INVALID;
    if (code) return code;
    int count, index = (int)(row - named->rows(&count));
    memcpy((char *)training + named->name_offset, &index, sizeof index);
    for (int i = 0; i < row->parameter_count; i++) {
        const struct binding *binding = binding_find(named, row->parameters[i].name);
        if (binding && values[i].present) binding_store(binding, &values[i], training);
    }
    return 0;
}

static void binding_print(const struct binding *binding, const struct parameter *parameter,
                          const struct training *training, struct buffer *out)
{
    const char *at = (const char *)training + binding->offset;
    uint64_t number;
    double pair[2];
    int choice;
    bool answer;
    char name[CHOICE_BYTES];
    switch (binding->kind) {
    case BIND_BOOL: memcpy(&answer, at, sizeof answer); buffer_text(out, answer ? "true" : "false"); return;
    case BIND_U64: memcpy(&number, at, sizeof number); json_unsigned(out, number); return;
    case BIND_DOUBLE: memcpy(pair, at, sizeof *pair); json_number(out, pair[0]); return;
    case BIND_PAIR:
        memcpy(pair, at, sizeof pair);
        buffer_text(out, "[");
        json_number(out, pair[0]);
        buffer_text(out, ", ");
        json_number(out, pair[1]);
        buffer_text(out, "]");
        return;
    case BIND_CHOICE:
        memcpy(&choice, at, sizeof choice);
        choice_name(parameter->choices, choice, name);
        buffer_json_string(out, name);
        return;
    }
}

void named_print(const struct named *named, const struct training *training, struct buffer *out)
{
    int count, index;
    bool first = true;
    memcpy(&index, (const char *)training + named->name_offset, sizeof index);
    const struct table_row *row = &named->rows(&count)[index];
    buffer_text(out, "{");
    json_key(out, &first, "name");
    buffer_json_string(out, row->name);
    for (int i = 0; i < row->parameter_count; i++) {
        const struct binding *binding = binding_find(named, row->parameters[i].name);
        if (!binding) continue;
        json_key(out, &first, row->parameters[i].name);
        binding_print(binding, &row->parameters[i], training, out);
    }
    buffer_text(out, "}");
}
