/* Blocks about growing: every operator with a drawing of what becomes what, made from the plan of a small example, and
 * the variants that the design space proposes. */
#include <stdio.h>
#include <string.h>

#include "api/parameters.h"
#include "api/request.h"
#include "growth/plan.h"
#include "growth/space.h"
#include "growth/stage.h"
#include "growth/transform.h"
#include "tools/docs.h"

/* ---- examples ---- */

/* Small models: 4 layers, or 3 and 2, width 4, MLPs of 6. */
static struct shape small_shape(enum family family)
{
    struct shape shape = {
        .family = family, .layers = 4, .width = 4, .heads = 2, .kv_heads = 2, .head_size = 2, .ff = 6, .context = 4,
        .vocabulary = 8, .tied = family == FAMILY_GPT2, .activation = family == FAMILY_GPT2 ? ACTIVATION_GELU_TANH
                                                                                            : ACTIVATION_SILU,
        .norm_epsilon = 1e-5, .rope = {.theta = 10000},
    };
    return shape;
}

/* Examples whose parameters no rule gives; the others ask for twice what there is, or for two layers more. */
static const struct { const char *op, *text; } EXAMPLES[] = {
    {"layer_map", "[{\"op\": \"layer_map\", \"map\": [0, 1, null, 3, 2, 1]}]"},
    {"hyperclone", "[{\"op\": \"hyperclone\", \"width\": 8}]"},
    {"lemon", "[{\"op\": \"lemon\", \"width\": 6}]"},
    {"fpi", "[{\"op\": \"fpi\", \"width\": 6, \"ff\": 9}]"},
    {"aki", "[{\"op\": \"aki\", \"width\": 6, \"ff\": 9}]"},
    {"zero_pad", "[{\"op\": \"zero_pad\", \"width\": 6, \"ff\": 9}]"},
    {"widen_ff", "[{\"op\": \"widen_ff\", \"ff\": 9}]"},
    {"ligo", "[{\"op\": \"ligo\", \"layers\": 6, \"width\": 6}]"},
    {"staged", "[{\"op\": \"staged\", \"width\": 8}]"},
    {"msg_width", "[{\"op\": \"msg_width\", \"width\": 6, \"ff\": 9}]"},
    {"msg_depth", "[{\"op\": \"msg_depth\", \"layers\": 7, \"ramp_steps\": 100}]"},
    {"fuse", "[{\"op\": \"fuse\", \"with\": \"other\"}]"},
    {"upcycle", "[{\"op\": \"upcycle\", \"experts\": 4, \"top_k\": 2}]"},
};

static void example_text(const struct growth_operator *op, const struct shape *from, char *text, size_t size)
{
    for (int i = 0; i < GROWTH_COUNT_OF(EXAMPLES); i++)
        if (strcmp(EXAMPLES[i].op, op->name) == 0) {
            snprintf(text, size, "%s", EXAMPLES[i].text);
            return;
        }
    for (int field = 0; field < TARGET_FIELD_COUNT; field++) {
        const char *name = target_field_name((enum target_field)field);
        int there = target_present(from, (enum target_field)field, false);
        for (int i = 0; i < op->parameter_count; i++)
            if (strcmp(op->parameters[i].name, name) == 0) {
                snprintf(text, size, "[{\"op\": \"%s\", \"%s\": %d}]", op->name, name,
                         field == TARGET_LAYERS ? there + 2 : 2 * there);
                return;
            }
    }
    stop("no example of %s: add one to tools/docs_growth.c", op->name);
}

struct example { struct shape from; char text[160]; struct growth_list list; struct growth_partner partner; };

static void example_open(const struct growth_operator *op, struct example *example, struct growth_plan *plan)
{
    struct error error = {0};
    bool gpt2 = (op->families >> FAMILY_GPT2 & 1) != 0;
    *example = (struct example){.from = small_shape(gpt2 ? FAMILY_GPT2 : FAMILY_LLAMA)};
    example_text(op, &example->from, example->text, sizeof example->text);
    if (request_operators(example->text, strlen(example->text), &example->list, &error) != 0)
        stop("the example of %s: %s", op->name, error.message);
    example->partner = (struct growth_partner){.shape = example->from, .hash = "0"};
    if (growth_step_reference(&example->list.steps[0]) != NULL &&
        growth_step_join(&example->list.steps[0], &example->partner, &error) != 0)
        stop("the example of %s: %s", op->name, error.message);
    if (growth_plan_init(plan, &example->from, &example->list, &error) != 0)
        stop("the example of %s: %s", op->name, error.message);
}

/* ---- drawings ---- */

enum { LABEL = 26, CELL = 5 };

static void draw_label(struct buffer *out, const char *label)
{
    buffer_format(out, "%-*s", LABEL, label);
}

static void draw_numbers(struct buffer *out, const char *label, int count)
{
    draw_label(out, label);
    for (int i = 0; i < count; i++)
        buffer_format(out, "%*d", CELL, i);
    buffer_text(out, "\n");
}

static void draw_layers(struct buffer *out, const struct growth_plan_stage *stage)
{
    bool identity = false, fresh = false;
    draw_numbers(out, "new layer", stage->to.layers);
    draw_label(out, stage->learned_steps > 0 ? "starts mostly as" : "copies old layer");
    for (int i = 0; i < stage->to.layers; i++) {
        char cell[16];
        bool zeroed = stage->identity != NULL && stage->identity[i], faint = stage->masked != NULL && stage->masked[i];
        snprintf(cell, sizeof cell, stage->layers[i] < 0 ? "new" : zeroed ? "%d*" : faint ? "(%d)" : "%d",
                 (int)stage->layers[i]);
        buffer_format(out, "%*s", CELL, cell);
        identity = identity || zeroed;
        fresh = fresh || stage->layers[i] < 0;
    }
    buffer_text(out, "\n");
    if (identity)
        buffer_text(out, "*: does nothing at first, its output projections are 0\n");
    if (fresh)
        buffer_text(out, "new: drawn\n");
}

/* 1, 1/2, 0.27 */
static void draw_share(struct buffer *out, double share)
{
    char cell[16];
    int whole = (int)(1 / share + 0.5);
    double difference = share * whole - 1;
    if (share <= 0)
        snprintf(cell, sizeof cell, "0");
    else if (difference < 1e-9 && difference > -1e-9)
        snprintf(cell, sizeof cell, whole == 1 ? "1" : "1/%d", whole);
    else
        snprintf(cell, sizeof cell, "%.2f", share);
    buffer_format(out, "%*s", CELL, cell);
}

static const char *fill_words(enum unit_fill fill)
{
    static const char *const words[] = {[FILL_ZERO] = "0", [FILL_MEAN] = "the mean", [FILL_DRAW] = "drawn"};
    return words[fill];
}

static void draw_units(struct buffer *out, const struct growth_plan_stage *stage, const struct axis_map *axis,
                       const char *what, enum unit_kind kind)
{
    const struct unit_map *map = &stage->units[kind];
    int size = axis->count / map->count;     /* heads: positions of one head, which share everything */
    bool fresh = false;
    draw_numbers(out, what, map->count);
    draw_label(out, "  holds the old one");
    for (int i = 0; i < map->count; i++) {
        char cell[16];
        bool partner = stage->partner != NULL && axis->copy[i * size] > 0;
        snprintf(cell, sizeof cell, map->source[i] < 0 ? "new" : partner ? "%d'" : "%d", (int)map->source[i]);
        buffer_format(out, "%*s", CELL, cell);
        fresh = fresh || map->source[i] < 0;
    }
    buffer_text(out, "\n");
    if (kind != UNIT_CONTEXT && stage->partner == NULL && stage->learned_steps == 0) {
        draw_label(out, "  read with the share");
        for (int i = 0; i < map->count; i++)
            draw_share(out, map->source[i] < 0 ? 0 : axis->share[i * size]);
        buffer_text(out, "\n");
    }
    if (fresh && stage->learned_steps == 0)
        buffer_format(out, "new: what writes them is %s, what reads them %s\n", fill_words(map->written),
                      fill_words(map->read));
}

static void draw_experts(struct buffer *out, const struct shape *to)
{
    draw_numbers(out, "new expert", to->experts);
    draw_label(out, "  copies the layer's");
    for (int expert = 0; expert < to->experts; expert++)
        buffer_format(out, "%*s", CELL, "MLP");
    buffer_format(out, "\na token passes the %d that the router, drawn, scores highest; their shares sum to 1\n", to->top_k);
}

static void draw_notes(struct buffer *out, const struct growth_plan_stage *stage)
{
    if (stage->ramp_steps > 0)
        buffer_format(out, "%s: masked, its share rises from 0 to 1 over the first %d steps of training\n",
                      stage->masked != NULL ? "()" : "new", stage->ramp_steps);
    if (stage->learned_steps > 0)
        buffer_format(out, "then every layer is a learned mixture of all old ones, every new unit one of all old units: %d "
                      "steps on the training data\n", stage->learned_steps);
    if (stage->partner != NULL)
        buffer_text(out, "': of the other model; between the two nothing is connected yet\n");
    else if (stage->diagonal)
        buffer_text(out, "each copy reads itself alone, with the whole weight\n");
    if (stage->noisy)
        buffer_format(out, "and noise of -%g dB that cancels over the copies\n", stage->noise_db);
    if (stage->second != NULL)
        buffer_text(out, "the further copies of a unit are taken from the layer above\n");
}

static void draw(struct buffer *out, const struct growth_plan *plan)
{
    static const struct { enum unit_kind kind; enum axis axis; const char *what; } UNITS[] = {
        {UNIT_WIDTH, AXIS_WIDTH, "new unit of the stream"}, {UNIT_HEADS, AXIS_HEADS, "new head"},
        {UNIT_FF, AXIS_FF, "new MLP unit"}, {UNIT_CONTEXT, AXIS_CONTEXT, "new position"},
    };
    const struct growth_plan_stage *stage = &plan->stages[0];
    struct growth_transform transform;
    struct growth_plan_stage alone = *stage;
    struct tensor_table before;
    struct error error = {0};
    alone.partner = NULL;                    /* it is not loaded, and the maps do without */
    if (tensor_table_init(&before, &stage->from, &error) != 0 ||
        growth_transform_init(&transform, &alone, &before, 1, 1, 0, &error) != 0)
        stop("drawing %s: %s", stage->op->name, error.message);
    if (stage->layers != NULL)
        draw_layers(out, stage);
    for (int i = 0; i < GROWTH_COUNT_OF(UNITS); i++)
        if (stage->units[UNITS[i].kind].source != NULL)
            draw_units(out, stage, &transform.axes[UNITS[i].axis], UNITS[i].what, UNITS[i].kind);
    if (stage->to.experts > stage->from.experts)
        draw_experts(out, &stage->to);
    draw_notes(out, stage);
    growth_transform_fini(&transform);
    tensor_table_fini(&before);
}

/* ---- operators ---- */

static void write_sentence(struct buffer *out, const char *what, const char *text)
{
    buffer_format(out, "%s: ", what);
    write_cell(out, text);
    buffer_text(out, ".\n");
}

static const char *promise_sentence(enum promise promise)
{
    switch (promise) {
    case PROMISE_EXACT: return "keeps the function, up to rounding (1e-4 of the logits' scale in float32)";
    default: return "changes the function";
    }
}

static const char *symmetry_sentence(enum symmetry symmetry)
{
    static const char *const words[] = {
        [SYMMETRY_NONE] = "nothing is duplicated within a layer",
        [SYMMETRY_BROKEN] = "training separates the copies",
        [SYMMETRY_KEPT] = "training never separates the copies",
    };
    return words[symmetry];
}

static const char *type_words(enum parameter_type type)
{
    switch (type) {
    case PARAMETER_INTEGER: return "integer";
    case PARAMETER_NUMBER: return "number";
    case PARAMETER_BOOLEAN: return "true or false";
    case PARAMETER_CHOICE: return "choice";
    case PARAMETER_INTEGERS: return "list of integers";
    case PARAMETER_PAIRS: return "list of ranges [a, b)";
    case PARAMETER_NUMBERS: return "list of numbers";
    case PARAMETER_CHOICE_OR_LIST: return "choice, or a list of integers";
    default: return "text";
    }
}

/* | `layers` | integer | 1 to 1024 | required | layers of the grown model | */
static void write_parameter(struct buffer *out, const struct parameter *row)
{
    char name[CHOICE_BYTES];
    buffer_format(out, "| `%s` | %s%s | ", row->name, type_words(row->type), row->nullable ? ", or null" : "");
    for (int i = 0; row->choices != NULL && choice_name(row->choices, i, name); i++)
        buffer_format(out, "%s`%s`", i > 0 ? ", " : "", name);
    if (row->maximum == 9007199254740992.0)
        buffer_format(out, "%.15g to 2^53", row->minimum);
    else if (row->maximum > row->minimum)
        buffer_format(out, "%s%.15g to %.15g", row->choices != NULL ? "; " : "", row->minimum, row->maximum);
    buffer_text(out, " | ");
    if (row->fallback != NULL)
        buffer_format(out, "`%s`", row->fallback);
    else
        buffer_text(out, row->required ? "required" : "");
    buffer_text(out, " | ");
    write_cell(out, row->summary);
    buffer_text(out, " |\n");
}

static void write_operator(struct buffer *out, const struct growth_operator *op)
{
    struct example example;
    struct growth_plan plan;
    buffer_format(out, "### `%s`\n\n", op->name);
    write_cell(out, op->summary);
    buffer_text(out, ".\n\n");
    buffer_text(out, "- Families: ");
    write_families(out, op->families);
    buffer_text(out, ".\n");
    write_sentence(out, "- Promise", promise_sentence(op->promise));
    write_sentence(out, "- Symmetry", *op->symmetry_note ? op->symmetry_note : symmetry_sentence(op->symmetry));
    write_sentence(out, "- Moments under `carry`", op->moments);
    write_sentence(out, "- Source", op->source);
    buffer_text(out, "\n| parameter | type | range | default | meaning |\n|---|---|---|---|---|\n");
    for (int i = 0; i < op->parameter_count; i++)
        write_parameter(out, &op->parameters[i]);
    example_open(op, &example, &plan);
    buffer_format(out, "\n`%s` on a `%s` model of %d layers, width %d, MLPs of %d:\n\n```\n", example.text,
                  family_name(example.from.family), example.from.layers, example.from.width, example.from.ff);
    draw(out, &plan);
    buffer_text(out, "```\n");
    growth_plan_fini(&plan);
    growth_list_fini(&example.list);
}

static void write_growth_operators(struct buffer *out)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    for (int i = 0; i < count; i++) {
        buffer_text(out, i > 0 ? "\n" : "");
        write_operator(out, rows[i]);
    }
}

/* ---- the design space ---- */

static void write_variants(struct buffer *out)
{
    int count;
    const struct growth_variant *rows = growth_variants(&count);
    buffer_text(out, "| name | operator | set beside the target | rank | |\n|---|---|---|---|---|\n");
    for (int i = 0; i < count; i++) {
        if (growth_operator_find(rows[i].op) == NULL)
            continue;
        buffer_format(out, "| `%s` | `%s` | ", rows[i].name, rows[i].op);
        if (rows[i].parameter != NULL)
            buffer_format(out, "`%s`: `%s`", rows[i].parameter, rows[i].value);
        buffer_format(out, " | %d | %s |\n", rows[i].rank, rows[i].control ? "control" : "");
    }
}

const struct block blocks_growth[] = {
    { "growth-operators", write_growth_operators },
    { "growth-variants", write_variants },
    { NULL, NULL },
};
