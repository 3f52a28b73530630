/* The plot of a transfer sweep: loss above, sharpness below, over the learning rate, both sizes in each. */
#include <math.h>
#include <stdio.h>

#include "api/plot_parts.h"
#include "api/transfer.h"

enum { WIDTH = 720, HEIGHT = 560, LEFT = 84, PLOT_WIDTH = 560, PANEL_HEIGHT = 180, FIRST_TOP = 92, SECOND_TOP = 312, TICKS = 4 };

struct scale { double low, high, top; bool logarithmic; };

static double value_of(const struct transfer_sweep *sweep, int size, int rate, bool loss)
{
    double sum = 0;
    if (loss) return transfer_loss(sweep, (enum transfer_size)size, rate);
    for (int seed = 0; seed < sweep->seeds; seed++) sum += sweep->runs[size][rate][seed].sharpness;
    return sum / sweep->seeds;
}

static double x_of(const struct transfer_sweep *sweep, double rate)
{
    const double low = log(sweep->rate[0]), high = log(sweep->rate[sweep->rates - 1]);
    return LEFT + PLOT_WIDTH * (log(rate) - low) / (high - low);
}

static double scaled(const struct scale *axis, double value)
{
    return axis->logarithmic ? log(value) : value;
}

static double y_of(const struct scale *axis, double value)
{
    const double share = (scaled(axis, value) - scaled(axis, axis->low)) / (scaled(axis, axis->high) - scaled(axis, axis->low));
    return axis->top + PANEL_HEIGHT * (1 - fmin(fmax(share, 0), 1));
}

static bool drawable(const struct scale *axis, double value)
{
    return isfinite(value) && (!axis->logarithmic || value > 0);
}

/* False: there is nothing to draw. */
static bool axis_fit(struct scale *axis, const struct transfer_sweep *sweep, bool loss)
{
    bool any = false;
    for (int size = 0; size < TRANSFER_SIZES; size++)
        for (int rate = 0; rate < sweep->rates; rate++) {
            const double value = value_of(sweep, size, rate, loss);
            if (!drawable(axis, value)) continue;
            axis->low = any ? fmin(axis->low, value) : value;
            axis->high = any ? fmax(axis->high, value) : value;
            any = true;
        }
    if (!any) return false;
    if (axis->logarithmic) {
        axis->low /= 1.2;
        axis->high *= 1.2;
    } else {
        const double margin = fmax(0.06 * (axis->high - axis->low), 1e-3);
        axis->low -= margin;
        axis->high += margin;
    }
    return true;
}

static void line(struct buffer *out, const char *class, double x1, double y1, double x2, double y2)
{
    buffer_format(out, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2);
}

static void frame(struct buffer *out, const struct scale *axis, const struct transfer_sweep *sweep, const char *title)
{
    char text[32];
    for (int i = 0; i <= TICKS; i++) {
        const double share = (double)i / TICKS;
        const double value = axis->logarithmic ? axis->low * pow(axis->high / axis->low, share)
                                               : axis->low + share * (axis->high - axis->low);
        line(out, "grid", LEFT, y_of(axis, value), LEFT + PLOT_WIDTH, y_of(axis, value));
        snprintf(text, sizeof text, "%.4g", value);
        plot_label(out, "tick", LEFT - 7, y_of(axis, value) + 4, "end", text);
    }
    for (int i = 0; i < sweep->rates; i++) {
        const double x = x_of(sweep, sweep->rate[i]);
        line(out, "grid", x, axis->top, x, axis->top + PANEL_HEIGHT);
        if (sweep->rates > 12 && i % 2) continue;
        snprintf(text, sizeof text, "%.2g", sweep->rate[i]);
        plot_label(out, "tick", x, axis->top + PANEL_HEIGHT + 15, "middle", text);
    }
    plot_label(out, "name", LEFT, axis->top - 8, "start", title);
}

static void curve(struct buffer *out, const struct scale *axis, const struct transfer_sweep *sweep, int size, bool loss)
{
    bool open = false, any = false;
    buffer_format(out, "<path class=\"size%d\" d=\"", size);
    for (int rate = 0; rate < sweep->rates; rate++) {
        const double value = value_of(sweep, size, rate, loss);
        if (!drawable(axis, value)) {
            open = false;
            continue;
        }
        buffer_format(out, "%s%.1f %.1f", open ? "L" : "M", x_of(sweep, sweep->rate[rate]), y_of(axis, value));
        open = any = true;
    }
    buffer_text(out, any ? "\"/>\n" : "M0 0\"/>\n");
    for (int rate = 0; rate < sweep->rates; rate++) {
        const double value = value_of(sweep, size, rate, loss);
        if (drawable(axis, value))
            buffer_format(out, "<circle class=\"dot%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", size,
                          x_of(sweep, sweep->rate[rate]), y_of(axis, value));
    }
}

/* Best rates: a line, and a bar as wide as the interval, clipped to the sweep. */
static void bests(struct buffer *out, const struct transfer_view *view, const struct scale *axis)
{
    for (int size = 0; size < TRANSFER_SIZES; size++) {
        const struct interval *best = &view->verdict->best[size];
        if (!isfinite(best->middle)) continue;
        const double low = x_of(view->sweep, best->low), high = x_of(view->sweep, best->high), x = x_of(view->sweep, best->middle);
        buffer_format(out, "<line class=\"best%d\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", size, x, axis->top, x,
                      axis->top + PANEL_HEIGHT);
        buffer_format(out, "<line class=\"bar%d\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", size, low,
                      axis->top + PANEL_HEIGHT - 4 - 5 * size, high, axis->top + PANEL_HEIGHT - 4 - 5 * size);
    }
}

static void style(struct buffer *out)
{
    plot_style(out);
    buffer_text(out, "<style>.size0,.size1,.best0,.best1,.bar0,.bar1{fill:none;stroke-width:2}"
                     ".size0,.best0,.bar0{stroke:#3070b0}.size1,.best1,.bar1{stroke:#c05010}"
                     ".best0,.best1{stroke-width:1;stroke-dasharray:4 3}.bar0,.bar1{stroke-width:4}"
                     ".dot0{fill:#3070b0}.dot1{fill:#c05010}</style>\n");
}

static void legend(struct buffer *out, const char *name, const char *text, int size)
{
    char label[160];
    const double x = 20 + 350 * size;
    buffer_format(out, "<line class=\"bar%d\" x1=\"%.0f\" y1=\"58\" x2=\"%.0f\" y2=\"58\"/>\n", size, x, x + 18);
    snprintf(label, sizeof label, "%s: %.120s", name, text);
    plot_label(out, "note", x + 24, 62, "start", label);
}

void response_transfer_plot(struct buffer *out, const struct transfer_view *view)
{
    struct scale loss = {.top = FIRST_TOP}, sharpness = {.top = SECOND_TOP, .logarithmic = true};
    buffer_format(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
                  WIDTH, HEIGHT, WIDTH, HEIGHT);
    buffer_text(out, "<title>learning rates at two sizes</title>\n<desc>");
    buffer_xml(out, view->verdict->reason);
    buffer_text(out, "</desc>\n");
    style(out);
    buffer_format(out, "<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT);
    char title[160];
    snprintf(title, sizeof title, "Is the learning rate still right? %s (%s parametrization)",
             transfer_answer_name(view->verdict->answer), view->parametrization);
    plot_label(out, "title", 20, 30, "start", title);
    legend(out, "small", view->small, 0);
    legend(out, "grown", view->grown, 1);
    if (axis_fit(&loss, view->sweep, true)) {
        frame(out, &loss, view->sweep, "validation loss (nats per token)");
        for (int size = 0; size < TRANSFER_SIZES; size++) curve(out, &loss, view->sweep, size, true);
        bests(out, view, &loss);
    }
    if (axis_fit(&sharpness, view->sweep, false)) {
        frame(out, &sharpness, view->sweep, "sharpness: the Hessian's largest eigenvalue, logarithmic");
        for (int size = 0; size < TRANSFER_SIZES; size++) curve(out, &sharpness, view->sweep, size, false);
    }
    plot_label(out, "name", LEFT + PLOT_WIDTH / 2, SECOND_TOP + PANEL_HEIGHT + 38, "middle", "learning rate, logarithmic");
    buffer_text(out, "</svg>\n");
}
