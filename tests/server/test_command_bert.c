/* The commands on a bert model with masked language modelling: train, eval, run, logits; bytes with a mask token above them. */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/safetensors.h"
#include "tests/support/lag_run.h"

static const char CONFIG[] =
    "{\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"hidden_size\": 24, \"num_attention_heads\": 3, "
    "\"intermediate_size\": 40, \"max_position_embeddings\": 20, \"vocab_size\": 260}";
static const char DATA[] = "{\"train\": \"train.txt\", \"valid\": \"valid.txt\", \"format\": \"bytes\", \"objective\": "
                           "\"mlm\", \"mask_token\": 256, \"special_tokens\": [10, 257]}";
static const char STUDY[] =
    "{\"checkpoint\": \"base\", \"data\": {\"train\": \"train.txt\", \"valid\": \"valid.txt\", \"mask_token\": 256, "
    "\"special_tokens\": [10, 257]}, \"candidates\": ["
    "{\"name\": \"stack\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]}, "
    "{\"name\": \"identity\", \"operators\": [{\"op\": \"identity\", \"layers\": 4}], \"moments\": \"carry\"}, "
    "{\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 48}]}], "
    "\"training\": {\"batch\": 4, \"context\": 16, \"steps\": 1000, \"schedule\": {\"warmup_steps\": 5}, \"seed\": 6}, "
    "\"selection\": {\"k\": 20, \"valid_tokens\": 1000}, \"keep\": \"all\"}";

static void write_text(const char *place, const char *name, const char *text)
{
    char path[FILE_PATH_BYTES];
    test_write_file(test_path(path, place, name), text, strlen(text));
}

static int place_setup(void **state)
{
    char path[FILE_PATH_BYTES];
    test_directory_setup(state);
    tiny_text_write(test_path(path, *state, "train.txt"), 6000, 1);
    tiny_text_write(test_path(path, *state, "valid.txt"), 1500, 2);
    write_text(*state, "config.json", CONFIG);
    write_text(*state, "data.json", DATA);
    write_text(*state, "study.json", STUDY);
    return 0;
}

#define AT_A_PLACE(test) cmocka_unit_test_setup_teardown(test, place_setup, test_directory_teardown)

/* Runs `lag` with arguments; those that begin with "@" name something at the place. */
static char *lag(const char *place, int exit_code, const char *const *arguments)
{
    char paths[8][FILE_PATH_BYTES];
    const char *words[24] = {process_lag()};
    struct process process;
    int count = 1, used = 0;
    for (; *arguments != NULL; arguments++)
        words[count++] = (*arguments)[0] == '@' ? test_path(paths[used++], place, *arguments + 1) : *arguments;
    process_run(&process, words, NULL);
    assert_exit(&process, exit_code);
    char *text = memory_string(process.text[exit_code == 0 ? PROCESS_OUT : PROCESS_ERR]);
    assert_non_null(text);
    process_free(&process);
    return text;
}

#define LAG(place, exit_code, ...) lag(place, exit_code, (const char *const[]){__VA_ARGS__, NULL})

/* The first number after `"name":`. */
static double number_after(const char *text, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(text, key);
    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

static void make_base(const char *place)
{
    memory_free(LAG(place, 0, "train", "--shape", "@config.json", "--data", "@data.json", "--steps", "30", "--batch", "4",
                    "--context", "16", "--seed", "3", "--out", "@base"));
}

static void eval_reproduces_the_loss_that_train_reports(void **state)
{
    char path[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    make_base(*state);
    char *report = test_read_file(test_path(path, test_path(directory, *state, "base"), "lag_report.json"), NULL);
    char *evaluated = LAG(*state, 0, "eval", "--checkpoint", "@base", "--data", "@valid.txt", "--json");
    char *by_json = LAG(*state, 0, "eval", "--checkpoint", "@base", "--data", "@data.json", "--json");
    char *other = LAG(*state, 0, "eval", "--checkpoint", "@base", "--data", "@valid.txt", "--seed", "4", "--json");
    assert_contains(report, "\"objective\": \"mlm\", \"mask_token\": 256, \"special_tokens\": [10, 257]");
    assert_true(number_after(evaluated, "loss") == number_after(report, "loss"));
    assert_string_equal(by_json, evaluated);
    assert_true(number_after(other, "loss") != number_after(report, "loss"));
    memory_free(report);
    memory_free(evaluated);
    memory_free(by_json);
    memory_free(other);
}

static void assert_same_model(const char *place, const char *a, const char *b)
{
    char path[FILE_PATH_BYTES], directory[FILE_PATH_BYTES];
    size_t first_length, second_length;
    char *first = test_read_file(test_path(path, test_path(directory, place, a), "model.safetensors"), &first_length);
    char *second = test_read_file(test_path(path, test_path(directory, place, b), "model.safetensors"), &second_length);
    assert_int_equal(first_length, second_length);
    assert_memory_equal(first, second, first_length);
    memory_free(first);
    memory_free(second);
}

/* The masks of a step are a function of its number: going on draws those that were to come. */
static void training_that_goes_on_equals_training_at_one_go(void **state)
{
    write_text(*state, "training.json", "{\"batch\": 4, \"context\": 16, \"steps\": 50, \"seed\": 3, \"schedule\": "
               "{\"name\": \"constant\", \"warmup_steps\": 2}}");
    memory_free(LAG(*state, 0, "train", "--shape", "@config.json", "--data", "@data.json", "--steps", "50", "--training",
                    "@training.json", "--out", "@one"));
    write_text(*state, "training.json", "{\"batch\": 4, \"context\": 16, \"steps\": 30, \"seed\": 3, \"schedule\": "
               "{\"name\": \"constant\", \"warmup_steps\": 2}}");
    memory_free(LAG(*state, 0, "train", "--shape", "@config.json", "--data", "@data.json", "--training", "@training.json",
                    "--out", "@half"));
    memory_free(LAG(*state, 0, "train", "--checkpoint", "@half", "--data", "@data.json", "--training", "@training.json",
                    "--steps", "50", "--out", "@rest"));
    assert_same_model(*state, "one", "rest");
}

static void a_study_is_identical_on_one_and_two_workers_and_its_losses_come_again(void **state)
{
    char path[FILE_PATH_BYTES], first[FILE_PATH_BYTES], other[FILE_PATH_BYTES];
    make_base(*state);
    struct lag_run run = {.place = *state, .store = "s1", .out = "o1", .flags = {"--workers", "1"}};
    char *one = lag_run_result(&run);
    run = (struct lag_run){.place = *state, .store = "s2", .out = "o2", .flags = {"--workers", "2"}};
    char *two = lag_run_result(&run);
    assert_identical(one, two);
    assert_same_files(test_path(first, *state, "o1"), test_path(other, *state, "o2"));
    assert_contains(one, "\"objective\": \"mlm\"");
    static const char *const names[] = {"stack", "identity", "wide"};
    for (int i = 0; i < 3; i++) {
        char directory[64], row[64];
        snprintf(directory, sizeof directory, "@o1/%s", names[i]);
        snprintf(row, sizeof row, "\"candidate\": \"%s\", \"state\": \"completed\"", names[i]);
        const char *at = strstr(one, row);
        assert_non_null(at);
        char *evaluated = LAG(*state, 0, "eval", "--checkpoint", directory, "--data", "@valid.txt", "--json");
        assert_near(number_after(evaluated, "loss"), number_after(at, "loss"), 1e-6);
        memory_free(evaluated);
    }
    char *config = test_read_file(test_path(path, first, "wide/config.json"), NULL);
    assert_contains(config, "BertForMaskedLM");
    memory_free(config);
    memory_free(one);
    memory_free(two);
}

static void what_is_missing_is_named(void **state)
{
    make_base(*state);
    char *text = LAG(*state, 2, "train", "--shape", "@config.json", "--data", "@train.txt", "--steps", "3", "--out", "@x");
    assert_contains(text, "mlm needs mask_token");
    memory_free(text);
    text = LAG(*state, 2, "train", "--shape", "@config.json", "--data", "@data.json", "--objective", "causal", "--out", "@x");
    assert_contains(text, "A bert model can not learn the objective causal; use mlm");
    memory_free(text);
    text = LAG(*state, 2, "eval", "--checkpoint", "@base", "--data", "@valid.txt", "--objective", "masked");
    assert_contains(text, "--objective must be causal, mlm, span_corruption or ul2");
    memory_free(text);
    write_text(*state, "study.json", "{\"checkpoint\": \"base\", \"data\": {\"train\": \"train.txt\"}, \"candidates\": "
               "[{\"operators\": [{\"op\": \"stack\", \"layers\": 4}]}]}");
    text = LAG(*state, 2, "run", "@study.json", "--store", "@s");
    assert_contains(text, "/data/mask_token");
    memory_free(text);
}

/* ---- logits ---- */

enum { ROWS = 2, POSITIONS = 6 };

static void write_tokens(const char *place, const char *name, const char *const *parts, const int64_t *const *values)
{
    struct safetensors_writer writer;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    const uint64_t dims[2] = {ROWS, POSITIONS};
    safetensors_writer_init(&writer);
    for (int i = 0; parts[i] != NULL; i++)
        assert_ok(safetensors_writer_add(&writer, parts[i], DTYPE_I64, 2, dims, &error), &error);
    assert_ok(safetensors_writer_begin(&writer, test_path(path, place, name), &error), &error);
    for (int i = 0; parts[i] != NULL; i++)
        assert_ok(safetensors_writer_raw(&writer, values[i], ROWS * POSITIONS * sizeof **values, &error), &error);
    assert_ok(safetensors_writer_commit(&writer, &error), &error);
    safetensors_writer_fini(&writer);
}

static float *read_logits(const char *place, const char *name)
{
    struct safetensors file;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    float *logits = memory_array(ROWS * POSITIONS * 260, sizeof *logits);
    assert_non_null(logits);
    assert_ok(safetensors_open(&file, test_path(path, place, name), 0, &error), &error);
    const struct safetensors_entry *entry = safetensors_find(&file, "logits");
    assert_true(entry != NULL && entry->dims[0] == ROWS && entry->dims[1] == POSITIONS && entry->dims[2] == 260);
    assert_ok(safetensors_read_floats(&file, entry, 0, ROWS * POSITIONS * 260, logits, &error), &error);
    safetensors_close(&file);
    return logits;
}

static void logits_read_types_and_masks(void **state)
{
    static const int64_t ids[] = {65, 66, 256, 67, 68, 69, 70, 71, 72, 256, 73, 74};
    static const int64_t ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, padded[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0};
    static const int64_t zeros[ROWS * POSITIONS] = {0}, types[] = {0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1};
    const char *const parts[] = {"input_ids", "attention_mask", "token_type_ids", NULL};
    make_base(*state);
    write_tokens(*state, "plain", (const char *const[]){"input_ids", NULL}, (const int64_t *const[]){ids});
    write_tokens(*state, "same", parts, (const int64_t *const[]){ids, ones, zeros});
    write_tokens(*state, "padded", parts, (const int64_t *const[]){ids, padded, zeros});
    write_tokens(*state, "typed", parts, (const int64_t *const[]){ids, ones, types});
    static const char *const names[] = {"@plain", "@same", "@padded", "@typed"};
    float *logits[4];
    for (int i = 0; i < 4; i++) {
        memory_free(LAG(*state, 0, "logits", "--checkpoint", "@base", "--tokens", names[i], "--out", "@out"));
        logits[i] = read_logits(*state, "out");
    }
    size_t row = POSITIONS * 260;
    assert_memory_equal(logits[0], logits[1], ROWS * row * sizeof(float));
    assert_memory_equal(logits[0], logits[2], row * sizeof(float));
    assert_memory_not_equal(logits[0] + row, logits[2] + row, 260 * sizeof(float));
    assert_memory_not_equal(logits[0], logits[3], 260 * sizeof(float));
    for (int i = 0; i < 4; i++)
        memory_free(logits[i]);
}

static void wrong_token_files_are_refused(void **state)
{
    static const int64_t ids[] = {65, 66, 256, 67, 68, 69, 70, 71, 72, 256, 73, 74}, twos[] = {1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const struct { const char *part, *words; } rows[] = {
        {"attention_mask", "attention_mask[0] is 65"}, {"token_type_ids", "token types are 0 to 1 here"},
        {"decoder_input_ids", "which bert models do not read"},
    };
    make_base(*state);
    for (int i = 0; i < 3; i++) {
        write_tokens(*state, "tokens", (const char *const[]){"input_ids", rows[i].part, NULL},
                     (const int64_t *const[]){ids, ids});
        char *text = LAG(*state, 2, "logits", "--checkpoint", "@base", "--tokens", "@tokens", "--out", "@out");
        assert_contains(text, rows[i].words);
        memory_free(text);
    }
    write_tokens(*state, "tokens", (const char *const[]){"attention_mask", NULL}, (const int64_t *const[]){twos});
    char *text = LAG(*state, 2, "logits", "--checkpoint", "@base", "--tokens", "@tokens", "--out", "@out");
    assert_contains(text, "attention_mask[2] is 2");
    memory_free(text);
}

TEST_MAIN(AT_A_PLACE(eval_reproduces_the_loss_that_train_reports),
          AT_A_PLACE(training_that_goes_on_equals_training_at_one_go),
          AT_A_PLACE(a_study_is_identical_on_one_and_two_workers_and_its_losses_come_again),
          AT_A_PLACE(what_is_missing_is_named), AT_A_PLACE(logits_read_types_and_masks),
          AT_A_PLACE(wrong_token_files_are_refused))
