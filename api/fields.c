#include "api/fields.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/learner_steps.h"
#include "api/parameters.h"
#include "api/request_parts.h"

/* ---- the table ---- */

const char *field_key(const struct field *field)
{
    return strrchr(field->pointer, '/') + 1;
}

bool field_is_below(const struct field *field, const char *pattern)
{
    size_t length = strlen(pattern);
    return !strncmp(field->pointer, pattern, length) && field->pointer[length] == '/'
        && !strchr(field->pointer + length + 1, '/');
}

const struct field *field_find(const char *pattern, const char *key)
{
    int count;
    const struct field *rows = field_rows(&count);
    for (int i = 0; i < count; i++)
        if (field_is_below(&rows[i], pattern) && !strcmp(field_key(&rows[i]), key)) return &rows[i];
    return NULL;
}

const char *field_type_words(const struct field *field)
{
    switch (field->type) {
    case FIELD_OBJECT: return "an object";
    case FIELD_ARRAY: return "a list";
    case FIELD_TOKENS: return "a list of token ids";
    case FIELD_CHOICES: return "a list of names";
    case FIELD_OPERATORS: return "a list of operators such as [{\"op\": \"stack\", \"layers\": 12}]";
    case FIELD_TEXT: return "text";
    case FIELD_INTEGER: return "an integer";
    case FIELD_NUMBER: return "a number";
    case FIELD_BOOLEAN: return "true or false";
    case FIELD_CHOICE: return "text";
    case FIELD_K: return "\"auto\" or an integer";
    case FIELD_KEEP: return "text: all, winner or top:N";
    case FIELD_LEARNER_STEPS: return "\"auto\", an integer, or a list of integers";
    case FIELD_OPTIMIZER: return "an object such as {\"name\": \"adamw\"}";
    case FIELD_SCHEDULE: return "an object such as {\"name\": \"constant\"}";
    case FIELD_ANY: break;
    }
    return "a value";
}

/* ---- checks ---- */

static int refuse_unknown(const char *pattern, const char *key, const struct place *place, struct error *error)
{
    int count, known = 0;
    const struct field *rows = field_rows(&count);
    const char *names[64];
    char listed[ERROR_MESSAGE_BYTES / 2] = "";
    for (int i = 0; i < count && known < 64; i++) {
        if (!field_is_below(&rows[i], pattern)) continue;
        names[known++] = field_key(&rows[i]);
        bool open = !rows[i].today || rows[i].today[0];
        size_t length = strlen(listed);
        if (open) snprintf(listed + length, sizeof listed - length, "%s%s", length ? ", " : "", field_key(&rows[i]));
    }
    const char *nearest = name_nearest(key, names, known);
    struct shown shown = shown_text(key);
    if (nearest) return refuse(error, place, "unknown field \"%s\"; did you mean \"%s\"?", shown.text, nearest);
    return refuse(error, place, "unknown field \"%s\"; leave it out or use one of: %s", shown.text, listed);
}

static int refuse_later(const struct field *field, const struct place *place, struct error *error)
{
    if (!field->today[0])
        return refuse(error, place, "%s (%s) arrives in a later release; leave it out", field_key(field),
                      field->summary);
    return refuse(error, place, "this value of %s arrives in a later release; leave it out or use %s", field_key(field),
                  field->today);
}

static bool has_type(const struct field *field, const cJSON *node)
{
    switch (field->type) {
    case FIELD_OBJECT: case FIELD_OPTIMIZER: case FIELD_SCHEDULE: return cJSON_IsObject(node);
    case FIELD_ARRAY: case FIELD_OPERATORS: case FIELD_TOKENS: case FIELD_CHOICES: return cJSON_IsArray(node);
    case FIELD_TEXT: case FIELD_CHOICE: case FIELD_KEEP: return cJSON_IsString(node);
    case FIELD_INTEGER: return json_is_integer(node);
    case FIELD_NUMBER: return cJSON_IsNumber(node);
    case FIELD_BOOLEAN: return cJSON_IsBool(node);
    case FIELD_K: return json_is_integer(node) || cJSON_IsString(node);
    case FIELD_LEARNER_STEPS: return learner_steps_has_type(node);
    case FIELD_ANY: return true;
    }
    return false;
}

int range_check(const char *name, double value, double minimum, double maximum, const struct place *place,
                struct error *error)
{
    if (value >= minimum && value <= maximum) return 0;
    char low[NUMBER_BYTES], high[NUMBER_BYTES], given[NUMBER_BYTES];
    number_text(minimum, low);
    number_text(maximum, high);
    number_text(value, given);
    if (!isfinite(value)) snprintf(given, sizeof given, "a number too large to hold");
    return refuse(error, place, "%s must be from %s to %s; %s is out of range, the nearest valid value is %s", name,
                  low, high, given, value > maximum ? high : low);
}

int choice_check(const char *name, const char *text, const char *choices, const struct place *place,
                 struct error *error)
{
    if (choice_index(text, choices) >= 0) return 0;
    struct shown shown = shown_text(text);
    char listed[256] = "", nearest[CHOICE_BYTES];
    char choice[CHOICE_BYTES];
    for (int i = 0; choice_name(choices, i, choice); i++) {
        size_t length = strlen(listed);
        snprintf(listed + length, sizeof listed - length, "%s%s", i ? ", " : "", choice);
    }
    if (choice_name(choices, choice_nearest(text, choices) < 0 ? 1000 : choice_nearest(text, choices), nearest))
        return refuse(error, place, "%s can't be \"%s\"; did you mean \"%s\"? Valid: %s", name, shown.text, nearest,
                      listed);
    return refuse(error, place, "%s can't be \"%s\"; valid: %s", name, shown.text, listed);
}

static int text_check(const struct field *field, const char *text, const struct place *place, struct error *error)
{
    double length = (double)strlen(text);
    if (length < field->minimum)
        return refuse(error, place, "%s must not be empty: %s", field_key(field), field->summary);
    if (length > field->maximum)
        return refuse(error, place, "%s has %.0f bytes; at most %.0f are possible: shorten it", field_key(field),
                      length, field->maximum);
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            return refuse(error, place, "%s must not contain control characters; remove them", field_key(field));
    return 0;
}

static int keep_check(const char *text, const struct place *place, struct error *error)
{
    enum keep_kind kind;
    int top;
    if (!keep_parse(text, &kind, &top)) return 0;
    struct shown shown = shown_text(text);
    return refuse(error, place, "keep can't be \"%s\"; use \"all\", \"winner\" or \"top:N\" with N from 1 to %d",
                  shown.text, SPEC_CANDIDATES_MAX);
}

static int elements_check(const cJSON *node, const struct field *field, struct place *place, struct error *error)
{
    int count = cJSON_GetArraySize(node), index = 0;
    if (count < field->minimum || count > field->maximum)
        return refuse(error, place, "%s must have from %.0f to %.0f elements, not %d", field_key(field), field->minimum,
                      field->maximum, count);
    char pattern[64];
    snprintf(pattern, sizeof pattern, "%s/*", field->pointer);
    const cJSON *element;
    cJSON_ArrayForEach(element, node) {
        size_t outer = place_enter_index(place, index++);
        if (cJSON_IsObject(element)) fields_check(element, pattern, place, error);
        else refuse(error, place, "expected an object, got %s", json_kind(element));
        place_leave(place, outer);
    }
    return 0;
}

static int tokens_check(const cJSON *node, const struct field *field, struct place *place, struct error *error)
{
    int count = cJSON_GetArraySize(node), index = 0;
    if (count > OBJECTIVE_SPECIAL_MAX)
        return refuse(error, place, "%s has %d tokens; at most %d are possible", field_key(field), count,
                      OBJECTIVE_SPECIAL_MAX);
    const cJSON *element;
    cJSON_ArrayForEach(element, node) {
        size_t outer = place_enter_index(place, index++);
        if (json_is_integer(element))
            range_check("a token id", element->valuedouble, field->minimum, field->maximum, place, error);
        else
            refuse(error, place, "a token id must be an integer, not %s", json_kind(element));
        place_leave(place, outer);
    }
    return error ? (int)error->code : 0;
}

static int choices_check(const cJSON *node, const struct field *field, struct place *place, struct error *error)
{
    unsigned seen = 0;
    int index = 0;
    const cJSON *element;
    if (cJSON_GetArraySize(node) == 0)
        return refuse(error, place, "%s must not be empty: %s", field_key(field), field->summary);
    cJSON_ArrayForEach(element, node) {
        size_t outer = place_enter_index(place, index++);
        int choice = cJSON_IsString(element) ? choice_index(element->valuestring, field->choices) : -1;
        if (!cJSON_IsString(element))
            refuse(error, place, "a name in %s must be text, not %s", field_key(field), json_kind(element));
        else if (choice < 0)
            choice_check(field_key(field), element->valuestring, field->choices, place, error);
        else if (seen & 1u << choice)
            refuse(error, place, "%s is named twice; name it once", element->valuestring);
        seen |= choice < 0 ? 0 : 1u << choice;
        place_leave(place, outer);
    }
    return error ? (int)error->code : 0;
}

/* Is it the one value that is accepted today? */
static bool is_todays(const struct field *field, const cJSON *node)
{
    const char *today = field->today;
    if (cJSON_IsString(node)) {
        size_t length = strlen(node->valuestring);
        return today[0] == '"' && strlen(today) == length + 2 && !memcmp(today + 1, node->valuestring, length);
    }
    if (cJSON_IsBool(node)) return !strcmp(today, cJSON_IsTrue(node) ? "true" : "false");
    return cJSON_IsNumber(node) && today[0] && node->valuedouble == strtod(today, NULL);
}

static int value_check(const struct field *field, const cJSON *node, struct place *place, struct error *error)
{
    const char *key = field_key(field);
    if (cJSON_IsNull(node) && field->nullable) return 0;
    if (field->today && !field->today[0]) return refuse_later(field, place, error);
    if (!has_type(field, node))
        return refuse(error, place, "%s must be %s, not %s", key, field_type_words(field), json_kind(node));
    int code = 0;
    switch (field->type) {
    case FIELD_OBJECT: return fields_check(node, field->pointer, place, error);
    case FIELD_ARRAY: return elements_check(node, field, place, error);
    case FIELD_OPERATORS: return operators_check(node, place, error);
    case FIELD_TOKENS: return tokens_check(node, field, place, error);
    case FIELD_CHOICES: return choices_check(node, field, place, error);
    case FIELD_OPTIMIZER: return named_check(&NAMED_OPTIMIZER, node, place, error);
    case FIELD_SCHEDULE: return named_check(&NAMED_SCHEDULE, node, place, error);
    case FIELD_KEEP: return keep_check(node->valuestring, place, error);
    case FIELD_LEARNER_STEPS: return learner_steps_check(node, field->maximum, place, error);
    case FIELD_TEXT: code = text_check(field, node->valuestring, place, error); break;
    case FIELD_CHOICE: code = choice_check(key, node->valuestring, field->choices, place, error); break;
    case FIELD_INTEGER: case FIELD_NUMBER:
        code = range_check(key, node->valuedouble, field->minimum, field->maximum, place, error);
        break;
    case FIELD_K:
        code = cJSON_IsString(node) ? choice_check(key, node->valuestring, "auto", place, error)
                                    : range_check(key, node->valuedouble, field->minimum, field->maximum, place, error);
        break;
    case FIELD_BOOLEAN: case FIELD_ANY: break;
    }
    if (!code && field->today && !is_todays(field, node)) return refuse_later(field, place, error);
    return code;
}

int fields_check(const cJSON *node, const char *pattern, struct place *place, struct error *error)
{
    const cJSON *child;
    cJSON_ArrayForEach(child, node) {
        if (error && error->code == ERROR_NO_MEMORY) break;
        const struct field *field = field_find(pattern, child->string);
        size_t outer = place_enter(place, child->string);
        if (field) value_check(field, child, place, error);
        else refuse_unknown(pattern, child->string, place, error);
        place_leave(place, outer);
    }
    return error ? (int)error->code : 0;
}

/* ---- values ---- */

static void tokens_store(const cJSON *node, struct token_list *tokens)
{
    const cJSON *element;
    tokens->count = 0;
    cJSON_ArrayForEach(element, node) tokens->ids[tokens->count++] = (int32_t)element->valuedouble;
}

static void tokens_print(const struct token_list *tokens, struct buffer *out)
{
    buffer_text(out, "[");
    for (int i = 0; i < tokens->count; i++) buffer_format(out, "%s%d", i ? ", " : "", (int)tokens->ids[i]);
    buffer_text(out, "]");
}

static void choices_store(const cJSON *node, const char *choices, void *at)
{
    const cJSON *element;
    unsigned bits = 0;
    cJSON_ArrayForEach(element, node) bits |= 1u << choice_index(element->valuestring, choices);
    memcpy(at, &bits, sizeof bits);
}

static void choices_print(const void *at, const char *choices, struct buffer *out)
{
    char name[CHOICE_BYTES];
    unsigned bits;
    bool first = true;
    memcpy(&bits, at, sizeof bits);
    buffer_text(out, "[");
    for (int i = 0; choice_name(choices, i, name); i++) {
        if (!(bits & 1u << i)) continue;
        buffer_text(out, first ? "" : ", ");
        buffer_json_string(out, name);
        first = false;
    }
    buffer_text(out, "]");
}

static void field_store(const struct field *field, const cJSON *node, struct study_spec *spec)
{
    char *at = (char *)spec + field->offset;
    bool null = cJSON_IsNull(node);
    switch (field->store) {
    case STORE_NONE: return;
    case STORE_INT: { int value = null ? 0 : (int)node->valuedouble; memcpy(at, &value, sizeof value); return; }
    case STORE_U64: {
        uint64_t value = null ? 0 : (uint64_t)node->valuedouble;
        memcpy(at, &value, sizeof value);
        return;
    }
    case STORE_DOUBLE: { double value = node->valuedouble; memcpy(at, &value, sizeof value); return; }
    case STORE_BOOL: {
        bool value = field->choices ? choice_index(node->valuestring, field->choices) > 0 : cJSON_IsTrue(node);
        memcpy(at, &value, sizeof value);
        return;
    }
    case STORE_ENUM: {
        int value = choice_index(node->valuestring, field->choices);
        memcpy(at, &value, sizeof value);
        return;
    }
    case STORE_TEXT: snprintf(at, (size_t)field->maximum + 1, "%s", null ? "" : node->valuestring); return;
    case STORE_TOKENS: tokens_store(node, (struct token_list *)(void *)at); return;
    case STORE_LEARNERS: learner_steps_store(node, (struct learners_spec *)(void *)at); return;
    case STORE_CHOICES: choices_store(node, field->choices, at); return;
    }
}

void fields_store(const cJSON *node, const char *pattern, struct study_spec *spec)
{
    const cJSON *child;
    cJSON_ArrayForEach(child, node) {
        const struct field *field = field_find(pattern, child->string);
        if (!field) continue;
        if (field->type == FIELD_OBJECT) fields_store(child, field->pointer, spec);
        else field_store(field, child, spec);
    }
}

void field_print(const struct field *field, const struct study_spec *spec, struct buffer *out)
{
    const char *at = (const char *)spec + field->offset;
    char name[CHOICE_BYTES];
    switch (field->store) {
    case STORE_NONE: buffer_text(out, field->today); return;
    case STORE_INT: { int value; memcpy(&value, at, sizeof value); buffer_format(out, "%d", value); return; }
    case STORE_U64: {
        uint64_t value;
        memcpy(&value, at, sizeof value);
        if (field->nullable && value == 0) buffer_text(out, "null");
        else json_unsigned(out, value);
        return;
    }
    case STORE_DOUBLE: { double value; memcpy(&value, at, sizeof value); json_number(out, value); return; }
    case STORE_BOOL: case STORE_ENUM: {
        int value = 0;
        if (field->store == STORE_ENUM) memcpy(&value, at, sizeof value);
        else value = *(const bool *)at;
        if (!field->choices) {
            buffer_text(out, value ? "true" : "false");
            return;
        }
        choice_name(field->choices, value, name);
        buffer_json_string(out, name);
        return;
    }
    case STORE_TOKENS: tokens_print((const struct token_list *)(const void *)at, out); return;
    case STORE_LEARNERS: learner_steps_print((const struct learners_spec *)(const void *)at, out); return;
    case STORE_CHOICES: choices_print(at, field->choices, out); return;
    case STORE_TEXT:
        if (field->nullable && !*at) buffer_text(out, "null");
        else buffer_json_string(out, at);
        return;
    }
}
