/* What waits: ?wait=, event streams, the bounded places; and files. */
#include <sched.h>

#include "tests/server/http_harness.h"

static void add_event(void *context)
{
    struct service *service = context;
    service->event_count++;
    fake_notify(service);
}

static void end_study(void *context)
{
    struct service *service = context;
    service->ended = true;
    fake_notify(service);
}

static int suspended;
static void count_suspended(void *context)
{
    struct service *service = context;
    suspended = 0;
    for (struct service_watch *watch = service->watches; watch; watch = watch->next)
        suspended++;
}

static void wait_for_watches(struct harness *harness, int count)
{
    suspended = -1;
    for (int turn = 0; turn < 1000000 && suspended != count; turn++)
        harness_on_loop(harness, count_suspended, &harness->service);
    assert_int_equal(suspended, count);
}

static int send_get(const struct harness *harness, const char *path, const char *headers)
{
    char text[512];
    int fd = client_connect(harness);
    int length = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n%s\r\n", path, headers);
    assert_int_equal(client_send(fd, text, (size_t)length), 0);
    return fd;
}

static void waiting_ends_when_the_study_does(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    int fd = send_get(harness, "/v1/studies/study_1?wait=600", "");
    wait_for_watches(harness, 1);
    harness_on_loop(harness, add_event, &harness->service);
    harness_on_loop(harness, add_event, &harness->service);
    wait_for_watches(harness, 1);
    harness_on_loop(harness, end_study, &harness->service);
    struct answer answer = client_read(fd);
    assert_int_equal(answer.status, 200);
    assert_in(answer.body, "succeeded");
    answer_free(&answer);
    close(fd);
    wait_for_watches(harness, 0);
    expect(harness, "GET", "/v1/studies/study_1?wait=600", NULL, NULL, 200);
    harness_stop(harness);
}

static void waiting_ends_at_its_deadline(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.wait_seconds = 1}, NULL);
    struct answer answer = client_request(harness, "GET", "/v1/studies/study_1?wait=86400", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_in(answer.body, "running");
    answer_free(&answer);
    harness_stop(harness);
}

static void places_that_wait_are_bounded_and_given_back_at_hang_up(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.suspended = 2, .tick_ms = 5}, NULL);
    int first = send_get(harness, "/v1/studies/study_1?wait=600", "");
    int second = send_get(harness, "/v1/studies/study_1/events", "");
    wait_for_watches(harness, 2);
    expect(harness, "GET", "/v1/studies/study_1?wait=600", NULL, NULL, 429);
    expect(harness, "GET", "/v1/studies/study_1/events", NULL, NULL, 429);
    expect(harness, "GET", "/v1/studies/study_1", NULL, NULL, 200);
    close(first);
    wait_for_watches(harness, 1);
    close(second);
    wait_for_watches(harness, 0);
    first = send_get(harness, "/v1/studies/study_1?wait=600", "");
    wait_for_watches(harness, 1);
    harness_stop(harness);
    close(first);
}

/* Reads until `needle` has come `times` times, or the stream ends. */
static void read_until(int fd, char *text, size_t room, const char *needle, int times)
{
    size_t length = strlen(text);
    for (;;) {
        int found = 0;
        for (const char *at = strstr(text, needle); at; at = strstr(at + 1, needle))
            found++;
        if (found >= times)
            return;
        ssize_t got = recv(fd, text + length, room - length - 1, 0);
        if (got <= 0)
            fail_msg("the stream ended before \"%s\": %s", needle, text);
        length += (size_t)got;
        text[length] = '\0';
    }
}

static void events_stream_as_they_come_until_the_end(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    static char text[1 << 16];
    text[0] = '\0';
    harness_on_loop(harness, add_event, &harness->service);
    int fd = send_get(harness, "/v1/studies/study_1/events", "");
    read_until(fd, text, sizeof text, "id: 1\nevent: evaluation\ndata: {\"n\":1}\n\n", 1);
    assert_in(text, "Content-Type: text/event-stream\r\n");
    assert_in(text, "Cache-Control: no-store\r\n");
    harness_on_loop(harness, add_event, &harness->service);
    read_until(fd, text, sizeof text, "id: 2\n", 1);
    harness_on_loop(harness, end_study, &harness->service);
    struct answer answer = client_read(fd);
    assert_in(answer.text, "0\r\n\r\n");  /* the last chunk: a clean end */
    answer_free(&answer);
    close(fd);
    harness_stop(harness);
}

static void last_event_id_replays_only_what_came_later(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    for (int i = 0; i < 500; i++)
        harness_on_loop(harness, add_event, &harness->service);
    harness_on_loop(harness, end_study, &harness->service);
    struct answer answer = client_request(harness, "GET", "/v1/studies/study_1/events", "Last-Event-ID: 300\r\n", NULL);
    assert_null(strstr(answer.body, "id: 300\n"));
    assert_in(answer.body, "id: 301\n");
    assert_in(answer.body, "id: 500\n");
    answer_free(&answer);
    harness_stop(harness);
}

static void a_silent_stream_is_pinged_and_told_when_the_server_stops(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.tick_ms = 5}, NULL);
    static char text[1 << 16];
    text[0] = '\0';
    int fd = send_get(harness, "/v1/studies/study_1/events", "");
    read_until(fd, text, sizeof text, ": ping\n\n", 3);
    harness_on_loop(harness, harness_begin_stop, harness);
    read_until(fd, text, sizeof text, ": the server stops", 1);
    struct answer answer = client_read(fd);
    assert_true(answer.status != -1);
    answer_free(&answer);
    close(fd);
    harness_end_stop(harness);
}

static void stopping_answers_what_waits_and_refuses_new_connections(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    int fd = send_get(harness, "/v1/studies/study_1?wait=600", "");
    wait_for_watches(harness, 1);
    harness_on_loop(harness, harness_begin_stop, harness);
    struct answer answer = client_read(fd);
    assert_int_equal(answer.status, 200);
    assert_header(&answer, "Connection", "close");
    answer_free(&answer);
    close(fd);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(harness->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), -1);
    close(fd);
    harness_end_stop(harness);
}

static int64_t shifted_ns(struct clock *clock)
{
    struct clock system = clock_system();
    return system.monotonic_ns(&system) + __atomic_load_n(&clock->set_ns, __ATOMIC_RELAXED);
}

static struct clock shifted = {.monotonic_ns = shifted_ns};

static void slow_headers_and_slow_bodies_are_cut(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.tick_ms = 5, .clock = &shifted}, NULL);
    int header = client_connect(harness), body = client_connect(harness);
    static const char partial[] = "GET /livez HTTP/1.1\r\nHos";
    static const char upload[] = "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc";
    client_send(header, partial, sizeof partial - 1);
    client_send(body, upload, sizeof upload - 1);
    for (int turn = 0; turn < 100000 && harness_upload_entries(harness) == 0; turn++)
        sched_yield();
    __atomic_store_n(&shifted.set_ns, (int64_t)61 * 1000000000, __ATOMIC_RELAXED);
    struct answer answer = client_read(header);
    assert_int_equal(answer.status, 0);
    answer_free(&answer);
    __atomic_store_n(&shifted.set_ns, (int64_t)65 * 1000000000, __ATOMIC_RELAXED);
    answer = client_read(body);
    assert_int_equal(answer.status, 0);
    answer_free(&answer);
    close(header);
    close(body);
    harness_stop(harness);
}

/* ---- files */

static const char CONTENT[] = "0123456789abcdefghij";
#define FILE_URL "/v1/studies/study_1/candidates/two%20words/files/x.safetensors"

static void write_file(const struct harness *harness, const char *name, const char *text)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    assert_int_equal(file_join(path, harness->service.files, name, &error), 0);
    assert_int_equal(file_write(path, text, strlen(text), &error), 0);
}

static void files_are_sent_whole_or_in_ranges(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    static const struct { const char *range; int status; const char *body, *content_range; } cases[] = {
        {"", 200, CONTENT, NULL},
        {"Range: bytes=0-4\r\n", 206, "01234", "bytes 0-4/20"},
        {"Range: bytes=15-\r\n", 206, "fghij", "bytes 15-19/20"},
        {"Range: bytes=15-99\r\n", 206, "fghij", "bytes 15-19/20"},
        {"Range: bytes=-3\r\n", 206, "hij", "bytes 17-19/20"},
        {"Range: bytes=-99\r\n", 206, CONTENT, "bytes 0-19/20"},
        {"Range: bytes=19-19\r\n", 206, "j", "bytes 19-19/20"},
        {"Range: bytes=20-\r\n", 416, NULL, "bytes */20"},
        {"Range: bytes=-0\r\n", 416, NULL, "bytes */20"},
        {"Range: bytes=5-4\r\n", 200, CONTENT, NULL},
        {"Range: bytes=a-b\r\n", 200, CONTENT, NULL},
        {"Range: bytes=0-1,3-4\r\n", 200, CONTENT, NULL},
        {"Range: lines=0-1\r\n", 200, CONTENT, NULL},
        {"Range: bytes=99999999999999999999-\r\n", 200, CONTENT, NULL},
    };
    write_file(harness, "x.safetensors", CONTENT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct answer answer = client_request(harness, "GET", FILE_URL, cases[i].range, NULL);
        assert_int_equal(answer.status, cases[i].status);
        if (cases[i].body)
            assert_string_equal(answer.body, cases[i].body);
        else
            assert_header(&answer, "Content-Type", "application/problem+json");
        if (cases[i].content_range)
            assert_header(&answer, "Content-Range", cases[i].content_range);
        answer_free(&answer);
    }
    struct answer answer = client_request(harness, "HEAD", FILE_URL, NULL, NULL);
    assert_header(&answer, "Content-Length", "20");
    assert_header(&answer, "Accept-Ranges", "bytes");
    assert_int_equal(answer.body_length, 0);
    answer_free(&answer);
    harness_stop(harness);
}

static void etags_save_a_second_transfer(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    char etag[128] = "", headers[512], other[128] = "";
    write_file(harness, "x.safetensors", CONTENT);
    struct answer answer = client_request(harness, "GET", FILE_URL, NULL, NULL);
    assert_true(answer_header(&answer, "ETag", etag, sizeof etag));
    assert_header(&answer, "Content-Type", "application/octet-stream");
    answer_free(&answer);
    snprintf(headers, sizeof headers, "If-None-Match: \"x\", %s\r\n", etag);
    answer = client_request(harness, "GET", FILE_URL, headers, NULL);
    assert_int_equal(answer.status, 304);
    assert_int_equal(answer.body_length, 0);
    answer_free(&answer);
    expect(harness, "GET", FILE_URL, "If-None-Match: *\r\n", NULL, 304);
    expect(harness, "GET", FILE_URL, "If-None-Match: \"x\"\r\n", NULL, 200);
    snprintf(headers, sizeof headers, "Range: bytes=0-1\r\nIf-Range: %s\r\n", etag);
    expect(harness, "GET", FILE_URL, headers, NULL, 206);
    expect(harness, "GET", FILE_URL, "Range: bytes=0-1\r\nIf-Range: \"old\"\r\n", NULL, 200);
    write_file(harness, "x.safetensors", "0123456789ABCDEFGHIJ");
    answer = client_request(harness, "GET", FILE_URL, NULL, NULL);
    assert_true(answer_header(&answer, "ETag", other, sizeof other));
    assert_string_not_equal(etag, other);
    answer_free(&answer);
    harness_stop(harness);
}

static void empty_and_typed_files_are_served(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    write_file(harness, "empty.json", "");
    struct answer answer = client_request(harness, "GET", "/v1/studies/study_1/candidates/two%20words/files/empty.json", NULL,
                                          NULL);
    assert_int_equal(answer.status, 200);
    assert_header(&answer, "Content-Length", "0");
    assert_header(&answer, "Content-Type", "application/json");
    answer_free(&answer);
    harness_stop(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiting_ends_when_the_study_does),
        cmocka_unit_test(waiting_ends_at_its_deadline),
        cmocka_unit_test(places_that_wait_are_bounded_and_given_back_at_hang_up),
        cmocka_unit_test(events_stream_as_they_come_until_the_end),
        cmocka_unit_test(last_event_id_replays_only_what_came_later),
        cmocka_unit_test(a_silent_stream_is_pinged_and_told_when_the_server_stops),
        cmocka_unit_test(stopping_answers_what_waits_and_refuses_new_connections),
        cmocka_unit_test(slow_headers_and_slow_bodies_are_cut),
        cmocka_unit_test(files_are_sent_whole_or_in_ranges),
        cmocka_unit_test(etags_save_a_second_transfer),
        cmocka_unit_test(empty_and_typed_files_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
