/* How a learned map begins, and which of its numbers are learned. */
#include "growth/ligo_parts.h"

#include <stdio.h>

#include "base/memory.h"

static const double DEPTH_NOISE = 0.03;     /* the authors' fuse_init_noise */

/* Row `row` from U(0, most), but `sure` (-1: none) 1; divided by its sum. */
static void draw_row(struct rng *rng, double most, int sure, double *row, int columns)
{
    double sum = 0;
    for (int i = 0; i < columns; i++) {
        row[i] = most * rng_uniform(rng);
        if (i == sure)
            row[i] = 1;
        sum += row[i];
    }
    for (int i = 0; i < columns; i++)
        row[i] = sum > 0 ? row[i] / sum : 1.0 / columns;
}

/* Which old unit a row of A is, -1 for a new one. */
static int old_unit(const struct ligo *ligo, enum ligo_rows kind, int row)
{
    static const enum unit_kind KINDS[] = {
        [RUNS_WIDTH] = UNIT_WIDTH, [RUNS_HEADS] = UNIT_HEADS, [RUNS_KV] = UNIT_KV, [RUNS_FF] = UNIT_FF,
        [RUNS_HEAD_COUNT] = UNIT_HEADS,
    };
    int size = kind == RUNS_HEADS || kind == RUNS_KV ? ligo->stage->to.head_size : 1;
    int source = ligo->stage->units[KINDS[kind]].source[row / size];
    return source < 0 ? -1 : source * size + row % size;
}

static void fill_row(const struct ligo *ligo, const struct ligo_matrix *matrix, int row, struct rng *rng, double *numbers)
{
    int old = matrix->kind == RUNS_ALL ? -1 : old_unit(ligo, matrix->kind, row);
    for (int i = 0; i < matrix->columns; i++)
        numbers[i] = i == old;
    if (matrix->kind == RUNS_ALL)
        draw_row(rng, DEPTH_NOISE, row % matrix->columns, numbers, matrix->columns);
    else if (old < 0)
        draw_row(rng, 1, -1, numbers, matrix->columns);
}

static void upload_row(const struct ligo *ligo, size_t at, const double *numbers, float *narrow, int columns)
{
    const struct kernels *kernels = ligo->kernels;
    void *to = numbers_at(kernels->element, ligo->values, at);
    if (kernels->element == sizeof *numbers) {
        kernels->upload(to, numbers, (size_t)columns * sizeof *numbers);
        return;
    }
    for (int i = 0; i < columns; i++)
        narrow[i] = (float)numbers[i];
    kernels->upload(to, narrow, (size_t)columns * sizeof *narrow);
}

int ligo_start(struct ligo *ligo, const struct growth_transform *transform, struct error *error)
{
    int most = 0;
    for (int i = 0; i < ligo->matrix_count; i++)
        if (ligo->matrices[i].used && ligo->matrices[i].columns > most)
            most = ligo->matrices[i].columns;
    double *numbers = memory_array((size_t)most, sizeof *numbers);
    float *narrow = memory_array((size_t)most, sizeof *narrow);
    bool there = numbers != NULL && narrow != NULL;
    for (int i = 0; there && i < ligo->matrix_count; i++) {
        const struct ligo_matrix *matrix = &ligo->matrices[i];
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        struct rng rng = growth_transform_stream(transform, "learned", name);
        for (int row = 0; matrix->used && row < matrix->rows; row++) {
            fill_row(ligo, matrix, row, &rng, numbers);
            upload_row(ligo, matrix->values + (size_t)row * (size_t)matrix->columns, numbers, narrow, matrix->columns);
        }
    }
    memory_free(numbers);
    memory_free(narrow);
    return there ? 0 : error_set(error, ERROR_NO_MEMORY, "no memory to begin a learned growth");
}

/* ---- the learned numbers ---- */

int ligo_part_count(const struct ligo *ligo)
{
    return ligo->part_count;
}

struct ligo_part ligo_part_at(const struct ligo *ligo, int part)
{
    struct ligo_run all;
    struct ligo_runs room;
    const struct ligo_matrix *matrix = ligo->matrices;
    const struct ligo_runs *runs = ligo_runs_of(ligo, matrix, &all, &room);
    while (!matrix->used || part >= runs->count) {
        part -= matrix->used ? runs->count : 0;
        matrix++;
        runs = ligo_runs_of(ligo, matrix, &all, &room);
    }
    const struct ligo_run *run = &runs->of[part];
    size_t columns = (size_t)matrix->columns, first = matrix->values + (size_t)run->begin * columns;
    return (struct ligo_part){numbers_at(ligo->kernels->element, ligo->values, first),
                              matrix->learned + (size_t)run->before * columns, (size_t)run->count * columns};
}

size_t ligo_learned(const struct ligo *ligo)
{
    return ligo->learned;
}

void *ligo_gradient(const struct ligo *ligo)
{
    return ligo->gradient;
}
