/* The search through the design space: chains of variants that lead from a shape to a target, found by planning alone.
 * Internal to growth/space*.c. */
#ifndef GROWTH_SPACE_SEARCH_H
#define GROWTH_SPACE_SEARCH_H

#include "base/hash.h"
#include "growth/space.h"

enum { SPACE_VARIANTS_MAX = 128, SPACE_SIGNATURE_BYTES = HASH_HEX_BYTES };

/* One operator of a chain: which variant, and which fields of the target (bits) it was asked for. */
struct space_link { int variant; unsigned fields; char signature[SPACE_SIGNATURE_BYTES]; };
struct space_chain { struct space_link links[TARGET_FIELD_COUNT]; int count, rank; bool control; };

struct space_search {
    const struct shape *from;
    struct growth_target target;             /* complete */
    struct growth_variant variants[SPACE_VARIANTS_MAX];
    int variant_count;
    struct growth_list *list;                /* of the chain at hand, owned */
    struct space_chain *chains;                    /* owned */
    int count, capacity;
    int furthest;                            /* the last field that some chain got stuck at */
    bool probe;                              /* one chain is enough */
};

/* All chains that reach the target once it is completed, unordered; if there are none, `furthest` tells at which field
 * the search got stuck. `probe`: stops at the first. Pair with space_search_end, also after a failure. ERROR_INVALID for a
 * target that no growing gives, ERROR_NO_MEMORY. */
int space_search_run(struct space_search *search, const struct shape *from, const struct growth_target *target,
                     bool probe, struct error *error);
void space_search_end(struct space_search *search);
/* The chain as a list of operators, whose values own nothing; false if some operator lacks a parameter. */
bool space_chain_list(const struct space_search *search, const struct space_chain *chain, struct growth_list *list);

#endif
