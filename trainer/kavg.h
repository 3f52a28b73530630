/* K-AVG: the learners of a trial in rounds (Zhou & Cong, arXiv 1708.01012; methods 5). A round is opened, every learner runs
 * its steps, on whatever worker and in whatever pieces, and when all have, one job joins them:
 *
 *     joined --kavg_open--> open: kavg_run of each learner --all done--> kavg_join --> joined, step = the round's end
 *
 * learners_mode weights: join averages the learners' weights (and what else the optimizer says must be averaged) in a tree:
 * 0+1, 2+3, … then 0+2, … and gives the average, or the outer step from it, to all. gradients: a round is one step; running
 * a learner makes the gradient of its rows, join adds them in the same tree and makes one update.
 * Nothing but the numbers of a round decides a bit: not which worker ran what, nor in which order.
 * A trial is evaluated, saved and exported only while it is joined.
 * Nothing here allocates but kavg_new.
 * Thread rule: kavg_run of different learners on different threads at once; everything else while no learner runs. */
#ifndef TRAINER_KAVG_H
#define TRAINER_KAVG_H

#include "trainer/trial.h"

/* One learner's part of the round under way. */
struct kavg_part {
    uint64_t done, steps;          /* local steps done, and to do */
    bool diverged;
    uint64_t diverged_step;
    double loss, norm;             /* of its last step */
    uint64_t predicted;            /* gradients: tokens that its gradient is of */
};

struct kavg {
    int count;                     /* P */
    bool open;
    uint64_t end;                  /* of the round under way */
    void *anchor, *velocity;       /* of the outer step: views into the trial's slab; NULL: none */
    void *gradients;               /* gradients: P slabs; NULL with weights */
    struct kavg_part parts[LEARNERS_MAX];
};

/* Learners that have weights and state of their own: P with weights, 1 with gradients. */
int kavg_replicas(const struct training *training);
/* Slabs beside the learners' that belong to the trial's state (outer step), and those that don't (gradients). */
int kavg_state_slabs(const struct training *training);
int kavg_work_slabs(const struct training *training);

/* trial->kavg of a trial that is placed, NULL for one learner. ERROR_NO_MEMORY. */
int kavg_new(struct trial *trial, struct error *error);
void kavg_free(struct trial *trial);
/* Gives the first learner's weights and state to all; the outer step begins there. */
void kavg_start(struct trial *trial);

/* No round is under way. Always true of one learner. */
bool trial_is_joined(const struct trial *trial);
/* Opens the round of the trial's step, to end at `until` at the latest; nothing if one is open. */
void kavg_open(struct trial *trial, uint64_t until);
/* Has this learner of an open round steps left? */
bool kavg_has_work(const struct trial *trial, int learner);
/* Is a round open in which no learner has steps left? */
bool kavg_is_ready(const struct trial *trial);

/* Up to `limit` local steps of a learner; *done: how many. A loss or gradient that is not finite ends its round: the join
 * says so. ERROR_CANCELLED: *stop was seen; it goes on from its last whole step when it is run again. ERROR_IO. */
struct kavg_work {
    int learner;
    uint64_t limit;
    struct scratch *scratch;
    const struct corpus *train;
    const atomic_bool *stop;       /* NULL: none */
};
int kavg_run(struct trial *trial, const struct kavg_work *work, uint64_t *done, struct error *error);
/* Ends a round that is ready. gradients: an update, so that it may find the trial diverged. */
void kavg_join(struct trial *trial, struct scratch *scratch);

/* A whole round on this thread, the learners one after the other; goes on with one that is open. ERROR_CANCELLED: the round
 * stays open. */
int kavg_round(struct trial *trial, uint64_t until, struct scratch *scratch, const struct corpus *train,
               const atomic_bool *stop, struct error *error);

#endif
