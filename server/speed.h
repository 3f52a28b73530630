/* Speed: how many FLOPs per second a worker does, for the dry run's predicted seconds. Thread rule: speed_seen on the loop,
 * speed_of_worker on any one thread. */
#ifndef SERVER_SPEED_H
#define SERVER_SPEED_H

#include "api/response.h"
#include "model/kernels_ops.h"
#include "server/service.h"

/* What this process has seen in steps of each compute; 0: too few of them. */
void speed_seen(const struct service_counts *counts, double seen[PRODUCT_TYPE_COUNT]);
/* Where nothing was seen, by the speed of products, measured now: some tens of milliseconds. */
struct response_speed speed_of_worker(struct service *service, const double seen[PRODUCT_TYPE_COUNT],
                                      enum product_type compute);

#endif
