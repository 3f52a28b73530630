/* The choice, its reason, and what finding it cost. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "study/outcome.h"
#include "study/sentence.h"

static const char *participant_name(const struct assembly *assembly, int p)
{
    return assembly->study->spec->candidates[assembly->contest.candidates[p]].name;
}

/* Is a rather to be chosen than b, both in tie group 1: lower predicted loss, then cheaper; else the earlier in
 * rank stays. */
static bool is_preferred(const struct assembly *assembly, int a, int b)
{
    const struct contest *contest = &assembly->contest;
    double cost_a = assembly->study->candidates[contest->candidates[a]].flops_per_token;
    double cost_b = assembly->study->candidates[contest->candidates[b]].flops_per_token;
    if (contest->predicted[a] < contest->predicted[b] || contest->predicted[a] > contest->predicted[b])
        return contest->predicted[a] < contest->predicted[b];
    return cost_a < cost_b;
}

static const char *score_text(const struct assembly *assembly)
{
    return assembly->contest.by == RANK_BY_PREDICTED ? "predicted loss" : "averaged loss";
}

static uint64_t score_step(const struct assembly *assembly)
{
    return assembly->contest.by == RANK_BY_PREDICTED ? assembly->contest.target : assembly->contest.step;
}

static void say_first(const struct assembly *assembly, int first, int tied)
{
    char *text = assembly->outcome->choice_reason;
    size_t size = sizeof assembly->outcome->choice_reason;
    sentence_add(text, size, "\"%s\" ranks first by %s at step %" PRIu64 " (%.4f)", participant_name(assembly, first),
                 score_text(assembly), score_step(assembly), assembly->contest.scores[first]);
    if (assembly->contest.count == 1) {
        sentence_add(text, size, "; no other candidate is left to compare with.");
        return;
    }
    int second = assembly->order[1];
    struct difference difference = contest_difference(&assembly->contest, second, first);
    sentence_add(text, size, ", %.4f nats ahead of \"%s\"", difference.mean, participant_name(assembly, second));
    if (!isnan(difference.standard_error))
        sentence_add(text, size, " (standard error %.4f)", difference.standard_error);
    if (tied == 1)
        sentence_add(text, size, "; the others are significantly worse.");
    else
        sentence_add(text, size, "; tie group 1 holds %d candidates, and of these it is also the one %s.", tied,
                     isnan(assembly->contest.predicted[first]) ? "that costs least"
                                                               : "with the lowest predicted loss");
}

static void say_other(const struct assembly *assembly, int chosen, int rank)
{
    const struct contest *contest = &assembly->contest;
    int first = assembly->order[0];
    struct difference difference = contest_difference(contest, chosen, first);
    char *text = assembly->outcome->choice_reason;
    size_t size = sizeof assembly->outcome->choice_reason;
    sentence_add(text, size, "\"%s\" is chosen though it ranks %d: it is not significantly worse than \"%s\" "
                 "(%.4f nats", participant_name(assembly, chosen), rank, participant_name(assembly, first),
                 difference.mean);
    if (!isnan(difference.standard_error))
        sentence_add(text, size, ", standard error %.4f", difference.standard_error);
    if (contest->predicted[chosen] < contest->predicted[first])
        sentence_add(text, size, ") and its predicted loss at step %" PRIu64 " is the lowest of tie group 1 "
                     "(%.4f, \"%s\" %.4f).", contest->target, contest->predicted[chosen],
                     participant_name(assembly, first), contest->predicted[first]);
    else
        sentence_add(text, size, ") and costs fewer FLOPs per token.");
}

void outcome_choose(struct assembly *assembly)
{
    int chosen = -1, position = 0, tied = 0;
    for (int i = 0; i < assembly->contest.count; i++) {
        int p = assembly->order[i];
        if (assembly->groups[p] != 1)
            continue;
        tied++;
        if (chosen < 0 || is_preferred(assembly, p, chosen)) {
            chosen = p;
            position = i;
        }
    }
    if (chosen < 0) {
        snprintf(assembly->outcome->choice_reason, sizeof assembly->outcome->choice_reason,
                 "No candidate can be chosen: none has a ranking yet, or all have diverged or failed.");
        return;
    }
    assembly->outcome->choice = assembly->contest.candidates[chosen];
    if (position == 0) {
        say_first(assembly, chosen, tied);
        return;
    }
    const struct ranking *ranking = &assembly->outcome->ranking;
    for (int i = 0; i < ranking->count; i++)
        if (ranking->rows[i].candidate == assembly->outcome->choice)
            say_other(assembly, chosen, ranking->rows[i].rank);
}

void outcome_count_costs(struct assembly *assembly)
{
    const struct study *study = assembly->study;
    struct study_outcome *outcome = assembly->outcome;
    double horizon = (double)study->spec->training.steps;
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        if (candidate->same_as >= 0 || i == outcome->choice)
            continue;
        double spent = outcome_flops_spent(study, i);
        outcome->search_flops += spent;
        outcome->exhaustive_flops += candidate_is_dead(candidate)
                                         ? spent : candidate->growth_flops +
                                                   horizon * candidate->flops_per_token * study->tokens_per_step;
    }
    outcome->cost_fraction =
        outcome->exhaustive_flops > 0 ? outcome->search_flops / outcome->exhaustive_flops : NAN;
}
