/* The file of a finished run of `lag transfer`: JSON that a person can read and that reads back to the same bits.
 * Thread rule: pure functions of values. */
#ifndef API_TRANSFER_ROW_H
#define API_TRANSFER_ROW_H

#include "base/buffer.h"
#include "study/transfer.h"

enum { TRANSFER_ROW_BYTES_MAX = 64 << 20 };

/* What the row says of itself beside the run: read by people, but for the key, which names all that determines the run. */
struct transfer_row { const char *key, *size; double learning_rate; uint64_t seed; int windows; };

/* Running out of memory shows in out->failed. */
void transfer_row_write(struct buffer *out, const struct transfer_row *row, const struct transfer_run *run);
/* Fills the run; its losses have room for row->windows. ERROR_DAMAGED: not such a file, or of another key;
 * ERROR_NO_MEMORY. */
int transfer_row_read(const char *text, size_t length, const struct transfer_row *row, struct transfer_run *run,
                      struct error *error);

#endif
