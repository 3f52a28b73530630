/* report.html: the whole of a study on one page, for a reader who doubts. What stands on it comes from the structures that
 * the JSON answer is written from. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/report_parts.h"

/* ---- pieces */

void report_format(struct buffer *out, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    buffer_xml(out, text);
}

void report_paragraph(struct buffer *out, const char *class, const char *text)
{
    buffer_format(out, "<p class=\"%s\">", class);
    buffer_xml(out, text);
    buffer_text(out, "</p>\n");
}

void report_run(struct buffer *out, const char *text)
{
    buffer_text(out, "<span class=\"run\">");
    buffer_xml(out, text);
    buffer_text(out, "</span>");
}

void report_value(char text[REPORT_AMOUNT_BYTES], const char *format, double value)
{
    snprintf(text, REPORT_AMOUNT_BYTES, "–");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (isfinite(value)) snprintf(text, REPORT_AMOUNT_BYTES, format, value);
#pragma GCC diagnostic pop
}

void report_number(struct buffer *out, const char *format, double value)
{
    char text[REPORT_AMOUNT_BYTES];
    report_value(text, format, value);
    buffer_text(out, text);
}

void report_section(struct buffer *out, const char *id, const char *title)
{
    buffer_format(out, "<section id=\"%s\">\n<h2>%s</h2>\n", id, title);
}

void report_swatch(struct buffer *out, const struct plot *plot, int place)
{
    buffer_text(out, "<svg class=\"swatch\" viewBox=\"0 0 28 10\" aria-hidden=\"true\"><path class=\"");
    plot_curve_class(out, plot, place);
    buffer_text(out, "\" d=\"M0 5h28\"/></svg>");
}

void report_flops(double flops, char text[REPORT_AMOUNT_BYTES])
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z", "Y"};
    int i = 0;
    for (; fabs(flops) >= 999.5 && i < 8; i++) flops /= 1000;
    if (!isfinite(flops)) snprintf(text, REPORT_AMOUNT_BYTES, "–");
    else snprintf(text, REPORT_AMOUNT_BYTES, "%.3g %sFLOP", flops, prefixes[i]);
}

void report_duration(double seconds, char text[REPORT_AMOUNT_BYTES])
{
    double minutes = floor(seconds / 60);
    if (!isfinite(seconds) || seconds < 0) snprintf(text, REPORT_AMOUNT_BYTES, "–");
    else if (seconds < 120) snprintf(text, REPORT_AMOUNT_BYTES, "%.3g s", seconds);
    else if (minutes < 120) snprintf(text, REPORT_AMOUNT_BYTES, "%.0f min", minutes);
    else snprintf(text, REPORT_AMOUNT_BYTES, "%.0f h %.0f min", floor(minutes / 60), fmod(minutes, 60));
}

const char *report_title(const struct study_view *view)
{
    return view->spec && view->spec->name[0] ? view->spec->name : view->id;
}

void report_open(struct buffer *out, const char *title)
{
    buffer_text(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta "
                     "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
                     "'unsafe-inline'\"/>\n<meta name=\"viewport\" content=\"width=device-width, "
                     "initial-scale=1\"/>\n<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>");
    buffer_xml(out, title);
    buffer_text(out, " – lag report</title>\n");
    report_style(out);
    buffer_text(out, "</head>\n<body>\n" REPORT_BEGIN);
}

void report_close(struct buffer *out)
{
    buffer_text(out, REPORT_END "</body>\n</html>\n");
}

/* ---- head */

static void links(struct buffer *out, const struct study_view *view)
{
    static const struct { const char *id, *text; bool outcome; } rows[] = {
        {"step-0", "What step 0 would have picked", true}, {"curves", "Curves", false}, {"ranking", "Ranking", true},
        {"candidates", "Predictions and preservation", false}, {"cost", "Cost", true}, {"warnings", "Warnings", false},
        {"recipe", "Recipe", false}, {"provenance", "Where it comes from", false},
    };
    buffer_text(out, "<nav aria-label=\"Sections\">");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (view->study && (view->outcome || !rows[i].outcome))
            buffer_format(out, "<a href=\"#%s\">%s</a>\n", rows[i].id, rows[i].text);
    buffer_text(out, "</nav>\n");
}

static void head(struct buffer *out, const struct study_view *view)
{
    const int count = view->spec ? view->spec->candidate_count : 0;
    buffer_text(out, "<header>\n<p class=\"kicker\">Which way to grow: report of a study</p>\n<h1>");
    buffer_xml(out, report_title(view));
    buffer_text(out, "</h1>\n<p class=\"meta\">");
    if (view->parent) report_format(out, "Grown from %s, %d layers × %d wide · ", family_name(view->parent->family),
                                    view->parent->layers, view->parent->width);
    report_format(out, "%d candidate%s · %s · ", count, count == 1 ? "" : "s", study_state_text(view->state));
    report_run(out, view->id);
    buffer_text(out, "</p>\n");
    if (view->reason && view->reason[0]) report_paragraph(out, "care", view->reason);
    links(out, view);
    buffer_text(out, "</header>\n");
}

/* ---- the choice and how sure */

static void tile(struct buffer *out, const char *label, const char *value, const char *note)
{
    buffer_format(out, "<div><dt>%s</dt><dd>", label);
    buffer_xml(out, value);
    if (note && note[0]) {
        buffer_text(out, "<small>");
        buffer_xml(out, note);
        buffer_text(out, "</small>");
    }
    buffer_text(out, "</dd></div>\n");
}

/* How far the first is ahead of the second, beside its error. */
static void tile_margin(struct buffer *out, const struct study_outcome *outcome)
{
    const struct ranking_row *first = outcome->ranking.count ? &outcome->ranking.rows[0] : NULL;
    char value[REPORT_AMOUNT_BYTES], error[REPORT_AMOUNT_BYTES], note[160];
    if (!first || outcome->ranking.completed < 2) return;
    report_value(value, "%.4f nats", -first->margin);
    report_value(error, "%.4f", first->standard_error);
    snprintf(note, sizeof note, "standard error of the paired difference: %s", error);
    tile(out, "First ahead of second", value, note);
}

static void tiles(struct buffer *out, const struct study_outcome *outcome)
{
    const struct ranking_row *row = outcome_row(outcome, outcome->choice);
    char value[REPORT_AMOUNT_BYTES], note[160] = "";
    buffer_text(out, "<dl class=\"tiles\">\n");
    report_value(value, "%.3f", row ? row->p_best : NAN);
    tile(out, "Probability of the best", value, "at k, by paired bootstrap over validation windows");
    tile_margin(out, outcome);
    snprintf(value, sizeof value, "%llu", (unsigned long long)outcome->k);
    snprintf(note, sizeof note, outcome->has_transition ? "transition at step %llu" : "no transition was found",
             (unsigned long long)outcome->transition_step);
    tile(out, "Ranked at step k", value, note);
    report_value(value, "%.2f", outcome->agreement);
    tile(out, "Agreement at k", value, "order now with the order that the slopes predict");
    report_value(value, "%.2g %%", 100 * outcome->cost_fraction);
    tile(out, "Cost of the search", value, "of training every candidate to the end");
    buffer_text(out, "</dl>\n");
}

void report_verdict(const struct report *report)
{
    const struct study_outcome *outcome = report->view->outcome;
    const struct study *study = report->view->study;
    struct buffer *out = report->out;
    const char *status = outcome ? outcome_status(study, outcome) : NULL;
    const char *choice = outcome ? spec_candidate_name(report->view->spec, outcome->choice) : NULL;
    char text[SENTENCE_BYTES];
    bool sure = status && outcome->settled;
    buffer_format(out, "<section id=\"choice\" class=\"verdict%s\">\n<h2>The choice, and how sure</h2>\n", sure ? "" : " open");
    buffer_text(out, "<p class=\"pick\"><span>");
    buffer_xml(out, choice ? choice : "nothing chosen");
    buffer_format(out, "</span> <span class=\"pill\">%s</span></p>\n",
                  status ? status : study->finished ? "none completed" : "not decided yet");
    if (!outcome) {
        report_paragraph(out, "plain", "There is no ranking yet.");
    } else {
        if (choice) report_paragraph(out, "plain", outcome->choice_reason);
        else if (sentence_choice(study, outcome, text)) report_paragraph(out, "plain", text);
        if (sentence_ties(study, outcome, text)) report_paragraph(out, "plain", text);
        if (sentence_status(study, outcome, text)) report_paragraph(out, sure ? "plain" : "care", text);
        if (outcome->k) tiles(out, outcome);
    }
    buffer_text(out, "</section>\n");
}

/* ---- the whole */

static void body(const struct report *report)
{
    report_verdict(report);
    if (report->view->outcome) report_step_0(report);
    report_curves(report);
    if (report->view->outcome) report_ranking(report);
    report_candidates(report);
    if (report->view->outcome) report_cost(report);
    report_warnings(report);
    report_recipe(report);
    report_provenance(report);
}

void response_report(struct buffer *out, const struct study_view *view)
{
    struct report report = {.out = out, .view = view};
    struct error error = {0};
    report_open(out, report_title(view));
    head(out, view);
    if (!view->study) {
        report_paragraph(out, "plain", "The study has not begun.");
    } else if (!plot_init(&report.plot, view->study, view->outcome)) {
        out->failed = true;
    } else {
        if (report_steps_init(&report.steps, view->study, view->outcome, &error)) out->failed = true;
        body(&report);
        report_steps_fini(&report.steps);
        plot_fini(&report.plot);
    }
    report_close(out);
}
