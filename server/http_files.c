/* Files of candidates: whole or one range, with a strong validator. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/http_exchange.h"

enum { ETAG_BYTES = 96, RANGE_BYTES = 96 };

enum range_answer { RANGE_WHOLE, RANGE_PART, RANGE_NONE };    /* 200, 206, 416 */

static bool digits(const char **cursor, uint64_t *value)
{
    char *end = NULL;

    if (**cursor < '0' || **cursor > '9')
        return false;
    errno = 0;
    *value = strtoull(*cursor, &end, 10);
    *cursor = end;
    return errno == 0;
}

/* RFC 9110 14.1: "bytes=a-b", "bytes=a-", "bytes=-n". A form that is not understood, or several ranges, is as if it were
 * not there. *last is inclusive. */
static enum range_answer range_parse(const char *header, uint64_t size, uint64_t *first, uint64_t *last)
{
    const char *cursor = header;
    uint64_t a = 0, b = UINT64_MAX;

    if (!header || strncmp(header, "bytes=", 6) != 0)
        return RANGE_WHOLE;
    cursor += 6;
    if (*cursor == '-') {
        cursor++;
        if (!digits(&cursor, &a) || *cursor)
            return RANGE_WHOLE;
        if (a == 0 || size == 0)
            return RANGE_NONE;
        *first = a < size ? size - a : 0;
        *last = size - 1;
        return RANGE_PART;
    }
    if (!digits(&cursor, &a) || *cursor++ != '-' || (*cursor && (!digits(&cursor, &b) || *cursor)) || b < a)
        return RANGE_WHOLE;
    if (a >= size)
        return RANGE_NONE;
    *first = a;
    *last = b < size ? b : size - 1;
    return RANGE_PART;
}

/* If-None-Match: "*" or a list; weak comparison, as RFC 9110 13.1.2 has it. */
static bool etag_listed(const char *header, const char *etag)
{
    const size_t length = strlen(etag);

    if (!header)
        return false;
    if (strcmp(header, "*") == 0)
        return true;
    for (const char *found = strstr(header, etag); found; found = strstr(found + 1, etag)) {
        const char after = found[length];
        if (after == '\0' || after == ',' || after == ' ' || after == '\t')
            return true;
    }
    return false;
}

static const char *type_of(const char *file)
{
    static const struct { const char *ending, *type; } types[] = {
        {".json", "application/json"}, {".md", "text/markdown; charset=utf-8"}, {".txt", "text/plain; charset=utf-8"},
    };
    const size_t length = strlen(file);

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const size_t ending = strlen(types[i].ending);
        if (length > ending && strcmp(file + length - ending, types[i].ending) == 0)
            return types[i].type;
    }
    return "application/octet-stream";
}

/* Files are written once and renamed into place: inode, size and time tell one from another. */
static void etag_make(const struct stat *status, char etag[ETAG_BYTES])
{
    snprintf(etag, ETAG_BYTES, "\"%llx-%llx-%llx.%lx\"", (unsigned long long)status->st_ino,
             (unsigned long long)status->st_size, (unsigned long long)status->st_mtim.tv_sec,
             (unsigned long)status->st_mtim.tv_nsec);
}

static struct MHD_Response *response_of(int fd, uint64_t first, uint64_t count)
{
    static char nothing[1];
    struct MHD_Response *response;

    if (count == 0) {
        close(fd);
        return MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    }
    response = MHD_create_response_from_fd_at_offset64(count, fd, first);
    if (!response)
        close(fd);
    return response;
}

/* 416 is no row of the error table: only files know it. */
static int reply_no_range(struct exchange *exchange, const struct reply *reply, uint64_t size)
{
    struct buffer body;

    buffer_init(&body);
    buffer_text(&body, "{\"type\": \"urn:lag:error:range\", \"title\": \"Range not satisfiable\", \"status\": 416, \"detail\": ");
    buffer_format(&body, "\"The file has %llu bytes; ask for a range that begins within it\", \"instance\": ",
                  (unsigned long long)size);
    buffer_json_string(&body, exchange->path);
    buffer_text(&body, ", \"request_id\": ");
    buffer_json_string(&body, exchange->request_id);
    buffer_text(&body, "}\n");
    return reply_buffer(exchange, reply, &body);
}

/* Takes fd. */
static int reply_file(struct exchange *exchange, int fd, const struct stat *status, const char *file)
{
    const uint64_t size = (uint64_t)status->st_size;
    const char *condition = exchange_header(exchange, "If-Range");
    char etag[ETAG_BYTES], range[RANGE_BYTES];
    uint64_t first = 0, last = size ? size - 1 : 0, count = size;
    enum range_answer answer = RANGE_WHOLE;
    struct reply reply = {.status = 200, .type = type_of(file),
                          .headers = {{"ETag", etag}, {"Accept-Ranges", "bytes"}, {"Cache-Control", "private, no-cache"}}};

    etag_make(status, etag);
    if (etag_listed(exchange_header(exchange, "If-None-Match"), etag)) {
        reply.status = 304;
        reply.type = NULL;
        return reply_response(exchange, &reply, response_of(fd, 0, 0));
    }
    if (!condition || strcmp(condition, etag) == 0)
        answer = range_parse(exchange_header(exchange, "Range"), size, &first, &last);
    if (answer == RANGE_PART) {
        reply.status = 206;
        count = last - first + 1;
        snprintf(range, sizeof range, "bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)last,
                 (unsigned long long)size);
        reply.headers[3] = (struct reply_header){"Content-Range", range};
    } else if (answer == RANGE_NONE) {
        close(fd);
        reply.status = 416;
        reply.type = "application/problem+json";
        snprintf(range, sizeof range, "bytes */%llu", (unsigned long long)size);
        reply.headers[3] = (struct reply_header){"Content-Range", range};
        return reply_no_range(exchange, &reply, size);
    }
    return reply_response(exchange, &reply, response_of(fd, first, count));
}

int handle_candidate_file(struct exchange *exchange)
{
    const char *id = exchange->match.arguments[0], *candidate = exchange->match.arguments[1];
    const char *file = exchange->match.arguments[2];
    char path[FILE_PATH_BYTES] = "";
    struct buffer listing;
    struct stat status;
    int fd;
    int code;

    buffer_init(&listing);
    code = service_candidate_file(exchange->http->service, id, candidate, file, path, &listing, &exchange->error);
    if (!code && !*file)
        return reply_buffer(exchange, &(struct reply){.status = 200, .type = "application/json"}, &listing);
    buffer_fini(&listing);
    if (code)
        return code;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return error_set(&exchange->error, ERROR_NOT_FOUND, "The candidate has no file %s; an empty name lists them", file);
    if (fd < 0 || fstat(fd, &status) || !S_ISREG(status.st_mode)) {
        code = error_set_errno(&exchange->error, errno, "The file %s cannot be read; try again later", file);
        if (fd >= 0)
            close(fd);
        return code;
    }
    return reply_file(exchange, fd, &status, file);
}
