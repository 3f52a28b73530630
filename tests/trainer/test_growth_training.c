/* What growing promises about training: the first update with carried moments, the step counters, and which copies
 * training separates. Every family, the real trainer; what is expected is computed by plain loops from the parent's own
 * next update. */
#include "tests/support/support.h"

#include "tests/growth/plain.h"
#include "tests/trainer/family_worlds.h"

/* ---- a parent that was trained for a while ---- */

enum { PARENT_STEPS = 12 };

struct world {
    struct fixture *fixture;
    struct checkpoint parent;      /* with moments and counters */
};

static void train_steps(const struct world *world, struct trial *trial, int steps)
{
    struct scratch *scratch;
    struct error error = {0};
    assert_ok(scratch_new(&scratch, world->fixture->options.kernels, &trial->table, &trial->options.training, &error),
              &error);
    fixture_train(world->fixture, trial, scratch, steps);
    assert_false(trial->diverged);
    scratch_free(scratch);
}

/* Starts from a checkpoint with the world's options, does `steps` updates, exports. */
static void continue_from(const struct world *world, const struct checkpoint *from, int steps, struct checkpoint *after)
{
    struct trial trial;
    struct error error = {0};
    assert_ok(trial_init(&trial, from, &world->fixture->options, &error), &error);
    train_steps(world, &trial, steps);
    assert_ok(checkpoint_init(after, &from->table.shape, &error), &error);
    assert_ok(trial_export(&trial, after, &error), &error);
    trial_fini(&trial);
}

static void world_init(struct world *world, const struct family_world *family)
{
    struct training *training;
    world->fixture = family_fixture(family, kernels_cpu(), 4);
    training = &world->fixture->options.training;
    training->average.kind = AVERAGE_NONE;
    training->clip = 0;
    training->learning_rate = 1e-2;
    training->schedule = (struct schedule_spec){.name = SCHEDULE_CONSTANT, .warmup_steps = 0};
    continue_from(world, &world->fixture->checkpoint, PARENT_STEPS, &world->parent);
}

static void world_fini(struct world *world)
{
    checkpoint_fini(&world->parent);
    fixture_free(world->fixture);
}

/* ---- the first update ---- */

/* n copies of everything, or of MLP units or heads alone. */
enum symmetric_map { MAP_CLONE, MAP_DIAGONAL, MAP_STAGED, MAP_FPI, MAP_FF, MAP_HEADS, SYMMETRIC_MAPS };

static bool op_applies(const char *op, const struct shape *shape)
{
    return (growth_operator_find(op)->families & 1u << shape->family) != 0;
}

static const char *const SYMMETRIC_OPS[] = {"hyperclone", "hyperclone", "staged", "fpi", "widen_ff", "add_heads"};

static void symmetric_list(enum symmetric_map map, const struct shape *shape, int n, struct growth_list *list)
{
    static const char *const NAMES[] = {"width", "width", "width", "width", "ff", "heads"};
    const int sizes[] = {shape->width, shape->width, shape->width, shape->width, shape->ff, shape->heads};
    one_step(list, SYMMETRIC_OPS[map], NAMES[map], n * sizes[map]);
    if (map <= MAP_DIAGONAL) {
        set_null(list, 0, "noise_db");
        set_integer(list, 0, "layout", map == MAP_DIAGONAL);
    }
}

/* Unit j from unit j mod old; queries of one kv head side by side where kv heads stay. */
static void tiled(struct plain_map *map, int count, int old, int groups)
{
    int32_t source[PLAIN_UNITS];
    int group = count / groups, old_group = old / groups;
    for (int unit = 0; unit < count; unit++)
        source[unit] = unit / group * old_group + unit % group % old_group;
    plain_map_set(map, source, count, old);
}

static void symmetric_maps(const struct shape *from, const struct shape *to, struct plain_maps *maps)
{
    *maps = (struct plain_maps){.gain = 1, .head = from->scaled_head ? sqrt((double)to->width / from->width) : 1};
    bool kv_stay = from->kv_heads == to->kv_heads;
    tiled(&maps->stream, to->width, from->width, 1);
    tiled(&maps->heads, to->heads, from->heads, kv_stay ? from->kv_heads : 1);
    tiled(&maps->kv, to->kv_heads, from->kv_heads, 1);
    tiled(&maps->ff, to->ff, from->ff, 1);
}

/* Methods 6.18: the copy's gradient, m and sqrt(v) are a times the old ones, now and after the next batch; so its
 * update is rate * (a m / (a sqrt(v) + epsilon) + decay * weight), with the parent's next m and v, its counters and an epsilon
 * that counts for 1 / a as much. Largest distance over the rate. `a` power 0: as if epsilon were scaled, too. */
static double update_error(const struct world *world, const struct checkpoint *next, const struct checkpoint *grown,
                           const struct checkpoint *after, const struct plain_maps *maps, double power,
                           const char **worst)
{
    const struct optimizer_spec *spec = &world->fixture->options.training.optimizer;
    double rate = world->fixture->options.training.learning_rate, largest = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t], *from = tensor_find(&next->table, to->name);
        double steps = (double)next->moments->steps[from - next->table.tensors];
        double decay = to->row->rank == 2 ? spec->weight_decay : 0;
        for (size_t i = 0; i < to->count; i++) {
            int row = (int)(i / (size_t)to->dims[1]), column = (int)(i % (size_t)to->dims[1]);
            struct plain_entry entry = plain_entry_of(maps, &next->table.shape, to, from->dims[1], row, column);
            double a = entry.moment, w = (double)grown->weights[to->offset + i];
            double m = (double)next->moments->m[from->offset + entry.old] / (1 - pow(spec->beta1, steps));
            double v = (double)next->moments->v[from->offset + entry.old] / (1 - pow(spec->beta2, steps));
            double step = a * m / (a * sqrt(v) + spec->epsilon * pow(a, 1 - power)) + decay * w;
            double error = fabs((double)after->weights[to->offset + i] - (w - rate * step)) / rate;
            if (error > largest)
                largest = error, *worst = to->name;
        }
        assert_int_equal(after->moments->steps[t], next->moments->steps[from - next->table.tensors]);
    }
    return largest;
}

static void first_updates_of_symmetric_maps_are_those_derived(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++) {
        struct world world;
        struct checkpoint next;
        world_init(&world, &family_worlds[f]);
        world.fixture->options.training.optimizer.epsilon = 1e-3;      /* of the size of sqrt(v): it must be right */
        world.fixture->options.training.learning_rate = 0.1;           /* a step is far above the weights' resolution */
        continue_from(&world, &world.parent, 1, &next);
        for (int map = 0; map < SYMMETRIC_MAPS; map++)
            for (int n = 2; n <= (map == MAP_STAGED ? 2 : 3); n++) {
                struct growth_list list;
                struct checkpoint grown, after;
                struct plain_maps maps;
                const char *worst = "", *other = "";
                if (!op_applies(SYMMETRIC_OPS[map], &world.parent.table.shape))
                    continue;
                symmetric_list((enum symmetric_map)map, &world.parent.table.shape, n, &list);
                grow_with(&world.parent, &list, MOMENTS_CARRY, 1, &grown);
                symmetric_maps(&world.parent.table.shape, &grown.table.shape, &maps);
                continue_from(&world, &grown, 1, &after);
                double error = update_error(&world, &next, &grown, &after, &maps, 1, &worst);
                double scaled = update_error(&world, &next, &grown, &after, &maps, 0, &other);
                print_message("%-16s %s x%d: %.1e (1e-5; %s), with another epsilon %.1e\n", family_worlds[f].title,
                              list.steps[0].op->name, n, error, worst, scaled);
                assert_true(error < 1e-5 && scaled > 1e-3);
                checkpoint_fini(&after);
                checkpoint_fini(&grown);
                growth_list_fini(&list);
            }
        checkpoint_fini(&next);
        world_fini(&world);
    }
}

/* ---- counters ---- */

/* As after very many steps: moments without their corrections, beta2 .999, counters far on. What starts at 0 beside
 * them would move 0.1 / sqrt(0.001) = 3.16 rates at once. */
static void age(struct world *world)
{
    struct optimizer_spec *spec = &world->fixture->options.training.optimizer;
    struct moments *moments = world->parent.moments;
    for (int t = 0; t < world->parent.table.count; t++) {
        const struct tensor *tensor = &world->parent.table.tensors[t];
        double steps = (double)moments->steps[t];
        for (size_t i = tensor->offset; steps > 0 && i < tensor->offset + tensor->count; i++) {
            moments->m[i] = (float)((double)moments->m[i] / (1 - pow(spec->beta1, steps)));
            moments->v[i] = (float)((double)moments->v[i] / (1 - pow(spec->beta2, steps)));
        }
        moments->steps[t] = steps > 0 ? 100000 : 0;
    }
    spec->beta2 = 0.999;
    spec->weight_decay = 0;
}

struct moves { double in_new_tensors, in_new_entries; };

/* The largest first move, in rates: in tensors whose counter was 0, and of entries that start with m = 0 in others. */
static struct moves first_moves(const struct world *world, const struct checkpoint *grown)
{
    struct checkpoint after;
    struct moves moves = {0, 0};
    continue_from(world, grown, 1, &after);
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *tensor = &grown->table.tensors[t];
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            double move = fabs((double)after.weights[i] - (double)grown->weights[i]) /
                          world->fixture->options.training.learning_rate;
            if (!role_is_trained(tensor->row->role))
                continue;
            if (grown->moments->steps[t] == 0)
                moves.in_new_tensors = fmax(moves.in_new_tensors, move);
            else if (grown->moments->m[i] == 0)
                moves.in_new_entries = fmax(moves.in_new_entries, move);
        }
    }
    checkpoint_fini(&after);
    return moves;
}

/* New blocks beside old ones, and new rows and columns inside old tensors. */
static const char *const COUNTED_OPS[] = {"random", "identity", "zero_pad", "lemon"};

static void counted_list(int kind, const struct shape *shape, struct growth_list *list)
{
    bool width = kind >= 2;
    one_step(list, COUNTED_OPS[kind], width ? "width" : "layers",
             width ? shape->width + 2 * shape->head_size : shape->layers + 2);
}

static void counters_keep_first_moves_near_the_rate(void **state)
{
    (void)state;
    for (int f = 0; f < FAMILY_WORLDS; f++) {
        struct world world;
        world_init(&world, &family_worlds[f]);
        age(&world);
        for (int kind = 0; kind < 4; kind++) {
            struct growth_list list;
            struct checkpoint grown;
            struct shape shape = world.parent.table.shape;
            if (shape.decoder_layers > shape.layers)
                shape.layers = shape.decoder_layers;
            if (!op_applies(COUNTED_OPS[kind], &shape))
                continue;
            counted_list(kind, &shape, &list);
            grow_with(&world.parent, &list, MOMENTS_CARRY, 1, &grown);
            struct moves right = first_moves(&world, &grown);
            /* the mistake: counters of old tensors for new ones, no v for new entries */
            for (int t = 0; t < grown.table.count; t++) {
                const struct tensor *tensor = &grown.table.tensors[t];
                for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++)
                    if (grown.moments->m[i] == 0)
                        grown.moments->v[i] = 0;
                if (kind < 2 && grown.moments->steps[t] == 0)
                    grown.moments->steps[t] = 100000;
            }
            struct moves wrong = first_moves(&world, &grown);
            print_message("%-16s %-8s: new tensors %.2f, new entries %.2f rates; done wrong %.2f\n",
                          family_worlds[f].title, list.steps[0].op->name, right.in_new_tensors, right.in_new_entries,
                          wrong.in_new_entries);
            assert_true(kind < 2 ? right.in_new_tensors > 0.9 && right.in_new_tensors < 1.001
                                 : right.in_new_entries > 0 && right.in_new_entries < 2);
            assert_true(wrong.in_new_entries > 3 && wrong.in_new_entries < 3.2);
            checkpoint_fini(&grown);
            growth_list_fini(&list);
        }
        world_fini(&world);
    }
}

/* ---- which copies separate ---- */

struct copies_case {
    const char *title, *op, *name, *choice;      /* choice: set to 1, or (noiseless) noise_db to null */
    bool noiseless, separate;
    char units;                                  /* D all axes, F, H: the copies that are compared */
};

static const struct copies_case COPIES[] = {
    {"symmetric", "hyperclone", "width", NULL, true, false, 'D'},
    {"diagonal", "hyperclone", "width", "layout", true, false, 'D'},
    {"staged", "staged", "width", NULL, false, false, 'D'},
    {"noisy", "hyperclone", "width", NULL, false, true, 'D'},
    {"noisy diagonal", "hyperclone", "width", "layout", false, true, 'D'},
    {"fpi", "fpi", "width", NULL, false, false, 'D'},
    {"aki", "aki", "width", NULL, false, true, 'D'},
    {"lemon", "lemon", "width", NULL, false, true, 'D'},
    {"equal units", "widen_ff", "ff", NULL, false, false, 'F'},
    {"unequal units", "widen_ff", "ff", "split", false, true, 'F'},
    {"equal heads", "add_heads", "heads", NULL, false, false, 'H'},
    {"unequal heads", "add_heads", "heads", "split", false, true, 'H'},
};
enum { COPIES_COUNT = sizeof COPIES / sizeof COPIES[0] };

/* Relative distance between the first and the second copy of a grown matrix's output units, over all hidden
 * matrices. */
static double distance_of_copies(const struct checkpoint *grown, const struct shape *from,
                                 const struct plain_maps *maps, char units)
{
    double difference = 0, size = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t];
        const char *axes = plain_axes(to->name);
        int out = axes[0] >= 'a' && axes[0] <= 'z' ? 1 : 0;
        bool hidden = to->row->rank == 2 && axes[0] != '.';
        if (!hidden || (units != 'D' && axes[out] != units))
            continue;
        for (int i = 0; i < to->dims[out]; i++) {
            struct plain_place place = plain_place_of(maps, axes[out], i, from->head_size);
            if (!place.map->further[place.unit])
                continue;
            int first = 0;      /* the position of the first copy */
            for (; first < i; first++) {
                struct plain_place other = plain_place_of(maps, axes[out], first, from->head_size);
                if (plain_old(&other) == plain_old(&place))
                    break;
            }
            for (int j = 0; j < to->dims[1 - out]; j++) {
                size_t a = (size_t)(out == 0 ? i * to->dims[1] + j : j * to->dims[1] + i);
                size_t b = (size_t)(out == 0 ? first * to->dims[1] + j : j * to->dims[1] + first);
                double x = (double)grown->weights[to->offset + a], y = (double)grown->weights[to->offset + b];
                difference += (x - y) * (x - y);
                size += y * y;
            }
        }
    }
    return sqrt(difference / size);
}

/* Copies of a diagonal clone are equal along the diagonal: with their inputs' copies exchanged, too. The distance of
 * what they compute is what counts: columns are summed over the copies of an input. */
static void sum_inputs(const struct checkpoint *grown, const struct shape *from, const struct plain_maps *maps)
{
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t];
        const char *axes = plain_axes(to->name);
        if (to->row->rank != 2 || axes[0] == '.')
            continue;
        int in = axes[0] >= 'a' && axes[0] <= 'z' ? 0 : 1;
        for (int i = 0; i < to->dims[1 - in]; i++)
            for (int j = to->dims[in] - 1; j > 0; j--) {
                struct plain_place place = plain_place_of(maps, axes[in], j, from->head_size);
                for (int k = 0; k < j; k++) {
                    struct plain_place other = plain_place_of(maps, axes[in], k, from->head_size);
                    if (plain_old(&other) != plain_old(&place))
                        continue;
                    size_t a = (size_t)(in == 1 ? i * to->dims[1] + j : j * to->dims[1] + i);
                    size_t b = (size_t)(in == 1 ? i * to->dims[1] + k : k * to->dims[1] + i);
                    grown->weights[to->offset + b] += grown->weights[to->offset + a];
                    grown->weights[to->offset + a] = 0;
                    break;
                }
            }
    }
}

static void copies_separate_where_the_plan_says_so(void **state)
{
    (void)state;
    enum { STEPS = 20 };
    for (int f = 0; f < FAMILY_WORLDS; f++) {
        struct world world;
        world_init(&world, &family_worlds[f]);
        const struct shape *shape = &world.parent.table.shape;
        for (int c = 0; c < COPIES_COUNT; c++) {
            const struct copies_case *test = &COPIES[c];
            struct growth_list list;
            struct growth_plan plan;
            struct checkpoint grown, after;
            struct plain_maps maps;
            struct error error = {0};
            if (!op_applies(test->op, shape))
                continue;
            one_step(&list, test->op, test->name, 2 * (test->units == 'D' ? shape->width
                                                       : test->units == 'F' ? shape->ff : shape->heads));
            if (test->choice != NULL)
                set_integer(&list, 0, test->choice, 1);
            if (test->noiseless)
                set_null(&list, 0, "noise_db");
            assert_int_equal(growth_plan_init(&plan, shape, &list, &error), 0);
            assert_int_equal(plan.symmetric, !test->separate);
            bool warned = plan.warning_count > 0 && strstr(plan.warnings[0], "never separate") != NULL;
            assert_int_equal(warned, !test->separate);
            grow_with(&world.parent, &list, MOMENTS_RESET, 1, &grown);
            bool diagonal = strcmp(test->title, "diagonal") == 0 || strcmp(test->op, "staged") == 0;
            /* rounding, which is another one in each copy of a diagonal clone, must not grow tenfold a step */
            world.fixture->options.training.learning_rate = diagonal ? 5e-4 : 2e-3;
            continue_from(&world, &grown, STEPS, &after);
            symmetric_maps(shape, &grown.table.shape, &maps);
            if (diagonal)
                sum_inputs(&after, shape, &maps);
            double distance = distance_of_copies(&after, shape, &maps, test->units);
            print_message("%-16s %-16s: %.1e (%s)\n", family_worlds[f].title, test->title, distance,
                          test->separate ? "above 1e-3" : "below 1e-5");
            assert_true(test->separate ? distance > 1e-3 : distance < 1e-5);
            checkpoint_fini(&after);
            checkpoint_fini(&grown);
            growth_plan_fini(&plan);
            growth_list_fini(&list);
        }
        world_fini(&world);
    }
}

TEST_MAIN(cmocka_unit_test(first_updates_of_symmetric_maps_are_those_derived),
          cmocka_unit_test(counters_keep_first_moves_near_the_rate),
          cmocka_unit_test(copies_separate_where_the_plan_says_so))
