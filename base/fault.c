#include "base/fault.h"

#ifdef LAG_FAULTS

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ANY_POINT = FAULT_POINT_COUNT };

static const char *const kind_names[FAULT_KIND_COUNT] = {
    [FAULT_ALLOC] = "alloc", [FAULT_WRITE] = "write", [FAULT_FSYNC] = "fsync", [FAULT_RENAME] = "rename"};

static const char *const point_names[FAULT_POINT_COUNT + 1] = {
#define X(name) [FAULT_AT_##name] = #name,
    FAULT_POINTS(X)
#undef X
    [ANY_POINT] = "any"};

/* The crossing that strikes, counted from 1 (0: none), and the crossings so far. */
struct countdown { _Atomic int64_t target, crossings; };

static struct countdown kinds[FAULT_KIND_COUNT];
static struct countdown kill_count;
static int kill_point = -1;    /* written once, before any reader gets past the pthread_once */
static pthread_once_t environment_once = PTHREAD_ONCE_INIT;

static bool countdown_strikes(struct countdown *countdown)
{
    int64_t crossing = atomic_fetch_add(&countdown->crossings, 1) + 1;
    return crossing == atomic_load(&countdown->target);
}

/* Reads "name:n" against a list of names. A test that asks for a fault which does not exist must not pass by accident:
 * the process ends at once, with status 2. */
static int environment_read(const char *variable, const char *const *names, int count, int64_t *n)
{
    const char *value = getenv(variable);
    if (!value || !*value)
        return -1;
    const char *colon = strchr(value, ':');
    for (int i = 0; colon && i < count; i++) {
        size_t length = (size_t)(colon - value);
        char *end;
        if (strlen(names[i]) != length || memcmp(names[i], value, length) != 0)
            continue;
        *n = strtoll(colon + 1, &end, 10);
        if (*n > 0 && *end == '\0')
            return i;
    }
    fprintf(stderr, "%s=%s: want NAME:N with a known name and N of 1 or more\n", variable, value);
    _exit(2);
}

static void environment_load(void)
{
    int64_t n = 0;
    int kind = environment_read("LAG_FAULT", kind_names, FAULT_KIND_COUNT, &n);
    if (kind >= 0)
        atomic_store(&kinds[kind].target, n);
    kill_point = environment_read("LAG_KILL", point_names, FAULT_POINT_COUNT + 1, &n);
    if (kill_point >= 0)
        atomic_store(&kill_count.target, n);
}

bool fault_strikes(enum fault_kind kind)
{
    pthread_once(&environment_once, environment_load);
    return countdown_strikes(&kinds[kind]);
}

void fault_point(enum fault_point_name point)
{
    pthread_once(&environment_once, environment_load);
    if ((kill_point == ANY_POINT || kill_point == (int)point) && countdown_strikes(&kill_count))
        kill(getpid(), SIGKILL);
}

void fault_arm(enum fault_kind kind, int64_t n)
{
    pthread_once(&environment_once, environment_load);
    atomic_store(&kinds[kind].target, n);
    atomic_store(&kinds[kind].crossings, 0);
}

int64_t fault_count(enum fault_kind kind)
{
    return atomic_load(&kinds[kind].crossings);
}

#endif
