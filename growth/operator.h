/* Operators: the ways to grow a checkpoint. One table (growth/operators.c) holds them; the request parser, `lag
 * operators`, the documents and the tests read it. Every operator's file has the same skeleton in the same order:
 * parameters, plan, row. Pure functions; no training loops. Thread rule: everything here is const or caller-owned. */
#ifndef GROWTH_OPERATOR_H
#define GROWTH_OPERATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/parameter.h"
#include "model/checkpoint.h"

enum promise {
    PROMISE_NONE,     /* the function changes */
    PROMISE_EXACT     /* same logits up to rounding (1e-4 of their scale in float32) */
};

/* Does training separate what growing made equal? */
enum symmetry {
    SYMMETRY_NONE,        /* nothing is duplicated within a layer */
    SYMMETRY_BROKEN,      /* noise or unequal splits separate the copies */
    SYMMETRY_KEPT         /* copies get equal gradients and never separate: warned */
};

/* What happens to Adam's moments (candidates[].moments). */
enum moments_policy {
    MOMENTS_RESET,        /* all zero, step counters 0 (default) */
    MOMENTS_CARRY,        /* grown with the weights, methods 6.18 */
    MOMENTS_OLD_ONLY      /* first occurrence of each old layer keeps them, copies start at 0 */
};
const char *moments_policy_name(enum moments_policy policy);   /* "reset", "carry", "old_only" */
int moments_policy_parse(const char *text, enum moments_policy *policy);   /* 0, or -1 if unknown */

enum { OPERATOR_PARAMETERS_MAX = 10, GROWTH_STEPS_MAX = 32 };

struct growth_plan_stage;

/* Another checkpoint that an operator names (fuse: `with`), once somebody has read it. The values of the operator still
 * say which and with what content, so that a stored list tells everything. */
struct growth_partner {
    struct shape shape;
    char hash[HASH_HEX_BYTES];               /* of its content */
    const struct checkpoint *checkpoint;     /* NULL where lists are only planned */
};

/* One operator with its parameter values, as requested. */
struct growth_step {
    const struct growth_operator *op;
    const struct growth_partner *partner;    /* borrowed; NULL: names none, or it was not read yet */
    struct parameter_value values[OPERATOR_PARAMETERS_MAX];   /* in the order of op->parameters */
};

/* A candidate's list. Owns the values' lists and texts. */
struct growth_list {
    struct growth_step steps[GROWTH_STEPS_MAX];
    int count;
};
void growth_list_fini(struct growth_list *list);

/* A row of the table. `noise` (G_stack blend, 0) and `seed` are parameters of every row. */
struct growth_operator {
    const char *name;            /* "stack" */
    const char *summary;
    const char *source;          /* paper */
    const char *symmetry_note;   /* "" or when the symmetry holds */
    enum promise promise;
    enum symmetry symmetry;
    unsigned families;           /* bit per enum family */
    const char *moments;         /* what carry does, in words */
    const struct parameter *parameters;
    int parameter_count;
    /* Resolves the values against `from`: fills the stage (target shape, maps), or refuses with the pointer of the
     * parameter ("/layers") and what would be valid. */
    int (*plan)(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                struct error *error);
};

/* The table. */
const struct growth_operator *const *growth_operators(int *count);
const struct growth_operator *growth_operator_find(const char *name);      /* NULL if unknown */
const struct parameter_value *growth_step_value(const struct growth_step *step, const char *name);   /* NULL: no such */

/* Effective values: what was given, else the row's fixed default. The parameter must exist (our own bug otherwise). */
bool growth_step_has(const struct growth_step *step, const char *name);       /* given, or with a fixed default */
bool growth_step_is_null(const struct growth_step *step, const char *name);   /* null, given or by default */
bool growth_step_is_list(const struct growth_step *step, const char *name);
int64_t growth_step_integer(const struct growth_step *step, const char *name);   /* choices too: their index */
double growth_step_number(const struct growth_step *step, const char *name);
/* What a table can check without a shape, in two halves, so that an operator's own sentence about a value, which
 * knows the shape and so the nearest valid value, comes before the table's: first whether required values are there,
 * nulls allowed and choices known; after the operator's plan the ranges. ERROR_INVALID with the pointer ("/layers",
 * "/map/3"). */
/* The checkpoint that a step names, as given: an id or a path; NULL: the operator takes none, or it is not given. */
const char *growth_step_reference(const struct growth_step *step);
/* Gives a step the checkpoint that it names, and writes the content's hash down in its values, or compares it with what
 * stands there. ERROR_INVALID ("/content": another content than when the list was written), ERROR_NO_MEMORY. */
int growth_step_join(struct growth_step *step, const struct growth_partner *partner, struct error *error);
int growth_step_check_present(const struct growth_step *step, struct error *error);
int growth_step_check_ranges(const struct growth_step *step, struct error *error);

#endif
