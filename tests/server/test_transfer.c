/* lag transfer: both sizes over a sweep, as a table of 80 columns, JSON and a plot; refusals; the same by any workers, and after
 * whatever ended a call before. */
#include "tests/support/support.h"

#include <signal.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

enum { FLAGS = 20 };
struct called { const char *place; const char *flags[FLAGS]; const char *fault; };

static void start(struct process *process, const struct called *called)
{
    const char *environment[] = {called->fault, NULL};
    char base[FILE_PATH_BYTES], data[FILE_PATH_BYTES];
    const char *arguments[32] = {process_lag(), "transfer", "--checkpoint", test_path(base, called->place, "base"), "--data",
                                 test_path(data, called->place, "train.txt")};
    int count = 6;
    for (int i = 0; i < FLAGS && called->flags[i] != NULL; i++)
        arguments[count++] = called->flags[i];
    process_start(process, arguments, called->fault != NULL ? environment : NULL);
}

static void call(struct process *process, const struct called *called)
{
    start(process, called);
    process_wait(process);
}

#define DEPTH "[{\"op\": \"stack\", \"layers\": 4}]"
#define SMALL_SWEEP "--rates", "1e-3,4e-3,1.6e-2,6.4e-2,2.5e-1", "--steps", "20", "--seeds", "1", "--valid-tokens", "800"

static void both_sizes_are_shown_side_by_side(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], out[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process process;
    struct error error = {0};
    char *svg = NULL, *table = NULL;
    size_t length;
    lag_place_make(place, &study);
    test_path(out, place, "sweep");
    call(&process, &(struct called){place, {"--operators", DEPTH, SMALL_SWEEP, "--out", out}, NULL});
    assert_exit(&process, 0);
    const char *text = process.text[PROCESS_OUT];
    assert_contains(text, "small: 2 layers, width 16");
    assert_contains(text, "grown: 4 layers, width 16");
    assert_contains(text, "sharpness");
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        assert_in_range(strcspn(line, "\n"), 0, 80);
    assert_ok(file_read(test_path(path, out, "table.txt"), 1 << 20, &table, &length, &error), &error);
    assert_string_equal(table, text);
    assert_ok(file_read(test_path(path, out, "plot.svg"), 1 << 20, &svg, &length, &error), &error);
    assert_true(strncmp(svg, "<svg", 4) == 0);
    assert_contains(svg, "class=\"size1\"");
    assert_contains(svg, "</svg>");
    memory_free(svg);
    memory_free(table);
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

/* The flags of a sweep whose JSON is compared, kept in `out` (NULL: not). */
static struct called kept_sweep(const char *place, const char *out, const char *workers)
{
    struct called called = {place, {"--operators", DEPTH, SMALL_SWEEP, "--json", "--workers", workers}, NULL};
    int count = 0;
    while (called.flags[count] != NULL)
        count++;
    if (out != NULL) {
        called.flags[count++] = "--out";
        called.flags[count] = out;
    }
    return called;
}

/* What an uninterrupted sweep by one worker prints; memory_free. */
static char *plain_result(const char *place)
{
    struct process process;
    const struct called called = kept_sweep(place, NULL, "1");
    call(&process, &called);
    assert_exit(&process, 0);
    char *text = memory_string(process.text[PROCESS_OUT]);
    assert_non_null(text);
    process_free(&process);
    return text;
}

static int count_of(const char *text, const char *piece)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, piece)) != NULL; at++)
        count++;
    return count;
}

/* Calls again and expects `expected`; returns how many runs had a row. */
static int go_on(const char *place, const char *out, const char *expected)
{
    struct process process;
    const struct called called = kept_sweep(place, out, "2");
    call(&process, &called);
    assert_exit(&process, 0);
    assert_string_equal(process.text[PROCESS_OUT], expected);
    const int found = count_of(process.text[PROCESS_ERR], "kept from before");
    process_free(&process);
    return found;
}

static void any_number_of_workers_gives_the_same_result(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process process;
    lag_place_make(place, &study);
    char *one = plain_result(place);
    const struct called called = kept_sweep(place, NULL, "4");
    call(&process, &called);
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_ERR], "10 runs of 20 steps by 4 workers");
    assert_string_equal(process.text[PROCESS_OUT], one);
    process_free(&process);
    memory_free(one);
    test_directory_remove(place);
}

static void an_ended_sweep_goes_on_to_the_same_result(void **state, int number)
{
    (void)state;
    char place[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process process;
    lag_place_make(place, &study);
    test_path(out, place, "sweep");
    char *one = plain_result(place);
    const struct called called = kept_sweep(place, out, "1");
    start(&process, &called);
    assert_true(process_read_until(&process, PROCESS_ERR, "  3/10 "));
    process_signal(&process, number);
    process_wait(&process);
    if (number == SIGKILL) {
        assert_int_equal(process.signal, SIGKILL);
    } else {
        assert_exit(&process, 130);
        assert_contains(process.text[PROCESS_ERR], "of 10 runs are kept in");
    }
    process_free(&process);
    const int found = go_on(place, out, one);
    assert_in_range(found, 3, 9);
    assert_int_equal(go_on(place, out, one), 10);
    memory_free(one);
    test_directory_remove(place);
}

static void a_killed_sweep_goes_on_to_the_same_result(void **state)
{
    an_ended_sweep_goes_on_to_the_same_result(state, SIGKILL);
}

static void an_interrupted_sweep_goes_on_to_the_same_result(void **state)
{
    an_ended_sweep_goes_on_to_the_same_result(state, SIGINT);
}

static void a_row_is_taken_only_by_the_run_that_it_is_of(void **state)
{
    (void)state;
    static const char *const others[][4] = {
        {"--steps", "21"}, {"--seed", "5"}, {"--valid-tokens", "700"}, {"--parametrization", "mup"},
        {"--rates", "2e-3,5e-3,2e-2,8e-2"},
    };
    char place[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process process;
    lag_place_make(place, &study);
    test_path(out, place, "sweep");
    const struct called called = {place, {"--operators", DEPTH, "--rates", "1e-3,4e-3,1.6e-2,6.4e-2", "--steps", "20",
                                          "--seeds", "1", "--valid-tokens", "800", "--out", out}, NULL};
    call(&process, &called);
    assert_exit(&process, 0);
    process_free(&process);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct called other = called;
        for (int flag = 0; flag < FLAGS && other.flags[flag] != NULL; flag += 2)
            if (strcmp(other.flags[flag], others[i][0]) == 0)
                other.flags[flag + 1] = others[i][1];
        if (i == 1 || i == 3)
            memcpy(&other.flags[12], others[i], 2 * sizeof *other.flags);
        call(&process, &other);
        assert_exit(&process, 0);
        assert_int_equal(count_of(process.text[PROCESS_ERR], "kept from before"), 0);
        process_free(&process);
    }
    /* another way to grow: the small size's rows are its own */
    struct called other = called;
    other.flags[1] = "[{\"op\": \"stack\", \"layers\": 6}]";
    call(&process, &other);
    assert_exit(&process, 0);
    assert_int_equal(count_of(process.text[PROCESS_ERR], "kept from before"), 4);
    process_free(&process);
    test_directory_remove(place);
}

static void a_damaged_row_is_made_again(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], out[FILE_PATH_BYTES], runs[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct file_names names;
    struct error error = {0};
    lag_place_make(place, &study);
    char *one = plain_result(place);
    assert_int_equal(go_on(place, test_path(out, place, "sweep"), one), 0);
    assert_ok(file_list(test_path(runs, out, "runs"), &names, &error), &error);
    assert_int_equal(names.count, 10);
    assert_ok(file_write(test_path(path, runs, names.names[0]), "{\"key\": \"x\"", 11, &error), &error);
    assert_ok(file_copy(test_path(path, runs, names.names[1]), test_path((char[FILE_PATH_BYTES]){0}, runs, names.names[2]), &error),
              &error);
    file_names_free(&names);
    assert_int_equal(go_on(place, out, one), 8);
    memory_free(one);
    test_directory_remove(place);
}

static void a_write_or_an_allocation_that_fails_ends_the_sweep_and_costs_no_finished_run(void **state)
{
    (void)state;
    static const char *const faults[] = {"LAG_FAULT=write:3", "LAG_FAULT=fsync:4", "LAG_FAULT=rename:2", "LAG_FAULT=alloc:300",
                                         "LAG_FAULT=alloc:40"};
    char place[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    const struct tiny_study study = {0};
    struct process process;
    lag_place_make(place, &study);
    char *one = plain_result(place);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct called called = kept_sweep(place, test_path(out, place, faults[i] + 10), "2");
        called.fault = faults[i];
        call(&process, &called);
        print_message("  %s: exit %d\n", faults[i], process.exit_code);
        assert_exit(&process, 1);
        const int rows = count_of(process.text[PROCESS_ERR], "loss ") + count_of(process.text[PROCESS_ERR], ": diverged");
        process_free(&process);
        assert_true(go_on(place, out, one) >= rows);
    }
    memory_free(one);
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
        {{"--operators", DEPTH, "--out", "sweep.svg"}, "name a directory"},
        {{"--operators", DEPTH, "--workers", "0"}, "--workers"},
        {{"--operators", DEPTH, "--memory", "1K"}, "a run needs"},
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
          cmocka_unit_test(any_number_of_workers_gives_the_same_result),
          cmocka_unit_test(a_killed_sweep_goes_on_to_the_same_result),
          cmocka_unit_test(an_interrupted_sweep_goes_on_to_the_same_result),
          cmocka_unit_test(a_row_is_taken_only_by_the_run_that_it_is_of), cmocka_unit_test(a_damaged_row_is_made_again),
          cmocka_unit_test(a_write_or_an_allocation_that_fails_ends_the_sweep_and_costs_no_finished_run),
          cmocka_unit_test(wrong_flags_are_refused_with_what_to_do))
