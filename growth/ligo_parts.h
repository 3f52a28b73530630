/* What growth/ligo.c (sizes, memory, start) and growth/ligo_map.c (products) share. Internal to the two. */
#ifndef GROWTH_LIGO_PARTS_H
#define GROWTH_LIGO_PARTS_H

#include "growth/ligo.h"
#include "model/kernels_ops.h"

/* New units of a kind that lie side by side: rows [begin, begin + count) of its matrices, `before` new ones above them. */
struct ligo_run { int begin, count, before; };
struct ligo_runs { struct ligo_run *of; int count, fresh; };   /* owned; fresh: new units in all */

/* What the rows of a matrix count. RUNS_ALL: depth mixing, learned throughout. */
enum ligo_rows { RUNS_WIDTH, RUNS_HEADS, RUNS_KV, RUNS_FF, RUNS_HEAD_COUNT, RUNS_ALL, RUNS_COUNT };

/* A (new units, old units) or w (new blocks, old blocks), row-major. */
struct ligo_matrix {
    bool used;
    enum ligo_rows kind;
    int rows, columns;
    size_t values, learned;      /* first number in ligo->values; of its learned rows in ligo->gradient */
};

/* Numbers of matrices: the stream's, one for each stack's table of relative positions; then BLOCK_MATRICES per new block (q,
 * k, v, o of its first and of its second attention, MLP); then w per row of the layout. */
enum { MATRIX_STREAM, MATRIX_RELATIVE, MATRIX_BLOCKS = MATRIX_RELATIVE + 2 };
enum { BLOCK_QUERY, BLOCK_KEY, BLOCK_VALUE, BLOCK_OUT, BLOCK_ATTENTION, BLOCK_FF = 2 * BLOCK_ATTENTION, BLOCK_MATRICES };

/* Room for what lies between two products. */
enum ligo_room { ROOM_MIXED, ROOM_D_MIXED, ROOM_WIDE, ROOM_D_WIDE, ROOM_COUNT };

struct ligo {
    const struct kernels *kernels;
    const struct growth_plan_stage *stage;
    const struct tensor_table *before, *after;
    const struct layout *layout;
    struct ligo_runs runs[RUNS_ALL];
    struct ligo_matrix *matrices;    /* owned; numbers as above */
    int matrix_count, part_count;
    size_t value_count, learned;
    void *values, *gradient;         /* kernels' */
    void *rooms[ROOM_COUNT], *one;   /* kernels'; one: the number 1 */
    size_t room_counts[ROOM_COUNT];
    double flops;                    /* of the products so far */
};

/* An axis of a tensor: up to three runs of units side by side, each with a matrix. */
struct ligo_segment { int matrix, old_at, new_at, old_count, new_count; };
struct ligo_side { int count; struct ligo_segment segments[3]; };   /* count 0: the axis stays */
struct ligo_side ligo_side_of(const struct ligo *ligo, const struct tensor *to, int which);

/* How a tensor comes from those before. */
struct ligo_route {
    const struct tensor *from;       /* of the block of the same number, or the first of all that are mixed */
    int mixed;                       /* blocks that are mixed; 0: none are */
    size_t stride;                   /* numbers from a mixed tensor to the next */
    int matrix, row;                 /* w, and which of its rows */
    struct ligo_side rows, columns;
    int old_rows, old_columns, new_rows, new_columns;
    double factor;
};
struct ligo_route ligo_route_of(const struct ligo *ligo, const struct tensor *to);

const struct ligo_runs *ligo_runs_of(const struct ligo *ligo, const struct ligo_matrix *matrix, struct ligo_run *all,
                                     struct ligo_runs *room);

#endif
