/* The log: stderr, text on a terminal, JSON lines otherwise, fields ts level msg request_id study candidate error.
 * Values are escaped; never a token, never tensor bytes. Thread rule: any thread (one write(2) per line). */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/clock.h"
#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_fields {
    const char *request_id, *study, *candidate;   /* NULL: left out */
    const struct error *error;                     /* NULL: left out */
};

/* Once, before any thread starts. fd 2 unless a test says otherwise; clock is kept, not owned. */
void log_setup(int fd, enum log_level least, bool json, struct clock *clock);
void log_write(enum log_level level, const struct log_fields *fields, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
