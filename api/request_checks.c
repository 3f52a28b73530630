#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"
#include "growth/stage.h"
#include "study/curve.h"

void selection_check(const struct study_spec *spec, const cJSON *selection, struct error *error)
{
    const struct spec_selection *s = &spec->selection;
    const cJSON *max_k = json_member(selection, "max_k");
    unsigned long long steps = spec->training.steps, cap = s->max_k, floor = s->k_min;
    struct place place = {0};
    place_enter(&place, "selection");
    if (!s->k_auto) {
        if (s->k > steps)
            refuse_member(error, &place, "k",
                          "k must be from 1 to training.steps, %llu; the nearest valid value is %llu", steps, steps);
        if (max_k && max_k->valuedouble != (double)s->k)
            refuse_member(error, &place, "max_k", "max_k is for \"k\": \"auto\" only; with k %llu leave it out",
                          (unsigned long long)s->k);
        return;
    }
    if (cap > steps) {
        refuse_member(error, &place, "max_k",
                      "max_k must be at most training.steps, %llu; the nearest valid value is %llu", steps, steps);
    } else if (floor > cap) {
        refuse_member(error, &place, "max_k",
                      "a transition is looked for from step %llu on (twice the warm-up of %llu, at "
                      "least 50), but max_k is %llu; raise max_k%s to %llu or more, %sor give k as a number",
                      floor, (unsigned long long)spec->training.schedule.warmup_steps, cap,
                      floor > steps ? " and training.steps" : "", floor,
                      floor > 50 ? "shorten training.schedule.warmup_steps, " : "");
    }
}

void landscape_check(const struct study_spec *spec, const cJSON *landscape, struct error *error)
{
    unsigned long long every = spec->landscape.every, last = spec->selection.max_k;
    struct place place = {0};
    if (!spec->landscape.asked) return;
    place_enter(&place, "landscape");
    if (json_member(landscape, "top") && !landscape_wants(&spec->landscape, LANDSCAPE_HESSIAN))
        refuse_member(error, &place, "top", "top is for the Hessian's eigenvalues; leave it out or add \"hessian\" to what");
    if (every && last / every > GRID_REGULAR_MAX)
        refuse_member(error, &place, "every", "a measurement every %llu steps up to step %llu is more than %d points; give at "
                      "least %llu", every, last, GRID_REGULAR_MAX, last / GRID_REGULAR_MAX + 1);
}

void error_merge(struct error *error, const struct error *found)
{
    if (error->code == ERROR_NONE) {
        *error = *found;
        return;
    }
    for (int i = 0; i < found->detail_count; i++)
        error_add_detail(error, found->details[i].pointer, "%s", found->details[i].text);
}

void data_check(const struct study_spec *spec, const struct request_facts *facts, struct error *error)
{
    struct place place = {0};
    unsigned long long least = (unsigned long long)spec->training.context + 1;
    if (!spec->checkpoint[0])
        refuse_member(error, &place, "checkpoint", "checkpoint is missing: give an id (ckpt_…) or a path");
    place_enter(&place, "data");
    struct error found = {0};
    if (objective_check(&spec->training.objective, &facts->parent, spec->training.context, &found)) {
        error_prefix_pointer(&found, place.text);
        error_merge(error, &found);
    }
    if (!spec->data.train[0]) {
        refuse_member(error, &place, "train", "train is missing: give an id (data_…) or a path");
        return;
    }
    if (facts->train_tokens < least)
        refuse_member(error, &place, "train",
                      "%llu training tokens are fewer than context + 1 = %llu; give more data or a "
                      "smaller training.context",
                      (unsigned long long)facts->train_tokens, least);
    if (facts->valid_tokens < least)
        refuse_member(error, &place, spec->data.valid[0] ? "valid" : "train",
                      "%llu validation tokens are fewer than context "
                      "+ 1 = %llu; give more data or a smaller training.context",
                      (unsigned long long)facts->valid_tokens, least);
}

static void reach_check(const char *what, int wanted, int reached, const struct spec_candidate *candidate,
                        const struct place *place, struct error *error)
{
    if (!wanted || wanted == reached) return;
    refuse(error, place,
           "candidate \"%s\" ends with %s %d, the target asks for %d (%+d): change its operators or the target",
           candidate->name, what, reached, wanted, wanted - reached);
}

static void target_check(const struct study_spec *spec, int index, const struct shape *to, struct error *error)
{
    const struct spec_candidate *candidate = &spec->candidates[index];
    struct place place = {0};
    place_enter(&place, "candidates");
    place_enter_index(&place, index);
    for (int i = 0; i < TARGET_FIELD_COUNT; i++) {
        enum target_field field = (enum target_field)i;
        int wanted = target_wanted(&spec->target, field);
        reach_check(target_field_name(field), wanted, target_present(to, field, false), candidate, &place, error);
        if (field == TARGET_LAYERS && to->decoder_layers > 0)
            reach_check("decoder layers", wanted, to->decoder_layers, candidate, &place, error);
    }
}

/* A candidate is judged when its masks are gone: its ramps must end by the last step. */
static void ramps_check(struct study_spec *spec, int index, const struct growth_plan *plan, struct error *error)
{
    struct spec_selection *selection = &spec->selection;
    unsigned long long cap = selection->max_k;
    for (int i = 0; i < plan->stage_count; i++) {
        unsigned long long ramp = (unsigned long long)plan->stages[i].ramp_steps;
        char pointer[ERROR_POINTER_BYTES];
        struct error found = {0};
        if (ramp <= cap) continue;
        snprintf(pointer, sizeof pointer, "/candidates/%d/operators/%d/ramp_steps", index, i);
        error_set_at(&found, ERROR_INVALID, pointer,
                     "a ramp of %llu steps ends after the study's last step, %llu, and a candidate is judged only when its "
                     "masks are gone; use at most %llu, or raise selection.%s",
                     ramp, cap, cap, selection->k_auto ? "max_k" : "k");
        error_merge(error, &found);
    }
    if (plan->ramp_steps <= cap && plan->ramp_steps > selection->k_min) selection->k_min = plan->ramp_steps;
}

/* All candidates train on the same windows, so each must have a position for every token of one. */
static void context_check(const struct study_spec *spec, int shortest, int positions, const struct shape *parent,
                          struct error *error)
{
    struct place place = {0};
    int context = spec->training.context;
    if (context <= positions) return;
    place_enter(&place, "training");
    if (positions == parent->context)
        refuse_member(error, &place, "context",
                      "context %d is longer than the checkpoint's %d positions; use at most %d, or let every candidate "
                      "extend_context (\"%s\" does not)", context, positions, positions,
                      spec->candidates[shortest].name);
    else
        refuse_member(error, &place, "context",
                      "context %d is longer than the %d positions of candidate \"%s\"; use at most %d, or let it "
                      "extend_context further", context, positions, spec->candidates[shortest].name, positions);
}

int plans_check(struct study_spec *spec, const struct shape *parent, struct error *error)
{
    int shortest = 0, positions = INT_MAX;
    for (int i = 0; i < spec->candidate_count; i++) {
        struct growth_plan plan;
        struct error found = {0};
        char prefix[32];
        bool whole = spec->candidates[i].operators.count > 0;
        for (int j = 0; j < spec->candidates[i].operators.count; j++)
            whole &= spec->candidates[i].operators.steps[j].op != NULL;
        if (!whole) continue;    /* refused already */
        if (growth_plan_init(&plan, parent, &spec->candidates[i].operators, &found)) {
            snprintf(prefix, sizeof prefix, "/candidates/%d", i);
            error_prefix_pointer(&found, prefix);
            if (found.code != ERROR_INVALID) {
                error_clear(error);
                *error = found;
                return (int)found.code;
            }
            error_merge(error, &found);
            continue;
        }
        target_check(spec, i, &plan.to, error);
        ramps_check(spec, i, &plan, error);
        if (plan.to.context < positions) shortest = i, positions = plan.to.context;
        growth_plan_fini(&plan);
    }
    context_check(spec, shortest, positions, parent, error);
    return (int)error->code;
}
