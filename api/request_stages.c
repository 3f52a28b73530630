/* Adaptive gradual stacking as requests: what a staged request asks for, and the ordinary request of each of its parts. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"
#include "base/memory.h"

bool request_is_staged(const struct request *request)
{
    return json_member(request->tree, "stages") != NULL;
}

/* ---- editing trees: false when there is no memory ---- */

/* Puts `item` in the place of the member. A NULL item is one that found no memory. */
static bool member_put(cJSON *object, const char *name, cJSON *item)
{
    if (!item) return false;
    cJSON_DeleteItemFromObjectCaseSensitive(object, name);
    if (cJSON_AddItemToObject(object, name, item)) return true;
    cJSON_Delete(item);
    return false;
}

static cJSON *object_at(cJSON *tree, const char *name)
{
    cJSON *node = cJSON_GetObjectItemCaseSensitive(tree, name);
    if (node) return node;
    node = cJSON_CreateObject();
    return member_put(tree, name, node) ? node : NULL;
}

static void members_drop(cJSON *object, const char *const *names)
{
    for (; *names; names++) cJSON_DeleteItemFromObjectCaseSensitive(object, *names);
}

/* ---- templates ---- */

static bool takes_layers(const struct growth_operator *op)
{
    for (int i = 0; i < op->parameter_count; i++)
        if (!strcmp(op->parameters[i].name, "layers")) return true;
    return false;
}

/* An operator that takes layers and says nothing of its size grows to the stage's depth. */
static bool operator_fill(cJSON *node, int layers)
{
    static const char *const sizes[] = {"layers", "width", "encoder_layers", "decoder_layers"};
    const cJSON *name = json_member(node, "op");
    const struct growth_operator *op = cJSON_IsString(name) ? growth_operator_find(name->valuestring) : NULL;
    if (!op || !takes_layers(op)) return true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (json_member(node, sizes[i])) return true;
    return member_put(node, "layers", cJSON_CreateNumber(layers));
}

static bool templates_fill(cJSON *candidates, int layers)
{
    bool filled = true;
    cJSON *candidate, *node;
    cJSON_ArrayForEach(candidate, candidates) {
        cJSON *operators = cJSON_GetObjectItemCaseSensitive(candidate, "operators");
        if (!cJSON_IsArray(operators)) continue;
        cJSON_ArrayForEach(node, operators) {
            if (cJSON_IsObject(node)) filled = operator_fill(node, layers) && filled;
        }
    }
    return filled;
}

static int no_memory(struct error *error)
{
    return error_set(error, ERROR_NO_MEMORY, "not enough memory to read the stages; try again later");
}

int stages_template_tree(const cJSON *tree, cJSON **filled, struct error *error)
{
    const cJSON *list = json_member(tree, "stages"), *layers;
    int depth = 1, count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    layers = json_member(cJSON_GetArrayItem(list, count - 1), "layers");
    if (json_is_integer(layers) && layers->valuedouble >= 1 && layers->valuedouble <= PARAMETER_LIST_MAX)
        depth = (int)layers->valuedouble;
    *filled = cJSON_Duplicate(tree, true);
    if (*filled && templates_fill(cJSON_GetObjectItemCaseSensitive(*filled, "candidates"), depth)) return 0;
    cJSON_Delete(*filled);
    *filled = NULL;
    return no_memory(error);
}

/* ---- what is asked for ---- */

/* Steps of the stages: given one by one, or shared out. */
static void steps_read(const cJSON *tree, struct stages *stages, struct place *place, struct error *error)
{
    const cJSON *alpha = json_member(tree, "prop_alpha"), *total = json_member(json_member(tree, "training"), "steps");
    const cJSON *list = json_member(tree, "stages"), *node;
    struct place top = {0};
    int index = 0, given = 0;
    cJSON_ArrayForEach(node, list) given += json_member(node, "steps") != NULL;
    if (alpha && given > 0) {
        refuse_member(error, &top, "prop_alpha", "prop_alpha shares training.steps out over the stages, but %d of them say "
                      "their steps: leave out one or the other", given);
        return;
    }
    if (alpha) {
        struct error found = {0};
        uint64_t steps = total ? (uint64_t)total->valuedouble : 20000;
        if (stages_split(stages, steps, alpha->valuedouble, &found)) error_merge(error, &found);
        return;
    }
    cJSON_ArrayForEach(node, list) {
        size_t outer = place_enter_index(place, index);
        const cJSON *steps = json_member(node, "steps");
        if (steps) stages->of[index].steps = (uint64_t)steps->valuedouble;
        else refuse_member(error, place, "steps", "steps is missing: say how long the stage is, or give prop_alpha instead, "
                           "which shares training.steps out over all stages");
        place_leave(place, outer);
        index++;
    }
    if (!error->code && total && (uint64_t)total->valuedouble != stages_steps(stages)) {
        place_enter(&top, "training");
        refuse_member(error, &top, "steps", "training.steps is %.0f, but the stages have %llu together: leave it out",
                      total->valuedouble, (unsigned long long)stages_steps(stages));
    }
}

static void layers_read(const cJSON *list, const struct shape *parent, struct stages *stages, struct place *place,
                        struct error *error)
{
    int before = parent ? (parent->decoder_layers > parent->layers ? parent->decoder_layers : parent->layers) : 0;
    const cJSON *node;
    cJSON_ArrayForEach(node, list) {
        size_t outer = place_enter_index(place, stages->count);
        const cJSON *layers = json_member(node, "layers");
        int depth = layers ? (int)layers->valuedouble : 0;
        if (!layers)
            refuse_member(error, place, "layers", "layers is missing: how deep is the stage's model?");
        else if (depth <= before && stages->count > 0)
            refuse_member(error, place, "layers", "the stage's depth must be above the one before, %d; the nearest valid "
                          "value is %d", before, before + 1);
        else if (depth <= before)
            refuse_member(error, place, "layers", "the first stage's depth must be above the checkpoint's %d layers; the "
                          "nearest valid value is %d", before, before + 1);
        if (depth > before) before = depth;
        stages->of[stages->count++].layers = depth;
        place_leave(place, outer);
    }
}

static void target_read(const cJSON *target, const struct stages *stages, struct error *error)
{
    struct place place = {0};
    const cJSON *node;
    place_enter(&place, "target");
    cJSON_ArrayForEach(node, target) {
        if (strcmp(node->string, "layers"))
            refuse_member(error, &place, node->string, "stages grow in depth; grow %s in a study of its own, before or "
                          "after", node->string);
        else if (node->valuedouble != stages->of[stages->count - 1].layers)
            refuse_member(error, &place, "layers", "the target asks for %.0f layers, the last stage for %d: leave the target "
                          "out, or make them equal", node->valuedouble, stages->of[stages->count - 1].layers);
    }
}

/* Names that the files of earlier stages' winners go by. */
static void names_check(const cJSON *candidates, struct error *error)
{
    struct place place = {0};
    const cJSON *node;
    int index = 0;
    place_enter(&place, "candidates");
    cJSON_ArrayForEach(node, candidates) {
        const cJSON *name = json_member(node, "name");
        size_t outer = place_enter_index(&place, index++);
        if (name && !strncmp(name->valuestring, "stage-", 6) && strspn(name->valuestring + 6, "0123456789") > 0)
            refuse_member(error, &place, "name", "\"stage-N\" names the winner of stage N among the files; use another name");
        place_leave(&place, outer);
    }
}

/* The table of fields has seen to it that they differ. */
static void baselines_read(const cJSON *list, struct stages *stages)
{
    static const char *const names[] = {"gradual_last", "middle"};
    const cJSON *node;
    cJSON_ArrayForEach(node, list) {
        int index = choice_index(node->valuestring, STAGES_BASELINES);
        if (index >= 0 && stages->baseline_count < STAGES_BASELINES_MAX)
            stages->baselines[stages->baseline_count++] = names[index];
    }
}

int request_stages(const struct request *request, const struct shape *parent, struct stages *stages, struct error *error)
{
    const cJSON *tree = request->tree;
    struct place place = {0};
    *stages = (struct stages){0};
    place_enter(&place, "stages");
    layers_read(json_member(tree, "stages"), parent, stages, &place, error);
    steps_read(tree, stages, &place, error);
    target_read(json_member(tree, "target"), stages, error);
    names_check(json_member(tree, "candidates"), error);
    baselines_read(json_member(tree, "baselines"), stages);
    return (int)error->code;
}

int stages_check(const struct request *request, struct error *error)
{
    static const char *const only[] = {"prop_alpha", "baselines"};
    struct place place = {0};
    struct stages stages;
    if (request_is_staged(request)) return request_stages(request, NULL, &stages, error);
    for (int i = 0; i < 2; i++)
        if (json_member(request->tree, only[i]))
            refuse_member(error, &place, only[i], "%s belongs to a study with stages, such as \"stages\": [{\"layers\": 4, "
                          "\"steps\": 2000}]: give them, or leave it out", only[i]);
    return (int)error->code;
}

/* ---- parts ---- */

static bool text_put(cJSON *object, const char *name, const char *text)
{
    return !*text || member_put(object, name, cJSON_CreateString(text));
}

static bool search_fill(cJSON *tree, const struct stage *stage)
{
    cJSON *target = cJSON_CreateObject();
    if (!member_put(tree, "target", target) || !member_put(target, "layers", cJSON_CreateNumber(stage->layers))) return false;
    cJSON *selection = cJSON_GetObjectItemCaseSensitive(tree, "selection");
    const cJSON *cap = json_member(selection, "max_k");
    if (cap && cap->valuedouble > (double)stage->steps
        && !member_put(selection, "max_k", cJSON_CreateNumber((double)stage->steps)))
        return false;
    return templates_fill(cJSON_GetObjectItemCaseSensitive(tree, "candidates"), stage->layers);
}

static bool training_fill(cJSON *tree, const struct stage *stage, const char *candidate)
{
    static const char *const of_searches[] = {"target", "max_candidates", "keep", NULL};
    cJSON *list = cJSON_CreateArray(), *winner = cJSON_Parse(candidate), *selection = object_at(tree, "selection");
    members_drop(tree, of_searches);
    bool filled = list && winner && cJSON_AddItemToArray(list, winner);
    if (!filled) cJSON_Delete(winner);
    if (!filled || !member_put(tree, "candidates", list)) {
        if (!filled) cJSON_Delete(list);
        return false;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(selection, "max_k");
    return selection && member_put(selection, "k", cJSON_CreateNumber((double)stage->steps));
}

static bool part_fill(cJSON *tree, const struct request *request, const struct stage *stage, const char *checkpoint,
                      const char *candidate)
{
    static const char *const of_stages[] = {"stages", "prop_alpha", "baselines", NULL};
    cJSON *training = object_at(tree, "training"), *data = object_at(tree, "data");
    members_drop(tree, of_stages);
    return training && data && member_put(training, "steps", cJSON_CreateNumber((double)stage->steps))
           && text_put(tree, "checkpoint", checkpoint) && text_put(data, "train", request->train)
           && text_put(data, "valid", request->valid)
           && (candidate ? training_fill(tree, stage, candidate) : search_fill(tree, stage));
}

int request_part(const struct request *request, const struct stages *stages, const struct stage_part *part,
                 const char *checkpoint, const char *candidate, struct buffer *out, struct error *error)
{
    cJSON *tree = cJSON_Duplicate(request->tree, true);
    if (!tree || !part_fill(tree, request, &stages->of[part->stage - 1], checkpoint, candidate)) no_memory(error);
    else json_write(out, tree);
    cJSON_Delete(tree);
    return out->failed ? no_memory(error) : (int)error->code;
}

/* Blocks of the layers that a stage adds, where they divide what is there: MIDAS's. */
static int middle_block(int layers, int to)
{
    int a = layers, b = to - layers;
    while (b) {
        int rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void request_baseline(const struct stages *stages, const struct stage_part *part, int layers, struct buffer *out)
{
    const char *name = stages_chain_name(stages, part->chain);
    int depth = stages->of[part->stage - 1].layers;
    buffer_format(out, "{\"name\": \"%s\", \"operators\": [{\"op\": \"%s\", \"layers\": %d", name, name, depth);
    if (!strcmp(name, "middle")) buffer_format(out, ", \"block\": %d", middle_block(layers, depth));
    buffer_text(out, "}]}");
}

/* ---- all parts, resolved ahead ---- */

/* What is wrong in a stage, told with its number; a depth that nothing reaches is the stage's own mistake, and what a
 * baseline can't do the baseline's. */
static int blame_stage(const struct stage_part *part, struct error *found, struct error *error)
{
    if (found->code == ERROR_NO_MEMORY) {
        *error = *found;
        return (int)found->code;
    }
    for (int i = 0; i < found->detail_count; i++) {
        char *pointer = found->details[i].pointer, text[sizeof found->details[i].text];
        memcpy(text, found->details[i].text, sizeof text);
        snprintf(found->details[i].text, sizeof text, "stage %d: %.*s", part->stage, (int)sizeof text - 16, text);
        if (part->chain > 0) snprintf(pointer, ERROR_POINTER_BYTES, "/baselines/%d", part->chain - 1);
        else if (!strncmp(pointer, "/target", 7)) snprintf(pointer, ERROR_POINTER_BYTES, "/stages/%d/layers", part->stage - 1);
    }
    error_wrap(found, "stage %d", part->stage);
    error_merge(error, found);
    return (int)error->code;
}

/* The one shape in which the candidates of a stage end. */
static int end_shape(const struct study_spec *spec, const struct shape *from, struct shape *to, struct error *error)
{
    for (int i = 0; i < spec->candidate_count; i++) {
        struct growth_plan plan;
        char pointer[ERROR_POINTER_BYTES];
        int code = growth_plan_init(&plan, from, &spec->candidates[i].operators, error);
        if (code) return code;
        if (i == 0) *to = plan.to;
        bool same = shape_equal(to, &plan.to);
        growth_plan_fini(&plan);
        snprintf(pointer, sizeof pointer, "/candidates/%d", i);
        if (!same)
            return error_set_at(error, ERROR_INVALID, pointer, "candidate \"%s\" ends in another shape than \"%s\": whichever "
                                "is chosen, the next stage begins with its shape; make them alike",
                                spec->candidates[i].name, spec->candidates[0].name);
    }
    return 0;
}

static int resolve_part(const struct request *request, const struct request_facts *facts, const struct stages *stages,
                        const struct stage_part *part, struct shape *shape, const struct stages_visitor *visitor,
                        struct error *error)
{
    struct request_facts at = *facts;
    struct request *own = NULL;
    struct study_spec spec = {0};
    struct buffer text, candidate;
    struct shape from = *shape;
    buffer_init(&text);
    buffer_init(&candidate);
    at.parent = from;
    if (part->chain > 0) request_baseline(stages, part, from.layers, &candidate);
    if (candidate.failed) no_memory(error);
    else request_part(request, stages, part, request->checkpoint, part->chain > 0 ? candidate.data : NULL, &text, error);
    if (!error->code && request_new(&own, text.data, text.length, error) == 0
        && request_resolve(own, &at, &spec, error) == 0 && end_shape(&spec, &from, shape, error) == 0)
        visitor->visit(visitor->context, part, &spec, &from, error);
    study_spec_fini(&spec);
    request_free(own);
    buffer_fini(&candidate);
    buffer_fini(&text);
    return (int)error->code;
}

int request_resolve_stages(const struct request *request, const struct request_facts *facts, struct stages *stages,
                           const struct stages_visitor *visitor, struct error *error)
{
    int code = request_stages(request, &facts->parent, stages, error);
    for (int chain = 0; !code && chain < stages_chains(stages); chain++) {
        struct stage_part part = stages_first(chain);
        struct shape shape = facts->parent;
        do {
            struct error found = {0};
            if (chain == 0 && !part.search) continue;       /* one of the search's own candidates */
            if (resolve_part(request, facts, stages, &part, &shape, visitor, &found)) code = blame_stage(&part, &found, error);
        } while (!code && stages_next(stages, &part));
    }
    return code;
}

/* ---- the echo ---- */

/* Of what the first stage's echo says, this belongs to it alone. */
static bool echo_fill(cJSON *echo, const struct request *request, const struct stages *stages)
{
    static const char *const of_first[] = {"candidates", "target", "max_candidates", NULL};
    static const char *const of_schedule[] = {"warmup_steps", "decay_steps", NULL};
    static const char *const kept[] = {"candidates", "max_candidates", "baselines"};
    const cJSON *training = json_member(request->tree, "training");
    cJSON *list = cJSON_CreateArray(), *schedule = cJSON_GetObjectItemCaseSensitive(
                                                     cJSON_GetObjectItemCaseSensitive(echo, "training"), "schedule");
    members_drop(echo, of_first);
    for (int i = 0; of_schedule[i]; i++)
        if (!json_member(json_member(training, "schedule"), of_schedule[i]))
            cJSON_DeleteItemFromObjectCaseSensitive(schedule, of_schedule[i]);
    cJSON *selection = cJSON_GetObjectItemCaseSensitive(echo, "selection");
    const cJSON *cap = json_member(json_member(request->tree, "selection"), "max_k");
    cJSON_DeleteItemFromObjectCaseSensitive(selection, "max_k");
    if (cap && !member_put(selection, "max_k", cJSON_CreateNumber(cap->valuedouble))) {
        cJSON_Delete(list);
        return false;
    }
    if (!member_put(echo, "stages", list)) return false;
    for (int i = 0; i < stages->count; i++) {
        cJSON *stage = cJSON_CreateObject();
        if (!stage || !cJSON_AddItemToArray(list, stage)) {
            cJSON_Delete(stage);
            return false;
        }
        if (!member_put(stage, "layers", cJSON_CreateNumber(stages->of[i].layers))
            || !member_put(stage, "steps", cJSON_CreateNumber((double)stages->of[i].steps)))
            return false;
    }
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        const cJSON *node = json_member(request->tree, kept[i]);
        if (node && !member_put(echo, kept[i], cJSON_Duplicate(node, true))) return false;
    }
    return member_put(object_at(echo, "training"), "steps", cJSON_CreateNumber((double)stages_steps(stages)));
}

int request_staged_echo(const struct request *request, const struct stages *stages, const struct study_spec *first,
                        struct buffer *out, struct error *error)
{
    struct buffer text;
    cJSON *echo = NULL;
    buffer_init(&text);
    request_echo(first, &text);
    if (!text.failed) echo = cJSON_ParseWithLength(text.data, text.length);
    if (echo && echo_fill(echo, request, stages)) json_write(out, echo);
    else no_memory(error);
    cJSON_Delete(echo);
    buffer_fini(&text);
    return out->failed ? no_memory(error) : (int)error->code;
}
