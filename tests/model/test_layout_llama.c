/* The tensor table of llama, mistral and qwen2: names, shapes, counts and FLOPs. */
#include "tests/support/support.h"

#include <string.h>

#include "model/tensor.h"

static struct shape llama_2_7b(void)
{
    return (struct shape){.family = FAMILY_LLAMA, .layers = 32, .width = 4096, .heads = 32, .kv_heads = 32,
                          .head_size = 128, .ff = 11008, .context = 4096, .vocabulary = 32000,
                          .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5, .rope = {.theta = 1e4}};
}

static struct shape mistral_7b(void)
{
    struct shape shape = llama_2_7b();
    shape.family = FAMILY_MISTRAL;
    shape.kv_heads = 8, shape.ff = 14336, shape.window = 4096;
    return shape;
}

static struct shape qwen2_half_b(void)
{
    struct shape shape = llama_2_7b();
    shape.family = FAMILY_QWEN2;
    shape.attention_bias = shape.tied = true;
    shape.layers = 24, shape.width = 896, shape.heads = 14, shape.kv_heads = 2, shape.head_size = 64;
    shape.ff = 4864, shape.vocabulary = 151936;
    return shape;
}

static struct shape llama_32_1b(void)
{
    struct shape shape = llama_2_7b();
    shape.tied = true;
    shape.layers = 16, shape.width = 2048, shape.kv_heads = 8, shape.head_size = 64, shape.ff = 8192;
    shape.vocabulary = 128256;
    return shape;
}

/* The published models' numbers of parameters. */
static void parameters_are_those_of_published_models(void **state)
{
    (void)state;
    struct shape shapes[] = {llama_2_7b(), mistral_7b(), qwen2_half_b(), llama_32_1b()};
    static const uint64_t expected[] = {6738415616, 7241732096, 494032768, 1235814400};
    for (int i = 0; i < 4; i++) {
        struct error error = {0};
        assert_ok(shape_check(&shapes[i], &error), &error);
        assert_int_equal(shape_parameters(&shapes[i]), expected[i]);
    }
}

/* Embeddings and norms and biases enter no product, the head once; a tied head is the embedding. */
static void products_count_matrices_and_the_head_once(void **state)
{
    (void)state;
    struct shape own = llama_2_7b(), tied = llama_32_1b(), biased = qwen2_half_b();
    assert_int_equal(shape_product_weights(&own), 6738415616 - 32000ull * 4096 - (2 * 32 + 1) * 4096);
    assert_int_equal(shape_product_weights(&tied), 1235814400 - (2 * 16 + 1) * 2048);
    assert_int_equal(shape_product_weights(&biased), 494032768 - (2 * 24 + 1) * 896 - 24 * (896 + 2 * 128));
    assert_true(shape_flops_per_token(&tied, 1000) ==
                6.0 * (double)shape_product_weights(&tied) + 12.0 * 16 * 32 * 64 * 1000);
}

static int count_ending(const struct tensor_table *table, const char *ending)
{
    int count = 0;
    for (int i = 0; i < table->count; i++) {
        size_t length = strlen(table->tensors[i].name), tail = strlen(ending);
        count += length >= tail && strcmp(table->tensors[i].name + length - tail, ending) == 0;
    }
    return count;
}

static void biases_and_heads_are_there_when_the_shape_says_so(void **state)
{
    (void)state;
    static const struct { enum family family; bool tied, attention, mlp; int biases, heads; } rows[] = {
        {FAMILY_LLAMA, false, false, false, 0, 1}, {FAMILY_LLAMA, true, true, false, 4, 0},
        {FAMILY_LLAMA, true, false, true, 3, 0},   {FAMILY_LLAMA, false, true, true, 7, 1},
        {FAMILY_MISTRAL, false, false, false, 0, 1}, {FAMILY_QWEN2, true, true, false, 3, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct shape shape = llama_2_7b();
        struct tensor_table table;
        struct error error = {0};
        shape.family = rows[i].family;
        shape.layers = 1;
        shape.tied = rows[i].tied, shape.attention_bias = rows[i].attention, shape.mlp_bias = rows[i].mlp;
        assert_ok(tensor_table_init(&table, &shape, &error), &error);
        assert_int_equal(count_ending(&table, ".bias"), rows[i].biases);
        assert_int_equal(count_ending(&table, "lm_head.weight"), rows[i].heads);
        assert_int_equal(table.count, 11 + rows[i].biases + rows[i].heads);
        assert_int_equal(table.parameters, shape_parameters(&shape));
        tensor_table_fini(&table);
    }
}

static void tensors_have_the_shapes_of_the_files(void **state)
{
    (void)state;
    struct shape shape = qwen2_half_b();
    struct tensor_table table;
    struct error error = {0};
    static const struct { const char *name; int rows, columns, input_axis; } rows[] = {
        {"embed_tokens.weight", 151936, 896, -1},
        {"layers.23.self_attn.q_proj.weight", 896, 896, 1}, {"layers.23.self_attn.q_proj.bias", 896, 1, -1},
        {"layers.0.self_attn.k_proj.weight", 128, 896, 1},  {"layers.0.self_attn.k_proj.bias", 128, 1, -1},
        {"layers.7.self_attn.v_proj.weight", 128, 896, 1},  {"layers.7.self_attn.v_proj.bias", 128, 1, -1},
        {"layers.7.self_attn.o_proj.weight", 896, 896, 1},  {"layers.7.mlp.gate_proj.weight", 4864, 896, 1},
        {"layers.7.mlp.up_proj.weight", 4864, 896, 1},      {"layers.7.mlp.down_proj.weight", 896, 4864, 1},
        {"layers.7.input_layernorm.weight", 896, 1, -1},    {"layers.7.post_attention_layernorm.weight", 896, 1, -1},
        {"norm.weight", 896, 1, -1},
    };
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct tensor *tensor = tensor_find(&table, rows[i].name);
        if (tensor == NULL)
            fail_msg("no %s", rows[i].name);
        assert_int_equal(tensor->dims[0], rows[i].rows);
        assert_int_equal(tensor->dims[1], rows[i].columns);
        assert_int_equal(tensor->row->input_axis, rows[i].input_axis);
    }
    assert_null(tensor_find(&table, "layers.7.self_attn.o_proj.bias"));
    assert_true(layout_ignores(layout_of(FAMILY_QWEN2), "layers.3.self_attn.rotary_emb.inv_freq"));
    assert_true(layout_ignores(layout_of(FAMILY_QWEN2), "rotary_emb.inv_freq"));
    assert_false(layout_ignores(layout_of(FAMILY_QWEN2), "layers.3.self_attn.g_proj.weight"));
    tensor_table_fini(&table);
}

static void shapes_that_can_not_turn_are_refused(void **state)
{
    (void)state;
    struct shape good = llama_2_7b(), shapes[5];
    static const char *const pointers[] = {"/head_size", "/rope/theta", "/rope/factor", "/rope", "/window"};
    for (int i = 0; i < 5; i++)
        shapes[i] = good;
    shapes[0].head_size = 127;
    shapes[1].rope.theta = 0;
    shapes[2].rope.scaling = ROPE_LINEAR;
    shapes[3].rope = (struct rope){.theta = 1, .scaling = ROPE_LLAMA3, .factor = 2, .low_frequency = 4, .high_frequency = 1,
                                   .original_context = 1};
    shapes[4].window = -1;
    for (int i = 0; i < 5; i++) {
        struct error error = {0};
        assert_fails(shape_check(&shapes[i], &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, pointers[i]);
        assert_false(shape_equal(&shapes[i], &good));
    }
}

TEST_MAIN(cmocka_unit_test(parameters_are_those_of_published_models),
          cmocka_unit_test(products_count_matrices_and_the_head_once),
          cmocka_unit_test(biases_and_heads_are_there_when_the_shape_says_so),
          cmocka_unit_test(tensors_have_the_shapes_of_the_files),
          cmocka_unit_test(shapes_that_can_not_turn_are_refused))
