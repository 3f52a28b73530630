/* config.json and tensors that disagree, shards, and faults. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)

static void write_weights(const char *directory, struct tiny_file *file)
{
    char path[FILE_PATH_BYTES];
    tiny_file_write(file, test_path(path, directory, "model.safetensors"));
    tiny_file_free(file);
}

/* Loading refuses; so does reading the headers alone where `in_header`. */
static void refuse(const char *directory, const char *words, bool in_header, struct error *error)
{
    struct checkpoint checkpoint;
    struct checkpoint_header header;
    *error = (struct error){0};
    int code = checkpoint_read_header(&header, directory, error);
    assert_int_equal(code, in_header ? ERROR_INVALID : 0);
    error_clear(error);
    assert_fails(checkpoint_load(&checkpoint, directory, NULL, error), ERROR_INVALID, error);
    assert_contains(error->message, words);
}

static void config_of_other_sizes_names_tensor_shapes_and_key(void **state)
{
    static const struct { int layers, width, heads, ff, context, vocabulary; const char *words; } rows[] = {
        {2, 8, 2, 20, 6, 11, "h.0.mlp.c_fc.weight: shape [8, 16] in the file, config.json says [8, 20]; fix n_inner"},
        {2, 8, 2, 16, 9, 11, "wpe.weight: shape [6, 8] in the file, config.json says [9, 8]; fix n_positions"},
        {2, 8, 2, 16, 6, 12, "wte.weight: shape [11, 8] in the file, config.json says [12, 8]; fix vocab_size"},
        {2, 6, 2, 16, 6, 11, "c_attn.bias: shape [24] in the file, config.json says [18]; fix n_embd"},
        {3, 8, 2, 16, 6, 11, "transformer.h.2.ln_1.weight: missing in the file"},
        {1, 8, 2, 16, 6, 11, "transformer.h.1.attn.c_attn.bias: unexpected"},
    };
    struct tiny_model model = tiny_model_default();
    tiny_checkpoint_write(*state, &model);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error;
        struct tiny_model other = model;
        other.layers = rows[i].layers, other.width = rows[i].width, other.heads = rows[i].heads;
        other.ff = rows[i].ff, other.context = rows[i].context, other.vocabulary = rows[i].vocabulary;
        tiny_config_write(*state, &other);
        refuse(*state, "disagree in", true, &error);
        bool found = false;
        for (int j = 0; j < error.detail_count; j++)
            found |= strstr(error.details[j].text, rows[i].words) != NULL;
        if (!found)
            fail_msg("no detail says \"%s\", the first is \"%s\"", rows[i].words, error.details[0].text);
    }
}

static void the_first_five_disagreements_are_named_and_all_are_counted(void **state)
{
    struct error error;
    struct tiny_model model = tiny_model_default();
    struct tiny_file *file = tiny_file_of(&model);
    tiny_config_write(*state, &model);
    tiny_file_remove(file, "transformer.ln_f.bias");
    tiny_file_remove(file, "transformer.h.0.ln_1.bias");
    tiny_file_remove(file, "transformer.h.1.ln_1.bias");
    tiny_file_add(file, "transformer.h.7.ln_1.bias", "F32", 1, (const uint64_t[]){8});
    tiny_file_add(file, "score.weight", "F32", 1, (const uint64_t[]){8});
    tiny_file_find(file, "transformer.h.0.attn.c_attn.bias")->rank = 2;
    tiny_file_find(file, "transformer.h.0.attn.c_attn.bias")->dims[1] = 1;
    write_weights(*state, file);
    refuse(*state, "disagree in 6 places", true, &error);
    assert_int_equal(error.detail_count, 5);
    assert_string_equal(error.details[0].pointer, "score.weight");
    assert_contains(error.details[0].text, "unexpected");
    assert_string_equal(error.details[1].pointer, "transformer.h.0.attn.c_attn.bias");
    assert_contains(error.details[1].text, "shape [24, 1] in the file, config.json says [24]");
    assert_string_equal(error.details[2].pointer, "transformer.h.7.ln_1.bias");
    assert_string_equal(error.details[3].pointer, "transformer.h.0.ln_1.bias");
    assert_contains(error.details[3].text, "missing");
    assert_string_equal(error.details[4].pointer, "transformer.h.1.ln_1.bias");
}

static void parameters_of_a_dtype_that_can_not_be_trained_are_refused(void **state)
{
    struct error error;
    struct tiny_model model = tiny_model_default();
    struct tiny_file *file = tiny_file_of(&model);
    tiny_config_write(*state, &model);
    snprintf(tiny_file_find(file, "transformer.wpe.weight")->dtype, 8, "I32");
    write_weights(*state, file);
    refuse(*state, "transformer.wpe.weight: dtype I32 can not be trained", true, &error);
}

static void names_with_and_without_prefix_are_not_mixed(void **state)
{
    struct error error;
    struct tiny_model model = tiny_model_default();
    struct tiny_file *file = tiny_file_of(&model);
    tiny_config_write(*state, &model);
    snprintf(tiny_file_find(file, "transformer.ln_f.bias")->name, 96, "ln_f.bias");
    write_weights(*state, file);
    refuse(*state, "Names with and without the prefix \"transformer.\" are mixed", true, &error);
}

static void a_prefixed_head_is_unexpected(void **state)
{
    struct error error;
    struct tiny_model model = tiny_model_default();
    model.tied = false;
    struct tiny_file *file = tiny_file_of(&model);
    tiny_config_write(*state, &model);
    snprintf(tiny_file_find(file, "lm_head.weight")->name, 96, "transformer.lm_head.weight");
    write_weights(*state, file);
    refuse(*state, "transformer.lm_head.weight: unexpected", true, &error);
    assert_string_equal(error.details[1].pointer, "lm_head.weight");
}

static void a_tied_models_head_must_equal_its_embedding(void **state)
{
    struct error error = {0};
    struct checkpoint checkpoint;
    struct tiny_model model = tiny_model_default();
    struct tiny_file *file = tiny_file_of(&model);
    tiny_config_write(*state, &model);
    struct tiny_tensor *head = tiny_file_add(file, "lm_head.weight", "F32", 2, (const uint64_t[]){11, 8});
    memcpy(head->bytes, tiny_file_find(file, "transformer.wte.weight")->bytes, head->length);
    char path[FILE_PATH_BYTES];
    tiny_file_write(file, test_path(path, *state, "model.safetensors"));
    assert_ok(checkpoint_load(&checkpoint, *state, NULL, &error), &error);
    assert_null(tensor_find(&checkpoint.table, "lm_head.weight"));
    checkpoint_fini(&checkpoint);
    head->bytes[head->length - 1] ^= 1;
    tiny_file_write(file, path);
    refuse(*state, "\"lm_head.weight\" is not equal to \"transformer.wte.weight\" although tie_word_embeddings", false,
           &error);
    head->dims[0] = 8, head->dims[1] = 11;
    write_weights(*state, file);
    refuse(*state, "differs from transformer.wte.weight", true, &error);
}

static void nan_and_inf_are_refused_with_tensor_index_and_count(void **state)
{
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (int i = 0; i < 9; i++) {
        struct error error;
        struct tiny_model model = tiny_model_default();
        model.dtype = dtypes[i / 3];
        struct tiny_file *file = tiny_file_of(&model);
        tiny_config_write(*state, &model);
        tiny_tensor_set(tiny_file_find(file, "transformer.h.1.mlp.c_fc.weight"), 17, wrong[i % 3]);
        tiny_tensor_set(tiny_file_find(file, "transformer.h.1.mlp.c_fc.weight"), 100, wrong[i % 3]);
        write_weights(*state, file);
        refuse(*state, "\"transformer.h.1.mlp.c_fc.weight\" holds NaN or Inf: the first at index 17, 2 of 128 values",
               false, &error);
    }
}

static void parameters_of_mixed_dtypes_load_and_are_saved_as_f32(void **state)
{
    struct error error = {0};
    struct checkpoint checkpoint;
    struct tiny_model model = tiny_model_default();
    model.dtype = "F16";
    struct tiny_file *file = tiny_file_of(&model);
    tiny_config_write(*state, &model);
    tiny_file_remove(file, "transformer.ln_f.bias");
    tiny_file_add(file, "transformer.ln_f.bias", "BF16", 1, (const uint64_t[]){8});
    write_weights(*state, file);
    assert_ok(checkpoint_load(&checkpoint, *state, NULL, &error), &error);
    assert_int_equal(checkpoint.dtype, DTYPE_F32);
    checkpoint_fini(&checkpoint);
}

static void directories_without_files_are_not_found(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint checkpoint;
    struct tiny_model model = tiny_model_default();
    assert_fails(checkpoint_load(&checkpoint, test_path(path, *state, "none"), NULL, &error), ERROR_NOT_FOUND, &error);
    error_clear(&error);
    tiny_config_write(*state, &model);
    assert_fails(checkpoint_load(&checkpoint, *state, NULL, &error), ERROR_NOT_FOUND, &error);
    assert_contains(error.message, "neither model.safetensors nor");
    error_clear(&error);
    test_write_file(test_path(path, *state, "model.safetensors"), "\1\0\0\0\0\0\0\0{", 9);
    assert_fails(checkpoint_load(&checkpoint, *state, NULL, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "model.safetensors: The JSON ends too early");
}

/* ---- shards ---- */

/* Even tensors into one shard, odd ones into the other, and the index that says so. */
static void write_shards(const char *directory, const struct tiny_model *model, const char *index)
{
    char path[FILE_PATH_BYTES], text[8192];
    struct tiny_file *whole = tiny_file_of(model), *halves[2] = {tiny_file_new(), tiny_file_new()};
    size_t used = (size_t)snprintf(text, sizeof text, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {");
    for (int i = 0; i < whole->count; i++) {
        const struct tiny_tensor *from = &whole->tensors[i];
        struct tiny_tensor *to = tiny_file_add(halves[i % 2], from->name, from->dtype, from->rank, from->dims);
        memcpy(to->bytes, from->bytes, from->length);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s\"%s\": \"part-%d.safetensors\"", i > 0 ? ", " : "",
                                 from->name, i % 2);
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "}}");
    assert_true(used < sizeof text);
    tiny_config_write(directory, model);
    tiny_file_write(halves[0], test_path(path, directory, "part-0.safetensors"));
    tiny_file_write(halves[1], test_path(path, directory, "part-1.safetensors"));
    test_path(path, directory, "model.safetensors.index.json");
    if (index == NULL)
        test_write_file(path, text, used);
    else
        test_write_file(path, index, strlen(index));
    tiny_file_free(whole);
    tiny_file_free(halves[0]);
    tiny_file_free(halves[1]);
}

static void shards_load_like_the_whole_file(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    struct checkpoint sharded, whole;
    struct checkpoint_header header;
    struct tiny_model model = tiny_model_default();
    write_shards(*state, &model, NULL);
    assert_ok(checkpoint_load(&sharded, *state, NULL, &error), &error);
    assert_ok(checkpoint_read_header(&header, *state, &error), &error);
    assert_true(header.bytes > sharded.table.parameters * 4);
    assert_ok(file_make_directory(test_path(path, *state, "whole"), &error), &error);
    tiny_checkpoint_write(path, &model);
    assert_ok(checkpoint_load(&whole, path, NULL, &error), &error);
    assert_string_equal(sharded.hash, whole.hash);
    checkpoint_fini(&sharded);
    checkpoint_fini(&whole);
}

static void wrong_indexes_are_refused(void **state)
{
    static const struct { const char *index, *words; enum error_code code; } rows[] = {
        {"{", "ends too early", ERROR_INVALID},
        {"{}", "no weight_map", ERROR_INVALID},
        {"{\"weight_map\": {}}", "no weight_map", ERROR_INVALID},
        {"{\"weight_map\": []}", "'[' stands where an object", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": 1}}", "a number stands where a string", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \"../x.safetensors\"}}", "no plain name", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \"/x.safetensors\"}}", "no plain name", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \"x.bin\"}}", "no plain name", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \".safetensors\"}}", "no plain name", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \"part-0.safetensors\", \"a\": \"part-0.safetensors\"}}", "there twice", ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \"part-0.safetensors\"}}", "\"a\" is not in part-0.safetensors", ERROR_INVALID},
        {"{\"weight_map\": {\"transformer.wte.weight\": \"part-0.safetensors\"}}", "the index puts it in none", ERROR_INVALID},
        {"{\"weight_map\": {\"transformer.wte.weight\": \"part-1.safetensors\"}}", "is not in part-1.safetensors",
         ERROR_INVALID},
        {"{\"weight_map\": {\"a\": \"part-9.safetensors\"}}", "part-9.safetensors", ERROR_NOT_FOUND},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        struct checkpoint checkpoint;
        struct tiny_model model = tiny_model_default();
        write_shards(*state, &model, rows[i].index);
        assert_fails(checkpoint_load(&checkpoint, *state, NULL, &error), rows[i].code, &error);
        assert_contains(error.message, rows[i].words);
    }
}

static void a_tensor_in_two_shards_is_refused(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error;
    struct tiny_model model = tiny_model_default();
    write_shards(*state, &model, NULL);
    struct tiny_file *second = tiny_file_new(), *whole = tiny_file_of(&model);
    for (int i = 0; i < whole->count; i++)
        if (i % 2 == 1 || i == 0)
            tiny_file_add(second, whole->tensors[i].name, "F32", whole->tensors[i].rank, whole->tensors[i].dims);
    tiny_file_write(second, test_path(path, *state, "part-1.safetensors"));
    tiny_file_free(second);
    tiny_file_free(whole);
    refuse(*state, "\"transformer.wte.weight\" is in part-1.safetensors, but the index puts it in part-0.safetensors", true,
           &error);
}

static void loading_fails_cleanly_at_every_allocation(void **state)
{
    struct tiny_model model = tiny_model_default();
    for (int sharded = 0; sharded < 2; sharded++) {
        int rounds = 0;
        if (sharded) {
            char path[FILE_PATH_BYTES];
            struct error error = {0};
            assert_ok(file_remove(test_path(path, *state, "model.safetensors"), &error), &error);
            write_shards(*state, &model, NULL);
        } else {
            tiny_checkpoint_write(*state, &model);
        }
        SWEEP_FAULTS(FAULT_ALLOC, n) {
            struct error error = {0};
            struct checkpoint checkpoint;
            int code = checkpoint_load(&checkpoint, *state, NULL, &error);
            if (fault_struck(FAULT_ALLOC, n)) {
                assert_fails(code, ERROR_NO_MEMORY, &error);
            } else {
                assert_ok(code, &error);
                checkpoint_fini(&checkpoint);
            }
            rounds++;
        }
        assert_true(rounds > 40);
    }
}

TEST_MAIN(IN_DIRECTORY(config_of_other_sizes_names_tensor_shapes_and_key),
          IN_DIRECTORY(the_first_five_disagreements_are_named_and_all_are_counted),
          IN_DIRECTORY(parameters_of_a_dtype_that_can_not_be_trained_are_refused),
          IN_DIRECTORY(names_with_and_without_prefix_are_not_mixed), IN_DIRECTORY(a_prefixed_head_is_unexpected),
          IN_DIRECTORY(a_tied_models_head_must_equal_its_embedding),
          IN_DIRECTORY(nan_and_inf_are_refused_with_tensor_index_and_count),
          IN_DIRECTORY(parameters_of_mixed_dtypes_load_and_are_saved_as_f32),
          IN_DIRECTORY(directories_without_files_are_not_found), IN_DIRECTORY(shards_load_like_the_whole_file),
          IN_DIRECTORY(wrong_indexes_are_refused), IN_DIRECTORY(a_tensor_in_two_shards_is_refused),
          IN_DIRECTORY(loading_fails_cleanly_at_every_allocation))
