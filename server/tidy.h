/* Tidying: what a crash at the wrong moment leaves below studies/, taken away at the next start: directories of studies
 * that were deleted, saved trials of studies that have succeeded. Leftovers of a study that goes on are its own business.
 * Thread rule: loop thread; the removing is a job. */
#ifndef SERVER_TIDY_H
#define SERVER_TIDY_H

struct service;

void service_tidy(struct service *service);

#endif
