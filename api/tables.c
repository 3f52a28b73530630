/* The tables of operators, optimizers and schedules, as JSON and as text. */
#include <string.h>

#include "api/parameters.h"
#include "api/response_parts.h"
#include "growth/operator.h"
#include "trainer/training.h"

/* ---- JSON ---- */

static const char *promise_words(enum promise promise)
{
    return promise == PROMISE_EXACT ? "exact" : "none";
}

static const char *symmetry_words(enum symmetry symmetry)
{
    static const char *const words[] = {
        [SYMMETRY_NONE] = "none", [SYMMETRY_BROKEN] = "broken", [SYMMETRY_KEPT] = "kept",
    };
    return words[symmetry];
}

static void write_families(struct buffer *out, unsigned families)
{
    const char *separator = "";
    buffer_text(out, "[");
    for (int family = 0; family < FAMILY_COUNT; family++) {
        if (!(families & (1u << family))) continue;
        buffer_text(out, separator);
        buffer_json_string(out, family_name((enum family)family));
        separator = ", ";
    }
    buffer_text(out, "]");
}

static void write_operator(struct buffer *out, const struct growth_operator *op)
{
    struct parameter_table table = {op->name, "op", op->parameters, op->parameter_count, NULL, false};
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "op", op->name);
    member_text(out, &first, "summary", op->summary);
    member_text(out, &first, "promise", promise_words(op->promise));
    member_text(out, &first, "symmetry", symmetry_words(op->symmetry));
    if (op->symmetry_note && *op->symmetry_note) member_text(out, &first, "symmetry_note", op->symmetry_note);
    json_key(out, &first, "families");
    write_families(out, op->families);
    member_text(out, &first, "moments", op->moments);
    json_key(out, &first, "parameters");
    parameters_schema(&table, op->name, out);
    member_text(out, &first, "source", op->source);
    buffer_text(out, "}");
}

void response_operators(struct buffer *out)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    buffer_text(out, "[");
    for (int i = 0; i < count; i++) {
        buffer_text(out, i ? ",\n " : "");
        write_operator(out, rows[i]);
    }
    buffer_text(out, "]\n");
}

static void write_rows(struct buffer *out, const struct table_row *rows, int count)
{
    buffer_text(out, "[");
    for (int i = 0; i < count; i++) {
        struct parameter_table table = {rows[i].name, "name", rows[i].parameters, rows[i].parameter_count, NULL, false};
        bool first = true;
        buffer_text(out, i ? ",\n {" : "{");
        member_text(out, &first, "name", rows[i].name);
        member_text(out, &first, "summary", rows[i].summary);
        json_key(out, &first, "available");
        buffer_text(out, rows[i].available ? "true" : "false");
        json_key(out, &first, "parameters");
        parameters_schema(&table, rows[i].name, out);
        member_text(out, &first, "source", rows[i].source);
        buffer_text(out, "}");
    }
    buffer_text(out, "]\n");
}

void response_optimizers(struct buffer *out)
{
    int count;
    const struct table_row *rows = optimizer_rows(&count);
    write_rows(out, rows, count);
}

void response_schedules(struct buffer *out)
{
    int count;
    const struct table_row *rows = schedule_rows(&count);
    write_rows(out, rows, count);
}

/* ---- text ---- */

enum { NARROWEST = 40, INDENT = 4 };

static void text_parameters(struct buffer *out, const struct parameter *parameters, int count, int columns)
{
    for (int i = 0; i < count; i++) {
        struct buffer line;
        buffer_init(&line);
        parameter_words(&parameters[i], &line);
        if (line.failed) out->failed = true;
        else text_wrap(out, line.data, columns, INDENT);
        buffer_fini(&line);
    }
}

void response_operators_text(struct buffer *out, int columns)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    if (columns < NARROWEST) columns = NARROWEST;
    for (int i = 0; i < count; i++) {
        buffer_format(out, "%s%s%s\n", i ? "\n" : "", rows[i]->name,
                      rows[i]->promise == PROMISE_EXACT ? "  (keeps the function)" : "");
        text_wrap(out, rows[i]->summary, columns, 2);
        if (rows[i]->source && *rows[i]->source) text_wrap(out, rows[i]->source, columns, 2);
        if (rows[i]->symmetry_note && *rows[i]->symmetry_note) text_wrap(out, rows[i]->symmetry_note, columns, 2);
        text_parameters(out, rows[i]->parameters, rows[i]->parameter_count, columns);
    }
}

static void text_rows(struct buffer *out, const struct table_row *rows, int count, int columns)
{
    if (columns < NARROWEST) columns = NARROWEST;
    for (int i = 0; i < count; i++) {
        buffer_format(out, "%s%s%s\n", i ? "\n" : "", rows[i].name, rows[i].available ? "" : "  (in a later release)");
        text_wrap(out, rows[i].summary, columns, 2);
        if (*rows[i].source) text_wrap(out, rows[i].source, columns, 2);
        text_parameters(out, rows[i].parameters, rows[i].parameter_count, columns);
    }
}

void response_optimizers_text(struct buffer *out, int columns)
{
    int count;
    const struct table_row *rows = optimizer_rows(&count);
    text_rows(out, rows, count, columns);
}

void response_schedules_text(struct buffer *out, int columns)
{
    int count;
    const struct table_row *rows = schedule_rows(&count);
    text_rows(out, rows, count, columns);
}
