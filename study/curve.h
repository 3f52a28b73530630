/* Curve: ordered points of one trial. A point keeps the per-window validation losses as the float32 values that are
 * stored, so that every decision is a function of stored values and comes out the same after a crash. Pure values,
 * no I/O. */
#ifndef STUDY_CURVE_H
#define STUDY_CURVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "trainer/landscape.h"

struct point {
    uint64_t step, tokens;
    double flops;                  /* logical training FLOPs spent up to here */
    double loss, standard_error;   /* on the averaged weights, over all windows */
    double raw_loss;               /* on the raw weights, over the raw share of the windows */
    double learning_rate;          /* of the next update */
    struct landscape_values landscape;   /* where it was measured */
    float *losses;                 /* per window; owned by the curve; count: curve->windows */
};

struct curve {
    struct point *points;          /* ascending steps */
    int count, capacity;
    int windows;                   /* W */
};

void curve_init(struct curve *curve, int windows);
void curve_fini(struct curve *curve);
/* Appends a copy of `point` (and of its losses). A step that is already there is replaced (a redone point after a
 * crash is bitwise the same); an earlier step that is not there takes its place (one that was lost
 * while a later one was stored). ERROR_INTERNAL without losses; ERROR_NO_MEMORY. */
int curve_append(struct curve *curve, const struct point *point, struct error *error);
const struct point *curve_at(const struct curve *curve, uint64_t step);      /* NULL: no point there */
const struct point *curve_last(const struct curve *curve);                  /* NULL: empty */
/* Forgets the points after `step` (recovery: they will be redone). */
void curve_truncate(struct curve *curve, uint64_t step);

/* The evaluation grid up to `last`: 0, the distinct floor(4 * 1.2^n), multiples of `every` (0: none), and `last`
 * itself. Steps ascending; geometric[i]: a geometric point or the last, the points that decide. Caller frees with
 * grid_fini. ERROR_INVALID: `every` gives more than GRID_REGULAR_MAX points; ERROR_NO_MEMORY. */
enum { GRID_REGULAR_MAX = 100000,
       GRID_GEOMETRIC_MAX = 256 };   /* 1.2^n passes 2^64 before */
struct grid { uint64_t *steps; bool *geometric; int count; };
int grid_init(struct grid *grid, uint64_t last, uint64_t every, struct error *error);
/* Adds the multiples of `every` (0: none) up to the last step, as regular points. ERROR_INVALID (too many), ERROR_NO_MEMORY. */
int grid_add(struct grid *grid, uint64_t every, struct error *error);
/* Rounds every point up to a multiple of `steps` (the rounds of K-AVG), at most the last; a point that decides still does. */
void grid_round(struct grid *grid, uint64_t steps);
void grid_fini(struct grid *grid);
bool grid_has(const struct grid *grid, uint64_t step);
bool grid_is_geometric(const struct grid *grid, uint64_t step);   /* 0 is not, unless it is the last */
uint64_t grid_next(const struct grid *grid, uint64_t step);    /* the first point > step; `last` if none */

#endif
