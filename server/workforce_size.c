#include "server/workforce.h"

#include <stdio.h>

#include "server/options.h"
#include "server/resources.h"

int workforce_size(const struct options *options, uint64_t each, int *workers, struct error *error)
{
    uint64_t wanted, memory;

    if (option_count(options, OPTION_WORKERS, 1, 256, (uint64_t)resources_cores(), &wanted, error)
        || option_bytes(options, OPTION_MEMORY, resources_memory() / 4 * 3, &memory, error))
        return (int)error->code;
    if (each > memory)
        return error_set(error, ERROR_INVALID, "a run needs %.1f MB of memory and %.1f MB are allowed; a smaller batch or "
                         "context in --training needs less, or raise --memory", (double)each * 1e-6, (double)memory * 1e-6);
    *workers = (int)(memory / each < wanted ? memory / each : wanted);
    if ((uint64_t)*workers < wanted)
        fprintf(stderr, "%d runs at a time instead of %llu: each needs %.1f MB of memory, and %.1f MB are allowed\n", *workers,
                (unsigned long long)wanted, (double)each * 1e-6, (double)memory * 1e-6);
    return 0;
}
