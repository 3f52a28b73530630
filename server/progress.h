/* Progress: one line that redraws itself on a terminal (bar, loss, steps/s, time left), plain lines otherwise. Writes to
 * standard error. Used by `lag run` and `lag train`. */
#ifndef SERVER_PROGRESS_H
#define SERVER_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "study/study.h"

struct progress {
    bool terminal, drawn, changed;
    int columns;                      /* of the terminal */
    double begin, last;               /* seconds */
    uint64_t begin_steps;
    bool begun;
    int decisions, points;            /* already told as plain lines */
};

void progress_init(struct progress *progress, bool terminal);
/* A study's state; NULL: still being admitted or loaded. */
void progress_show(struct progress *progress, const struct study *study, double now);
/* One model being trained: `done` of `total` steps. */
void progress_train(struct progress *progress, uint64_t done, uint64_t total, double loss, double now);
void progress_end(struct progress *progress);      /* ends the line */

#endif
