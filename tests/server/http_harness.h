/* A server on a loop thread with a fake service, and a blocking client: what the HTTP tests stand on. */
#ifndef TESTS_SERVER_HTTP_HARNESS_H
#define TESTS_SERVER_HTTP_HARNESS_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "server/http.h"
#include "tests/server/fake_service.h"

struct harness {
    uv_loop_t loop;
    uv_async_t async;
    pthread_t thread;
    sem_t done, stopped;
    pthread_mutex_t hand;                /* over `function` and `context`: the loop's own wake-up orders nothing */
    void (*function)(void *context);
    void *context;
    struct clock clock;
    struct auth auth;
    struct metrics metrics;
    struct service service;
    struct http *http;
    uint16_t port;
    char directory[64];
    bool http_stopped;
};

static void harness_on_async(uv_async_t *async)
{
    struct harness *harness = async->data;
    pthread_mutex_lock(&harness->hand);
    void (*function)(void *context) = harness->function;
    void *given = harness->context;
    harness->function = NULL;
    pthread_mutex_unlock(&harness->hand);
    if (!function)
        return;
    function(given);
    sem_post(&harness->done);
}

static void *harness_thread(void *context)
{
    struct harness *harness = context;
    uv_run(&harness->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* Runs `function` on the loop thread and waits for its end. */
static inline void harness_on_loop(struct harness *harness, void (*function)(void *context), void *context)
{
    pthread_mutex_lock(&harness->hand);
    harness->function = function;
    harness->context = context;
    pthread_mutex_unlock(&harness->hand);
    uv_async_send(&harness->async);
    while (sem_wait(&harness->done) && errno == EINTR)
        ;
}

static void harness_make_directories(struct harness *harness)
{
    struct error error = {0};
    snprintf(harness->directory, sizeof harness->directory, "/tmp/lag-http-XXXXXX");
    assert_non_null(mkdtemp(harness->directory));
    assert_int_equal(file_join(harness->service.uploads, harness->directory, "uploads", &error), 0);
    assert_int_equal(file_join(harness->service.files, harness->directory, "files", &error), 0);
    assert_int_equal(file_make_directory(harness->service.uploads, &error), 0);
    assert_int_equal(file_make_directory(harness->service.files, &error), 0);
}

/* `options`: limits to be changed; NULL: none. `token`: NULL for none. */
static inline struct harness *harness_start(const struct http_options *options, const char *token)
{
    struct harness *harness = calloc(1, sizeof *harness);
    struct http_options chosen = options ? *options : (struct http_options){0};
    struct error error = {0};
    assert_non_null(harness);
    harness->clock = clock_system();
    log_setup(2, LOG_ERROR, true, &harness->clock);
    metrics_init(&harness->metrics);
    harness_make_directories(harness);
    uv_loop_init(&harness->loop);
    uv_async_init(&harness->loop, &harness->async, harness_on_async);
    harness->async.data = harness;
    harness->service.loop = &harness->loop;
    sem_init(&harness->done, 0, 0);
    sem_init(&harness->stopped, 0, 0);
    pthread_mutex_init(&harness->hand, NULL);
    if (token)
        assert_int_equal(auth_set(&harness->auth, token, &error), 0);
    chosen.listen = "127.0.0.1:0";
    chosen.auth = &harness->auth;
    chosen.version = "1.2.3";
    chosen.clock = chosen.clock ? chosen.clock : &harness->clock;
    if (http_start(&harness->http, &chosen, &harness->service, &harness->metrics, &harness->loop, &error))
        fail_msg("%s", error.message);
    harness->port = http_port(harness->http);
    pthread_create(&harness->thread, NULL, harness_thread, harness);
    return harness;
}

static void harness_on_stopped(void *context)
{
    struct harness *harness = context;
    harness->http_stopped = true;
    sem_post(&harness->stopped);
}

static inline void harness_begin_stop(void *context)
{
    struct harness *harness = context;
    http_stop(harness->http, harness_on_stopped, harness);
}

static void harness_close_async(void *context)
{
    struct harness *harness = context;
    uv_close((uv_handle_t *)&harness->async, NULL);
}

/* Ends what harness_begin_stop began. */
static inline void harness_end_stop(struct harness *harness)
{
    struct error error = {0};
    while (sem_wait(&harness->stopped) && errno == EINTR)
        ;
    harness_on_loop(harness, fake_release, &harness->service);
    harness_on_loop(harness, harness_close_async, harness);
    pthread_join(harness->thread, NULL);
    assert_int_equal(uv_loop_close(&harness->loop), 0);       /* nothing of the server is left on the loop */
    assert_null(harness->service.watches);
    assert_int_equal(file_remove_tree(harness->directory, &error), 0);
    sem_destroy(&harness->done);
    sem_destroy(&harness->stopped);
    pthread_mutex_destroy(&harness->hand);
    free(harness);
}

static inline void harness_stop(struct harness *harness)
{
    harness_on_loop(harness, harness_begin_stop, harness);
    harness_end_stop(harness);
}

/* ---- the client */

struct answer {
    int status;
    char *text;            /* head and body, NUL-terminated */
    size_t length;
    const char *body;      /* within text */
    size_t body_length;
};

static inline int client_connect(const struct harness *harness)
{
    const int on = 1;
    struct timeval patience = {.tv_sec = 20};                 /* a hang must fail, not hang */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(harness->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* 0, or -1 when the server has closed. */
static inline int client_send(int fd, const void *bytes, size_t length)
{
    const char *cursor = bytes;
    while (length > 0) {
        ssize_t done = send(fd, cursor, length, MSG_NOSIGNAL);
        if (done < 0)
            return -1;
        cursor += done;
        length -= (size_t)done;
    }
    return 0;
}

static inline void answer_free(struct answer *answer)
{
    free(answer->text);
    memset(answer, 0, sizeof *answer);
}

/* Reads to the end of the connection. status 0: closed without an answer; -1: it hung. */
static inline struct answer client_read(int fd)
{
    struct answer answer = {0};
    size_t room = 1 << 16;
    char *split;
    answer.text = malloc(room);
    assert_non_null(answer.text);
    for (;;) {
        ssize_t got = recv(fd, answer.text + answer.length, room - answer.length - 1, 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            answer.status = -1;
        if (got <= 0)
            break;
        answer.length += (size_t)got;
        if (answer.length + 1 == room) {
            room *= 2;
            answer.text = realloc(answer.text, room);
            assert_non_null(answer.text);
        }
    }
    answer.text[answer.length] = '\0';
    if (answer.status == 0 && answer.length > 12 && strncmp(answer.text, "HTTP/1.", 7) == 0)
        answer.status = atoi(answer.text + 9);
    split = strstr(answer.text, "\r\n\r\n");
    answer.body = split ? split + 4 : answer.text + answer.length;
    answer.body_length = answer.length - (size_t)(answer.body - answer.text);
    return answer;
}

/* Bytes as they are, one connection; the request should say Connection: close. */
static inline struct answer client_raw(const struct harness *harness, const void *bytes, size_t length)
{
    int fd = client_connect(harness);
    struct answer answer;
    client_send(fd, bytes, length);
    answer = client_read(fd);
    close(fd);
    return answer;
}

/* `headers`: lines each ending CRLF. A body of NULL sends no Content-Length. */
static inline struct answer client_request(const struct harness *harness, const char *method, const char *path,
                                           const char *headers, const char *body)
{
    static _Thread_local char text[1 << 16];
    char length[64] = "";
    if (body)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", strlen(body));
    int count = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: close\r\n%s%s\r\n%s", method,
                         path, harness->port, headers ? headers : "", length, body ? body : "");
    assert_true(count > 0 && (size_t)count < sizeof text);
    return client_raw(harness, text, (size_t)count);
}

/* The value of a header into `value`; false if it is not there. */
static inline bool answer_header(const struct answer *answer, const char *name, char *value, size_t room)
{
    const size_t length = strlen(name);
    for (const char *line = strstr(answer->text, "\r\n"); line && line + 2 < answer->body; line = strstr(line + 2, "\r\n"))
        if (strncasecmp(line + 2, name, length) == 0 && line[2 + length] == ':') {
            const char *start = line + 3 + length + strspn(line + 3 + length, " ");
            size_t count = strcspn(start, "\r");
            count = count < room - 1 ? count : room - 1;
            memcpy(value, start, count);
            value[count] = '\0';
            return true;
        }
    return false;
}

#define assert_header(answer, name, expected)                                       \
    do {                                                                            \
        char value_[512] = "";                                                      \
        if (!answer_header(answer, name, value_, sizeof value_))                    \
            fail_msg("no header %s in: %s", name, (answer)->text);                  \
        assert_string_equal(value_, expected);                                      \
    } while (0)

#define assert_in(haystack, needle)                                                 \
    do {                                                                            \
        if (!strstr(haystack, needle))                                              \
            fail_msg("\"%s\" is not in: %s", needle, haystack);                     \
    } while (0)

/* One request whose answer must have `status`, and be a problem document when it is an error. */
static inline void expect(const struct harness *harness, const char *method, const char *path, const char *headers,
                          const char *body, int status)
{
    struct answer answer = client_request(harness, method, path, headers, body);
    if (answer.status != status)
        fail_msg("%s %s: %d instead of %d: %s", method, path, answer.status, status, answer.text);
    if (status >= 400 && strcmp(method, "HEAD") != 0) {
        char number[32];
        snprintf(number, sizeof number, "\"status\": %d", status);
        assert_header(&answer, "Content-Type", "application/problem+json");
        assert_in(answer.body, number);
        assert_in(answer.body, "\"request_id\": \"");
        assert_in(answer.body, "\"detail\": \"");
    }
    if (answer.status != 304)
        assert_header(&answer, "X-Content-Type-Options", "nosniff");
    answer_free(&answer);
}

/* Names below the upload directory, counted on the loop thread once every removal has had its turn. */
static inline int harness_upload_entries(struct harness *harness)
{
    struct file_names names = {0};
    struct error error = {0};
    int count;
    assert_int_equal(file_list(harness->service.uploads, &names, &error), 0);
    count = names.count;
    file_names_free(&names);
    return count;
}

#endif
