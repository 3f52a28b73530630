/* The clock seam: the system's, or one that a test sets. Only server/ asks for time, and what measures with the
 * clock that it was handed. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock {
    int64_t (*monotonic_ns)(struct clock *clock);
    int64_t (*wall_ms)(struct clock *clock);    /* milliseconds since 1970-01-01 UTC */
    int64_t set_ns, set_wall_ms;                /* the settable body's values */
};

struct clock clock_system(void);
struct clock clock_settable(int64_t monotonic_ns, int64_t wall_ms);
/* "2026-11-22T14:05:09.123Z" (RFC 3339, UTC). */
enum { CLOCK_TEXT_BYTES = 32 };
void clock_format(int64_t wall_ms, char text[CLOCK_TEXT_BYTES]);

#endif
