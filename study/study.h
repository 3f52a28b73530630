/* Study: the whole life of one request as a pure state machine. Values in, decisions out: no I/O, no clock, no
 * threads.
 *
 *                 admit            every barrier decided, or cap
 *     (spec) ---> queued ---> running --------------------------> succeeded   (at least one candidate completed)
 *                   ^            |  \---------------------------> failed      (none completed)
 *                   |            +------------------------------> cancelled   (asked for; resumable)
 *                   +------------/  disk full, drain, crash: back to queued, with the reason; never failed
 *
 *     candidate: pending -> running -> completed | diverged | failed | cancelled | interrupted | (eliminated: later)
 *
 * Rounds: the geometric points from k_min on are barriers. Between barriers the trial with the fewest steps runs
 * first; none passes a barrier that is not decided. A barrier is decided when every live trial has its point there.
 * Hence decisions depend on logical rounds only, never on the number of workers or on finishing order. */
#ifndef STUDY_STUDY_H
#define STUDY_STUDY_H

#include "study/curve.h"
#include "study/spec.h"

#define STUDY_STATES(X) X(STUDY_QUEUED, "queued") X(STUDY_RUNNING, "running") X(STUDY_SUCCEEDED, "succeeded") \
    X(STUDY_FAILED, "failed") X(STUDY_CANCELLED, "cancelled")
enum study_state_name {
#define X(code, name) code,
    STUDY_STATES(X)
#undef X
    STUDY_STATE_COUNT
};
#define CANDIDATE_STATES(X) X(CANDIDATE_PENDING, "pending") X(CANDIDATE_RUNNING, "running")                   \
    X(CANDIDATE_COMPLETED, "completed") X(CANDIDATE_ELIMINATED, "eliminated") X(CANDIDATE_DIVERGED, "diverged") \
    X(CANDIDATE_FAILED, "failed") X(CANDIDATE_CANCELLED, "cancelled") X(CANDIDATE_INTERRUPTED, "interrupted")
enum candidate_state_name {
#define X(code, name) code,
    CANDIDATE_STATES(X)
#undef X
    CANDIDATE_STATE_COUNT
};
const char *study_state_text(enum study_state_name state);
int study_state_parse(const char *text, enum study_state_name *state);      /* 0 or -1 */
const char *candidate_state_text(enum candidate_state_name state);

/* What the study knows of a candidate. The facts of growing are set once by the driver when the candidate was grown. */
struct candidate {
    enum candidate_state_name state;
    char reason[256];              /* why diverged or failed, else "" */
    int same_as;                   /* index of the earlier candidate with the same bytes, -1 */
    uint64_t diverged_step;
    /* facts of growing */
    bool grown;
    char hash[65];                 /* content hash of the grown checkpoint */
    uint64_t parameters;
    double flops_per_token;        /* training */
    double preservation;           /* max |logit difference| / scale; NaN if not measured */
    double loss_before;            /* the parent's validation loss */
    double growth_flops;           /* of operators that learn from data; follows from the plan, set by the driver */
    /* progress */
    uint64_t step;                 /* steps trained (logical) */
    struct curve curve;
    double seconds;                /* wall time of its slices, told by the driver; not part of identical results */
};

enum decision_kind { DECISION_NONE, DECISION_CONTINUE, DECISION_SETTLED, DECISION_PROVISIONAL, DECISION_FAILED };

/* One decided barrier, with what it was decided from: becomes a `decision` event. */
struct decision {
    enum decision_kind kind;
    uint64_t step;
    double agreement;              /* a(t), NaN for fewer than 4 live candidates or too few points */
    bool holds;                    /* condition (3) of the rule held at this point */
    int best_now, best_predicted;  /* candidate indices, -1 */
    bool knees_passed;
    int live;                      /* candidates that took part */
    char reason[512];
};

struct study {
    const struct study_spec *spec;         /* must outlive the study */
    struct grid grid;
    struct candidate *candidates;          /* spec->candidate_count */
    int windows;                           /* W */
    int vocabulary;                        /* V, set by the driver after study_init; 0: unknown, then L(0) alone bounds
                                              the loss in the divergence rule */
    double tokens_per_step;
    struct decision *decisions;            /* one per decided barrier, ascending */
    int decision_count, decision_capacity;
    bool finished;                         /* the last decision was not CONTINUE */
};

/* All candidates pending. ERROR_NO_MEMORY, ERROR_INVALID (no candidates or too many, too many evaluation points). */
int study_init(struct study *study, const struct study_spec *spec, int windows, struct error *error);
void study_fini(struct study *study);

/* The work that a candidate may do next. */
enum work_kind { WORK_NONE, WORK_EVALUATE, WORK_TRAIN };
/* EVALUATE at `step`; TRAIN until `step` (the next grid point). */
struct work { enum work_kind kind; int candidate; uint64_t step; };
/* For one candidate: what comes next, or WORK_NONE (finished, dead, same_as, or waiting at an undecided barrier).
 * Cancelled candidates have none; interrupted ones go on. A driver that resumes a cancelled study sets its
 * candidates to CANDIDATE_INTERRUPTED. EVALUATE at 0 comes first: the candidate is grown by then. */
struct work study_candidate_work(const struct study *study, int candidate);
/* Among the candidates that are not busy: the one with the fewest steps that has work (lowest index on equal steps).
 * `busy[i]`: lent to a worker, or saving. */
struct work study_next_work(const struct study *study, const bool *busy);

/* Facts from the driver. A candidate with the same hash and the same moments policy as an earlier one is its copy
 * (same_as): whatever else a hash leaves out must go into it. */
void study_grown(struct study *study, int candidate, const char *hash, uint64_t parameters, double flops_per_token,
                 double preservation, double loss_before);     /* also finds same_as among lower indices */
void study_trained(struct study *study, int candidate, uint64_t step);
/* Records an evaluation point; applies the divergence rule of methods C.1 (NaN/Inf, or averaged loss > max(L(0), ln
 * V) + 1 at two successive points after warm-up). ERROR_NO_MEMORY. */
int study_point(struct study *study, int candidate, const struct point *point, struct error *error);
void study_diverged(struct study *study, int candidate, uint64_t step, const char *reason);
void study_candidate_failed(struct study *study, int candidate, const char *reason);

/* Decides the first undecided barrier if every live trial has its point there; else kind NONE. Call until NONE.
 * Appends to study->decisions; sets finished and the candidates' states (completed) when settled or at the cap. All
 * dead: FAILED. */
struct decision study_decide(struct study *study, struct error *error);
/* Is the landscape measured at the evaluation of `step`? At 0, at the first evaluation from each multiple of landscape.every
 * on, and at the last; only where it was asked for. */
bool study_measures(const struct study *study, uint64_t step);
/* Is `step` a barrier of this study? A deciding grid point from k_min on, or the last. */
bool study_is_barrier(const struct study *study, uint64_t step);

/* Questions about the candidates at a step; they look at nothing later than that step, so that decisions recomputed
 * from whole curves are those that were taken when the curves grew. */
/* Has ended for good: diverged, failed or eliminated. */
bool candidate_is_dead(const struct candidate *candidate);
/* Takes part in what is decided at `step`: not the copy of another, has a finite point there, not diverged by then. */
bool study_takes_part(const struct study *study, int candidate, uint64_t step);
/* The first of the two successive points at which the rule held, and (settled_at, may be NULL) the second. */
bool study_transition(const struct study *study, uint64_t *step, uint64_t *settled_at);

#endif
