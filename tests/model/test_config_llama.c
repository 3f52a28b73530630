/* config.json of llama, mistral and qwen2, as transformers 4 and 5 write it. */
#include "model/config.h"

#include <string.h>

#include "base/memory.h"
#include "tests/support/support.h"

#define SIZES "\"num_hidden_layers\": 3, \"hidden_size\": 12, \"num_attention_heads\": 6, \"intermediate_size\": 20, " \
              "\"max_position_embeddings\": 32, \"vocab_size\": 50"
#define OF(type, more) "{\"model_type\": \"" type "\", " SIZES more "}"
#define LLAMA(more) OF("llama", more)
#define MISTRAL(more) OF("mistral", more)
#define QWEN2(more) OF("qwen2", more)

static void parse(struct config *config, const char *text)
{
    struct error error = {0};
    assert_ok(config_parse(config, text, strlen(text), &error), &error);
}

static struct shape shape_of(const char *text)
{
    struct config config;
    parse(&config, text);
    struct shape shape = config.shape;
    config_fini(&config);
    return shape;
}

static void needed_keys_alone_give_the_defaults(void **state)
{
    (void)state;
    struct shape expected = {.family = FAMILY_LLAMA, .layers = 3, .width = 12, .heads = 6, .kv_heads = 6,
                             .head_size = 2, .ff = 20, .context = 32, .vocabulary = 50, .tied = false,
                             .activation = ACTIVATION_SILU, .norm_epsilon = 1e-6, .rope = {.theta = 1e4}};
    struct shape shape = shape_of(LLAMA(""));
    assert_true(shape_equal(&shape, &expected));
    expected.family = FAMILY_QWEN2;
    expected.attention_bias = true;
    shape = shape_of(QWEN2(""));
    assert_true(shape_equal(&shape, &expected));
    expected.family = FAMILY_MISTRAL;
    expected.attention_bias = false;
    expected.window = 4096;
    shape = shape_of(MISTRAL(""));
    assert_true(shape_equal(&shape, &expected));
}

static void every_key_reaches_the_shape(void **state)
{
    (void)state;
    struct config config;
    parse(&config, LLAMA(", \"num_key_value_heads\": 2, \"head_dim\": 10, \"rms_norm_eps\": 1e-5, \"hidden_act\": \"gelu\", "
                         "\"attention_bias\": true, \"mlp_bias\": true, \"tie_word_embeddings\": true, "
                         "\"attention_dropout\": 0.1, \"rope_theta\": 500000.0, \"rope_scaling\": null, "
                         "\"pretraining_tp\": 1, \"use_cache\": true"));
    const struct shape *shape = &config.shape;
    assert_int_equal(shape->kv_heads, 2);
    assert_int_equal(shape->head_size, 10);
    assert_true(shape->norm_epsilon == 1e-5 && shape->rope.theta == 5e5 && config.dropout == 0.1);
    assert_int_equal(shape->activation, ACTIVATION_GELU_ERF);
    assert_true(shape->attention_bias && shape->mlp_bias && shape->tied);
    config_fini(&config);
    assert_int_equal(shape_of(LLAMA(", \"num_key_value_heads\": null, \"head_dim\": null")).kv_heads, 6);
    assert_false(shape_of(MISTRAL(", \"attention_bias\": true")).attention_bias);
    assert_int_equal(shape_of("{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 7, "
                              "\"num_attention_heads\": 2, \"head_dim\": 4, \"intermediate_size\": 5, "
                              "\"max_position_embeddings\": 3, \"vocab_size\": 2}").width, 7);
}

/* ---- rotary frequencies ---- */

static void frequencies_are_read_as_either_version_writes_them(void **state)
{
    (void)state;
#define VALUES3 "\"factor\": 8.0, \"low_freq_factor\": 1, \"high_freq_factor\": 4.0"
    static const struct { const char *text; struct rope rope; } rows[] = {
        {LLAMA(", \"rope_theta\": 100"), {.theta = 100}},
        {LLAMA(", \"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"default\"}"), {.theta = 5e5}},
        {LLAMA(", \"rope_parameters\": null"), {.theta = 1e4}},
        {LLAMA(", \"rope_parameters\": {}"), {.theta = 1e4}},
        {LLAMA(", \"rope_theta\": 7, \"rope_parameters\": {\"rope_type\": \"default\"}"), {.theta = 7}},
        {LLAMA(", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}"),
         {.theta = 1e4, .scaling = ROPE_LINEAR, .factor = 2}},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"dynamic\", \"type\": \"linear\", \"factor\": 4.0}"),
         {.theta = 1e4, .scaling = ROPE_DYNAMIC, .factor = 4}},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"default\"}"), {.theta = 1e4}},
        {LLAMA(", \"rope_theta\": 5e5, \"rope_scaling\": {\"rope_type\": \"llama3\", " VALUES3 ", "
               "\"original_max_position_embeddings\": 8192}"),
         {.theta = 5e5, .scaling = ROPE_LLAMA3, .factor = 8, .low_frequency = 1, .high_frequency = 4,
          .original_context = 8192}},
        {LLAMA(", \"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"llama3\", " VALUES3 "}"),
         {.theta = 5e5, .scaling = ROPE_LLAMA3, .factor = 8, .low_frequency = 1, .high_frequency = 4,
          .original_context = 32}},
        {QWEN2(", \"rope_theta\": 1000000.0"), {.theta = 1e6}},
        {MISTRAL(", \"rope_parameters\": {\"rope_theta\": 1000000.0, \"rope_type\": \"linear\", \"factor\": 3}"),
         {.theta = 1e6, .scaling = ROPE_LINEAR, .factor = 3}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct shape shape = shape_of(rows[i].text), expected = shape;
        expected.rope = rows[i].rope;
        if (!shape_equal(&shape, &expected))
            fail_msg("%s", rows[i].text);
    }
}

/* ---- windows ---- */

static void windows_of_all_layers_are_honoured(void **state)
{
    (void)state;
    assert_int_equal(shape_of(MISTRAL(", \"sliding_window\": null")).window, 0);
    assert_int_equal(shape_of(MISTRAL(", \"sliding_window\": 7")).window, 7);
    assert_int_equal(shape_of(LLAMA(", \"sliding_window\": 7")).window, 0);
    assert_int_equal(shape_of(QWEN2(", \"sliding_window\": 7, \"max_window_layers\": 28")).window, 0);
    assert_int_equal(shape_of(QWEN2(", \"use_sliding_window\": false, \"sliding_window\": 7")).window, 0);
    assert_int_equal(shape_of(QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 7, "
                                    "\"max_window_layers\": 0")).window, 7);
    assert_int_equal(shape_of(QWEN2(", \"use_sliding_window\": true, \"sliding_window\": null, "
                                    "\"max_window_layers\": 0")).window, 0);
    assert_int_equal(shape_of(QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 7, \"max_window_layers\": 1, "
                                    "\"layer_types\": [\"sliding_attention\", \"sliding_attention\", "
                                    "\"sliding_attention\"]")).window, 7);
    assert_int_equal(shape_of(QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 7, \"max_window_layers\": 5, "
                                    "\"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\"]"))
                         .window, 0);
}

/* ---- refusals ---- */

static void what_can_not_be_honoured_is_refused_by_key(void **state)
{
    (void)state;
    static const struct { const char *text, *pointer, *words; } rows[] = {
        {"{\"model_type\": \"llama\", \"hidden_size\": 12}", "/num_hidden_layers", "is missing"},
        {LLAMA(", \"num_key_value_heads\": 4"), "/kv_heads", "6 heads can not share 4 kv heads"},
        {LLAMA(", \"num_key_value_heads\": 12"), "/kv_heads", "can not share"},
        {LLAMA(", \"head_dim\": 3"), "/head_size", "rotary positions need an even one"},
        {LLAMA(", \"num_attention_heads\": 5"), "", "there twice"},
        {LLAMA(", \"hidden_act\": \"quick_gelu\""), "/hidden_act", "must be one of"},
        {LLAMA(", \"attention_bias\": 1"), "/attention_bias", "true or false"},
        {LLAMA(", \"rope_theta\": 0"), "/rope_theta", "must be a number above 0"},
        {LLAMA(", \"rope_theta\": \"1e4\""), "/rope_theta", "must be a number above 0"},
        {LLAMA(", \"rope_scaling\": 2"), "/rope_scaling", "must be an object or null"},
        {LLAMA(", \"rope_scaling\": {\"factor\": 2}"), "/rope_scaling/rope_type", "is missing"},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2}"), "/rope_scaling/rope_type",
         "\"yarn\" is not supported; supported are default, linear, dynamic, llama3"},
        {LLAMA(", \"rope_scaling\": {\"type\": \"longrope\", \"factor\": 2}"), "/rope_scaling/type", "\"longrope\""},
        {LLAMA(", \"rope_parameters\": {\"rope_type\": \"yarn\"}"), "/rope_parameters/rope_type", "\"yarn\""},
        {LLAMA(", \"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1}}"), "/rope_parameters/full_attention",
         "some layers"},
        {LLAMA(", \"rope_parameters\": {\"rope_theta\": -1}"), "/rope_parameters/rope_theta", "above 0"},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"linear\"}"), "/rope_scaling/factor", "is missing"},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 0}"), "/rope_scaling/factor", "above 0"},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
               "\"high_freq_factor\": 4}"), "/rope_scaling/high_freq_factor", "must be above low_freq_factor"},
        {LLAMA(", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1}"),
         "/rope_scaling/high_freq_factor", "is missing"},
        {LLAMA(", \"rope_parameters\": {\"partial_rotary_factor\": 0.5}"), "/rope_parameters/partial_rotary_factor",
         "turn only in part"},
        {LLAMA(", \"partial_rotary_factor\": 0.5"), "/partial_rotary_factor", "turn only in part"},
        {LLAMA(", \"quantization_config\": {\"bits\": 4}"), "/quantization_config", "unquantized"},
        {MISTRAL(", \"sliding_window\": 0"), "/sliding_window", "whole number from 1"},
        {MISTRAL(", \"sliding_window\": \"4096\""), "/sliding_window", "whole number from 1"},
        {QWEN2(", \"use_sliding_window\": 1"), "/use_sliding_window", "true or false"},
        {QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 7"), "/max_window_layers", "some layers"},
        {QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 7, \"max_window_layers\": 2"), "/max_window_layers",
         "set use_sliding_window to false"},
        {QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 7, \"layer_types\": [\"full_attention\", "
               "\"sliding_attention\", \"sliding_attention\"]"), "/layer_types", "some layers"},
        {QWEN2(", \"layer_types\": \"full_attention\""), "/layer_types", "must be a list"},
        {"{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"hidden_size\": 13, \"num_attention_heads\": 2, "
         "\"intermediate_size\": 5, \"max_position_embeddings\": 3, \"vocab_size\": 2}", "/num_attention_heads",
         "there is no head_dim"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        struct config config;
        assert_fails(config_parse(&config, rows[i].text, strlen(rows[i].text), &error), ERROR_INVALID, &error);
        if (rows[i].pointer[0] != '\0')
            assert_string_equal(error.details[0].pointer, rows[i].pointer);
        assert_contains(error.message, rows[i].words);
        assert_contains(error.message, "config.json");
    }
}

/* ---- patched ---- */

static char *patch(const char *text, const struct shape *shape)
{
    struct error error = {0};
    char *patched;
    assert_ok(config_patch(text, shape, DTYPE_F32, &patched, &error), &error);
    return patched;
}

/* Grown in every direction; the frequencies stay. */
static void check_grown(const char *text, const char *const *kept)
{
    struct shape shape = shape_of(text);
    shape.layers = 5, shape.width *= 2, shape.heads *= 2, shape.kv_heads *= 2, shape.ff = 47;
    char *patched = patch(text, &shape);
    struct shape again = shape_of(patched);
    if (!shape_equal(&shape, &again))
        fail_msg("%s became %s", text, patched);
    for (; *kept != NULL; kept++)
        assert_contains(patched, *kept);
    memory_free(patched);
}

static void patched_sizes_are_read_back_and_the_rest_survives(void **state)
{
    (void)state;
    check_grown(LLAMA(""), (const char *[]){"\"num_key_value_heads\":\t12", "\"head_dim\":\t2", "\"rope_theta\":\t10000.0",
                                            "[\"LlamaForCausalLM\"]", "\"tie_word_embeddings\":\tfalse", NULL});
    check_grown(LLAMA(", \"initializer_range\": 0.02, \"pad_token_id\": 7, \"head_dim\": null, \"num_key_value_heads\": 2, "
                      "\"rope_theta\": 500000.0, \"rope_scaling\": {\"factor\": 8.0, \"low_freq_factor\": 1.0, "
                      "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192, \"rope_type\": \"llama3\"}"),
                (const char *[]){"\"initializer_range\":\t0.02", "\"pad_token_id\":\t7", "\"num_key_value_heads\":\t4",
                                 "\"head_dim\":\t2", "\"rope_type\":\t\"llama3\"", "\"rope_theta\":\t500000.0", "\"factor\":\t8.0",
                                 "\"high_freq_factor\":\t4.0", NULL});
    check_grown(LLAMA(", \"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"linear\", \"factor\": 2, \"more\": 1}"),
                (const char *[]){"\"rope_theta\":\t500000.0", "\"factor\":\t2.0", "\"rope_parameters\":\t{", "\"more\":\t1", NULL});
    check_grown(MISTRAL(", \"sliding_window\": 7"), (const char *[]){"\"sliding_window\":\t7", NULL});
    check_grown(MISTRAL(""), (const char *[]){"\"sliding_window\":\t4096", "[\"MistralForCausalLM\"]", NULL});
    check_grown(MISTRAL(", \"sliding_window\": null"), (const char *[]){"\"sliding_window\":\tnull", NULL});
    check_grown(QWEN2(", \"layer_types\": [\"full_attention\", \"full_attention\", \"full_attention\"], "
                      "\"max_window_layers\": 28, \"sliding_window\": null, \"use_sliding_window\": false"),
                (const char *[]){"[\"full_attention\", \"full_attention\", \"full_attention\", \"full_attention\", "
                                 "\"full_attention\"]", "\"max_window_layers\":\t28", "[\"Qwen2ForCausalLM\"]", NULL});
    check_grown(QWEN2(", \"use_sliding_window\": true, \"sliding_window\": 9, \"layer_types\": [\"sliding_attention\", "
                      "\"sliding_attention\", \"sliding_attention\"]"),
                (const char *[]){"\"sliding_window\":\t9", "\"use_sliding_window\":\ttrue", NULL});
}

static void other_frequencies_replace_the_old_ones(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LLAMA(""), LLAMA(", \"rope_theta\": 100, \"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 3}"),
        LLAMA(", \"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"linear\", \"factor\": 2}"), NULL,
    };
    static const struct rope ropes[] = {
        {.theta = 77}, {.theta = 1e4}, {.theta = 1e6, .scaling = ROPE_DYNAMIC, .factor = 1.5},
        {.theta = 5e5, .scaling = ROPE_LLAMA3, .factor = 32, .low_frequency = 1, .high_frequency = 4,
         .original_context = 8192},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        for (size_t j = 0; j < sizeof ropes / sizeof ropes[0]; j++) {
            struct shape shape = shape_of(LLAMA(""));
            shape.rope = ropes[j];
            char *patched = patch(texts[i], &shape);
            struct shape again = shape_of(patched);
            assert_true(shape_equal(&shape, &again));
            bool newer = strstr(patched, "rope_parameters") != NULL;
            assert_int_equal(newer, i == 2);
            assert_int_equal(strstr(patched, "rope_scaling") != NULL && newer, 0);
            memory_free(patched);
        }
}

static void a_fresh_config_is_complete(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LLAMA(", \"attention_bias\": true, \"mlp_bias\": true, \"head_dim\": 4"), MISTRAL(", \"sliding_window\": 5"),
        MISTRAL(", \"sliding_window\": null"), QWEN2(", \"tie_word_embeddings\": true"),
        QWEN2(", \"use_sliding_window\": true, \"max_window_layers\": 0, \"sliding_window\": 6"),
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct shape shape = shape_of(texts[i]);
        char *text = patch(NULL, &shape);
        struct shape again = shape_of(text);
        assert_true(shape_equal(&shape, &again));
        assert_contains(text, "\"bos_token_id\":\tnull");
        assert_contains(text, "\"rope_theta\":\t10000.0");
        memory_free(text);
    }
}

static void reading_and_patching_fail_cleanly_at_every_allocation(void **state)
{
    (void)state;
    static const char *const texts[] = {
        LLAMA(", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2}"),
        QWEN2(", \"layer_types\": [\"full_attention\"], \"rope_parameters\": {\"rope_theta\": 5e5}"),
    };
    for (size_t i = 0; i < 2; i++) {
        struct shape shape = shape_of(texts[i]);
        int rounds = 0;
        shape.rope = (struct rope){.theta = 2, .scaling = ROPE_DYNAMIC, .factor = 2};
        SWEEP_FAULTS(FAULT_ALLOC, n) {
            struct error error = {0};
            char *patched;
            int code = config_patch(texts[i], &shape, DTYPE_F32, &patched, &error);
            if (fault_struck(FAULT_ALLOC, n))
                assert_fails(code, ERROR_NO_MEMORY, &error);
            else
                assert_ok(code, &error);
            memory_free(patched);
            rounds++;
        }
        assert_true(rounds > 40);
    }
}

TEST_MAIN(cmocka_unit_test(needed_keys_alone_give_the_defaults), cmocka_unit_test(every_key_reaches_the_shape),
          cmocka_unit_test(frequencies_are_read_as_either_version_writes_them),
          cmocka_unit_test(windows_of_all_layers_are_honoured),
          cmocka_unit_test(what_can_not_be_honoured_is_refused_by_key),
          cmocka_unit_test(patched_sizes_are_read_back_and_the_rest_survives),
          cmocka_unit_test(other_frequencies_replace_the_old_ones), cmocka_unit_test(a_fresh_config_is_complete),
          cmocka_unit_test(reading_and_patching_fail_cleanly_at_every_allocation))
