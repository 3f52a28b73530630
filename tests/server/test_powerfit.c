/* lag powerfit: a sweep is kept run by run and gone on with; finished runs alone give the same answer; known constants come
 * back as a training object that lag train takes; refusals. */
#include "tests/support/support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <cJSON.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

static char place[FILE_PATH_BYTES];

static void begin(void)
{
    const struct tiny_study study = {0};
    lag_place_make(place, &study);
}

#define SWEEP "--shape", "base/config.json", "--data", "train.txt", "--training", "training.json", "--rates", \
              "1e-3,4e-3,1.6e-2,6.4e-2", "--batches", "2,4", "--lengths", "1000,2000,4000", "--valid-tokens", "500"
enum { SWEEP_RUNS = 24 };

/* Flags with file names below the place. */
static void call(struct process *process, const char *const *flags, bool wait)
{
    static char names[32][FILE_PATH_BYTES];
    const char *arguments[40] = {process_lag(), "powerfit"};
    static const char training[] = "{\"context\": 16, \"parametrization\": \"mup\"}";
    int count = 2;
    for (int i = 0; flags[i]; i++) {
        const char *dot = strrchr(flags[i], '.');
        const bool file = dot && (strcmp(dot, ".json") == 0 || strcmp(dot, ".jsonl") == 0 || strcmp(dot, ".txt") == 0 ||
                                  strcmp(dot, ".out") == 0);
        arguments[count++] = file ? test_path(names[i], place, flags[i]) : flags[i];
    }
    test_write_file(test_path(names[31], place, "training.json"), training, strlen(training));
    process_start(process, arguments, NULL);
    if (wait) process_wait(process);
}

static char *file_text(const char *name, size_t *length)
{
    char path[FILE_PATH_BYTES];
    return test_read_file(test_path(path, place, name), length);
}

static int lines_of(const char *text)
{
    int lines = 0;
    for (; (text = strchr(text, '\n')) != NULL; text++) lines++;
    return lines;
}

static void a_sweep_goes_on_where_it_stopped_and_its_file_is_enough(void **state)
{
    (void)state;
    static const char *const flags[] = {SWEEP, "--out", "whole.out", "--workers", "1", NULL};
    static const char *const cut[] = {SWEEP, "--out", "cut.out", "--workers", "2", NULL};
    static const char *const alone[] = {"--runs", "whole.out/runs.jsonl", "--json", NULL};
    struct process whole, stopped, resumed, read;
    size_t length, other;
    begin();
    call(&whole, flags, true);
    assert_exit(&whole, 0);
    for (const char *line = whole.text[PROCESS_OUT]; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        assert_in_range(strcspn(line, "\n"), 0, 80);
    char *text = file_text("whole.out/runs.jsonl", &length), *svg = file_text("whole.out/plot.svg", &other);
    assert_int_equal(lines_of(text), SWEEP_RUNS);
    assert_true(strncmp(svg, "<svg", 4) == 0);
    assert_contains(svg, "</svg>");
    call(&stopped, cut, false);
    assert_true(process_read_until(&stopped, PROCESS_ERR, "  3/24 batch"));
    process_signal(&stopped, SIGINT);
    process_wait(&stopped);
    if (stopped.exit_code != 0) {      /* it may have ended before the signal came */
        assert_exit(&stopped, 130);
        assert_contains(stopped.text[PROCESS_ERR], "the same command goes on");
    }
    char *kept = file_text("cut.out/runs.jsonl", &other), rest[64];
    assert_in_range(lines_of(kept), 3, SWEEP_RUNS);
    call(&resumed, cut, true);
    assert_exit(&resumed, 0);
    snprintf(rest, sizeof rest, "%d runs by", SWEEP_RUNS - lines_of(kept));
    if (lines_of(kept) < SWEEP_RUNS) assert_contains(resumed.text[PROCESS_ERR], rest);
    assert_string_equal(resumed.text[PROCESS_OUT], whole.text[PROCESS_OUT]);
    memory_free(kept), memory_free(text);
    kept = file_text("cut.out/result.json", &other);
    text = file_text("whole.out/result.json", &length);
    assert_string_equal(kept, text);
    call(&read, alone, true);
    assert_exit(&read, 0);
    assert_string_equal(read.text[PROCESS_OUT], text);
    cJSON *json = cJSON_Parse(text);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "runs")), SWEEP_RUNS);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(json, "cells")), 6);
    cJSON_Delete(json);
    memory_free(kept), memory_free(text), memory_free(svg);
    process_free(&whole), process_free(&stopped), process_free(&resumed), process_free(&read);
    test_directory_remove(place);
}

/* Losses 3 + 0.05 ln(rate / best)^2, best = beta 4 n^-0.51. */
static void write_known_runs(void)
{
    char path[FILE_PATH_BYTES], text[1 << 15];
    int length = 0;
    for (int batch = 16; batch <= 32; batch *= 2)
        for (int tokens = 1 << 18; tokens <= 1 << 21; tokens *= 2)
            for (int i = 0; i < 8; i++) {
                double rate = ldexp(5e-5, i), distance = log(rate / (batch * 64 / 4096. * 4 * pow(tokens, -0.51)));
                length += snprintf(text + length, sizeof text - (size_t)length, "{\"batch\": %d, \"context\": 64, \"tokens\": %d, "
                                   "\"learning_rate\": %.17g, \"loss\": %.17g}\n", batch, tokens, rate,
                                   3 + 0.05 * distance * distance);
            }
    test_write_file(test_path(path, place, "known.jsonl"), text, (size_t)length);
}

static void known_constants_come_back_as_a_training_object_that_train_takes(void **state)
{
    (void)state;
    static const char *const flags[] = {"--runs", "known.jsonl", NULL};
    char base[FILE_PATH_BYTES], data[FILE_PATH_BYTES], training[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    struct process process;
    begin();
    write_known_runs();
    call(&process, flags, true);
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "a = 4 (4 to 4) and b = -0.510 (-0.510 to -0.510) from 8 of 8 cells");
    const char *object = strstr(process.text[PROCESS_OUT],
                                "{\"schedule\": {\"name\": \"power\", \"a\": 4, \"b\": -0.51, \"maximum\": ");
    assert_non_null(object);
    char with_steps[512];      /* the object as it is, in a training with other fields */
    snprintf(with_steps, sizeof with_steps, "{\"steps\": 200, \"context\": 16, \"batch\": 2, \"parametrization\": \"mup\", %.*s",
             (int)strcspn(object, "\n") - 1, object + 1);
    test_write_file(test_path(training, place, "power.json"), with_steps, strlen(with_steps));
    process_free(&process);
    const char *const train[] = {process_lag(), "train", "--shape", test_path(base, place, "base/config.json"), "--data",
                                 test_path(data, place, "train.txt"), "--training", training, "--valid-tokens", "200", "--out",
                                 test_path(out, place, "trained"), NULL};
    process_run(&process, train, NULL);
    assert_exit(&process, 0);
    process_free(&process);
    test_directory_remove(place);
}

#define NEW "--out", "new.out", "--shape", "base/config.json", "--data", "train.txt"

static void wrong_flags_and_files_are_refused(void **state)
{
    (void)state;
    static const struct { const char *flags[16], *words; } cases[] = {
        {{"--json"}, "give either --shape config.json or --checkpoint DIR"},
        {{"--shape", "base/config.json"}, "--data FILE is missing"},
        {{"--runs", "absent.jsonl"}, "absent.jsonl"},
        {{"--runs", "bad.jsonl"}, "line 2: tokens is missing"},
        {{"--runs", "twice.jsonl"}, "two runs"},
        {{"--runs", "known.jsonl", "--rates", "1,2,3,4"}, "--runs FILE trains nothing"},
        {{"--out", "other.out", "--shape", "base/config.json", "--data", "train.txt"}, "runs of another sweep"},
        {{"--out", "known.jsonl", "--shape", "base/config.json", "--data", "train.txt"}, "name a directory"},
        {{NEW, "--lengths", "100,200"}, "a run has 10 to"},
        {{NEW, "--lengths", "100"}, "at least 2 lengths"},
        {{NEW, "--rates", "1e-3,x"}, "--rates must be"},
        {{NEW, "--batches", "2.5"}, "--batches must be whole"},
        {{NEW, "--training", "free.json"}, "has no schedule to fit"},
        {{NEW, "--training", "many.json"}, "without learners"},
        {{NEW, "--training", "training.json", "--memory", "1K"}, "raise --memory"},
    };
    static const char *const files[][2] = {
        {"bad.jsonl", "\n{\"batch\": 2, \"context\": 16, \"learning_rate\": 0.1, \"loss\": 2}\n"},
        {"twice.jsonl", "{\"batch\": 2, \"context\": 16, \"tokens\": 320, \"learning_rate\": 0.1, \"loss\": 2}\n"
                        "{\"batch\": 2, \"context\": 16, \"tokens\": 320, \"learning_rate\": 0.1, \"loss\": 3}\n"},
        {"free.json", "{\"optimizer\": {\"name\": \"schedule_free_adamw\"}, \"schedule\": {\"name\": \"constant\"}}"},
        {"other.out/runs.jsonl", "{\"batch\": 2, \"context\": 16, \"tokens\": 320, \"learning_rate\": 0.1, \"loss\": 2}\n"},
        {"many.json", "{\"learners\": 2}"},
    };
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    begin();
    write_known_runs();
    assert_ok(file_make_directory(test_path(path, place, "other.out"), &error), &error);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        test_write_file(test_path(path, place, files[i][0]), files[i][1], strlen(files[i][1]));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct process process;
        call(&process, cases[i].flags, true);
        assert_exit(&process, 2);
        assert_contains(process.text[PROCESS_ERR], cases[i].words);
        process_free(&process);
    }
    assert_false(file_exists(test_path(path, place, "new.out/runs.jsonl")));
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(a_sweep_goes_on_where_it_stopped_and_its_file_is_enough),
          cmocka_unit_test(known_constants_come_back_as_a_training_object_that_train_takes),
          cmocka_unit_test(wrong_flags_and_files_are_refused))
