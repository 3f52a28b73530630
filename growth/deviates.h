/* Deviates: normal draws by the million, for noise that is as large as a model. A deviate is the quantile of 16 random
 * bits: 2^16 values at the centres of equally likely parts of N(0, 1), scaled to a variance of exactly 1; the largest is
 * about 4.3. Four come from one 64-bit draw. The table is computed with additions, products, quotients and roots alone,
 * so it has the same bits on every kind of processor. Thread rule: const once made. */
#ifndef GROWTH_DEVIATES_H
#define GROWTH_DEVIATES_H

#include <stddef.h>

#include "base/rng.h"

enum { DEVIATES_TABLE = 1 << 15 };    /* the positive half: the sixteenth bit is the sign */

/* Fills table[DEVIATES_TABLE]. Source of the quantile: Wichura, Algorithm AS 241 (PPND16), Applied Statistics 37, 1988. */
void deviates_table(float *table);
/* Deviates first, first + 1, … of a stream (from its position 0). */
void deviates_fill(const float *table, struct rng stream, size_t first, float *deviates, size_t count);

#endif
