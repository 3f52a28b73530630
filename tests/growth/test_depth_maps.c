/* Every depth map against the examples of methods appendix A, and the connection rates. */
#include "tests/growth/fixture.h"

#include <math.h>

enum { NONE = -1, FRESH = -1 };

struct example {
    const char *op;
    int from, layers, block;     /* block NONE: not given */
    const char *map;             /* "0 1 2*": old layers, * an identity copy, . a fresh one */
};

static const struct example EXAMPLES[] = {
    {"stack", 6, 12, NONE, "0 1 2 3 4 5 0 1 2 3 4 5"},
    {"stack", 6, 15, NONE, "0 1 2 3 4 5 0 1 2 3 4 5 0 1 2"},
    {"stack", 1, 3, NONE, "0 0 0"},
    {"interleave", 6, 12, NONE, "0 0 1 1 2 2 3 3 4 4 5 5"},
    {"interleave", 6, 9, NONE, "0 0 1 2 2 3 4 4 5"},
    {"interleave", 3, 6, NONE, "0 0 1 1 2 2"},
    {"first", 6, 9, NONE, "0 1 2 0 1 2 3 4 5"},
    {"first", 3, 6, 1, "0 0 0 0 1 2"},
    {"first", 3, 8, 2, "0 1 0 1 0 0 1 2"},
    {"first", 3, 8, NONE, "0 1 2 0 1 0 1 2"},
    {"first", 6, 8, 5, "0 1 0 1 2 3 4 5"},
    {"gradual_last", 6, 9, NONE, "0 1 2 3 4 5 3 4 5"},
    {"gradual_last", 3, 6, 1, "0 1 2 2 2 2"},
    {"gradual_last", 3, 8, NONE, "0 1 2 0 1 2 0 1"},
    {"gradual_last", 6, 9, 2, "0 1 2 3 4 5 4 5 4"},
    {"middle", 6, 8, 2, "0 1 2 3 2 3 4 5"},
    {"middle", 6, 10, 2, "0 1 2 3 2 3 2 3 4 5"},
    {"middle", 3, 6, NONE, "0 1 1 1 1 2"},
    {"middle", 4, 8, 4, "0 1 2 3 0 1 2 3"},
    {"middle", 8, 12, 2, "0 1 2 3 2 3 2 3 4 5 6 7"},
    {"solar", 6, 10, NONE, "0 1 2 3 4 1 2 3 4 5"},
    {"solar", 6, 12, NONE, "0 1 2 3 4 5 0 1 2 3 4 5"},
    {"solar", 6, 8, NONE, "0 1 2 3 2 3 4 5"},
    {"solar", 1, 2, NONE, "0 0"},
    {"identity", 6, 8, NONE, "0 1 2 2* 3 4 5 5*"},
    {"identity", 6, 9, NONE, "0 1 1* 2 3 3* 4 5 5*"},
    {"identity", 3, 6, NONE, "0 0* 1 1* 2 2*"},
    {"identity", 3, 5, NONE, "0 1 1* 2 2*"},
    {"identity", 2, 6, NONE, "0 0* 0* 1 1* 1*"},
    {"random", 3, 6, NONE, "0 . 1 . 2 ."},
    {"random", 6, 8, NONE, "0 1 2 . 3 4 5 ."},
};

/* Writes the plan's own map in the examples' notation. */
static void write_map(const struct growth_plan_stage *stage, char *text, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < stage->to.layers; i++) {
        bool identity = stage->identity != NULL && stage->identity[i];
        const char *space = i > 0 ? " " : "";
        if (stage->layers[i] < 0)
            at += (size_t)snprintf(text + at, size - at, "%s.", space);
        else
            at += (size_t)snprintf(text + at, size - at, "%s%d%s", space, (int)stage->layers[i], identity ? "*" : "");
    }
}

static void assert_map(const struct growth_list *list, int from, const char *expected)
{
    struct shape shape = tiny_shape(from, true);
    struct growth_plan plan;
    struct error error = {0};
    char text[512] = "";
    if (growth_plan_init(&plan, &shape, list, &error) != 0)
        fail_msg("%s: %s", expected, error.message);
    write_map(&plan.stages[0], text, sizeof text);
    if (strcmp(text, expected) != 0)
        fail_msg("%s of %d layers: [%s], expected [%s]", list->steps[0].op->name, from, text, expected);
    assert_int_equal(plan.to.layers, plan.stages[0].to.layers);
    assert_int_equal(plan.to.width, shape.width);
    growth_plan_fini(&plan);
}

static void maps_equal_the_appendix(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof EXAMPLES / sizeof EXAMPLES[0]; i++) {
        const struct example *example = &EXAMPLES[i];
        struct growth_list list;
        one_step(&list, example->op, "layers", example->layers);
        if (example->block != NONE)
            set_integer(&list, 0, "block", example->block);
        assert_map(&list, example->from, example->map);
        growth_list_fini(&list);
    }
}

static void new_blocks_stand_on_top_when_asked(void **state)
{
    (void)state;
    struct growth_list list;
    one_step(&list, "identity", "layers", 8);
    set_integer(&list, 0, "placement", 1);
    assert_map(&list, 6, "0 1 2 3 4 5 5* 5*");
    growth_list_fini(&list);
    one_step(&list, "random", "layers", 8);
    set_integer(&list, 0, "placement", 1);
    assert_map(&list, 6, "0 1 2 3 4 5 . .");
    growth_list_fini(&list);
}

static void new_blocks_stand_at_listed_positions(void **state)
{
    (void)state;
    struct growth_list list;
    one_step(&list, "identity", "layers", 6);
    set_list(&list, 0, "placement", (int32_t[]){4, 0, 1}, 3);
    assert_map(&list, 3, "0* 0* 0 1 1* 2");
    growth_list_fini(&list);
    one_step(&list, "random", "layers", 5);
    set_list(&list, 0, "placement", (int32_t[]){0, 4}, 2);
    assert_map(&list, 3, ". 0 1 2 .");
    growth_list_fini(&list);
}

static void layer_map_takes_a_map_or_slices(void **state)
{
    (void)state;
    struct growth_list list = {0};
    set_list(&list, add_step(&list, "layer_map"), "map", (int32_t[]){0, 1, 2, FRESH, 2, 1, 0}, 7);
    assert_map(&list, 3, "0 1 2 . 2 1 0");
    growth_list_fini(&list);
    set_list(&list, add_step(&list, "layer_map"), "slices", (int32_t[]){0, 24, 8, 32}, 4);
    assert_map(&list, 32, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 "
               "8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31");
    growth_list_fini(&list);
}

static void solar_of_32_is_the_published_48(void **state)
{
    (void)state;
    struct growth_list list;
    one_step(&list, "solar", "layers", 48);
    assert_map(&list, 32, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 "
               "8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31");
    growth_list_fini(&list);
}

static void connection_rates_equal_the_papers(void **state)
{
    (void)state;
    static const struct { const char *op; int from, to, block; double rate; } RATES[] = {
        {"stack", 8, 24, NONE, .9130}, {"interleave", 8, 24, NONE, .3043}, {"stack", 6, 24, NONE, .8696},
        {"stack", 6, 12, NONE, .9091}, {"interleave", 6, 12, NONE, .4545}, {"interleave", 6, 9, NONE, .625},
        {"gradual_last", 6, 9, NONE, .875}, {"middle", 6, 8, 2, .857}, {"solar", 6, 10, NONE, .889},
        {"stack", 3, 6, NONE, .8}, {"interleave", 3, 6, NONE, .4},
    };
    for (size_t i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
        struct shape shape = tiny_shape(RATES[i].from, true);
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        one_step(&list, RATES[i].op, "layers", RATES[i].to);
        if (RATES[i].block != NONE)
            set_integer(&list, 0, "block", RATES[i].block);
        assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
        int kept = 0;
        for (int j = 0; j + 1 < RATES[i].to; j++)
            kept += plan.stages[0].layers[j + 1] == plan.stages[0].layers[j] + 1;
        double rate = kept / (RATES[i].to - 1.0);
        print_message("R_c %s %d->%d: %.4f (%.4f)\n", RATES[i].op, RATES[i].from, RATES[i].to, rate, RATES[i].rate);
        assert_true(fabs(rate - RATES[i].rate) < 6e-4);
        growth_plan_fini(&plan);
        growth_list_fini(&list);
    }
}

/* By a walk of its own: new blocks evenly spread, old layers in order, whatever the sizes. */
static void interleaved_blocks_are_spread_evenly(void **state)
{
    (void)state;
    for (int from = 1; from <= 9; from++)
        for (int to = from + 1; to <= 24; to++) {
            struct shape shape = tiny_shape(from, true);
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            one_step(&list, "random", "layers", to);
            assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
            int old = 0, run = 0, most = 0;
            for (int i = 0; i < to; i++) {
                bool fresh = plan.stages[0].layers[i] < 0;
                run = fresh ? run + 1 : 0;
                most = run > most ? run : most;
                if (!fresh)
                    assert_int_equal(plan.stages[0].layers[i], old++);
            }
            assert_int_equal(old, from);
            assert_int_equal(most, (to - from + from - 1) / from);
            assert_true(plan.stages[0].layers[to - 1] < 0);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_equal_the_appendix),
        cmocka_unit_test(new_blocks_stand_on_top_when_asked),
        cmocka_unit_test(new_blocks_stand_at_listed_positions),
        cmocka_unit_test(layer_map_takes_a_map_or_slices),
        cmocka_unit_test(solar_of_32_is_the_published_48),
        cmocka_unit_test(connection_rates_equal_the_papers),
        cmocka_unit_test(interleaved_blocks_are_spread_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
