/* Slice: a bounded number of steps of one trial, or a bounded part of an evaluation: the unit lent to the pool.
 * The owner (loop thread) fills a slice, submits it, and gets it back through `done` on its own thread. */
#ifndef TRAINER_SLICE_H
#define TRAINER_SLICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "trainer/landscape.h"
#include "trainer/pool.h"
#include "trainer/trial.h"

/* What a slice trains: whole steps of a trial (with several learners whole rounds, one learner after the other), steps of
 * one learner of a round that is open, or the end of a round that is ready (trainer/kavg.h). */
enum slice_part { SLICE_STEPS, SLICE_LEARNER, SLICE_JOIN };

struct slice {
    struct pool_job job;                /* first: the pool's handle */
    struct trial *trial;
    struct scratch *scratch;
    const struct corpus *train, *valid;
    enum slice_part part;
    int learner;                        /* of SLICE_LEARNER */
    uint64_t until_step;                /* train no further than this */
    uint64_t steps_limit;               /* at most this many steps in this slice */
    struct evaluation *evaluation;      /* not NULL: evaluate instead of training */
    struct landscape *landscape;        /* not NULL: goes on with that measurement instead */
    uint64_t evaluation_tokens;         /* budget of this slice, of either */
    atomic_bool stop;                   /* set by the owner to cancel what runs */
    /* answers */
    bool evaluation_finished;           /* or the measurement */
    uint64_t steps_done;                /* of the trial; SLICE_LEARNER: local steps */
    int status;                         /* 0, or an error code */
    struct error error;
};

/* Steps that take about `seconds` at `flops_per_second`, at least 1: a slice lasts tens of milliseconds where the model
 * allows. Only affects scheduling, never results. */
uint64_t slice_steps(const struct shape *shape, const struct training *training, double seconds,
                     double flops_per_second);

/* The job's body: runs on a worker. Trains until until_step or steps_limit, or until the trial diverged (not an
 * error of the slice: the trial says so); or evaluates one budget. status ERROR_CANCELLED when `stop` was seen. */
void slice_run(struct slice *slice);
/* The same as a pool_job's run. */
void slice_job_run(struct pool_job *job);

#endif
