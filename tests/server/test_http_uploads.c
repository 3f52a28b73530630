/* Uploads: parts, limits, failures in the middle, clients that leave; nothing of them stays on the disk. */
#include <sched.h>

#include "base/fault.h"
#include "tests/server/http_harness.h"

#define MULTIPART "Content-Type: multipart/form-data; boundary=B\r\n"
#define PART(name) "--B\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define PART_FILE(name, file) "--B\r\nContent-Disposition: form-data; name=\"" name "\"; filename=\"" file "\"\r\n\r\n"
#define END "--B--\r\n"

/* Removals run on the pool: give them their turns, then look. Bounded, so that a leak fails instead of hanging. */
static void assert_no_files(struct harness *harness)
{
    for (int turn = 0; turn < 100000 && harness_upload_entries(harness) > 0; turn++)
        sched_yield();
    assert_int_equal(harness_upload_entries(harness), 0);
}

static void expect_upload(struct harness *harness, const char *path, const char *body, int status, const char *received)
{
    expect(harness, "POST", path, MULTIPART, body, status);
    if (received)
        assert_string_equal(harness->service.received, received);
    assert_no_files(harness);
}

static void checkpoints_arrive_under_their_standard_names(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    expect_upload(harness, "/v1/checkpoints", PART_FILE("config", "x.json") "{}\r\n" PART_FILE("model", "what ever.bin")
                  "weights\r\n" END, 201, "config.json:2 model.safetensors:7 ");
    expect_upload(harness, "/v1/checkpoints", PART_FILE("model", "m-1.safetensors") "12\r\n" PART("config") "{}\r\n"
                  PART_FILE("model", "m-2.safetensors") "345\r\n" PART("index") "{\"a\":1}\r\n" PART("optimizer") "o\r\n"
                  PART_FILE("tokenizer", "vocab.json") "v\r\n" PART_FILE("merges.txt", "x") "mm\r\n" END, 201,
                  "config.json:2 m-1.safetensors:2 m-2.safetensors:3 merges.txt:2 model.safetensors.index.json:7 "
                  "optimizer.safetensors:1 vocab.json:1 ");
    harness_stop(harness);
}

static void wrong_parts_are_refused_and_leave_nothing(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    static const struct { const char *path, *body; int status; } cases[] = {
        {"/v1/checkpoints", PART("weights") "x\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" END, 422},
        {"/v1/checkpoints", PART("model") "x\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" PART("config") "{}\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" PART("model") "x\r\n" PART("model") "y\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" PART_FILE("model", "a.safetensors") "x\r\n"
         PART_FILE("model", "a.safetensors") "y\r\n" PART("index") "{}\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" PART_FILE("model", "a b.safetensors") "x\r\n" PART("index") "{}\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" PART_FILE("model", "optimizer.safetensors") "x\r\n" PART("index") "{}\r\n"
         PART("optimizer") "o\r\n" END, 422},
        {"/v1/checkpoints", PART_FILE("tokenizer", "../evil") "x\r\n" END, 422},
        {"/v1/checkpoints", PART("config") "{}\r\n" PART("model") "x\r\n", 400},
        {"/v1/checkpoints", "no parts", 400},
        {"/v1/checkpoints", PART("tokens") "x\r\n" END, 422},
        {"/v1/datasets", PART("tokens") "\r\n" END, 422},
        {"/v1/datasets", PART("tokens") "a\r\n" PART("tokens") "b\r\n" END, 422},
        {"/v1/datasets", PART("config") "{}\r\n" END, 422},
        {"/v1/studies", PART("config") "{}\r\n" END, 422},
        {"/v1/studies", PART("study") "{\"a\":1}\r\n" PART("model") "x\r\n" END, 422},
        {"/v1/studies", PART("study") "{}\r\n" PART("train") "x\r\n" END, 422},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_upload(harness, cases[i].path, cases[i].body, cases[i].status, NULL);
    struct answer answer = client_request(harness, "POST", "/v1/checkpoints", MULTIPART, PART("wei\\\"ghts") "x\r\n" END);
    assert_in(answer.body, "config, model, index, optimizer, tokenizer");
    answer_free(&answer);
    harness_stop(harness);
}

static void shards_named_like_paths_are_cut_to_base_names(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    expect_upload(harness, "/v1/checkpoints", PART("config") "{}\r\n" PART_FILE("model", "../../etc/a.safetensors") "x\r\n"
                  PART_FILE("model", "C:\\b.safetensors") "y\r\n" PART("index") "{}\r\n" END, 201,
                  "a.safetensors:1 b.safetensors:1 config.json:2 model.safetensors.index.json:2 ");
    harness_stop(harness);
}

static void a_study_comes_in_one_multipart(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    expect_upload(harness, "/v1/studies", PART("study") "{\"a\":1}\r\n" PART("config") "{}\r\n" PART("model") "abc\r\n"
                  PART("train") "tttt\r\n" PART("valid") "vv\r\n" END, 202,
                  "{\"a\":1}||config.json:2 model.safetensors:3 train:4 valid:2 ");
    expect_upload(harness, "/v1/studies", PART("study") "{\"a\":1}\r\n" PART("train") "tttt\r\n" END, 202,
                  "{\"a\":1}||train:4 ");
    harness_stop(harness);
}

static void datasets_come_raw_chunked_or_as_a_part(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    static const char chunked[] = "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                                  "\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
    char expected[HASH_HEX_BYTES];
    struct answer answer = client_raw(harness, chunked, sizeof chunked - 1);
    assert_int_equal(answer.status, 201);
    answer_free(&answer);
    hash_bytes_hex("abcdefg", 7, expected);
    assert_string_equal(harness->service.hash, expected);
    expect(harness, "POST", "/v1/datasets", NULL, "abcdefg", 201);
    assert_string_equal(harness->service.hash, expected);
    expect_upload(harness, "/v1/datasets", PART("tokens") "abcdefg\r\n" END, 201, "tokens:7 ");
    assert_string_equal(harness->service.hash, expected);
    expect(harness, "POST", "/v1/datasets", NULL, "", 422);
    assert_no_files(harness);
    harness_stop(harness);
}

static void limits_are_told(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.upload_bytes = 1000, .json_bytes = 100}, NULL);
    static const char chunked[] = "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                                  "\r\n";
    static const char piece[] = "a\r\n0123456789\r\n";
    static const char json[] = "POST /v1/studies HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    static const char *const heads[] = {chunked, json};
    static const char *const told[] = {"1000 bytes", "100 bytes"};
    struct answer answer = client_request(harness, "POST", "/v1/datasets", "Content-Length: 1001\r\n", NULL);
    assert_int_equal(answer.status, 413);
    assert_in(answer.body, "1000 bytes");
    answer_free(&answer);
    for (int i = 0; i < 2; i++) {
        int fd = client_connect(harness);
        client_send(fd, heads[i], strlen(heads[i]));
        for (int pieces = 0; pieces < 200; pieces++)
            client_send(fd, piece, sizeof piece - 1);
        client_send(fd, "0\r\n\r\n", 5);
        answer = client_read(fd);
        assert_int_equal(answer.status, 413);
        assert_in(answer.body, told[i]);
        answer_free(&answer);
        close(fd);
    }
    assert_no_files(harness);
    harness_stop(harness);
}

static void a_body_for_a_full_disk_is_refused_before_it_comes(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.disk_reserve_bytes = UINT64_MAX / 2}, NULL);
    struct answer answer = client_request(harness, "POST", "/v1/datasets", "Content-Length: 5\r\n", NULL);
    assert_int_equal(answer.status, 507);
    answer_free(&answer);
    expect(harness, "POST", "/v1/checkpoints", MULTIPART, PART("config") "{}\r\n" END, 507);
    assert_int_equal(harness->service.calls, 0);
    harness_stop(harness);
}

static void refused_early_the_answer_survives_a_body_that_comes_all_the_same(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, "token");
    static char block[1 << 16];
    char head[128];
    const size_t blocks = 256;            /* 16 MiB */
    int length = snprintf(head, sizeof head, "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                          blocks * sizeof block);
    int fd = client_connect(harness);
    assert_int_equal(client_send(fd, head, (size_t)length), 0);
    for (size_t i = 0; i < blocks; i++)
        assert_int_equal(client_send(fd, block, sizeof block), 0);    /* no reset while sending */
    shutdown(fd, SHUT_WR);
    struct answer answer = client_read(fd);
    assert_int_equal(answer.status, 401);
    answer_free(&answer);
    close(fd);
    harness_stop(harness);
}

static void a_client_that_waits_for_100_is_refused_without_sending(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, "token");
    struct answer answer = client_request(harness, "POST", "/v1/datasets", "Content-Length: 5000000\r\n"
                                          "Expect: 100-continue\r\n", NULL);
    assert_int_equal(answer.status, 401);
    assert_null(strstr(answer.text, "100 Continue"));
    answer_free(&answer);
    harness_stop(harness);
}

static void fail_next_write(void *context)
{
    (void)context;
    fault_arm(FAULT_WRITE, 1);
}

static void fail_next_rename(void *context)
{
    (void)context;
    fault_arm(FAULT_RENAME, 1);
}

static void a_disk_that_fills_in_the_middle_is_507_after_the_body(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    harness_on_loop(harness, fail_next_write, NULL);
    expect(harness, "POST", "/v1/datasets", NULL, "abcdefg", 507);
    assert_no_files(harness);
    harness_on_loop(harness, fail_next_rename, NULL);
    expect_upload(harness, "/v1/checkpoints", PART("config") "{}\r\n" PART("model") "x\r\n" END, 500, NULL);
    assert_int_equal(harness->service.calls, 0);
    expect(harness, "POST", "/v1/datasets", NULL, "abcdefg", 201);
    harness_stop(harness);
}

static void what_is_drained_after_a_failure_is_bounded(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.drain_bytes = 1 << 20}, NULL);
    static char block[1 << 16];
    static const char head[] = "POST /v1/checkpoints HTTP/1.1\r\nHost: h\r\n" MULTIPART "Content-Length: 1000000000\r\n\r\n"
                               PART("unknown");
    int fd = client_connect(harness);
    int sent = 0;
    assert_int_equal(client_send(fd, head, sizeof head - 1), 0);
    while (sent < 10000 && client_send(fd, block, sizeof block) == 0)
        sent++;
    assert_true(sent < 1000);             /* cut long before the announced end */
    close(fd);
    assert_no_files(harness);
    harness_stop(harness);
}

static int uploads_running;

static void count_uploads(void *context)
{
    struct harness *harness = context;
    uploads_running = harness_upload_entries(harness);
}

static void wait_for_uploads(struct harness *harness, int count)
{
    uploads_running = -1;
    for (int turn = 0; turn < 100000 && uploads_running != count; turn++)
        harness_on_loop(harness, count_uploads, harness);
    assert_int_equal(uploads_running, count);
}

static void clients_that_leave_in_the_middle_leave_nothing(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.uploads = 3}, NULL);
    static const char head[] = "POST /v1/checkpoints HTTP/1.1\r\nHost: h\r\n" MULTIPART "Content-Length: 100000\r\n\r\n"
                               PART("config") "{}\r\n" PART("model") "half";
    int fds[3];
    for (int i = 0; i < 3; i++) {
        fds[i] = client_connect(harness);
        assert_int_equal(client_send(fds[i], head, sizeof head - 1), 0);
    }
    wait_for_uploads(harness, 3);
    struct answer answer = client_request(harness, "POST", "/v1/datasets", "Content-Length: 3\r\n", NULL);
    assert_int_equal(answer.status, 429);
    assert_header(&answer, "Retry-After", "5");
    answer_free(&answer);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    wait_for_uploads(harness, 0);
    expect(harness, "POST", "/v1/datasets", NULL, "abc", 201);
    assert_no_files(harness);
    harness_stop(harness);
}

static void stopping_in_the_middle_of_an_upload_leaves_nothing(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.stop_ms = 20}, NULL);
    static const char head[] = "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nhalf";
    int fd = client_connect(harness);
    assert_int_equal(client_send(fd, head, sizeof head - 1), 0);
    wait_for_uploads(harness, 1);
    harness_on_loop(harness, harness_begin_stop, harness);
    struct answer answer = client_read(fd);
    assert_int_equal(answer.status, 0);
    answer_free(&answer);
    close(fd);
    harness_end_stop(harness);
}

static void set_hold(void *context) { ((struct service *)context)->hold = true; }

static int calls;
static void read_calls(void *context) { calls = ((struct service *)context)->calls; }

static void a_client_that_leaves_before_the_service_answers_is_survived(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.tick_ms = 5}, NULL);
    static const char request[] = "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    harness_on_loop(harness, set_hold, &harness->service);
    int fd = client_connect(harness);
    assert_int_equal(client_send(fd, request, sizeof request - 1), 0);
    for (calls = 0; calls == 0;)
        harness_on_loop(harness, read_calls, &harness->service);
    close(fd);
    wait_for_uploads(harness, 1);         /* the service may still read it */
    harness_on_loop(harness, fake_release, &harness->service);
    wait_for_uploads(harness, 0);
    harness_stop(harness);
}

static void stopping_before_the_service_answers_says_so_and_survives_the_answer(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.stop_ms = 20}, NULL);
    static const char request[] = "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    harness_on_loop(harness, set_hold, &harness->service);
    int fd = client_connect(harness);
    assert_int_equal(client_send(fd, request, sizeof request - 1), 0);
    for (calls = 0; calls == 0;)
        harness_on_loop(harness, read_calls, &harness->service);
    harness_on_loop(harness, harness_begin_stop, harness);
    struct answer answer = client_read(fd);
    assert_int_equal(answer.status, 503);
    assert_header(&answer, "Connection", "close");
    answer_free(&answer);
    close(fd);
    harness_end_stop(harness);            /* releases the held answer after the server is gone */
}

static int64_t fault_at, fault_seen;
static void arm_allocation(void *context)
{
    (void)context;
    fault_arm(FAULT_ALLOC, fault_at);
}

static void read_allocations(void *context)
{
    (void)context;
    fault_seen = fault_count(FAULT_ALLOC);
    fault_arm(FAULT_ALLOC, 0);
}

/* Every allocation of a request fails once: an answer or a closed connection, nothing left behind, and the next one works. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct harness *harness = harness_start(NULL, NULL);
    static const struct { const char *method, *path, *headers, *body; int status; } cases[] = {
        {"POST", "/v1/checkpoints", MULTIPART, PART("config") "{}\r\n" PART("model") "x\r\n" END, 201},
        {"POST", "/v1/studies", MULTIPART, PART("study") "{\"a\":1}\r\n" PART("train") "tttt\r\n" END, 202},
        {"POST", "/v1/studies/validate", "Content-Type: application/json\r\n", "{\"a\":1}", 200},
        {"GET", "/v1/studies/study_1?wait=1", NULL, NULL, 200},
        {"GET", "/v1/operators", NULL, NULL, 200},
        {"GET", "/metrics", NULL, NULL, 200},
        {"GET", "/nothing", NULL, NULL, 404},
        {"GET", "/v1/studies/study_1/events", NULL, NULL, 200},
    };
    harness->service.ended = true;
    harness->service.event_count = 3;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fault_seen = INT64_MAX;
        for (fault_at = 1; fault_seen >= fault_at && fault_at < 1000; fault_at++) {
            harness_on_loop(harness, arm_allocation, NULL);
            struct answer answer = client_request(harness, cases[i].method, cases[i].path, cases[i].headers, cases[i].body);
            harness_on_loop(harness, read_allocations, NULL);
            if (answer.status != cases[i].status && answer.status != 503 && answer.status != 0)
                fail_msg("%s, allocation %lld: %s", cases[i].path, (long long)fault_at, answer.text);
            answer_free(&answer);
            assert_no_files(harness);
            if (fault_seen < fault_at)
                break;
        }
        assert_true(fault_at > 1 && fault_at < 1000);
        expect(harness, cases[i].method, cases[i].path, cases[i].headers, cases[i].body, cases[i].status);
    }
    harness_stop(harness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_arrive_under_their_standard_names),
        cmocka_unit_test(wrong_parts_are_refused_and_leave_nothing),
        cmocka_unit_test(shards_named_like_paths_are_cut_to_base_names),
        cmocka_unit_test(a_study_comes_in_one_multipart),
        cmocka_unit_test(datasets_come_raw_chunked_or_as_a_part),
        cmocka_unit_test(limits_are_told),
        cmocka_unit_test(a_body_for_a_full_disk_is_refused_before_it_comes),
        cmocka_unit_test(refused_early_the_answer_survives_a_body_that_comes_all_the_same),
        cmocka_unit_test(a_client_that_waits_for_100_is_refused_without_sending),
        cmocka_unit_test(a_disk_that_fills_in_the_middle_is_507_after_the_body),
        cmocka_unit_test(what_is_drained_after_a_failure_is_bounded),
        cmocka_unit_test(clients_that_leave_in_the_middle_leave_nothing),
        cmocka_unit_test(stopping_in_the_middle_of_an_upload_leaves_nothing),
        cmocka_unit_test(a_client_that_leaves_before_the_service_answers_is_survived),
        cmocka_unit_test(stopping_before_the_service_answers_says_so_and_survives_the_answer),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
