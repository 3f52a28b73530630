/* The rows of a sweep: one file per finished run in DIR/runs, named by a hash of all that determines the run: both files of
 * tokens, the weights it starts from, shape, training values with rate and seed, masks and laws, and this version of lag.
 * So a sweep that is called again, whatever ended it, finds what it has done, and takes no row that belongs to other values;
 * and sweeps of the same small model share its rows. A row is written whole or not at all.
 * Thread rule: transfer_rows_open on one thread; the others on any, each run by one. */
#ifndef SERVER_TRANSFER_ROWS_H
#define SERVER_TRANSFER_ROWS_H

#include "server/transfer_run.h"

/* Makes the directory and hashes weights and data. ERROR_INVALID (it is a file), ERROR_DISK_FULL (no room for the sweep),
 * ERROR_IO, ERROR_NO_MEMORY. */
int transfer_rows_open(struct transfer_world *world, const char *directory, struct error *error);

struct transfer_place { enum transfer_size size; int rate, seed; };
/* *found: the run is filled from its row. A damaged row is told of on standard error and is as good as none. ERROR_IO,
 * ERROR_NO_MEMORY. */
int transfer_rows_take(struct transfer_world *world, const struct transfer_place *place, const struct trial *trial, bool *found,
                       struct error *error);
/* ERROR_DISK_FULL, ERROR_IO, ERROR_NO_MEMORY. */
int transfer_rows_keep(const struct transfer_world *world, const struct transfer_place *place, const struct trial *trial,
                       struct error *error);

#endif
