#include "tests/api/fixture.h"

#include "api/routes.h"

static int find(const char *method, const char *path, struct route_match *match, char allow[128])
{
    *match = (struct route_match){.route = ROUTE_COUNT};
    return route_find(method, path, match, allow);
}

/* Every row is reachable by its own method and path with the placeholders filled in. */
static void every_row_is_found_by_its_own_path(void **state)
{
    (void)state;
    for (int i = 0; i < ROUTE_COUNT; i++) {
        const struct route_row *row = &route_rows()[i];
        char path[256] = "", allow[128];
        for (const char *c = row->path; *c; c++) {
            size_t length = strlen(path);
            if (*c == '{') {
                c = strchr(c, '}');
                snprintf(path + length, sizeof path - length, "x%d", i);
            } else {
                path[length] = *c;
                path[length + 1] = 0;
            }
        }
        struct route_match match;
        assert_int_equal(find(row->method, path, &match, allow), 0);
        assert_int_equal(match.route, i);
        assert_true(strlen(row->summary) > 0);
    }
}

static void arguments_are_percent_decoded_in_order(void **state)
{
    (void)state;
    struct route_match match;
    char allow[128];
    assert_int_equal(find("GET", "/v1/studies/study_1/candidates/middle%20by%20one/files/initial", &match, allow), 0);
    assert_int_equal(match.route, ROUTE_CANDIDATE_FILE);
    assert_string_equal(match.arguments[0], "study_1");
    assert_string_equal(match.arguments[1], "middle by one");
    assert_string_equal(match.arguments[2], "initial");
    assert_int_equal(find("GET", "/v1/studies/s/candidates/c/files/", &match, allow), 0);
    assert_string_equal(match.arguments[2], "");
}

static void initial_weights_lie_below_files(void **state)
{
    (void)state;
    struct route_match match;
    char allow[128];
    assert_int_equal(find("GET", "/v1/studies/s/candidates/c/files/initial/model.safetensors", &match, allow), 0);
    assert_int_equal(match.route, ROUTE_CANDIDATE_FILE);
    assert_string_equal(match.arguments[2], "initial/model.safetensors");
    assert_int_equal(find("GET", "/v1/studies/s/candidates/c/files/../model.safetensors", &match, allow), 404);
    assert_int_equal(find("GET", "/v1/studies/s/candidates/c/files/a//b", &match, allow), 404);
    assert_int_equal(find("GET", "/v1/studies/s/candidates/c/files/a/", &match, allow), 404);
}

static void unknown_paths_are_404(void **state)
{
    (void)state;
    static const char *const paths[] = {"", "x", "/nothing", "/v1", "/v1/", "/v1/studies/", "/v1/studies//cancel",
        "/v1/studies/a/b", "//", "/livez/", "/v1/studies/a/candidates//files/x", "/v1/studies/a%2Fb", "/v1/studies/%00",
        "/v1/studies/%", "/v1/studies/%4", "/v1/studies/%zz", "/v1/studies/a%2fb/cancel"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct route_match match;
        char allow[128];
        if (find("GET", paths[i], &match, allow) != 404) fail_msg("%s is found", paths[i]);
    }
    char longest[700] = "/v1/studies/", allow[128];
    struct route_match match;
    memset(longest + 12, 'a', 600);
    assert_int_equal(find("GET", longest, &match, allow), 404);
}

static void other_methods_are_405_with_allow(void **state)
{
    (void)state;
    struct route_match match;
    char allow[128];
    assert_int_equal(find("PUT", "/v1/studies", &match, allow), 405);
    assert_string_equal(allow, "POST, GET, HEAD");
    assert_int_equal(find("POST", "/v1/studies/s", &match, allow), 405);
    assert_string_equal(allow, "GET, DELETE, HEAD");
    assert_int_equal(find("GET", "/v1/studies/s/cancel", &match, allow), 405);
    assert_string_equal(allow, "POST");
    assert_int_equal(find("GET", "/v1/studies/validate", &match, allow), 405);
    assert_string_equal(allow, "POST");
    assert_int_equal(find("get", "/livez", &match, allow), 405);
    assert_int_equal(find("POST", "/v1/datasets/d", &match, allow), 405);
    assert_string_equal(allow, "GET, PATCH, HEAD, DELETE");
}

static void head_is_answered_wherever_get_is(void **state)
{
    (void)state;
    struct route_match match;
    char allow[128];
    assert_int_equal(find("HEAD", "/v1/studies/s/plot.svg", &match, allow), 0);
    assert_int_equal(match.route, ROUTE_STUDY_PLOT);
    assert_string_equal(match.arguments[0], "s");
    assert_int_equal(find("HEAD", "/v1/datasets/d", &match, allow), 0);
    assert_int_equal(match.route, ROUTE_DATASET_HEAD);
    assert_int_equal(find("HEAD", "/v1/studies/s/cancel", &match, allow), 405);
}

TEST_MAIN(cmocka_unit_test(every_row_is_found_by_its_own_path),
          cmocka_unit_test(arguments_are_percent_decoded_in_order), cmocka_unit_test(initial_weights_lie_below_files),
          cmocka_unit_test(unknown_paths_are_404), cmocka_unit_test(other_methods_are_405_with_allow),
          cmocka_unit_test(head_is_answered_wherever_get_is))
