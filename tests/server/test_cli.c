/* The commands as a user types them: exit codes and messages of wrong usage, the environment's twins, and what the commands
 * promise about each other: training goes on bit for bit, eval and recipe reproduce what a study said. */
#include "tests/support/support.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <cJSON.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "tests/support/lag_run.h"

static char place[FILE_PATH_BYTES];
static char study_path[FILE_PATH_BYTES], base_path[FILE_PATH_BYTES], train_path[FILE_PATH_BYTES];

static int place_make(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    struct tiny_study study = {.data = "{\"train\": \"train.txt\", \"valid\": \"valid.txt\"}",
                               .more = ", \"keep\": \"all\""};
    lag_place_make(place, &study);
    tiny_text_write(test_path(path, place, "valid.txt"), 3000, 9);
    test_path(study_path, place, "study.json");
    test_path(base_path, place, "base");
    test_path(train_path, place, "train.txt");
    return 0;
}

static int place_remove(void **state)
{
    (void)state;
    test_directory_remove(place);
    return 0;
}

/* Runs `lag` with up to 20 arguments, in any case to its end. */
static void lag(struct process *process, const char *const *environment, const char *const *arguments)
{
    const char *all[24] = {process_lag()};
    for (int i = 0; arguments[i]; i++) {
        assert_true(i < 22);
        all[i + 1] = arguments[i];
    }
    process_run(process, all, environment);
}
#define LAG(process, ...) lag(process, NULL, (const char *const[]){__VA_ARGS__, NULL})

static void lag_ok(const char *const *arguments)
{
    struct process process;
    lag(&process, NULL, arguments);
    assert_exit(&process, 0);
    process_free(&process);
}
#define LAG_OK(...) lag_ok((const char *const[]){__VA_ARGS__, NULL})

/* ---- wrong usage */

static void wrong_usage_is_exit_code_2_and_says_what_is_right(void **state)
{
    (void)state;
    char broken[FILE_PATH_BYTES], wrong[FILE_PATH_BYTES];
    struct tiny_study bad = {.training = "{\"batch\": 4, \"contxt\": 16}"};
    test_write_file(test_path(broken, place, "broken.json"), "{\"name\": \"x\",}", 14);
    tiny_study_json(test_path(wrong, place, "wrong.json"), &bad);
    const struct { const char *arguments[8]; const char *pieces[2]; } cases[] = {
        {{"frobnicate"}, {"unknown command \"frobnicate\"", "lag --help"}},
        {{"run", study_path, "--wrokers", "2"}, {"unknown flag --wrokers", "lag run --help"}},
        {{"run", study_path, "--workers"}, {"--workers needs a value", "--workers N"}},
        {{"run", study_path, "--workers", "0"}, {"--workers must be", "from 1 to 256"}},
        {{"run", study_path, "--workers", "two"}, {"--workers must be", "\"two\""}},
        {{"run", study_path, "--memory", "12X"}, {"--memory must be bytes", "\"12X\""}},
        {{"run", study_path, "--json=1"}, {"--json takes no value", ""}},
        {{"run"}, {"usage: lag run STUDY.json", ""}},
        {{"run", "a", "b"}, {"unexpected argument \"b\"", ""}},
        {{"run", "no-such-file.json"}, {"no-such-file.json", "there is no such file"}},
        {{"run", study_path, "--data-root", "/no/such/place"}, {"--data-root /no/such/place", ""}},
        {{"run", broken, "--store", place}, {"broken.json: ", "at byte 13"}},
        {{"run", wrong, "--store", place}, {"/training/contxt", ""}},
        {{"grow", "--checkpoint", base_path, "--out", "x"}, {"--operators", "is missing"}},
        {{"grow", "--checkpoint", base_path, "--operators", "[{\"op\": \"stack\", \"layers\": 1}]", "--out", "x"},
         {"layers", "above"}},
        {{"eval", "--checkpoint", base_path}, {"--data FILE is missing", ""}},
        {{"eval", "--checkpoint", place, "--data", train_path}, {"config.json", ""}},
        {{"train", "--data", train_path, "--out", "x"}, {"--checkpoint", "--shape"}},
        {{"inspect"}, {"usage: lag inspect", ""}},
        {{"check", "/no/such/store"}, {"holds no store", "--store"}},
        {{"replay", "/no/such/curves.json"}, {"/no/such/curves.json: there is no such file", ""}},
        {{"serve", "--tls-cert", "x", "--store", place}, {"TLS", "proxy"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct process process;
        lag(&process, NULL, cases[i].arguments);
        print_message("lag %s %s\n", cases[i].arguments[0], cases[i].arguments[1] ? cases[i].arguments[1] : "");
        assert_exit(&process, 2);
        assert_contains(process.text[PROCESS_ERR], cases[i].pieces[0]);
        assert_contains(process.text[PROCESS_ERR], cases[i].pieces[1]);
        assert_string_equal(process.text[PROCESS_OUT], "");
        process_free(&process);
    }
}

static void help_and_version_are_exit_code_0(void **state)
{
    (void)state;
    static const char *const commands[] = {"serve", "run", "grow", "train", "eval", "logits", "inspect", "operators",
                                           "optimizers", "schedules", "check"};
    struct process process;
    LAG(&process, "--help");
    assert_exit(&process, 0);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        struct process one;
        assert_contains(process.text[PROCESS_OUT], commands[i]);
        LAG(&one, commands[i], "--help");
        assert_exit(&one, 0);
        assert_contains(one.text[PROCESS_OUT], "usage: lag ");
        process_free(&one);
    }
    process_free(&process);
    LAG(&process, "--version");
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "lag 0.");
    process_free(&process);
}

static void flag_goes_before_environment_before_default(void **state)
{
    (void)state;
    char store[FILE_PATH_BYTES], other[FILE_PATH_BYTES], variable[FILE_PATH_BYTES + 16], path[FILE_PATH_BYTES];
    struct process process;
    struct tiny_study study = {.selection = "{\"k\": 1, \"valid_tokens\": 50}"};
    tiny_study_json(test_path(path, place, "short.json"), &study);
    snprintf(variable, sizeof variable, "LAG_STORE=%s", test_path(store, place, "by-variable"));
    const char *const environment[] = {variable, "LAG_WORKERS=1", "LAG_JSON=true", NULL};
    lag(&process, environment, (const char *const[]){"run", path, NULL});
    assert_exit(&process, 0);
    assert_true(file_is_directory(store));
    assert_int_equal(process.text[PROCESS_OUT][0], '{');
    process_free(&process);
    lag(&process, environment, (const char *const[]){"run", path, "--store", test_path(other, place, "by-flag"), NULL});
    assert_exit(&process, 0);
    assert_true(file_is_directory(other));
    process_free(&process);
    lag(&process, (const char *const[]){"LAG_WORKERS=many", NULL}, (const char *const[]){"run", path, "--store", other, NULL});
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "--workers must be");
    process_free(&process);
}

static void configuration_file_is_checked(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES], store[FILE_PATH_BYTES];
    struct process process;
    const struct { const char *text, *piece; } cases[] = {
        {"{\"listn\": \"x\"}", "unknown option \"listn\""},
        {"{\"workers\": \"many\"}", "--workers must be"},
        {"{\"insecure\": 3}", "must be true or false"},
        {"[1]", "--config"},
    };
    test_path(store, place, "config-store");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_write_file(test_path(path, place, "config-file.json"), cases[i].text, strlen(cases[i].text));
        LAG(&process, "serve", "--store", store, "--listen", "127.0.0.1:0", "--config", path);
        assert_exit(&process, 2);
        assert_contains(process.text[PROCESS_ERR], cases[i].piece);
        process_free(&process);
    }
}

static void tables_print_json(void **state)
{
    (void)state;
    static const char *const tables[] = {"operators", "optimizers", "schedules"};
    for (int i = 0; i < 3; i++) {
        struct process process;
        LAG(&process, tables[i], "--json");
        assert_exit(&process, 0);
        cJSON *json = cJSON_Parse(process.text[PROCESS_OUT]);
        assert_true(cJSON_IsArray(json) && cJSON_GetArraySize(json) > 0);
        cJSON_Delete(json);
        process_free(&process);
    }
}

/* ---- training */

static char *at(char path[FILE_PATH_BYTES], const char *name)
{
    return test_path(path, place, name);
}

static void assert_same_bytes(const char *a, const char *b, const char *name)
{
    char left[FILE_PATH_BYTES], right[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    size_t left_length, right_length;
    char *x = test_read_file(test_path(left, at(directory, a), name), &left_length);
    char *y = test_read_file(test_path(right, at(directory, b), name), &right_length);
    assert_int_equal(left_length, right_length);
    assert_memory_equal(x, y, left_length);
    memory_free(x);
    memory_free(y);
}

static const char settings[] = "{\"batch\": 4, \"context\": 16, \"steps\": 600, \"learning_rate\": 0.01,"
                               " \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}}";

static void expect_two_pieces_to_be_one(const char *training)
{
    char shape[FILE_PATH_BYTES], file[FILE_PATH_BYTES], one[FILE_PATH_BYTES], half[FILE_PATH_BYTES], two[FILE_PATH_BYTES];
    test_path(shape, base_path, "config.json");
    test_write_file(at(file, "training.json"), training, strlen(training));
    at(one, "one"), at(half, "half"), at(two, "two");
    LAG_OK("train", "--shape", shape, "--data", train_path, "--training", file, "--valid-tokens", "200", "--steps", "20",
           "--out", one);
    LAG_OK("train", "--shape", shape, "--data", train_path, "--training", file, "--valid-tokens", "200", "--steps", "10",
           "--out", half);
    LAG_OK("train", "--checkpoint", half, "--data", train_path, "--training", file, "--valid-tokens", "200", "--steps", "20",
           "--out", two);
    assert_same_bytes("one", "two", "model.safetensors");
    assert_same_bytes("one", "two", "optimizer.safetensors");
    assert_same_bytes("one", "two", "lag_report.json");
}

static void training_in_two_pieces_is_training_in_one(void **state)
{
    (void)state;
    static const char *const others[] = {
        "\"optimizer\": {\"name\": \"schedule_free_adamw\", \"decoupling\": 50}, \"schedule\": {\"warmup_steps\": 5}",
        "\"optimizer\": {\"name\": \"schedule_free_sgd\"}, \"schedule\": {\"warmup_steps\": 5}",
        "\"optimizer\": {\"name\": \"sgd\", \"nesterov\": true}, \"schedule\": {\"name\": \"inverse_sqrt\", \"warmup_steps\": 5}",
        "\"schedule\": {\"name\": \"power\", \"maximum\": 0.01, \"a\": 0.4, \"warmup_steps\": 5, \"decay_steps\": 0}",
    };
    expect_two_pieces_to_be_one(settings);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char training[512];
        snprintf(training, sizeof training, "{\"batch\": 4, \"context\": 16, \"steps\": 600, %s}", others[i]);
        expect_two_pieces_to_be_one(training);
    }
}

static void interrupted_training_goes_on_bit_for_bit(void **state)
{
    (void)state;
    char file[FILE_PATH_BYTES], one[FILE_PATH_BYTES], two[FILE_PATH_BYTES];
    struct process process;
    test_write_file(at(file, "training.json"), settings, strlen(settings));
    at(one, "whole"), at(two, "cut");
    LAG_OK("train", "--checkpoint", base_path, "--data", train_path, "--training", file, "--valid-tokens", "200", "--out", one);
    process_start(&process, (const char *const[]){process_lag(), "train", "--checkpoint", base_path, "--data", train_path,
                                                  "--training", file, "--valid-tokens", "200", "--out", two, NULL}, NULL);
    assert_true(process_read_until(&process, PROCESS_ERR, "step 4 of 600"));
    process_signal(&process, SIGINT);
    process_wait(&process);
    assert_exit(&process, 130);
    assert_contains(process.text[PROCESS_ERR], "interrupted; everything is saved");
    process_free(&process);
    LAG_OK("train", "--checkpoint", two, "--data", train_path, "--training", file, "--valid-tokens", "200", "--out", two);
    assert_same_bytes("whole", "cut", "model.safetensors");
    assert_same_bytes("whole", "cut", "optimizer.safetensors");
}

/* ---- a study's files, used by the other commands */

static double member(const char *text, const char *name)
{
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    double value = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(json, name));
    cJSON_Delete(json);
    return value;
}

static void eval_of_kept_files_gives_the_loss_that_was_reported(const char *result)
{
    char valid[FILE_PATH_BYTES];
    cJSON *json = cJSON_Parse(result);
    const cJSON *row;
    int count = 0;
    at(valid, "valid.txt");
    cJSON_ArrayForEach(row, cJSON_GetObjectItemCaseSensitive(json, "ranking")) {
        char name[128], directory[FILE_PATH_BYTES];
        struct process process;
        snprintf(name, sizeof name, "study-out/%s", cJSON_GetObjectItemCaseSensitive(row, "candidate")->valuestring);
        LAG(&process, "eval", "--checkpoint", at(directory, name), "--data", valid, "--json");
        assert_exit(&process, 0);
        assert_near(member(process.text[PROCESS_OUT], "loss"),
                    cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(row, "loss")), 1e-5);
        process_free(&process);
        count++;
    }
    assert_int_equal(count, 4);
    cJSON_Delete(json);
}

/* Grown by `lag grow`, trained by `lag train` without a stop: the same weights as the study's winner, continued. */
static void recipe_continues_the_winner_bit_for_bit(const char *result)
{
    char recipe[FILE_PATH_BYTES], winner[FILE_PATH_BYTES], on[FILE_PATH_BYTES], grown[FILE_PATH_BYTES], file[FILE_PATH_BYTES];
    char whole[FILE_PATH_BYTES], valid[FILE_PATH_BYTES], name[128];
    struct process process;
    cJSON *json = cJSON_Parse(result);
    const char *choice = cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "choice"),
                                                          "candidate")->valuestring;
    char *text = cJSON_Print(cJSON_GetObjectItemCaseSensitive(json, "recipe"));
    assert_string_equal(choice, "identity");
    test_write_file(at(recipe, "recipe.json"), text, strlen(text));
    snprintf(name, sizeof name, "study-out/%s", choice);
    at(winner, name), at(on, "on"), at(grown, "grown"), at(whole, "uncut");
    at(valid, "valid.txt");
    LAG(&process, "train", "--checkpoint", winner, "--recipe", recipe, "--data", train_path, "--steps", "80", "--out", on);
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "give it with --valid");
    process_free(&process);
    LAG_OK("train", "--checkpoint", winner, "--recipe", recipe, "--data", train_path, "--valid", valid, "--valid-tokens", "200",
           "--steps", "80", "--out", on);
    LAG_OK("grow", "--checkpoint", base_path, "--operators", "[{\"op\": \"identity\", \"layers\": 4}]", "--out", grown);
    test_write_file(at(file, "training.json"), tiny_training, strlen(tiny_training));
    LAG_OK("train", "--checkpoint", grown, "--training", file, "--data", train_path, "--valid", valid,
           "--valid-tokens", "200", "--steps", "80", "--out", whole);
    assert_same_bytes("study-out/identity/initial", "grown", "model.safetensors");
    assert_same_bytes("on", "uncut", "model.safetensors");
    assert_same_bytes("on", "uncut", "optimizer.safetensors");
    cJSON_free(text);
    cJSON_Delete(json);
}

static void study_files_serve_eval_and_train(void **state)
{
    (void)state;
    char *result = lag_run_result(&(struct lag_run){.place = place, .store = "study-store", .out = "study-out"});
    eval_of_kept_files_gives_the_loss_that_was_reported(result);
    recipe_continues_the_winner_bit_for_bit(result);
    memory_free(result);
}

static void grow_inspect_and_check_work_together(void **state)
{
    (void)state;
    char grown[FILE_PATH_BYTES];
    struct process process;
    LAG(&process, "grow", "--checkpoint", base_path, "--operators", "[{\"op\": \"identity\", \"layers\": 3}]", "--check",
        "--json", "--out", at(grown, "three"));
    assert_exit(&process, 0);
    assert_near(member(process.text[PROCESS_OUT], "preservation"), 0, 1e-4);
    process_free(&process);
    LAG(&process, "inspect", grown);
    assert_exit(&process, 0);
    assert_contains(process.text[PROCESS_OUT], "h.2.mlp.c_proj.weight");
    process_free(&process);
}

static void a_limit_of_the_file_size_is_told_as_an_error_not_a_death(void **state)
{
    (void)state;
    char grown[FILE_PATH_BYTES];
    struct process process;
    const char *const arguments[] = {     /* 2 blocks of 512 or 1024 bytes */
        "/bin/sh", "-c", "ulimit -f 2; exec \"$0\" grow --checkpoint \"$1\" --operators \"$2\" --out \"$3\"", process_lag(),
        base_path, "[{\"op\": \"hyperclone\", \"width\": 64}]", at(grown, "limited"), NULL};
    process_run(&process, arguments, NULL);
    assert_exit(&process, 1);
    assert_contains(process.text[PROCESS_ERR], "File too large");
    process_free(&process);
}

static void errors_of_grow_point_into_its_list_of_operators(void **state)
{
    (void)state;
    struct process process;
    LAG(&process, "grow", "--checkpoint", base_path, "--operators", "[{\"op\": \"stack\", \"layers\": 4.5}]", "--out", "x");
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "/operators/0/layers: ");
    process_free(&process);
    char fuse[FILE_PATH_BYTES + 128];
    snprintf(fuse, sizeof fuse, "[{\"op\": \"fuse\", \"with\": \"%s\", \"content\": \"00\"}]", base_path);
    LAG(&process, "grow", "--checkpoint", base_path, "--operators", fuse, "--out", "x");
    assert_exit(&process, 2);
    assert_contains(process.text[PROCESS_ERR], "/operators/0/content: ");
    process_free(&process);
}

static void rounding_to_a_file_of_16_bits_is_reported_apart(void **state)
{
    (void)state;
    char half[FILE_PATH_BYTES], grown[FILE_PATH_BYTES];
    struct process process;
    struct checkpoint base;
    struct error error = {0};
    const struct checkpoint_save as_half = {.dtype_given = true, .dtype = DTYPE_BF16};
    assert_ok(checkpoint_load(&base, base_path, &(struct checkpoint_load){0}, &error), &error);
    assert_ok(checkpoint_save(&base, at(half, "in-16-bits"), &as_half, &error), &error);
    checkpoint_fini(&base);
    LAG(&process, "grow", "--checkpoint", half, "--operators", "[{\"op\": \"hyperclone\", \"width\": 32}]", "--check",
        "--json", "--out", at(grown, "grown-in-16-bits"));
    assert_exit(&process, 0);
    const double exact = member(process.text[PROCESS_OUT], "preservation");
    const double rounded = member(process.text[PROCESS_OUT], "preservation_in_files");
    assert_true(exact <= 1e-4 && rounded > 10 * exact && rounded < 0.5);
    process_free(&process);
}

/* ---- Ctrl-C */

static void run_cut_by_ctrl_c_goes_on_with_the_line_it_printed(void **state)
{
    (void)state;
    char spaced[FILE_PATH_BYTES], file[FILE_PATH_BYTES], line[FILE_PATH_BYTES];
    struct process process;
    struct tiny_study study = {.selection = "{\"max_k\": 300, \"valid_tokens\": 500}", .name = "cut"};
    struct error error = {0};
    tiny_study_json(at(file, "cut.json"), &study);
    char *reference = lag_run_result(&(struct lag_run){.place = place, .store = "cut-reference", .study = "cut.json"});
    at(spaced, "a store's place");
    for (int i = 0; i < 2; i++) {
        process_start(&process, (const char *const[]){process_lag(), "run", file, "--json", "--store", spaced, "--workers", "1",
                                                      NULL}, NULL);
        assert_true(process_read_until(&process, PROCESS_ERR, i ? "step 73:" : "step 51:"));
        process_signal(&process, i ? SIGTERM : SIGINT);
        process_wait(&process);
        assert_exit(&process, 130);
        assert_string_equal(process.text[PROCESS_OUT], "");
        if (i == 0)
            process_free(&process);
    }
    const char *printed = strstr(process.text[PROCESS_ERR], "To go on:\n  lag ");
    assert_non_null(printed);
    snprintf(line, sizeof line, "%s %s", process_lag(), printed + strlen("To go on:\n  lag "));
    process_free(&process);
    process_run(&process, (const char *const[]){"/bin/sh", "-c", line, NULL}, NULL);
    assert_exit(&process, 0);
    assert_identical(reference, process.text[PROCESS_OUT]);
    process_free(&process);
    memory_free(reference);
    assert_ok(file_remove_tree(spaced, &error), &error);
}

static void second_run_on_a_busy_store_is_refused(void **state)
{
    (void)state;
    char file[FILE_PATH_BYTES], store[FILE_PATH_BYTES], number[32];
    struct process first, second;
    struct tiny_study study = {.selection = "{\"max_k\": 900, \"valid_tokens\": 500}", .name = "busy"};
    tiny_study_json(at(file, "busy.json"), &study);
    at(store, "busy-store");
    process_start(&first, (const char *const[]){process_lag(), "run", file, "--store", store, NULL}, NULL);
    assert_true(process_read_until(&first, PROCESS_ERR, "step 51:"));
    LAG(&second, "run", file, "--store", store);
    assert_exit(&second, 1);
    snprintf(number, sizeof number, "process %ld", (long)first.pid);
    assert_contains(second.text[PROCESS_ERR], number);
    process_signal(&first, SIGTERM);
    process_wait(&first);
    process_free(&first);
    process_free(&second);
}

static void all_diverged_is_exit_code_1_with_advice(void **state)
{
    (void)state;
    struct tiny_study study = {.training = "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"learning_rate\": 100,"
                                           " \"clip\": 0, \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 1}}"};
    char file[FILE_PATH_BYTES];
    struct process process;
    tiny_study_json(at(file, "wild.json"), &study);
    for (int i = 0; i < 2; i++) {        /* asked again it says the same */
        lag_run(&process, &(struct lag_run){.place = place, .store = "wild-store", .study = "wild.json"});
        assert_exit(&process, 1);
        assert_contains(process.text[PROCESS_ERR], "lower training.learning_rate");
        assert_contains(process.text[PROCESS_OUT], "\"state\": \"failed\"");
        assert_contains(process.text[PROCESS_OUT], "\"state\": \"diverged\"");
        process_free(&process);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage_is_exit_code_2_and_says_what_is_right),
        cmocka_unit_test(help_and_version_are_exit_code_0),
        cmocka_unit_test(flag_goes_before_environment_before_default),
        cmocka_unit_test(configuration_file_is_checked),
        cmocka_unit_test(tables_print_json),
        cmocka_unit_test(training_in_two_pieces_is_training_in_one),
        cmocka_unit_test(interrupted_training_goes_on_bit_for_bit),
        cmocka_unit_test(study_files_serve_eval_and_train),
        cmocka_unit_test(grow_inspect_and_check_work_together),
        cmocka_unit_test(a_limit_of_the_file_size_is_told_as_an_error_not_a_death),
        cmocka_unit_test(errors_of_grow_point_into_its_list_of_operators),
        cmocka_unit_test(rounding_to_a_file_of_16_bits_is_reported_apart),
        cmocka_unit_test(run_cut_by_ctrl_c_goes_on_with_the_line_it_printed),
        cmocka_unit_test(second_run_on_a_busy_store_is_refused),
        cmocka_unit_test(all_diverged_is_exit_code_1_with_advice),
    };
    return cmocka_run_group_tests(tests, place_make, place_remove);
}
