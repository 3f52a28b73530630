/* BERT directories in the layouts that are about: with and without prefix, old names, buffers, copies of tied tensors,
 * pooler and next-sentence head or not; what is saved again; and what is refused. */
#include "model/checkpoint.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)

enum { LAYERS = 2, WIDTH = 6, FF = 10, POSITIONS = 7, VOCABULARY = 11, TYPES = 3 };

static const char CONFIG[] =
    "{\"model_type\": \"bert\", \"architectures\": [\"BertForMaskedLM\"], \"num_hidden_layers\": 2, \"hidden_size\": 6, "
    "\"num_attention_heads\": 2, \"intermediate_size\": 10, \"max_position_embeddings\": 7, \"vocab_size\": 11, "
    "\"type_vocab_size\": 3%s}";

/* How a directory is written. */
struct variant {
    bool prefixed, old_names, position_ids, decoder, decoder_bias, pooler, next_sentence;
};

static struct tiny_tensor *add(struct tiny_file *file, const struct variant *variant, const char *bare, int rank, int rows,
                               int columns)
{
    char name[96];
    const uint64_t dims[2] = {(uint64_t)rows, (uint64_t)columns};
    const char *norm = strstr(bare, "LayerNorm.");
    snprintf(name, sizeof name, "%s%s", variant->prefixed && strncmp(bare, "cls.", 4) != 0 ? "bert." : "", bare);
    if (variant->old_names && norm != NULL) {
        size_t stem = strlen(name) - strlen(norm) + strlen("LayerNorm.");
        snprintf(name + stem, sizeof name - stem, "%s", strstr(bare, ".weight") != NULL ? "gamma" : "beta");
    }
    struct tiny_tensor *tensor = tiny_file_add(file, name, "F32", rank, dims);
    for (int i = 0; i < rows * (rank == 2 ? columns : 1); i++)
        tiny_tensor_set(tensor, (size_t)i, tiny_value(bare, (size_t)i));
    return tensor;
}

static void add_pair(struct tiny_file *file, const struct variant *variant, const char *stem, int out, int in)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", stem);
    add(file, variant, name, in > 0 ? 2 : 1, out, in);
    snprintf(name, sizeof name, "%s.bias", stem);
    add(file, variant, name, 1, out, 0);
}

static void add_layer(struct tiny_file *file, const struct variant *variant, int layer)
{
    static const struct { const char *stem; int out, in; } rows[] = {
        {"attention.self.query", WIDTH, WIDTH}, {"attention.self.key", WIDTH, WIDTH},
        {"attention.self.value", WIDTH, WIDTH}, {"attention.output.dense", WIDTH, WIDTH},
        {"attention.output.LayerNorm", WIDTH, 0}, {"intermediate.dense", FF, WIDTH}, {"output.dense", WIDTH, FF},
        {"output.LayerNorm", WIDTH, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char stem[80];
        snprintf(stem, sizeof stem, "encoder.layer.%d.%s", layer, rows[i].stem);
        add_pair(file, variant, stem, rows[i].out, rows[i].in);
    }
}

static struct tiny_file *file_of(const struct variant *variant)
{
    struct tiny_file *file = tiny_file_new();
    add(file, variant, "embeddings.word_embeddings.weight", 2, VOCABULARY, WIDTH);
    add(file, variant, "embeddings.position_embeddings.weight", 2, POSITIONS, WIDTH);
    add(file, variant, "embeddings.token_type_embeddings.weight", 2, TYPES, WIDTH);
    add_pair(file, variant, "embeddings.LayerNorm", WIDTH, 0);
    for (int layer = 0; layer < LAYERS; layer++)
        add_layer(file, variant, layer);
    add_pair(file, variant, "cls.predictions.transform.dense", WIDTH, WIDTH);
    add_pair(file, variant, "cls.predictions.transform.LayerNorm", WIDTH, 0);
    add(file, variant, "cls.predictions.bias", 1, VOCABULARY, 0);
    if (variant->position_ids)
        tiny_file_add(file, variant->prefixed ? "bert.embeddings.position_ids" : "embeddings.position_ids", "I64", 2,
                      (const uint64_t[]){1, POSITIONS});
    if (variant->pooler)
        add_pair(file, variant, "pooler.dense", WIDTH, WIDTH);
    if (variant->next_sentence)
        add_pair(file, variant, "cls.seq_relationship", 2, WIDTH);
    return file;
}

/* Values of `of` under another name. */
static void add_copy(struct tiny_file *file, const char *name, const char *of, int rank, int rows, int columns)
{
    struct tiny_tensor *copy = tiny_file_add(file, name, "F32", rank, (const uint64_t[]){(uint64_t)rows, (uint64_t)columns});
    for (int i = 0; i < rows * (rank == 2 ? columns : 1); i++)
        tiny_tensor_set(copy, (size_t)i, tiny_value(of, (size_t)i));
}

static void add_decoder(struct tiny_file *file, const struct variant *variant)
{
    if (variant->decoder)
        add_copy(file, "cls.predictions.decoder.weight", "embeddings.word_embeddings.weight", 2, VOCABULARY, WIDTH);
    if (variant->decoder_bias)
        add_copy(file, "cls.predictions.decoder.bias", "cls.predictions.bias", 1, VOCABULARY, 0);
}

static void write_directory(const char *directory, const struct tiny_file *file, const char *more)
{
    char path[FILE_PATH_BYTES], text[1024];
    int length = snprintf(text, sizeof text, CONFIG, more);
    test_write_file(test_path(path, directory, "config.json"), text, (size_t)length);
    tiny_file_write(file, test_path(path, directory, "model.safetensors"));
}

static void assert_values(const struct checkpoint *checkpoint)
{
    for (int i = 0; i < checkpoint->table.count; i++) {
        const struct tensor *tensor = &checkpoint->table.tensors[i];
        for (size_t j = 0; j < tensor->count; j++)
            assert_true(checkpoint->weights[tensor->offset + j] == tiny_value(tensor->name, j));
    }
}

static void every_layout_loads_and_is_saved_in_todays_names(void **state)
{
    char saved[FILE_PATH_BYTES], path[FILE_PATH_BYTES];
    for (unsigned bits = 0; bits < 128; bits++) {
        const struct variant variant = {bits & 1, bits & 2, bits & 4, bits & 8, bits & 16, bits & 32, bits & 64};
        struct tiny_file *file = file_of(&variant);
        struct checkpoint checkpoint, again;
        struct error error = {0};
        add_decoder(file, &variant);
        write_directory(*state, file, "");
        tiny_file_free(file);
        assert_ok(checkpoint_load(&checkpoint, *state, NULL, &error), &error);
        const struct shape *shape = &checkpoint.table.shape;
        assert_true(shape->layers == LAYERS && shape->width == WIDTH && shape->head_size == 3 && shape->ff == FF);
        assert_true(shape->types == TYPES && shape->tied && shape->activation == ACTIVATION_GELU_ERF);
        assert_true(shape->norm_epsilon == 1e-12);
        assert_true(shape->pooler == variant.pooler && shape->next_sentence == variant.next_sentence);
        assert_int_equal(checkpoint.prefixed, variant.prefixed);
        assert_values(&checkpoint);
        const struct checkpoint_save options = {0};
        test_path(saved, *state, "saved");
        assert_ok(checkpoint_save(&checkpoint, saved, &options, &error), &error);
        char *config = test_read_file(test_path(path, saved, "config.json"), NULL);
        assert_contains(config, variant.next_sentence ? "BertForPreTraining" : "BertForMaskedLM");
        assert_ok(checkpoint_load(&again, saved, NULL, &error), &error);
        assert_string_equal(again.hash, checkpoint.hash);
        assert_int_equal(again.prefixed, variant.prefixed);
        memory_free(config);
        checkpoint_fini(&again);
        checkpoint_fini(&checkpoint);
    }
}

/* Some exports keep only the tied name. */
static void a_copy_alone_stands_for_the_tensor(void **state)
{
    const struct variant variant = {.prefixed = true, .decoder = true, .decoder_bias = true};
    struct tiny_file *file = file_of(&variant);
    struct checkpoint checkpoint;
    struct error error = {0};
    add_decoder(file, &variant);
    tiny_file_remove(file, "cls.predictions.bias");
    tiny_file_remove(file, "bert.embeddings.word_embeddings.weight");
    write_directory(*state, file, "");
    assert_ok(checkpoint_load(&checkpoint, *state, NULL, &error), &error);
    assert_values(&checkpoint);
    checkpoint_fini(&checkpoint);
    tiny_file_free(file);
}

static void expect_refused(const char *directory, const char *pointer, const char *words)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    assert_fails(checkpoint_load(&checkpoint, directory, NULL, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, pointer);
    assert_contains(error.details[0].text, words);
}

static void files_that_do_not_fit_are_refused(void **state)
{
    const struct variant plain = {.prefixed = true}, whole = {.prefixed = true, .decoder = true, .decoder_bias = true};
    struct tiny_file *file = file_of(&whole);
    add_decoder(file, &whole);
    tiny_tensor_set(tiny_file_find(file, "cls.predictions.decoder.bias"), 4, 2);
    write_directory(*state, file, "");
    expect_refused(*state, "cls.predictions.decoder.bias", "is not equal to");
    tiny_file_free(file);

    file = file_of(&whole);
    add_decoder(file, &whole);
    tiny_tensor_set(tiny_file_find(file, "cls.predictions.decoder.weight"), 4, 2);
    write_directory(*state, file, "");
    expect_refused(*state, "cls.predictions.decoder.weight", "is not equal to");
    tiny_file_free(file);

    file = file_of(&plain);
    add_copy(file, "cls.predictions.decoder.bias", "cls.predictions.bias", 1, VOCABULARY - 1, 0);
    write_directory(*state, file, "");
    expect_refused(*state, "cls.predictions.decoder.bias", "differs from");
    tiny_file_free(file);

    file = file_of(&plain);
    tiny_file_remove(file, "cls.predictions.transform.dense.bias");
    write_directory(*state, file, "");
    expect_refused(*state, "cls.predictions.transform.dense.bias", "missing");
    tiny_file_free(file);

    file = file_of(&plain);
    add(file, &plain, "pooler.dense.weight", 2, WIDTH, WIDTH);
    write_directory(*state, file, "");
    expect_refused(*state, "bert.pooler.dense.bias", "missing");
    tiny_file_free(file);

    file = file_of(&plain);
    add_copy(file, "bert.cls.predictions.bias", "cls.predictions.bias", 1, VOCABULARY, 0);
    write_directory(*state, file, "");
    expect_refused(*state, "bert.cls.predictions.bias", "unexpected");
    tiny_file_free(file);

    file = file_of(&plain);
    add_copy(file, "bert.embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight", 1, WIDTH, 0);
    write_directory(*state, file, "");
    expect_refused(*state, "bert.embeddings.LayerNorm.weight", "is there twice (as bert.embeddings.LayerNorm.gamma too)");
    tiny_file_free(file);
}

static void configs_that_are_not_supported_get_one_clear_sentence(void **state)
{
    static const struct { const char *more, *pointer, *words; } rows[] = {
        {", \"is_decoder\": true", "/is_decoder", "only looks back is not supported"},
        {", \"add_cross_attention\": true", "/add_cross_attention", "cross attention"},
        {", \"tie_word_embeddings\": false", "/tie_word_embeddings", "use a tied one"},
        {", \"position_embedding_type\": \"relative_key\"", "/position_embedding_type", "relative positions"},
        {", \"hidden_act\": \"mish\"", "/hidden_act", "must be one of"},
        {", \"hidden_dropout_prob\": 2", "/hidden_dropout_prob", "from 0 to 1"},
    };
    const struct variant variant = {.prefixed = true};
    struct tiny_file *file = file_of(&variant);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_directory(*state, file, rows[i].more);
        expect_refused(*state, rows[i].pointer, rows[i].words);
    }
    tiny_file_free(file);
    struct config config;
    struct error error = {0};
    static const char odd[] = "{\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"hidden_size\": 7, "
        "\"num_attention_heads\": 2, \"intermediate_size\": 10, \"max_position_embeddings\": 7, \"vocab_size\": 11}";
    assert_fails(config_parse(&config, odd, strlen(odd), &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/num_attention_heads");
}

/* Defaults of BertConfig; a config of one's own says no dropout and no padding token. */
static void configs_have_their_defaults_and_fresh_ones_are_complete(void **state)
{
    (void)state;
    struct config config;
    struct error error = {0};
    char *text;
    static const char least[] = "{\"model_type\": \"bert\", \"num_hidden_layers\": 2, \"hidden_size\": 8, "
        "\"num_attention_heads\": 2, \"intermediate_size\": 10, \"max_position_embeddings\": 7, \"vocab_size\": 11}";
    assert_ok(config_parse(&config, least, strlen(least), &error), &error);
    assert_true(config.shape.types == 2 && config.shape.tied && config.shape.norm_epsilon == 1e-12);
    assert_true(config.shape.activation == ACTIVATION_GELU_ERF && !config.shape.pooler && !config.shape.next_sentence);
    struct shape shape = config.shape;
    config_fini(&config);
    assert_ok(config_patch(NULL, &shape, DTYPE_F32, &text, &error), &error);
    assert_contains(text, "\"hidden_dropout_prob\":\t0.0");
    assert_contains(text, "\"pad_token_id\":\tnull");
    assert_ok(config_parse(&config, text, strlen(text), &error), &error);
    assert_true(shape_equal(&config.shape, &shape));
    config_fini(&config);
    memory_free(text);
}

static void loading_fails_cleanly_at_every_allocation(void **state)
{
    const struct variant variant = {.prefixed = true, .old_names = true, .pooler = true, .decoder = true};
    struct tiny_file *file = file_of(&variant);
    add_decoder(file, &variant);
    write_directory(*state, file, "");
    tiny_file_free(file);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct checkpoint checkpoint;
        struct error error = {0};
        int code = checkpoint_load(&checkpoint, *state, NULL, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            checkpoint_fini(&checkpoint);
        }
    }
}

TEST_MAIN(IN_DIRECTORY(every_layout_loads_and_is_saved_in_todays_names),
          IN_DIRECTORY(a_copy_alone_stands_for_the_tensor), IN_DIRECTORY(files_that_do_not_fit_are_refused),
          IN_DIRECTORY(configs_that_are_not_supported_get_one_clear_sentence),
          cmocka_unit_test(configs_have_their_defaults_and_fresh_ones_are_complete),
          IN_DIRECTORY(loading_fails_cleanly_at_every_allocation))
