/* A study end to end for every family and objective: it succeeds, the candidates learn, what is promised to be preserved
 * is, and `lag eval` on the files of each candidate gives the loss that was reported. Training that computes activations
 * again writes the same files. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include <cJSON.h>

#include "tests/server/family_places.h"

static void check_candidate(const char *place, const cJSON *row)
{
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(row, "candidate"));
    char directory[64];
    assert_non_null(name);
    snprintf(directory, sizeof directory, "@out/%s", name);
    char *text = LAG(place, "eval", "--checkpoint", directory, "--data", "@valid.txt", "--json");
    cJSON *evaluated = cJSON_Parse(text);
    const double loss = number_of(row, "loss");
    print_message("    %s: loss %.4f, %.4f at step 0, preservation %.1e\n", name, loss, number_of(row, "loss_at_0"),
                  number_of(row, "preservation"));
    assert_true(isfinite(loss) && loss < number_of(row, "loss_at_0") - 0.2);
    assert_near(number_of(evaluated, "loss"), loss, 1e-5);
    if (strcmp(name, "wide") == 0)
        assert_close(number_of(row, "preservation"), 1e-4);
    cJSON_Delete(evaluated);
    memory_free(text);
}

static void studies_succeed_and_eval_reproduces_their_losses(void **state)
{
    (void)state;
    for (int i = 0; i < CASES; i++) {
        char place[FILE_PATH_BYTES], objective[64];
        print_message("  %s\n", cases[i].title);
        place_make(place, &cases[i]);
        struct lag_run run = {.place = place, .out = "out"};
        char *text = lag_run_result(&run);
        cJSON *result = cJSON_Parse(text);
        const cJSON *row, *ranking = cJSON_GetObjectItemCaseSensitive(result, "ranking");
        assert_contains(text, "\"state\": \"succeeded\"");
        snprintf(objective, sizeof objective, "\"objective\": \"%s\"", cases[i].objective);
        assert_contains(text, objective);
        assert_int_equal(cJSON_GetArraySize(ranking), 2);
        cJSON_ArrayForEach(row, ranking)
            check_candidate(place, row);
        lag_check_clean(place, NULL);
        cJSON_Delete(result);
        memory_free(text);
        test_directory_remove(place);
    }
}

static void train_with_and_without_recompute_writes_the_same_files(void **state)
{
    (void)state;
    static const char *const training[] = {
        "{\"batch\": 4, \"context\": 16, \"steps\": 8, \"recompute\": false}",
        "{\"batch\": 4, \"context\": 16, \"steps\": 8, \"recompute\": true}",
    };
    for (int i = 0; i < CASES; i++) {
        char place[FILE_PATH_BYTES], kept[FILE_PATH_BYTES], again[FILE_PATH_BYTES];
        place_make(place, &cases[i]);
        write_text(place, "kept.json", training[0]);
        write_text(place, "again.json", training[1]);
        memory_free(LAG(place, "train", "--shape", "@config.json", "--data", "@data.json", "--training", "@kept.json",
                        "--out", "@kept"));
        memory_free(LAG(place, "train", "--shape", "@config.json", "--data", "@data.json", "--training", "@again.json",
                        "--out", "@again"));
        assert_same_files(test_path(kept, place, "kept"), test_path(again, place, "again"));
        test_directory_remove(place);
    }
}

/* The echo and the recipe say so, and nothing else of a result differs. */
static void a_study_with_recompute_has_the_same_result(void **state)
{
    (void)state;
    char place[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    static const char *const names[] = {"deep/model.safetensors", "deep/optimizer.safetensors", "wide/model.safetensors",
                                        "wide/optimizer.safetensors", "curves.csv"};
    place_make(place, &cases[0]);
    char *study = test_read_file(test_path(first, place, "study.json"), NULL), changed[2048];
    char *training = strstr(study, "\"training\": {");
    assert_non_null(training);
    training += strlen("\"training\": {");
    snprintf(changed, sizeof changed, "%.*s\"recompute\": true, %s", (int)(training - study), study, training);
    write_text(place, "changed.json", changed);
    struct lag_run run = {.place = place, .store = "s1", .out = "o1"};
    char *kept = lag_run_result(&run);
    run = (struct lag_run){.place = place, .store = "s2", .out = "o2", .study = "changed.json"};
    char *again = lag_run_result(&run);
    assert_contains(kept, "\"recompute\": false");
    assert_contains(again, "\"recompute\": true");
    assert_null(strstr(again, "\"recompute\": false"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t a_length, b_length;
        char directory[FILE_PATH_BYTES];
        char *a = test_read_file(test_path(first, test_path(directory, place, "o1"), names[i]), &a_length);
        char *b = test_read_file(test_path(other, test_path(directory, place, "o2"), names[i]), &b_length);
        assert_int_equal(a_length, b_length);
        assert_memory_equal(a, b, a_length);
        memory_free(a);
        memory_free(b);
    }
    memory_free(study);
    memory_free(kept);
    memory_free(again);
    test_directory_remove(place);
}

TEST_MAIN(cmocka_unit_test(studies_succeed_and_eval_reproduces_their_losses),
          cmocka_unit_test(train_with_and_without_recompute_writes_the_same_files),
          cmocka_unit_test(a_study_with_recompute_has_the_same_result))
