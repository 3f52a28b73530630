/* What `lag transfer` works with: both sizes of a model, data, and the runs of a sweep. One thread.
 *
 * Each run trains a size at one rate with one seed for the same steps, is evaluated on the same windows, and its sharpness is
 * measured at the end. Everything but rate and seed is what a study with the same training object would do: the grown size has
 * its masks, width rule and parametrization, the small one is their base. The horizon is the steps of the sweep, warm-up and
 * decay at most a fifth of it; there is no running average. */
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
    struct scratch *scratch;
    bool has_checkpoint;
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
    bool has_list, has_plan, has_ramps, has_train, has_valid;
};

/* Reads the flags, opens and grows. ERROR_INVALID and others; transfer_close in any case. */
int transfer_open(struct transfer_world *world, const struct options *options, struct error *error);
void transfer_close(struct transfer_world *world);
/* One run of the sweep. ERROR_CANCELLED when *stop was seen. */
int transfer_train(struct transfer_world *world, enum transfer_size size, int rate, int seed, const atomic_bool *stop,
                   struct error *error);

#endif
