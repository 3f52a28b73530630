/* lemon in every family: every entry and its moments against plain loops over the names of the files, with the shares that
 * the grown model itself shows; the promise at any width, the warning where it does not hold, composition with depth, what
 * gradients and moments add up to, and the mistakes that would break it. */
#include "tests/growth/plain.h"

struct sizes { int width, heads, ff; };

enum { SIZES = 4, WHOLE_SIZES = 2 };

/* Whole multiples, and a rest; heads where the family leaves them free. */
static struct sizes sizes_of(const struct shape *shape, int variant)
{
    bool filled = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
    int heads = filled ? 0 : shape->heads + (shape->kv_heads < shape->heads ? shape->kv_heads : 2);
    const struct sizes all[SIZES] = {
        {2 * shape->width, 0, 0},
        {3 * shape->width, heads, 2 * shape->ff + 5},
        {shape->width + shape->head_size, 0, 0},
        {2 * shape->width + shape->head_size, heads, shape->ff + 3},
    };
    return all[variant];
}

static void lemon_list(struct growth_list *list, struct sizes sizes)
{
    one_step(list, "lemon", "width", sizes.width);
    if (sizes.heads > 0)
        set_integer(list, 0, "heads", sizes.heads);
    if (sizes.ff > 0)
        set_integer(list, 0, "ff", sizes.ff);
}

static bool is_promised(const struct shape *from, const struct shape *to)
{
    return from->family != FAMILY_BERT || to->width % from->width == 0;
}

/* ---- plain loops ---- */

/* Over and over, in whole rounds (the stream) or to the end (heads of one kv head, kv heads, MLP units). */
static void map_in_turn(struct plain_map *map, int count, int old, int groups, bool whole)
{
    int32_t source[PLAIN_UNITS];
    int group = count / groups, old_group = old / groups;
    for (int unit = 0; unit < count; unit++)
        source[unit] = whole && unit >= count / old * old ? -1
                       : unit / group * old_group + unit % group % old_group;
    plain_map_set(map, source, count, old);
}

/* The share of every unit, read off one tensor that sums over units of this letter: new over old weight, the larger of
 * two. They must sum to 1, and copies must have different ones. */
static void measure_shares(const struct checkpoint *parent, const struct checkpoint *grown, char letter, int size,
                           struct plain_map *map)
{
    const struct tensor *to = NULL;
    double sums[PLAIN_UNITS] = {0};
    for (int t = 0; t < grown->table.count && to == NULL; t++) {
        const char *axes = plain_axes(grown->table.tensors[t].name);
        if ((axes[0] == letter && axes[1] != '.') || (axes[1] == letter && axes[0] != '.'))
            to = &grown->table.tensors[t];
    }
    assert_non_null(to);
    const struct tensor *from = tensor_find(&parent->table, to->name);
    bool first = plain_axes(to->name)[0] == letter;
    for (int unit = 0; unit < map->count; unit++) {
        double best = 0;
        for (int output = 0; output < 2 && map->source[unit] >= 0; output++) {       /* of the first head or units */
            int at = unit * size, old_at = map->source[unit] * size;
            double old = (double)parent->weights[from->offset + (size_t)(first ? old_at * from->dims[1] + output
                                                                                 : output * from->dims[1] + old_at)];
            double new = (double)grown->weights[to->offset + (size_t)(first ? at * to->dims[1] + output
                                                                              : output * to->dims[1] + at)];
            if (fabs(old) > best)
                best = fabs(old), map->share[unit] = new / old;
        }
        if (map->source[unit] >= 0)
            sums[map->source[unit]] += map->share[unit];
        for (int other = 0; other < unit && map->source[unit] >= 0; other++)
            assert_true(map->source[other] != map->source[unit] || fabs(map->share[other] - map->share[unit]) > 0.01);
    }
    for (int unit = 0; unit < map->old; unit++)
        assert_true(fabs(sums[unit] - 1) < 1e-6);
}

static void maps_of(const struct checkpoint *parent, const struct checkpoint *grown, struct plain_maps *maps)
{
    const struct shape *from = &parent->table.shape, *to = &grown->table.shape;
    bool grouped = from->kv_heads < from->heads;
    double eta = sqrt((double)(to->width / from->width * from->width) / to->width);
    *maps = (struct plain_maps){.gain = eta, .head = from->scaled_head ? sqrt((double)to->width / from->width) : 1};
    maps->mean = !plain_is_rms(from);
    map_in_turn(&maps->stream, to->width, from->width, 1, true);
    map_in_turn(&maps->heads, to->heads, from->heads, grouped ? from->kv_heads : 1, false);
    map_in_turn(&maps->kv, to->kv_heads, from->kv_heads, 1, false);
    map_in_turn(&maps->ff, to->ff, from->ff, 1, false);
    measure_shares(parent, grown, 'd', 1, &maps->stream);
    measure_shares(parent, grown, 'h', from->head_size, &maps->heads);
    measure_shares(parent, grown, 'f', 1, &maps->ff);
    for (int head = 0; head < maps->kv.count && !grouped; head++)
        maps->kv.share[head] = maps->heads.share[head];
}

static void every_entry_equals_plain_loops(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int variant = 0; variant < SIZES; variant++) {
            const struct shape *shape = &plain_worlds[w].shape;
            struct sizes sizes = sizes_of(shape, variant);
            struct checkpoint parent, grown;
            struct growth_list list;
            struct plain_maps maps;
            random_checkpoint(&parent, shape, (uint64_t)(w + 1), true);
            lemon_list(&list, sizes);
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            const struct shape *to = &grown.table.shape;
            bool filled = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
            assert_int_equal(to->width, sizes.width);
            assert_int_equal(to->heads, filled ? sizes.width / shape->head_size : sizes.heads > 0 ? sizes.heads : shape->heads);
            assert_int_equal(to->ff, sizes.ff > 0 ? sizes.ff : shape->ff);
            double variance = (double)(sizes.width / shape->width * shape->width) / sizes.width;
            assert_true(fabs(to->norm_epsilon / shape->norm_epsilon - variance) < 1e-12);
            maps_of(&parent, &grown, &maps);
            plain_check(&parent, &grown, &maps);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* ---- the promise ---- */

static void function_is_preserved_at_any_width(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int variant = 0; variant < SIZES; variant++) {
            struct checkpoint parent, grown;
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            random_checkpoint(&parent, &plain_worlds[w].shape, (uint64_t)(w + 1), false);
            lemon_list(&list, sizes_of(&plain_worlds[w].shape, variant));
            assert_int_equal(growth_plan_init(&plan, &parent.table.shape, &list, &error), 0);
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            bool promised = is_promised(&parent.table.shape, &grown.table.shape);
            double single = plain_preservation(&parent, &grown, kernels_cpu());
            double wide = plain_preservation(&parent, &grown, kernels_ref_double());
            print_message("%s, %d: cpu %.1e (1e-4), double %.1e (1e-5)%s\n", plain_worlds[w].title,
                          grown.table.shape.width, single, wide, promised ? "" : " not promised");
            assert_int_equal(plan.promise, promised ? PROMISE_EXACT : PROMISE_NONE);
            assert_int_equal(plan.warning_count, promised ? 0 : 1);
            assert_false(plan.symmetric);
            if (promised)
                assert_true(single < 1e-4 && wide < 1e-5);
            else
                assert_true(single > 1e-3 && strstr(plan.warnings[0], "multiple") != NULL);
            growth_plan_fini(&plan);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* Before and after depth and other widths. */
static void composition_keeps_the_promise_in_both_orders(void **state)
{
    (void)state;
    static const char *const PAIRS[][2] = {
        {"lemon", "identity"}, {"identity", "lemon"}, {"lemon", "hyperclone"}, {"hyperclone", "lemon"},
        {"lemon", "staged"}, {"staged", "lemon"}, {"lemon", "extend_context"}, {"extend_context", "lemon"},
    };
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (size_t p = 0; p < sizeof PAIRS / sizeof PAIRS[0]; p++) {
            const struct shape *shape = &plain_worlds[w].shape;
            int width = shape->width, rest = shape->family == FAMILY_BERT ? 0 : shape->head_size;
            struct checkpoint parent, grown;
            struct growth_list list = {0};
            random_checkpoint(&parent, shape, (uint64_t)(w + 1), false);
            for (int i = 0; i < 2; i++) {
                const char *op = PAIRS[p][i];
                int step = add_step(&list, op);
                if (strcmp(op, "identity") == 0)
                    set_integer(&list, step, "layers", 5);
                else if (strcmp(op, "extend_context") == 0)
                    set_integer(&list, step, "context", 15);
                else
                    set_integer(&list, step, "width", width = 2 * width + (strcmp(op, "lemon") == 0 ? rest : 0));
            }
            grow_with(&parent, &list, MOMENTS_RESET, 1, &grown);
            double single = plain_preservation(&parent, &grown, kernels_cpu());
            print_message("%s, %s then %s: %.1e (1e-4)\n", plain_worlds[w].title, PAIRS[p][0], PAIRS[p][1], single);
            assert_true(single < 1e-4);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* ---- sums over copies (methods B.4): growing is linear, so what it makes of a small change d of the old weights,
 * times a gradient (or m) of the grown model, must be d times the old one ---- */

static double dot(const double *a, const float *b, const float *c, size_t begin, size_t count)
{
    double sum = 0;
    for (size_t i = begin; i < begin + count; i++)
        sum += a[i] * ((double)b[i] - (c != NULL ? (double)c[i] : 0));
    return sum;
}

static double *widened(const float *values, size_t count)
{
    double *wide = memory_array(count, sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < count; i++)
        wide[i] = (double)values[i];
    return wide;
}

/* One tensor moved by random steps d; the worst of both sums' differences, relative. */
static double sum_error(struct checkpoint *parent, const struct checkpoint *grown, const struct growth_list *list,
                        const struct tensor *tensor, double *const old[2], double *const new[2])
{
    struct checkpoint moved;
    uint64_t draws = 99;
    double worst = 0;
    float *saved = memory_array(tensor->count, sizeof *saved), *step = memory_array(tensor->count, sizeof *step);
    assert_true(saved != NULL && step != NULL);
    float *weights = parent->weights + tensor->offset;
    memcpy(saved, weights, tensor->count * sizeof *saved);
    for (size_t i = 0; i < tensor->count; i++) {
        weights[i] += (float)draw(&draws);
        step[i] = weights[i] - saved[i];
    }
    grow_with(parent, list, MOMENTS_RESET, 1, &moved);
    for (int what = 0; what < 2; what++) {
        double expected = dot(old[what] + tensor->offset, step, NULL, 0, tensor->count), scale = 0;
        double got = dot(new[what], moved.weights, grown->weights, 0, grown->table.slab);
        for (size_t i = 0; i < tensor->count; i++)
            scale += fabs(old[what][tensor->offset + i] * (double)step[i]);
        worst = fmax(worst, fabs(got - expected) / (scale + 1e-12));
    }
    memcpy(weights, saved, tensor->count * sizeof *saved);
    checkpoint_fini(&moved);
    memory_free(saved);
    memory_free(step);
    return worst;
}

static void gradients_and_moments_add_up_to_the_old_ones(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (int variant = 1; variant < SIZES; variant += 2) {
            struct checkpoint parent, grown;
            struct growth_list list;
            random_checkpoint(&parent, &plain_worlds[w].shape, (uint64_t)(w + 1), true);
            struct sizes sizes = sizes_of(&plain_worlds[w].shape, variant);
            if (plain_worlds[w].shape.family == FAMILY_BERT)
                sizes.width = 3 * plain_worlds[w].shape.width;
            lemon_list(&list, sizes);
            grow_with(&parent, &list, MOMENTS_CARRY, 1, &grown);
            double *old[2] = {plain_gradient(&parent), widened(parent.moments->m, parent.table.slab)};
            double *new[2] = {plain_gradient(&grown), widened(grown.moments->m, grown.table.slab)};
            double worst = 0;
            const char *name = "";
            for (int t = 0; t < parent.table.count; t++) {
                const struct tensor *tensor = &parent.table.tensors[t];
                double error = sum_error(&parent, &grown, &list, tensor, old, new);
                if (error > worst)
                    worst = error, name = tensor->name;
            }
            print_message("%s, %d: %.1e (1e-4), worst %s\n", plain_worlds[w].title, sizes.width, worst, name);
            assert_true(worst < 1e-4);
            for (int i = 0; i < 2; i++) {
                memory_free(old[i]);
                memory_free(new[i]);
            }
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_list_fini(&list);
        }
}

/* ---- mistakes ---- */

enum mistake { NO_ETA, OLD_EPSILON, ZERO_ROWS, UNEVEN_STREAM, TILED_QUERIES, MISTAKES };

static bool apply_mistake(enum mistake mistake, struct growth_plan *plan, struct checkpoint *parent)
{
    struct growth_plan_stage *stage = &plan->stages[0];
    const struct shape *from = &parent->table.shape;
    switch (mistake) {
    case NO_ETA:
        stage->norm_factor = 1;
        return true;
    case OLD_EPSILON:
        stage->to.norm_epsilon = from->norm_epsilon;
        return true;
    case ZERO_ROWS:     /* wrong where norms take the mean off */
        stage->units[UNIT_WIDTH].written = FILL_ZERO;
        return !plain_is_rms(from);
    case UNEVEN_STREAM:
        stage->units[UNIT_WIDTH].source[stage->to.width - 1] = 0;
        return true;
    default:            /* wrong where queries share kv heads */
        for (int head = 0; head < stage->to.heads; head++)
            stage->units[UNIT_HEADS].source[head] = head % from->heads;
        return from->kv_heads < from->heads;
    }
}

static void known_mistakes_are_caught(void **state)
{
    (void)state;
    for (int w = 0; w < PLAIN_WORLDS; w++)
        for (enum mistake mistake = 0; mistake < MISTAKES; mistake++) {
            struct shape shape = plain_worlds[w].shape;
            struct checkpoint parent, grown;
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            if (shape.family == FAMILY_BERT)
                continue;       /* nothing is promised at this width */
            shape.norm_epsilon = 1e-3;
            random_checkpoint(&parent, &shape, 3, false);
            lemon_list(&list, sizes_of(&shape, 3));
            assert_int_equal(growth_plan_init(&plan, &shape, &list, &error), 0);
            bool wrong = apply_mistake(mistake, &plan, &parent);
            assert_int_equal(growth_apply(&plan, &list, &parent, MOMENTS_RESET, 1, &grown, &error), 0);
            double preservation = plain_preservation(&parent, &grown, kernels_ref_double());
            print_message("%s, mistake %d: %.1e (%s 1e-4)\n", plain_worlds[w].title, (int)mistake, preservation,
                          wrong ? "above" : "no mistake here: below");
            assert_true(wrong ? preservation > 1e-4 : preservation < 1e-4);
            checkpoint_fini(&grown);
            checkpoint_fini(&parent);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
}

static void wrong_sizes_name_pointer_range_and_nearest_value(void **state)
{
    (void)state;
    static const struct { int world; struct sizes sizes; const char *pointer, *words; } CASES[] = {
        {0, {14, 0, 0}, "/operators/0/width", "from 12 to 131072 and a multiple of the head size 4 (nearest valid: 16)"},
        {0, {4, 0, 0}, "/operators/0/width", "nearest valid: 12"},
        {0, {16, 3, 0}, "/operators/0/heads", "nearest valid: 4"},
        {2, {13, 7, 0}, "/operators/0/heads", "a multiple of the 3 kv heads (nearest valid: 6)"},
        {8, {16, 0, 5}, "/operators/0/ff", "nearest valid: 12"},
        {8, {8, 0, 0}, "/operators/0/width", "nearest valid: 9"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct growth_list list;
        struct growth_plan plan;
        struct error error = {0};
        lemon_list(&list, CASES[i].sizes);
        assert_int_equal(growth_plan_init(&plan, &plain_worlds[CASES[i].world].shape, &list, &error), ERROR_INVALID);
        assert_string_equal(error.details[0].pointer, CASES[i].pointer);
        if (strstr(error.message, CASES[i].words) == NULL)
            fail_msg("case %zu: %s", i, error.message);
        growth_list_fini(&list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_entry_equals_plain_loops),
        cmocka_unit_test(function_is_preserved_at_any_width),
        cmocka_unit_test(composition_keeps_the_promise_in_both_orders),
        cmocka_unit_test(gradients_and_moments_add_up_to_the_old_ones),
        cmocka_unit_test(known_mistakes_are_caught),
        cmocka_unit_test(wrong_sizes_name_pointer_range_and_nearest_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
