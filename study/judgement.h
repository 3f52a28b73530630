/* Judgement: a rule's answer against the truth, the losses after training to the end. Pure functions. */
#ifndef STUDY_JUDGEMENT_H
#define STUDY_JUDGEMENT_H

#include "study/rules.h"

/* Final losses by candidate, the mean over so many runs (seeds). */
struct truth {
    int count;                                 /* of candidates of the replay */
    double losses[SPEC_CANDIDATES_MAX];        /* NaN: not known, or it did not come to the end */
    int runs;
    double noise;                              /* of one run: sd of a candidate's loss about the effects of candidate and
                                                  run; NaN for fewer than two runs */
};

/* The mean of runs[r][candidate]; a candidate that is NaN in one run is NaN. */
void truth_from_runs(struct truth *truth, const double (*runs)[SPEC_CANDIDATES_MAX], int run_count, int candidates);

struct judgement {
    int best;                      /* the true best among those that the answer ranks or could have ranked; -1: none */
    double spread;                 /* worst minus best truth, nats */
    double spearman;               /* of scores and truth; NaN for fewer than 3 */
    double regret, regret_share;   /* truth of the choice minus the best, nats; over the spread */
    double tied_regret, tied_share;      /* the same for the best of the choice's tie group */
    bool hit;                      /* the choice is the true best */
};
/* NaN where there is no choice or no truth. */
struct judgement judge(const struct rule_answer *answer, const struct truth *truth);

/* One replay of a calibration: a subset of at least CALIBRATION_LEAST candidates (all, if there are fewer) and
 * resampled windows, both drawn from (seed, draw). */
enum { CALIBRATION_LEAST = 6 };
struct calibration { double p_best; bool hit, settled; uint64_t step; int candidates; double regret_share, tied_share; };
/* Applies the row to the drawn part; settings.step and cap as they are. ERROR_NO_MEMORY. */
int calibrate(const struct rule_row *row, const struct replay *replay, const struct truth *truth,
              const struct rule_settings *settings, uint64_t draw, struct calibration *result, struct error *error);

#endif
