/* The two tables of the report: the ranking with its intervals, and what is known of each candidate beside it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/report_parts.h"

struct row_facts {
    const struct report *report;
    int place, candidate;
    const struct ranking_row *row;      /* NULL: not ranked */
    const struct candidate *facts;
    double scale;                       /* the ranking's: nats at the right end of the intervals */
};

/* ---- cells */

static bool is_ranked(const struct row_facts *f) { return f->row && f->row->tie_group; }

static void cell_number(const struct row_facts *f, const char *format, double value)
{
    report_number(f->report->out, format, f->row ? value : NAN);
}

static void cell_rank(const struct row_facts *f)
{
    if (is_ranked(f)) buffer_format(f->report->out, "%d", f->row->rank);
}

/* Name, and below it what became of one that did not simply complete. */
static void cell_name(const struct row_facts *f)
{
    struct buffer *out = f->report->out;
    const struct candidate *facts = f->facts;
    const char *name = spec_candidate_name(f->report->view->spec, f->candidate);
    report_swatch(out, &f->report->plot, f->place);
    buffer_text(out, " ");
    buffer_xml(out, name);
    if (facts->same_as >= 0) {
        buffer_text(out, "<small>");
        report_format(out, "same weights as %s", spec_candidate_name(f->report->view->spec, facts->same_as));
        buffer_text(out, "</small>");
    } else if (facts->state != CANDIDATE_COMPLETED) {
        buffer_text(out, "<small>");
        report_format(out, "%s", candidate_state_text(facts->state));
        if (facts->state == CANDIDATE_DIVERGED) report_format(out, " at step %llu", (unsigned long long)facts->diverged_step);
        if (facts->reason[0]) report_format(out, ": %s", facts->reason);
        buffer_text(out, "</small>");
    }
}

static double behind(const struct ranking_row *row)
{
    return row->rank == 1 ? 0 : -row->margin;
}

static void cell_loss(const struct row_facts *f) { cell_number(f, "%.4f", f->row ? f->row->loss : NAN); }
static void cell_score(const struct row_facts *f) { cell_number(f, "%.4f", f->row ? f->row->score : NAN); }
static void cell_best(const struct row_facts *f) { cell_number(f, "%.3f", f->row ? f->row->p_best : NAN); }

static void cell_behind(const struct row_facts *f)
{
    if (!is_ranked(f)) buffer_text(f->report->out, "–");
    else if (f->row->rank == 1) buffer_text(f->report->out, "best");
    else cell_number(f, "%+.4f", behind(f->row));
}

static void cell_error(const struct row_facts *f)
{
    cell_number(f, "± %.4f", is_ranked(f) && f->row->rank > 1 ? f->row->standard_error : NAN);
}

static void cell_group(const struct row_facts *f)
{
    if (is_ranked(f)) buffer_format(f->report->out, "%d", f->row->tie_group);
    else buffer_text(f->report->out, "–");
}

/* The interval: two standard errors to either side, all on one scale; what lies beyond its end gets an arrow. */
static void cell_interval(const struct row_facts *f)
{
    enum { WIDE = 150, ZERO = 22, END = 144 };
    struct buffer *out = f->report->out;
    if (!is_ranked(f) || !isfinite(behind(f->row)) || !(f->scale > 0)) return;
    double error = f->row->rank > 1 && isfinite(f->row->standard_error) ? f->row->standard_error : 0;
    double unit = (END - ZERO) / f->scale, at = ZERO + unit * behind(f->row);
    double low = fmax(at - 2 * error * unit, 2), high = fmin(at + 2 * error * unit, END);
    buffer_format(out, "<svg class=\"whisker%s\" viewBox=\"0 0 %d 16\" aria-hidden=\"true\"><line class=\"zero\" "
                       "x1=\"%d\" y1=\"0\" x2=\"%d\" y2=\"16\"/>",
                  f->row->tie_group == 1 ? " tied" : "", WIDE, ZERO, ZERO);
    if (at > END) {
        buffer_format(out, "<path class=\"dotty\" d=\"M%d 3l6 5l-6 5z\"/></svg>", END - 1);
        return;
    }
    if (high > low) buffer_format(out, "<line class=\"span\" x1=\"%.1f\" y1=\"8\" x2=\"%.1f\" y2=\"8\"/>", low, high);
    buffer_format(out, "<circle class=\"dotty\" cx=\"%.1f\" cy=\"8\" r=\"3.4\"/></svg>", fmax(at, 4));
}

/* A copy has no curve of its own, but its row has the numbers. */
static double loss_at_0(const struct row_facts *f)
{
    const struct point *start = curve_at(&f->facts->curve, 0);
    return start ? start->loss : f->row ? f->row->loss_at_0 : NAN;
}

static void cell_start(const struct row_facts *f) { report_number(f->report->out, "%.4f", loss_at_0(f)); }

static void cell_lost(const struct row_facts *f)
{
    double before = f->facts->loss_before > 0 ? f->facts->loss_before : NAN;
    report_number(f->report->out, "%+.4f", loss_at_0(f) - before);
}

static void cell_transition(const struct row_facts *f) { cell_number(f, "%.4f", f->row ? f->row->loss_at_transition : NAN); }
static void cell_slope(const struct row_facts *f) { cell_number(f, "%.4f", f->row ? f->row->slope : NAN); }
static void cell_final(const struct row_facts *f) { cell_number(f, "%.4f", f->row ? f->row->predicted_final_loss : NAN); }

/* Place among the predictions for the horizon. */
static void cell_final_rank(const struct row_facts *f)
{
    const struct study_outcome *outcome = f->report->view->outcome;
    int place = 1;
    if (!is_ranked(f) || !isfinite(f->row->predicted_final_loss)) {
        buffer_text(f->report->out, "–");
        return;
    }
    for (int i = 0; i < outcome->ranking.count; i++)
        place += outcome->ranking.rows[i].predicted_final_loss < f->row->predicted_final_loss;
    buffer_format(f->report->out, "%d", place);
}

static void cell_knee(const struct row_facts *f)
{
    const struct study_outcome *outcome = f->report->view->outcome;
    double knee = outcome && outcome->knees ? outcome->knees[f->candidate] : NAN;
    if (isfinite(knee)) report_number(f->report->out, "%.0f", knee);
    else buffer_text(f->report->out, outcome ? "none" : "–");
}

static void cell_preservation(const struct row_facts *f)
{
    double value = f->facts->grown ? f->facts->preservation : NAN;
    report_number(f->report->out, value > 0 && value < 0.01 ? "%.1e" : "%.3g", value);
}

static void cell_parameters(const struct row_facts *f)
{
    report_number(f->report->out, "%.0f", f->facts->grown ? (double)f->facts->parameters : NAN);
}

static void cell_flops(const struct row_facts *f)
{
    char text[REPORT_AMOUNT_BYTES];
    report_flops(f->row ? f->row->flops_spent : NAN, text);
    buffer_xml(f->report->out, text);
}

static void cell_seconds(const struct row_facts *f)
{
    char text[REPORT_AMOUNT_BYTES];
    report_duration(f->facts->seconds, text);
    report_run(f->report->out, text);
}

/* ---- tables */

struct column { const char *head, *class; void (*cell)(const struct row_facts *facts); };

static const struct column RANKING[] = {
    {"rank", "plain", cell_rank},          {"candidate", "who", cell_name},
    {"loss at k", "plain", cell_loss},     {"behind the best", "plain", cell_behind},
    {"standard error", "wide", cell_error}, {"P(best)", "plain", cell_best},
    {"two errors each way", "plain", cell_interval}, {"tie group", "wide", cell_group},
};

static const struct column PREDICTED[] = {
    {"rank", "plain", cell_rank},          {"candidate", "who", cell_name},
    {"predicted loss", "plain", cell_score}, {"behind the best", "plain", cell_behind},
    {"standard error", "wide", cell_error}, {"P(best)", "plain", cell_best},
    {"two errors each way", "plain", cell_interval}, {"loss at k", "wide", cell_loss},
    {"tie group", "wide", cell_group},
};

static const struct column CANDIDATES[] = {
    {"candidate", "who", cell_name},         {"loss at 0", "plain", cell_start},
    {"over the parent's", "plain", cell_lost}, {"preservation", "plain", cell_preservation},
    {"knee at step", "plain", cell_knee},    {"loss at transition", "plain", cell_transition},
    {"slope", "plain", cell_slope},          {"predicted at the end", "plain", cell_final},
    {"place there", "plain", cell_final_rank}, {"parameters", "plain", cell_parameters},
    {"spent", "plain", cell_flops},          {"time", "plain", cell_seconds},
};

static void table_row(const struct row_facts *facts, const struct column *columns, int count, bool ranking, bool apart)
{
    struct buffer *out = facts->report->out;
    const struct study_outcome *outcome = facts->report->view->outcome;
    bool chosen = outcome && outcome->choice == facts->candidate;
    bool dead = candidate_is_dead(facts->facts);
    buffer_format(out, "<tr class=\"%s%s\">", chosen ? "first" : dead ? "dead" : "plain", ranking && apart ? " apart" : "");
    for (int i = 0; i < count; i++) {
        buffer_format(out, "<td class=\"%s\">", columns[i].class);
        columns[i].cell(facts);
        buffer_text(out, "</td>");
    }
    buffer_text(out, "</tr>\n");
}

static void table(const struct report *report, const struct column *columns, int count, double scale)
{
    struct buffer *out = report->out;
    int group = 0;
    buffer_text(out, "<div class=\"scroll\"><table>\n<thead><tr>");
    for (int i = 0; i < count; i++) buffer_format(out, "<th class=\"%s\">%s</th>", columns[i].class, columns[i].head);
    buffer_text(out, "</tr></thead>\n<tbody>\n");
    for (int place = 0; place < report->plot.count; place++) {
        int candidate = report->plot.order[place];
        struct row_facts facts = {.report = report, .place = place, .candidate = candidate, .scale = scale,
                                  .row = outcome_row(report->view->outcome, candidate),
                                  .facts = &report->view->study->candidates[candidate]};
        int own = facts.row ? facts.row->tie_group : 0;
        table_row(&facts, columns, count, columns != CANDIDATES, place > 0 && own != group);
        group = own;
    }
    buffer_text(out, "</tbody>\n</table></div>\n");
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The scale of the intervals: to the largest end, but no more than thrice the median one, so that one candidate that is far
 * behind does not push all others into one point. */
static double interval_scale(const struct ranking *ranking)
{
    double ends[SPEC_CANDIDATES_MAX];
    int count = 0;
    for (int i = 0; i < ranking->count && count < SPEC_CANDIDATES_MAX; i++) {
        const struct ranking_row *row = &ranking->rows[i];
        double end = behind(row) + 2 * (isfinite(row->standard_error) ? row->standard_error : 0);
        if (row->tie_group && row->rank > 1 && isfinite(end)) ends[count++] = end;
    }
    if (count == 0) return 1;
    qsort(ends, (size_t)count, sizeof *ends, compare_doubles);
    return fmin(ends[count - 1], fmax(3 * ends[count / 2], 1e-6));
}

void report_ranking(const struct report *report)
{
    const struct study_spec *spec = report->view->spec;
    const struct study_outcome *outcome = report->view->outcome;
    bool predicted = spec->selection.rank_by == RANK_BY_PREDICTED;
    char text[600];
    report_section(report->out, "ranking", "Ranking");
    snprintf(text, sizeof text, "By the %s at step %llu, on validation text that no candidate was trained on. A line "
                                "divides tie groups: within the first, none is significantly worse than the best at "
                                "confidence %.3g, corrected for comparing many.",
             predicted ? "loss that the slope predicts, made" : "averaged loss", (unsigned long long)outcome->k,
             spec->selection.confidence);
    report_paragraph(report->out, "soft", text);
    if (predicted) table(report, PREDICTED, sizeof PREDICTED / sizeof *PREDICTED, interval_scale(&outcome->ranking));
    else table(report, RANKING, sizeof RANKING / sizeof *RANKING, interval_scale(&outcome->ranking));
    report_paragraph(report->out, "soft", "All candidates saw the same batches in the same order and the same "
                                          "validation windows, so differences are paired; the standard error holds "
                                          "the windows' sampling error and the jitter of training.");
    buffer_text(report->out, "</section>\n");
}

/* How many kept the parent's function: the measured logits differ by less than 1e-4 of their scale. */
static void say_preservation(const struct report *report)
{
    const double same = 1e-4;
    const struct study *study = report->view->study;
    int kept = 0, measured = 0;
    double parent = NAN;
    char text[500];
    for (int i = 0; i < report->plot.count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        if (!candidate->grown || !isfinite(candidate->preservation)) continue;
        measured++;
        kept += candidate->preservation < same;
        if (candidate->loss_before > 0) parent = candidate->loss_before;
    }
    if (measured == 0) return;
    snprintf(text, sizeof text, "Preservation is the largest change of a logit on a probe batch, over the logits' "
                                "scale: %d of %d candidates compute what the small model computed (below 1e-4).",
             kept, measured);
    report_paragraph(report->out, "soft", text);
    if (!isfinite(parent)) return;
    snprintf(text, sizeof text, "The small model's own loss on the same windows: %.4f.", parent);
    report_paragraph(report->out, "soft", text);
}

void report_candidates(const struct report *report)
{
    char text[400];
    report_section(report->out, "candidates", "Predictions and preservation");
    snprintf(text, sizeof text, "Predicted at the end: each curve past its fast phase, extrapolated to the horizon, "
                                "step %llu. Slopes are nats per unit of ln(step + 10).",
             (unsigned long long)report->view->spec->training.steps);
    report_paragraph(report->out, "soft", text);
    say_preservation(report);
    table(report, CANDIDATES, sizeof CANDIDATES / sizeof *CANDIDATES, 0);
    buffer_text(report->out, "</section>\n");
}
