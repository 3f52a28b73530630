/* msg_depth: which layers stand where, their masks step by step, that nothing changes at step 0 in any family (and that a
 * mask on the wrong block shows), moments, and what is refused. */
#include "tests/growth/plain.h"

#include "base/fault.h"
#include "growth/ramps.h"

static void deeper(struct growth_list *list, int layers, int ramp_steps)
{
    one_step(list, "msg_depth", "layers", layers);
    set_integer(list, 0, "ramp_steps", ramp_steps);
}

static void plan_of(const struct shape *from, const struct growth_list *list, struct growth_plan *plan)
{
    struct error error = {0};
    if (growth_plan_init(plan, from, list, &error) != 0)
        fail_msg("plan refused: %s", error.message);
}

/* ---- maps and ramps ---- */

static void the_stack_stands_on_itself_and_only_what_is_new_is_masked(void **state)
{
    static const struct { int from, to; const char *json; } CASES[] = {
        {3, 6, "{\"layers\":[0,1,2,0,1,2],\"identity\":[],\"masked\":[3,4,5],\"ramp_steps\":7}"},
        {3, 4, "{\"layers\":[0,1,2,2],\"identity\":[],\"masked\":[3],\"ramp_steps\":7}"},
        {3, 8, "{\"layers\":[0,1,2,0,1,2,1,2],\"identity\":[],\"masked\":[3,4,5,6,7],\"ramp_steps\":7}"},
        {1, 3, "{\"layers\":[0,0,0],\"identity\":[],\"masked\":[1,2],\"ramp_steps\":7}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct shape from = tiny_shape(CASES[i].from, true);
        struct growth_list list;
        struct growth_plan plan;
        struct buffer text;
        deeper(&list, CASES[i].to, 7);
        plan_of(&from, &list, &plan);
        buffer_init(&text);
        growth_plan_json(&plan, &text);
        assert_string_equal(text.data, CASES[i].json);
        assert_int_equal(plan.ramp_steps, 7);
        assert_int_equal(plan.promise, PROMISE_EXACT);
        assert_int_equal(plan.warning_count, 1);
        buffer_fini(&text);
        growth_plan_fini(&plan);
    }
}

static void a_share_is_the_step_over_the_ramp_until_it_is_1(void **state)
{
    (void)state;
    struct shape from = tiny_shape(2, true), to = tiny_shape(5, true);
    struct growth_list list;
    struct growth_plan plan;
    struct growth_ramps ramps;
    struct growth_masks masks;
    struct error error = {0};
    deeper(&list, 4, 8);                                   /* blocks 2 and 3 over 8 steps, then block 4 over 5 */
    set_integer(&list, add_step(&list, "msg_depth"), "layers", 5);
    set_integer(&list, 1, "ramp_steps", 5);
    plan_of(&from, &list, &plan);
    assert_int_equal(growth_ramps_init(&ramps, &plan, &error), 0);
    assert_int_equal(growth_masks_init(&masks, &to, kernels_ref_float(), &error), 0);
    assert_int_equal(ramps.longest, 8);
    for (uint64_t step = 0; step < 12; step++) {
        const struct masking *masking = growth_masks_at(&masks, &ramps, step);
        assert_int_equal(masking == NULL, step >= 8);
        for (int block = 0; masking != NULL && block < 5; block++) {
            double expected = block < 2 ? 1 : block < 4 ? (double)step / 8 : step < 5 ? (double)step / 5 : 1;
            assert_true(masking->blocks[block] == expected);
        }
    }
    assert_null(growth_masks_at(&masks, NULL, 0));
    growth_masks_fini(&masks);
    growth_ramps_fini(&ramps);
    growth_plan_fini(&plan);
}

static void ramps_hash_apart_what_has_equal_bytes(void **state)
{
    (void)state;
    struct shape from = tiny_shape(2, true);
    uint8_t digests[3][HASH_BYTES];
    for (int i = 0; i < 3; i++) {
        struct growth_list list;
        struct growth_plan plan;
        struct growth_ramps ramps;
        struct hash_state hash;
        struct error error = {0};
        deeper(&list, 4, i < 2 ? 8 : 9);
        plan_of(&from, &list, &plan);
        assert_int_equal(growth_ramps_init(&ramps, &plan, &error), 0);
        hash_begin(&hash);
        growth_ramps_hash(&ramps, &hash);
        hash_end(&hash, digests[i]);
        growth_ramps_fini(&ramps);
        growth_plan_fini(&plan);
    }
    assert_memory_equal(digests[0], digests[1], HASH_BYTES);
    assert_memory_not_equal(digests[0], digests[2], HASH_BYTES);
}

/* ---- the function ---- */

static double masked_preservation(const struct checkpoint *parent, const struct checkpoint *grown,
                                  const struct growth_ramps *ramps, const struct kernels *kernels)
{
    const struct growth_probe probe = {.parent = parent, .grown = grown, .ramps = ramps, .kernels = kernels, .seed = 1};
    struct error error = {0};
    double preservation = -1;
    if (growth_preservation_masked(&probe, &preservation, &error) != 0)
        fail_msg("preservation: %s", error.message);
    return preservation;
}

static void at_step_0_every_family_computes_what_its_parent_did(void **state)
{
    const struct kernels *const bodies[] = {kernels_ref_float(), kernels_ref_double(), kernels_cpu()};
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        const struct shape *from = &plain_worlds[w].shape;
        struct checkpoint parent, grown;
        struct growth_list list;
        struct growth_plan plan;
        struct growth_ramps ramps;
        struct error error = {0};
        random_checkpoint(&parent, from, 3, false);
        deeper(&list, from->layers + 2, 10);
        if (from->decoder_layers > 0)
            set_integer(&list, 0, "layers", from->decoder_layers + 2);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        plan_of(from, &list, &plan);
        assert_int_equal(growth_ramps_init(&ramps, &plan, &error), 0);
        for (int body = 0; body < 3; body++)
            assert_true(masked_preservation(&parent, &grown, &ramps, bodies[body]) == 0);
        /* the mask on an old block instead, and none at all */
        int32_t kept = ramps.blocks[from->layers];
        ramps.blocks[from->layers] = 0;
        ramps.blocks[0] = kept;
        double wrong = masked_preservation(&parent, &grown, &ramps, kernels_cpu());
        double none = masked_preservation(&parent, &grown, NULL, kernels_cpu());
        print_message("  %s: wrong block %.3g, no mask %.3g\n", plain_worlds[w].title, wrong, none);
        assert_true(wrong > 1e-3 && none > 1e-3);
        growth_ramps_fini(&ramps);
        growth_plan_fini(&plan);
        checkpoint_fini(&parent);
        checkpoint_fini(&grown);
    }
}

/* ---- weights and moments ---- */

static void new_blocks_are_copies_without_moments(void **state)
{
    static const enum moments_policy policies[] = {MOMENTS_CARRY, MOMENTS_OLD_ONLY};
    (void)state;
    for (int p = 0; p < 2; p++) {
        struct shape from = tiny_shape(3, true);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &from, 4, true);
        deeper(&list, 5, 20);
        grow_with(&parent, &list, policies[p], 1, &grown);
        static const int sources[] = {0, 1, 2, 1, 2};
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *to = &grown.table.tensors[t];
            const struct tensor *from_tensor = to->layer < 0 ? tensor_find(&parent.table, to->name)
                                                             : same_at_layer(&parent, to, sources[to->layer]);
            size_t bytes = to->count * sizeof(float);
            assert_memory_equal(grown.weights + to->offset, parent.weights + from_tensor->offset, bytes);
            bool is_new = to->layer >= 3;
            assert_int_equal(grown.moments->steps[t],
                             is_new ? 0 : parent.moments->steps[from_tensor - parent.table.tensors]);
            for (size_t i = 0; i < to->count; i++) {
                assert_true(grown.moments->m[to->offset + i] == (is_new ? 0 : parent.moments->m[from_tensor->offset + i]));
                assert_true(grown.moments->v[to->offset + i] == (is_new ? 0 : parent.moments->v[from_tensor->offset + i]));
            }
        }
        checkpoint_fini(&parent);
        checkpoint_fini(&grown);
    }
}

static void one_side_of_t5_can_be_masked_alone(void **state)
{
    (void)state;
    struct shape from = {PLAIN_T5, .tied = true, .scaled_head = true, .activation = ACTIVATION_RELU};
    struct growth_list list;
    struct growth_plan plan;
    struct growth_ramps ramps;
    struct error error = {0};
    one_step(&list, "msg_depth", "decoder_layers", 5);
    plan_of(&from, &list, &plan);
    assert_int_equal(growth_ramps_init(&ramps, &plan, &error), 0);
    assert_int_equal(ramps.block_count, 7);
    for (int block = 0; block < 7; block++)      /* encoder 0 and 1, decoder 2 to 4, new 5 and 6; 50 is the default */
        assert_int_equal(ramps.blocks[block], block >= 5 ? 50 : 0);
    growth_ramps_fini(&ramps);
    growth_plan_fini(&plan);
}

/* ---- refusals and faults ---- */

static void wrong_parameters_name_pointer_range_and_nearest(void **state)
{
    static const struct { int layers; int64_t ramp; const char *pointer, *words; } CASES[] = {
        {3, 10, "/operators/0/layers", "(nearest valid: 4), not 3"},
        {2000, 10, "/operators/0/layers", "at most 1024"},
        {4, 0, "/operators/0/ramp_steps", "from 1 to 1000000 (nearest valid: 1), not 0"},
        {4, 1000001, "/operators/0/ramp_steps", "(nearest valid: 1000000), not 1000001"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct shape from = tiny_shape(3, true);
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        deeper(&list, CASES[i].layers, 1);
        set_integer(&list, 0, "ramp_steps", CASES[i].ramp);
        assert_int_equal(growth_plan_init(&plan, &from, &list, &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, CASES[i].pointer);
        assert_non_null(strstr(error.message, CASES[i].words));
    }
}

static void only_masked_operators_follow_masked_ones(void **state)
{
    (void)state;
    struct shape from = tiny_shape(2, true);
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    deeper(&list, 4, 10);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
    assert_int_equal(growth_plan_init(&plan, &from, &list, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/operators/1/op");
    one_step(&list, "hyperclone", "width", 16);
    set_integer(&list, add_step(&list, "msg_depth"), "layers", 4);
    plan_of(&from, &list, &plan);
    assert_int_equal(plan.ramp_steps, 50);
    growth_plan_fini(&plan);
}

static void failed_allocations_leak_nothing(void **state)
{
    (void)state;
    struct shape from = tiny_shape(2, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    bool swept = false;
    random_checkpoint(&parent, &from, 5, false);
    deeper(&list, 4, 10);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    plan_of(&from, &list, &plan);
    for (int64_t n = 1; !swept && n < 100; n++) {
        struct growth_ramps ramps = {0};
        struct error error = {0};
        struct growth_probe probe = {.parent = &parent, .grown = &grown, .ramps = &ramps, .kernels = kernels_cpu(), .seed = 1};
        double preservation;
        fault_arm(FAULT_ALLOC, n);
        int code = growth_ramps_init(&ramps, &plan, &error);
        if (code == 0)
            code = growth_preservation_masked(&probe, &preservation, &error);
        swept = fault_count(FAULT_ALLOC) < n;
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(code, swept ? 0 : ERROR_NO_MEMORY);
        growth_ramps_fini(&ramps);
    }
    assert_true(swept);
    growth_plan_fini(&plan);
    checkpoint_fini(&parent);
    checkpoint_fini(&grown);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stack_stands_on_itself_and_only_what_is_new_is_masked),
        cmocka_unit_test(a_share_is_the_step_over_the_ramp_until_it_is_1),
        cmocka_unit_test(ramps_hash_apart_what_has_equal_bytes),
        cmocka_unit_test(at_step_0_every_family_computes_what_its_parent_did),
        cmocka_unit_test(new_blocks_are_copies_without_moments),
        cmocka_unit_test(one_side_of_t5_can_be_masked_alone),
        cmocka_unit_test(wrong_parameters_name_pointer_range_and_nearest),
        cmocka_unit_test(only_masked_operators_follow_masked_ones),
        cmocka_unit_test(failed_allocations_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
