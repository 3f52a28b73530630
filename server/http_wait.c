/* Waiting: GET /v1/studies/{id}?wait=SECONDS, the bounded places of connections that wait, and the tick that looks after
 * what libmicrohttpd does not: suspended connections have neither a time-out nor a notice of hang-up. */
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "server/http_exchange.h"

enum { EVENTS_AT_ONCE = 256 };

int exchange_take_place(struct exchange *exchange)
{
    struct http *http = exchange->http;

    if (http->suspended_count >= http->options.suspended)
        return error_set(&exchange->error, ERROR_TOO_MANY, "%d connections wait or stream events already; ask without wait, or "
                         "try again later", http->suspended_count);
    http->suspended_count++;
    exchange->counted = true;
    return 0;
}

static void on_notify(struct service_watch *watch)
{
    struct exchange *exchange = watch->owner;

    exchange_resume(exchange);
}

int exchange_watch(struct exchange *exchange, const char *id)
{
    struct service_watch *watch = &exchange->watch;
    int code;

    if (strlen(id) >= sizeof watch->id)
        return error_set(&exchange->error, ERROR_NOT_FOUND, "There is no such study; GET /v1/studies lists them");
    watch->notify = on_notify;
    watch->owner = exchange;
    strncpy(watch->id, id, sizeof watch->id - 1);
    code = service_watch_add(exchange->http->service, id, watch, &exchange->error);
    exchange->watching = code == 0;
    return code;
}

void exchange_unwatch(struct exchange *exchange)
{
    if (exchange->watching)
        service_watch_remove(exchange->http->service, &exchange->watch);
    exchange->watching = false;
    if (exchange->counted)
        exchange->http->suspended_count--;
    exchange->counted = false;
}

/* `Accept: text/plain` asks for the ranked table that `lag run` prints: for a person with curl. */
static bool wants_table(const struct exchange *exchange)
{
    const char *accept = exchange_header(exchange, "Accept");

    return accept && strstr(accept, "text/plain") && !strstr(accept, "application/json");
}

static int reply_study(struct exchange *exchange)
{
    struct service *service = exchange->http->service;
    const char *id = exchange->match.arguments[0];
    bool ended = false, table = wants_table(exchange);
    struct buffer body;
    int code;

    exchange_unwatch(exchange);
    buffer_init(&body);
    code = table ? service_study_document(service, id, "table.txt", &body, &exchange->error)
                 : service_study_json(service, id, &body, &ended, &exchange->error);
    if (code) {
        buffer_fini(&body);
        return code;
    }
    return reply_buffer(exchange, &(struct reply){.status = 200, .type = table ? "text/plain; charset=utf-8"
                                                                               : "application/json"}, &body);
}

/* Has the study ended? Its events tell more cheaply than its JSON: only the new ones are read. */
static int study_ended(struct exchange *exchange, bool *ended)
{
    struct buffer text;
    int code = 0;

    *ended = false;
    buffer_init(&text);
    do {
        text.length = 0;
        code = service_events(exchange->http->service, exchange->match.arguments[0], &exchange->last_event, EVENTS_AT_ONCE,
                              &text, ended, &exchange->error);
        if (!code && text.failed)
            code = error_set(&exchange->error, ERROR_NO_MEMORY, "No memory to wait; try again later");
    } while (!code && !*ended && text.length > 0);
    buffer_fini(&text);
    return code;
}

/* The deadline timer runs for the earliest of all. */
static void arm_deadline(struct http *http)
{
    const int64_t now = http_now_ns(http);
    int64_t earliest = INT64_MAX;

    for (const struct exchange *exchange = http->exchanges; exchange; exchange = exchange->next)
        if (exchange->deadline_ns && exchange->suspended && exchange->deadline_ns < earliest)
            earliest = exchange->deadline_ns;
    if (earliest == INT64_MAX)
        uv_timer_stop(&http->deadline);
    else
        uv_timer_start(&http->deadline, wait_on_deadline, earliest > now ? (uint64_t)(earliest - now) / 1000000 + 1 : 0, 0);
}

void wait_on_deadline(uv_timer_t *timer)
{
    struct http *http = timer->data;
    const int64_t now = http_now_ns(http);

    for (struct exchange *exchange = http->exchanges; exchange; exchange = exchange->next)
        if (exchange->deadline_ns && exchange->deadline_ns <= now)
            exchange_resume(exchange);
    arm_deadline(http);
}

int handle_study_wait(struct exchange *exchange)
{
    bool ended = false;
    int code = study_ended(exchange, &ended);

    if (code)
        return code;
    if (ended || exchange->http->stopping || http_now_ns(exchange->http) >= exchange->deadline_ns)
        return reply_study(exchange);
    exchange_suspend(exchange);
    arm_deadline(exchange->http);
    return 0;
}

int handle_study_show(struct exchange *exchange)
{
    uint64_t seconds = 0;
    int code = query_number(exchange, "wait", 0, exchange->http->options.wait_seconds, true, &seconds);

    if (code)
        return code;
    if (seconds == 0)
        return reply_study(exchange);
    code = exchange_watch(exchange, exchange->match.arguments[0]);
    code = code ? code : exchange_take_place(exchange);
    if (code)
        return code;
    exchange->deadline_ns = exchange->started_ns + (int64_t)seconds * 1000000000;
    return handle_study_wait(exchange);
}

/* ---- the tick */

static bool has_hung_up(int fd)
{
    struct pollfd state = {.fd = fd, .events = POLLRDHUP};

    return fd >= 0 && poll(&state, 1, 0) == 1 && (state.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL));
}

/* A shut-down socket is what makes libmicrohttpd close a connection that is not suspended. */
static void cut(int fd)
{
    if (fd >= 0)
        shutdown(fd, SHUT_RDWR);
}

/* The client's end came along with its last bytes: libmicrohttpd, which reads once per event, would notice only at its
 * time-out. Nothing is left to be read, and the request is not whole: it never will be. */
static bool has_left_in_the_middle(int fd)
{
    int unread = 0;

    return has_hung_up(fd) && ioctl(fd, FIONREAD, &unread) == 0 && unread == 0;
}

static void look_after(struct exchange *exchange, int64_t now)
{
    const struct http_options *limits = &exchange->http->options;
    const int64_t elapsed = (now - exchange->started_ns) / 1000000000;

    if (exchange->suspended) {
        exchange->gone = has_hung_up(exchange_socket(exchange));
        exchange->ping = exchange->watching && !exchange->deadline_ns;
        if (exchange->gone || exchange->ping)
            exchange_resume(exchange);
    } else if (exchange->phase == EXCHANGE_BODY || exchange->phase == EXCHANGE_DRAIN) {
        const int64_t slow = elapsed - (int64_t)limits->header_seconds;
        const int fd = exchange_socket(exchange);
        if ((slow > 0 && exchange->received < (uint64_t)slow * limits->slow_bytes_per_second) || has_left_in_the_middle(fd))
            cut(fd);
    }
}

void wait_on_tick(uv_timer_t *timer)
{
    struct http *http = timer->data;
    const int64_t now = http_now_ns(http);

    for (struct exchange *exchange = http->exchanges; exchange; exchange = exchange->next)
        look_after(exchange, now);
    for (const struct link *link = http->links; link; link = link->next)
        if (!link->in_request && (now - link->idle_since_ns > (int64_t)http->options.header_seconds * 1000000000 ||
                                  has_left_in_the_middle(link->fd)))
            cut(link->fd);
    straggler_tick(http);
}
