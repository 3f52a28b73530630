/* staged: its width against plain loops, its layers, both promises in every family, composition, mistakes. */
#include "tests/growth/blocks.h"

static void width_equals_plain_loops(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int n = 2; n <= 3; n++) {
            const struct shape *shape = &plain_worlds[w].shape;
            struct checkpoint parent, grown;
            struct growth_list list;
            struct blocks blocks;
            random_checkpoint(&parent, shape, (uint64_t)(w + 1), true);
            one_step(&list, "staged", "width", n * shape->width);
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            assert_int_equal(grown.table.shape.ff, n * shape->ff);
            assert_int_equal(grown.table.shape.heads, n * shape->heads);
            assert_int_equal(grown.table.shape.kv_heads, n * shape->kv_heads);
            blocks_init(&blocks, &parent, NULL, n);
            blocks_check(&blocks, &grown);
            for (int t = 0; t < grown.table.count; t++)
                assert_int_equal(grown.moments->steps[t], parent.moments->steps[t]);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* The number after the first dot that a digit follows: which layer a name is of; -1: none, and tables of a stack. */
static int layer_of(const char *name, const char **rest)
{
    for (const char *dot = name; *dot != '\0'; dot++)
        if (dot[0] == '.' && dot[1] >= '0' && dot[1] <= '9' && strstr(name, "relative") == NULL) {
            char *end;
            long layer = strtol(dot + 1, &end, 10);
            *rest = end;
            return (int)layer;
        }
    return -1;
}

/* "….7.rest" with another layer. */
static const struct tensor *at_layer(const struct checkpoint *parent, const char *name, int layer)
{
    char text[TENSOR_NAME_BYTES + 16];
    const char *rest, *dot = name;
    while (!(dot[0] == '.' && dot[1] >= '0' && dot[1] <= '9'))
        dot++;
    assert_true(layer_of(name, &rest) >= 0);
    snprintf(text, sizeof text, "%.*s.%d%s", (int)(dot - name), name, layer, rest);
    return tensor_find(&parent->table, text);
}

static bool writes_stream(const char *name)
{
    const char *axes = plain_axes(name);
    return axes[0] == 'D' || (axes[1] == 'D' && axes[0] != '.');
}

/* Each old layer, then its silent copy; in bert the norms between have moved (tests/growth/test_bert.c). */
static void every_layer_is_followed_by_a_silent_copy(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        const struct shape *shape = &plain_worlds[w].shape;
        struct checkpoint parent, grown;
        struct growth_list list;
        bool sides = shape->decoder_layers > 0;
        random_checkpoint(&parent, shape, (uint64_t)(w + 1), true);
        one_step(&list, "staged", sides ? "encoder_layers" : "layers", 2 * shape->layers);
        if (sides)
            set_integer(&list, 0, "decoder_layers", 2 * shape->decoder_layers);
        grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
        assert_int_equal(grown.table.shape.layers, 2 * shape->layers);
        assert_int_equal(grown.table.shape.decoder_layers, 2 * shape->decoder_layers);
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *to = &grown.table.tensors[t];
            const char *rest, *axes = plain_axes(to->name);
            int layer = layer_of(to->name, &rest);
            const struct tensor *from = layer < 0 ? tensor_find(&parent.table, to->name)
                                                  : at_layer(&parent, to->name, layer / 2);
            bool silent = layer >= 0 && layer % 2 == 1;
            if (shape->family == FAMILY_BERT && (axes[0] == 'G' || axes[0] == 'O') && axes[1] != '!')
                continue;
            assert_non_null(from);
            for (size_t i = 0; i < to->count; i++) {
                float expected = silent && writes_stream(to->name) ? 0 : parent.weights[from->offset + i];
                assert_true(grown.weights[to->offset + i] == expected);
                assert_true(grown.moments->m[to->offset + i] == (silent ? 0 : parent.moments->m[from->offset + i]));
                assert_true(grown.moments->v[to->offset + i] == (silent ? 0 : parent.moments->v[from->offset + i]));
            }
            assert_int_equal(grown.moments->steps[t], silent ? 0 : parent.moments->steps[from - parent.table.tensors]);
        }
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

static void add_staged(struct growth_list *list, bool deep, struct shape *shape)
{
    int step = add_step(list, "staged");
    if (!deep) {
        set_integer(list, step, "width", 2 * shape->width);
        shape->width *= 2;
    } else if (shape->decoder_layers > 0) {
        set_integer(list, step, "encoder_layers", 2 * shape->layers);
        set_integer(list, step, "decoder_layers", 2 * shape->decoder_layers);
    } else {
        set_integer(list, step, "layers", 2 * shape->layers);
    }
}

static void function_is_preserved_in_any_order(void **state)
{
    (void)state;
    static const struct { const char *title; int count; bool deep[2]; } ORDERS[] = {
        {"width", 1, {false, false}}, {"layers", 1, {true, false}},
        {"width, layers", 2, {false, true}}, {"layers, width", 2, {true, false}},
    };
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (size_t o = 0; o < sizeof ORDERS / sizeof ORDERS[0]; o++) {
            struct shape shape = plain_worlds[w].shape;
            struct checkpoint parent, grown;
            struct growth_list list = {0};
            random_checkpoint(&parent, &shape, (uint64_t)(w + 1), false);
            for (int i = 0; i < ORDERS[o].count; i++)
                add_staged(&list, ORDERS[o].deep[i], &shape);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = plain_preservation(&parent, &grown, kernels_cpu());
            double wide = plain_preservation(&parent, &grown, kernels_ref_double());
            print_message("%s, %s: cpu %.1e (1e-4), double %.1e (2e-6)\n", plain_worlds[w].title, ORDERS[o].title, single,
                          wide);
            assert_true(single < 1e-4 && wide < 2e-6);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

static void carried_moments_are_those_of_the_grown_gradient(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        struct checkpoint parent, grown;
        struct growth_list list;
        struct blocks blocks;
        random_checkpoint(&parent, &plain_worlds[w].shape, (uint64_t)(w + 1), true);
        plain_moments_of_gradient(&parent);
        one_step(&list, "staged", "width", 2 * parent.table.shape.width);
        grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
        blocks_init(&blocks, &parent, NULL, 2);
        double error = plain_carried_error(&parent, &grown, &blocks.maps);
        print_message("%s: %.1e (2e-6)\n", plain_worlds[w].title, error);
        assert_true(error < 2e-6);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* kv heads in another order than the queries that read them; the stream of one copy shifted against the norms'. */
static void wrong_kv_heads_and_a_full_final_norm_are_caught(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        const struct shape *shape = &plain_worlds[w].shape;
        bool grouped = shape->kv_heads < shape->heads;
        struct checkpoint parent, grown;
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        if (!grouped && !shape->tied)
            continue;
        random_checkpoint(&parent, shape, 2, false);
        one_step(&list, "staged", "width", 2 * shape->width);
        assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
        for (int head = 0; grouped && head < plan.stages[0].units[UNIT_KV].count; head++)
            plan.stages[0].units[UNIT_KV].source[head] = head / 2;
        assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), 0);
        for (int t = 0; !grouped && t < grown.table.count; t++)       /* the final norm left undivided */
            for (size_t i = 0; plain_axes(grown.table.tensors[t].name)[1] == '!' && i < grown.table.tensors[t].count; i++)
                grown.weights[grown.table.tensors[t].offset + i] *= 2;
        double preservation = plain_preservation(&parent, &grown, kernels_cpu());
        print_message("%s: %.1e (above 1e-3)\n", plain_worlds[w].title, preservation);
        assert_true(preservation > 1e-3);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_plan_fini(&plan);
        growth_list_fini(&list);
    }
}

static void wrong_values_name_pointer_and_nearest_value(void **state)
{
    (void)state;
    static const struct { int world; const char *name; int value; const char *pointer, *words; } CASES[] = {
        {0, "width", 20, "/operators/0/width", "multiple of the present 8, from 16 to 131072 (nearest valid: 24)"},
        {0, "layers", 5, "/operators/0/layers", "twice the 3 there are (nearest valid: 6), not 5"},
        {8, "decoder_layers", 12, "/operators/0/decoder_layers", "nearest valid: 6"},
        {0, "seed", 1, "/operators/0/width", "exactly one of width and layers: give one"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        one_step(&list, "staged", CASES[i].name, CASES[i].value);
        assert_int_equal(growth_plan_init(&plan, &plain_worlds[CASES[i].world].shape, &list, &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, CASES[i].pointer);
        if (strstr(error.message, CASES[i].words) == NULL)
            fail_msg("case %zu: %s", i, error.message);
        growth_list_fini(&list);
    }
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    one_step(&list, "staged", "layers", 6);
    set_integer(&list, 0, "width", 16);
    assert_int_equal(growth_plan_init(&plan, &plain_worlds[0].shape, &list, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/operators/0/width");
    growth_list_fini(&list);
}

static void only_the_width_is_symmetric(void **state)
{
    (void)state;
    for (int deep = 0; deep < 2; deep++) {
        struct shape shape = plain_worlds[0].shape;
        struct growth_list list = {0};
        struct growth_plan plan;
        struct error error = {0};
        add_staged(&list, deep, &shape);
        assert_int_equal(growth_plan_init(&plan, &plain_worlds[0].shape, &list, &error), 0);
        assert_int_equal(plan.symmetric, !deep);
        assert_int_equal(plan.warning_count, !deep);
        assert_true(plan.promise == PROMISE_EXACT && plan.width_factor == (deep ? 1 : 2));
        growth_plan_fini(&plan);
        growth_list_fini(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(width_equals_plain_loops),
        cmocka_unit_test(every_layer_is_followed_by_a_silent_copy),
        cmocka_unit_test(function_is_preserved_in_any_order),
        cmocka_unit_test(carried_moments_are_those_of_the_grown_gradient),
        cmocka_unit_test(wrong_kv_heads_and_a_full_final_norm_are_caught),
        cmocka_unit_test(wrong_values_name_pointer_and_nearest_value),
        cmocka_unit_test(only_the_width_is_symmetric),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
