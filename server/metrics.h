/* Metrics: counters and histograms of one process, written as Prometheus text. What the service counts itself
 * (struct service_counts) is read when the text is written; what only the moment knows is observed here.
 * No label carries an id: routes are written as their templates. Thread rule: loop thread only. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include <stdint.h>

#include "api/routes.h"
#include "base/buffer.h"
#include "base/error.h"

struct service_counts;

/* X(code, name, help): histograms of seconds */
#define METRICS_HISTOGRAMS(X)                                                                       \
    X(METRICS_STEP, "lag_step_seconds", "time of one training step")                                \
    X(METRICS_EVALUATION, "lag_evaluation_seconds", "time of one evaluation of a candidate")        \
    X(METRICS_QUEUE, "lag_queue_seconds", "time a slice waited for a worker")                       \
    X(METRICS_FSYNC, "lag_fsync_seconds", "time of one durable commit")

enum metrics_histogram {
#define X(code, name, help) code,
    METRICS_HISTOGRAMS(X)
#undef X
    METRICS_HISTOGRAM_COUNT
};

enum { METRICS_BOUNDS = 15, METRICS_STATUSES = 24 };

struct histogram {
    uint64_t counts[METRICS_BOUNDS + 1];    /* one per bound, the last: beyond all; not cumulative */
    double sum;
};

struct metrics {
    struct histogram histograms[METRICS_HISTOGRAM_COUNT];
    uint64_t requests[ROUTE_COUNT + 1][METRICS_STATUSES];    /* row ROUTE_COUNT: no route */
    uint64_t rejected[ERROR_CODE_COUNT];
    uint64_t uploads, upload_bytes;
    int connections, suspended;
};

void metrics_init(struct metrics *metrics);
void metrics_observe(struct metrics *metrics, enum metrics_histogram histogram, double seconds);
/* One answered request; route ROUTE_COUNT: none matched. */
void metrics_request(struct metrics *metrics, enum route route, int status);
void metrics_reject(struct metrics *metrics, enum error_code reason);
void metrics_write(const struct metrics *metrics, const struct service_counts *counts, const char *version,
                   struct buffer *out);
/* process_* of the running process, from /proc; what can't be read is left out. */
void metrics_write_process(struct buffer *out);

#endif
