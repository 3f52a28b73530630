#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t system_read(clockid_t which, int64_t units_per_second)
{
    struct timespec now = {0};
    clock_gettime(which, &now);
    return now.tv_sec * units_per_second + now.tv_nsec / (1000000000 / units_per_second);
}

static int64_t system_monotonic_ns(struct clock *clock)
{
    (void)clock;
    return system_read(CLOCK_MONOTONIC, 1000000000);
}

static int64_t system_wall_ms(struct clock *clock)
{
    (void)clock;
    return system_read(CLOCK_REALTIME, 1000);
}

static int64_t settable_monotonic_ns(struct clock *clock)
{
    return clock->set_ns;
}

static int64_t settable_wall_ms(struct clock *clock)
{
    return clock->set_wall_ms;
}

struct clock clock_system(void)
{
    return (struct clock){.monotonic_ns = system_monotonic_ns, .wall_ms = system_wall_ms};
}

struct clock clock_settable(int64_t monotonic_ns, int64_t wall_ms)
{
    return (struct clock){.monotonic_ns = settable_monotonic_ns, .wall_ms = settable_wall_ms,
                          .set_ns = monotonic_ns, .set_wall_ms = wall_ms};
}

void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_BYTES])
{
    /* RFC 3339 knows the years 0000 to 9999 only: beyond them the nearest moment it can write. */
    static const int64_t least = -62167219200000, most = 253402300799999;
    int64_t moment = wall_ms < least ? least : wall_ms > most ? most : wall_ms;
    int64_t milliseconds = (moment % 1000 + 1000) % 1000;
    time_t seconds = (time_t)((moment - milliseconds) / 1000);
    struct tm utc = {0};
    gmtime_r(&seconds, &utc);
    size_t used = strftime(text, CLOCK_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
    if (utc.tm_year + 1900 < 1000)    /* strftime's %Y does not pad */
        used = (size_t)snprintf(text, CLOCK_TEXT_BYTES, "%04d-%02d-%02dT%02d:%02d:%02d", (utc.tm_year + 1900) % 10000,
                                utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
    snprintf(text + used, CLOCK_TEXT_BYTES - used, ".%03dZ", (int)milliseconds);
}
