/* A service inside the test: a loop that the test turns, a clock that it sets, and if wanted a pool that runs jobs in
 * place, one by one, in an order drawn from a seed. Time stands still while anything is under way; when nothing is, it
 * moves on by a second, so that pauses end at once. Nothing sleeps. */
#ifndef TESTS_SUPPORT_SERVICE_WORLD_H
#define TESTS_SUPPORT_SERVICE_WORLD_H

#include <uv.h>

#include "server/metrics.h"
#include "server/service_state.h"

struct world_options {
    const char *store;              /* directory below the place; NULL: "store" */
    int workers;                    /* 0: 1 */
    uint64_t memory_bytes;          /* 0: 64 MiB */
    bool inline_pool;
    uint64_t order_seed;            /* with inline_pool: 0 first in, first out */
    bool recover;
};

struct answer {                     /* of a service_callback */
    bool came, existed;
    struct error error;
    char id[SERVICE_ID_BYTES];
};

struct service_world {
    uv_loop_t loop;
    struct clock clock;
    struct service *service;
    struct metrics metrics;
    struct pool uv_pool;            /* the one that an inline pool stands in for */
    bool inline_pool, drained;
    char place[FILE_PATH_BYTES];
    int seconds;                    /* that the clock was moved on while nothing else could be done */
};

/* Opens and starts; returns service_open's code (then there is nothing to close). */
int world_open(struct service_world *world, const char *place, const struct world_options *options, struct error *error);
void world_start(struct service_world *world);
/* Drains, closes. */
void world_close(struct service_world *world);
/* One thing happens: a job, a turn of the loop, or else a second passes. */
void world_turn(struct service_world *world);
/* Turns until nothing is under way or waits to be pumped (a paused study may wait for time). */
void world_settle(struct service_world *world);
void world_wait(struct service_world *world, const struct answer *answer);
/* Turns until the study is out of the service's hands; its state. Fails the test after too many seconds. */
enum study_state_name world_end(struct service_world *world, const char *id);
void world_answer(void *context, const struct error *error, const char *id, bool existed);     /* service_callback */

/* The study PLACE/study.json (or another file there): sends it and waits for the answer. */
void world_submit_file(struct service_world *world, const char *file, const char *key, struct answer *answer);
void world_submit_text(struct service_world *world, const char *text, const char *key, struct answer *answer);
/* The result's JSON (memory_free). */
char *world_result(struct service_world *world, const char *id);

#endif
