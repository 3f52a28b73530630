/* upcycle: llama and mistral become mixtral. The function stays, experts are copies by plain loops over names, moments are
 * what the derivation says, training separates the experts; and what is refused. */
#include "tests/growth/fixture.h"

#include <math.h>

#include "model/network.h"

enum { WIDTH = 10, FF = 12, VOCABULARY = 19 };

static struct shape dense_shape(int variant)
{
    struct shape shape = {
        .family = FAMILY_LLAMA, .layers = 2, .width = WIDTH, .heads = 6, .kv_heads = 3, .head_size = 4, .ff = FF,
        .context = 10, .vocabulary = VOCABULARY, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5,
        .rope = {.theta = 100}, .tied = variant % 2 == 0,
    };
    if (variant == 1)
        shape.rope = (struct rope){.theta = 100, .scaling = ROPE_LINEAR, .factor = 3}, shape.kv_heads = 1;
    if (variant == 2)
        shape.family = FAMILY_MISTRAL, shape.window = 4;
    return shape;
}
enum { VARIANTS = 3 };

static const struct { int experts, top_k; } SIZES[] = {{2, 1}, {2, 2}, {5, 2}, {8, 3}, {64, 1}, {7, 7}};
enum { SIZES_COUNT = sizeof SIZES / sizeof SIZES[0] };

static void upcycle_list(struct growth_list *list, int experts, int top_k)
{
    one_step(list, "upcycle", "experts", experts);
    set_integer(list, 0, "top_k", top_k);
}

static double preservation_of(const struct checkpoint *parent, const struct checkpoint *grown,
                              const struct kernels *kernels)
{
    struct error error = {0};
    double preservation = -1;
    if (growth_preservation(parent, grown, kernels, 1, &preservation, &error) != 0)
        fail_msg("preservation: %s", error.message);
    return preservation;
}

static void the_function_is_preserved(void **state)
{
    (void)state;
    for (int variant = 0; variant < VARIANTS; variant++)
        for (int i = 0; i < SIZES_COUNT; i++) {
            struct shape shape = dense_shape(variant);
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, (uint64_t)(10 * variant + i + 1), false);
            upcycle_list(&list, SIZES[i].experts, SIZES[i].top_k);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = preservation_of(&parent, &grown, kernels_cpu());
            double wide = preservation_of(&parent, &grown, kernels_ref_double());
            print_message("variant %d, %d of %d experts: cpu %.1e (1e-4), double %.1e (1e-13)\n", variant,
                          SIZES[i].top_k, SIZES[i].experts, single, wide);
            assert_true(single < 1e-4 && wide < 1e-13);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* An expert that is no copy, or shares that do not sum to 1 (as those of a model whose gates are not normalised), would
 * show. */
static void a_wrong_expert_is_caught(void **state)
{
    (void)state;
    struct shape shape = dense_shape(1);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 3, false);
    upcycle_list(&list, 4, 2);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    const struct tensor *down = tensor_find(&grown.table, "layers.1.block_sparse_moe.experts.2.w2.weight");
    for (size_t i = 0; i < down->count; i++)
        grown.weights[down->offset + i] *= 1.02f;
    assert_true(preservation_of(&parent, &grown, kernels_ref_float()) > 1e-4);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- values ---- */

/* The name in the dense model's file; NULL: there is none. */
static const char *dense_name(const char *name, char text[TENSOR_NAME_BYTES])
{
    static const char *const maps[][2] = {{"w1", "gate_proj"}, {"w3", "up_proj"}, {"w2", "down_proj"}};
    int layer, expert;
    char which[3];
    if (strstr(name, "block_sparse_moe.gate") != NULL)
        return NULL;
    if (sscanf(name, "layers.%d.block_sparse_moe.experts.%d.%2[w0-9]", &layer, &expert, which) != 3)
        return name;
    for (int i = 0; i < 3; i++)
        if (strcmp(which, maps[i][0]) == 0)
            snprintf(text, TENSOR_NAME_BYTES, "layers.%d.mlp.%s.weight", layer, maps[i][1]);
    return text;
}

static bool is_expert(const struct tensor *tensor)
{
    return strstr(tensor->name, ".experts.") != NULL;
}

static void experts_are_copies_and_all_else_stays(void **state)
{
    (void)state;
    enum { EXPERTS = 4 };
    struct shape shape = dense_shape(1);
    struct checkpoint parent, grown;
    struct growth_list list;
    int experts = 0, routers = 0;
    random_checkpoint(&parent, &shape, 3, false);
    upcycle_list(&list, EXPERTS, 2);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    assert_int_equal(grown.table.shape.family, FAMILY_MIXTRAL);
    for (int t = 0; t < grown.table.count; t++) {
        const struct tensor *to = &grown.table.tensors[t];
        char text[TENSOR_NAME_BYTES];
        const char *name = dense_name(to->name, text);
        experts += is_expert(to);
        routers += name == NULL;
        if (name != NULL)
            assert_memory_equal(grown.weights + to->offset, weights_of(&parent, name), to->count * sizeof(float));
    }
    assert_int_equal(experts, shape.layers * EXPERTS * 3);
    assert_int_equal(routers, shape.layers);
    assert_int_equal(grown.table.count, parent.table.count + shape.layers * (3 * EXPERTS - 3 + 1));
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* N(0, 0.02), another one in each layer, the same with the same seed. */
static void routers_are_small_random_and_reproducible(void **state)
{
    (void)state;
    struct shape shape = dense_shape(0);
    struct checkpoint parent, grown, again, other;
    struct growth_list list;
    double sum = 0, squares = 0;
    shape.width = 200;
    random_checkpoint(&parent, &shape, 3, false);
    upcycle_list(&list, 32, 2);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &again);
    grow_with(&parent, &list, MOMENTS_RESET, 2, &other);
    const char *const first = "layers.0.block_sparse_moe.gate.weight", *const second = "layers.1.block_sparse_moe.gate.weight";
    size_t count = tensor_find(&grown.table, first)->count;
    assert_int_equal(count, 32 * 200);
    const float *values = weights_of(&grown, first);
    for (size_t i = 0; i < count; i++) {
        sum += (double)values[i];
        squares += (double)values[i] * (double)values[i];
    }
    assert_true(fabs(sum / (double)count) < 4 * 0.02 / sqrt((double)count));
    assert_true(fabs(sqrt(squares / (double)count) / 0.02 - 1) < 0.05);
    assert_memory_equal(values, weights_of(&again, first), count * sizeof(float));
    assert_memory_not_equal(values, weights_of(&grown, second), count * sizeof(float));
    assert_memory_not_equal(values, weights_of(&other, first), count * sizeof(float));
    checkpoint_fini(&other);
    checkpoint_fini(&again);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- moments ---- */

static void check_moments(const struct checkpoint *parent, const struct checkpoint *grown, int experts, int top_k,
                          bool first_only)
{
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t];
        char text[TENSOR_NAME_BYTES];
        const char *name = dense_name(to->name, text);
        const struct tensor *from = name == NULL ? NULL : tensor_find(&parent->table, name);
        bool kept = from != NULL && !(first_only && is_expert(to) && strstr(to->name, ".experts.0.") == NULL);
        double m = is_expert(to) ? 1.0 / experts : 1, v = is_expert(to) ? 1.0 / experts / top_k : 1;
        assert_int_equal(grown->moments->steps[t], kept ? parent->moments->steps[from - parent->table.tensors] : 0);
        for (size_t i = 0; i < to->count; i++) {
            double old_m = kept ? (double)parent->moments->m[from->offset + i] : 0;
            double old_v = kept ? (double)parent->moments->v[from->offset + i] : 0;
            assert_true(fabs((double)grown->moments->m[to->offset + i] - m * old_m) <= 1e-7 * fabs(old_m));
            assert_true(fabs((double)grown->moments->v[to->offset + i] - v * old_v) <= 1e-7 * old_v);
        }
    }
}

static void moments_of_experts_are_their_share(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES_COUNT; i++)
        for (int policy = MOMENTS_CARRY; policy <= MOMENTS_OLD_ONLY; policy++) {
            struct shape shape = dense_shape(i % VARIANTS);
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, 6, true);
            upcycle_list(&list, SIZES[i].experts, SIZES[i].top_k);
            grow_with(&parent, &list, (enum moments_policy)policy, 1, &grown);
            check_moments(&parent, &grown, SIZES[i].experts, SIZES[i].top_k, policy == MOMENTS_OLD_ONLY);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

enum { ROWS = 4, CONTEXT = 8 };

static void gradient_into(const struct checkpoint *checkpoint, const struct kernels *kernels, const void *weights,
                          int shift, void *out)
{
    struct error error = {0};
    struct network *network;
    int32_t tokens[ROWS * CONTEXT], targets[ROWS * CONTEXT];
    struct batch batch = {.rows = ROWS, .context = CONTEXT, .inputs = tokens, .targets = targets};
    for (int i = 0; i < ROWS * CONTEXT; i++) {
        tokens[i] = (i * 7 + 3 + shift * i * i) % VOCABULARY;
        targets[i] = (i * 5 + 1 + shift) % VOCABULARY;
    }
    assert_int_equal(network_new(&network, kernels, &checkpoint->table, ROWS, CONTEXT, true, &error), 0);
    kernels->zero(out, checkpoint->table.slab);
    network_gradient(network, weights, &batch, 1.0 / (ROWS * CONTEXT), out);
    network_free(network);
}

/* Without the load-balance loss, in double. */
static double *gradient_of(struct checkpoint *checkpoint)
{
    size_t slab = checkpoint->table.slab;
    double *out = memory_array(2 * slab, sizeof *out), *weights = out + slab;
    assert_non_null(out);
    checkpoint->table.shape.router_aux = 0;
    for (size_t i = 0; i < slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    gradient_into(checkpoint, kernels_ref_double(), weights, 0, out);
    return out;
}

/* Appendix B.4: over the copies, gradients sum to the old gradient. Those of what stays are as they were. */
static void gradients_of_the_experts_sum_to_the_old_one(void **state)
{
    (void)state;
    for (int i = 0; i < SIZES_COUNT; i++) {
        struct shape shape = dense_shape(1);
        struct checkpoint parent, grown;
        struct growth_list list;
        double largest = 0, worst = 0;
        random_checkpoint(&parent, &shape, 8, false);
        upcycle_list(&list, SIZES[i].experts, SIZES[i].top_k);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        double *before = gradient_of(&parent), *after = gradient_of(&grown);
        for (size_t j = 0; j < parent.table.slab; j++)
            largest = fmax(largest, fabs(before[j]));
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *to = &grown.table.tensors[t];
            char text[TENSOR_NAME_BYTES];
            const char *name = dense_name(to->name, text);
            const struct tensor *from = name == NULL ? NULL : tensor_find(&parent.table, name);
            for (size_t j = 0; from != NULL && j < to->count; j++)
                before[from->offset + j] -= after[to->offset + j];
        }
        for (size_t j = 0; j < parent.table.slab; j++)
            worst = fmax(worst, fabs(before[j]));
        print_message("%d of %d experts: sum rule %.1e (1e-12)\n", SIZES[i].top_k, SIZES[i].experts, worst / largest);
        assert_true(largest > 0 && worst / largest < 1e-12);
        memory_free(before);
        memory_free(after);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* ---- symmetry ---- */

static double distance_of(const struct checkpoint *grown, const float *weights, int a, int b)
{
    char name[TENSOR_NAME_BYTES];
    const struct tensor *tensors[2];
    double difference = 0, size = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "layers.1.block_sparse_moe.experts.%d.w1.weight", i == 0 ? a : b);
        tensors[i] = tensor_find(&grown->table, name);
    }
    for (size_t i = 0; i < tensors[0]->count; i++) {
        double x = (double)weights[tensors[0]->offset + i], y = (double)weights[tensors[1]->offset + i];
        difference += (x - y) * (x - y);
        size += x * x;
    }
    return sqrt(difference / size);
}

/* 20 steps of AdamW, with the load-balance loss. */
static void training_separates_the_experts(void **state)
{
    (void)state;
    static const struct { int experts, top_k; } rows[] = {{4, 2}, {4, 1}, {3, 3}};
    const struct kernels *kernels = kernels_cpu();
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct shape shape = dense_shape(1);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 8, false);
        upcycle_list(&list, rows[r].experts, rows[r].top_k);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        size_t slab = grown.table.slab;
        float *buffers = memory_array(3 * slab, sizeof *buffers);
        assert_non_null(buffers);
        assert_true(distance_of(&grown, grown.weights, 0, 1) == 0);
        for (int step = 1; step <= 20; step++) {
            struct adamw_step adamw = {1e-3, 0.9, 0.95, 1e-8, 0, 1, 1 - pow(0.9, step), 1 - pow(0.95, step)};
            gradient_into(&grown, kernels, grown.weights, step, buffers);
            kernels->adamw(&adamw, grown.weights, buffers + slab, buffers + 2 * slab, buffers, slab);
        }
        double least = INFINITY;
        for (int e = 1; e < rows[r].experts; e++)
            least = fmin(least, distance_of(&grown, grown.weights, 0, e));
        print_message("%d of %d experts: %.1e apart after 20 steps (1e-3)\n", rows[r].top_k, rows[r].experts, least);
        assert_true(least > 1e-3);
        memory_free(buffers);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* ---- with other operators ---- */

static void a_list_with_other_operators_is_preserved(void **state)
{
    (void)state;
    struct shape shape = dense_shape(0);
    struct checkpoint parent, grown;
    struct growth_list list = {0};
    random_checkpoint(&parent, &shape, 3, true);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 2 * WIDTH);
    set_integer(&list, add_step(&list, "upcycle"), "experts", 3);
    set_integer(&list, add_step(&list, "identity"), "layers", 5);
    set_integer(&list, add_step(&list, "widen_ff"), "ff", 40);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 4 * WIDTH);
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
    const struct shape *to = &grown.table.shape;
    assert_true(to->experts == 3 && to->top_k == 2 && to->layers == 5 && to->width == 4 * WIDTH && to->ff == 80);
    double single = preservation_of(&parent, &grown, kernels_cpu());
    print_message("hyperclone, upcycle, identity, widen_ff, hyperclone: %.1e (1e-4)\n", single);
    assert_true(single < 1e-4);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void the_plan_says_what_becomes_of_the_mlp(void **state)
{
    (void)state;
    struct shape shape = dense_shape(0);
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    struct buffer out;
    upcycle_list(&list, 3, 2);
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    assert_int_equal(plan.promise, PROMISE_EXACT);
    assert_false(plan.symmetric);
    assert_int_equal(plan.warning_count, 0);
    assert_true(plan.to.router_aux == 0.001);
    buffer_init(&out);
    growth_plan_json(&plan, &out);
    assert_string_equal(out.data, "{\"layers\":[0,1],\"identity\":[],\"experts\":{\"from\":1,\"to\":3,"
                        "\"slices\":[[0,1],[0,1],[0,1]]}}");
    buffer_fini(&out);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

/* ---- refusals ---- */

static void refused(const struct shape *shape, const struct growth_list *list, const char *pointer, const char *words)
{
    struct growth_plan plan;
    struct error error = {0};
    assert_int_equal(growth_plan_init(&plan, shape, list, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, pointer);
    if (strstr(error.message, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, words);
}

static void wrong_parameters_name_the_nearest_valid_value(void **state)
{
    (void)state;
    static const struct { int64_t experts, top_k; const char *pointer, *words; } rows[] = {
        {1, 1, "/operators/0/experts", "from 2 to 64 (nearest valid: 2), not 1"},
        {-3, 2, "/operators/0/experts", "nearest valid: 2"},
        {65, 2, "/operators/0/experts", "from 2 to 64 (nearest valid: 64), not 65"},
        {4, 0, "/operators/0/top_k", "from 1 to 4 (nearest valid: 1), not 0"},
        {4, 5, "/operators/0/top_k", "from 1 to 4 (nearest valid: 4), not 5"},
    };
    struct shape shape = dense_shape(0);
    struct growth_list list;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        one_step(&list, "upcycle", "experts", rows[i].experts);
        set_integer(&list, 0, "top_k", rows[i].top_k);
        refused(&shape, &list, rows[i].pointer, rows[i].words);
        growth_list_fini(&list);
    }
    list = (struct growth_list){0};
    add_step(&list, "upcycle");
    refused(&shape, &list, "/operators/0/experts", "upcycle needs experts");
}

static void models_with_biases_and_other_families_are_refused(void **state)
{
    (void)state;
    struct growth_list list;
    struct shape biased = dense_shape(0), qwen2 = dense_shape(0), gpt2 = tiny_shape(2, true), sparse = dense_shape(0);
    one_step(&list, "upcycle", "experts", 4);
    biased.attention_bias = true;
    refused(&biased, &list, "/operators/0/op", "which has no biases, and this llama has them in its attention");
    biased.attention_bias = false, biased.mlp_bias = true;
    refused(&biased, &list, "/operators/0/op", "in its MLPs");
    qwen2.family = FAMILY_QWEN2, qwen2.attention_bias = true;
    refused(&qwen2, &list, "/operators/0/op", "upcycle does not apply to models of type qwen2");
    refused(&gpt2, &list, "/operators/0/op", "type gpt2");
    sparse.family = FAMILY_MIXTRAL, sparse.experts = 4, sparse.top_k = 2;
    refused(&sparse, &list, "/operators/0/op", "type mixtral");
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_function_is_preserved),
        cmocka_unit_test(a_wrong_expert_is_caught),
        cmocka_unit_test(experts_are_copies_and_all_else_stays),
        cmocka_unit_test(routers_are_small_random_and_reproducible),
        cmocka_unit_test(moments_of_experts_are_their_share),
        cmocka_unit_test(gradients_of_the_experts_sum_to_the_old_one),
        cmocka_unit_test(training_separates_the_experts),
        cmocka_unit_test(a_list_with_other_operators_is_preserved),
        cmocka_unit_test(the_plan_says_what_becomes_of_the_mlp),
        cmocka_unit_test(wrong_parameters_name_the_nearest_valid_value),
        cmocka_unit_test(models_with_biases_and_other_families_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
