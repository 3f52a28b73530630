/* Power law of the best learning rate (Shen et al., arXiv 2408.13359, 3): over runs of T tokens with a warm-up, a constant rate
 * and a decay (wsd), the best rate is beta a T^b, beta = batch * context / 4096. Here a and b from finished small runs: the
 * same rates at several batches and lengths.
 *
 * A cell is a batch, context and length. Its losses over ln(rate), means over the seeds, are a parabola around the lowest one
 * (study/parabola.h); its lowest point is the cell's best rate. A cell whose lowest loss is at an end of its rates says
 * nothing of where the best one is, and is left out; at the upper end a rate that diverged is no end but a cliff. Through
 * ln(best / beta) over ln T of the others goes a line: slope b, value at ln T = 0 ln a.
 *
 * Uncertainty: 95 % percentiles of POWER_RESAMPLES resamples from the stream (seed, 0, RNG_BOOTSTRAP). Of a cell's best rate:
 * other seeds, and noise of the size of the parabolas' residuals, all cells together. Of the law: other cells (pairs), each
 * with its best rate as found, so that whatever moves cells off the line is in it. Whether the best rate is in proportion to
 * beta is not taken for granted: its exponent is fitted beside, where there are several batches.
 * Thread rule: pure functions of values. */
#ifndef STUDY_POWERFIT_H
#define STUDY_POWERFIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "study/statistics.h"

enum {
    POWER_RUNS_MAX = 8192, POWER_CELLS_MAX = 128, POWER_RATES_MAX = 32, POWER_SEEDS_MAX = 16, POWER_LINE_POINTS = 9,
    POWER_RESAMPLES = 1000
};

/* One finished run. */
struct power_run {
    uint64_t tokens;               /* of the whole run */
    int batch, context;
    double rate;
    uint64_t seed;
    double loss;                   /* validation, at the end; NaN: diverged */
};

enum power_cell_state { POWER_CELL_USED, POWER_CELL_LOWER_END, POWER_CELL_UPPER_END, POWER_CELL_FEW };
struct power_cell {
    uint64_t tokens;
    int batch, context;
    double rates[POWER_RATES_MAX], losses[POWER_RATES_MAX];    /* ascending; means over seeds, NaN: diverged */
    int rate_count;
    enum power_cell_state state;   /* FEW: fewer than three rates around the lowest did not diverge */
    struct interval best;          /* rate; NaN unless used */
    double law;                    /* beta a T^b; NaN without a fit */
};

enum power_answer { POWER_FITTED, POWER_UNRESOLVED, POWER_NONE };
const char *power_answer_name(enum power_answer answer);       /* "fitted", "unresolved", "none" */

struct power_fit {
    enum power_answer answer;      /* unresolved: b's interval reaches 0; none: too few cells */
    struct interval a, b;
    struct interval batch_exponent;    /* c of best ~ beta^c T^b, 1 if the law holds; NaN with one batch */
    double line_tokens[POWER_LINE_POINTS];             /* from the shortest to the longest length, and there */
    struct interval line[POWER_LINE_POINTS];           /* a T^b */
    double largest_best;           /* of the cells used: a cap for the schedule; NaN without any */
    double spread;                 /* of ln(best) around the law, residual sd */
    int used;                      /* cells */
    struct power_cell cells[POWER_CELLS_MAX];          /* by tokens per step, batch, length */
    int cell_count;
    char reason[500];
};

double power_beta(int batch, int context);             /* batch * context / 4096 */

/* Order for qsort: by batch and context, tokens, rate, seed. */
int power_run_order(const void *a, const void *b);

/* Fits. ERROR_INVALID: more cells or rates than there is room for, values that are no runs (a rate, batch or context that is
 * not positive, fewer tokens than a step has), two runs of the same cell, rate and seed. ERROR_NO_MEMORY. */
int power_fit_runs(const struct power_run *runs, int count, uint64_t seed, struct power_fit *fit, struct error *error);

#endif
