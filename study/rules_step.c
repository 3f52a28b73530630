/* Rules that look at one step. */
#include <math.h>

#include "study/extrapolate.h"
#include "study/knee.h"
#include "study/rules_parts.h"

int rule_start(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
               struct error *error)
{
    (void)settings;
    (void)error;
    for (int i = 0; i < replay->spec.candidate_count; i++)
        answer->scores[i] = replay_loss(replay, i, 0);
    answer_choose_least(replay, answer);
    return 0;
}

static void score_raw(const struct replay *replay, uint64_t step, struct rule_answer *answer)
{
    for (int i = 0; i < replay->spec.candidate_count; i++)
        if (replay_has(replay, i, step))
            answer->scores[i] = curve_at(&replay->study.candidates[i].curve, step)->raw_loss;
    answer_train_all(replay, answer, step);
    answer_choose_least(replay, answer);
}

int rule_raw(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
             struct error *error)
{
    (void)error;
    score_raw(replay, settings->step, answer);
    return 0;
}

int rule_exhaustive(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
                    struct error *error)
{
    (void)settings;
    (void)error;
    score_raw(replay, replay_last(replay), answer);
    return 0;
}

int rule_averaged(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
                  struct error *error)
{
    answer_train_all(replay, answer, settings->step);
    return answer_by_contest(replay, settings->step, RANK_BY_LOSS, settings->seed, answer, error);
}

int rule_slope(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
               struct error *error)
{
    answer_train_all(replay, answer, settings->step);
    return answer_by_contest(replay, settings->step, RANK_BY_PREDICTED, settings->seed, answer, error);
}

struct slow_points { double steps[KNEE_POINTS_MAX], losses[KNEE_POINTS_MAX]; int count; };

static void slow_points_of(const struct replay *replay, int candidate, uint64_t step, struct slow_points *points)
{
    double knee = knee_of_candidate(&replay->study, candidate, step).step;
    points->count = slow_regime_points(&replay->study, candidate, knee, step, points->steps, points->losses, KNEE_POINTS_MAX);
}

/* Who has too few points for a fit is scored by the loss now. */
static double power_score(const struct replay *replay, int candidate, uint64_t step)
{
    struct slow_points points;
    slow_points_of(replay, candidate, step, &points);
    double predicted = extrapolate_power(points.steps, points.losses, points.count, (double)replay->spec.training.steps);
    return isnan(predicted) ? replay_loss(replay, candidate, step) : predicted;
}

int rule_power(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
               struct error *error)
{
    (void)error;
    answer_train_all(replay, answer, settings->step);
    for (int i = 0; i < replay->spec.candidate_count; i++)
        if (replay_has(replay, i, settings->step))
            answer->scores[i] = power_score(replay, i, settings->step);
    answer_choose_least(replay, answer);
    return 0;
}

/* Weights of the forms, common to all candidates so that their differences stay paired: exp(-BIC / 2) of the fits of
 * all curves together. The residual of one point below which a fit counts as exact: 1e-7, as in knee.c. */
static void form_weights(double squares[EXTRAPOLATE_FORMS], const int *parameters, int points, int curves,
                         double weights[EXTRAPOLATE_FORMS])
{
    double bic[EXTRAPOLATE_FORMS], least = INFINITY, sum = 0;
    for (int f = 0; f < EXTRAPOLATE_FORMS; f++) {
        bic[f] = points * log(fmax(squares[f] / points, 1e-14)) + curves * parameters[f] * log(points);
        least = fmin(least, bic[f]);
    }
    for (int f = 0; f < EXTRAPOLATE_FORMS; f++)
        sum += weights[f] = exp((least - bic[f]) / 2);
    for (int f = 0; f < EXTRAPOLATE_FORMS; f++)
        weights[f] /= sum;
}

int rule_ensemble(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
                  struct error *error)
{
    double predicted[SPEC_CANDIDATES_MAX][EXTRAPOLATE_FORMS], squares[EXTRAPOLATE_FORMS] = { 0 };
    double weights[EXTRAPOLATE_FORMS], horizon = (double)replay->spec.training.steps;
    int parameters[EXTRAPOLATE_FORMS] = { 0 }, points = 0, curves = 0;
    (void)error;
    answer_train_all(replay, answer, settings->step);
    for (int i = 0; i < replay->spec.candidate_count; i++) {
        struct slow_points slow;
        if (!replay_has(replay, i, settings->step))
            continue;
        answer->scores[i] = replay_loss(replay, i, settings->step);
        slow_points_of(replay, i, settings->step, &slow);
        predicted[i][0] = NAN;
        if (slow.count < EXTRAPOLATE_POINTS_MIN)
            continue;
        for (int f = 0; f < EXTRAPOLATE_FORMS; f++) {
            struct extrapolation fit = extrapolate((enum extrapolate_form)f, slow.steps, slow.losses, slow.count, horizon);
            predicted[i][f] = fit.at;
            squares[f] += fit.squares;
            parameters[f] = fit.parameters;
        }
        points += slow.count;
        curves++;
    }
    if (curves)
        form_weights(squares, parameters, points, curves, weights);
    for (int i = 0; i < replay->spec.candidate_count && curves; i++)
        if (!isnan(answer->scores[i]) && !isnan(predicted[i][0])) {
            answer->scores[i] = 0;
            for (int f = 0; f < EXTRAPOLATE_FORMS; f++)
                answer->scores[i] += weights[f] * predicted[i][f];
        }
    answer_choose_least(replay, answer);
    return 0;
}
