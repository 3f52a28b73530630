/* The curves of a study: averaged and raw losses, the last stretch enlarged, the agreement a(t), the landscape. */
#include <math.h>
#include <stdio.h>

#include "api/report_parts.h"
#include "study/agreement.h"

/* Small enough that the letters can be read on a telephone, where the drawing is as wide as the screen. */
enum { CHART_WIDTH = 480, CHART_HEIGHT = 320, LEFT = 60, TOP = 48, BOTTOM = 46, LANDSCAPE_WIDTH = 960 };

static void chart_open(struct buffer *out, const char *name, const char *caption)
{
    buffer_format(out, "<figure>\n<figcaption><b>%s.</b> ", name);
    buffer_xml(out, caption);
    buffer_format(out, "</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", CHART_WIDTH,
                  CHART_HEIGHT, name);
}

static void chart_close(struct buffer *out)
{
    buffer_text(out, "</svg>\n</figure>\n");
}

static struct panel chart_panel(const char *clip, double first, double last)
{
    return (struct panel){.clip = clip, .left = LEFT, .top = TOP, .width = CHART_WIDTH - LEFT - 16,
                          .height = CHART_HEIGHT - TOP - BOTTOM, .first_step = first, .last_step = fmax(last, first + 10)};
}

static void loss_chart(const struct report *report, const char *name, const char *caption, struct panel panel, bool labelled)
{
    struct buffer *out = report->out;
    chart_open(out, name, caption);
    bool any = panel_fit(out, &panel, &report->plot);
    panel_axes(out, &panel, "training steps after growing", NULL);
    plot_label(out, "note", LEFT - 50, 14, "start", panel.cut ? "nats per token; higher ones are cut off" : "nats per token");
    if (any) {
        panel_curves(out, &panel, &report->plot);
        plot_marks(out, &panel, report->plot.outcome, labelled);
    } else {
        plot_label(out, "name", panel.left + panel.width / 2, panel.top + panel.height / 2, "middle", "no evaluation "
                                                                                                      "yet");
    }
    chart_close(out);
}

/* ---- agreement */

static double least_agreement(const struct report_steps *steps)
{
    double least = 0;
    for (int i = 0; i < steps->count; i++)
        if (steps->of[i].agreement < least) least = steps->of[i].agreement;
    return least;
}

/* Before k_min nothing is decided. */
static void early_part(struct buffer *out, const struct panel *panel, uint64_t k_min)
{
    double x = panel_x(panel, fmin((double)k_min, panel->last_step));
    if (k_min == 0) return;
    buffer_format(out, "<rect class=\"early\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", panel->left, panel->top,
                  x - panel->left, panel->height);
    if (x - panel->left > 90) plot_label(out, "note", panel->left + 6, panel->top + panel->height - 8, "start", "before k_min");
}

static void agreement_line(struct buffer *out, const struct panel *panel, const struct report_steps *steps)
{
    bool open = false;
    buffer_text(out, "<path class=\"agree\" d=\"");
    for (int i = 0; i < steps->count; i++) {
        if (!isfinite(steps->of[i].agreement)) continue;
        buffer_text(out, open ? "L" : "M");
        plot_coordinate(out, panel_x(panel, (double)steps->of[i].step));
        buffer_text(out, " ");
        plot_coordinate(out, panel_y(panel, steps->of[i].agreement));
        open = true;
    }
    buffer_text(out, open ? "\"/>\n" : "M0 0\"/>\n");
    for (int i = 0; i < steps->count; i++) {
        const struct decision *step = &steps->of[i];
        if (!isfinite(step->agreement)) continue;
        buffer_format(out, "<circle class=\"%s\" cx=\"%.2f\" cy=\"%.2f\" r=\"4\"><title>", step->holds ? "yes" : "no",
                      panel_x(panel, (double)step->step), panel_y(panel, step->agreement));
        report_format(out, "step %llu: %s", (unsigned long long)step->step, step->reason);
        buffer_text(out, "</title></circle>\n");
    }
}

static void agreement_chart(const struct report *report, double last)
{
    const struct report_steps *steps = &report->steps;
    struct buffer *out = report->out;
    char caption[400];
    bool any = false;
    for (int i = 0; i < steps->count; i++) any |= isfinite(steps->of[i].agreement);
    if (!any) return;
    snprintf(caption, sizeof caption, "Kendall's tau-b between the order of the losses at t and the order that their "
                                      "slopes predict for 3 t (or the horizon). A filled point meets the rule: at "
                                      "least %.1f, the best now tied with the best predicted. Two in a row settle it.",
             agreement_threshold);
    chart_open(out, "Agreement a(t)", caption);
    struct panel panel = chart_panel("agreement", 0, last);
    panel.low = floor(2 * least_agreement(steps)) / 2 - 0.04;
    panel.high = 1.04;
    early_part(out, &panel, report->view->spec->selection.k_min);
    panel_axes(out, &panel, "training steps after growing", NULL);
    double y = panel_y(&panel, agreement_threshold);
    buffer_format(out, "<line class=\"limit\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", panel.left, y,
                  panel.left + panel.width, y);
    plot_marks(out, &panel, report->plot.outcome, true);
    agreement_line(out, &panel, steps);
    chart_close(out);
}

/* ---- the whole */

static void legend(const struct report *report)
{
    struct buffer *out = report->out;
    buffer_text(out, "<ul class=\"legend\">\n");
    for (int place = 0; place < report->plot.count; place++) {
        buffer_text(out, "<li>");
        report_swatch(out, &report->plot, place);
        buffer_text(out, "<span>");
        buffer_xml(out, spec_candidate_name(report->view->spec, report->plot.order[place]));
        buffer_text(out, "</span></li>\n");
    }
    buffer_text(out, "</ul>\n");
}

static void landscape(const struct report *report, double last)
{
    const int height = plot_landscape_height(&report->plot);
    struct buffer *out = report->out;
    if (height == 0) return;
    buffer_format(out, "<figure>\n<figcaption><b>Landscape.</b> Sharpness and the stability ratio where they were "
                       "measured.</figcaption>\n<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
                       "aria-label=\"Landscape\">\n",
                  LANDSCAPE_WIDTH, height);
    plot_landscape(out, &report->plot, 0, last);
    buffer_text(out, "</svg>\n</figure>\n");
}

void report_curves(const struct report *report)
{
    const struct training *training = &report->view->spec->training;
    const double last = plot_last_step(&report->plot);
    struct panel raw = chart_panel("raw", 0, last);
    char caption[300];
    raw.raw = true;
    report_section(report->out, "curves", "Curves");
    buffer_text(report->out, "<div class=\"charts\">\n");
    snprintf(caption, sizeof caption, "Validation loss of %s, on all %d windows: what is ranked.",
             training->average.kind == AVERAGE_NONE ? "the weights" : "the averaged weights", report->view->study->windows);
    loss_chart(report, "Averaged loss", caption, chart_panel("averaged", 0, last), true);
    snprintf(caption, sizeof caption, "Of the weights as they are, on %.3g %% of the windows: noisier.",
             100 * report->view->spec->selection.raw_share);
    loss_chart(report, "Raw loss", caption, raw, true);
    if (last >= 12)
        loss_chart(report, "The last stretch", "The averaged loss again, enlarged: the differences that decide are "
                                               "small.",
                   chart_panel("stretch", floor(last / 3), last), false);
    agreement_chart(report, last);
    buffer_text(report->out, "</div>\n");
    legend(report);
    landscape(report, last);
    buffer_text(report->out, "</section>\n");
}
