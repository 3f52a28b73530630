/* A client that is refused before its body was read goes on sending. Closing at once would reset the connection, and the
 * reset can overtake the answer. So a duplicate of the socket is kept open: half-closed by then, read until the client
 * has closed too, or a bound is reached. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/memory.h"
#include "server/http_exchange.h"

enum { STRAGGLER_MAX = 64, STRAGGLER_BYTES = 256 << 20, STRAGGLER_TICKS = 2 };

struct straggler {
    uv_poll_t poll;
    struct http *http;
    int fd;
    uint64_t bytes;
    int ticks;
    struct straggler *previous, *next;
};

static void on_straggler_closed(uv_handle_t *handle)
{
    struct straggler *straggler = handle->data;
    struct http *http = straggler->http;

    memory_free(straggler);
    http_let_go(http);
}

static void straggler_end(struct straggler *straggler)
{
    struct http *http = straggler->http;

    if (straggler->previous)
        straggler->previous->next = straggler->next;
    else
        http->stragglers = straggler->next;
    if (straggler->next)
        straggler->next->previous = straggler->previous;
    http->straggler_count--;
    uv_poll_stop(&straggler->poll);
    close(straggler->fd);
    uv_close((uv_handle_t *)&straggler->poll, on_straggler_closed);
}

static void on_straggler_readable(uv_poll_t *poll, int status, int events)
{
    static char scratch[64 << 10];        /* loop thread only; nobody looks at it */
    struct straggler *straggler = poll->data;
    ssize_t got = status < 0 ? 0 : recv(straggler->fd, scratch, sizeof scratch, MSG_DONTWAIT);

    (void)events;
    if (got > 0)
        straggler->bytes += (uint64_t)got;
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) || straggler->bytes > STRAGGLER_BYTES)
        straggler_end(straggler);
}

void straggler_begin(struct http *http, int fd)
{
    struct straggler *straggler;
    int copy;

    if (http->finished || http->straggler_count >= STRAGGLER_MAX)
        return;
    straggler = memory_new(sizeof *straggler);
    copy = straggler ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0 || uv_poll_init(http->loop, &straggler->poll, copy)) {
        if (copy >= 0)
            close(copy);
        memory_free(straggler);
        return;
    }
    straggler->poll.data = straggler;
    straggler->http = http;
    straggler->fd = copy;
    straggler->next = http->stragglers;
    if (straggler->next)
        straggler->next->previous = straggler;
    http->stragglers = straggler;
    http->straggler_count++;
    http->handles++;
    uv_poll_start(&straggler->poll, UV_READABLE, on_straggler_readable);
}

void straggler_tick(struct http *http)
{
    struct straggler *next;

    for (struct straggler *straggler = http->stragglers; straggler; straggler = next) {
        next = straggler->next;
        if (++straggler->ticks >= STRAGGLER_TICKS)
            straggler_end(straggler);
    }
}

void straggler_close_all(struct http *http)
{
    while (http->stragglers)
        straggler_end(http->stragglers);
}
