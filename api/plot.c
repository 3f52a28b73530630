/* plot.svg: all curves on a logarithmic step axis, the transition and k marked, the ranking as the legend, and, where
 * there is room, the last stretch enlarged, because the differences that decide are small. Plain SVG text; colours
 * follow the viewer's light or dark preference. */
#include <math.h>
#include <stdio.h>

#include "api/plot_parts.h"
#include "api/response_parts.h"
#include "base/memory.h"

enum {
    WIDTH = 960,
    LEAST_HEIGHT = 540,
    LEGEND_TOP = 78,
    ROW = 18,
    LEGEND_LEFT = 628,
    LEGEND_RIGHT = 940,
    ZOOM_LEAST = 130
};

/* ---- style ---- */

enum { COLOURS = 8, DASHES = 8 };

/* Eight hues that stay apart for colour-blind readers (after Okabe & Ito, 2008), for light and for dark ground; each
 * further eight curves, and the second half of each eight, have other dashes. */
static const char *const LIGHT[COLOURS] = {"#0072b2", "#d55e00", "#00875f", "#c0569a",
                                           "#a97800", "#6a51b8", "#2b9fd8", "#5f5f5f"};
static const char *const DARK[COLOURS] = {"#4ba6e3", "#ff8b45", "#2fd0a0", "#f19fce",
                                          "#f0c33c", "#b39df3", "#8fdcff", "#c4c4c4"};
static const char *const DASH[DASHES] = {"", "7 3", "2 3", "9 3 2 3", "13 4", "4 2 1 2", "16 3 3 3", "1 4"};

void plot_style(struct buffer *out)
{
    buffer_text(out, "<style>\n"
        "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px;fill:#24292f}\n"
        ".title{font-size:17px;font-weight:600}.note,.tick,.name{fill:#57606a}.note,.tick{font-size:11px}\n"
        ".number{font-variant-numeric:tabular-nums}.chosen{font-weight:700}\n"
        ".ground{fill:#ffffff}.grid{stroke:#d8dee4;stroke-width:1}.axis{stroke:#57606a;stroke-width:1}\n"
        ".mark{stroke:#24292f;stroke-width:1.2;stroke-dasharray:4 3}.k{stroke-dasharray:none}\n"
        ".curve{fill:none;stroke-width:1.6;stroke-linejoin:round}.best{stroke-width:3}.end{stroke-dasharray:none}\n");
    for (int i = 0; i < COLOURS; i++)
        buffer_format(out, ".c%d{stroke:%s}.dot.c%d{fill:%s}\n", i, LIGHT[i], i, LIGHT[i]);
    for (int i = 1; i < DASHES; i++) buffer_format(out, ".d%d{stroke-dasharray:%s}\n", i, DASH[i]);
    buffer_text(out, ".end{stroke-dasharray:none}\n@media screen and (prefers-color-scheme:dark){\n"
        "text{fill:#e6edf3}.note,.tick,.name{fill:#9ba6b2}.ground{fill:#0d1117}.grid{stroke:#262d36}\n"
        ".axis{stroke:#8b949e}.mark{stroke:#e6edf3}\n");
    for (int i = 0; i < COLOURS; i++)
        buffer_format(out, ".c%d{stroke:%s}.dot.c%d{fill:%s}\n", i, DARK[i], i, DARK[i]);
    buffer_text(out, "}\n</style>\n");
}

static bool is_chosen(const struct plot *plot, int place)
{
    return plot->outcome && plot->outcome->choice == plot->order[place];
}

void plot_curve_class(struct buffer *out, const struct plot *plot, int place)
{
    int dash = (place / COLOURS + place % COLOURS / (COLOURS / 2)) % DASHES;
    buffer_format(out, "curve c%d d%d%s", place % COLOURS, dash, is_chosen(plot, place) ? " best" : "");
}

/* ---- order and range ---- */

bool plot_init(struct plot *plot, const struct study *study, const struct study_outcome *outcome)
{
    int count = 0;
    *plot = (struct plot){.study = study, .outcome = outcome, .count = study->spec->candidate_count};
    plot->order = memory_array((size_t)plot->count, sizeof *plot->order);
    if (!plot->order) return false;
    const struct ranking *ranking = plot->outcome ? &plot->outcome->ranking : NULL;
    bool whole = ranking && ranking->count == plot->count;
    for (; count < plot->count; count++) plot->order[count] = whole ? ranking->rows[count].candidate : count;
    return true;
}

void plot_fini(struct plot *plot)
{
    memory_free(plot->order);
    plot->order = NULL;
}

double plot_last_step(const struct plot *plot)
{
    double last = 0;
    for (int i = 0; i < plot->count; i++) {
        const struct point *point = curve_last(&plot->study->candidates[i].curve);
        if (point && (double)point->step > last) last = (double)point->step;
    }
    return last;
}

/* ---- marks ---- */

static void mark(struct buffer *out, const struct panel *panel, double step, const char *class, double rise,
                 const char *text)
{
    double x = panel_x(panel, step);
    bool right = x < panel->left + 140;
    if (step < panel->first_step || step > panel->last_step) return;
    buffer_format(out, "<line class=\"mark %s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x,
                  panel->top - rise, x, panel->top + panel->height);
    if (text) plot_label(out, "name", right ? x + 5 : x - 5, panel->top - rise + 9, right ? "start" : "end", text);
}

void plot_marks(struct buffer *out, const struct panel *panel, const struct study_outcome *outcome, bool labelled)
{
    char text[64];
    if (!outcome || !outcome->k) return;
    if (outcome->has_transition) {
        snprintf(text, sizeof text, "transition: step %llu", (unsigned long long)outcome->transition_step);
        mark(out, panel, (double)outcome->transition_step, "t", labelled ? 13 : 0, labelled ? text : NULL);
    }
    snprintf(text, sizeof text, "ranked at k = %llu", (unsigned long long)outcome->k);
    mark(out, panel, (double)outcome->k, "k", labelled ? 28 : 0, labelled ? text : NULL);
}

/* ---- legend ---- */

static void legend_values(const struct plot *plot, int place, char loss[48], char gap[48])
{
    const struct candidate *candidate = &plot->study->candidates[plot->order[place]];
    const struct ranking_row *row = outcome_row(plot->outcome, plot->order[place]);
    const struct point *last = curve_last(&candidate->curve);
    double value = row ? row->loss : last ? last->loss : NAN;
    gap[0] = 0;
    snprintf(loss, 48, "–");
    if (isfinite(value)) snprintf(loss, 48, "%.4f", value);
    if (candidate->same_as >= 0) {
        snprintf(gap, 48, "same as another");
    } else if (candidate->state == CANDIDATE_DIVERGED || candidate->state == CANDIDATE_FAILED
               || candidate->state == CANDIDATE_CANCELLED || candidate->state == CANDIDATE_ELIMINATED) {
        snprintf(gap, 48, "%s", candidate_state_text(candidate->state));
    } else if (row && row->tie_group && row->rank == 1) {
        snprintf(gap, 48, "best");
    } else if (row && row->tie_group && isfinite(row->margin)) {
        snprintf(gap, 48, "%s%+.4f", row->tie_group == 1 ? "≈ " : "", -row->margin);
    }
}

static void legend_row(struct buffer *out, const struct plot *plot, int place)
{
    double y = LEGEND_TOP + ROW * (place + 1);
    const struct ranking_row *row = outcome_row(plot->outcome, plot->order[place]);
    const char *name = plot->study->spec->candidates[plot->order[place]].name;
    const char *class = is_chosen(plot, place) ? "chosen" : "plain";
    char loss[48], gap[48], rank[16] = "";
    legend_values(plot, place, loss, gap);
    if (row && row->tie_group) snprintf(rank, sizeof rank, "%d", row->rank);
    buffer_text(out, "<g><title>");
    buffer_xml(out, name);
    buffer_text(out, "</title><path class=\"");
    plot_curve_class(out, plot, place);
    buffer_format(out, "\" d=\"M%d %.1fh28\"/>\n", LEGEND_LEFT, y - 4);
    plot_label(out, "number", LEGEND_LEFT + 50, y, "end", rank);
    struct buffer cut;
    buffer_init(&cut);
    text_cut_middle(&cut, name, 16);
    plot_label(out, class, LEGEND_LEFT + 58, y, "start", cut.data ? cut.data : "");
    out->failed |= cut.failed;
    buffer_fini(&cut);
    plot_label(out, "number", LEGEND_RIGHT - 78, y, "end", loss);
    plot_label(out, "number", LEGEND_RIGHT, y, "end", gap);
    buffer_text(out, "</g>\n");
}

/* Returns the y where it ends. */
static double legend(struct buffer *out, const struct plot *plot)
{
    bool tied = false;
    double y = LEGEND_TOP;
    plot_label(out, "note", LEGEND_LEFT + 50, y, "end", plot->outcome ? "rank" : "");
    plot_label(out, "note", LEGEND_LEFT + 58, y, "start", "candidate");
    plot_label(out, "note", LEGEND_RIGHT - 78, y, "end", "loss");
    plot_label(out, "note", LEGEND_RIGHT, y, "end", plot->outcome ? "behind" : "");
    for (int place = 0; place < plot->count; place++) {
        const struct ranking_row *row = outcome_row(plot->outcome, plot->order[place]);
        tied |= row && row->tie_group == 1 && row->rank > 1;
        legend_row(out, plot, place);
    }
    y += ROW * (plot->count + 1);
    if (tied) plot_label(out, "note", LEGEND_RIGHT, y, "end", "≈  not significantly worse than the best");
    return y;
}

/* ---- the whole ---- */

static void head(struct buffer *out, const struct plot *plot, const char *title, int height)
{
    const char *status = outcome_status(plot->study, plot->outcome);
    char text[200];
    buffer_format(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
        WIDTH, height, WIDTH, height);
    buffer_text(out, "<title>");
    buffer_xml(out, title);
    buffer_text(out, "</title>\n<desc>Validation loss of every candidate over training steps, with the ranking as the "
                     "legend.</desc>\n");
    plot_style(out);
    buffer_format(out, "<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    struct buffer cut;
    buffer_init(&cut);
    text_cut(&cut, title, 84);
    plot_label(out, "title", 20, 30, "start", cut.data ? cut.data : "");
    out->failed |= cut.failed;
    buffer_fini(&cut);
    if (!status)
        snprintf(text, sizeof text, "%d candidate%s, %s", plot->count, plot->count == 1 ? "" : "s",
                 plot->study->finished ? "none completed" : "not decided yet");
    else
        snprintf(text, sizeof text, "%s: %d candidate%s%s%s", status, plot->count, plot->count == 1 ? "" : "s",
                 plot->outcome->choice >= 0 ? ", chosen: " : "",
                 plot->outcome->choice >= 0 ? spec_candidate_name(plot->study->spec, plot->outcome->choice) : "");
    plot_label(out, "note", 20, 48, "start", text);
}

/* The last stretch of the curves, from a third of the last step on, below the legend. */
static void enlarged(struct buffer *out, const struct plot *plot, double top, double bottom, double last)
{
    struct panel panel = {.clip = "enlarged",
                          .left = LEGEND_LEFT + 48,
                          .top = top + 38,
                          .width = LEGEND_RIGHT - LEGEND_LEFT - 54,
                          .first_step = floor(last / 3),
                          .last_step = last};
    panel.height = bottom - panel.top;
    if (panel.height < ZOOM_LEAST || last < 12 || !panel_fit(out, &panel, plot)) return;
    plot_label(out, "note", LEGEND_RIGHT, panel.top - 9, "end", "the last stretch, enlarged");
    panel_axes(out, &panel, NULL, NULL);
    plot_marks(out, &panel, plot->outcome, false);
    panel_curves(out, &panel, plot);
}

static void draw(struct buffer *out, const struct plot *plot, const char *title)
{
    int height = LEGEND_TOP + ROW * (plot->count + 2) + 20;
    double last = plot_last_step(plot);
    if (height < LEAST_HEIGHT) height = LEAST_HEIGHT;
    struct panel panel = {.clip = "curves", .left = 72, .top = 88, .width = 516, .height = height - 88 - 58,
                          .first_step = 0, .last_step = fmax(last, 10)};
    head(out, plot, title, height + plot_landscape_height(plot));
    bool any = panel_fit(out, &panel, plot);
    panel_axes(out, &panel, "training steps after growing (logarithmic)", "validation loss (nats per token)");
    if (any) panel_curves(out, &panel, plot);
    else
        plot_label(out, "name", panel.left + panel.width / 2, panel.top + panel.height / 2, "middle",
                   "no evaluation yet");
    if (any) plot_marks(out, &panel, plot->outcome, true);
    if (panel.cut) plot_label(out, "note", panel.left + 6, panel.top + 12, "start", "higher losses are cut off");
    double end = legend(out, plot);
    enlarged(out, plot, end, panel.top + panel.height, last);
    plot_landscape(out, plot, height, last);
    buffer_text(out, "</svg>\n");
}

void response_plot(struct buffer *out, const struct study *study, const struct study_outcome *outcome,
                   const char *title)
{
    struct plot plot;
    if (!plot_init(&plot, study, outcome)) {
        out->failed = true;
        return;
    }
    draw(out, &plot, title);
    plot_fini(&plot);
}
