#include "api/json.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/config.h"
#include "study/spec.h"

enum { JSON_DEPTH = 16 };   /* candidates -> operators -> slices -> pair is 7 */

/* ---- reading ---- */

/* cJSON copies a number into 64 bytes before it reads it. */
enum { NUMBER_LONGEST = 60 };

/* Offset of the first number that is longer than cJSON reads, or -1. The text is well-formed. */
static long find_long_number(const char *text, size_t length)
{
    bool inside = false;
    size_t run = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"') inside = !inside;
        else if (inside && text[i] == '\\') i++;
        bool part = !inside && text[i] && strchr("0123456789+-.eE", text[i]);
        run = part ? run + 1 : 0;
        if (run > NUMBER_LONGEST) return (long)(i + 1 - run);
    }
    return -1;
}

int json_read(const char *text, size_t length, cJSON **tree, struct error *error)
{
    return json_read_most(text, length, SPEC_JSON_BYTES_MAX, tree, error);
}

int json_read_most(const char *text, size_t length, size_t most, cJSON **tree, struct error *error)
{
    struct error own = {0};
    if (!error) error = &own;
    *tree = NULL;
    json_setup();
    if (length > most)
        return error_set(error, ERROR_TOO_LARGE, "the JSON text has %zu bytes; the limit is %zu", length, most);
    int code = json_check(text, length, JSON_DEPTH, error);
    /* a duplicate key or a number out of bounds has a place: it is a wrong value in well-formed JSON */
    if (code == ERROR_SYNTAX && error->detail_count > 0) code = (int)(error->code = ERROR_INVALID);
    if (code) return code;
    long number = find_long_number(text, length);
    if (number >= 0)
        return error_set(error, ERROR_SYNTAX, "byte %ld: a number of more than %d characters; write fewer digits",
                         number, NUMBER_LONGEST);
    *tree = cJSON_ParseWithLength(text, length);
    if (*tree) return 0;
    return error_set(error, ERROR_NO_MEMORY, "not enough memory to read the request; try again later");
}

const cJSON *json_member(const cJSON *object, const char *name)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

bool json_is_integer(const cJSON *node)
{
    return cJSON_IsNumber(node) && fabs(node->valuedouble) <= 9007199254740992.0
        && floor(node->valuedouble) == node->valuedouble;
}

const char *json_kind(const cJSON *node)
{
    if (cJSON_IsString(node)) return "text";
    if (json_is_integer(node)) return "an integer";
    if (cJSON_IsNumber(node)) return "a number";
    if (cJSON_IsBool(node)) return "true or false";
    if (cJSON_IsArray(node)) return "a list";
    if (cJSON_IsObject(node)) return "an object";
    return "null";
}

/* ---- places ---- */

static void place_append(struct place *place, const char *bytes, size_t count)
{
    if (place->length + count >= sizeof place->text) return;
    memcpy(place->text + place->length, bytes, count);
    place->length += count;
    place->text[place->length] = 0;
}

static size_t character_bytes(unsigned char lead)
{
    return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

size_t place_enter(struct place *place, const char *key)
{
    size_t before = place->length;
    place_append(place, "/", 1);
    for (const char *c = key; *c;) {
        size_t bytes = strnlen(c, character_bytes((unsigned char)*c));
        if (*c == '~') place_append(place, "~0", 2);
        else if (*c == '/') place_append(place, "~1", 2);
        else place_append(place, c, bytes);
        c += bytes;
    }
    return before;
}

size_t place_enter_index(struct place *place, int index)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    return place_enter(place, text);
}

void place_leave(struct place *place, size_t length)
{
    place->length = length;
    place->text[length] = 0;
}

/* ---- refusals ---- */

static int refuse_text(struct error *error, const struct place *place, const char *text)
{
    if (!error) return ERROR_INVALID;
    if (error->code == ERROR_NONE) return error_set_at(error, ERROR_INVALID, place->text, "%s", text);
    if (error->code == ERROR_INVALID) error_add_detail(error, place->text, "%s", text);
    return (int)error->code;
}

int refuse(struct error *error, const struct place *place, const char *format, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return refuse_text(error, place, text);
}

int refuse_member(struct error *error, const struct place *place, const char *key, const char *format, ...)
{
    char text[ERROR_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct place member = *place;
    place_enter(&member, key);
    return refuse_text(error, &member, text);
}

struct shown shown_text(const char *text)
{
    struct shown shown;
    size_t length = 0;
    for (const char *c = text; *c;) {
        size_t bytes = strnlen(c, character_bytes((unsigned char)*c));
        if (length + bytes + sizeof "…" > sizeof shown.text) {
            memcpy(shown.text + length, "…", sizeof "…");
            return shown;
        }
        bool control =
            (unsigned char)*c < 0x20 || *c == 0x7F || ((unsigned char)*c == 0xC2 && (unsigned char)c[1] < 0xA0);
        if (control) shown.text[length++] = '?';
        else for (size_t i = 0; i < bytes; i++) shown.text[length++] = c[i];
        c += bytes;
    }
    shown.text[length] = 0;
    return shown;
}

/* ---- names ---- */

/* Edits (insert, delete, replace, swap of neighbours) between two short names; a large number beyond 40 characters. */
static int edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    enum { LONGEST = 40 };
    if (n > LONGEST || m > LONGEST) return 1000;
    int table[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= n; i++) table[i][0] = (int)i;
    for (size_t j = 0; j <= m; j++) table[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            int best = table[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (table[i - 1][j] + 1 < best) best = table[i - 1][j] + 1;
            if (table[i][j - 1] + 1 < best) best = table[i][j - 1] + 1;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && table[i - 2][j - 2] + 1 < best) best = table[i - 2][j - 2] + 1;
            table[i][j] = best;
        }
    }
    return table[n][m];
}

/* Two edits are a typing mistake in a long name, one in a short one; a name that begins with the other counts too. */
static bool is_close(const char *text, const char *name, size_t length, int *distance)
{
    size_t given = strlen(text);
    *distance = edit_distance(text, given, name, length);
    size_t shorter = given < length ? given : length;
    if (*distance <= (shorter >= 5 ? 2 : 1) && shorter > 1) return true;
    bool prefix = shorter >= 4 && !strncmp(text, name, shorter);
    if (prefix) *distance = 3;
    return prefix;
}

const char *name_nearest(const char *text, const char *const *names, int count)
{
    const char *nearest = NULL;
    int best = 1000;
    for (int i = 0; i < count; i++) {
        int distance;
        if (is_close(text, names[i], strlen(names[i]), &distance) && distance < best) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

static const char *choice_next(const char *choice, size_t *length)
{
    *length = strcspn(choice, "|");
    return choice[*length] ? choice + *length + 1 : NULL;
}

int choice_nearest(const char *text, const char *choices)
{
    int nearest = -1, best = 1000, index = 0;
    for (const char *choice = choices; choice; index++) {
        size_t length;
        int distance;
        const char *next = choice_next(choice, &length);
        if (is_close(text, choice, length, &distance) && distance < best) {
            best = distance;
            nearest = index;
        }
        choice = next;
    }
    return nearest;
}

int choice_index(const char *text, const char *choices)
{
    int index = 0;
    for (const char *choice = choices; choice; index++) {
        size_t length;
        const char *next = choice_next(choice, &length);
        if (strlen(text) == length && !memcmp(text, choice, length)) return index;
        choice = next;
    }
    return -1;
}

bool choice_name(const char *choices, int index, char name[CHOICE_BYTES])
{
    const char *choice = choices;
    size_t length = 0;
    for (int i = 0; choice && i <= index; i++) {
        const char *next = choice_next(choice, &length);
        if (i == index && length < CHOICE_BYTES) {
            memcpy(name, choice, length);
            name[length] = 0;
            return true;
        }
        choice = next;
    }
    name[0] = 0;
    return false;
}

/* ---- numbers ---- */

void number_text(double value, char text[NUMBER_BYTES])
{
    if (!isfinite(value)) {
        snprintf(text, NUMBER_BYTES, "null");
        return;
    }
    if (fabs(value) < 1e15 && floor(value) == value) {
        snprintf(text, NUMBER_BYTES, "%.0f", value == 0 ? 0.0 : value);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, NUMBER_BYTES, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return;
    }
}

void json_number(struct buffer *out, double value)
{
    char text[NUMBER_BYTES];
    number_text(value, text);
    buffer_text(out, text);
}

void json_unsigned(struct buffer *out, uint64_t value)
{
    buffer_format(out, "%llu", (unsigned long long)value);
}

void json_key(struct buffer *out, bool *first, const char *name)
{
    buffer_text(out, *first ? "" : ", ");
    *first = false;
    buffer_json_string(out, name);
    buffer_text(out, ": ");
}

void json_write(struct buffer *out, const cJSON *node)
{
    bool object = cJSON_IsObject(node), first = true;
    const cJSON *child;
    if (cJSON_IsString(node)) {
        buffer_json_string(out, node->valuestring);
    } else if (cJSON_IsNumber(node)) {
        json_number(out, node->valuedouble);
    } else if (!object && !cJSON_IsArray(node)) {
        buffer_text(out, cJSON_IsTrue(node) ? "true" : cJSON_IsFalse(node) ? "false" : "null");
    } else {
        buffer_text(out, object ? "{" : "[");
        cJSON_ArrayForEach(child, node) {
            if (object) json_key(out, &first, child->string);
            else buffer_text(out, first ? "" : ", ");
            first = false;
            json_write(out, child);
        }
        buffer_text(out, object ? "}" : "]");
    }
}
