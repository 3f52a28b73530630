/* How the tensors of a model that was never trained are drawn. */
#include <math.h>

#include "model/tensor.h"

/* transformers' T5 (initializer_factor 1): what a product sums over has a deviation of 1 over the root of their number;
 * queries another 1 over the root of the head size, in place of a scale of the scores. */
static double t5_deviation(const struct shape *shape, const struct tensor_row *row)
{
    if (row->role == ROLE_TOKEN_EMBEDDING || row->role == ROLE_HEAD)
        return 1;
    if (row->role == ROLE_RELATIVE_BIAS)
        return 1 / sqrt(shape->width);
    double deviation = 1 / sqrt(axis_size(row->axes[row->input_axis], shape));
    return row->role == ROLE_QUERY ? deviation / sqrt(shape->head_size) : deviation;
}

/* Radford et al. 2019, section 2.3: 0.02, and the projections that write the residual stream by 1/sqrt(number of
 * residual additions). Llama and its kin, and bert, keep 0.02 there as well (initializer_range of transformers). */
double tensor_initial_deviation(const struct shape *shape, const struct tensor_row *row)
{
    bool writes_stream = row->role == ROLE_ATTENTION_OUT || row->role == ROLE_DOWN;
    if (row->rank == 1)
        return 0;
    if (shape->family == FAMILY_T5)
        return t5_deviation(shape, row);
    return writes_stream && shape->family == FAMILY_GPT2 ? 0.02 / sqrt(2.0 * shape->layers) : 0.02;
}
