/* Recipes of studies: whatever the optimizer, schedule, parametrization and learners, `lag train --recipe` goes on from step 12
 * of a study's winner to the very weights and state that the study has at step 24. */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include <cJSON.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

static char place[FILE_PATH_BYTES];

/* Runs a study of k steps into PLACE/out-INDEX-k; the result's text. */
static char *run_study(const char *training, int index, int k)
{
    char whole[768], selection[128], file[FILE_PATH_BYTES], names[3][64];
    snprintf(whole, sizeof whole, "{\"batch\": 4, \"context\": 16, \"steps\": 24, \"average\": {\"kind\": \"none\"}, %s}",
             training);
    snprintf(selection, sizeof selection, "{\"k\": %d, \"valid_tokens\": 500}", k);
    snprintf(names[0], sizeof names[0], "study-%d-%d.json", index, k);
    snprintf(names[1], sizeof names[1], "store-%d-%d", index, k);
    snprintf(names[2], sizeof names[2], "out-%d-%d", index, k);
    const struct tiny_study study = {
        .training = whole, .selection = selection,
        .candidates = "[{\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}]}]",
    };
    tiny_study_json(test_path(file, place, names[0]), &study);
    return lag_run_result(&(struct lag_run){.place = place, .study = names[0], .store = names[1], .out = names[2]});
}

static void go_on(const char *result, int index)
{
    char recipe[FILE_PATH_BYTES], winner[FILE_PATH_BYTES], data[FILE_PATH_BYTES], on[FILE_PATH_BYTES], name[64];
    cJSON *json = cJSON_Parse(result);
    char *text = cJSON_Print(cJSON_GetObjectItemCaseSensitive(json, "recipe"));
    struct process process;
    test_write_file(test_path(recipe, place, "recipe.json"), text, strlen(text));
    snprintf(name, sizeof name, "out-%d-12/wide", index);
    const char *const arguments[] = {process_lag(), "train", "--checkpoint", test_path(winner, place, name), "--recipe", recipe,
                                     "--data", test_path(data, place, "train.txt"), "--valid-tokens", "200",
                                     "--out", test_path(on, place, "on"), NULL};
    process_run(&process, arguments, NULL);
    assert_exit(&process, 0);
    process_free(&process);
    cJSON_free(text);
    cJSON_Delete(json);
}

static void assert_same_bytes(const char *one, const char *other)
{
    char path[FILE_PATH_BYTES];
    size_t lengths[2];
    char *a = test_read_file(test_path(path, place, one), &lengths[0]);
    char *b = test_read_file(test_path(path, place, other), &lengths[1]);
    assert_int_equal(lengths[0], lengths[1]);
    assert_memory_equal(a, b, lengths[0]);
    memory_free(a);
    memory_free(b);
}

#define OPTIMIZER(name) "\"optimizer\": {\"name\": \"" name "\""
#define SCHEDULE(name, warmup) "\"schedule\": {\"name\": \"" name "\", \"warmup_steps\": " #warmup
#define PARAMETRIZATION(name) "\"parametrization\": \"" name "\""

static void every_recipe_goes_on_bit_for_bit(void **state)
{
    (void)state;
    static const char *const trainings[] = {
        OPTIMIZER("sgd") ", \"nesterov\": true}, " SCHEDULE("constant", 18) "}",
        OPTIMIZER("schedule_free_adamw") ", \"decoupling\": 4}, " SCHEDULE("constant", 18) "}",
        OPTIMIZER("schedule_free_sgd") ", \"decay_at\": \"z\", \"weight_decay\": 0.1}, " PARAMETRIZATION("mup"),
        SCHEDULE("power", 3) ", \"decay_steps\": 9, \"tokens_seen\": 5000}",
        SCHEDULE("power", 14) ", \"decay_steps\": 5, \"a\": 1, \"b\": -0.6}, " PARAMETRIZATION("completep"),
        SCHEDULE("inverse_sqrt", 5) "}, " OPTIMIZER("sgd") ", \"weight_decay\": 0.01}, " PARAMETRIZATION("ntp"),
        SCHEDULE("linear", 5) "}, " OPTIMIZER("sgd") "}, " PARAMETRIZATION("mup"),
        SCHEDULE("cosine", 5) ", \"minimum\": 0.1}",
        SCHEDULE("wsd", 5) ", \"decay_steps\": 10, \"decay_form\": \"sqrt\"}, " PARAMETRIZATION("completep"),
        SCHEDULE("inverse_sqrt", 5) "}, \"learners\": 2, \"learners_mode\": \"gradients\"",
        SCHEDULE("constant", 5) "}, " OPTIMIZER("sgd") ", \"momentum\": 0}, \"learners\": 2, \"average_every\": 4",
    };
    const struct tiny_study study = {0};
    lag_place_make(place, &study);
    for (int i = 0; i < (int)(sizeof trainings / sizeof *trainings); i++) {
        char file[FILE_PATH_BYTES], model[96], moments[96];
        print_message("  %s\n", trainings[i]);
        char *result = run_study(trainings[i], i, 12);
        memory_free(run_study(trainings[i], i, 24));
        go_on(result, i);
        snprintf(model, sizeof model, "out-%d-24/wide/model.safetensors", i);
        snprintf(moments, sizeof moments, "out-%d-24/wide/optimizer.safetensors", i);
        assert_same_bytes(model, "on/model.safetensors");
        assert_same_bytes(moments, "on/optimizer.safetensors");
        snprintf(model, sizeof model, "out-%d-12/wide/README.md", i);
        size_t length;
        char *card = test_read_file(test_path(file, place, model), &length);
        assert_contains(card, "## To go on");
        assert_contains(card, "```text\nbatches of 4 sequences of 16 tokens;");
        memory_free(card);
        memory_free(result);
    }
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(every_recipe_goes_on_bit_for_bit))
