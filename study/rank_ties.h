/* Tie groups: who is not significantly worse than the best (Holm at the study's confidence), then the same on the
 * rest. */
#ifndef STUDY_RANK_TIES_H
#define STUDY_RANK_TIES_H

#include "study/contest.h"

/* groups[p], from 1, for every participant p. `order`: contest_order's. */
void ties_assign(const struct contest *contest, const int *order, double confidence, int groups[SPEC_CANDIDATES_MAX]);
/* tied[p]: p is in the group of order[0]. */
void ties_with_best(const struct contest *contest, const int *order, double confidence,
                    bool tied[SPEC_CANDIDATES_MAX]);
/* For every pair of at most three participants, whether its difference is not significant (Holm over the pairs).
 * tied[a][b] is symmetric. */
enum { TIES_FEW = 3 };
void ties_pairs(const struct contest *contest, double confidence, bool tied[TIES_FEW][TIES_FEW]);

#endif
