/* The map and its adjoint, tensor by tensor: mix blocks, then rows, then columns.
 *
 *     mixed = sum_j w_lj W_j      wide = A_out mixed      W' = factor wide A_in^T
 *
 * Steps that a tensor does not have are left out, and the last one it has writes W'. Where nothing is allocated the
 * products are only counted. */
#include "growth/ligo_parts.h"

static void *place(const struct ligo *ligo, void *numbers, size_t index)
{
    return numbers == NULL ? NULL : numbers_at(ligo->kernels->element, numbers, index);
}

static const void *place_const(const struct ligo *ligo, const void *numbers, size_t index)
{
    return numbers == NULL ? NULL : numbers_at_const(ligo->kernels->element, numbers, index);
}

static void multiply(struct ligo *ligo, const struct product *product, const void *a, const void *b, void *c)
{
    ligo->flops += 2.0 * product->m * product->n * product->k;
    if (ligo->values != NULL)
        ligo->kernels->ops->product(product, a, b, c);
}

static const void *matrix_values(const struct ligo *ligo, int matrix)
{
    return place_const(ligo, ligo->values, ligo->matrices[matrix].values);
}

/* ---- forward ---- */

static void mix(struct ligo *ligo, const struct ligo_route *route, const void *from, double factor, void *out)
{
    const int count = (int)route->from->count;
    const struct product product = {.m = 1, .n = count, .k = route->mixed, .lda = route->mixed,
                                    .ldb = (int)route->stride, .ldc = count, .alpha = factor};
    multiply(ligo, &product, place_const(ligo, matrix_values(ligo, route->matrix), (size_t)(route->row * route->mixed)),
             from, out);
}

static void scale(struct ligo *ligo, size_t count, double factor, const void *from, void *out)
{
    const struct product product = {.m = 1, .n = (int)count, .k = 1, .lda = 1, .ldb = (int)count, .ldc = (int)count,
                                    .alpha = factor};
    multiply(ligo, &product, ligo->one, from, out);
}

/* out (new_rows, old_columns) = factor A from (old_rows, old_columns) */
static void widen_rows(struct ligo *ligo, const struct ligo_route *route, const void *from, double factor, void *out)
{
    const int columns = route->old_columns;
    for (int i = 0; i < route->rows.count; i++) {
        const struct ligo_segment *it = &route->rows.segments[i];
        const struct product product = {.m = it->new_count, .n = columns, .k = it->old_count, .lda = it->old_count,
                                        .ldb = columns, .ldc = columns, .alpha = factor};
        multiply(ligo, &product, matrix_values(ligo, it->matrix),
                 place_const(ligo, from, (size_t)it->old_at * (size_t)columns),
                 place(ligo, out, (size_t)it->new_at * (size_t)columns));
    }
}

/* out (new_rows, new_columns) = factor from (new_rows, old_columns) A^T */
static void widen_columns(struct ligo *ligo, const struct ligo_route *route, const void *from, double factor, void *out)
{
    for (int i = 0; i < route->columns.count; i++) {
        const struct ligo_segment *it = &route->columns.segments[i];
        const struct product product = {
            .m = route->new_rows, .n = it->new_count, .k = it->old_count, .transpose_b = true,
            .lda = route->old_columns, .ldb = it->old_count, .ldc = route->new_columns, .alpha = factor,
        };
        multiply(ligo, &product, place_const(ligo, from, (size_t)it->old_at), matrix_values(ligo, it->matrix),
                 place(ligo, out, (size_t)it->new_at));
    }
}

/* What the adjoint needs again: the tensor before its rows and before its columns are widened. */
struct between { const void *mixed, *wide; };

static struct between walk(struct ligo *ligo, const struct ligo_route *route, const void *before)
{
    struct between between;
    between.mixed = place_const(ligo, before, route->from->offset);
    bool rows = route->rows.count > 0, columns = route->columns.count > 0;
    if (route->mixed > 0 && (rows || columns)) {
        mix(ligo, route, between.mixed, 1, ligo->rooms[ROOM_MIXED]);
        between.mixed = ligo->rooms[ROOM_MIXED];
    }
    between.wide = between.mixed;
    if (rows && columns) {
        widen_rows(ligo, route, between.mixed, 1, ligo->rooms[ROOM_WIDE]);
        between.wide = ligo->rooms[ROOM_WIDE];
    }
    return between;
}

static void materialize_tensor(struct ligo *ligo, const struct tensor *to, const void *before, void *after)
{
    const struct ligo_route route = ligo_route_of(ligo, to);
    void *out = place(ligo, after, to->offset);
    const struct between between = walk(ligo, &route, before);
    if (route.columns.count > 0)
        widen_columns(ligo, &route, between.wide, route.factor, out);
    else if (route.rows.count > 0)
        widen_rows(ligo, &route, between.mixed, route.factor, out);
    else if (route.mixed > 0)
        mix(ligo, &route, between.mixed, route.factor, out);
    else
        scale(ligo, to->count, route.factor, between.mixed, out);
}

void ligo_materialize(struct ligo *ligo, const void *before, void *after)
{
    for (int i = 0; i < ligo->after->count; i++)
        materialize_tensor(ligo, &ligo->after->tensors[i], before, after);
}

/* ---- adjoint ---- */

static void *learned_at(const struct ligo *ligo, int matrix, int learned_row)
{
    const struct ligo_matrix *it = &ligo->matrices[matrix];
    return place(ligo, ligo->gradient, it->learned + (size_t)learned_row * (size_t)it->columns);
}

/* dA += factor d^T wide, at learned rows; d (new_rows, new_columns). d_wide (NULL: not wanted) = factor d A. */
static void back_columns(struct ligo *ligo, const struct ligo_route *route, const void *d, const void *wide, double factor,
                         bool is_wanted, void *d_wide)
{
    for (int i = 0; i < route->columns.count; i++) {
        const struct ligo_segment *it = &route->columns.segments[i];
        const struct ligo_runs *runs = &ligo->runs[ligo->matrices[it->matrix].kind];
        for (const struct ligo_run *run = runs->of; run < runs->of + runs->count; run++) {
            const struct product product = {
                .m = run->count, .n = it->old_count, .k = route->new_rows, .transpose_a = true, .lda = route->new_columns,
                .ldb = route->old_columns, .ldc = it->old_count, .alpha = factor, .beta = 1,
            };
            multiply(ligo, &product, place_const(ligo, d, (size_t)(it->new_at + run->begin)),
                     place_const(ligo, wide, (size_t)it->old_at), learned_at(ligo, it->matrix, run->before));
        }
        const struct product product = {
            .m = route->new_rows, .n = it->old_count, .k = it->new_count, .lda = route->new_columns,
            .ldb = it->old_count, .ldc = route->old_columns, .alpha = factor,
        };
        if (is_wanted)
            multiply(ligo, &product, place_const(ligo, d, (size_t)it->new_at), matrix_values(ligo, it->matrix),
                     place(ligo, d_wide, (size_t)it->old_at));
    }
}

/* dA += factor d mixed^T, at learned rows; d (new_rows, old_columns). d_mixed = factor A^T d where wanted. */
static void back_rows(struct ligo *ligo, const struct ligo_route *route, const void *d, const void *mixed, double factor,
                      bool is_wanted, void *d_mixed)
{
    const int columns = route->old_columns;
    for (int i = 0; i < route->rows.count; i++) {
        const struct ligo_segment *it = &route->rows.segments[i];
        const struct ligo_runs *runs = &ligo->runs[ligo->matrices[it->matrix].kind];
        const void *from = place_const(ligo, mixed, (size_t)it->old_at * (size_t)columns);
        for (const struct ligo_run *run = runs->of; run < runs->of + runs->count; run++) {
            const struct product product = {.m = run->count, .n = it->old_count, .k = columns, .transpose_b = true,
                                            .lda = columns, .ldb = columns, .ldc = it->old_count, .alpha = factor,
                                            .beta = 1};
            multiply(ligo, &product, place_const(ligo, d, (size_t)(it->new_at + run->begin) * (size_t)columns), from,
                     learned_at(ligo, it->matrix, run->before));
        }
        const struct product product = {.m = it->old_count, .n = columns, .k = it->new_count, .transpose_a = true,
                                        .lda = it->old_count, .ldb = columns, .ldc = columns, .alpha = factor};
        if (is_wanted)
            multiply(ligo, &product, matrix_values(ligo, it->matrix),
                     place_const(ligo, d, (size_t)it->new_at * (size_t)columns),
                     place(ligo, d_mixed, (size_t)it->old_at * (size_t)columns));
    }
}

/* dw += factor d W_j, of every block j. */
static void back_mix(struct ligo *ligo, const struct ligo_route *route, const void *d, const void *from, double factor)
{
    const int count = (int)route->from->count;
    const struct product product = {.m = 1, .n = route->mixed, .k = count, .transpose_b = true, .lda = count,
                                    .ldb = (int)route->stride, .ldc = route->mixed, .alpha = factor, .beta = 1};
    multiply(ligo, &product, d, from, learned_at(ligo, route->matrix, route->row));
}

static void adjoint_tensor(struct ligo *ligo, const struct tensor *to, const void *before, const void *d_after)
{
    const struct ligo_route route = ligo_route_of(ligo, to);
    const bool rows = route.rows.count > 0, columns = route.columns.count > 0, mixed = route.mixed > 0;
    const void *d = place_const(ligo, d_after, to->offset);
    double factor = route.factor;
    const struct between between = walk(ligo, &route, before);
    if (columns) {
        back_columns(ligo, &route, d, between.wide, factor, rows || mixed, ligo->rooms[ROOM_D_WIDE]);
        d = ligo->rooms[ROOM_D_WIDE];
        factor = 1;
    }
    if (rows) {
        back_rows(ligo, &route, d, between.mixed, factor, mixed, ligo->rooms[ROOM_D_MIXED]);
        d = ligo->rooms[ROOM_D_MIXED];
        factor = 1;
    }
    if (mixed)
        back_mix(ligo, &route, d, place_const(ligo, before, route.from->offset), factor);
}

void ligo_adjoint(struct ligo *ligo, const void *before, const void *d_after)
{
    if (ligo->gradient != NULL)
        ligo->kernels->zero(ligo->gradient, ligo->learned);
    for (int i = 0; i < ligo->after->count; i++)
        if (role_is_trained(ligo->after->tensors[i].row->role))
            adjoint_tensor(ligo, &ligo->after->tensors[i], before, d_after);
}
