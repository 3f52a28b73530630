/* Coordinate check: does an update change the function by as much at every size? Models of one base's shape at several widths
 * (or depths) are drawn afresh, trained for a few steps on one fixed batch of random tokens, and after each step it is measured
 * how far the logits moved: by all updates, and by those of one kind of tensor alone, the others held at their start.
 * Under a parametrization that transfers rates these moves keep their size: the slope of ln(move) over ln(size) is 0.
 * A move is the mean rise of the predicted tokens' logits over the mean logit. It is signed: what updates do to logits that
 * they do not aim at, which falls as 1/sqrt(width) and would hide the slope at small widths, cancels in the mean.
 * Method: Yang et al., arXiv 2203.03466, appendix D.1 (the mean |activation| there); methods 4.7.
 * One call is one computation on the caller's thread; no files. */
#ifndef TRAINER_COORDCHECK_H
#define TRAINER_COORDCHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "model/checkpoint.h"
#include "model/kernels.h"
#include "model/parametrization.h"
#include "trainer/training.h"

/* X(code, name) */
#define MOVED_TABLE(X)                                                                                                   \
    X(MOVED_EMBEDDINGS, "embeddings") X(MOVED_ATTENTION, "attention") X(MOVED_MLP, "mlp") X(MOVED_VECTORS, "norms, biases") \
    X(MOVED_HEAD, "head") X(MOVED_ALL, "all")
enum moved {
#define X(code, name) code,
    MOVED_TABLE(X)
#undef X
    MOVED_COUNT
};
const char *moved_name(enum moved moved);

enum coordcheck_axis { COORDCHECK_WIDTHS, COORDCHECK_DEPTHS };
enum { COORDCHECK_SIZES_MAX = 12, COORDCHECK_STEPS_MAX = 20, COORDCHECK_SEEDS_MAX = 20 };

struct coordcheck_options {
    const struct kernels *kernels;
    struct shape base;
    enum coordcheck_axis axis;
    int sizes[COORDCHECK_SIZES_MAX], size_count;     /* widths, with heads and ff in proportion; or layers. Two at least */
    enum parametrization parametrization;
    enum optimizer_name optimizer;                   /* adamw or sgd */
    double learning_rate;                            /* 0.001 for adamw, 0.1 for sgd */
    int steps, seeds;                                /* 5, 4 */
    uint64_t seed;                                   /* of the first; the others follow */
    double tolerance;                                /* 0.2 */
};

struct coordcheck {
    struct coordcheck_options options;
    bool measured[MOVED_COUNT];                      /* the model has such tensors */
    double move[COORDCHECK_SIZES_MAX][COORDCHECK_STEPS_MAX][MOVED_COUNT];    /* after step t + 1; mean of the seeds */
    double slope[COORDCHECK_STEPS_MAX][MOVED_COUNT];
    double worst[MOVED_COUNT];                       /* slope farthest from 0 from the second step on */
    bool passed[MOVED_COUNT], pass;                  /* |worst| <= tolerance; all of them */
};

/* The base at another size: ERROR_INVALID where heads or ff would not be whole. */
int coordcheck_shape(const struct shape *base, enum coordcheck_axis axis, int size, struct shape *shape,
                     struct error *error);
/* Fresh weights as the check draws them: standard initial values, brought to the deviations and multipliers that the
 * parametrization gives a model of the checkpoint's shape over the base; at the base itself plain initial values. */
void coordcheck_draw(struct checkpoint *checkpoint, enum parametrization parametrization, const struct shape *base, uint64_t seed);
/* The same options give the same bits. ERROR_INVALID (sizes, steps, seeds, optimizer; diverged moves), ERROR_NO_MEMORY. */
int coordcheck_run(const struct coordcheck_options *options, struct coordcheck *check, struct error *error);

#endif
