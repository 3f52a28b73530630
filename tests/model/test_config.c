#include "model/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"

#define SIZES "\"n_layer\": 3, \"n_embd\": 12, \"n_head\": 4, \"n_positions\": 32, \"vocab_size\": 50"
#define GPT2(more) "{\"model_type\": \"gpt2\", " SIZES more "}"

static void parse(struct config *config, const char *text)
{
    struct error error = {0};
    assert_ok(config_parse(config, text, strlen(text), &error), &error);
}

static void needed_keys_alone_give_gpt2s_defaults(void **state)
{
    (void)state;
    struct config config;
    parse(&config, GPT2(""));
    const struct shape expected = {.family = FAMILY_GPT2, .layers = 3, .width = 12, .heads = 4, .kv_heads = 4,
                                   .head_size = 3, .ff = 48, .context = 32, .vocabulary = 50, .tied = true,
                                   .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5};
    assert_true(shape_equal(&config.shape, &expected));
    assert_true(config.dropout == 0);
    assert_string_equal(config.text, GPT2(""));
    config_fini(&config);
}

static void every_key_reaches_the_shape(void **state)
{
    (void)state;
    struct config config;
    parse(&config, GPT2(", \"n_inner\": 20, \"activation_function\": \"relu\", \"layer_norm_epsilon\": 1e-6, "
                        "\"tie_word_embeddings\": false, \"resid_pdrop\": 0.1, \"embd_pdrop\": 0.2, \"attn_pdrop\": 0, "
                        "\"reorder_and_upcast_attn\": true, \"scale_attn_weights\": true, \"add_cross_attention\": false, "
                        "\"quantization_config\": null, \"auto_map\": null, \"pruned_heads\": {}"));
    assert_int_equal(config.shape.ff, 20);
    assert_int_equal(config.shape.activation, ACTIVATION_RELU);
    assert_true(config.shape.norm_epsilon == 1e-6);
    assert_false(config.shape.tied);
    assert_true(config.dropout == 0.2);
    config_fini(&config);
    parse(&config, "{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_embd\": 2, \"n_head\": 1, \"n_ctx\": 7, "
                   "\"vocab_size\": 3, \"n_inner\": null}");
    assert_int_equal(config.shape.context, 7);
    assert_int_equal(config.shape.ff, 8);
    config_fini(&config);
    parse(&config, GPT2(", \"n_ctx\": 99"));
    assert_int_equal(config.shape.context, 32);
    config_fini(&config);
}

static void every_activation_and_alias_is_understood(void **state)
{
    (void)state;
    static const struct { const char *name; enum activation activation; } rows[] = {
        {"gelu_new", ACTIVATION_GELU_TANH}, {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH}, {"gelu_fast", ACTIVATION_GELU_TANH},
        {"gelu", ACTIVATION_GELU_ERF}, {"relu", ACTIVATION_RELU}, {"silu", ACTIVATION_SILU}, {"swish", ACTIVATION_SILU},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[400];
        struct config config;
        snprintf(text, sizeof text, GPT2(", \"activation_function\": \"%s\""), rows[i].name);
        parse(&config, text);
        assert_int_equal(config.shape.activation, rows[i].activation);
        config_fini(&config);
    }
}

static void what_can_not_be_honoured_is_refused_by_key(void **state)
{
    (void)state;
    static const struct { const char *text, *pointer, *words; } rows[] = {
        {"{" SIZES "}", "/model_type", "is missing; supported are gpt2"},
        {"{\"model_type\": \"gpt_neox\", " SIZES "}", "/model_type", "\"gpt_neox\" is not supported; supported are gpt2"},
        {"{\"model_type\": 2, " SIZES "}", "/model_type", "not supported"},
        {GPT2(", \"quantization_config\": {\"bits\": 4}"), "/quantization_config", "unquantized"},
        {GPT2(", \"auto_map\": {\"AutoModel\": \"x.Y\"}"), "/auto_map", "never run"},
        {GPT2(", \"pruned_heads\": {\"0\": [1]}"), "/pruned_heads", "pruned"},
        {GPT2(", \"add_cross_attention\": true"), "/add_cross_attention", "cross attention"},
        {GPT2(", \"scale_attn_by_inverse_layer_idx\": true"), "/scale_attn_by_inverse_layer_idx", "layer's number"},
        {GPT2(", \"scale_attn_weights\": false"), "/scale_attn_weights", "unscaled"},
        {GPT2(", \"scale_attn_weights\": \"yes\""), "/scale_attn_weights", "is not true"},
        {GPT2(", \"activation_function\": \"mish\""), "/activation_function", "must be one of gelu_new, gelu, relu, silu"},
        {GPT2(", \"activation_function\": 3"), "/activation_function", "must be one of"},
        {GPT2(", \"n_inner\": 0"), "/n_inner", "whole number from 1"},
        {GPT2(", \"n_inner\": 2.5"), "/n_inner", "whole number"},
        {GPT2(", \"n_inner\": \"8\""), "/n_inner", "whole number"},
        {GPT2(", \"n_inner\": 4294967296"), "/n_inner", "whole number"},
        {GPT2(", \"layer_norm_epsilon\": \"1e-5\""), "/layer_norm_epsilon", "number above 0"},
        {GPT2(", \"layer_norm_epsilon\": 0"), "/layer_norm_epsilon", "number above 0"},
        {GPT2(", \"tie_word_embeddings\": 1"), "/tie_word_embeddings", "true or false"},
        {GPT2(", \"resid_pdrop\": 1.5"), "/resid_pdrop", "from 0 to 1"},
        {"{\"model_type\": \"gpt2\", \"n_embd\": 12, \"n_head\": 4, \"n_positions\": 32, \"vocab_size\": 50}", "/n_layer",
         "is missing"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 1, \"n_embd\": 12, \"n_head\": 5, \"n_positions\": 32, "
         "\"vocab_size\": 50}", "/n_head", "n_embd 12 is not a multiple of n_head 5"},
        {"{\"model_type\": \"gpt2\", \"n_layer\": 9000, \"n_embd\": 12, \"n_head\": 4, \"n_positions\": 32, "
         "\"vocab_size\": 50}", "/layers", "from 1 to 8192"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        struct config config;
        assert_fails(config_parse(&config, rows[i].text, strlen(rows[i].text), &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, rows[i].pointer);
        assert_contains(error.message, rows[i].words);
        assert_contains(error.message, "config.json");
    }
}

static void text_that_is_no_strict_json_is_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *words; } rows[] = {
        {GPT2("") "x", "after the end"}, {GPT2(", \"n_layer\": 4"), "\"n_layer\" is there twice"}, {"[]", "not a JSON object"},
        {"", "ends too early"}, {GPT2(", \"n_inner\": 08"), "leading zero"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        struct config config;
        assert_fails(config_parse(&config, rows[i].text, strlen(rows[i].text), &error), ERROR_INVALID, &error);
        assert_contains(error.message, rows[i].words);
    }
}

static void files_over_the_limit_are_refused(void **state)
{
    (void)state;
    struct error error = {0};
    struct config config;
    assert_fails(config_parse(&config, "{}", CONFIG_LIMIT_BYTES + 1, &error), ERROR_INVALID, &error);
}

static char *patch(const char *text, const struct shape *shape, enum dtype dtype)
{
    struct error error = {0};
    char *patched;
    assert_ok(config_patch(text, shape, dtype, &patched, &error), &error);
    return patched;
}

static void patched_sizes_are_read_back_and_the_rest_survives(void **state)
{
    (void)state;
    struct config config;
    const char *text = GPT2(", \"n_ctx\": 32, \"n_inner\": null, \"activation_function\": \"gelu_pytorch_tanh\", "
                            "\"bos_token_id\": 7, \"task_specific_params\": {\"a\": [1, 2.5, \"\\u00e9\"]}, "
                            "\"initializer_range\": 0.02, \"architectures\": [\"GPT2Model\"], \"torch_dtype\": \"float16\"");
    parse(&config, text);
    struct shape shape = config.shape;
    shape.layers = 6, shape.width = 24, shape.heads = shape.kv_heads = 8, shape.ff = 100, shape.context = 64;
    config_fini(&config);
    char *patched = patch(text, &shape, DTYPE_BF16);
    parse(&config, patched);
    assert_true(shape_equal(&config.shape, &shape));
    config_fini(&config);
    static const char *const kept[] = {"\"bos_token_id\":\t7", "\"a\":\t[1, 2.5, \"\xC3\xA9\"]", "\"initializer_range\":\t0.02",
                                       "\"gelu_pytorch_tanh\"", "[\"GPT2LMHeadModel\"]", "\"torch_dtype\":\t\"bfloat16\"",
                                       "\"n_ctx\":\t64", "\"n_inner\":\t100", "\"tie_word_embeddings\":\ttrue"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        assert_contains(patched, kept[i]);
    assert_null(strstr(patched, "\"dtype\""));
    memory_free(patched);
}

static void another_activation_replaces_the_old_name(void **state)
{
    (void)state;
    struct config config;
    const char *text = GPT2(", \"activation_function\": \"gelu_fast\"");
    parse(&config, text);
    struct shape shape = config.shape;
    config_fini(&config);
    shape.activation = ACTIVATION_GELU_ERF;
    char *patched = patch(text, &shape, DTYPE_F32);
    assert_contains(patched, "\"activation_function\":\t\"gelu\"");
    assert_null(strstr(patched, "gelu_fast"));
    memory_free(patched);
}

static void dtype_goes_into_the_key_that_is_there(void **state)
{
    (void)state;
    struct config config;
    parse(&config, GPT2(""));
    struct shape shape = config.shape;
    config_fini(&config);
    char *newer = patch(GPT2(", \"dtype\": \"float32\""), &shape, DTYPE_F16);
    assert_contains(newer, "\"dtype\":\t\"float16\"");
    assert_null(strstr(newer, "torch_dtype"));
    memory_free(newer);
    char *neither = patch(GPT2(""), &shape, DTYPE_F32);
    assert_contains(neither, "\"torch_dtype\":\t\"float32\"");
    memory_free(neither);
}

static void a_fresh_config_is_complete(void **state)
{
    (void)state;
    const struct shape shape = {.family = FAMILY_GPT2, .layers = 3, .width = 64, .heads = 4, .kv_heads = 4,
                                .head_size = 16, .ff = 200, .context = 64, .vocabulary = 256, .tied = false,
                                .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5};
    struct config config;
    char *text = patch(NULL, &shape, DTYPE_F32);
    parse(&config, text);
    assert_true(shape_equal(&config.shape, &shape));
    assert_true(config.dropout == 0);
    static const char *const wanted[] = {"\"model_type\":\t\"gpt2\"", "[\"GPT2LMHeadModel\"]", "\"torch_dtype\":\t\"float32\"",
                                         "\"n_inner\":\t200", "\"resid_pdrop\":\t0.0", "\"bos_token_id\":\tnull",
                                         "\"layer_norm_epsilon\":\t1e-05", "\"tie_word_embeddings\":\tfalse"};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_contains(text, wanted[i]);
    config_fini(&config);
    memory_free(text);
}

static void axes_are_named_as_in_the_file(void **state)
{
    (void)state;
    assert_string_equal(config_axis_key(FAMILY_GPT2, AXIS_FF), "n_inner");
    assert_string_equal(config_axis_key(FAMILY_GPT2, AXIS_VOCABULARY), "vocab_size");
    for (int family = 0; family < FAMILY_COUNT; family++)
        for (int row = 0; row < layout_of((enum family)family)->row_count; row++)
            for (int axis = 0; axis < layout_of((enum family)family)->rows[row].rank; axis++)
                assert_non_null(config_axis_key((enum family)family,
                                                layout_of((enum family)family)->rows[row].axes[axis]));
}

static void reading_and_patching_fail_cleanly_at_every_allocation(void **state)
{
    (void)state;
    const char *text = GPT2(", \"n_ctx\": 32, \"more\": {\"a\": [1, 2]}");
    int parse_rounds = 0, patch_rounds = 0;
    struct shape shape = {0};
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        struct config config;
        int code = config_parse(&config, text, strlen(text), &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            shape = config.shape;
            config_fini(&config);
        }
        parse_rounds++;
    }
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        char *patched;
        int code = config_patch(text, &shape, DTYPE_F16, &patched, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
            assert_null(patched);
        } else {
            assert_ok(code, &error);
        }
        memory_free(patched);
        patch_rounds++;
    }
    assert_true(parse_rounds > 20 && patch_rounds > 40);
}

TEST_MAIN(cmocka_unit_test(needed_keys_alone_give_gpt2s_defaults), cmocka_unit_test(every_key_reaches_the_shape),
          cmocka_unit_test(every_activation_and_alias_is_understood),
          cmocka_unit_test(what_can_not_be_honoured_is_refused_by_key),
          cmocka_unit_test(text_that_is_no_strict_json_is_refused), cmocka_unit_test(files_over_the_limit_are_refused),
          cmocka_unit_test(patched_sizes_are_read_back_and_the_rest_survives),
          cmocka_unit_test(another_activation_replaces_the_old_name),
          cmocka_unit_test(dtype_goes_into_the_key_that_is_there), cmocka_unit_test(a_fresh_config_is_complete),
          cmocka_unit_test(axes_are_named_as_in_the_file),
          cmocka_unit_test(reading_and_patching_fail_cleanly_at_every_allocation))
