/* 10,000 wrong requests: the server answers or closes each, lives on, and its memory stays flat within 2 MiB. */
#include "tests/server/http_harness.h"

enum { REQUESTS = 10000, WARM_UP = 2000, FLAT_BYTES = 2 << 20 };

static uint64_t seed = 20240501;

static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

static const char *pick(const char *const *list, uint32_t count)
{
    return list[draw(count)];
}

static const char *const METHODS[] = {"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "", "G\x01T", "get"};
static const char *const PATHS[] = {
    "/v1/studies", "/v1/studies/study_none", "/v1/studies/study_none/events", "/v1/checkpoints", "/v1/datasets", "/nothing",
    "/v1/studies/%zz", "/v1/studies/..%2f..%2fetc", "//", "*", "/v1/studies?state=x", "/v1/studies?limit=-1",
    "/v1/studies/study_1?wait=x", "/v1/studies/validate", "/v1/studies/a%00b", "/v1/studies/study_busy/cancel",
    "/v1/studies/study_1/candidates/x/files/../../y", "/?%", "/v1/studies/study_1/report", "http://h/v1/nothing", "",
};
static const char *const HEADERS[] = {
    "Content-Type: application/json\r\n", "Content-Type: multipart/form-data; boundary=B\r\n", "Content-Length: 7\r\n",
    "Content-Length: 99999999999\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: gzip\r\n",
    "Content-Encoding: gzip\r\n", "Idempotency-Key: \xff\r\n", "Last-Event-ID: x\r\n", "Authorization: Basic eA==\r\n",
    "Expect: 100-continue\r\n", "Range: bytes=9-1\r\n", "Origin: http://evil.example\r\n", "X-Request-Id: a b\r\n", ":\r\n",
    "no colon\r\n", " folded\r\n", "Content-Length: -1\r\n", "Host: again\r\n", "Connection: close\r\n",
};
static const char *const BODIES[] = {
    "", "{", "{}", "[[[[", "--B\r\n\r\n", "--B\r\nContent-Disposition: form-data; name=\"config\"\r\n\r\n{}",
    "--B\r\nContent-Disposition: form-data; name=\"nope\"\r\n\r\nx\r\n--B--\r\n", "5\r\nhello\r\n0\r\n\r\n", "zz\r\n",
    "\xff\xfe\x00", "ffffffffffffffff\r\nx",
};

#define PICK(list) pick(list, (uint32_t)(sizeof list / sizeof *list))

static size_t compose(char *text, size_t room)
{
    size_t length = (size_t)snprintf(text, room, "%s %s HTTP/1.1\r\nHost: h\r\n", PICK(METHODS), PICK(PATHS));
    for (uint32_t count = draw(4); count > 0; count--)
        length += (size_t)snprintf(text + length, room - length, "%s", PICK(HEADERS));
    length += (size_t)snprintf(text + length, room - length, "\r\n%s", PICK(BODIES));
    for (uint32_t flips = draw(3); flips > 0; flips--)
        text[draw((uint32_t)length)] = (char)draw(256);
    return draw(8) == 0 ? draw((uint32_t)length) : length;
}

static size_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static void ten_thousand_wrong_requests_leave_the_server_as_it_was(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.tick_ms = 10, .wait_seconds = 1}, NULL);
    size_t before = 0, after;
    int answered = 0, closed = 0;
    harness->service.ended = true;
    for (int i = 0; i < REQUESTS; i++) {
        char text[4096];
        size_t length = compose(text, sizeof text);
        int fd = client_connect(harness);
        client_send(fd, text, length);
        shutdown(fd, SHUT_WR);
        struct answer answer = client_read(fd);
        if (answer.status == -1)
            fail_msg("request %d hung: %.*s", i, (int)length, text);
        answered += answer.status > 0;
        closed += answer.status == 0;
        if (answer.status >= 500 && answer.status != 501 && answer.status != 505)
            fail_msg("request %d: %s", i, answer.text);
        answer_free(&answer);
        close(fd);
        if (i == WARM_UP)
            before = resident_bytes();
    }
    after = resident_bytes();
    print_message("%d answered, %d closed; resident %zu KiB, then %zu KiB (bound %d KiB more)\n", answered, closed,
                  before >> 10, after >> 10, FLAT_BYTES >> 10);
    assert_true(answered > REQUESTS / 2);
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
    print_message("memory is not judged under a sanitizer, which keeps what was freed\n");
#else
    assert_true(after < before + FLAT_BYTES);
#endif
    expect(harness, "GET", "/livez", NULL, NULL, 200);
    for (int turn = 0; turn < 1000 && harness_upload_entries(harness) > 0; turn++)
        expect(harness, "GET", "/livez", NULL, NULL, 200);
    assert_int_equal(harness_upload_entries(harness), 0);
    harness_stop(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ten_thousand_wrong_requests_leave_the_server_as_it_was)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
