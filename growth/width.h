/* Width: how the operators that widen a model to any size (fpi, aki, zero_pad) settle its sizes and fill a stage's unit
 * maps. An operator says which old units the new ones of one set come from; here stream, heads, kv heads and MLP units
 * are gone through, and heads stay with the kv head they read. Internal to growth/. */
#ifndef GROWTH_WIDTH_H
#define GROWTH_WIDTH_H

#include "growth/stage.h"

/* One set of units that is widened: the stream, the MLP, all heads, or the heads that read one kv head. */
struct unit_set {
    enum unit_kind kind;
    int index;               /* of the kv head; else 0 */
    int from, to;            /* from < to */
    uint64_t seed;           /* the operator's own: the plan shows the map before a study's seed is known */
};

struct width_rule {
    /* source[j] for j < set->to: an old unit below set->from, or -1. Old units come first, in their order. */
    void (*fill)(const struct unit_set *set, int32_t *source);
};

/* Resolves width, heads, ff (contract 3: without a width it stays; heads of gpt2 and bert follow from it, those of others
 * and ff stay unless told; kv heads stay where queries share them) and fills shape and maps of what grows. ERROR_INVALID with
 * "/width", "/heads" or "/ff" and the nearest valid value, ERROR_NO_MEMORY. */
int growth_width_plan(const struct growth_step *step, const struct width_rule *rule, const struct shape *from,
                      struct growth_plan_stage *stage, struct error *error);
/* A fill: further units have no source. */
void growth_width_new(const struct unit_set *set, int32_t *source);
/* Do the family's norms take the mean off? Those that have a bias do. */
bool growth_norms_center(enum family family);
/* Is every unit of the stream copied equally often (the statistics of norms stay)? */
bool growth_width_is_even(const struct growth_plan_stage *stage);

/* width, heads, ff: the first three parameters of every such row. */
#define GROWTH_WIDTH_PARAMETERS                                                                                    \
    {.name = "width", .type = PARAMETER_INTEGER, .required = true, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,      \
     .summary = "width of the grown model, above the present one, or that one if heads or ff grow; gpt2, bert: a " \
                "multiple of the head size"},                                                                      \
    GROWTH_HEADS_PARAMETER, GROWTH_FF_PARAMETER
#define GROWTH_HEADS_PARAMETER                                                                                     \
    {.name = "heads", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,                        \
     .summary = "heads of the grown model; default: gpt2, bert: width / head size, others: the present ones"}
#define GROWTH_FF_PARAMETER                                                                                        \
    {.name = "ff", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_FF_MAX,                              \
     .summary = "hidden units of the grown MLPs; default: the present ones"}

#endif
