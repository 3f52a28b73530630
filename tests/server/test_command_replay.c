/* lag replay on what `lag run` wrote: the study's own rule gives the study's own answer. */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

static int place_setup(void **state)
{
    static char place[FILE_PATH_BYTES], result[FILE_PATH_BYTES];
    struct tiny_study study = { .selection = "{\"max_k\": 200, \"k\": \"auto\", \"valid_tokens\": 1000}" };
    lag_place_make(place, &study);
    struct lag_run run = { .place = place, .out = "out" };
    char *text = lag_run_result(&run);
    test_write_file(test_path(result, place, "result.json"), text, strlen(text));
    memory_free(text);
    *state = place;
    return 0;
}

static int place_teardown(void **state)
{
    test_directory_remove(*state);
    return 0;
}

static char *replay(const char *place, int exit_code, const char *const *more)
{
    char curves[FILE_PATH_BYTES];
    const char *words[16] = { process_lag(), "replay", test_path(curves, place, "out/curves.json") };
    struct process process;
    int count = 3;
    for (; *more; more++)
        words[count++] = *more;
    process_run(&process, words, NULL);
    assert_exit(&process, exit_code);
    char *text = memory_string(process.text[exit_code == 0 ? PROCESS_OUT : PROCESS_ERR]);
    assert_non_null(text);
    process_free(&process);
    return text;
}

/* The text between `before` and the next '"' or ','. */
static void value_after(const char *text, const char *before, char value[128])
{
    const char *at = strstr(text, before);
    assert_non_null(at);
    at += strlen(before);
    snprintf(value, 128, "%.*s", (int)strcspn(at, "\","), at);
}

static void the_studys_rule_gives_the_studys_answer(void **state)
{
    char path[FILE_PATH_BYTES], value[128], piece[256];
    char *result = test_read_file(test_path(path, *state, "result.json"), NULL);
    char *answer = replay(*state, 0, (const char *[]){ "--rule", "agreement", "--max-k", "200", "--json", NULL });
    value_after(result, "\"choice\": {\"candidate\": \"", value);
    snprintf(piece, sizeof piece, "\"choice\": \"%s\"", value);
    assert_contains(answer, piece);
    value_after(result, "\"k\": ", value);
    snprintf(piece, sizeof piece, "\"step\": %s, \"settled\": %s", value,
             strstr(result, "\"status\": \"settled\"") ? "true" : "false");
    assert_contains(answer, piece);
    value_after(result, "\"fraction\": ", value);
    value[strcspn(value, "}")] = '\0';
    snprintf(piece, sizeof piece, "\"fraction\": %s", value);
    assert_contains(answer, piece);
    memory_free(result);
    memory_free(answer);
}

static void rules_are_shown_beside_each_other_and_judged(void **state)
{
    char path[FILE_PATH_BYTES];
    const char *curves = test_path(path, *state, "out/curves.json");
    char *text = replay(*state, 0, (const char *[]){ "--truth", curves, "--max-k", "100", NULL });
    static const char *const names[] = { "start", "raw", "averaged", "slope", "power", "ensemble", "knee", "stability",
                                         "agreement", "agreement_predicted", "halving", "asha", "median", "hyperband",
                                         "exhaustive" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_contains(text, names[i]);
    assert_contains(text, "truth: 1 run, ");
    memory_free(text);
    char *again = replay(*state, 0, (const char *[]){ "--truth", curves, "--resample", "20", "--json", NULL });
    char *twice = replay(*state, 0, (const char *[]){ "--truth", curves, "--resample", "20", "--json", NULL });
    assert_string_equal(again, twice);
    assert_contains(again, "\"p_best\": ");
    memory_free(again);
    memory_free(twice);
}

static void wrong_wishes_are_refused(void **state)
{
    char path[FILE_PATH_BYTES], both[2 * FILE_PATH_BYTES];
    static const char *const none[] = { "--rule", "luck", NULL }, *const untrue[] = { "--resample", "5", NULL },
                      *const missing[] = { "--truth", "/no/such/file", NULL }, *const step[] = { "--step", "0", NULL };
    static const struct { const char *const *words; const char *piece; } cases[] = {
        { none, "the rules are start, raw, averaged" }, { untrue, "--resample needs --truth" },
        { missing, "--truth: /no/such/file" }, { step, "--step must be a whole number" } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = replay(*state, 2, cases[i].words);
        assert_contains(text, cases[i].piece);
        memory_free(text);
    }
    test_write_file(test_path(path, *state, "wrong.json"), "{\"other\": 1}", 12);
    snprintf(both, sizeof both, "%s,%s", path, path);
    char *text = replay(*state, 2, (const char *[]){ "--truth", both, NULL });
    assert_contains(text, "no final loss");
    memory_free(text);
    struct process process;
    process_run(&process, (const char *[]){ process_lag(), "replay", path, NULL }, NULL);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "curves need a list of candidates");
    process_free(&process);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_studys_rule_gives_the_studys_answer),
                                        cmocka_unit_test(rules_are_shown_beside_each_other_and_judged),
                                        cmocka_unit_test(wrong_wishes_are_refused) };
    return cmocka_run_group_tests(tests, place_setup, place_teardown);
}
