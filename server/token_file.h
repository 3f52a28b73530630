/* The token file of `lag logits`: a safetensors file of tensors (rows, positions), checked against a model.
 *   input_ids; where given attention_mask and, for bert, token_type_ids; for t5 decoder_input_ids, where given
 *   decoder_attention_mask
 * All of them I64; masks may be U8 or BOOL too, 0 is padding.
 * One thread. */
#ifndef SERVER_TOKEN_FILE_H
#define SERVER_TOKEN_FILE_H

#include <stddef.h>

#include "model/network.h"

enum token_part {
    PART_INPUTS, PART_MASK, PART_TYPES, PART_DECODER_INPUTS, PART_DECODER_MASK, PART_COUNT
};

struct token_file {
    int rows, context, decoder_context;    /* the last: 0 without a decoder */
    int32_t *parts[PART_COUNT];            /* (rows, its side's context); NULL: not given */
    unsigned char *row_masks[2];           /* of one row: the encoder's (or only) side, the decoder's */
};

/* Every value is checked: tokens in the vocabulary, types among the model's, masks 0 or 1 with a 1 in every row.
 * ERROR_INVALID, naming the tensor; ERROR_IO, ERROR_NO_MEMORY. Pair with token_file_free, also after a failure. */
int token_file_read(struct token_file *file, const char *path, const struct shape *shape, struct error *error);
void token_file_free(struct token_file *file);
/* One row as a batch, valid until the next call. Nothing is predicted of it. */
struct batch token_file_row(struct token_file *file, int row);

#endif
