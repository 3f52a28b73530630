#include "growth/ligo_parts.h"

#include <limits.h>
#include <stdio.h>

#include "base/memory.h"

/* ---- which matrix ---- */

static int block_count(const struct shape *shape)
{
    return shape->layers + shape->decoder_layers;
}

static int depth_matrix(const struct ligo *ligo, const struct tensor_row *row)
{
    return MATRIX_BLOCKS + block_count(&ligo->stage->to) * BLOCK_MATRICES + (int)(row - ligo->layout->rows);
}

/* Which of the rows of its role in its stack. */
static int row_nth(const struct ligo *ligo, const struct tensor_row *row)
{
    int nth = 0;
    for (const struct tensor_row *other = ligo->layout->rows; other != row; other++)
        nth += other->role == row->role && other->stack == row->stack;
    return nth;
}

static int block_matrix(const struct ligo *ligo, const struct tensor *to, int part)
{
    int nth = part < BLOCK_ATTENTION ? row_nth(ligo, to->row) * BLOCK_ATTENTION : 0;
    return MATRIX_BLOCKS + to->layer * BLOCK_MATRICES + nth + part;
}

/* ---- sides ---- */

struct extent { int old_count, new_count; };

static struct extent extent_of(const struct ligo *ligo, enum axis axis)
{
    return (struct extent){axis_size(axis, &ligo->stage->from), axis_size(axis, &ligo->stage->to)};
}

static void side_add(struct ligo_side *side, int matrix, struct extent extent)
{
    struct ligo_segment segment = {.matrix = matrix, .old_count = extent.old_count, .new_count = extent.new_count};
    if (side->count > 0) {
        const struct ligo_segment *last = &side->segments[side->count - 1];
        segment.old_at = last->old_at + last->old_count;
        segment.new_at = last->new_at + last->new_count;
    }
    side->segments[side->count++] = segment;
}

/* Rows of heads: of the queries; or what the output projection reads, which are v's where every query has a v of its own. */
static int heads_matrix(const struct ligo *ligo, const struct tensor *to)
{
    const struct shape *from = &ligo->stage->from, *shape = &ligo->stage->to;
    bool shares = from->kv_heads < from->heads || shape->kv_heads < shape->heads;
    if (to->row->role != ROLE_ATTENTION_OUT)
        return block_matrix(ligo, to, BLOCK_QUERY);
    return block_matrix(ligo, to, shares ? BLOCK_OUT : BLOCK_VALUE);
}

static bool is_key(enum role role)
{
    return role == ROLE_KEY || role == ROLE_KEY_BIAS;
}

struct ligo_side ligo_side_of(const struct ligo *ligo, const struct tensor *to, int which)
{
    struct ligo_side side = {0};
    enum axis axis = which < to->row->rank ? to->row->axes[which] : AXIS_NONE;
    const struct unit_map *units = ligo->stage->units;
    struct extent extent = extent_of(ligo, axis);
    if (axis == AXIS_WIDTH && units[UNIT_WIDTH].source != NULL) {
        side_add(&side, MATRIX_STREAM, extent);
    } else if (axis == AXIS_FF && units[UNIT_FF].source != NULL) {
        side_add(&side, block_matrix(ligo, to, BLOCK_FF), extent);
    } else if (axis == AXIS_HEADS && units[UNIT_HEADS].source != NULL) {
        side_add(&side, heads_matrix(ligo, to), extent);
    } else if (axis == AXIS_KV && units[UNIT_KV].source != NULL) {
        side_add(&side, block_matrix(ligo, to, is_key(to->row->role) ? BLOCK_KEY : BLOCK_VALUE), extent);
    } else if (axis == AXIS_HEAD_COUNT && units[UNIT_HEADS].source != NULL) {
        side_add(&side, MATRIX_RELATIVE + row_nth(ligo, to->row), extent);
    } else if (axis == AXIS_QKV && units[UNIT_HEADS].source != NULL) {
        /* fused only where every head has keys and values of its own */
        side_add(&side, block_matrix(ligo, to, BLOCK_QUERY), extent_of(ligo, AXIS_HEADS));
        side_add(&side, block_matrix(ligo, to, BLOCK_KEY), extent_of(ligo, AXIS_KV));
        side_add(&side, block_matrix(ligo, to, BLOCK_VALUE), extent_of(ligo, AXIS_KV));
    }
    return side;
}

/* ---- routes ---- */

/* Blocks of a stack, and the number of its first. */
struct stack_size { int blocks, base; };

static struct stack_size stack_of(const struct shape *shape, enum stack stack)
{
    if (stack == STACK_DECODER)
        return (struct stack_size){shape->decoder_layers, shape->layers};
    return (struct stack_size){stack == STACK_LAYERS ? shape->layers : 0, 0};
}

struct ligo_route ligo_route_of(const struct ligo *ligo, const struct tensor *to)
{
    const struct stack_size old = stack_of(&ligo->stage->from, to->row->stack);
    const struct stack_size grown = stack_of(&ligo->stage->to, to->row->stack);
    const struct tensor_run *run = &ligo->before->runs[to->row - ligo->layout->rows];
    const struct growth_transform only_stage = {.stage = ligo->stage};
    struct ligo_route route = {
        .rows = ligo_side_of(ligo, to, 0), .columns = ligo_side_of(ligo, to, 1),
        .new_rows = to->dims[0], .new_columns = to->dims[1],
        .factor = growth_head_factor(&only_stage, to->row->role),
    };
    int block = to->layer - grown.base;
    bool mixed = to->row->stack != STACK_NONE && old.blocks != grown.blocks;
    int index = run->first + to->expert + (to->row->stack != STACK_NONE && !mixed ? block * run->stride : 0);
    route.from = &ligo->before->tensors[index];
    route.old_rows = route.from->dims[0];
    route.old_columns = route.from->dims[1];
    if (mixed) {
        route.mixed = old.blocks;
        route.stride = old.blocks > 1 ? route.from[run->stride].offset - route.from->offset : route.from->count;
        route.matrix = depth_matrix(ligo, to->row);
        route.row = block;
    }
    return route;
}

/* ---- runs of new units ---- */

static int runs_init(struct ligo_runs *runs, const struct unit_map *map, int size, struct error *error)
{
    if (map->source == NULL)
        return 0;
    runs->of = memory_array((size_t)map->count, sizeof *runs->of);
    if (runs->of == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the new units of a learned growth");
    for (int unit = 0; unit < map->count; unit++) {
        if (map->source[unit] >= 0)
            continue;
        if (unit == 0 || map->source[unit - 1] >= 0)
            runs->of[runs->count++] = (struct ligo_run){.begin = unit * size, .before = runs->fresh};
        runs->of[runs->count - 1].count += size;
        runs->fresh += size;
    }
    return 0;
}

const struct ligo_runs *ligo_runs_of(const struct ligo *ligo, const struct ligo_matrix *matrix, struct ligo_run *all,
                                     struct ligo_runs *room)
{
    if (matrix->kind != RUNS_ALL)
        return &ligo->runs[matrix->kind];
    *all = (struct ligo_run){.begin = 0, .count = matrix->rows};
    *room = (struct ligo_runs){.of = all, .count = 1, .fresh = matrix->rows};
    return room;
}

static enum ligo_rows rows_of(enum axis axis, const struct ligo_segment *segment)
{
    switch (axis) {
    case AXIS_WIDTH: return RUNS_WIDTH;
    case AXIS_FF: return RUNS_FF;
    case AXIS_KV: return RUNS_KV;
    case AXIS_HEAD_COUNT: return RUNS_HEAD_COUNT;
    case AXIS_QKV: return segment->new_at == 0 ? RUNS_HEADS : RUNS_KV;
    default: return RUNS_HEADS;
    }
}

/* ---- sizes ---- */

static void use_matrix(struct ligo *ligo, int index, enum ligo_rows kind, int rows, int columns)
{
    ligo->matrices[index] = (struct ligo_matrix){.used = true, .kind = kind, .rows = rows, .columns = columns};
}

static void use_side(struct ligo *ligo, const struct tensor *to, int which)
{
    const struct ligo_side side = ligo_side_of(ligo, to, which);
    for (int i = 0; i < side.count; i++)
        use_matrix(ligo, side.segments[i].matrix, rows_of(to->row->axes[which], &side.segments[i]),
                   side.segments[i].new_count, side.segments[i].old_count);
}

static void use_room(struct ligo *ligo, enum ligo_room room, size_t count)
{
    if (count > ligo->room_counts[room])
        ligo->room_counts[room] = count;
}

static int use_tensor(struct ligo *ligo, const struct tensor *to, struct error *error)
{
    const struct ligo_route route = ligo_route_of(ligo, to);
    const size_t wide = (size_t)route.new_rows * (size_t)route.old_columns;
    bool reshaped = route.rows.count > 0 || route.columns.count > 0;
    if (route.from->count > INT_MAX || to->count > INT_MAX || wide > INT_MAX || route.stride > INT_MAX)
        return error_set(error, ERROR_INVALID, "a tensor of %zu numbers is too large for a learned growth: use another "
                         "operator", to->count);
    for (int which = 0; which < to->row->rank; which++)
        use_side(ligo, to, which);
    if (route.mixed > 0)
        use_matrix(ligo, route.matrix, RUNS_ALL, stack_of(&ligo->stage->to, to->row->stack).blocks, route.mixed);
    if (route.mixed > 0 && reshaped) {
        use_room(ligo, ROOM_MIXED, route.from->count);
        use_room(ligo, ROOM_D_MIXED, route.from->count);
    }
    if (route.columns.count > 0 && (route.rows.count > 0 || route.mixed > 0)) {
        use_room(ligo, ROOM_WIDE, wide);
        use_room(ligo, ROOM_D_WIDE, wide);
    }
    return 0;
}

static void place_matrices(struct ligo *ligo)
{
    for (int i = 0; i < ligo->matrix_count; i++) {
        struct ligo_matrix *matrix = &ligo->matrices[i];
        struct ligo_run all;
        struct ligo_runs room;
        if (!matrix->used)
            continue;
        const struct ligo_runs *runs = ligo_runs_of(ligo, matrix, &all, &room);
        matrix->values = ligo->value_count;
        matrix->learned = ligo->learned;
        ligo->value_count += (size_t)matrix->rows * (size_t)matrix->columns;
        ligo->learned += (size_t)runs->fresh * (size_t)matrix->columns;
        ligo->part_count += runs->count;
    }
}

static int ligo_plan(struct ligo *ligo, struct error *error)
{
    const struct shape *to = &ligo->stage->to;
    const struct unit_map *units = ligo->stage->units;
    ligo->layout = layout_of(to->family);
    ligo->matrix_count = MATRIX_BLOCKS + block_count(to) * BLOCK_MATRICES + ligo->layout->row_count;
    ligo->matrices = memory_array((size_t)ligo->matrix_count, sizeof *ligo->matrices);
    if (ligo->matrices == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a learned growth");
    int code = runs_init(&ligo->runs[RUNS_WIDTH], &units[UNIT_WIDTH], 1, error);
    if (code != 0 || (code = runs_init(&ligo->runs[RUNS_HEADS], &units[UNIT_HEADS], to->head_size, error)) != 0 ||
        (code = runs_init(&ligo->runs[RUNS_KV], &units[UNIT_KV], to->head_size, error)) != 0 ||
        (code = runs_init(&ligo->runs[RUNS_FF], &units[UNIT_FF], 1, error)) != 0 ||
        (code = runs_init(&ligo->runs[RUNS_HEAD_COUNT], &units[UNIT_HEADS], 1, error)) != 0)
        return code;
    for (int i = 0; i < ligo->after->count && code == 0; i++)
        code = use_tensor(ligo, &ligo->after->tensors[i], error);
    place_matrices(ligo);
    return code;
}

static size_t number_count(const struct ligo *ligo)
{
    size_t count = ligo->value_count + ligo->learned + 1;
    for (int room = 0; room < ROOM_COUNT; room++)
        count += ligo->room_counts[room];
    return count;
}

/* ---- life ---- */

static void ligo_fini(struct ligo *ligo)
{
    const struct kernels *kernels = ligo->kernels;
    for (int kind = 0; kind < RUNS_ALL; kind++)
        memory_free(ligo->runs[kind].of);
    memory_free(ligo->matrices);
    kernels->release(ligo->values);
    kernels->release(ligo->gradient);
    kernels->release(ligo->one);
    for (int room = 0; room < ROOM_COUNT; room++)
        kernels->release(ligo->rooms[room]);
}

int ligo_measure(const struct growth_plan_stage *stage, const struct kernels *kernels, struct ligo_need *need,
                 struct error *error)
{
    struct tensor_table before, after = {0};
    struct ligo ligo = {.kernels = kernels, .stage = stage, .before = &before, .after = &after};
    int code = tensor_table_init(&before, &stage->from, error);
    if (code != 0)
        return code;
    if ((code = tensor_table_init(&after, &stage->to, error)) == 0) {
        if ((code = ligo_plan(&ligo, error)) == 0) {
            ligo_materialize(&ligo, NULL, NULL);
            ligo_adjoint(&ligo, NULL, NULL);
            *need = (struct ligo_need){number_count(&ligo) * kernels->element, ligo.learned, ligo.flops};
        }
        ligo_fini(&ligo);
        tensor_table_fini(&after);
    }
    tensor_table_fini(&before);
    return code;
}

static int ligo_alloc(struct ligo *ligo, struct error *error)
{
    const struct kernels *kernels = ligo->kernels;
    const float one_float = 1;
    const double one = 1;
    bool there = true;
    ligo->values = kernels->alloc(ligo->value_count * kernels->element);
    ligo->gradient = kernels->alloc(ligo->learned * kernels->element);
    ligo->one = kernels->alloc(kernels->element);
    there = ligo->values != NULL && ligo->gradient != NULL && ligo->one != NULL;
    for (int room = 0; room < ROOM_COUNT && there; room++)
        if (ligo->room_counts[room] > 0) {
            ligo->rooms[room] = kernels->alloc(ligo->room_counts[room] * kernels->element);
            there = ligo->rooms[room] != NULL;
        }
    if (!there)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a learned growth (%zu bytes)",
                         number_count(ligo) * kernels->element);
    kernels->upload(ligo->one, kernels->element == sizeof one ? (const void *)&one : (const void *)&one_float,
                    kernels->element);
    return 0;
}

int ligo_new(struct ligo **ligo, const struct kernels *kernels, const struct growth_plan_stage *stage,
             const struct tensor_table *before, const struct tensor_table *after, struct error *error)
{
    struct ligo *made = memory_new(sizeof *made);
    *ligo = NULL;
    if (made == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a learned growth");
    *made = (struct ligo){.kernels = kernels, .stage = stage, .before = before, .after = after};
    int code = ligo_plan(made, error);
    if (code == 0)
        code = ligo_alloc(made, error);
    if (code != 0)
        ligo_free(made);
    else
        *ligo = made;
    return code;
}

void ligo_free(struct ligo *ligo)
{
    if (ligo == NULL)
        return;
    ligo_fini(ligo);
    memory_free(ligo);
}
