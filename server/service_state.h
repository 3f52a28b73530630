/* The service's own state, shared by the files of service and run. */
#ifndef SERVER_SERVICE_STATE_H
#define SERVER_SERVICE_STATE_H

#include <uv.h>

#include "model/kernels.h"
#include "server/run.h"

struct service_waiter {
    service_callback *callback;
    void *context;
    struct service_waiter *next;
};

struct service {
    struct service_options options;
    char data_root[FILE_PATH_BYTES];         /* "" : none */
    struct store store;
    struct pool pool;
    struct journal journal;
    const struct kernels *kernels;
    struct run *runs;                        /* in order of admission */
    struct slot *slots;                      /* one per worker */
    uint64_t memory_used, trial_memory;      /* bytes of resident trials, and their limit */
    char upload_directory[FILE_PATH_BYTES];
    uv_timer_t tick;                         /* retries, timed saves */
    uv_idle_t pump_idle;                     /* coalesces pump requests */
    bool pumping, started, recovered, closing;
    int handles_open;
    char trouble[512];                       /* why not ready; "" */
    bool draining, drain_told;
    void (*drained)(void *context);
    void *drain_context;
    struct service_watch *watches;
    struct admission *committing;            /* admissions whose commit is under way */
    struct service_counts counts;
    int64_t store_counted_ns;
    uint64_t id_counter;
    int jobs;                                /* admissions, accepts, deletes under way */
};

/* What the timer does: time has passed, something may be tried again. */
void service_tick(struct service *service);
/* Looks for work on the next turn of the loop. */
void service_pump_soon(struct service *service);
struct run *service_run_find(struct service *service, const char *id);
void service_run_remove(struct service *service, struct run *run);     /* unlinks and frees */
void service_notify(struct service *service, const char *id);
int64_t service_now(struct service *service);         /* monotonic ns */
int64_t service_wall(struct service *service);        /* ms */
/* prefix + 10 characters of time + 16 of counter and randomness: sortable. */
void service_new_id(struct service *service, const char *prefix, char id[SERVICE_ID_BYTES]);
/* Of a `state` or `end` event, which may come again: never the same twice. */
void service_event_identity(struct service *service, char identity[64]);
int service_start_run(struct service *service, const char *id, bool recovered, struct error *error);
/* The same for a study that was just stored: where the service takes up stored studies anyway, it can't fail. */
int service_begin_run(struct service *service, const char *id, bool recovered, struct error *error);
bool service_memory_take(struct service *service, size_t bytes);
void service_memory_give(struct service *service, size_t bytes);
/* Sets the bytes for trials: the limit less a scratch per worker, as large as the studies in memory need. */
void service_memory_limit(struct service *service);
const char *service_data_root(const struct service *service);       /* NULL: none */

#endif
