#include "api/powerfit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/request_parts.h"
#include "api/response_parts.h"
#include "base/memory.h"
#include "study/parabola.h"

/* ---- reading */

static const char *const members[] = { "batch", "context", "tokens", "learning_rate", "loss", "seed", "sweep" };
enum { MEMBER_COUNT = sizeof members / sizeof *members };

static double take_number(const cJSON *object, const char *name, double least, double most, bool whole, double fallback,
                          struct error *error)
{
    const cJSON *node = json_member(object, name);
    struct place place = { 0 };
    if (!node && isnan(fallback))
        refuse_member(error, &place, name, "%s is missing", name);
    else if (node && (!cJSON_IsNumber(node) || !(node->valuedouble >= least && node->valuedouble <= most)
                      || (whole && !json_is_integer(node))))
        refuse_member(error, &place, name, "%s must be a%s number from %.15g to %.15g", name, whole ? " whole" : "", least, most);
    return node && cJSON_IsNumber(node) ? node->valuedouble : fallback;
}

static int take_sweep(const cJSON *object, struct powerfit_runs *runs, struct error *error)
{
    const cJSON *node = json_member(object, "sweep");
    struct place place = { 0 };
    if (!node)
        return 0;
    if (!cJSON_IsString(node) || strlen(node->valuestring) != HASH_HEX_BYTES - 1
        || strspn(node->valuestring, "0123456789abcdef") != HASH_HEX_BYTES - 1)
        return refuse_member(error, &place, "sweep", "sweep must be 64 hex digits");
    if (runs->sweep[0] && strcmp(runs->sweep, node->valuestring) != 0)
        return refuse_member(error, &place, "sweep", "this run belongs to another sweep than those before it: model, data or "
                             "training differ, so its loss can't be compared with theirs");
    memcpy(runs->sweep, node->valuestring, HASH_HEX_BYTES);
    return 0;
}

static int take_run(const cJSON *object, struct powerfit_runs *runs, struct error *error)
{
    static const double integer_max = 9007199254740992.0;
    struct power_run run;
    struct place place = { 0 };
    if (!cJSON_IsObject(object))
        return refuse(error, &place, "a run must be an object, not %s", json_kind(object));
    for (const cJSON *member = object->child; member; member = member->next) {
        int i = 0;
        while (i < MEMBER_COUNT && strcmp(members[i], member->string) != 0)
            i++;
        if (i == MEMBER_COUNT)
            return refuse_member(error, &place, member->string, "%s is no member of a run", shown_text(member->string).text);
    }
    double batch = take_number(object, "batch", 1, 1 << 20, true, NAN, error);
    double context = take_number(object, "context", 1, 1 << 20, true, NAN, error);
    double tokens = take_number(object, "tokens", 1, integer_max, true, NAN, error);
    double seed = take_number(object, "seed", 0, integer_max, true, 1, error);
    run.rate = take_number(object, "learning_rate", 1e-12, 1000, false, NAN, error);
    run.loss = cJSON_IsNull(json_member(object, "loss")) ? NAN : take_number(object, "loss", -1e6, 1e6, false, NAN, error);
    if (take_sweep(object, runs, error) || error->code)
        return (int)error->code;
    run.batch = (int)batch;
    run.context = (int)context;
    run.tokens = (uint64_t)tokens;
    run.seed = (uint64_t)seed;
    if (tokens < batch * context)
        return refuse_member(error, &place, "tokens", "tokens must be at least those of one step, batch * context");
    if (runs->count == POWER_RUNS_MAX)
        return refuse(error, &place, "more than %d runs", POWER_RUNS_MAX);
    runs->runs[runs->count++] = run;
    return 0;
}

int powerfit_read(const char *text, size_t length, struct powerfit_runs *runs, struct error *error)
{
    size_t at = 0;
    for (int line = 1; at < length && !error->code; line++) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t bytes = end ? (size_t)(end - text) - at : length - at;
        cJSON *tree = NULL;
        bool blank = true;
        for (size_t i = 0; i < bytes && blank; i++)
            blank = text[at + i] == ' ' || text[at + i] == '\t' || text[at + i] == '\r';
        if (!blank && json_read_most(text + at, bytes, POWERFIT_LINE_BYTES_MAX, &tree, error) == 0) {
            take_run(tree, runs, error);
            cJSON_Delete(tree);
        }
        error_wrap(error, "line %d", line);
        at += bytes + 1;
    }
    return (int)error->code;
}

/* ---- writing runs */

void powerfit_write_run(struct buffer *out, const struct power_run *run, const char *sweep)
{
    bool first = true;
    buffer_text(out, "{");
    member_unsigned(out, &first, "batch", (uint64_t)run->batch);
    member_unsigned(out, &first, "context", (uint64_t)run->context);
    member_unsigned(out, &first, "tokens", run->tokens);
    member_number(out, &first, "learning_rate", run->rate);
    member_number(out, &first, "loss", run->loss);
    member_unsigned(out, &first, "seed", run->seed);
    if (sweep[0])
        member_text(out, &first, "sweep", sweep);
    buffer_text(out, "}");
}

void powerfit_write_training(struct buffer *out, const struct training *training)
{
    struct study_spec *spec = memory_new(sizeof *spec);
    if (!spec) {
        out->failed = true;
        return;
    }
    spec->training = *training;
    spec->training.batch = 1;
    spec->training.steps = 1;
    spec->training.seed = 1;
    spec->training.learning_rate = 1;
    echo_object(spec, "/training", out);
    memory_free(spec);
}

/* ---- text */

static void write_cell(struct buffer *out, const struct power_cell *cell)
{
    static const char *const words[] = { "", "lowest rate is best", "highest rate is best", "too few rates train" };
    char best[40] = "-", range[40], law[16] = "-";
    int lowest = lowest_index(cell->losses, cell->rate_count);
    if (cell->state == POWER_CELL_USED) {
        snprintf(best, sizeof best, "%.3g", cell->best.middle);
        snprintf(range, sizeof range, "%.3g to %.3g", cell->best.low, cell->best.high);
    } else {
        snprintf(range, sizeof range, "%s", words[cell->state]);
    }
    if (isfinite(cell->law))
        snprintf(law, sizeof law, "%.3g", cell->law);
    buffer_format(out, "%7d %7d %12llu %9s  %-21s %8s", cell->batch, cell->context, (unsigned long long)cell->tokens, best, range,
                  law);
    if (lowest >= 0)
        buffer_format(out, " %8.4f\n", cell->losses[lowest]);
    else
        buffer_text(out, "        -\n");
}

/* Digits that are told apart from noise by no fit would only be in the way. */
static double rounded(double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.5g", value);
    return strtod(text, NULL);
}

/* What a request's training takes from this fit. */
static void write_training_fields(struct buffer *out, const struct power_fit *fit)
{
    bool first = true;
    buffer_text(out, "{\"schedule\": {");
    member_text(out, &first, "name", "power");
    member_number(out, &first, "a", rounded(fit->a.middle));
    member_number(out, &first, "b", rounded(fit->b.middle));
    member_number(out, &first, "maximum", rounded(fit->largest_best));
    buffer_text(out, "}}");
}

void response_powerfit_text(struct buffer *out, const struct power_fit *fit)
{
    buffer_format(out, "%7s %7s %12s %9s  %-21s %8s %8s\n", "batch", "context", "tokens", "best rate", "95 %", "law", "loss");
    for (int i = 0; i < fit->cell_count; i++)
        write_cell(out, &fit->cells[i]);
    buffer_text(out, "\n");
    text_wrap(out, fit->reason, 80, 0);
    if (fit->answer != POWER_FITTED)
        return;
    buffer_text(out, "\nTo put into a request's training, whatever its batch, context and steps:\n\n");
    write_training_fields(out, fit);
    buffer_text(out, "\n\n");
    text_wrap(out, "The rate after n tokens of the lineage (tokens_seen) is batch * context / 4096 * a * n^b, at most maximum: the "
              "largest best rate of the sweep. Warm-up and decay are the request's.", 80, 0);
}

/* ---- JSON */

static void write_interval(struct buffer *out, bool *first, const char *name, const struct interval *interval)
{
    bool inner = true;
    json_key(out, first, name);
    buffer_text(out, "{");
    member_number(out, &inner, "value", interval->middle);
    member_number(out, &inner, "low", interval->low);
    member_number(out, &inner, "high", interval->high);
    buffer_text(out, "}");
}

static void write_json_cell(struct buffer *out, const struct power_cell *cell)
{
    static const char *const words[] = { "used", "lower_end", "upper_end", "too_few_rates" };
    bool first = true;
    buffer_text(out, "{");
    member_unsigned(out, &first, "batch", (uint64_t)cell->batch);
    member_unsigned(out, &first, "context", (uint64_t)cell->context);
    member_unsigned(out, &first, "tokens", cell->tokens);
    member_text(out, &first, "state", words[cell->state]);
    write_interval(out, &first, "best", &cell->best);
    member_number(out, &first, "law", cell->law);
    json_key(out, &first, "learning_rates");
    for (int i = 0; i < cell->rate_count; i++) {
        buffer_text(out, i ? ", " : "[");
        json_number(out, cell->rates[i]);
    }
    buffer_text(out, "]");
    json_key(out, &first, "losses");
    for (int i = 0; i < cell->rate_count; i++) {
        buffer_text(out, i ? ", " : "[");
        json_number(out, cell->losses[i]);
    }
    buffer_text(out, "]}");
}

void response_powerfit_json(struct buffer *out, const struct power_fit *fit, const struct powerfit_runs *runs)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "answer", power_answer_name(fit->answer));
    member_text(out, &first, "reason", fit->reason);
    write_interval(out, &first, "a", &fit->a);
    write_interval(out, &first, "b", &fit->b);
    write_interval(out, &first, "batch_exponent", &fit->batch_exponent);
    member_number(out, &first, "spread", fit->spread);
    json_key(out, &first, "training");
    if (fit->answer == POWER_FITTED)
        write_training_fields(out, fit);
    else
        buffer_text(out, "null");
    json_key(out, &first, "cells");
    buffer_text(out, "[");
    for (int i = 0; i < fit->cell_count; i++) {
        buffer_text(out, i ? ",\n" : "\n");
        write_json_cell(out, &fit->cells[i]);
    }
    buffer_text(out, "]");
    json_key(out, &first, "runs");
    buffer_text(out, "[");
    for (int i = 0; i < runs->count; i++) {
        buffer_text(out, i ? ",\n" : "\n");
        powerfit_write_run(out, &runs->runs[i], runs->sweep);
    }
    buffer_text(out, "]}\n");
}
