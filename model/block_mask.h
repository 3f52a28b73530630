/* Masks inside a pass: what a batch's masking does to blocks.
 *
 * A block of share c maps the stream x to x + c (block(x) - x), whatever stands in it and wherever its norms are (the
 * authors' code: c block(x) + (1 - c) x). At 0 that is x to the bit, at 1 the mask is not there at all. On the way back
 * the block sees c times the gradient, and the rest goes past it; until then it is kept where the stream behind the block
 * lay, which nobody reads any more.
 *
 * Units of the stream are masked in its norms (model/kernels_ops.h), which every reader of the stream reads it through; heads
 * where they hand out, MLP units where they are read. Without a masking nothing here costs anything.
 * Thread rule: as the network. (N positions, C width.) */
#ifndef MODEL_BLOCK_MASK_H
#define MODEL_BLOCK_MASK_H

#include "model/block.h"

/* Share of a block, numbered through both stacks; 1: it is not masked. */
double mask_share(const struct pass *pass, int block);
/* Post-norm: out (N, C) = x + share (out - x). */
void mask_stream(const struct pass *pass, double share, int width, const void *x, void *out);
/* Pre-norm: the same where what the block makes of x is still stream + branch + the bias of the branch's map. */
struct mask_parts { const void *stream, *branch; const struct linear *branch_maker; };
void mask_branch(const struct pass *pass, double share, int width, const void *x, const struct mask_parts *parts,
                 void *out);
/* Around a block's way back: d_stream (N, C) becomes the block's share, then what went past is added. kept: (N, C). */
void mask_backward_begin(const struct pass *pass, double share, int width, void *d_stream, void *kept);
void mask_backward_end(const struct pass *pass, double share, int width, const void *kept, void *d_stream);

/* MLP units behind their masks, and on the way back their gradients: x (rows, FF), in place. */
void mask_units(const struct pass *pass, int rows, int width, void *x);
/* What heads hand out behind their masks: attended (N, H D) itself, or what it becomes in `masked`; and d_attended, in
 * place. The attention's own way back needs what it had handed out before. */
const void *mask_heads(const struct pass *pass, int width, const void *attended, void *masked);
void mask_heads_backward(const struct pass *pass, int width, void *d_attended);

#endif
