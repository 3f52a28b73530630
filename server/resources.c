#include "server/resources.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"

/* A file of the kernel's, as text; NULL if it is not there. Caller: memory_free. */
static char *read_text(const char *path)
{
    FILE *file = fopen(path, "re");
    char *text = memory_new(8192);

    if (!file || !text) {
        if (file)
            fclose(file);
        memory_free(text);
        return NULL;
    }
    text[fread(text, 1, 8191, file)] = '\0';
    fclose(file);
    return text;
}

/* This process's cgroup v2 directory: the line "0::/path" of /proc/self/cgroup. */
static int cgroup_directory(char path[FILE_PATH_BYTES])
{
    char *text = read_text("/proc/self/cgroup"), *line, *end;
    int found = -1;

    if (text && (line = strstr(text, "0::/")) != NULL) {
        end = strchr(line, '\n');
        if (end)
            *end = '\0';
        found = snprintf(path, FILE_PATH_BYTES, "/sys/fs/cgroup%s", line + 3) < FILE_PATH_BYTES ? 0 : -1;
    }
    memory_free(text);
    return found;
}

/* The smallest value of `name` from our cgroup up to the root, by `parse` (UINT64_MAX: no limit). */
static uint64_t cgroup_least(const char *name, uint64_t (*parse)(const char *directory, const char *text))
{
    char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES + 32];
    uint64_t least = UINT64_MAX;

    if (cgroup_directory(directory))
        return least;
    for (;;) {
        snprintf(path, sizeof path, "%s/%s", directory, name);
        char *text = read_text(path);
        uint64_t value = text ? parse(directory, text) : UINT64_MAX;
        memory_free(text);
        least = value < least ? value : least;
        char *slash = strrchr(directory, '/');
        if (!slash || strcmp(directory, "/sys/fs/cgroup") == 0 || strlen(directory) <= strlen("/sys/fs/cgroup"))
            return least;
        *slash = '\0';
    }
}

static uint64_t parse_cpu(const char *directory, const char *text)
{
    unsigned long long quota, period;

    (void)directory;
    if (sscanf(text, "%llu %llu", &quota, &period) != 2 || period == 0)
        return UINT64_MAX;
    return quota / period > 0 ? quota / period : 1;
}

static uint64_t parse_memory(const char *directory, const char *text)
{
    unsigned long long limit, used = 0;
    char path[FILE_PATH_BYTES + 32], *current;

    if (sscanf(text, "%llu", &limit) != 1)
        return UINT64_MAX;
    snprintf(path, sizeof path, "%s/memory.current", directory);
    if ((current = read_text(path)) != NULL)
        (void)sscanf(current, "%llu", &used);
    memory_free(current);
    return limit > used ? limit - used : 0;
}

int resources_cores(void)
{
    uint64_t quota = cgroup_least("cpu.max", parse_cpu);
    cpu_set_t set;
    int cores = 1;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    if (quota < (uint64_t)cores)
        cores = (int)quota;
    return cores > 0 ? cores : 1;
}

uint64_t resources_memory(void)
{
    uint64_t available = (uint64_t)1 << 30, limit = cgroup_least("memory.max", parse_memory);
    char *text = read_text("/proc/meminfo"), *line;
    unsigned long long kilobytes;

    if (text && (line = strstr(text, "MemAvailable:")) != NULL && sscanf(line, "MemAvailable: %llu", &kilobytes) == 1)
        available = kilobytes * 1024;
    memory_free(text);
    return limit < available ? limit : available;
}
