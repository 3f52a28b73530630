/* Further buffers of a file_writer: some are on their way to the disk while another is filled. Internal to base/. */
#ifndef BASE_FILE_OVERLAP_H
#define BASE_FILE_OVERLAP_H

#include "base/file.h"

enum { FILE_BLOCK_BYTES = 1 << 20 };

/* Begins to write the first `length` bytes of the writer's buffer and gives it the next one, once that is free. Tells a
 * failure of the write that this one carried. */
int file_overlap_write(struct file_writer *writer, size_t length, struct error *error);
/* Until nothing is on its way. */
int file_overlap_wait(struct file_writer *writer, struct error *error);
/* Waits, and gives the further buffers back; nothing to do without one. */
void file_overlap_end(struct file_writer *writer);

#endif
