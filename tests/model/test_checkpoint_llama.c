/* Directories of llama, mistral and qwen2 models: names, heads, buffers that are no parameters. */
#include "tests/support/oracle.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

#include <string.h>

#include "base/memory.h"
#include "model/kernels.h"

enum { WIDTH = 6, HEADS = 4, KV = 2, HEAD_SIZE = 2, FF = 5, VOCABULARY = 7 };

#define CONFIG(type, more) "{\"model_type\": \"" type "\", \"num_hidden_layers\": 1, \"hidden_size\": 6, "          \
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"head_dim\": 2, \"intermediate_size\": 5, "            \
    "\"max_position_embeddings\": 8, \"vocab_size\": 7" more "}"

static void add(struct tiny_file *file, const char *prefix, const char *bare, int rank, int rows, int columns)
{
    char name[96];
    uint64_t dims[2] = {(uint64_t)rows, (uint64_t)columns};
    snprintf(name, sizeof name, "%s%s", prefix, bare);
    struct tiny_tensor *tensor = tiny_file_add(file, name, "F32", rank, dims);
    for (size_t i = 0; i < (size_t)rows * (size_t)(rank == 2 ? columns : 1); i++)
        tiny_tensor_set(tensor, i, tiny_value(bare, i));
}

/* A tied llama of one layer, written by hand. */
static struct tiny_file *llama_file(const char *prefix)
{
    struct tiny_file *file = tiny_file_new();
    add(file, prefix, "embed_tokens.weight", 2, VOCABULARY, WIDTH);
    add(file, prefix, "layers.0.input_layernorm.weight", 1, WIDTH, 0);
    add(file, prefix, "layers.0.self_attn.q_proj.weight", 2, HEADS * HEAD_SIZE, WIDTH);
    add(file, prefix, "layers.0.self_attn.k_proj.weight", 2, KV * HEAD_SIZE, WIDTH);
    add(file, prefix, "layers.0.self_attn.v_proj.weight", 2, KV * HEAD_SIZE, WIDTH);
    add(file, prefix, "layers.0.self_attn.o_proj.weight", 2, WIDTH, HEADS * HEAD_SIZE);
    add(file, prefix, "layers.0.post_attention_layernorm.weight", 1, WIDTH, 0);
    add(file, prefix, "layers.0.mlp.gate_proj.weight", 2, FF, WIDTH);
    add(file, prefix, "layers.0.mlp.up_proj.weight", 2, FF, WIDTH);
    add(file, prefix, "layers.0.mlp.down_proj.weight", 2, WIDTH, FF);
    add(file, prefix, "norm.weight", 1, WIDTH, 0);
    return file;
}

static void add_biases(struct tiny_file *file)
{
    add(file, "model.", "layers.0.self_attn.q_proj.bias", 1, HEADS * HEAD_SIZE, 0);
    add(file, "model.", "layers.0.self_attn.k_proj.bias", 1, KV * HEAD_SIZE, 0);
    add(file, "model.", "layers.0.self_attn.v_proj.bias", 1, KV * HEAD_SIZE, 0);
}

/* Writes and loads; takes the file. */
static int load(const char *directory, const char *config, struct tiny_file *file, struct checkpoint *checkpoint,
                struct error *error)
{
    char path[FILE_PATH_BYTES];
    test_write_file(test_path(path, directory, "config.json"), config, strlen(config));
    tiny_file_write(file, test_path(path, directory, "model.safetensors"));
    tiny_file_free(file);
    return checkpoint_load(checkpoint, directory, NULL, error);
}

static void weights_reach_their_tensors_with_and_without_prefix(void **state)
{
    const char *directory = *state;
    char hash[HASH_HEX_BYTES] = "";
    for (int prefixed = 0; prefixed < 2; prefixed++) {
        struct checkpoint checkpoint;
        struct error error = {0};
        assert_ok(load(directory, CONFIG("llama", ", \"tie_word_embeddings\": true"),
                       llama_file(prefixed ? "model." : ""), &checkpoint, &error), &error);
        assert_int_equal(checkpoint.prefixed, prefixed);
        for (int t = 0; t < checkpoint.table.count; t++) {
            const struct tensor *tensor = &checkpoint.table.tensors[t];
            for (size_t i = 0; i < tensor->count; i++)
                assert_true(checkpoint.weights[tensor->offset + i] == tiny_value(tensor->name, i));
        }
        if (prefixed)
            assert_string_equal(checkpoint.hash, hash);
        memcpy(hash, checkpoint.hash, sizeof hash);
        checkpoint_fini(&checkpoint);
    }
}

static void frequencies_that_ship_are_ignored(void **state)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    struct tiny_file *file = llama_file("model.");
    add(file, "model.", "layers.0.self_attn.rotary_emb.inv_freq", 1, 1, 0);
    add(file, "model.", "rotary_emb.inv_freq", 1, 1, 0);
    assert_ok(load(*state, CONFIG("llama", ", \"tie_word_embeddings\": true"), file, &checkpoint, &error), &error);
    assert_int_equal(checkpoint.table.count, 11);
    checkpoint_fini(&checkpoint);
}

/* The head is beside the model: without the prefix. An equal copy of a tied one is taken, another is not. */
static void heads_are_checked_against_the_config(void **state)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    const char *tied = CONFIG("llama", ", \"tie_word_embeddings\": true"), *own = CONFIG("llama", "");
    struct tiny_file *file = llama_file("model.");
    const uint64_t dims[2] = {VOCABULARY, WIDTH};
    struct tiny_tensor *copy = tiny_file_add(file, "lm_head.weight", "F32", 2, dims);
    for (size_t i = 0; i < VOCABULARY * WIDTH; i++)
        tiny_tensor_set(copy, i, tiny_value("embed_tokens.weight", i));
    assert_ok(load(*state, tied, file, &checkpoint, &error), &error);
    assert_null(tensor_find_role(&checkpoint.table, ROLE_HEAD, -1, 0));
    checkpoint_fini(&checkpoint);

    file = llama_file("model.");
    add(file, "", "lm_head.weight", 2, VOCABULARY, WIDTH);
    assert_fails(load(*state, tied, file, &checkpoint, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "tie_word_embeddings");
    error_clear(&error);

    file = llama_file("model.");
    add(file, "", "lm_head.weight", 2, VOCABULARY, WIDTH);
    assert_ok(load(*state, own, file, &checkpoint, &error), &error);
    assert_non_null(tensor_find_role(&checkpoint.table, ROLE_HEAD, -1, 0));
    checkpoint_fini(&checkpoint);

    assert_fails(load(*state, own, llama_file("model."), &checkpoint, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "lm_head.weight");
}

static void biases_follow_the_family(void **state)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    const char *qwen2 = CONFIG("qwen2", ", \"tie_word_embeddings\": true");
    struct tiny_file *file = llama_file("model.");
    add_biases(file);
    assert_ok(load(*state, qwen2, file, &checkpoint, &error), &error);
    checkpoint_fini(&checkpoint);
    assert_fails(load(*state, qwen2, llama_file("model."), &checkpoint, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "q_proj.bias");
    error_clear(&error);
    file = llama_file("model.");
    add_biases(file);
    assert_fails(load(*state, CONFIG("mistral", ", \"tie_word_embeddings\": true"), file, &checkpoint, &error),
                 ERROR_INVALID, &error);
    assert_contains(error.message, "unexpected");
    error_clear(&error);
    file = llama_file("model.");
    add_biases(file);
    assert_fails(load(*state, CONFIG("llama", ", \"tie_word_embeddings\": true, \"attention_bias\": true"), file,
                      &checkpoint, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "o_proj.bias");
}

static void sizes_that_disagree_name_the_key(void **state)
{
    struct checkpoint checkpoint;
    struct error error = {0};
    assert_fails(load(*state, CONFIG("llama", ", \"tie_word_embeddings\": true, \"sliding_window\": 3"),
                      llama_file("other."), &checkpoint, &error), ERROR_INVALID, &error);
    error_clear(&error);
    struct tiny_file *file = llama_file("model.");
    tiny_file_remove(file, "model.layers.0.self_attn.k_proj.weight");
    add(file, "model.", "layers.0.self_attn.k_proj.weight", 2, HEADS * HEAD_SIZE, WIDTH);
    assert_fails(load(*state, CONFIG("llama", ", \"tie_word_embeddings\": true"), file, &checkpoint, &error),
                 ERROR_INVALID, &error);
    assert_contains(error.message, "num_key_value_heads");
}

static void saved_directories_load_as_they_were(void **state)
{
    static const char *const models[] = {"llama_a", "llama_b", "mistral_a", "mistral_b", "qwen2_a", "qwen2_b"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct oracle oracle;
        struct checkpoint again;
        struct error error = {0};
        const struct checkpoint_save options = {0};
        char path[FILE_PATH_BYTES];
        oracle_open(&oracle, models[i]);
        test_path(path, *state, models[i]);
        assert_ok(checkpoint_save(&oracle.checkpoint, path, &options, &error), &error);
        assert_ok(checkpoint_load(&again, path, NULL, &error), &error);
        assert_string_equal(again.hash, oracle.checkpoint.hash);
        assert_true(shape_equal(&again.table.shape, &oracle.checkpoint.table.shape));
        checkpoint_fini(&again);
        oracle_close(&oracle);
    }
}

/* transformers: normal values of initializer_range everywhere, gains 1, biases 0. */
static void fresh_models_start_as_those_of_transformers(void **state)
{
    (void)state;
    const struct shape shape = {.family = FAMILY_LLAMA, .layers = 2, .width = 48, .heads = 6, .kv_heads = 3, .head_size = 8,
                                .ff = 96, .context = 8, .vocabulary = 80, .activation = ACTIVATION_SILU,
                                .norm_epsilon = 1e-5, .rope = {.theta = 1e4}, .attention_bias = true, .mlp_bias = true};
    struct checkpoint checkpoint;
    struct error error = {0};
    assert_ok(checkpoint_init(&checkpoint, &shape, &error), &error);
    checkpoint_randomize(&checkpoint, 5);
    for (int t = 0; t < checkpoint.table.count; t++) {
        const struct tensor *tensor = &checkpoint.table.tensors[t];
        double squares = 0;
        for (size_t i = 0; i < tensor->count; i++)
            squares += (double)checkpoint.weights[tensor->offset + i] * checkpoint.weights[tensor->offset + i];
        double mean = squares / (double)tensor->count;
        if (tensor->row->rank == 1)
            assert_true(mean == (strstr(tensor->name, "norm") != NULL ? 1 : 0));
        else
            assert_near(mean / (0.02 * 0.02), 1, 0.15);
    }
    checkpoint_fini(&checkpoint);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)
TEST_MAIN(IN_DIRECTORY(weights_reach_their_tensors_with_and_without_prefix),
          IN_DIRECTORY(frequencies_that_ship_are_ignored), IN_DIRECTORY(heads_are_checked_against_the_config),
          IN_DIRECTORY(biases_follow_the_family), IN_DIRECTORY(sizes_that_disagree_name_the_key),
          IN_DIRECTORY(saved_directories_load_as_they_were), cmocka_unit_test(fresh_models_start_as_those_of_transformers))
