/* Pool queues: first in first out lists of jobs linked through pool_job.next, used by every body of the pool. */
#ifndef TRAINER_POOL_QUEUE_H
#define TRAINER_POOL_QUEUE_H

#include "trainer/pool.h"

struct pool_queue { struct pool_job *first, *last; };

void pool_queue_push(struct pool_queue *queue, struct pool_job *job);
struct pool_job *pool_queue_pop(struct pool_queue *queue);                      /* NULL: empty */
bool pool_queue_remove(struct pool_queue *queue, struct pool_job *job);         /* false: not in it */

enum { POOL_WORKERS_MAX = 1000, POOL_SERVICE_JOBS = 2 };
/* At most so many jobs of a lane are taken from its queue at once. */
int pool_lane_limit(const struct pool *pool, enum pool_lane lane);
/* ERROR_INVALID unless 1 to POOL_WORKERS_MAX. */
int pool_check_workers(int workers, struct error *error);

#endif
