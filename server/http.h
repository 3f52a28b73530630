/* HTTP: libmicrohttpd's daemon on the libuv loop, without a thread of its own. Bytes <-> service calls; decides nothing about
 * studies. Its epoll descriptor is watched by the loop; a timer follows MHD_get_timeout; whatever resumes a connection
 * makes the daemon run again.
 *
 * Thread rule: everything on the loop thread. The service, metrics, auth, clock and loop must outlive the daemon, that is
 * until http_stop's `done`. A service callback that comes later than that is harmless. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/error.h"
#include "server/auth.h"
#include "server/metrics.h"
#include "server/service.h"

struct http;

/* X(field, type, default, what): limits; 0 in the options takes the default. */
#define HTTP_LIMITS(X)                                                                                          \
    X(connections, unsigned, 512, "open connections; more wait to be accepted")                                 \
    X(connection_memory_bytes, uint64_t, 256 << 10, "headers and buffers of one connection")                    \
    X(suspended, int, 256, "connections that wait or stream events; more are answered 429")                     \
    X(uploads, int, 32, "uploads at a time; more are answered 429")                                             \
    X(upload_bytes, uint64_t, (uint64_t)64 << 30, "body of one upload")                                         \
    X(json_bytes, uint64_t, SPEC_JSON_BYTES_MAX, "a JSON body")                                                 \
    X(drain_bytes, uint64_t, (uint64_t)1 << 30, "what is read and dropped of a refused upload before its answer") \
    X(disk_reserve_bytes, uint64_t, 64 << 20, "disk that uploads leave free")                                   \
    X(inactivity_seconds, unsigned, 30, "silence that closes a connection")                                     \
    X(header_seconds, unsigned, 60, "time for a request's headers")                                             \
    X(slow_bytes_per_second, uint64_t, 1024, "average rate below which an upload is cut, after header_seconds") \
    X(wait_seconds, unsigned, 600, "longest ?wait=")                                                            \
    X(tick_ms, uint64_t, 15000, "comment ping, hang-up and slowness checks")                                    \
    X(stop_ms, uint64_t, 10000, "time that requests in flight get when stopping")

struct http_options {
    const char *listen;            /* "127.0.0.1:8080" */
    const struct auth *auth;       /* NULL: no token */
    bool insecure;                 /* listen beyond loopback without a token */
    const char *version;
    struct clock *clock;
#define X(field, type, fallback, what) type field;
    HTTP_LIMITS(X)
#undef X
};

/* Binds and serves from the loop's next turn on. ERROR_INVALID, ERROR_FORBIDDEN, ERROR_CONFLICT from listening,
 * ERROR_NO_MEMORY, ERROR_INTERNAL. */
int http_start(struct http **http, const struct http_options *options, struct service *service, struct metrics *metrics,
               struct uv_loop_s *loop, struct error *error);
/* The port it got. */
uint16_t http_port(const struct http *http);
/* Closes the listening socket, ends event streams with a comment, answers what waits, lets the rest finish for
 * stop_ms, then closes everything, frees `http` and calls `done`. Once. */
void http_stop(struct http *http, void (*done)(void *context), void *context);

#endif
