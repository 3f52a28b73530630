/* Weights through depth operators, the noises, determinism, what is inherited, and every allocation failing in turn. */
#include "tests/growth/fixture.h"

#include <math.h>

#include "base/fault.h"

static const int FRESH = -1, IDENTITY = 100;      /* IDENTITY + i: identity copy of layer i */

static bool is_output(const char *name)
{
    return strstr(name, "c_proj") != NULL;
}

static void assert_tensor(const struct checkpoint *parent, const struct checkpoint *grown, const struct tensor *to,
                          int source)
{
    const float *after = grown->weights + to->offset;
    if (source == FRESH)
        return;
    const struct tensor *from = to->layer < 0 ? tensor_find(&parent->table, to->name)
                                              : same_at_layer(parent, to, source % IDENTITY);
    if (source >= IDENTITY && is_output(to->name)) {
        for (size_t i = 0; i < to->count; i++)
            assert_true(after[i] == 0);
    } else if (memcmp(after, parent->weights + from->offset, to->count * sizeof *after) != 0) {
        fail_msg("%s is not a copy of old layer %d", to->name, source % IDENTITY);
    }
}

static void assert_depth(const char *op, int layers, int block, const int *sources, bool tied)
{
    struct shape shape = tiny_shape(3, tied);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 11, false);
    one_step(&list, op, "layers", layers);
    if (block > 0)
        set_integer(&list, 0, "block", block);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    assert_int_equal(grown.table.shape.layers, layers);
    for (int t = 0; t < grown.table.count; t++) {
        const struct tensor *to = &grown.table.tensors[t];
        assert_tensor(&parent, &grown, to, to->layer < 0 ? 0 : sources[to->layer]);
    }
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void depth_operators_copy_layers_bit_for_bit(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        assert_depth("stack", 7, 0, (int[]){0, 1, 2, 0, 1, 2, 0}, tied);
        assert_depth("interleave", 6, 0, (int[]){0, 0, 1, 1, 2, 2}, tied);
        assert_depth("first", 5, 0, (int[]){0, 1, 0, 1, 2}, tied);
        assert_depth("gradual_last", 5, 1, (int[]){0, 1, 2, 2, 2}, tied);
        assert_depth("middle", 5, 1, (int[]){0, 1, 1, 1, 2}, tied);
        assert_depth("solar", 4, 0, (int[]){0, 1, 1, 2}, tied);
        assert_depth("identity", 6, 0, (int[]){0, IDENTITY, 1, IDENTITY + 1, 2, IDENTITY + 2}, tied);
        assert_depth("random", 6, 0, (int[]){0, FRESH, 1, FRESH, 2, FRESH}, tied);
    }
}

static void moments_of(const float *values, size_t count, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    *mean = sum / (double)count;
    *deviation = sqrt(squares / (double)count - *mean * *mean);
}

static void random_layers_follow_the_initial_distribution(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true);
    shape.width = 64, shape.heads = shape.kv_heads = 16, shape.ff = 256;
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 1, false);
    one_step(&list, "random", "layers", 8);
    set_integer(&list, 0, "placement", 1);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    for (int t = 0; t < grown.table.count; t++) {
        const struct tensor *to = &grown.table.tensors[t];
        double mean, deviation;
        if (to->layer < 2)
            continue;
        moments_of(grown.weights + to->offset, to->count, &mean, &deviation);
        double expected = to->row->rank == 1 ? 0 : is_output(to->name) ? 0.02 / sqrt(16) : 0.02;
        double center = strstr(to->name, "ln_") != NULL && strstr(to->name, ".weight") != NULL ? 1 : 0;
        assert_true(fabs(mean - center) <= 4 * expected / sqrt((double)to->count));
        assert_true(fabs(deviation - expected) <= 0.05 * expected);
    }
    const struct tensor *one = tensor_find(&grown.table, "h.3.mlp.c_fc.weight");
    const struct tensor *other = tensor_find(&grown.table, "h.4.mlp.c_fc.weight");
    assert_memory_not_equal(grown.weights + one->offset, grown.weights + other->offset, one->count * sizeof(float));
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* W' - (1 - a) W over a has the deviation of methods 6.5: 1 / (l sqrt d) for output projections, sqrt(2 / (5 d))
 * else. */
static void blend_adds_noise_by_role(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, false);
    shape.width = 64, shape.heads = shape.kv_heads = 16, shape.ff = 256, shape.context = 64, shape.vocabulary = 64;
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 1, false);
    one_step(&list, "stack", "layers", 4);
    set_number(&list, 0, "noise", 0.25);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    for (int t = 0; t < grown.table.count; t++) {
        const struct tensor *to = &grown.table.tensors[t];
        const struct tensor *from = to->layer < 0 ? tensor_find(&parent.table, to->name)
                                                  : same_at_layer(&parent, to, to->layer % 2);
        float *after = grown.weights + to->offset, *before = parent.weights + from->offset;
        double mean, deviation, expected = is_output(to->name) ? 1 / (4 * sqrt(64)) : sqrt(2.0 / (5 * 64));
        if (to->row->rank == 1) {
            assert_memory_equal(after, before, to->count * sizeof *after);
            continue;
        }
        for (size_t i = 0; i < to->count; i++)
            after[i] = (after[i] - 0.75f * before[i]) / 0.25f;
        moments_of(after, to->count, &mean, &deviation);
        assert_true(fabs(mean) <= 4 * expected / sqrt((double)to->count));
        assert_true(fabs(deviation - expected) <= 0.05 * expected);
    }
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* The slab after a list that draws everything there is to draw. */
static void grow_noisy(const struct checkpoint *parent, uint64_t seed, int64_t op_seed, bool written_out,
                       struct checkpoint *grown)
{
    struct growth_list list;
    one_step(&list, "random", "layers", 4);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
    if (written_out)
        set_integer(&list, 1, "layout", 0);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 40);
    set_integer(&list, 2, "split", 1);
    set_number(&list, 2, "noise", 0.1);
    if (op_seed >= 0)
        set_integer(&list, 1, "seed", op_seed);
    grow_with(parent, &list, MOMENTS_RESET, seed, grown);
    growth_list_fini(&list);
}

static void noise_depends_on_seed_and_list_alone(void **state)
{
    (void)state;
    static const struct { uint64_t seed; int64_t op_seed; bool written_out, same; } RUNS[] = {
        {1, -1, false, true}, {1, -1, true, true}, {1, 0, false, true}, {2, -1, false, false}, {1, 1, false, false},
    };
    struct shape shape = tiny_shape(2, true);
    struct checkpoint parent, first, other;
    random_checkpoint(&parent, &shape, 1, false);
    grow_noisy(&parent, 1, -1, false, &first);
    for (size_t i = 0; i < sizeof RUNS / sizeof RUNS[0]; i++) {
        grow_noisy(&parent, RUNS[i].seed, RUNS[i].op_seed, RUNS[i].written_out, &other);
        bool same = memcmp(first.weights, other.weights, first.table.slab * sizeof(float)) == 0;
        assert_int_equal(same, RUNS[i].same);
        assert_int_equal(strcmp(first.hash, other.hash) == 0, RUNS[i].same);
        checkpoint_fini(&other);
    }
    checkpoint_fini(&first);
    checkpoint_fini(&parent);
}

static void equal_operators_in_one_list_draw_apart(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 1, false);
    one_step(&list, "random", "layers", 3);
    set_integer(&list, 0, "placement", 1);
    set_integer(&list, add_step(&list, "layer_map"), "seed", 0);
    set_list(&list, 1, "map", (int32_t[]){0, 1, -1, 2}, 4);     /* h.2 is drawn in both stages */
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    assert_memory_not_equal(weights_of(&grown, "h.2.mlp.c_fc.weight"), weights_of(&grown, "h.3.mlp.c_fc.weight"),
                            8 * 12 * sizeof(float));
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void what_growing_does_not_change_is_inherited(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 1, true);
    parent.provenance = (struct provenance){.step = 5, .tokens_seen = 77, .tokens_seen_known = true, .data_cursor = 6,
                                            .seed = 9};
    parent.dtype = DTYPE_BF16;
    parent.prefixed = true;
    parent.dropout = 0.1;
    parent.config_text = memory_string("{\"model_type\":\"gpt2\"}");
    snprintf(parent.directory, sizeof parent.directory, "some/where");
    checkpoint_rehash(&parent);
    char before[HASH_HEX_BYTES];
    memcpy(before, parent.hash, sizeof before);
    one_step(&list, "stack", "layers", 4);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 20);
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
    assert_int_equal(grown.provenance.tokens_seen, 77);
    assert_true(grown.provenance.tokens_seen_known);
    assert_int_equal(grown.provenance.data_cursor, 6);
    assert_int_equal(grown.dtype, DTYPE_BF16);
    assert_true(grown.prefixed);
    assert_true(grown.dropout == 0.1);
    assert_string_equal(grown.config_text, parent.config_text);
    assert_string_equal(grown.directory, "some/where");
    assert_int_equal(strlen(grown.hash), 64);
    assert_string_not_equal(grown.hash, parent.hash);
    assert_string_equal(parent.hash, before);
    checkpoint_rehash(&parent);
    assert_string_equal(parent.hash, before);      /* the parent was only read */
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void a_plan_for_another_shape_is_refused(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true), other = tiny_shape(3, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    random_checkpoint(&parent, &shape, 1, false);
    one_step(&list, "stack", "layers", 4);
    assert_int_equal(growth_plan_init(&plan, &other, &list, &error), 0);
    assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), ERROR_INTERNAL);
    growth_plan_fini(&plan);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, false);
    struct checkpoint parent;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 1, true);
    parent.config_text = memory_string("{}");
    parent.moments->raw = memory_array(parent.table.slab, sizeof(float));
    one_step(&list, "identity", "layers", 3);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 40);
    set_integer(&list, 2, "split", 1);
    int failures = 0;
    for (int64_t n = 1;; n++) {
        struct growth_plan plan;
        struct checkpoint grown;
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        int code = growth_plan_init(&plan, &shape, &list, &error);
        bool planned = code == 0;
        if (planned)
            code = growth_apply(&plan, &list, &parent, MOMENTS_CARRY, 1, &grown, &error);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (planned)
            growth_plan_fini(&plan);
        if (code == 0)
            checkpoint_fini(&grown);
        if (crossed < n) {
            assert_int_equal(code, 0);
            break;
        }
        if (code != ERROR_NO_MEMORY || error.code != ERROR_NO_MEMORY)
            fail_msg("allocation %d failed and growing said %d", (int)n, code);
        failures++;
    }
    print_message("allocations failed one by one: %d\n", failures);
    assert_true(failures > 40);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void json_shows_memory_running_out(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true);
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    one_step(&list, "hyperclone", "width", 16);
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    for (int64_t n = 1;; n++) {
        struct buffer out;
        buffer_init(&out);
        fault_arm(FAULT_ALLOC, n);
        growth_plan_json(&plan, &out);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(out.failed, crossed >= n);
        buffer_fini(&out);
        if (crossed < n)
            break;
    }
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depth_operators_copy_layers_bit_for_bit),
        cmocka_unit_test(random_layers_follow_the_initial_distribution),
        cmocka_unit_test(blend_adds_noise_by_role),
        cmocka_unit_test(noise_depends_on_seed_and_list_alone),
        cmocka_unit_test(equal_operators_in_one_list_draw_apart),
        cmocka_unit_test(what_growing_does_not_change_is_inherited),
        cmocka_unit_test(a_plan_for_another_shape_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(json_shows_memory_running_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
