/* The design space: what it proposes for a target, in which order, what it leaves out, and what it says of targets that
 * nothing reaches. References are plain loops over the plans' own maps and over grown bytes. */
#include "tests/growth/fixture.h"

#include "base/fault.h"
#include "growth/space.h"
#include "tests/growth/family_shapes.h"

static void space_of(const struct shape *from, struct growth_target target, int most, struct growth_space *space)
{
    struct error error = {0};
    if (growth_space_init(space, from, &target, most, &error) != 0)
        fail_msg("refused: %s", error.message);
}

static const struct growth_way *find_way(const struct growth_space *space, const char *name)
{
    for (int i = 0; i < space->count; i++)
        if (strcmp(space->ways[i].name, name) == 0)
            return &space->ways[i];
    return NULL;
}

static void plan_of(const struct shape *from, const struct growth_list *list, struct growth_plan *plan)
{
    struct error error = {0};
    if (growth_plan_init(plan, from, list, &error) != 0)
        fail_msg("a proposed way is refused: %s", error.message);
}

/* ---- what is proposed ---- */

static void assert_reached(int wanted, int there, const char *what, const char *name)
{
    if (wanted > 0 && wanted != there)
        fail_msg("%s ends with %s %d, not %d", name, what, there, wanted);
}

static void check_ways(const struct shape *from, struct growth_target target, const struct growth_space *space)
{
    assert_true(space->count > 0 && space->found >= space->count);
    for (int i = 0; i < space->count; i++) {
        const struct growth_way *way = &space->ways[i];
        struct growth_plan plan;
        plan_of(from, &way->list, &plan);
        assert_reached(target.layers, plan.to.layers, "layers", way->name);
        if (from->decoder_layers > 0)
            assert_reached(target.layers, plan.to.decoder_layers, "decoder layers", way->name);
        assert_reached(target.width, plan.to.width, "width", way->name);
        assert_reached(target.heads, plan.to.heads, "heads", way->name);
        assert_reached(target.ff, plan.to.ff, "ff", way->name);
        assert_reached(target.context, plan.to.context, "context", way->name);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(way->name, space->ways[j].name);
        growth_plan_fini(&plan);
    }
}

static void every_way_reaches_the_target_and_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int family = 0; family < FAMILY_SHAPE_COUNT; family++) {
        struct shape from = family_shape(family);
        struct growth_target targets[] = {
            {.layers = 2 * from.layers}, {.layers = from.layers + 1}, {.width = 2 * from.width}, {.ff = from.ff + 7},
            {.layers = 2 * from.layers, .width = 2 * from.width},
            {.layers = from.layers + 2, .ff = 2 * from.ff},
            {.layers = from.layers + 1, .width = 3 * from.width, .ff = 4 * from.ff},
        };
        for (int i = 0; i < GROWTH_COUNT_OF(targets); i++) {
            struct growth_space space;
            if (from.decoder_layers > 0 && targets[i].layers > 0)
                targets[i].layers += from.decoder_layers;
            space_of(&from, targets[i], GROWTH_SPACE_MAX, &space);
            check_ways(&from, targets[i], &space);
            growth_space_fini(&space);
        }
    }
}

static void depth_alone_is_left_to_depth_operators(void **state)
{
    static const char *const expected[] = {"stack", "interleave", "middle", "identity", "random"};
    struct shape from = tiny_shape(3, true);
    struct growth_space space;
    (void)state;
    space_of(&from, (struct growth_target){.layers = 6}, GROWTH_SPACE_DEFAULT, &space);
    for (int i = 0; i < GROWTH_COUNT_OF(expected); i++)
        assert_string_equal(space.ways[i].name, expected[i]);
    for (int i = 0; i < space.count; i++) {
        struct growth_plan plan;
        plan_of(&from, &space.ways[i].list, &plan);
        assert_int_equal(plan.to.width, from.width);
        assert_int_equal(plan.to.ff, from.ff);
        assert_int_equal(space.ways[i].list.count, 1);
        growth_plan_fini(&plan);
    }
    growth_space_fini(&space);
}

static void width_comes_before_depth(void **state)
{
    struct shape from = tiny_shape(3, true);
    struct growth_space space;
    (void)state;
    space_of(&from, (struct growth_target){.layers = 6, .width = 16}, GROWTH_SPACE_MAX, &space);
    assert_string_equal(space.ways[0].name, "hyperclone-stack");
    for (int i = 0; i < space.count; i++) {
        struct growth_plan plan;
        plan_of(&from, &space.ways[i].list, &plan);
        assert_int_equal(plan.stages[0].to.width, 16);
        assert_int_equal(plan.to.ff, 2 * from.ff);      /* in proportion, for every way */
        growth_plan_fini(&plan);
    }
    growth_space_fini(&space);
}

/* ---- limits, controls ---- */

static void the_limit_keeps_the_most_preferred_and_a_control(void **state)
{
    struct shape from = tiny_shape(3, true);
    struct growth_target target = {.layers = 6, .width = 16};
    struct growth_space all;
    (void)state;
    space_of(&from, target, GROWTH_SPACE_MAX, &all);
    for (int most = 1; most < all.count; most++) {
        struct growth_space space;
        bool control = false;
        space_of(&from, target, most, &space);
        assert_int_equal(space.count, most);
        assert_int_equal(space.found, all.found);
        for (int i = 0; i < most; i++) {
            control = control || space.ways[i].control;
            if (i + 1 < most || !space.ways[i].control)
                assert_string_equal(space.ways[i].name, all.ways[i].name);
        }
        assert_true(control || most == 1);
        growth_space_fini(&space);
    }
    growth_space_fini(&all);
}

static void controls_are_those_whose_layers_are_drawn(void **state)
{
    struct shape from = tiny_shape(4, true);
    struct growth_space space;
    int controls = 0;
    (void)state;
    space_of(&from, (struct growth_target){.layers = 8}, GROWTH_SPACE_MAX, &space);
    for (int i = 0; i < space.count; i++) {
        struct growth_plan plan;
        bool fresh = false;
        plan_of(&from, &space.ways[i].list, &plan);
        for (int block = 0; block < plan.to.layers; block++)
            fresh = fresh || plan.stages[0].layers[block] < 0;
        assert_int_equal(space.ways[i].control, fresh);
        controls += fresh;
        growth_plan_fini(&plan);
    }
    assert_int_equal(controls, 2);      /* between the old layers, and on top */
    growth_space_fini(&space);
}

/* ---- duplicates ---- */

static void equal_maps_are_proposed_once(void **state)
{
    struct shape from = tiny_shape(3, true);
    struct growth_space space;
    (void)state;
    space_of(&from, (struct growth_target){.layers = 6}, GROWTH_SPACE_MAX, &space);
    assert_null(find_way(&space, "gradual_last"));      /* 0 1 2 0 1 2, as stack */
    assert_null(find_way(&space, "first"));
    assert_null(find_way(&space, "solar"));
    assert_non_null(find_way(&space, "last-by-one"));
    growth_space_fini(&space);
    space_of(&from, (struct growth_target){.layers = 5}, GROWTH_SPACE_MAX, &space);
    assert_non_null(find_way(&space, "gradual_last"));  /* 0 1 2 1 2 */
    assert_non_null(find_way(&space, "first"));         /* 0 1 0 1 2 */
    growth_space_fini(&space);
}

/* Equal bytes behind masks are another model. */
static void hash_ramps(const struct shape *from, const struct growth_list *list, char hash[HASH_HEX_BYTES])
{
    struct growth_plan plan;
    struct error error = {0};
    assert_int_equal(growth_plan_init(&plan, from, list, &error), 0);
    if (plan.ramp_steps > 0)
        hash[0] = '~';
    growth_plan_fini(&plan);
}

static bool learns(const struct shape *from, const struct growth_list *list)
{
    struct growth_plan plan;
    struct error error = {0};
    assert_int_equal(growth_plan_init(&plan, from, list, &error), 0);
    bool learned = growth_plan_learns(&plan) >= 0;
    growth_plan_fini(&plan);
    return learned;
}

static void no_two_ways_grow_the_same_bytes(void **state)
{
    static const struct growth_target targets[] = {{.layers = 6}, {.layers = 4}, {.width = 16}, {.ff = 24},
                                                   {.layers = 4, .width = 16}};
    struct shape from = tiny_shape(3, true);
    struct checkpoint parent;
    (void)state;
    random_checkpoint(&parent, &from, 5, false);
    for (int t = 0; t < GROWTH_COUNT_OF(targets); t++) {
        struct growth_space space;
        char hashes[GROWTH_SPACE_MAX][HASH_HEX_BYTES];
        space_of(&from, targets[t], GROWTH_SPACE_MAX, &space);
        for (int i = 0; i < space.count; i++) {
            struct checkpoint grown;
            snprintf(hashes[i], sizeof hashes[i], "%d", i);
            if (learns(&from, &space.ways[i].list))
                continue;       /* its start and its fit come from the list's own hash */
            grow_with(&parent, &space.ways[i].list, MOMENTS_RESET, 3, &grown);
            memcpy(hashes[i], grown.hash, sizeof hashes[i]);
            hash_ramps(&from, &space.ways[i].list, hashes[i]);
            for (int j = 0; j < i; j++)
                if (strcmp(hashes[i], hashes[j]) == 0)
                    fail_msg("%s and %s grow the same bytes", space.ways[i].name, space.ways[j].name);
            checkpoint_fini(&grown);
        }
        growth_space_fini(&space);
    }
    checkpoint_fini(&parent);
}

/* ---- the table ---- */

/* Operators that no target can ask for, and why. */
static const struct { const char *op, *why; } ELSEWHERE[] = {
    {"layer_map", "its map is the user's"}, {"fuse", "it needs a second checkpoint"},
    {"upcycle", "experts are no field of a target"},
};

static bool takes_part(const char *op)
{
    for (int family = 0; family < FAMILY_SHAPE_COUNT; family++) {
        struct shape from = family_shape(family);
        int layers = from.layers > from.decoder_layers ? from.layers : from.decoder_layers;
        const struct growth_target targets[] = {
            {.layers = layers + 1}, {.layers = layers + 2}, {.layers = 2 * layers}, {.width = 2 * from.width},
            {.ff = 2 * from.ff}, {.heads = 2 * from.heads}, {.context = 2 * from.context},
        };
        for (int t = 0; t < GROWTH_COUNT_OF(targets); t++) {
            struct growth_space space;
            struct error error = {0};
            bool found = false;
            if (growth_space_init(&space, &from, &targets[t], GROWTH_SPACE_MAX, &error) != 0)
                continue;
            for (int i = 0; i < space.count; i++)
                for (int j = 0; j < space.ways[i].list.count; j++)
                    found = found || strcmp(space.ways[i].list.steps[j].op->name, op) == 0;
            growth_space_fini(&space);
            if (found)
                return true;
        }
    }
    return false;
}

static void every_operator_takes_part_or_is_known_not_to(void **state)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    (void)state;
    for (int i = 0; i < count; i++) {
        const char *why = NULL;
        for (int j = 0; j < GROWTH_COUNT_OF(ELSEWHERE); j++)
            why = strcmp(ELSEWHERE[j].op, rows[i]->name) == 0 ? ELSEWHERE[j].why : why;
        bool found = takes_part(rows[i]->name);
        if (why == NULL && !found)
            fail_msg("%s takes part in no design space", rows[i]->name);
        if (why != NULL && found)
            fail_msg("%s is proposed although %s", rows[i]->name, why);
    }
}

/* ---- refusals ---- */

struct refusal { struct growth_target target; const char *pointer, *says; };

/* gpt2, 3 layers, width 8, 2 heads of 4, ff 12, context 10. */
static const struct refusal REFUSALS[] = {
    {{.layers = 2}, "/layers", "nearest reachable: 3"},
    {{.layers = 6, .width = 4}, "/width", "nearest reachable: 8"},
    {{.width = 14}, "/width", "nearest reachable: 12"},
    {{.width = 9}, "/width", "nearest reachable: 8"},
    {{.width = 16, .heads = 3}, "/heads", "nearest reachable: 4"},
    {{.layers = 3}, "", "already"},
    {{.layers = 3, .width = 8, .heads = 2, .ff = 12, .context = 10}, "", "already"},
    {{.layers = 1025}, "/layers", "nearest reachable: layers 1024"},
    {{.heads = 1 << 17}, "/heads", "nearest reachable: 32768"},
    {{.width = 16, .ff = 8}, "/ff", "nearest reachable: 12"},
};

static void targets_that_nothing_reaches_name_field_and_nearest(void **state)
{
    struct shape from = tiny_shape(3, true);
    (void)state;
    for (int i = 0; i < GROWTH_COUNT_OF(REFUSALS); i++) {
        const struct refusal *refusal = &REFUSALS[i];
        struct growth_space space;
        struct error error = {0};
        int code = growth_space_init(&space, &from, &refusal->target, 16, &error);
        if (code != ERROR_INVALID)
            fail_msg("row %d: code %d instead of a refusal", i, code);
        assert_string_equal(error.details[0].pointer, refusal->pointer);
        if (strstr(error.message, refusal->says) == NULL)
            fail_msg("row %d: \"%s\" does not say \"%s\"", i, error.message, refusal->says);
    }
}

static void heads_alone_ask_for_the_width_that_they_fill(void **state)
{
    struct shape from = tiny_shape(3, true);
    struct growth_space space;
    (void)state;
    space_of(&from, (struct growth_target){.heads = 4}, 16, &space);
    check_ways(&from, (struct growth_target){.heads = 4, .width = 16, .ff = 24}, &space);
    growth_space_fini(&space);
}

static void both_stacks_of_an_encoder_decoder_are_grown(void **state)
{
    struct shape from = family_shape(FAMILY_SHAPE_T5);
    struct growth_space space;
    (void)state;
    assert_true(from.layers != from.decoder_layers);
    space_of(&from, (struct growth_target){.layers = 6}, 16, &space);
    check_ways(&from, (struct growth_target){.layers = 6}, &space);
    growth_space_fini(&space);
}

static void a_failed_allocation_is_told_and_leaks_nothing(void **state)
{
    struct shape from = tiny_shape(3, true);
    struct growth_target target = {.layers = 6, .width = 16};
    int64_t failures = 0;
    (void)state;
    for (int64_t n = 1;; n += 1 + n / 16) {
        struct growth_space space;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int code = growth_space_init(&space, &from, &target, 8, &error);
        bool past = fault_count(FAULT_ALLOC) < n;
        fault_arm(FAULT_ALLOC, 0);
        if (code == 0) {
            growth_space_fini(&space);
        } else {
            assert_int_equal(code, ERROR_NO_MEMORY);
            failures++;
        }
        if (past)
            break;
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_reaches_the_target_and_has_a_name_of_its_own),
        cmocka_unit_test(depth_alone_is_left_to_depth_operators),
        cmocka_unit_test(width_comes_before_depth),
        cmocka_unit_test(the_limit_keeps_the_most_preferred_and_a_control),
        cmocka_unit_test(controls_are_those_whose_layers_are_drawn),
        cmocka_unit_test(equal_maps_are_proposed_once),
        cmocka_unit_test(no_two_ways_grow_the_same_bytes),
        cmocka_unit_test(every_operator_takes_part_or_is_known_not_to),
        cmocka_unit_test(targets_that_nothing_reaches_name_field_and_nearest),
        cmocka_unit_test(heads_alone_ask_for_the_width_that_they_fill),
        cmocka_unit_test(both_stacks_of_an_encoder_decoder_are_grown),
        cmocka_unit_test(a_failed_allocation_is_told_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
