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
#include "model/parametrization.h"
#include "model/shape.h"
#include "trainer/corpus.h"
#include "trainer/learners.h"
#include "trainer/objective.h"

/* 2^53: the largest range of integers that JSON numbers keep exactly. */
#define TRAINING_STEPS_MAX 9007199254740992.0
/* Betas and decays: 1 itself would never forget. */
#define TRAINING_BETA_MAX 0.9999999

/* X(code, name, available, summary, source) */
#define OPTIMIZER_TABLE(X)                                                                                       \
    X(OPTIMIZER_ADAMW, "adamw", true, "Adam with decoupled weight decay, a step counter per tensor",            \
      "Loshchilov & Hutter, arXiv 1711.05101")                                                                  \
    X(OPTIMIZER_SGD, "sgd", true, "gradient descent with momentum", "Sutskever et al., 2013")                   \
    X(OPTIMIZER_SCHEDULE_FREE_ADAMW, "schedule_free_adamw", true,                                               \
      "AdamW that trains between an iterate and its average and is evaluated at the average: no schedule",      \
      "Defazio et al., arXiv 2405.15682; decoupling: Song et al., arXiv 2507.09846")                            \
    X(OPTIMIZER_SCHEDULE_FREE_SGD, "schedule_free_sgd", true, "gradient descent in the same way",               \
      "Defazio et al., arXiv 2405.15682; decoupling: Song et al., arXiv 2507.09846")
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
    X(SCHEDULE_LINEAR, "linear", true, "warm-up, then linear decay to the horizon", "")                          \
    X(SCHEDULE_COSINE, "cosine", true, "warm-up, then half a cosine down to the horizon",                        \
      "Loshchilov & Hutter, arXiv 1608.03983")                                                                  \
    X(SCHEDULE_POWER, "power", true, "warm-up, then a power law in the tokens seen, decay as wsd",               \
      "Shen et al., arXiv 2408.13359, Eq. 7, 8")                                                                \
    X(SCHEDULE_INVERSE_SQRT, "inverse_sqrt", true, "warm-up, then 1 / sqrt(step)", "Vaswani et al., arXiv 1706.03762")
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

enum decay_point { DECAY_AT_Y, DECAY_AT_Z };

/* What a row does not use stays at optimizer_defaults. */
struct optimizer_spec {
    enum optimizer_name name;
    double beta1, beta2;       /* 0.9, 0.95 */
    double epsilon;            /* 1e-8 */
    double weight_decay;       /* 0.1, with gradient descent 0; on tensors of two or more dimensions */
    double momentum;           /* 0.9; schedule_free_sgd's beta */
    bool nesterov;             /* false */
    double r, weight_power;    /* 0, 2 */
    enum decay_point decay_at; /* y */
    double decoupling;         /* C; 0: 1 / (1 - beta), the original average */
};
struct optimizer_spec optimizer_defaults(enum optimizer_name name);
bool optimizer_is_schedule_free(enum optimizer_name name);
double optimizer_beta(const struct optimizer_spec *spec);   /* of y = beta x + (1 - beta) z: schedule-free's */

struct schedule_spec {
    enum schedule_name name;
    uint64_t warmup_steps;     /* min(100, steps / 20) */
    uint64_t decay_steps;      /* wsd, power: steps / 10 */
    enum decay_form decay_form;    /* linear; power: exponential */
    double minimum;            /* fraction of the rate at the end of the decay, 0 */
    double a, b;               /* power: 4, -0.51 */
    uint64_t tokens_seen;      /* power: tokens of the lineage before update tokens_step, 0 */
    uint64_t tokens_step;      /* 0; a run that goes on: where it does */
    bool tokens_known;         /* tokens_seen was given or read; else a warning says that it is counted from 0 */
};

struct average_spec {
    enum average_kind kind;    /* window; none with a schedule-free optimizer */
    double fraction;           /* window: c_t = min(1, 1 / (fraction t)), 0.2 */
    double decay;              /* ema: c = 1 - decay, from the starting weights on; 0.999 */
};

struct training {
    int batch, context;            /* 16, min(256, positions) */
    uint64_t steps;                /* the horizon T, 20000 */
    double learning_rate;          /* training_default_rate; the power schedule's maximum */
    struct optimizer_spec optimizer;
    struct schedule_spec schedule;
    struct average_spec average;
    double clip;                   /* global gradient norm; 1.0, schedule-free 0 = off */
    uint64_t seed;                 /* 1 */
    enum parametrization parametrization;   /* how rates and initial values scale with the size; standard */
    bool width_rate_scaled;        /* width_learning_rate: scaled (true) or given */
    bool recompute;                /* of a block only its input is kept for the backward pass: less memory, same bits */
    struct learners_spec learners; /* K-AVG: 1 */
    enum product_type compute;     /* what factors of products are rounded to in steps, f32; evaluations are float32's */
    struct objective_spec objective;   /* what a step predicts: the request's `data` object; the family's */
};

/* Every default filled in for a shape (the parent's): context, rate, warm-up … */
struct training training_defaults(const struct shape *shape);
/* The defaults that follow from another value, for requests that give that one: min(100, steps / 20); steps / 10;
 * adamw min(2e-3, 0.4 / width), schedule_free_adamw twice that, sgd 0.1, schedule_free_sgd 1, with the power schedule
 * 0.02; 0 and none with a schedule-free optimizer, which averages by itself and whose authors clip nothing. */
uint64_t training_default_warmup(uint64_t steps);
uint64_t training_default_decay(uint64_t steps);
double training_default_rate(enum optimizer_name optimizer, enum schedule_name schedule, int width);
double training_default_clip(enum optimizer_name optimizer);
enum average_kind training_default_average(enum optimizer_name optimizer);
/* The power schedule of a run that goes on at update `step`, when the lineage has seen so many tokens. */
void training_continue_tokens(struct training *training, uint64_t step, uint64_t tokens_seen);
/* What standard multiplies hidden rates by after an n-fold width clone: 1/n unless width_learning_rate is "given". The
 * other parametrizations have rules of their own (trainer/law.h): 1. */
double training_hidden_rate_scale(const struct training *training, double width_factor);

/* Refuses values out of range, a context beyond the shape's, a warm-up or decay longer than the horizon: ERROR_INVALID;
 * and rows of the tables that are not available: ERROR_INVALID, saying which are. Each disagreement is a detail with a
 * pointer relative to the training object ("/schedule/name"). The objective is for objective_check. */
int training_check(const struct training *training, const struct shape *shape, struct error *error);

/* What a user must know of training this way: training_compute_warning; that the power schedule's constants are for another
 * optimizer or parametrization than this; that it counts tokens from 0. Returns how many texts there are. */
enum { TRAINING_WARNINGS_MAX = 4 };
int training_warnings(const struct training *training, const struct kernels *kernels,
                      const char *texts[TRAINING_WARNINGS_MAX]);
/* What a user must know of training this way with these kernels: that bfloat16 products are emulated. NULL: nothing. */
const char *training_compute_warning(const struct training *training, const struct kernels *kernels);

/* The rate of step `step` (0-based: the first update uses step 0): the warm-up's (step + 1) / warmup, at most 1,
 * times the schedule's factor times learning_rate. wsd: with u = (step - (T - decay_steps)) / decay_steps in [0, 1]
 * the factor falls from 1 at u = 0 (the first update of the decay) to `minimum` at u = 1, that is at step T: no
 * update is spent on a rate of 0. power: learning_rate times the factor is min(learning_rate, B a n^b), where B =
 * batch * context / 4096 and n counts all tokens of the lineage up to and with this update's; the warm-up rises to its end's
 * value, the decay falls from its begin's (arXiv 2408.13359, Eq. 7, 8). Pure. */
double schedule_rate(const struct training *training, uint64_t step);

/* The tables' parameters, for parser, JSON Schema and documents. */
struct table_row { const char *name; bool available; const char *summary, *source; const struct parameter *parameters;
                   int parameter_count; };
const struct table_row *optimizer_rows(int *count);
const struct table_row *schedule_rows(int *count);

#endif
