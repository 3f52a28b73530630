#include "api/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/recipe_parts.h"
#include "api/response_parts.h"
#include "base/memory.h"

enum { RECIPE_FORMAT = 1 };

/* ---- writing ---- */

static double rate_scale(const struct study_spec *spec, double width)
{
    return isfinite(width) ? training_hidden_rate_scale(&spec->training, width) : 1;
}

void response_recipe(struct buffer *out, const struct study_view *view)
{
    const struct study_spec *spec = view->spec;
    const struct study_outcome *outcome = view->outcome;
    const char *name = outcome ? spec_candidate_name(spec, outcome->choice) : NULL;
    struct buffer words;
    bool first = true;
    if (!name) {
        buffer_text(out, "null");
        return;
    }
    uint64_t step = outcome->k;
    uint64_t tokens = training_tokens(&spec->training, step);
    double width = candidate_width_factor(out, view, outcome->choice);
    double scale = rate_scale(spec, width);
    buffer_text(out, "{");
    member_unsigned(out, &first, "format", RECIPE_FORMAT);
    member_text(out, &first, "study", spec->name);
    member_text(out, &first, "candidate", name);
    member_unsigned(out, &first, "step", step);
    member_unsigned(out, &first, "tokens", tokens);
    member_unsigned(out, &first, "total_tokens", training_tokens(&spec->training, spec->training.steps));
    member_unsigned(out, &first, "tokens_seen", view->parent_tokens_seen + tokens);
    member_unsigned(out, &first, "data_cursor", view->first_data_step + step);
    echo_members(spec, "/training", &first, out);
    json_key(out, &first, "data");
    echo_object(spec, "/data", out);
    member_number(out, &first, "width_factor", width);
    member_number(out, &first, "learning_rate_scale", scale);
    recipe_write_law(out, view, scale, &first);
    member_text(out, &first, "state", "optimizer.safetensors");
    buffer_init(&words);
    response_recipe_words(&words, view);
    member_text(out, &first, "pytorch", words.data ? words.data : "");
    out->failed = out->failed || words.failed;
    buffer_fini(&words);
    buffer_text(out, "}");
}

void response_recipe_words(struct buffer *out, const struct study_view *view)
{
    const struct study_spec *spec = view->spec;
    struct buffer unused;
    bool first = true;
    buffer_init(&unused);
    double scale = rate_scale(spec, candidate_width_factor(out, view, view->outcome->choice));
    bool laws = recipe_write_law(&unused, view, scale, &first) && spec->training.parametrization != PARAMETRIZATION_STANDARD;
    out->failed = out->failed || unused.failed;
    buffer_fini(&unused);
    recipe_write_pytorch(out, &(struct recipe_words){&spec->training, view->outcome->k,
                                                     view->first_data_step + view->outcome->k, scale, laws});
}

/* ---- reading ---- */

static const double COUNT_MAX = 9007199254740992.0;

static uint64_t take_count(cJSON *tree, const char *name, struct error *error)
{
    struct place place = {0};
    cJSON *node = cJSON_DetachItemFromObjectCaseSensitive(tree, name);
    uint64_t count = 0;
    place_enter(&place, name);
    if (!node)
        refuse(error, &place, "%s is missing: this is not a whole recipe", name);
    else if (!json_is_integer(node))
        refuse(error, &place, "%s must be an integer, not %s", name, json_kind(node));
    else if (!range_check(name, node->valuedouble, 0, COUNT_MAX, &place, error))
        count = (uint64_t)node->valuedouble;
    cJSON_Delete(node);
    return count;
}

static void take_text(cJSON *tree, const char *name, char *to, size_t size)
{
    cJSON *node = cJSON_DetachItemFromObjectCaseSensitive(tree, name);
    if (cJSON_IsString(node) && strlen(node->valuestring) < size) snprintf(to, size, "%s", node->valuestring);
    cJSON_Delete(node);
}

static double take_scale(cJSON *tree, struct error *error)
{
    struct place place = {0};
    cJSON *node = cJSON_DetachItemFromObjectCaseSensitive(tree, "learning_rate_scale");
    double scale = 1;
    place_enter(&place, "learning_rate_scale");
    if (node && !cJSON_IsNumber(node))
        refuse(error, &place, "learning_rate_scale must be a number, not %s", json_kind(node));
    else if (node && !range_check("learning_rate_scale", node->valuedouble, 1e-6, 1e6, &place, error))
        scale = node->valuedouble;
    cJSON_Delete(node);
    return scale;
}

/* Takes out all that is not a training field and leaves a `training` object behind. */
static void take_cursor(cJSON *tree, const struct shape *shape, struct recipe *recipe, struct error *error)
{
    static const char *const words[] = {"state", "pytorch", "width_factor", "total_tokens"};
    struct place place = {0};
    uint64_t format = take_count(tree, "format", error);
    if (!error->code && format != RECIPE_FORMAT)
        refuse_member(error, &place, "format", "recipe format %llu is not known; this release reads format %d",
                      (unsigned long long)format, RECIPE_FORMAT);
    recipe->step = take_count(tree, "step", error);
    recipe->tokens = take_count(tree, "tokens", error);
    recipe->tokens_seen = take_count(tree, "tokens_seen", error);
    recipe->data_cursor = take_count(tree, "data_cursor", error);
    recipe->learning_rate_scale = take_scale(tree, error);
    recipe_take_base(tree, shape, &recipe->base, error);
    take_text(tree, "study", recipe->study, sizeof recipe->study);
    take_text(tree, "candidate", recipe->candidate, sizeof recipe->candidate);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(tree, words[i]);
}

static void read_data(const cJSON *data, struct study_spec *spec, struct recipe *recipe, struct error *error)
{
    struct place place = {0};
    place_enter(&place, "data");
    if (!cJSON_IsObject(data)) {
        refuse(error, &place, "data must be an object: this is not a whole recipe");
        return;
    }
    if (fields_check(data, "/data", &place, error)) return;
    fields_store(data, "/data", spec);
    recipe->data = spec->data;
}

static int recipe_fill(cJSON *tree, const struct shape *shape, struct recipe *recipe, struct error *error)
{
    struct place place = {0};
    struct study_spec *spec = memory_new(sizeof *spec);
    if (!spec) return error_set(error, ERROR_NO_MEMORY, "not enough memory to read the recipe; try again later");
    take_cursor(tree, shape, recipe, error);
    cJSON *data = cJSON_DetachItemFromObjectCaseSensitive(tree, "data");
    spec->training.objective = objective_defaults(shape->family);
    read_data(data, spec, recipe, error);
    int code = fields_check(tree, "/training", &place, error);
    if (!code) code = training_resolve(tree, shape, shape->context, spec, &place, error);
    recipe->training = spec->training;
    cJSON_Delete(data);
    memory_free(spec);
    return code;
}

int recipe_read(const char *text, size_t length, const struct shape *shape, struct recipe *recipe, struct error *error)
{
    struct error own = {0};
    struct place place = {0};
    cJSON *tree;
    if (!error) error = &own;
    *recipe = (struct recipe){0};
    int code = json_read(text, length, &tree, error);
    if (code) return code;
    if (!cJSON_IsObject(tree)) code = refuse(error, &place, "a recipe must be a JSON object, not %s", json_kind(tree));
    else code = recipe_fill(tree, shape, recipe, error);
    cJSON_Delete(tree);
    return code;
}
