/* What follows from an outcome, for report.html and lag_report.json alike. */
#include <math.h>

#include "api/report_parts.h"
#include "base/memory.h"
#include "study/agreement.h"

/* Slopes are per unit of ln(t + 10): a gap d closes when ln((t + 10) / (k + 10)) = d / -slope. */
static double steps_to_close(double gap, double slope, uint64_t k)
{
    double from = (double)k + 10, more = from * expm1(gap / -slope);
    return gap > 0 && slope < 0 && more < 1e9 ? more : NAN;
}

bool report_start(const struct study_outcome *outcome, struct report_start *start)
{
    *start = (struct report_start){.picked = outcome_best_at_0(outcome), .choice = outcome_row(outcome, outcome->choice),
                                   .behind = NAN, .standard_error = NAN, .predicted_behind = NAN, .more_steps = NAN};
    const struct ranking_row *picked = start->picked, *choice = start->choice;
    if (!picked) return false;
    if (!choice || !picked->tie_group) return true;
    start->behind = picked->loss - choice->loss;
    start->predicted_behind = picked->predicted_final_loss - choice->predicted_final_loss;
    if (choice->rank == 1 && picked != choice) start->standard_error = picked->standard_error;
    start->more_steps = steps_to_close(start->behind, picked->slope, outcome->k);
    return true;
}

/* What was decided at the step; NULL: nothing was, it lies before k_min. */
static const struct decision *decided_at(const struct study *study, uint64_t step)
{
    for (int i = 0; i < study->decision_count; i++)
        if (study->decisions[i].step == step) return &study->decisions[i];
    return NULL;
}

static int judge_at(const struct study *study, uint64_t step, struct decision *decision, struct error *error)
{
    const struct decision *known = decided_at(study, step);
    if (!known) return agreement_judge(study, step, decision, error);
    *decision = *known;
    return 0;
}

int report_steps_init(struct report_steps *steps, const struct study *study, const struct study_outcome *outcome,
                      struct error *error)
{
    const struct grid *grid = &study->grid;
    *steps = (struct report_steps){0};
    if (!outcome || grid->count == 0) return 0;
    steps->of = memory_array((size_t)grid->count, sizeof *steps->of);
    if (!steps->of) return error_set(error, ERROR_NO_MEMORY, "writing a report: out of memory");
    for (int i = 0; i < grid->count && grid->steps[i] <= outcome->k; i++) {
        if (!grid->geometric[i] || grid->steps[i] == 0) continue;
        if (judge_at(study, grid->steps[i], &steps->of[steps->count], error)) {
            report_steps_fini(steps);
            return (int)error->code;
        }
        steps->count += steps->of[steps->count].live > 0;
    }
    return 0;
}

void report_steps_fini(struct report_steps *steps)
{
    memory_free(steps->of);
    *steps = (struct report_steps){0};
}

/* ---- as JSON */

static void member_bool(struct buffer *out, bool *first, const char *name, bool value)
{
    json_key(out, first, name);
    buffer_text(out, value ? "true" : "false");
}

static void write_start(struct buffer *out, const struct study_view *view)
{
    struct report_start start;
    bool first = true;
    if (!view->outcome || !report_start(view->outcome, &start)) {
        buffer_text(out, "null");
        return;
    }
    buffer_text(out, "{");
    member_text(out, &first, "candidate", spec_candidate_name(view->spec, start.picked->candidate));
    member_number(out, &first, "loss_at_0", start.picked->loss_at_0);
    member_number(out, &first, "rank", start.picked->rank);
    member_number(out, &first, "behind", start.behind);
    member_number(out, &first, "standard_error", start.standard_error);
    member_number(out, &first, "predicted_behind", start.predicted_behind);
    member_number(out, &first, "more_steps", start.more_steps);
    buffer_text(out, "}");
}

static void write_steps(struct buffer *out, const struct study_view *view)
{
    struct report_steps steps = {0};
    struct error error = {0};
    if (view->study && report_steps_init(&steps, view->study, view->outcome, &error)) out->failed = true;
    buffer_text(out, "[");
    for (int i = 0; i < steps.count; i++) {
        const struct decision *step = &steps.of[i];
        bool first = true;
        buffer_text(out, i ? ", {" : "{");
        member_unsigned(out, &first, "step", step->step);
        member_number(out, &first, "agreement", step->agreement);
        member_bool(out, &first, "holds", step->holds);
        member_bool(out, &first, "knees_passed", step->knees_passed);
        member_text(out, &first, "best_now", spec_candidate_name(view->spec, step->best_now));
        member_text(out, &first, "best_predicted", spec_candidate_name(view->spec, step->best_predicted));
        buffer_text(out, "}");
    }
    buffer_text(out, "]");
    report_steps_fini(&steps);
}

void report_write_facts(struct buffer *out, bool *first, const struct study_view *view)
{
    json_key(out, first, "step_0");
    write_start(out, view);
    json_key(out, first, "agreement");
    write_steps(out, view);
}
