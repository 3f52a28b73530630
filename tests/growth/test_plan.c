/* Plans: refusals with pointer and nearest valid value, composition, warnings, the maps as JSON. */
#include "tests/growth/fixture.h"

#include <math.h>

/* One wrong operator after a right one, so that the pointer's index shows. */
struct refusal {
    const char *op, *name;
    int64_t integer;
    const char *other;        /* a second integer parameter, NULL: none */
    int64_t other_integer;
    const char *pointer, *says;
};

/* The model before has 6 layers, width 8, ff 12. */
static const struct refusal REFUSALS[] = {
    {"stack", "layers", 6, NULL, 0, "/layers", "nearest valid: 7"},
    {"stack", "layers", 0, NULL, 0, "/layers", "nearest valid: 7"},
    {"stack", "layers", -5, NULL, 0, "/layers", "above the 6"},
    {"stack", "layers", 5000, NULL, 0, "/layers", "nearest valid: 1024"},
    {"interleave", "layers", 5, NULL, 0, "/layers", "nearest valid: 7"},
    {"first", "layers", 6, NULL, 0, "/layers", "nearest valid: 7"},
    {"first", "layers", 9, "block", 7, "/block", "nearest valid: 6"},
    {"first", "layers", 9, "block", 0, "/block", "nearest valid: 1"},
    {"gradual_last", "layers", 3, NULL, 0, "/layers", "nearest valid: 7"},
    {"gradual_last", "layers", 9, "block", 99, "/block", "nearest valid: 6"},
    {"middle", "layers", 4, NULL, 0, "/layers", "nearest valid: 7"},
    {"middle", "layers", 9, "block", 4, "/block", "nearest valid: 3"},
    {"middle", "layers", 9, "block", 100, "/block", "nearest valid: 6"},
    {"middle", "layers", 10, "block", 3, "/layers", "nearest valid: 9"},
    {"middle", "layers", 7, "block", 3, "/layers", "nearest valid: 9"},
    {"solar", "layers", 9, NULL, 0, "/layers", "nearest valid: 8"},
    {"solar", "layers", 14, NULL, 0, "/layers", "nearest valid: 12"},
    {"solar", "layers", 6, NULL, 0, "/layers", "nearest valid: 8"},
    {"identity", "layers", 6, NULL, 0, "/layers", "nearest valid: 7"},
    {"identity", "layers", 8, "placement", 2, "/placement", "interleaved|top"},
    {"random", "layers", 1, NULL, 0, "/layers", "nearest valid: 7"},
    {"hyperclone", "width", 8, NULL, 0, "/width", "nearest valid: 16"},
    {"hyperclone", "width", 21, NULL, 0, "/width", "nearest valid: 24"},
    {"hyperclone", "width", 17, NULL, 0, "/width", "nearest valid: 16"},
    {"hyperclone", "width", -1, NULL, 0, "/width", "nearest valid: 16"},
    {"hyperclone", "width", INT64_MAX, NULL, 0, "/width", "nearest valid: 131072"},
    {"hyperclone", "width", 16, "layout", 7, "/layout", "symmetric|diagonal"},
    {"widen_ff", "ff", 12, NULL, 0, "/ff", "nearest valid: 13"},
    {"widen_ff", "ff", 1 << 21, NULL, 0, "/ff", "nearest valid: 1048576"},
    {"widen_ff", "ff", 24, "split", -1, "/split", "equal|unequal"},
    {"stack", "layers", 12, "seed", -1, "/seed", "nearest valid: 0"},
};

static void assert_refused(struct growth_list *list, const char *pointer, const char *says)
{
    struct shape shape = tiny_shape(3, true);
    struct growth_plan plan;
    struct error error = {0};
    char expected[ERROR_POINTER_BYTES];
    int code = growth_plan_init(&plan, &shape, list, &error);
    if (code != ERROR_INVALID || error.code != ERROR_INVALID)
        fail_msg("%s: code %d instead of a refusal", pointer, code);
    snprintf(expected, sizeof expected, "/operators/%d%s", list->count - 1, pointer);
    assert_int_equal(error.detail_count, 1);
    assert_string_equal(error.details[0].pointer, expected);
    if (strstr(error.message, says) == NULL)
        fail_msg("[%s] does not say [%s]", error.message, says);
    growth_list_fini(list);
}

static void start_list(struct growth_list *list)
{
    one_step(list, "stack", "layers", 6);
}

static void wrong_values_are_refused_with_the_nearest_valid_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        const struct refusal *refusal = &REFUSALS[i];
        struct growth_list list;
        start_list(&list);
        int step = add_step(&list, refusal->op);
        set_integer(&list, step, refusal->name, refusal->integer);
        if (refusal->other != NULL)
            set_integer(&list, step, refusal->other, refusal->other_integer);
        assert_refused(&list, refusal->pointer, refusal->says);
    }
}

static void wrong_maps_are_refused_by_element(void **state)
{
    (void)state;
    static const struct { const char *name; int32_t values[4]; int count; const char *pointer, *says; } MAPS[] = {
        {"map", {0}, 0, "/map", "at least one layer"},
        {"map", {0, 1, 2, 6}, 4, "/map/3", "nearest valid: 5"},
        {"map", {0, -2}, 2, "/map/1", "nearest valid: 0"},
        {"slices", {0}, 0, "/slices", "at least one range"},
        {"slices", {0, 2, 3, 3}, 4, "/slices/1", "nearest valid: [3, 4]"},
        {"slices", {0, 7}, 2, "/slices/0", "nearest valid: [0, 6]"},
        {"slices", {-1, 4}, 2, "/slices/0", "nearest valid: [0, 4]"},
        {"slices", {9, 9}, 2, "/slices/0", "nearest valid: [5, 6]"},
    };
    for (size_t i = 0; i < sizeof MAPS / sizeof MAPS[0]; i++) {
        struct growth_list list;
        start_list(&list);
        set_list(&list, add_step(&list, "layer_map"), MAPS[i].name, MAPS[i].values, MAPS[i].count);
        assert_refused(&list, MAPS[i].pointer, MAPS[i].says);
    }
}

static void layer_map_needs_exactly_one_of_map_and_slices(void **state)
{
    (void)state;
    struct growth_list list;
    start_list(&list);
    add_step(&list, "layer_map");
    assert_refused(&list, "/map", "exactly one");
    start_list(&list);
    int step = add_step(&list, "layer_map");
    set_list(&list, step, "map", (int32_t[]){0, 1}, 2);
    set_list(&list, step, "slices", (int32_t[]){0, 1}, 2);
    assert_refused(&list, "/slices", "exactly one");
}

static void wrong_positions_are_refused_by_element(void **state)
{
    (void)state;
    static const struct { int32_t values[3]; int count; const char *pointer, *says; } PLACES[] = {
        {{1, 2, 3}, 3, "/placement", "must list 2 positions"},
        {{0}, 0, "/placement", "must list 2 positions"},
        {{1, 8}, 2, "/placement/1", "nearest valid: 7"},
        {{-1, 1}, 2, "/placement/0", "nearest valid: 0"},
        {{3, 3}, 2, "/placement/1", "nearest valid: 2"},
    };
    for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
        struct growth_list list;
        start_list(&list);
        int step = add_step(&list, "identity");
        set_integer(&list, step, "layers", 8);
        set_list(&list, step, "placement", PLACES[i].values, PLACES[i].count);
        assert_refused(&list, PLACES[i].pointer, PLACES[i].says);
    }
}

static void missing_null_and_non_finite_values_are_refused(void **state)
{
    (void)state;
    struct growth_list list;
    start_list(&list);
    add_step(&list, "stack");
    assert_refused(&list, "/layers", "stack needs layers");
    start_list(&list);
    set_null(&list, add_step(&list, "widen_ff"), "ff");
    assert_refused(&list, "/ff", "must not be null");
    static const double NOISES[] = {-0.1, 1.5, NAN, INFINITY};
    for (size_t i = 0; i < sizeof NOISES / sizeof NOISES[0]; i++) {
        start_list(&list);
        int step = add_step(&list, "stack");
        set_integer(&list, step, "layers", 12);
        set_number(&list, step, "noise", NOISES[i]);
        assert_refused(&list, "/noise", "must be from 0 to 1");
    }
    start_list(&list);
    int step = add_step(&list, "hyperclone");
    set_integer(&list, step, "width", 16);
    set_number(&list, step, "noise_db", -3);
    assert_refused(&list, "/noise_db", "nearest valid: 0");
}

static void an_empty_list_is_refused(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(3, true);
    struct growth_list list = {0};
    struct growth_plan plan;
    struct error error = {0};
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/operators");
}

static void a_list_composes_in_order(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(3, true);
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    struct buffer out;
    one_step(&list, "identity", "layers", 4);
    set_integer(&list, 0, "placement", 1);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
    set_list(&list, add_step(&list, "layer_map"), "map", (int32_t[]){0, 3, -1, 2}, 4);
    set_integer(&list, add_step(&list, "stack"), "layers", 6);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 30);
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    assert_int_equal(plan.to.layers, 6);
    assert_int_equal(plan.to.width, 16);
    assert_int_equal(plan.to.heads, 4);
    assert_int_equal(plan.to.kv_heads, 4);
    assert_int_equal(plan.to.head_size, 4);
    assert_int_equal(plan.to.ff, 30);
    assert_int_equal(plan.promise, PROMISE_NONE);
    assert_true(plan.width_factor == 2);
    buffer_init(&out);
    growth_plan_json(&plan, &out);
    assert_false(out.failed);
    assert_string_equal(out.data, "{\"layers\":[0,2,null,2,0,2],\"identity\":[1,5],"
                        "\"width\":{\"from\":8,\"to\":16,\"slices\":[[0,8],[0,8]]},"
                        "\"heads\":{\"from\":2,\"to\":4,\"slices\":[[0,2],[0,2]]},"
                        "\"kv_heads\":{\"from\":2,\"to\":4,\"slices\":[[0,2],[0,2]]},"
                        "\"ff\":{\"from\":12,\"to\":30,\"slices\":[[0,12],[0,12],[0,6]]}}");
    buffer_fini(&out);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

static void plan_of(struct growth_plan *plan, const struct growth_list *list)
{
    struct shape shape = tiny_shape(3, true);
    struct error error = {0};
    assert_int_equal(growth_plan_init(plan, &shape, list, &error), 0);
}

static void copies_that_never_separate_are_warned_of(void **state)
{
    (void)state;
    struct growth_list list;
    struct growth_plan plan;
    one_step(&list, "hyperclone", "width", 16);
    set_null(&list, 0, "noise_db");
    plan_of(&plan, &list);
    assert_true(plan.symmetric);
    assert_int_equal(plan.promise, PROMISE_EXACT);
    assert_int_equal(plan.warning_count, 1);
    assert_non_null(strstr(plan.warnings[0], "operators/0 (hyperclone)"));
    assert_non_null(strstr(plan.warnings[0], "never separate"));
    growth_plan_fini(&plan);
    set_integer(&list, add_step(&list, "stack"), "layers", 6);
    set_number(&list, 1, "noise", 0.1);      /* noise on a later stage separates them */
    plan_of(&plan, &list);
    assert_false(plan.symmetric);
    assert_int_equal(plan.warning_count, 0);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
    one_step(&list, "widen_ff", "ff", 24);
    plan_of(&plan, &list);
    assert_true(plan.symmetric);
    assert_int_equal(plan.warning_count, 1);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

static void copies_that_separate_are_not_warned_of(void **state)
{
    (void)state;
    struct growth_list list;
    struct growth_plan plan;
    one_step(&list, "hyperclone", "width", 16);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 60);
    set_integer(&list, 1, "split", 1);
    plan_of(&plan, &list);
    assert_false(plan.symmetric);
    assert_int_equal(plan.warning_count, 0);
    assert_int_equal(plan.promise, PROMISE_EXACT);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

static void noise_takes_the_promise_back_with_a_warning(void **state)
{
    (void)state;
    struct growth_list list;
    struct growth_plan plan;
    one_step(&list, "identity", "layers", 6);
    set_number(&list, 0, "noise", 0.2);
    plan_of(&plan, &list);
    assert_int_equal(plan.promise, PROMISE_NONE);
    assert_int_equal(plan.warning_count, 1);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_values_are_refused_with_the_nearest_valid_one),
        cmocka_unit_test(wrong_maps_are_refused_by_element),
        cmocka_unit_test(layer_map_needs_exactly_one_of_map_and_slices),
        cmocka_unit_test(wrong_positions_are_refused_by_element),
        cmocka_unit_test(missing_null_and_non_finite_values_are_refused),
        cmocka_unit_test(an_empty_list_is_refused),
        cmocka_unit_test(a_list_composes_in_order),
        cmocka_unit_test(copies_that_never_separate_are_warned_of),
        cmocka_unit_test(copies_that_separate_are_not_warned_of),
        cmocka_unit_test(noise_takes_the_promise_back_with_a_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
