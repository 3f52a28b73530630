/* A growable byte string. Appending to a buffer that ran out of memory does nothing and keeps `failed` set, so that a
 * writer of many pieces checks once at the end. `data` is always NUL-terminated once anything was appended. */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data;        /* NULL while empty and untouched */
    size_t length;     /* bytes, without the NUL */
    size_t capacity;
    bool failed;       /* an append found no memory */
};

void buffer_init(struct buffer *buffer);
void buffer_fini(struct buffer *buffer);
void buffer_append(struct buffer *buffer, const void *bytes, size_t length);
void buffer_text(struct buffer *buffer, const char *text);
void buffer_format(struct buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends `text` as a JSON string with its quotes: control characters, quotes and backslashes escaped, invalid UTF-8
 * replaced by U+FFFD. */
void buffer_json_string(struct buffer *buffer, const char *text);
/* The same without the quotes. */
void buffer_json_escaped(struct buffer *buffer, const char *text);
/* Appends `text` escaped for XML/HTML text and attributes. */
void buffer_xml(struct buffer *buffer, const char *text);
/* Hands the bytes over: the caller frees them with memory_free; the buffer is empty afterwards. NULL if it failed. */
char *buffer_take(struct buffer *buffer, size_t *length);

#endif
