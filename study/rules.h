/* Rules: ways to choose among candidates from their curves, all on the same saved curves (replay.h), so that they can
 * be compared without training. One table of rules; adding one = one row and one function. Pure functions.
 *
 * Kinds: a rule that looks at one step (settings.step); a rule that stops by itself (settings.cap bounds it); a rule
 * that stops candidates one after the other and may spend on the mean settings.step steps per candidate: its resource
 * is the largest evaluation step that keeps it within that, so that rules are compared at equal budget. */
#ifndef STUDY_RULES_H
#define STUDY_RULES_H

#include "study/replay.h"

enum rule_kind { RULE_AT_STEP, RULE_STOPS, RULE_BUDGET };

struct rule_settings {
    uint64_t step;             /* rounded down to an evaluation point */
    uint64_t cap;              /* of rules that stop; likewise */
    uint64_t seed;             /* orders and brackets that a rule draws; p_best */
};

struct rule_answer {
    int choice;                                /* index of the candidate; -1: none can be chosen */
    bool settled;                              /* a rule that stops: it did so before the cap; others: true */
    uint64_t step;                             /* the last step that was looked at */
    double scores[SPEC_CANDIDATES_MAX];        /* lower is better: nats, or positions where candidates were stopped at
                                                  different steps; NaN: not ranked */
    bool tied[SPEC_CANDIDATES_MAX];            /* in the choice's tie group; rules without one: the choice alone */
    double p_best;                             /* claimed for the choice; NaN: makes no claim */
    uint64_t trained[SPEC_CANDIDATES_MAX];     /* steps that each candidate was trained */
    double search_flops, exhaustive_flops, fraction;      /* as in rank.h; without the cost of growing */
    char reason[512];
};

typedef int rule_function(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
                          struct error *error);

struct rule_row {
    const char *name;
    enum rule_kind kind;
    const char *summary, *source;
    rule_function *apply;
};

/* The table, ended by a row without a name. */
const struct rule_row *rule_rows(void);
const struct rule_row *rule_find(const char *name);        /* NULL: no such rule */
/* Applies the row to whole curves and fills the whole answer. ERROR_NO_MEMORY. */
int rule_apply(const struct rule_row *row, const struct replay *replay, const struct rule_settings *settings,
               struct rule_answer *answer, struct error *error);

#endif
