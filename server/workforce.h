/* Workforce: numbered jobs that don't depend on each other, on a pool of workers with a loop of its own: what a command does
 * that has many runs to make. Jobs begin in order; which ends first is chance, so that a job's result must not depend on the
 * others.
 * Thread rule: workforce_run on the main thread, once at a time; `run` on any worker, `done` on the main thread. */
#ifndef SERVER_WORKFORCE_H
#define SERVER_WORKFORCE_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"

struct workforce {
    int jobs, workers;
    /* Set by anyone, a signal's handler too: no further job begins. Set here when a job fails; `run` is to look at it. */
    atomic_bool *stop;
    int (*run)(void *owner, int job, struct error *error);
    void (*done)(void *owner, int job);              /* of jobs that did not fail */
    void *owner;
};

/* All jobs, or until the first fails: its error; ERROR_CANCELLED when *stop was set from outside. ERROR_NO_MEMORY. */
int workforce_run(const struct workforce *workforce, struct error *error);
/* How many: --workers, by default the cores, and no more than --memory holds of `each_bytes` (says so on standard error).
 * ERROR_INVALID: not even one. */
struct options;
int workforce_size(const struct options *options, uint64_t each_bytes, int *workers, struct error *error);

#endif
