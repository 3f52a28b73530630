/* Parametrizations through the binary: a study starts from the same function under each, trains by other laws, and its recipe
 * goes on bit for bit; and lag coordcheck as a table of 80 columns, JSON and a plot. */
#include "tests/support/support.h"

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

static void train_on(const char *result, const char *parametrization)
{
    char recipe[FILE_PATH_BYTES], winner[FILE_PATH_BYTES], data[FILE_PATH_BYTES], on[FILE_PATH_BYTES], name[64];
    cJSON *json = cJSON_Parse(result);
    char *text = cJSON_Print(cJSON_GetObjectItemCaseSensitive(json, "recipe"));
    struct process process;
    test_write_file(test_path(recipe, place, "recipe.json"), text, strlen(text));
    snprintf(name, sizeof name, "out-%s-12/wide", parametrization);
    const char *const arguments[] = {process_lag(), "train", "--checkpoint", test_path(winner, place, name), "--recipe", recipe,
                                     "--data", test_path(data, place, "train.txt"), "--steps", "24", "--valid-tokens", "200",
                                     "--out", test_path(on, place, "on"), NULL};
    process_run(&process, arguments, NULL);
    assert_exit(&process, 0);
    process_free(&process);
    cJSON_free(text);
    cJSON_Delete(json);
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
        {"--learning-rate", "-1", "a positive number"},   {"--steps", "1", "2"},
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
          cmocka_unit_test(new_blocks_are_drawn_by_the_parametrization),
          cmocka_unit_test(coordcheck_shows_a_table_a_plot_and_json), cmocka_unit_test(coordcheck_refuses_what_makes_no_sense))
