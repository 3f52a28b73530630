/* Trial: one candidate being trained. Weights, moments, running average, step counters; saved and resumed
 * bit for bit.
 *
 * A trial is lent to one worker for one slice. It owns its persistent state (one slab); what a step needs besides is
 * the worker's scratch. The data cursor is the step itself, streams are counter-based, masks a function of the step:
 * there is no other hidden state.
 * Determinism: the same binary, CPU kind, grown checkpoint and training values give the same bits, whatever else
 * runs. */
#ifndef TRAINER_TRIAL_H
#define TRAINER_TRIAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "growth/ramps.h"
#include "model/checkpoint.h"
#include "model/kernels.h"
#include "model/network.h"
#include "trainer/corpus.h"
#include "trainer/law.h"
#include "trainer/learner.h"
#include "trainer/training.h"

struct trial_options {
    const struct kernels *kernels;
    struct training training;
    double hidden_rate_scale;      /* after an n-fold width clone 1/n under width_learning_rate "scaled"; 1 otherwise */
    struct shape base;             /* that the parametrization starts from: the parent's; width 0: the trial's own */
    enum sampler sampler;
    uint64_t seed_index;           /* 0 */
    const struct growth_ramps *ramps;   /* masks of what is grown in while it trains, borrowed; NULL: none */
    bool from_raw;                 /* start from moments->raw (continuing) instead of the weights (growing) */
};

struct kavg;
struct trial {
    struct trial_options options;
    struct tensor_table table;
    struct tensor_law *laws;       /* one per tensor */
    uint64_t step;                 /* optimizer updates done */
    uint64_t first_data_step;      /* data cursor of update 0 (a continued run) */
    void *slab;                    /* kernels->alloc: of each learner weights | state; the average; outer step */
    struct learner *learners;
    int learner_count;             /* replicas with weights of their own: 1, with learners_mode weights P */
    struct kavg *kavg;             /* rounds of several learners; NULL: one */
    void *average;                 /* view into slab; NULL for AVERAGE_NONE */
    uint64_t *tensor_steps;        /* of all learners, one after the other */
    uint64_t average_start;        /* updates already done when the average began (0) */
    bool diverged;                 /* a loss or gradient was NaN or Inf */
    uint64_t diverged_step;
    double last_loss;              /* mean training loss of the last step, nats; NaN before the first */
    double last_gradient_norm;
};

/* Bytes that a trial of this shape keeps (12 per parameter for AdamW, 4 more per running average), and that a worker's
 * scratch needs (gradients + activations of one micro-batch). */
size_t trial_bytes(const struct shape *shape, const struct training *training);
/* Of these, what is saved: the gradients that learners leave for each other are not. */
size_t trial_slab_bytes(const struct shape *shape, const struct training *training);
size_t scratch_bytes(const struct kernels *kernels, const struct shape *shape, const struct training *training);

/* Starts at step 0 from a grown checkpoint (its moments and step counters are used when there). With from_raw (the
 * checkpoint has moments->raw) it goes on instead where that run stopped: step and data cursor are the provenance's,
 * so that schedule and data continue and, without a running average, the result is the uninterrupted run's bit for
 * bit; an average begins anew there. Copies what it needs. The kernels must compute in float32. ERROR_NO_MEMORY,
 * ERROR_INVALID (training_check; from_raw without raw weights). */
int trial_init(struct trial *trial, const struct checkpoint *checkpoint, const struct trial_options *options,
               struct error *error);
void trial_fini(struct trial *trial);

/* Zeroed state, to load into. ERROR_NO_MEMORY, ERROR_INVALID. */
int trial_init_empty(struct trial *trial, const struct shape *shape, const struct trial_options *options,
                     struct error *error);
/* One file: header with shape, step and checks, then the slab, with a SHA-256 at the end. Written atomically, with
 * fsync. ERROR_IO, ERROR_DISK_FULL, ERROR_NO_MEMORY: the old file, if any, is still there. */
int trial_save(const struct trial *trial, const char *path, struct error *error);
/* Loads into a trial of the same shape and options. ERROR_DAMAGED if the file is not whole or belongs to another shape
 * or other training values, ERROR_NOT_FOUND. After a failure the trial holds no usable weights: load again or
 * trial_fini. */
int trial_load(struct trial *trial, const char *path, struct error *error);

/* A hash of all that its further steps depend on but weights and data: shape, training values, laws, masks. */
void trial_identity(const struct trial *trial, uint8_t digest[HASH_BYTES]);

/* Is the file whole, whatever trial it is of (`lag check`)? ERROR_DAMAGED if not. */
int trial_file_check(const char *path, struct error *error);

/* Downloads into a checkpoint of the same shape: averaged (or raw, if there is no average) weights into
 * checkpoint->weights; raw iterate, moments and counters into checkpoint->moments (added if absent); step, data
 * cursor and seed into its provenance (tokens_seen is the caller's to add); the hash follows the new weights.
 * ERROR_NO_MEMORY. */
int trial_export(const struct trial *trial, struct checkpoint *checkpoint, struct error *error);

/* A worker's scratch: gradients, a network with room for one micro-batch, token buffers. Fits every shape given. */
struct scratch;
int scratch_new(struct scratch **scratch, const struct kernels *kernels, const struct tensor_table *table,
                const struct training *training, struct error *error);
void scratch_free(struct scratch *scratch);
/* Does this scratch serve that trial (same shape, batch, context, objective, recompute, compute)? */
bool scratch_fits(const struct scratch *scratch, const struct trial *trial);

/* One update: micro-batches, clip, AdamW, running average. Allocates nothing. Checks *stop between micro-batches: if
 * set, leaves the trial as it was before the step and returns ERROR_CANCELLED. A non-finite loss or gradient norm
 * sets diverged and diverged_step and returns 0 with the weights untouched. ERROR_IO if the corpus can't be read. */
int trial_step(struct trial *trial, struct scratch *scratch, const struct corpus *train, const atomic_bool *stop,
               struct error *error);

/* A validation pass in bounded pieces. Windows are evaluated in order; losses[i] = mean nats per token of window i on
 * the averaged weights (raw weights if there is no average), behind the masks of the trial's step; raw_losses[j] = the
 * same on the raw weights for window floor(j W / R), j < R = ceil(raw_share W). */
struct evaluation {
    struct windows windows;
    int raw_count;                 /* R; 0 without an average: then raw = averaged */
    float *losses, *raw_losses;    /* owned by the caller: windows.count and raw_count floats */
    int next, raw_next;            /* cursors */
};
/* Evaluates about `budget_tokens` further tokens, at least one group; *finished when all is done. Windows are always
 * grouped alike (as many as the scratch has rows, in order), so the losses do not depend on the budget. Never
 * changes the trial. ERROR_CANCELLED when *stop was seen between groups: what was done stays done, the cursors tell.
 * ERROR_IO. */
int trial_evaluate(const struct trial *trial, struct scratch *scratch, const struct corpus *valid,
                   struct evaluation *evaluation, uint64_t budget_tokens, const atomic_bool *stop, bool *finished,
                   struct error *error);

/* Mean loss per window of plain weights on a corpus, for `lag eval` and the loss before and after growing. The masks of
 * a denoising objective are those of a trial with this seed. ERROR_INVALID (objective_check), ERROR_IO,
 * ERROR_NO_MEMORY. */
struct evaluated {
    const struct kernels *kernels;
    const struct checkpoint *checkpoint;
    const struct corpus *valid;
    const struct windows *windows;
    const struct objective_spec *objective;
    uint64_t seed, seed_index;
};
int evaluate_weights(const struct evaluated *evaluated, float *losses, struct error *error);

/* Statistics of per-window losses: mean and standard error (sd / sqrt(W)), in double, fixed order. */
struct loss_summary { double mean, standard_error; };   /* NaN: mean of none, error of fewer than two */
struct loss_summary loss_summarize(const float *losses, int count);

#endif
