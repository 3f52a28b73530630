/* Training parameters: a study's `training` object, resolved; and the tables of optimizers and schedules. Pure
 * values. */
#ifndef TRAINER_TRAINING_H
#define TRAINER_TRAINING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/parameter.h"
#include "model/kernels.h"
#include "model/kernels_ops.h"
#include "model/shape.h"
#include "trainer/corpus.h"
#include "trainer/objective.h"

/* X(code, name, available, summary, source) */
#define OPTIMIZER_TABLE(X)                                                                                       \
    X(OPTIMIZER_ADAMW, "adamw", true, "Adam with decoupled weight decay, a step counter per tensor",            \
      "Loshchilov & Hutter, arXiv 1711.05101")                                                                  \
    X(OPTIMIZER_SGD, "sgd", false, "gradient descent with momentum", "Sutskever et al., 2013")                  \
    X(OPTIMIZER_SCHEDULE_FREE_ADAMW, "schedule_free_adamw", false, "AdamW without a schedule",                  \
      "arXiv 2405.15682, 2507.09846")                                                                           \
    X(OPTIMIZER_SCHEDULE_FREE_SGD, "schedule_free_sgd", false, "SGD without a schedule", "arXiv 2405.15682")
enum optimizer_name {
#define X(code, ...) code,
    OPTIMIZER_TABLE(X)
#undef X
    OPTIMIZER_COUNT
};

#define SCHEDULE_TABLE(X)                                                                                        \
    X(SCHEDULE_CONSTANT, "constant", true, "warm-up, then the same rate", "")                                    \
    X(SCHEDULE_WSD, "wsd", true, "warm-up, stable, decay over the last decay_steps of the horizon",             \
      "Hu et al., arXiv 2404.06395; Power scheduler, arXiv 2408.13359, Eq. 2")                                  \
    X(SCHEDULE_LINEAR, "linear", false, "linear decay to the horizon", "")                                       \
    X(SCHEDULE_COSINE, "cosine", false, "cosine decay to the horizon", "Loshchilov & Hutter, arXiv 1608.03983") \
    X(SCHEDULE_POWER, "power", false, "power law in tokens seen", "arXiv 2408.13359, Eq. 7, 8")                  \
    X(SCHEDULE_INVERSE_SQRT, "inverse_sqrt", false, "1/sqrt(step)", "")
enum schedule_name {
#define X(code, ...) code,
    SCHEDULE_TABLE(X)
#undef X
    SCHEDULE_COUNT
};

/* X(code, name). sqrt: 1 - sqrt(u) (Haegele et al., arXiv 2405.18392). */
#define DECAY_FORMS(X) X(DECAY_LINEAR, "linear") X(DECAY_EXPONENTIAL, "exponential") X(DECAY_SQRT, "sqrt")
enum decay_form {
#define X(code, name) code,
    DECAY_FORMS(X)
#undef X
    DECAY_FORM_COUNT
};
const char *decay_form_name(enum decay_form form);

#define AVERAGE_KINDS(X) X(AVERAGE_NONE, "none") X(AVERAGE_WINDOW, "window") X(AVERAGE_EMA, "ema")
enum average_kind {
#define X(code, name) code,
    AVERAGE_KINDS(X)
#undef X
    AVERAGE_KIND_COUNT
};
const char *average_kind_name(enum average_kind kind);
int average_kind_parse(const char *text, enum average_kind *kind);       /* 0 or -1 */

struct optimizer_spec {
    enum optimizer_name name;
    double beta1, beta2;       /* 0.9, 0.95 */
    double epsilon;            /* 1e-8 */
    double weight_decay;       /* 0.1, on tensors of two or more dimensions */
};

struct schedule_spec {
    enum schedule_name name;
    uint64_t warmup_steps;     /* min(100, steps / 20) */
    uint64_t decay_steps;      /* wsd: steps / 10 */
    enum decay_form decay_form;
    double minimum;            /* fraction of the rate at the end of the decay, 0 */
};

struct average_spec {
    enum average_kind kind;    /* window */
    double fraction;           /* window: c_t = min(1, 1 / (fraction t)), 0.2 */
    double decay;              /* ema: c = 1 - decay, from the starting weights on; 0.999 */
};

struct training {
    int batch, context;            /* 16, min(256, positions) */
    uint64_t steps;                /* the horizon T, 20000 */
    double learning_rate;          /* min(2e-3, 0.4 / width) */
    struct optimizer_spec optimizer;
    struct schedule_spec schedule;
    struct average_spec average;
    double clip;                   /* global gradient norm; 1.0, 0 = off */
    uint64_t seed;                 /* 1 */
    bool width_rate_scaled;        /* width_learning_rate: scaled (true) or given */
    bool recompute;                /* of a block only its input is kept for the backward pass: less memory, same bits */
    enum product_type compute;     /* what factors of products are rounded to in steps, f32; evaluations are float32's */
    struct objective_spec objective;   /* what a step predicts: the request's `data` object; the family's */
};

/* Every default filled in for a shape (the parent's): context, rate, warm-up … */
struct training training_defaults(const struct shape *shape);
/* The defaults that follow from another value, for requests that give that one: min(100, steps / 20); steps / 10;
 * adamw min(2e-3, 0.4 / width), schedule_free_adamw twice that, sgd 0.1, schedule_free_sgd 1. */
uint64_t training_default_warmup(uint64_t steps);
uint64_t training_default_decay(uint64_t steps);
double training_default_rate(enum optimizer_name optimizer, int width);

/* Refuses values out of range, a context beyond the shape's, a warm-up or decay longer than the horizon: ERROR_INVALID;
 * and rows of the tables that are not available: ERROR_INVALID, saying which are. Each disagreement is a detail with a
 * pointer relative to the training object ("/schedule/name"). The objective is for objective_check. */
int training_check(const struct training *training, const struct shape *shape, struct error *error);

/* What a user must know of training this way with these kernels: that bfloat16 products are emulated. NULL: nothing. */
const char *training_compute_warning(const struct training *training, const struct kernels *kernels);

/* The rate of step `step` (0-based: the first update uses step 0): the warm-up's (step + 1) / warmup, at most 1,
 * times the schedule's factor times learning_rate. wsd: with u = (step - (T - decay_steps)) / decay_steps in [0, 1]
 * the factor falls from 1 at u = 0 (the first update of the decay) to `minimum` at u = 1, that is at step T: no
 * update is spent on a rate of 0. Pure. The schedule must be an available one. */
double schedule_rate(const struct training *training, uint64_t step);

/* The tables' parameters, for parser, JSON Schema and documents. */
struct table_row { const char *name; bool available; const char *summary, *source; const struct parameter *parameters;
                   int parameter_count; };
const struct table_row *optimizer_rows(int *count);
const struct table_row *schedule_rows(int *count);

#endif
