#include "api/coordcheck.h"

#include <math.h>

#include "api/response_parts.h"

static const char *axis_name(const struct coordcheck *check)
{
    return check->options.axis == COORDCHECK_DEPTHS ? "depth" : "width";
}

/* ---- JSON ---- */

static void write_flag(struct buffer *out, bool *first, const char *name, bool value)
{
    json_key(out, first, name);
    buffer_text(out, value ? "true" : "false");
}

static void write_numbers(struct buffer *out, const double *numbers, int count, int stride)
{
    buffer_text(out, "[");
    for (int i = 0; i < count; i++) {
        if (i) buffer_text(out, ", ");
        json_number(out, numbers[i * stride]);
    }
    buffer_text(out, "]");
}

static void write_kind(struct buffer *out, const struct coordcheck *check, int moved)
{
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "kind", moved_name((enum moved)moved));
    write_flag(out, &first, "pass", check->passed[moved]);
    member_number(out, &first, "worst_slope", check->worst[moved]);
    json_key(out, &first, "slopes");
    write_numbers(out, &check->slope[0][moved], check->options.steps, MOVED_COUNT);
    json_key(out, &first, "moves");
    buffer_text(out, "[");
    for (int size = 0; size < check->options.size_count; size++) {
        if (size) buffer_text(out, ", ");
        write_numbers(out, &check->move[size][0][moved], check->options.steps, MOVED_COUNT);
    }
    buffer_text(out, "]}");
}

static void write_check(struct buffer *out, const struct coordcheck *check)
{
    bool first = true, any = false;
    buffer_text(out, "{");
    member_text(out, &first, "parametrization", parametrization_name(check->options.parametrization));
    member_text(out, &first, "axis", axis_name(check));
    json_key(out, &first, "sizes");
    for (int i = 0; i < check->options.size_count; i++) buffer_format(out, "%s%d", i ? ", " : "[", check->options.sizes[i]);
    buffer_text(out, "]");
    write_flag(out, &first, "pass", check->pass);
    json_key(out, &first, "kinds");
    buffer_text(out, "[");
    for (int moved = 0; moved < MOVED_COUNT; moved++) {
        if (!check->measured[moved]) continue;
        if (any) buffer_text(out, ", ");
        write_kind(out, check, moved);
        any = true;
    }
    buffer_text(out, "]}");
}

void response_coordcheck(struct buffer *out, const struct coordcheck *checks, int count)
{
    const struct coordcheck_options *options = &checks->options;
    int rows;
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "optimizer", optimizer_rows(&rows)[options->optimizer].name);
    member_number(out, &first, "learning_rate", options->learning_rate);
    member_unsigned(out, &first, "steps", (uint64_t)options->steps);
    member_unsigned(out, &first, "seeds", (uint64_t)options->seeds);
    member_number(out, &first, "tolerance", options->tolerance);
    json_key(out, &first, "base");
    buffer_format(out, "{\"layers\": %d, \"width\": %d}", options->base.layers, options->base.width);
    json_key(out, &first, "checks");
    for (int i = 0; i < count; i++) {
        buffer_text(out, i ? ", " : "[");
        write_check(out, &checks[i]);
    }
    buffer_text(out, "]}");
}

/* ---- text ---- */

enum { COLUMN = 9, COLUMNS_MAX = 80, NAME = 14 };

/* Sizes that fit beside name, step and slope: the first ones and the last. */
static int shown_sizes(const struct coordcheck *check, int shown[COORDCHECK_SIZES_MAX])
{
    const int room = (COLUMNS_MAX - NAME - 5 - 8) / COLUMN, all = check->options.size_count;
    const int count = all < room ? all : room;
    for (int i = 0; i < count; i++) shown[i] = i == count - 1 ? all - 1 : i;
    return count;
}

static void text_kind(struct buffer *out, const struct coordcheck *check, int moved, const int *shown, int count)
{
    for (int step = 0; step < check->options.steps; step++) {
        buffer_format(out, "%-*s%5d", NAME, step ? "" : moved_name((enum moved)moved), step + 1);
        for (int i = 0; i < count; i++) buffer_format(out, "%*.3g", COLUMN, check->move[shown[i]][step][moved]);
        buffer_format(out, "  %+6.2f\n", check->slope[step][moved]);
    }
}

static void text_verdict(struct buffer *out, const struct coordcheck *check)
{
    const char *separator = "";
    if (check->pass) {
        buffer_format(out, "%s passes over %s: updates keep their size (slopes within %g).\n\n",
                      parametrization_name(check->options.parametrization), axis_name(check), check->options.tolerance);
        return;
    }
    buffer_format(out, "%s fails over %s:", parametrization_name(check->options.parametrization), axis_name(check));
    for (int moved = 0; moved < MOVED_COUNT; moved++) {
        if (!check->measured[moved] || check->passed[moved]) continue;
        buffer_format(out, "%s\n  %s: updates %s with the %s (slope %+.2f)", separator, moved_name((enum moved)moved),
                      check->worst[moved] > 0 ? "grow" : "shrink", axis_name(check), check->worst[moved]);
        separator = ",";
    }
    buffer_text(out, ".\n\n");
}

static void text_check(struct buffer *out, const struct coordcheck *check)
{
    int shown[COORDCHECK_SIZES_MAX];
    const int count = shown_sizes(check, shown);
    buffer_format(out, "%s, %s\n%-*s%5s", parametrization_name(check->options.parametrization), axis_name(check), NAME,
                  "moved by", "step");
    for (int i = 0; i < count; i++) buffer_format(out, "%*d", COLUMN, check->options.sizes[shown[i]]);
    buffer_text(out, "   slope\n");
    for (int moved = 0; moved < MOVED_COUNT; moved++)
        if (check->measured[moved]) text_kind(out, check, moved, shown, count);
    text_verdict(out, check);
}

void response_coordcheck_text(struct buffer *out, const struct coordcheck *checks, int count)
{
    const struct coordcheck_options *options = &checks->options;
    int rows;
    buffer_format(out, "How far updates move the logits of predicted tokens: %s, rate %g, %d seed%s.\n"
                       "Base: width %d, %d layers.\nSlopes are of ln(move) over ln(size); at 0 the rate transfers.\n\n",
                  optimizer_rows(&rows)[options->optimizer].name, options->learning_rate, options->seeds,
                  options->seeds == 1 ? "" : "s", options->base.width, options->base.layers);
    for (int i = 0; i < count; i++) text_check(out, &checks[i]);
}
