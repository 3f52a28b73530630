/* T5's config.json, and what its files decide: whether the head is tied, and copies of the embedding that may ship. */
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "tests/support/tiny_checkpoint.h"

#define SIZES "\"model_type\": \"t5\", \"num_layers\": 1, \"d_model\": 6, \"d_kv\": 2, \"d_ff\": 5, " \
              "\"num_heads\": 2, \"vocab_size\": 9"

static void parse(struct config *config, const char *more)
{
    char text[512];
    struct error error = {0};
    snprintf(text, sizeof text, "{" SIZES "%s}", more);
    assert_ok(config_parse(config, text, strlen(text), &error), &error);
}

static void defaults_are_those_of_transformers(void **state)
{
    (void)state;
    struct config config;
    parse(&config, "");
    const struct shape *shape = &config.shape;
    assert_true(shape->layers == 1 && shape->decoder_layers == 1 && shape->width == 6 && shape->head_size == 2);
    assert_true(shape->heads == 2 && shape->kv_heads == 2 && shape->ff == 5 && shape->vocabulary == 9);
    assert_true(shape->context == 512 && shape->buckets == 32 && shape->bucket_distance == 128);
    assert_true(shape->tied && shape->scaled_head && !shape->gated && shape->activation == ACTIVATION_RELU);
    assert_true(shape->norm_epsilon == 1e-6);
    config_fini(&config);
}

static void every_key_is_read(void **state)
{
    (void)state;
    struct config config;
    parse(&config, ", \"num_decoder_layers\": 3, \"n_positions\": 40, \"relative_attention_num_buckets\": 8, "
          "\"relative_attention_max_distance\": 20, \"layer_norm_epsilon\": 1e-5, "
          "\"feed_forward_proj\": \"gated-gelu\", \"dense_act_fn\": \"gelu_new\", \"is_gated_act\": true, "
          "\"tie_word_embeddings\": false, \"dropout_rate\": 0.1");
    const struct shape *shape = &config.shape;
    assert_true(shape->decoder_layers == 3 && shape->context == 40 && shape->buckets == 8);
    assert_true(shape->bucket_distance == 20 && shape->norm_epsilon == 1e-5 && config.dropout == 0.1);
    assert_true(shape->gated && shape->activation == ACTIVATION_GELU_TANH && !shape->tied && !shape->scaled_head);
    config_fini(&config);
    parse(&config, ", \"tie_word_embeddings\": true, \"scale_decoder_outputs\": false");
    assert_true(config.shape.tied && !config.shape.scaled_head);
    config_fini(&config);
}

struct refusal { const char *more, *pointer; };

static void what_is_not_supported_is_named(void **state)
{
    static const struct refusal refusals[] = {
        {", \"feed_forward_proj\": \"gated-silu\"", "/feed_forward_proj"},
        {", \"feed_forward_proj\": \"gelu\"", "/feed_forward_proj"},
        {", \"feed_forward_proj\": 3", "/feed_forward_proj"},
        {", \"feed_forward_proj\": \"gated-gelu\", \"dense_act_fn\": \"silu\"", "/dense_act_fn"},
        {", \"is_encoder_decoder\": false", "/is_encoder_decoder"},
        {", \"tie_word_embeddings\": 1", "/tie_word_embeddings"},
        {", \"scale_decoder_outputs\": \"yes\"", "/scale_decoder_outputs"},
        {", \"relative_attention_num_buckets\": 3", "/buckets"},
        {", \"relative_attention_max_distance\": 16", "/bucket_distance"},
        {", \"num_decoder_layers\": 9000", "/decoder_layers"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct config config;
        struct error error = {0};
        char text[512];
        snprintf(text, sizeof text, "{" SIZES "%s}", refusals[i].more);
        assert_fails(config_parse(&config, text, strlen(text), &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, refusals[i].pointer);
    }
}

/* A patched text reads back as the shape it was patched with; tying is the file's to say, so only the scale is compared
 * where the two part. */
static void patched_texts_read_back(void **state)
{
    (void)state;
    for (int run = 0; run < 8; run++) {
        struct config config, again;
        struct error error = {0};
        char *text;
        parse(&config, run & 1 ? ", \"dense_act_fn\": \"relu\", \"is_gated_act\": false, \"n_positions\": 40" : "");
        struct shape shape = config.shape;
        shape.layers = 4;
        shape.decoder_layers = 5;
        shape.width = 12;
        shape.heads = shape.kv_heads = 3;
        shape.ff = 11;
        shape.gated = run & 2;
        shape.activation = shape.gated ? ACTIVATION_GELU_TANH : ACTIVATION_RELU;
        shape.tied = shape.scaled_head = run & 4;
        assert_ok(config_patch(run & 1 ? config.text : NULL, &shape, DTYPE_F32, &text, &error), &error);
        assert_contains(text, "T5ForConditionalGeneration");
        assert_null(strstr(text, "scale_decoder_outputs"));
        assert_ok(config_parse(&again, text, strlen(text), &error), &error);
        assert_true(shape_equal(&again.shape, &shape));
        memory_free(text);
        config_fini(&again);
        shape.scaled_head = !shape.tied;
        assert_ok(config_patch(config.text, &shape, DTYPE_F32, &text, &error), &error);
        assert_contains(text, "scale_decoder_outputs");
        assert_ok(config_parse(&again, text, strlen(text), &error), &error);
        assert_true(again.shape.scaled_head == shape.scaled_head);
        memory_free(text);
        config_fini(&again);
        config_fini(&config);
    }
}

static void reading_and_patching_fail_cleanly_at_every_allocation(void **state)
{
    int rounds = 0;
    (void)state;
    static const char text[] = "{" SIZES ", \"feed_forward_proj\": \"gated-gelu\", \"dense_act_fn\": \"gelu_new\", "
                               "\"is_gated_act\": true, \"scale_decoder_outputs\": true}";
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct config config;
        struct error error = {0};
        char *patched = NULL;
        int code = config_parse(&config, text, strlen(text), &error);
        if (code == 0) {
            code = config_patch(config.text, &config.shape, DTYPE_F32, &patched, &error);
            config_fini(&config);
        }
        assert_int_equal(code, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
        memory_free(patched);
        rounds++;
    }
    assert_true(rounds > 20);
}

/* ---- what the file decides ---- */

static void add(struct tiny_file *file, const char *name, int rank, int rows, int columns)
{
    uint64_t dims[2] = {(uint64_t)rows, (uint64_t)columns};
    struct tiny_tensor *tensor = tiny_file_add(file, name, "F32", rank, dims);
    for (size_t i = 0; i < (size_t)rows * (size_t)(rank == 2 ? columns : 1); i++)
        tiny_tensor_set(tensor, i, tiny_value(name, i));
}

static void add_attention(struct tiny_file *file, const char *prefix)
{
    static const char *const parts[] = {"q", "k", "v", "o"};
    char name[96];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s.weight", prefix, parts[i]);
        add(file, name, 2, i == 3 ? 6 : 4, i == 3 ? 4 : 6);
    }
}

static void add_stack(struct tiny_file *file, const char *stack, bool decoder)
{
    char name[96];
    int norms = decoder ? 3 : 2;
    snprintf(name, sizeof name, "%s.block.0.layer.0.SelfAttention", stack);
    add_attention(file, name);
    snprintf(name, sizeof name, "%s.block.0.layer.0.SelfAttention.relative_attention_bias.weight", stack);
    add(file, name, 2, 32, 2);
    if (decoder)
        add_attention(file, "decoder.block.0.layer.1.EncDecAttention");
    for (int i = 0; i < norms; i++) {
        snprintf(name, sizeof name, "%s.block.0.layer.%d.layer_norm.weight", stack, i);
        add(file, name, 1, 6, 0);
    }
    snprintf(name, sizeof name, "%s.block.0.layer.%d.DenseReluDense.wi.weight", stack, norms - 1);
    add(file, name, 2, 5, 6);
    snprintf(name, sizeof name, "%s.block.0.layer.%d.DenseReluDense.wo.weight", stack, norms - 1);
    add(file, name, 2, 6, 5);
    snprintf(name, sizeof name, "%s.final_layer_norm.weight", stack);
    add(file, name, 1, 6, 0);
}

/* A copy of shared.weight under another name; `differs`: not quite. */
static void add_copy(struct tiny_file *file, const char *name, bool differs)
{
    uint64_t dims[2] = {9, 6};
    struct tiny_tensor *tensor = tiny_file_add(file, name, "F32", 2, dims);
    for (size_t i = 0; i < 54; i++)
        tiny_tensor_set(tensor, i, tiny_value("shared.weight", i));
    if (differs)
        tiny_tensor_set(tensor, 53, 0.25f);
}

/* Loads what `file` holds beside a config.json with `more`; frees the file. */
static int load(const char *directory, struct tiny_file *file, const char *more, struct checkpoint *checkpoint,
                struct error *error)
{
    char path[FILE_PATH_BYTES], text[512];
    snprintf(text, sizeof text, "{" SIZES "%s}", more);
    test_write_file(test_path(path, directory, "config.json"), text, strlen(text));
    tiny_file_write(file, test_path(path, directory, "model.safetensors"));
    tiny_file_free(file);
    error_clear(error);
    return checkpoint_load(checkpoint, directory, NULL, error);
}

static struct tiny_file *t5_file(void)
{
    struct tiny_file *file = tiny_file_new();
    add(file, "shared.weight", 2, 9, 6);
    add_stack(file, "encoder", false);
    add_stack(file, "decoder", true);
    return file;
}

struct head_case { const char *title, *more; int head; bool tied, scaled; };   /* head: 0 none, 1 a copy, 2 its own */

static void the_head_is_the_files_to_decide(void **state)
{
    static const struct head_case cases[] = {
        {"none, tied", "", 0, true, true},
        {"none, not tied", ", \"tie_word_embeddings\": false", 0, true, false},
        {"a copy, tied", "", 1, true, true},
        {"a copy, not tied", ", \"tie_word_embeddings\": false", 1, false, false},
        {"own, not tied", ", \"tie_word_embeddings\": false", 2, false, false},
        {"own, as newer versions write it", ", \"scale_decoder_outputs\": false", 2, false, false},
        {"own, scaled", ", \"tie_word_embeddings\": true", 2, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tiny_file *file = t5_file();
        struct checkpoint checkpoint;
        struct error error = {0};
        print_message("  %s\n", cases[i].title);
        if (cases[i].head > 0)
            add_copy(file, "lm_head.weight", cases[i].head == 2);
        assert_ok(load(*state, file, cases[i].more, &checkpoint, &error), &error);
        assert_true(checkpoint.table.shape.tied == cases[i].tied);
        assert_true(checkpoint.table.shape.scaled_head == cases[i].scaled);
        assert_true((tensor_find(&checkpoint.table, "lm_head.weight") != NULL) == !cases[i].tied);
        checkpoint_fini(&checkpoint);
    }
}

static void copies_of_the_embedding_are_ignored_if_equal(void **state)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    struct tiny_file *file = t5_file();
    add_copy(file, "encoder.embed_tokens.weight", false);
    add_copy(file, "decoder.embed_tokens.weight", false);
    uint64_t dims[2] = {32, 2};
    tiny_file_add(file, "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", "F32", 2, dims);
    assert_ok(load(*state, file, "", &checkpoint, &error), &error);
    assert_int_equal(checkpoint.table.count, 1 + 2 + 8 + 1 + 13 + 1);
    assert_false(checkpoint.prefixed);
    checkpoint_fini(&checkpoint);
    file = t5_file();
    add_copy(file, "decoder.embed_tokens.weight", true);
    assert_fails(load(*state, file, "", &checkpoint, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "\"decoder.embed_tokens.weight\" is not equal to \"shared.weight\"");
}

static void what_does_not_fit_is_named_by_its_key(void **state)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    struct tiny_file *file = t5_file();
    assert_fails(load(*state, file, ", \"num_decoder_layers\": 2", &checkpoint, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "decoder.block.1.layer.0.layer_norm.weight: missing");
    file = t5_file();
    assert_fails(load(*state, file, ", \"relative_attention_num_buckets\": 16", &checkpoint, &error), ERROR_INVALID,
                 &error);
    assert_contains(error.message, "fix relative_attention_num_buckets");
    file = t5_file();
    assert_fails(load(*state, file, ", \"feed_forward_proj\": \"gated-gelu\"", &checkpoint, &error), ERROR_INVALID,
                 &error);
    assert_contains(error.message, "DenseReluDense.wi.weight: unexpected");
}

/* Written and read again: the same tensors under the same names, nothing besides. */
static void saved_models_load_again(void **state)
{
    struct checkpoint checkpoint, again;
    struct error error = {0};
    char out[FILE_PATH_BYTES];
    for (int own = 0; own < 2; own++) {
        struct tiny_file *file = t5_file();
        if (own)
            add_copy(file, "lm_head.weight", true);
        assert_ok(load(*state, file, own ? ", \"tie_word_embeddings\": false" : "", &checkpoint, &error), &error);
        test_path(out, *state, own ? "own" : "tied");
        struct checkpoint_save save = {0};
        assert_ok(checkpoint_save(&checkpoint, out, &save, &error), &error);
        assert_ok(checkpoint_load(&again, out, NULL, &error), &error);
        assert_true(shape_equal(&again.table.shape, &checkpoint.table.shape));
        assert_memory_equal(again.weights, checkpoint.weights, checkpoint.table.slab * sizeof(float));
        checkpoint_fini(&again);
        checkpoint_fini(&checkpoint);
    }
}

static void random_models_start_as_transformers_starts_them(void **state)
{
    (void)state;
    struct shape shape = {
        .family = FAMILY_T5, .layers = 1, .decoder_layers = 1, .width = 64, .heads = 4, .kv_heads = 4, .head_size = 25,
        .ff = 36, .context = 8, .vocabulary = 100, .activation = ACTIVATION_RELU, .norm_epsilon = 1e-6, .buckets = 32,
        .bucket_distance = 128,
    };
    static const struct { const char *name; double deviation; } rows[] = {
        {"shared.weight", 1}, {"lm_head.weight", 1}, {"encoder.block.0.layer.0.SelfAttention.q.weight", 1.0 / 40},
        {"encoder.block.0.layer.0.SelfAttention.k.weight", 1.0 / 8},
        {"decoder.block.0.layer.1.EncDecAttention.o.weight", 1.0 / 10},
        {"decoder.block.0.layer.2.DenseReluDense.wi.weight", 1.0 / 8},
        {"encoder.block.0.layer.1.DenseReluDense.wo.weight", 1.0 / 6},
        {"decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", 1.0 / 8},
        {"encoder.final_layer_norm.weight", 0},
    };
    struct checkpoint checkpoint;
    struct error error = {0};
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    checkpoint_randomize(&checkpoint, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct tensor *tensor = tensor_find(&checkpoint.table, rows[i].name);
        double center = rows[i].deviation == 0, squares = 0;
        for (size_t j = 0; j < tensor->count; j++) {
            double value = (double)checkpoint.weights[tensor->offset + j] - center;
            squares += value * value;
        }
        double expected = rows[i].deviation * rows[i].deviation * (double)tensor->count;
        assert_near(squares, expected, 0.3 * expected);
    }
    checkpoint_fini(&checkpoint);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)

TEST_MAIN(cmocka_unit_test(defaults_are_those_of_transformers), cmocka_unit_test(every_key_is_read),
          cmocka_unit_test(what_is_not_supported_is_named), cmocka_unit_test(patched_texts_read_back),
          cmocka_unit_test(reading_and_patching_fail_cleanly_at_every_allocation),
          IN_DIRECTORY(the_head_is_the_files_to_decide), IN_DIRECTORY(copies_of_the_embedding_are_ignored_if_equal),
          IN_DIRECTORY(what_does_not_fit_is_named_by_its_key), IN_DIRECTORY(saved_models_load_again),
          cmocka_unit_test(random_models_start_as_transformers_starts_them))
