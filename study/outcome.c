#include "study/outcome.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "study/agreement.h"
#include "study/bootstrap.h"
#include "study/knee.h"
#include "study/rank_ties.h"
#include "study/statistics.h"

/* The step to rank at: where the study ended, or the last step that all live candidates share. False: there is none. */
static bool ranking_step(const struct study *study, uint64_t *step)
{
    bool found = false;
    if (study->finished) {
        *step = study->decisions[study->decision_count - 1].step;
        return study->decisions[study->decision_count - 1].kind != DECISION_FAILED;
    }
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        if (candidate->same_as >= 0 || candidate_is_dead(candidate))
            continue;
        const struct point *last = curve_last(&candidate->curve);
        if (!last)
            return false;
        if (!found || last->step < *step)
            *step = last->step;
        found = true;
    }
    return found;
}

static int outcome_alloc(struct study_outcome *outcome, const struct study *study, struct error *error)
{
    size_t count = (size_t)study->spec->candidate_count;
    *outcome = (struct study_outcome){ .choice = -1 };
    outcome->ranking.rows = memory_array(count, sizeof *outcome->ranking.rows);
    outcome->knees = memory_array(count, sizeof *outcome->knees);
    outcome->warnings = memory_array(OUTCOME_WARNINGS_EACH * count + OUTCOME_WARNINGS_EXTRA, sizeof *outcome->warnings);
    if (outcome->ranking.rows && outcome->knees && outcome->warnings)
        return 0;
    study_outcome_fini(outcome);
    return error_set(error, ERROR_NO_MEMORY, "no memory for a ranking of %zu candidates", count);
}

/* Knees are those up to k; of candidates that ended earlier, up to their end. */
static void fill_knees(struct assembly *assembly)
{
    const struct study *study = assembly->study;
    uint64_t until = assembly->contest.count ? assembly->outcome->k : UINT64_MAX;
    for (int i = 0; i < study->spec->candidate_count; i++) {
        int trained = study->candidates[i].same_as >= 0 ? study->candidates[i].same_as : i;
        assembly->outcome->knees[i] = knee_of_candidate(study, trained, until).step;
    }
}

/* Spearman of the averaged losses at an earlier step with the scores at k; NaN for fewer than 3 (contract 4). */
static double agreement_with_start(const struct assembly *assembly, uint64_t step)
{
    const struct contest *contest = &assembly->contest;
    double losses[SPEC_CANDIDATES_MAX];
    if (contest->count < 3)
        return NAN;
    for (int p = 0; p < contest->count; p++) {
        const struct point *point = curve_at(&assembly->study->candidates[contest->candidates[p]].curve, step);
        if (!point)
            return NAN;
        losses[p] = point->loss;
    }
    return correlation_spearman(losses, contest->scores, contest->count);
}

static void fill_summary(struct assembly *assembly)
{
    struct study_outcome *outcome = assembly->outcome;
    const struct study *study = assembly->study;
    const struct decision *last = study->decision_count ? &study->decisions[study->decision_count - 1] : NULL;
    outcome->settled = last && last->kind == DECISION_SETTLED;
    outcome->has_transition = study_transition(study, &outcome->transition_step, NULL);
    outcome->agreement = assembly->contest.count ? assembly->verdict.agreement : NAN;
    outcome->rank_agreement_at_0 = agreement_with_start(assembly, 0);
    outcome->rank_agreement_at_transition =
        outcome->has_transition ? agreement_with_start(assembly, outcome->transition_step) : NAN;
}

static int assemble(struct assembly *assembly, struct error *error)
{
    struct study_outcome *outcome = assembly->outcome;
    const struct study_spec *spec = assembly->study->spec;
    if (assembly->contest.count) {
        contest_order(&assembly->contest, assembly->study, assembly->order);
        ties_assign(&assembly->contest, assembly->order, spec->selection.confidence, assembly->groups);
        if (bootstrap_best(&assembly->contest, spec->training.seed, assembly->p_best, error) ||
            agreement_judge(assembly->study, outcome->k, &assembly->verdict, error))
            return ERROR_NO_MEMORY;
    }
    fill_knees(assembly);
    fill_summary(assembly);
    outcome_fill_rows(assembly);
    outcome_choose(assembly);
    outcome_count_costs(assembly);
    outcome_advise(assembly);
    outcome_warn(assembly);
    return 0;
}

int study_outcome_init(struct study_outcome *outcome, const struct study *study, struct error *error)
{
    struct assembly assembly = { .study = study, .outcome = outcome };
    uint64_t step = 0;
    if (outcome_alloc(outcome, study, error))
        return ERROR_NO_MEMORY;
    if (ranking_step(study, &step)) {
        if (contest_init(&assembly.contest, study, step, study->spec->selection.rank_by, error)) {
            study_outcome_fini(outcome);
            return ERROR_NO_MEMORY;
        }
        outcome->k = step;
    }
    int failed = assemble(&assembly, error);
    contest_fini(&assembly.contest);
    if (failed)
        study_outcome_fini(outcome);
    return failed;
}

void study_outcome_fini(struct study_outcome *outcome)
{
    memory_free(outcome->ranking.rows);
    memory_free(outcome->knees);
    memory_free(outcome->warnings);
    *outcome = (struct study_outcome){ .choice = -1 };
}
