/* Pieces of the plot: a panel is a rectangle with a logarithmic step axis and a linear loss axis. Private to this room.
 * Thread rule: caller-owned values. */
#ifndef API_PLOT_PARTS_H
#define API_PLOT_PARTS_H

#include "api/response.h"

/* Candidates in the order they are drawn and listed: ranked if there is a ranking, else as given. */
struct plot {
    const struct study *study;
    const struct study_outcome *outcome;     /* NULL: none yet */
    int *order;                              /* candidate indices; count of the spec */
    int count;
};

struct panel {
    const char *clip;                        /* id of its clip path */
    double left, top, width, height;         /* pixels */
    double first_step, last_step;            /* drawn range */
    double low, high;                        /* losses */
    bool cut;                                /* some losses lie above `high` */
    bool raw;                                /* losses of the raw weights */
};

/* Fills `plot`; false: no memory. plot_fini frees the order alone. */
bool plot_init(struct plot *plot, const struct study *study, const struct study_outcome *outcome);
void plot_fini(struct plot *plot);
double plot_last_step(const struct plot *plot);            /* of all curves; 0: no points */
/* The transition and k as upright lines; labelled ones rise 28 pixels above the panel. */
void plot_marks(struct buffer *out, const struct panel *panel, const struct study_outcome *outcome, bool labelled);

/* The step axis is ln(step + STEP_OFFSET), so that step 0 has a place at the left edge. */
#define STEP_OFFSET 5.0
double panel_x(const struct panel *panel, double step);
/* Values far outside stay within a few heights: the text is finite. */
double panel_y(const struct panel *panel, double loss);

/* Sets low and high so that the bulk of the curves fills the panel; a few spikes are cut off. False without any point
 * (or without memory: out->failed). */
bool panel_fit(struct buffer *out, struct panel *panel, const struct plot *plot);

void panel_axes(struct buffer *out, const struct panel *panel, const char *x_title, const char *y_title);
void panel_curves(struct buffer *out, const struct panel *panel, const struct plot *plot);
/* plot_landscape.c: pixels that it takes below the curves, 0 where nothing was measured; and the drawing, from `top` on. */
int plot_landscape_height(const struct plot *plot);
void plot_landscape(struct buffer *out, const struct plot *plot, double top, double last_step);
void plot_coordinate(struct buffer *out, double value);    /* two decimals at most */
/* An SVG text element: class, position, anchor ("start", "middle", "end"), text escaped. */
void plot_label(struct buffer *out, const char *class, double x, double y, const char *anchor, const char *text);
/* class attribute of the curve at position `place` of the order: colour, dash, weight. */
void plot_curve_class(struct buffer *out, const struct plot *plot, int place);
void plot_style(struct buffer *out);

#endif
