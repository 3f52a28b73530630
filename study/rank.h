/* Ranking: what a finished (or still running) study says, with its uncertainty. Pure function of the curves.
 * Source: methods 7.5, 7.8, C.5; contract section 4 for the meaning of every field. A number that can't be had is
 * NaN. */
#ifndef STUDY_RANK_H
#define STUDY_RANK_H

#include "study/study.h"

struct ranking_row {
    int rank;                       /* from 1 */
    int candidate;                  /* index in the spec */
    int tie_group;                  /* from 1; 0 for candidates that did not complete */
    double score, loss, margin, standard_error, p_best, slope, predicted_final_loss;
    double loss_at_0, loss_at_transition;
    double stability_ratio;         /* at the last measurement up to k */
    double flops_spent;
};

struct ranking {
    struct ranking_row *rows;       /* candidate_count rows; completed first, then eliminated, diverged, failed … */
    int count;
    int completed;
};

struct study_outcome {
    struct ranking ranking;
    bool settled;                   /* status: settled or provisional */
    uint64_t k;                     /* 0 if none completed */
    bool has_transition;
    uint64_t transition_step;
    double agreement;               /* at k; NaN: not defined */
    double *knees;                  /* per candidate: step of the knee on its raw curve, NaN: none */
    int choice;                     /* candidate index, -1 */
    char choice_reason[512];
    double rank_agreement_at_0, rank_agreement_at_transition;     /* Spearman with the ranking at k; NaN for < 3 */
    double search_flops, exhaustive_flops, cost_fraction;
    char provisional_reason[512];   /* "" when settled: why not, and what to do */
    char (*warnings)[512];
    int warning_count;
};

/* Candidates that take part are ranked first; a copy (same_as) comes right behind the one that was trained for
 * both, with its numbers, in its tie group, and with no FLOPs of its own. Then eliminated, diverged, failed, and
 * those without points, by index.
 *
 * Fields (f_i: training FLOPs of one step of candidate i; s_i: what it spent; w: the choice; copies count nowhere):
 *   score                 averaged loss at k, or predicted at min(3 k, T); margin, standard_error, p_best refer to it
 *   margin                best - own, for rank 1 first - second; standard_error: of that difference
 *   slope                 of the line of agreement.h, nats per unit of ln(t + 10)
 *   predicted_final_loss  at T, by extrapolate.h on the points past the raw curve's knee, warm-up and k / 10
 *   search_flops          sum s_i - s_w: what searching cost beyond training the choice
 *   exhaustive_flops      sum T f_i - T f_w, dead candidates with s_i: the same, had all been trained to the end
 *   cost_fraction         their quotient, NaN if there is nothing to divide by
 *
 * From a study that has finished, or as it stands now (then at the last step that all live candidates share). */
int study_outcome_init(struct study_outcome *outcome, const struct study *study, struct error *error);
void study_outcome_fini(struct study_outcome *outcome);

#endif
