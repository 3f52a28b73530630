/* Pieces made ahead: a thread of its own makes the next piece while the caller uses the one before. Order and results are
 * those of a plain loop. */
#ifndef BASE_AHEAD_H
#define BASE_AHEAD_H

#include <stddef.h>

#include "base/error.h"

struct ahead {
    int count;                  /* of pieces: 0, 1, … each made and taken in order */
    size_t bytes;               /* of a piece's buffer; two are allocated, one for a single piece */
    /* Both return 0 or an error code and fill the error. `make` runs beside `take`: what both touch must not change. */
    int (*make)(void *owner, int piece, void *buffer, struct error *error);
    int (*take)(void *owner, int piece, const void *buffer, struct error *error);
    void *owner;
};

/* Returns when the last piece was taken, or with the first error: no piece after it is taken, and nothing runs any more.
 * Where no thread can be had, and for one piece, a plain loop. ERROR_NO_MEMORY. */
int ahead_run(const struct ahead *ahead, struct error *error);

#endif
