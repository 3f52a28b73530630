/* The making of an outcome: what its parts share while study_outcome_init runs. Internal to the room. */
#ifndef STUDY_OUTCOME_H
#define STUDY_OUTCOME_H

#include "study/contest.h"
#include "study/rank.h"

struct assembly {
    const struct study *study;
    struct study_outcome *outcome;
    struct contest contest;                      /* at outcome->k, scores as the spec ranks */
    int order[SPEC_CANDIDATES_MAX];              /* participants, best first */
    int groups[SPEC_CANDIDATES_MAX];
    double p_best[SPEC_CANDIDATES_MAX];
    struct decision verdict;                     /* the rule at outcome->k */
};

/* outcome_rows.c */
void outcome_fill_rows(struct assembly *assembly);
double outcome_flops_spent(const struct study *study, int candidate);
/* The last point up to a step at which the landscape was measured; NULL: there is none. */
const struct point *outcome_measured(const struct study *study, int candidate, uint64_t until);

/* choice.c: choice, choice_reason, costs */
void outcome_choose(struct assembly *assembly);
void outcome_count_costs(struct assembly *assembly);

/* advice.c: provisional_reason: why not, and what to do, in numbers */
void outcome_advise(struct assembly *assembly);

/* warnings.c; at most OUTCOME_WARNINGS_EACH per candidate and OUTCOME_WARNINGS_EXTRA more */
enum { OUTCOME_WARNINGS_EACH = 4, OUTCOME_WARNINGS_EXTRA = 4 };
void outcome_warn(struct assembly *assembly);

#endif
