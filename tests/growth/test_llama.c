/* Growing llama, mistral, qwen2 and mixtral models: promises kept with grouped queries, biases, both heads and every kind of
 * position, and moments carried as gradients go. */
#include "tests/growth/fixture.h"

#include <math.h>

#include "model/network.h"

enum { VARIANTS = 8, WIDTH = 10, VOCABULARY = 19 };

/* Heads do not fill the width; 3 kv heads where there are groups. */
static struct shape llama_variant(int variant)
{
    struct shape shape = {
        .family = FAMILY_LLAMA, .layers = 3, .width = WIDTH, .heads = 6, .kv_heads = 3, .head_size = 4, .ff = 12,
        .context = 10, .vocabulary = VOCABULARY, .activation = ACTIVATION_SILU, .norm_epsilon = 1e-5,
        .rope = {.theta = 100},
    };
    shape.tied = variant % 2 == 0;
    if (variant == 1)
        shape.attention_bias = shape.mlp_bias = true;
    if (variant == 2)
        shape.rope = (struct rope){.theta = 100, .scaling = ROPE_LINEAR, .factor = 3}, shape.kv_heads = 1;
    if (variant == 3)
        shape.family = FAMILY_MISTRAL, shape.window = 4;
    if (variant >= 6) {
        shape.family = FAMILY_MIXTRAL, shape.experts = 3, shape.router_aux = 0.2;
        shape.top_k = variant == 6 ? 2 : 1;
        return shape;
    }
    if (variant >= 4)
        shape.family = FAMILY_QWEN2, shape.attention_bias = true;
    if (variant == 5)
        shape.kv_heads = 6;
    return shape;
}

/* A list of one step that promises the function. */
struct exact_case {
    const char *op, *name;
    int64_t integer;
    const char *choice;      /* a further parameter, NULL: none */
    int64_t index;
    bool noiseless;          /* noise_db null */
    bool whole;              /* copies are powers of two and without noise: exact in double too */
};

static const struct exact_case EXACT[] = {
    {"identity", "layers", 6, NULL, 0, false, true},
    {"identity", "layers", 5, "placement", 1, false, true},
    {"hyperclone", "width", 2 * WIDTH, NULL, 0, true, true},
    {"hyperclone", "width", 3 * WIDTH, NULL, 0, true, false},
    {"hyperclone", "width", 3 * WIDTH, NULL, 0, false, false},
    {"hyperclone", "width", 2 * WIDTH, "layout", 1, true, true},
    {"hyperclone", "width", 2 * WIDTH, "layout", 1, false, false},
    {"widen_ff", "ff", 24, NULL, 0, false, true},
    {"widen_ff", "ff", 31, "split", 1, false, false},
};
enum { EXACT_COUNT = sizeof EXACT / sizeof EXACT[0] };

static void exact_list(const struct exact_case *test, struct growth_list *list)
{
    one_step(list, test->op, test->name, test->integer);
    if (test->choice != NULL)
        set_integer(list, 0, test->choice, test->index);
    if (test->noiseless)
        set_null(list, 0, "noise_db");
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

static void promised_functions_are_preserved(void **state)
{
    (void)state;
    for (int variant = 0; variant < VARIANTS; variant++)
        for (int i = 0; i < EXACT_COUNT; i++) {
            struct shape shape = llama_variant(variant);
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, (uint64_t)(10 * variant + i + 1), false);
            exact_list(&EXACT[i], &list);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = preservation_of(&parent, &grown, kernels_cpu());
            double wide = preservation_of(&parent, &grown, kernels_ref_double());
            double bound = EXACT[i].whole ? 1e-13 : 2e-6;
            print_message("variant %d, %s %d: cpu %.1e (1e-4), double %.1e (%.0e)\n", variant, EXACT[i].op,
                          (int)EXACT[i].integer, single, wide, bound);
            assert_true(single < 1e-4 && wide < bound);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

static void a_composed_list_of_promises_is_preserved(void **state)
{
    (void)state;
    for (int variant = 0; variant < VARIANTS; variant++) {
        struct shape shape = llama_variant(variant);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 4, false);
        one_step(&list, "widen_ff", "ff", 17);
        set_integer(&list, 0, "split", 1);
        set_integer(&list, add_step(&list, "hyperclone"), "width", 2 * WIDTH);
        set_integer(&list, add_step(&list, "identity"), "layers", 5);
        set_integer(&list, add_step(&list, "hyperclone"), "width", 6 * WIDTH);
        set_integer(&list, 3, "layout", 1);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        const struct shape *to = &grown.table.shape;
        assert_true(to->heads == 36 && to->kv_heads == 6 * shape.kv_heads && to->head_size == 4 && to->ff == 102);
        double single = preservation_of(&parent, &grown, kernels_cpu());
        print_message("variant %d: %.1e (1e-4)\n", variant, single);
        assert_true(single < 1e-4);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* ---- every depth operator copies whole layers ---- */

static void depth_operators_copy_whole_layers(void **state)
{
    (void)state;
    static const struct { const char *op; int map[6]; } rows[] = {
        {"stack", {0, 1, 2, 0, 1, 2}}, {"interleave", {0, 0, 1, 1, 2, 2}},
        {"first", {0, 1, 2, 0, 1, 2}}, {"gradual_last", {0, 1, 2, 0, 1, 2}},
    };
    for (size_t r = 0; r < 2 * sizeof rows / sizeof rows[0]; r++) {
        const int *map = rows[r / 2].map;
        struct shape shape = llama_variant(r % 2 == 0 ? 1 : 6);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 3, true);
        one_step(&list, rows[r / 2].op, "layers", 6);
        grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *to = &grown.table.tensors[t];
            int layer = to->layer < 0 ? -1 : map[to->layer];
            const struct tensor *from = NULL;
            for (int i = 0; i < parent.table.count; i++)
                if (parent.table.tensors[i].row == to->row && parent.table.tensors[i].layer == layer &&
                    parent.table.tensors[i].expert == to->expert)
                    from = &parent.table.tensors[i];
            assert_non_null(from);
            assert_memory_equal(grown.weights + to->offset, parent.weights + from->offset, to->count * sizeof(float));
            assert_memory_equal(grown.moments->m + to->offset, parent.moments->m + from->offset,
                                to->count * sizeof(float));
            assert_int_equal(grown.moments->steps[t], parent.moments->steps[from - parent.table.tensors]);
        }
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

static void other_depth_operators_apply_and_change_the_function(void **state)
{
    (void)state;
    static const char *const OPS[] = {"middle", "solar", "random", "stack"};
    for (size_t i = 0; i < 2 * sizeof OPS / sizeof OPS[0]; i++) {
        struct shape shape = llama_variant(i % 2 == 0 ? 4 : 6);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 3, false);
        one_step(&list, OPS[i / 2], "layers", 6);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_true(preservation_of(&parent, &grown, kernels_ref_float()) > 1e-3);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* ---- moments: what carries m and v must turn a gradient into the grown model's gradient ---- */

static void gradient_into(const struct checkpoint *checkpoint, double *out)
{
    const struct kernels *kernels = kernels_ref_double();
    struct error error = {0};
    struct network *network;
    size_t slab = checkpoint->table.slab;
    int32_t tokens[2 * 8], targets[2 * 8];
    struct batch batch = {.rows = 2, .context = 8, .inputs = tokens, .targets = targets};
    for (int i = 0; i < 16; i++) {
        tokens[i] = (i * 7 + 3) % VOCABULARY;
        targets[i] = (i * 5 + 1) % VOCABULARY;
    }
    assert_int_equal(network_new(&network, kernels, &checkpoint->table, 2, 8, true, &error), 0);
    double *weights = kernels->alloc(slab * sizeof *weights);
    assert_non_null(weights);
    for (size_t i = 0; i < slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    memset(out, 0, slab * sizeof *out);
    network_gradient(network, weights, &batch, 1, out);
    kernels->release(weights);
    network_free(network);
}

static double *gradient_of(const struct checkpoint *checkpoint)
{
    double *out = memory_array(checkpoint->table.slab, sizeof *out);
    assert_non_null(out);
    gradient_into(checkpoint, out);
    return out;
}

/* The parent's m is its gradient, v the square of it: so must the grown model's be. */
static void check_carried(const struct shape *shape, const struct exact_case *test)
{
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, shape, 5, true);
    double *before = gradient_of(&parent), largest = 0, worst = 0;
    for (size_t i = 0; i < parent.table.slab; i++) {
        parent.moments->m[i] = (float)before[i];
        parent.moments->v[i] = (float)(before[i] * before[i]);
        largest = fmax(largest, fabs(before[i]));
    }
    exact_list(test, &list);
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
    double *after = gradient_of(&grown);
    const char *name = "";
    for (int t = 0; t < grown.table.count; t++)
        for (size_t i = 0, at = grown.table.tensors[t].offset; i < grown.table.tensors[t].count; i++, at++) {
            double m = fabs((double)grown.moments->m[at] - after[at]) / largest;
            double v = fabs((double)grown.moments->v[at] - after[at] * after[at]) / (largest * largest);
            if (fmax(m, v) > worst)
                worst = fmax(m, v), name = grown.table.tensors[t].name;
        }
    print_message("%s: moments against gradients %.1e (2e-6), worst %s\n", test->op, worst, name);
    assert_true(worst < 2e-6);
    memory_free(before);
    memory_free(after);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void carried_moments_are_those_of_the_grown_gradient(void **state)
{
    (void)state;
    static const struct exact_case CASES[] = {
        {"hyperclone", "width", 2 * WIDTH, NULL, 0, true, true}, {"hyperclone", "width", 3 * WIDTH, NULL, 0, true, true},
        {"hyperclone", "width", 2 * WIDTH, "layout", 1, true, true}, {"widen_ff", "ff", 24, NULL, 0, false, true},
        {"widen_ff", "ff", 31, "split", 1, false, true},
    };
    for (int variant = 0; variant < VARIANTS; variant++)
        for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
            struct shape shape = llama_variant(variant);
            check_carried(&shape, &CASES[i]);
        }
}

/* ---- a clone's kv heads: the known mistake is to leave them ---- */

static void maps_that_separate_queries_from_their_kv_head_are_caught(void **state)
{
    (void)state;
    struct shape shape = llama_variant(0);
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    random_checkpoint(&parent, &shape, 2, false);
    one_step(&list, "hyperclone", "width", 2 * WIDTH);
    set_null(&list, 0, "noise_db");
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    struct unit_map *kv = &plan.stages[0].units[UNIT_KV];
    assert_int_equal(kv->count, 6);
    for (int head = 0; head < kv->count; head++)
        kv->source[head] = head / 2;        /* right when only the kv heads grow (methods 6.12) */
    assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), 0);
    double preservation = preservation_of(&parent, &grown, kernels_cpu());
    print_message("kv heads in the wrong order: %.2g (above 1e-3)\n", preservation);
    assert_true(preservation > 1e-3);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

/* ---- noise reaches every hidden matrix and nothing else ---- */

static void clone_noise_disturbs_hidden_matrices_only(void **state)
{
    (void)state;
    struct shape shape = llama_variant(1);
    struct checkpoint parent, clean, noisy;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 6, false);
    one_step(&list, "hyperclone", "width", 2 * WIDTH);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &noisy);
    set_null(&list, 0, "noise_db");
    grow_with(&parent, &list, MOMENTS_RESET, 1, &clean);
    for (int t = 0; t < clean.table.count; t++) {
        const struct tensor *tensor = &clean.table.tensors[t];
        bool same = memcmp(clean.weights + tensor->offset, noisy.weights + tensor->offset, tensor->count * 4) == 0;
        assert_int_equal(!same, strstr(tensor->name, "_proj.weight") != NULL);
    }
    checkpoint_fini(&clean);
    checkpoint_fini(&noisy);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promised_functions_are_preserved),
        cmocka_unit_test(a_composed_list_of_promises_is_preserved),
        cmocka_unit_test(depth_operators_copy_whole_layers),
        cmocka_unit_test(other_depth_operators_apply_and_change_the_function),
        cmocka_unit_test(carried_moments_are_those_of_the_grown_gradient),
        cmocka_unit_test(maps_that_separate_queries_from_their_kv_head_are_caught),
        cmocka_unit_test(clone_noise_disturbs_hidden_matrices_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
