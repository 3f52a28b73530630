/* What the loss right after growing would have picked, and what that would have cost: in words, and as two orders side by
 * side. */
#include <math.h>
#include <stdio.h>

#include "api/report_parts.h"

enum { CHART_WIDTH = 480, TOP = 30, ROW = 21, LEFT = 176, RIGHT = 304, NAME = 17 };

static void say_cost(struct buffer *out, const struct study_view *view, const struct report_start *start)
{
    const unsigned long long k = (unsigned long long)view->outcome->k;
    char text[SENTENCE_BYTES], error[64] = "";
    if (!start->choice) return;
    if (start->picked == start->choice) {
        report_paragraph(out, "plain", "The search confirmed that pick. Before the search nobody could know that it "
                                       "would.");
        return;
    }
    if (!isfinite(start->behind)) {
        snprintf(text, sizeof text, "It did not come to step %llu, so there is no number for what that pick would "
                                    "have cost: %s.", k,
                 candidate_state_text(view->study->candidates[start->picked->candidate].state));
        report_paragraph(out, "plain", text);
        return;
    }
    if (isfinite(start->standard_error)) snprintf(error, sizeof error, " (standard error %.4f)", start->standard_error);
    snprintf(text, sizeof text, "What that pick would have cost: at step %llu its loss lies %.4f nats %s the "
                                "choice's%s.", k,
             fabs(start->behind), start->behind >= 0 ? "above" : "below", error);
    report_paragraph(out, "plain", text);
    if (isfinite(start->more_steps)) {
        snprintf(text, sizeof text, "On its present slope it would need about %.0f more steps, %.0f %% of k, to come "
                                    "to where the choice is now.",
             start->more_steps, 100 * start->more_steps / (double)k);
        report_paragraph(out, "plain", text);
    }
    if (isfinite(start->predicted_behind)) {
        snprintf(text, sizeof text, "Extrapolated to the horizon, step %llu, it would end %.4f nats %s the choice. "
                                    "That is a prediction, not a measurement.",
             (unsigned long long)view->spec->training.steps,
                 fabs(start->predicted_behind), start->predicted_behind >= 0 ? "above" : "below");
        report_paragraph(out, "soft", text);
    }
}

/* Position of a row among those that have a loss at 0, by that loss; equal ones in the order of the ranking. */
static int place_at_0(const struct study_outcome *outcome, int index)
{
    const struct ranking_row *rows = outcome->ranking.rows;
    int place = 0;
    for (int i = 0; i < outcome->ranking.count; i++)
        place += rows[i].loss_at_0 < rows[index].loss_at_0 || (i < index && rows[i].loss_at_0 == rows[index].loss_at_0);
    return place;
}

static void label(struct buffer *out, const char *class, double x, double y, const char *anchor, int rank, const char *name)
{
    struct buffer text;
    buffer_init(&text);
    if (*anchor == 's') buffer_format(&text, "%d  ", rank);
    text_cut_middle(&text, name, NAME);
    if (*anchor == 'e') buffer_format(&text, "  %d", rank);
    plot_label(out, class, x, y, anchor, text.data ? text.data : "");
    out->failed |= text.failed;
    buffer_fini(&text);
}

static void order_line(const struct report *report, int index, int after)
{
    const struct study_outcome *outcome = report->view->outcome;
    const struct ranking_row *row = &outcome->ranking.rows[index];
    const char *name = spec_candidate_name(report->view->spec, row->candidate);
    const char *class = row->candidate == outcome->choice ? "here" : "plain";
    int before = place_at_0(outcome, index);
    double from = TOP + ROW * (before + 0.5), to = TOP + ROW * (after + 0.5), bend = (RIGHT - LEFT) * 0.45;
    buffer_text(report->out, "<g><title>");
    buffer_xml(report->out, name);
    buffer_text(report->out, "</title><path class=\"");
    plot_curve_class(report->out, &report->plot, index);
    buffer_format(report->out, "\" d=\"M%d %.1fC%.1f %.1f %.1f %.1f %d %.1f\"/>\n", LEFT, from, LEFT + bend, from, RIGHT - bend,
                  to, RIGHT, to);
    label(report->out, class, LEFT - 8, from + 4, "end", before + 1, name);
    label(report->out, class, RIGHT + 8, to + 4, "start", after + 1, name);
    buffer_text(report->out, "</g>\n");
}

/* The candidates that are ranked, by their losses right after growing and at k. */
static void order_chart(const struct report *report)
{
    const struct ranking *ranking = &report->view->outcome->ranking;
    struct buffer *out = report->out;
    int count = 0, drawn = 0;
    for (int i = 0; i < ranking->count; i++) count += isfinite(ranking->rows[i].loss_at_0);
    if (count < 2 || ranking->count != report->plot.count) return;
    buffer_format(out, "<figure>\n<figcaption><b>Two orders.</b> Left by the loss right after growing, right at "
                       "k.</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Order "
                       "of the candidates at step 0 and at k\">\n", CHART_WIDTH, TOP + ROW * count + 6);
    plot_label(out, "name", LEFT - 8, 16, "end", "at step 0");
    char text[48];
    snprintf(text, sizeof text, "at step %llu", (unsigned long long)report->view->outcome->k);
    plot_label(out, "name", RIGHT + 8, 16, "start", text);
    for (int i = 0; i < ranking->count; i++)
        if (isfinite(ranking->rows[i].loss_at_0)) order_line(report, i, drawn++);
    buffer_text(out, "</svg>\n</figure>\n");
}

void report_step_0(const struct report *report)
{
    struct buffer *out = report->out;
    struct report_start start;
    char text[SENTENCE_BYTES];
    report_section(out, "step-0", "What step 0 would have picked, and what that would have cost");
    if (!report_start(report->view->outcome, &start)) {
        report_paragraph(out, "plain", "Nothing: no candidate was evaluated right after growing.");
        buffer_text(out, "</section>\n");
        return;
    }
    buffer_text(out, "<div class=\"charts\">\n<div>\n");
    if (sentence_start(report->view->study, report->view->outcome, text)) report_paragraph(out, "plain", text);
    say_cost(out, report->view, &start);
    if (sentence_order(report->view->outcome, text)) report_paragraph(out, "plain", text);
    buffer_text(out, "</div>\n");
    order_chart(report);
    buffer_text(out, "</div>\n</section>\n");
}
