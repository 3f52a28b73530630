/* Growing an encoder-decoder: promises kept with tied and own heads, relu and gated MLPs; moments that are the grown
 * model's own gradients; two stacks, each with its map; tables of relative positions that stay. */
#include "tests/growth/fixture.h"

#include <math.h>

#include "model/network.h"

/* Head size times heads is not the width, and the decoder is deeper than the encoder. */
static struct shape t5_shape(bool tied, bool gated)
{
    return (struct shape){
        .family = FAMILY_T5, .layers = 2, .decoder_layers = 3, .width = 8, .heads = 3, .kv_heads = 3, .head_size = 2,
        .ff = 12, .context = 10, .vocabulary = 19, .tied = tied, .gated = gated, .scaled_head = tied, .buckets = 8,
        .bucket_distance = 6, .activation = gated ? ACTIVATION_GELU_TANH : ACTIVATION_RELU, .norm_epsilon = 1e-6,
    };
}

/* ---- promises ---- */

struct exact_case { const char *title, *op, *name; int64_t integer; bool diagonal, noiseless, whole; };

/* whole: copies are powers of four, so that even the root of their number is exact. */
static const struct exact_case EXACT[] = {
    {"identity, both stacks", "identity", "layers", 5, false, false, true},
    {"identity, encoder", "identity", "encoder_layers", 3, false, false, true},
    {"identity, decoder", "identity", "decoder_layers", 6, false, false, true},
    {"hyperclone x2", "hyperclone", "width", 16, false, true, false},
    {"hyperclone x4", "hyperclone", "width", 32, false, true, true},
    {"hyperclone x3 noisy", "hyperclone", "width", 24, false, false, false},
    {"hyperclone x4 diagonal", "hyperclone", "width", 32, true, true, true},
    {"hyperclone x2 diagonal noisy", "hyperclone", "width", 16, true, false, false},
    {"widen_ff x2", "widen_ff", "ff", 24, false, false, true},
    {"widen_ff x3.5", "widen_ff", "ff", 42, false, false, false},
};

static double preservation_of(const struct checkpoint *parent, const struct checkpoint *grown,
                              const struct kernels *kernels)
{
    struct error error = {0};
    double preservation = -1;
    if (growth_preservation(parent, grown, kernels, 1, &preservation, &error) != 0)
        fail_msg("preservation: %s", error.message);
    return preservation;
}

static void check_case(const struct exact_case *test, const struct shape *shape)
{
    struct checkpoint parent, grown;
    struct growth_list list;
    random_checkpoint(&parent, shape, 3, false);
    one_step(&list, test->op, test->name, test->integer);
    if (test->diagonal)
        set_integer(&list, 0, "layout", 1);
    if (test->noiseless)
        set_null(&list, 0, "noise_db");
    grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
    double single = preservation_of(&parent, &grown, kernels_cpu());
    double wide = preservation_of(&parent, &grown, kernels_ref_double()), bound = test->whole ? 1e-13 : 2e-6;
    print_message("%-30s %s %s: cpu %.1e (1e-4), double %.1e (%.0e)\n", test->title, shape->tied ? "tied" : "own head",
                  shape->gated ? "gated" : "relu", single, wide, bound);
    assert_true(single < 1e-4 && wide < bound);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

static void promised_functions_are_preserved(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++)
        for (int gated = 0; gated < 2; gated++)
            for (size_t i = 0; i < sizeof EXACT / sizeof EXACT[0]; i++) {
                struct shape shape = t5_shape(tied, gated);
                check_case(&EXACT[i], &shape);
            }
}

/* The head of newer files: its own and scaled, or tied and not. */
static void scale_and_tying_may_part(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++)
        for (size_t i = 3; i < 8; i++) {
            struct shape shape = t5_shape(tied, true);
            shape.scaled_head = !tied;
            struct exact_case test = EXACT[i];
            check_case(&test, &shape);
        }
}

static void composed_promises_are_preserved(void **state)
{
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        struct shape shape = t5_shape(tied, true);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 4, false);
        one_step(&list, "widen_ff", "ff", 17);
        set_integer(&list, add_step(&list, "hyperclone"), "width", 16);
        set_integer(&list, add_step(&list, "identity"), "decoder_layers", 5);
        set_integer(&list, add_step(&list, "hyperclone"), "width", 48);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_true(preservation_of(&parent, &grown, kernels_cpu()) < 1e-4);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

static void copies_without_a_promise_change_the_function(void **state)
{
    (void)state;
    static const char *const OPS[] = {"stack", "interleave", "first", "gradual_last", "middle", "random"};
    struct shape shape = t5_shape(true, false);
    struct checkpoint parent, grown;
    random_checkpoint(&parent, &shape, 2, false);
    for (size_t i = 0; i < sizeof OPS / sizeof OPS[0]; i++) {
        struct growth_list list;
        one_step(&list, OPS[i], "layers", 6);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_int_equal(grown.table.shape.layers, 6);
        assert_int_equal(grown.table.shape.decoder_layers, 6);
        assert_true(preservation_of(&parent, &grown, kernels_ref_float()) > 1e-3);
        checkpoint_fini(&grown);
        growth_list_fini(&list);
    }
    checkpoint_fini(&parent);
}

/* ---- maps ---- */

/* Does layer `layer` of `grown` in `stack` ("encoder", "decoder") equal layer `old` of the parent, every tensor? */
static void assert_layer(const struct checkpoint *parent, const struct checkpoint *grown, const char *stack, int layer,
                         int old)
{
    char prefix[40];
    int found = 0;
    int length = snprintf(prefix, sizeof prefix, "%s.block.%d.", stack, layer);
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t];
        char name[TENSOR_NAME_BYTES];
        if (strncmp(to->name, prefix, (size_t)length) != 0 || strstr(to->name, "relative") != NULL)
            continue;
        snprintf(name, sizeof name, "%s.block.%d.%s", stack, old, to->name + length);
        assert_memory_equal(grown->weights + to->offset, weights_of(parent, name), to->count * sizeof(float));
        found++;
    }
    assert_int_equal(found, strcmp(stack, "encoder") == 0 ? 8 : 13);
}

static void assert_relative_tables_stay(const struct checkpoint *parent, const struct checkpoint *grown)
{
    int found = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t];
        if (strstr(to->name, "relative_attention_bias") == NULL)
            continue;
        assert_non_null(strstr(to->name, ".block.0."));
        assert_memory_equal(grown->weights + to->offset, weights_of(parent, to->name), to->count * sizeof(float));
        found++;
    }
    assert_int_equal(found, 2);
}

struct map_case {
    const char *op, *name;
    int64_t integer;
    int encoder[6], decoder[6], layers, decoder_layers;
};

static const struct map_case MAPS[] = {
    {"stack", "layers", 6, {0, 1, 0, 1, 0, 1}, {0, 1, 2, 0, 1, 2}, 6, 6},
    {"stack", "encoder_layers", 4, {0, 1, 0, 1}, {0, 1, 2}, 4, 3},
    {"interleave", "decoder_layers", 6, {0, 1}, {0, 0, 1, 1, 2, 2}, 2, 6},
    {"first", "layers", 4, {0, 1, 0, 1}, {0, 0, 1, 2}, 4, 4},
    {"gradual_last", "layers", 4, {0, 1, 0, 1}, {0, 1, 2, 2}, 4, 4},
    {"middle", "decoder_layers", 5, {0, 1}, {0, 1, 1, 1, 2}, 2, 5},
    {"solar", "decoder_layers", 4, {0, 1}, {0, 1, 1, 2}, 2, 4},
};

static void each_stack_follows_its_map(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof MAPS / sizeof MAPS[0]; i++) {
        struct shape shape = t5_shape(true, false);
        struct checkpoint parent, grown;
        struct growth_list list;
        random_checkpoint(&parent, &shape, 5, false);
        one_step(&list, MAPS[i].op, MAPS[i].name, MAPS[i].integer);
        grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
        assert_int_equal(grown.table.shape.layers, MAPS[i].layers);
        assert_int_equal(grown.table.shape.decoder_layers, MAPS[i].decoder_layers);
        for (int layer = 0; layer < MAPS[i].layers; layer++)
            assert_layer(&parent, &grown, "encoder", layer, MAPS[i].encoder[layer]);
        for (int layer = 0; layer < MAPS[i].decoder_layers; layer++)
            assert_layer(&parent, &grown, "decoder", layer, MAPS[i].decoder[layer]);
        assert_relative_tables_stay(&parent, &grown);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

static void layer_maps_of_one_stack_leave_the_other(void **state)
{
    (void)state;
    static const int32_t MAP[] = {2, 0, -1, 2};
    struct shape shape = t5_shape(true, true);
    struct checkpoint parent, grown;
    struct growth_list list = {0};
    struct growth_plan plan;
    struct error error = {0};
    struct buffer text;
    random_checkpoint(&parent, &shape, 6, true);
    set_list(&list, add_step(&list, "layer_map"), "decoder_map", MAP, 4);
    grow_with(&parent, &list, MOMENTS_OLD_ONLY, 1, &grown);
    assert_int_equal(grown.table.shape.layers, 2);
    assert_int_equal(grown.table.shape.decoder_layers, 4);
    for (int t = 0; t < grown.table.count; t++) {
        /* The fresh decoder layer and the second copy of layer 2 start anew; all others keep their counters. */
        const struct tensor *to = &grown.table.tensors[t];
        bool anew = strncmp(to->name, "decoder.block.2.", 16) == 0 || strncmp(to->name, "decoder.block.3.", 16) == 0;
        assert_int_equal(grown.moments->steps[t] == 0, anew);
    }
    const float *fresh = weights_of(&grown, "decoder.block.2.layer.0.layer_norm.weight");
    assert_true(fresh[0] == 1);
    assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
    buffer_init(&text);
    growth_plan_json(&plan, &text);
    assert_false(text.failed);
    assert_non_null(strstr(text.data, "{\"layers\":[0,1],\"identity\":[],\"decoder_layers\":[2,0,null,2],"
                           "\"decoder_identity\":[]"));
    buffer_fini(&text);
    growth_plan_fini(&plan);
    checkpoint_fini(&grown);
    checkpoint_fini(&parent);
    growth_list_fini(&list);
}

/* ---- refusals ---- */

static void refuse(const struct shape *shape, struct growth_list *list, const char *pointer)
{
    struct growth_plan plan;
    struct error error = {0};
    assert_int_equal(growth_plan_init(&plan, shape, list, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, pointer);
    growth_list_fini(list);
}

static void depths_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct shape t5 = t5_shape(true, false), gpt2 = tiny_shape(2, true);
    static const int32_t MAP[] = {0, 2};
    struct growth_list list;
    one_step(&list, "stack", "layers", 3);               /* the decoder has 3 already */
    refuse(&t5, &list, "/operators/0/layers");
    one_step(&list, "stack", "decoder_layers", 3);
    refuse(&t5, &list, "/operators/0/decoder_layers");
    one_step(&list, "stack", "layers", 6);
    set_integer(&list, 0, "encoder_layers", 4);
    refuse(&t5, &list, "/operators/0/encoder_layers");
    one_step(&list, "stack", "encoder_layers", 4);
    refuse(&gpt2, &list, "/operators/0/encoder_layers");
    list = (struct growth_list){0};
    add_step(&list, "stack");
    refuse(&gpt2, &list, "/operators/0/layers");
    list = (struct growth_list){0};
    set_list(&list, add_step(&list, "layer_map"), "map", MAP, 2);        /* the encoder has no layer 2 */
    refuse(&t5, &list, "/operators/0/map/1");
    list = (struct growth_list){0};
    set_list(&list, add_step(&list, "layer_map"), "encoder_map", MAP, 2);
    refuse(&gpt2, &list, "/operators/0/encoder_map");
}

/* ---- gradients are what the moments say ---- */

static double *gradient_of(const struct checkpoint *checkpoint)
{
    enum { ROWS = 2, READ = 9, WRITTEN = 6 };
    const struct kernels *kernels = kernels_ref_double();
    struct error error = {0};
    struct network *network;
    size_t slab = checkpoint->table.slab;
    int32_t inputs[ROWS * READ], decoder_inputs[ROWS * WRITTEN], targets[ROWS * WRITTEN];
    struct batch batch = {
        .rows = ROWS, .context = READ, .inputs = inputs, .targets = targets, .decoder_context = WRITTEN,
        .decoder_inputs = decoder_inputs,
    };
    for (int i = 0; i < ROWS * READ; i++)
        inputs[i] = (i * 7 + 3) % 19;
    for (int i = 0; i < ROWS * WRITTEN; i++) {
        decoder_inputs[i] = (i * 5 + 1) % 19;
        targets[i] = (i * 11 + 2) % 19;
    }
    assert_int_equal(network_new(&network, kernels, &checkpoint->table, ROWS, READ, true, &error), 0);
    double *weights = memory_array(slab, sizeof *weights), *gradients = memory_array(slab, sizeof *gradients);
    assert_true(weights != NULL && gradients != NULL);
    for (size_t i = 0; i < slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    network_gradient(network, weights, &batch, 0.1, gradients);
    memory_free(weights);
    network_free(network);
    return gradients;
}

/* The parent's gradient as m and its square as v: carried through an n-fold clone they are the grown model's gradient
 * and its square, in every tensor. */
static void carried_moments_are_the_gradients_of_the_clone(void **state)
{
    (void)state;
    for (int run = 0; run < 8; run++) {
        struct shape shape = t5_shape(run & 1, run & 2);
        struct checkpoint parent, grown;
        struct growth_list list;
        double worst = 0, largest = 0;
        shape.scaled_head = (run & 4) ? !shape.tied : shape.tied;
        random_checkpoint(&parent, &shape, 8, true);
        double *before = gradient_of(&parent);
        for (size_t i = 0; i < parent.table.slab; i++) {
            parent.moments->m[i] = (float)before[i];
            parent.moments->v[i] = (float)(before[i] * before[i]);
        }
        one_step(&list, "hyperclone", "width", 24);
        set_null(&list, 0, "noise_db");
        grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
        double *after = gradient_of(&grown);
        for (size_t i = 0; i < grown.table.slab; i++) {
            double m = (double)grown.moments->m[i], v = (double)grown.moments->v[i];
            largest = fmax(largest, fabs(after[i]));
            worst = fmax(worst, fmax(fabs(m - after[i]), fabs(sqrt(v) - fabs(after[i]))));
        }
        print_message("%s, %s, scale %d: worst difference %.1e (1e-6)\n", shape.tied ? "tied" : "own head",
                      shape.gated ? "gated" : "relu", shape.scaled_head, worst / largest);
        assert_true(worst < 1e-6 * largest);
        memory_free(before);
        memory_free(after);
        checkpoint_fini(&grown);
        checkpoint_fini(&parent);
        growth_list_fini(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(promised_functions_are_preserved),
        cmocka_unit_test(scale_and_tying_may_part),
        cmocka_unit_test(composed_promises_are_preserved),
        cmocka_unit_test(copies_without_a_promise_change_the_function),
        cmocka_unit_test(each_stack_follows_its_map),
        cmocka_unit_test(layer_maps_of_one_stack_leave_the_other),
        cmocka_unit_test(depths_that_do_not_fit_are_refused),
        cmocka_unit_test(carried_moments_are_the_gradients_of_the_clone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
