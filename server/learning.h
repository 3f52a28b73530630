/* Training data for `lag grow` with operators that learn: the file --data names, read as `lag train` and a study with the same
 * `data` read it, the last tenth held out where no validation file is named; the other training values are those of --training,
 * a file with a study's `training` object, or the defaults of the parent's shape. One thread. */
#ifndef SERVER_LEARNING_H
#define SERVER_LEARNING_H

#include "trainer/ligo_fit.h"

struct learning {
    struct corpus train, valid;
    struct ligo_fit fit;
    bool has_train, has_valid;
};

struct learning_files { const char *data, *training; };    /* as given to --data and --training (NULL: not given) */
/* seed: NULL leaves the training object's. ERROR_INVALID, ERROR_NOT_FOUND, ERROR_IO, ERROR_NO_MEMORY; needs no close then. */
int learning_open(struct learning *learning, const struct learning_files *files, const struct shape *parent,
                  const uint64_t *seed, struct error *error);
void learning_close(struct learning *learning);

#endif
