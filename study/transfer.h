/* Transfer: is the learning rate that is best at a small size still right at a grown one? A pure function of a small sweep:
 * the same rates at both sizes, the same validation windows, a few training seeds.
 *
 * The loss of a size over ln(rate) is a parabola through the PARABOLA_POINTS rates around the best one, least squares, its
 * lowest point the best rate. Uncertainty: TRANSFER_RESAMPLES times other windows (the same for every run: paired), other
 * seeds where there are several, and residuals of the parabola's size, from the stream (seed, 0, RNG_BOOTSTRAP); intervals are
 * percentiles. The cost of keeping the small size's rate is the grown parabola there less its lowest value.
 *
 *     yes         the cost's upper limit is at most `tolerance` nats
 *     use         it is not, and the whole interval of the cost lies above half of it: the rate to use is `recommended`
 *     no          a best rate lies at the end of the sweep, or every run there diverged: sweep on
 *     undecided   the interval is too wide: more windows, seeds or steps */
#ifndef STUDY_TRANSFER_H
#define STUDY_TRANSFER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "study/statistics.h"

enum { TRANSFER_RATES_MAX = 32, TRANSFER_SEEDS_MAX = 8, TRANSFER_RESAMPLES = 1000 };
enum transfer_size { TRANSFER_SMALL, TRANSFER_GROWN, TRANSFER_SIZES };
const char *transfer_size_name(enum transfer_size size);          /* "small", "grown" */

/* One run: a size at a rate with a seed. */
struct transfer_run {
    bool done, diverged;
    float *losses;               /* (windows), owned by the sweep; only of runs that did not diverge */
    double loss;                 /* their mean; NaN: diverged */
    double sharpness, preconditioned, stability_ratio;   /* at the end; NaN: diverged or not measured */
};

struct transfer_sweep {
    int rates, seeds, windows;   /* rates: 4 or more */
    double rate[TRANSFER_RATES_MAX];                     /* ascending */
    struct transfer_run runs[TRANSFER_SIZES][TRANSFER_RATES_MAX][TRANSFER_SEEDS_MAX];
    uint64_t seed;               /* of the resampling */
    double tolerance;            /* nats */
};

enum transfer_answer { TRANSFER_YES, TRANSFER_USE, TRANSFER_NO, TRANSFER_UNDECIDED };
const char *transfer_answer_name(enum transfer_answer answer);    /* "yes", "use", "no", "undecided" */

struct transfer_verdict {
    enum transfer_answer answer;
    struct interval best[TRANSFER_SIZES];                /* best rates */
    bool at_edge[TRANSFER_SIZES];                        /* the lowest loss is at an end of the sweep */
    struct interval ratio, cost;                         /* grown over small best rate; nats */
    double recommended;                                  /* the rate for the grown size; NaN: the sweep has none */
    char reason[400];
};

/* Means over windows and seeds: NaN where a run diverged. */
double transfer_loss(const struct transfer_sweep *sweep, enum transfer_size size, int rate);
/* Every run is done. ERROR_NO_MEMORY. */
int transfer_judge(const struct transfer_sweep *sweep, struct transfer_verdict *verdict, struct error *error);

#endif
