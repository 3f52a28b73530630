/* A strict pull scanner for JSON: the grammar of RFC 8259 and nothing else, over a text that it may overwrite (strings
 * are unescaped in place, so scanning allocates only the keys that are open). What it is not: a tree. The readers of
 * safetensors headers, shard indexes and reports pull what they need; json_check pulls everything and keeps nothing.
 *
 * Refused everywhere: duplicate keys (compared after unescaping), BOM, NUL bytes and \u0000, raw control characters,
 * invalid UTF-8, lone surrogates, NaN and Infinity, nesting beyond the limit, anything after the value.
 *
 *   json_scan_init -> json_object_open -> { json_object_next -> value }* -> json_scan_finish -> json_scan_fini
 *   a value is taken by json_string, json_u64, json_skip, or by opening it
 *
 * Every function returns 0 or the scan's error code with the byte offset in the message. Thread rule: one thread. */
#ifndef MODEL_JSON_SCAN_H
#define MODEL_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { JSON_DEPTH_MAX = 128 };

struct json_span {
    const char *bytes;       /* inside the scanned text; a string's is NUL-terminated */
    size_t length;
};

/* An open object or array. */
struct json_frame {
    bool is_object, begun;
    size_t keys;             /* where the object's keys begin in scan->keys */
    struct json_span key;    /* the present key */
    uint64_t index;          /* the present element */
};

struct json_scan {
    char *text;              /* length + 1 bytes, the last one NUL; the caller's */
    size_t length, at;
    int depth, depth_limit;
    enum error_code code;    /* what a malformed text is reported as */
    bool bounded_integers;   /* refuse integers beyond 2^53 */
    struct error *error;
    struct json_span *keys;  /* of all open objects */
    size_t key_count, key_capacity;
    struct json_frame frames[JSON_DEPTH_MAX];
};

enum json_kind { JSON_OBJECT, JSON_ARRAY, JSON_STRING, JSON_NUMBER, JSON_WORD, JSON_NOTHING };

/* `text` has room for length bytes and a NUL, and is overwritten. depth_limit is cut to JSON_DEPTH_MAX. */
int json_scan_init(struct json_scan *scan, char *text, size_t length, int depth_limit, enum error_code code,
                   struct error *error);
void json_scan_fini(struct json_scan *scan);
/* Only white space may be left. */
int json_scan_finish(struct json_scan *scan);

/* The kind of the value that comes next (JSON_WORD: true, false, null; JSON_NOTHING: no value can begin so). */
enum json_kind json_peek(struct json_scan *scan);
const char *json_kind_name(enum json_kind kind);      /* "an object" … */

int json_object_open(struct json_scan *scan);
/* *more false: the object ended. Otherwise the next key is taken and its value must be. */
int json_object_next(struct json_scan *scan, struct json_span *key, bool *more);
int json_array_open(struct json_scan *scan);
int json_array_next(struct json_scan *scan, bool *more);
int json_string(struct json_scan *scan, struct json_span *string);
/* Digits only: no sign, fraction, exponent or leading zero; below 2^64. `what` names the number in messages. */
int json_u64(struct json_scan *scan, const char *what, uint64_t *value);
/* True, and the word is taken, if null comes next. */
bool json_take_null(struct json_scan *scan);
/* Checks and drops a value of any kind. */
int json_skip(struct json_scan *scan);

/* Records a failure at the present byte. */
int json_fail(struct json_scan *scan, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with the JSON pointer of the present place. */
int json_fail_at(struct json_scan *scan, const char *format, ...) __attribute__((format(printf, 2, 3)));

bool json_span_is(struct json_span span, const char *text);

#endif
