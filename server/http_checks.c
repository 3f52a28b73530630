/* What is decided before the body: framing, route, token, origin, length, media type, size, room on the disk. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "server/http_exchange.h"

const char *exchange_header(const struct exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

struct framing { int lengths, encodings; };

static enum MHD_Result count_framing(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct framing *framing = context;

    (void)kind;
    (void)value;
    framing->lengths += strcasecmp(key, "Content-Length") == 0;
    framing->encodings += strcasecmp(key, "Transfer-Encoding") == 0;
    return MHD_YES;
}

/* RFC 9112 6.1-6.3: what could be understood in two ways is refused, and the connection closed. */
static int check_framing(struct exchange *exchange)
{
    const char *length = exchange_header(exchange, "Content-Length");
    const char *encoding = exchange_header(exchange, "Transfer-Encoding");
    struct framing framing = {0};

    MHD_get_connection_values(exchange->connection, MHD_HEADER_KIND, count_framing, &framing);
    exchange->expected = encoding ? UINT64_MAX : length ? strtoull(length, NULL, 10) : 0;
    exchange->broken = true;
    if (framing.lengths && framing.encodings)
        return error_set(&exchange->error, ERROR_SYNTAX, "Content-Length and Transfer-Encoding contradict each other; send "
                         "one of them");
    if (framing.lengths > 1 || framing.encodings > 1)
        return error_set(&exchange->error, ERROR_SYNTAX, "Content-Length or Transfer-Encoding is sent twice; send one");
    if (encoding && strcasecmp(encoding, "chunked") != 0)
        return error_set(&exchange->error, ERROR_NOT_YET, "The only Transfer-Encoding understood is chunked; use that, or "
                         "Content-Length");
    exchange->broken = false;
    return 0;
}

static int check_route(struct exchange *exchange, const char *method, const char *url)
{
    int status;

    if (strncasecmp(url, "http://", 7) == 0) {        /* absolute form, as proxies send it */
        url += 7 + strcspn(url + 7, "/");
        url = *url ? url : "/";
    }
    status = route_find(method, url, &exchange->match, exchange->allow);
    if (status == 0) {
        exchange->head = strcmp(method, "HEAD") == 0;
        return 0;
    }
    exchange->match.route = ROUTE_COUNT;
    if (status == 405)
        return error_set(&exchange->error, ERROR_METHOD, "This path does not take %.20s; it takes %s", method,
                         exchange->allow);
    return error_set(&exchange->error, ERROR_NOT_FOUND, "There is nothing at this path; the routes are listed in docs/api.md");
}

static int check_token(struct exchange *exchange, const struct route_row *row)
{
    const struct auth *auth = exchange->http->options.auth;

    if (row->is_public || !auth || auth_accepts(auth, exchange_header(exchange, "Authorization")))
        return 0;
    return error_set(&exchange->error, ERROR_UNAUTHORIZED, "This needs the server's token; send the header "
                     "\"Authorization: Bearer TOKEN\"");
}

/* Without a token, a page open in a browser on this machine could send forms here. */
static int check_origin(struct exchange *exchange, const struct route_row *row)
{
    const struct auth *auth = exchange->http->options.auth;
    const char *origin = exchange_header(exchange, "Origin");
    const char *host = exchange_header(exchange, "Host");
    const char *authority = origin ? strstr(origin, "://") : NULL;

    if (!origin || (auth && auth->required) || strcmp(row->method, "GET") == 0)
        return 0;
    if (authority && host && strcasecmp(authority + 3, host) == 0)
        return 0;
    return error_set(&exchange->error, ERROR_FORBIDDEN, "Requests of other origins are refused while no token is configured; "
                     "start the server with --token-file, or call it without a browser");
}

/* Routes that a later release brings. */
static int check_available(struct exchange *exchange)
{
    static const struct { enum route route; const char *text; } later[] = {
        {ROUTE_DATASET_PATCH, "Uploads in pieces come with a later release; send the file in one POST /v1/datasets"},
        {ROUTE_DATASET_HEAD, "Uploads in pieces come with a later release; GET shows a dataset"},
        {ROUTE_OPENAPI, "The OpenAPI document comes with a later release; docs/api.md describes every route"},
        {ROUTE_PAGE, "The page comes with a later release; GET /v1/studies lists the studies"},
    };

    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (exchange->match.route == later[i].route)
            return error_set(&exchange->error, ERROR_NOT_YET, "%s", later[i].text);
    return 0;
}

/* Nothing new is taken while the server starts or stops. */
static int check_ready(struct exchange *exchange)
{
    const enum route route = exchange->match.route;
    char reason[256] = "";
    const bool creates = route == ROUTE_CHECKPOINT_CREATE || route == ROUTE_DATASET_CREATE ||
                         route == ROUTE_STUDY_CREATE || route == ROUTE_STUDY_RESUME;

    if (exchange->http->stopping)
        return error_set(&exchange->error, ERROR_UNAVAILABLE, "The server stops; come again when it has started");
    if (creates && !service_ready(exchange->http->service, reason))
        return error_set(&exchange->error, ERROR_UNAVAILABLE, "The server is not ready (%s); try again shortly", reason);
    return 0;
}

static bool media_is(const char *type, const char *wanted)
{
    const size_t length = strlen(wanted);

    return type && strncasecmp(type, wanted, length) == 0 && (type[length] == '\0' || strchr("; \t", type[length]));
}

/* A dataset's raw body: what clients call plain bytes. */
static bool media_is_bytes(const char *type)
{
    return !type || media_is(type, "application/octet-stream") || media_is(type, "binary/octet-stream") ||
           media_is(type, "text/plain") || media_is(type, "application/x-www-form-urlencoded");
}

static int check_media(struct exchange *exchange, int row_body)
{
    const char *type = exchange_header(exchange, "Content-Type");
    const char *encoding = exchange_header(exchange, "Content-Encoding");
    const enum route route = exchange->match.route;
    const bool multipart = media_is(type, "multipart/form-data");

    if (encoding && strcasecmp(encoding, "identity") != 0)
        return error_set(&exchange->error, ERROR_MEDIA_TYPE, "Compressed bodies are not taken; send it without "
                         "Content-Encoding");
    exchange->body_kind = BODY_UPLOAD;
    exchange->content_type = multipart ? type : NULL;
    exchange->form = route == ROUTE_CHECKPOINT_CREATE ? UPLOAD_CHECKPOINT
                     : route == ROUTE_DATASET_CREATE  ? UPLOAD_DATASET
                                                      : UPLOAD_STUDY;
    if (row_body == 2 && (multipart || (route == ROUTE_DATASET_CREATE && media_is_bytes(type))))
        return 0;
    exchange->body_kind = BODY_JSON;
    if ((row_body == 1 || route == ROUTE_STUDY_CREATE) && media_is(type, "application/json"))
        return 0;
    return error_set(&exchange->error, ERROR_MEDIA_TYPE, "Content-Type must be %s here",
                     row_body == 1                     ? "application/json"
                     : route == ROUTE_STUDY_CREATE     ? "application/json or multipart/form-data"
                     : route == ROUTE_DATASET_CREATE   ? "multipart/form-data or application/octet-stream"
                                                       : "multipart/form-data");
}

static int check_room(struct exchange *exchange)
{
    struct http *http = exchange->http;
    const uint64_t length = exchange->expected == UINT64_MAX ? 0 : exchange->expected;
    uint64_t free_bytes = 0;
    int code;

    if (http->upload_count >= http->options.uploads)
        return error_set(&exchange->error, ERROR_TOO_MANY, "%d uploads are running; try again when one has ended",
                         http->upload_count);
    code = file_free_bytes(service_upload_directory(http->service), &free_bytes, &exchange->error);
    if (code)
        return code;
    if (free_bytes < http->options.disk_reserve_bytes ||
        free_bytes - http->options.disk_reserve_bytes < http->upload_reserved ||
        free_bytes - http->options.disk_reserve_bytes - http->upload_reserved < length)
        return error_set(&exchange->error, ERROR_DISK_FULL, "The upload of %llu bytes does not fit: the store has %llu bytes "
                         "free, of which %llu stay free and %llu are promised to other uploads; delete what is not needed",
                         (unsigned long long)length, (unsigned long long)free_bytes,
                         (unsigned long long)http->options.disk_reserve_bytes,
                         (unsigned long long)http->upload_reserved);
    return 0;
}

static int check_body(struct exchange *exchange, int row_body)
{
    const struct http_options *limits = &exchange->http->options;
    const bool announced = exchange->expected == UINT64_MAX || exchange_header(exchange, "Content-Length");
    uint64_t limit;
    int code;

    if (row_body != 0 && !announced)
        return error_set(&exchange->error, ERROR_LENGTH_REQUIRED, "The body's length is missing; send Content-Length, or "
                         "Transfer-Encoding: chunked");
    code = row_body != 0 ? check_media(exchange, row_body) : 0;
    if (code)
        return code;
    limit = exchange->body_kind == BODY_UPLOAD ? limits->upload_bytes : limits->json_bytes;
    if (exchange->expected != UINT64_MAX && exchange->expected > limit)
        return error_set(&exchange->error, ERROR_TOO_LARGE, "The body of %llu bytes exceeds the limit of %llu bytes; send "
                         "less", (unsigned long long)exchange->expected, (unsigned long long)limit);
    return exchange->body_kind == BODY_UPLOAD ? check_room(exchange) : 0;
}

int exchange_check(struct exchange *exchange, const char *method, const char *url)
{
    const struct route_row *row;
    int code = check_framing(exchange);

    code = code ? code : check_route(exchange, method, url);
    if (code)
        return code;
    row = &route_rows()[exchange->match.route];
    code = check_token(exchange, row);
    code = code ? code : check_origin(exchange, row);
    code = code ? code : check_available(exchange);
    code = code ? code : check_ready(exchange);
    return code ? code : check_body(exchange, row->body);
}
