/* extend_context in every family: which positions are old and which new, moments, the promise within the old context,
 * composition, refusals. */
#include "tests/growth/plain.h"

enum { OLD = 10, NEW = 23 };

static bool is_position_table(const char *name)
{
    return strstr(name, "wpe.weight") != NULL || strstr(name, "position_embeddings.weight") != NULL;
}

static void check_positions(const struct checkpoint *parent, const struct checkpoint *grown, bool draws)
{
    int tables = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t], *from = tensor_find(&parent->table, to->name);
        const struct moments *old = parent->moments, *new = grown->moments;
        bool table = is_position_table(to->name);
        tables += table;
        assert_int_equal(to->dims[0], table ? NEW : from->dims[0]);
        assert_memory_equal(grown->weights + to->offset, parent->weights + from->offset, from->count * sizeof(float));
        assert_memory_equal(new->m + to->offset, old->m + from->offset, from->count * sizeof(float));
        assert_memory_equal(new->v + to->offset, old->v + from->offset, from->count * sizeof(float));
        assert_int_equal(new->steps[t], old->steps[from - parent->table.tensors]);
        double mean = plain_mean(old->v + from->offset, from->count);
        for (size_t i = from->count; i < to->count; i++) {
            float value = grown->weights[to->offset + i];
            if (draws)
                assert_true(value != 0 && fabsf(value) < 0.2f);
            else
                assert_true(value == parent->weights[from->offset + i % from->count]);
            assert_true(new->m[to->offset + i] == 0);
            plain_assert(to, "v", (int)i, 0, (double)new->v[to->offset + i], mean);
        }
    }
    bool learned = parent->table.shape.family == FAMILY_GPT2 || parent->table.shape.family == FAMILY_BERT;
    assert_int_equal(tables, learned);
}

static void old_positions_stay_and_new_ones_repeat_them_or_are_drawn(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int draws = 0; draws < 2; draws++) {
            struct checkpoint parent, grown;
            struct growth_list list;
            struct shape expected = plain_worlds[w].shape;
            random_checkpoint(&parent, &plain_worlds[w].shape, (uint64_t)(w + 1), true);
            one_step(&list, "extend_context", "context", NEW);
            set_integer(&list, 0, "positions", draws);
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            expected.context = NEW;
            assert_true(shape_equal(&grown.table.shape, &expected));
            check_positions(&parent, &grown, draws);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* The probe has as many positions as the smaller context. Rotary angles too: dynamic scaling begins beyond the context. */
static void function_is_preserved_within_the_old_context(void **state)
{
    (void)state;
    for (int w = 0; w <= PLAIN_WORLDS; w++) {
        struct shape shape = plain_worlds[w < PLAIN_WORLDS ? w : 2].shape;
        struct checkpoint parent, grown;
        struct growth_list list;
        if (w == PLAIN_WORLDS)
            shape.rope.scaling = ROPE_DYNAMIC, shape.rope.factor = 4;
        random_checkpoint(&parent, &shape, (uint64_t)(w + 1), false);
        one_step(&list, "extend_context", "context", NEW);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_true(plain_preservation(&parent, &grown, kernels_cpu()) == 0);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

static void composition_with_depth_keeps_the_promise(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int first = 0; first < 2; first++) {
            struct checkpoint parent, grown;
            struct growth_list list = {0};
            random_checkpoint(&parent, &plain_worlds[w].shape, (uint64_t)(w + 1), false);
            for (int i = 0; i < 2; i++) {
                int step = add_step(&list, i == first ? "extend_context" : "identity");
                set_integer(&list, step, i == first ? "context" : "layers", i == first ? NEW : 5);
            }
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            assert_true(plain_preservation(&parent, &grown, kernels_cpu()) < 1e-4);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

static void plan_shows_positions_where_a_table_holds_them(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        struct growth_list list;
        struct growth_plan plan;
        struct buffer text;
        struct error error = {0};
        const struct shape *shape = &plain_worlds[w].shape;
        one_step(&list, "extend_context", "context", NEW);
        assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
        buffer_init(&text);
        growth_plan_json(&plan, &text);
        bool learned = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
        assert_int_equal(strstr(text.data, "\"context\":{\"from\":10,\"to\":23,\"slices\":[[0,10],[0,10],[0,3]]}") != NULL,
                         learned);
        assert_int_equal(plan.warning_count, 0);
        buffer_fini(&text);
        growth_plan_fini(&plan);
        growth_list_fini(&list);
    }
}

static void wrong_contexts_name_pointer_and_nearest_value(void **state)
{
    (void)state;
    static const struct { int64_t context; const char *words; } CASES[] = {
        {OLD, "above the present 10 and at most 1048576 (nearest valid: 11), not 10"},
        {1 << 21, "nearest valid: 1048576"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        one_step(&list, "extend_context", "context", CASES[i].context);
        assert_int_equal(growth_plan_init(&plan, &plain_worlds[0].shape, &list, &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, "/operators/0/context");
        assert_non_null(strstr(error.message, CASES[i].words));
        growth_list_fini(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_positions_stay_and_new_ones_repeat_them_or_are_drawn),
        cmocka_unit_test(function_is_preserved_within_the_old_context),
        cmocka_unit_test(composition_with_depth_keeps_the_promise),
        cmocka_unit_test(plan_shows_positions_where_a_table_holds_them),
        cmocka_unit_test(wrong_contexts_name_pointer_and_nearest_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
