#include "api/response_parts.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "growth/plan.h"

void member_number(struct buffer *out, bool *first, const char *name, double value)
{
    json_key(out, first, name);
    json_number(out, value);
}

void member_unsigned(struct buffer *out, bool *first, const char *name, uint64_t value)
{
    json_key(out, first, name);
    json_unsigned(out, value);
}

void member_text(struct buffer *out, bool *first, const char *name, const char *text)
{
    json_key(out, first, name);
    if (text) buffer_json_string(out, text);
    else buffer_text(out, "null");
}

void member_time(struct buffer *out, bool *first, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_BYTES];
    if (wall_ms) clock_format(wall_ms, text);
    member_text(out, first, name, wall_ms ? text : NULL);
}

const char *outcome_status(const struct study *study, const struct study_outcome *outcome)
{
    if (!outcome || !outcome->k || (study && !study->finished)) return NULL;
    return outcome->settled ? "settled" : "provisional";
}

const char *spec_candidate_name(const struct study_spec *spec, int candidate)
{
    return spec && candidate >= 0 && candidate < spec->candidate_count ? spec->candidates[candidate].name : NULL;
}

const struct ranking_row *outcome_row(const struct study_outcome *outcome, int candidate)
{
    for (int i = 0; outcome && i < outcome->ranking.count; i++)
        if (outcome->ranking.rows[i].candidate == candidate) return &outcome->ranking.rows[i];
    return NULL;
}

static void write_scores(struct buffer *out, bool *first, const struct ranking_row *row)
{
    member_number(out, first, "score", row ? row->score : NAN);
    member_number(out, first, "loss", row ? row->loss : NAN);
    member_number(out, first, "margin", row ? row->margin : NAN);
    member_number(out, first, "standard_error", row ? row->standard_error : NAN);
    member_number(out, first, "p_best", row ? row->p_best : NAN);
    member_number(out, first, "slope", row ? row->slope : NAN);
    member_number(out, first, "predicted_final_loss", row ? row->predicted_final_loss : NAN);
    member_number(out, first, "loss_at_0", row ? row->loss_at_0 : NAN);
    member_number(out, first, "loss_at_transition", row ? row->loss_at_transition : NAN);
}

void write_ranking_row(struct buffer *out, const struct study_view *view, int candidate, const struct ranking_row *row)
{
    const struct candidate *facts = view->study ? &view->study->candidates[candidate] : NULL;
    bool first = true, grown = facts && facts->grown;
    buffer_text(out, "{");
    member_number(out, &first, "rank", row ? (double)row->rank : NAN);
    member_text(out, &first, "candidate", spec_candidate_name(view->spec, candidate));
    member_text(out, &first, "state", candidate_state_text(facts ? facts->state : CANDIDATE_PENDING));
    member_number(out, &first, "tie_group", row && row->tie_group ? (double)row->tie_group : NAN);
    write_scores(out, &first, row);
    member_number(out, &first, "preservation", grown ? facts->preservation : NAN);
    member_number(out, &first, "stability_ratio",
                  row && view->spec && view->spec->landscape.asked ? row->stability_ratio : NAN);
    member_number(out, &first, "parameters", grown ? (double)facts->parameters : NAN);
    member_number(out, &first, "flops_per_token", grown ? facts->flops_per_token : NAN);
    member_number(out, &first, "flops_spent", row ? row->flops_spent : 0);
    member_number(out, &first, "seconds", facts ? facts->seconds : 0);
    if (facts && facts->same_as >= 0)
        member_text(out, &first, "same_as", spec_candidate_name(view->spec, facts->same_as));
    if (facts && facts->state == CANDIDATE_DIVERGED)
        member_unsigned(out, &first, "diverged_step", facts->diverged_step);
    if (facts && facts->reason[0]) member_text(out, &first, "reason", facts->reason);
    buffer_text(out, "}");
}

static void write_warning(struct buffer *out, bool *first, const char *text)
{
    buffer_text(out, *first ? "" : ", ");
    *first = false;
    buffer_json_string(out, text);
}

void write_warnings(struct buffer *out, const struct study_view *view)
{
    const struct study_outcome *outcome = view->outcome;
    const char *why = outcome && outcome_status(view->study, outcome) ? outcome->provisional_reason : "";
    bool first = true;
    buffer_text(out, "[");
    for (int i = 0; i < view->warning_count; i++) write_warning(out, &first, view->warnings[i]);
    if (*why) write_warning(out, &first, why);
    for (int i = 0; outcome && i < outcome->warning_count; i++)
        if (strcmp(outcome->warnings[i], why)) write_warning(out, &first, outcome->warnings[i]);
    buffer_text(out, "]");
}

void write_url_part(struct buffer *out, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        bool plain =
            (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("._-~", *c);
        char escaped[3] = {'%', hex[*c >> 4], hex[*c & 15]};
        buffer_append(out, plain ? (const char *)c : escaped, plain ? 1 : 3);
    }
}

double candidate_width_factor(struct buffer *out, const struct study_view *view, int candidate)
{
    struct growth_plan plan;
    struct error error = {0};
    if (!view->parent || candidate < 0 || candidate >= view->spec->candidate_count) return NAN;
    if (growth_plan_init(&plan, view->parent, &view->spec->candidates[candidate].operators, &error)) {
        if (error.code == ERROR_NO_MEMORY) out->failed = true;
        return NAN;
    }
    double factor = plan.width_factor;
    growth_plan_fini(&plan);
    return factor;
}

/* ---- text ---- */

static bool continues(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

int text_characters(const char *text)
{
    int count = 0;
    for (; *text; text++) count += !continues(*text);
    return count;
}

/* Where the first `characters` characters end. */
static const char *text_after(const char *text, int characters)
{
    for (; characters > 0 && *text; characters--) do text++; while (continues(*text));
    return text;
}

void text_cut(struct buffer *out, const char *text, int characters)
{
    if (text_characters(text) <= characters) {
        buffer_text(out, text);
        return;
    }
    buffer_append(out, text, (size_t)(text_after(text, characters - 1) - text));
    if (characters > 0) buffer_text(out, "…");
}

void text_cut_middle(struct buffer *out, const char *text, int characters)
{
    int length = text_characters(text), tail = (characters - 1) / 2;
    if (length <= characters) {
        buffer_text(out, text);
        return;
    }
    text_cut(out, text, characters - tail);
    buffer_text(out, text_after(text, length - tail));
}

void text_wrap(struct buffer *out, const char *text, int columns, int indent)
{
    int used = 0;
    while (*text) {
        size_t bytes = strcspn(text, " \n");
        int word = 0;
        for (size_t i = 0; i < bytes; i++) word += !continues(text[i]);
        if (used && used + 1 + word > columns) {
            buffer_text(out, "\n");
            used = 0;
        }
        if (used) buffer_text(out, " ");
        else buffer_format(out, "%*s", indent, "");
        buffer_append(out, text, bytes);
        used = (used ? used + 1 : indent) + word;
        text += bytes;
        text += strspn(text, " \n");
    }
    buffer_text(out, "\n");
}
