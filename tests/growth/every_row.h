/* A case, or several, of every row of the operator table, for whatever model it is asked: the list, and what the grown model
 * must hold, by plain loops over the names of the Hugging Face file (tests/growth/plain.h, methods appendices A and B). Shares
 * no code with growth/. A row without a case fails tests/growth/test_every_row.c. */
#ifndef TESTS_GROWTH_EVERY_ROW_H
#define TESTS_GROWTH_EVERY_ROW_H

#include "tests/growth/plain.h"

enum row_kind {
    ROW_DEPTH,        /* layer map below */
    ROW_CLONE,        /* n copies of everything, all equal shares */
    ROW_DIAGONAL,     /* the same in blocks on the diagonal */
    ROW_PADDED,       /* new units after the old ones */
    ROW_CONTEXT,
    ROW_EXPERTS,
    ROW_DRAWN,        /* what it holds depends on draws: compared entry by entry in the program that is named */
};

struct row_case {
    const char *op, *title;
    enum row_kind kind;
    int copies;                 /* of a clone */
    bool widens, heads, units;  /* what grows: everything or the stream; heads; MLP units */
    const char *option;         /* a further choice, set to 1 */
    bool noiseless;
    const char *elsewhere;      /* the program with the entries of every family */
};

static UNUSED const struct row_case row_cases[] = {
    {.op = "stack", .title = "stack"},
    {.op = "interleave", .title = "interleave"},
    {.op = "first", .title = "first"},
    {.op = "gradual_last", .title = "gradual_last"},
    {.op = "middle", .title = "middle"},
    {.op = "solar", .title = "solar"},
    {.op = "layer_map", .title = "layer_map"},
    {.op = "identity", .title = "identity"},
    {.op = "random", .title = "random"},
    {.op = "msg_depth", .title = "msg_depth"},
    {.op = "staged", .title = "staged, layers"},
    {.op = "staged", .title = "staged, width", .kind = ROW_DIAGONAL, .copies = 2, .widens = true},
    {.op = "hyperclone", .title = "hyperclone x2", .kind = ROW_CLONE, .copies = 2, .widens = true, .noiseless = true},
    {.op = "hyperclone", .title = "hyperclone x3", .kind = ROW_CLONE, .copies = 3, .widens = true, .noiseless = true},
    {.op = "hyperclone", .title = "hyperclone, diagonal", .kind = ROW_DIAGONAL, .copies = 3, .widens = true, .noiseless = true,
     .option = "layout"},
    {.op = "hyperclone", .title = "hyperclone, noisy", .kind = ROW_DRAWN, .copies = 2, .widens = true,
     .elsewhere = "tests/growth/test_every_row.c"},
    {.op = "fpi", .title = "fpi", .kind = ROW_CLONE, .copies = 2, .widens = true, .heads = true, .units = true},
    {.op = "aki", .title = "aki", .kind = ROW_CLONE, .copies = 2, .widens = true, .heads = true, .units = true},
    {.op = "widen_ff", .title = "widen_ff", .kind = ROW_CLONE, .copies = 2, .units = true},
    {.op = "widen_ff", .title = "widen_ff, unequal", .kind = ROW_DRAWN, .copies = 2, .units = true, .option = "split",
     .elsewhere = "tests/growth/test_every_row.c"},
    {.op = "add_heads", .title = "add_heads", .kind = ROW_CLONE, .copies = 2, .heads = true},
    {.op = "add_heads", .title = "add_heads, unequal", .kind = ROW_DRAWN, .copies = 2, .heads = true, .option = "split",
     .elsewhere = "tests/growth/test_add_heads.c"},
    {.op = "zero_pad", .title = "zero_pad", .kind = ROW_PADDED, .copies = 2, .widens = true, .heads = true, .units = true},
    {.op = "msg_width", .title = "msg_width", .kind = ROW_PADDED, .copies = 2, .widens = true, .heads = true, .units = true},
    {.op = "extend_context", .title = "extend_context", .kind = ROW_CONTEXT},
    {.op = "upcycle", .title = "upcycle", .kind = ROW_EXPERTS},
    {.op = "lemon", .title = "lemon", .kind = ROW_DRAWN, .copies = 2, .widens = true, .heads = true, .units = true,
     .elsewhere = "tests/growth/test_lemon.c"},
    {.op = "fuse", .title = "fuse", .kind = ROW_DRAWN, .elsewhere = "tests/growth/test_fuse.c"},
    {.op = "ligo", .title = "ligo", .kind = ROW_DRAWN, .widens = true, .units = true, .elsewhere = "tests/growth/test_ligo.c"},
};
enum { ROW_CASES = sizeof row_cases / sizeof row_cases[0], ROW_LAYERS = 16, ROW_CONTEXT_TO = 17, ROW_EXPERTS_TO = 4 };

static UNUSED bool row_is_masked(const struct row_case *row)
{
    return strncmp(row->op, "msg_", 4) == 0;
}

/* ---- layer maps: methods appendix A, by hand ---- */

static const int32_t ROW_MAPS[2][5] = {{1, -1, 0, 1, 0}, {0, 2, -1, 1, 2}};      /* of two layers and of three */

/* Layers to grow L to; 0: the row can't grow so few. */
static UNUSED int row_layers(const char *op, int layers)
{
    if (strcmp(op, "solar") == 0)
        return 2 * (layers - 1) > layers ? 2 * (layers - 1) : 0;
    if (strcmp(op, "layer_map") == 0)
        return 5;
    if (strcmp(op, "stack") == 0 || strcmp(op, "msg_depth") == 0)
        return 2 * layers + 1;
    return strcmp(op, "first") == 0 || strcmp(op, "gradual_last") == 0 || strcmp(op, "middle") == 0 ? layers + 2 : 2 * layers;
}

/* Old layer of new layer i; -1: drawn. *added: a block that was put in beside the one it copies. */
static UNUSED int row_old_layer(const char *op, int i, int from, int to, bool *added)
{
    int more = to - from, block = more < from ? more : from, cut = (2 * from - to) / 2, centre = (from + 1) / 2 - 1;
    *added = false;
    if (strcmp(op, "stack") == 0)
        return i % from;
    if (strcmp(op, "interleave") == 0)
        return i * from / to;
    if (strcmp(op, "first") == 0)
        return i < more ? i % block : i - more;
    if (strcmp(op, "gradual_last") == 0)
        return i < from ? i : from - block + (i - from) % block;
    if (strcmp(op, "middle") == 0)
        return i <= centre ? i : i <= centre + more ? centre : i - more;
    if (strcmp(op, "solar") == 0)
        return i < from - cut ? i : i - from + 2 * cut;
    if (strcmp(op, "layer_map") == 0)
        return ROW_MAPS[from - 2][i];
    if (strcmp(op, "msg_depth") == 0) {
        *added = i >= from;
        return i < 2 * from ? i % from : from - to + i;
    }
    *added = i % 2 == 1;          /* identity, random, staged: one after each */
    return *added && strcmp(op, "random") == 0 ? -1 : i / 2;
}

/* ---- lists ---- */

static UNUSED void row_deepen(const struct row_case *row, const struct shape *shape, struct growth_list *list)
{
    bool sides = shape->decoder_layers > 0, map = strcmp(row->op, "layer_map") == 0;
    const char *names[] = {map ? "encoder_map" : "encoder_layers", map ? "decoder_map" : "decoder_layers"};
    const int counts[] = {shape->layers, shape->decoder_layers};
    for (int side = 0; side < (sides ? 2 : 1); side++) {
        int to = row_layers(row->op, counts[side]);
        const char *name = sides ? names[side] : map ? "map" : "layers";
        if (map)
            set_list(list, 0, name, ROW_MAPS[counts[side] - 2], to);
        else if (to > 0)
            set_integer(list, 0, name, to);
    }
}

/* false: it names another checkpoint and can't be built here. */
static UNUSED bool row_list(const struct row_case *row, const struct shape *shape, struct growth_list *list)
{
    bool filled = shape->family == FAMILY_GPT2 || shape->family == FAMILY_BERT;
    *list = (struct growth_list){0};
    add_step(list, row->op);
    if (row->kind == ROW_DEPTH)
        row_deepen(row, shape, list);
    if (row->kind == ROW_CONTEXT)
        set_integer(list, 0, "context", ROW_CONTEXT_TO);
    if (row->kind == ROW_EXPERTS)
        set_integer(list, 0, "experts", ROW_EXPERTS_TO);
    int copies = row->copies > 0 ? row->copies : 2;
    if (row->widens)
        set_integer(list, 0, "width", copies * shape->width);
    if (row->units)
        set_integer(list, 0, "ff", copies * shape->ff);
    if (row->heads && !(filled && row->widens))
        set_integer(list, 0, "heads", copies * shape->heads);
    if (row->option != NULL)
        set_integer(list, 0, row->option, 1);
    if (row->noiseless)
        set_null(list, 0, "noise_db");
    return strcmp(row->op, "fuse") != 0;
}

/* ---- what the grown model must hold ---- */

struct row_reference {
    const struct row_case *row;
    const struct checkpoint *parent;
    const struct shape *to;
    struct plain_maps maps;
};

/* Copy c of unit u at c old + u, of queries that share kv heads within each group; or old units, then new ones. */
static UNUSED void row_map(struct plain_map *map, int count, int old, int groups, bool padded)
{
    int32_t source[PLAIN_UNITS];
    int group = count / groups, old_group = old / groups;
    for (int unit = 0; unit < count; unit++)
        source[unit] = padded && unit % group >= old_group ? -1 : unit / group * old_group + unit % group % old_group;
    plain_map_set(map, source, count, old);
}

static UNUSED void row_reference_init(struct row_reference *reference, const struct row_case *row,
                                      const struct checkpoint *parent, const struct shape *to)
{
    const struct shape *from = &parent->table.shape;
    struct plain_maps *maps = &reference->maps;
    bool padded = row->kind == ROW_PADDED, kv_stay = from->kv_heads == to->kv_heads;
    *reference = (struct row_reference){.row = row, .parent = parent, .to = to};
    maps->head = from->scaled_head ? sqrt((double)to->width / from->width) : 1;
    maps->gain = strcmp(row->op, "zero_pad") == 0 ? sqrt((double)from->width / to->width) : 1;
    maps->drawn = row_is_masked(row);
    maps->above = strcmp(row->op, "aki") == 0;
    row_map(&maps->stream, to->width, from->width, 1, padded);
    row_map(&maps->heads, to->heads, from->heads, kv_stay ? from->kv_heads : 1, padded);
    row_map(&maps->kv, to->kv_heads, from->kv_heads, 1, padded);
    row_map(&maps->ff, to->ff, from->ff, 1, padded);
}

/* The number of the layer in a name ("h.3.mlp…": 3), where it stands, and what follows; false: none. */
static UNUSED bool row_layer_of(const char *name, int *layer, size_t *begin, const char **rest)
{
    if (strstr(name, "relative") != NULL)
        return false;
    for (const char *dot = name; *dot != '\0'; dot++) {
        bool starts = dot == name || dot[-1] == '.';
        if (starts && *dot >= '0' && *dot <= '9') {
            char *end;
            *layer = (int)strtol(dot, &end, 10);
            *begin = (size_t)(dot - name);
            *rest = end;
            return true;
        }
    }
    return false;
}

/* The old tensor of a grown one. NULL: it is drawn. */
static UNUSED const struct tensor *row_source(const struct row_reference *reference, const char *name, bool *added)
{
    const struct shape *from = &reference->parent->table.shape;
    char text[TENSOR_NAME_BYTES + 16];
    const char *rest;
    size_t begin;
    int layer, expert;
    *added = false;
    snprintf(text, sizeof text, "%s", name);
    if (reference->row->kind == ROW_DEPTH && row_layer_of(name, &layer, &begin, &rest)) {
        bool decoder = strncmp(name, "decoder.", 8) == 0;
        int layers = decoder ? from->decoder_layers : from->layers;
        int to = decoder ? reference->to->decoder_layers : reference->to->layers;
        int old = to == layers ? layer : row_old_layer(reference->row->op, layer, layers, to, added);
        if (old < 0)
            return NULL;
        snprintf(text, sizeof text, "%.*s%d%s", (int)begin, name, old, rest);
    } else if (reference->row->kind == ROW_EXPERTS && strstr(name, "block_sparse_moe") != NULL) {
        char which[3];
        if (sscanf(name, "layers.%d.block_sparse_moe.experts.%d.%2[w0-9]", &layer, &expert, which) != 3)
            return NULL;
        snprintf(text, sizeof text, "layers.%d.mlp.%s.weight", layer,
                 which[1] == '1' ? "gate_proj" : which[1] == '3' ? "up_proj" : "down_proj");
    }
    const struct tensor *source = tensor_find(&reference->parent->table, text);
    if (source == NULL)
        fail_msg("%s: no tensor %s in the parent", reference->row->title, text);
    return source;
}

/* Value of a slab (0 weights, 1 m, 2 v) at entry (i, j) of `to`, which comes from `from` (row_source); false: some drawn
 * value, or one whose place is another test's. */
struct row_origin { const struct tensor *from; bool added; };

static UNUSED bool row_expected(const struct row_reference *reference, const struct tensor *to,
                                const struct row_origin *origin, int slab, int i, int j, double *value)
{
    const struct tensor *from = origin->from;
    bool added = origin->added;
    const struct checkpoint *parent = reference->parent;
    const struct row_case *row = reference->row;
    const char *axes = plain_axes(to->name);
    bool norm = axes[0] == 'G' || axes[0] == 'O';
    bool widened = row->kind == ROW_CLONE || row->kind == ROW_DIAGONAL || row->kind == ROW_PADDED;
    if (parent->table.shape.family == FAMILY_BERT && norm && axes[1] != '!' &&
        (strcmp(row->op, "identity") == 0 || strcmp(row->op, "staged") == 0) && row->kind == ROW_DEPTH)
        return false;             /* norms move: tests/growth/test_bert.c */
    *value = 0;
    if (from == NULL || (added && slab > 0)) {
        *value = axes[0] == 'G' && slab == 0 ? 1 : 0;
        return slab > 0 || axes[1] == '\0';
    }
    bool silent = added && strncmp(row->op, "msg_", 4) != 0;
    if (silent && (axes[0] == 'D' || (axes[1] == 'D' && axes[0] != '.')))
        return true;
    const float *slabs[] = {parent->weights, parent->moments->m, parent->moments->v};
    const float *old = slabs[slab] + from->offset;
    if (!widened) {
        int row_of = i < from->dims[0] ? i : i % from->dims[0];         /* positions over again */
        double share = row->kind != ROW_EXPERTS || to->count != from->count || strstr(to->name, "experts") == NULL ? 1
                       : slab == 1 ? 1.0 / ROW_EXPERTS_TO : slab == 2 ? 1.0 / (ROW_EXPERTS_TO * 2) : 1;
        *value = share * (double)old[row_of * from->dims[1] + j];
        if (i >= from->dims[0] && slab > 0)
            *value = slab == 1 ? 0 : plain_mean(old, from->count);
        return true;
    }
    struct plain_entry entry = plain_entry_of(&reference->maps, &parent->table.shape, to, from->dims[1], i, j);
    if (entry.is_new) {
        *value = slab == 2 ? plain_mean(old, from->count) : 0;
        return slab > 0;
    }
    if (entry.above)
        old = slabs[slab] + plain_above(parent, to->name)->offset;
    if (row->kind == ROW_DIAGONAL && axes[1] != '\0' && axes[1] != '!' && axes[0] != '.') {
        struct plain_place rows = plain_place_of(&reference->maps, axes[0], i, parent->table.shape.head_size);
        struct plain_place columns = plain_place_of(&reference->maps, axes[1], j, parent->table.shape.head_size);
        entry.weight = rows.unit / rows.map->old == columns.unit / columns.map->old ? 1 : 0;
    }
    double scale = slab == 0 ? entry.weight : slab == 1 ? entry.moment : entry.moment * entry.moment;
    *value = scale * (double)old[entry.old];
    return true;
}

/* How many entries of weights and moments are others than the reference's, and in which tensor the first of them is
 * (first NULL: it stops there). */
static UNUSED long row_differences(const struct row_reference *reference, const struct checkpoint *grown, const char **first)
{
    const float *slabs[] = {grown->weights, grown->moments->m, grown->moments->v};
    long wrong = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const struct tensor *to = &grown->table.tensors[t];
        struct row_origin origin;
        origin.from = row_source(reference, to->name, &origin.added);
        for (int slab = 0; slab < 3; slab++)
            for (int i = 0; i < to->dims[0]; i++)
                for (int j = 0; j < to->dims[1]; j++) {
                    double got = (double)slabs[slab][to->offset + (size_t)i * (size_t)to->dims[1] + (size_t)j], expected;
                    bool known = row_expected(reference, to, &origin, slab, i, j, &expected);
                    bool right = known ? fabs(got - expected) <= 2e-6 * (fabs(expected) + 1e-9) : isfinite(got);
                    if (right)
                        continue;
                    if (first == NULL)
                        return 1;
                    *first = wrong++ == 0 ? to->name : *first;
                }
    }
    return wrong;
}

/* Step counters: a tensor's own; 0 where nothing is carried. */
static UNUSED long row_wrong_counters(const struct row_reference *reference, const struct checkpoint *grown)
{
    const struct moments *old = reference->parent->moments;
    long wrong = 0;
    for (int t = 0; t < grown->table.count; t++) {
        const char *name = grown->table.tensors[t].name, *axes = plain_axes(name);
        bool added, norm = axes[0] == 'G' || axes[0] == 'O';
        const struct tensor *from = row_source(reference, name, &added);
        if (reference->to->family == FAMILY_BERT && norm && axes[1] != '!' && reference->row->kind == ROW_DEPTH)
            continue;
        uint64_t expected = from == NULL || added ? 0 : old->steps[from - reference->parent->table.tensors];
        wrong += grown->moments->steps[t] != expected;
    }
    return wrong;
}

#endif
