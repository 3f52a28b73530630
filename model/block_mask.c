#include "model/block_mask.h"

#include "base/check.h"

double mask_share(const struct pass *pass, int block)
{
    return pass->masking == NULL || pass->masking->blocks == NULL ? 1 : pass->masking->blocks[block];
}

static size_t numbers_of(const struct pass *pass, int width)
{
    return (size_t)pass->positions * (size_t)width;
}

/* The difference first: where the share is 0, what is left is x to the bit. */
void mask_stream(const struct pass *pass, double share, int width, const void *x, void *out)
{
    pass_blend(pass, -1, x, 1, out, numbers_of(pass, width));
    pass_blend(pass, 1, x, share, out, numbers_of(pass, width));
}

void mask_branch(const struct pass *pass, double share, int width, const void *x, const struct mask_parts *parts,
                 void *out)
{
    pass_blend(pass, 1, parts->stream, 0, out, numbers_of(pass, width));
    pass_blend(pass, 1, parts->branch, 1, out, numbers_of(pass, width));
    linear_add_bias(pass, parts->branch_maker, pass->positions, out);
    mask_stream(pass, share, width, x, out);
}

void mask_backward_begin(const struct pass *pass, double share, int width, void *d_stream, void *kept)
{
    if (share == 1)
        return;
    pass_blend(pass, 1, d_stream, 0, kept, numbers_of(pass, width));
    pass_blend(pass, share, d_stream, 0, d_stream, numbers_of(pass, width));
}

void mask_backward_end(const struct pass *pass, double share, int width, const void *kept, void *d_stream)
{
    if (share != 1)
        pass_blend(pass, 1 - share, kept, 1, d_stream, numbers_of(pass, width));
}

void mask_units(const struct pass *pass, int rows, int width, void *x)
{
    if (pass->masking != NULL && pass->masking->ff != NULL)
        pass_scale_columns(pass, x, pass->masking->ff, rows, width);
}

const void *mask_heads(const struct pass *pass, int width, const void *attended, void *masked)
{
    if (pass->masking == NULL || pass->masking->heads == NULL)
        return attended;
    CHECK(masked != NULL);
    pass_blend(pass, 1, attended, 0, masked, numbers_of(pass, width));
    pass_scale_columns(pass, masked, pass->masking->heads, pass->positions, width);
    return masked;
}

void mask_heads_backward(const struct pass *pass, int width, void *d_attended)
{
    if (pass->masking != NULL && pass->masking->heads != NULL)
        pass_scale_columns(pass, d_attended, pass->masking->heads, pass->positions, width);
}
