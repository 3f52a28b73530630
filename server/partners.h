/* Partners: checkpoints that operators name besides the one that is grown (fuse: `with`), read as a whole.
 * Thread rule: one thread at a time. */
#ifndef SERVER_PARTNERS_H
#define SERVER_PARTNERS_H

#include "growth/operator.h"
#include "model/checkpoint.h"

struct partners {
    struct checkpoint *checkpoints;      /* weights, and moments if asked for */
    struct growth_partner *of;           /* of each of them */
    int count;
};

/* Room for `most`; zeroed, it needs no fini. ERROR_NO_MEMORY. */
int partners_init(struct partners *partners, int most, struct error *error);
/* Loads one more. Its address stays until partners_fini. Errors as of checkpoint_load. */
int partners_add(struct partners *partners, const char *directory, bool moments, struct error *error);
void partners_fini(struct partners *partners);
/* Of weights and moments. */
uint64_t partners_bytes(const struct partners *partners);

#endif
