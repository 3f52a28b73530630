/* The thread-pool seam: jobs run somewhere, and `done` is called on the owner's (loop) thread afterwards.
 * Bodies: uv (libuv's pool; the only file of this room with uv.h), inline (runs a job when the test says so).
 * At most a lane's limit of its jobs are inside libuv at once; the rest wait in our own queue of that lane, first in
 * first out: libuv's pool has no priorities, and hashing an upload or an fsync must never wait behind training.
 * Thread rule: all functions on the owner's thread; run() on any. */
#ifndef TRAINER_POOL_H
#define TRAINER_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* At most `workers` train jobs; 2 service jobs beside. */
enum pool_lane { POOL_TRAIN, POOL_SERVICE, POOL_LANE_COUNT };

struct pool;
struct pool_job {
    enum pool_lane lane;
    void (*run)(struct pool_job *job);                      /* on a worker */
    void (*done)(struct pool_job *job, bool cancelled);     /* on the owner's thread; cancelled: run was never called */
    void *owner;
    /* the pool's own */
    struct pool *pool;
    struct pool_job *next;
    void *request;                                          /* libuv's request, owned by the pool */
    bool queued, running;
};

struct pool {
    void (*submit)(struct pool *pool, struct pool_job *job);
    /* Takes a job out if it has not begun: done(cancelled) follows (later, on the owner's thread). false: it runs. */
    bool (*cancel)(struct pool *pool, struct pool_job *job);
    int workers;
    int in_flight[POOL_LANE_COUNT];
    void *body;
};

struct uv_loop_s;
/* Sets libuv's thread count to workers + 2 (must be before its first use) and binds to the loop. Everything that
 * submit and cancel need is allocated here, so that neither can fail. ERROR_INVALID, ERROR_NO_MEMORY. */
int pool_uv_init(struct pool *pool, struct uv_loop_s *loop, int workers, struct error *error);
void pool_uv_fini(struct pool *pool);       /* nothing may be in flight */

int pool_inline_init(struct pool *pool, int workers, struct error *error);
/* Hands back one cancelled job, else runs the next job and its done; false if none waits. `seed`-driven order for
 * tests of scheduling: see pool_inline_order. */
bool pool_inline_step(struct pool *pool);
/* Runs waiting jobs in an order drawn from the seed instead of first in first out. */
void pool_inline_order(struct pool *pool, uint64_t seed);
void pool_inline_fini(struct pool *pool);

#endif
