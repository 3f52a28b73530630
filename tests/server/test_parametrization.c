/* Parametrizations through the binary: a study starts from the same function under each, trains by other laws, and its recipe
 * goes on bit for bit; and lag coordcheck as a table of 80 columns, JSON and a plot. */
#include "tests/support/support.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <cJSON.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

/* ---- studies ---- */

#define WIDE "[{\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}]}]"
#define WIDE_AND_DEEP \
    "[{\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}, {\"op\": \"random\", \"layers\": 3}]}]"

static char place[FILE_PATH_BYTES];

/* Writes and runs a study of k steps into PLACE/out-NAME-k; the result's text. */
static char *run_study(const char *candidates, const char *parametrization, int k)
{
    char training[512], selection[128], file[FILE_PATH_BYTES], study_name[64], out[64], store[64];
    snprintf(training, sizeof training, "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"learning_rate\": 0.01, \"schedule\": "
             "{\"name\": \"constant\", \"warmup_steps\": 5}, \"average\": {\"kind\": \"none\"}, \"parametrization\": \"%s\"}",
             parametrization);
    snprintf(selection, sizeof selection, "{\"k\": %d, \"valid_tokens\": 500}", k);
    snprintf(study_name, sizeof study_name, "study-%s-%d.json", parametrization, k);
    snprintf(out, sizeof out, "out-%s-%d", parametrization, k);
    snprintf(store, sizeof store, "store-%s-%d", parametrization, k);
    const struct tiny_study study = {.candidates = candidates, .training = training, .selection = selection};
    tiny_study_json(test_path(file, place, study_name), &study);
    return lag_run_result(&(struct lag_run){.place = place, .study = study_name, .store = store, .out = out});
}

static bool same_bytes(const char *one, const char *other)
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

/* lag train --recipe from a directory of the place to PLACE/OUT; ends with `code`, says `words`. */
static void train_by_recipe(const char *from, const char *steps, const char *out, int code, const char *words)
{
    char recipe[FILE_PATH_BYTES], checkpoint[FILE_PATH_BYTES], data[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct process process;
    const char *const arguments[] = {process_lag(), "train", "--checkpoint", test_path(checkpoint, place, from), "--recipe",
                                     test_path(recipe, place, "recipe.json"), "--data", test_path(data, place, "train.txt"),
                                     "--steps", steps, "--valid-tokens", "200", "--out", test_path(to, place, out), NULL};
    process_run(&process, arguments, NULL);
    assert_exit(&process, code);
    assert_contains(process.text[PROCESS_ERR], words);
    process_free(&process);
}

static void write_recipe(const char *result)
{
    char path[FILE_PATH_BYTES];
    cJSON *json = cJSON_Parse(result);
    char *text = cJSON_Print(cJSON_GetObjectItemCaseSensitive(json, "recipe"));
    test_write_file(test_path(path, place, "recipe.json"), text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(json);
}

static void train_on(const char *result, const char *parametrization)
{
    char winner[64];
    snprintf(winner, sizeof winner, "out-%s-12/wide", parametrization);
    write_recipe(result);
    train_by_recipe(winner, "24", "on", 0, "");
}

static void begin(void)
{
    const struct tiny_study study = {0};
    lag_place_make(place, &study);
}

static void studies_start_alike_and_recipes_go_on_bit_for_bit(void **state)
{
    (void)state;
    static const char *const names[] = {"mup", "completep", "ntp"};
    begin();
    memory_free(run_study(WIDE, "standard", 24));
    for (int i = 0; i < 3; i++) {
        char one[96], other[96];
        char *result = run_study(WIDE, names[i], 12);
        memory_free(run_study(WIDE, names[i], 24));
        snprintf(one, sizeof one, "out-%s-24/wide/initial/model.safetensors", names[i]);
        assert_true(same_bytes(one, "out-standard-24/wide/initial/model.safetensors"));
        snprintf(one, sizeof one, "out-%s-24/wide/model.safetensors", names[i]);
        assert_false(same_bytes(one, "out-standard-24/wide/model.safetensors"));
        train_on(result, names[i]);
        assert_true(same_bytes(one, "on/model.safetensors"));
        snprintf(other, sizeof other, "out-%s-24/wide/optimizer.safetensors", names[i]);
        assert_true(same_bytes(other, "on/optimizer.safetensors"));
        memory_free(result);
    }
    assert_true(same_bytes("out-mup-24/wide/model.safetensors", "out-completep-24/wide/model.safetensors"));
    test_directory_remove(place);
}

/* Sent as soon as it tells that it trains; should it have ended by then, there is nothing to go on with. */
static int interrupt_recipe(const char *from, const char *out)
{
    char recipe[FILE_PATH_BYTES], checkpoint[FILE_PATH_BYTES], data[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct process process;
    const char *const arguments[] = {process_lag(), "train", "--checkpoint", test_path(checkpoint, place, from), "--recipe",
                                     test_path(recipe, place, "recipe.json"), "--data", test_path(data, place, "train.txt"),
                                     "--valid-tokens", "200", "--out", test_path(to, place, out), NULL};
    process_start(&process, arguments, NULL);
    process_read_until(&process, PROCESS_ERR, "training loss");
    process_signal(&process, SIGINT);
    process_wait(&process);
    const int code = process.exit_code;
    if (code == 130)
        assert_contains(process.text[PROCESS_ERR], "To go on: the same command with --checkpoint");
    process_free(&process);
    return code;
}

/* The base of the laws is the recipe's, wherever the run stopped. */
static void an_interrupted_recipe_goes_on_with_the_same_recipe(void **state)
{
    (void)state;
    begin();
    char *result = run_study(WIDE, "mup", 12);
    write_recipe(result);
    memory_free(result);
    train_by_recipe("out-mup-12/wide", "24", "whole", 0, "");
    train_by_recipe("out-mup-12/wide", "17", "part", 0, "");
    train_by_recipe("part", "24", "rest", 0, "");
    assert_true(same_bytes("whole/model.safetensors", "rest/model.safetensors"));
    assert_true(same_bytes("whole/optimizer.safetensors", "rest/optimizer.safetensors"));
    assert_true(same_bytes("whole/lag_report.json", "rest/lag_report.json"));
    train_by_recipe("out-mup-12/wide", "1000", "end", 0, "");
    const int code = interrupt_recipe("out-mup-12/wide", "stopped");
    assert_true(code == 130 || code == 0);
    if (code == 130)
        train_by_recipe("stopped", "1000", "stopped", 0, "");
    assert_true(same_bytes("end/model.safetensors", "stopped/model.safetensors"));
    assert_true(same_bytes("end/optimizer.safetensors", "stopped/optimizer.safetensors"));
    test_directory_remove(place);
}

/* A study in two stages whose winner is trained on to `steps`; into PLACE/out. The result's text. */
static char *run_stages(const char *parametrization, int steps, const char *out)
{
    char training[256], more[128], file[FILE_PATH_BYTES], study_name[64], store[64];
    snprintf(training, sizeof training, "{\"batch\": 4, \"context\": 16, \"learning_rate\": 0.01, \"average\": {\"kind\": "
             "\"none\"}, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}, \"parametrization\": \"%s\"}",
             parametrization);
    snprintf(more, sizeof more, ", \"stages\": [{\"layers\": 3, \"steps\": 20}, {\"layers\": 4, \"steps\": %d}]", steps);
    snprintf(study_name, sizeof study_name, "%s.json", out);
    snprintf(store, sizeof store, "store-%s", out);
    const struct tiny_study study = {.candidates = "[{\"name\": \"stack\", \"operators\": [{\"op\": \"stack\"}]}]",
                                     .training = training, .selection = "{\"k\": 12, \"valid_tokens\": 500}", .more = more};
    tiny_study_json(test_path(file, place, study_name), &study);
    return lag_run_result(&(struct lag_run){.place = place, .study = study_name, .store = store, .out = out});
}

/* The ratio of depths is 2 in the second stage, not 4/3: the recipe says so, and goes on with it as the study itself does. */
static void stages_share_the_base_of_the_study(void **state)
{
    (void)state;
    begin();
    char *result = run_stages("completep", 20, "staged");
    cJSON *json = cJSON_Parse(result);
    const cJSON *recipe = cJSON_GetObjectItemCaseSensitive(json, "recipe"), *law;
    const cJSON *base = cJSON_GetObjectItemCaseSensitive(recipe, "base");
    int seen = 0;
    assert_int_equal(cJSON_GetObjectItemCaseSensitive(base, "layers")->valueint, 2);
    cJSON_ArrayForEach(law, cJSON_GetObjectItemCaseSensitive(recipe, "laws")) {
        if (strcmp(cJSON_GetObjectItemCaseSensitive(law, "tensors")->valuestring, "h.*.attn.c_proj.weight") != 0)
            continue;
        assert_true(cJSON_GetObjectItemCaseSensitive(law, "rate")->valuedouble == 0.5);
        seen++;
    }
    assert_int_equal(seen, 1);
    cJSON_Delete(json);
    write_recipe(result);
    memory_free(result);
    memory_free(run_stages("completep", 30, "longer"));
    memory_free(run_stages("standard", 20, "plain"));
    train_by_recipe("staged/stack", "30", "on", 0, "");
    assert_true(same_bytes("longer/stack/model.safetensors", "on/model.safetensors"));
    assert_true(same_bytes("longer/stack/optimizer.safetensors", "on/optimizer.safetensors"));
    assert_false(same_bytes("plain/stack/model.safetensors", "staged/stack/model.safetensors"));
    test_directory_remove(place);
}

static void a_recipe_refuses_what_another_run_saved(void **state)
{
    (void)state;
    char base[FILE_PATH_BYTES], data[FILE_PATH_BYTES], other[FILE_PATH_BYTES], report[FILE_PATH_BYTES];
    struct process process;
    size_t length;
    begin();
    char *result = run_study(WIDE, "mup", 12);
    write_recipe(result);
    memory_free(result);
    train_by_recipe("base", "24", "on", 2, "give the directory that the recipe came with");
    train_by_recipe("out-mup-12/wide", "17", "part", 0, "");
    char *text = test_read_file(test_path(report, place, "part/lag_report.json"), &length);
    char *cursor = strstr(text, "\"data_cursor\":17");
    assert_non_null(cursor);
    memcpy(cursor, "\"data_cursor\":18", strlen("\"data_cursor\":18"));
    test_write_file(report, text, length);
    memory_free(text);
    train_by_recipe("part", "24", "on", 2, "of another run: its data cursor is 18");
    const char *const arguments[] = {process_lag(), "train", "--checkpoint", test_path(base, place, "base"), "--data",
                                     test_path(data, place, "train.txt"), "--steps", "15", "--batch", "2", "--context", "16",
                                     "--out", test_path(other, place, "other"), NULL};
    process_run(&process, arguments, NULL);
    assert_exit(&process, 0);
    process_free(&process);
    train_by_recipe("other", "24", "on", 2, "of another run");
    test_directory_remove(place);
}

static void new_blocks_are_drawn_by_the_parametrization(void **state)
{
    (void)state;
    begin();
    memory_free(run_study(WIDE_AND_DEEP, "standard", 4));
    memory_free(run_study(WIDE_AND_DEEP, "mup", 4));
    memory_free(run_study(WIDE_AND_DEEP, "completep", 4));
    assert_false(same_bytes("out-mup-4/wide/initial/model.safetensors", "out-standard-4/wide/initial/model.safetensors"));
    assert_false(same_bytes("out-mup-4/wide/initial/model.safetensors", "out-completep-4/wide/initial/model.safetensors"));
    test_directory_remove(place);
}

/* ---- lag coordcheck ---- */

static void coordcheck(struct process *process, const char *const *flags)
{
    const char *arguments[24] = {process_lag(), "coordcheck"};
    int count = 2;
    for (; *flags != NULL; flags++)
        arguments[count++] = *flags;
    process_run(process, arguments, NULL);
}
#define COORDCHECK(process, ...) coordcheck(process, (const char *const[]){__VA_ARGS__, NULL})

static void coordcheck_shows_a_table_a_plot_and_json(void **state)
{
    (void)state;
    char base[FILE_PATH_BYTES], plot[FILE_PATH_BYTES], config[FILE_PATH_BYTES];
    struct process process, again;
    begin();
    test_path(base, place, "base"), test_path(plot, place, "check.svg"), test_path(config, base, "config.json");
    COORDCHECK(&process, "--checkpoint", base, "--parametrization", "standard,mup", "--widths", "16,32,64,128,256,512",
               "--steps", "2", "--seeds", "1", "--out", plot);
    assert_exit(&process, 0);
    const char *text = process.text[PROCESS_OUT];
    assert_contains(text, "standard fails over width");
    assert_contains(text, "mup, width");
    assert_contains(process.text[PROCESS_ERR], "mup over 6 widths (2 of 2)");
    for (const char *line = text; *line != '\0'; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        assert_in_range(strcspn(line, "\n"), 0, 80);
    char *svg = test_read_file(plot, NULL);
    assert_true(strncmp(svg, "<svg", 4) == 0);
    assert_contains(svg, "standard over width: fails");
    assert_contains(svg, "</svg>");
    memory_free(svg);
    process_free(&process);
    COORDCHECK(&process, "--shape", config, "--depths", "2,4", "--steps", "2", "--seeds", "1", "--json");
    COORDCHECK(&again, "--shape", config, "--depths", "2,4", "--steps", "2", "--seeds", "1", "--json");
    assert_exit(&process, 0);
    assert_string_equal(process.text[PROCESS_OUT], again.text[PROCESS_OUT]);
    cJSON *json = cJSON_Parse(process.text[PROCESS_OUT]);
    const cJSON *checks = cJSON_GetObjectItemCaseSensitive(json, "checks");
    assert_int_equal(cJSON_GetArraySize(checks), 4);
    assert_string_equal(cJSON_GetObjectItemCaseSensitive(checks->child, "axis")->valuestring, "depth");
    cJSON_Delete(json);
    process_free(&process);
    process_free(&again);
    test_directory_remove(place);
}

static void coordcheck_refuses_what_makes_no_sense(void **state)
{
    (void)state;
    char base[FILE_PATH_BYTES];
    begin();
    test_path(base, place, "base");
    const struct { const char *flag, *value, *says; } cases[] = {
        {"--widths", "16", "from 2 to 12 sizes"},         {"--widths", "16,20", "must stay whole numbers"},
        {"--widths", "32,16", "Sizes must rise"},         {"--widths", "16,x", "whole numbers with commas"},
        {"--parametrization", "mu", "standard, mup"},     {"--optimizer", "lion", "adamw or sgd"},
        {"--learning-rate", "-1", "a number above 0"},    {"--steps", "1", "2"},
        {"--parametrization", "mup,ntp,mup", "mup twice"}, {"--out", "nowhere/check.svg", "a directory that is there"},
        {"--out", "/", "the plot is a file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct process process;
        COORDCHECK(&process, "--checkpoint", base, cases[i].flag, cases[i].value);
        assert_exit(&process, 2);
        assert_contains(process.text[PROCESS_ERR], cases[i].says);
        process_free(&process);
    }
    struct process process;
    COORDCHECK(&process, "--steps", "3");
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "--shape config.json or --checkpoint DIR");
    process_free(&process);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(studies_start_alike_and_recipes_go_on_bit_for_bit),
          cmocka_unit_test(an_interrupted_recipe_goes_on_with_the_same_recipe),
          cmocka_unit_test(a_recipe_refuses_what_another_run_saved),
          cmocka_unit_test(stages_share_the_base_of_the_study),
          cmocka_unit_test(new_blocks_are_drawn_by_the_parametrization),
          cmocka_unit_test(coordcheck_shows_a_table_a_plot_and_json), cmocka_unit_test(coordcheck_refuses_what_makes_no_sense))
