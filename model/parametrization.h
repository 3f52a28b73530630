/* Parametrization: how the scale of a tensor follows from the sizes of a model, relative to a base shape. Pure functions
 * of two shapes and a row of the tensor table; every ratio is 1 where the shape is the base's.
 *
 * A parametrization writes an effective weight as multiplier * w, w the stored one. Here stored weights are effective ones
 * always: a multiplier is nothing but a different law of their updates (trainer/law.h) and of what new ones are drawn
 * from. docs/decisions/0018 derives both.
 * Sources: Yang et al., arXiv 2203.03466, table 8 (mup); Dey et al., arXiv 2505.01618, table 1 (completep, alpha 1);
 * Noci et al., arXiv 2402.17457 (ntp); methods 4.4 to 4.6. */
#ifndef MODEL_PARAMETRIZATION_H
#define MODEL_PARAMETRIZATION_H

#include <stdbool.h>

#include "base/error.h"
#include "model/shape.h"
#include "model/tensor.h"

/* X(code, name, summary, source) */
#define PARAMETRIZATION_TABLE(X)                                                                                   \
    X(PARAMETRIZATION_STANDARD, "standard", "the same rates at every size", "")                                    \
    X(PARAMETRIZATION_MUP, "mup", "maximal update in width", "arXiv 2203.03466")                                   \
    X(PARAMETRIZATION_COMPLETEP, "completep", "mup, and branches of weight 1 / depth", "arXiv 2505.01618")         \
    X(PARAMETRIZATION_NTP, "ntp", "weights of variance 1 behind factors 1 / sqrt(width), for comparison",          \
      "arXiv 1806.07572, 2402.17457")
enum parametrization {
#define X(code, ...) code,
    PARAMETRIZATION_TABLE(X)
#undef X
    PARAMETRIZATION_COUNT
};
const char *parametrization_name(enum parametrization parametrization);
int parametrization_parse(const char *text, enum parametrization *parametrization);     /* 0 or -1 */

/* What a tensor does with units whose number grows. */
enum tensor_kind {
    KIND_INPUT,        /* embeddings, biases, norms: each grown unit has numbers of its own, no product sums over it */
    KIND_HIDDEN,       /* matrices between hidden units */
    KIND_READOUT       /* sums over hidden units into a fixed number of scores: head, router, a tied model's final norm
                        * (the factor of its head is stored there, since the head is the embedding) */
};

/* How much a tensor grew. */
struct tensor_ratios {
    enum tensor_kind kind;
    bool in_block, writes_stream;
    double in;         /* units that the product sums over; readouts: the width; KIND_INPUT: 1 */
    double out;        /* units it makes; KIND_INPUT: of the axes that grow; KIND_READOUT: 1 */
    double depth;      /* blocks of its stack; 1 outside blocks */
    double built_in;   /* factor that the family's own scale of logits already brings (t5: width^-1/2), else 1 */
};
struct tensor_ratios tensor_ratios_of(const struct shape *base, const struct shape *shape, const struct tensor_row *row);

/* The factor that this parametrization puts before a tensor, relative to the base. */
double parametrization_multiplier(enum parametrization parametrization, const struct tensor_ratios *ratios);
/* Standard deviation of new random (effective) values, over that of the same row in parametrization_reference's shape:
 * the one whose standard initial values count. */
double parametrization_deviation(enum parametrization parametrization, const struct tensor_ratios *ratios);
struct shape parametrization_reference(enum parametrization parametrization, const struct shape *base,
                                       const struct shape *shape);

/* Refuses a head size that is not the base's: the scale of attention scores, 1/sqrt(head size), is mup's 1/head size times
 * a constant only while it stays. ERROR_INVALID. */
int parametrization_check(enum parametrization parametrization, const struct shape *base, const struct shape *shape,
                          struct error *error);

#endif
