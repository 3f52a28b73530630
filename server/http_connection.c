/* The life of an exchange: MHD's callbacks, suspending and resuming, the end. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "server/http_exchange.h"

enum { STATUS_CLIENT_LEFT = 499 };    /* for log and metrics only */

size_t exchange_no_unescape(void *http, struct MHD_Connection *connection, char *text)
{
    (void)http;                           /* the router and the query decode strictly, so both need the raw text */
    (void)connection;
    return strlen(text);
}

static struct link *link_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    return info ? info->socket_context : NULL;
}

int exchange_socket(const struct exchange *exchange)
{
    const union MHD_ConnectionInfo *info =
        exchange->connection ? MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD) : NULL;

    return info ? info->connect_fd : -1;
}

/* ---- connections */

static struct link *link_open(struct http *http, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct link *link = memory_new(sizeof *link);

    if (!link || !info) {
        memory_free(link);
        return NULL;                      /* served all the same; only its slowness is not watched */
    }
    link->fd = info->connect_fd;
    link->idle_since_ns = http_now_ns(http);
    link->next = http->links;
    if (link->next)
        link->next->previous = link;
    http->links = link;
    return link;
}

static void link_close(struct http *http, struct link *link)
{
    if (!link)
        return;
    if (link->previous)
        link->previous->next = link->next;
    else
        http->links = link->next;
    if (link->next)
        link->next->previous = link->previous;
    memory_free(link);
}

void exchange_on_connection(void *cls, struct MHD_Connection *connection, void **context,
                            enum MHD_ConnectionNotificationCode code)
{
    struct http *http = cls;

    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        http->metrics->connections++;
        *context = link_open(http, connection);
    } else {
        http->metrics->connections--;
        link_close(http, *context);
        *context = NULL;
    }
}

/* ---- lists, references */

static void list_add(struct exchange **list, struct exchange *exchange)
{
    exchange->previous = NULL;
    exchange->next = *list;
    if (exchange->next)
        exchange->next->previous = exchange;
    *list = exchange;
}

static void list_remove(struct exchange **list, struct exchange *exchange)
{
    if (exchange->previous)
        exchange->previous->next = exchange->next;
    else if (*list == exchange)
        *list = exchange->next;
    if (exchange->next)
        exchange->next->previous = exchange->previous;
    exchange->previous = exchange->next = NULL;
}

void exchange_hold(struct exchange *exchange)
{
    exchange->references++;
}

void exchange_release(struct exchange *exchange)
{
    if (--exchange->references > 0)
        return;
    if (exchange->http)
        list_remove(&exchange->http->orphans, exchange);
    exchange_drop_body(exchange);
    buffer_fini(&exchange->pending);
    memory_free(exchange->text);
    memory_free(exchange);
}

void exchange_suspend(struct exchange *exchange)
{
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection);
}

void exchange_resume(struct exchange *exchange)
{
    if (!exchange->suspended || !exchange->connection)
        return;
    exchange->suspended = false;
    MHD_resume_connection(exchange->connection);
    http_kick(exchange->http);
}

/* ---- answers of the service */

int exchange_await(struct exchange *exchange, int code)
{
    if (code)
        return error_set(&exchange->error, (enum error_code)code, "The server is short of memory; try again later");
    exchange->awaiting = true;
    exchange_hold(exchange);
    exchange_suspend(exchange);
    return 0;
}

static void answered(struct exchange *exchange, const struct error *error)
{
    exchange->awaiting = false;
    exchange->answered = true;
    if (error && error->code)
        exchange->error = *error;
    exchange_resume(exchange);
    exchange_release(exchange);
}

void exchange_answered(void *context, const struct error *error, const char *id, bool existed)
{
    struct exchange *exchange = context;

    exchange->existed = existed;
    if (id)
        strncpy(exchange->id, id, sizeof exchange->id - 1);
    answered(exchange, error);
}

void exchange_answered_text(void *context, const struct error *error, const char *json, size_t length)
{
    struct exchange *exchange = context;
    struct error no_memory = {0};

    if (json && exchange->connection) {
        exchange->text = memory_string_n(json, length);
        exchange->text_length = length;
        if (!exchange->text) {
            error_set(&no_memory, ERROR_NO_MEMORY, "No memory for the answer; try again later");
            error = &no_memory;
        }
    }
    answered(exchange, error);
}

/* ---- the request */

static struct exchange *exchange_new(struct http *http, struct MHD_Connection *connection, const char *url)
{
    struct exchange *exchange = memory_new(sizeof *exchange);
    struct link *link = link_of(connection);

    if (!exchange)
        return NULL;
    exchange->http = http;
    exchange->connection = connection;
    exchange->references = 1;
    exchange->match.route = ROUTE_COUNT;
    exchange->started_ns = http_now_ns(http);
    buffer_init(&exchange->body);
    buffer_init(&exchange->pending);
    strncpy(exchange->path, url, sizeof exchange->path - 1);
    request_id_choose(exchange_header(exchange, "X-Request-Id"), exchange->request_id);
    list_add(&http->exchanges, exchange);
    if (link)
        link->in_request = true;
    return exchange;
}

/* Too little memory even for an exchange: an answer that needs none of ours. */
static enum MHD_Result refuse_without_exchange(struct MHD_Connection *connection)
{
    static char text[] = "{\"type\":\"urn:lag:error:no_memory\",\"title\":\"Out of memory\",\"status\":503,"
                         "\"detail\":\"No memory; try again later\"}\n";
    struct MHD_Response *response = MHD_create_response_from_buffer(sizeof text - 1, text, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "application/problem+json");
    MHD_add_response_header(response, "Retry-After", "5");
    result = MHD_queue_response(connection, 503, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_problem(struct exchange *exchange)
{
    /* A reply that could not even be queued leaves no error behind: libmicrohttpd found no memory for it. */
    error_set(&exchange->error, ERROR_NO_MEMORY, "No memory for the answer; try again later");
    return reply_problem(exchange) ? MHD_NO : MHD_YES;
}

static enum MHD_Result begin(struct http *http, struct MHD_Connection *connection, const char *url, const char *method,
                             void **context)
{
    struct exchange *exchange = exchange_new(http, connection, url);
    int code;

    if (!exchange)
        return refuse_without_exchange(connection);
    *context = exchange;
    code = exchange_check(exchange, method, url);
    if (!code && exchange->body_kind == BODY_UPLOAD)
        code = exchange_body_begin(exchange);
    /* Without a body the refusal waits for the second call, which keeps the connection alive. */
    if (!code || (exchange->expected == 0 && !exchange->broken))
        return MHD_YES;
    exchange->early = true;
    return answer_problem(exchange);
}

/* The body is whole, or a suspension is over. */
static enum MHD_Result proceed(struct exchange *exchange)
{
    const struct handler *handler = handler_of(exchange->match.route);
    int code = exchange->error.code;

    if (exchange->awaiting && !code)
        code = error_set(&exchange->error, ERROR_UNAVAILABLE, "The server stops; what was asked may still be done. Look when it "
                         "runs again");
    if (!code && !exchange->ran) {
        exchange->phase = EXCHANGE_RUNNING;
        exchange->ran = true;
        code = exchange_body_end(exchange);
        code = code ? code : handler->run(exchange);
    } else if (!code) {
        code = handler->finish(exchange);
    }
    return code ? answer_problem(exchange) : MHD_YES;
}

enum MHD_Result exchange_on_request(void *http, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *data, size_t *size, void **context)
{
    struct exchange *exchange = *context;
    enum MHD_Result result;

    (void)version;
    if (!exchange)
        return begin(http, connection, url, method, context);
    if (exchange->gone)
        return MHD_NO;
    if (*size == 0)
        return proceed(exchange);
    result = exchange_body_piece(exchange, data, *size);
    *size = 0;
    return result;
}

/* ---- the end */

static void log_access(const struct exchange *exchange, int status)
{
    const enum route route = exchange->match.route;
    const struct route_row *row = route < ROUTE_COUNT ? &route_rows()[route] : NULL;
    const double ms = (double)(http_now_ns(exchange->http) - exchange->started_ns) / 1e6;
    const bool of_study = row && strncmp(row->path, "/v1/studies/{id}", 16) == 0;
    const struct log_fields fields = {
        .request_id = exchange->request_id,
        .study = of_study ? exchange->match.arguments[0] : NULL,
        .candidate = route == ROUTE_CANDIDATE_FILE ? exchange->match.arguments[1] : NULL,
        .error = exchange->error.code ? &exchange->error : NULL,
    };

    log_write(LOG_INFO, &fields, "%s %s %d %.1f ms", row ? row->method : "-", row ? row->path : "no route", status, ms);
}

void exchange_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                           enum MHD_RequestTerminationCode code)
{
    struct http *http = cls;
    struct exchange *exchange = *context;
    struct link *link = link_of(connection);
    int status;

    *context = NULL;
    if (link) {
        link->in_request = false;
        link->idle_since_ns = http_now_ns(http);
    }
    if (!exchange)
        return;
    status = exchange->status ? exchange->status : STATUS_CLIENT_LEFT;
    metrics_request(http->metrics, exchange->match.route, status);
    log_access(exchange, status);
    if (exchange->early && code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
        straggler_begin(http, exchange_socket(exchange));
    exchange_unwatch(exchange);
    list_remove(&http->exchanges, exchange);
    exchange->connection = NULL;
    exchange->suspended = false;
    list_add(&http->orphans, exchange);
    exchange_release(exchange);
}
