/* The tensor table of mixtral: names with two numbers, counts, FLOPs of the active experts, config.json as transformers 4
 * and 5 write it, and directories. */
#include "tests/support/oracle.h"
#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "model/config.h"

static struct shape mixtral_8x7b(void)
{
    return (struct shape){.family = FAMILY_MIXTRAL, .layers = 32, .width = 4096, .heads = 32, .kv_heads = 8,
                          .head_size = 128, .ff = 14336, .context = 32768, .vocabulary = 32000, .experts = 8, .top_k = 2,
                          .router_aux = 0.02, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5, .rope = {.theta = 1e6}};
}

/* ---- the table ---- */

/* The published model's number of parameters, 46.7 billion, of which a token's products pass 12.7. */
static void parameters_and_active_weights_are_those_of_the_published_model(void **state)
{
    (void)state;
    struct shape shape = mixtral_8x7b();
    struct error error = {0};
    const uint64_t expert = 3ull * 4096 * 14336, all = 46702792704;
    assert_ok(shape_check(&shape, &error), &error);
    assert_int_equal(shape_parameters(&shape), all);
    assert_int_equal(shape_product_weights(&shape), all - 32 * 6 * expert - 32000ull * 4096 - (2 * 32 + 1) * 4096);
    assert_true(shape_flops_per_token(&shape, 512) ==
                6.0 * (double)shape_product_weights(&shape) + 12.0 * 32 * 32 * 128 * 512);
}

static void tensors_have_the_names_and_places_of_their_experts(void **state)
{
    (void)state;
    struct shape shape = mixtral_8x7b();
    struct tensor_table table;
    struct error error = {0};
    shape.layers = 2, shape.width = 8, shape.ff = 6, shape.experts = 11, shape.heads = shape.kv_heads = 1;
    shape.head_size = 2, shape.vocabulary = 5;
    static const struct { const char *name; enum role role; int layer, nth, rows, columns; } rows[] = {
        {"layers.1.block_sparse_moe.gate.weight", ROLE_ROUTER, 1, 0, 11, 8},
        {"layers.0.block_sparse_moe.experts.0.w1.weight", ROLE_GATE, 0, 0, 6, 8},
        {"layers.1.block_sparse_moe.experts.10.w1.weight", ROLE_GATE, 1, 10, 6, 8},
        {"layers.1.block_sparse_moe.experts.3.w3.weight", ROLE_UP, 1, 3, 6, 8},
        {"layers.0.block_sparse_moe.experts.9.w2.weight", ROLE_DOWN, 0, 9, 8, 6},
    };
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    assert_int_equal(table.count, 3 + 2 * (7 + 3 * 11));
    assert_int_equal(table.parameters, shape_parameters(&shape));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct tensor *tensor = tensor_find(&table, rows[i].name);
        assert_non_null(tensor);
        assert_ptr_equal(tensor, tensor_find_role(&table, rows[i].role, rows[i].layer, rows[i].nth));
        assert_true(tensor->layer == rows[i].layer && tensor->expert == rows[i].nth);
        assert_true(tensor->dims[0] == rows[i].rows && tensor->dims[1] == rows[i].columns);
    }
    for (int i = 0; i < table.count; i++)
        assert_ptr_equal(tensor_find(&table, table.tensors[i].name), &table.tensors[i]);
    static const char *const none[] = {
        "layers.1.block_sparse_moe.experts.11.w1.weight", "layers.2.block_sparse_moe.experts.0.w1.weight",
        "layers.1.block_sparse_moe.experts.01.w1.weight", "layers.1.block_sparse_moe.experts..w1.weight",
        "layers.1.block_sparse_moe.experts.99999999999999.w1.weight", "layers.1.mlp.gate_proj.weight",
        "layers.1.block_sparse_moe.experts.0.w4.weight", "layers.1.block_sparse_moe.experts.%d.w1.weight",
    };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_null(tensor_find(&table, none[i]));
    assert_null(tensor_find_role(&table, ROLE_GATE, 1, 11));
    tensor_table_fini(&table);
}

static void shapes_without_proper_experts_are_refused(void **state)
{
    (void)state;
    static const struct { int experts, top_k; double aux; const char *pointer; } rows[] = {
        {0, 0, 0, "/experts"}, {65, 2, 0, "/experts"}, {4, 0, 0, "/top_k"}, {4, 5, 0, "/top_k"}, {4, 2, -1, "/router_aux"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct shape good = mixtral_8x7b(), shape = good;
        struct error error = {0};
        shape.experts = rows[i].experts, shape.top_k = rows[i].top_k, shape.router_aux = rows[i].aux;
        assert_fails(shape_check(&shape, &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, rows[i].pointer);
        assert_false(shape_equal(&shape, &good));
    }
}

/* ---- config.json ---- */

#define SIZES "\"num_hidden_layers\": 3, \"hidden_size\": 12, \"num_attention_heads\": 8, \"head_dim\": 2, "         \
              "\"intermediate_size\": 20, \"max_position_embeddings\": 32, \"vocab_size\": 50"
#define MIXTRAL(more) "{\"model_type\": \"mixtral\", " SIZES more "}"

static struct shape shape_of(const char *text)
{
    struct config config;
    struct error error = {0};
    assert_ok(config_parse(&config, text, strlen(text), &error), &error);
    struct shape shape = config.shape;
    config_fini(&config);
    return shape;
}

static struct shape expected_shape(void)
{
    return (struct shape){.family = FAMILY_MIXTRAL, .layers = 3, .width = 12, .heads = 8, .kv_heads = 8, .head_size = 2,
                          .ff = 20, .context = 32, .vocabulary = 50, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5,
                          .rope = {.theta = 1e6}, .experts = 8, .top_k = 2, .router_aux = 0.001};
}

static void needed_keys_alone_give_the_defaults_of_transformers(void **state)
{
    (void)state;
    struct shape expected = expected_shape(), shape = shape_of(MIXTRAL(""));
    assert_true(shape_equal(&shape, &expected));
}

static void every_key_reaches_the_shape_in_either_spelling(void **state)
{
    (void)state;
#define KEYS ", \"num_key_value_heads\": 2, \"num_local_experts\": 6, \"num_experts_per_tok\": 3, "                        \
             "\"router_aux_loss_coef\": 0.02, \"sliding_window\": 7, \"rms_norm_eps\": 1e-6, "                           \
             "\"tie_word_embeddings\": true, \"output_router_logits\": true, \"router_jitter_noise\": 0.0"
    struct shape expected = expected_shape();
    expected.kv_heads = 2, expected.experts = 6, expected.top_k = 3, expected.router_aux = 0.02, expected.window = 7;
    expected.norm_epsilon = 1e-6, expected.tied = true, expected.rope.theta = 5e5;
    struct shape four = shape_of(MIXTRAL(KEYS ", \"rope_theta\": 500000.0, \"torch_dtype\": \"float32\""));
    struct shape five = shape_of(MIXTRAL(KEYS ", \"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"default\"}, "
                                         "\"dtype\": \"float32\""));
    assert_true(shape_equal(&four, &expected));
    assert_true(shape_equal(&five, &expected));
    assert_int_equal(shape_of(MIXTRAL(", \"sliding_window\": null, \"num_key_value_heads\": null")).kv_heads, 8);
    assert_true(shape_of(MIXTRAL(", \"router_aux_loss_coef\": 0")).router_aux == 0);
}

static void what_can_not_be_honoured_is_refused_by_key(void **state)
{
    (void)state;
    static const struct { const char *text, *pointer, *words; } rows[] = {
        {MIXTRAL(", \"router_jitter_noise\": 0.1"), "/router_jitter_noise", "is not 0"},
        {MIXTRAL(", \"router_jitter_noise\": \"no\""), "/router_jitter_noise", "is not 0"},
        {MIXTRAL(", \"router_aux_loss_coef\": -0.1"), "/router_aux_loss_coef", "at least 0"},
        {MIXTRAL(", \"router_aux_loss_coef\": \"much\""), "/router_aux_loss_coef", "at least 0"},
        {MIXTRAL(", \"num_local_experts\": 128"), "/experts", "from 1 to 64"},
        {MIXTRAL(", \"num_local_experts\": 0"), "/num_local_experts", "whole number from 1"},
        {MIXTRAL(", \"num_experts_per_tok\": 9"), "/top_k", "from 1 to the 8"},
        {MIXTRAL(", \"sliding_window\": 0"), "/sliding_window", "whole number from 1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct config config;
        struct error error = {0};
        assert_fails(config_parse(&config, rows[i].text, strlen(rows[i].text), &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, rows[i].pointer);
        assert_contains(error.message, rows[i].words);
    }
}

static char *patch(const char *text, const struct shape *shape)
{
    struct error error = {0};
    char *patched;
    assert_ok(config_patch(text, shape, DTYPE_F32, &patched, &error), &error);
    return patched;
}

/* Sizes are read back, of a fresh file and of one of another model type: what upcycling writes over a llama's. Floats keep
 * their point: transformers 5 wants it. */
static void written_configs_are_read_back(void **state)
{
    (void)state;
    static const char *const texts[] = {
        NULL, MIXTRAL(", \"router_aux_loss_coef\": 0.5, \"sliding_window\": 4"),
        "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], " SIZES ", \"rms_norm_eps\": 1e-06}",
        "{\"model_type\": \"llama\", " SIZES ", \"rope_parameters\": {}}",
        "{\"model_type\": \"mistral\", " SIZES ", \"sliding_window\": 9, \"rope_theta\": 10000.0}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (int variant = 0; variant < 2; variant++) {
            struct shape shape = expected_shape();
            shape.rope.theta = 1e4, shape.experts = 5, shape.router_aux = variant, shape.window = variant ? 6 : 0;
            char *text = patch(texts[i], &shape);
            struct shape again = shape_of(text);
            assert_true(shape_equal(&again, &shape));
            assert_contains(text, "[\"MixtralForCausalLM\"]");
            assert_contains(text, variant ? "\"router_aux_loss_coef\":\t1.0" : "\"router_aux_loss_coef\":\t0.0");
            assert_contains(text, "\"router_jitter_noise\":\t0.0");
            memory_free(text);
        }
}

/* ---- directories ---- */

static void saved_directories_load_as_they_were(void **state)
{
    static const char *const models[] = {"mixtral_a", "mixtral_b"};
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        struct oracle oracle;
        struct checkpoint again;
        struct error error = {0};
        const struct checkpoint_save options = {0};
        char path[FILE_PATH_BYTES];
        oracle_open(&oracle, models[i]);
        assert_ok(checkpoint_save(&oracle.checkpoint, test_path(path, *state, models[i]), &options, &error), &error);
        assert_ok(checkpoint_load(&again, path, NULL, &error), &error);
        assert_string_equal(again.hash, oracle.checkpoint.hash);
        assert_true(shape_equal(&again.table.shape, &oracle.checkpoint.table.shape));
        checkpoint_fini(&again);
        oracle_close(&oracle);
    }
}

/* A config that promises more experts than the file has names the first that is missing. */
static void experts_that_are_missing_are_named(void **state)
{
    struct oracle oracle;
    struct checkpoint again;
    struct error error = {0};
    const struct checkpoint_save options = {0};
    char path[FILE_PATH_BYTES], config[FILE_PATH_BYTES];
    oracle_open(&oracle, "mixtral_b");
    assert_ok(checkpoint_save(&oracle.checkpoint, test_path(path, *state, "fewer"), &options, &error), &error);
    oracle.checkpoint.table.shape.experts = 4;
    char *text = patch(NULL, &oracle.checkpoint.table.shape);
    test_write_file(test_path(config, path, "config.json"), text, strlen(text));
    assert_fails(checkpoint_load(&again, path, NULL, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "block_sparse_moe.gate.weight");
    assert_contains(error.message, "num_local_experts");
    memory_free(text);
    oracle_close(&oracle);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)
TEST_MAIN(cmocka_unit_test(parameters_and_active_weights_are_those_of_the_published_model),
          cmocka_unit_test(tensors_have_the_names_and_places_of_their_experts),
          cmocka_unit_test(shapes_without_proper_experts_are_refused),
          cmocka_unit_test(needed_keys_alone_give_the_defaults_of_transformers),
          cmocka_unit_test(every_key_reaches_the_shape_in_either_spelling),
          cmocka_unit_test(what_can_not_be_honoured_is_refused_by_key),
          cmocka_unit_test(written_configs_are_read_back), IN_DIRECTORY(saved_directories_load_as_they_were),
          IN_DIRECTORY(experts_that_are_missing_are_named))
