/* What the files of rules share. Internal to the room. */
#ifndef STUDY_RULES_PARTS_H
#define STUDY_RULES_PARTS_H

#include "study/rules.h"

/* rules_step.c */
rule_function rule_start, rule_raw, rule_averaged, rule_slope, rule_power, rule_ensemble, rule_exhaustive;
/* rules_stop.c */
rule_function rule_knee, rule_stability, rule_agreement, rule_agreement_predicted;
/* rules_budget.c */
rule_function rule_halving, rule_asha, rule_median, rule_hyperband;

/* Everyone trained to `step`. */
void answer_train_all(const struct replay *replay, struct rule_answer *answer, uint64_t step);
/* The choice is the least score; equal ones go to the earlier candidate. The tie group is the choice alone. */
void answer_choose_least(const struct replay *replay, struct rule_answer *answer);
/* Scores, tie group and p_best by a contest (contest.h) at a step: now, or predicted. ERROR_NO_MEMORY. */
int answer_by_contest(const struct replay *replay, uint64_t step, enum rank_by by, uint64_t seed,
                      struct rule_answer *answer, struct error *error);
double replay_loss(const struct replay *replay, int candidate, uint64_t step);       /* averaged; NaN: none there */

#endif
