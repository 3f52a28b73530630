/* The matrix of training through the product: a handful of its combinations, those with most pairs of rows, each with a
 * family of its own, gives the same result by `lag run`, by its own echoed request and over HTTP, differs from the default, and
 * goes on by `lag train --recipe`. What does not go together is refused by each of the three. */
#include "tests/trainer/matrix.h"

#include <signal.h>

#include <curl/curl.h>

#include "tests/server/family_places.h"

enum { HANDFUL = CASES };

/* ---- a study of the place with this training ---- */

static char *training_text(const struct combination *c)
{
    static char text[1024];
    matrix_json(c, text, sizeof text);
    return text;
}

static char *study_text(const struct family_case *family, const char *training, int k)
{
    static char text[4096];
    const int length = snprintf(text, sizeof text,
        "{\"name\": \"matrix\", \"checkpoint\": \"base\", \"data\": {\"train\": \"train.txt\", \"valid\": \"valid.txt\", "
        "\"format\": \"bytes\"%s%s}, \"candidates\": [{\"name\": \"deep\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]}, "
        "{\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}]}], \"training\": %s, "
        "\"selection\": {\"k\": %d, \"valid_tokens\": 200}, \"keep\": \"all\"}",
        family->data[0] != '\0' ? ", " : "", family->data, training, k);
    assert_true(length > 0 && (size_t)length < sizeof text);
    return text;
}

/* Runs `study` into the place's `name`; the result's text. */
static char *run_study(const char *place, const char *study, const char *name)
{
    char file[64], store[64];
    snprintf(file, sizeof file, "%s.json", name);
    snprintf(store, sizeof store, "store-%s", name);
    write_text(place, file, study);
    return lag_run_result(&(struct lag_run){.place = place, .study = file, .store = store, .out = name});
}

static char *member_text_of(const char *result, const char *name)
{
    cJSON *json = cJSON_Parse(result);
    assert_non_null(json);
    char *printed = cJSON_Print(cJSON_GetObjectItemCaseSensitive(json, name));
    assert_non_null(printed);
    char *text = memory_string(printed);
    assert_non_null(text);
    cJSON_free(printed);
    cJSON_Delete(json);
    return text;
}

static bool same_bytes(const char *place, const char *one, const char *other)
{
    char path[FILE_PATH_BYTES];
    size_t lengths[2];
    char *a = test_read_file(test_path(path, place, one), &lengths[0]);
    char *b = test_read_file(test_path(path, place, other), &lengths[1]);
    const bool same = lengths[0] == lengths[1] && memcmp(a, b, lengths[0]) == 0;
    memory_free(a);
    memory_free(b);
    return same;
}

/* ---- HTTP ---- */

struct server { struct process process; char address[64]; };

static void server_start(struct server *server, const char *place)
{
    char store[FILE_PATH_BYTES];
    const char *arguments[] = {process_lag(), "serve", "--listen", "127.0.0.1:0", "--store", test_path(store, place, "served"),
                               "--data-root", place, "--workers", "2", NULL};
    process_start(&server->process, arguments, NULL);
    assert_true(process_read_until(&server->process, PROCESS_OUT, "\n"));
    const char *begin = strstr(server->process.text[PROCESS_OUT], "http://");
    assert_non_null(begin);
    snprintf(server->address, sizeof server->address, "%.*s", (int)strcspn(begin, "\n"), begin);
}

static void server_stop(struct server *server)
{
    process_signal(&server->process, SIGTERM);
    process_wait(&server->process);
    assert_exit(&server->process, 0);
    process_free(&server->process);
}

struct reply { long status; char text[1 << 16]; size_t length; };

static size_t receive(char *bytes, size_t size, size_t count, void *context)
{
    struct reply *reply = context;
    const size_t length = size * count;
    assert_true(reply->length + length < sizeof reply->text);
    memcpy(reply->text + reply->length, bytes, length);
    reply->length += length;
    reply->text[reply->length] = '\0';
    return length;
}

/* POST with a body, GET without. Static, until the next call. */
static const struct reply *ask(const struct server *server, const char *path, const char *body)
{
    static struct reply reply;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    CURL *curl = curl_easy_init();
    char url[256];
    assert_non_null(curl);
    reply.length = 0;
    reply.text[0] = '\0';
    snprintf(url, sizeof url, "%s%s", server->address, path);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reply);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    assert_int_equal(curl_easy_perform(curl), CURLE_OK);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply.status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return &reply;
}

static void served_result_is_identical(const char *place, const char *study, const char *result)
{
    struct server server;
    char path[128];
    server_start(&server, place);
    const struct reply *reply = ask(&server, "/v1/studies", study);
    if (reply->status != 202)
        fail_msg("%ld %s", reply->status, reply->text);
    char *id = member_text_of(reply->text, "id");      /* in quotes */
    snprintf(path, sizeof path, "/v1/studies/%.*s?wait=60", (int)strlen(id) - 2, id + 1);
    reply = ask(&server, path, NULL);
    assert_int_equal(reply->status, 200);
    assert_identical(result, reply->text);
    memory_free(id);
    server_stop(&server);
}

/* ---- a combination ---- */

static int recipes_compared;

/* What the files of k = 12 become by their recipe is what the study gives at its horizon; a running average is not gone on
 * with, and some learners' moments are in no file. */
static void recipe_goes_on(const char *place, const struct family_case *family, const struct combination *c, const char *result)
{
    const struct training training = matrix_training(c);
    char *recipe = member_text_of(result, "recipe"), out[FILE_PATH_BYTES];
    write_text(place, "recipe.json", recipe);
    memory_free(recipe);
    char *choice = member_text_of(result, "choice");
    const char *name = strstr(choice, "\"deep\"") != NULL ? "deep" : "wide";
    snprintf(out, sizeof out, "@short/%s", name);
    memory_free(LAG(place, "train", "--checkpoint", out, "--recipe", "@recipe.json", "--data", "@train.txt", "--valid",
                    "@valid.txt", "--valid-tokens", "200", "--out", "@on"));
    memory_free(run_study(place, study_text(family, training_text(c), MATRIX_HORIZON), "long"));
    if (learners_warning(&training) == NULL && training.average.kind == AVERAGE_NONE) {
        snprintf(out, sizeof out, "long/%s/model.safetensors", name);
        assert_true(same_bytes(place, out, "on/model.safetensors"));
        snprintf(out, sizeof out, "long/%s/optimizer.safetensors", name);
        assert_true(same_bytes(place, out, "on/optimizer.safetensors"));
        recipes_compared++;
    }
    memory_free(choice);
}

static void expect_everywhere_alike(const struct family_case *family, const struct combination *c)
{
    char place[FILE_PATH_BYTES];
    place_make(place, family);
    char *study = memory_string(study_text(family, training_text(c), MATRIX_STEPS));
    char *result = run_study(place, study, "short");
    assert_contains(result, "\"state\": \"succeeded\"");
    /* the echo, fed back */
    char *echo = member_text_of(result, "request");
    char *again = run_study(place, echo, "again");
    assert_identical(result, again);
    served_result_is_identical(place, study, result);
    recipe_goes_on(place, family, c, result);
    /* the default */
    memory_free(run_study(place, study_text(family, training_text(&(struct combination){0}), MATRIX_STEPS), "default"));
    assert_false(same_bytes(place, "default/deep/model.safetensors", "short/deep/model.safetensors"));
    assert_false(same_bytes(place, "default/wide/model.safetensors", "short/wide/model.safetensors"));
    /* lag train with the same object */
    write_text(place, "training.json", training_text(c));
    char *said = LAG(place, "train", "--checkpoint", "@base", "--training", "@training.json", "--data", "@data.json",
                     "--valid-tokens", "200", "--steps", "36", "--out", "@trained");
    assert_contains(said, "step 36: validation loss");
    memory_free(said);
    memory_free(study);
    memory_free(result);
    memory_free(echo);
    memory_free(again);
    test_directory_remove(place);
}

static void a_handful_is_alike_by_run_over_http_and_by_train(void **state)
{
    (void)state;
    struct combination cover[1 + HANDFUL];     /* the first is the default */
    assert_int_equal(matrix_cover(cover, 1 + HANDFUL), 1 + HANDFUL);
    for (int i = 0; i < HANDFUL; i++) {
        print_message("    %s; as %s\n", matrix_title(&cover[1 + i]), cases[i].title);
        expect_everywhere_alike(&cases[i], &cover[1 + i]);
    }
    assert_true(recipes_compared > 0);
}

/* ---- refusals ---- */

/* The first combination that breaks this rule alone. */
static struct combination breaker_of(const struct matrix_rule *rule)
{
    struct combination c = {0};
    while (!(rule->is_broken(&c) && matrix_broken_rules(&c) == 1))
        assert_true(matrix_next(&c, MATRIX_FAMILY + 1));
    return c;
}

static void train_refuses(const char *place, const char *training, const char *remedy)
{
    char base[FILE_PATH_BYTES], file[FILE_PATH_BYTES], data[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    struct process process;
    write_text(place, "training.json", training);
    const char *const arguments[] = {process_lag(), "train", "--checkpoint", test_path(base, place, "base"), "--training",
                                     test_path(file, place, "training.json"), "--data", test_path(data, place, "data.json"),
                                     "--out", test_path(out, place, "refused"), NULL};
    process_run(&process, arguments, NULL);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], remedy);
    process_free(&process);
}

static void each_broken_rule_is_refused_by_run_over_http_and_by_train(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    struct server server;
    place_make(place, &cases[0]);
    server_start(&server, place);
    for (int i = 0; i < MATRIX_RULES; i++) {
        const struct matrix_rule *rule = &matrix_rules[i];
        const char *remedy = rule->request != NULL ? rule->request : rule->remedy;
        const struct combination c = breaker_of(rule);
        const char *study = study_text(&cases[0], training_text(&c), MATRIX_STEPS);
        char pointer[64];
        struct process process;
        print_message("    %s\n", matrix_title(&c));
        snprintf(pointer, sizeof pointer, "/training%s", rule->pointer);
        const struct reply *reply = ask(&server, "/v1/studies", study);
        assert_int_equal(reply->status, 422);
        assert_contains(reply->text, pointer);
        assert_contains(reply->text, remedy);
        write_text(place, "refused.json", study);
        lag_run(&process, &(struct lag_run){.place = place, .study = "refused.json"});
        assert_exit(&process, 2);
        assert_contains(process.text[PROCESS_ERR], pointer);
        assert_contains(process.text[PROCESS_ERR], remedy);
        process_free(&process);
        train_refuses(place, training_text(&c), remedy);
    }
    server_stop(&server);
    test_directory_remove(place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_handful_is_alike_by_run_over_http_and_by_train),
                                       cmocka_unit_test(each_broken_rule_is_refused_by_run_over_http_and_by_train)};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    curl_global_cleanup();
    return failed;
}
