#include "api/recipe.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"
#include "api/response_parts.h"
#include "base/memory.h"

enum { RECIPE_FORMAT = 1 };

/* ---- writing ---- */

static void write_pytorch(struct buffer *out, const struct training *training, uint64_t step, double scale)
{
    const struct optimizer_spec *adamw = &training->optimizer;
    char rate[NUMBER_BYTES], b1[NUMBER_BYTES], b2[NUMBER_BYTES], epsilon[NUMBER_BYTES], decay[NUMBER_BYTES],
        clip[NUMBER_BYTES], factor[NUMBER_BYTES], text[1024];
    int count;
    number_text(training->learning_rate, rate);
    number_text(adamw->beta1, b1);
    number_text(adamw->beta2, b2);
    number_text(adamw->epsilon, epsilon);
    number_text(adamw->weight_decay, decay);
    number_text(training->clip, clip);
    number_text(scale, factor);
    int length = snprintf(text, sizeof text,
                          "torch.optim.AdamW(parameters, lr=%s, betas=(%s, %s), eps=%s, weight_decay=%s) "
                          "with weight_decay=0 for tensors of one dimension; ",
                          rate, b1, b2, epsilon, decay);
    if (training->clip > 0)
        length += snprintf(text + length, sizeof text - (size_t)length, "clip_grad_norm_(parameters, %s); ", clip);
    if (scale != 1)
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "multiply the rate of the matrices inside the blocks by %s; ", factor);
    if (training->compute == PRODUCT_BF16)
        length += snprintf(text + length, sizeof text - (size_t)length,
                           "forward and loss under autocast to bfloat16; ");
    snprintf(text + length, sizeof text - (size_t)length,
             "rate: %llu steps of linear warm-up, then %s, up to step %llu; go on from step %llu with exp_avg, "
             "exp_avg_sq and "
             "step out of optimizer.safetensors (.m, .v, .step; raw weights: .w)",
             (unsigned long long)training->schedule.warmup_steps, schedule_rows(&count)[training->schedule.name].name,
             (unsigned long long)training->steps, (unsigned long long)step);
    buffer_json_string(out, text);
}

void response_recipe(struct buffer *out, const struct study_view *view)
{
    const struct study_spec *spec = view->spec;
    const struct study_outcome *outcome = view->outcome;
    const char *name = outcome ? spec_candidate_name(spec, outcome->choice) : NULL;
    bool first = true;
    if (!name) {
        buffer_text(out, "null");
        return;
    }
    uint64_t step = outcome->k;
    uint64_t tokens = step * (uint64_t)spec->training.batch * (uint64_t)spec->training.context;
    double width = candidate_width_factor(out, view, outcome->choice);
    double scale = spec->training.width_rate_scaled && isfinite(width) ? 1 / width : 1;
    buffer_text(out, "{");
    member_unsigned(out, &first, "format", RECIPE_FORMAT);
    member_text(out, &first, "study", spec->name);
    member_text(out, &first, "candidate", name);
    member_unsigned(out, &first, "step", step);
    member_unsigned(out, &first, "tokens", tokens);
    member_unsigned(out, &first, "tokens_seen", view->parent_tokens_seen + tokens);
    member_unsigned(out, &first, "data_cursor", step);
    echo_members(spec, "/training", &first, out);
    json_key(out, &first, "data");
    echo_object(spec, "/data", out);
    member_number(out, &first, "width_factor", width);
    member_number(out, &first, "learning_rate_scale", scale);
    member_text(out, &first, "state", "optimizer.safetensors");
    json_key(out, &first, "pytorch");
    write_pytorch(out, &spec->training, step, scale);
    buffer_text(out, "}");
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
static void take_cursor(cJSON *tree, struct recipe *recipe, struct error *error)
{
    static const char *const words[] = {"state", "pytorch", "width_factor"};
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
    take_cursor(tree, recipe, error);
    cJSON *data = cJSON_DetachItemFromObjectCaseSensitive(tree, "data");
    spec->training.objective = objective_defaults(shape->family);
    read_data(data, spec, recipe, error);
    int code = fields_check(tree, "/training", &place, error);
    if (!code) code = training_resolve(tree, shape, spec, &place, error);
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
