/* Contest: the candidates that take part at one step, with everything a decision looks at: scores, slopes,
 * predictions, the windows' values for paired differences and the jitter of the curves. A value computed from the
 * curves, never kept.
 *
 * A score is a weighted sum over the deciding points of a candidate's averaged losses: the loss itself has weight 1
 * at the last point, the prediction the weights of a least-squares line evaluated at the target step. The same
 * weights applied to every validation window give values whose paired differences carry the sampling error of the
 * score, whichever it is. */
#ifndef STUDY_CONTEST_H
#define STUDY_CONTEST_H

#include "study/study.h"

enum {
    CONTEST_POINTS_MAX = 16,     /* deciding points in [0.4 t, t]: seven with a ratio of 1.2 */
    TREND_POINTS_MIN = 4,        /* of a line (methods 7.8) */
    JITTER_POINTS = 5            /* the last points whose residuals measure the jitter (methods C.5) */
};

struct contest {
    uint64_t step, target;       /* t, and 3 t or the horizon T if that comes first */
    bool capped;                 /* target is T though 3 t is later */
    enum rank_by by;             /* what the scores are; loss if there are too few points for a prediction */
    int count;                   /* participants, in the order of the spec */
    int candidates[SPEC_CANDIDATES_MAX];
    int points;                  /* deciding points that all participants have */
    uint64_t steps[CONTEST_POINTS_MAX];
    double weights[CONTEST_POINTS_MAX];                /* of the score, one per point */
    int windows;
    /* per participant, owned */
    double *now;                 /* averaged loss at t */
    double *scores;
    double *slopes;              /* of the line, nats per unit of ln(t + 10); NaN with too few points */
    double *predicted;           /* the line at the target step; NaN likewise */
    double *losses;              /* (count, points) */
    double *residuals;           /* (count, jitter_points) of lines through the last points */
    int jitter_points;           /* 5, or fewer if there are fewer */
    double *values;              /* (count, windows): the score on each window */
};

/* ERROR_NO_MEMORY. A contest without participants is valid: count 0. */
int contest_init(struct contest *contest, const struct study *study, uint64_t step, enum rank_by by,
                 struct error *error);
void contest_fini(struct contest *contest);

/* Participants from best to worst: by score, then predicted loss, then cost, then the order of the spec. */
void contest_order(const struct contest *contest, const struct study *study, int order[SPEC_CANDIDATES_MAX]);

/* score[a] - score[b] with its error: sampling of windows (paired) and jitter of the curves. */
struct difference {
    double mean;                     /* positive: a is worse */
    double sampling, jitter;         /* standard errors; jitter NaN with fewer than 3 points */
    double standard_error;           /* of both; NaN if the windows are fewer than 2 */
    double degrees;                  /* Welch-Satterthwaite */
};
struct difference contest_difference(const struct contest *contest, int a, int b);
/* One-sided p-value of "a is no worse than b"; NaN if it can't be had. */
double difference_p_value(const struct difference *difference);

#endif
