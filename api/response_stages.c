/* A staged study as the API shows it: put together from the answers of its parts, each an ordinary study's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/response_parts.h"

/* A part's answer as a tree; NULL if there is none yet. */
static cJSON *part_tree(struct buffer *out, const char *text)
{
    if (!text || !*text) return NULL;
    cJSON *tree = cJSON_Parse(text);
    if (!tree) out->failed = true;
    return tree;
}

struct trees { cJSON *search[SPEC_STAGES_MAX], *training[SPEC_STAGES_MAX]; };

static void trees_read(struct trees *trees, struct buffer *out, const struct stages_view *view)
{
    *trees = (struct trees){0};
    for (int j = 0; j < view->stages->count; j++) {
        trees->search[j] = part_tree(out, view->search[j]);
        trees->training[j] = part_tree(out, view->training[j]);
    }
}

static void trees_free(struct trees *trees)
{
    for (int j = 0; j < SPEC_STAGES_MAX; j++) {
        cJSON_Delete(trees->search[j]);
        cJSON_Delete(trees->training[j]);
    }
}

static void member_tree(struct buffer *out, bool *first, const char *name, const cJSON *node)
{
    json_key(out, first, name);
    if (node) json_write(out, node);
    else buffer_text(out, "null");
}

static double number_at(const cJSON *object, const char *name)
{
    const cJSON *node = json_member(object, name);
    return cJSON_IsNumber(node) ? node->valuedouble : NAN;
}

/* The choice of stage j: its files are those of the last stage's winner, of an earlier one's where all are kept. */
static void member_choice(struct buffer *out, bool *first, const struct stages_view *view, int j, const cJSON *choice)
{
    bool inner = true, last = j == view->stages->count - 1;
    const cJSON *candidate = json_member(choice, "candidate"), *reason = json_member(choice, "reason");
    json_key(out, first, "choice");
    if (!cJSON_IsString(candidate)) {
        buffer_text(out, "null");
        return;
    }
    buffer_text(out, "{");
    member_text(out, &inner, "candidate", candidate->valuestring);
    member_text(out, &inner, "reason", cJSON_IsString(reason) ? reason->valuestring : NULL);
    json_key(out, &inner, "files");
    if (view->has_files && (last || view->keeps_all)) {
        buffer_text(out, "\"/v1/studies/");
        write_url_part(out, view->id);
        buffer_text(out, "/candidates/");
        if (last) write_url_part(out, candidate->valuestring);
        else buffer_format(out, "stage-%d", j + 1);
        buffer_text(out, "/files/\"");
    } else {
        buffer_text(out, "null");
    }
    buffer_text(out, "}");
}

/* How far a stage is. */
static const char *stage_state(const cJSON *search, const cJSON *training)
{
    const cJSON *state = json_member(training ? training : search, "state");
    const char *text = cJSON_IsString(state) ? state->valuestring : "pending";
    if (!search) return "pending";
    if (!strcmp(text, "failed")) return "failed";
    if (!training) return "searching";
    return strcmp(text, "succeeded") ? "training" : "succeeded";
}

static void write_stage(struct buffer *out, const struct stages_view *view, const struct trees *trees, int j)
{
    static const char *const of_search[] = {"k", "status", "transition"}, *const more[] = {"ranking", "rank_agreement", "cost"};
    const cJSON *search = trees->search[j], *training = trees->training[j];
    bool first = true;
    buffer_text(out, j ? ", {" : "{");
    member_number(out, &first, "stage", j + 1);
    member_number(out, &first, "layers", view->stages->of[j].layers);
    member_unsigned(out, &first, "steps", view->stages->of[j].steps);
    member_text(out, &first, "state", stage_state(search, training));
    for (int i = 0; i < 3; i++) member_tree(out, &first, of_search[i], json_member(search, of_search[i]));
    member_choice(out, &first, view, j, json_member(search, "choice"));
    for (int i = 0; i < 3; i++) member_tree(out, &first, more[i], json_member(search, more[i]));
    bool ended = !strcmp(stage_state(search, training), "succeeded");
    member_number(out, &first, "loss", ended ? number_at(cJSON_GetArrayItem(json_member(training, "ranking"), 0), "loss") : NAN);
    buffer_text(out, "}");
}

/* What all searches cost together. */
static void write_cost(struct buffer *out, bool *first, const struct stages_view *view, const struct trees *trees)
{
    double search = 0, exhaustive = 0;
    bool inner = true;
    for (int j = 0; j < view->stages->count; j++) {
        const cJSON *cost = json_member(trees->search[j], "cost");
        if (!cost) continue;
        search += number_at(cost, "search_flops");
        exhaustive += number_at(cost, "exhaustive_flops");
    }
    json_key(out, first, "cost");
    buffer_text(out, "{");
    member_number(out, &inner, "search_flops", search);
    member_number(out, &inner, "exhaustive_flops", exhaustive);
    member_number(out, &inner, "fraction", exhaustive > 0 ? search / exhaustive : NAN);
    buffer_text(out, "}");
}

/* Each stage's, with its number; what every stage says of the whole is said once, with the first. */
static void write_stage_warnings(struct buffer *out, bool *first, const struct stages_view *view, const struct trees *trees)
{
    bool any = false;
    json_key(out, first, "warnings");
    buffer_text(out, "[");
    for (int j = 0; j < view->stages->count; j++) {
        const cJSON *warning;
        cJSON_ArrayForEach(warning, json_member(trees->search[j], "warnings")) {
            struct buffer text;
            if (!cJSON_IsString(warning)) continue;
            buffer_init(&text);
            buffer_format(&text, "stage %d: ", j + 1);
            buffer_text(&text, warning->valuestring);
            buffer_text(out, any ? ", " : "");
            if (text.failed) out->failed = true;
            else buffer_json_string(out, text.data);
            buffer_fini(&text);
            any = true;
        }
    }
    buffer_text(out, "]");
}

static void write_head(struct buffer *out, bool *first, const struct stages_view *view, const cJSON *top)
{
    member_text(out, first, "id", view->id);
    member_text(out, first, "name", view->name);
    member_text(out, first, "state", study_state_text(view->state));
    if (view->reason && *view->reason) member_text(out, first, "reason", view->reason);
    member_tree(out, first, "status", json_member(top, "status"));
    member_tree(out, first, "k", json_member(top, "k"));
    json_key(out, first, "request");
    buffer_text(out, view->request);
    member_tree(out, first, "transition", json_member(top, "transition"));
}

void response_stages(struct buffer *out, const struct stages_view *view)
{
    struct trees trees;
    int last = view->stages->count - 1;
    bool first = true, done;
    trees_read(&trees, out, view);
    const cJSON *top = trees.search[last];
    done = !strcmp(stage_state(top, trees.training[last]), "succeeded");
    buffer_text(out, "{");
    write_head(out, &first, view, top);
    member_choice(out, &first, view, last, json_member(top, "choice"));
    json_key(out, &first, "ranking");
    if (top) json_write(out, json_member(top, "ranking"));
    else buffer_text(out, "[]");
    member_tree(out, &first, "rank_agreement", json_member(top, "rank_agreement"));
    write_cost(out, &first, view, &trees);
    member_tree(out, &first, "recipe", done ? json_member(trees.training[last], "recipe") : NULL);
    json_key(out, &first, "stages");
    buffer_text(out, "[");
    for (int j = 0; j <= last; j++) write_stage(out, view, &trees, j);
    buffer_text(out, "]");
    if (view->stages->baseline_count > 0) {
        json_key(out, &first, "comparison");
        buffer_text(out, view->comparison && *view->comparison ? view->comparison : "null");
    }
    write_stage_warnings(out, &first, view, &trees);
    buffer_text(out, "}");
    trees_free(&trees);
}

void response_stages_comparison(struct buffer *out, const struct study *study, const struct study_outcome *outcome,
                                uint64_t steps)
{
    struct study_view view = { .spec = study->spec, .study = study, .outcome = outcome };
    bool first = true;
    buffer_text(out, "{");
    member_unsigned(out, &first, "steps", steps);
    member_text(out, &first, "reason", outcome->choice >= 0 ? outcome->choice_reason : NULL);
    json_key(out, &first, "ranking");
    buffer_text(out, "[");
    for (int i = 0; i < outcome->ranking.count; i++) {
        buffer_text(out, i ? ", " : "");
        write_ranking_row(out, &view, outcome->ranking.rows[i].candidate, &outcome->ranking.rows[i]);
    }
    buffer_text(out, "]}");
}

int response_part_winner(const char *text, struct buffer *out, struct error *error)
{
    cJSON *tree = text && *text ? cJSON_Parse(text) : NULL;
    const cJSON *name = json_member(json_member(tree, "choice"), "candidate"), *node;
    bool found = false;
    cJSON_ArrayForEach(node, json_member(json_member(tree, "request"), "candidates")) {
        const cJSON *own = json_member(node, "name");
        if (!found && cJSON_IsString(own) && cJSON_IsString(name) && !strcmp(own->valuestring, name->valuestring)) {
            json_write(out, node);
            found = true;
        }
    }
    cJSON_Delete(tree);
    if (out->failed) return error_set(error, ERROR_NO_MEMORY, "reading a stage's result: out of memory");
    return found ? 0 : error_set(error, ERROR_DAMAGED, "a stage's stored result names no choice; run `lag check`");
}

/* ---- documents ---- */

void response_stages_curves_csv(struct buffer *out, const char *csv, const struct stages_rows *rows)
{
    const char *line = csv;
    for (int number = 0; line && *line; number++) {
        const char *end = strchr(line, '\n'), *step = line;
        size_t length = end ? (size_t)(end - line) : strlen(line);
        for (int comma = 0; step && comma < 2; comma++) {     /* names of candidates hold no commas */
            step = memchr(step, ',', length - (size_t)(step - line));
            step = step ? step + 1 : NULL;
        }
        bool header = number == 0;
        bool wanted = header ? rows->header
                             : !rows->has_after || (step && strtoull(step, NULL, 10) > rows->after_step);
        if (wanted) {
            buffer_append(out, line, length);
            if (header) buffer_text(out, ",stage,chain\n");
            else buffer_format(out, ",%d,%s\n", rows->stage, rows->chain);
        }
        line = end ? end + 1 : NULL;
    }
}

void write_apart(struct buffer *out, const char *text, int number)
{
    static const char *const before[] = {" id=\"", "url(#", " href=\"#"};
    while (*text) {
        size_t length = 1;
        for (int i = 0; i < 3; i++)
            if (!strncmp(text, before[i], strlen(before[i]))) length = strlen(before[i]);
        buffer_append(out, text, length);
        if (length > 1) buffer_format(out, "stage-%d-", number);
        text += length;
    }
}

/* The stages' drawings, one below the other. */
void response_stages_plot(struct buffer *out, const char *const *plots, int count)
{
    enum { GAP = 16 };
    double width = 0, top = 0;
    for (int i = 0; i < count; i++) {
        const char *at = strstr(plots[i], "viewBox=\"0 0 ");
        double wide = 0, high = 0;
        if (!at || sscanf(at, "viewBox=\"0 0 %lf %lf", &wide, &high) != 2) continue;
        width = fmax(width, wide);
        top += high + GAP;
    }
    buffer_format(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
                  "role=\"img\">\n<title>the stages, one below the other</title>\n", width, top, width, top);
    top = 0;
    for (int i = 0; i < count; i++) {
        const char *at = strstr(plots[i], "viewBox=\"0 0 ");
        double wide = 0, high = 0;
        if (!at || sscanf(at, "viewBox=\"0 0 %lf %lf", &wide, &high) != 2) continue;
        buffer_format(out, "<svg y=\"%.0f\"", top);
        write_apart(out, strstr(plots[i], "<svg") + strlen("<svg"), i + 1);
        top += high + GAP;
    }
    buffer_text(out, "</svg>\n");
}

void response_comparison_table(struct buffer *out, const char *comparison)
{
    cJSON *tree = comparison && *comparison ? cJSON_Parse(comparison) : NULL;
    const cJSON *row, *reason = json_member(tree, "reason");
    if (!tree) return;
    buffer_format(out, "\nBeside the baselines, after %.0f steps each:\n\n", number_at(tree, "steps"));
    buffer_text(out, "rank  chain         state       group      loss    behind     +/-\n");
    cJSON_ArrayForEach(row, json_member(tree, "ranking")) {
        const cJSON *name = json_member(row, "candidate"), *state = json_member(row, "state");
        double loss = number_at(row, "loss"), margin = number_at(row, "margin"), error = number_at(row, "standard_error");
        buffer_format(out, "%4.0f  %-12.12s  %-10.10s", number_at(row, "rank"), cJSON_IsString(name) ? name->valuestring : "",
                      cJSON_IsString(state) ? state->valuestring : "");
        if (isfinite(loss)) buffer_format(out, "  %5.0f  %8.4f", number_at(row, "tie_group"), loss);
        if (isfinite(margin) && number_at(row, "rank") > 1) buffer_format(out, "  %8.4f  %6.4f", -margin, error);
        buffer_text(out, "\n");
    }
    buffer_text(out, "\n");
    if (cJSON_IsString(reason)) text_wrap(out, reason->valuestring, 80, 0);
    cJSON_Delete(tree);
}
