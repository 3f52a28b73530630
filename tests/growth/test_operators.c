/* The table of operators, the canonical text of a list, the names of the moments policies. */
#include "tests/growth/fixture.h"

static const char *const NAMES[] = {"stack", "interleave", "first", "gradual_last", "middle", "solar", "layer_map",
                                    "identity", "random", "hyperclone", "fpi", "aki", "lemon", "zero_pad", "widen_ff",
                                    "add_heads", "staged", "ligo", "fuse", "extend_context", "upcycle", "msg_depth", "msg_width"};

static void table_holds_each_operator_once(void **state)
{
    (void)state;
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    assert_int_equal(count, sizeof NAMES / sizeof NAMES[0]);
    for (int i = 0; i < count; i++) {
        assert_string_equal(rows[i]->name, NAMES[i]);
        assert_ptr_equal(growth_operator_find(NAMES[i]), rows[i]);
    }
    assert_null(growth_operator_find("Stack"));
    assert_null(growth_operator_find(""));
}

static void every_row_is_complete(void **state)
{
    (void)state;
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    for (int i = 0; i < count; i++) {
        const struct growth_operator *op = rows[i];
        assert_true(strlen(op->summary) > 10 && strlen(op->source) > 10 && strlen(op->moments) > 10);
        assert_non_null(op->plan);
        assert_true(op->families & (1u << FAMILY_LLAMA));
        assert_in_range(op->parameter_count, 3, OPERATOR_PARAMETERS_MAX);
        assert_string_equal(op->parameters[op->parameter_count - 2].name, "noise");
        assert_string_equal(op->parameters[op->parameter_count - 1].name, "seed");
        assert_true((op->symmetry_note[0] != '\0') == (op->symmetry != SYMMETRY_NONE));
        for (int j = 0; j < op->parameter_count; j++) {
            const struct parameter *row = &op->parameters[j];
            assert_true(strlen(row->summary) > 5);
            bool counts = row->type != PARAMETER_TEXT && row->type != PARAMETER_CHECKPOINT && row->choices == NULL;
            assert_true(row->minimum < row->maximum || !counts);
            assert_false(row->required && row->fallback != NULL);
        }
    }
}

static void promises_are_those_of_the_papers(void **state)
{
    (void)state;
    static const char *const EXACT[] = {"identity", "hyperclone", "fpi", "lemon", "zero_pad", "widen_ff", "add_heads",
                                        "staged", "extend_context", "upcycle", "msg_depth", "msg_width"};
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    for (int i = 0; i < count; i++) {
        bool exact = false;
        for (size_t j = 0; j < sizeof EXACT / sizeof EXACT[0]; j++)
            exact = exact || strcmp(rows[i]->name, EXACT[j]) == 0;
        assert_int_equal(rows[i]->promise, exact ? PROMISE_EXACT : PROMISE_NONE);
    }
}

static void assert_json(const struct growth_list *list, const char *expected)
{
    struct buffer out;
    buffer_init(&out);
    growth_list_json(list, &out);
    assert_false(out.failed);
    assert_string_equal(out.data, expected);
    buffer_fini(&out);
}

static void canonical_text_has_the_fixed_defaults(void **state)
{
    (void)state;
    struct growth_list list = {0};
    set_integer(&list, add_step(&list, "stack"), "layers", 12);
    assert_json(&list, "[{\"op\":\"stack\",\"layers\":12,\"noise\":0,\"seed\":0}]");
    set_integer(&list, add_step(&list, "hyperclone"), "width", 64);
    set_integer(&list, add_step(&list, "first"), "layers", 14);
    assert_json(&list, "[{\"op\":\"stack\",\"layers\":12,\"noise\":0,\"seed\":0},"
                "{\"op\":\"hyperclone\",\"width\":64,\"layout\":\"symmetric\",\"noise_db\":10,\"noise\":0,\"seed\":0},"
                "{\"op\":\"first\",\"layers\":14,\"noise\":0,\"seed\":0}]");
    growth_list_fini(&list);
}

static void canonical_text_is_the_same_for_defaults_written_out(void **state)
{
    (void)state;
    struct growth_list list = {0};
    int step = add_step(&list, "hyperclone");
    set_integer(&list, step, "width", 64);
    set_integer(&list, step, "layout", 0);
    set_number(&list, step, "noise_db", 10);
    set_number(&list, step, "noise", 0);
    set_integer(&list, step, "seed", 0);
    assert_json(&list, "[{\"op\":\"hyperclone\",\"width\":64,\"layout\":\"symmetric\",\"noise_db\":10,\"noise\":0,"
                "\"seed\":0}]");
    growth_list_fini(&list);
}

static void canonical_text_writes_every_kind_of_value(void **state)
{
    (void)state;
    struct growth_list list = {0};
    int step = add_step(&list, "layer_map");
    set_list(&list, step, "map", (int32_t[]){0, -1, 2}, 3);
    set_number(&list, step, "noise", 0.1);
    set_integer(&list, step, "seed", 9007199254740991);
    step = add_step(&list, "layer_map");
    set_list(&list, step, "slices", (int32_t[]){0, 2, 1, 3}, 4);
    step = add_step(&list, "identity");
    set_integer(&list, step, "layers", 9);
    set_list(&list, step, "placement", (int32_t[]){0, 4}, 2);
    step = add_step(&list, "random");
    set_integer(&list, step, "layers", 10);
    set_integer(&list, step, "placement", 1);
    step = add_step(&list, "hyperclone");
    set_integer(&list, step, "width", 16);
    set_integer(&list, step, "layout", 1);
    set_null(&list, step, "noise_db");
    assert_json(&list, "[{\"op\":\"layer_map\",\"map\":[0,null,2],\"noise\":0.1,\"seed\":9007199254740991},"
                "{\"op\":\"layer_map\",\"slices\":[[0,2],[1,3]],\"noise\":0,\"seed\":0},"
                "{\"op\":\"identity\",\"layers\":9,\"placement\":[0,4],\"noise\":0,\"seed\":0},"
                "{\"op\":\"random\",\"layers\":10,\"placement\":\"top\",\"noise\":0,\"seed\":0},"
                "{\"op\":\"hyperclone\",\"width\":16,\"layout\":\"diagonal\",\"noise_db\":null,"
                "\"noise\":0,\"seed\":0}]");
    growth_list_fini(&list);
}

static void moments_policies_are_parsed_by_name(void **state)
{
    (void)state;
    enum moments_policy policy = MOMENTS_RESET;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(moments_policy_parse(moments_policy_name((enum moments_policy)i), &policy), 0);
        assert_int_equal(policy, i);
    }
    assert_int_equal(moments_policy_parse("old_only", &policy), 0);
    assert_int_equal(policy, MOMENTS_OLD_ONLY);
    assert_int_equal(moments_policy_parse("keep", &policy), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_holds_each_operator_once),
        cmocka_unit_test(every_row_is_complete),
        cmocka_unit_test(promises_are_those_of_the_papers),
        cmocka_unit_test(canonical_text_has_the_fixed_defaults),
        cmocka_unit_test(canonical_text_is_the_same_for_defaults_written_out),
        cmocka_unit_test(canonical_text_writes_every_kind_of_value),
        cmocka_unit_test(moments_policies_are_parsed_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
