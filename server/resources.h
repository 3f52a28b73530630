/* Resources: how many cores and how much memory this process may use: affinity, cgroup v2 cpu.max and memory.max. */
#ifndef SERVER_RESOURCES_H
#define SERVER_RESOURCES_H

#include <stdint.h>

/* At least 1: the smaller of the affinity mask and cpu.max's quota rounded down (but at least 1). */
int resources_cores(void);
/* Bytes: the smaller of memory available now and memory.max less what is used. */
uint64_t resources_memory(void);

#endif
