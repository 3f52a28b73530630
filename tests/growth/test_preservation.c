/* What growing does to the function and to its gradients, by the network itself: kept promises, broken ones, wrong maps
 * caught, and the gradient audit of methods B.4 (3) with the table of 6.18. */
#include "tests/growth/fixture.h"

#include <math.h>

#include "base/fault.h"
#include "model/network.h"

/* A list of one step that promises the function. */
struct exact_case {
    const char *title, *op, *name;
    int64_t integer;
    const char *choice;      /* a further parameter, NULL: none */
    int64_t index;
    bool noiseless;          /* noise_db null */
    bool whole;              /* copies are powers of two and without noise: exact in double too */
};

static const struct exact_case EXACT[] = {
    {"identity interleaved", "identity", "layers", 6, NULL, 0, false, true},
    {"identity on top", "identity", "layers", 5, "placement", 1, false, true},
    {"hyperclone x2", "hyperclone", "width", 16, NULL, 0, true, true},
    {"hyperclone x3", "hyperclone", "width", 24, NULL, 0, true, false},
    {"hyperclone x2 noisy", "hyperclone", "width", 16, NULL, 0, false, false},
    {"hyperclone x3 noisy", "hyperclone", "width", 24, NULL, 0, false, false},
    {"hyperclone x2 diagonal", "hyperclone", "width", 16, "layout", 1, true, true},
    {"hyperclone x4 diagonal", "hyperclone", "width", 32, "layout", 1, true, true},
    {"hyperclone x2 diagonal noisy", "hyperclone", "width", 16, "layout", 1, false, false},
    {"hyperclone x3 diagonal noisy", "hyperclone", "width", 24, "layout", 1, false, false},
    {"widen_ff equal x2", "widen_ff", "ff", 24, NULL, 0, false, true},
    {"widen_ff equal by one", "widen_ff", "ff", 13, NULL, 0, false, true},
    {"widen_ff equal x3.5", "widen_ff", "ff", 42, NULL, 0, false, false},
    {"widen_ff unequal", "widen_ff", "ff", 31, "split", 1, false, false},
};

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

/* In double only the rounding of the grown float32 weights is left: nothing where the factors are powers of two, a few
 * 1e-7 elsewhere. */
static void promised_functions_are_preserved(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++)
        for (size_t i = 0; i < sizeof EXACT / sizeof EXACT[0]; i++) {
            struct shape shape = tiny_shape(3, tied);
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, i + 1, false);
            exact_list(&EXACT[i], &list);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = preservation_of(&parent, &grown, kernels_cpu());
            double plain = preservation_of(&parent, &grown, kernels_ref_float());
            double wide = preservation_of(&parent, &grown, kernels_ref_double());
            double bound = EXACT[i].whole ? 1e-13 : 2e-6;
            print_message("%-30s %s: cpu %.1e ref %.1e (1e-4), double %.1e (%.0e)\n", EXACT[i].title,
                          tied ? "tied" : "untied", single, plain, wide, bound);
            assert_true(single < 1e-4 && plain < 1e-4 && wide < bound);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

static void a_composed_list_of_promises_is_preserved(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct shape shape = tiny_shape(3, tied);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 4, false);
        one_step(&list, "widen_ff", "ff", 17);
        set_integer(&list, 0, "split", 1);
        set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
        set_integer(&list, add_step(&list, "identity"), "layers", 5);
        set_integer(&list, add_step(&list, "hyperclone"), "width", 48);
        set_integer(&list, 3, "layout", 1);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        double single = preservation_of(&parent, &grown, kernels_cpu());
        print_message("composed %s: %.1e (1e-4)\n", tied ? "tied" : "untied", single);
        assert_true(single < 1e-4);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

static void operators_without_a_promise_change_the_function(void **state)
{
    (void)state;
    static const char *const OPS[] = {"stack", "interleave", "first", "gradual_last", "middle", "solar", "random"};
    struct shape shape = tiny_shape(3, true);
    struct checkpoint parent, grown;
    random_checkpoint(&parent, &shape, 2, false);
    for (size_t i = 0; i < sizeof OPS / sizeof OPS[0]; i++) {
        struct growth_list list;
        one_step(&list, OPS[i], "layers", 6);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        double preservation = preservation_of(&parent, &grown, kernels_ref_float());
        print_message("%s: %.2g (above 1e-3)\n", OPS[i], preservation);
        assert_true(preservation > 1e-3);
        checkpoint_fini(&grown);
        growth_list_fini(&list);
    }
    checkpoint_fini(&parent);
}

/* ---- maps made wrong on purpose ---- */

enum mistake { HEADS_REVERSED, SPLIT_FORGOTTEN, UNIT_MISPLACED, IDENTITY_FORGOTTEN, NORM_WHOLE, BIAS_KEPT, MISTAKES };

static void swap_units(struct unit_map *map, int a, int b)
{
    int32_t source = map->source[a];
    map->source[a] = map->source[b];
    map->source[b] = source;
}

/* Plans the right way, spoils the plan, grows, then spoils the result. */
static void grow_wrong(const struct checkpoint *parent, enum mistake mistake, struct checkpoint *grown)
{
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    bool clone = mistake != IDENTITY_FORGOTTEN && mistake != BIAS_KEPT;
    one_step(&list, clone ? "hyperclone" : "identity", clone ? "width" : "layers", clone ? 16 : 6);
    if (clone)
        set_null(&list, 0, "noise_db");
    assert_int_equal(growth_plan_init(&plan, &parent->table.shape, &list, &error), 0);
    struct growth_plan_stage *stage = &plan.stages[0];
    if (mistake == HEADS_REVERSED)
        swap_units(&stage->units[UNIT_HEADS], 0, 1);       /* queries move, keys and values stay */
    if (mistake == UNIT_MISPLACED)
        stage->units[UNIT_WIDTH].source[9] = 0;
    if (mistake == IDENTITY_FORGOTTEN)
        stage->identity[1] = false;
    assert_int_equal(growth_apply(&plan, &list, parent, MOMENTS_RESET, 1, grown, &error), 0);
    if (mistake == NORM_WHOLE || mistake == SPLIT_FORGOTTEN) {
        const struct tensor *half = tensor_find(&grown->table, mistake == NORM_WHOLE ? "ln_f.bias"
                                                                                     : "h.1.mlp.c_proj.weight");
        for (size_t i = 0; i < half->count; i++)
            grown->weights[half->offset + i] *= 2;
    }
    if (mistake == BIAS_KEPT)
        grown->weights[tensor_find(&grown->table, "h.1.mlp.c_proj.bias")->offset] = 0.3f;
    growth_plan_fini(&plan);
    growth_list_fini(&list);
}

static void wrong_maps_are_caught(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(3, true);
    struct checkpoint parent, grown;
    random_checkpoint(&parent, &shape, 2, false);
    for (int mistake = 0; mistake < MISTAKES; mistake++) {
        grow_wrong(&parent, (enum mistake)mistake, &grown);
        double preservation = preservation_of(&parent, &grown, kernels_cpu());
        print_message("mistake %d: %.2g (above 1e-3)\n", mistake, preservation);
        assert_true(preservation > 1e-3);
        checkpoint_fini(&grown);
    }
    checkpoint_fini(&parent);
}

static void non_finite_logits_give_nan(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(1, true);
    struct checkpoint parent, broken;
    struct error error = {0};
    random_checkpoint(&parent, &shape, 2, false);
    assert_int_equal(checkpoint_copy(&broken, &parent, &error), 0);
    broken.weights[broken.table.tensors[0].offset] = NAN;
    assert_true(isnan(preservation_of(&parent, &broken, kernels_ref_float())));
    assert_true(preservation_of(&parent, &parent, kernels_ref_float()) == 0);
    checkpoint_fini(&broken);
    checkpoint_fini(&parent);
}

static void every_allocation_of_the_check_may_fail(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(1, true);
    struct checkpoint parent;
    random_checkpoint(&parent, &shape, 2, false);
    const struct kernels *const bodies[] = {kernels_cpu(), kernels_ref_double()};
    for (size_t body = 0; body < 2; body++)
        for (int64_t n = 1;; n++) {
            struct error error = {0};
            double preservation = -1;
            fault_arm(FAULT_ALLOC, n);
            int code = growth_preservation(&parent, &parent, bodies[body], 1, &preservation, &error);
            int64_t crossed = fault_count(FAULT_ALLOC);
            fault_arm(FAULT_ALLOC, 0);
            assert_int_equal(code, crossed < n ? 0 : ERROR_NO_MEMORY);
            assert_int_equal(error.code, code);
            if (crossed < n) {
                assert_true(n > 8 && preservation == 0);
                break;
            }
        }
    checkpoint_fini(&parent);
}

/* ---- gradient audit ---- */

/* d(sum of losses)/d(weights) in double, tokens fixed. Caller: memory_free. */
static double *gradient_of(const struct checkpoint *checkpoint, double *loss)
{
    const struct kernels *kernels = kernels_ref_double();
    struct error error = {0};
    struct network *network;
    size_t slab = checkpoint->table.slab;
    int32_t tokens[2 * 8], targets[2 * 8];
    struct batch batch = {.rows = 2, .context = 8, .inputs = tokens, .targets = targets};
    for (int i = 0; i < 16; i++) {
        tokens[i] = (i * 7 + 3) % 19;
        targets[i] = (i * 5 + 1) % 19;
    }
    assert_int_equal(network_new(&network, kernels, &checkpoint->table, 2, 8, true, &error), 0);
    double *weights = kernels->alloc(slab * sizeof *weights), *gradients = kernels->alloc(slab * sizeof *gradients);
    double *out = memory_array(slab, sizeof *out);
    assert_true(weights != NULL && gradients != NULL && out != NULL);
    for (size_t i = 0; i < slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    *loss = network_gradient(network, weights, &batch, 1, gradients);
    kernels->download(out, gradients, slab * sizeof *out);
    kernels->release(weights);
    kernels->release(gradients);
    network_free(network);
    return out;
}

/* Old position of a new position along an n-fold axis of `parts` parts (qkv: 3). */
static int fold(int position, int old_size, int n, int parts)
{
    int part_size = old_size / parts;
    return position / (n * part_size) * part_size + position % part_size;
}

static int parts_of(enum axis axis)
{
    return axis == AXIS_QKV ? 3 : 1;
}

/* Which copy, 0 to n - 1, a new position of an n-fold axis belongs to. */
static int copy_of(int position, int old_size, int n, int parts)
{
    return position % (n * (old_size / parts)) / (old_size / parts);
}

/* Is the tensor's gradient in each copy the old one (true), or the old one / n (methods 6.18)? */
static bool copy_gets_whole_gradient(const char *name, bool tied)
{
    if (strncmp(name, "ln_f", 4) == 0)
        return tied;
    return strcmp(name, "lm_head.weight") == 0;
}

/* d(new weight)/d(old weight) of a clone: what its copy is multiplied by. */
static double clone_factor(const char *name, bool tied, bool diagonal, int n, bool same_copy)
{
    if (strstr(name, "c_") != NULL && strstr(name, ".weight") != NULL)
        return diagonal ? (same_copy ? 1 : 0) : 1.0 / n;
    return copy_gets_whole_gradient(name, tied) ? 1.0 / n : 1;
}

static double largest(const double *values, size_t count)
{
    double most = 0;
    for (size_t i = 0; i < count; i++)
        most = fmax(most, fabs(values[i]));
    return most;
}

/* Every new entry's gradient against the table of 6.18, and the sum over copies of factor * gradient against g. */
static void audit_clone_tensor(const struct tensor *from, const struct tensor *to, const double *before,
                               const double *after, int n, bool tied, bool diagonal, double scale)
{
    double *sum = memory_array(from->count, sizeof *sum);
    assert_non_null(sum);
    enum axis axes[2] = {to->row->axes[0], to->row->axes[1]};
    for (int i = 0; i < to->dims[0]; i++)
        for (int j = 0; j < to->dims[1]; j++) {
            int p0 = parts_of(axes[0]), p1 = parts_of(axes[1]);
            bool grown0 = to->dims[0] != from->dims[0], grown1 = to->dims[1] != from->dims[1];
            int old_i = grown0 ? fold(i, from->dims[0], n, p0) : i, old_j = grown1 ? fold(j, from->dims[1], n, p1) : j;
            bool same = grown0 && grown1 &&
                        copy_of(i, from->dims[0], n, p0) == copy_of(j, from->dims[1], n, p1);
            size_t old_at = (size_t)old_i * (size_t)from->dims[1] + (size_t)old_j;
            double g = before[old_at], got = after[(size_t)i * (size_t)to->dims[1] + (size_t)j];
            double expected = copy_gets_whole_gradient(to->name, tied) ? g : g / n;
            if (fabs(got - expected) > 1e-9 * scale)
                fail_msg("%s [%d, %d]: gradient %.12g, expected %.12g", to->name, i, j, got, expected);
            sum[old_at] += clone_factor(to->name, tied, diagonal, n, same) * got;
        }
    for (size_t i = 0; i < from->count; i++)
        if (fabs(sum[i] - before[i]) > 1e-9 * scale)
            fail_msg("%s: the copies' gradients sum to %.12g, not %.12g", to->name, sum[i], before[i]);
    memory_free(sum);
}

static void gradients_of_clones_follow_the_table(void **state)
{
    (void)state;
    static const int COPIES[] = {2, 4};
    for (int run = 0; run < 8; run++) {
        int n = COPIES[run & 1];
        bool tied = (run & 2) != 0, diagonal = (run & 4) != 0;
        struct shape shape = tiny_shape(2, tied);
        struct checkpoint parent, grown;
        struct growth_list list;
        double loss, grown_loss;
        random_checkpoint(&parent, &shape, 8, false);
        one_step(&list, "hyperclone", "width", n * 8);
        set_integer(&list, 0, "layout", diagonal);
        set_null(&list, 0, "noise_db");
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        double *before = gradient_of(&parent, &loss), *after = gradient_of(&grown, &grown_loss);
        double scale = largest(before, parent.table.slab);
        print_message("n %d %s %s: loss %.12f %.12f\n", n, tied ? "tied" : "untied",
                      diagonal ? "diagonal" : "symmetric", loss, grown_loss);
        assert_true(fabs(loss - grown_loss) < 1e-10 * loss);
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *to = &grown.table.tensors[t], *from = tensor_find(&parent.table, to->name);
            audit_clone_tensor(from, to, before + from->offset, after + to->offset, n, tied, diagonal, scale);
        }
        memory_free(before);
        memory_free(after);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* A unit's incoming weights get their share of g, its outgoing ones the whole: what the moments are multiplied by. */
static void gradients_of_split_units_are_their_shares(void **state)
{
    (void)state;
    enum { FF = 12, WIDER = 30, WIDTH = 8 };
    for (int unequal = 0; unequal < 2; unequal++) {
        struct shape shape = tiny_shape(2, true);
        struct checkpoint parent, grown;
        struct growth_list list;
        double loss, grown_loss;
        random_checkpoint(&parent, &shape, 8, false);
        one_step(&list, "widen_ff", "ff", WIDER);
        set_integer(&list, 0, "split", unequal);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        double *before = gradient_of(&parent, &loss), *after = gradient_of(&grown, &grown_loss);
        double scale = largest(before, parent.table.slab), worst = 0;
        const struct tensor *up[2] = {tensor_find(&parent.table, "h.1.mlp.c_fc.weight"),
                                      tensor_find(&grown.table, "h.1.mlp.c_fc.weight")};
        const struct tensor *down[2] = {tensor_find(&parent.table, "h.1.mlp.c_proj.weight"),
                                        tensor_find(&grown.table, "h.1.mlp.c_proj.weight")};
        for (int j = 0; j < WIDER; j++)
            for (int i = 0; i < WIDTH; i++) {
                double share = (double)grown.weights[down[1]->offset + j * WIDTH] /
                               (double)parent.weights[down[0]->offset + j % FF * WIDTH];
                double incoming = after[up[1]->offset + i * WIDER + j] -
                                  share * before[up[0]->offset + i * FF + j % FF];
                double outgoing = after[down[1]->offset + j * WIDTH + i] -
                                  before[down[0]->offset + j % FF * WIDTH + i];
                worst = fmax(worst, fmax(fabs(incoming), fabs(outgoing)));
            }
        print_message("%s split: worst gradient difference %.1e (1e-6)\n", unequal ? "unequal" : "equal",
                      worst / scale);
        assert_true(worst < 1e-6 * scale);
        memory_free(before);
        memory_free(after);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* Only output projections of an identity block get a gradient at first; all else in it is cut off by their zeros. */
static void identity_blocks_learn_through_their_output_projections(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(2, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    double loss, grown_loss;
    random_checkpoint(&parent, &shape, 8, false);
    one_step(&list, "identity", "layers", 3);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    double *before = gradient_of(&parent, &loss), *after = gradient_of(&grown, &grown_loss);
    for (int t = 0; t < grown.table.count; t++) {
        const struct tensor *to = &grown.table.tensors[t];
        if (to->layer == 2)
            assert_int_equal(largest(after + to->offset, to->count) > 0, strstr(to->name, "c_proj") != NULL);
        else
            for (size_t i = 0, old = tensor_find(&parent.table, to->name)->offset; i < to->count; i++)
                assert_true(fabs(after[to->offset + i] - before[old + i]) < 1e-12);
    }
    memory_free(before);
    memory_free(after);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promised_functions_are_preserved),
        cmocka_unit_test(a_composed_list_of_promises_is_preserved),
        cmocka_unit_test(operators_without_a_promise_change_the_function),
        cmocka_unit_test(wrong_maps_are_caught),
        cmocka_unit_test(non_finite_logits_give_nan),
        cmocka_unit_test(every_allocation_of_the_check_may_fail),
        cmocka_unit_test(gradients_of_clones_follow_the_table),
        cmocka_unit_test(gradients_of_split_units_are_their_shares),
        cmocka_unit_test(identity_blocks_learn_through_their_output_projections),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
