/* add_heads: which old heads the new ones copy and which kv head they read, every entry and its moments against plain
 * loops, the promise, gradients, splits, refusals, and maps made wrong on purpose. */
#include "tests/growth/plain.h"

/* heads and kv heads before and after, with the maps written by hand (methods 6.12). */
struct head_case {
    int heads, kv, to_heads, to_kv;
    bool kv_asked, symmetric;     /* symmetric: carried moments are gradients */
    int queries[16], keys[16];
};

static const struct head_case CASES[] = {
    /* as many kv heads: both are dealt in turn */
    {3, 3, 6, 6, false, true, {0, 1, 2, 0, 1, 2}, {0, 1, 2, 0, 1, 2}},
    {3, 3, 5, 5, false, true, {0, 1, 2, 0, 1}, {0, 1, 2, 0, 1}},
    /* groups grow, kv heads stay: new queries join the group of their source */
    {4, 2, 8, 2, false, true, {0, 1, 0, 1, 2, 3, 2, 3}, {0, 1}},
    {4, 2, 6, 2, false, true, {0, 1, 0, 2, 3, 2}, {0, 1}},
    {4, 1, 6, 1, false, true, {0, 1, 2, 3, 0, 1}, {0}},
    /* whole groups are copied */
    {4, 2, 8, 4, true, true, {0, 1, 2, 3, 0, 1, 2, 3}, {0, 1, 0, 1}},
    {4, 2, 6, 3, true, true, {0, 1, 2, 3, 0, 1}, {0, 1, 0}},
    /* kv heads alone: copies side by side, queries stay where they are */
    {4, 2, 4, 4, true, false, {0, 1, 2, 3}, {0, 0, 1, 1}},
    {6, 1, 6, 3, true, false, {0, 1, 2, 3, 4, 5}, {0, 0, 0}},
    /* both, at different rates */
    {4, 2, 12, 4, true, false, {0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3}, {0, 0, 1, 1}},
    {4, 2, 8, 8, true, false, {0, 1, 0, 1, 2, 3, 2, 3}, {0, 0, 0, 0, 1, 1, 1, 1}},
    {6, 6, 12, 6, true, true, {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5}, {0, 1, 2, 3, 4, 5}},
};
enum { CASE_COUNT = sizeof CASES / sizeof CASES[0] };

/* Of worlds without the family's choice of kv heads (t5) only the cases with as many kv heads as heads. */
static bool case_fits(const struct head_case *test, const struct shape *shape)
{
    if (shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT)
        return false;
    return shape->family != FAMILY_T5 || (test->kv == test->heads && test->to_kv == test->to_heads);
}

static struct shape case_shape(const struct head_case *test, const struct shape *world)
{
    struct shape shape = *world;
    shape.heads = test->heads;
    shape.kv_heads = test->kv;
    return shape;
}

static void case_list(const struct head_case *test, struct growth_list *list)
{
    one_step(list, "add_heads", "heads", test->to_heads);
    if (test->kv_asked)
        set_integer(list, 0, "kv_heads", test->to_kv);
}

/* Keys and values: their share is what reaches the queries that they serve, over what reaches the old ones. */
static void case_maps(const struct head_case *test, const struct shape *shape, struct plain_maps *maps)
{
    *maps = (struct plain_maps){.gain = 1, .head = 1};
    plain_map_set(&maps->stream, NULL, shape->width, shape->width);
    plain_map_set(&maps->ff, NULL, shape->ff, shape->ff);
    plain_map_set(&maps->heads, test->queries, test->to_heads, test->heads);
    plain_map_set(&maps->kv, test->keys, test->to_kv, test->kv);
    int group = test->to_heads / test->to_kv;
    for (int kv = 0; kv < test->to_kv; kv++) {
        maps->kv.share[kv] = 0;
        for (int head = kv * group; head < (kv + 1) * group; head++)
            maps->kv.share[kv] += maps->heads.share[head] * test->kv / test->heads;
    }
}

struct run { struct shape shape; struct checkpoint parent, grown; struct plain_maps maps; };

static void run_case(struct run *run, const struct head_case *test, const struct shape *world, bool gradients)
{
    struct growth_list list;
    run->shape = case_shape(test, world);
    random_checkpoint(&run->parent, &run->shape, 5, true);
    if (gradients)
        plain_moments_of_gradient(&run->parent);
    case_list(test, &list);
    grow_with(&run->parent, &list, MOMENTS_CARRY, 1, &run->grown);
    assert_int_equal(run->grown.table.shape.heads, test->to_heads);
    assert_int_equal(run->grown.table.shape.kv_heads, test->to_kv);
    case_maps(test, &run->shape, &run->maps);
    growth_list_fini(&list);
}

static void run_fini(struct run *run)
{
    checkpoint_fini(&run->grown);
    checkpoint_fini(&run->parent);
}

static void add_heads_equals_plain_loops(void **state)
{
    (void)state;
    int runs = 0;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int c = 0; c < CASE_COUNT; c++) {
            struct run run;
            if (!case_fits(&CASES[c], &plain_worlds[world].shape))
                continue;
            run_case(&run, &CASES[c], &plain_worlds[world].shape, false);
            plain_check(&run.parent, &run.grown, &run.maps);
            run_fini(&run);
            runs++;
        }
    assert_int_equal(runs, 5 * CASE_COUNT + 2 * 2);
}

static void the_function_is_kept(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int c = 0; c < CASE_COUNT; c++) {
            struct run run;
            if (!case_fits(&CASES[c], &plain_worlds[world].shape))
                continue;
            run_case(&run, &CASES[c], &plain_worlds[world].shape, false);
            double single = plain_preservation(&run.parent, &run.grown, kernels_cpu());
            double wide = plain_preservation(&run.parent, &run.grown, kernels_ref_double());
            print_message("%-16s %d/%d to %d/%d: cpu %.1e (1e-4), double %.1e (1e-6)\n", plain_worlds[world].title,
                          CASES[c].heads, CASES[c].kv, CASES[c].to_heads, CASES[c].to_kv, single, wide);
            assert_true(single < 1e-4 && wide < 1e-6);
            run_fini(&run);
        }
}

static void moments_carried_by_symmetric_maps_are_gradients(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int c = 0; c < CASE_COUNT; c++) {
            struct run run;
            if (!case_fits(&CASES[c], &plain_worlds[world].shape) || !CASES[c].symmetric)
                continue;
            run_case(&run, &CASES[c], &plain_worlds[world].shape, true);
            double worst = plain_carried_error(&run.parent, &run.grown, &run.maps);
            print_message("%-16s %d/%d to %d/%d: %.1e (2e-6)\n", plain_worlds[world].title, CASES[c].heads, CASES[c].kv,
                          CASES[c].to_heads, CASES[c].to_kv, worst);
            assert_true(worst < 2e-6);
            run_fini(&run);
        }
}

/* Where copies serve different queries, no old moment tells what each will get; together they still get the old one. */
static void moments_of_other_maps_sum_to_the_old_ones(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++) {
        struct run run;
        run_case(&run, &CASES[c], &plain_worlds[3].shape, false);
        double sums[2][10 * 4 * 8] = {{0}};
        const char *const names[] = {"layers.1.self_attn.k_proj.weight", "layers.1.self_attn.q_proj.weight"};
        for (int n = 0; n < 2; n++) {
            const struct tensor *from = tensor_find(&run.parent.table, names[n]);
            const struct tensor *to = tensor_find(&run.grown.table, names[n]);
            const int *source = n == 0 ? CASES[c].keys : CASES[c].queries;
            for (size_t i = 0; i < to->count; i++) {
                size_t row = i / 10, old = (size_t)source[row / 4] * 4 + row % 4;
                sums[n][old * 10 + i % 10] += (double)run.grown.moments->m[to->offset + i];
            }
            for (size_t i = 0; i < from->count; i++)
                assert_true(fabs(sums[n][i] - (double)run.parent.moments->m[from->offset + i]) < 1e-8);
        }
        run_fini(&run);
    }
}

/* ---- unequal splits ---- */

/* Shares from the outgoing weights: each drawn, no two copies alike, they sum to 1; keys and values by the same ones
 * where every query has its own. */
static void unequal_shares_are_drawn_and_keys_follow_their_queries(void **state)
{
    (void)state;
    const struct head_case *test = &CASES[0];
    struct shape shape = case_shape(test, &plain_worlds[3].shape);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 5, true);
    plain_moments_of_gradient(&parent);
    case_list(test, &list);
    set_integer(&list, 0, "split", 1);
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
    const float *old = weights_of(&parent, "layers.0.self_attn.o_proj.weight");
    const float *new = weights_of(&grown, "layers.0.self_attn.o_proj.weight");
    struct plain_maps maps;
    case_maps(test, &shape, &maps);
    for (int head = 0; head < 6; head++)
        maps.heads.share[head] = maps.kv.share[head] = (double)new[head * 4] / (double)old[head % 3 * 4];
    for (int head = 0; head < 3; head++) {
        double sum = maps.heads.share[head] + maps.heads.share[head + 3];
        assert_true(fabs(sum - 1) < 1e-6 && fabs(maps.heads.share[head] - 0.5) > 0.01);
    }
    plain_check(&parent, &grown, &maps);
    double worst = plain_carried_error(&parent, &grown, &maps);
    double wide = plain_preservation(&parent, &grown, kernels_ref_double());
    print_message("moments against gradients %.1e (2e-6), preservation %.1e (1e-6)\n", worst, wide);
    assert_true(worst < 2e-6 && wide < 1e-6);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* The plan says beforehand which copies never separate: equal ones, unless only kv heads are copied. */
static void copies_that_never_separate_are_warned_of(void **state)
{
    (void)state;
    for (int c = 0; c < CASE_COUNT; c++)
        for (int unequal = 0; unequal < 2; unequal++) {
            struct shape shape = case_shape(&CASES[c], &plain_worlds[3].shape);
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            case_list(&CASES[c], &list);
            set_integer(&list, 0, "split", unequal);
            assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
            bool kept = !unequal && CASES[c].to_heads > CASES[c].heads;
            assert_int_equal(plan.symmetric, kept);
            assert_int_equal(plan.warning_count, kept);
            assert_int_equal(plan.promise, PROMISE_EXACT);
            assert_true(plan.width_factor == 1);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

static void the_plan_shows_the_maps(void **state)
{
    (void)state;
    struct shape shape = case_shape(&CASES[6], &plain_worlds[3].shape);
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    struct buffer out;
    case_list(&CASES[6], &list);
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    buffer_init(&out);
    growth_plan_json(&plan, &out);
    assert_false(out.failed);
    assert_string_equal(out.data, "{\"layers\":[0,1,2],\"identity\":[],"
                        "\"heads\":{\"from\":4,\"to\":6,\"slices\":[[0,4],[0,2]]},"
                        "\"kv_heads\":{\"from\":2,\"to\":3,\"slices\":[[0,2],[0,1]]}}");
    buffer_fini(&out);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

/* ---- refusals ---- */

static void wrong_sizes_are_refused_with_the_nearest_valid_one(void **state)
{
    (void)state;
    static const struct { int world, heads, kv; int64_t to_heads, to_kv; const char *pointer, *says; } WRONG[] = {
        {2, 4, 2, 3, 0, "/heads", "from 6 to 32768, in steps of 2 (nearest valid: 6), not 3"},
        {2, 4, 2, 4, 0, "/heads", "nearest valid: 6"},
        {2, 4, 2, 7, 0, "/heads", "nearest valid: 8"},
        {2, 4, 2, 1 << 30, 0, "/heads", "nearest valid: 32768"},
        {2, 4, 2, 1 << 30, 3, "/heads", "nearest valid: 32766"},
        {2, 4, 2, 8, 1, "/kv_heads", "from 2 to 8 (nearest valid: 2)"},
        {2, 4, 2, 8, 9, "/kv_heads", "nearest valid: 8"},
        {2, 4, 2, 8, 3, "/heads", "nearest valid: 9"},
        {2, 4, 2, 4, 2, "/heads", "nearest valid: 6"},
        {2, 8, 2, 9, 3, "/heads", "nearest valid: 12"},       /* one copy of a kv head could not serve its 4 queries */
        {2, 4, 4, 4, 0, "/heads", "from 5 to 32768, in steps of 1 (nearest valid: 5)"},
        {2, 4, 4, 4, 4, "/heads", "nearest valid: 8"},
        {8, 3, 3, 6, 3, "/kv_heads", "nearest valid: 6"},
        {8, 3, 3, -5, 0, "/heads", "nearest valid: 4"},
        {8, 3, 3, INT64_MAX, 0, "/heads", "nearest valid: 65536"},
        {0, 2, 2, 4, 0, "/op", "does not apply"},
        {6, 3, 3, 6, 0, "/op", "does not apply"},
    };
    for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
        struct shape shape = plain_worlds[WRONG[i].world].shape;
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        char pointer[64];
        shape.heads = WRONG[i].heads, shape.kv_heads = WRONG[i].kv;
        one_step(&list, "add_heads", "heads", WRONG[i].to_heads);
        if (WRONG[i].to_kv != 0)
            set_integer(&list, 0, "kv_heads", WRONG[i].to_kv);
        assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), ERROR_INVALID);
        snprintf(pointer, sizeof pointer, "/operators/0%s", WRONG[i].pointer);
        print_message("%s: %s\n", pointer, error.message);
        assert_string_equal(error.details[0].pointer, pointer);
        assert_non_null(strstr(error.message, WRONG[i].says));
        growth_list_fini(&list);
    }
}

/* ---- together, and wrong on purpose ---- */

static void add_heads_composes_with_depth_and_width(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int order = 0; order < 2; order++) {
            struct shape shape = plain_worlds[world].shape;
            struct checkpoint parent, grown;
            struct growth_list list = {0};
            if (!case_fits(&CASES[0], &shape))
                continue;
            random_checkpoint(&parent, &shape, 4, true);
            int heads = 2 * shape.heads * (order == 0 ? 1 : 2);
            for (int step = 0; step < 3; step++)
                switch (order == 0 ? step : 2 - step) {
                case 0: set_integer(&list, add_step(&list, "add_heads"), "heads", heads); break;
                case 1: set_integer(&list, add_step(&list, "identity"), "layers", 5); break;
                default: set_integer(&list, add_step(&list, "hyperclone"), "width", 2 * shape.width);
                }
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            double single = plain_preservation(&parent, &grown, kernels_cpu());
            print_message("%-16s order %d: %.1e (1e-4)\n", plain_worlds[world].title, order, single);
            assert_true(single < 1e-4 && grown.table.shape.heads == 4 * shape.heads);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* 0: queries tiled though kv heads stay; 1: kv heads tiled though queries stay; 2: t5's columns of relative positions
 * not moved with the heads; 3: a tied qwen2's queries in the wrong group. */
static double preservation_of_mistake(int mistake)
{
    static const int WORLDS[] = {2, 2, 8, 5}, WHICH[] = {2, 7, 0, 2};
    const struct head_case *test = &CASES[WHICH[mistake]];
    struct shape shape = case_shape(test, &plain_worlds[WORLDS[mistake]].shape);
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    random_checkpoint(&parent, &shape, 2, false);
    case_list(test, &list);
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    int32_t *queries = plan.stages[0].units[UNIT_HEADS].source, *keys = plan.stages[0].units[UNIT_KV].source;
    for (int head = 0; mistake == 0 && head < plan.to.heads; head++)
        queries[head] = head % shape.heads;
    for (int kv = 0; mistake == 1 && kv < plan.to.kv_heads; kv++)
        keys[kv] = kv % shape.kv_heads;
    if (mistake == 3)
        queries[3] = 3;
    assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), 0);
    const char *table = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    float *columns = mistake == 2 ? grown.weights + tensor_find(&grown.table, table)->offset : NULL;
    for (int bucket = 0; mistake == 2 && bucket < shape.buckets; bucket++) {
        float first = columns[bucket * 6];
        columns[bucket * 6] = columns[bucket * 6 + 1], columns[bucket * 6 + 1] = first;
    }
    double preservation = plain_preservation(&parent, &grown, kernels_cpu());
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
    return preservation;
}

static void wrong_maps_are_caught(void **state)
{
    (void)state;
    for (int mistake = 0; mistake < 4; mistake++) {
        double preservation = preservation_of_mistake(mistake);
        print_message("mistake %d: %.2g (above 1e-3)\n", mistake, preservation);
        assert_true(preservation > 1e-3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_heads_equals_plain_loops),
        cmocka_unit_test(the_function_is_kept),
        cmocka_unit_test(moments_carried_by_symmetric_maps_are_gradients),
        cmocka_unit_test(moments_of_other_maps_sum_to_the_old_ones),
        cmocka_unit_test(unequal_shares_are_drawn_and_keys_follow_their_queries),
        cmocka_unit_test(copies_that_never_separate_are_warned_of),
        cmocka_unit_test(the_plan_shows_the_maps),
        cmocka_unit_test(wrong_sizes_are_refused_with_the_nearest_valid_one),
        cmocka_unit_test(add_heads_composes_with_depth_and_width),
        cmocka_unit_test(wrong_maps_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
