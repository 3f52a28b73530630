/* The plot of a coordinate check: a panel for each parametrization and axis, the last step's moves over the size, both
 * logarithmic; a level line transfers. */
#include <math.h>
#include <stdio.h>

#include "api/coordcheck.h"
#include "api/plot_parts.h"

enum { WIDTH = 720, LEFT = 84, PLOT_WIDTH = 440, PANEL = 170, FIRST_TOP = 76, PITCH = 240, TICKS = 4 };

struct frame { const struct coordcheck *check; double top, low, high; };

static double move_of(const struct frame *frame, int size, int moved)
{
    return fabs(frame->check->move[size][frame->check->options.steps - 1][moved]);
}

static bool drawable(const struct frame *frame, int size, int moved)
{
    const double move = move_of(frame, size, moved);
    return frame->check->measured[moved] && isfinite(move) && move > 0;
}

static double x_of(const struct frame *frame, int size)
{
    const struct coordcheck_options *options = &frame->check->options;
    const double first = log(options->sizes[0]), last = log(options->sizes[options->size_count - 1]);
    return LEFT + PLOT_WIDTH * (log(options->sizes[size]) - first) / (last - first);
}

static double y_of(const struct frame *frame, double move)
{
    return frame->top + PANEL * (1 - log(move / frame->low) / log(frame->high / frame->low));
}

static bool frame_fit(struct frame *frame)
{
    bool any = false;
    for (int moved = 0; moved < MOVED_COUNT; moved++)
        for (int size = 0; size < frame->check->options.size_count; size++) {
            if (!drawable(frame, size, moved)) continue;
            const double move = move_of(frame, size, moved);
            frame->low = any ? fmin(frame->low, move) : move;
            frame->high = any ? fmax(frame->high, move) : move;
            any = true;
        }
    frame->low /= 1.3;
    frame->high *= 1.3;
    return any;
}

static void draw_axes(struct buffer *out, const struct frame *frame)
{
    const struct coordcheck_options *options = &frame->check->options;
    char text[96];
    for (int i = 0; i <= TICKS; i++) {
        const double move = frame->low * pow(frame->high / frame->low, (double)i / TICKS), y = y_of(frame, move);
        buffer_format(out, "<line class=\"grid\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>\n", LEFT, y, LEFT + PLOT_WIDTH, y);
        snprintf(text, sizeof text, "%.2g", move);
        plot_label(out, "tick", LEFT - 7, y + 4, "end", text);
    }
    for (int size = 0; size < options->size_count; size++) {
        snprintf(text, sizeof text, "%d", options->sizes[size]);
        plot_label(out, "tick", x_of(frame, size), frame->top + PANEL + 15, "middle", text);
    }
    snprintf(text, sizeof text, "%s over %s: %s", parametrization_name(options->parametrization),
             options->axis == COORDCHECK_DEPTHS ? "depth" : "width", frame->check->pass ? "passes" : "fails");
    plot_label(out, "name", LEFT, frame->top - 9, "start", text);
}

static void draw_kind(struct buffer *out, const struct frame *frame, int moved, int place)
{
    const double y = frame->top + 12 + 22 * place, x = LEFT + PLOT_WIDTH + 18;
    bool open = false;
    char text[64];
    buffer_format(out, "<path class=\"kind kind%d\" d=\"", moved);
    for (int size = 0; size < frame->check->options.size_count; size++) {
        const bool draws = drawable(frame, size, moved);
        if (draws) buffer_format(out, "%s%.1f %.1f", open ? "L" : "M", x_of(frame, size), y_of(frame, move_of(frame, size, moved)));
        open = draws;
    }
    buffer_format(out, "M%.0f %.1fh20\"/>\n", x, y);
    snprintf(text, sizeof text, "%s %+.2f", moved_name((enum moved)moved), frame->check->worst[moved]);
    plot_label(out, "note", x + 26, y + 4, "start", text);
}

void response_coordcheck_plot(struct buffer *out, const struct coordcheck *checks, int count)
{
    const int height = FIRST_TOP + PITCH * count - 20;
    buffer_format(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n",
                  WIDTH, height, WIDTH, height);
    buffer_text(out, "<title>coordinate check</title>\n");
    plot_style(out);
    buffer_text(out, "<style>.kind{fill:none;stroke-width:2}.kind0{stroke:#3070b0}.kind1{stroke:#c05010}.kind2{stroke:#208050}"
                     ".kind3{stroke:#9050a0}.kind4{stroke:#a08010}.kind5{stroke:#808080;stroke-dasharray:5 3}</style>\n");
    buffer_format(out, "<rect class=\"ground\" width=\"%d\" height=\"%d\"/>\n", WIDTH, height);
    plot_label(out, "title", 20, 30, "start", "Coordinate check: do updates keep their size?");
    plot_label(out, "note", 20, 48, "start", "move of predicted tokens' logits after the last step; worst slope");
    for (int i = 0; i < count; i++) {
        struct frame frame = {.check = &checks[i], .top = FIRST_TOP + PITCH * i};
        int place = 0;
        if (!frame_fit(&frame)) continue;
        draw_axes(out, &frame);
        for (int moved = 0; moved < MOVED_COUNT; moved++)
            if (checks[i].measured[moved]) draw_kind(out, &frame, moved, place++);
    }
    buffer_text(out, "</svg>\n");
}
