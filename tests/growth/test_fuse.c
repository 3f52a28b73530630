/* fuse: every entry and its moments against plain loops over two models, the function where it is known (a model with
 * itself), the mean of two models where norms see the same, composition, refusals, the hash of the other model. */
#include "base/fault.h"
#include "tests/growth/blocks.h"

struct pair { struct checkpoint parent, other; struct growth_partner partner; struct growth_list list; };

static void pair_init(struct pair *pair, const struct shape *shape, uint64_t seed, uint64_t other_seed, bool moments)
{
    struct error error = {0};
    random_checkpoint(&pair->parent, shape, seed, moments);
    random_checkpoint(&pair->other, shape, other_seed, moments);
    pair->partner = (struct growth_partner){.shape = *shape, .checkpoint = &pair->other};
    memcpy(pair->partner.hash, pair->other.hash, sizeof pair->partner.hash);
    pair->list = (struct growth_list){0};
    value_at(&pair->list, add_step(&pair->list, "fuse"), "with")->text = memory_string("other");
    assert_string_equal(growth_step_reference(&pair->list.steps[0]), "other");
    assert_int_equal(growth_step_join(&pair->list.steps[0], &pair->partner, &error), 0);
}

static void pair_fini(struct pair *pair)
{
    growth_list_fini(&pair->list);
    checkpoint_fini(&pair->other);
    checkpoint_fini(&pair->parent);
}

/* Moments of both, of the parent alone, counters of either the smaller. */
static void every_entry_equals_plain_loops(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int known = 0; known < 2; known++) {
            struct pair pair;
            struct checkpoint grown;
            struct blocks blocks;
            pair_init(&pair, &plain_worlds[w].shape, 5, 6, true);
            for (int t = 0; t < pair.other.table.count; t++)
                pair.other.moments->steps[t] = !known && t % 3 == 0 ? 0 : t % 2 == 0 ? 7 : 100000;
            grow_with(&pair.parent, &pair.list, MOMENTS_CARRY, 1, &grown);
            assert_int_equal(grown.table.shape.width, 2 * plain_worlds[w].shape.width);
            blocks_init(&blocks, &pair.parent, &pair.other, 2);
            blocks_check(&blocks, &grown);
            for (int t = 0; t < grown.table.count; t++) {
                uint64_t mine = pair.parent.moments->steps[t], theirs = pair.other.moments->steps[t];
                assert_int_equal(grown.moments->steps[t], theirs > 0 && theirs < mine ? theirs : mine);
            }
            checkpoint_fini(&grown);
            pair_fini(&pair);
        }
}

static void moments_of_the_other_model_may_be_missing(void **state)
{
    (void)state;
    struct pair pair;
    struct checkpoint grown, other;
    struct blocks blocks;
    pair_init(&pair, &plain_worlds[2].shape, 5, 6, true);
    random_checkpoint(&other, &plain_worlds[2].shape, 6, false);
    pair.partner.checkpoint = &other;
    pair.parent.moments->steps[3] = 0;       /* never trained: m and v are not looked at */
    grow_with(&pair.parent, &pair.list, MOMENTS_CARRY, 1, &grown);
    const struct tensor *silent = &grown.table.tensors[3];
    for (size_t i = silent->offset; i < silent->offset + silent->count; i++)
        assert_true(grown.moments->m[i] == 0 && grown.moments->v[i] == 0);
    assert_int_equal(grown.moments->steps[3], 0);
    const struct tensor *from = &pair.parent.table.tensors[3];
    memset(pair.parent.moments->m + from->offset, 0, from->count * sizeof(float));
    memset(pair.parent.moments->v + from->offset, 0, from->count * sizeof(float));
    blocks_init(&blocks, &pair.parent, &other, 2);
    blocks_check(&blocks, &grown);
    checkpoint_fini(&grown);
    checkpoint_fini(&other);
    pair_fini(&pair);
}

/* Its moments are of no use here, and so is their age: 40 steps of AdamW stay 40 beside 20 of SGD. */
static void counters_of_another_optimizer_are_not_taken_over(void **state)
{
    (void)state;
    struct pair pair;
    struct checkpoint grown;
    struct error error = {0};
    pair_init(&pair, &plain_worlds[2].shape, 5, 6, true);
    assert_int_equal(checkpoint_set_moments(&pair.other, MOMENT_BIT(MOMENT_MOMENTUM), &error), 0);
    for (int t = 0; t < pair.other.table.count; t++) {
        pair.parent.moments->steps[t] = 40;
        pair.other.moments->steps[t] = 20;
    }
    grow_with(&pair.parent, &pair.list, MOMENTS_CARRY, 1, &grown);
    for (int t = 0; t < grown.table.count; t++)
        assert_int_equal(grown.moments->steps[t], 40);
    checkpoint_fini(&grown);
    pair_fini(&pair);
}

static void a_model_fused_with_itself_keeps_its_function(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int order = 0; order < 2; order++) {
            struct pair pair;
            struct checkpoint grown;
            pair_init(&pair, &plain_worlds[w].shape, 4, 4, false);
            set_integer(&pair.list, add_step(&pair.list, "identity"), "layers", 5);
            if (order == 1) {       /* depth first: the other model must have it, too */
                struct growth_step swap = pair.list.steps[0];
                pair.list.steps[0] = pair.list.steps[1];
                pair.list.steps[1] = swap;
                struct growth_list deep = {.count = 1};
                deep.steps[0] = pair.list.steps[0];
                struct checkpoint deeper;
                grow_with(&pair.other, &deep, MOMENTS_RESET, 1, &deeper);
                checkpoint_fini(&pair.other);
                pair.other = deeper;
                pair.partner.shape = deeper.table.shape;
            }
            grow_with(&pair.parent, &pair.list, MOMENTS_RESET, 1, &grown);
            double single = plain_preservation(&pair.parent, &grown, kernels_cpu());
            print_message("%s: %.1e (1e-4)\n", plain_worlds[w].title, single);
            assert_true(single < 1e-4);
            checkpoint_fini(&grown);
            pair_fini(&pair);
        }
}

/* ---- the mean of two models ---- */

static void logits_of(const struct checkpoint *checkpoint, double *logits, int rows, int context)
{
    const struct kernels *kernels = kernels_ref_double();
    int32_t tokens[32], written[32], targets[32];
    struct error error = {0};
    struct network *network;
    struct batch batch = {.rows = rows, .context = context, .inputs = tokens, .targets = targets};
    for (int i = 0; i < rows * context; i++) {
        tokens[i] = (i * 7 + 3) % checkpoint->table.shape.vocabulary;
        written[i] = (i * 5 + 2) % checkpoint->table.shape.vocabulary;
        targets[i] = TARGET_IGNORED;
    }
    if (checkpoint->table.shape.decoder_layers > 0)
        batch.decoder_context = context, batch.decoder_inputs = written;
    assert_int_equal(network_new(&network, kernels, &checkpoint->table, rows, context, false, &error), 0);
    double *weights = memory_array(checkpoint->table.slab, sizeof *weights);
    assert_non_null(weights);
    for (size_t i = 0; i < checkpoint->table.slab; i++)
        weights[i] = (double)checkpoint->weights[i];
    network_logits(network, weights, &batch, logits);
    memory_free(weights);
    network_free(network);
}

/* Every unit of the stream takes the place of the next one: the same function in other weights, and in norms that see both
 * streams the same mean and variance as in those that see one. */
static void turn_stream(struct checkpoint *model)
{
    int width = model->table.shape.width;
    for (int t = 0; t < model->table.count; t++) {
        const struct tensor *tensor = &model->table.tensors[t];
        const char *axes = plain_axes(tensor->name);
        bool rows = strchr("DdGO", axes[0]) != NULL, columns = axes[1] != '\0' && strchr("Dd", axes[1]) != NULL;
        float *values = model->weights + tensor->offset, *old = memory_array(tensor->count, sizeof *old);
        assert_non_null(old);
        memcpy(old, values, tensor->count * sizeof *old);
        for (int i = 0; i < tensor->dims[0]; i++)
            for (int j = 0; j < tensor->dims[1]; j++) {
                int to_i = rows ? (i + 1) % width : i, to_j = columns ? (j + 1) % width : j;
                values[to_i * tensor->dims[1] + to_j] = old[i * tensor->dims[1] + j];
            }
        memory_free(old);
    }
}

/* So that the mean is known, and, where the head is no embedding, far from either. */
static void head_reads_the_mean_of_both_models(void **state)
{
    (void)state;
    enum { ROWS = 2, CONTEXT = 8, MOST = ROWS * CONTEXT * 19 };
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        const struct shape *shape = &plain_worlds[w].shape;
        struct pair pair;
        struct checkpoint grown;
        static double a[MOST], b[MOST], both[MOST];
        double worst = 0, largest = 0, apart = 0;
        pair_init(&pair, shape, 4, 4, false);
        turn_stream(&pair.other);
        const struct tensor *head = tensor_find(&pair.other.table, "lm_head.weight");
        for (size_t i = 0; !shape->tied && i < head->count; i++)
            pair.other.weights[head->offset + i] *= (float)(1 + (i / 3) % 5);
        grow_with(&pair.parent, &pair.list, MOMENTS_RESET, 1, &grown);
        logits_of(&pair.parent, a, ROWS, CONTEXT);
        logits_of(&pair.other, b, ROWS, CONTEXT);
        logits_of(&grown, both, ROWS, CONTEXT);
        for (int i = 0; i < MOST; i++) {
            largest = fmax(largest, fabs(a[i]));
            apart = fmax(apart, fabs(a[i] - b[i]));
            worst = fmax(worst, fabs(both[i] - (a[i] + b[i]) / 2));
        }
        print_message("%s: %.1e of %.1f (1e-5), models %.1f apart\n", plain_worlds[w].title, worst, largest, apart);
        assert_true(worst < 1e-5 * largest && (shape->tied ? apart < 1e-5 * largest : apart > 0.5 * largest));
        checkpoint_fini(&grown);
        pair_fini(&pair);
    }
}

/* The other model's kv heads in the wrong order; a head that reads the sum of both models, tied or not. */
static double preservation_of_mistake(const struct shape *shape, bool sums)
{
    struct pair pair;
    struct checkpoint grown;
    struct growth_plan plan;
    struct error error = {0};
    pair_init(&pair, shape, 4, 4, false);
    assert_int_equal(growth_plan_init(&plan, shape, &pair.list, &error), 0);
    struct unit_map *kv = &plan.stages[0].units[UNIT_KV];
    for (int head = 0; !sums && head < kv->count; head++)
        kv->source[head] = head / 2;
    assert_int_equal(growth_apply(&plan, &pair.list, &pair.parent, MOMENTS_RESET, 1, &grown, &error), 0);
    for (int t = 0; sums && t < grown.table.count; t++) {
        const struct tensor *tensor = &grown.table.tensors[t];
        bool divided = shape->tied ? plain_axes(tensor->name)[1] == '!' : strcmp(tensor->name, "lm_head.weight") == 0;
        for (size_t i = 0; divided && i < tensor->count; i++)
            grown.weights[tensor->offset + i] *= 2;
    }
    double preservation = plain_preservation(&pair.parent, &grown, kernels_cpu());
    checkpoint_fini(&grown);
    growth_plan_fini(&plan);
    pair_fini(&pair);
    return preservation;
}

static void known_mistakes_are_caught(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int sums = 0; sums < 2; sums++) {
            double preservation = preservation_of_mistake(&plain_worlds[w].shape, sums);
            print_message("%s: %.1e (above 1e-3)\n", plain_worlds[w].title, preservation);
            assert_true(preservation > 1e-3);
        }
}

/* ---- the other model's part in plan, text and refusals ---- */

static void text_holds_the_content_and_changes_with_it(void **state)
{
    (void)state;
    struct pair pair;
    struct buffer text;
    char expected[256];
    struct error error = {0};
    pair_init(&pair, &plain_worlds[0].shape, 5, 6, false);
    buffer_init(&text);
    growth_list_json(&pair.list, &text);
    snprintf(expected, sizeof expected, "[{\"op\":\"fuse\",\"with\":\"other\",\"content\":\"%s\",\"noise\":0,\"seed\":0}]",
             pair.other.hash);
    assert_string_equal(text.data, expected);
    buffer_fini(&text);
    struct growth_partner changed = pair.partner;
    changed.hash[0] = changed.hash[0] == 'a' ? 'b' : 'a';
    assert_int_equal(growth_step_join(&pair.list.steps[0], &changed, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/content");
    pair_fini(&pair);
}

static void plan_numbers_the_other_models_units_after_the_parents(void **state)
{
    (void)state;
    struct pair pair;
    struct growth_plan plan;
    struct buffer text;
    struct error error = {0};
    pair_init(&pair, &plain_worlds[2].shape, 5, 6, false);
    set_integer(&pair.list, add_step(&pair.list, "widen_ff"), "ff", 26);
    assert_int_equal(growth_plan_init(&plan, &plain_worlds[2].shape, &pair.list, &error), 0);
    buffer_init(&text);
    growth_plan_json(&plan, &text);
    assert_non_null(strstr(text.data, "\"kv_heads\":{\"from\":3,\"to\":6,\"slices\":[[0,6]]}"));
    assert_non_null(strstr(text.data, "\"ff\":{\"from\":12,\"to\":26,\"slices\":[[0,24],[0,2]]}"));
    assert_int_equal(plan.promise, PROMISE_NONE);
    buffer_fini(&text);
    growth_plan_fini(&plan);
    pair_fini(&pair);
}

static void other_shapes_are_refused_with_what_differs(void **state)
{
    (void)state;
    static const char *const WORDS[] = {"width is 8 and 12", "layers is 3 and 2", "the type is gpt2 and llama",
                                        "vocabulary is 19 and 20", "the activation is gelu_new and relu"};
    for (int i = 0; i < 6; i++) {
        struct pair pair;
        struct growth_plan plan;
        struct error error = {0};
        pair_init(&pair, &plain_worlds[0].shape, 5, 6, false);
        struct shape *shape = &pair.partner.shape;
        switch (i) {
        case 0: shape->width = 12; break;
        case 1: shape->layers = 2; break;
        case 2: shape->family = FAMILY_LLAMA; break;
        case 3: shape->vocabulary = 20; break;
        case 4: shape->activation = ACTIVATION_RELU; break;
        default: pair.list.steps[0].partner = NULL;
        }
        assert_int_equal(growth_plan_init(&plan, &plain_worlds[0].shape, &pair.list, &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, "/operators/0/with");
        if (strstr(error.message, i < 5 ? WORDS[i] : "was not read") == NULL)
            fail_msg("case %d: %s", i, error.message);
        pair_fini(&pair);
    }
}

static void growing_without_the_other_model_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    struct growth_plan plan;
    struct checkpoint grown;
    struct error error = {0};
    pair_init(&pair, &plain_worlds[0].shape, 5, 6, false);
    pair.partner.checkpoint = NULL;
    assert_int_equal(growth_plan_init(&plan, &plain_worlds[0].shape, &pair.list, &error), 0);
    assert_int_equal(growth_apply(&plan, &pair.list, &pair.parent, MOMENTS_RESET, 1, &grown, &error), ERROR_INTERNAL);
    growth_plan_fini(&plan);
    pair_fini(&pair);
}

/* A list that goes on with lemon and more positions: every kind of map is allocated. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    struct pair pair;
    pair_init(&pair, &plain_worlds[0].shape, 5, 6, true);
    set_integer(&pair.list, add_step(&pair.list, "lemon"), "width", 20);
    set_integer(&pair.list, add_step(&pair.list, "extend_context"), "context", 12);
    set_integer(&pair.list, add_step(&pair.list, "staged"), "layers", 6);
    for (int64_t n = 1;; n++) {
        struct growth_plan plan;
        struct checkpoint grown;
        struct error error = {0};
        struct parameter_value *content = value_at(&pair.list, 0, "content");
        memory_free(content->text);
        *content = (struct parameter_value){0};
        fault_arm(FAULT_ALLOC, n);
        int code = growth_step_join(&pair.list.steps[0], &pair.partner, &error);
        bool planned = code == 0 && (code = growth_plan_init(&plan, &plain_worlds[0].shape, &pair.list, &error)) == 0;
        if (planned)
            code = growth_apply(&plan, &pair.list, &pair.parent, MOMENTS_CARRY, 1, &grown, &error);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        if (planned)
            growth_plan_fini(&plan);
        if (code == 0)
            checkpoint_fini(&grown);
        assert_int_equal(code, crossed < n ? 0 : ERROR_NO_MEMORY);
        if (crossed < n)
            break;
    }
    pair_fini(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_equals_plain_loops),
        cmocka_unit_test(moments_of_the_other_model_may_be_missing),
        cmocka_unit_test(counters_of_another_optimizer_are_not_taken_over),
        cmocka_unit_test(a_model_fused_with_itself_keeps_its_function),
        cmocka_unit_test(head_reads_the_mean_of_both_models),
        cmocka_unit_test(known_mistakes_are_caught),
        cmocka_unit_test(text_holds_the_content_and_changes_with_it),
        cmocka_unit_test(plan_numbers_the_other_models_units_after_the_parents),
        cmocka_unit_test(other_shapes_are_refused_with_what_differs),
        cmocka_unit_test(growing_without_the_other_model_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
