#include "server/multipart.h"

#include <string.h>
#include <strings.h>

int multipart_boundary(const char *content_type, char boundary[MULTIPART_BOUNDARY_MAX + 1], struct error *error)
{
    static const char *const allowed = "'()+_,-./:=? ";    /* RFC 2046 bchars, beside letters and digits */
    const char *start = strcasestr(content_type, "boundary=");
    size_t length;

    if (!start)
        return error_set(error, ERROR_SYNTAX, "Content-Type multipart/form-data lacks its boundary; let the client library "
                         "set the header (curl -F does)");
    start += strlen("boundary=");
    if (*start == '"') {
        start++;
        length = strcspn(start, "\"");
    } else {
        length = strcspn(start, "; \t");
    }
    if (length == 0 || length > MULTIPART_BOUNDARY_MAX)
        return error_set(error, ERROR_SYNTAX, "The multipart boundary must have 1 to %d characters",
                         MULTIPART_BOUNDARY_MAX);
    for (size_t i = 0; i < length; i++) {
        const char c = start[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!plain && !strchr(allowed, c))
            return error_set(error, ERROR_SYNTAX, "The multipart boundary has a character that RFC 2046 does not allow; use "
                             "letters, digits and dashes");
    }
    memcpy(boundary, start, length);
    boundary[length] = '\0';
    return 0;
}

void multipart_init(struct multipart *parser, const char *boundary, const struct multipart_sink *sink)
{
    memset(parser, 0, sizeof *parser);
    parser->sink = *sink;
    memcpy(parser->delimiter, "\r\n--", 4);
    parser->delimiter_length = 4 + strlen(boundary);
    memcpy(parser->delimiter + 4, boundary, parser->delimiter_length - 4);
    parser->matched = 2;                  /* the first delimiter may stand at the very beginning, without a line before */
}

/* The value of `key` among a header's parameters, unquoted; false if it is not there. *fits: it is not too long. */
static bool parameter_find(const char *header, const char *key, char *value, size_t room, bool *fits)
{
    const char *cursor = header;
    const size_t key_length = strlen(key);

    while ((cursor = strchr(cursor, ';'))) {
        size_t length = 0;
        bool quoted, wanted;
        cursor += 1 + strspn(cursor + 1, " \t");
        wanted = strncasecmp(cursor, key, key_length) == 0 && cursor[key_length] == '=';
        cursor += strcspn(cursor, "=;");
        if (*cursor != '=')
            continue;
        quoted = *++cursor == '"';
        cursor += quoted;
        while (*cursor && (quoted ? *cursor != '"' : *cursor != ';')) {
            if (quoted && cursor[0] == '\\' && (cursor[1] == '"' || cursor[1] == '\\'))
                cursor++;
            if (wanted && length + 1 < room)
                value[length] = *cursor;
            length++;
            cursor++;
        }
        if (!wanted)
            continue;
        *fits = length < room;
        value[length < room ? length : room - 1] = '\0';
        return true;
    }
    return false;
}

/* One header line, NUL-terminated, without its CRLF. */
static int header_line(const char *line, struct multipart_part *part, bool *named, struct error *error)
{
    bool name_fits = true, file_fits = true;
    const char *value;

    if (strncasecmp(line, "Content-Transfer-Encoding:", 26) == 0) {
        value = line + 26 + strspn(line + 26, " \t");
        if (strcasecmp(value, "binary") && strcasecmp(value, "8bit") && strcasecmp(value, "7bit"))
            return error_set(error, ERROR_MEDIA_TYPE, "A part's Content-Transfer-Encoding must be binary; send the file's "
                             "bytes as they are");
        return 0;
    }
    if (strncasecmp(line, "Content-Disposition:", 20) != 0)
        return 0;
    value = line + 20 + strspn(line + 20, " \t");
    if (strncasecmp(value, "form-data", 9) != 0)
        return error_set(error, ERROR_SYNTAX, "A part's Content-Disposition must be form-data; see curl -F");
    *named = parameter_find(value, "name", part->name, sizeof part->name, &name_fits) && part->name[0];
    parameter_find(value, "filename", part->file_name, sizeof part->file_name, &file_fits);
    if (!name_fits || !file_fits)
        return error_set(error, ERROR_SYNTAX, "A part's name or file name is too long; use at most %d and %d characters",
                         MULTIPART_NAME_BYTES - 1, MULTIPART_FILE_NAME_BYTES - 1);
    return 0;
}

static int headers_end(struct multipart *parser, struct error *error)
{
    struct multipart_part part = {0};
    bool named = false;
    char *line = parser->header, *end = parser->header + parser->header_length;

    if (memchr(line, '\0', parser->header_length))
        return error_set(error, ERROR_SYNTAX, "A part's headers hold a NUL byte");
    while (line < end) {
        char *stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        int code;
        if (!stop)
            break;
        *stop = '\0';
        code = header_line(line, &part, &named, error);
        if (code)
            return code;
        line = stop + 2;
    }
    if (!named)
        return error_set(error, ERROR_SYNTAX, "A part of the body has no name; every part needs Content-Disposition: "
                         "form-data; name=\"…\"");
    if (++parser->parts > MULTIPART_PARTS_MAX)
        return error_set(error, ERROR_TOO_LARGE, "The body has more than %d parts; send fewer", MULTIPART_PARTS_MAX);
    parser->state = MULTIPART_BODY;
    parser->matched = 0;
    return parser->sink.begin(parser->sink.context, &part, error);
}

static int header_byte(struct multipart *parser, char byte, struct error *error)
{
    const char *header = parser->header;
    size_t length;

    if (parser->header_length == sizeof parser->header)
        return error_set(error, ERROR_TOO_LARGE, "A part's headers exceed %d bytes", MULTIPART_HEADER_BYTES);
    parser->header[parser->header_length++] = byte;
    length = parser->header_length;
    if ((length == 2 && memcmp(header, "\r\n", 2) == 0) ||
        (length >= 4 && memcmp(header + length - 4, "\r\n\r\n", 4) == 0))
        return headers_end(parser, error);
    return 0;
}

/* The bytes between a delimiter and the headers or the end. */
static int delimiter_byte(struct multipart *parser, char byte, struct error *error)
{
    static const char *const sentence = "The multipart body is malformed after a boundary; the boundary must not occur "
                                        "in the data";

    switch (parser->state) {
    case MULTIPART_DELIMITER:
        if (byte == '-') {
            parser->state = MULTIPART_DASH;
            return 0;
        }
        parser->state = MULTIPART_PADDING;
        /* fall through */
    case MULTIPART_PADDING:
        if (byte == '\r')
            parser->state = MULTIPART_LINE_END;
        else if (byte != ' ' && byte != '\t')
            return error_set(error, ERROR_SYNTAX, "%s", sentence);
        return 0;
    case MULTIPART_DASH:
        parser->state = MULTIPART_EPILOGUE;
        return byte == '-' ? 0 : error_set(error, ERROR_SYNTAX, "%s", sentence);
    default:
        parser->state = MULTIPART_HEADERS;
        parser->header_length = 0;
        return byte == '\n' ? 0 : error_set(error, ERROR_SYNTAX, "%s", sentence);
    }
}

static int emit(struct multipart *parser, const char *bytes, size_t length, struct error *error)
{
    if (length == 0 || parser->state == MULTIPART_PREAMBLE)
        return 0;
    return parser->sink.data(parser->sink.context, bytes, length, error);
}

/* Looks for the delimiter. Its CR occurs nowhere else in it, so a mismatch starts over at the same byte, and what was
 * matched in an earlier piece can be given out from the delimiter itself: nothing is held back. *used: bytes eaten. */
static int scan(struct multipart *parser, const char *bytes, size_t length, size_t *used, struct error *error)
{
    size_t carried = parser->matched;     /* matched before this piece */
    size_t i = 0;
    int code = 0;

    while (i < length && parser->matched < parser->delimiter_length && !code) {
        if (parser->matched == 0) {
            const char *cr = memchr(bytes + i, '\r', length - i);
            i = cr ? (size_t)(cr - bytes) + 1 : length;
            parser->matched = cr ? 1 : 0;
        } else if (bytes[i] == parser->delimiter[parser->matched]) {
            parser->matched++;
            i++;
        } else {
            code = emit(parser, parser->delimiter, carried, error);
            carried = 0;
            parser->matched = 0;
        }
    }
    *used = i;
    if (!code)
        code = emit(parser, bytes, i - (parser->matched - carried), error);
    if (code || parser->matched < parser->delimiter_length)
        return code;
    if (parser->state == MULTIPART_BODY)
        code = parser->sink.end(parser->sink.context, error);
    parser->state = MULTIPART_DELIMITER;
    return code;
}

int multipart_feed(struct multipart *parser, const char *bytes, size_t length, struct error *error)
{
    size_t i = 0;
    int code = 0;

    while (i < length && !code) {
        size_t used = 1;
        switch (parser->state) {
        case MULTIPART_PREAMBLE:
        case MULTIPART_BODY:
            code = scan(parser, bytes + i, length - i, &used, error);
            break;
        case MULTIPART_HEADERS:
            code = header_byte(parser, bytes[i], error);
            break;
        case MULTIPART_EPILOGUE:
            used = length - i;
            break;
        default:
            code = delimiter_byte(parser, bytes[i], error);
        }
        i += used;
    }
    return code;
}

int multipart_finish(const struct multipart *parser, struct error *error)
{
    if (parser->state == MULTIPART_EPILOGUE)
        return 0;
    if (parser->parts == 0)
        return error_set(error, ERROR_SYNTAX, "The multipart body has no part with the boundary of its Content-Type");
    return error_set(error, ERROR_SYNTAX, "The multipart body ends before its closing boundary; send it again, whole");
}
