#include "tests/support/tiny_study.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cJSON.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "model/kernels.h"
#include "model/kernels_ops.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

uint64_t tiny_memory(int workers, uint64_t own)
{
    return (uint64_t)workers * (own + kernels_cpu()->ops->product_scratch(PRODUCT_F32));
}

const char *tiny_memory_text(char text[32], int workers, uint64_t own)
{
    snprintf(text, 32, "%" PRIu64, tiny_memory(workers, own));
    return text;
}

const char *const tiny_candidates =
    "[{\"name\": \"stack\", \"operators\": [{\"op\": \"stack\", \"layers\": 4}]},"
    " {\"name\": \"interleave\", \"operators\": [{\"op\": \"interleave\", \"layers\": 4}]},"
    " {\"name\": \"identity\", \"operators\": [{\"op\": \"identity\", \"layers\": 4}]},"
    " {\"name\": \"wide\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 32},"
    " {\"op\": \"layer_map\", \"map\": [0, 1, 1]}]}]";
const char *const tiny_training =
    "{\"batch\": 4, \"context\": 16, \"steps\": 1000, \"learning_rate\": 0.01,"
    " \"schedule\": {\"name\": \"constant\", \"warmup_steps\": 5}}";
const char *const tiny_selection = "{\"max_k\": 62, \"valid_tokens\": 1000, \"evaluate_every\": 10}";

static const char *or_default(const char *text, const char *fallback)
{
    return text ? text : fallback;
}

void tiny_study_json(const char *file, const struct tiny_study *study)
{
    struct buffer text;
    buffer_init(&text);
    buffer_format(&text, "{\"name\": \"%s\", \"checkpoint\": \"base\", \"data\": %s,\n\"candidates\": %s,\n\"training\": %s,\n"
                  "\"selection\": %s%s}\n", or_default(study->name, "tiny"),
                  or_default(study->data, "{\"train\": \"train.txt\"}"), or_default(study->candidates, tiny_candidates),
                  or_default(study->training, tiny_training), or_default(study->selection, tiny_selection),
                  or_default(study->more, ""));
    assert_false(text.failed);
    test_write_file(file, text.data, text.length);
    buffer_fini(&text);
}

/* Words drawn from a short list, so that there is something to learn. */
void tiny_text_write(const char *file, size_t bytes, unsigned seed)
{
    static const char *const words[] = { "the ", "small ", "model ", "learns ", "to ", "grow ", "and ", "stack ", "layers\n",
                                         "width ", "of ", "a ", "curve; ", "loss ", "falls. ", "slowly " };
    struct buffer text;
    unsigned state = seed * 2654435761u + 12345;
    buffer_init(&text);
    while (text.length < bytes && !text.failed) {
        state = state * 1664525u + 1013904223u;
        buffer_text(&text, words[state >> 28]);
    }
    assert_false(text.failed);
    test_write_file(file, text.data, text.length);
    buffer_fini(&text);
}

void tiny_study_write(const char *directory, const struct tiny_study *study)
{
    struct tiny_model model = {.layers = 2, .width = 16, .heads = 2, .ff = 64, .context = 16, .vocabulary = 256, .tied = true,
                               .prefixed = true, .dtype = "F32"};
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    assert_ok(file_make_directory(test_path(path, directory, "base"), &error), &error);
    tiny_checkpoint_write(path, &model);
    tiny_text_write(test_path(path, directory, "train.txt"), 20000, 1);
    tiny_study_json(test_path(path, directory, "study.json"), study);
}

/* ---- comparing */

static void strip(cJSON *item)
{
    cJSON_DeleteItemFromObjectCaseSensitive(item, "id");
    cJSON_DeleteItemFromObjectCaseSensitive(item, "files");
    cJSON_DeleteItemFromObjectCaseSensitive(item, "seconds");
    cJSON_DeleteItemFromObjectCaseSensitive(item, "study");        /* the recipe's and the report's note of the id */
    for (cJSON *child = item ? item->child : NULL; child; child = child->next)
        strip(child);
}

static void show_difference(const cJSON *a, const cJSON *b, const char *where)
{
    for (const cJSON *x = a->child, *y = b->child; x || y; x = x ? x->next : NULL, y = y ? y->next : NULL) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", where, x && x->string ? x->string : "-");
        if (x && y && cJSON_Compare(x, y, true))
            continue;
        if (x && y && x->child && y->child) {
            show_difference(x, y, path);
            return;
        }
        char *left = x ? cJSON_Print(x) : NULL, *right = y ? cJSON_Print(y) : NULL;
        print_error("%s: %s | %s\n", path, left ? left : "(none)", right ? right : "(none)");
        cJSON_free(left);
        cJSON_free(right);
        return;
    }
}

bool tiny_results_equal(const char *a, const char *b)
{
    cJSON *left = cJSON_Parse(a), *right = cJSON_Parse(b);
    bool equal = false;
    if (!left || !right) {
        print_error("not JSON: %.300s | %.300s\n", a, b);
    } else {
        strip(left);
        strip(right);
        equal = cJSON_Compare(left, right, true);
        if (!equal)
            show_difference(left, right, "");
    }
    cJSON_Delete(left);
    cJSON_Delete(right);
    return equal;
}

void tiny_assert_identical(const char *a, const char *b, const char *file, int line)
{
    if (!tiny_results_equal(a, b))
        _fail(file, line);
}

static bool is_result(const char *name)
{
    return strcmp(name, "result.json") == 0 || strcmp(name, "lag_report.json") == 0;
}

/* A page without what it marks as different from run to run. */
static void strip_page(char *text, size_t *length)
{
    static const char mark[] = "<span class=\"run\">";
    for (char *at = strstr(text, mark); at; at = strstr(at + 1, mark)) {
        char *end = strstr(at, "</span>");
        memmove(at + strlen(mark), end, strlen(end) + 1);
    }
    *length = strlen(text);
}

static bool same_file(const char *a, const char *b, const char *name)
{
    size_t left_length, right_length;
    char *left = test_read_file(a, &left_length), *right = test_read_file(b, &right_length);
    if (strcmp(name, "report.html") == 0) {
        strip_page(left, &left_length);
        strip_page(right, &right_length);
    }
    bool same = is_result(name) ? tiny_results_equal(left, right)
                                : left_length == right_length && memcmp(left, right, left_length) == 0;
    memory_free(left);
    memory_free(right);
    return same;
}

void tiny_assert_same_files(const char *a, const char *b, const char *file, int line)
{
    struct file_names left, right;
    struct error error = {0};
    assert_ok(file_list(a, &left, &error), &error);
    assert_ok(file_list(b, &right, &error), &error);
    bool same = left.count == right.count;
    for (int i = 0; i < left.count && same; i++) {
        char x[FILE_PATH_BYTES], y[FILE_PATH_BYTES];
        same = strcmp(left.names[i], right.names[i]) == 0;
        if (!same)
            break;
        test_path(x, a, left.names[i]);
        test_path(y, b, left.names[i]);
        if (file_is_directory(x))
            tiny_assert_same_files(x, y, file, line);
        else
            same = same_file(x, y, left.names[i]);
        if (!same)
            print_error("%s and %s differ\n", x, y);
    }
    file_names_free(&left);
    file_names_free(&right);
    if (!same)
        _fail(file, line);
}
