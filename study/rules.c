#include "study/rules.h"

#include <math.h>
#include <string.h>

#include "study/bootstrap.h"
#include "study/rank_ties.h"
#include "study/rules_parts.h"

static const struct rule_row rows[] = {
    { "start", RULE_AT_STEP, "loss right after growing; trains nothing", "the habit of choosing what preserves the function",
      rule_start },
    { "raw", RULE_AT_STEP, "loss of the raw weights at the step", "LAG, arXiv 2406.02469", rule_raw },
    { "averaged", RULE_AT_STEP, "loss of the averaged weights at the step", "methods 7.8", rule_averaged },
    { "slope", RULE_AT_STEP, "line of the averaged loss over ln(t + 10), at 3 t or the horizon", "methods 7.8", rule_slope },
    { "power", RULE_AT_STEP, "power law of the averaged loss, at the horizon", "methods 7.4", rule_power },
    { "ensemble", RULE_AT_STEP, "power law, exponential and line, weighted by BIC over all candidates, at the horizon",
      "after Domhan et al., IJCAI 2015", rule_ensemble },
    { "knee", RULE_STOPS, "stops at twice the latest knee, ranks by averaged loss", "methods 7.6, C.3", rule_knee },
    { "stability", RULE_STOPS, "stops when the order at t is that at t / 2 (tau-b 0.9) and the leader stays for three points",
      "methods 7.5", rule_stability },
    { "agreement", RULE_STOPS, "stops when the order now is the order that the slopes predict; what a study does",
      "methods 7.8", rule_agreement },
    { "agreement_predicted", RULE_STOPS, "the same, ranks by the loss predicted at 3 k", "methods 7.8",
      rule_agreement_predicted },
    { "halving", RULE_BUDGET, "keeps the best third at each rung", "Jamieson & Talwalkar, AISTATS 2016", rule_halving },
    { "asha", RULE_BUDGET, "promotes the best quarter of a rung as results come, one worker",
      "Li et al., arXiv 1810.05934; Optuna's factor", rule_asha },
    { "median", RULE_BUDGET, "stops whose best loss is worse than the median of the running means",
      "Golovin et al., KDD 2017", rule_median },
    { "hyperband", RULE_BUDGET, "brackets of halving with factor 3, training shared between them",
      "Li et al., arXiv 1603.06560", rule_hyperband },
    { "exhaustive", RULE_AT_STEP, "trains everyone to the end", "the truth, of these curves", rule_exhaustive },
    { NULL, RULE_AT_STEP, NULL, NULL, NULL },
};

const struct rule_row *rule_rows(void)
{
    return rows;
}

const struct rule_row *rule_find(const char *name)
{
    for (const struct rule_row *row = rows; row->name; row++)
        if (strcmp(row->name, name) == 0)
            return row;
    return NULL;
}

double replay_loss(const struct replay *replay, int candidate, uint64_t step)
{
    return replay_has(replay, candidate, step) ? curve_at(&replay->study.candidates[candidate].curve, step)->loss : NAN;
}

void answer_train_all(const struct replay *replay, struct rule_answer *answer, uint64_t step)
{
    answer->step = step;
    for (int i = 0; i < replay->spec.candidate_count; i++) {
        const struct point *last = curve_last(&replay->study.candidates[i].curve);
        answer->trained[i] = !last ? 0 : last->step < step ? last->step : step;
    }
}

void answer_choose_least(const struct replay *replay, struct rule_answer *answer)
{
    answer->choice = -1;
    for (int i = 0; i < replay->spec.candidate_count; i++)
        if (!isnan(answer->scores[i]) && (answer->choice < 0 || answer->scores[i] < answer->scores[answer->choice]))
            answer->choice = i;
    if (answer->choice >= 0)
        answer->tied[answer->choice] = true;
}

int answer_by_contest(const struct replay *replay, uint64_t step, enum rank_by by, uint64_t seed,
                      struct rule_answer *answer, struct error *error)
{
    struct contest contest;
    int order[SPEC_CANDIDATES_MAX];
    bool tied[SPEC_CANDIDATES_MAX];
    double p_best[SPEC_CANDIDATES_MAX];
    if (contest_init(&contest, &replay->study, step, by, error))
        return ERROR_NO_MEMORY;
    int failed = bootstrap_best(&contest, seed, p_best, error);
    if (!failed && contest.count) {
        contest_order(&contest, &replay->study, order);
        ties_with_best(&contest, order, replay->spec.selection.confidence, tied);
        answer->choice = contest.candidates[order[0]];
        answer->p_best = p_best[order[0]];
        for (int p = 0; p < contest.count; p++) {
            answer->scores[contest.candidates[p]] = contest.scores[p];
            answer->tied[contest.candidates[p]] = tied[p];
        }
    }
    contest_fini(&contest);
    return failed;
}

/* FLOPs of training a candidate up to a step: of its point there, else in proportion to its last point. */
static double flops_to(const struct replay *replay, int candidate, uint64_t step)
{
    const struct curve *curve = &replay->study.candidates[candidate].curve;
    const struct point *point = curve_at(curve, step), *last = curve_last(curve);
    if (point && isfinite(point->flops))
        return point->flops;
    if (last->step && isfinite(last->flops))
        return last->flops / (double)last->step * (double)step;
    return (double)step * replay->study.candidates[candidate].flops_per_token * replay->study.tokens_per_step;
}

/* To the horizon, as in rank.h; a candidate that ended early, to its end. */
static void count_costs(const struct replay *replay, struct rule_answer *answer)
{
    for (int i = 0; i < replay->spec.candidate_count; i++) {
        const struct candidate *candidate = &replay->study.candidates[i];
        const struct point *last = curve_last(&candidate->curve);
        if (i == answer->choice || !last)
            continue;
        uint64_t end = replay->spec.training.steps;
        if (candidate_is_dead(candidate) || end < last->step)
            end = last->step;
        answer->search_flops += flops_to(replay, i, answer->trained[i]);
        answer->exhaustive_flops += flops_to(replay, i, end);
    }
    answer->fraction = answer->exhaustive_flops > 0 ? answer->search_flops / answer->exhaustive_flops : NAN;
}

int rule_apply(const struct rule_row *row, const struct replay *replay, const struct rule_settings *settings,
               struct rule_answer *answer, struct error *error)
{
    struct rule_settings rounded = *settings;
    rounded.step = replay_step(replay, settings->step);
    rounded.cap = replay_step(replay, settings->cap);
    *answer = (struct rule_answer){ .choice = -1, .settled = true, .p_best = NAN };
    for (int i = 0; i < SPEC_CANDIDATES_MAX; i++)
        answer->scores[i] = NAN;
    int failed = row->apply(replay, &rounded, answer, error);
    if (!failed)
        count_costs(replay, answer);
    return failed;
}
