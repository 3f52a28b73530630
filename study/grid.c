/* The evaluation grid: geometric points that decide, regular ones for drawing. */
#include "study/curve.h"

#include <inttypes.h>

#include "base/memory.h"

/* The distinct floor(4 * 1.2^n), one after the other. 4 * 1.2^n = 4 * 6^n / 5^n is an integer for n = 0 only and
 * stays far from one compared with the rounding of the repeated product, so the floors are exact. */
enum { GEOMETRIC_FIRST = 4 };
static const double geometric_ratio = 1.2;

struct geometric { double value; };

static uint64_t geometric_after(struct geometric *sequence, uint64_t step)
{
    const double beyond = 9e18;    /* below 2^63: the conversion is defined */
    while (sequence->value < beyond && (uint64_t)sequence->value <= step)
        sequence->value *= geometric_ratio;
    return sequence->value < beyond ? (uint64_t)sequence->value : UINT64_MAX;
}

static uint64_t multiple_after(uint64_t every, uint64_t step)
{
    if (every == 0 || step / every >= UINT64_MAX / every)
        return UINT64_MAX;
    return (step / every + 1) * every;
}

static int grid_alloc(struct grid *grid, size_t points, struct error *error)
{
    grid->steps = memory_array(points, sizeof *grid->steps);
    grid->geometric = memory_array(points, sizeof *grid->geometric);
    if (grid->steps && grid->geometric)
        return 0;
    grid_fini(grid);
    return error_set(error, ERROR_NO_MEMORY, "no memory for %zu evaluation points", points);
}

int grid_init(struct grid *grid, uint64_t last, uint64_t every, struct error *error)
{
    *grid = (struct grid){ 0 };
    if (every && last / every > GRID_REGULAR_MAX)
        return error_set_at(error, ERROR_INVALID, "/selection/evaluate_every",
                            "an evaluation every %" PRIu64 " steps up to step %" PRIu64 " would be more than %d "
                            "points; give at least %" PRIu64, every, last, GRID_REGULAR_MAX,
                            last / GRID_REGULAR_MAX + 1);
    size_t most = GRID_GEOMETRIC_MAX + 2 + (every ? (size_t)(last / every) : 0);
    if (grid_alloc(grid, most, error))
        return ERROR_NO_MEMORY;

    struct geometric sequence = { GEOMETRIC_FIRST };
    grid->geometric[0] = last == 0;
    grid->count = 1;
    for (uint64_t step = 0; step < last;) {
        uint64_t geometric = geometric_after(&sequence, step), multiple = multiple_after(every, step);
        uint64_t next = geometric < multiple ? geometric : multiple;
        if (next > last)
            next = last;
        grid->steps[grid->count] = next;
        grid->geometric[grid->count++] = next == geometric || next == last;
        step = next;
    }
    return 0;
}

int grid_add(struct grid *grid, uint64_t every, struct error *error)
{
    struct grid all;
    uint64_t last = grid->count > 0 ? grid->steps[grid->count - 1] : 0;
    if (every == 0)
        return 0;
    if (last / every > GRID_REGULAR_MAX)
        return error_set_at(error, ERROR_INVALID, "/landscape/every", "a measurement every %" PRIu64 " steps up to step %" PRIu64
                            " would be more than %d; give at least %" PRIu64, every, last, GRID_REGULAR_MAX,
                            last / GRID_REGULAR_MAX + 1);
    if (grid_alloc(&all, (size_t)grid->count + (size_t)(last / every), error))
        return ERROR_NO_MEMORY;
    all.count = 0;
    uint64_t multiple = every;
    for (int i = 0; i < grid->count; i++) {
        for (; multiple < grid->steps[i]; multiple += every)
            all.steps[all.count++] = multiple;
        if (multiple == grid->steps[i])
            multiple += every;
        all.steps[all.count] = grid->steps[i];
        all.geometric[all.count++] = grid->geometric[i];
    }
    grid_fini(grid);
    *grid = all;
    return 0;
}

void grid_round(struct grid *grid, uint64_t steps)
{
    const uint64_t last = grid->count ? grid->steps[grid->count - 1] : 0;
    int kept = 0;
    for (int i = 0; i < grid->count; i++) {
        uint64_t step = grid->steps[i], over = step % steps;
        bool geometric = grid->geometric[i];
        step = over && step < last ? step - over + steps : step;
        step = step < last ? step : last;
        if (kept > 0 && grid->steps[kept - 1] == step)
            geometric |= grid->geometric[--kept];
        grid->steps[kept] = step;
        grid->geometric[kept++] = geometric;
    }
    grid->count = kept;
}

void grid_fini(struct grid *grid)
{
    memory_free(grid->steps);
    memory_free(grid->geometric);
    *grid = (struct grid){ 0 };
}

/* Index of the first point after `step`. */
static int grid_position(const struct grid *grid, uint64_t step)
{
    int low = 0, high = grid->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (grid->steps[middle] <= step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool grid_has(const struct grid *grid, uint64_t step)
{
    int after = grid_position(grid, step);
    return after > 0 && grid->steps[after - 1] == step;
}

bool grid_is_geometric(const struct grid *grid, uint64_t step)
{
    int after = grid_position(grid, step);
    return after > 0 && grid->steps[after - 1] == step && grid->geometric[after - 1];
}

uint64_t grid_next(const struct grid *grid, uint64_t step)
{
    int after = grid_position(grid, step);
    if (grid->count == 0)
        return 0;
    return grid->steps[after < grid->count ? after : grid->count - 1];
}
