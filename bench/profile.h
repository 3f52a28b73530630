/* Where a step's time goes: a kernel body whose operations are another's, each with a stopwatch around it. The product
 * pays nothing for it: the seam is a struct of functions, and this is one more.
 *
 * Thread rule: one thread, one profile at a time. An operation that has no stopwatch here still runs; its time shows as
 * "between operations". Each stopwatch costs two readings of the clock, some 50 ns. */
#ifndef BENCH_PROFILE_H
#define BENCH_PROFILE_H

#include "model/kernels.h"

/* `kernels` with stopwatches; lives as long as the process. */
const struct kernels *profile_kernels(const struct kernels *kernels);
/* Forgets what was measured so far: after the steps that warm up. */
void profile_clear(void);
/* One JSON line per operation that ran: calls and milliseconds per step, share of `seconds`, which is what `steps` steps
 * took in all; and one line for the rest. Shares of all lines sum to 1. */
void profile_print(const char *family, int layers, int width, int steps, double seconds);

#endif
