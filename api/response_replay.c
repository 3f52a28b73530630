#include "api/replay.h"

#include <math.h>
#include <stdio.h>

#include "api/response_parts.h"

static const char *const kind_words[] = { [RULE_AT_STEP] = "step", [RULE_STOPS] = "stops", [RULE_BUDGET] = "budget" };

/* ---- JSON */

static void write_candidates(struct buffer *out, const struct replay_view *view, const struct rule_answer *answer)
{
    for (int i = 0; i < view->replay->spec.candidate_count; i++) {
        bool first = true;
        buffer_text(out, i ? ", {" : "{");
        member_text(out, &first, "candidate", view->replay->spec.candidates[i].name);
        member_number(out, &first, "score", answer->scores[i]);
        member_unsigned(out, &first, "steps", answer->trained[i]);
        json_key(out, &first, "tied");
        buffer_text(out, answer->tied[i] ? "true" : "false");
        buffer_text(out, "}");
    }
}

static void write_judgement(struct buffer *out, bool *first, const struct judgement *judgement)
{
    member_number(out, first, "spearman", judgement->spearman);
    member_number(out, first, "regret", judgement->regret);
    member_number(out, first, "regret_share", judgement->regret_share);
    member_number(out, first, "tied_regret", judgement->tied_regret);
    member_number(out, first, "tied_share", judgement->tied_share);
    json_key(out, first, "hit");
    buffer_text(out, judgement->hit ? "true" : "false");
}

static void write_row(struct buffer *out, const struct replay_view *view, const struct replay_row *row)
{
    const struct rule_answer *answer = &row->answer;
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "rule", row->rule->name);
    member_text(out, &first, "kind", kind_words[row->rule->kind]);
    member_text(out, &first, "choice", spec_candidate_name(&view->replay->spec, answer->choice));
    member_unsigned(out, &first, "step", answer->step);
    json_key(out, &first, "settled");
    buffer_text(out, answer->settled ? "true" : "false");
    member_number(out, &first, "p_best", answer->p_best);
    member_number(out, &first, "search_flops", answer->search_flops);
    member_number(out, &first, "exhaustive_flops", answer->exhaustive_flops);
    member_number(out, &first, "fraction", answer->fraction);
    if (view->truth)
        write_judgement(out, &first, &row->judgement);
    member_text(out, &first, "reason", answer->reason);
    json_key(out, &first, "candidates");
    buffer_text(out, "[");
    write_candidates(out, view, answer);
    buffer_text(out, "]}");
}

static void write_truth(struct buffer *out, bool *first, const struct replay_view *view)
{
    const struct truth *truth = view->truth;
    bool inner = true;
    json_key(out, first, "truth");
    buffer_text(out, "{");
    member_unsigned(out, &inner, "runs", (uint64_t)truth->runs);
    member_number(out, &inner, "noise", truth->noise);
    member_number(out, &inner, "spread", view->row_count ? view->rows[0].judgement.spread : NAN);
    member_text(out, &inner, "best",
                spec_candidate_name(&view->replay->spec, view->row_count ? view->rows[0].judgement.best : -1));
    json_key(out, &inner, "losses");
    buffer_text(out, "{");
    inner = true;
    for (int i = 0; i < truth->count; i++)
        member_number(out, &inner, view->replay->spec.candidates[i].name, truth->losses[i]);
    buffer_text(out, "}}");
}

void response_replay_json(struct buffer *out, const struct replay_view *view)
{
    bool first = true;
    buffer_text(out, "{");
    member_unsigned(out, &first, "candidates", (uint64_t)view->replay->spec.candidate_count);
    member_unsigned(out, &first, "points", (uint64_t)view->replay->study.grid.count);
    member_unsigned(out, &first, "last_step", replay_last(view->replay));
    member_unsigned(out, &first, "horizon", view->replay->spec.training.steps);
    member_unsigned(out, &first, "k_min", view->replay->spec.selection.k_min);
    member_unsigned(out, &first, "max_k", replay_step(view->replay, view->settings.cap));
    member_unsigned(out, &first, "step", replay_step(view->replay, view->settings.step));
    if (view->truth)
        write_truth(out, &first, view);
    json_key(out, &first, "rules");
    buffer_text(out, "[");
    for (int i = 0; i < view->row_count; i++) {
        buffer_text(out, i ? ",\n" : "\n");
        write_row(out, view, &view->rows[i]);
    }
    buffer_text(out, "]}\n");
}

/* ---- text */

static void text_number(struct buffer *out, int width, const char *format, double value)
{
    char text[32] = "-";
    if (isfinite(value))
        snprintf(text, sizeof text, format, value);
    buffer_format(out, "  %*s", width, text);
}

static void text_row(struct buffer *out, const struct replay_view *view, const struct replay_row *row)
{
    const struct rule_answer *answer = &row->answer;
    const char *name = spec_candidate_name(&view->replay->spec, answer->choice);
    int tied = 0;
    for (int i = 0; i < view->replay->spec.candidate_count; i++)
        tied += answer->tied[i];
    buffer_format(out, "%-20s%7llu%c  ", row->rule->name, (unsigned long long)answer->step, answer->settled ? ' ' : '*');
    text_cut_middle(out, name ? name : "-", 22);
    for (int i = text_characters(name ? name : "-"); i < 22; i++)
        buffer_text(out, " ");
    buffer_format(out, "%4d", tied);
    text_number(out, 6, "%.3f", answer->p_best);
    text_number(out, 6, "%.3f", answer->fraction);
    if (view->truth) {
        text_number(out, 8, "%.2f", row->judgement.spearman);
        text_number(out, 7, "%.4f", row->judgement.regret);
        text_number(out, 6, "%.1f%%", 100 * row->judgement.regret_share);
        text_number(out, 6, "%.1f%%", 100 * row->judgement.tied_share);
    }
    buffer_text(out, "\n");
}

void response_replay_text(struct buffer *out, const struct replay_view *view)
{
    const struct replay *replay = view->replay;
    buffer_format(out, "%d candidates, %d evaluation points up to step %llu; no rule stops before %llu\n",
                  replay->spec.candidate_count, replay->study.grid.count, (unsigned long long)replay_last(replay),
                  (unsigned long long)replay->spec.selection.k_min);
    buffer_format(out, "rules that stop: at most %llu steps; the others: %llu steps per candidate\n",
                  (unsigned long long)replay_step(replay, view->settings.cap),
                  (unsigned long long)replay_step(replay, view->settings.step));
    if (view->truth && view->row_count && view->rows[0].judgement.best >= 0) {
        buffer_format(out, "truth: %d run%s, \"%s\" is best, spread %.4f nats", view->truth->runs,
                      view->truth->runs == 1 ? "" : "s", replay->spec.candidates[view->rows[0].judgement.best].name,
                      view->rows[0].judgement.spread);
        if (isfinite(view->truth->noise))
            buffer_format(out, ", noise of one run %.4f", view->truth->noise);
        buffer_text(out, "\n");
    }
    buffer_format(out, "\n%-20s%7s   %-22s%4s  %6s  %6s", "rule", "step", "choice", "tied", "p_best", "cost");
    if (view->truth)
        buffer_format(out, "  %8s  %7s  %6s  %6s", "spearman", "regret", "share", "tied");
    buffer_text(out, "\n");
    for (int i = 0; i < view->row_count; i++)
        text_row(out, view, &view->rows[i]);
    buffer_text(out, "\n* the cap came first. cost: the search's FLOPs over those of training everyone to the end. ");
    buffer_text(out, view->truth ? "regret: nats, and shares of the\n  spread, of the choice and of the best of its tie "
                                   "group.\n"
                                 : "Give --truth to see\n  how right they are.\n");
}

/* ---- calibration */

void response_calibration_json(struct buffer *out, const struct calibration_view *view)
{
    buffer_text(out, "[");
    for (int i = 0; i < view->row_count; i++) {
        const struct calibration *row = &view->rows[i];
        bool first = true;
        buffer_text(out, i ? ",\n{" : "\n{");
        member_number(out, &first, "p_best", row->p_best);
        json_key(out, &first, "hit");
        buffer_text(out, row->hit ? "true" : "false");
        json_key(out, &first, "settled");
        buffer_text(out, row->settled ? "true" : "false");
        member_unsigned(out, &first, "step", row->step);
        member_unsigned(out, &first, "candidates", (uint64_t)row->candidates);
        member_number(out, &first, "regret_share", row->regret_share);
        member_number(out, &first, "tied_share", row->tied_share);
        buffer_text(out, "}");
    }
    buffer_text(out, "]\n");
}

void response_calibration_text(struct buffer *out, const struct calibration_view *view)
{
    double claimed = 0, hits = 0, settled = 0, regret = 0, tied = 0, n = view->row_count, claims = 0;
    for (int i = 0; i < view->row_count; i++) {
        const struct calibration *row = &view->rows[i];
        claims += isfinite(row->p_best);
        claimed += isfinite(row->p_best) ? row->p_best : 0;
        hits += row->hit;
        settled += row->settled;
        regret += isfinite(row->regret_share) ? row->regret_share : 0;
        tied += isfinite(row->tied_share) ? row->tied_share : 0;
    }
    buffer_format(out, "%s, %d replays of %d or more candidates with resampled windows\n", view->rule->name, view->row_count,
                  CALIBRATION_LEAST < view->replay->spec.candidate_count ? CALIBRATION_LEAST
                                                                         : view->replay->spec.candidate_count);
    buffer_format(out, "settled %.1f %%, hits %.1f %%, claimed ", 100 * settled / n, 100 * hits / n);
    if (claims > 0)
        buffer_format(out, "%.1f %%", 100 * claimed / claims);
    else
        buffer_text(out, "nothing");
    buffer_format(out, ", regret %.2f %% of the spread, of the tie group %.2f %%\n", 100 * regret / n, 100 * tied / n);
}
