/* What --data names: a file of tokens, or a JSON file with a study's `data` object. One thread. */
#ifndef SERVER_DATA_FILE_H
#define SERVER_DATA_FILE_H

#include "base/hash.h"
#include "study/spec.h"

struct data_file {
    struct spec_data data;             /* format and sampler, where the file says so */
    char train[FILE_PATH_BYTES], valid[FILE_PATH_BYTES];   /* relative paths are meant from where the file lies; "": none */
};

/* `path` ending in .json is read; what it says of an objective is stored over `objective`, --objective `name` (NULL: not
 * given) over that. Any other path is the training file itself. */
int data_file_read(struct data_file *file, const char *path, const char *name, struct objective_spec *objective,
                   struct error *error);
/* Adds the tokens as they lie in the file, and how they are read. ERROR_IO, ERROR_NO_MEMORY. */
int data_hash(struct hash_state *state, const struct corpus *corpus, struct error *error);

#endif
