/* Landscape: the curvature of one trial's loss on a fixed batch: eigenvalues of its Hessian, the sharpness that its optimizer
 * sees, trace, and the tangent kernel's largest eigenvalue (Noci et al., arXiv 2402.17457; Cohen et al., arXiv 2207.14484;
 * methods 4.1 to 4.3).
 *
 *     hessian          the `top` largest eigenvalues of the Hessian H of the mean loss (lanczos.h on exact products)
 *     preconditioned   the largest of D^-1/2 H D^-1/2, D = (sqrt(v^) + epsilon) / the tensor's factor of the rate; v^ = g^2 of
 *                      the fixed batch where the optimizer has seen no gradient yet; D = 1 / the factor without moments
 *     trace            Hutchinson's estimate from LANDSCAPE_PROBES random signs, with its standard error
 *     ntk              the largest eigenvalue of J J^T / n, J the Jacobian of the logits of n positions (at most
 *                      LANDSCAPE_POSITIONS: the first that predict)
 *
 * Where: at the point at which the optimizer takes gradients (schedule-free: y), of learner 0, behind the masks of the
 * trial's step, by the parameters that the parametrization's papers train. The batch: the rows of data step T, the horizon,
 * which no trial has trained on. Products are float32's whatever `compute` says.
 * A measurement proceeds in bounded pieces; nothing but landscape_new allocates. It never changes the trial, and is a
 * function of the trial's state alone: the same bits on any worker, before or after a resume.
 * Thread rule: lent with its trial to one worker at a time. */
#ifndef TRAINER_LANDSCAPE_H
#define TRAINER_LANDSCAPE_H

#include "trainer/lanczos.h"
#include "trainer/trial.h"

/* X(code, name, summary) */
#define LANDSCAPE_QUANTITIES(X)                                                                  \
    X(LANDSCAPE_HESSIAN, "hessian", "the largest eigenvalues of the Hessian")                    \
    X(LANDSCAPE_PRECONDITIONED, "preconditioned", "the sharpness that the optimizer sees")       \
    X(LANDSCAPE_TRACE, "trace", "the Hessian's trace, estimated")                                \
    X(LANDSCAPE_NTK, "ntk", "the largest eigenvalue of the tangent kernel")
enum landscape_quantity {
#define X(code, ...) code,
    LANDSCAPE_QUANTITIES(X)
#undef X
    LANDSCAPE_QUANTITY_COUNT
};
const char *landscape_quantity_name(enum landscape_quantity quantity);

enum { LANDSCAPE_TOP_MAX = LANCZOS_WANTED_MAX, LANDSCAPE_PROBES = 16, LANDSCAPE_POSITIONS = 128 };

/* A study's `landscape` object. */
struct landscape_spec {
    bool asked;
    uint64_t every;              /* steps; 0: only at the start and at the end */
    int top;                     /* 1 */
    unsigned what;               /* bit per enum landscape_quantity */
};
struct landscape_spec landscape_defaults(bool asked);
static inline bool landscape_wants(const struct landscape_spec *spec, enum landscape_quantity quantity)
{
    return (spec->what & 1u << quantity) != 0;
}

/* What was found; NaN: not asked for, or not finite. */
struct landscape_values {
    double hessian[LANDSCAPE_TOP_MAX];       /* descending; NaN beyond `top` */
    double preconditioned, trace, trace_error, ntk;
    double residual;             /* the largest of the eigenvalues' residuals, beside its eigenvalue: how exact they are */
    double stability_ratio, safe_rate;       /* trainer/stability.h, from preconditioned */
    bool measured;
};
struct landscape_values landscape_nothing(void);

struct landscape;
/* Bytes of a measurement of trials of this shape, beside the trial; 0 if none was asked for, or on overflow. */
size_t landscape_bytes(const struct kernels *kernels, const struct shape *shape, const struct training *training,
                       const struct landscape_spec *spec);
/* Forward passes of one row that a measurement comes to, about: for predictions of time. */
double landscape_passes(const struct landscape_spec *spec);
/* Of this trial as it is now; it must not change until landscape_free. ERROR_NO_MEMORY. */
int landscape_new(struct landscape **landscape, const struct trial *trial, const struct landscape_spec *spec, struct error *error);
void landscape_free(struct landscape *landscape);
/* About `budget_tokens` tokens passed forward, at least one micro-batch; *finished: landscape_answer has everything.
 * ERROR_CANCELLED when *stop (NULL: none) was seen between micro-batches: call again to go on. ERROR_IO. */
int landscape_advance(struct landscape *landscape, const struct corpus *train, uint64_t budget_tokens, const atomic_bool *stop,
                      bool *finished, struct error *error);
struct landscape_values landscape_answer(const struct landscape *landscape);

#endif
