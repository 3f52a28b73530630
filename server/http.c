#include "server/http.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/http_exchange.h"
#include "server/listen.h"

/* After the time for requests in flight, what the last answers get to be sent. */
enum { STOP_FLUSH_MS = 250 };

static void finish(struct http *http);

int64_t http_now_ns(const struct http *http)
{
    return http->options.clock->monotonic_ns(http->options.clock);
}

static void on_run_timer(uv_timer_t *timer);

static void run(struct http *http)
{
    MHD_UNSIGNED_LONG_LONG milliseconds = 0;
    bool timed;

    http->kicked = false;
    MHD_run(http->daemon);
    if (http->stopping && !http->exchanges) {
        finish(http);
        return;
    }
    timed = MHD_get_timeout(http->daemon, &milliseconds) == MHD_YES;
    if (http->kicked)
        milliseconds = 0;
    if (timed || http->kicked)
        uv_timer_start(&http->timer, on_run_timer, milliseconds, 0);
    else
        uv_timer_stop(&http->timer);
}

static void on_run_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    run(poll->data);
}

void http_kick(struct http *http)
{
    http->kicked = true;
    if (!http->finished)
        uv_timer_start(&http->timer, on_run_timer, 0, 0);
}

/* ---- removal of directories on the pool */

struct removal {
    uv_work_t work;
    struct http *http;
    char path[FILE_PATH_BYTES];
};

static void remove_on_pool(uv_work_t *work)
{
    struct removal *removal = work->data;
    struct error error = {0};

    if (file_remove_tree(removal->path, &error))
        log_write(LOG_WARNING, &(struct log_fields){.error = &error}, "an upload's files stay until the next start");
}

void http_let_go(struct http *http)
{
    if (--http->handles > 0 || !http->finished)
        return;
    for (struct exchange *orphan = http->orphans; orphan; orphan = orphan->next)
        orphan->http = NULL;
    if (http->stopped)
        http->stopped(http->stopped_context);
    memory_free(http);
}

static void after_removal(uv_work_t *work, int status)
{
    struct removal *removal = work->data;
    struct http *http = removal->http;

    (void)status;
    memory_free(removal);
    http_let_go(http);
}

void http_remove_later(struct http *http, const char *path)
{
    struct removal *removal;

    if (!file_exists(path))
        return;
    removal = memory_new(sizeof *removal);
    if (removal) {
        removal->work.data = removal;
        removal->http = http;
        strncpy(removal->path, path, sizeof removal->path - 1);
        if (uv_queue_work(http->loop, &removal->work, remove_on_pool, after_removal) == 0) {
            http->handles++;
            return;
        }
    }
    memory_free(removal);
    file_remove_tree(path, &(struct error){0});
}

/* ---- start */

static void fill_limits(struct http_options *options)
{
#define X(field, type, fallback, what) \
    if (options->field == 0)           \
        options->field = (type)(fallback);
    HTTP_LIMITS(X)
#undef X
}

static struct MHD_Daemon *start_daemon(struct http *http, int fd)
{
    const struct http_options *options = &http->options;

    return MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC, 0, NULL, NULL, exchange_on_request, http,
                            MHD_OPTION_LISTEN_SOCKET, fd,
                            MHD_OPTION_CONNECTION_LIMIT, options->connections,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)options->connection_memory_bytes,
                            MHD_OPTION_CONNECTION_TIMEOUT, options->inactivity_seconds,
                            MHD_OPTION_NOTIFY_COMPLETED, exchange_on_completed, http,
                            MHD_OPTION_NOTIFY_CONNECTION, exchange_on_connection, http,
                            MHD_OPTION_UNESCAPE_CALLBACK, exchange_no_unescape, http,
                            MHD_OPTION_STRICT_FOR_CLIENT, 1,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
                            MHD_OPTION_END);
}

/* Every handle is made before one is started: a failure before that leaves nothing on the loop. */
static int start_handles(struct http *http, struct error *error)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    uv_timer_t *const timers[] = {&http->timer, &http->tick, &http->deadline, &http->stop_timer};

    if (!info || uv_poll_init(http->loop, &http->poll, info->epoll_fd))
        return error_set(error, ERROR_INTERNAL, "The HTTP daemon cannot be watched by the loop");
    http->poll.data = http;
    http->handles = 1;
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) {
        uv_timer_init(http->loop, timers[i]);
        timers[i]->data = http;
        http->handles++;
    }
    uv_poll_start(&http->poll, UV_READABLE, on_readable);
    uv_timer_start(&http->tick, wait_on_tick, http->options.tick_ms, http->options.tick_ms);
    http_kick(http);
    return 0;
}

static int listen_and_start(struct http *http, struct error *error)
{
    struct listen_address address;
    const bool has_token = http->options.auth && http->options.auth->required;
    int fd = -1;
    int code = listen_parse(&address, http->options.listen, error);

    code = code ? code : listen_open(&address, has_token, http->options.insecure, &fd, &http->port, error);
    if (code)
        return code;
    signal(SIGPIPE, SIG_IGN);
    http->daemon = start_daemon(http, fd);
    if (!http->daemon) {
        close(fd);
        return error_set(error, ERROR_NO_MEMORY, "The HTTP daemon cannot start; free some memory or file descriptors");
    }
    code = start_handles(http, error);
    if (code)
        MHD_stop_daemon(http->daemon);
    return code;
}

int http_start(struct http **http, const struct http_options *options, struct service *service, struct metrics *metrics,
               struct uv_loop_s *loop, struct error *error)
{
    struct http *made = memory_new(sizeof *made);
    int code;

    *http = NULL;
    if (!made)
        return error_set(error, ERROR_NO_MEMORY, "No memory for the HTTP daemon");
    made->options = *options;
    made->service = service;
    made->metrics = metrics;
    made->loop = loop;
    fill_limits(&made->options);
    code = listen_and_start(made, error);
    if (code) {
        memory_free(made);
        return code;
    }
    *http = made;
    return 0;
}

uint16_t http_port(const struct http *http)
{
    return http->port;
}

/* ---- stop */

static void on_closed(uv_handle_t *handle)
{
    http_let_go(handle->data);
}

static void finish(struct http *http)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&http->poll, (uv_handle_t *)&http->timer, (uv_handle_t *)&http->tick,
                                    (uv_handle_t *)&http->deadline, (uv_handle_t *)&http->stop_timer};

    if (http->finished)
        return;
    for (struct exchange *exchange = http->exchanges; exchange; exchange = exchange->next) {
        exchange->gone = true;
        exchange_resume(exchange);        /* MHD aborts on a daemon stopped with suspended connections */
    }
    http->finished = true;
    MHD_run(http->daemon);
    uv_poll_stop(&http->poll);
    MHD_stop_daemon(http->daemon);
    straggler_close_all(http);
    for (size_t i = 0; i < sizeof handles / sizeof *handles; i++)
        uv_close(handles[i], on_closed);
}

/* First: what waits on the service is told to come again. Then: the end. */
static void on_stop_timer(uv_timer_t *timer)
{
    struct http *http = timer->data;

    if (http->forced) {
        finish(http);
        return;
    }
    http->forced = true;
    for (struct exchange *exchange = http->exchanges; exchange; exchange = exchange->next)
        exchange_resume(exchange);
    uv_timer_start(timer, on_stop_timer, STOP_FLUSH_MS, 0);
}

void http_stop(struct http *http, void (*done)(void *context), void *context)
{
    MHD_socket fd;

    if (http->stopping)
        return;
    http->stopping = true;
    http->stopped = done;
    http->stopped_context = context;
    fd = MHD_quiesce_daemon(http->daemon);
    if (fd != MHD_INVALID_SOCKET)
        close(fd);
    for (struct exchange *exchange = http->exchanges; exchange; exchange = exchange->next)
        if (exchange->watching)
            exchange_resume(exchange);
    uv_timer_start(&http->stop_timer, on_stop_timer, http->options.stop_ms, 0);
    http_kick(http);
}
