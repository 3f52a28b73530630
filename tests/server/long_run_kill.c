/* Twenty kills -9, through `lag run` and through `lag serve` with its recovery at the next start, while saving, evaluating
 * and ranking among others; at least fifteen hit a running study. Every study ends with the result of the one that nothing
 * happened to. */
#include "tests/server/kill_parts.h"

#include <curl/curl.h>

static const struct tiny_study study = {.selection = "{\"max_k\": 90, \"valid_tokens\": 1000, \"evaluate_every\": 10}"};

struct tally { int kills, running; };

static char place[FILE_PATH_BYTES];
static char *reference;
static struct tally tally;

static int place_make(void **state)
{
    (void)state;
    lag_place_make(place, &study);
    reference = lag_run_result(&(struct lag_run){.place = place, .store = "reference", .out = "out"});
    return curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK;
}

static int place_remove(void **state)
{
    (void)state;
    curl_global_cleanup();
    test_directory_remove(place);
    memory_free(reference);
    return 0;
}

static void count_kill(const char *store, const char *kill)
{
    char stored[32];
    stored_state(place, store, stored);
    tally.kills++;
    tally.running += strcmp(stored, "running") == 0;
    print_message("%2d  %-30s %s\n", tally.kills, kill, stored);
}

/* Named points strike where they say, the others where the seed says. */
static void draw_kill(struct rng *rng, int i, char kill[48])
{
    static const char *const named[] = {"trial_save_before_rename", "evaluate_window", "trial_save_begin", "decide",
                                        "point_after_commit"};
    if (i % 2 == 0)
        snprintf(kill, 48, "%s:%d", named[i / 2 % 5], 2 + (int)rng_below(rng, i / 2 % 5 == 1 ? 60 : 2));
    else
        snprintf(kill, 48, "any:%d", 40 + (int)rng_below(rng, 80));
}

/* ---- lag run */

static void ten_kills_of_lag_run(void **state)
{
    (void)state;
    struct rng rng = rng_stream(7, 1, RNG_PROBE);
    char first[FILE_PATH_BYTES], second[FILE_PATH_BYTES], store[32], out[32];
    for (int i = 0; i < 10; i++) {
        char kill[48];
        snprintf(store, sizeof store, "run%d", i / 3);
        struct lag_run run = {.place = place, .store = store, .flags = {"--workers", i % 2 ? "1" : "2"}};
        draw_kill(&rng, i, kill);
        if (i == 8)
            snprintf(kill, sizeof kill, "rank_begin:1");
        if (i == 9)
            snprintf(kill, sizeof kill, "files_before_rename:2");
        assert_true(run_killed(&run, kill));
        count_kill(store, kill);
        if (i % 3 != 2 && i != 9)
            continue;
        snprintf(out, sizeof out, "run-out%d", i);
        run.out = out;
        char *result = lag_run_result(&run);
        assert_identical(reference, result);
        assert_same_files(test_path(first, place, "out"), test_path(second, place, out));
        lag_check_clean(place, store);
        memory_free(result);
    }
}

/* ---- lag serve */

struct reply { long status; char *text; size_t length; char location[256]; };

static size_t take_body(char *bytes, size_t size, size_t count, void *context)
{
    struct reply *reply = context;
    reply->text = memory_resize(reply->text, reply->length + size * count + 1);
    assert_non_null(reply->text);
    memcpy(reply->text + reply->length, bytes, size * count);
    reply->length += size * count;
    reply->text[reply->length] = '\0';
    return size * count;
}

static size_t take_header(char *bytes, size_t size, size_t count, void *context)
{
    struct reply *reply = context;
    static const char name[] = "location: ";
    size_t length = size * count, skip = sizeof name - 1;
    if (length > skip + 2 && strncasecmp(bytes, name, skip) == 0)
        snprintf(reply->location, sizeof reply->location, "%.*s", (int)(length - skip - 2), bytes + skip);
    return length;
}

/* false: no answer (the server is dead). */
static bool request(struct reply *reply, int port, const char *path, const char *body)
{
    char url[512];
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Idempotency-Key: the-same-one");
    *reply = (struct reply){0};
    snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, reply);
    if (body) {
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return code == CURLE_OK;
}

/* Starts the server; its port, 0 if it was killed before it listened. */
static int serve(struct process *process, const char *store, const char *kill)
{
    char variable[64], path[FILE_PATH_BYTES];
    const char *environment[] = {kill ? variable : NULL, NULL};
    int port = 0;
    snprintf(variable, sizeof variable, "LAG_KILL=%s", kill ? kill : "");
    process_start(process, (const char *const[]){process_lag(), "serve", "--listen", "127.0.0.1:0", "--store",
                                                 test_path(path, place, store), "--data-root", place, "--workers", "2", NULL},
                  environment);
    if (process_read_until(process, PROCESS_OUT, "\n"))
        assert_int_equal(sscanf(process->text[PROCESS_OUT], "listening on http://127.0.0.1:%d", &port), 1);
    return port;
}

/* Sends the study (again) and follows it. Returns the result, NULL if the server was killed. */
static char *follow(int port, const char *body)
{
    char location[300];
    struct reply reply;
    if (!port || !request(&reply, port, "/v1/studies", body)) {
        if (port)
            memory_free(reply.text);
        return NULL;
    }
    if (reply.status == 503) {                      /* still recovering */
        memory_free(reply.text);
        return follow(port, body);
    }
    assert_true(reply.status == 202 || reply.status == 200);
    snprintf(location, sizeof location, "%s?wait=100", reply.location);
    memory_free(reply.text);
    for (;;) {
        if (!request(&reply, port, location, NULL)) {
            memory_free(reply.text);
            return NULL;
        }
        assert_int_equal(reply.status, 200);
        if (strstr(reply.text, "\"state\": \"succeeded\""))
            return reply.text;
        memory_free(reply.text);
    }
}

static void finish_on_server(const char *store, const char *body)
{
    struct process process;
    char *result = follow(serve(&process, store, NULL), body);
    assert_non_null(result);
    assert_identical(reference, result);
    memory_free(result);
    process_signal(&process, SIGTERM);
    process_wait(&process);
    assert_exit(&process, 0);
    process_free(&process);
    lag_check_clean(place, store);
}

static void ten_kills_of_lag_serve(void **state)
{
    (void)state;
    struct rng rng = rng_stream(7, 2, RNG_PROBE);
    char path[FILE_PATH_BYTES], store[32];
    char *body = test_read_file(test_path(path, place, "study.json"), NULL);
    for (int i = 0; i < 10; i++) {
        struct process process;
        char kill[48];
        snprintf(store, sizeof store, "serve%d", i / 4);
        draw_kill(&rng, i, kill);
        if (i == 8)
            snprintf(kill, sizeof kill, "rank_begin:1");
        if (i == 9)
            snprintf(kill, sizeof kill, "finish_before_commit:1");
        char *result = follow(serve(&process, store, kill), body);
        assert_null(result);
        process_wait(&process);
        assert_int_equal(process.signal, SIGKILL);
        process_free(&process);
        count_kill(store, kill);
        if (i % 4 == 3 || i == 9)
            finish_on_server(store, body);
    }
    memory_free(body);
}

static void twenty_kills_fifteen_of_a_running_study(void **state)
{
    (void)state;
    print_message("%d kills, %d of a running study\n", tally.kills, tally.running);
    assert_int_equal(tally.kills, 20);
    assert_true(tally.running >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_kills_of_lag_run),
        cmocka_unit_test(ten_kills_of_lag_serve),
        cmocka_unit_test(twenty_kills_fifteen_of_a_running_study),
    };
    return cmocka_run_group_tests(tests, place_make, place_remove);
}
