/* Rules that stop by themselves, or at the cap. */
#include <inttypes.h>
#include <math.h>

#include "study/agreement.h"
#include "study/knee.h"
#include "study/outcome.h"
#include "study/rules_parts.h"
#include "study/sentence.h"
#include "study/statistics.h"

/* The knee rule of the simulations of methods C.3: k = 2 max t*. */
static const double knee_factor = 2;
/* The stability rule of methods 7.5. */
static const double stability_threshold = 0.9, stability_span = 0.5;
enum { STABILITY_POINTS = 3 };

typedef bool stop_function(const struct replay *replay, uint64_t step, int index);

/* The first deciding point from k_min on at which `stop` says so; the cap if none. */
static uint64_t stopping_step(const struct replay *replay, uint64_t cap, stop_function *stop, bool *stopped)
{
    const struct grid *grid = &replay->study.grid;
    *stopped = false;
    for (int i = 0; i < grid->count && grid->steps[i] <= cap; i++)
        if (grid->geometric[i] && grid->steps[i] >= replay->spec.selection.k_min && stop(replay, grid->steps[i], i)) {
            *stopped = true;
            return grid->steps[i];
        }
    return cap;
}

static int stop_and_rank(const struct replay *replay, const struct rule_settings *settings, stop_function *stop,
                         struct rule_answer *answer, struct error *error)
{
    uint64_t step = stopping_step(replay, settings->cap, stop, &answer->settled);
    answer_train_all(replay, answer, step);
    sentence_add(answer->reason, sizeof answer->reason, answer->settled ? "Stopped at step %" PRIu64 "."
                                                                        : "The cap of %" PRIu64 " steps came first.", step);
    return answer_by_contest(replay, step, RANK_BY_LOSS, settings->seed, answer, error);
}

static bool knees_are_past(const struct replay *replay, uint64_t step, int index)
{
    double latest = 0;
    (void)index;
    for (int i = 0; i < replay->spec.candidate_count; i++) {
        if (!replay_has(replay, i, step))
            continue;
        struct knee knee = knee_of_candidate(&replay->study, i, step);
        if (knee.kind == KNEE_AHEAD)
            return false;
        if (knee.kind == KNEE_FOUND)
            latest = fmax(latest, knee.step);
    }
    return (double)step >= knee_factor * latest;
}

int rule_knee(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
              struct error *error)
{
    return stop_and_rank(replay, settings, knees_are_past, answer, error);
}

/* Losses of those who take part at `step`, as they were at `at`. */
static int losses_at(const struct replay *replay, uint64_t step, uint64_t at, double *losses)
{
    int count = 0;
    for (int i = 0; i < replay->spec.candidate_count; i++)
        if (replay_has(replay, i, step))
            losses[count++] = replay_loss(replay, i, at);
    return count;
}

static int least_of(const double *values, int count)
{
    int least = 0;
    for (int i = 1; i < count; i++)
        if (values[i] < values[least])
            least = i;
    return least;
}

static bool order_is_stable(const struct replay *replay, uint64_t step, int index)
{
    const struct grid *grid = &replay->study.grid;
    double now[SPEC_CANDIDATES_MAX], before[SPEC_CANDIDATES_MAX];
    int count = losses_at(replay, step, step, now), leader = least_of(now, count), points = 1, back = index;
    for (; points < STABILITY_POINTS && back > 0; points++) {
        do
            back--;
        while (back > 0 && !grid->geometric[back]);
        losses_at(replay, step, grid->steps[back], before);
        if (count == 0 || least_of(before, count) != leader)
            return false;
    }
    while (back > 0 && (double)grid->steps[back] > stability_span * (double)step)
        back--;
    losses_at(replay, step, grid->steps[back], before);
    return points == STABILITY_POINTS && correlation_kendall(now, before, count) >= stability_threshold;
}

int rule_stability(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
                   struct error *error)
{
    return stop_and_rank(replay, settings, order_is_stable, answer, error);
}

/* What the study itself concludes from curves that end at the cap: its own decisions and its own outcome. */
static void take_outcome(const struct replay *whole, const struct study_outcome *outcome, struct rule_answer *answer)
{
    answer_train_all(whole, answer, outcome->k);
    answer->choice = outcome->choice;
    answer->settled = outcome->settled;
    int group = 0;
    for (int r = 0; r < outcome->ranking.completed; r++)
        if (outcome->ranking.rows[r].candidate == outcome->choice)
            group = outcome->ranking.rows[r].tie_group;
    for (int r = 0; r < outcome->ranking.completed; r++) {
        const struct ranking_row *row = &outcome->ranking.rows[r];
        answer->scores[row->candidate] = row->score;
        answer->tied[row->candidate] = group && row->tie_group == group;
        if (row->candidate == outcome->choice)
            answer->p_best = row->p_best;
    }
}

static int agree(const struct replay *replay, const struct rule_settings *settings, enum rank_by by,
                 struct rule_answer *answer, struct error *error)
{
    struct replay capped;
    struct study_outcome outcome;
    struct replay_part part = { .last = settings->cap };
    if (settings->cap == 0) {          /* nothing is trained: there is nothing to decide from */
        answer->settled = false;
        answer_train_all(replay, answer, 0);
        return answer_by_contest(replay, 0, RANK_BY_LOSS, settings->seed, answer, error);
    }
    if (replay_take(&capped, replay, &part, error))
        return (int)(error ? error->code : ERROR_NO_MEMORY);
    capped.spec.selection.rank_by = by;
    capped.spec.training.seed = settings->seed;
    int failed = replay_decide(&capped, error);
    if (!failed)
        failed = study_outcome_init(&outcome, &capped.study, error);
    if (!failed) {
        take_outcome(replay, &outcome, answer);
        if (capped.study.decision_count)
            sentence_add(answer->reason, sizeof answer->reason, "%s",
                         capped.study.decisions[capped.study.decision_count - 1].reason);
        study_outcome_fini(&outcome);
    }
    replay_fini(&capped);
    return failed;
}

int rule_agreement(const struct replay *replay, const struct rule_settings *settings, struct rule_answer *answer,
                   struct error *error)
{
    return agree(replay, settings, RANK_BY_LOSS, answer, error);
}

int rule_agreement_predicted(const struct replay *replay, const struct rule_settings *settings,
                             struct rule_answer *answer, struct error *error)
{
    return agree(replay, settings, RANK_BY_PREDICTED, answer, error);
}
