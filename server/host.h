/* Host: a loop with a service on it, and signals: what `lag serve` and `lag run` share. */
#ifndef SERVER_HOST_H
#define SERVER_HOST_H

#include <uv.h>

#include "server/metrics.h"
#include "server/options.h"
#include "server/service.h"

struct host {
    uv_loop_t loop;
    uv_signal_t interrupt, terminate;
    struct clock clock;
    struct metrics metrics;
    struct service *service;
    char data_root[4096];
    bool has_data_root, recover;
    int workers;
    uint64_t memory_bytes;
    int signals;                                  /* how many came */
    void (*stop)(struct host *host);              /* at the first SIGINT or SIGTERM; a second one exits at once, 130 */
    void *owner;
};

/* Reads --workers --memory --store --data-root, makes loop and service. ERROR_INVALID, ERROR_CONFLICT … */
int host_open(struct host *host, const struct options *options, const char *default_data_root, struct error *error);
/* Closes signals and service, runs the loop until nothing is left. */
void host_close(struct host *host);

#endif
