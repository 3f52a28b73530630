#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "api/learner_steps.h"
#include "api/request_parts.h"

static bool schedule_has(const cJSON *training, const char *name)
{
    return json_member(json_member(training, "schedule"), name) != NULL;
}

/* What follows from the optimizer and the schedule, where the request does not say it. */
static void training_follow(struct training *training, const cJSON *node, const struct shape *shape)
{
    const enum optimizer_name optimizer = training->optimizer.name;
    struct schedule_spec *schedule = &training->schedule;
    if (!json_member(node, "learning_rate") && !(schedule->name == SCHEDULE_POWER && schedule_has(node, "maximum")))
        training->learning_rate = training_default_rate(optimizer, schedule->name, shape->width);
    if (!json_member(node, "clip")) training->clip = training_default_clip(optimizer);
    if (!json_member(json_member(node, "average"), "kind"))
        training->average.kind = training_default_average(optimizer);
    if (optimizer_is_schedule_free(optimizer) && training->optimizer.decoupling <= 0)
        training->optimizer.decoupling = 1 / (1 - optimizer_beta(&training->optimizer));
    if (!schedule_has(node, "warmup_steps")) schedule->warmup_steps = training_default_warmup(training->steps);
    if (!schedule_has(node, "decay_steps")) schedule->decay_steps = training_default_decay(training->steps);
    schedule->tokens_known = schedule_has(node, "tokens_seen");
}

static void training_cross_check(const struct training *training, const cJSON *node, int positions, struct place *place,
                                 struct error *error)
{
    const struct schedule_spec *schedule = &training->schedule;
    const cJSON *average = json_member(node, "average");
    unsigned long long steps = training->steps, warmup = schedule->warmup_steps, decay = schedule->decay_steps;
    if (training->context > positions)
        refuse_member(error, place, "context",
                      "context %d is longer than the checkpoint's %d positions; use at most %d", training->context,
                      positions, positions);
    size_t outer = place_enter(place, "schedule");
    if (warmup > steps)
        refuse_member(error, place, "warmup_steps",
                      "warmup_steps %llu is longer than the %llu steps of the run; use at "
                      "most %llu or raise training.steps",
                      warmup, steps, steps);
    else if ((schedule->name == SCHEDULE_WSD || schedule->name == SCHEDULE_POWER) && decay > steps - warmup)
        refuse_member(error, place, "decay_steps",
                      "decay_steps %llu and warmup_steps %llu together exceed the %llu steps "
                      "of the run; use at most %llu or raise training.steps",
                      decay, warmup, steps, steps - warmup);
    const cJSON *rate = json_member(node, "learning_rate"), *maximum = json_member(json_member(node, "schedule"), "maximum");
    if (rate && maximum && schedule->name == SCHEDULE_POWER && (rate->valuedouble < maximum->valuedouble ||
                                                                rate->valuedouble > maximum->valuedouble))
        refuse_member(error, place, "maximum", "maximum %g and learning_rate %g both say the largest rate of the power schedule; "
                      "leave one of them out", maximum->valuedouble, rate->valuedouble);
    place_leave(place, outer);
    outer = place_enter(place, "average");
    if (json_member(average, "fraction") && training->average.kind != AVERAGE_WINDOW)
        refuse_member(error, place, "fraction", "fraction belongs to the kind window; leave it out");
    if (json_member(average, "decay") && training->average.kind != AVERAGE_EMA)
        refuse_member(error, place, "decay", "decay belongs to the kind ema; leave it out or use fraction");
    place_leave(place, outer);
}

int training_resolve(const cJSON *node, const struct shape *shape, int positions, struct study_spec *spec,
                     struct place *place, struct error *error)
{
    struct training *training = &spec->training;
    struct shape trained = *shape;
    trained.context = positions;
    const struct objective_spec objective = training->objective;    /* of the data object */
    *training = training_defaults(shape);
    training->objective = objective;
    fields_store(node, "/training", spec);
    int code = named_store(&NAMED_OPTIMIZER, json_member(node, "optimizer"), training, error);
    if (!code) code = named_store(&NAMED_SCHEDULE, json_member(node, "schedule"), training, error);
    if (code) return code;
    training_follow(training, node, shape);
    learner_steps_follow(node, training, place, error);
    training_cross_check(training, node, positions, place, error);
    if (error->code) return (int)error->code;
    /* the trainer's own word on its values: nothing that passes here is refused when training starts */
    code = training_check(training, &trained, error);
    if (code) error_prefix_pointer(error, place->text);
    return code;
}

static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void selection_resolve(const cJSON *node, struct study_spec *spec)
{
    const struct training *training = &spec->training;
    const cJSON *k = json_member(node, "k");
    uint64_t twentieth = (training->steps + 19) / 20;
    spec->selection = (struct spec_selection){
        .k_auto = !cJSON_IsNumber(k),
        .max_k = smaller(training->steps, larger(1000, twentieth)),
        .k_min = larger(2 * training->schedule.warmup_steps, 50),
        .valid_tokens = 100000,
        .raw_share = 0.25,
        .confidence = 0.95,
        .rank_by = RANK_BY_LOSS,
    };
    fields_store(node, "/selection", spec);
    if (spec->selection.k_auto) return;
    spec->selection.k = (uint64_t)k->valuedouble;
    spec->selection.max_k = spec->selection.k;
}

static void text_set(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

/* The power schedule goes on where the lineage is. */
static void tokens_resolve(struct schedule_spec *schedule, const struct request_facts *facts)
{
    if (schedule->tokens_known || !facts->tokens_seen_known) return;
    schedule->tokens_seen = schedule->name == SCHEDULE_POWER ? facts->tokens_seen : 0;
    schedule->tokens_known = true;
}

static int spec_fill(const struct request *request, const struct request_facts *facts, struct study_spec *spec,
                     struct error *error)
{
    struct place place = {0};
    text_set(spec->name, sizeof spec->name, "study");
    spec->keep = KEEP_TOP;
    spec->keep_top = 3;
    spec->training.objective = objective_defaults(facts->parent.family);
    spec->landscape = landscape_defaults(json_member(request->tree, "landscape") != NULL);
    fields_store(request->tree, "", spec);
    text_set(spec->checkpoint, sizeof spec->checkpoint, request->checkpoint);
    text_set(spec->data.train, sizeof spec->data.train, request->train);
    text_set(spec->data.valid, sizeof spec->data.valid, request->valid);
    spec->data.format = facts->format;
    const cJSON *keep = json_member(request->tree, "keep");
    if (keep) keep_parse(keep->valuestring, &spec->keep, &spec->keep_top);
    place_enter(&place, "training");
    /* its context is measured against the grown candidates, by plans_check */
    int code = training_resolve(json_member(request->tree, "training"), &facts->parent, INT_MAX, spec, &place, error);
    if (code && code != ERROR_INVALID) return code;
    tokens_resolve(&spec->training.schedule, facts);
    const cJSON *selection = json_member(request->tree, "selection");
    selection_resolve(selection, spec);
    selection_check(spec, selection, error);
    landscape_check(spec, json_member(request->tree, "landscape"), error);
    data_check(spec, facts, error);
    code = candidates_resolve(json_member(request->tree, "candidates"), &facts->parent, spec, error);
    if (code && code != ERROR_INVALID) return code;
    code = partners_join(request, facts, spec, error);
    if (code && code != ERROR_INVALID) return code;
    return plans_check(spec, &facts->parent, error);
}

int request_resolve(const struct request *request, const struct request_facts *facts, struct study_spec *spec,
                    struct error *error)
{
    struct error own = {0};
    if (!error) error = &own;
    *spec = (struct study_spec){0};
    int code = spec_fill(request, facts, spec, error);
    if (!code) code = (int)error->code;
    if (code) study_spec_fini(spec);
    return code;
}
