#include "api/sentences.h"

#include <math.h>
#include <stdio.h>

#include "api/response_parts.h"

const struct ranking_row *outcome_best_at_0(const struct study_outcome *outcome)
{
    const struct ranking_row *best = NULL;
    for (int i = 0; i < outcome->ranking.count; i++) {
        const struct ranking_row *row = &outcome->ranking.rows[i];
        if (isfinite(row->loss_at_0) && (!best || row->loss_at_0 < best->loss_at_0)) best = row;
    }
    return best;
}

bool sentence_start(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES])
{
    const struct ranking_row *start = outcome_best_at_0(outcome);
    char where[96] = "also the best now";
    text[0] = 0;
    if (!start) return false;
    if (!start->tie_group)
        snprintf(where, sizeof where, "now %s", candidate_state_text(study->candidates[start->candidate].state));
    else if (start->rank != 1)
        snprintf(where, sizeof where, "now number %d of %d", start->rank, outcome->ranking.completed);
    snprintf(text, SENTENCE_BYTES, "Judged by the loss right after growing, %s would have been picked (%.4f); it is %s.",
             study->spec->candidates[start->candidate].name, start->loss_at_0, where);
    return true;
}

bool sentence_order(const struct study_outcome *outcome, char text[SENTENCE_BYTES])
{
    text[0] = 0;
    if (!outcome_best_at_0(outcome) || !isfinite(outcome->rank_agreement_at_0)) return false;
    snprintf(text, SENTENCE_BYTES,
             "Rank correlation of that first order with the ranking at step %llu: %.2f (1 the same, -1 "
             "turned over).",
             (unsigned long long)outcome->k, outcome->rank_agreement_at_0);
    return true;
}

bool sentence_choice(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES])
{
    const struct ranking_row *row = outcome_row(outcome, outcome->choice);
    const char *name = spec_candidate_name(study->spec, outcome->choice);
    char sure[96] = "";
    if (!name || !row) {
        snprintf(text, SENTENCE_BYTES,
                 "No candidate completed, so nothing was picked: lower training.learning_rate and try again.");
        return true;
    }
    if (isfinite(row->p_best))
        snprintf(sure, sizeof sure, ", with probability %.2f the best of all at this step", row->p_best);
    snprintf(text, SENTENCE_BYTES, "Picked at step %llu: %s%s. %s", (unsigned long long)outcome->k, name, sure,
             outcome->choice_reason);
    return true;
}

bool sentence_ties(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES])
{
    int tied = 0;
    for (int i = 0; i < outcome->ranking.count; i++) tied += outcome->ranking.rows[i].tie_group == 1;
    text[0] = 0;
    if (outcome->choice < 0 || outcome->ranking.completed < 2) return false;
    if (tied > 1)
        snprintf(text, SENTENCE_BYTES,
                 "%d candidates are in tie group 1: at confidence %.2f none of them is worse than the best.", tied,
                 study->spec->selection.confidence);
    else
        snprintf(text, SENTENCE_BYTES,
                 "It is alone in tie group 1: at confidence %.2f every other completed candidate is worse.",
                 study->spec->selection.confidence);
    return true;
}

bool sentence_status(const struct study *study, const struct study_outcome *outcome, char text[SENTENCE_BYTES])
{
    const char *status = outcome_status(study, outcome);
    text[0] = 0;
    if (!status) {
        if (study->finished) return false;
        snprintf(text, SENTENCE_BYTES, "The study is not decided yet: this is how it stands now.");
    } else if (outcome->settled && outcome->has_transition) {
        snprintf(text, SENTENCE_BYTES, "Settled: the transition was found at step %llu.",
                 (unsigned long long)outcome->transition_step);
    } else if (outcome->settled) {
        snprintf(text, SENTENCE_BYTES, "Settled.");
    } else {
        snprintf(text, SENTENCE_BYTES, "Provisional: %s", outcome->provisional_reason);
    }
    return true;
}
