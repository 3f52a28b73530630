/* Learners: the part of a study's `training` that says how several replicas train one model: K-AVG (Zhou & Cong, arXiv
 * 1708.01012), local optimizers with an outer step (DiLoCo, arXiv 2311.08105), and plain data parallelism. Here the values
 * and the arithmetic of rounds and rows that follows from them; what runs is trainer/kavg.h.
 *
 * A round is K steps: every learner takes its own rows of each step's batch, then all are averaged. Rounds end at the
 * multiples of K, and at the last step of a run. With K_j steps per learner, K is the largest, and learner j takes the first
 * K_j steps of a round. With a growing batch, round n reads floor(B / P (1 + g n)) rows per learner and step at the rate
 * times sqrt(rows of round 0 / rows of round n): the rates sum to infinity, their squares over the batch do not (methods
 * 5.1). One learner is a round of one step.
 * Thread rule: pure functions. */
#ifndef TRAINER_LEARNERS_H
#define TRAINER_LEARNERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* X(code, name) */
#define LEARNERS_MODES(X) X(LEARNERS_WEIGHTS, "weights") X(LEARNERS_GRADIENTS, "gradients")
enum learners_mode {
#define X(code, name) code,
    LEARNERS_MODES(X)
#undef X
    LEARNERS_MODE_COUNT
};
#define OUTER_OPTIMIZERS(X) X(OUTER_NONE, "none") X(OUTER_NESTEROV, "nesterov")
enum outer_name {
#define X(code, name) code,
    OUTER_OPTIMIZERS(X)
#undef X
    OUTER_COUNT
};

enum { LEARNERS_MAX = 64, LEARNERS_STEPS_MAX = 1 << 20, LEARNERS_WHY_BYTES = 400 };

/* The step on averages: v = momentum v + d, w = w0 - rate (d + momentum v), where d = w0 - average, w0 the weights that the
 * round began with (methods 5.3). */
struct outer_spec {
    enum outer_name name;      /* none: the average itself */
    double learning_rate;      /* 0.7 */
    double momentum;           /* 0.9 */
};

struct learners_spec {
    int count;                             /* P, 1 */
    enum learners_mode mode;               /* what is combined: weights, after K local steps; gradients, at every step */
    bool automatic;                        /* average_every "auto": local_steps are still to be measured */
    uint64_t local_steps[LEARNERS_MAX];    /* K_j of the first `count` learners, 1 */
    struct outer_spec outer;
    bool averaged_moments;                 /* the optimizer's moments are averaged with the weights; else each keeps its own */
    double batch_growth;                   /* g, 0: the batch stays */
    char why[LEARNERS_WHY_BYTES];          /* how "auto" came to K, in words; "" when it was given */
};

struct training;

struct learners_spec learners_defaults(void);
/* Refuses what can't be: ERROR_INVALID, a detail per disagreement with a pointer relative to the training object, and what
 * to change. */
int learners_check(const struct training *training, struct error *error);

/* What of the learners' state no checkpoint holds, so that `lag train` can't go on from one bit for bit. NULL: nothing. */
const char *learners_warning(const struct training *training);

/* K: steps of a whole round; 1 with one learner and when gradients are combined. */
uint64_t learners_round_steps(const struct training *training);
/* The end of the round that `step` lies in, at most `until`. */
uint64_t learners_round_end(const struct training *training, uint64_t step, uint64_t until);
/* Steps that a learner takes in a round of `steps`: its K_j of a whole round, of one that is cut its share, at least 1. */
uint64_t learners_local_steps(const struct training *training, int learner, uint64_t steps);

/* Rows that each learner reads at a step; the most of any step of the run; those of all learners before a step. */
int learners_rows(const struct training *training, uint64_t step);
int learners_rows_most(const struct training *training);
uint64_t learners_rows_before(const struct training *training, uint64_t step);
/* What the growing batch does to the rate at a step: 1 without. */
double learners_rate_factor(const struct training *training, uint64_t step);
/* Tokens trained on in the first `step` steps, by all learners together. */
uint64_t training_tokens(const struct training *training, uint64_t step);

#endif
