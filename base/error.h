/* Errors: one table of kinds, and a record of what went wrong and what to do next.
 *
 * Functions that can fail return an int, 0 or a row of ERROR_TABLE, and fill the `struct error` they are given.
 * First cause wins: setting an error that is already set changes nothing; callers add context with error_wrap.
 * A message that a user may see says what to do next. "Does not apply" is an answer, not an error.
 * Thread rule: a struct error belongs to whoever declared it; nothing here is shared. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

/* X(code, word, http status, exit code, title). `word` is what logs and metrics call it. */
#define ERROR_TABLE(X)                                                                  \
    X(ERROR_NONE, "none", 200, 0, "No error")                                           \
    X(ERROR_SYNTAX, "syntax", 400, 2, "Malformed request")                              \
    X(ERROR_UNAUTHORIZED, "unauthorized", 401, 2, "Token missing or wrong")             \
    X(ERROR_FORBIDDEN, "forbidden", 403, 2, "Not allowed")                              \
    X(ERROR_NOT_FOUND, "not_found", 404, 2, "Not found")                                \
    X(ERROR_METHOD, "method", 405, 2, "Method not allowed")                             \
    X(ERROR_CONFLICT, "conflict", 409, 1, "Conflict")                                   \
    X(ERROR_LENGTH_REQUIRED, "length_required", 411, 2, "Length required")              \
    X(ERROR_TOO_LARGE, "too_large", 413, 2, "Too large")                                \
    X(ERROR_MEDIA_TYPE, "media_type", 415, 2, "Unsupported media type")                 \
    X(ERROR_INVALID, "invalid", 422, 2, "Invalid input")                                \
    X(ERROR_TOO_MANY, "too_many", 429, 1, "Too many requests")                          \
    X(ERROR_INTERNAL, "internal", 500, 1, "Internal error")                             \
    X(ERROR_IO, "io", 500, 1, "Input or output failed")                                 \
    X(ERROR_NOT_YET, "not_yet", 501, 2, "Not available yet")                            \
    X(ERROR_UNAVAILABLE, "unavailable", 503, 1, "Unavailable for now")                  \
    X(ERROR_NO_MEMORY, "no_memory", 503, 1, "Out of memory")                            \
    X(ERROR_DISK_FULL, "disk_full", 507, 1, "Disk full")                                \
    X(ERROR_DAMAGED, "damaged", 500, 3, "Store damaged")                                \
    X(ERROR_DIVERGED, "diverged", 500, 1, "Training diverged")                          \
    X(ERROR_CANCELLED, "cancelled", 409, 130, "Cancelled")

enum error_code {
#define X(code, word, status, exit_code, title) code,
    ERROR_TABLE(X)
#undef X
    ERROR_CODE_COUNT
};

enum { ERROR_POINTER_BYTES = 192, ERROR_MESSAGE_BYTES = 640, ERROR_DETAILS_MAX = 5 };

/* One named disagreement: a JSON pointer ("/training/batch") or a tensor name, and what is wrong with it. */
struct error_detail {
    char pointer[ERROR_POINTER_BYTES];
    char text[ERROR_MESSAGE_BYTES];
};

struct error {
    enum error_code code;                              /* ERROR_NONE: nothing went wrong */
    char message[ERROR_MESSAGE_BYTES];                 /* whole sentence(s), ends with what to do next */
    struct error_detail details[ERROR_DETAILS_MAX];    /* the first five; empty for errors without a place */
    int detail_count;
};

/* Clears the record. Every struct error starts as {0} or through this. */
void error_clear(struct error *error);

/* Records `code` and a printf-formatted message unless an error is already recorded. Returns the recorded code,
 * so that `return error_set(error, …)` is the usual last line. `error` may be NULL: then only the code is returned. */
int error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As error_set, and records `pointer` with the same text as the first detail. */
int error_set_at(struct error *error, enum error_code code, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Adds a further detail to a recorded error; silently drops it when five are there already. */
void error_add_detail(struct error *error, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prefixes the message of a recorded error with "<text>: ". Returns the recorded code (0 if none is recorded). */
int error_wrap(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Replaces every occurrence of `text` in message and details by `shorter` (not longer than it): a message that was made
 * below a temporary directory must not show it. */
void error_shorten(struct error *error, const char *text, const char *shorter);

/* Prefixes every detail's pointer: a parser of a part reports "/layers", its caller adds "/candidates/2". */
void error_prefix_pointer(struct error *error, const char *prefix);

/* Records the failure of a system call from errno: ENOSPC and EDQUOT become ERROR_DISK_FULL, ENOMEM ERROR_NO_MEMORY,
 * the rest ERROR_IO. The message reads "<text>: <strerror>". */
int error_set_errno(struct error *error, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Columns of the table. */
const char *error_word(enum error_code code);
const char *error_title(enum error_code code);
int error_http_status(enum error_code code);
int error_exit_code(enum error_code code);

#endif
