#include "study/curve.h"

#include <inttypes.h>
#include <string.h>

#include "base/memory.h"

enum { CURVE_FIRST_CAPACITY = 32 };

void curve_init(struct curve *curve, int windows)
{
    *curve = (struct curve){ .windows = windows };
}

void curve_fini(struct curve *curve)
{
    for (int i = 0; i < curve->count; i++)
        memory_free(curve->points[i].losses);
    memory_free(curve->points);
    *curve = (struct curve){ .windows = curve->windows };
}

/* Index of the first point at or after `step`; count if there is none. */
static int curve_position(const struct curve *curve, uint64_t step)
{
    int low = 0, high = curve->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (curve->points[middle].step < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int curve_reserve(struct curve *curve, struct error *error)
{
    if (curve->count < curve->capacity)
        return 0;
    int capacity = curve->capacity ? 2 * curve->capacity : CURVE_FIRST_CAPACITY;
    struct point *points = memory_resize(curve->points, (size_t)capacity * sizeof *points);
    if (!points)
        return error_set(error, ERROR_NO_MEMORY, "no memory for a curve of %d points", capacity);
    curve->points = points;
    curve->capacity = capacity;
    return 0;
}

int curve_append(struct curve *curve, const struct point *point, struct error *error)
{
    int at = curve_position(curve, point->step);
    bool replaces = at < curve->count && curve->points[at].step == point->step;
    if (!point->losses && curve->windows > 0)
        return error_set(error, ERROR_INTERNAL, "the evaluation at step %" PRIu64 " has no window losses", point->step);

    if (!replaces && curve_reserve(curve, error))
        return ERROR_NO_MEMORY;
    size_t windows = curve->windows > 0 ? (size_t)curve->windows : 0;
    float *losses = memory_array(windows, sizeof *losses);
    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the losses of %d validation windows", curve->windows);
    if (windows)
        memcpy(losses, point->losses, windows * sizeof *losses);
    if (replaces)
        memory_free(curve->points[at].losses);
    else
        memmove(&curve->points[at + 1], &curve->points[at], (size_t)(curve->count++ - at) * sizeof *curve->points);
    curve->points[at] = *point;
    curve->points[at].losses = losses;
    return 0;
}

const struct point *curve_at(const struct curve *curve, uint64_t step)
{
    int at = curve_position(curve, step);
    return at < curve->count && curve->points[at].step == step ? &curve->points[at] : NULL;
}

const struct point *curve_last(const struct curve *curve)
{
    return curve->count ? &curve->points[curve->count - 1] : NULL;
}

void curve_truncate(struct curve *curve, uint64_t step)
{
    while (curve->count && curve->points[curve->count - 1].step > step)
        memory_free(curve->points[--curve->count].losses);
}
