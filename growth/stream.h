/* Growing a checkpoint that need not fit into memory: from the files of a directory to the files of another, tensor by
 * tensor, large ones some rows at a time. The bytes are those that growth_apply and checkpoint_save give. Weights alone: a
 * grown model's moments are made in memory.
 *
 * What is asked of a stage is asked of the one before, down to the file:
 *
 *     rows of a tensor of stage s  <-  the same rows of its source in stage s - 1, where rows stay as they are
 *                                      its whole source, kept until another tensor is asked for, elsewhere
 *
 * A tensor that no stage changes, in the dtype it has, is copied as it lies in the file. In memory at once are, per stage
 * that maps rows, one source tensor, and about a mebibyte of rows. Thread rule: one thread. */
#ifndef GROWTH_STREAM_H
#define GROWTH_STREAM_H

#include "growth/plan.h"
#include "model/checkpoint_files.h"

struct growth_stream;

/* `source`: open; it and the plan must stay. seed as in growth_apply. Copies that ship beside tied tensors are compared.
 * ERROR_INVALID, ERROR_IO, ERROR_NO_MEMORY; ERROR_INTERNAL: a plan that learns is no stream of tensors. */
int growth_stream_new(struct growth_stream **stream, const struct growth_plan *plan, const struct growth_list *list,
                      const struct checkpoint_source *source, uint64_t seed, struct error *error);
void growth_stream_free(struct growth_stream *stream);
/* How many floats of a grown tensor are made at a time, at least a row: 2^18 (1 MiB) unless told. */
void growth_stream_set_piece(struct growth_stream *stream, int floats);
/* The grown model's table. */
const struct tensor_table *growth_stream_table(const struct growth_stream *stream);
/* struct checkpoint_supply's: owner is the stream. ERROR_INVALID for NaN and Inf in the file, ERROR_DIVERGED where growing
 * makes some. */
int growth_stream_give(void *owner, int tensor, struct safetensors_writer *writer, struct error *error);
/* Saves the grown model as a complete directory. options: dtype, report, card, shard_bytes. */
int growth_stream_save(struct growth_stream *stream, const char *directory, const struct checkpoint_save *options,
                       struct error *error);

#endif
