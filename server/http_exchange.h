/* One HTTP exchange: a request and its answer. Internal to the http*.c files.
 *
 *           first call           body complete            reply queued          sent, or the client left
 *   (new) --------------> BODY ------------------> RUNNING -------------> REPLIED ---------------------> over
 *     |                    | fails                 ^  |  ^                 |  ^
 *     |                    v                       |  +--+ suspended until |  | suspended until there are events, a
 *     |                  DRAIN: dropped to its end-+  the service answers, +--+ ping is due, or the end
 *     |                                               events come, time is up
 *     +-- refused before its body: REPLIED at once, the connection closes after the answer
 *
 * An exchange lives as long as its connection's request or a service callback that will come (references). When the client
 * leaves first, `connection` is NULL and the callback only lets go. */
#ifndef SERVER_HTTP_EXCHANGE_H
#define SERVER_HTTP_EXCHANGE_H

#include <microhttpd.h>
#include <uv.h>

#include "api/routes.h"
#include "base/buffer.h"
#include "server/http.h"
#include "server/http_upload.h"
#include "server/request_id.h"

enum exchange_phase { EXCHANGE_BODY, EXCHANGE_DRAIN, EXCHANGE_RUNNING, EXCHANGE_REPLIED };

/* What the body is for. */
enum body_kind { BODY_NONE, BODY_JSON, BODY_UPLOAD };

enum { EXCHANGE_PATH_BYTES = 512, EXCHANGE_KEY_MAX = 128 };

struct exchange {
    struct http *http;                   /* NULL once the daemon is gone */
    struct MHD_Connection *connection;   /* NULL once the request is over */
    int references;
    struct exchange *previous, *next;    /* of http->exchanges while connected, then of http->orphans */

    enum exchange_phase phase;
    struct route_match match;            /* route ROUTE_COUNT: none */
    bool head;                           /* answered without a body */
    bool early;                          /* answered before the body was read: the connection closes */
    bool broken;                         /* body length unclear: answer early, whatever comes */
    bool ran;                            /* the handler was called */
    bool suspended;
    bool gone;                           /* hung up or given up: close without an answer */
    int status;                          /* of the reply, 0: none yet */
    char path[EXCHANGE_PATH_BYTES];      /* as sent, for problems */
    char allow[128];                     /* for 405 */
    char request_id[REQUEST_ID_BYTES];
    int64_t started_ns;
    struct error error;                  /* why it is refused */

    enum body_kind body_kind;
    enum upload_form form;
    const char *content_type;            /* of a multipart upload, NULL: raw; MHD's memory */
    uint64_t expected;                   /* Content-Length; UINT64_MAX when chunked */
    uint64_t received, drained;
    uint64_t reserved;                   /* of http->upload_reserved */
    struct buffer body;                  /* JSON in memory */
    struct upload *upload;               /* on disk; NULL: none */

    bool awaiting, answered;             /* the service will call back; has called back */
    bool existed;
    char id[SERVICE_ID_BYTES];
    char *text;                          /* of service_validate; owned */
    size_t text_length;

    bool counted;                        /* holds one of the suspended places */
    bool watching;
    struct service_watch watch;
    int64_t deadline_ns;                 /* of ?wait= */
    uint64_t last_event;
    bool ended, ping, last_words;        /* of an event stream */
    struct buffer pending;               /* event text not yet sent */
    size_t pending_sent;
};

/* A connection, from accept to close. */
struct link {
    int fd;
    int64_t idle_since_ns;               /* accepted, or the last request's end */
    bool in_request;
    struct link *previous, *next;
};

struct http {
    struct http_options options;         /* every limit filled in */
    struct service *service;
    struct metrics *metrics;
    struct uv_loop_s *loop;
    struct MHD_Daemon *daemon;
    uint16_t port;
    uv_poll_t poll;                      /* MHD's epoll descriptor */
    uv_timer_t timer;                    /* MHD's time-outs, and the next run */
    uv_timer_t tick;
    uv_timer_t deadline;                 /* the earliest ?wait= */
    uv_timer_t stop_timer;
    int handles;                         /* open uv handles and jobs: 0 ends a stop */
    struct exchange *exchanges, *orphans;
    struct link *links;
    struct straggler *stragglers;
    int straggler_count;
    int suspended_count, upload_count;
    uint64_t upload_reserved;            /* bytes that running uploads still announce */
    uint64_t upload_number;
    bool kicked, stopping, forced, finished;
    void (*stopped)(void *context);
    void *stopped_context;
};

/* ---- http.c */
void http_kick(struct http *http);                        /* run the daemon at the loop's next turn */
/* Removes a directory tree on the pool. `path` is copied. */
void http_remove_later(struct http *http, const char *path);
/* One of http->handles is closed; the last one ends a stop. */
void http_let_go(struct http *http);
int64_t http_now_ns(const struct http *http);

/* ---- http_connection.c */
enum MHD_Result exchange_on_request(void *http, struct MHD_Connection *connection, const char *url, const char *method,
                                    const char *version, const char *data, size_t *size, void **context);
void exchange_on_completed(void *http, struct MHD_Connection *connection, void **context,
                           enum MHD_RequestTerminationCode code);
void exchange_on_connection(void *http, struct MHD_Connection *connection, void **context,
                            enum MHD_ConnectionNotificationCode code);
size_t exchange_no_unescape(void *http, struct MHD_Connection *connection, char *text);
void exchange_hold(struct exchange *exchange);
void exchange_release(struct exchange *exchange);
void exchange_suspend(struct exchange *exchange);
/* `code`: what a service function returned. 0: it will call back exchange_answered, so the exchange is held and suspended. */
int exchange_await(struct exchange *exchange, int code);
void exchange_resume(struct exchange *exchange);           /* nothing unless suspended */
int exchange_socket(const struct exchange *exchange);
/* The callbacks for service functions; the exchange was held for them. */
void exchange_answered(void *exchange, const struct error *error, const char *id, bool existed);
void exchange_answered_text(void *exchange, const struct error *error, const char *json, size_t length);

/* ---- http_body.c */
/* Opens the upload's directory when the body is one. */
int exchange_body_begin(struct exchange *exchange);
/* One piece. After a failure the rest is dropped. MHD_NO: give the connection up. */
enum MHD_Result exchange_body_piece(struct exchange *exchange, const char *data, size_t length);
int exchange_body_end(struct exchange *exchange);
/* Forgets what came: files are removed on the pool. */
void exchange_drop_body(struct exchange *exchange);

/* ---- http_checks.c: everything that is decided before the body. Fills route, body_kind, expected; on refusal `error`. */
int exchange_check(struct exchange *exchange, const char *method, const char *url);
const char *exchange_header(const struct exchange *exchange, const char *name);      /* NULL: not there */

/* ---- http_query.c */
/* The decoded value of a query parameter: 1 found (a bare key gives ""), 0 not there, or minus an error code. */
int query_text(struct exchange *exchange, const char *name, char *value, size_t room);
/* Digits only; `value` keeps its default when the parameter is not there. Values over `most` become `most` if `cap`.
 * 0, or an error code. */
int query_number(struct exchange *exchange, const char *name, uint64_t least, uint64_t most, bool cap, uint64_t *value);

/* ---- http_reply.c: each queues the reply and returns 0, or ERROR_INTERNAL when even that fails. */
struct reply_header { const char *name, *value; };
struct reply {
    int status;
    const char *type;                    /* Content-Type; NULL: none */
    struct reply_header headers[8];      /* up to a NULL name */
};
/* Takes the buffer's bytes. A buffer that ran out of memory is answered 503. */
int reply_buffer(struct exchange *exchange, const struct reply *reply, struct buffer *body);
/* Takes the response. */
int reply_response(struct exchange *exchange, const struct reply *reply, struct MHD_Response *response);
/* exchange->error as a problem. */
int reply_problem(struct exchange *exchange);

/* ---- http_handlers.c */
/* run: the request is whole. finish: called again after a suspension. Both reply, suspend, or return an error code
 * with exchange->error set. */
struct handler {
    int (*run)(struct exchange *exchange);
    int (*finish)(struct exchange *exchange);
};
const struct handler *handler_of(enum route route);

/* ---- http_wait.c */
int handle_study_show(struct exchange *exchange);
int handle_study_wait(struct exchange *exchange);
/* One of the bounded places for connections that wait; ERROR_TOO_MANY. */
int exchange_take_place(struct exchange *exchange);
int exchange_watch(struct exchange *exchange, const char *id);
void exchange_unwatch(struct exchange *exchange);
void wait_on_deadline(uv_timer_t *timer);
/* The tick: hang-ups, slow clients, pings. */
void wait_on_tick(uv_timer_t *timer);

/* ---- http_events.c, http_files.c */
int handle_study_events(struct exchange *exchange);
int handle_candidate_file(struct exchange *exchange);

/* ---- http_straggler.c: reads what a refused client still sends, so that it gets to see its answer. */
void straggler_begin(struct http *http, int fd);        /* duplicates the descriptor */
void straggler_tick(struct http *http);
void straggler_close_all(struct http *http);

#endif
