/* What `lag powerfit` works with: a small model's shape, data, and the runs of a sweep over batches, lengths, rates and seeds.
 *
 * Each run trains a fresh model (of its seed) with warm-up, constant rate and decay over the last tenth of its steps (wsd;
 * everything else as the training object says), without a running average, and is evaluated on the same windows. The warm-up
 * has the tokens of the training object's, at most a fifth of the run. With --out finished runs are lines of runs.jsonl there,
 * which is written anew as a whole each time, so that a crash loses at most the runs at work.
 * Thread rule: one thread, but for powerfit_train. */
#ifndef SERVER_POWERFIT_RUN_H
#define SERVER_POWERFIT_RUN_H

#include "api/powerfit.h"
#include "server/options.h"
#include "study/spec.h"
#include "trainer/trial.h"

enum { POWERFIT_BATCHES_MAX = 16, POWERFIT_LENGTHS_MAX = 16 };

struct powerfit_world {
    struct powerfit_runs runs;           /* those of the file, then those that were trained */
    struct buffer lines;                 /* the file's text */
    char path[FILE_PATH_BYTES];          /* of the file; "": none is kept */
    struct shape shape;
    struct training training;            /* of every run, but for rate, batch, steps, warm-up and seed */
    enum sampler sampler;
    struct corpus train, valid;
    struct windows windows;
    double rates[POWER_RATES_MAX], batches[POWERFIT_BATCHES_MAX], lengths[POWERFIT_LENGTHS_MAX];
    int rate_count, batch_count, length_count, seeds;
    struct power_run *left;              /* of the sweep, still to be trained: a whole sweep of one seed before the next, short
                                            runs first */
    int left_count;
    bool has_train, has_valid;
};

/* Reads the file of runs, or all that training takes and the runs that are kept. ERROR_INVALID and others; powerfit_close in
 * any case. */
int powerfit_open(struct powerfit_world *world, const struct options *options, struct error *error);
void powerfit_close(struct powerfit_world *world);
/* Runs of the whole sweep; what the largest takes. */
int powerfit_total(const struct powerfit_world *world);
uint64_t powerfit_run_bytes(const struct powerfit_world *world);
/* Trains one of those left, to its loss. Any thread, each run by one. ERROR_CANCELLED when *stop was seen. */
int powerfit_train(const struct powerfit_world *world, struct power_run *run, const atomic_bool *stop, struct error *error);
/* Adds it to the runs, and to the file. */
int powerfit_keep(struct powerfit_world *world, const struct power_run *run, struct error *error);

#endif
