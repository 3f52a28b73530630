/* Places with a small model of every family and objective beside gpt2, for tests of the binary. Header only. */
#ifndef TESTS_SERVER_FAMILY_PLACES_H
#define TESTS_SERVER_FAMILY_PLACES_H

#include "tests/support/support.h"

#include <string.h>

#include <cJSON.h>

#include "base/memory.h"
#include "tests/support/lag_run.h"

enum { ARGUMENTS_MAX = 16 };

/* Text is bytes; tokens of an objective lie above them. */
#define SIZES "\"vocab_size\": 290, \"num_hidden_layers\": 2, \"hidden_size\": 16, \"num_attention_heads\": 4, " \
    "\"intermediate_size\": 24, \"max_position_embeddings\": 24"
#define GROUPED SIZES ", \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-5"
#define SENTINELS "\"eos_token\": 257, \"sentinel_first\": 289, \"sentinel_count\": 24"

struct family_case { const char *title, *config, *data, *objective; };

static const struct family_case cases[] = {
    {"llama", "{\"model_type\": \"llama\", " GROUPED "}", "", "causal"},
    {"mistral", "{\"model_type\": \"mistral\", \"sliding_window\": 5, " GROUPED "}", "", "causal"},
    {"qwen2", "{\"model_type\": \"qwen2\", \"tie_word_embeddings\": true, " GROUPED "}", "", "causal"},
    {"mixtral", "{\"model_type\": \"mixtral\", \"num_local_experts\": 4, " GROUPED "}", "", "causal"},
    {"bert and mlm", "{\"model_type\": \"bert\", " SIZES "}", "\"mask_token\": 256", "mlm"},
    {"t5 and span_corruption", "{\"model_type\": \"t5\", \"num_layers\": 2, \"num_decoder_layers\": 3, \"d_model\": 16, "
     "\"d_kv\": 4, \"d_ff\": 24, \"num_heads\": 4, \"vocab_size\": 290, \"n_positions\": 40, "
     "\"relative_attention_num_buckets\": 8, \"relative_attention_max_distance\": 16}",
     "\"pad_token\": 256, " SENTINELS, "span_corruption"},
    {"llama and ul2", "{\"model_type\": \"llama\", \"tie_word_embeddings\": true, " GROUPED "}",
     "\"objective\": \"ul2\", \"pad_token\": 256, \"mode_tokens\": {\"r\": 258, \"s\": 259, \"x\": 260}, " SENTINELS, "ul2"},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static inline void write_text(const char *place, const char *name, const char *text)
{
    char path[FILE_PATH_BYTES];
    test_write_file(test_path(path, place, name), text, strlen(text));
}

/* Runs `lag` with arguments, NULL-terminated; those that begin with "@" name something at the place. What it prints. */
static inline char *lag(const char *place, const char *const *arguments)
{
    char paths[ARGUMENTS_MAX][FILE_PATH_BYTES];
    const char *words[ARGUMENTS_MAX + 2] = {process_lag()};
    struct process process;
    for (int i = 0; arguments[i] != NULL; i++) {
        assert_true(i < ARGUMENTS_MAX);
        words[i + 1] = arguments[i][0] == '@' ? test_path(paths[i], place, arguments[i] + 1) : arguments[i];
    }
    process_run(&process, words, NULL);
    assert_exit(&process, 0);
    char *text = memory_string(process.text[PROCESS_OUT]);
    assert_non_null(text);
    process_free(&process);
    return text;
}

#define LAG(place, ...) lag(place, (const char *const[]){__VA_ARGS__, NULL})

static inline double number_of(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(item))
        fail_msg("%s is no number", name);
    return item->valuedouble;
}

/* config.json, text, data.json for `train`, study.json: two candidates, one deeper, one wider. */
static inline void place_make(char place[FILE_PATH_BYTES], const struct family_case *test)
{
    static const char training[] = "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"learning_rate\": 0.01, "
                                   "\"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}, \"seed\": 3}";
    char path[FILE_PATH_BYTES], data[512], study[2048];
    test_memory_directory_make(place);
    tiny_text_write(test_path(path, place, "train.txt"), 6000, 1);
    tiny_text_write(test_path(path, place, "valid.txt"), 1500, 2);
    snprintf(data, sizeof data, "{\"train\": \"train.txt\", \"valid\": \"valid.txt\", \"format\": \"bytes\"%s%s}",
             test->data[0] != '\0' ? ", " : "", test->data);
    snprintf(study, sizeof study,
             "{\"checkpoint\": \"base\", \"data\": %s, \"candidates\": ["
             "{\"name\": \"deep\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]}, "
             "{\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32}]}], "
             "\"training\": %s, \"selection\": {\"max_k\": 60, \"valid_tokens\": 800}, \"keep\": \"all\"}", data, training);
    write_text(place, "config.json", test->config);
    write_text(place, "data.json", data);
    write_text(place, "study.json", study);
    memory_free(LAG(place, "train", "--shape", "@config.json", "--data", "@data.json", "--steps", "20", "--batch", "4",
                    "--context", "16", "--valid-tokens", "300", "--out", "@base"));
}

#endif
