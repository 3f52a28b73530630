#include "model/json_scan.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* 2^53 and its decimal length: beyond it a double no longer holds every integer. */
static const char integer_bound[] = "9007199254740992";

bool json_span_is(struct json_span span, const char *text)
{
    return strlen(text) == span.length && memcmp(span.bytes, text, span.length) == 0;
}

int json_fail(struct json_scan *scan, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(scan->error, scan->code, "%s at byte %zu.", text, scan->at);
}

/* Appends one step of a JSON pointer (RFC 6901: "~" is ~0, "/" is ~1), cut where the room ends. */
static size_t append_step(char *pointer, size_t used, size_t room, struct json_span step)
{
    if (used + 1 < room)
        pointer[used++] = '/';
    for (size_t i = 0; i < step.length && used + 2 < room; i++) {
        char c = step.bytes[i];
        if (c == '~' || c == '/') {
            pointer[used++] = '~';
            c = c == '~' ? '0' : '1';
        }
        pointer[used++] = c;
    }
    pointer[used] = '\0';
    return used;
}

int json_fail_at(struct json_scan *scan, const char *format, ...)
{
    char text[400], pointer[ERROR_POINTER_BYTES] = "";
    size_t used = 0;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    for (int i = 0; i < scan->depth; i++) {
        char digits[24];
        struct json_span step = scan->frames[i].key;
        if (!scan->frames[i].is_object) {
            step.bytes = digits;
            step.length = (size_t)snprintf(digits, sizeof digits, "%llu", (unsigned long long)scan->frames[i].index);
        }
        used = append_step(pointer, used, sizeof pointer, step);
    }
    return error_set_at(scan->error, scan->code, pointer, "%s at byte %zu.", text, scan->at);
}

int json_scan_init(struct json_scan *scan, char *text, size_t length, int depth_limit, enum error_code code,
                   struct error *error)
{
    scan->text = text;
    scan->text[length] = '\0';
    scan->length = length;
    scan->at = 0;
    scan->depth = 0;
    scan->depth_limit = depth_limit < JSON_DEPTH_MAX ? depth_limit : JSON_DEPTH_MAX;
    scan->code = code;
    scan->bounded_integers = false;
    scan->error = error;
    scan->keys = NULL;
    scan->key_count = scan->key_capacity = 0;
    if (length >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        return json_fail(scan, "A byte-order mark (BOM) stands before the JSON; save the text without one, found");
    return 0;
}

void json_scan_fini(struct json_scan *scan)
{
    memory_free(scan->keys);
    scan->keys = NULL;
}

static void skip_space(struct json_scan *scan)
{
    while (scan->at < scan->length && strchr(" \t\n\r", scan->text[scan->at]) != NULL && scan->text[scan->at] != '\0')
        scan->at++;
}

/* The next byte that is no white space; -1 at the end. */
static int peek_byte(struct json_scan *scan)
{
    skip_space(scan);
    return scan->at < scan->length ? (unsigned char)scan->text[scan->at] : -1;
}

/* What is wrong with a byte that can not stand where it is. */
static int fail_unexpected(struct json_scan *scan, const char *wanted)
{
    int byte = peek_byte(scan);
    if (byte < 0)
        return json_fail(scan, "The JSON ends too early, %s was expected", wanted);
    if (byte == 0)
        return json_fail(scan, "A NUL byte stands where %s was expected", wanted);
    if (byte == 'N' || byte == 'I')
        return json_fail(scan, "NaN and Infinity are not JSON: a finite number was expected");
    if (byte < 0x20 || byte >= 0x7F)
        return json_fail(scan, "Byte 0x%02x stands where %s was expected", (unsigned)byte, wanted);
    return json_fail(scan, "'%c' stands where %s was expected", byte, wanted);
}

int json_scan_finish(struct json_scan *scan)
{
    int byte = peek_byte(scan);
    if (byte < 0)
        return 0;
    if (byte == 0)
        return json_fail(scan, "NUL padding after the end of the JSON");
    return json_fail(scan, "Something stands after the end of the JSON");
}

enum json_kind json_peek(struct json_scan *scan)
{
    int byte = peek_byte(scan);
    switch (byte) {
    case '{': return JSON_OBJECT;
    case '[': return JSON_ARRAY;
    case '"': return JSON_STRING;
    case 't': case 'f': case 'n': return JSON_WORD;
    default: return byte == '-' || (byte >= '0' && byte <= '9') ? JSON_NUMBER : JSON_NOTHING;
    }
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {"an object", "an array", "a string", "a number", "true, false or null",
                                        "no JSON value"};
    return names[kind];
}

static int open_frame(struct json_scan *scan, char opening)
{
    if (peek_byte(scan) != opening)
        return fail_unexpected(scan, opening == '{' ? "an object" : "an array");
    if (scan->depth >= scan->depth_limit)
        return json_fail(scan, "The JSON is nested over %d levels", scan->depth_limit);
    scan->frames[scan->depth++] = (struct json_frame){.is_object = opening == '{', .keys = scan->key_count};
    scan->at++;
    return 0;
}

int json_object_open(struct json_scan *scan)
{
    return open_frame(scan, '{');
}

int json_array_open(struct json_scan *scan)
{
    return open_frame(scan, '[');
}

/* Takes the comma before a further member, or the closing byte. */
static int next_member(struct json_scan *scan, char closing, bool *more)
{
    struct json_frame *frame = &scan->frames[scan->depth - 1];
    int byte = peek_byte(scan);
    *more = byte != closing;
    if (!*more) {
        scan->at++;
        return 0;
    }
    if (!frame->begun) {
        frame->begun = true;
        return 0;
    }
    if (byte != ',')
        return fail_unexpected(scan, closing == '}' ? "',' or '}'" : "',' or ']'");
    scan->at++;
    frame->index++;
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct json_span *x = a, *y = b;
    size_t shorter = x->length < y->length ? x->length : y->length;
    int order = memcmp(x->bytes, y->bytes, shorter);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

static int close_object(struct json_scan *scan)
{
    struct json_frame *frame = &scan->frames[scan->depth - 1];
    size_t count = scan->key_count - frame->keys;
    struct json_span *keys = scan->keys + frame->keys;
    if (count > 1)
        qsort(keys, count, sizeof *keys, compare_keys);
    for (size_t i = 1; i < count; i++)
        if (compare_keys(&keys[i - 1], &keys[i]) == 0) {
            frame->key = keys[i];
            return json_fail_at(scan, "The key \"%.100s\" is there twice; keep one, the object ends", keys[i].bytes);
        }
    scan->key_count = frame->keys;
    scan->depth--;
    return 0;
}

static int push_key(struct json_scan *scan, struct json_span key)
{
    if (scan->key_count == scan->key_capacity) {
        size_t capacity = scan->key_capacity == 0 ? 64 : scan->key_capacity * 2;
        struct json_span *keys = memory_resize(scan->keys, capacity * sizeof *keys);
        if (keys == NULL)
            return error_set(scan->error, ERROR_NO_MEMORY, "No memory for the keys of a JSON object; try again.");
        scan->keys = keys;
        scan->key_capacity = capacity;
    }
    scan->keys[scan->key_count++] = key;
    return 0;
}

int json_object_next(struct json_scan *scan, struct json_span *key, bool *more)
{
    int code = next_member(scan, '}', more);
    if (code != 0)
        return code;
    if (!*more)
        return close_object(scan);
    if (peek_byte(scan) != '"')
        return fail_unexpected(scan, "a key in quotes");
    if ((code = json_string(scan, key)) != 0 || (code = push_key(scan, *key)) != 0)
        return code;
    scan->frames[scan->depth - 1].key = *key;
    if (peek_byte(scan) != ':')
        return fail_unexpected(scan, "':'");
    scan->at++;
    return 0;
}

int json_array_next(struct json_scan *scan, bool *more)
{
    int code = next_member(scan, ']', more);
    if (code == 0 && !*more)
        scan->depth--;
    return code;
}

/* Length of a run of digits from byte `at`. The text ends with a NUL, which is no digit. */
static size_t digits_at(const struct json_scan *scan, size_t at)
{
    size_t begin = at;
    while (scan->text[at] >= '0' && scan->text[at] <= '9')
        at++;
    return at - begin;
}

static bool integer_is_bounded(const char *digits, size_t count)
{
    size_t most = sizeof integer_bound - 1;
    return count < most || (count == most && memcmp(digits, integer_bound, most) <= 0);
}

/* number = [-] (0 | 1-9 digits) [. digits] [e|E [+|-] digits] */
static int scan_number(struct json_scan *scan)
{
    const char *text = scan->text;
    size_t at = scan->at + (text[scan->at] == '-'), begin = at, whole = digits_at(scan, at), part;
    bool integer = true;
    if (text[at] == 'I' || text[at] == 'N')
        return json_fail(scan, "NaN and Infinity are not JSON: a finite number was expected");
    if (whole == 0)
        return json_fail(scan, "A number without digits");
    if (whole > 1 && text[at] == '0')
        return json_fail(scan, "A number with a leading zero");
    at += whole;
    if (text[at] == '.') {
        if ((part = digits_at(scan, ++at)) == 0)
            return json_fail(scan, "A number without digits after the point");
        at += part;
        integer = false;
    }
    if (text[at] == 'e' || text[at] == 'E') {
        at += text[at + 1] == '+' || text[at + 1] == '-' ? 2 : 1;
        if ((part = digits_at(scan, at)) == 0)
            return json_fail(scan, "A number without digits in its exponent");
        at += part;
        integer = false;
    }
    if (integer && scan->bounded_integers && !integer_is_bounded(text + begin, whole))
        return json_fail_at(scan, "An integer over 2^53 in magnitude; give a smaller one, found");
    if (scan->bounded_integers && !isfinite(strtod(text + scan->at, NULL)))
        return json_fail_at(scan, "A number too large for a double; give a smaller one, found");
    scan->at = at;
    return 0;
}

int json_u64(struct json_scan *scan, const char *what, uint64_t *value)
{
    enum json_kind kind = json_peek(scan);
    const char *text = scan->text + scan->at;
    size_t count = digits_at(scan, scan->at);
    if (kind == JSON_NOTHING)
        return fail_unexpected(scan, "a number");
    if (kind != JSON_NUMBER)
        return json_fail(scan, "%s is %s, not a number,", what, json_kind_name(kind));
    if (text[0] == '-')
        return json_fail(scan, "%s has a minus sign; only digits are allowed, found", what);
    if (count > 1 && text[0] == '0')
        return json_fail(scan, "%s has a leading zero", what);
    if (text[count] == '.' || text[count] == 'e' || text[count] == 'E')
        return json_fail(scan, "%s has a fraction or an exponent; only digits are allowed, found", what);
    *value = 0;
    for (size_t i = 0; i < count; i++)
        if (__builtin_mul_overflow(*value, 10u, value) ||
            __builtin_add_overflow(*value, (uint64_t)(text[i] - '0'), value))
            return json_fail(scan, "%s does not fit 64 bits", what);
    scan->at += count;
    return 0;
}

static bool take_word(struct json_scan *scan, const char *word)
{
    size_t length = strlen(word);
    if (scan->length - scan->at < length || memcmp(scan->text + scan->at, word, length) != 0)
        return false;
    scan->at += length;
    return true;
}

bool json_take_null(struct json_scan *scan)
{
    skip_space(scan);
    return take_word(scan, "null");
}

static int skip_object(struct json_scan *scan)
{
    struct json_span key;
    bool more;
    int code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more)
        code = json_skip(scan);
    return code;
}

static int skip_array(struct json_scan *scan)
{
    bool more;
    int code = json_array_open(scan);
    while (code == 0 && (code = json_array_next(scan, &more)) == 0 && more)
        code = json_skip(scan);
    return code;
}

int json_skip(struct json_scan *scan)
{
    struct json_span string;
    switch (json_peek(scan)) {
    case JSON_OBJECT: return skip_object(scan);
    case JSON_ARRAY: return skip_array(scan);
    case JSON_STRING: return json_string(scan, &string);
    case JSON_NUMBER: return scan_number(scan);
    case JSON_WORD:
        if (take_word(scan, "true") || take_word(scan, "false") || take_word(scan, "null"))
            return 0;
        break;
    case JSON_NOTHING: break;
    }
    return fail_unexpected(scan, "a value");
}
