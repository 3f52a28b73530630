/* Agreement: the rule that says when a ranking has settled (methods 7.8). A pure function of the curves up to one
 * step; what two successive points that hold mean is the business of rounds.c, so that another rule of the same
 * shape can take its place.
 *
 * At a deciding point t, on averaged losses: a least-squares line over ln(t + 10) through each candidate's deciding
 * points in [0.4 t, t] predicts its loss at 3 t (or the horizon T). a(t) = Kendall's tau-b between the losses now
 * and the predicted ones.
 *   4 candidates or more   holds if a(t) >= 0.6 and the best now and the best predicted are in one tie group
 *   2 or 3                 holds if every pair is in its predicted order, or tied
 *   1                      holds if it is past its knee
 * and never before k_min. */
#ifndef STUDY_AGREEMENT_H
#define STUDY_AGREEMENT_H

#include "study/study.h"

extern const double agreement_threshold;      /* 0.6 */
enum { AGREEMENT_CANDIDATES_MIN = 4 };

/* Fills everything of *decision but kind: what a rule says about one step. ERROR_NO_MEMORY. */
int agreement_judge(const struct study *study, uint64_t step, struct decision *decision, struct error *error);

#endif
