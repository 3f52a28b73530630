#include "model/tensor.h"

#include <string.h>

#include "tests/support/support.h"

static struct shape small_shape(void)
{
    return (struct shape){.family = FAMILY_GPT2, .layers = 12, .width = 6, .heads = 3, .kv_heads = 3, .head_size = 2,
                          .ff = 10, .context = 5, .vocabulary = 7, .tied = true, .norm_epsilon = 1e-5};
}

static void table_begins_with_embeddings_goes_layer_by_layer_and_ends_with_the_final_norm(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = small_shape();
    struct tensor_table table;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    assert_int_equal(table.count, 2 + 12 * 12 + 2);
    assert_string_equal(table.tensors[0].name, "wte.weight");
    assert_string_equal(table.tensors[1].name, "wpe.weight");
    assert_string_equal(table.tensors[2].name, "h.0.ln_1.weight");
    assert_string_equal(table.tensors[13].name, "h.0.mlp.c_proj.bias");
    assert_string_equal(table.tensors[14].name, "h.1.ln_1.weight");
    assert_string_equal(table.tensors[table.count - 1].name, "ln_f.bias");
    assert_int_equal(table.tensors[0].layer, -1);
    assert_int_equal(table.tensors[14].layer, 1);
    tensor_table_fini(&table);
}

static void untied_table_ends_with_a_head(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = small_shape();
    struct tensor_table table;
    shape.tied = false;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    const struct tensor *head = &table.tensors[table.count - 1];
    assert_string_equal(head->name, "lm_head.weight");
    assert_int_equal(head->dims[0], 7);
    assert_int_equal(head->dims[1], 6);
    assert_int_equal(head->row->input_axis, 1);
    assert_ptr_equal(tensor_find_role(&table, ROLE_HEAD, -1, 0), head);
    tensor_table_fini(&table);
}

static void offsets_are_aligned_dense_and_do_not_overlap(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = small_shape();
    struct tensor_table table;
    size_t at = 0, parameters = 0;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    for (int i = 0; i < table.count; i++) {
        const struct tensor *tensor = &table.tensors[i];
        assert_int_equal(tensor->offset % TENSOR_ALIGN, 0);
        assert_true(tensor->offset >= at && tensor->offset < at + TENSOR_ALIGN);
        assert_int_equal(tensor->count, tensor->dims[0] * tensor->dims[1]);
        at = tensor->offset + tensor->count;
        parameters += tensor->count;
    }
    assert_true(table.slab >= at && table.slab % TENSOR_ALIGN == 0);
    assert_int_equal(table.parameters, parameters);
    assert_int_equal(shape_parameters(&shape), parameters);
    tensor_table_fini(&table);
}

static void conv1d_weights_are_input_first(void **state)
{
    (void)state;
    const struct { const char *name; int rows, columns, input_axis; } expected[] = {
        {"wte.weight", 7, 6, -1},           {"wpe.weight", 5, 6, -1},          {"h.3.ln_1.bias", 6, 1, -1},
        {"h.3.attn.c_attn.weight", 6, 18, 0}, {"h.3.attn.c_attn.bias", 18, 1, -1},
        {"h.3.attn.c_proj.weight", 6, 6, 0}, {"h.3.mlp.c_fc.weight", 6, 10, 0}, {"h.3.mlp.c_fc.bias", 10, 1, -1},
        {"h.3.mlp.c_proj.weight", 10, 6, 0},
    };
    struct error error = {0};
    struct shape shape = small_shape();
    struct tensor_table table;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const struct tensor *tensor = tensor_find(&table, expected[i].name);
        assert_non_null(tensor);
        assert_int_equal(tensor->dims[0], expected[i].rows);
        assert_int_equal(tensor->dims[1], expected[i].columns);
        assert_int_equal(tensor->row->input_axis, expected[i].input_axis);
    }
    tensor_table_fini(&table);
}

static void every_name_is_found_and_near_misses_are_not(void **state)
{
    (void)state;
    static const char *const unknown[] = {"", "h.12.ln_1.weight", "h.01.ln_1.weight", "h.-1.ln_1.weight", "h..ln_1.weight",
                                          "h.3.ln_1.weight ", "h.3.ln_3.weight", "transformer.wte.weight", "wte.weigh",
                                          "h.99999999999999999999.ln_1.weight", "lm_head.weight", "h.3", "h."};
    struct error error = {0};
    struct shape shape = small_shape();
    struct tensor_table table;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    for (int i = 0; i < table.count; i++)
        assert_ptr_equal(tensor_find(&table, table.tensors[i].name), &table.tensors[i]);
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        assert_null(tensor_find(&table, unknown[i]));
    tensor_table_fini(&table);
}

static void roles_are_found_by_layer_and_number(void **state)
{
    (void)state;
    struct error error = {0};
    struct shape shape = small_shape();
    struct tensor_table table;
    assert_ok(tensor_table_init(&table, &shape, &error), &error);
    assert_string_equal(tensor_find_role(&table, ROLE_NORM_GAIN, 4, 0)->name, "h.4.ln_1.weight");
    assert_string_equal(tensor_find_role(&table, ROLE_NORM_GAIN, 4, 1)->name, "h.4.ln_2.weight");
    assert_string_equal(tensor_find_role(&table, ROLE_DOWN, 11, 0)->name, "h.11.mlp.c_proj.weight");
    assert_string_equal(tensor_find_role(&table, ROLE_FINAL_NORM_BIAS, -1, 0)->name, "ln_f.bias");
    assert_null(tensor_find_role(&table, ROLE_NORM_GAIN, 4, 2));
    assert_null(tensor_find_role(&table, ROLE_NORM_GAIN, 12, 0));
    assert_null(tensor_find_role(&table, ROLE_NORM_GAIN, -1, 0));
    assert_null(tensor_find_role(&table, ROLE_TOKEN_EMBEDDING, 0, 0));
    assert_null(tensor_find_role(&table, ROLE_HEAD, -1, 0));
    tensor_table_fini(&table);
}

static void mask_buffers_are_ignored_and_the_fused_bias_is_not(void **state)
{
    (void)state;
    const struct layout *layout = layout_of(FAMILY_GPT2);
    assert_true(layout_ignores(layout, "h.0.attn.bias"));
    assert_true(layout_ignores(layout, "h.11.attn.masked_bias"));
    assert_false(layout_ignores(layout, "h.0.attn.c_attn.bias"));
    assert_false(layout_ignores(layout, "h.0.attn.c_proj.bias"));
    assert_false(layout_ignores(layout, ".attn.bias"));
    assert_false(layout_ignores(layout, "h.0.xattn.bias"));
}

static void table_without_memory_fails_cleanly(void **state)
{
    (void)state;
    struct shape shape = small_shape();
    int rounds = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        struct tensor_table table;
        int result = tensor_table_init(&table, &shape, &error);
        if (fault_struck(FAULT_ALLOC, n))
            assert_fails(result, ERROR_NO_MEMORY, &error);
        else
            assert_ok(result, &error);
        tensor_table_fini(&table);
        rounds++;
    }
    assert_int_equal(rounds, 2);
}

TEST_MAIN(cmocka_unit_test(table_begins_with_embeddings_goes_layer_by_layer_and_ends_with_the_final_norm),
          cmocka_unit_test(untied_table_ends_with_a_head),
          cmocka_unit_test(offsets_are_aligned_dense_and_do_not_overlap),
          cmocka_unit_test(conv1d_weights_are_input_first),
          cmocka_unit_test(every_name_is_found_and_near_misses_are_not),
          cmocka_unit_test(roles_are_found_by_layer_and_number),
          cmocka_unit_test(mask_buffers_are_ignored_and_the_fused_bias_is_not),
          cmocka_unit_test(table_without_memory_fails_cleanly))
