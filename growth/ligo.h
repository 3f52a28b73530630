/* LiGO: a linear map from a model's weights to those of a larger one, and the map's adjoint (Wang et al., 2023, arXiv
 * 2303.00980, section 3 and Algorithm 1; the tying is that of the authors' code, ligo.py of VITA-Group/LiGO). Each tensor of
 * block l of the grown model is
 *
 *     W'_l = A_out (sum over j of w_lj W_j) A_in^T         A = I at old units, learned rows C at new ones
 *
 *   stream          one A for every axis that counts the stream, in and out of blocks
 *   q, k, v         one A each per new block and attention; the output projection reads with v's, or where queries share kv
 *                   heads, whose v has fewer units than it reads, with one of its own
 *   MLP units       one A per new block; experts of a block share it
 *   relative bias   one A per table (t5)
 *   w               a row of L numbers per new block, for every kind of tensor of a block
 *
 * What does not grow (no unit map, or as many layers as before) has neither A nor w. A head that carries width^-1/2 keeps
 * its scale by the factor of growth_head_factor. The map has no optimizer: what fits it stands in trainer/.
 *
 * Memory is the kernels'; weights are slabs of the two tables in the kernels' element. Internal to growth/ and trainer/'s
 * fit. Thread rule: one thread at a time. */
#ifndef GROWTH_LIGO_H
#define GROWTH_LIGO_H

#include "growth/transform.h"
#include "model/kernels.h"

struct ligo;

/* Bytes that a map allocates, and floating-point operations of ligo_materialize and ligo_adjoint together. */
struct ligo_need { size_t bytes, learned; double flops; };
/* ERROR_NO_MEMORY, ERROR_INVALID (too large). */
int ligo_measure(const struct growth_plan_stage *stage, const struct kernels *kernels, struct ligo_need *need,
                 struct error *error);

/* The map of a stage, all of it 0 until ligo_start. `before`, `after`: the tables of its two shapes; they and the stage
 * must stay. ERROR_NO_MEMORY, ERROR_INVALID (too large). Pair with ligo_free. */
int ligo_new(struct ligo **ligo, const struct kernels *kernels, const struct growth_plan_stage *stage,
             const struct tensor_table *before, const struct tensor_table *after, struct error *error);
void ligo_free(struct ligo *ligo);
/* The authors' start ("stackbert_noisy", "rand"): w_lj drawn from U(0, 0.03) but 1 at j = l mod L, rows of C from U(0, 1),
 * each row then divided by its sum. ERROR_NO_MEMORY. */
int ligo_start(struct ligo *ligo, const struct growth_transform *transform, struct error *error);

/* after = the map of before. */
void ligo_materialize(struct ligo *ligo, const void *before, void *after);
/* The learned numbers' gradient (=) for the gradient d_after by the grown weights. */
void ligo_adjoint(struct ligo *ligo, const void *before, const void *d_after);

/* The learned numbers: `count` at `values`; their gradients at `offset` of ligo_gradient, which holds ligo_learned. */
struct ligo_part { void *values; size_t offset, count; };
int ligo_part_count(const struct ligo *ligo);
struct ligo_part ligo_part_at(const struct ligo *ligo, int part);
size_t ligo_learned(const struct ligo *ligo);
void *ligo_gradient(const struct ligo *ligo);

#endif
