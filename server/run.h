/* Run: one study being worked on: its pure state (study/), its files (sources), and a seat per candidate.
 *
 *   LOADING -> GROWING -> ACTIVE -> FINISHING -> ENDED
 *      one job   a job per    slices,    one job: files of kept candidates, documents; then one commit
 *                candidate    points,
 *                             decisions
 *
 * What is durable when: a trial's file is saved at every barrier BEFORE its point there is committed, and a point is
 * known to the study (and so to a decision) at a barrier only AFTER that commit. Points between barriers are
 * committed in the background; a save waits for them. So whatever a kill leaves behind, every decision that was taken
 * can be taken again from what is stored, and comes out the same.
 *
 * A seat's life:
 *   EMPTY --grow or load job--> IDLE <--slice job--> LENT
 *     ^                          |  evaluation at a barrier, or 30 s since the last save
 *     +---parked, ended---- IDLE <--commit-- COMMITTING <--file-- SAVING <-- WAITING (for earlier points' commits,
 *                                                                                   or for the end of a pause)
 * Thread rule: loop thread; a job's function touches only what was lent to it. */
#ifndef SERVER_RUN_H
#define SERVER_RUN_H

#include "growth/ramps.h"
#include "server/journal.h"
#include "server/service.h"
#include "server/sources.h"
#include "study/rank.h"
#include "study/stages.h"
#include "trainer/ligo_fit.h"
#include "trainer/slice.h"

/* RUN_STAGED: of a staged study, whose parts are runs of their own (run_stages.h). */
enum run_phase { RUN_LOADING, RUN_GROWING, RUN_ACTIVE, RUN_STAGED, RUN_FINISHING, RUN_ENDED };
enum run_intent { INTENT_GO, INTENT_CANCEL, INTENT_DRAIN, INTENT_FAIL };
enum seat_state { SEAT_EMPTY, SEAT_IDLE, SEAT_GROWING, SEAT_LOADING, SEAT_LENT, SEAT_WAITING, SEAT_SAVING,
                  SEAT_COMMITTING };

struct run;

struct seat {
    struct run *run;
    int candidate;
    enum seat_state state;
    bool resident;                  /* trial and buffers are in memory */
    size_t bytes;                   /* counted against the memory limit */
    struct trial trial;
    struct evaluation evaluation;
    bool evaluating;
    bool measuring;                 /* evaluated; its landscape is measured before the point is made */
    struct landscape_values landscape;
    struct slice slice;
    int slot;                       /* worker slot while LENT, GROWING or LOADING */
    int64_t lent_ns, begun_ns, saved_ns;
    double evaluation_seconds;
    bool saved;                     /* a trial file is on disk */
    uint64_t saved_step;
    bool save_has_point;            /* the save is for `pending` (a barrier) */
    struct point pending;
    int commits_pending;            /* points of this seat that are not durable yet */
    struct seat_part *parts;        /* one per learner where there are several: run_learners.c */
    int part_count, parts_lent;
    bool joining;                   /* what is lent is the end of a round */
    struct pool_job job;            /* grow, load, save */
    struct journal_entry entry;     /* the commit after a save */
    struct error error;             /* of job */
    /* from the plan, known since the run was loaded */
    struct shape shape;
    size_t trial_bytes;
    double rate_scale;              /* of hidden learning rates */
    struct growth_ramps ramps;      /* of what is grown in behind masks */
    bool damaged;                   /* the file on disk is of no use: grow and train anew */
    /* grow's answers, the worker's until `known` */
    bool known;
    char hash[65];                  /* of the grown model: its bytes, and its ramps where there are any */
    uint64_t parameters;
    double flops_per_token, preservation;
};

/* A job's worker-side share of the training memory. */
struct slot {
    struct scratch *scratch;
    struct landscape *landscape;     /* a measurement that proceeds on this slot alone, slice by slice */
    struct seat *measured;           /* whose; NULL: none */
    bool busy;
};

struct run {
    struct service *service;
    struct run *next;                       /* in order of admission */
    struct study_row row;
    enum run_phase phase;
    enum run_intent intent;
    char reason[512];                       /* why queued again, failed */
    int64_t retry_ns;                       /* paused until then; 0: not paused */
    int retries;                            /* since something worked */
    bool recovered, job_running;
    bool reload;                            /* some background write was lost: start over from the store */
    bool unsavable;                         /* while stopping: what was written last is what the next start finds */
    int lost_candidate;                     /* of the finish job: whose saved trial is gone or damaged; -1 */
    struct pool_job job;                    /* load, finish */
    struct error error;                     /* of job */
    struct request *request;
    struct sources sources;
    struct study_spec spec;
    bool has_spec, has_study;
    struct study study;
    struct windows windows;
    double loss_before;
    bool needs_loss_before;
    struct seat *seats;
    int commits_pending;
    struct study_outcome outcome;
    bool has_outcome;
    int outcome_decisions;                  /* the outcome belongs to that many decisions */
    uint64_t scratch_bytes;                 /* what a worker needs for its largest candidate */
    uint64_t partner_bytes;                 /* of the checkpoints that operators name */
    const char **warnings;                  /* owned, each too */
    int warning_count;
    char *recipe;
    struct service_waiter *waiters;         /* cancel or drain callbacks */
    bool ending;
    struct staging *staging;                /* of a staged study; NULL: an ordinary one */
    struct run *whole;                      /* of a part: the staged study, which outlives it; else NULL */
    struct stage_part part;
    int taken_over;                         /* of a training after a search: the number that its choice has there */
    uint64_t first_data_step;               /* where the sampler stands when trials begin */
    atomic_bool stop;                       /* set once the run stops: a fit under way looks at it */
};

/* run.c: life; run_trouble.c: trouble and stopping */
struct run *run_new(struct service *service, struct study_row *row, struct error *error);     /* takes the row's strings */
void run_free(struct run *run);
void run_load(struct run *run);                    /* submits the load job */
bool run_is_idle(const struct run *run);           /* no job, slice, save or commit of it is under way or waits */
/* Trouble: what may pass (memory, disk, I/O) puts the study back to queued with the reason, to be tried again; anything
 * else fails it for good (resumable by hand). A study that is stopping already only stops. */
void run_trouble(struct run *run, const struct error *error);
void run_stop(struct run *run, enum run_intent intent);        /* cancel or drain: stops slices, saves, then run_stopped */
void run_advance_stopping(struct run *run);        /* the same for one that is stopping */
void run_advance(struct run *run);                 /* next phase if the present one is complete; called by the pump */
int run_refresh_outcome(struct run *run);          /* outcome as it stands now */
void run_view(struct run *run, struct study_view *view);

/* run_grow.c */
void seat_grow(struct seat *seat, int slot);
/* Makes the grown checkpoint of a candidate again (worker). */
int run_grow_candidate(const struct run *run, int candidate, struct checkpoint *grown, struct error *error);
struct trial_options run_trial_options(const struct run *run, int candidate);
/* The shape that the parametrization starts from: of the study's own checkpoint, also in a later stage. */
const struct shape *run_base(const struct run *run);
int run_plan_seats(struct run *run, struct error *error);      /* shapes, bytes, rates and warnings of all candidates */
bool run_all_grown(const struct run *run);
void run_grown(struct run *run);                   /* all hashes known: facts, twins, warnings; then ACTIVE */

/* run_seat.c */
void seat_lend(struct seat *seat, int slot, const struct work *work);
void seat_load(struct seat *seat, int slot);
bool seat_measured_elsewhere(const struct seat *seat, int slot);    /* it goes on only on the slot that holds what it measured */
void seat_release(struct seat *seat);              /* out of memory; the file, if any, stays */
int seat_buffers(struct seat *seat, struct error *error);

int slot_scratch(struct slot *slot, const struct trial *trial, struct error *error);       /* worker: makes it fit */
uint64_t seat_slice_steps(const struct seat *seat);                                       /* steps of about one slice */
void seat_moved(struct seat *seat, uint64_t steps);    /* the trial has `steps` more steps, or diverged */

/* run_learners.c */
int seat_parts_init(struct seat *seat, struct error *error);
void seat_parts_fini(struct seat *seat);
bool seat_has_idle_learner(const struct seat *seat);   /* a round is under way, and a free worker could help */
void seat_lend_learner(struct seat *seat, int slot, uint64_t until);       /* of a round that ends at `until` at the latest */
void seat_stop_parts(struct seat *seat);

/* run_save.c */
void seat_save(struct seat *seat, const struct point *point);   /* point NULL: only the trial */
void seat_save_again(struct seat *seat);                        /* one that waits */
int seat_trial_path(const struct run *run, int candidate, char path[FILE_PATH_BYTES], struct error *error);

/* run_record.c: what becomes durable */
/* An event of the study that clients know; `data` is freed. What a part tells carries its stage and chain, and only what
 * clients need: not its beginning and end, not what a training without rivals decides. */
void run_add_event(struct changes *changes, const struct run *run, const char *kind, const char *identity,
                   struct buffer *data);
void run_record_point(struct seat *seat, const struct point *point);             /* in the background */
void run_add_point(struct changes *changes, struct run *run, int candidate, const struct point *point);
void run_record_decisions(struct run *run);                                      /* decides what can be decided */
void run_record_state(struct run *run, enum study_state_name state, const char *reason);
void run_record_candidate(struct run *run, int candidate);
void run_record_pause(struct run *run);                                          /* if the store takes it */
void run_forget_points(struct run *run, int candidate, uint64_t from);           /* then starts over from the store */

/* run_finish.c */
void run_finish(struct run *run);

#endif
