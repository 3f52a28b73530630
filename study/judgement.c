#include "study/judgement.h"

#include <math.h>

#include "base/memory.h"
#include "base/rng.h"
#include "study/statistics.h"

/* Two-way layout without replication: the residual variance has (runs - 1)(candidates - 1) degrees of freedom. */
static double noise_of(const struct truth *truth, const double (*runs)[SPEC_CANDIDATES_MAX])
{
    double grand = 0, squares = 0;
    int known = 0;
    for (int i = 0; i < truth->count; i++)
        if (!isnan(truth->losses[i])) {
            grand += truth->losses[i];
            known++;
        }
    if (truth->runs < 2 || known < 2)
        return NAN;
    grand /= known;
    for (int r = 0; r < truth->runs; r++) {
        double mean = 0;
        for (int i = 0; i < truth->count; i++)
            mean += isnan(truth->losses[i]) ? 0 : runs[r][i] / known;
        for (int i = 0; i < truth->count; i++)
            if (!isnan(truth->losses[i]))
                squares += pow(runs[r][i] - truth->losses[i] - mean + grand, 2);
    }
    return sqrt(squares / (truth->runs - 1) / (known - 1));
}

void truth_from_runs(struct truth *truth, const double (*runs)[SPEC_CANDIDATES_MAX], int run_count, int candidates)
{
    *truth = (struct truth){ .count = candidates, .runs = run_count };
    for (int i = 0; i < candidates; i++) {
        for (int r = 0; r < run_count; r++)
            truth->losses[i] += runs[r][i] / run_count;
        if (run_count == 0)
            truth->losses[i] = NAN;
    }
    truth->noise = noise_of(truth, runs);
}

struct judgement judge(const struct rule_answer *answer, const struct truth *truth)
{
    struct judgement judgement = { -1, NAN, NAN, NAN, NAN, NAN, NAN, false };
    double scores[SPEC_CANDIDATES_MAX], losses[SPEC_CANDIDATES_MAX], worst = -INFINITY, tied = INFINITY;
    int ranked = 0;
    for (int i = 0; i < truth->count; i++) {
        if (isnan(truth->losses[i]))
            continue;
        if (judgement.best < 0 || truth->losses[i] < truth->losses[judgement.best])
            judgement.best = i;
        worst = fmax(worst, truth->losses[i]);
        if (answer->tied[i])
            tied = fmin(tied, truth->losses[i]);
        if (!isnan(answer->scores[i])) {
            scores[ranked] = answer->scores[i];
            losses[ranked++] = truth->losses[i];
        }
    }
    if (judgement.best < 0)
        return judgement;
    double best = truth->losses[judgement.best];
    judgement.spread = worst - best;
    if (ranked >= 3)
        judgement.spearman = correlation_spearman(scores, losses, ranked);
    if (answer->choice >= 0) {
        judgement.regret = truth->losses[answer->choice] - best;
        judgement.regret_share = judgement.spread > 0 ? judgement.regret / judgement.spread : 0;
        judgement.hit = answer->choice == judgement.best;
    }
    if (isfinite(tied)) {
        judgement.tied_regret = tied - best;
        judgement.tied_share = judgement.spread > 0 ? judgement.tied_regret / judgement.spread : 0;
    }
    return judgement;
}

/* `count` of `most` candidates, in their order. */
static void draw_candidates(struct rng *rng, int most, int count, int *drawn)
{
    int left = count;
    for (int i = 0, at = 0; i < most; i++)
        if (rng_below(rng, (uint64_t)(most - i)) < (uint64_t)left) {
            drawn[at++] = i;
            left--;
        }
}

static int calibrate_part(const struct rule_row *row, const struct replay *part, const struct truth *truth,
                          const struct rule_settings *settings, struct calibration *result, struct error *error)
{
    struct rule_answer answer;
    int failed = rule_apply(row, part, settings, &answer, error);
    if (failed)
        return failed;
    struct judgement judgement = judge(&answer, truth);
    result->p_best = answer.p_best;
    result->hit = judgement.hit;
    result->settled = answer.settled;
    result->step = answer.step;
    result->regret_share = judgement.regret_share;
    result->tied_share = judgement.tied_share;
    return 0;
}

int calibrate(const struct rule_row *row, const struct replay *replay, const struct truth *truth,
              const struct rule_settings *settings, uint64_t draw, struct calibration *result, struct error *error)
{
    struct rng rng = rng_stream(settings->seed, draw, RNG_PROBE);
    int candidates[SPEC_CANDIDATES_MAX], most = replay->spec.candidate_count, windows = replay->study.windows;
    int least = most < CALIBRATION_LEAST ? most : CALIBRATION_LEAST;
    int *drawn = memory_array((size_t)windows, sizeof *drawn);
    if (!drawn)
        return error_set(error, ERROR_NO_MEMORY, "no memory to draw %d windows", windows);
    int count = least + (int)rng_below(&rng, (uint64_t)(most - least) + 1);
    draw_candidates(&rng, most, count, candidates);
    for (int w = 0; w < windows; w++)
        drawn[w] = (int)rng_below(&rng, (uint64_t)windows);

    struct truth of_part = { .count = count, .runs = truth->runs, .noise = truth->noise };
    for (int i = 0; i < count; i++)
        of_part.losses[i] = truth->losses[candidates[i]];
    struct replay part;
    struct replay_part wanted = { candidates, count, windows ? drawn : NULL, UINT64_MAX };
    struct rule_settings drawn_settings = *settings;
    drawn_settings.seed = draw;
    *result = (struct calibration){ .candidates = count };
    int failed = replay_take(&part, replay, &wanted, error);
    if (!failed) {
        failed = calibrate_part(row, &part, &of_part, &drawn_settings, result, error);
        replay_fini(&part);
    }
    memory_free(drawn);
    return failed;
}
