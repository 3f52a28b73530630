/* Values of one operator as requested: look-up with the row's defaults, the checks a table can do, canonical text. */
#include "growth/operator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/memory.h"
#include "growth/plan.h"

static int parameter_index(const struct growth_operator *op, const char *name)
{
    for (int i = 0; i < op->parameter_count; i++)
        if (strcmp(op->parameters[i].name, name) == 0)
            return i;
    return -1;
}

/* The row and the value of a parameter that this operator certainly has. */
static const struct parameter_value *value_of(const struct growth_step *step, const char *name,
                                              const struct parameter **row)
{
    int index = parameter_index(step->op, name);
    CHECK(index >= 0);
    *row = &step->op->parameters[index];
    return &step->values[index];
}

const struct parameter_value *growth_step_value(const struct growth_step *step, const char *name)
{
    int index = parameter_index(step->op, name);
    return index < 0 ? NULL : &step->values[index];
}

bool growth_step_has(const struct growth_step *step, const char *name)
{
    const struct parameter *row;
    const struct parameter_value *value = value_of(step, name, &row);
    return value->present || row->fallback != NULL;
}

bool growth_step_is_null(const struct growth_step *step, const char *name)
{
    const struct parameter *row;
    const struct parameter_value *value = value_of(step, name, &row);
    if (value->present)
        return value->is_null;
    return row->fallback != NULL && strcmp(row->fallback, "null") == 0;
}

bool growth_step_is_list(const struct growth_step *step, const char *name)
{
    const struct parameter *row;
    const struct parameter_value *value = value_of(step, name, &row);
    return value->present && value->list != NULL;
}

static int choice_count(const char *choices)
{
    int count = 1;
    for (const char *c = choices; *c != '\0'; c++)
        count += *c == '|';
    return count;
}

/* The index-th of "a|b|c". */
static const char *choice_at(const char *choices, int64_t index, size_t *length)
{
    while (index-- > 0)
        choices = strchr(choices, '|') + 1;
    *length = strcspn(choices, "|");
    return choices;
}

static int64_t choice_of_fallback(const struct parameter *row)
{
    for (int i = 0; i < choice_count(row->choices); i++) {
        size_t length;
        const char *choice = choice_at(row->choices, i, &length);
        if (strncmp(row->fallback + 1, choice, length) == 0 && row->fallback[length + 1] == '"')
            return i;
    }
    CHECK(!"the row's default is one of its choices");
    return 0;
}

int64_t growth_step_integer(const struct growth_step *step, const char *name)
{
    const struct parameter *row;
    const struct parameter_value *value = value_of(step, name, &row);
    if (value->present)
        return value->integer;
    CHECK(row->fallback != NULL);
    return row->fallback[0] == '"' ? choice_of_fallback(row) : strtoll(row->fallback, NULL, 10);
}

double growth_step_number(const struct growth_step *step, const char *name)
{
    const struct parameter *row;
    const struct parameter_value *value = value_of(step, name, &row);
    if (value->present)
        return value->number;
    CHECK(row->fallback != NULL);
    return strtod(row->fallback, NULL);
}

static int refuse_range(const struct parameter *row, const char *place, double given, struct error *error)
{
    char pointer[ERROR_POINTER_BYTES];
    snprintf(pointer, sizeof pointer, "/%s%s", row->name, place);
    double nearest = given < row->minimum || isnan(given) ? row->minimum : row->maximum;
    return error_set_at(error, ERROR_INVALID, pointer, "%s must be from %.17g to %.17g (nearest valid: %.17g), "
                        "not %.17g", row->name, row->minimum, row->maximum, nearest, given);
}

static bool in_range(const struct parameter *row, double given)
{
    return given >= row->minimum && given <= row->maximum;
}

static int check_list(const struct parameter *row, const struct parameter_value *value, struct error *error)
{
    bool pairs = row->type == PARAMETER_PAIRS;
    for (int i = 0; i < value->list_count; i++) {
        bool fresh = row->type == PARAMETER_INTEGERS && row->nullable && value->list[i] == -1;
        if (fresh || in_range(row, value->list[i]))
            continue;
        char place[32];
        if (pairs)
            snprintf(place, sizeof place, "/%d/%d", i / 2, i % 2);
        else
            snprintf(place, sizeof place, "/%d", i);
        return refuse_range(row, place, value->list[i], error);
    }
    return 0;
}

int growth_step_check_ranges(const struct growth_step *step, struct error *error)
{
    for (int i = 0; i < step->op->parameter_count; i++) {
        const struct parameter *row = &step->op->parameters[i];
        const struct parameter_value *value = &step->values[i];
        int code = 0;
        if (!value->present || value->is_null)
            continue;
        if (value->list != NULL)
            code = check_list(row, value, error);
        else if (row->type == PARAMETER_INTEGER && !in_range(row, (double)value->integer))
            code = refuse_range(row, "", (double)value->integer, error);
        else if (row->type == PARAMETER_NUMBER && !in_range(row, value->number))
            code = refuse_range(row, "", value->number, error);
        if (code != 0)
            return code;
    }
    return 0;
}

static int check_present(const struct growth_operator *op, const struct parameter *row,
                         const struct parameter_value *value, struct error *error)
{
    char pointer[ERROR_POINTER_BYTES];
    snprintf(pointer, sizeof pointer, "/%s", row->name);
    if (!value->present && row->required)
        return error_set_at(error, ERROR_INVALID, pointer, "%s needs %s: %s", op->name, row->name, row->summary);
    if (!value->present)
        return 0;
    if (value->is_null && !row->nullable)
        return error_set_at(error, ERROR_INVALID, pointer, "%s must not be null: %s", row->name, row->summary);
    bool choice = row->type == PARAMETER_CHOICE || (row->type == PARAMETER_CHOICE_OR_LIST && value->list == NULL);
    if (choice && (value->integer < 0 || value->integer >= choice_count(row->choices)))
        return error_set_at(error, ERROR_INVALID, pointer, "%s must be one of %s", row->name, row->choices);
    return 0;
}

const char *growth_step_reference(const struct growth_step *step)
{
    for (int i = 0; i < step->op->parameter_count; i++)
        if (step->op->parameters[i].type == PARAMETER_CHECKPOINT && step->values[i].present)
            return step->values[i].text;
    return NULL;
}

int growth_step_join(struct growth_step *step, const struct growth_partner *partner, struct error *error)
{
    struct parameter_value *value = &step->values[parameter_index(step->op, "content")];
    if (!value->present) {
        value->text = memory_string(partner->hash);
        if (value->text == NULL)
            return error_set(error, ERROR_NO_MEMORY, "no memory to note the content of a checkpoint");
        value->present = true;
    } else if (strcmp(value->text, partner->hash) != 0) {
        return error_set_at(error, ERROR_INVALID, "/content", "the checkpoint %.200s has the content %.16s… now, not "
                            "%.16s…: give the one that was meant, or leave content out", growth_step_reference(step),
                            partner->hash, value->text);
    }
    step->partner = partner;
    return 0;
}

int growth_step_check_present(const struct growth_step *step, struct error *error)
{
    int code = 0;
    for (int i = 0; code == 0 && i < step->op->parameter_count; i++)
        code = check_present(step->op, &step->op->parameters[i], &step->values[i], error);
    return code;
}

/* Whole numbers without a point; else the shortest decimal text that reads back as the same double. */
static void append_number(struct buffer *out, double number)
{
    char text[40];
    if (number == floor(number) && fabs(number) < 9007199254740992.0) {
        buffer_format(out, "%lld", (long long)number);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    buffer_text(out, text);
}

static void append_list(struct buffer *out, const struct parameter *row, const struct parameter_value *value)
{
    bool pairs = row->type == PARAMETER_PAIRS;
    buffer_text(out, "[");
    for (int i = 0; i < value->list_count; i++) {
        buffer_text(out, i > 0 && !(pairs && i % 2 == 1) ? "," : "");
        if (pairs)
            buffer_text(out, i % 2 == 0 ? "[" : ",");
        if (row->type == PARAMETER_INTEGERS && value->list[i] < 0)
            buffer_text(out, "null");
        else
            buffer_format(out, "%d", (int)value->list[i]);
        buffer_text(out, pairs && i % 2 == 1 ? "]" : "");
    }
    buffer_text(out, "]");
}

static void append_value(struct buffer *out, const struct parameter *row, const struct parameter_value *value)
{
    size_t length;
    if (!value->present) {
        buffer_text(out, row->fallback);
    } else if (value->text != NULL) {
        buffer_json_string(out, value->text);
    } else if (value->is_null) {
        buffer_text(out, "null");
    } else if (value->list != NULL || row->type == PARAMETER_INTEGERS || row->type == PARAMETER_PAIRS) {
        append_list(out, row, value);
    } else if (row->type == PARAMETER_NUMBER) {
        append_number(out, value->number);
    } else if (row->type == PARAMETER_BOOLEAN) {
        buffer_text(out, value->integer != 0 ? "true" : "false");
    } else if (row->type == PARAMETER_CHOICE || row->type == PARAMETER_CHOICE_OR_LIST) {
        const char *choice = choice_at(row->choices, value->integer, &length);
        buffer_format(out, "\"%.*s\"", (int)length, choice);
    } else {
        buffer_format(out, "%lld", (long long)value->integer);
    }
}

void growth_list_json(const struct growth_list *list, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < list->count; i++) {
        const struct growth_step *step = &list->steps[i];
        buffer_format(out, "%s{\"op\":\"%s\"", i > 0 ? "," : "", step->op->name);
        for (int j = 0; j < step->op->parameter_count; j++) {
            const struct parameter *row = &step->op->parameters[j];
            if (!step->values[j].present && row->fallback == NULL)
                continue;
            buffer_format(out, ",\"%s\":", row->name);
            append_value(out, row, &step->values[j]);
        }
        buffer_text(out, "}");
    }
    buffer_text(out, "]");
}
