/* Blocks from the tables of the code: routes, request fields, errors, limits, commands, flags, operators, optimizers,
 * schedules, parts of uploads. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "api/parameters.h"
#include "api/routes.h"
#include "growth/operator.h"
#include "growth/stage.h"
#include "server/http.h"
#include "server/http_parts.h"
#include "server/options.h"
#include "tools/docs.h"

/* ---- pieces ---- */

static void write_number(struct buffer *out, double value)
{
    if (value == 9007199254740992.0)
        buffer_text(out, "2^53");
    else
        buffer_format(out, "%.15g", value);
}

/* `a`, `b`, `c` */
static void write_choices(struct buffer *out, const char *choices)
{
    char name[CHOICE_BYTES];

    for (int i = 0; choice_name(choices, i, name); i++)
        buffer_format(out, "%s`%s`", i ? ", " : "", name);
}

static void write_bytes(struct buffer *out, uint64_t bytes)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
    int unit = 0;

    for (; unit < 4 && bytes >= 1024 && bytes % 1024 == 0; unit++)
        bytes /= 1024;
    buffer_format(out, "%" PRIu64 " %s", bytes, units[unit]);
}

/* ---- routes ---- */

static void write_routes(struct buffer *out)
{
    static const char *const bodies[] = { "", "JSON", "upload or JSON" };
    const struct route_row *rows = route_rows();

    buffer_text(out, "| method | path | body | token | what it does |\n|---|---|---|---|---|\n");
    for (int i = 0; i < ROUTE_COUNT; i++) {
        const char *body = i == ROUTE_STUDY_CREATE ? "JSON or multipart" : rows[i].body == 2 ? "upload" : bodies[rows[i].body];
        buffer_format(out, "| %s | `%s` | %s | %s | ", rows[i].method, rows[i].path, body, rows[i].is_public ? "" : "yes");
        write_cell(out, rows[i].summary);
        buffer_text(out, " |\n");
    }
}

/* ---- request fields ---- */

static bool is_later(const struct field *field)
{
    return field->today && !field->today[0];
}

static void write_range(struct buffer *out, const struct field *field)
{
    buffer_text(out, field->type == FIELD_INTEGER ? "integer, " : "number, ");
    write_number(out, field->minimum);
    buffer_text(out, " to ");
    write_number(out, field->maximum);
}

static void write_some_of(struct buffer *out, const char *choices)
{
    buffer_text(out, "a list out of ");
    write_choices(out, choices);
}

static void write_value(struct buffer *out, const struct field *field)
{
    if (field->type == FIELD_CHOICE)
        write_choices(out, field->choices);
    else if (field->type == FIELD_CHOICES)
        write_some_of(out, field->choices);
    else if (field->type == FIELD_INTEGER || field->type == FIELD_NUMBER)
        write_range(out, field);
    else if (field->type == FIELD_OPTIMIZER || field->type == FIELD_SCHEDULE)
        buffer_text(out, "an object with a `name`");
    else if (field->type == FIELD_OPERATORS)
        buffer_text(out, "a list of operators");
    else if (field->type == FIELD_KEEP)
        buffer_text(out, "`all`, `winner` or `top:N`");
    else if (field->type == FIELD_K)
        buffer_text(out, "`\"auto\"` or an integer");
    else if (field->type == FIELD_LEARNER_STEPS)
        buffer_text(out, "`\"auto\"`, an integer, or a list of integers");
    else
        write_cell(out, field_type_words(field));
    if (field->nullable)
        buffer_text(out, ", or null");
    if (field->today)
        buffer_format(out, "; now only `%s`", field->today);
}

static void write_fields(struct buffer *out)
{
    int count;
    const struct field *rows = field_rows(&count);

    buffer_text(out, "| field | value | default | meaning |\n|---|---|---|---|\n");
    for (int i = 0; i < count; i++) {
        if (is_later(&rows[i]))
            continue;
        buffer_format(out, "| `%s` | ", rows[i].pointer);
        write_value(out, &rows[i]);
        buffer_text(out, " | ");
        write_cell(out, rows[i].fallback ? rows[i].fallback : "");
        buffer_text(out, " | ");
        write_cell(out, rows[i].summary);
        buffer_text(out, " |\n");
    }
}

static void write_fields_later(struct buffer *out)
{
    int count;
    const struct field *rows = field_rows(&count);

    for (int i = 0; i < count; i++) {
        if (!is_later(&rows[i]))
            continue;
        buffer_format(out, "- `%s`: ", rows[i].pointer);
        write_cell(out, rows[i].summary);
        buffer_text(out, "\n");
    }
}

/* ---- errors, limits ---- */

static void write_errors(struct buffer *out)
{
    buffer_text(out, "| status | `type` | title | exit code of a command |\n|---|---|---|---|\n");
    for (int i = 1; i < ERROR_CODE_COUNT; i++) {
        enum error_code code = (enum error_code)i;
        buffer_format(out, "| %d | `urn:lag:error:%s` | %s | %d |\n", error_http_status(code), error_word(code),
                      error_title(code), error_exit_code(code));
    }
}

static void write_limit(struct buffer *out, const char *what, const char *name, uint64_t value)
{
    size_t length = strlen(name);

    buffer_format(out, "| %s | ", what);
    if (length > 6 && (strcmp(name + length - 6, "_bytes") == 0 || strstr(name, "BYTES")))
        write_bytes(out, value);
    else if (strstr(name, "per_second"))
        buffer_format(out, "%" PRIu64 " bytes/s", value);
    else if (strstr(name, "seconds"))
        buffer_format(out, "%" PRIu64 " s", value);
    else if (length > 3 && strcmp(name + length - 3, "_ms") == 0)
        buffer_format(out, "%g s", (double)value / 1000);
    else
        buffer_format(out, "%" PRIu64, value);
    buffer_text(out, " |\n");
}

static void write_limits(struct buffer *out)
{
    buffer_text(out, "| what | limit |\n|---|---|\n");
#define X(name, value, what) write_limit(out, what, #name, value);
    SPEC_LIMITS(X)
#undef X
    write_limit(out, "operators of a candidate", "", GROWTH_STEPS_MAX);
    write_limit(out, "layers of a grown model", "", GROWTH_LAYERS_MAX);
    write_limit(out, "width of a grown model", "", GROWTH_WIDTH_MAX);
    write_limit(out, "MLP units of a grown model", "", GROWTH_FF_MAX);
    write_limit(out, "header of a safetensors file", "header_bytes", SAFETENSORS_HEADER_DEFAULT);
    write_limit(out, "tensors of a safetensors file", "", SAFETENSORS_TENSORS_MAX);
}

static void write_http_limits(struct buffer *out)
{
    buffer_text(out, "| what | limit |\n|---|---|\n");
#define X(field, type, fallback, what) write_limit(out, what, #field, (uint64_t)(fallback));
    HTTP_LIMITS(X)
#undef X
}

/* ---- uploads ---- */

static void write_parts(struct buffer *out)
{
    static const struct { unsigned form; const char *words; } forms[] = {
        { UPLOAD_CHECKPOINT, "checkpoint" }, { UPLOAD_DATASET, "dataset" }, { UPLOAD_STUDY, "study" },
    };

    buffer_text(out, "| part | of an upload of a | how often | limit |\n|---|---|---|---|\n");
    for (int i = 0; i < PART_KIND_COUNT; i++) {
        const struct part_row *row = part_row_of((enum part_kind)i);
        const char *comma = "";
        buffer_format(out, "| `%s` | ", row->name);
        for (int j = 0; j < 3; j++)
            if (row->forms & forms[j].form) {
                buffer_format(out, "%s%s", comma, forms[j].words);
                comma = ", ";
            }
        buffer_format(out, " | %s | ", row->repeats ? "any number" : "once");
        if (row->limit)
            write_bytes(out, row->limit);
        else
            buffer_text(out, "the upload's");
        buffer_text(out, " |\n");
    }
}

/* ---- commands and flags ---- */

static void write_commands(struct buffer *out)
{
    const struct command_row *rows = command_rows();

    buffer_text(out, "| command | does |\n|---|---|\n");
    for (int i = 0; i < COMMAND_COUNT; i++) {
        buffer_format(out, "| `lag %s%s", rows[i].name, *rows[i].arguments ? " " : "");
        for (const char *c = rows[i].arguments; *c; c++)
            buffer_format(out, *c == '|' ? "\\%c" : "%c", *c);
        buffer_text(out, "` | ");
        write_cell(out, rows[i].summary);
        if (rows[i].about) {
            buffer_text(out, ". ");
            write_cell(out, rows[i].about);
        }
        buffer_text(out, " |\n");
    }
}

static void write_flags(struct buffer *out)
{
    const struct option_row *rows = options_rows();

    buffer_text(out, "| flag | variable | default | commands | meaning |\n|---|---|---|---|---|\n");
    for (int i = 0; i < OPTION_COUNT; i++) {
        char variable[OPTION_VARIABLE_BYTES];
        const char *comma = "";
        if (i == OPTION_HELP)
            continue;
        option_variable((enum option)i, variable);
        buffer_format(out, "| `--%s%s%s` | `%s` | %s%s%s | ", rows[i].flag, rows[i].word ? " " : "",
                      rows[i].word ? rows[i].word : "", variable, rows[i].fallback ? "`" : "",
                      rows[i].fallback ? rows[i].fallback : "", rows[i].fallback ? "`" : "");
        for (int c = 0; c < COMMAND_COUNT; c++)
            if (rows[i].commands >> c & 1) {
                buffer_format(out, "%s%s", comma, command_rows()[c].name);
                comma = ", ";
            }
        buffer_text(out, " | ");
        for (const char *help = rows[i].help, *bar; help; help = bar ? bar + 3 : NULL) {    /* one alternative per command */
            char text[512];
            bar = strstr(help, " | ");
            snprintf(text, sizeof text, "%.*s", bar ? (int)(bar - help) : 511, help);
            write_cell(out, text);
            buffer_text(out, bar ? ". " : "");
        }
        buffer_text(out, " |\n");
    }
}

static void write_exit_codes(struct buffer *out)
{
    static const struct { int code; const char *meaning; } rows[] = {
        { 0, "done; a server that was told to stop, too" },
        { 1, "failed, and may pass later: disk or memory short, store in use, all candidates diverged" },
        { 2, "wrong usage or wrong input: the same call fails again" },
        { 3, "the store is damaged; `lag check STORE` names the repair" },
        { 130, "interrupted; the work is saved" },
    };

    buffer_text(out, "| exit code | meaning | errors |\n|---|---|---|\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *comma = "";
        buffer_format(out, "| %d | %s | ", rows[i].code, rows[i].meaning);
        for (int e = 1; e < ERROR_CODE_COUNT; e++)
            if (error_exit_code((enum error_code)e) == rows[i].code) {
                buffer_format(out, "%s%s", comma, error_word((enum error_code)e));
                comma = ", ";
            }
        buffer_text(out, " |\n");
    }
}

/* ---- operators, optimizers, schedules ---- */

/* "- `layers`: an integer, required. …" */
static void write_parameters(struct buffer *out, const struct parameter *parameters, int count)
{
    for (int i = 0; i < count; i++) {
        struct buffer words;
        const char *colon;

        buffer_init(&words);
        parameter_words(&parameters[i], &words);
        if (words.failed || !(colon = strchr(words.data, ':')))
            stop("out of memory");
        buffer_text(out, "- `");
        buffer_append(out, words.data, (size_t)(colon - words.data));
        buffer_text(out, "`");
        write_cell(out, colon);
        buffer_text(out, "\n");
        buffer_fini(&words);
    }
}

void write_families(struct buffer *out, unsigned families)
{
    const char *comma = "";

    if (families == (1u << FAMILY_COUNT) - 1) {
        buffer_text(out, "all");
        return;
    }
    for (int family = 0; family < FAMILY_COUNT; family++)
        if (families >> family & 1) {
            buffer_format(out, "%s`%s`", comma, family_name((enum family)family));
            comma = ", ";
        }
}

static bool is_of_every_row(const struct parameter *parameter)
{
    return strcmp(parameter->name, "noise") == 0 || strcmp(parameter->name, "seed") == 0;
}

/* The short table: one line per operator. */
static void write_operators(struct buffer *out)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);

    buffer_text(out, "| operator | what it does | keeps the function | families | parameters | source |\n"
                     "|---|---|---|---|---|---|\n");
    for (int i = 0; i < count; i++) {
        const char *comma = "";
        buffer_format(out, "| `%s` | ", rows[i]->name);
        write_cell(out, rows[i]->summary);
        buffer_format(out, " | %s | ", rows[i]->promise == PROMISE_EXACT ? "yes" : "no");
        write_families(out, rows[i]->families);
        buffer_text(out, " | ");
        for (int j = 0; j < rows[i]->parameter_count; j++)
            if (!is_of_every_row(&rows[i]->parameters[j])) {
                buffer_format(out, "%s`%s`", comma, rows[i]->parameters[j].name);
                comma = ", ";
            }
        buffer_text(out, " | ");
        write_cell(out, rows[i]->source);
        buffer_text(out, " |\n");
    }
}

static void write_operator_details(struct buffer *out)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);

    for (int i = 0; i < count; i++) {
        buffer_format(out, "%s#### `%s`\n\n", i ? "\n" : "", rows[i]->name);
        write_cell(out, rows[i]->summary);
        buffer_format(out, ". %s\nSource: ", rows[i]->promise == PROMISE_EXACT ? "Keeps the function." : "Changes the function.");
        write_cell(out, rows[i]->source);
        buffer_text(out, ".\nMoments under `carry`: ");
        write_cell(out, rows[i]->moments);
        buffer_text(out, ".\n");
        if (*rows[i]->symmetry_note) {
            buffer_text(out, "Note: ");
            write_cell(out, rows[i]->symmetry_note);
            buffer_text(out, ".\n");
        }
        buffer_text(out, "\n");
        write_parameters(out, rows[i]->parameters, rows[i]->parameter_count);
    }
}

static void write_rows(struct buffer *out, const struct table_row *rows, int count)
{
    for (int i = 0; i < count; i++) {
        buffer_format(out, "- **`%s`**%s: ", rows[i].name, rows[i].available ? "" : " (later release)");
        write_cell(out, rows[i].summary);
        if (*rows[i].source) {
            buffer_text(out, ". ");
            write_cell(out, rows[i].source);
        }
        buffer_text(out, "\n");
        for (int j = 0; j < rows[i].parameter_count; j++) {
            buffer_text(out, "  ");
            write_parameters(out, &rows[i].parameters[j], 1);
        }
    }
}

static void write_optimizers(struct buffer *out)
{
    int count;
    const struct table_row *rows = optimizer_rows(&count);
    write_rows(out, rows, count);
}

static void write_schedules(struct buffer *out)
{
    int count;
    const struct table_row *rows = schedule_rows(&count);
    write_rows(out, rows, count);
}

const struct block blocks_tables[] = {
    { "routes", write_routes },
    { "fields", write_fields },
    { "fields-later", write_fields_later },
    { "errors", write_errors },
    { "limits", write_limits },
    { "http-limits", write_http_limits },
    { "parts", write_parts },
    { "commands", write_commands },
    { "flags", write_flags },
    { "exit-codes", write_exit_codes },
    { "operators", write_operators },
    { "operator-details", write_operator_details },
    { "optimizers", write_optimizers },
    { "schedules", write_schedules },
    { NULL, NULL },
};
