#include "api/response.h"

#include <math.h>

#include "api/request.h"
#include "api/response_parts.h"

static void write_transition(struct buffer *out, const struct study_view *view)
{
    const struct study_outcome *outcome = view->outcome;
    bool first = true, first_knee = true;
    if (!outcome) {
        buffer_text(out, "null");
        return;
    }
    buffer_text(out, "{");
    member_number(out, &first, "step", outcome->has_transition ? (double)outcome->transition_step : NAN);
    member_text(out, &first, "method", "agreement");
    member_number(out, &first, "agreement", outcome->agreement);
    json_key(out, &first, "knees");
    buffer_text(out, "{");
    for (int i = 0; outcome->knees && i < view->spec->candidate_count; i++)
        member_number(out, &first_knee, view->spec->candidates[i].name, outcome->knees[i]);
    buffer_text(out, "}}");
}

static void write_choice(struct buffer *out, const struct study_view *view)
{
    const struct study_outcome *outcome = view->outcome;
    const char *name = outcome ? spec_candidate_name(view->spec, outcome->choice) : NULL;
    bool first = true;
    if (!name) {
        buffer_text(out, "null");
        return;
    }
    buffer_text(out, "{");
    member_text(out, &first, "candidate", name);
    member_text(out, &first, "reason", outcome->choice_reason);
    json_key(out, &first, "files");
    if (view->has_files) {
        buffer_text(out, "\"/v1/studies/");
        write_url_part(out, view->id);
        buffer_text(out, "/candidates/");
        write_url_part(out, name);
        buffer_text(out, "/files/\"");
    } else {
        buffer_text(out, "null");
    }
    buffer_text(out, "}");
}

static void write_ranking(struct buffer *out, const struct study_view *view)
{
    const struct study_outcome *outcome = view->outcome;
    buffer_text(out, "[");
    for (int i = 0; outcome && i < outcome->ranking.count; i++) {
        const struct ranking_row *row = &outcome->ranking.rows[i];
        buffer_text(out, i ? ", " : "");
        write_ranking_row(out, view, row->candidate, row);
    }
    for (int i = 0; !outcome && i < view->spec->candidate_count; i++) {
        buffer_text(out, i ? ", " : "");
        write_ranking_row(out, view, i, NULL);
    }
    buffer_text(out, "]");
}

static void write_agreement_and_cost(struct buffer *out, bool *first, const struct study_outcome *outcome)
{
    bool first_agreement = true, first_cost = true;
    json_key(out, first, "rank_agreement");
    buffer_text(out, "{");
    member_number(out, &first_agreement, "at_0", outcome ? outcome->rank_agreement_at_0 : NAN);
    member_number(out, &first_agreement, "at_transition", outcome ? outcome->rank_agreement_at_transition : NAN);
    buffer_text(out, "}");
    json_key(out, first, "cost");
    buffer_text(out, "{");
    member_number(out, &first_cost, "search_flops", outcome ? outcome->search_flops : NAN);
    member_number(out, &first_cost, "exhaustive_flops", outcome ? outcome->exhaustive_flops : NAN);
    member_number(out, &first_cost, "fraction", outcome ? outcome->cost_fraction : NAN);
    buffer_text(out, "}");
}

void write_answer(struct buffer *out, bool *first, const struct study_view *view)
{
    json_key(out, first, "transition");
    write_transition(out, view);
    json_key(out, first, "choice");
    write_choice(out, view);
    json_key(out, first, "ranking");
    write_ranking(out, view);
    write_agreement_and_cost(out, first, view->outcome);
}

void response_study(struct buffer *out, const struct study_view *view)
{
    const struct study_outcome *outcome = view->outcome;
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "id", view->id);
    member_text(out, &first, "name", view->spec->name);
    member_text(out, &first, "state", study_state_text(view->state));
    if (view->reason && view->reason[0]) member_text(out, &first, "reason", view->reason);
    member_text(out, &first, "status", outcome_status(view->study, outcome));
    member_number(out, &first, "k", outcome && outcome->k ? (double)outcome->k : NAN);
    json_key(out, &first, "request");
    request_echo(view->spec, out);
    write_answer(out, &first, view);
    json_key(out, &first, "recipe");
    buffer_text(out, view->recipe && view->recipe[0] ? view->recipe : "null");
    json_key(out, &first, "warnings");
    write_warnings(out, view);
    buffer_text(out, "}");
}

void response_study_line(struct buffer *out, const struct study_view *view)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "id", view->id);
    member_text(out, &first, "name", view->spec->name);
    member_text(out, &first, "state", study_state_text(view->state));
    member_text(out, &first, "status", outcome_status(view->study, view->outcome));
    member_time(out, &first, "created", view->created_ms);
    member_time(out, &first, "started", view->started_ms);
    member_time(out, &first, "ended", view->ended_ms);
    member_text(out, &first, "choice",
                view->outcome ? spec_candidate_name(view->spec, view->outcome->choice) : NULL);
    buffer_text(out, "}");
}
