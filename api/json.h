/* JSON helpers of this room: strict text -> cJSON tree, the place in a document that a refusal points at, and numbers
 * as the shortest text that reads back as the same double. Thread rule: any thread; a tree belongs to one. */
#ifndef API_JSON_H
#define API_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* Reads strict JSON (json_check first) of at most SPEC_JSON_BYTES_MAX bytes. ERROR_SYNTAX with the byte offset,
 * ERROR_INVALID (duplicate key, integer over 2^53) with the pointer, ERROR_TOO_LARGE, ERROR_NO_MEMORY. Free with
 * cJSON_Delete. */
int json_read(const char *text, size_t length, cJSON **tree, struct error *error);
/* The same with another limit. */
int json_read_most(const char *text, size_t length, size_t most, cJSON **tree, struct error *error);

/* A member by exact name; NULL if absent (or `object` is NULL or no object). */
const cJSON *json_member(const cJSON *object, const char *name);
/* Integral and at most 2^53 in magnitude. */
bool json_is_integer(const cJSON *node);
/* "text", "an integer", "a number", "true or false", "null", "a list", "an object": for messages. */
const char *json_kind(const cJSON *node);

/* A JSON pointer that grows and shrinks while walking (RFC 6901 escapes; cut where it would not fit an error). */
struct place { char text[ERROR_POINTER_BYTES]; size_t length; };
/* Both return the length to hand to place_leave. */
size_t place_enter(struct place *place, const char *key);
size_t place_enter_index(struct place *place, int index);
void place_leave(struct place *place, size_t length);

/* Records ERROR_INVALID at the place; when something is recorded already, adds a further detail instead, so that one
 * answer names several mistakes. Returns the recorded code. */
int refuse(struct error *error, const struct place *place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The same at the member `key` of the place. */
int refuse_member(struct error *error, const struct place *place, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A user's text made fit for a message: control characters become '?', cut at a character with "…". */
enum { JSON_SHOWN_BYTES = 72 };
struct shown { char text[JSON_SHOWN_BYTES]; };
struct shown shown_text(const char *text);

/* The nearest of `count` names to `text` when it is close (a typing mistake), else NULL. */
const char *name_nearest(const char *text, const char *const *names, int count);
/* The same over "a|b|c": -1 if none is close. */
int choice_nearest(const char *text, const char *choices);
/* Index of `text` in "a|b|c", -1 if it is not one. */
int choice_index(const char *text, const char *choices);
/* The index-th of "a|b|c" into `name`; false if there is none. */
enum { CHOICE_BYTES = 48 };
bool choice_name(const char *choices, int index, char name[CHOICE_BYTES]);

/* Shortest text that strtod reads back as the same double; NaN and infinities become null. */
enum { NUMBER_BYTES = 40 };
void number_text(double value, char text[NUMBER_BYTES]);
void json_number(struct buffer *out, double value);
void json_unsigned(struct buffer *out, uint64_t value);
/* `"name": ` with a comma before it unless it is the first of its object (*first is cleared). */
void json_key(struct buffer *out, bool *first, const char *name);

/* A tree as text, numbers by json_number. */
void json_write(struct buffer *out, const cJSON *node);

#endif
