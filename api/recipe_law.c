/* What a recipe says of its parametrization: the base's sizes, from which the laws of all tensors follow again, and the laws
 * themselves for users of other programs. */
#include <math.h>
#include <string.h>

#include "api/recipe_parts.h"
#include "api/response_parts.h"
#include "trainer/law.h"

static const struct { const char *name; size_t offset; int least; } sizes[] = {
    {"layers", offsetof(struct shape, layers), 1},     {"decoder_layers", offsetof(struct shape, decoder_layers), 0},
    {"width", offsetof(struct shape, width), 1},       {"heads", offsetof(struct shape, heads), 1},
    {"kv_heads", offsetof(struct shape, kv_heads), 1}, {"head_size", offsetof(struct shape, head_size), 1},
    {"ff", offsetof(struct shape, ff), 1},
};
enum { SIZE_COUNT = sizeof sizes / sizeof *sizes };

static int *size_in(struct shape *shape, int i)
{
    return (int *)((char *)shape + sizes[i].offset);
}

/* ---- writing ---- */

static void write_base(struct buffer *out, const struct study_view *view)
{
    if (view->spec->training.parametrization == PARAMETRIZATION_STANDARD || !view->parent) {
        buffer_text(out, "null");
        return;
    }
    struct shape base = view->base ? *view->base : *view->parent;
    bool first = true;
    buffer_text(out, "{");
    for (int i = 0; i < SIZE_COUNT; i++)
        member_unsigned(out, &first, sizes[i].name, (uint64_t)*size_in(&base, i));
    buffer_text(out, "}");
}

/* "h.%d.attn.c_attn.weight" -> "h.*.attn.c_attn.weight" */
static void row_pattern(const struct tensor_row *row, char text[TENSOR_NAME_BYTES])
{
    size_t length = 0;
    for (const char *from = row->name; *from && length + 1 < TENSOR_NAME_BYTES; from++) {
        bool number = from[0] == '%' && from[1] == 'd';
        text[length++] = number ? '*' : *from;
        from += number;
    }
    text[length] = '\0';
}

static bool write_laws(struct buffer *out, const struct law_options *options, const struct shape *shape)
{
    const struct layout *layout = layout_of(shape->family);
    bool any = false;
    buffer_text(out, "[");
    for (int i = 0; i < layout->row_count; i++) {
        const struct tensor_row *row = &layout->rows[i];
        const struct tensor_law law = law_of_row(options, shape, row);
        char pattern[TENSOR_NAME_BYTES];
        bool first = true;
        if (layout_row_tensors(row, shape) == 0 || !role_is_trained(row->role) || laws_are_one(&law, 1)) continue;
        row_pattern(row, pattern);
        buffer_text(out, any ? ", {" : "{");
        member_text(out, &first, "tensors", pattern);
        member_number(out, &first, "rate", law.rate);
        member_number(out, &first, "decay", law.decay);
        member_number(out, &first, "epsilon", law.epsilon);
        member_number(out, &first, "gradient", law.gradient);
        buffer_text(out, "}");
        any = true;
    }
    buffer_text(out, "]");
    return any;
}

bool recipe_write_law(struct buffer *out, const struct study_view *view, double hidden_rate_scale, bool *first)
{
    const struct study_spec *spec = view->spec;
    const struct training *training = &spec->training;
    struct growth_plan plan;
    struct error error = {0};
    json_key(out, first, "base");
    write_base(out, view);
    json_key(out, first, "laws");
    if (!view->parent || growth_plan_init(&plan, view->parent, &spec->candidates[view->outcome->choice].operators, &error)) {
        out->failed = out->failed || error.code == ERROR_NO_MEMORY;
        buffer_text(out, "null");
        return false;
    }
    const struct law_options options = {training->parametrization, training->optimizer.name,
                                        view->base ? *view->base : *view->parent, hidden_rate_scale};
    bool any = write_laws(out, &options, &plan.to);
    growth_plan_fini(&plan);
    return any;
}

/* ---- reading ---- */

static void read_sizes(const cJSON *node, struct place *place, struct shape *base, struct error *error)
{
    for (const cJSON *member = node->child; member && !error->code; member = member->next) {
        int i = 0;
        while (i < SIZE_COUNT && strcmp(sizes[i].name, member->string) != 0) i++;
        if (i == SIZE_COUNT)
            refuse_member(error, place, member->string, "%s is no size of a recipe's base", member->string);
        else if (!json_is_integer(member) || member->valuedouble < sizes[i].least
                 || member->valuedouble > SHAPE_SIZE_MAX)
            refuse_member(error, place, member->string, "%s must be an integer from %d to %d", member->string,
                          sizes[i].least, SHAPE_SIZE_MAX);
        else
            *size_in(base, i) = (int)member->valuedouble;
    }
    for (int i = 0; i < SIZE_COUNT && !error->code; i++)
        if (!json_member(node, sizes[i].name))
            refuse_member(error, place, sizes[i].name, "%s is missing: this is not a whole recipe", sizes[i].name);
}

void recipe_take_base(cJSON *tree, const struct shape *shape, struct shape *base, struct error *error)
{
    struct place place = {0};
    cJSON *node = cJSON_DetachItemFromObjectCaseSensitive(tree, "base");
    place_enter(&place, "base");
    *base = *shape;
    if (cJSON_IsObject(node))
        read_sizes(node, &place, base, error);
    else if (node && !cJSON_IsNull(node))
        refuse(error, &place, "base must be an object with the base's sizes, not %s", json_kind(node));
    cJSON_Delete(node);
    cJSON_DeleteItemFromObjectCaseSensitive(tree, "laws");
}
