/* Masking: structures that are grown in while a model trains (masked structural growth, Yao et al., arXiv 2305.02869). A new
 * block or unit counts for a share that goes from 0, where the model computes what it did without it, to 1, where it is
 * an ordinary part. A plain value that a batch points at; model/block_mask.h says what it does to a pass, and only
 * networks with gradients take one. Shares of units lie in backend memory, in the kernel body's numbers.
 * Thread rule: const while a network computes. */
#ifndef MODEL_MASKING_H
#define MODEL_MASKING_H

struct masking {
    const double *blocks;      /* share of each block, through both stacks; NULL: all 1 */
    const void *stream;        /* (C) of each unit of the stream, in norms; NULL: all 1 */
    double stream_sum;         /* of them */
    const void *heads;         /* (H D) of what each head hands out, the same for all its numbers; NULL: all 1 */
    const void *ff;            /* (FF) of each MLP unit's output; NULL: all 1 */
};

#endif
