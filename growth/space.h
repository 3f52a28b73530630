/* The design space: the sensible ways to reach a target from a shape, each a list of operators with a readable name.
 * Nothing is grown here: shapes and plans alone.
 *
 * A way is a chain of operators, one per field of the target that is not reached yet, in the order width, heads, MLP
 * units, layers, context; an operator that has parameters for several of them may do them together. The table of
 * variants (growth/space_variants.c) says which settings of an operator are worth a candidate, and how much they are
 * preferred; a row of the operators' table that no variant names takes part with its defaults, behind the others.
 * Chains are ordered by the sum of their variants' ranks, on equal sums by what comes first in the table. So where a
 * limit cuts, every operator's favourite partners are left before anyone's third choice. Of chains with the same
 * resolved plan the first stays. Controls (`random`, whose new layers are drawn) get the last place if the limit would
 * leave none of them, and more than one place is there.
 *
 * Thread rule: pure. Source: methods 1.5 and 6.6. */
#ifndef GROWTH_SPACE_H
#define GROWTH_SPACE_H

#include "growth/operator.h"
#include "growth/target.h"

enum { GROWTH_SPACE_NAME_BYTES = 65, GROWTH_SPACE_DEFAULT = 16, GROWTH_SPACE_MAX = 64 };

struct growth_way {
    char name[GROWTH_SPACE_NAME_BYTES];      /* "hyperclone-diagonal-stack": the variants' names; unique */
    struct growth_list list;                 /* owned */
    bool control;
};

struct growth_space {
    struct growth_way *ways;                 /* owned, most preferred first */
    int count;
    int found;                               /* before the limit cut, duplicates not counted */
};

/* At most `most` (1 to GROWTH_SPACE_MAX) ways. A target that nothing reaches is refused with the field's pointer
 * relative to the target ("/width") and the nearest value that can be reached. ERROR_INVALID, ERROR_NO_MEMORY. */
int growth_space_init(struct growth_space *space, const struct shape *from, const struct growth_target *target, int most,
                      struct error *error);
void growth_space_fini(struct growth_space *space);

/* A setting of an operator that the space proposes. */
struct growth_variant {
    const char *op;
    const char *name;                        /* of a way's name: "identity-top" */
    const char *parameter, *value;           /* what is set beside the target's fields, as JSON text; NULL: nothing */
    int rank;                                /* 1: most preferred */
    bool control;
    bool map_only;                           /* the stage is its maps: equal ones grow equal bytes */
};
/* The table, without the rows that are added for operators it does not name. */
const struct growth_variant *growth_variants(int *count);
enum { GROWTH_VARIANT_LAST = 20 };           /* the rank of those rows */

#endif
