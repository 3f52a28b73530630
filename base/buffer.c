#include "base/buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { FIRST_CAPACITY_BYTES = 256 };

static const char replacement_character[] = "\xEF\xBF\xBD";    /* U+FFFD */

void buffer_init(struct buffer *buffer)
{
    *buffer = (struct buffer){0};
}

void buffer_fini(struct buffer *buffer)
{
    memory_free(buffer->data);
    buffer_init(buffer);
}

/* Makes room for `more` bytes and a NUL; false, with `failed` set for good, when there is none. */
static bool buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->failed)
        return false;
    size_t needed;
    if (__builtin_add_overflow(buffer->length, more, &needed) || needed >= PTRDIFF_MAX) {
        buffer->failed = true;
        return false;
    }
    needed++;
    if (needed <= buffer->capacity)
        return true;
    size_t capacity = buffer->capacity ? buffer->capacity : FIRST_CAPACITY_BYTES;
    while (capacity < needed)
        capacity *= 2;
    char *data = memory_resize(buffer->data, capacity);
    if (!data) {
        buffer->failed = true;
        return false;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t length)
{
    if (!buffer_reserve(buffer, length))
        return;
    if (length > 0)
        memcpy(buffer->data + buffer->length, bytes, length);
    buffer->length += length;
    buffer->data[buffer->length] = '\0';
}

void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0)
        buffer->failed = true;
    if (length < 0 || !buffer_reserve(buffer, (size_t)length))
        return;
    va_start(arguments, format);
    vsnprintf(buffer->data + buffer->length, (size_t)length + 1, format, arguments);
    va_end(arguments);
    buffer->length += (size_t)length;
}

/* Bytes of the UTF-8 sequence at `text` (NUL-terminated), 1 to 4; 0 where there is none: stray continuation bytes,
 * overlong forms, surrogates, beyond U+10FFFF (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *text)
{
    unsigned char lead = text[0], second_least = 0x80, second_most = 0xBF;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead == 0xE0)
        second_least = 0xA0;
    if (lead == 0xED)
        second_most = 0x9F;
    if (lead == 0xF0)
        second_least = 0x90;
    if (lead == 0xF4)
        second_most = 0x8F;
    if (text[1] < second_least || text[1] > second_most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

/* Writes the replacement of one ASCII character (not NUL) into `escape`; false: it stands for itself. */
typedef bool escape_function(unsigned char character, char escape[8]);

static bool json_escape(unsigned char character, char escape[8])
{
    static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *found = strchr(special, character);
    if (found)
        snprintf(escape, 8, "\\%c", letters[found - special]);
    else if (character < 0x20)
        snprintf(escape, 8, "\\u%04x", character);
    else
        return false;
    return true;
}

static bool xml_escape(unsigned char character, char escape[8])
{
    static const char special[] = "&<>\"'";
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    const char *found = strchr(special, character);
    if (found)
        snprintf(escape, 8, "%s", entities[found - special]);
    else if (character < 0x20 && !strchr("\t\n\r", character))    /* has no place in XML 1.0, not even escaped */
        snprintf(escape, 8, "%s", replacement_character);
    else
        return false;
    return true;
}

/* Appends `text`, runs of plain characters in one piece. */
static void append_escaped(struct buffer *buffer, const char *text, escape_function *escape_of)
{
    const unsigned char *cursor = (const unsigned char *)text, *run = cursor;
    while (*cursor) {
        char escape[8];
        size_t length = utf8_length(cursor);
        bool replace = length == 0 || (length == 1 && escape_of(*cursor, escape));
        if (replace) {
            buffer_append(buffer, run, (size_t)(cursor - run));
            buffer_text(buffer, length == 0 ? replacement_character : escape);
        }
        cursor += length ? length : 1;
        if (replace)
            run = cursor;
    }
    buffer_append(buffer, run, (size_t)(cursor - run));
}

void buffer_json_escaped(struct buffer *buffer, const char *text)
{
    append_escaped(buffer, text, json_escape);
}

void buffer_json_string(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, "\"", 1);
    append_escaped(buffer, text, json_escape);
    buffer_append(buffer, "\"", 1);
}

void buffer_xml(struct buffer *buffer, const char *text)
{
    append_escaped(buffer, text, xml_escape);
}

char *buffer_take(struct buffer *buffer, size_t *length)
{
    buffer_append(buffer, "", 0);
    if (buffer->failed) {
        buffer_fini(buffer);
        return NULL;
    }
    char *data = buffer->data;
    if (length)
        *length = buffer->length;
    buffer_init(buffer);
    return data;
}
