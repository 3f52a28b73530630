#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/response.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/http_exchange.h"

/* On every answer. Nothing we send is a document that may load or run anything; the plot needs its inline style. */
static const struct reply_header COMMON[] = {
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
};

static bool has_header(const struct reply *reply, const char *name)
{
    for (const struct reply_header *header = reply->headers; header->name; header++)
        if (strcmp(header->name, name) == 0)
            return true;
    return false;
}

static bool add_headers(struct MHD_Response *response, const struct exchange *exchange, const struct reply *reply)
{
    bool added = MHD_add_response_header(response, "X-Request-Id", exchange->request_id) == MHD_YES;

    for (size_t i = 0; i < sizeof COMMON / sizeof *COMMON && added; i++)
        added = MHD_add_response_header(response, COMMON[i].name, COMMON[i].value) == MHD_YES;
    if (added && reply->type)
        added = MHD_add_response_header(response, "Content-Type", reply->type) == MHD_YES;
    if (added && !has_header(reply, "Cache-Control"))
        added = MHD_add_response_header(response, "Cache-Control", "no-store") == MHD_YES;
    for (const struct reply_header *header = reply->headers; header->name && added; header++)
        added = MHD_add_response_header(response, header->name, header->value) == MHD_YES;
    if (added && exchange->http->stopping)
        added = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    return added;
}

int reply_response(struct exchange *exchange, const struct reply *reply, struct MHD_Response *response)
{
    bool queued;

    if (!response)
        return error_set(NULL, ERROR_INTERNAL, "no response");
    queued = add_headers(response, exchange, reply) &&
             MHD_queue_response(exchange->connection, (unsigned)reply->status, response) == MHD_YES;
    MHD_destroy_response(response);
    if (!queued)
        return ERROR_INTERNAL;
    exchange->status = reply->status;
    exchange->phase = EXCHANGE_REPLIED;
    return 0;
}

int reply_buffer(struct exchange *exchange, const struct reply *reply, struct buffer *body)
{
    struct MHD_Response *response;
    size_t length = 0;
    char *bytes;

    if (body->failed) {
        buffer_fini(body);
        return error_set(&exchange->error, ERROR_NO_MEMORY, "No memory for the answer; try again later");
    }
    bytes = buffer_take(body, &length);
    response = MHD_create_response_from_buffer_with_free_callback(length, bytes, memory_free);
    if (!response)
        memory_free(bytes);
    return reply_response(exchange, reply, response);
}

/* The headers that RFC 9110 and the contract want beside some statuses. */
static void problem_headers(const struct exchange *exchange, struct reply *reply)
{
    int count = 0;

    if (reply->status == 401)
        reply->headers[count++] = (struct reply_header){
            "WWW-Authenticate", exchange_header(exchange, "Authorization") ? "Bearer realm=\"lag\", error=\"invalid_token\""
                                                                            : "Bearer realm=\"lag\""};
    if (reply->status == 405)
        reply->headers[count++] = (struct reply_header){"Allow", exchange->allow};
    if (reply->status == 429 || reply->status == 503)
        reply->headers[count++] = (struct reply_header){"Retry-After", "5"};
    if (reply->status == 415)
        reply->headers[count++] = (struct reply_header){"Accept-Encoding", "identity"};
}

int reply_problem(struct exchange *exchange)
{
    static char bare[] = "{\"type\":\"urn:lag:error:no_memory\",\"title\":\"Out of memory\",\"status\":503,"
                         "\"detail\":\"No memory for the answer; try again later\"}\n";
    struct reply reply = {.status = error_http_status(exchange->error.code), .type = "application/problem+json"};
    struct buffer body;

    buffer_init(&body);
    response_problem(&body, &exchange->error, exchange->path, exchange->request_id);
    problem_headers(exchange, &reply);
    metrics_reject(exchange->http->metrics, exchange->error.code);
    if (!body.failed && body.length > 0)
        return reply_buffer(exchange, &reply, &body);
    buffer_fini(&body);
    reply.status = 503;
    return reply_response(exchange, &reply, MHD_create_response_from_buffer(sizeof bare - 1, bare, MHD_RESPMEM_PERSISTENT));
}
