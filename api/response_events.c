/* The `ranking` event: who leads now, with what certainty; and the `error` event. */
#include "api/response_parts.h"

void response_event_ranking(struct buffer *out, const struct study *study, const struct study_outcome *outcome)
{
    struct study_view view = { .spec = study->spec, .study = study, .outcome = outcome };
    bool first = true;

    buffer_text(out, "{");
    member_text(out, &first, "status", outcome_status(study, outcome));
    member_unsigned(out, &first, "k", outcome->k);
    member_text(out, &first, "choice", spec_candidate_name(study->spec, outcome->choice));
    json_key(out, &first, "ranking");
    buffer_text(out, "[");
    for (int i = 0; i < outcome->ranking.count; i++) {
        buffer_text(out, i ? "," : "");
        write_ranking_row(out, &view, outcome->ranking.rows[i].candidate, &outcome->ranking.rows[i]);
    }
    buffer_text(out, "]}");
}

void response_event_error(struct buffer *out, const char *candidate, double step, const char *reason)
{
    bool first = true;

    buffer_text(out, "{");
    member_text(out, &first, "candidate", candidate);
    member_number(out, &first, "step", step);
    member_text(out, &first, "reason", reason);
    buffer_text(out, "}");
}
