/* Every route once, and every refusal that needs no upload. */
#include "tests/server/http_harness.h"

#define JSON "Content-Type: application/json\r\n"

static struct harness *shared;

static int start(void **state)
{
    (void)state;
    shared = harness_start(NULL, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    harness_stop(shared);
    return 0;
}

struct one { enum route route; const char *path, *headers, *body; int status; const char *body_has; };

/* One row per row of the route table: the counting test below sees to it. */
static const struct one ONES[] = {
    {ROUTE_CHECKPOINT_CREATE, "/v1/checkpoints", JSON, "{}", 415, NULL},
    {ROUTE_CHECKPOINT_LIST, "/v1/checkpoints?limit=7&after=ck%70t", NULL, NULL, 200, "\"limit\":7,\"after\":\"ckpt\""},
    {ROUTE_CHECKPOINT_SHOW, "/v1/checkpoints/ckpt_1", NULL, NULL, 200, "\"id\":\"ckpt_1\""},
    {ROUTE_CHECKPOINT_DELETE, "/v1/checkpoints/ckpt_1", NULL, NULL, 204, NULL},
    {ROUTE_DATASET_CREATE, "/v1/datasets", "Content-Type: application/octet-stream\r\n", "abc", 201, "\"id\":\"data_1\""},
    {ROUTE_DATASET_LIST, "/v1/datasets", NULL, NULL, 200, "\"kind\":\"datasets\""},
    {ROUTE_DATASET_SHOW, "/v1/datasets/data_1", NULL, NULL, 200, "data_1"},
    {ROUTE_DATASET_PATCH, "/v1/datasets/data_1", NULL, "x", 501, NULL},
    {ROUTE_DATASET_HEAD, "/v1/datasets/data_1", NULL, NULL, 501, NULL},
    {ROUTE_DATASET_DELETE, "/v1/datasets/data_1", NULL, NULL, 204, NULL},
    {ROUTE_STUDY_CREATE, "/v1/studies", JSON, "{\"a\":1}", 202, "\"id\":\"study_1\""},
    {ROUTE_STUDY_VALIDATE, "/v1/studies/validate", JSON, "{\"a\":1}", 200, "{\"valid\":true}"},
    {ROUTE_STUDY_LIST, "/v1/studies?state=running&unknown=1", NULL, NULL, 200, "\"state\":\"running\",\"limit\":50"},
    {ROUTE_STUDY_SHOW, "/v1/studies/study_1", NULL, NULL, 200, "\"state\":\"running\""},
    {ROUTE_STUDY_CANCEL, "/v1/studies/study_1/cancel", NULL, NULL, 202, "study_1"},
    {ROUTE_STUDY_RESUME, "/v1/studies/study_1/resume", NULL, "{}", 202, "study_1"},
    {ROUTE_STUDY_DELETE, "/v1/studies/study_1", NULL, NULL, 204, NULL},
    {ROUTE_STUDY_EVENTS, "/v1/studies/study_none/events", NULL, NULL, 404, NULL},
    {ROUTE_STUDY_CURVES_CSV, "/v1/studies/study_1/curves.csv", NULL, NULL, 200, "document curves.csv"},
    {ROUTE_STUDY_CURVES_JSON, "/v1/studies/study_1/curves.json", NULL, NULL, 200, "document curves.json"},
    {ROUTE_STUDY_PLOT, "/v1/studies/study_1/plot.svg", NULL, NULL, 200, "document plot.svg"},
    {ROUTE_STUDY_REPORT, "/v1/studies/study_1/report", NULL, NULL, 200, "document report.html"},
    {ROUTE_CANDIDATE_FILE, "/v1/studies/study_1/candidates/two%20words/files/", NULL, NULL, 200, "config.json"},
    {ROUTE_OPERATORS, "/v1/operators", NULL, NULL, 200, "\"stack\""},
    {ROUTE_OPTIMIZERS, "/v1/optimizers", NULL, NULL, 200, "\"adamw\""},
    {ROUTE_SCHEDULES, "/v1/schedules", NULL, NULL, 200, "\"wsd\""},
    {ROUTE_LIVEZ, "/livez", NULL, NULL, 200, "ok"},
    {ROUTE_READYZ, "/readyz?verbose", NULL, NULL, 200, "[+]store ok"},
    {ROUTE_HEALTH, "/health", NULL, NULL, 200, "ok"},
    {ROUTE_V2_LIVE, "/v2/health/live", NULL, NULL, 200, "ok"},
    {ROUTE_V2_READY, "/v2/health/ready", NULL, NULL, 200, "ok"},
    {ROUTE_METRICS, "/metrics", NULL, NULL, 200, "lag_build_info{version=\"1.2.3\"} 1"},
    {ROUTE_OPENAPI, "/openapi.json", NULL, NULL, 501, NULL},
    {ROUTE_VERSION, "/version", NULL, NULL, 200, "\"version\":\"1.2.3\""},
    {ROUTE_PAGE, "/", NULL, NULL, 501, NULL},
};

static void every_route_answers(void **state)
{
    (void)state;
    struct harness *harness = shared;
    assert_int_equal(sizeof ONES / sizeof *ONES, ROUTE_COUNT);
    for (int i = 0; i < ROUTE_COUNT; i++) {
        const char *method = route_rows()[ONES[i].route].method;
        assert_int_equal(ONES[i].route, i);
        expect(harness, method, ONES[i].path, ONES[i].headers, ONES[i].body, ONES[i].status);
        if (!ONES[i].body_has)
            continue;
        struct answer answer = client_request(harness, method, ONES[i].path, ONES[i].headers, ONES[i].body);
        assert_in(answer.body, ONES[i].body_has);
        answer_free(&answer);
    }
}

static void head_answers_wherever_get_does_without_a_body(void **state)
{
    (void)state;
    struct harness *harness = shared;
    for (int i = 0; i < ROUTE_COUNT; i++) {
        if (strcmp(route_rows()[i].method, "GET") != 0 || i == ROUTE_DATASET_SHOW)
            continue;
        struct answer answer = client_request(harness, "HEAD", ONES[i].path, NULL, NULL);
        assert_int_equal(answer.status, ONES[i].status);
        assert_int_equal(answer.body_length, 0);
        answer_free(&answer);
    }
    struct answer answer = client_request(harness, "HEAD", "/v1/studies/study_1/events", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_header(&answer, "Content-Type", "text/event-stream");
    answer_free(&answer);
}

static void refusals_have_their_status(void **state)
{
    (void)state;
    struct harness *harness = shared;
    static const struct { const char *method, *path, *headers, *body; int status; } cases[] = {
        {"GET", "/nothing", NULL, NULL, 404},
        {"GET", "/v1/studies/%zz", NULL, NULL, 404},
        {"GET", "/v1/studies/a%00b", NULL, NULL, 404},
        {"GET", "/v1/studies/a%2fb", NULL, NULL, 404},
        {"GET", "/v1/studies/study_none", NULL, NULL, 404},
        {"GET", "/v1/studies/study_none?wait=5", NULL, NULL, 404},
        {"GET", "/v1/studies/study_1?wait=-1", NULL, NULL, 400},
        {"GET", "/v1/studies/study_1?wait=", NULL, NULL, 400},
        {"GET", "/v1/studies/study_1?wait=1%zz", NULL, NULL, 400},
        {"GET", "/v1/studies?state=sleeping", NULL, NULL, 400},
        {"GET", "/v1/studies?limit=0", NULL, NULL, 400},
        {"GET", "/v1/studies?limit=1001", NULL, NULL, 400},
        {"GET", "/v1/studies?limit=99999999999999999999999", NULL, NULL, 400},
        {"GET", "/v1/studies?after=%01", NULL, NULL, 400},
        {"GET", "/v1/studies/study_1/events", "Last-Event-ID: 3x\r\n", NULL, 400},
        {"GET", "/v1/studies/study_1/events", "Last-Event-ID: -3\r\n", NULL, 400},
        {"GET", "/v1/studies/study_busy/candidates/two%20words/files/config.json", NULL, NULL, 409},
        {"GET", "/v1/studies/study_1/candidates/one/files/config.json", NULL, NULL, 404},
        {"GET", "/v1/studies/study_1/candidates/two%20words/files/gone.json", NULL, NULL, 404},
        {"PUT", "/v1/studies", NULL, NULL, 405},
        {"POST", "/livez", NULL, "{}", 405},
        {"BREW", "/metrics", NULL, NULL, 405},
        {"DELETE", "/v1/studies/study_busy", NULL, NULL, 409},
        {"DELETE", "/v1/checkpoints/ckpt_busy", NULL, NULL, 409},
        {"DELETE", "/v1/datasets/data_none", NULL, NULL, 404},
        {"POST", "/v1/studies/study_busy/cancel", NULL, NULL, 409},
        {"POST", "/v1/studies/study_none/resume", NULL, NULL, 404},
        {"POST", "/v1/studies", JSON, NULL, 411},
        {"POST", "/v1/studies/validate", JSON, NULL, 411},
        {"POST", "/v1/datasets", NULL, NULL, 411},
        {"POST", "/v1/checkpoints", "Content-Type: multipart/form-data; boundary=b\r\n", NULL, 411},
        {"POST", "/v1/studies", "Content-Type: text/plain\r\n", "{}", 415},
        {"POST", "/v1/studies", NULL, "{\"a\":1}", 415},
        {"POST", "/v1/studies/validate", "Content-Type: application/jsonx\r\n", "{}", 415},
        {"POST", "/v1/studies/validate", "Content-Type: multipart/form-data; boundary=b\r\n", "x", 415},
        {"POST", "/v1/datasets", "Content-Type: application/json\r\n", "{}", 415},
        {"POST", "/v1/studies", JSON "Content-Encoding: gzip\r\n", "{\"a\":1}", 415},
        {"POST", "/v1/datasets", "Content-Encoding: br\r\n", "abc", 415},
        {"POST", "/v1/studies", JSON, "", 400},
        {"POST", "/v1/studies", JSON, "{}", 422},
        {"POST", "/v1/studies/validate", JSON, "nonsense", 400},
        {"POST", "/v1/studies", JSON "Idempotency-Key: taken\r\n", "{\"a\":1}", 409},
        {"POST", "/v1/studies", JSON "Idempotency-Key: \r\n", "{\"a\":1}", 400},
        {"POST", "/v1/studies", JSON "Idempotency-Key: \xc3\xa4\r\n", "{\"a\":1}", 400},
        {"POST", "/v1/studies", JSON "Origin: http://evil.example\r\n", "{\"a\":1}", 403},
        {"POST", "/v1/studies", JSON "Origin: null\r\n", "{\"a\":1}", 403},
        {"POST", "/v1/checkpoints", "Content-Type: multipart/form-data\r\n", "x", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(harness, cases[i].method, cases[i].path, cases[i].headers, cases[i].body, cases[i].status);
}

static void a_problem_names_pointer_instance_and_request_id(void **state)
{
    (void)state;
    struct harness *harness = shared;
    struct answer answer = client_request(harness, "POST", "/v1/studies?x=1", JSON "X-Request-Id: mine-1\r\n", "{}");
    assert_header(&answer, "X-Request-Id", "mine-1");
    assert_header(&answer, "Cache-Control", "no-store");
    assert_in(answer.body, "\"request_id\": \"mine-1\"");
    assert_in(answer.body, "\"instance\": \"/v1/studies\"");
    assert_in(answer.body, "\"pointer\": \"/checkpoint\"");
    answer_free(&answer);
    answer = client_request(harness, "GET", "/livez", "X-Request-Id: not sane\r\n", NULL);
    char id[128];
    assert_true(answer_header(&answer, "X-Request-Id", id, sizeof id));
    assert_int_equal(strncmp(id, "req_", 4), 0);
    answer_free(&answer);
}

static void method_not_allowed_lists_what_is(void **state)
{
    (void)state;
    struct harness *harness = shared;
    struct answer answer = client_request(harness, "PATCH", "/v1/studies/study_1", NULL, NULL);
    assert_int_equal(answer.status, 405);
    assert_header(&answer, "Allow", "GET, DELETE, HEAD");
    answer_free(&answer);
}

static void created_things_have_a_location(void **state)
{
    (void)state;
    struct harness *harness = shared;
    struct answer answer = client_request(harness, "POST", "/v1/studies", JSON "Idempotency-Key: again\r\n", "{\"a\":1}");
    assert_int_equal(answer.status, 202);
    assert_header(&answer, "Location", "/v1/studies/study_1");
    assert_header(&answer, "Idempotency-Replayed", "true");
    answer_free(&answer);
    assert_string_equal(harness->service.received, "{\"a\":1}|again|");
    answer = client_request(harness, "POST", "/v1/datasets", NULL, "abc");
    assert_header(&answer, "Location", "/v1/datasets/data_1");
    answer_free(&answer);
    answer = client_request(harness, "POST", "/v1/studies", JSON "Origin: http://127.0.0.1:1\r\nHost: x\r\n", "{\"a\":1}");
    assert_int_equal(answer.status, 403);
    answer_free(&answer);
}

static void framing_that_can_be_read_two_ways_is_refused(void **state)
{
    (void)state;
    struct harness *harness = shared;
    static const struct { const char *head; int status; } cases[] = {
        {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400},
        {"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", 400},
        {"Content-Length: 5\r\nContent-Length: 6\r\n", 400},
        {"Transfer-Encoding: gzip\r\n", 501},
        {"Content-Length: -5\r\n", 400},
        {"Content-Length: 0x5\r\n", 400},
        {"Content-Length: 99999999999999999999999\r\n", 413},
        {"Content-Length: 1048577\r\n", 413},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        int length = snprintf(text, sizeof text, "POST /v1/studies HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n%s"
                              "\r\n", cases[i].head);
        struct answer answer = client_raw(harness, text, (size_t)length);
        assert_int_equal(answer.status, cases[i].status);
        answer_free(&answer);
    }
}

static void malformed_bytes_close_or_answer_but_never_hang(void **state)
{
    (void)state;
    struct harness *harness = harness_start(&(struct http_options){.tick_ms = 20}, NULL);
    static const char *const cases[] = {
        "\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET /livez HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\r\n\r\n",
        "GET /livez HTTP/1.1\r\nHost\r\n\r\n",
        "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n",
        "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n",
        "POST /v1/datasets HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = client_connect(harness);
        client_send(fd, cases[i], strlen(cases[i]));
        shutdown(fd, SHUT_WR);
        struct answer answer = client_read(fd);
        if (answer.status != 0 && answer.status < 400)
            fail_msg("case %zu: %s", i, answer.text);
        answer_free(&answer);
        close(fd);
    }
    char *text = malloc(400000);
    assert_non_null(text);
    int length = snprintf(text, 100, "GET /livez HTTP/1.1\r\nHost: h\r\nX: ");
    memset(text + length, 'a', 300000);
    memcpy(text + length + 300000, "\r\n\r\n", 4);
    struct answer answer = client_raw(harness, text, (size_t)length + 300004);
    assert_true(answer.status == 431 || answer.status == 0);
    answer_free(&answer);
    free(text);
    expect(harness, "GET", "/livez", NULL, NULL, 200);
    harness_stop(harness);
}

static void requests_in_one_connection_are_answered_in_order(void **state)
{
    (void)state;
    struct harness *harness = shared;
    static const char text[] = "GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /nothing HTTP/1.1\r\nHost: h\r\n\r\n"
                               "POST /v1/studies/validate HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
                               "Content-Length: 7\r\n\r\n{\"a\":1}GET /version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    struct answer answer = client_raw(harness, text, sizeof text - 1);
    const char *second = strstr(answer.text, "HTTP/1.1 404"), *third = strstr(answer.text, "{\"valid\":true}");
    const char *fourth = strstr(answer.text, "\"version\":\"1.2.3\"");
    assert_true(second && third && fourth && second < third && third < fourth);
    answer_free(&answer);
}

static void set_not_ready(void *context) { ((struct service *)context)->not_ready = true; }

static void unready_server_lives_and_says_why(void **state)
{
    (void)state;
    struct harness *harness = shared;
    harness_on_loop(harness, set_not_ready, &harness->service);
    expect(harness, "GET", "/livez", NULL, NULL, 200);
    expect(harness, "GET", "/v1/studies", NULL, NULL, 200);
    expect(harness, "POST", "/v1/studies", JSON, "{\"a\":1}", 503);
    expect(harness, "DELETE", "/v1/studies/study_1", NULL, NULL, 204);
    struct answer answer = client_request(harness, "GET", "/readyz", NULL, NULL);
    assert_int_equal(answer.status, 503);
    assert_header(&answer, "Retry-After", "5");
    assert_in(answer.body, "recovering 3 studies");
    answer_free(&answer);
    answer = client_request(harness, "GET", "/readyz?verbose=1", NULL, NULL);
    assert_int_equal(answer.status, 503);
    assert_in(answer.body, "[-]recovery failed");
    answer_free(&answer);
}

static void a_study_is_shown_as_a_table_to_who_asks_for_text(void **state)
{
    (void)state;
    struct answer answer = client_request(shared, "GET", "/v1/studies/study_1", "Accept: text/plain\r\n", NULL);
    assert_int_equal(answer.status, 200);
    assert_header(&answer, "Content-Type", "text/plain; charset=utf-8");
    assert_in(answer.body, "document table.txt");
    answer_free(&answer);
    answer = client_request(shared, "GET", "/v1/studies/study_1", "Accept: application/json, text/plain\r\n", NULL);
    assert_header(&answer, "Content-Type", "application/json");
    answer_free(&answer);
}

static void metrics_count_by_route_and_reason(void **state)
{
    (void)state;
    struct harness *harness = shared;
    expect(harness, "GET", "/v1/studies/study_1", NULL, NULL, 200);
    expect(harness, "GET", "/v1/studies/study_none", NULL, NULL, 404);
    expect(harness, "POST", "/v1/datasets", NULL, "abcd", 201);
    struct answer answer = client_request(harness, "GET", "/metrics", NULL, NULL);
    assert_header(&answer, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    assert_in(answer.body, "lag_http_requests_total{method=\"GET\",route=\"/v1/studies/{id}\",code=\"200\"} 1\n");
    assert_in(answer.body, "lag_http_requests_total{method=\"GET\",route=\"/v1/studies/{id}\",code=\"404\"} 1\n");
    assert_in(answer.body, "lag_http_rejected_total{reason=\"not_found\"} 1\n");
    assert_in(answer.body, "lag_uploads_total 1\n");
    assert_in(answer.body, "lag_upload_bytes_total 4\n");
    assert_in(answer.body, "lag_studies{state=\"running\"} 2\n");
    assert_in(answer.body, "lag_workers 4\n");
    assert_in(answer.body, "lag_flops_total 1.5e+18\n");
    assert_in(answer.body, "lag_step_seconds_bucket{le=\"+Inf\"} 0\n");
    assert_in(answer.body, "process_resident_memory_bytes ");
    assert_in(answer.body, "process_open_fds ");
    assert_null(strstr(answer.body, "study_1"));
    answer_free(&answer);
}

static void a_token_guards_all_but_the_public_routes(void **state)
{
    (void)state;
    struct harness *guarded = harness_start(NULL, "s3cret");
    for (int i = 0; i < ROUTE_COUNT; i++) {
        const struct route_row *row = &route_rows()[i];
        struct answer answer = client_request(guarded, row->method, ONES[i].path, ONES[i].headers, ONES[i].body);
        if (row->is_public)
            assert_int_equal(answer.status, ONES[i].status);
        else
            assert_int_equal(answer.status, 401);
        if (!row->is_public)
            assert_header(&answer, "WWW-Authenticate", "Bearer realm=\"lag\"");
        answer_free(&answer);
    }
    expect(guarded, "GET", "/v1/studies", "Authorization: Bearer wrong\r\n", NULL, 401);
    expect(guarded, "GET", "/v1/studies", "Authorization: Bearer s3cret\r\n", NULL, 200);
    expect(guarded, "POST", "/v1/studies", JSON "Authorization: Bearer s3cret\r\nOrigin: http://page.example\r\n", "{\"a\":1}",
           202);
    struct answer answer = client_request(guarded, "GET", "/v1/studies", "Authorization: Bearer wrong\r\n", NULL);
    assert_null(strstr(answer.text, "s3cret"));
    answer_free(&answer);
    harness_stop(guarded);
}

static void histograms_are_cumulative(void **state)
{
    (void)state;
    struct metrics metrics;
    struct service_counts counts = {0};
    struct buffer out;
    metrics_init(&metrics);
    metrics_observe(&metrics, METRICS_STEP, 0.001);
    metrics_observe(&metrics, METRICS_STEP, 0.3);
    metrics_observe(&metrics, METRICS_STEP, 100);
    metrics_observe(&metrics, METRICS_STEP, 0.0 / 0.0 * 1);
    buffer_init(&out);
    metrics_write(&metrics, &counts, "a\"b\\c\nd", &out);
    assert_false(out.failed);
    assert_in(out.data, "lag_build_info{version=\"a\\\"b\\\\c\\nd\"} 1\n");
    assert_in(out.data, "lag_step_seconds_bucket{le=\"0.001\"} 1\n");
    assert_in(out.data, "lag_step_seconds_bucket{le=\"0.25\"} 1\n");
    assert_in(out.data, "lag_step_seconds_bucket{le=\"0.5\"} 2\n");
    assert_in(out.data, "lag_step_seconds_bucket{le=\"60\"} 2\n");
    assert_in(out.data, "lag_step_seconds_bucket{le=\"+Inf\"} 3\n");
    assert_in(out.data, "lag_step_seconds_count 3\n");
    assert_in(out.data, "lag_step_seconds_sum 100.301\n");
    buffer_fini(&out);
}

#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SERVER(every_route_answers),
        WITH_SERVER(head_answers_wherever_get_does_without_a_body),
        WITH_SERVER(refusals_have_their_status),
        WITH_SERVER(a_problem_names_pointer_instance_and_request_id),
        WITH_SERVER(method_not_allowed_lists_what_is),
        WITH_SERVER(created_things_have_a_location),
        WITH_SERVER(framing_that_can_be_read_two_ways_is_refused),
        cmocka_unit_test(malformed_bytes_close_or_answer_but_never_hang),
        WITH_SERVER(requests_in_one_connection_are_answered_in_order),
        WITH_SERVER(unready_server_lives_and_says_why),
        WITH_SERVER(a_study_is_shown_as_a_table_to_who_asks_for_text),
        WITH_SERVER(metrics_count_by_route_and_reason),
        cmocka_unit_test(a_token_guards_all_but_the_public_routes),
        cmocka_unit_test(histograms_are_cumulative),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
