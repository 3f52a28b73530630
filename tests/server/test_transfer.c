/* lag transfer: both sizes over a sweep, as a table of 80 columns, JSON and a plot; refusals; twice the same. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

struct called { const char *place; const char *flags[16]; };

static void call(struct process *process, const struct called *called)
{
    char base[FILE_PATH_BYTES], data[FILE_PATH_BYTES];
    const char *arguments[32] = {process_lag(), "transfer", "--checkpoint", test_path(base, called->place, "base"), "--data",
                                 test_path(data, called->place, "train.txt")};
    int count = 6;
    for (int i = 0; i < 16 && called->flags[i] != NULL; i++)
        arguments[count++] = called->flags[i];
    process_run(process, arguments, NULL);
}

#define DEPTH "[{\"op\": \"stack\", \"layers\": 4}]"
#define SMALL_SWEEP "--rates", "1e-3,4e-3,1.6e-2,6.4e-2,2.5e-1", "--steps", "20", "--seeds", "1", "--valid-tokens", "800"

static void both_sizes_are_shown_side_by_side(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], plot[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process process;
    struct error error = {0};
    char *svg = NULL;
    size_t length;
    lag_place_make(place, &study);
    test_path(plot, place, "sweep.svg");
    call(&process, &(struct called){place, {"--operators", DEPTH, SMALL_SWEEP, "--out", plot}});
    assert_exit(&process, 0);
    const char *text = process.text[PROCESS_OUT];
    assert_contains(text, "small: 2 layers, width 16");
    assert_contains(text, "grown: 4 layers, width 16");
    assert_contains(text, "sharpness");
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        assert_in_range(strcspn(line, "\n"), 0, 80);
    assert_ok(file_read(plot, 1 << 20, &svg, &length, &error), &error);
    assert_true(strncmp(svg, "<svg", 4) == 0);
    assert_contains(svg, "class=\"size1\"");
    assert_contains(svg, "</svg>");
    memory_free(svg);
    process_free(&process);
    test_directory_remove(place);
}

static void json_has_every_run_and_comes_out_the_same_twice(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process first, second;
    const struct called called = {.flags = {"--operators", "[{\"op\": \"hyperclone\", \"width\": 32}]", SMALL_SWEEP,
                                            "--parametrization", "mup", "--json"}};
    struct called one = called;
    lag_place_make(place, &study);
    one.place = place;
    call(&first, &one);
    call(&second, &one);
    assert_exit(&first, 0);
    assert_string_equal(first.text[PROCESS_OUT], second.text[PROCESS_OUT]);
    assert_contains(first.text[PROCESS_OUT], "\"answer\": \"");
    assert_contains(first.text[PROCESS_OUT], "\"parametrization\": \"mup\"");
    assert_contains(first.text[PROCESS_OUT], "\"size\": \"grown\"");
    int runs = 0;
    for (const char *at = first.text[PROCESS_OUT]; (at = strstr(at, "\"diverged\"")) != NULL; at++)
        runs++;
    assert_int_equal(runs, 10);
    process_free(&first);
    process_free(&second);
    test_directory_remove(place);
}

static void wrong_flags_are_refused_with_what_to_do(void **state)
{
    (void)state;
    static const struct { const char *flags[6], *words; } cases[] = {
        {{"--operators", DEPTH, "--rates", "1e-3,2e-3,x"}, "--rates must be numbers"},
        {{"--operators", DEPTH, "--rates", "1e-3,2e-3,3e-3"}, "at least 4 rates"},
        {{"--operators", DEPTH, "--rates", "1e-3,2e-3,3e-3,1e-3"}, "twice"},
        {{"--operators", DEPTH, "--tolerance", "-1"}, "--tolerance must be a number"},
        {{"--operators", DEPTH, "--parametrization", "nup"}, "--parametrization must be standard, mup, completep or ntp"},
        {{"--operators", "[{\"op\": \"stack\", \"layers\": 1}]"}, "--operators"},
        {{"--steps", "30"}, "--operators JSON is missing"},
    };
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    lag_place_make(place, &study);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct called called = {.place = place};
        struct process process;
        memcpy(called.flags, cases[i].flags, sizeof cases[i].flags);
        call(&process, &called);
        assert_exit(&process, 2);
        assert_contains(process.text[PROCESS_ERR], cases[i].words);
        process_free(&process);
    }
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(both_sizes_are_shown_side_by_side), cmocka_unit_test(json_has_every_run_and_comes_out_the_same_twice),
          cmocka_unit_test(wrong_flags_are_refused_with_what_to_do))
