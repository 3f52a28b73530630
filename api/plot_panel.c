#include "api/plot_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"

/* ---- scales ---- */

static double step_scale(double step)
{
    return log(step + STEP_OFFSET);
}

double panel_x(const struct panel *panel, double step)
{
    double from = step_scale(panel->first_step), to = step_scale(panel->last_step);
    return panel->left + panel->width * (step_scale(step) - from) / (to - from);
}

double panel_y(const struct panel *panel, double loss)
{
    double share = (loss - panel->low) / (panel->high - panel->low);
    return panel->top + panel->height * (1 - fmin(fmax(share, -2), 3));
}

static double panel_loss(const struct panel *panel, const struct point *point)
{
    return panel->raw ? point->raw_loss : point->loss;
}

static bool in_panel(const struct panel *panel, const struct point *point)
{
    return isfinite(panel_loss(panel, point)) && (double)point->step >= panel->first_step
           && (double)point->step <= panel->last_step;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int collect_losses(const struct panel *panel, const struct plot *plot, double *losses)
{
    int count = 0;
    for (int i = 0; i < plot->count; i++) {
        const struct curve *curve = &plot->study->candidates[i].curve;
        for (int j = 0; j < curve->count; j++) {
            if (!in_panel(panel, &curve->points[j])) continue;
            if (losses) losses[count] = panel_loss(panel, &curve->points[j]);
            count++;
        }
    }
    return count;
}

/* The top is the largest loss, unless that lies far above the bulk: twice as high above the ninth decile as that is
 * above the lowest. */
bool panel_fit(struct buffer *out, struct panel *panel, const struct plot *plot)
{
    int count = collect_losses(panel, plot, NULL);
    double *losses = count ? memory_array((size_t)count, sizeof *losses) : NULL;
    panel->low = 0;
    panel->high = 1;
    if (count && !losses) out->failed = true;
    if (!losses) return false;
    collect_losses(panel, plot, losses);
    qsort(losses, (size_t)count, sizeof *losses, compare_doubles);
    double low = losses[0], most = losses[count - 1], decile = losses[(int)(0.9 * (count - 1))];
    double high = fmin(most, decile + 2 * (decile - low));
    memory_free(losses);
    if (high <= low) high = most;
    double spread = fmax(high - low, 1e-4 * fmax(1, fabs(low)));
    panel->cut = most > high;
    panel->low = low - 0.05 * spread;
    panel->high = low + spread * (panel->cut ? 1.0 : 1.05);
    if (isfinite(panel->high - panel->low)) return true;
    panel->low = 0;
    panel->high = 1;
    return false;
}

/* ---- text ---- */

void plot_coordinate(struct buffer *out, double value)
{
    buffer_format(out, "%.2f", isfinite(value) ? value : 0.0);
}

void plot_label(struct buffer *out, const char *class, double x, double y, const char *anchor, const char *text)
{
    buffer_format(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", class, x, y, anchor);
    buffer_xml(out, text);
    buffer_text(out, "</text>\n");
}

/* ---- axes ---- */

static void line(struct buffer *out, const char *class, double x1, double y1, double x2, double y2)
{
    buffer_format(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2);
}

enum { TICKS_MAX = 32 };
struct ticks { double at[TICKS_MAX]; int count; };

static void tick_add(struct ticks *ticks, const struct panel *panel, double step, double distance)
{
    if (step < panel->first_step || step > panel->last_step || ticks->count == TICKS_MAX) return;
    for (int i = 0; i < ticks->count; i++)
        if (fabs(panel_x(panel, step) - panel_x(panel, ticks->at[i])) < distance) return;
    ticks->at[ticks->count++] = step;
}

/* 0, then powers of ten, then 5 and 2 of each decade, and the rest where that leaves few, wherever there is room. */
static void step_axis(struct buffer *out, const struct panel *panel)
{
    static const int order[] = {1, 5, 2, 3, 7, 4, 6};
    struct ticks ticks = {.count = 0};
    double bottom = panel->top + panel->height;
    tick_add(&ticks, panel, 0, 0);
    for (size_t i = 0; i < sizeof order / sizeof *order && (i < 3 || ticks.count < 4); i++)
        for (double decade = 1; decade <= 1e9; decade *= 10) tick_add(&ticks, panel, order[i] * decade, i ? 38 : 30);
    for (int i = 0; i < ticks.count; i++) {
        char text[32];
        double x = panel_x(panel, ticks.at[i]), step = ticks.at[i];
        if (step >= 1e6) snprintf(text, sizeof text, "%gM", step / 1e6);
        else if (step >= 1e4) snprintf(text, sizeof text, "%gk", step / 1e3);
        else snprintf(text, sizeof text, "%g", step);
        line(out, "grid", x, panel->top, x, bottom);
        line(out, "axis", x, bottom, x, bottom + 4);
        plot_label(out, "tick", x, bottom + 17, "middle", text);
    }
}

/* The round step (1, 2 or 5 times a power of ten) that makes at most `most` intervals. */
static double round_step(double range, int most)
{
    double power = pow(10, floor(log10(range / most)));
    for (int i = 0; i < 4; i++) {
        static const double factors[] = {1, 2, 5, 10};
        if (range / (factors[i] * power) <= most) return factors[i] * power;
    }
    return 10 * power;
}

static void loss_axis(struct buffer *out, const struct panel *panel)
{
    double step = round_step(panel->high - panel->low, (int)fmax(2, panel->height / 38));
    int decimals = (int)fmin(fmax(-floor(log10(step) + 1e-9), 0), 8);
    double first = ceil(panel->low / step - 1e-9);
    for (int i = 0; i < TICKS_MAX; i++) {
        double value = (first + i) * step, y = panel_y(panel, value);
        char text[64];
        if (value > panel->high + 1e-9 * step) break;
        snprintf(text, sizeof text, "%.*f", decimals, value);
        line(out, "grid", panel->left, y, panel->left + panel->width, y);
        plot_label(out, "tick", panel->left - 7, y + 4, "end", text);
    }
}

void panel_axes(struct buffer *out, const struct panel *panel, const char *x_title, const char *y_title)
{
    double bottom = panel->top + panel->height, middle = panel->top + panel->height / 2;
    step_axis(out, panel);
    loss_axis(out, panel);
    line(out, "axis", panel->left, panel->top, panel->left, bottom);
    line(out, "axis", panel->left, bottom, panel->left + panel->width, bottom);
    if (x_title) plot_label(out, "name", panel->left + panel->width / 2, bottom + 37, "middle", x_title);
    if (!y_title) return;
    buffer_format(out, "<text class=\"name\" text-anchor=\"middle\" transform=\"translate(%.1f %.1f) rotate(-90)\">",
                  panel->left - 46, middle);
    buffer_xml(out, y_title);
    buffer_text(out, "</text>\n");
}

/* ---- curves ---- */

/* A path breaks where a loss is not a number; points that would fall on the same half pixel are left out. */
static void curve_path(struct buffer *out, const struct panel *panel, const struct curve *curve)
{
    const struct point *last = NULL;
    double last_x = 0;
    bool open = false;
    buffer_text(out, " d=\"");
    for (int j = 0; j < curve->count; j++) {
        const struct point *point = &curve->points[j];
        double x = panel_x(panel, (double)point->step);
        if (!isfinite(panel_loss(panel, point))) {
            open = false;
            continue;
        }
        if (open && j + 1 < curve->count && x - last_x < 0.5) continue;
        buffer_text(out, open ? "L" : "M");
        plot_coordinate(out, x);
        buffer_text(out, " ");
        plot_coordinate(out, panel_y(panel, panel_loss(panel, point)));
        open = true;
        last = point;
        last_x = x;
    }
    buffer_text(out, last ? "\"" : "M0 0\"");
}

static const struct point *last_finite(const struct panel *panel, const struct curve *curve)
{
    for (int j = curve->count - 1; j >= 0; j--)
        if (isfinite(panel_loss(panel, &curve->points[j]))) return &curve->points[j];
    return NULL;
}

/* A dot where a curve ends, a cross where its training diverged. */
static void curve_end(struct buffer *out, const struct panel *panel, const struct plot *plot, int place)
{
    const struct candidate *candidate = &plot->study->candidates[plot->order[place]];
    const struct point *end = last_finite(panel, &candidate->curve);
    if (!end || !in_panel(panel, end) || panel_loss(panel, end) > panel->high) return;
    double x = panel_x(panel, (double)end->step), y = panel_y(panel, panel_loss(panel, end));
    buffer_text(out, "<path class=\"");
    plot_curve_class(out, plot, place);
    if (candidate->state == CANDIDATE_DIVERGED || candidate->state == CANDIDATE_FAILED)
        buffer_format(out, " end\" d=\"M%.2f %.2fl8 8m0 -8l-8 8\"/>\n", x - 4, y - 4);
    else
        buffer_format(out, " end dot\" d=\"M%.2f %.2fa2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0 -5.2 0\"/>\n", x - 2.6, y);
}

void panel_curves(struct buffer *out, const struct panel *panel, const struct plot *plot)
{
    buffer_format(out, "<clipPath id=\"%s\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/></clipPath>\n",
                  panel->clip, panel->left, panel->top, panel->width + 4, panel->height);
    buffer_format(out, "<g clip-path=\"url(#%s)\">\n", panel->clip);
    /* the best is drawn last, on top */
    for (int place = plot->count - 1; place >= 0; place--) {
        int index = plot->order[place];
        buffer_text(out, "<path class=\"");
        plot_curve_class(out, plot, place);
        buffer_text(out, "\"");
        curve_path(out, panel, &plot->study->candidates[index].curve);
        buffer_text(out, "><title>");
        buffer_xml(out, plot->study->spec->candidates[index].name);
        buffer_text(out, "</title></path>\n");
        curve_end(out, panel, plot, place);
    }
    buffer_text(out, "</g>\n");
}
