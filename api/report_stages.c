/* report.html of a staged study: an overview of the stages, the comparison with the baselines, and the page of every
 * search below it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/report_parts.h"

static double number_of(const cJSON *object, const char *name)
{
    const cJSON *node = json_member(object, name);
    return cJSON_IsNumber(node) ? node->valuedouble : NAN;
}

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *node = json_member(object, name);
    return cJSON_IsString(node) ? node->valuestring : "–";
}

static void cell_text(struct buffer *out, const char *class, const char *text)
{
    buffer_format(out, "<td class=\"%s\">", class);
    buffer_xml(out, text);
    buffer_text(out, "</td>");
}

static void cell_value(struct buffer *out, const char *format, double value)
{
    buffer_text(out, "<td>");
    report_number(out, format, value);
    buffer_text(out, "</td>");
}

static void heads(struct buffer *out, const char *const *names, const char *const *classes, int count)
{
    buffer_text(out, "<div class=\"scroll\"><table>\n<thead><tr>");
    for (int i = 0; i < count; i++) buffer_format(out, "<th class=\"%s\">%s</th>", classes[i], names[i]);
    buffer_text(out, "</tr></thead>\n<tbody>\n");
}

/* Name of a study as it is shown: its own, or its id. */
static const char *title_of(const cJSON *tree)
{
    const char *name = text_of(tree, "name");
    return name[0] ? name : text_of(tree, "id");
}

static void overview(struct buffer *out, const cJSON *tree, const char *const *reports, int count)
{
    static const char *const names[] = {"stage", "layers", "steps", "state", "chosen", "status", "ranked at k", "P(best)",
                                        "loss at its end"};
    static const char *const classes[] = {"left", "plain", "plain", "plain", "who", "plain", "plain", "plain", "plain"};
    const cJSON *stage;
    int number = 0;
    report_section(out, "stages", "The stages");
    heads(out, names, classes, 9);
    cJSON_ArrayForEach(stage, json_member(tree, "stages")) {
        const cJSON *first = cJSON_GetArrayItem(json_member(stage, "ranking"), 0);
        bool linked = number < count && reports[number];
        number++;
        buffer_text(out, "<tr><td class=\"left\">");
        if (linked) buffer_format(out, "<a href=\"#stage-%d\">%d</a></td>", number, number);
        else buffer_format(out, "%d</td>", number);
        cell_value(out, "%.0f", number_of(stage, "layers"));
        cell_value(out, "%.0f", number_of(stage, "steps"));
        cell_text(out, "plain", text_of(stage, "state"));
        cell_text(out, "who", text_of(json_member(stage, "choice"), "candidate"));
        cell_text(out, "plain", text_of(stage, "status"));
        cell_value(out, "%.0f", number_of(stage, "k"));
        cell_value(out, "%.3f", number_of(first, "p_best"));
        cell_value(out, "%.4f", number_of(stage, "loss"));
        buffer_text(out, "</tr>\n");
    }
    buffer_text(out, "</tbody>\n</table></div>\n");
    report_paragraph(out, "soft", "Every stage searches for the way to grow to its depth, then trains the choice to "
                                  "the stage's end.");
    buffer_text(out, "</section>\n");
}

static void comparison(struct buffer *out, const cJSON *comparison)
{
    static const char *const names[] = {"rank", "chain", "state", "loss", "behind the best", "standard error", "P(best)"};
    static const char *const classes[] = {"plain", "who", "plain", "plain", "plain", "plain", "plain"};
    const cJSON *row;
    if (!cJSON_IsObject(comparison)) return;
    report_section(out, "comparison", "Beside the baselines");
    report_format(out, "After %.0f steps each in all stages.", number_of(comparison, "steps"));
    heads(out, names, classes, 7);
    cJSON_ArrayForEach(row, json_member(comparison, "ranking")) {
        bool best = number_of(row, "rank") == 1;
        buffer_format(out, "<tr class=\"%s\">", best ? "first" : "plain");
        cell_value(out, "%.0f", number_of(row, "rank"));
        cell_text(out, "who", text_of(row, "candidate"));
        cell_text(out, "plain", text_of(row, "state"));
        cell_value(out, "%.4f", number_of(row, "loss"));
        cell_value(out, "%+.4f", best ? 0 : -number_of(row, "margin"));
        cell_value(out, "± %.4f", best ? NAN : number_of(row, "standard_error"));
        cell_value(out, "%.3f", number_of(row, "p_best"));
        buffer_text(out, "</tr>\n");
    }
    buffer_text(out, "</tbody>\n</table></div>\n");
    report_paragraph(out, "plain", text_of(comparison, "reason"));
    buffer_text(out, "</section>\n");
}

static void cost(struct buffer *out, const cJSON *tree)
{
    const cJSON *node = json_member(tree, "cost");
    char search[REPORT_AMOUNT_BYTES], all[REPORT_AMOUNT_BYTES];
    report_flops(number_of(node, "search_flops"), search);
    report_flops(number_of(node, "exhaustive_flops"), all);
    report_section(out, "cost", "Cost of all searches");
    buffer_text(out, "<p>");
    report_format(out, "Searching cost %s beyond training the choices; training every candidate to its stage's end "
                       "instead would have cost %s.", search, all);
    buffer_text(out, "</p>\n</section>\n");
}

/* What stands between REPORT_BEGIN and REPORT_END of a stage's own page. */
static void part(struct buffer *out, const char *report, int number)
{
    const char *begin = strstr(report, REPORT_BEGIN), *end = NULL;
    struct buffer inner;
    for (const char *at = begin; at; at = strstr(at + 1, REPORT_END)) end = at;
    if (!begin || end <= begin) return;
    begin += strlen(REPORT_BEGIN);
    buffer_init(&inner);
    buffer_append(&inner, begin, (size_t)(end - begin));
    buffer_format(out, "<article id=\"stage-%d\" class=\"stage\">\n<p class=\"kicker\">Stage %d</p>\n", number, number);
    if (inner.failed) out->failed = true;
    else if (inner.data) write_apart(out, inner.data, number);
    buffer_text(out, "</article>\n");
    buffer_fini(&inner);
}

void response_stages_report(struct buffer *out, const char *result, const char *const *reports, int count)
{
    cJSON *tree = cJSON_Parse(result);
    if (!tree) out->failed = true;
    report_open(out, title_of(tree));
    buffer_text(out, "<header>\n<p class=\"kicker\">Growing in stages: report of a study</p>\n<h1>");
    buffer_xml(out, title_of(tree));
    buffer_text(out, "</h1>\n<p class=\"meta\">");
    report_format(out, "%d stages · %s · ", cJSON_GetArraySize(json_member(tree, "stages")), text_of(tree, "state"));
    report_run(out, text_of(tree, "id"));
    buffer_text(out, "</p>\n</header>\n");
    overview(out, tree, reports, count);
    comparison(out, json_member(tree, "comparison"));
    cost(out, tree);
    for (int i = 0; i < count; i++)
        if (reports[i]) part(out, reports[i], i + 1);
    report_close(out);
    cJSON_Delete(tree);
}
