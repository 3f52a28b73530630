/* Growing bert models: promises kept though norms stand after the additions, the tied head and its transform, heads that
 * are kept but not trained, and moments that are the grown model's gradients. */
#include "tests/growth/fixture.h"

#include <math.h>

#include "model/network.h"

enum { WIDTH = 9, VOCABULARY = 19, POSITIONS = 10, ROWS = 2 };

static struct shape bert_shape(bool whole)
{
    return (struct shape){
        .family = FAMILY_BERT, .layers = 3, .width = WIDTH, .heads = 3, .kv_heads = 3, .head_size = 3, .ff = 12,
        .context = POSITIONS, .vocabulary = VOCABULARY, .tied = true, .types = 2, .pooler = whole, .next_sentence = whole,
        .activation = ACTIVATION_GELU_ERF, .norm_epsilon = 1e-12,
    };
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

/* ---- promises ---- */

/* A list of one step that promises the function. */
struct exact_case {
    const char *title, *op, *name;
    int64_t integer;
    const char *choice;      /* a further parameter, NULL: none */
    int64_t index;
    bool noiseless;          /* noise_db null */
    int32_t places[4];       /* placement as a list; the first is -1: none */
    double bound;            /* in double; rounding of the grown float32 weights is left, and epsilon */
};

#define NOWHERE {-1}
static const struct exact_case EXACT[] = {
    {"identity interleaved", "identity", "layers", 6, NULL, 0, false, NOWHERE, 1e-10},
    {"identity on top", "identity", "layers", 5, "placement", 1, false, NOWHERE, 1e-10},
    {"identity at the bottom", "identity", "layers", 4, NULL, 0, false, {0}, 1e-10},
    {"identity, two at the bottom, two above", "identity", "layers", 7, NULL, 0, false, {0, 1, 3, 4}, 1e-10},
    {"hyperclone x2", "hyperclone", "width", 2 * WIDTH, NULL, 0, true, NOWHERE, 1e-11},
    {"hyperclone x3", "hyperclone", "width", 3 * WIDTH, NULL, 0, true, NOWHERE, 2e-6},
    {"hyperclone x3 noisy", "hyperclone", "width", 3 * WIDTH, NULL, 0, false, NOWHERE, 4e-6},
    {"hyperclone x2 diagonal", "hyperclone", "width", 2 * WIDTH, "layout", 1, true, NOWHERE, 1e-11},
    {"hyperclone x2 diagonal noisy", "hyperclone", "width", 2 * WIDTH, "layout", 1, false, NOWHERE, 4e-6},
    {"widen_ff equal", "widen_ff", "ff", 24, NULL, 0, false, NOWHERE, 1e-11},
    {"widen_ff unequal", "widen_ff", "ff", 31, "split", 1, false, NOWHERE, 4e-6},
};
enum { EXACT_COUNT = sizeof EXACT / sizeof EXACT[0] };

static void exact_list(const struct exact_case *test, const struct shape *shape, struct growth_list *list)
{
    one_step(list, test->op, test->name, test->integer);
    if (test->choice != NULL)
        set_integer(list, 0, test->choice, test->index);
    if (test->noiseless)
        set_null(list, 0, "noise_db");
    if (test->places[0] >= 0)
        set_list(list, 0, "placement", test->places, (int)test->integer - shape->layers);
}

static void promised_functions_are_preserved(void **state)
{
    (void)state;
    for (int whole = 0; whole < 2; whole++)
        for (int i = 0; i < EXACT_COUNT; i++) {
            struct shape shape = bert_shape(whole);
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &shape, (uint64_t)(20 * whole + i + 1), false);
            exact_list(&EXACT[i], &shape, &list);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = preservation_of(&parent, &grown, kernels_cpu());
            double wide = preservation_of(&parent, &grown, kernels_ref_double());
            print_message("%-40s cpu %.1e (1e-4), double %.1e (%.0e)\n", EXACT[i].title, single, wide, EXACT[i].bound);
            assert_true(single < 1e-4 && wide < EXACT[i].bound);
            assert_true(grown.table.shape.pooler == whole && grown.table.shape.next_sentence == whole);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

static void a_composed_list_of_promises_is_preserved(void **state)
{
    (void)state;
    struct shape shape = bert_shape(true);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 4, false);
    one_step(&list, "widen_ff", "ff", 17);
    set_integer(&list, 0, "split", 1);
    set_integer(&list, add_step(&list, "identity"), "layers", 5);
    set_integer(&list, add_step(&list, "hyperclone"), "width", 2 * WIDTH);
    set_integer(&list, add_step(&list, "identity"), "layers", 7);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    double single = preservation_of(&parent, &grown, kernels_cpu());
    print_message("%.1e (1e-4)\n", single);
    assert_true(single < 1e-4);
    assert_true(grown.table.shape.layers == 7 && grown.table.shape.heads == 6 && grown.table.shape.ff == 34);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* What the norms would be if they were copied like everything else. */
static void zeroed_outputs_alone_are_no_identity(void **state)
{
    (void)state;
    static const char *const names[] = {
        "encoder.layer.%d.attention.output.LayerNorm.weight", "encoder.layer.%d.attention.output.LayerNorm.bias",
        "encoder.layer.%d.output.LayerNorm.weight", "encoder.layer.%d.output.LayerNorm.bias",
    };
    struct shape shape = bert_shape(false);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 6, false);
    one_step(&list, "identity", "layers", 6);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    assert_true(preservation_of(&parent, &grown, kernels_ref_double()) < 1e-10);
    for (int layer = 0; layer < 6; layer++)
        for (int i = 0; i < 4; i++) {
            char from[96], to[96];
            snprintf(from, sizeof from, names[i], layer / 2);
            snprintf(to, sizeof to, names[i], layer);
            memcpy(grown.weights + tensor_find(&grown.table, to)->offset, weights_of(&parent, from),
                   WIDTH * sizeof(float));
        }
    double copied = preservation_of(&parent, &grown, kernels_ref_double());
    print_message("norms copied: %.2f\n", copied);
    assert_true(copied > 0.05);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- depth ---- */

static void assert_same(const struct checkpoint *grown, const char *to, const struct checkpoint *parent, const char *from)
{
    const struct tensor *a = tensor_find(&grown->table, to), *b = tensor_find(&parent->table, from);
    assert_true(a != NULL && b != NULL && a->count == b->count);
    assert_memory_equal(grown->weights + a->offset, parent->weights + b->offset, a->count * sizeof(float));
}

static void assert_all(const struct checkpoint *grown, const char *name, float value)
{
    const struct tensor *tensor = tensor_find(&grown->table, name);
    assert_non_null(tensor);
    for (size_t i = 0; i < tensor->count; i++)
        assert_true(grown->weights[tensor->offset + i] == value);
}

static void depth_operators_copy_whole_layers(void **state)
{
    (void)state;
    static const struct { const char *op; int map[6]; } rows[] = {
        {"stack", {0, 1, 2, 0, 1, 2}}, {"interleave", {0, 0, 1, 1, 2, 2}},
        {"first", {0, 1, 2, 0, 1, 2}}, {"gradual_last", {0, 1, 2, 0, 1, 2}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        struct shape shape = bert_shape(true);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 3, false);
        one_step(&list, rows[r].op, "layers", 6);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *tensor = &grown.table.tensors[t];
            char from[TENSOR_NAME_BYTES];
            snprintf(from, sizeof from, "%s", tensor->name);
            if (tensor->layer >= 0)
                snprintf(from, sizeof from, "encoder.layer.%d%s", rows[r].map[tensor->layer],
                         strchr(tensor->name + strlen("encoder.layer."), '.'));
            assert_same(&grown, tensor->name, &parent, from);
        }
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* Layers: new at 0, old 0, new, new, old 1, old 2. */
static void norms_below_new_blocks_move_to_their_end_with_their_moments(void **state)
{
    (void)state;
    static const int32_t places[] = {0, 2, 3};
    struct shape shape = bert_shape(false);
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, &shape, 3, true);
    one_step(&list, "identity", "layers", 6);
    set_list(&list, 0, "placement", places, 3);
    grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
    assert_all(&grown, "embeddings.LayerNorm.weight", 1);
    assert_all(&grown, "embeddings.LayerNorm.bias", 0);
    assert_all(&grown, "encoder.layer.0.attention.output.LayerNorm.weight", 1);
    assert_same(&grown, "encoder.layer.0.output.LayerNorm.weight", &parent, "embeddings.LayerNorm.weight");
    assert_same(&grown, "encoder.layer.0.output.LayerNorm.bias", &parent, "embeddings.LayerNorm.bias");
    assert_same(&grown, "encoder.layer.1.attention.output.LayerNorm.weight", &parent,
                "encoder.layer.0.attention.output.LayerNorm.weight");
    assert_all(&grown, "encoder.layer.1.output.LayerNorm.weight", 1);
    assert_all(&grown, "encoder.layer.2.output.LayerNorm.weight", 1);
    assert_all(&grown, "encoder.layer.3.attention.output.LayerNorm.bias", 0);
    assert_same(&grown, "encoder.layer.3.output.LayerNorm.weight", &parent, "encoder.layer.0.output.LayerNorm.weight");
    assert_same(&grown, "encoder.layer.3.output.LayerNorm.bias", &parent, "encoder.layer.0.output.LayerNorm.bias");
    assert_same(&grown, "encoder.layer.5.output.LayerNorm.bias", &parent, "encoder.layer.2.output.LayerNorm.bias");
    assert_all(&grown, "encoder.layer.3.output.dense.weight", 0);
    assert_same(&grown, "encoder.layer.3.intermediate.dense.weight", &parent, "encoder.layer.0.intermediate.dense.weight");
    const struct tensor *to = tensor_find(&grown.table, "encoder.layer.3.output.LayerNorm.weight");
    const struct tensor *from = tensor_find(&parent.table, "encoder.layer.0.output.LayerNorm.weight");
    const struct tensor *left = tensor_find(&grown.table, "encoder.layer.1.output.LayerNorm.weight");
    assert_memory_equal(grown.moments->m + to->offset, parent.moments->m + from->offset, WIDTH * sizeof(float));
    assert_memory_equal(grown.moments->v + to->offset, parent.moments->v + from->offset, WIDTH * sizeof(float));
    assert_int_equal(grown.moments->steps[to - grown.table.tensors], parent.moments->steps[from - parent.table.tensors]);
    assert_int_equal(grown.moments->steps[left - grown.table.tensors], 0);
    for (size_t i = 0; i < WIDTH; i++)
        assert_true(grown.moments->m[left->offset + i] == 0 && grown.moments->v[left->offset + i] == 0);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- heads that are not trained ---- */

/* y (rows of W) = W x, x tiled to the columns. */
static double row_times(const float *row, const double *x, int columns, int period)
{
    double sum = 0;
    for (int i = 0; i < columns; i++)
        sum += (double)row[i] * x[i % period];
    return sum;
}

static void pooler_and_next_sentence_head_are_cloned_with_the_rest(void **state)
{
    (void)state;
    for (int diagonal = 0; diagonal < 2; diagonal++) {
        struct shape shape = bert_shape(true);
        struct checkpoint parent, grown;
        struct growth_list list;
        double x[WIDTH];
        uint64_t seed = 5;
        for (int i = 0; i < WIDTH; i++)
            x[i] = draw(&seed);
        random_checkpoint(&parent, &shape, 3, false);
        one_step(&list, "hyperclone", "width", 2 * WIDTH);
        set_integer(&list, 0, "layout", diagonal);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        const float *old = weights_of(&parent, "pooler.dense.weight"), *new = weights_of(&grown, "pooler.dense.weight");
        for (int o = 0; o < 2 * WIDTH; o++) {
            double was = row_times(old + o % WIDTH * WIDTH, x, WIDTH, WIDTH);
            assert_true(fabs(row_times(new + o * 2 * WIDTH, x, 2 * WIDTH, WIDTH) - was) < 1e-6);
            assert_true(weights_of(&grown, "pooler.dense.bias")[o] == weights_of(&parent, "pooler.dense.bias")[o % WIDTH]);
        }
        old = weights_of(&parent, "cls.seq_relationship.weight");
        new = weights_of(&grown, "cls.seq_relationship.weight");
        for (int o = 0; o < 2; o++)
            assert_true(fabs(row_times(new + o * 2 * WIDTH, x, 2 * WIDTH, WIDTH) - row_times(old + o * WIDTH, x, WIDTH, WIDTH))
                        < 1e-6);
        assert_same(&grown, "cls.seq_relationship.bias", &parent, "cls.seq_relationship.bias");
        assert_same(&grown, "cls.predictions.bias", &parent, "cls.predictions.bias");
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* ---- moments ---- */

/* The gradient of one batch, as floats, into `gradient` (a slab). */
static void gradient_of(const struct checkpoint *checkpoint, float *gradient)
{
    const struct kernels *kernels = kernels_ref_double();
    const struct tensor_table *table = &checkpoint->table;
    int32_t inputs[ROWS * POSITIONS], targets[ROWS * POSITIONS];
    struct network *network;
    struct error error = {0};
    uint64_t seed = 9;
    for (int i = 0; i < ROWS * POSITIONS; i++) {
        inputs[i] = (int32_t)((draw(&seed) + 1) / 2 * VOCABULARY);
        targets[i] = i % 3 == 0 ? (int32_t)((draw(&seed) + 1) / 2 * VOCABULARY) : TARGET_IGNORED;
    }
    struct batch batch = {.rows = ROWS, .context = POSITIONS, .inputs = inputs, .targets = targets};
    double *weights = kernels->alloc(table->slab * sizeof(double)), *gradients = kernels->alloc(table->slab * sizeof(double));
    assert_true(weights != NULL && gradients != NULL);
    assert_int_equal(network_new(&network, kernels, table, ROWS, POSITIONS, true, &error), 0);
    for (size_t i = 0; i < table->slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    network_gradient(network, weights, &batch, 1, gradients);
    for (size_t i = 0; i < table->slab; i++)
        gradient[i] = (float)gradients[i];
    network_free(network);
    kernels->release(weights);
    kernels->release(gradients);
}

/* With the parent's gradient as its first moment, what is carried is the grown model's own gradient: a clone's in every
 * tensor, beside new blocks in all that was there before. */
static void carried_moments_are_the_grown_models_gradients(void **state)
{
    (void)state;
    static const int cases[] = {0, 3, 4, 5, 9};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        const struct exact_case *test = &EXACT[cases[c]];
        struct shape shape = bert_shape(true);
        struct checkpoint parent, grown;
        struct growth_list list;
        double worst = 0, largest = 0;
        int kept = 0;
        random_checkpoint(&parent, &shape, 8, true);
        gradient_of(&parent, parent.moments->m);
        exact_list(test, &shape, &list);
        grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
        float *gradient = memory_array(grown.table.slab, sizeof *gradient);
        assert_non_null(gradient);
        gradient_of(&grown, gradient);
        for (int t = 0; t < grown.table.count; t++) {
            const struct tensor *tensor = &grown.table.tensors[t];
            if (grown.moments->steps[t] == 0)
                continue;
            kept++;
            for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
                worst = fmax(worst, fabs((double)grown.moments->m[i] - (double)gradient[i]));
                largest = fmax(largest, fabs((double)gradient[i]));
            }
        }
        print_message("%-40s %d of %d tensors, %.1e (1e-6)\n", test->title, kept, grown.table.count, worst / largest);
        assert_true(kept >= parent.table.count && worst < 1e-6 * largest);
        memory_free(gradient);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

/* transformers' BertPreTrainedModel: N(0, 0.02) everywhere, no scale by depth. */
static void random_layers_are_drawn_as_bert_draws_them(void **state)
{
    (void)state;
    struct shape shape = bert_shape(false);
    struct checkpoint parent, grown;
    struct growth_list list;
    shape.width = 96, shape.heads = shape.kv_heads = 32, shape.ff = 128;
    random_checkpoint(&parent, &shape, 3, false);
    one_step(&list, "random", "layers", 8);
    set_integer(&list, 0, "placement", 1);
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    for (int t = 0; t < grown.table.count; t++) {
        const struct tensor *to = &grown.table.tensors[t];
        double squares = 0;
        if (to->layer < 3 || to->row->rank == 1)
            continue;
        for (size_t i = 0; i < to->count; i++)
            squares += (double)grown.weights[to->offset + i] * (double)grown.weights[to->offset + i];
        assert_true(fabs(sqrt(squares / (double)to->count) / 0.02 - 1) < 0.05);
    }
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promised_functions_are_preserved),
        cmocka_unit_test(a_composed_list_of_promises_is_preserved),
        cmocka_unit_test(zeroed_outputs_alone_are_no_identity),
        cmocka_unit_test(depth_operators_copy_whole_layers),
        cmocka_unit_test(norms_below_new_blocks_move_to_their_end_with_their_moments),
        cmocka_unit_test(pooler_and_next_sentence_head_are_cloned_with_the_rest),
        cmocka_unit_test(carried_moments_are_the_grown_models_gradients),
        cmocka_unit_test(random_layers_are_drawn_as_bert_draws_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
