#include "base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *word, *title;
    int http_status, exit_code;
} error_rows[ERROR_CODE_COUNT] = {
#define X(code, word, status, exit_code, title) [code] = {word, title, status, exit_code},
    ERROR_TABLE(X)
#undef X
};

void error_clear(struct error *error)
{
    memset(error, 0, sizeof *error);
}

/* Records code and message unless a first cause is there already; true when it was recorded. */
static bool error_record(struct error *error, enum error_code code, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static bool error_record(struct error *error, enum error_code code, const char *format, va_list arguments)
{
    if (!error || error->code != ERROR_NONE)
        return false;
    error->code = code;
    error->detail_count = 0;
    vsnprintf(error->message, sizeof error->message, format, arguments);
    return true;
}

int error_set(struct error *error, enum error_code code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    error_record(error, code, format, arguments);
    va_end(arguments);
    return error ? (int)error->code : (int)code;
}

int error_set_at(struct error *error, enum error_code code, const char *pointer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    bool recorded = error_record(error, code, format, arguments);
    va_end(arguments);
    if (recorded)
        error_add_detail(error, pointer, "%s", error->message);
    return error ? (int)error->code : (int)code;
}

void error_add_detail(struct error *error, const char *pointer, const char *format, ...)
{
    if (!error || error->code == ERROR_NONE || error->detail_count >= ERROR_DETAILS_MAX)
        return;
    struct error_detail *detail = &error->details[error->detail_count++];
    snprintf(detail->pointer, sizeof detail->pointer, "%s", pointer);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail->text, sizeof detail->text, format, arguments);
    va_end(arguments);
}

int error_wrap(struct error *error, const char *format, ...)
{
    if (!error || error->code == ERROR_NONE)
        return ERROR_NONE;
    char cause[ERROR_MESSAGE_BYTES];
    memcpy(cause, error->message, sizeof cause);
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    if (written >= 0 && (size_t)written < sizeof error->message)
        snprintf(error->message + written, sizeof error->message - (size_t)written, ": %s", cause);
    return (int)error->code;
}

void error_prefix_pointer(struct error *error, const char *prefix)
{
    if (!error)
        return;
    for (int i = 0; i < error->detail_count; i++) {
        char tail[ERROR_POINTER_BYTES];
        memcpy(tail, error->details[i].pointer, sizeof tail);
        int written = snprintf(error->details[i].pointer, sizeof tail, "%s", prefix);
        if (written >= 0 && (size_t)written < sizeof tail)
            snprintf(error->details[i].pointer + written, sizeof tail - (size_t)written, "%s", tail);
    }
}

static enum error_code error_code_of_errno(int errno_value)
{
    switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
        return ERROR_DISK_FULL;
    case ENOMEM:
        return ERROR_NO_MEMORY;
    default:
        return ERROR_IO;
    }
}

int error_set_errno(struct error *error, int errno_value, const char *format, ...)
{
    enum error_code code = error_code_of_errno(errno_value);
    va_list arguments;
    va_start(arguments, format);
    bool recorded = error_record(error, code, format, arguments);
    va_end(arguments);
    if (recorded) {
        size_t used = strlen(error->message);
        char reason[128];
        snprintf(error->message + used, sizeof error->message - used, ": %s",
                 strerror_r(errno_value, reason, sizeof reason));
    }
    return error ? (int)error->code : (int)code;
}

const char *error_word(enum error_code code)
{
    return error_rows[code].word;
}

const char *error_title(enum error_code code)
{
    return error_rows[code].title;
}

int error_http_status(enum error_code code)
{
    return error_rows[code].http_status;
}

int error_exit_code(enum error_code code)
{
    return error_rows[code].exit_code;
}

static void shorten(char *where, const char *text, const char *shorter)
{
    size_t length = strlen(text), new_length = strlen(shorter);

    for (char *found = where; (found = strstr(found, text)) != NULL; found += new_length) {
        memcpy(found, shorter, new_length);
        memmove(found + new_length, found + length, strlen(found + length) + 1);
    }
}

void error_shorten(struct error *error, const char *text, const char *shorter)
{
    if (!*text || strlen(shorter) > strlen(text))
        return;
    shorten(error->message, text, shorter);
    for (int i = 0; i < error->detail_count; i++) {
        shorten(error->details[i].pointer, text, shorter);
        shorten(error->details[i].text, text, shorter);
    }
}
