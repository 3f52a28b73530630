#include "study/rank_ties.h"

#include <math.h>

#include "study/statistics.h"

/* Keeps those of members[1 …] that are significantly worse than members[0] and returns how many; the others, and
 * members[0], get the group's number. Rows keep their order. */
static int ties_split(const struct contest *contest, int *members, int count, double alpha, int group, int *groups)
{
    double p_values[SPEC_CANDIDATES_MAX] = { 0 };
    bool worse[SPEC_CANDIDATES_MAX];
    for (int i = 1; i < count; i++) {
        struct difference difference = contest_difference(contest, members[i], members[0]);
        p_values[i - 1] = difference_p_value(&difference);
    }
    holm_reject(p_values, count - 1, alpha, worse);
    groups[members[0]] = group;
    int left = 0;
    for (int i = 1; i < count; i++) {
        if (worse[i - 1])
            members[left++] = members[i];
        else
            groups[members[i]] = group;
    }
    return left;
}

void ties_assign(const struct contest *contest, const int *order, double confidence, int groups[SPEC_CANDIDATES_MAX])
{
    int members[SPEC_CANDIDATES_MAX], count = contest->count;
    for (int i = 0; i < count; i++)
        members[i] = order[i];
    for (int group = 1; count > 0; group++)
        count = ties_split(contest, members, count, 1 - confidence, group, groups);
}

void ties_with_best(const struct contest *contest, const int *order, double confidence,
                    bool tied[SPEC_CANDIDATES_MAX])
{
    int members[SPEC_CANDIDATES_MAX], groups[SPEC_CANDIDATES_MAX] = { 0 };
    for (int i = 0; i < contest->count; i++)
        members[i] = order[i];
    if (contest->count > 0)
        ties_split(contest, members, contest->count, 1 - confidence, 1, groups);
    for (int p = 0; p < contest->count; p++)
        tied[p] = groups[p] == 1;
}

void ties_pairs(const struct contest *contest, double confidence, bool tied[TIES_FEW][TIES_FEW])
{
    double p_values[TIES_FEW] = { 0 };
    bool differ[TIES_FEW];
    int first[TIES_FEW], second[TIES_FEW], pairs = 0;
    for (int a = 0; a < contest->count && a < TIES_FEW; a++) {
        tied[a][a] = true;
        for (int b = 0; b < a; b++) {
            bool worse = contest->scores[a] > contest->scores[b];
            struct difference difference = contest_difference(contest, worse ? a : b, worse ? b : a);
            first[pairs] = a;
            second[pairs] = b;
            p_values[pairs++] = difference_p_value(&difference);
        }
    }
    holm_reject(p_values, pairs, 1 - confidence, differ);
    for (int i = 0; i < pairs; i++)
        tied[first[i]][second[i]] = tied[second[i]][first[i]] = !differ[i];
}
