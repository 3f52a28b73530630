/* ligo: the linear map against plain loops over the names of the tensors, its adjoint against differences of the loss of the
 * grown model, its start, its plan and its refusals. The fit: tests/trainer/test_ligo_fit.c. */
#include "tests/growth/plain.h"

#include "growth/ligo_parts.h"

/* A parent and the map to a model that is wider, deeper or both; numbers are doubles. */
struct world {
    struct growth_list list;
    struct growth_plan plan;
    struct growth_transform transform;
    struct tensor_table before, after;
    struct ligo *ligo;
    const struct kernels *kernels;
    double *old, *grown, *gradient;
};

enum { DEEPER = 1, WIDER = 2 };

/* llama and t5 get more heads, too. */
static void ligo_list(struct growth_list *list, const struct shape *shape, unsigned what)
{
    *list = (struct growth_list){0};
    int step = add_step(list, "ligo");
    if (what & DEEPER)
        set_integer(list, step, "layers", (shape->decoder_layers > shape->layers ? shape->decoder_layers : shape->layers) + 2);
    if (!(what & WIDER))
        return;
    bool filled = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
    set_integer(list, step, "width", filled ? shape->width + shape->head_size : shape->width + 3);
    set_integer(list, step, "ff", shape->ff + 5);
    if (!filled)
        set_integer(list, step, "heads", shape->kv_heads < shape->heads ? 2 * shape->heads : shape->heads + 1);
}

static void world_open(struct world *world, const struct shape *shape, unsigned what)
{
    struct error error = {0};
    uint64_t state = 4711;
    *world = (struct world){.kernels = kernels_ref_double()};
    ligo_list(&world->list, shape, what);
    if (growth_plan_init(&world->plan, shape, &world->list, &error) != 0)
        fail_msg("plan refused: %s", error.message);
    const struct growth_plan_stage *stage = &world->plan.stages[0];
    assert_int_equal(tensor_table_init(&world->before, &stage->from, &error), 0);
    assert_int_equal(tensor_table_init(&world->after, &stage->to, &error), 0);
    assert_int_equal(growth_transform_init(&world->transform, stage, &world->before, 3, 5, 0, &error), 0);
    assert_int_equal(ligo_new(&world->ligo, world->kernels, stage, &world->before, &world->after, &error), 0);
    assert_int_equal(ligo_start(world->ligo, &world->transform, &error), 0);
    world->old = world->kernels->alloc(world->before.slab * sizeof(double));
    world->grown = world->kernels->alloc(world->after.slab * sizeof(double));
    world->gradient = world->kernels->alloc(world->after.slab * sizeof(double));
    for (int t = 0; t < world->before.count; t++) {
        const struct tensor *tensor = &world->before.tensors[t];
        for (size_t i = 0; i < tensor->count; i++)
            world->old[tensor->offset + i] = (role_is_gain(tensor->row->role) ? 1 : 0) + 0.4 * draw(&state);
    }
}

static void world_close(struct world *world)
{
    world->kernels->release(world->old);
    world->kernels->release(world->grown);
    world->kernels->release(world->gradient);
    ligo_free(world->ligo);
    growth_transform_fini(&world->transform);
    tensor_table_fini(&world->before);
    tensor_table_fini(&world->after);
    growth_plan_fini(&world->plan);
    growth_list_fini(&world->list);
}

/* ---- a reference ---- */

/* Wrong maps, each of which must show. */
enum wrong { RIGHT, NEW_HEADS_LAST, OUTPUT_READS_KEYS, HEAD_LOSES_SCALE, BLOCKS_SHARE_MLP };

struct axis_matrix { int count, old; const double *values; };    /* values NULL: stays */

static struct axis_matrix matrix_at(const struct world *world, int number)
{
    const struct ligo_matrix *matrix = &world->ligo->matrices[number];
    assert_true(matrix->used);
    return (struct axis_matrix){matrix->rows, matrix->columns, (const double *)world->ligo->values + matrix->values};
}

static struct axis_matrix block_at(const struct world *world, const struct tensor *to, int part)
{
    int second = strstr(to->name, "EncDecAttention") != NULL ? BLOCK_ATTENTION : 0;
    return matrix_at(world, MATRIX_BLOCKS + to->layer * BLOCK_MATRICES + second + part);
}

/* One number of an axis's A: at (new, old), by what the name says the axis counts. */
static double coefficient(const struct world *world, const struct tensor *to, char letter, int new, int old,
                          enum wrong wrong)
{
    const struct shape *from = &world->before.shape, *shape = &world->after.shape;
    struct axis_matrix a = {0};
    int shift = 0, old_shift = 0, size = shape->head_size;
    bool shares = from->kv_heads < from->heads;
    bool is_key = strstr(to->name, "k_proj") != NULL || strstr(to->name, ".k.") != NULL || strstr(to->name, "key") != NULL;
    if (letter == 'A') {          /* q, k, v side by side: gpt2, where heads = kv heads */
        int part = new / (shape->heads * size), old_part = old / (from->heads * size);
        if (part != old_part)
            return 0;
        shift = part * shape->heads * size, old_shift = part * from->heads * size;
        a = shape->heads == from->heads ? a : block_at(world, to, BLOCK_QUERY + part);
    } else if (strchr("DdGO", letter) != NULL && shape->width != from->width) {
        a = matrix_at(world, MATRIX_STREAM);
    } else if (strchr("Ff", letter) != NULL && shape->ff != from->ff) {
        int block = wrong == BLOCKS_SHARE_MLP ? 0 : to->layer;
        a = matrix_at(world, MATRIX_BLOCKS + block * BLOCK_MATRICES + BLOCK_FF);
    } else if (letter == 'H' && shape->heads != from->heads) {
        a = block_at(world, to, BLOCK_QUERY);
    } else if (letter == 'h' && shape->heads != from->heads) {
        a = block_at(world, to, shares ? BLOCK_OUT : wrong == OUTPUT_READS_KEYS ? BLOCK_KEY : BLOCK_VALUE);
    } else if (letter == 'K' && shape->kv_heads != from->kv_heads) {
        a = block_at(world, to, is_key ? BLOCK_KEY : BLOCK_VALUE);
    } else if (letter == 'N' && shape->heads != from->heads) {
        a = matrix_at(world, MATRIX_RELATIVE + (strncmp(to->name, "decoder", 7) == 0));
    }
    if (a.values == NULL)
        return new - shift == old - old_shift;
    if (strchr("Hh", letter) != NULL && wrong == NEW_HEADS_LAST) {     /* group by group is right */
        int group = shape->heads / shape->kv_heads, old_group = from->heads / from->kv_heads, head = new / size;
        int kv = head < from->heads ? head / old_group : (head - from->heads) / (group - old_group);
        int rank = head < from->heads ? head % old_group : old_group + (head - from->heads) % (group - old_group);
        new = (kv * group + rank) * size + new % size;
    }
    return a.values[(size_t)(new - shift) * (size_t)a.old + (size_t)(old - old_shift)];
}

/* The tensor of block j of the same stack. */
static const struct tensor *old_tensor(const struct world *world, const struct tensor *to, int block)
{
    for (int t = 0; t < world->before.count; t++) {
        const struct tensor *from = &world->before.tensors[t];
        if (strcmp(from->row->name, to->row->name) == 0 && from->expert == to->expert && from->layer == block)
            return from;
    }
    fail_msg("no tensor like %s in block %d", to->name, block);
    return NULL;
}

/* The old tensor that is widened: of its block, or the mixture. */
static void mixture(const struct world *world, const struct tensor *to, double *out)
{
    const struct shape *from = &world->before.shape, *shape = &world->after.shape;
    bool decoder = to->layer >= shape->layers;
    int blocks = decoder ? from->decoder_layers : from->layers, grown = decoder ? shape->decoder_layers : shape->layers;
    int base = decoder ? from->layers : 0, block = to->layer - (decoder ? shape->layers : 0);
    const struct tensor *first = old_tensor(world, to, to->layer < 0 ? -1 : blocks == grown ? base + block : base);
    memcpy(out, world->old + first->offset, first->count * sizeof *out);
    if (to->layer < 0 || blocks == grown)
        return;
    int number = MATRIX_BLOCKS + (shape->layers + shape->decoder_layers) * BLOCK_MATRICES +
                 (int)(to->row - layout_of(shape->family)->rows);
    struct axis_matrix w = matrix_at(world, number);
    memset(out, 0, first->count * sizeof *out);
    for (int j = 0; j < blocks; j++)
        for (size_t i = 0; i < first->count; i++)
            out[i] += w.values[block * blocks + j] * world->old[old_tensor(world, to, base + j)->offset + i];
}

/* The largest difference between the map's tensors and the reference's, over all tensors. */
static double largest_difference(const struct world *world, enum wrong wrong)
{
    double largest = 0, *mixed = malloc(world->before.slab * sizeof *mixed);
    const struct shape *from = &world->before.shape, *shape = &world->after.shape;
    for (int t = 0; t < world->after.count; t++) {
        const struct tensor *to = &world->after.tensors[t];
        const struct tensor *like = old_tensor(world, to, to->layer < 0 ? -1 : to->layer >= shape->layers ? from->layers : 0);
        const char *axes = plain_axes(to->name);
        bool divides = shape->tied ? strchr(axes, '!') != NULL : strcmp(to->name, "lm_head.weight") == 0;
        double factor = shape->scaled_head && divides && wrong != HEAD_LOSES_SCALE
                            ? sqrt((double)shape->width / from->width) : 1;
        mixture(world, to, mixed);
        for (int r = 0; r < to->dims[0]; r++)
            for (int c = 0; c < to->dims[1]; c++) {
                double sum = 0;
                for (int a = 0; a < like->dims[0]; a++) {
                    double row = coefficient(world, to, axes[0], r, a, wrong);
                    for (int b = 0; row != 0 && b < like->dims[1]; b++)
                        sum += row * (to->row->rank == 1 ? 1 : coefficient(world, to, axes[1], c, b, wrong)) *
                               mixed[a * like->dims[1] + b];
                }
                double got = world->grown[to->offset + (size_t)r * (size_t)to->dims[1] + (size_t)c];
                largest = fmax(largest, fabs(got - factor * sum));
            }
    }
    free(mixed);
    return largest;
}

static void map_equals_plain_loops(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (unsigned what = DEEPER; what <= (DEEPER | WIDER); what++) {
            struct world world;
            world_open(&world, &plain_worlds[w].shape, what);
            ligo_materialize(world.ligo, world.old, world.grown);
            double difference = largest_difference(&world, RIGHT);
            if (!(difference < 1e-12))
                fail_msg("%s (%u): %g", plain_worlds[w].title, what, difference);
            world_close(&world);
        }
}

static void a_wrong_map_is_seen(void **state)
{
    (void)state;
    static const struct { const char *title; enum wrong wrong; } CASES[] = {
        {"llama, groups", NEW_HEADS_LAST}, {"qwen2, tied", NEW_HEADS_LAST}, {"bert", OUTPUT_READS_KEYS},
        {"gpt2, tied", OUTPUT_READS_KEYS}, {"t5, tied", HEAD_LOSES_SCALE}, {"mistral, window", BLOCKS_SHARE_MLP},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            struct world world;
            if (strcmp(plain_worlds[w].title, CASES[i].title) != 0)
                continue;
            world_open(&world, &plain_worlds[w].shape, WIDER);
            ligo_materialize(world.ligo, world.old, world.grown);
            assert_true(largest_difference(&world, CASES[i].wrong) > 1e-2);
            world_close(&world);
        }
}

/* ---- adjoint ---- */

enum { ROWS = 2, POSITIONS = 6, TRIED = 60 };

static struct batch tokens_of(const struct shape *shape, int32_t *tokens)
{
    uint64_t state = 99;
    for (int i = 0; i < 3 * ROWS * POSITIONS; i++)
        tokens[i] = (int32_t)((draw(&state) + 1) / 2 * shape->vocabulary);
    struct batch batch = {.rows = ROWS, .context = POSITIONS, .inputs = tokens, .targets = tokens + ROWS * POSITIONS};
    if (shape->decoder_layers > 0) {
        batch.decoder_context = POSITIONS;
        batch.decoder_inputs = tokens + 2 * ROWS * POSITIONS;
    }
    return batch;
}

static double loss_of(struct world *world, struct network *network, const struct batch *batch)
{
    double losses[ROWS];
    ligo_materialize(world->ligo, world->old, world->grown);
    network_loss(network, world->grown, batch, losses, NULL);
    return losses[0] + losses[1];
}

/* Of every part some numbers; central differences in double. */
static void adjoint_equals_differences_of_the_loss(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        struct world world;
        struct shape shape = plain_worlds[w].shape;
        struct network *network;
        struct error error = {0};
        int32_t tokens[3 * ROWS * POSITIONS];
        shape.router_aux = 0;     /* its gradient is not one of the losses that are returned */
        shape.top_k = shape.experts;
        world_open(&world, &shape, DEEPER | WIDER);
        struct batch batch = tokens_of(&shape, tokens);
        assert_int_equal(network_new(&network, world.kernels, &world.after, ROWS, POSITIONS, true, &error), 0);
        ligo_materialize(world.ligo, world.old, world.grown);
        network_gradient(network, world.grown, &batch, 1, world.gradient);
        ligo_adjoint(world.ligo, world.old, world.gradient);
        const double *gradient = ligo_gradient(world.ligo);
        size_t seen = 0;
        double scale = 0;
        for (size_t i = 0; i < ligo_learned(world.ligo); i++)
            scale = fmax(scale, fabs(gradient[i]));
        for (int part = 0; part < ligo_part_count(world.ligo); part++) {
            struct ligo_part it = ligo_part_at(world.ligo, part);
            double *values = it.values;
            assert_int_equal(it.offset, seen);
            seen += it.count;
            for (size_t i = 0; i < it.count; i += 1 + it.count / 2) {
                const double step = 1e-5, kept = values[i];
                values[i] = kept + step;
                double above = loss_of(&world, network, &batch);
                values[i] = kept - step;
                double below = loss_of(&world, network, &batch);
                values[i] = kept;
                double difference = (above - below) / (2 * step);
                if (!(fabs(difference - gradient[it.offset + i]) < 1e-6 * (scale + fabs(difference))))
                    fail_msg("%s, part %d, number %zu: %.9g, differences %.9g", plain_worlds[w].title, part, i,
                             gradient[it.offset + i], difference);
            }
        }
        assert_int_equal(seen, ligo_learned(world.ligo));
        network_free(network);
        world_close(&world);
    }
}

/* ---- start ---- */

/* Rows sum to 1, so a model of constant tensors stays one: by hand, block l's constants are mixed with w, and everything that
 * sums over new units counts them too. */
static void start_mixes_constants_to_constants(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        struct world world;
        world_open(&world, &plain_worlds[w].shape, DEEPER | WIDER);
        for (size_t i = 0; i < world.before.slab; i++)
            world.old[i] = 0.25;
        ligo_materialize(world.ligo, world.old, world.grown);
        for (int t = 0; t < world.after.count; t++) {
            const struct tensor *to = &world.after.tensors[t];
            struct growth_transform only = {.stage = &world.plan.stages[0]};
            double expected = 0.25 * growth_head_factor(&only, to->row->role);
            for (size_t i = 0; i < to->count; i++)
                assert_true(fabs(world.grown[to->offset + i] - expected) < 1e-12);
        }
        world_close(&world);
    }
}

/* Deeper only: the block that stacking would copy has the largest share, the others at most 0.03 of it; wider only: the old
 * units hold what they held. */
static void start_is_nearly_a_stack(void **state)
{
    (void)state;
    struct world world;
    struct shape shape = plain_worlds[0].shape;
    world_open(&world, &shape, DEEPER);
    for (int part = 0; part < ligo_part_count(world.ligo); part++) {
        const double *w = ligo_part_at(world.ligo, part).values;
        for (int block = 0; block < world.after.shape.layers; block++) {
            double sum = 0, copied = w[block * shape.layers + block % shape.layers];
            for (int j = 0; j < shape.layers; j++) {
                double share = w[block * shape.layers + j];
                sum += share;
                assert_true(share >= 0 && (j == block % shape.layers || share <= 0.03 * copied));
            }
            assert_true(fabs(sum - 1) < 1e-12 && copied < 1);
        }
    }
    world_close(&world);
    world_open(&world, &shape, WIDER);
    ligo_materialize(world.ligo, world.old, world.grown);
    const struct tensor *from = tensor_find(&world.before, "h.1.mlp.c_fc.weight");
    const struct tensor *to = tensor_find(&world.after, "h.1.mlp.c_fc.weight");
    for (int r = 0; r < from->dims[0]; r++)
        for (int c = 0; c < from->dims[1]; c++)
            assert_true(world.grown[to->offset + (size_t)(r * to->dims[1] + c)] ==
                        world.old[from->offset + (size_t)(r * from->dims[1] + c)]);
    world_close(&world);
}

static void measure_tells_what_a_map_allocates(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++) {
        struct world world;
        struct ligo_need need, wide;
        struct error error = {0};
        world_open(&world, &plain_worlds[w].shape, DEEPER | WIDER);
        assert_int_equal(ligo_measure(&world.plan.stages[0], world.kernels, &need, &error), 0);
        assert_int_equal(need.learned, ligo_learned(world.ligo));
        size_t numbers = world.ligo->value_count + world.ligo->learned + 1;
        for (int room = 0; room < ROOM_COUNT; room++)
            numbers += world.ligo->room_counts[room];
        assert_int_equal(need.bytes, numbers * sizeof(double));
        double before = world.ligo->flops;
        ligo_materialize(world.ligo, world.old, world.grown);
        ligo_adjoint(world.ligo, world.old, world.grown);
        assert_true(need.flops == world.ligo->flops - before);
        assert_int_equal(ligo_measure(&world.plan.stages[0], kernels_ref_float(), &wide, &error), 0);
        assert_int_equal(2 * wide.bytes, need.bytes);
        world_close(&world);
    }
}

/* ---- plan and refusals ---- */

static void refused(const struct shape *shape, struct growth_list *list, const char *pointer, const char *text)
{
    struct growth_plan plan;
    struct error error = {0};
    assert_int_equal(growth_plan_init(&plan, shape, list, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, pointer);
    if (strstr(error.message, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", error.message, text);
    growth_list_fini(list);
}

static void wrong_sizes_name_pointer_and_nearest(void **state)
{
    (void)state;
    struct growth_list list = {0};
    const struct shape *gpt2 = &plain_worlds[0].shape, *llama = &plain_worlds[2].shape;
    add_step(&list, "ligo");
    refused(gpt2, &list, "/operators/0/layers", "ligo needs layers or width");
    one_step(&list, "ligo", "layers", 3);
    refused(gpt2, &list, "/operators/0/layers", "nearest valid: 4");
    one_step(&list, "ligo", "width", 13);
    refused(gpt2, &list, "/operators/0/width", "nearest valid: 12");
    one_step(&list, "ligo", "heads", 7);
    refused(llama, &list, "/operators/0/heads", "nearest valid: 6");
    one_step(&list, "ligo", "layers", 6);
    set_integer(&list, 0, "steps", 0);
    refused(gpt2, &list, "/operators/0/steps", "nearest valid: 1)");
    one_step(&list, "ligo", "decoder_layers", 6);
    refused(gpt2, &list, "/operators/0/decoder_layers", "give layers instead");
}

static void without_data_it_is_refused(void **state)
{
    (void)state;
    struct growth_list list;
    struct growth_plan plan;
    struct checkpoint parent, grown;
    struct error error = {0};
    random_checkpoint(&parent, &plain_worlds[0].shape, 1, false);
    one_step(&list, "stack", "layers", 4);
    set_integer(&list, add_step(&list, "ligo"), "layers", 6);
    assert_int_equal(growth_plan_init(&plan, &parent.table.shape, &list, &error), 0);
    assert_int_equal(growth_plan_learns(&plan), 1);
    assert_int_equal(plan.promise, PROMISE_NONE);
    assert_true(plan.width_factor == 1);
    assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/operators/1/op");
    growth_plan_fini(&plan);
    growth_list_fini(&list);
    checkpoint_fini(&parent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_equals_plain_loops),
        cmocka_unit_test(a_wrong_map_is_seen),
        cmocka_unit_test(adjoint_equals_differences_of_the_loss),
        cmocka_unit_test(start_mixes_constants_to_constants),
        cmocka_unit_test(start_is_nearly_a_stack),
        cmocka_unit_test(measure_tells_what_a_map_allocates),
        cmocka_unit_test(wrong_sizes_name_pointer_and_nearest),
        cmocka_unit_test(without_data_it_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
