#include "trainer/pool_queue.h"

#include <stddef.h>

void pool_queue_push(struct pool_queue *queue, struct pool_job *job)
{
    job->next = NULL;
    if (queue->last != NULL) {
        queue->last->next = job;
    } else {
        queue->first = job;
    }
    queue->last = job;
}

struct pool_job *pool_queue_pop(struct pool_queue *queue)
{
    struct pool_job *job = queue->first;
    if (job != NULL) {
        queue->first = job->next;
        if (queue->first == NULL) {
            queue->last = NULL;
        }
        job->next = NULL;
    }
    return job;
}

bool pool_queue_remove(struct pool_queue *queue, struct pool_job *job)
{
    struct pool_job *before = NULL;
    for (struct pool_job *at = queue->first; at != NULL; before = at, at = at->next) {
        if (at != job) {
            continue;
        }
        if (before != NULL) {
            before->next = job->next;
        } else {
            queue->first = job->next;
        }
        if (queue->last == job) {
            queue->last = before;
        }
        job->next = NULL;
        return true;
    }
    return false;
}

int pool_lane_limit(const struct pool *pool, enum pool_lane lane)
{
    return lane == POOL_TRAIN ? pool->workers : POOL_SERVICE_JOBS;
}

int pool_check_workers(int workers, struct error *error)
{
    if (workers < 1 || workers > POOL_WORKERS_MAX) {
        return error_set(error, ERROR_INVALID, "%d workers: give a number from 1 to %d.", workers, POOL_WORKERS_MAX);
    }
    return 0;
}
