/* Rounds: what may run next, and when a barrier is decided. All by steps, never by who finished first. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "study/agreement.h"
#include "study/study.h"

bool study_is_barrier(const struct study *study, uint64_t step)
{
    if (study->grid.count == 0 || step == 0)
        return false;
    uint64_t last = study->grid.steps[study->grid.count - 1];
    return step == last || (step >= study->spec->selection.k_min && grid_is_geometric(&study->grid, step));
}

bool study_measures(const struct study *study, uint64_t step)
{
    const struct grid *grid = &study->grid;
    const struct landscape_spec *landscape = &study->spec->landscape;
    uint64_t before = 0;
    if (!landscape->asked || !grid_has(grid, step))
        return false;
    if (step == 0 || step == grid->steps[grid->count - 1])
        return true;
    for (int i = 0; grid->steps[i] < step; i++)
        before = grid->steps[i];
    return landscape->every > 0 && step / landscape->every > before / landscape->every;
}

static bool is_decided(const struct study *study, uint64_t step)
{
    return study->decision_count > 0 && step <= study->decisions[study->decision_count - 1].step;
}

static uint64_t last_step(const struct study *study)
{
    return study->grid.steps[study->grid.count - 1];
}

static bool may_work(const struct study *study, const struct candidate *candidate)
{
    return !study->finished && candidate->same_as < 0 &&
           (candidate->state == CANDIDATE_PENDING || candidate->state == CANDIDATE_RUNNING ||
            candidate->state == CANDIDATE_INTERRUPTED);
}

struct work study_candidate_work(const struct study *study, int candidate)
{
    const struct candidate *it = &study->candidates[candidate];
    struct work work = { WORK_NONE, candidate, it->step };
    if (!may_work(study, it))
        return work;
    if (grid_has(&study->grid, it->step) && !curve_at(&it->curve, it->step)) {
        work.kind = WORK_EVALUATE;
    } else if (it->step < last_step(study) &&
               !(study_is_barrier(study, it->step) && !is_decided(study, it->step))) {
        work.kind = WORK_TRAIN;
        work.step = grid_next(&study->grid, it->step);
    }
    return work;
}

struct work study_next_work(const struct study *study, const bool *busy)
{
    struct work next = { WORK_NONE, -1, 0 };
    uint64_t fewest = 0;
    for (int i = 0; i < study->spec->candidate_count; i++) {
        if (busy[i])
            continue;
        struct work work = study_candidate_work(study, i);
        if (work.kind == WORK_NONE || (next.kind != WORK_NONE && study->candidates[i].step >= fewest))
            continue;
        next = work;
        fewest = study->candidates[i].step;
    }
    return next;
}

/* The first barrier after the last decided one; 0: none is left. */
static uint64_t next_barrier(const struct study *study)
{
    uint64_t decided = study->decision_count ? study->decisions[study->decision_count - 1].step : 0;
    for (uint64_t step = decided; step < last_step(study);) {
        step = grid_next(&study->grid, step);
        if (study_is_barrier(study, step))
            return step;
    }
    return 0;
}

enum readiness { NOT_READY, READY, ALL_DEAD };

/* Every live trial has its point at `step`? */
static enum readiness barrier_readiness(const struct study *study, uint64_t step)
{
    int takes_part = 0;
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct candidate *it = &study->candidates[i];
        if (it->same_as >= 0)
            continue;
        if (study_takes_part(study, i, step))
            takes_part++;
        else if (!candidate_is_dead(it))
            return NOT_READY;
    }
    return takes_part ? READY : ALL_DEAD;
}

static bool settles(const struct decision *decision)
{
    return decision->holds && decision->knees_passed;
}

/* The rule has settled at decision i: held there and at the one before, every knee passed. A candidate alone has no
 * order to wait for: one point is enough. */
static bool settled_at_index(const struct study *study, int i)
{
    const struct decision *decision = &study->decisions[i];
    return settles(decision) && (decision->live == 1 || (i > 0 && study->decisions[i - 1].holds));
}

bool study_transition(const struct study *study, uint64_t *step, uint64_t *settled_at)
{
    for (int i = 0; i < study->decision_count; i++) {
        if (!settled_at_index(study, i))
            continue;
        *step = study->decisions[study->decisions[i].live == 1 ? i : i - 1].step;
        if (settled_at)
            *settled_at = study->decisions[i].step;
        return true;
    }
    return false;
}

static int decisions_reserve(struct study *study, struct error *error)
{
    if (study->decision_count < study->decision_capacity)
        return 0;
    int capacity = study->decision_capacity ? 2 * study->decision_capacity : 16;
    struct decision *decisions = memory_resize(study->decisions, (size_t)capacity * sizeof *decisions);
    if (!decisions)
        return error_set(error, ERROR_NO_MEMORY, "no memory for %d decisions", capacity);
    study->decisions = decisions;
    study->decision_capacity = capacity;
    return 0;
}

/* A copy takes the state of the candidate that was trained for both. */
static void finish(struct study *study, uint64_t step)
{
    study->finished = true;
    for (int i = 0; i < study->spec->candidate_count; i++) {
        struct candidate *it = &study->candidates[i];
        if (it->same_as >= 0) {
            const struct candidate *twin = &study->candidates[it->same_as];
            it->state = twin->state;
            it->diverged_step = twin->diverged_step;
            memcpy(it->reason, twin->reason, sizeof it->reason);
        } else if (study_takes_part(study, i, step) && !candidate_is_dead(it)) {
            it->state = CANDIDATE_COMPLETED;
        }
    }
}

static enum decision_kind kind_of(const struct study *study, uint64_t step)
{
    uint64_t transition;
    bool settled = study_transition(study, &transition, NULL), last = step == last_step(study);
    if (settled && (last || study->spec->selection.k_auto))
        return DECISION_SETTLED;
    return last ? DECISION_PROVISIONAL : DECISION_CONTINUE;
}

struct decision study_decide(struct study *study, struct error *error)
{
    struct decision none = { .kind = DECISION_NONE, .agreement = NAN, .best_now = -1, .best_predicted = -1 };
    uint64_t step = study->finished ? 0 : next_barrier(study);
    enum readiness readiness = step ? barrier_readiness(study, step) : NOT_READY;
    if (readiness == NOT_READY || decisions_reserve(study, error))
        return none;

    struct decision decision = none;
    if (readiness == ALL_DEAD) {
        decision.kind = DECISION_FAILED;
        decision.step = step;
        snprintf(decision.reason, sizeof decision.reason,
                 "No candidate is left: all have diverged or failed. "
                 "A lower learning rate or a longer warm-up may help.");
        study->decisions[study->decision_count++] = decision;
    } else {
        if (agreement_judge(study, step, &decision, error))
            return none;
        study->decisions[study->decision_count++] = decision;
        decision.kind = kind_of(study, step);
        study->decisions[study->decision_count - 1].kind = decision.kind;
    }
    if (decision.kind != DECISION_CONTINUE)
        finish(study, step);
    return decision;
}
