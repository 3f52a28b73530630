/* Loading, saving, copying and initialising of checkpoints. Disagreements: test_checkpoint_refuse.c. */
#include "model/checkpoint.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)

static void load(struct checkpoint *checkpoint, const char *directory)
{
    struct error error = {0};
    assert_ok(checkpoint_load(checkpoint, directory, NULL, &error), &error);
}

static void save(const struct checkpoint *checkpoint, const char *directory, const struct checkpoint_save *options)
{
    struct error error = {0};
    assert_ok(checkpoint_save(checkpoint, directory, options, &error), &error);
}

static void assert_tiny_weights(const struct checkpoint *checkpoint)
{
    for (int i = 0; i < checkpoint->table.count; i++) {
        const struct tensor *tensor = &checkpoint->table.tensors[i];
        for (size_t j = 0; j < tensor->count; j++)
            assert_true(checkpoint->weights[tensor->offset + j] == tiny_value(tensor->name, j));
    }
}

static struct shape tiny_shape(void)
{
    return (struct shape){.family = FAMILY_GPT2, .layers = 2, .width = 8, .heads = 2, .kv_heads = 2, .head_size = 4,
                          .ff = 16, .context = 6, .vocabulary = 11, .tied = true, .norm_epsilon = 1e-5};
}

static void every_dtype_head_and_prefix_loads_with_the_values_of_the_file(void **state)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    static const enum dtype codes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    for (int i = 0; i < 12; i++) {
        struct tiny_model model = tiny_model_default();
        struct checkpoint checkpoint;
        struct checkpoint_header header;
        struct error error = {0};
        model.dtype = dtypes[i / 4];
        model.tied = i & 1;
        model.prefixed = i & 2;
        model.buffers = true;
        tiny_checkpoint_write(*state, &model);
        load(&checkpoint, *state);
        struct shape expected = tiny_shape();
        expected.tied = model.tied;
        assert_true(shape_equal(&checkpoint.table.shape, &expected));
        assert_tiny_weights(&checkpoint);
        assert_int_equal(checkpoint.dtype, codes[i / 4]);
        assert_int_equal(checkpoint.prefixed, model.prefixed);
        assert_string_equal(checkpoint.directory, *state);
        assert_null(checkpoint.moments);
        assert_int_equal(strlen(checkpoint.hash), 64);
        assert_ok(checkpoint_read_header(&header, *state, &error), &error);
        assert_true(shape_equal(&header.shape, &expected));
        assert_int_equal(header.dtype, codes[i / 4]);
        assert_false(header.has_moments);
        checkpoint_fini(&checkpoint);
    }
}

static void padding_of_the_slab_is_zero(void **state)
{
    struct tiny_model model = tiny_model_default();
    struct checkpoint checkpoint;
    tiny_checkpoint_write(*state, &model);
    load(&checkpoint, *state);
    size_t at = 0;
    for (int i = 0; i <= checkpoint.table.count; i++) {
        size_t next = i < checkpoint.table.count ? checkpoint.table.tensors[i].offset : checkpoint.table.slab;
        for (; at < next; at++)
            assert_true(checkpoint.weights[at] == 0);
        if (i < checkpoint.table.count)
            at = next + checkpoint.table.tensors[i].count;
    }
    checkpoint_fini(&checkpoint);
}

static void saved_directory_loads_equal_and_keeps_dtype_prefix_and_companions(void **state)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    for (int i = 0; i < 6; i++) {
        char path[FILE_PATH_BYTES], from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
        struct tiny_model model = tiny_model_default();
        struct checkpoint first, second;
        struct error error = {0};
        struct safetensors file;
        model.dtype = dtypes[i / 2];
        model.prefixed = i % 2;
        model.config = ", \"resid_pdrop\": 0.25, \"of_my_own\": [1, 2]";
        assert_ok(file_make_directory(test_path(from, *state, "from"), &error), &error);
        tiny_checkpoint_write(from, &model);
        test_write_file(test_path(path, from, "tokenizer.json"), "tokens", 6);
        test_write_file(test_path(path, from, "spiece.model"), "\0\1", 2);
        test_write_file(test_path(path, from, "chat_template.jinja"), "{{ messages }}", 14);
        test_write_file(test_path(path, from, "pytorch_model.bin"), "no", 2);
        load(&first, from);
        assert_true(first.dropout == 0.25);
        save(&first, test_path(to, *state, "a/to"), &(struct checkpoint_save){.card = "# card", .report = "{}"});
        load(&second, to);
        assert_string_equal(first.hash, second.hash);
        assert_memory_equal(first.weights, second.weights, first.table.slab * sizeof(float));
        assert_int_equal(second.prefixed, model.prefixed);
        assert_int_equal(second.dtype, first.dtype);
        assert_contains(second.config_text, "of_my_own");
        assert_ok(safetensors_open(&file, test_path(path, to, "model.safetensors"), 0, &error), &error);
        assert_string_equal(safetensors_metadata(&file, "format"), "pt");
        assert_int_equal(file.count, first.table.count);
        safetensors_close(&file);
        char *text = test_read_file(test_path(path, to, "tokenizer.json"), NULL);
        assert_string_equal(text, "tokens");
        memory_free(text);
        assert_true(file_exists(test_path(path, to, "spiece.model")));
        assert_true(file_exists(test_path(path, to, "chat_template.jinja")));
        assert_true(file_exists(test_path(path, to, "README.md")));
        assert_false(file_exists(test_path(path, to, "pytorch_model.bin")));
        assert_false(file_exists(test_path(path, to, "optimizer.safetensors")));
        assert_int_equal(test_count_temporaries(to), 0);
        checkpoint_fini(&first);
        checkpoint_fini(&second);
        assert_ok(file_remove_tree(from, &error), &error);
        assert_ok(file_remove_tree(to, &error), &error);
    }
}

static void saving_in_another_dtype_rounds_and_says_so_in_config_json(void **state)
{
    char to[FILE_PATH_BYTES];
    struct error error = {0};
    struct shape shape = tiny_shape();
    struct checkpoint checkpoint, back;
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    checkpoint_randomize(&checkpoint, 5);
    save(&checkpoint, test_path(to, *state, "bf16"), &(struct checkpoint_save){.dtype_given = true, .dtype = DTYPE_BF16});
    load(&back, to);
    assert_int_equal(back.dtype, DTYPE_BF16);
    assert_contains(back.config_text, "bfloat16");
    for (size_t i = 0; i < checkpoint.table.slab; i++)
        assert_true(fabsf(back.weights[i] - checkpoint.weights[i]) <= fabsf(checkpoint.weights[i]) / 256);
    checkpoint_fini(&checkpoint);
    checkpoint_fini(&back);
}

static void other_weights_can_be_saved_in_place_of_the_checkpoints_own(void **state)
{
    char to[FILE_PATH_BYTES];
    struct error error = {0};
    struct shape shape = tiny_shape();
    struct checkpoint checkpoint, back;
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    float *other = memory_array(checkpoint.table.slab, sizeof *other);
    other[0] = 0.5f;
    save(&checkpoint, test_path(to, *state, "other"), &(struct checkpoint_save){.weights = other});
    load(&back, to);
    assert_true(back.weights[0] == 0.5f);
    memory_free(other);
    checkpoint_fini(&checkpoint);
    checkpoint_fini(&back);
}

static void an_f16_overflow_is_refused_and_the_old_file_stays(void **state)
{
    char to[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    struct error error = {0};
    struct shape shape = tiny_shape();
    struct checkpoint checkpoint, back;
    struct checkpoint_save options = {.dtype_given = true, .dtype = DTYPE_F16};
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    checkpoint_randomize(&checkpoint, 5);
    save(&checkpoint, test_path(to, *state, "x"), &options);
    const struct tensor *tensor = tensor_find(&checkpoint.table, "h.1.mlp.c_fc.weight");
    checkpoint.weights[tensor->offset + 3] = 1e5f;
    assert_fails(checkpoint_save(&checkpoint, to, &options, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "Value 3 of tensor \"transformer.h.1.mlp.c_fc.weight\" is 100000");
    assert_int_equal(test_count_temporaries(to), 0);
    load(&back, to);
    checkpoint_fini(&back);
    checkpoint.weights[tensor->offset + 3] = NAN;
    error_clear(&error);
    assert_fails(checkpoint_save_weights(&checkpoint, NULL, DTYPE_F32, test_path(path, to, "y"), NULL, &error),
                 ERROR_DIVERGED, &error);
    assert_contains(error.message, "h.1.mlp.c_fc.weight");
    assert_false(file_exists(path));
    error_clear(&error);
    assert_fails(checkpoint_save_weights(&checkpoint, NULL, DTYPE_I32, path, NULL, &error), ERROR_INVALID, &error);
    checkpoint_fini(&checkpoint);
}

static void hash_depends_on_content_and_not_on_names_or_padding(void **state)
{
    struct tiny_model model = tiny_model_default();
    struct checkpoint plain, prefixed;
    model.prefixed = false;
    tiny_checkpoint_write(*state, &model);
    load(&plain, *state);
    model.prefixed = true;
    model.buffers = true;
    tiny_checkpoint_write(*state, &model);
    load(&prefixed, *state);
    assert_string_equal(plain.hash, prefixed.hash);
    char before[HASH_HEX_BYTES];
    memcpy(before, plain.hash, sizeof before);
    plain.weights[0] = -plain.weights[0];
    checkpoint_rehash(&plain);
    assert_string_not_equal(plain.hash, before);
    plain.weights[0] = -plain.weights[0];
    checkpoint_rehash(&plain);
    assert_string_equal(plain.hash, before);
    plain.dtype = DTYPE_F16;
    checkpoint_rehash(&plain);
    assert_string_not_equal(plain.hash, before);
    plain.dtype = DTYPE_F32;
    plain.table.shape.norm_epsilon = 1e-6;
    checkpoint_rehash(&plain);
    assert_string_not_equal(plain.hash, before);
    checkpoint_fini(&plain);
    checkpoint_fini(&prefixed);
}

static void random_models_follow_gpt2s_initialisation(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = tiny_shape();
    struct checkpoint checkpoint, again, other;
    shape.width = 64, shape.head_size = 32, shape.ff = 256, shape.layers = 8;
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    assert_ok(checkpoint_init(&again, &shape, &error), &error);
    assert_ok(checkpoint_init(&other, &shape, &error), &error);
    checkpoint_randomize(&checkpoint, 7);
    checkpoint_randomize(&again, 7);
    checkpoint_randomize(&other, 8);
    assert_memory_equal(checkpoint.weights, again.weights, checkpoint.table.slab * sizeof(float));
    assert_string_equal(checkpoint.hash, again.hash);
    assert_string_not_equal(checkpoint.hash, other.hash);
    static const struct { const char *name; double mean, deviation; } rows[] = {
        {"h.3.attn.c_attn.weight", 0, 0.02}, {"h.3.mlp.c_fc.weight", 0, 0.02}, {"h.3.attn.c_proj.weight", 0, 0.005},
        {"h.3.mlp.c_proj.weight", 0, 0.005}, {"h.3.ln_1.weight", 1, 0}, {"ln_f.weight", 1, 0}, {"h.3.mlp.c_fc.bias", 0, 0},
        {"h.3.ln_2.bias", 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct tensor *tensor = tensor_find(&checkpoint.table, rows[i].name);
        double sum = 0, squares = 0;
        for (size_t j = 0; j < tensor->count; j++) {
            double value = (double)checkpoint.weights[tensor->offset + j];
            sum += value;
            squares += (value - rows[i].mean) * (value - rows[i].mean);
        }
        double count = (double)tensor->count;    /* four standard errors of mean and deviation */
        assert_near(sum / count, rows[i].mean, 4 * rows[i].deviation / sqrt(count));
        assert_near(sqrt(squares / count), rows[i].deviation, 4 * rows[i].deviation / sqrt(2 * count));
    }
    const struct tensor *a = tensor_find(&checkpoint.table, "h.0.mlp.c_fc.weight");
    const struct tensor *b = tensor_find(&checkpoint.table, "h.1.mlp.c_fc.weight");
    assert_memory_not_equal(checkpoint.weights + a->offset, checkpoint.weights + b->offset, a->count * sizeof(float));
    checkpoint_fini(&checkpoint);
    checkpoint_fini(&again);
    checkpoint_fini(&other);
}

static void a_copy_is_equal_and_independent(void **state)
{
    struct tiny_model model = tiny_model_default();
    struct error error = {0};
    struct checkpoint checkpoint, copy;
    tiny_checkpoint_write(*state, &model);
    load(&checkpoint, *state);
    assert_ok(checkpoint_set_moments(&checkpoint, MOMENTS_ADAM | MOMENTS_RAW, &error), &error);
    checkpoint.moments->m[1] = 2, checkpoint.moments->v[1] = 3, checkpoint.moments->raw[1] = 4;
    checkpoint.moments->steps[1] = 5;
    checkpoint.provenance.tokens_seen = 6;
    assert_ok(checkpoint_copy(&copy, &checkpoint, &error), &error);
    checkpoint_fini(&checkpoint);
    assert_tiny_weights(&copy);
    assert_true(copy.moments->m[1] == 2 && copy.moments->v[1] == 3 && copy.moments->raw[1] == 4);
    assert_int_equal(copy.moments->steps[1], 5);
    assert_int_equal(copy.provenance.tokens_seen, 6);
    assert_string_equal(copy.directory, *state);
    assert_contains(copy.config_text, "gpt2");
    checkpoint_fini(&copy);
}

static void added_moments_are_zero_and_raw_can_be_added_later(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = tiny_shape();
    struct checkpoint checkpoint;
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    assert_ok(checkpoint_set_moments(&checkpoint, MOMENTS_ADAM, &error), &error);
    assert_null(checkpoint.moments->raw);
    for (size_t i = 0; i < checkpoint.table.slab; i++)
        assert_true(checkpoint.moments->m[i] == 0 && checkpoint.moments->v[i] == 0);
    for (int i = 0; i < checkpoint.table.count; i++)
        assert_int_equal(checkpoint.moments->steps[i], 0);
    checkpoint.moments->m[0] = 1;
    assert_ok(checkpoint_set_moments(&checkpoint, MOMENTS_ADAM | MOMENTS_RAW, &error), &error);
    assert_non_null(checkpoint.moments->raw);
    assert_true(checkpoint.moments->m[0] == 1);
    checkpoint_fini(&checkpoint);
}

static void provenance_comes_from_the_reports_training_object(void **state)
{
    char path[FILE_PATH_BYTES];
    struct tiny_model model = tiny_model_default();
    struct checkpoint checkpoint;
    struct error error = {0};
    const char *report = "{\"name\": \"x\", \"curve\": [1e-3, {\"training\": 3}], \"training\": {\"step\": 659, \"other\": "
                         "[1.5], \"tokens_seen\": 506112, \"data_cursor\": 660, \"seed\": 18446744073709551615}}";
    tiny_checkpoint_write(*state, &model);
    load(&checkpoint, *state);
    assert_false(checkpoint.provenance.tokens_seen_known);
    checkpoint_fini(&checkpoint);
    test_write_file(test_path(path, *state, "lag_report.json"), report, strlen(report));
    load(&checkpoint, *state);
    assert_int_equal(checkpoint.provenance.step, 659);
    assert_int_equal(checkpoint.provenance.tokens_seen, 506112);
    assert_true(checkpoint.provenance.tokens_seen_known);
    assert_int_equal(checkpoint.provenance.data_cursor, 660);
    assert_true(checkpoint.provenance.seed == UINT64_MAX);
    checkpoint_fini(&checkpoint);
    static const char *const wrong[] = {"", "[]", "{\"training\": 3}", "{\"training\": {\"step\": -1}}", "{} x",
                                        "{\"training\": {\"step\": 1.5}}", "{\"training\": {\"step\": 1, \"step\": 2}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        test_write_file(path, wrong[i], strlen(wrong[i]));
        error_clear(&error);
        assert_fails(checkpoint_load(&checkpoint, *state, NULL, &error), ERROR_INVALID, &error);
        assert_contains(error.message, "lag_report.json (correct or remove it)");
        error_clear(&error);
        assert_ok(checkpoint_load(&checkpoint, *state, &(struct checkpoint_load){.ignore_report = true}, &error), &error);
        checkpoint_fini(&checkpoint);
    }
    static const char *const harmless[] = {"{}", "{\"training\": null}", "{\"training\": {\"tokens_seen\": null}}"};
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++) {
        test_write_file(path, harmless[i], strlen(harmless[i]));
        load(&checkpoint, *state);
        assert_false(checkpoint.provenance.tokens_seen_known);
        checkpoint_fini(&checkpoint);
    }
}

TEST_MAIN(IN_DIRECTORY(every_dtype_head_and_prefix_loads_with_the_values_of_the_file),
          IN_DIRECTORY(padding_of_the_slab_is_zero),
          IN_DIRECTORY(saved_directory_loads_equal_and_keeps_dtype_prefix_and_companions),
          IN_DIRECTORY(saving_in_another_dtype_rounds_and_says_so_in_config_json),
          IN_DIRECTORY(other_weights_can_be_saved_in_place_of_the_checkpoints_own),
          IN_DIRECTORY(an_f16_overflow_is_refused_and_the_old_file_stays),
          IN_DIRECTORY(hash_depends_on_content_and_not_on_names_or_padding),
          cmocka_unit_test(random_models_follow_gpt2s_initialisation), IN_DIRECTORY(a_copy_is_equal_and_independent),
          cmocka_unit_test(added_moments_are_zero_and_raw_can_be_added_later),
          IN_DIRECTORY(provenance_comes_from_the_reports_training_object))
