/* The plot of a power-law fit: best rate over beta against tokens, both logarithmic, a colour per batch. */
#include <math.h>
#include <stdio.h>

#include "api/plot_parts.h"
#include "api/powerfit.h"

enum { WIDTH = 720, HEIGHT = 440, LEFT = 84, TOP = 92, PLOT_WIDTH = 500, PLOT_HEIGHT = 290, TICKS = 4, COLOURS = 6 };

struct axes { double left, right, low, high; };      /* of tokens and of rate over beta */

static double x_of(const struct axes *axes, double tokens)
{
    return LEFT + PLOT_WIDTH * log(tokens / axes->left) / log(axes->right / axes->left);
}

static double y_of(const struct axes *axes, double value)
{
    return TOP + PLOT_HEIGHT * (1 - fmin(fmax(log(value / axes->low) / log(axes->high / axes->low), 0), 1));
}

static double beta_of(const struct power_cell *cell)
{
    return power_beta(cell->batch, cell->context);
}

/* False: no cell has a best rate. */
static bool axes_fit(struct axes *axes, const struct power_fit *fit)
{
    *axes = (struct axes){INFINITY, 0, INFINITY, 0};
    for (int i = 0; i < fit->cell_count; i++) {
        const struct power_cell *cell = &fit->cells[i];
        if (cell->state != POWER_CELL_USED) continue;
        axes->left = fmin(axes->left, (double)cell->tokens);
        axes->right = fmax(axes->right, (double)cell->tokens);
        axes->low = fmin(axes->low, fmin(cell->best.middle, isfinite(cell->best.low) ? cell->best.low : INFINITY) / beta_of(cell));
        axes->high = fmax(axes->high, fmax(cell->best.middle, isfinite(cell->best.high) ? cell->best.high : 0) / beta_of(cell));
    }
    if (!(axes->right > 0)) return false;
    axes->left /= 1.2, axes->right *= 1.2, axes->low /= 1.2, axes->high *= 1.2;
    return true;
}

static void grid(struct buffer *out, const struct axes *axes)
{
    char text[32];
    for (int i = 0; i <= TICKS; i++) {
        const double share = (double)i / TICKS;
        const double value = axes->low * pow(axes->high / axes->low, share);
        const double tokens = axes->left * pow(axes->right / axes->left, share);
        buffer_format(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n", LEFT, y_of(axes, value),
                      LEFT + PLOT_WIDTH, y_of(axes, value));
        snprintf(text, sizeof text, "%.3g", value);
        plot_label(out, "tick", LEFT - 7, y_of(axes, value) + 4, "end", text);
        buffer_format(out, "<line class=\"grid\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x_of(axes, tokens), TOP,
                      x_of(axes, tokens), TOP + PLOT_HEIGHT);
        snprintf(text, sizeof text, "%.3g", tokens);
        plot_label(out, "tick", x_of(axes, tokens), TOP + PLOT_HEIGHT + 15, "middle", text);
    }
    plot_label(out, "name", LEFT, TOP - 8, "start", "best rate / beta");
    plot_label(out, "name", LEFT + PLOT_WIDTH / 2, TOP + PLOT_HEIGHT + 38, "middle", "tokens of the run, logarithmic");
}

static void law(struct buffer *out, const struct axes *axes, const struct power_fit *fit)
{
    if (!isfinite(fit->line[0].middle)) return;
    buffer_text(out, "<path class=\"band\" d=\"");
    for (int i = 0; i < 2 * POWER_LINE_POINTS; i++) {
        const int at = i < POWER_LINE_POINTS ? i : 2 * POWER_LINE_POINTS - 1 - i;
        const double value = i < POWER_LINE_POINTS ? fit->line[at].low : fit->line[at].high;
        buffer_format(out, "%s%.1f %.1f", i ? "L" : "M", x_of(axes, fit->line_tokens[at]),
                      y_of(axes, isfinite(value) ? value : fit->line[at].middle));
    }
    buffer_text(out, "Z\"/>\n<path class=\"law\" d=\"");
    for (int i = 0; i < POWER_LINE_POINTS; i++)
        buffer_format(out, "%s%.1f %.1f", i ? "L" : "M", x_of(axes, fit->line_tokens[i]), y_of(axes, fit->line[i].middle));
    buffer_text(out, "\"/>\n");
}

/* Cells are sorted by batch: a colour for each. */
static void cells(struct buffer *out, const struct axes *axes, const struct power_fit *fit)
{
    int colour = -1, batch = 0, context = 0;
    for (int i = 0; i < fit->cell_count; i++) {
        const struct power_cell *cell = &fit->cells[i];
        if (cell->state != POWER_CELL_USED) continue;
        if (cell->batch != batch || cell->context != context) {
            char text[48];
            colour++;
            batch = cell->batch, context = cell->context;
            snprintf(text, sizeof text, "%d x %d", batch, context);
            if (colour < 14) {
                buffer_format(out, "<circle class=\"cell%d\" cx=\"%d\" cy=\"%d\" r=\"4\"/>\n", colour % COLOURS,
                              LEFT + PLOT_WIDTH + 18, TOP + 10 + 20 * colour);
                plot_label(out, "note", LEFT + PLOT_WIDTH + 28, TOP + 14 + 20 * colour, "start", text);
            }
        }
        const double x = x_of(axes, (double)cell->tokens), beta = beta_of(cell);
        if (isfinite(cell->best.low))
            buffer_format(out, "<line class=\"bar%d\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", colour % COLOURS, x,
                          y_of(axes, cell->best.low / beta), x, y_of(axes, cell->best.high / beta));
        buffer_format(out, "<circle class=\"cell%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", colour % COLOURS, x,
                      y_of(axes, cell->best.middle / beta));
    }
}

static void style(struct buffer *out)
{
    static const char *const colours[COLOURS] = {"#3070b0", "#c05010", "#2a8a50", "#8050a0", "#b03060", "#707020"};
    plot_style(out);
    buffer_text(out, "<style>.law{fill:none;stroke:#808080;stroke-width:2}.band{fill:#808080;fill-opacity:0.2;stroke:none}");
    for (int i = 0; i < COLOURS; i++)
        buffer_format(out, ".cell%d{fill:%s}.bar%d{stroke:%s;stroke-width:2}", i, colours[i], i, colours[i]);
    buffer_text(out, "</style>\n");
}

void response_powerfit_plot(struct buffer *out, const struct power_fit *fit)
{
    struct axes axes;
    char title[160];
    buffer_format(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
                  WIDTH, HEIGHT, WIDTH, HEIGHT);
    buffer_text(out, "<title>power law of the best learning rate</title>\n<desc>");
    buffer_xml(out, fit->reason);
    buffer_text(out, "</desc>\n");
    style(out);
    buffer_format(out, "<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", WIDTH, HEIGHT);
    if (isfinite(fit->b.middle))
        snprintf(title, sizeof title, "Best rate = beta %.3g T^%.3f (b %.3f to %.3f), beta = batch * context / 4096", fit->a.middle,
                 fit->b.middle, fit->b.low, fit->b.high);
    else
        snprintf(title, sizeof title, "Best rate over tokens: no fit");
    plot_label(out, "title", 20, 30, "start", title);
    if (axes_fit(&axes, fit)) {
        grid(out, &axes);
        law(out, &axes, fit);
        cells(out, &axes, fit);
    } else {
        plot_label(out, "note", 20, 62, "start", "no batch and length has its best rate inside the sweep");
    }
    buffer_text(out, "</svg>\n");
}
