#include "api/parameters.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

static const char *const TYPE_WORDS[] = {
    [PARAMETER_INTEGER] = "an integer",
    [PARAMETER_NUMBER] = "a number",
    [PARAMETER_BOOLEAN] = "true or false",
    [PARAMETER_CHOICE] = "text",
    [PARAMETER_INTEGERS] = "a list of integers",
    [PARAMETER_PAIRS] = "a list of pairs such as [[0, 4], [2, 6]]",
    [PARAMETER_NUMBERS] = "a list of numbers",
    [PARAMETER_CHOICE_OR_LIST] = "text or a list of integers",
    [PARAMETER_TEXT] = "text",
    [PARAMETER_CHECKPOINT] = "text: the id or path of a checkpoint",
};

/* ---- reading ---- */

static int read_number(const struct parameter *row, const cJSON *node, bool judged, const struct place *place,
                       struct parameter_value *value, struct error *error)
{
    bool whole = row->type == PARAMETER_INTEGER;
    if (whole ? !json_is_integer(node) : !cJSON_IsNumber(node))
        return refuse(error, place, "%s must be %s, not %s", row->name, TYPE_WORDS[row->type], json_kind(node));
    int code = whole && !judged ? 0 : range_check(row->name, node->valuedouble, row->minimum, row->maximum, place, error);
    if (code) return code;
    if (whole) value->integer = (int64_t)node->valuedouble;
    value->number = node->valuedouble;
    return 0;
}

static int read_choice(const struct parameter *row, const cJSON *node, const struct place *place,
                       struct parameter_value *value, struct error *error)
{
    if (!cJSON_IsString(node))
        return refuse(error, place, "%s must be %s, not %s", row->name, TYPE_WORDS[row->type], json_kind(node));
    int code = choice_check(row->name, node->valuestring, row->choices, place, error);
    if (!code) value->integer = choice_index(node->valuestring, row->choices);
    return code;
}

/* One list element: an integer in range (that fits 32 bits), or null where the row allows it. */
static int read_element(const struct parameter *row, const cJSON *node, const struct place *place, int32_t *element,
                        struct error *error)
{
    if (cJSON_IsNull(node) && row->nullable) {
        *element = -1;
        return 0;
    }
    if (!json_is_integer(node))
        return refuse(error, place, "every element of %s must be an integer%s, not %s", row->name,
                      row->nullable ? " or null" : "", json_kind(node));
    double maximum = row->maximum < INT32_MAX ? row->maximum : INT32_MAX;
    int code = range_check(row->name, node->valuedouble, row->minimum, maximum, place, error);
    if (!code) *element = (int32_t)node->valuedouble;
    return code;
}

static int read_pair(const struct parameter *row, const cJSON *node, struct place *place, int32_t *pair,
                     struct error *error)
{
    if (!cJSON_IsArray(node) || cJSON_GetArraySize(node) != 2)
        return refuse(error, place, "every element of %s must be a pair [begin, end) of integers", row->name);
    int code = 0;
    for (int i = 0; i < 2 && !code; i++) {
        size_t outer = place_enter_index(place, i);
        code = read_element(row, cJSON_GetArrayItem(node, i), place, &pair[i], error);
        place_leave(place, outer);
    }
    return code;
}

static int read_list(const struct parameter *row, const cJSON *node, struct place *place, struct parameter_value *value,
                     struct error *error)
{
    if (!cJSON_IsArray(node))
        return refuse(error, place, "%s must be %s, not %s", row->name, TYPE_WORDS[row->type], json_kind(node));
    int per_element = row->type == PARAMETER_PAIRS ? 2 : 1, count = cJSON_GetArraySize(node), index = 0, code = 0;
    if (count == 0 || count > PARAMETER_LIST_MAX / per_element)
        return refuse(error, place, "%s must have from 1 to %d elements, not %d", row->name,
                      PARAMETER_LIST_MAX / per_element, count);
    value->list = memory_array((size_t)(count * per_element), sizeof *value->list);
    if (!value->list)
        return error_set(error, ERROR_NO_MEMORY, "not enough memory to read %s; try again later", row->name);
    value->list_count = count * per_element;
    const cJSON *element;
    cJSON_ArrayForEach(element, node) {
        size_t outer = place_enter_index(place, index);
        code = per_element == 2 ? read_pair(row, element, place, value->list + 2 * index, error)
                                : read_element(row, element, place, value->list + index, error);
        place_leave(place, outer);
        if (code) break;
        index++;
    }
    return code;
}

static int read_numbers(const struct parameter *row, const cJSON *node, struct place *place,
                        struct parameter_value *value, struct error *error)
{
    int expected = 0, index = 0, code = 0;
    for (const char *c = row->fallback ? row->fallback : ""; *c; c++) expected += *c == ',' || *c == '[';
    if (!cJSON_IsArray(node))
        return refuse(error, place, "%s must be %s, not %s", row->name, TYPE_WORDS[row->type], json_kind(node));
    int count = cJSON_GetArraySize(node);
    if (count < 1 || count > PARAMETER_NUMBERS_MAX || (expected && count != expected))
        return refuse(error, place, "%s must have %d numbers, not %d", row->name,
                      expected ? expected : PARAMETER_NUMBERS_MAX, count);
    const cJSON *element;
    cJSON_ArrayForEach(element, node) {
        size_t outer = place_enter_index(place, index);
        if (!cJSON_IsNumber(element))
            code = refuse(error, place, "every element of %s must be a number, not %s", row->name, json_kind(element));
        else
            code = range_check(row->name, element->valuedouble, row->minimum, row->maximum, place, error);
        place_leave(place, outer);
        if (code) break;
        value->numbers[index++] = element->valuedouble;
    }
    value->list_count = count;
    return code;
}

static int read_text(const struct parameter *row, const cJSON *node, const struct place *place,
                     struct parameter_value *value, struct error *error)
{
    if (!cJSON_IsString(node))
        return refuse(error, place, "%s must be %s, not %s", row->name, TYPE_WORDS[row->type], json_kind(node));
    size_t length = strlen(node->valuestring);
    if (length == 0 || length >= FILE_PATH_BYTES)
        return refuse(error, place, "%s must have from 1 to %d bytes, not %zu", row->name, FILE_PATH_BYTES - 1, length);
    value->text = memory_string(node->valuestring);
    if (!value->text)
        return error_set(error, ERROR_NO_MEMORY, "not enough memory to read %s; try again later", row->name);
    return 0;
}

static int read_value(const struct parameter *row, const cJSON *node, bool judged, struct place *place,
                      struct parameter_value *value, struct error *error)
{
    value->present = true;
    if (cJSON_IsNull(node)) {
        /* in a list of integers `nullable` speaks of the elements */
        if (!row->nullable || row->type == PARAMETER_INTEGERS)
            return refuse(error, place, "%s must be %s, not null", row->name, TYPE_WORDS[row->type]);
        value->is_null = true;
        return 0;
    }
    switch (row->type) {
    case PARAMETER_INTEGER: case PARAMETER_NUMBER: return read_number(row, node, judged, place, value, error);
    case PARAMETER_CHOICE: return read_choice(row, node, place, value, error);
    case PARAMETER_INTEGERS: case PARAMETER_PAIRS: return read_list(row, node, place, value, error);
    case PARAMETER_NUMBERS: return read_numbers(row, node, place, value, error);
    case PARAMETER_TEXT: case PARAMETER_CHECKPOINT: return read_text(row, node, place, value, error);
    case PARAMETER_CHOICE_OR_LIST:
        return cJSON_IsArray(node) ? read_list(row, node, place, value, error)
                                   : read_choice(row, node, place, value, error);
    case PARAMETER_BOOLEAN:
        if (!cJSON_IsBool(node))
            return refuse(error, place, "%s must be true or false, not %s", row->name, json_kind(node));
        value->integer = cJSON_IsTrue(node);
        return 0;
    }
    return 0;
}

static int refuse_unknown(const struct parameter_table *table, const char *key, const struct place *place,
                          struct error *error)
{
    const char *names[32];
    int count = 0, code = table->unknown ? table->unknown(table, key, place, error) : 0;
    if (code) return code;
    char listed[ERROR_MESSAGE_BYTES / 2] = "";
    for (int i = 0; i < table->count && count < 32; i++) {
        names[count++] = table->parameters[i].name;
        size_t length = strlen(listed);
        snprintf(listed + length, sizeof listed - length, "%s%s", length ? ", " : "", table->parameters[i].name);
    }
    const char *nearest = name_nearest(key, names, count);
    struct shown shown = shown_text(key);
    if (nearest)
        return refuse(error, place, "%s has no parameter \"%s\"; did you mean \"%s\"?", table->owner, shown.text,
                      nearest);
    return refuse(error, place, "%s has no parameter \"%s\"; leave it out or use one of: %s", table->owner, shown.text,
                  listed);
}

static int parameter_index(const struct parameter_table *table, const char *name)
{
    for (int i = 0; i < table->count; i++)
        if (!strcmp(table->parameters[i].name, name)) return i;
    return -1;
}

/* A default with a fixed text takes the same way as a given value. */
static int read_fallback(const struct parameter *row, struct place *place, struct parameter_value *value,
                         struct error *error)
{
    cJSON *node;
    int code = json_read(row->fallback, strlen(row->fallback), &node, error);
    if (code) return code;
    code = read_value(row, node, true, place, value, error);
    cJSON_Delete(node);
    return code;
}

int parameters_read(const struct parameter_table *table, const cJSON *object, struct place *place,
                    struct parameter_value *values, struct error *error)
{
    int first = 0;
    const cJSON *child;
    cJSON_ArrayForEach(child, object) {
        if (!strcmp(child->string, table->key)) continue;
        int index = parameter_index(table, child->string);
        size_t outer = place_enter(place, child->string);
        int code = index < 0 ? refuse_unknown(table, child->string, place, error)
                             : read_value(&table->parameters[index], child, !table->owner_judges, place,
                                          &values[index], error);
        place_leave(place, outer);
        if (index >= 0) values[index].given = true;
        if (code == ERROR_NO_MEMORY) return code;
        if (code) first = code;
    }
    for (int i = 0; i < table->count; i++) {
        const struct parameter *row = &table->parameters[i];
        int code = 0;
        if (values[i].given) continue;
        if (row->required)
            code = refuse_member(error, place, row->name, "%s needs %s: %s", table->owner, row->name, row->summary);
        else if (row->fallback)
            code = read_fallback(row, place, &values[i], error);
        if (code == ERROR_NO_MEMORY) return code;
        if (code) first = code;
    }
    return first;
}

/* ---- JSON Schema ---- */

static void write_range(const struct parameter *row, struct buffer *out)
{
    buffer_text(out, ", \"minimum\": ");
    json_number(out, row->minimum);
    buffer_text(out, ", \"maximum\": ");
    json_number(out, row->maximum);
}

static void write_choices(const struct parameter *row, struct buffer *out)
{
    char name[CHOICE_BYTES];
    buffer_text(out, "\"enum\": [");
    for (int i = 0; choice_name(row->choices, i, name); i++) {
        buffer_text(out, i ? ", " : "");
        buffer_json_string(out, name);
    }
    buffer_text(out, "]");
}

static void write_integers(const struct parameter *row, bool nullable, int least, struct buffer *out)
{
    buffer_format(out, "\"type\": \"array\", \"minItems\": %d, \"items\": {\"type\": ", least);
    buffer_text(out, nullable ? "[\"integer\", \"null\"]" : "\"integer\"");
    write_range(row, out);
    buffer_text(out, "}");
}

static void write_type(const struct parameter *row, struct buffer *out)
{
    static const char *const scalar[] = {"integer", "number", "boolean"};
    switch (row->type) {
    case PARAMETER_INTEGER: case PARAMETER_NUMBER: case PARAMETER_BOOLEAN:
        buffer_format(out, row->nullable ? "\"type\": [\"%s\", \"null\"]" : "\"type\": \"%s\"", scalar[row->type]);
        if (row->type != PARAMETER_BOOLEAN) write_range(row, out);
        return;
    case PARAMETER_CHOICE: write_choices(row, out); return;
    case PARAMETER_TEXT: case PARAMETER_CHECKPOINT: buffer_text(out, "\"type\": \"string\", \"minLength\": 1"); return;
    case PARAMETER_INTEGERS: write_integers(row, row->nullable, 1, out); return;
    case PARAMETER_PAIRS:
        buffer_text(out, "\"type\": \"array\", \"minItems\": 1, \"items\": {");
        write_integers(row, false, 2, out);
        buffer_text(out, ", \"maxItems\": 2}");
        return;
    case PARAMETER_NUMBERS:
        buffer_text(out, "\"type\": \"array\", \"items\": {\"type\": \"number\"");
        write_range(row, out);
        buffer_text(out, "}");
        return;
    case PARAMETER_CHOICE_OR_LIST:
        buffer_text(out, "\"oneOf\": [{");
        write_choices(row, out);
        buffer_text(out, "}, {");
        write_integers(row, false, 1, out);
        buffer_text(out, "}]");
        return;
    }
}

void parameters_schema(const struct parameter_table *table, const char *name, struct buffer *out)
{
    buffer_text(out, "{\"type\": \"object\", \"properties\": {");
    buffer_json_string(out, table->key);
    buffer_text(out, ": {\"const\": ");
    buffer_json_string(out, name);
    buffer_text(out, "}");
    for (int i = 0; i < table->count; i++) {
        const struct parameter *row = &table->parameters[i];
        buffer_text(out, ", ");
        buffer_json_string(out, row->name);
        buffer_text(out, ": {");
        write_type(row, out);
        if (row->fallback) {
            buffer_text(out, ", \"default\": ");
            buffer_text(out, row->fallback);
        }
        buffer_text(out, ", \"description\": ");
        buffer_json_string(out, row->summary);
        buffer_text(out, "}");
    }
    buffer_text(out, "}, \"required\": [");
    buffer_json_string(out, table->key);
    for (int i = 0; i < table->count; i++) {
        if (!table->parameters[i].required) continue;
        buffer_text(out, ", ");
        buffer_json_string(out, table->parameters[i].name);
    }
    buffer_text(out, "], \"additionalProperties\": false}");
}

void parameter_words(const struct parameter *parameter, struct buffer *out)
{
    char name[CHOICE_BYTES];
    buffer_format(out, "%s: ", parameter->name);
    if (parameter->choices) {
        for (int i = 0; choice_name(parameter->choices, i, name); i++) buffer_format(out, "%s%s", i ? " | " : "", name);
        if (parameter->type == PARAMETER_CHOICE_OR_LIST) buffer_text(out, " | a list of integers");
    } else {
        buffer_text(out, TYPE_WORDS[parameter->type]);
        if (parameter->nullable && parameter->type != PARAMETER_INTEGERS) buffer_text(out, " or null");
    }
    if (parameter->required) buffer_text(out, ", required");
    else if (parameter->fallback) buffer_format(out, ", default %s", parameter->fallback);
    buffer_format(out, ". %s", parameter->summary);
}
