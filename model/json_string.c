/* The strings of the JSON scanner: unescaped in place, which works because no escape is shorter than what it stands
 * for. */
#include <string.h>

#include "model/json_scan.h"

/* Bytes of the UTF-8 sequence at `bytes` (`left` bytes remain), 0 if it is none: overlong forms, surrogates and code
 * points over U+10FFFF are none (Unicode 15, table 3-7). */
static size_t utf8_length(const unsigned char *bytes, size_t left)
{
    unsigned char first = bytes[0];
    unsigned char low = 0x80, high = 0xBF;
    size_t length = first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
    if (length == 0 || length > left)
        return 0;
    if (first == 0xE0)
        low = 0xA0;
    else if (first == 0xED)
        high = 0x9F;
    else if (first == 0xF0)
        low = 0x90;
    else if (first == 0xF4)
        high = 0x8F;
    for (size_t i = 1; i < length; i++, low = 0x80, high = 0xBF)
        if (bytes[i] < low || bytes[i] > high)
            return 0;
    return length;
}

static size_t utf8_put(char *out, unsigned code_point)
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

/* Four hexadecimal digits at scan->at; -1 if they are none. The text's NUL ends the look-ahead. */
static int hex4(const struct json_scan *scan, size_t at)
{
    int value = 0;
    for (size_t i = 0; i < 4; i++) {
        char c = scan->text[at + i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
                    c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* \uXXXX or a pair of them; scan->at is at the first digit. */
static int take_unicode(struct json_scan *scan, unsigned *code_point)
{
    int high = hex4(scan, scan->at), low;
    if (high < 0)
        return json_fail(scan, "\\u without four hexadecimal digits");
    if (high == 0)
        return json_fail(scan, "A string holds \\u0000 (NUL), which is not accepted,");
    scan->at += 4;
    *code_point = (unsigned)high;
    if (high < 0xD800 || high > 0xDFFF)
        return 0;
    if (high > 0xDBFF || scan->text[scan->at] != '\\' || scan->text[scan->at + 1] != 'u')
        return json_fail(scan, "A lone surrogate \\u%04x", (unsigned)high);
    low = hex4(scan, scan->at + 2);
    if (low < 0xDC00 || low > 0xDFFF)
        return json_fail(scan, "A lone surrogate \\u%04x", (unsigned)high);
    scan->at += 6;
    *code_point = 0x10000u + ((unsigned)(high - 0xD800) << 10) + (unsigned)(low - 0xDC00);
    return 0;
}

/* One escape; scan->at is behind the backslash. */
static int take_escape(struct json_scan *scan, char *out, size_t *used)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char letter = scan->text[scan->at];
    const char *place = letter == '\0' ? NULL : strchr(letters, letter);
    unsigned code_point = 0;
    if (place != NULL) {
        out[(*used)++] = meanings[place - letters];
        scan->at++;
        return 0;
    }
    if (letter != 'u')
        return json_fail(scan, "An unknown escape in a string");
    scan->at++;
    int code = take_unicode(scan, &code_point);
    if (code == 0)
        *used += utf8_put(out + *used, code_point);
    return code;
}

int json_string(struct json_scan *scan, struct json_span *string)
{
    enum json_kind kind = json_peek(scan);
    if (kind != JSON_STRING)
        return json_fail(scan, "%s stands where a string was expected", json_kind_name(kind));
    char *out = scan->text + ++scan->at;
    size_t used = 0;
    while (scan->at < scan->length) {
        unsigned char byte = (unsigned char)scan->text[scan->at];
        size_t length = utf8_length((const unsigned char *)scan->text + scan->at, scan->length - scan->at);
        if (byte == '"') {
            scan->at++;
            out[used] = '\0';
            *string = (struct json_span){out, used};
            return 0;
        }
        if (byte < 0x20)
            return json_fail(scan, "A raw control character 0x%02x inside a string", byte);
        if (length == 0)
            return json_fail(scan, "Invalid UTF-8 (byte 0x%02x) inside a string", byte);
        if (byte == '\\') {
            scan->at++;
            int code = take_escape(scan, out, &used);
            if (code != 0)
                return code;
            continue;
        }
        memmove(out + used, scan->text + scan->at, length);
        used += length;
        scan->at += length;
    }
    return json_fail(scan, "A string without its closing quote");
}
