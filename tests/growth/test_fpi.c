/* fpi and aki in every family: maps, every entry of every tensor and its moments against plain loops over the names of
 * the files, the promise where it holds and the warning where it does not, what carried moments add up to, wrong
 * maps. */
#include "tests/growth/plain.h"

/* Sizes to grow to; 0: not asked for. */
struct sizes { int width, heads, ff; };

static void sized_list(struct growth_list *list, const char *op, struct sizes sizes)
{
    one_step(list, op, "width", sizes.width);
    if (sizes.heads > 0)
        set_integer(list, 0, "heads", sizes.heads);
    if (sizes.ff > 0)
        set_integer(list, 0, "ff", sizes.ff);
}

/* Whole multiples, a part more, and no more than heads and units; heads where the family leaves them free. */
static struct sizes sizes_of(const struct shape *shape, int variant)
{
    bool filled = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
    int heads = filled ? 0 : shape->heads + (variant + 1) * (shape->kv_heads < shape->heads ? shape->kv_heads : 1);
    struct sizes all[] = {
        {2 * shape->width, 0, 0},
        {3 * shape->width, heads, 2 * shape->ff + 5},
        {shape->width, heads, shape->ff + 7},
        {2 * shape->width + shape->head_size, heads, 0},
        {shape->width + shape->head_size, 0, shape->ff + 1},
    };
    return all[variant];
}
enum { SIZES = 5, EXACT_SIZES = 3 };

static void maps_of(const struct growth_plan *plan, struct plain_maps *maps)
{
    const struct growth_plan_stage *stage = &plan->stages[0];
    const struct shape *from = &plan->from, *to = &plan->to;
    plain_map_set(&maps->stream, stage->units[UNIT_WIDTH].source, to->width, from->width);
    plain_map_set(&maps->heads, stage->units[UNIT_HEADS].source, to->heads, from->heads);
    plain_map_set(&maps->kv, stage->units[UNIT_KV].source, to->kv_heads, from->kv_heads);
    plain_map_set(&maps->ff, stage->units[UNIT_FF].source, to->ff, from->ff);
    maps->gain = 1;
    maps->head = from->scaled_head ? sqrt((double)to->width / from->width) : 1;
    maps->above = strcmp(stage->op->name, "aki") == 0;
}

/* Old units first, then each once more and again, the last round a choice. */
static void assert_even(const struct plain_map *map)
{
    int counts[PLAIN_UNITS] = {0}, least = PLAIN_UNITS, most = 0;
    for (int unit = 0; unit < map->count; unit++) {
        assert_in_range(map->source[unit], 0, map->old - 1);
        counts[map->source[unit]]++;
    }
    for (int unit = 0; unit < map->old; unit++) {
        least = counts[unit] < least ? counts[unit] : least;
        most = counts[unit] > most ? counts[unit] : most;
    }
    assert_int_equal(least, map->count / map->old);
    assert_true(most <= least + 1);
}

static void assert_old_first(const struct plain_map *map)
{
    for (int unit = 0; unit < map->old; unit++)
        assert_int_equal(map->source[unit], unit);
}

/* A new head h reads kv head floor(h / group): the one that its source reads. */
static void assert_heads_keep_their_kv_head(const struct plain_maps *maps)
{
    int group = maps->heads.count / maps->kv.count, old_group = maps->heads.old / maps->kv.old;
    for (int head = 0; head < maps->heads.count; head++)
        assert_int_equal(maps->heads.source[head] / old_group, maps->kv.source[head / group]);
}

static void check_one(const struct plain_world *world, const char *op, int variant)
{
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    struct plain_maps maps;
    struct error error = {0};
    random_checkpoint(&parent, &world->shape, (uint64_t)(variant + 2), true);
    sized_list(&list, op, sizes_of(&world->shape, variant));
    assert_int_equal(growth_plan_init(&plan, &world->shape, &list, &error), 0);
    maps_of(&plan, &maps);
    assert_even(&maps.stream);
    assert_even(&maps.heads);
    assert_even(&maps.ff);
    assert_old_first(&maps.stream);
    assert_old_first(&maps.ff);
    if (maps.kv.old == maps.heads.old)
        assert_old_first(&maps.heads);
    assert_heads_keep_their_kv_head(&maps);
    assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_CARRY, 9, &grown, &error), 0);
    plain_check(&parent, &grown, &maps);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

static void fpi_equals_plain_loops(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++)
            check_one(&plain_worlds[world], "fpi", variant);
}

static void aki_equals_plain_loops(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++)
            check_one(&plain_worlds[world], "aki", variant);
}

/* ---- promise ---- */

static void fpi_keeps_the_function_where_it_says_so(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++) {
            const struct shape *shape = &plain_worlds[world].shape;
            struct checkpoint parent, grown;
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            bool exact = variant < EXACT_SIZES;
            random_checkpoint(&parent, shape, (uint64_t)(variant + 2), false);
            sized_list(&list, "fpi", sizes_of(shape, variant));
            assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
            assert_int_equal(plan.promise, exact ? PROMISE_EXACT : PROMISE_NONE);
            assert_int_equal(plan.warning_count, exact ? 1 : 2);     /* the copies never separate; not exact */
            assert_non_null(strstr(plan.warnings[0], "never separate"));
            assert_true(exact || strstr(plan.warnings[1], "integer multiple") != NULL);
            assert_true(fabs(plan.width_factor - (double)plan.to.width / shape->width) < 1e-12);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = plain_preservation(&parent, &grown, kernels_cpu());
            double wide = plain_preservation(&parent, &grown, kernels_ref_double());
            print_message("%-16s width %d: cpu %.1e, double %.1e (%s)\n", plain_worlds[world].title, plan.to.width,
                          single, wide, exact ? "1e-4, 4e-6" : "above 1e-4");
            assert_true(exact ? single < 1e-4 && wide < 4e-6 : wide > 1e-4);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

static void aki_promises_nothing_and_changes_the_function(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++) {
        const struct shape *shape = &plain_worlds[world].shape;
        struct checkpoint parent, grown;
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        random_checkpoint(&parent, shape, 2, false);
        sized_list(&list, "aki", (struct sizes){2 * shape->width, 0, 2 * shape->ff});
        assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
        assert_true(plan.promise == PROMISE_NONE && !plan.symmetric && plan.warning_count == 0);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_true(plain_preservation(&parent, &grown, kernels_cpu()) > 1e-3);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_plan_fini(&plan);
        growth_list_fini(&list);
    }
}

/* With one layer there is none above. */
static void aki_of_one_layer_is_fpi(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(1, true);
    struct checkpoint parent, aki, fpi;
    struct growth_list list, other;
    random_checkpoint(&parent, &shape, 2, true);
    sized_list(&list, "aki", (struct sizes){12, 0, 20});
    sized_list(&other, "fpi", (struct sizes){12, 0, 20});
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &aki);
    grow_with(&parent, &other, MOMENTS_CARRY, 1, &fpi);
    assert_memory_equal(aki.weights, fpi.weights, aki.table.slab * sizeof(float));
    assert_memory_equal(aki.moments->v, fpi.moments->v, aki.table.slab * sizeof(float));
    checkpoint_fini(&aki);
    checkpoint_fini(&fpi);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
    growth_list_fini(&other);
}

static void seeds_choose_other_units_and_whole_multiples_choose_none(void **state)
{
    (void)state;
    struct shape shape = plain_worlds[2].shape;
    for (int width = 13; width <= 20; width += 7) {
        struct growth_list lists[2];
        struct growth_plan plans[2];
        struct error error = {0};
        for (int i = 0; i < 2; i++) {
            sized_list(&lists[i], "fpi", (struct sizes){width, 0, 0});
            set_integer(&lists[i], 0, "seed", 7 * i);
            assert_int_equal(growth_plan_init(&plans[i], &shape, &lists[i], &error), 0);
        }
        const struct unit_map *a = &plans[0].stages[0].units[UNIT_WIDTH], *b = &plans[1].stages[0].units[UNIT_WIDTH];
        assert_int_equal(memcmp(a->source, b->source, (size_t)width * sizeof *a->source) == 0, width == 20);
        for (int i = 0; i < 2; i++) {
            growth_plan_fini(&plans[i]);
            growth_list_fini(&lists[i]);
        }
    }
}

/* ---- moments ---- */

/* A clone of whole multiples: carried moments are the grown model's gradient and its square. */
static void moments_carried_by_whole_copies_are_gradients(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < EXACT_SIZES; variant++) {
            const struct shape *shape = &plain_worlds[world].shape;
            struct checkpoint parent, grown;
            struct growth_list list;
            struct growth_plan plan;
            struct plain_maps maps;
            struct error error = {0};
            random_checkpoint(&parent, shape, 5, true);
            plain_moments_of_gradient(&parent);
            sized_list(&list, "fpi", sizes_of(shape, variant));
            assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
            maps_of(&plan, &maps);
            assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_CARRY, 1, &grown, &error), 0);
            double worst = plain_carried_error(&parent, &grown, &maps);
            print_message("%-16s: moments against gradients %.1e (2e-6)\n", plain_worlds[world].title, worst);
            assert_true(worst < 2e-6);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

/* Methods B.4: the copies' gradients, each times what its weight was multiplied by, sum to the old one; moments that
 * are carried do so whether the function was kept or not. */
static void carried_moments_of_copies_sum_to_the_old_ones(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++) {
            const struct shape *shape = &plain_worlds[world].shape;
            struct checkpoint parent, grown;
            struct growth_list list;
            struct growth_plan plan;
            struct plain_maps maps;
            struct error error = {0};
            random_checkpoint(&parent, shape, 5, true);
            sized_list(&list, "fpi", sizes_of(shape, variant));
            assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
            maps_of(&plan, &maps);
            assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_CARRY, 1, &grown, &error), 0);
            double *sums = memory_array(parent.table.slab, sizeof *sums);
            assert_non_null(sums);
            for (int t = 0; t < grown.table.count; t++) {
                const struct tensor *to = &grown.table.tensors[t], *from = tensor_find(&parent.table, to->name);
                for (size_t at = 0; at < to->count; at++) {
                    int i = (int)(at / (size_t)to->dims[1]), j = (int)(at % (size_t)to->dims[1]);
                    struct plain_entry entry = plain_entry_of(&maps, shape, to, from->dims[1], i, j);
                    sums[from->offset + entry.old] += entry.weight * (double)grown.moments->m[to->offset + at];
                }
                for (size_t i = from->offset; i < from->offset + from->count; i++)
                    if (fabs(sums[i] - (double)parent.moments->m[i]) > 1e-8)
                        fail_msg("%s: copies sum to %.9g, not %.9g", to->name, sums[i], (double)parent.moments->m[i]);
            }
            memory_free(sums);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

/* A layer above that was never trained has no moments to give: what is taken from it counts as new, so that the counter
 * of the layer below holds for it. */
static void rows_from_a_layer_without_moments_count_as_new(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 3, true);
    one_step(&list, "identity", "layers", 3);
    set_list(&list, 0, "placement", (int32_t[]){1}, 1);
    set_integer(&list, add_step(&list, "aki"), "width", 16);
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
    const struct tensor *old = tensor_find(&parent.table, "h.0.attn.c_proj.bias");
    const struct tensor *to = tensor_find(&grown.table, "h.0.attn.c_proj.bias");
    double mean = plain_mean(parent.moments->v + old->offset, old->count);
    for (int i = 0; i < 16; i++) {
        double v = (double)grown.moments->v[to->offset + i], m = (double)grown.moments->m[to->offset + i];
        assert_true(i < 8 ? m == (double)parent.moments->m[old->offset + i] / 2 : m == 0 && fabs(v - mean) < 1e-9);
    }
    assert_true(grown.moments->steps[to - grown.table.tensors] == parent.moments->steps[old - parent.table.tensors]);
    const struct tensor *young = tensor_find(&grown.table, "h.1.attn.c_proj.bias");
    assert_true(grown.moments->steps[young - grown.table.tensors] == 0);
    for (int i = 0; i < 16; i++)
        assert_true(grown.moments->m[young->offset + i] == 0 && grown.moments->v[young->offset + i] == 0);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- together with depth, and wrong on purpose ---- */

static void fpi_and_identity_keep_the_function_in_either_order(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int first = 0; first < 2; first++) {
            const struct shape *shape = &plain_worlds[world].shape;
            struct checkpoint parent, grown;
            struct growth_list list = {0};
            random_checkpoint(&parent, shape, 4, true);
            if (first)
                set_integer(&list, add_step(&list, "identity"), "layers", 5);
            int step = add_step(&list, "fpi");
            set_integer(&list, step, "width", 2 * shape->width);
            set_integer(&list, step, "ff", shape->ff + 5);
            if (!first)
                set_integer(&list, add_step(&list, "identity"), "layers", 5);
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            double single = plain_preservation(&parent, &grown, kernels_cpu());
            print_message("%-16s %s: %.1e (1e-4)\n", plain_worlds[world].title, first ? "depth first" : "width first",
                          single);
            assert_true(single < 1e-4 && grown.table.shape.layers == 5);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* Spoils a plan, or the result: 0 queries in the order of the whole list instead of their groups (llama), 1 the final
 * gain without the root of the width (t5), 2 keys moved against queries in the fused tensor (gpt2). */
static double preservation_of_mistake(int mistake)
{
    static const int WORLDS[] = {2, 8, 0};
    const struct shape *shape = &plain_worlds[WORLDS[mistake]].shape;
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    random_checkpoint(&parent, shape, 2, false);
    sized_list(&list, "fpi", (struct sizes){2 * shape->width, mistake == 0 ? 2 * shape->heads : 0, 0});
    assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
    for (int head = 0; mistake == 0 && head < plan.to.heads; head++)
        plan.stages[0].units[UNIT_HEADS].source[head] = head % shape->heads;
    if (mistake == 2) {
        int32_t *kv = plan.stages[0].units[UNIT_KV].source, first = kv[0];
        kv[0] = kv[1], kv[1] = first;
    }
    assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), 0);
    const struct tensor *gain = mistake == 1 ? tensor_find(&grown.table, "decoder.final_layer_norm.weight") : NULL;
    for (size_t i = 0; gain != NULL && i < gain->count; i++)
        grown.weights[gain->offset + i] /= sqrtf(2);
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
    for (int mistake = 0; mistake < 3; mistake++) {
        double preservation = preservation_of_mistake(mistake);
        print_message("mistake %d: %.2g (above 1e-3)\n", mistake, preservation);
        assert_true(preservation > 1e-3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fpi_equals_plain_loops),
        cmocka_unit_test(aki_equals_plain_loops),
        cmocka_unit_test(fpi_keeps_the_function_where_it_says_so),
        cmocka_unit_test(aki_promises_nothing_and_changes_the_function),
        cmocka_unit_test(aki_of_one_layer_is_fpi),
        cmocka_unit_test(seeds_choose_other_units_and_whole_multiples_choose_none),
        cmocka_unit_test(moments_carried_by_whole_copies_are_gradients),
        cmocka_unit_test(carried_moments_of_copies_sum_to_the_old_ones),
        cmocka_unit_test(rows_from_a_layer_without_moments_count_as_new),
        cmocka_unit_test(fpi_and_identity_keep_the_function_in_either_order),
        cmocka_unit_test(wrong_maps_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
