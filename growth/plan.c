#include "growth/plan.h"

#include <stdio.h>

#include "base/memory.h"
#include "growth/stage.h"

static int check_family(const struct growth_operator *op, const struct shape *from, struct error *error)
{
    if ((op->families & (1u << from->family)) != 0)
        return 0;
    return error_set_at(error, ERROR_INVALID, "/op", "%s does not apply to models of type %s: choose another operator",
                        op->name, family_name(from->family));
}

static int check_grown(const struct growth_plan_stage *stage, struct error *error)
{
    struct error found = {0};
    int code = shape_check(&stage->to, &found);
    if (code == 0)
        return 0;
    return error_set_at(error, code, "/op", "%s would make a model that cannot be (%s): choose smaller values",
                        stage->op->name, found.message);
}

/* One operator against the shape before it. Pointers are relative to the operator. */
static int stage_init(struct growth_plan_stage *stage, const struct growth_step *step, const struct shape *from,
                      struct error *error)
{
    *stage = (struct growth_plan_stage){
        .op = step->op, .from = *from, .to = *from, .copies = 1,
        .promise = step->op->promise, .symmetry = step->op->symmetry, .norm_factor = 1,
    };
    int code = check_family(step->op, from, error);
    if (code != 0 || (code = growth_step_check_present(step, error)) != 0 ||
        (code = step->op->plan(step, from, stage, error)) != 0 ||
        (code = growth_step_check_ranges(step, error)) != 0)
        return code;
    stage->blend = growth_step_number(step, "noise");
    stage->seed = (uint64_t)growth_step_integer(step, "seed");
    if (stage->blend > 0 || stage->inexact != NULL)
        stage->promise = PROMISE_NONE;
    return check_grown(stage, error);
}

/* Behind a mask an operator's recipe for whole models promises nothing: only what is masked itself may follow. */
static int check_order(const struct growth_plan *plan, int index, struct error *error)
{
    if (plan->ramp_steps == 0 || plan->stages[index].ramp_steps > 0)
        return 0;
    return error_set_at(error, ERROR_INVALID, "/op", "%s can not grow a model whose masks are still rising: put it before "
                        "the operators that grow behind masks", plan->stages[index].op->name);
}

static void plan_warn(struct growth_plan *plan, int index, const char *text)
{
    int limit = (int)(sizeof plan->warnings / sizeof plan->warnings[0]);
    if (plan->warning_count < limit)
        snprintf(plan->warnings[plan->warning_count++], sizeof plan->warnings[0], "operators/%d (%s): %s", index,
                 plan->stages[index].op->name, text);
}

/* Noise on the hidden matrices separates copies made before it as well. */
static bool separates(const struct growth_plan_stage *stage)
{
    return stage->blend > 0 || stage->noisy;
}

/* How often a unit of the stream stands in the grown one, on average: what new steps of all copies move at once. */
static double stream_copies(const struct growth_plan_stage *stage)
{
    const struct unit_map *map = &stage->units[UNIT_WIDTH];
    int copies = 0;
    if (map->source == NULL || stage->partner != NULL)
        return 1;
    for (int unit = 0; unit < map->count; unit++)
        copies += map->source[unit] >= 0;
    return (double)copies / stage->from.width;
}

static void plan_summarize(struct growth_plan *plan)
{
    plan->promise = PROMISE_EXACT;
    plan->width_factor = 1;
    for (int i = 0; i < plan->stage_count; i++) {
        const struct growth_plan_stage *stage = &plan->stages[i];
        if (stage->promise != PROMISE_EXACT)
            plan->promise = PROMISE_NONE;
        plan->width_factor *= stream_copies(stage);
        bool kept = stage->symmetry == SYMMETRY_KEPT;
        for (int j = i; j < plan->stage_count; j++)
            kept = kept && !separates(&plan->stages[j]);
        plan->symmetric = plan->symmetric || kept;
        if (kept)
            plan_warn(plan, i, stage->op->symmetry_note);
        if (stage->inexact != NULL)
            plan_warn(plan, i, stage->inexact);
        if (stage->ramp_steps > 0)
            plan_warn(plan, i, "masks rise until the ramp's last step: before it the model has no standard file");
        if (stage->blend > 0 && stage->op->promise == PROMISE_EXACT)
            plan_warn(plan, i, "noise above 0 changes the function that the operator would preserve");
    }
}

int growth_plan_init(struct growth_plan *plan, const struct shape *from, const struct growth_list *list,
                     struct error *error)
{
    *plan = (struct growth_plan){.from = *from, .to = *from};
    if (list->count <= 0 || list->count > GROWTH_STEPS_MAX)
        return error_set_at(error, ERROR_INVALID, "/operators", "a candidate needs from 1 to %d operators, not %d",
                            GROWTH_STEPS_MAX, list->count);
    plan->stages = memory_array((size_t)list->count, sizeof *plan->stages);
    if (plan->stages == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a plan of %d operators", list->count);
    for (int i = 0; i < list->count; i++) {
        plan->stage_count = i + 1;
        struct error found = {0};
        int code = stage_init(&plan->stages[i], &list->steps[i], &plan->to, &found);
        if (code == 0)
            code = check_order(plan, i, &found);
        if (code != 0) {
            char prefix[ERROR_POINTER_BYTES];
            snprintf(prefix, sizeof prefix, "/operators/%d", i);
            error_prefix_pointer(&found, prefix);
            growth_plan_fini(plan);
            if (error != NULL && error->code == ERROR_NONE)
                *error = found;
            return code;
        }
        plan->to = plan->stages[i].to;
        if ((uint64_t)plan->stages[i].ramp_steps > plan->ramp_steps)
            plan->ramp_steps = (uint64_t)plan->stages[i].ramp_steps;
    }
    plan_summarize(plan);
    return 0;
}

int growth_plan_learns(const struct growth_plan *plan)
{
    for (int i = 0; i < plan->stage_count; i++)
        if (plan->stages[i].learned_steps > 0)
            return i;
    return -1;
}

void growth_plan_fini(struct growth_plan *plan)
{
    for (int i = 0; i < plan->stage_count; i++)
        growth_stage_fini(&plan->stages[i]);
    memory_free(plan->stages);
    *plan = (struct growth_plan){0};
}
