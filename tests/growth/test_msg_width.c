/* msg_width in every family: every entry and its moments against plain loops, the shares of units step by step, nothing
 * changed at step 0 whatever norms and heads there are, wrong maps caught, and what is refused. */
#include "tests/growth/plain.h"

#include "base/fault.h"
#include "growth/ramps.h"

struct sizes { int width, heads, ff; };
enum { SIZES = 3, RAMP = 10 };

static struct sizes sizes_of(const struct shape *shape, int variant)
{
    bool filled = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
    int heads = filled ? 0 : shape->heads + (shape->kv_heads < shape->heads ? 2 * shape->kv_heads : 2);
    struct sizes all[SIZES] = {
        {shape->width + shape->head_size, 0, 0}, {2 * shape->width, heads, shape->ff + 5}, {shape->width, heads, shape->ff + 7},
    };
    return all[variant];
}

static void sized_list(struct growth_list *list, struct sizes sizes)
{
    one_step(list, "msg_width", "width", sizes.width);
    set_integer(list, 0, "ramp_steps", RAMP);
    if (sizes.heads > 0)
        set_integer(list, 0, "heads", sizes.heads);
    if (sizes.ff > 0)
        set_integer(list, 0, "ff", sizes.ff);
}

/* A parent, what it becomes, and its ramps. */
struct grown_world {
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    struct growth_ramps ramps;
};

static void grown_init(struct grown_world *it, const struct shape *shape, int variant)
{
    struct error error = {0};
    random_checkpoint(&it->parent, shape, (uint64_t)(variant + 2), true);
    sized_list(&it->list, sizes_of(shape, variant));
    grow_with(&it->parent, &it->list, MOMENTS_CARRY, 9, &it->grown);
    assert_int_equal(growth_plan_init(&it->plan, shape, &it->list, &error), 0);
    assert_int_equal(growth_ramps_init(&it->ramps, &it->plan, &error), 0);
}

static void grown_fini(struct grown_world *it)
{
    growth_ramps_fini(&it->ramps);
    growth_plan_fini(&it->plan);
    checkpoint_fini(&it->parent);
    checkpoint_fini(&it->grown);
}

/* ---- values ---- */

/* Old units, then new ones; new queries after the old ones of each kv head. */
static void padded(struct plain_map *map, int count, int old, int groups)
{
    int32_t source[PLAIN_UNITS];
    int group = count / groups, old_group = old / groups;
    for (int unit = 0; unit < count; unit++)
        source[unit] = unit % group < old_group ? unit / group * old_group + unit % group : -1;
    plain_map_set(map, source, count, old);
}

static void maps_of(const struct shape *from, const struct shape *to, struct plain_maps *maps)
{
    *maps = (struct plain_maps){.gain = 1, .head = from->scaled_head ? sqrt((double)to->width / from->width) : 1,
                                .drawn = true};
    padded(&maps->stream, to->width, from->width, 1);
    padded(&maps->heads, to->heads, from->heads, from->kv_heads < from->heads ? from->kv_heads : 1);
    padded(&maps->kv, to->kv_heads, from->kv_heads, 1);
    padded(&maps->ff, to->ff, from->ff, 1);
}

static void msg_width_equals_plain_loops(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++) {
            struct grown_world it;
            struct plain_maps maps;
            grown_init(&it, &plain_worlds[world].shape, variant);
            maps_of(&it.parent.table.shape, &it.grown.table.shape, &maps);
            plain_check(&it.parent, &it.grown, &maps);
            assert_true(it.grown.table.shape.norm_epsilon == it.parent.table.shape.norm_epsilon);
            for (int t = 0; t < it.grown.table.count; t++)
                assert_int_equal(it.grown.moments->steps[t], it.parent.moments->steps[t]);
            grown_fini(&it);
        }
}

/* ---- shares ---- */

static void assert_shares(const void *shares, const struct plain_map *map, int each, int step, double *sum)
{
    bool any = false;
    for (int unit = 0; unit < map->count; unit++)
        any = any || map->source[unit] < 0;
    *sum = 0;
    assert_int_equal(shares != NULL, any);
    for (int i = 0; any && i < map->count * each; i++) {
        double expected = map->source[i / each] < 0 ? (double)step / RAMP : 1;
        assert_true(((const double *)shares)[i] == expected);
        *sum += expected;
    }
}

static void shares_of_new_units_rise_with_the_step(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++) {
            struct grown_world it;
            struct growth_masks masks;
            struct plain_maps maps;
            struct error error = {0};
            double sum, unused;
            grown_init(&it, &plain_worlds[world].shape, variant);
            const struct shape *to = &it.grown.table.shape;
            maps_of(&it.parent.table.shape, to, &maps);
            assert_int_equal(growth_masks_init(&masks, to, kernels_ref_double(), &error), 0);
            for (int step = 0; step < RAMP; step++) {
                const struct masking *masking = growth_masks_at(&masks, &it.ramps, (uint64_t)step);
                assert_shares(masking->stream, &maps.stream, 1, step, &sum);
                assert_true(masking->stream == NULL || fabs(masking->stream_sum - sum) < 1e-12 * sum);
                assert_shares(masking->heads, &maps.heads, to->head_size, step, &unused);
                assert_shares(masking->ff, &maps.ff, 1, step, &unused);
            }
            assert_null(growth_masks_at(&masks, &it.ramps, RAMP));
            growth_masks_fini(&masks);
            grown_fini(&it);
        }
}

static void later_masked_stages_carry_masks_along(void **state)
{
    (void)state;
    struct shape from = tiny_shape(2, true);
    struct growth_list list = {0};
    struct growth_plan plan;
    struct growth_ramps ramps;
    struct error error = {0};
    set_integer(&list, add_step(&list, "hyperclone"), "width", 16);     /* before: not masked */
    set_integer(&list, add_step(&list, "msg_width"), "width", 20);
    set_integer(&list, 1, "ramp_steps", 7);
    set_integer(&list, add_step(&list, "msg_depth"), "layers", 3);
    set_integer(&list, 2, "ramp_steps", 5);
    set_integer(&list, add_step(&list, "msg_width"), "width", 24);
    set_integer(&list, 3, "ramp_steps", 9);
    assert_int_equal(growth_plan_init(&plan, &from, &list, &error), 0);
    assert_int_equal(growth_ramps_init(&ramps, &plan, &error), 0);
    assert_int_equal(ramps.longest, 9);
    for (int unit = 0; unit < 24; unit++)
        assert_int_equal(ramps.units[RAMP_STREAM][unit], unit < 16 ? 0 : unit < 20 ? 7 : 9);
    for (int head = 0; head < 6; head++)
        assert_int_equal(ramps.units[RAMP_HEADS][head], head < 4 ? 0 : head < 5 ? 7 : 9);
    assert_null(ramps.units[RAMP_FF]);
    for (int block = 0; block < 3; block++)
        assert_int_equal(ramps.blocks[block], block < 2 ? 0 : 5);
    growth_ramps_fini(&ramps);
    growth_plan_fini(&plan);
}

/* ---- the function ---- */

static double masked_preservation(const struct grown_world *it, const struct growth_ramps *ramps,
                                  const struct kernels *kernels)
{
    const struct growth_probe probe = {.parent = &it->parent, .grown = &it->grown, .ramps = ramps, .kernels = kernels,
                                       .seed = 1};
    struct error error = {0};
    double preservation = -1;
    if (growth_preservation_masked(&probe, &preservation, &error) != 0)
        fail_msg("preservation: %s", error.message);
    return preservation;
}

static void at_step_0_every_family_computes_what_its_parent_did(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++)
        for (int variant = 0; variant < SIZES; variant++) {
            struct grown_world it;
            grown_init(&it, &plain_worlds[world].shape, variant);
            double exact = masked_preservation(&it, &it.ramps, kernels_ref_double());
            double cpu = masked_preservation(&it, &it.ramps, kernels_cpu());
            double none = masked_preservation(&it, NULL, kernels_cpu());
            print_message("%-16s %d: %.1e in double, %.1e in float, %.1e without masks\n", plain_worlds[world].title, variant,
                          exact, cpu, none);
            assert_true(exact < 1e-7 && cpu < 1e-5 && none > 1e-3);     /* weights are rounded where t5's head is scaled */
            grown_fini(&it);
        }
}

/* Whatever one mask misses shows: each kind of unit in turn, on the last new one; heads in the wrong group. */
static void wrong_maps_are_caught(void **state)
{
    (void)state;
    for (int world = 0; world < PLAIN_WORLDS; world++) {
        struct grown_world it;
        grown_init(&it, &plain_worlds[world].shape, 1);
        for (int units = 0; units < RAMP_UNITS; units++) {
            int32_t *ramps = it.ramps.units[units], last = it.ramps.unit_counts[units] - 1;
            if (ramps == NULL)
                continue;
            ramps[last] = 0;
            assert_true(masked_preservation(&it, &it.ramps, kernels_ref_double()) > 1e-6);     /* of small drawn values */
            ramps[last] = RAMP;
            ramps[0] = RAMP;
            assert_true(masked_preservation(&it, &it.ramps, kernels_cpu()) > 1e-3);
            ramps[0] = 0;
        }
        assert_true(masked_preservation(&it, &it.ramps, kernels_cpu()) < 1e-5);
        const struct shape *from = &it.parent.table.shape;
        if (from->kv_heads < from->heads) {      /* all old queries first: some read another kv head */
            struct error error = {0};
            for (int head = 0; head < it.plan.to.heads; head++)
                it.plan.stages[0].units[UNIT_HEADS].source[head] = head < from->heads ? head : -1;
            checkpoint_fini(&it.grown);
            growth_ramps_fini(&it.ramps);
            assert_int_equal(growth_apply(&it.plan, &it.list, &it.parent, MOMENTS_RESET, 9, &it.grown, &error), 0);
            assert_int_equal(growth_ramps_init(&it.ramps, &it.plan, &error), 0);
            assert_true(masked_preservation(&it, &it.ramps, kernels_cpu()) > 1e-3);
        }
        grown_fini(&it);
    }
}

/* ---- refusals and faults ---- */

static void wrong_parameters_name_pointer_range_and_nearest(void **state)
{
    static const struct { const char *name; int64_t value; const char *pointer, *words; } CASES[] = {
        {"width", 13, "/operators/0/width", "nearest valid: 12"},
        {"width", 8, "/operators/0/width", "nearest valid: 12"},
        {"ff", 11, "/operators/0/ff", "nearest valid: 12"},
        {"heads", 5, "/operators/0/heads", "nearest valid: 3"},
        {"ramp_steps", 0, "/operators/0/ramp_steps", "nearest valid: 1"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct shape from = tiny_shape(2, true);      /* width 8, heads of 4, ff 12 */
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        one_step(&list, "msg_width", "width", 12);
        set_integer(&list, 0, CASES[i].name, CASES[i].value);
        assert_int_equal(growth_plan_init(&plan, &from, &list, &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, CASES[i].pointer);
        if (strstr(error.message, CASES[i].words) == NULL)
            fail_msg("%s", error.message);
    }
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    struct grown_world it;
    bool swept = false;
    grown_init(&it, &plain_worlds[0].shape, 1);
    for (int64_t n = 1; !swept && n < 100; n++) {
        struct growth_ramps ramps = {0};
        struct error error = {0};
        struct growth_probe probe = {.parent = &it.parent, .grown = &it.grown, .ramps = &ramps, .kernels = kernels_cpu(),
                                     .seed = 1};
        double preservation;
        fault_arm(FAULT_ALLOC, n);
        int code = growth_ramps_init(&ramps, &it.plan, &error);
        if (code == 0)
            code = growth_preservation_masked(&probe, &preservation, &error);
        swept = fault_count(FAULT_ALLOC) < n;
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(code, swept ? 0 : ERROR_NO_MEMORY);
        growth_ramps_fini(&ramps);
    }
    assert_true(swept);
    grown_fini(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(msg_width_equals_plain_loops),
        cmocka_unit_test(shares_of_new_units_rise_with_the_step),
        cmocka_unit_test(later_masked_stages_carry_masks_along),
        cmocka_unit_test(at_step_0_every_family_computes_what_its_parent_did),
        cmocka_unit_test(wrong_maps_are_caught),
        cmocka_unit_test(wrong_parameters_name_pointer_range_and_nearest),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
