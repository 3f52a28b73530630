#include "model/block_head.h"

#include <math.h>

int head_block_chunk(int vocabulary, size_t positions)
{
    int chunk = HEAD_CHUNK_NUMBERS / vocabulary;
    chunk = chunk < HEAD_CHUNK_LEAST ? HEAD_CHUNK_LEAST : chunk > HEAD_CHUNK_MOST ? HEAD_CHUNK_MOST : chunk;
    return positions < (size_t)chunk ? (int)positions : chunk;
}

void head_block_bind(struct head_block *head, const struct tensor_table *table)
{
    const struct tensor *own = tensor_find_role(table, ROLE_HEAD, -1, 0);
    const struct tensor *weight = own != NULL ? own : tensor_find_role(table, ROLE_TOKEN_EMBEDDING, -1, 0);
    const struct tensor *bias = tensor_find_role(table, ROLE_HEAD_BIAS, -1, 0);
    head->linear = (struct linear){
        .in = weight->dims[1], .out = weight->dims[0], .out_first = true, .weight = weight->offset,
        .has_bias = bias != NULL, .bias = bias != NULL ? bias->offset : 0,
        .scale = table->shape.scaled_head ? 1 / sqrt((double)weight->dims[1]) : 1,
    };
}

/* Rows of `numbers` (N, width) from position `first` on. */
static const void *positions_from(const struct pass *pass, const void *numbers, int first, int width)
{
    return numbers_at_const(pass->kernels->element, numbers, (size_t)first * (size_t)width);
}

static void logits_of(const struct pass *pass, const struct head_block *head, int rows, const void *hidden, void *logits)
{
    linear_forward(pass, &head->linear, rows, hidden, logits);
    linear_add_bias(pass, &head->linear, rows, logits);
}

static int chunk_count(const struct pass *pass, const struct head_block *head, int first)
{
    return pass->positions - first < head->chunk ? pass->positions - first : head->chunk;
}

void head_block_loss(const struct pass *pass, const struct head_block *head, const void *hidden, double *row_losses,
                     int *row_counts)
{
    const struct batch *batch = pass->batch;
    for (int b = 0; b < batch->rows; b++) {
        if (row_losses != NULL)
            row_losses[b] = 0;
        if (row_counts != NULL)
            row_counts[b] = 0;
    }
    for (int first = 0; first < pass->positions; first += head->chunk) {
        int count = chunk_count(pass, head, first);
        logits_of(pass, head, count, positions_from(pass, hidden, first, head->linear.in), head->logits);
        pass->kernels->ops->cross_entropy(head->logits, batch->targets + first, count, head->linear.out, head->losses);
        for (int i = 0; i < count; i++) {
            int position = pass->selected != NULL ? pass->selected[first + i] : first + i;
            int row = position / batch->context;
            if (row_losses != NULL)
                row_losses[row] += head->losses[i];
            if (row_counts != NULL)
                row_counts[row] += batch->targets[first + i] != TARGET_IGNORED;
        }
    }
}

double head_block_gradient(const struct pass *pass, const struct head_block *head, const void *hidden, double scale,
                           void *d_hidden)
{
    double total = 0;
    int width = head->linear.in;
    struct pass chunk = *pass;    /* the first chunk's gradient may be written, those of the others are added */
    for (int first = 0; first < pass->positions; first += head->chunk) {
        int count = chunk_count(pass, head, first);
        const void *x = positions_from(pass, hidden, first, width);
        logits_of(pass, head, count, x, head->logits);
        pass_cross_entropy_gradient(pass, head->logits, pass->batch->targets + first, count, head->linear.out, scale,
                                    head->losses);
        linear_backward(&chunk, &head->linear, count, x, head->logits,
                        numbers_at(pass->kernels->element, d_hidden, (size_t)first * (size_t)width));
        chunk.first = false;
        for (int i = 0; i < count; i++)
            total += head->losses[i];
    }
    return total;
}

void head_block_jacobian(const struct pass *forward, const struct pass *back, const struct head_block *head,
                         const void *hidden, double scale, void *d_hidden)
{
    const struct kernels *kernels = forward->kernels;
    size_t width = (size_t)head->linear.in, vocabulary = (size_t)head->linear.out;
    for (int first = 0; first < forward->positions; first += head->chunk) {
        int count = chunk_count(forward, head, first);
        const void *x = positions_from(forward, hidden, first, head->linear.in);
        logits_of(forward, head, count, x, head->logits);
        pass_take_tangent(forward, scale, head->logits, (size_t)count * vocabulary);
        for (int i = 0; i < count; i++)
            if (forward->batch->targets[first + i] == TARGET_IGNORED)
                kernels->zero(numbers_at(kernels->element, head->logits, (size_t)i * vocabulary), vocabulary);
        linear_backward(back, &head->linear, count, x, head->logits,
                        numbers_at(kernels->element, d_hidden, (size_t)first * width));
    }
}

void head_block_logits(const struct pass *pass, const struct head_block *head, const void *hidden, void *logits)
{
    logits_of(pass, head, pass->positions, hidden, logits);
}
