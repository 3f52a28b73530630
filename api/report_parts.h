/* Pieces of report.html, and the facts that it shares with lag_report.json; private to this room. The page is one file
 * that loads and runs nothing: its own style, drawings inside, no script. It is well-formed XML but for its first line.
 * Every text that comes from outside goes through buffer_xml. Thread rule: caller-owned values. */
#ifndef API_REPORT_PARTS_H
#define API_REPORT_PARTS_H

#include "api/plot_parts.h"
#include "api/response_parts.h"
#include "api/sentences.h"

/* ---- facts (report_facts.c): what follows from an outcome, computed once for page and JSON */

/* What the loss right after growing would have picked, and what that would have cost. NaN: not known. */
struct report_start {
    const struct ranking_row *picked, *choice;     /* choice NULL: nothing was chosen */
    double behind, standard_error;                 /* at k, of the choice; the error if the choice ranks first */
    double predicted_behind;                       /* at the horizon, by extrapolation */
    double more_steps;                             /* that the picked one's slope needs for the choice's loss at k */
};
/* False: no candidate was evaluated at step 0. */
bool report_start(const struct study_outcome *outcome, struct report_start *start);

/* The rule at every deciding point up to k (agreement.h). Before k_min it decides nothing. */
struct report_steps { struct decision *of; int count; };
int report_steps_init(struct report_steps *steps, const struct study *study, const struct study_outcome *outcome,
                      struct error *error);
void report_steps_fini(struct report_steps *steps);

/* lag_report.json: the members "step_0" and "agreement". */
void report_write_facts(struct buffer *out, bool *first, const struct study_view *view);

/* ---- the page */
struct report {
    struct buffer *out;
    const struct study_view *view;
    struct plot plot;                   /* order of candidates, colours */
    struct report_steps steps;
};

/* Up to <main>, and from </main> on. The whole of a study's page stands between these two. */
#define REPORT_BEGIN "<main>\n"
#define REPORT_END "</main>\n"
void report_open(struct buffer *out, const char *title);
void report_close(struct buffer *out);
void report_style(struct buffer *out);                                             /* report_style.c */

/* Formatted, then escaped; cut at a few kilobytes. */
void report_format(struct buffer *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_paragraph(struct buffer *out, const char *class, const char *text);    /* <p class=…>, text escaped */
/* What differs from run to run though the results are identical: the id, wall-clock times. */
void report_run(struct buffer *out, const char *text);
/* One number by a printf format for a double; "–" where there is none. */
enum { REPORT_AMOUNT_BYTES = 64 };
void report_value(char text[REPORT_AMOUNT_BYTES], const char *format, double value);
void report_number(struct buffer *out, const char *format, double value);
void report_section(struct buffer *out, const char *id, const char *title);        /* opens; close with </section> */
void report_swatch(struct buffer *out, const struct plot *plot, int place);        /* a bit of the candidate's curve */
/* "3.07 TFLOP", "2 h 5 min"; "–" for NaN. */
void report_flops(double flops, char text[REPORT_AMOUNT_BYTES]);
void report_duration(double seconds, char text[REPORT_AMOUNT_BYTES]);
const char *report_title(const struct study_view *view);       /* the study's name, or its id */

/* Sections, in the order of the page. */
void report_verdict(const struct report *report);       /* report_html.c: the choice and how sure */
void report_step_0(const struct report *report);        /* report_step_0.c */
void report_curves(const struct report *report);        /* report_curves.c: raw, averaged, agreement */
void report_ranking(const struct report *report);       /* report_tables.c: with intervals */
void report_candidates(const struct report *report);    /* report_tables.c: predictions, preservation */
void report_cost(const struct report *report);          /* report_closing.c … */
void report_warnings(const struct report *report);
void report_recipe(const struct report *report);
void report_provenance(const struct report *report);

#endif
