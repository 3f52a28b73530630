/* What `lag transfer` works with: both sizes of a model, data, and the runs of a sweep.
 *
 * Each run trains a size at one rate with one seed for the same steps, is evaluated on the same windows, and its sharpness is
 * measured at the end. Everything but rate and seed is what a study with the same training object would do: the grown size has
 * its masks, width rule and parametrization, the small one is their base. The horizon is the steps of the sweep, warm-up and
 * decay at most a fifth of it; there is no running average. Runs don't depend on each other: any order and any number of workers
 * give the same bits.
 * Thread rule: transfer_open and transfer_close on one thread; transfer_train on any, each run by one. */
#ifndef SERVER_TRANSFER_RUN_H
#define SERVER_TRANSFER_RUN_H

#include "growth/ramps.h"
#include "server/options.h"
#include "study/transfer.h"
#include "trainer/ligo_fit.h"

struct transfer_side {
    struct checkpoint checkpoint;
    double rate_scale;                   /* of hidden learning rates */
    const struct growth_ramps *ramps;    /* NULL: none */
    bool has_checkpoint;
};

/* transfer_rows.h's */
struct transfer_rows {
    bool kept;                           /* false: finished runs are only in memory */
    char directory[FILE_PATH_BYTES];     /* DIR/runs */
    uint8_t common[HASH_BYTES], weights[TRANSFER_SIZES][HASH_BYTES];
};

struct transfer_world {
    struct growth_list list;
    struct growth_plan plan;
    struct growth_ramps ramps;
    struct transfer_side sides[TRANSFER_SIZES];
    struct training training;            /* of every run, but for rate and seed */
    enum sampler sampler;
    uint64_t steps;
    struct corpus train, valid;
    struct windows windows;
    struct transfer_sweep sweep;
    struct transfer_rows rows;
    bool has_list, has_plan, has_ramps, has_train, has_valid;
};

/* Reads the flags, opens and grows. ERROR_INVALID and others; transfer_close in any case. */
int transfer_open(struct transfer_world *world, const struct options *options, struct error *error);
void transfer_close(struct transfer_world *world);
/* Bytes that one run needs beside the world: its trial, scratch and measurement, of the larger size. */
uint64_t transfer_run_bytes(const struct transfer_world *world);
/* One run of the sweep: from its row where one is kept (*found), else trained and its row kept. ERROR_CANCELLED when *stop was
 * seen; ERROR_DISK_FULL and others. */
struct transfer_place;
int transfer_train(struct transfer_world *world, const struct transfer_place *place, const atomic_bool *stop, bool *found,
                   struct error *error);

#endif
