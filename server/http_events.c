/* GET /v1/studies/{id}/events: server-sent events. The stream is a response whose bytes come from a callback; while there
 * are none the connection is suspended, until the service notifies, the tick asks for a ping, or the server stops. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "server/http_exchange.h"

enum { EVENTS_PER_READ = 64, EVENT_BLOCK_BYTES = 16 << 10 };

/* Refills exchange->pending; nothing in it afterwards: there is nothing to say yet. */
static int refill(struct exchange *exchange)
{
    struct buffer *pending = &exchange->pending;
    struct error error = {0};

    pending->length = 0;
    exchange->pending_sent = 0;
    if (exchange->last_words)
        return 0;
    if (!exchange->ended &&
        service_events(exchange->http->service, exchange->watch.id, &exchange->last_event, EVENTS_PER_READ, pending,
                       &exchange->ended, &error)) {
        log_write(LOG_WARNING, &(struct log_fields){.request_id = exchange->request_id, .study = exchange->watch.id,
                                                    .error = &error}, "an event stream ends early");
        return -1;
    }
    if (pending->length == 0 && exchange->http->stopping && !exchange->ended) {
        buffer_text(pending, ": the server stops; reconnect with Last-Event-ID\n\n");
        exchange->last_words = true;
    } else if (pending->length == 0 && exchange->ping && !exchange->ended) {
        buffer_text(pending, ": ping\n\n");
    }
    exchange->ping = false;
    return pending->failed ? -1 : 0;
}

static ssize_t read_events(void *context, uint64_t position, char *bytes, size_t room)
{
    struct exchange *exchange = context;
    struct buffer *pending = &exchange->pending;
    size_t count;

    (void)position;
    if (exchange->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (exchange->pending_sent == pending->length && refill(exchange))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    count = pending->length - exchange->pending_sent;
    if (count == 0) {
        if (exchange->ended || exchange->last_words)
            return MHD_CONTENT_READER_END_OF_STREAM;
        exchange_suspend(exchange);
        return 0;
    }
    count = count < room ? count : room;
    memcpy(bytes, pending->data + exchange->pending_sent, count);
    exchange->pending_sent += count;
    return (ssize_t)count;
}

/* Digits only. */
static int last_event_id(struct exchange *exchange)
{
    const char *given = exchange_header(exchange, "Last-Event-ID");
    char *end = NULL;

    if (!given || !*given)
        return 0;
    errno = 0;
    exchange->last_event = strtoull(given, &end, 10);
    if (errno || *end || given[0] < '0' || given[0] > '9')
        return error_set(&exchange->error, ERROR_SYNTAX, "Last-Event-ID must be the id of an event of this study, a whole "
                         "number");
    return 0;
}

int handle_study_events(struct exchange *exchange)
{
    static char nothing[1];
    const struct reply reply = {.status = 200, .type = "text/event-stream", .headers = {{"X-Accel-Buffering", "no"}}};
    struct MHD_Response *response;
    int code = last_event_id(exchange);

    code = code ? code : exchange_watch(exchange, exchange->match.arguments[0]);
    if (code)
        return code;
    if (exchange->head) {
        exchange_unwatch(exchange);
        return reply_response(exchange, &reply, MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT));
    }
    code = exchange_take_place(exchange);
    if (code)
        return code;
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, EVENT_BLOCK_BYTES, read_events, exchange, NULL);
    return reply_response(exchange, &reply, response);
}
