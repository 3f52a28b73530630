/* Every row of the operator table in every family it names: what it grows against plain loops, the promise in float32 or the
 * warning before training, carried moments by the sum rule of methods B.4, and wrong maps of grouped queries and tied heads,
 * which must show. A new row fails here until it has a case in tests/growth/every_row.h. */
#include "tests/growth/every_row.h"

#include <unistd.h>

#include "growth/ramps.h"

/* The row names the family; of llamas upcycle takes those without biases. */
static bool row_applies(const struct row_case *row, const struct shape *shape)
{
    bool biases = shape->attention_bias || shape->mlp_bias;
    if (row->kind == ROW_EXPERTS && biases)
        return false;
    return (growth_operator_find(row->op)->families & 1u << shape->family) != 0;
}

/* A parent with moments, grown by a row's case in one family. */
struct grown_row {
    const struct row_case *row;
    const char *title;          /* of the world */
    struct checkpoint parent, grown;
    struct growth_list list;
    struct growth_plan plan;
};

/* false: nothing to grow: another family's, or what needs another checkpoint or data. */
static bool grown_row_plan(struct grown_row *it, int row, int world)
{
    const struct shape *shape = &plain_worlds[world].shape;
    struct error error = {0};
    *it = (struct grown_row){.row = &row_cases[row], .title = plain_worlds[world].title};
    if (!row_applies(it->row, shape) || !row_list(it->row, shape, &it->list)) {
        growth_list_fini(&it->list);
        return false;
    }
    if (growth_plan_init(&it->plan, shape, &it->list, &error) != 0)
        fail_msg("%s, %s: %s", it->row->title, it->title, error.message);
    if (growth_plan_learns(&it->plan) >= 0) {
        growth_plan_fini(&it->plan);
        growth_list_fini(&it->list);
        return false;
    }
    random_checkpoint(&it->parent, shape, (uint64_t)(world + 1), true);
    return true;
}

static void grown_row_apply(struct grown_row *it)
{
    struct error error = {0};
    if (growth_apply(&it->plan, &it->list, &it->parent, MOMENTS_CARRY, 1, &it->grown, &error) != 0)
        fail_msg("%s, %s: %s", it->row->title, it->title, error.message);
}

static bool grown_row_init(struct grown_row *it, int row, int world)
{
    if (!grown_row_plan(it, row, world))
        return false;
    grown_row_apply(it);
    return true;
}

static void grown_row_fini(struct grown_row *it)
{
    checkpoint_fini(&it->grown);
    checkpoint_fini(&it->parent);
    growth_plan_fini(&it->plan);
    growth_list_fini(&it->list);
}

/* Behind the masks of step 0 where there are any. */
static double preservation_of(const struct grown_row *it, const struct kernels *kernels)
{
    struct growth_ramps ramps;
    struct error error = {0};
    double preservation = -1;
    assert_int_equal(growth_ramps_init(&ramps, &it->plan, &error), 0);
    struct growth_probe probe = {.parent = &it->parent, .grown = &it->grown, .kernels = kernels, .seed = 1,
                                 .ramps = row_is_masked(it->row) ? &ramps : NULL};
    if (growth_preservation_masked(&probe, &preservation, &error) != 0)
        fail_msg("preservation: %s", error.message);
    growth_ramps_fini(&ramps);
    return preservation;
}

static long differences_of(const struct grown_row *it, const char **first)
{
    struct row_reference reference;
    row_reference_init(&reference, it->row, &it->parent, &it->grown.table.shape);
    return row_differences(&reference, &it->grown, first);
}

/* ---- the table ---- */

static void every_row_has_a_case_and_every_family_a_world(void **state)
{
    (void)state;
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    for (int r = 0; r < count; r++) {
        int cases = 0;
        for (int c = 0; c < ROW_CASES; c++) {
            cases += strcmp(row_cases[c].op, rows[r]->name) == 0;
            if (row_cases[c].kind == ROW_DRAWN && access(row_cases[c].elsewhere, R_OK) != 0)
                fail_msg("%s: its entries are compared nowhere: %s", row_cases[c].title, row_cases[c].elsewhere);
        }
        if (cases == 0)
            fail_msg("%s has no case in tests/growth/every_row.h", rows[r]->name);
        for (int family = 0; family < 32; family++) {
            int worlds = 0;
            for (int w = 0; w < PLAIN_WORLDS; w++)
                worlds += (int)plain_worlds[w].shape.family == family;
            if ((rows[r]->families & 1u << family) != 0 && worlds == 0)
                fail_msg("%s names family %d, of which there is no small model in tests/growth/plain.h", rows[r]->name, family);
        }
    }
}

static void families_that_a_row_does_not_name_are_refused(void **state)
{
    (void)state;
    int refused = 0;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            const struct shape *shape = &plain_worlds[w].shape;
            struct growth_list list;
            struct growth_plan plan;
            struct error error = {0};
            if (row_applies(&row_cases[r], shape))
                continue;
            row_list(&row_cases[r], shape, &list);
            assert_int_equal(growth_plan_init(&plan, shape, &list, &error), ERROR_INVALID);
            assert_memory_equal(error.details[0].pointer, "/operators/0/", 13);
            growth_list_fini(&list);
            refused++;
        }
    assert_true(refused > 10);
}

/* ---- entries ---- */

static void every_entry_equals_plain_loops(void **state)
{
    (void)state;
    int compared = 0;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; row_cases[r].kind != ROW_DRAWN && w < PLAIN_WORLDS; w++) {
            struct grown_row it;
            struct row_reference reference;
            const char *first = "";
            if (!grown_row_init(&it, r, w))
                continue;
            row_reference_init(&reference, it.row, &it.parent, &it.grown.table.shape);
            long wrong = row_differences(&reference, &it.grown, &first);
            if (wrong > 0)
                fail_msg("%s, %s: %ld entries differ, the first ones in %s", it.row->title, it.title, wrong, first);
            assert_int_equal(row_wrong_counters(&reference, &it.grown), 0);
            grown_row_fini(&it);
            compared++;
        }
    print_message("%d pairs of row and family\n", compared);
}

/* One product's copies of an input: their weights to output `o` sum to the old one's; *alike: two of them are equal. */
static double folded_error(const struct grown_row *it, const struct plain_maps *maps, const struct tensor *to, int o, bool *alike)
{
    const struct tensor *from = tensor_find(&it->parent.table, to->name);
    const char *axes = plain_axes(to->name);
    int in = axes[0] >= 'a' && axes[0] <= 'z' ? 0 : 1, size = it->parent.table.shape.head_size;
    struct plain_place output = plain_place_of(maps, axes[1 - in], o, size);
    double sums[PLAIN_UNITS] = {0}, firsts[PLAIN_UNITS] = {0}, worst = 0;
    for (int i = 0; i < to->dims[in]; i++) {
        struct plain_place input = plain_place_of(maps, axes[in], i, size);
        int old = plain_old(&input);
        double value = (double)it->grown.weights[to->offset + (size_t)(in == 0 ? i * to->dims[1] + o : o * to->dims[1] + i)];
        *alike |= i >= from->dims[in] && value == firsts[old];
        firsts[old] = i < from->dims[in] ? value : firsts[old];
        sums[old] += value;
    }
    for (int old = 0; old < from->dims[in]; old++) {
        int old_output = plain_old(&output);
        double was = (double)it->parent.weights[from->offset + (size_t)(in == 0 ? old * from->dims[1] + old_output
                                                                                : old_output * from->dims[1] + old)];
        worst = fmax(worst, fabs(sums[old] - was));
    }
    return worst;
}

/* Drawn noise and drawn shares (methods B.1 and B.2): whatever was drawn, copies sum to what they were, and differ. */
static void drawn_copies_sum_to_the_old_weights_and_differ(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            const struct row_case *row = &row_cases[r];
            struct grown_row it;
            struct row_reference reference;
            double worst = 0;
            int products = 0;
            if (row->kind != ROW_DRAWN || strcmp(row->elsewhere, "tests/growth/test_every_row.c") != 0)
                continue;
            if (!grown_row_init(&it, r, w))
                continue;
            row_reference_init(&reference, row, &it.parent, &it.grown.table.shape);
            for (int t = 0; t < it.grown.table.count; t++) {
                const struct tensor *to = &it.grown.table.tensors[t], *from = tensor_find(&it.parent.table, to->name);
                const char *axes = plain_axes(to->name);
                int in = axes[0] >= 'a' && axes[0] <= 'z' ? 0 : 1;
                bool alike = false;
                if (to->row->rank != 2 || axes[0] == '.' || to->dims[in] == from->dims[in])
                    continue;
                for (int o = 0; o < to->dims[1 - in]; o++)
                    worst = fmax(worst, folded_error(&it, &reference.maps, to, o, &alike));
                if (alike)
                    fail_msg("%s, %s: copies in %s are alike", row->title, it.title, to->name);
                products++;
            }
            assert_true(products > 0 && worst < 1e-6);
            grown_row_fini(&it);
        }
}

/* ---- promises ---- */

/* Exact: 1e-4 of the logits' scale in float32. A row that promises and can not here says so before training. */
static void promises_hold_in_float_or_the_plan_warns(void **state)
{
    (void)state;
    int kept = 0, warned = 0, none = 0;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            struct grown_row it;
            if (!grown_row_init(&it, r, w))
                continue;
            bool promised = growth_operator_find(it.row->op)->promise == PROMISE_EXACT;
            double single = preservation_of(&it, kernels_cpu()), plain = preservation_of(&it, kernels_ref_float());
            if (it.plan.promise == PROMISE_EXACT) {
                if (!promised || !(single < 1e-4) || !(plain < 1e-4))
                    fail_msg("%s, %s: %.1e and %.1e of the logits' scale (1e-4)", it.row->title, it.title, single, plain);
                kept++;
            } else {
                if (!(plain > 1e-4))
                    fail_msg("%s, %s: nothing is promised, yet %.1e", it.row->title, it.title, plain);
                if (promised && it.plan.warning_count == 0)
                    fail_msg("%s, %s: not exact here, and no warning", it.row->title, it.title);
                warned += promised;
                none += !promised;
            }
            grown_row_fini(&it);
        }
    print_message("kept %d, not here and warned of %d, never promised %d\n", kept, warned, none);
    assert_true(kept > 0 && warned > 0 && none > 0);
}

/* Copies that get equal gradients, and only they, are warned of before training. */
static void plans_warn_of_copies_that_never_separate(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            const struct row_case *row = &row_cases[r];
            struct grown_row it;
            bool said = false, equal = (row->kind == ROW_CLONE || row->kind == ROW_DIAGONAL) && strcmp(row->op, "aki") != 0;
            if (!grown_row_plan(&it, r, w))
                continue;
            for (int i = 0; i < it.plan.warning_count; i++)
                said = said || strstr(it.plan.warnings[i], "never separate") != NULL;
            if (it.plan.symmetric != equal || said != equal)
                fail_msg("%s, %s: symmetric %d, warned %d", row->title, it.title, it.plan.symmetric, said);
            grown_row_fini(&it);
        }
}

/* ---- the sum rule of methods B.4 ---- */

/* Growing is linear in the old weights but for what it draws: a step d of them becomes a step D of the grown ones, and for
 * whatever turns a weight into a rate of change (a gradient, a first moment), D times the new one must be d times the old
 * one. d: random, of a size per tensor that lets all tensors count alike. Returns the difference over the number of tensors;
 * `old` and `new` are slabs. */
static double sum_error(struct grown_row *it, const double *old, const double *new)
{
    struct checkpoint moved;
    struct error error = {0};
    uint64_t draws = 7;
    double expected = 0, got = 0, largest = 0;
    const struct tensor_table *table = &it->parent.table;
    float *saved = memory_array(table->slab, sizeof *saved);
    double *sizes = memory_array((size_t)table->count, sizeof *sizes);
    assert_true(saved != NULL && sizes != NULL);
    memcpy(saved, it->parent.weights, table->slab * sizeof *saved);
    for (int t = 0; t < table->count; t++) {
        for (size_t i = 0; i < table->tensors[t].count; i++)
            sizes[t] += fabs(old[table->tensors[t].offset + i]);
        largest = fmax(largest, sizes[t]);
    }
    for (int t = 0; t < table->count; t++)
        for (size_t i = table->tensors[t].offset; i < table->tensors[t].offset + table->tensors[t].count; i++) {
            it->parent.weights[i] += (float)(draw(&draws) / fmax(sizes[t], 0.01 * largest));
            expected += old[i] * ((double)it->parent.weights[i] - (double)saved[i]);
        }
    assert_int_equal(growth_apply(&it->plan, &it->list, &it->parent, MOMENTS_RESET, 1, &moved, &error), 0);
    for (size_t i = 0; i < it->grown.table.slab; i++)
        got += new[i] * ((double)moved.weights[i] - (double)it->grown.weights[i]);
    memcpy(it->parent.weights, saved, table->slab * sizeof *saved);
    checkpoint_fini(&moved);
    memory_free(saved);
    memory_free(sizes);
    return fabs(got - expected) / table->count;
}

static double *widened(const float *values, size_t count)
{
    double *wide = memory_array(count, sizeof *wide);
    assert_non_null(wide);
    for (size_t i = 0; i < count; i++)
        wide[i] = (double)values[i];
    return wide;
}

/* Without the load-balance loss: a copy of a router adds its own to it, whatever the logits are. */
static double *unbalanced_gradient(struct checkpoint *checkpoint)
{
    double balance = checkpoint->table.shape.router_aux;
    checkpoint->table.shape.router_aux = 0;
    double *gradient = plain_gradient(checkpoint);
    checkpoint->table.shape.router_aux = balance;
    return gradient;
}

static void carried_moments_and_gradients_sum_to_the_old_ones(void **state)
{
    (void)state;
    double worst[2] = {0, 0}, seen = INFINITY;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            struct grown_row it;
            if (!grown_row_init(&it, r, w))
                continue;
            if (it.plan.promise != PROMISE_EXACT) {
                grown_row_fini(&it);
                continue;
            }
            double *old[2] = {widened(it.parent.moments->m, it.parent.table.slab), NULL};
            double *new[2] = {widened(it.grown.moments->m, it.grown.table.slab), NULL};
            if (!row_is_masked(it.row)) {       /* behind masks the gradient is another function's */
                old[1] = unbalanced_gradient(&it.parent);
                new[1] = unbalanced_gradient(&it.grown);
            }
            for (int what = 0; what < (old[1] != NULL ? 2 : 1); what++) {
                double error = sum_error(&it, old[what], new[what]);
                if (!(error < 1e-6))
                    fail_msg("%s, %s: the copies' %s miss the old ones' sum by %.1e (1e-6)", it.row->title, it.title,
                             what == 0 ? "moments" : "gradients", error);
                worst[what] = fmax(worst[what], error);
            }
            /* the mistake of moments that are copied undivided shows */
            for (size_t i = 0; i < it.grown.table.slab; i++)
                new[0][i] *= 2;
            seen = fmin(seen, sum_error(&it, old[0], new[0]));
            for (int what = 0; what < 2; what++) {
                memory_free(old[what]);
                memory_free(new[what]);
            }
            grown_row_fini(&it);
        }
    print_message("moments %.1e, gradients %.1e (1e-6); moments twice as large %.1e at least\n", worst[0], worst[1], seen);
    assert_true(seen > 1e-4);
}

/* ---- maps made wrong on purpose ---- */

/* By the entries where the reference knows them all, and by the function where it is promised. */
static void assert_caught(const struct grown_row *it, const char *mistake)
{
    bool exact = it->plan.promise == PROMISE_EXACT, known = it->row->kind != ROW_DRAWN;
    assert_true(exact || known);
    if (exact && !(preservation_of(it, kernels_cpu()) > 1e-3))
        fail_msg("%s, %s: %s: the function stays", it->row->title, it->title, mistake);
    if (known && differences_of(it, NULL) == 0)
        fail_msg("%s, %s: %s: no entry differs", it->row->title, it->title, mistake);
}

static bool is_undrawn(const struct grown_row *it)
{
    return it->plan.promise == PROMISE_EXACT || it->row->kind != ROW_DRAWN;
}

/* The first and the last kv head exchanged, of the lowest block, but not the queries that read them. */
static void swap_kv_heads(struct checkpoint *grown)
{
    static const char *const names[] = {"layers.0.self_attn.k_proj.weight", "layers.0.self_attn.v_proj.weight"};
    const struct shape *shape = &grown->table.shape;
    size_t head = (size_t)shape->head_size * (size_t)shape->width, last = (size_t)(shape->kv_heads - 1) * head;
    for (int n = 0; n < 2; n++) {
        float *rows = grown->weights + tensor_find(&grown->table, names[n])->offset;
        for (size_t i = 0; i < head; i++) {
            float first = rows[i];
            rows[i] = rows[last + i], rows[last + i] = first;
        }
    }
}

static void kv_heads_in_the_wrong_order_are_caught(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            struct grown_row it;
            if (plain_worlds[w].shape.kv_heads == plain_worlds[w].shape.heads || !grown_row_init(&it, r, w))
                continue;
            swap_kv_heads(&it.grown);
            if (is_undrawn(&it))
                assert_caught(&it, "kv heads exchanged");
            checkpoint_fini(&it.grown);
            struct unit_map *queries = &it.plan.stages[0].units[UNIT_HEADS], *kv = &it.plan.stages[0].units[UNIT_KV];
            struct unit_map *map = kv->source != NULL ? kv : queries;      /* the map itself: one place on */
            for (int unit = 0; map->source != NULL && unit < map->count; unit++)
                map->source[unit] = map->source[unit] < 0 ? -1 : (map->source[unit] + 1) % (map == kv ? it.plan.from.kv_heads
                                                                                            : it.plan.from.heads);
            grown_row_apply(&it);
            if (map->source != NULL && is_undrawn(&it))
                assert_caught(&it, "map of heads turned by one");
            grown_row_fini(&it);
        }
}

/* Divided where it must not be, or whole where the tied head reads n copies: twice too large either way. */
static void final_norms_of_the_wrong_size_are_caught_under_tied_heads(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            struct grown_row it;
            if (!plain_worlds[w].shape.tied || !grown_row_init(&it, r, w))
                continue;
            for (int t = 0; t < it.grown.table.count; t++) {
                const struct tensor *tensor = &it.grown.table.tensors[t];
                for (size_t i = 0; plain_axes(tensor->name)[1] == '!' && i < tensor->count; i++)
                    it.grown.weights[tensor->offset + i] *= 2;
            }
            if (is_undrawn(&it))
                assert_caught(&it, "final norm doubled");
            grown_row_fini(&it);
        }
}

static void layers_from_the_wrong_place_are_caught(void **state)
{
    (void)state;
    for (int r = 0; r < ROW_CASES; r++)
        for (int w = 0; w < PLAIN_WORLDS; w++) {
            struct grown_row it;
            if (row_cases[r].kind != ROW_DEPTH || !grown_row_plan(&it, r, w))
                continue;
            int32_t *layers = it.plan.stages[0].layers;
            layers[0] = layers[0] == 0 ? 1 : 0;
            grown_row_apply(&it);
            assert_caught(&it, "the lowest layer from another place");
            grown_row_fini(&it);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_has_a_case_and_every_family_a_world),
        cmocka_unit_test(families_that_a_row_does_not_name_are_refused),
        cmocka_unit_test(every_entry_equals_plain_loops),
        cmocka_unit_test(drawn_copies_sum_to_the_old_weights_and_differ),
        cmocka_unit_test(promises_hold_in_float_or_the_plan_warns),
        cmocka_unit_test(plans_warn_of_copies_that_never_separate),
        cmocka_unit_test(carried_moments_and_gradients_sum_to_the_old_ones),
        cmocka_unit_test(kv_heads_in_the_wrong_order_are_caught),
        cmocka_unit_test(final_norms_of_the_wrong_size_are_caught_under_tied_heads),
        cmocka_unit_test(layers_from_the_wrong_place_are_caught),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
