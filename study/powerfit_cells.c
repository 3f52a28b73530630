#include "study/powerfit_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define ORDER(x, y) (((x) > (y)) - ((x) < (y)))

static int same_cell(const struct power_run *x, const struct power_run *y)
{
    int order = ORDER((double)x->batch * x->context, (double)y->batch * y->context);
    if (!order)
        order = ORDER(x->batch, y->batch);
    return order ? order : ORDER(x->tokens, y->tokens);
}

int power_run_order(const void *a, const void *b)
{
    const struct power_run *x = a, *y = b;
    int order = same_cell(x, y);
    if (!order)
        order = ORDER(x->rate, y->rate);
    return order ? order : ORDER(x->seed, y->seed);
}

static int check_run(const struct power_run *run, struct error *error)
{
    if (run->batch < 1 || run->context < 1 || !(run->rate > 0 && run->rate <= 1000)
        || (double)run->tokens < (double)run->batch * run->context || run->tokens > (uint64_t)1 << 53)
        return error_set(error, ERROR_INVALID, "a run of %llu tokens in batches of %d x %d at the rate %g is none",
                         (unsigned long long)run->tokens, run->batch, run->context, run->rate);
    return 0;
}

/* Adds a run to the last cell's last rate, or opens either. */
static int add_run(struct power_fit *fit, struct cell_runs *cells, const struct power_run *run, const struct power_run *before,
                   struct error *error)
{
    if (!before || same_cell(before, run)) {
        if (fit->cell_count == POWER_CELLS_MAX)
            return error_set(error, ERROR_INVALID, "the runs have more than %d combinations of batch, context and length",
                             POWER_CELLS_MAX);
        fit->cells[fit->cell_count++] = (struct power_cell){ .tokens = run->tokens, .batch = run->batch,
                                                             .context = run->context };
        before = NULL;
    }
    struct power_cell *cell = &fit->cells[fit->cell_count - 1];
    struct cell_runs *of_cell = &cells[fit->cell_count - 1];
    if (!before || before->rate < run->rate) {
        if (cell->rate_count == POWER_RATES_MAX)
            return error_set(error, ERROR_INVALID, "more than %d rates at a batch of %d x %d and %llu tokens", POWER_RATES_MAX,
                             run->batch, run->context, (unsigned long long)run->tokens);
        cell->rates[cell->rate_count++] = run->rate;
    } else if (before->seed == run->seed) {
        return error_set(error, ERROR_INVALID, "there are two runs of %llu tokens in batches of %d x %d at the rate %g with seed "
                         "%llu; leave one", (unsigned long long)run->tokens, run->batch, run->context, run->rate,
                         (unsigned long long)run->seed);
    }
    int *count = &of_cell->counts[cell->rate_count - 1];
    if (*count == POWER_SEEDS_MAX)
        return error_set(error, ERROR_INVALID, "more than %d seeds at a batch of %d x %d, %llu tokens and the rate %g",
                         POWER_SEEDS_MAX, run->batch, run->context, (unsigned long long)run->tokens, run->rate);
    of_cell->losses[cell->rate_count - 1][(*count)++] = run->loss;
    return 0;
}

static void take_means(struct power_cell *cell, const struct cell_runs *of_cell)
{
    for (int i = 0; i < cell->rate_count; i++) {
        double sum = 0;
        for (int s = 0; s < of_cell->counts[i]; s++)
            sum += of_cell->losses[i][s];
        cell->losses[i] = sum / of_cell->counts[i];
    }
}

int cell_runs_new(const struct power_run *runs, int count, struct power_fit *fit, struct cell_runs **cells, struct error *error)
{
    struct power_run *sorted = memory_array((size_t)(count > 0 ? count : 1), sizeof *sorted);
    *cells = memory_array(POWER_CELLS_MAX, sizeof **cells);
    if (!sorted || !*cells)
        error_set(error, ERROR_NO_MEMORY, "no memory for fitting the power law");
    else if (count > 0)
        memcpy(sorted, runs, (size_t)count * sizeof *sorted);
    if (!error->code)
        qsort(sorted, (size_t)count, sizeof *sorted, power_run_order);
    for (int i = 0; i < count && !error->code; i++)
        if (check_run(&sorted[i], error) == 0)
            add_run(fit, *cells, &sorted[i], i > 0 ? &sorted[i - 1] : NULL, error);
    for (int i = 0; i < fit->cell_count && !error->code; i++)
        take_means(&fit->cells[i], &(*cells)[i]);
    memory_free(sorted);
    if (error->code) {
        cell_runs_free(*cells);
        *cells = NULL;
    }
    return (int)error->code;
}

void cell_runs_free(struct cell_runs *cells)
{
    memory_free(cells);
}

double cell_runs_mean(const struct cell_runs *cell, int rate, const double uniform[POWER_SEEDS_MAX])
{
    double sum = 0;
    int count = cell->counts[rate];
    for (int s = 0; s < count; s++)
        sum += cell->losses[rate][(int)(uniform[s] * count)];
    return sum / count;
}
