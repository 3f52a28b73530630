#include "api/curves.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/json.h"
#include "base/memory.h"

enum { BLOCKS_MAX = 4096, POINTS_MAX = 200000 };
static const double block_nats = 1e-5, loss_most = 1e6, step_most = 1e9;

/* A number of `object` within bounds; absent or null: *value stays. */
static int take_number(const cJSON *object, const char *name, double least, double most, bool whole, double *value,
                       const struct place *place, struct error *error)
{
    const cJSON *node = json_member(object, name);
    if (!node || cJSON_IsNull(node))
        return 0;
    if (!cJSON_IsNumber(node) || !(node->valuedouble >= least && node->valuedouble <= most)
        || (whole && !json_is_integer(node)))
        return refuse_member(error, place, name, "%s must be a%s number from %.15g to %.15g", name, whole ? " whole" : "", least,
                             most);
    *value = node->valuedouble;
    return 0;
}

/* ---- the head: what the decisions look at besides the curves */

/* The longest ramp of the operators: no rule stops before it ends. */
static double longest_ramp(const cJSON *request)
{
    const cJSON *candidate, *operator;
    double longest = 0;
    cJSON_ArrayForEach(candidate, json_member(request, "candidates"))
        cJSON_ArrayForEach(operator, json_member(candidate, "operators")) {
            const cJSON *ramp = json_member(operator, "ramp_steps");
            if (json_is_integer(ramp) && ramp->valuedouble > longest && ramp->valuedouble <= step_most)
                longest = ramp->valuedouble;
        }
    return longest;
}

static int read_head(const cJSON *tree, struct replay *replay, struct error *error)
{
    const cJSON *request = json_member(tree, "request"), *training = json_member(request, "training");
    const cJSON *selection = json_member(request, "selection"), *rank_by = json_member(selection, "rank_by");
    struct place place = { 0 };
    double steps = 0, batch = 1, context = 1, seed = 1, warmup = 0, confidence = 0.95, tokens = NAN;
    place_enter(&place, "request");
    size_t outer = place_enter(&place, "training");
    if (!json_member(training, "steps"))
        return refuse_member(error, &place, "steps", "the horizon of the run is needed: request.training.steps");
    take_number(training, "steps", 1, step_most, true, &steps, &place, error);
    take_number(training, "batch", 1, step_most, true, &batch, &place, error);
    take_number(training, "context", 1, step_most, true, &context, &place, error);
    take_number(training, "seed", 0, 9007199254740992.0, true, &seed, &place, error);
    place_enter(&place, "schedule");
    take_number(json_member(training, "schedule"), "warmup_steps", 0, step_most, true, &warmup, &place, error);
    place_leave(&place, outer);
    place_enter(&place, "selection");
    take_number(selection, "confidence", 0.5, 0.999999, false, &confidence, &place, error);
    if (rank_by && (!cJSON_IsString(rank_by) || choice_index(rank_by->valuestring, "loss|predicted") < 0))
        refuse_member(error, &place, "rank_by", "rank_by must be loss or predicted");
    place = (struct place){ 0 };
    take_number(tree, "tokens_per_step", 1, 1e15, false, &tokens, &place, error);
    if (error->code)
        return (int)error->code;
    replay->spec.training.steps = (uint64_t)steps;
    replay->spec.training.batch = (int)fmin(batch, 1e9);
    replay->spec.training.context = (int)fmin(context, 1e9);
    replay->spec.training.seed = (uint64_t)seed;
    replay->spec.training.schedule.warmup_steps = (uint64_t)warmup;
    replay->spec.selection.confidence = confidence;
    replay->spec.selection.rank_by = rank_by ? (enum rank_by)choice_index(rank_by->valuestring, "loss|predicted") : RANK_BY_LOSS;
    replay->spec.selection.k_min = (uint64_t)fmax(fmax(2 * warmup, 50), longest_ramp(request));
    replay->study.tokens_per_step = isnan(tokens) ? batch * context : tokens;
    return 0;
}

/* ---- points */

/* A loss: null where it was not finite. */
static int take_loss(const cJSON *point, const char *name, double *loss, const struct place *place, struct error *error)
{
    const cJSON *node = json_member(point, name);
    *loss = NAN;
    if (!node)
        return refuse_member(error, place, name, "%s is missing", name);
    return take_number(point, name, -loss_most, loss_most, false, loss, place, error);
}

static int take_blocks(const cJSON *point, int windows, float *losses, const struct place *place, struct error *error)
{
    const cJSON *blocks = json_member(point, "blocks"), *block;
    int count = 0;
    if ((blocks ? cJSON_GetArraySize(blocks) : 0) != windows || (blocks && !cJSON_IsArray(blocks)))
        return refuse_member(error, place, "blocks", "every point must have as many blocks as the first, %d", windows);
    cJSON_ArrayForEach(block, blocks) {
        if (!cJSON_IsNull(block) && (!cJSON_IsNumber(block) || fabs(block->valuedouble) > loss_most / block_nats))
            return refuse_member(error, place, "blocks", "block %d must be a number of 1e-5 nats", count);
        losses[count++] = cJSON_IsNull(block) ? NAN : (float)(block->valuedouble * block_nats);
    }
    return 0;
}

static int take_point(const cJSON *node, struct curve *curve, float *losses, const struct place *place,
                      struct error *error)
{
    struct point point = { .losses = losses };
    const struct point *last = curve_last(curve);
    double step = -1, tokens = 0;
    point.flops = point.standard_error = point.learning_rate = NAN;
    if (!cJSON_IsObject(node))
        return refuse(error, place, "a point must be an object, not %s", json_kind(node));
    if (!json_member(node, "step"))
        return refuse_member(error, place, "step", "step is missing");
    if (take_number(node, "step", 0, step_most, true, &step, place, error) || step < 0
        || take_number(node, "tokens", 0, 1e18, false, &tokens, place, error)
        || take_number(node, "flops", 0, 1e300, false, &point.flops, place, error)
        || take_loss(node, "loss", &point.loss, place, error) || take_loss(node, "raw_loss", &point.raw_loss, place, error)
        || take_blocks(node, curve->windows, losses, place, error))
        return error->code ? (int)error->code : refuse_member(error, place, "step", "step must be a number");
    if (last && (double)last->step >= step)
        return refuse_member(error, place, "step", "steps must rise; %.0f comes after %.0f", step, (double)last->step);
    point.step = (uint64_t)step;
    point.tokens = (uint64_t)tokens;
    return curve_append(curve, &point, error);
}

/* ---- candidates */

static bool is_taken(const struct replay *replay, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(replay->spec.candidates[i].name, name) == 0)
            return true;
    return false;
}

static int take_candidate(const cJSON *node, struct replay *replay, int i, float *losses, struct place *place,
                          struct error *error)
{
    const cJSON *name = json_member(node, "candidate"), *points = json_member(node, "points"), *point;
    double flops = 0;
    if (!cJSON_IsString(name) || !*name->valuestring || strlen(name->valuestring) > SPEC_NAME_MAX)
        return refuse_member(error, place, "candidate", "a candidate needs a name of 1 to %d characters", SPEC_NAME_MAX);
    if (is_taken(replay, i, name->valuestring))
        return refuse_member(error, place, "candidate", "\"%s\" is there twice", shown_text(name->valuestring).text);
    if (!cJSON_IsArray(points) || cJSON_GetArraySize(points) > POINTS_MAX)
        return refuse_member(error, place, "points", "points must be a list of at most %d", POINTS_MAX);
    if (take_number(node, "flops_per_token", 0, 1e300, false, &flops, place, error))
        return (int)error->code;
    snprintf(replay->spec.candidates[i].name, sizeof replay->spec.candidates[i].name, "%s", name->valuestring);
    replay->study.candidates[i].flops_per_token = flops;
    size_t outer = place_enter(place, "points");
    int index = 0;
    cJSON_ArrayForEach(point, points) {
        size_t inner = place_enter_index(place, index++);
        if (take_point(point, &replay->study.candidates[i].curve, losses, place, error))
            return (int)error->code;
        place_leave(place, inner);
    }
    place_leave(place, outer);
    return 0;
}

/* Blocks of the first point that there is. */
static int count_windows(const cJSON *candidates)
{
    const cJSON *candidate;
    cJSON_ArrayForEach(candidate, candidates) {
        const cJSON *point = cJSON_GetArrayItem(json_member(candidate, "points"), 0);
        if (point)
            return cJSON_GetArraySize(json_member(point, "blocks"));
    }
    return 0;
}

static int take_candidates(const cJSON *candidates, struct replay *replay, int windows, struct error *error)
{
    struct place place = { 0 };
    float *losses = memory_array((size_t)windows, sizeof *losses);
    const cJSON *candidate;
    int index = 0;
    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the curves");
    place_enter(&place, "candidates");
    cJSON_ArrayForEach(candidate, candidates) {
        size_t outer = place_enter_index(&place, index);
        if (take_candidate(candidate, replay, index++, losses, &place, error))
            break;
        place_leave(&place, outer);
    }
    memory_free(losses);
    return (int)error->code;
}

static int read_tree(const cJSON *tree, struct replay *replay, struct error *error)
{
    const cJSON *candidates = json_member(tree, "candidates");
    if (!cJSON_IsArray(candidates))
        return error_set_at(error, ERROR_INVALID, "/candidates", "curves need a list of candidates; `lag run --out DIR` writes "
                            "curves.json");
    int windows = count_windows(candidates);
    if (windows > BLOCKS_MAX)
        return error_set_at(error, ERROR_INVALID, "/candidates/0/points/0/blocks", "at most %d blocks", BLOCKS_MAX);
    int failed = replay_init(replay, cJSON_GetArraySize(candidates), windows, error);
    if (failed)
        return failed;
    failed = read_head(tree, replay, error);
    if (!failed)
        failed = take_candidates(candidates, replay, windows, error);
    if (!failed)
        failed = replay_finish(replay, UINT64_MAX, error);
    if (failed)
        replay_fini(replay);
    return failed;
}

int curves_read(const char *text, size_t length, struct replay *replay, struct error *error)
{
    struct error own = { 0 };
    cJSON *tree = NULL;
    if (!error)
        error = &own;
    if (json_read_most(text, length, CURVES_BYTES_MAX, &tree, error))
        return (int)error->code;
    int failed = read_tree(tree, replay, error);
    cJSON_Delete(tree);
    return failed;
}

/* ---- the truth */

static void finals_of_curves(const struct replay *from, const struct replay *replay, double *finals)
{
    uint64_t last = replay_last(from);
    for (int i = 0; i < replay->spec.candidate_count; i++)
        for (int j = 0; j < from->spec.candidate_count; j++)
            if (strcmp(replay->spec.candidates[i].name, from->spec.candidates[j].name) == 0 && replay_has(from, j, last))
                finals[i] = curve_at(&from->study.candidates[j].curve, last)->raw_loss;
}

static int finals_of_object(const cJSON *tree, const struct replay *replay, double *finals, struct error *error)
{
    struct place place = { 0 };
    for (int i = 0; i < replay->spec.candidate_count; i++)
        if (take_number(tree, replay->spec.candidates[i].name, -loss_most, loss_most, false, &finals[i], &place, error))
            return (int)error->code;
    return 0;
}

int curves_read_finals(const char *text, size_t length, const struct replay *replay,
                       double finals[SPEC_CANDIDATES_MAX], struct error *error)
{
    struct error own = { 0 };
    cJSON *tree = NULL;
    int known = 0;
    if (!error)
        error = &own;
    for (int i = 0; i < SPEC_CANDIDATES_MAX; i++)
        finals[i] = NAN;
    if (json_read_most(text, length, CURVES_BYTES_MAX, &tree, error))
        return (int)error->code;
    if (cJSON_IsArray(json_member(tree, "candidates"))) {
        struct replay from;
        if (read_tree(tree, &from, error) == 0) {
            finals_of_curves(&from, replay, finals);
            replay_fini(&from);
        }
    } else {
        finals_of_object(tree, replay, finals, error);
    }
    cJSON_Delete(tree);
    for (int i = 0; i < replay->spec.candidate_count; i++)
        known += !isnan(finals[i]);
    if (!error->code && !known)
        return error_set(error, ERROR_INVALID, "it has no final loss of any of these candidates; give their whole curves, or "
                         "{\"name\": loss, …}");
    return (int)error->code;
}
