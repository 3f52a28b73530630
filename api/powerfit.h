/* What `lag powerfit` reads and says. Finished runs are JSON lines, one object each:
 *
 *   {"batch": 16, "context": 64, "tokens": 102400, "learning_rate": 0.003, "loss": 3.21, "seed": 1, "sweep": "…"}
 *
 * tokens: of the whole run; loss: validation at its end, null for a run that diverged; seed: 1 where it is absent; sweep: what
 * else the run depends on, as a hash (64 hex digits), alike in all lines that have one. Thread rule: pure functions of values. */
#ifndef API_POWERFIT_H
#define API_POWERFIT_H

#include "base/buffer.h"
#include "base/hash.h"
#include "study/powerfit.h"
#include "trainer/training.h"

enum { POWERFIT_BYTES_MAX = 4 << 20, POWERFIT_LINE_BYTES_MAX = 4096 };      /* of a file, of a line */

struct powerfit_runs {
    struct power_run *runs;              /* POWER_RUNS_MAX, the caller's */
    int count;
    char sweep[HASH_HEX_BYTES];          /* of the lines that have one; "" */
};

/* Adds the runs of a file. ERROR_SYNTAX, ERROR_INVALID (each says the line), ERROR_TOO_LARGE, ERROR_NO_MEMORY. */
int powerfit_read(const char *text, size_t length, struct powerfit_runs *runs, struct error *error);
/* One line of such a file. */
void powerfit_write_run(struct buffer *out, const struct power_run *run, const char *sweep);
/* The fields of a `training` object that all runs of a sweep share: those that a run sets are left out. */
void powerfit_write_training(struct buffer *out, const struct training *training);

/* The table of cells, at most 80 columns, the answer and what to put into a request. Out of memory: out->failed. */
void response_powerfit_text(struct buffer *out, const struct power_fit *fit);
void response_powerfit_json(struct buffer *out, const struct power_fit *fit, const struct powerfit_runs *runs);
/* Best rate over beta against tokens, both logarithmic: cells with intervals, the law with its band. */
void response_powerfit_plot(struct buffer *out, const struct power_fit *fit);

#endif
