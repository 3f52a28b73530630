/* The closing sections of the report: cost and savings, warnings, how to go on, where it all comes from. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/report_parts.h"
#include "api/request.h"
#include "base/clock.h"

/* ---- cost */

void report_cost(const struct report *report)
{
    const struct study_view *view = report->view;
    const struct study_outcome *outcome = view->outcome;
    struct buffer *out = report->out;
    char search[REPORT_AMOUNT_BYTES], all[REPORT_AMOUNT_BYTES], saved[REPORT_AMOUNT_BYTES], time[REPORT_AMOUNT_BYTES], text[600];
    double seconds = 0, share = outcome->cost_fraction;
    for (int i = 0; i < report->plot.count; i++) seconds += view->study->candidates[i].seconds;
    report_flops(outcome->search_flops, search);
    report_flops(outcome->exhaustive_flops, all);
    report_flops(outcome->exhaustive_flops - outcome->search_flops, saved);
    report_duration(seconds, time);
    report_section(out, "cost", "Cost and savings");
    snprintf(text, sizeof text, "Searching cost %s beyond training the choice: all candidates but it, up to step "
                                "%llu. Training all of them to the horizon instead, step %llu, would have cost %s.",
             search, (unsigned long long)outcome->k,
             (unsigned long long)view->spec->training.steps, all);
    report_paragraph(out, "plain", text);
    if (isfinite(share)) {
        double percent = fmin(fmax(100 * share, 0), 100);
        buffer_format(out, "<div class=\"bar\" role=\"img\" aria-label=\"share of the search\"><i "
                           "style=\"width:%.2f%%\"></i></div>\n",
                      percent);
        snprintf(text, sizeof text, "%.3g %% of the exhaustive search; saved: %s.", 100 * share, saved);
        report_paragraph(out, "soft", text);
    }
    buffer_text(out, "<p class=\"soft\">Time that workers spent on slices of trials: ");
    report_run(out, time);
    buffer_text(out, ".</p>\n");
    buffer_text(out, "</section>\n");
}

/* ---- warnings: those of the answer, read back from it */

void report_warnings(const struct report *report)
{
    struct buffer *out = report->out, list;
    const cJSON *warning;
    buffer_init(&list);
    write_warnings(&list, report->view);
    cJSON *tree = list.failed ? NULL : cJSON_Parse(list.data);
    if (!tree) out->failed = true;
    report_section(out, "warnings", "Warnings");
    if (cJSON_GetArraySize(tree) == 0) {
        report_paragraph(out, "plain", "None.");
    } else {
        buffer_text(out, "<ul class=\"cares\">\n");
        cJSON_ArrayForEach(warning, tree) {
            buffer_text(out, "<li class=\"care\">");
            buffer_xml(out, cJSON_IsString(warning) ? warning->valuestring : "");
            buffer_text(out, "</li>\n");
        }
        buffer_text(out, "</ul>\n");
    }
    buffer_text(out, "</section>\n");
    cJSON_Delete(tree);
    buffer_fini(&list);
}

/* ---- JSON for people: one member a line, lists of objects one object a line */

static void leaf(struct buffer *out, const cJSON *node)
{
    struct buffer text;
    buffer_init(&text);
    json_write(&text, node);
    buffer_xml(out, text.data ? text.data : "");
    out->failed |= text.failed;
    buffer_fini(&text);
}

static void members(struct buffer *out, const cJSON *object)
{
    const cJSON *member, *item;
    cJSON_ArrayForEach(member, object) {
        buffer_text(out, member == object->child ? "{" : ",\n ");
        report_format(out, "\"%s\": ", member->string);
        if (!cJSON_IsArray(member) || !cJSON_IsObject(member->child)) {
            leaf(out, member);
            continue;
        }
        cJSON_ArrayForEach(item, member) {
            buffer_text(out, item == member->child ? "[\n  " : ",\n  ");
            leaf(out, item);
        }
        buffer_text(out, "]");
    }
    buffer_text(out, "}");
}

static void print_json(struct buffer *out, const char *text)
{
    cJSON *tree = cJSON_Parse(text);
    if (!tree) out->failed = true;
    buffer_text(out, "<pre>");
    if (cJSON_IsObject(tree)) members(out, tree);
    else if (tree) leaf(out, tree);
    buffer_text(out, "</pre>\n");
    cJSON_Delete(tree);
}

void report_recipe(const struct report *report)
{
    const char *recipe = report->view->recipe;
    struct buffer *out = report->out;
    report_section(out, "recipe", "Recipe: how to go on with the choice");
    if (recipe && recipe[0] && strcmp(recipe, "null")) {
        report_paragraph(out, "soft", "Everything that continues the winner from where the search left it: "
                                      "optimizer, schedule, data cursor. lag train --recipe FILE --checkpoint DIR "
                                      "reads it.");
        print_json(out, recipe);
    } else {
        report_paragraph(out, "plain", "There is none before a candidate is chosen.");
    }
    buffer_text(out, "</section>\n");
}

/* ---- provenance */

static void pair(struct buffer *out, const char *name, const char *value)
{
    if (!value || !value[0]) return;
    buffer_format(out, "<dt>%s</dt><dd>", name);
    buffer_xml(out, value);
    buffer_text(out, "</dd>\n");
}

static void pair_run(struct buffer *out, const char *name, const char *value)
{
    buffer_format(out, "<dt>%s</dt><dd>", name);
    report_run(out, value);
    buffer_text(out, "</dd>\n");
}

static void pair_time(struct buffer *out, const char *name, int64_t wall_ms)
{
    char text[CLOCK_TEXT_BYTES];
    if (wall_ms == 0) return;
    clock_format(wall_ms, text);
    pair_run(out, name, text);
}

static void facts(struct buffer *out, const struct study_view *view)
{
    const struct study_spec *spec = view->spec;
    const struct training *training = &spec->training;
    char text[400];
    buffer_text(out, "<dl class=\"pairs\">\n");
    pair_run(out, "Study", view->id);
    pair_time(out, "Created", view->created_ms);
    pair_time(out, "Started", view->started_ms);
    pair_time(out, "Ended", view->ended_ms);
    pair(out, "Grown from", spec->checkpoint);
    if (view->parent) {
        snprintf(text, sizeof text, "%s, %d layers, width %d, %d heads, vocabulary %d; %llu parameters, %llu tokens "
                                    "seen",
                 family_name(view->parent->family), view->parent->layers, view->parent->width, view->parent->heads,
                 view->parent->vocabulary, (unsigned long long)shape_parameters(view->parent),
                 (unsigned long long)view->parent_tokens_seen);
        pair(out, "Its shape", text);
    }
    pair(out, "Training data", spec->data.train);
    pair(out, "Validation data", spec->data.valid[0] ? spec->data.valid : "held out of the training data");
    snprintf(text, sizeof text, "%d windows of %d tokens, the same for every candidate", view->study->windows, training->context);
    pair(out, "Judged on", text);
    snprintf(text, sizeof text, "%s at %g, batches of %d × %d tokens, seed %llu, horizon %llu steps",
             optimizer_rows(&(int){0})[training->optimizer.name].name, training->learning_rate, training->batch, training->context,
             (unsigned long long)training->seed, (unsigned long long)training->steps);
    pair(out, "Trained with", text);
    buffer_text(out, "</dl>\n");
}

static void candidates(struct buffer *out, const struct study_view *view)
{
    buffer_text(out, "<h3>How each candidate was grown</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th "
                     "class=\"who\">candidate</th><th class=\"left\">operators</th><th>moments</th><th>content "
                     "hash</th></tr></thead>\n<tbody>\n");
    for (int i = 0; i < view->spec->candidate_count; i++) {
        const struct spec_candidate *candidate = &view->spec->candidates[i];
        struct buffer list;
        buffer_init(&list);
        growth_list_json(&candidate->operators, &list);
        buffer_text(out, "<tr><td class=\"who\">");
        buffer_xml(out, candidate->name);
        buffer_text(out, "</td><td class=\"left\"><code>");
        buffer_xml(out, list.data ? list.data : "");
        buffer_format(out, "</code></td><td>%s</td><td><code>%.12s</code></td></tr>\n", moments_policy_name(candidate->moments),
                      view->study->candidates[i].hash[0] ? view->study->candidates[i].hash : "–");
        out->failed |= list.failed;
        buffer_fini(&list);
    }
    buffer_text(out, "</tbody>\n</table></div>\n");
}

void report_provenance(const struct report *report)
{
    struct buffer *out = report->out, request;
    report_section(out, "provenance", "Where it comes from");
    facts(out, report->view);
    candidates(out, report->view);
    buffer_init(&request);
    request_echo(report->view->spec, &request);
    buffer_text(out, "<h3>The request, every default filled in</h3>\n");
    if (request.failed) out->failed = true;
    else print_json(out, request.data);
    buffer_fini(&request);
    report_paragraph(out, "soft", "Sent again with the same files on the same kind of processor, this request gives "
                                  "these numbers, bit for bit. curves.json holds every point behind this page.");
    buffer_text(out, "</section>\n");
}
