/* Floating-point operations of training, counted from the family's table. */
#include "model/tensor.h"

/* Does a row of the decoder read the encoder's output: the keys and values of its second attention? */
static bool reads_memory(const struct layout *layout, int index)
{
    const struct tensor_row *row = &layout->rows[index];
    if (row->stack != STACK_DECODER || (row->role != ROLE_KEY && row->role != ROLE_VALUE))
        return false;
    for (int i = 0; i < index; i++)
        if (layout->rows[i].stack == STACK_DECODER && layout->rows[i].role == row->role)
            return true;
    return false;
}

/* Does the row's product run over the side that predicts? */
static bool is_predicting(const struct layout *layout, int index)
{
    const struct tensor_row *row = &layout->rows[index];
    return row->stack == STACK_DECODER ? !reads_memory(layout, index) : row->stack == STACK_NONE;
}

double shape_flops_per_row(const struct shape *shape, int context, int decoder_context)
{
    const struct layout *layout = layout_of(shape->family);
    double read = context, predicted = shape->decoder_layers > 0 ? decoder_context : context, products = 0;
    for (int i = 0; i < layout->row_count; i++) {
        uint64_t elements;
        if (!shape_row_in_products(&layout->rows[i], shape) ||
            layout_row_elements(&layout->rows[i], shape, &elements) != 0)
            continue;
        products += (double)elements * layout_row_active(&layout->rows[i], shape) *
                    (is_predicting(layout, i) ? predicted : read);
    }
    double pairs = shape->layers * read * read + shape->decoder_layers * predicted * (predicted + read);
    return 6 * products + 12 * pairs * shape->heads * shape->head_size;
}

double shape_flops_per_token(const struct shape *shape, int context)
{
    double row = shape_flops_per_row(shape, context, context);
    return shape->decoder_layers > 0 ? row / (2.0 * context) : row / context;
}
