/* Adam's moments and step counters through depth operators, under each policy. */
#include "tests/growth/fixture.h"

struct fixture { struct checkpoint parent, grown; struct growth_list list; };

static void setup(struct fixture *fixture, int layers)
{
    struct shape shape = tiny_shape(layers, true);
    random_checkpoint(&fixture->parent, &shape, 3, true);
}

static void teardown(struct fixture *fixture)
{
    checkpoint_fini(&fixture->grown);
    checkpoint_fini(&fixture->parent);
    growth_list_fini(&fixture->list);
}

/* Moments of a grown tensor equal those of an old one, step counter included; old NULL: all zero. */
static void assert_moments(const struct fixture *fixture, const struct tensor *to, const struct tensor *old)
{
    const struct moments *grown = fixture->grown.moments, *parent = fixture->parent.moments;
    uint64_t step = grown->steps[to - fixture->grown.table.tensors];
    if (old != NULL) {
        assert_memory_equal(grown->m + to->offset, parent->m + old->offset, to->count * sizeof(float));
        assert_memory_equal(grown->v + to->offset, parent->v + old->offset, to->count * sizeof(float));
        assert_int_equal(step, parent->steps[old - fixture->parent.table.tensors]);
        return;
    }
    for (size_t i = to->offset; i < to->offset + to->count; i++)
        if (grown->m[i] != 0 || grown->v[i] != 0)
            fail_msg("%s: moments are not zero", to->name);
    assert_int_equal(step, 0);
}

/* expected[i]: old layer whose moments new layer i has, -1: zero with step 0. Tensors outside blocks keep theirs. */
static void assert_layers(const struct fixture *fixture, const int *expected)
{
    assert_non_null(fixture->grown.moments);
    for (int t = 0; t < fixture->grown.table.count; t++) {
        const struct tensor *to = &fixture->grown.table.tensors[t];
        if (to->layer < 0)
            assert_moments(fixture, to, tensor_find(&fixture->parent.table, to->name));
        else if (expected[to->layer] < 0)
            assert_moments(fixture, to, NULL);
        else
            assert_moments(fixture, to, same_at_layer(&fixture->parent, to, expected[to->layer]));
    }
}

static void stack_carries_moments_with_their_step_counters(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, 3);
    one_step(&fixture.list, "stack", "layers", 7);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_CARRY, 1, &fixture.grown);
    assert_layers(&fixture, (int[]){0, 1, 2, 0, 1, 2, 0});
    teardown(&fixture);
}

static void stack_starts_copies_at_step_zero_under_old_only(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, 3);
    one_step(&fixture.list, "stack", "layers", 7);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_OLD_ONLY, 1, &fixture.grown);
    assert_layers(&fixture, (int[]){0, 1, 2, -1, -1, -1, -1});
    teardown(&fixture);
}

static void first_occurrence_keeps_moments_under_old_only(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, 3);
    fixture.list = (struct growth_list){0};
    set_list(&fixture.list, add_step(&fixture.list, "layer_map"), "map", (int32_t[]){2, 1, 2, -1, 0, 1, 0}, 7);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_OLD_ONLY, 1, &fixture.grown);
    assert_layers(&fixture, (int[]){2, 1, -1, -1, 0, -1, -1});
    teardown(&fixture);
}

static void random_layers_have_no_moments_under_carry(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, 3);
    one_step(&fixture.list, "random", "layers", 6);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_CARRY, 1, &fixture.grown);
    assert_layers(&fixture, (int[]){0, -1, 1, -1, 2, -1});
    teardown(&fixture);
}

static void identity_blocks_have_no_moments(void **state)
{
    (void)state;
    for (enum moments_policy policy = MOMENTS_CARRY; policy <= MOMENTS_OLD_ONLY; policy++) {
        struct fixture fixture;
        setup(&fixture, 3);
        one_step(&fixture.list, "identity", "layers", 5);
        set_list(&fixture.list, 0, "placement", (int32_t[]){0, 3}, 2);     /* one below the layer it copies */
        grow_with(&fixture.parent, &fixture.list, policy, 1, &fixture.grown);
        assert_layers(&fixture, (int[]){-1, 0, 1, -1, 2});
        teardown(&fixture);
    }
}

static void reset_leaves_no_moments(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, 3);
    one_step(&fixture.list, "stack", "layers", 6);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_RESET, 1, &fixture.grown);
    assert_null(fixture.grown.moments);
    teardown(&fixture);
}

static void a_parent_without_moments_gives_none(void **state)
{
    (void)state;
    struct fixture fixture;
    struct shape shape = tiny_shape(3, true);
    random_checkpoint(&fixture.parent, &shape, 3, false);
    one_step(&fixture.list, "stack", "layers", 6);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_CARRY, 1, &fixture.grown);
    assert_null(fixture.grown.moments);
    teardown(&fixture);
}

static void raw_iterate_restarts_from_the_grown_weights(void **state)
{
    (void)state;
    struct fixture fixture;
    struct shape shape = tiny_shape(2, false);
    struct error error = {0};
    assert_int_equal(checkpoint_init(&fixture.parent, &shape, &error), 0);
    assert_int_equal(checkpoint_set_moments(&fixture.parent, MOMENTS_ADAM | MOMENTS_RAW, &error), 0);
    checkpoint_randomize(&fixture.parent, 1);
    for (size_t i = 0; i < fixture.parent.table.slab; i++)
        fixture.parent.moments->raw[i] = 7;
    one_step(&fixture.list, "stack", "layers", 3);
    set_integer(&fixture.list, add_step(&fixture.list, "hyperclone"), "width", 16);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_CARRY, 1, &fixture.grown);
    assert_non_null(fixture.grown.moments->raw);
    assert_memory_equal(fixture.grown.moments->raw, fixture.grown.weights, fixture.grown.table.slab * sizeof(float));
    teardown(&fixture);
}

static void moments_compose_along_a_list(void **state)
{
    (void)state;
    struct fixture fixture;
    setup(&fixture, 2);
    one_step(&fixture.list, "stack", "layers", 4);
    set_integer(&fixture.list, add_step(&fixture.list, "hyperclone"), "width", 16);
    grow_with(&fixture.parent, &fixture.list, MOMENTS_OLD_ONLY, 1, &fixture.grown);
    const struct checkpoint *grown = &fixture.grown;
    const struct tensor *old = tensor_find(&fixture.parent.table, "h.1.ln_1.bias");
    const struct tensor *kept = tensor_find(&grown->table, "h.1.ln_1.bias");
    const struct tensor *copy = tensor_find(&grown->table, "h.3.ln_1.bias");
    for (int i = 0; i < 16; i++) {
        assert_true(grown->moments->m[kept->offset + i] == fixture.parent.moments->m[old->offset + i % 8] / 2);
        assert_true(grown->moments->v[kept->offset + i] == fixture.parent.moments->v[old->offset + i % 8] / 4);
        assert_true(grown->moments->v[copy->offset + i] == 0);
    }
    assert_int_equal(grown->moments->steps[kept - grown->table.tensors],
                     fixture.parent.moments->steps[old - fixture.parent.table.tensors]);
    assert_int_equal(grown->moments->steps[copy - grown->table.tensors], 0);
    teardown(&fixture);
}

/* No row of the table makes units out of nothing yet; the rule is the contract's: m = 0, v = mean of the old v. */
static void new_units_inside_an_old_tensor_start_with_the_mean_of_v(void **state)
{
    (void)state;
    struct fixture fixture;
    struct growth_plan plan;
    struct error error = {0};
    setup(&fixture, 2);
    one_step(&fixture.list, "widen_ff", "ff", 14);
    assert_int_equal(growth_plan_init(&plan, &fixture.parent.table.shape, &fixture.list, &error), 0);
    plan.stages[0].units[UNIT_FF].source[13] = -1;
    assert_int_equal(growth_apply(&plan, &fixture.list, &fixture.parent, MOMENTS_CARRY, 1, &fixture.grown, &error), 0);
    const struct tensor *old = tensor_find(&fixture.parent.table, "h.0.mlp.c_proj.weight");
    const struct tensor *to = tensor_find(&fixture.grown.table, "h.0.mlp.c_proj.weight");
    double mean = 0;
    for (size_t i = 0; i < old->count; i++)
        mean += (double)fixture.parent.moments->v[old->offset + i] / (double)old->count;
    for (int o = 0; o < 8; o++) {
        size_t at = to->offset + 13 * 8 + (size_t)o;
        assert_true(fixture.grown.weights[at] == 0 && fixture.grown.moments->m[at] == 0);
        assert_float_equal(fixture.grown.moments->v[at], mean, 1e-9);
    }
    assert_int_equal(fixture.grown.moments->steps[to - fixture.grown.table.tensors],
                     fixture.parent.moments->steps[old - fixture.parent.table.tensors]);
    growth_plan_fini(&plan);
    teardown(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stack_carries_moments_with_their_step_counters),
        cmocka_unit_test(stack_starts_copies_at_step_zero_under_old_only),
        cmocka_unit_test(first_occurrence_keeps_moments_under_old_only),
        cmocka_unit_test(random_layers_have_no_moments_under_carry),
        cmocka_unit_test(identity_blocks_have_no_moments),
        cmocka_unit_test(reset_leaves_no_moments),
        cmocka_unit_test(a_parent_without_moments_gives_none),
        cmocka_unit_test(raw_iterate_restarts_from_the_grown_weights),
        cmocka_unit_test(moments_compose_along_a_list),
        cmocka_unit_test(new_units_inside_an_old_tensor_start_with_the_mean_of_v),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
