#include "api/transfer.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>

#include "api/response_parts.h"

/* Mean over seeds; NaN if a run has none. */
static double mean_of(const struct transfer_sweep *sweep, int size, int rate, size_t offset)
{
    double sum = 0;
    for (int seed = 0; seed < sweep->seeds; seed++)
        sum += *(const double *)((const char *)&sweep->runs[size][rate][seed] + offset);
    return sum / sweep->seeds;
}

static double sharpness_of(const struct transfer_sweep *sweep, int size, int rate)
{
    return mean_of(sweep, size, rate, offsetof(struct transfer_run, sharpness));
}

static double ratio_of(const struct transfer_sweep *sweep, int size, int rate)
{
    return mean_of(sweep, size, rate, offsetof(struct transfer_run, stability_ratio));
}

/* ---- text ---- */

static void cell(struct buffer *out, const char *format, double value, bool diverged)
{
    char text[32];
    if (isfinite(value)) snprintf(text, sizeof text, format, value);
    else snprintf(text, sizeof text, "%s", diverged ? "diverged" : "-");
    buffer_format(out, " %10s", text);
}

static int best_rate(const struct transfer_sweep *sweep, enum transfer_size size)
{
    int best = -1;
    for (int i = 0; i < sweep->rates; i++) {
        const double loss = transfer_loss(sweep, size, i);
        if (isfinite(loss) && (best < 0 || loss < transfer_loss(sweep, size, best))) best = i;
    }
    return best;
}

void response_transfer_text(struct buffer *out, const struct transfer_view *view)
{
    const struct transfer_sweep *sweep = view->sweep;
    const struct transfer_verdict *verdict = view->verdict;
    buffer_format(out, "small: %s\ngrown: %s\n%llu steps, %s parametrization, %d seed%s, %d validation windows\n\n", view->small,
                  view->grown, (unsigned long long)view->steps, view->parametrization, sweep->seeds, sweep->seeds == 1 ? "" : "s",
                  sweep->windows);
    buffer_format(out, "%10s  %10s %10s %10s  %10s\n", "", "small", "", "", "grown");
    buffer_format(out, "%10s  %10s %10s %10s  %10s %10s %10s\n", "rate", "loss", "sharpness", "stability", "loss", "sharpness",
                  "stability");
    for (int i = 0; i < sweep->rates; i++) {
        buffer_format(out, "%10.3g ", sweep->rate[i]);
        for (int size = 0; size < TRANSFER_SIZES; size++) {
            const double loss = transfer_loss(sweep, (enum transfer_size)size, i);
            cell(out, best_rate(sweep, (enum transfer_size)size) == i ? "*%.4f" : "%.4f", loss, true);
            cell(out, "%.4g", sharpness_of(sweep, size, i), false);
            cell(out, "%.3g", ratio_of(sweep, size, i), false);
            buffer_text(out, size == 0 ? " " : "\n");
        }
    }
    buffer_text(out, "\n");
    for (int size = 0; size < TRANSFER_SIZES && isfinite(verdict->best[size].middle); size++)
        buffer_format(out, "best rate, %s: %.3g (%.3g to %.3g)\n", transfer_size_name((enum transfer_size)size),
                      verdict->best[size].middle, verdict->best[size].low, verdict->best[size].high);
    text_wrap(out, verdict->reason, 80, 0);
}

/* ---- JSON ---- */

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

static void write_run(struct buffer *out, const struct transfer_sweep *sweep, int size, int rate, int seed)
{
    const struct transfer_run *run = &sweep->runs[size][rate][seed];
    bool first = true;
    buffer_text(out, "{");
    member_text(out, &first, "size", transfer_size_name((enum transfer_size)size));
    member_number(out, &first, "learning_rate", sweep->rate[rate]);
    member_number(out, &first, "seed", (double)(sweep->seed + (uint64_t)seed));
    json_key(out, &first, "diverged");
    buffer_text(out, run->diverged ? "true" : "false");
    member_number(out, &first, "loss", run->loss);
    member_number(out, &first, "sharpness", run->sharpness);
    member_number(out, &first, "preconditioned", run->preconditioned);
    member_number(out, &first, "stability_ratio", run->stability_ratio);
    buffer_text(out, "}");
}

void response_transfer_json(struct buffer *out, const struct transfer_view *view)
{
    const struct transfer_sweep *sweep = view->sweep;
    const struct transfer_verdict *verdict = view->verdict;
    bool first = true, comma = false;
    buffer_text(out, "{");
    member_text(out, &first, "answer", transfer_answer_name(verdict->answer));
    member_text(out, &first, "reason", verdict->reason);
    member_number(out, &first, "learning_rate", verdict->recommended);
    write_interval(out, &first, "best_small", &verdict->best[TRANSFER_SMALL]);
    write_interval(out, &first, "best_grown", &verdict->best[TRANSFER_GROWN]);
    write_interval(out, &first, "ratio", &verdict->ratio);
    write_interval(out, &first, "cost", &verdict->cost);
    member_number(out, &first, "tolerance", sweep->tolerance);
    member_text(out, &first, "small", view->small);
    member_text(out, &first, "grown", view->grown);
    member_text(out, &first, "parametrization", view->parametrization);
    member_unsigned(out, &first, "steps", view->steps);
    member_number(out, &first, "windows", sweep->windows);
    json_key(out, &first, "runs");
    buffer_text(out, "[");
    for (int size = 0; size < TRANSFER_SIZES; size++)
        for (int rate = 0; rate < sweep->rates; rate++)
            for (int seed = 0; seed < sweep->seeds; seed++) {
                buffer_text(out, comma ? ",\n " : "\n ");
                write_run(out, sweep, size, rate, seed);
                comma = true;
            }
    buffer_text(out, "]}\n");
}
