/* hyperclone and widen_ff, tensor by tensor, against plain loops written from methods appendix B over the names of the
 * Hugging Face file; they share no code with growth/. Weights and moments. */
#include "tests/growth/fixture.h"

#include <math.h>

enum { OLD_WIDTH = 8, OLD_FF = 12, OLD_LAYERS = 2, VOCABULARY = 19, CONTEXT = 10 };

/* Which of the three slabs of a checkpoint is looked at, and what a copy's value is divided by there. */
enum part { PART_WEIGHTS, PART_M, PART_V };

static const float *part_of(const struct checkpoint *checkpoint, enum part part, const char *name)
{
    const struct tensor *tensor = tensor_find(&checkpoint->table, name);
    if (tensor == NULL)
        fail_msg("no tensor %s", name);
    const float *slab = part == PART_WEIGHTS ? checkpoint->weights
                        : part == PART_M     ? checkpoint->moments->m
                                             : checkpoint->moments->v;
    return slab + tensor->offset;
}

static void assert_value(const char *name, enum part part, size_t at, double got, double expected)
{
    if (fabs(got - expected) > 1e-6 * (fabs(expected) + 1e-9))
        fail_msg("%s part %d [%zu]: %.9g, expected %.9g", name, (int)part, at, got, expected);
}

/* ---- hyperclone ---- */

struct clone_case { int n; bool tied, diagonal; };

/* What each copy of a moment is divided by: n for tensors whose gradient is g / n, 1 where it stays g. */
static double moment_divisor(enum part part, bool undivided, int n)
{
    if (part == PART_WEIGHTS || undivided)
        return 1;
    return part == PART_M ? n : (double)n * n;
}

/* Vector of `old` entries tiled n times; weights divided by `divisor`. */
static void check_tiled(const struct checkpoint *a, const struct checkpoint *b, enum part part, const char *name,
                        int old, int n, double weight_divisor, bool undivided)
{
    const float *before = part_of(a, part, name), *after = part_of(b, part, name);
    double divisor = part == PART_WEIGHTS ? weight_divisor : moment_divisor(part, undivided, n);
    for (int i = 0; i < n * old; i++)
        assert_value(name, part, (size_t)i, (double)after[i], (double)before[i % old] / divisor);
}

/* Columns of a (rows, old) table tiled n times. */
static void check_columns(const struct checkpoint *a, const struct checkpoint *b, enum part part, const char *name,
                          int rows, int old, int n, double weight_divisor, bool undivided)
{
    const float *before = part_of(a, part, name), *after = part_of(b, part, name);
    double divisor = part == PART_WEIGHTS ? weight_divisor : moment_divisor(part, undivided, n);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < n * old; c++)
            assert_value(name, part, (size_t)(r * n * old + c), (double)after[r * n * old + c],
                         (double)before[r * old + c % old] / divisor);
}

/* A Conv1D (in, parts * out): each part n x n blocks of W / n, or W on the diagonal. */
static void check_matrix(const struct checkpoint *a, const struct checkpoint *b, enum part part, const char *name,
                         int in, int out, int parts, const struct clone_case *test)
{
    const float *before = part_of(a, part, name), *after = part_of(b, part, name);
    int n = test->n;
    for (int row_copy = 0; row_copy < n; row_copy++)
        for (int i = 0; i < in; i++)
            for (int p = 0; p < parts; p++)
                for (int column_copy = 0; column_copy < n; column_copy++)
                    for (int o = 0; o < out; o++) {
                        double old = (double)before[i * parts * out + p * out + o], expected;
                        size_t at = (size_t)(row_copy * in + i) * (size_t)(n * parts * out) +
                                    (size_t)(p * n * out + column_copy * out + o);
                        if (part != PART_WEIGHTS)
                            expected = old / moment_divisor(part, false, n);
                        else if (test->diagonal)
                            expected = row_copy == column_copy ? old : 0;
                        else
                            expected = old / n;
                        assert_value(name, part, at, (double)after[at], expected);
                    }
}

static void check_clone_part(const struct checkpoint *a, const struct checkpoint *b, const struct clone_case *test,
                             enum part part)
{
    int n = test->n, w = OLD_WIDTH;
    check_columns(a, b, part, "wte.weight", VOCABULARY, w, n, 1, false);
    check_columns(a, b, part, "wpe.weight", CONTEXT, w, n, 1, false);
    for (int layer = 0; layer < OLD_LAYERS; layer++) {
        char name[64];
#define AT(suffix) (snprintf(name, sizeof name, "h.%d." suffix, layer), name)
        check_tiled(a, b, part, AT("ln_1.weight"), w, n, 1, false);
        check_tiled(a, b, part, AT("ln_1.bias"), w, n, 1, false);
        check_tiled(a, b, part, AT("ln_2.weight"), w, n, 1, false);
        check_tiled(a, b, part, AT("ln_2.bias"), w, n, 1, false);
        check_matrix(a, b, part, AT("attn.c_attn.weight"), w, w, 3, test);
        check_matrix(a, b, part, AT("attn.c_proj.weight"), w, w, 1, test);
        check_matrix(a, b, part, AT("mlp.c_fc.weight"), w, OLD_FF, 1, test);
        check_matrix(a, b, part, AT("mlp.c_proj.weight"), OLD_FF, w, 1, test);
        check_tiled(a, b, part, AT("attn.c_proj.bias"), w, n, 1, false);
        check_tiled(a, b, part, AT("mlp.c_fc.bias"), OLD_FF, n, 1, false);
        check_tiled(a, b, part, AT("mlp.c_proj.bias"), w, n, 1, false);
        const float *before = part_of(a, part, AT("attn.c_attn.bias")), *after = part_of(b, part, name);
        for (int third = 0; third < 3; third++)
            for (int i = 0; i < n * w; i++)
                assert_value(name, part, (size_t)(third * n * w + i), (double)after[third * n * w + i],
                             (double)before[third * w + i % w] / moment_divisor(part, false, n));
#undef AT
    }
    check_tiled(a, b, part, "ln_f.weight", w, n, test->tied ? n : 1, test->tied);
    check_tiled(a, b, part, "ln_f.bias", w, n, test->tied ? n : 1, test->tied);
    if (!test->tied)
        check_columns(a, b, part, "lm_head.weight", VOCABULARY, w, n, n, true);
}

static void clone_equals_plain_loops(void **state)
{
    (void)state;
    for (int n = 2; n <= 3; n++)
        for (int tied = 0; tied < 2; tied++)
            for (int diagonal = 0; diagonal < 2; diagonal++) {
                struct clone_case test = {n, tied, diagonal};
                struct shape shape = tiny_shape(OLD_LAYERS, tied);
                struct checkpoint parent, grown;
                struct growth_list list;
                random_checkpoint(&parent, &shape, (uint64_t)n, true);
                one_step(&list, "hyperclone", "width", n * OLD_WIDTH);
                set_integer(&list, 0, "layout", diagonal);
                set_null(&list, 0, "noise_db");
                grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
                assert_int_equal(grown.table.shape.heads, 2 * n);
                assert_int_equal(grown.table.shape.ff, n * OLD_FF);
                check_clone_part(&parent, &grown, &test, PART_WEIGHTS);
                check_clone_part(&parent, &grown, &test, PART_M);
                check_clone_part(&parent, &grown, &test, PART_V);
                for (int t = 0; t < grown.table.count; t++)
                    assert_int_equal(grown.moments->steps[t], parent.moments->steps[t]);
                checkpoint_fini(&grown);
                checkpoint_fini(&parent);
                growth_list_fini(&list);
            }
}

/* ---- noise of the clone ---- */

struct noise_sum { double signal, noise, rest; int cells; };

/* Sums over the input copies must give W back; each cell's distance from the noiseless one is the noise. `part` of a
 * Conv1D (in, parts * out). */
static struct noise_sum measure_noise(const float *before, const float *after, int in, int out, int part, int parts,
                                      int n, bool diagonal)
{
    struct noise_sum sum = {0};
    for (int i = 0; i < in; i++)
        for (int column_copy = 0; column_copy < n; column_copy++)
            for (int o = 0; o < out; o++) {
                double old = (double)before[i * parts * out + part * out + o], total = 0;
                for (int row_copy = 0; row_copy < n; row_copy++) {
                    int row = row_copy * in + i, column = part * n * out + column_copy * out + o;
                    double clean = diagonal ? (row_copy == column_copy ? old : 0) : old / n;
                    double value = (double)after[row * n * parts * out + column];
                    total += value;
                    sum.noise += (value - clean) * (value - clean);
                    sum.cells++;
                }
                double block = diagonal ? old : old / n;
                sum.signal += n * block * block;
                sum.rest = fmax(sum.rest, fabs(total - old));
            }
    return sum;
}

static void clone_noise_cancels_and_has_the_power_asked_for(void **state)
{
    (void)state;
    for (int n = 2; n <= 4; n++)
        for (int diagonal = 0; diagonal < 2; diagonal++) {
            struct shape shape = tiny_shape(OLD_LAYERS, true);
            shape.width = 32, shape.heads = shape.kv_heads = 8, shape.ff = 48;
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, 5, false);
            /* the value third is ten times as large: its noise must be measured against itself */
            float *qkv = parent.weights + tensor_find(&parent.table, "h.1.attn.c_attn.weight")->offset;
            for (int i = 0; i < 32; i++)
                for (int o = 64; o < 96; o++)
                    qkv[i * 96 + o] *= 10;
            one_step(&list, "hyperclone", "width", n * 32);
            set_integer(&list, 0, "layout", diagonal);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            static const struct { const char *name; int in, out, parts; } MATRICES[] = {
                {"h.1.attn.c_attn.weight", 32, 32, 3}, {"h.0.attn.c_proj.weight", 32, 32, 1},
                {"h.0.mlp.c_fc.weight", 32, 48, 1}, {"h.1.mlp.c_proj.weight", 48, 32, 1},
            };
            for (size_t m = 0; m < 4; m++)
                for (int part = 0; part < MATRICES[m].parts; part++) {
                    struct noise_sum sum = measure_noise(weights_of(&parent, MATRICES[m].name),
                                                         weights_of(&grown, MATRICES[m].name), MATRICES[m].in,
                                                         MATRICES[m].out, part, MATRICES[m].parts, n, diagonal);
                    double ratio_db = 10 * log10(sum.signal / sum.noise);
                    print_message("%s third %d n %d: %.2f dB (10), rest %.1e (1e-6)\n", MATRICES[m].name, part, n,
                                  ratio_db, sum.rest);
                    assert_true(fabs(ratio_db - 10) < 0.5);
                    assert_true(sum.rest < 1e-6);
                }
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

static void clone_noise_leaves_everything_but_hidden_matrices(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(OLD_LAYERS, false);
    struct checkpoint parent, clean, noisy;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 6, false);
    one_step(&list, "hyperclone", "width", 24);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &noisy);
    set_null(&list, 0, "noise_db");
    grow_with(&parent, &list, MOMENTS_RESET, 1, &clean);
    for (int t = 0; t < clean.table.count; t++) {
        const struct tensor *tensor = &clean.table.tensors[t];
        int same = memcmp(clean.weights + tensor->offset, noisy.weights + tensor->offset, tensor->count * 4);
        bool hidden = strstr(tensor->name, "c_") != NULL && strstr(tensor->name, ".weight") != NULL;
        if ((same != 0) != hidden)
            fail_msg("%s %s", tensor->name, hidden ? "has no noise" : "was disturbed");
    }
    checkpoint_fini(&clean);
    checkpoint_fini(&noisy);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- widen_ff ---- */

/* Shares as the grown model shows them: ratio of an outgoing weight to the old one, the same for all outputs. */
static void check_widened(const struct checkpoint *a, const struct checkpoint *b, int ff, bool unequal)
{
    for (int layer = 0; layer < OLD_LAYERS; layer++) {
        char up[64], bias[64], down[64];
        double share[64], sums[OLD_FF] = {0};
        snprintf(up, sizeof up, "h.%d.mlp.c_fc.weight", layer);
        snprintf(bias, sizeof bias, "h.%d.mlp.c_fc.bias", layer);
        snprintf(down, sizeof down, "h.%d.mlp.c_proj.weight", layer);
        for (int j = 0; j < ff; j++) {
            int old = j < OLD_FF ? j : j % OLD_FF, copies = 0;
            for (int k = 0; k < ff; k++)
                copies += k % OLD_FF == old;
            share[j] = 1.0 / copies;
            if (unequal)
                share[j] = (double)weights_of(b, down)[j * OLD_WIDTH] / (double)weights_of(a, down)[old * OLD_WIDTH];
            sums[old] += share[j];
            for (int k = old; unequal && k < j; k += OLD_FF)      /* no two copies alike */
                assert_true(share[j] > 0.05 && fabs(share[j] - share[k]) > 0.015);
            for (int o = 0; o < OLD_WIDTH; o++) {
                size_t new_at = (size_t)(j * OLD_WIDTH + o), old_at = (size_t)(old * OLD_WIDTH + o);
                assert_value(down, PART_WEIGHTS, new_at, (double)weights_of(b, down)[new_at],
                             (double)weights_of(a, down)[old_at] * share[j]);
                for (enum part part = PART_M; part <= PART_V; part++)
                    assert_value(down, part, new_at, (double)part_of(b, part, down)[new_at],
                                 (double)part_of(a, part, down)[old_at]);
            }
            for (int i = 0; i <= OLD_WIDTH; i++) {      /* the last one is the bias */
                const char *name = i < OLD_WIDTH ? up : bias;
                size_t new_at = (size_t)((i % OLD_WIDTH) * ff + j), old_at = (size_t)((i % OLD_WIDTH) * OLD_FF + old);
                assert_value(name, PART_WEIGHTS, new_at, (double)weights_of(b, name)[new_at],
                             (double)weights_of(a, name)[old_at]);
                assert_value(name, PART_M, new_at, (double)part_of(b, PART_M, name)[new_at],
                             (double)part_of(a, PART_M, name)[old_at] * share[j]);
                assert_value(name, PART_V, new_at, (double)part_of(b, PART_V, name)[new_at],
                             (double)part_of(a, PART_V, name)[old_at] * share[j] * share[j]);
            }
        }
        for (int old = 0; old < OLD_FF; old++)
            assert_true(fabs(sums[old] - 1) < 1e-6);
    }
}

static void widen_ff_equals_plain_loops(void **state)
{
    (void)state;
    static const int WIDTHS[] = {13, 24, 30, 40};
    for (size_t w = 0; w < 4; w++)
        for (int unequal = 0; unequal < 2; unequal++) {
            struct shape shape = tiny_shape(OLD_LAYERS, true);
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, 9, true);
            one_step(&list, "widen_ff", "ff", WIDTHS[w]);
            set_integer(&list, 0, "split", unequal);
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            assert_int_equal(grown.table.shape.ff, WIDTHS[w]);
            check_widened(&parent, &grown, WIDTHS[w], unequal);
            for (int t = 0; t < grown.table.count; t++) {       /* nothing else changes */
                const struct tensor *to = &grown.table.tensors[t], *from = &parent.table.tensors[t];
                if (strstr(to->name, "c_fc") == NULL && strstr(to->name, "mlp.c_proj.weight") == NULL) {
                    assert_memory_equal(grown.weights + to->offset, parent.weights + from->offset, to->count * 4);
                    assert_memory_equal(grown.moments->v + to->offset, parent.moments->v + from->offset, to->count * 4);
                }
            }
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* Which copy gets the larger share is drawn per unit: neither the old units nor the new ones always do. */
static void unequal_shares_favour_neither_old_nor_new_units(void **state)
{
    (void)state;
    struct shape shape = tiny_shape(OLD_LAYERS, true);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 9, false);
    one_step(&list, "widen_ff", "ff", 2 * OLD_FF);
    set_integer(&list, 0, "split", 1);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    const float *down = weights_of(&grown, "h.0.mlp.c_proj.weight");
    int larger = 0;
    for (int unit = 0; unit < OLD_FF; unit++)
        larger += fabsf(down[unit * OLD_WIDTH]) > fabsf(down[(unit + OLD_FF) * OLD_WIDTH]);
    print_message("old unit has the larger share: %d of %d (2 to %d)\n", larger, OLD_FF, OLD_FF - 2);
    assert_in_range(larger, 2, OLD_FF - 2);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clone_equals_plain_loops),
        cmocka_unit_test(clone_noise_cancels_and_has_the_power_asked_for),
        cmocka_unit_test(clone_noise_leaves_everything_but_hidden_matrices),
        cmocka_unit_test(widen_ff_equals_plain_loops),
        cmocka_unit_test(unequal_shares_favour_neither_old_nor_new_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
