#include <math.h>
#include <string.h>

#include "api/request.h"
#include "api/response_parts.h"

enum { CURVE_BLOCKS = 32 };

/* ---- CSV: quoted as RFC 4180 says, lines end with a newline ---- */

static void csv_text(struct buffer *out, const char *text)
{
    if (!strpbrk(text, ",\"\r\n")) {
        buffer_text(out, text);
        return;
    }
    buffer_text(out, "\"");
    for (const char *c = text; *c; c++) buffer_append(out, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    buffer_text(out, "\"");
}

/* An empty field where there is no number. */
static void csv_number(struct buffer *out, double value)
{
    buffer_text(out, ",");
    if (isfinite(value)) json_number(out, value);
}

/* Columns where a landscape was asked for; fields are empty at points where it was not measured. */
static void landscape_columns(struct buffer *out, const struct landscape_spec *spec)
{
    for (int i = 0; i < LANDSCAPE_QUANTITY_COUNT; i++) {
        const char *name = landscape_quantity_name((enum landscape_quantity)i);
        if (!spec->asked || !landscape_wants(spec, (enum landscape_quantity)i)) continue;
        for (int j = 0; i == LANDSCAPE_HESSIAN && j < spec->top; j++) buffer_format(out, ",%s_%d", name, j + 1);
        if (i != LANDSCAPE_HESSIAN) buffer_format(out, ",%s", name);
        if (i == LANDSCAPE_TRACE) buffer_format(out, ",%s_error", name);
    }
    if (spec->asked) buffer_text(out, ",stability_ratio");
}

static void landscape_fields(struct buffer *out, const struct landscape_spec *spec, const struct landscape_values *values)
{
    const struct landscape_values nothing = landscape_nothing(), *it = values->measured ? values : &nothing;
    if (!spec->asked) return;
    for (int j = 0; landscape_wants(spec, LANDSCAPE_HESSIAN) && j < spec->top; j++) csv_number(out, it->hessian[j]);
    if (landscape_wants(spec, LANDSCAPE_PRECONDITIONED)) csv_number(out, it->preconditioned);
    if (landscape_wants(spec, LANDSCAPE_TRACE)) {
        csv_number(out, it->trace);
        csv_number(out, it->trace_error);
    }
    if (landscape_wants(spec, LANDSCAPE_NTK)) csv_number(out, it->ntk);
    csv_number(out, it->stability_ratio);
}

void response_curves_csv(struct buffer *out, const struct study *study)
{
    buffer_text(out, "candidate,seed,step,tokens,flops,loss,standard_error,raw_loss,learning_rate");
    landscape_columns(out, &study->spec->landscape);
    buffer_text(out, "\n");
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct curve *curve = &study->candidates[i].curve;
        for (int j = 0; j < curve->count; j++) {
            const struct point *point = &curve->points[j];
            csv_text(out, study->spec->candidates[i].name);
            buffer_format(out, ",%llu,%llu,%llu", (unsigned long long)study->spec->training.seed,
                          (unsigned long long)point->step, (unsigned long long)point->tokens);
            csv_number(out, point->flops);
            csv_number(out, point->loss);
            csv_number(out, point->standard_error);
            csv_number(out, point->raw_loss);
            csv_number(out, point->learning_rate);
            landscape_fields(out, &study->spec->landscape, &point->landscape);
            buffer_text(out, "\n");
        }
    }
}

/* ---- JSON ---- */

/* Mean losses of the fixed blocks: block b has windows floor(b W / B) up to floor((b + 1) W / B), as integers of 1e-5
 * nats. */
static void write_blocks(struct buffer *out, const struct point *point, int windows)
{
    int blocks = windows < CURVE_BLOCKS ? windows : CURVE_BLOCKS;
    buffer_text(out, "[");
    for (int b = 0; point->losses && b < blocks; b++) {
        int begin = (int)((int64_t)b * windows / blocks), end = (int)((int64_t)(b + 1) * windows / blocks);
        double sum = 0;
        for (int i = begin; i < end; i++) sum += (double)point->losses[i];
        buffer_text(out, b ? ", " : "");
        json_number(out, nearbyint(sum / (end - begin) * 1e5));
    }
    buffer_text(out, "]");
}

/* A number that was not asked for is null. */
static void write_landscape(struct buffer *out, const struct landscape_values *values)
{
    int last = LANDSCAPE_TOP_MAX;
    bool first = true;
    while (last > 0 && isnan(values->hessian[last - 1])) last--;
    buffer_text(out, "{");
    json_key(out, &first, "hessian");
    buffer_text(out, "[");
    for (int i = 0; i < last; i++) {
        buffer_text(out, i ? ", " : "");
        json_number(out, values->hessian[i]);
    }
    buffer_text(out, "]");
    member_number(out, &first, "preconditioned", values->preconditioned);
    member_number(out, &first, "trace", values->trace);
    member_number(out, &first, "trace_error", values->trace_error);
    member_number(out, &first, "ntk", values->ntk);
    member_number(out, &first, "residual", values->residual);
    member_number(out, &first, "stability_ratio", values->stability_ratio);
    member_number(out, &first, "safe_rate", values->safe_rate);
    buffer_text(out, "}");
}

static void write_point(struct buffer *out, bool *first, const struct point *point)
{
    member_unsigned(out, first, "step", point->step);
    member_unsigned(out, first, "tokens", point->tokens);
    member_number(out, first, "flops", point->flops);
    member_number(out, first, "loss", point->loss);
    member_number(out, first, "standard_error", point->standard_error);
    member_number(out, first, "raw_loss", point->raw_loss);
    member_number(out, first, "learning_rate", point->learning_rate);
    if (!point->landscape.measured) return;
    json_key(out, first, "landscape");
    write_landscape(out, &point->landscape);
}

void response_curves_json(struct buffer *out, const struct study *study)
{
    const struct study_spec *spec = study->spec;
    bool first = true;
    buffer_text(out, "{");
    json_key(out, &first, "request");
    request_echo(spec, out);
    member_number(out, &first, "windows", study->windows);
    member_number(out, &first, "blocks", study->windows < CURVE_BLOCKS ? study->windows : CURVE_BLOCKS);
    member_number(out, &first, "tokens_per_step", study->tokens_per_step);
    json_key(out, &first, "candidates");
    buffer_text(out, "[");
    for (int i = 0; i < spec->candidate_count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        bool inner = true;
        buffer_text(out, i ? ",\n{" : "\n{");
        member_text(out, &inner, "candidate", spec->candidates[i].name);
        member_unsigned(out, &inner, "seed", spec->training.seed);
        member_text(out, &inner, "state", candidate_state_text(candidate->state));
        member_number(out, &inner, "flops_per_token", candidate->grown ? candidate->flops_per_token : NAN);
        json_key(out, &inner, "points");
        buffer_text(out, "[");
        for (int j = 0; j < candidate->curve.count; j++) {
            bool first_of_point = true;
            buffer_text(out, j ? ",\n {" : "\n {");
            write_point(out, &first_of_point, &candidate->curve.points[j]);
            json_key(out, &first_of_point, "blocks");
            write_blocks(out, &candidate->curve.points[j], candidate->curve.windows);
            buffer_text(out, "}");
        }
        buffer_text(out, "]}");
    }
    buffer_text(out, "]}\n");
}

/* ---- events ---- */

void response_event_state(struct buffer *out, enum study_state_name state, const char *reason)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "state", study_state_text(state));
    member_text(out, &first, "reason", reason ? reason : "");
    buffer_text(out, "}");
}

void response_event_evaluation(struct buffer *out, const char *candidate, const struct point *point)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "candidate", candidate);
    write_point(out, &first, point);
    buffer_text(out, "}");
}

void response_event_decision(struct buffer *out, const struct study *study, const struct decision *decision)
{
    static const char *const kinds[] = {
        [DECISION_NONE] = "none", [DECISION_CONTINUE] = "continue", [DECISION_SETTLED] = "settled",
        [DECISION_PROVISIONAL] = "provisional", [DECISION_FAILED] = "failed",
    };
    bool first = true;
    buffer_text(out, "{");
    member_unsigned(out, &first, "step", decision->step);
    member_text(out, &first, "decision", kinds[decision->kind]);
    member_number(out, &first, "agreement", decision->agreement);
    json_key(out, &first, "holds");
    buffer_text(out, decision->holds ? "true" : "false");
    json_key(out, &first, "knees_passed");
    buffer_text(out, decision->knees_passed ? "true" : "false");
    member_text(out, &first, "best_now", spec_candidate_name(study->spec, decision->best_now));
    member_text(out, &first, "best_predicted", spec_candidate_name(study->spec, decision->best_predicted));
    member_text(out, &first, "reason", decision->reason);
    buffer_text(out, "}");
}
