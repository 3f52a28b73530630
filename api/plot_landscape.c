/* The landscape below the curves: sharpness on the left, the stability ratio with its edge at 1 on the right, both
 * logarithmic, one line per candidate in the colours of its curve. */
#include <math.h>
#include <stdio.h>

#include "api/plot_parts.h"

enum { PLOT_HEIGHT = 230, TOP_MARGIN = 34, BOTTOM_MARGIN = 46, LINES = 4 };

struct strip {
    const char *title;
    double (*value)(const struct landscape_values *values);
    double edge;                 /* a level that is marked; 0: none */
    double left, width;          /* pixels */
};

static double sharpness(const struct landscape_values *values)
{
    return isfinite(values->hessian[0]) ? values->hessian[0] : values->ntk;
}

static double stability(const struct landscape_values *values)
{
    return values->stability_ratio;
}

static bool drawable(const struct strip *strip, const struct point *point)
{
    return point->landscape.measured && strip->value(&point->landscape) > 0 && isfinite(strip->value(&point->landscape));
}

/* The range of what is drawn; false: nothing is. */
static bool strip_range(const struct strip *strip, const struct plot *plot, struct panel *panel)
{
    bool any = false;
    for (int i = 0; i < plot->count; i++) {
        const struct curve *curve = &plot->study->candidates[i].curve;
        for (int j = 0; j < curve->count; j++) {
            if (!drawable(strip, &curve->points[j])) continue;
            const double value = log(strip->value(&curve->points[j].landscape));
            panel->low = any ? fmin(panel->low, value) : value;
            panel->high = any ? fmax(panel->high, value) : value;
            any = true;
        }
    }
    if (!any) return false;
    if (strip->edge > 0) {
        panel->low = fmin(panel->low, log(strip->edge));
        panel->high = fmax(panel->high, log(strip->edge));
    }
    panel->low -= 0.2;
    panel->high += 0.2;
    return true;
}

static void line(struct buffer *out, const char *class, double x1, double y1, double x2, double y2)
{
    buffer_format(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2);
}

static void strip_frame(struct buffer *out, const struct strip *strip, const struct panel *panel)
{
    char text[32];
    const double bottom = panel->top + panel->height;
    for (int i = 0; i <= LINES; i++) {
        const double value = panel->low + (panel->high - panel->low) * i / LINES, y = panel_y(panel, value);
        line(out, "grid", panel->left, y, panel->left + panel->width, y);
        snprintf(text, sizeof text, "%.3g", exp(value));
        plot_label(out, "tick", panel->left - 7, y + 4, "end", text);
    }
    if (strip->edge > 0)
        line(out, "mark k", panel->left, panel_y(panel, log(strip->edge)), panel->left + panel->width,
             panel_y(panel, log(strip->edge)));
    line(out, "axis", panel->left, panel->top, panel->left, bottom);
    line(out, "axis", panel->left, bottom, panel->left + panel->width, bottom);
    snprintf(text, sizeof text, "step %.0f", panel->last_step);
    plot_label(out, "tick", panel->left, bottom + 16, "middle", "0");
    plot_label(out, "tick", panel->left + panel->width, bottom + 16, "end", text);
    plot_label(out, "name", panel->left, panel->top - 9, "start", strip->title);
}

static void strip_curve(struct buffer *out, const struct strip *strip, const struct plot *plot, const struct panel *panel,
                        int place)
{
    const struct curve *curve = &plot->study->candidates[plot->order[place]].curve;
    bool open = false;
    buffer_text(out, "<path class=\"");
    plot_curve_class(out, plot, place);
    buffer_text(out, "\" d=\"");
    for (int j = 0; j < curve->count; j++) {
        if (!drawable(strip, &curve->points[j])) continue;
        buffer_text(out, open ? "L" : "M");
        plot_coordinate(out, panel_x(panel, (double)curve->points[j].step));
        buffer_text(out, " ");
        plot_coordinate(out, panel_y(panel, log(strip->value(&curve->points[j].landscape))));
        open = true;
    }
    buffer_text(out, open ? "\"/>\n" : "M0 0\"/>\n");
}

int plot_landscape_height(const struct plot *plot)
{
    for (int i = 0; i < plot->count; i++) {
        const struct curve *curve = &plot->study->candidates[i].curve;
        for (int j = 0; j < curve->count; j++)
            if (curve->points[j].landscape.measured) return PLOT_HEIGHT;
    }
    return 0;
}

void plot_landscape(struct buffer *out, const struct plot *plot, double top, double last_step)
{
    const struct strip strips[] = {
        {"sharpness (largest eigenvalue, logarithmic)", sharpness, 0, 72, 380},
        {"stability ratio (above 1: unstable)", stability, 1, 540, 380},
    };
    for (size_t i = 0; i < sizeof strips / sizeof *strips && plot_landscape_height(plot) > 0; i++) {
        struct panel panel = {.left = strips[i].left, .top = top + TOP_MARGIN, .width = strips[i].width,
                              .height = PLOT_HEIGHT - TOP_MARGIN - BOTTOM_MARGIN, .first_step = 0,
                              .last_step = fmax(last_step, 10)};
        if (!strip_range(&strips[i], plot, &panel)) continue;
        strip_frame(out, &strips[i], &panel);
        for (int place = plot->count - 1; place >= 0; place--) strip_curve(out, &strips[i], plot, &panel, place);
    }
}
