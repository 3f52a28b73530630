/* Need: the memory and disk that a study takes, known before it is admitted. Thread rule: any one thread. */
#ifndef SERVER_NEED_H
#define SERVER_NEED_H

#include "server/service.h"

struct need {
    uint64_t memory;             /* bytes: one trial per worker, and what workers compute in */
    uint64_t disk;               /* saved states, and the kept candidates' files */
    uint64_t trial;              /* the largest trial's */
};

/* Of a study; what `need` holds already is replaced. ERROR_INVALID, ERROR_NO_MEMORY. */
int need_of_study(const struct service *service, const struct study_spec *spec, const struct shape *parent,
                  struct need *need, struct error *error);
/* ERROR_INVALID with the numbers, ERROR_DISK_FULL. */
int need_check(const struct service *service, const struct need *need, struct error *error);

#endif
