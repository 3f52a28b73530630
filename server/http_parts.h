/* The parts that a multipart upload may have, in one table. */
#ifndef SERVER_HTTP_PARTS_H
#define SERVER_HTTP_PARTS_H

#include <stdint.h>

#include "base/error.h"
#include "server/http_upload.h"
#include "server/multipart.h"

enum part_kind { PART_CONFIG, PART_MODEL, PART_INDEX, PART_OPTIMIZER, PART_TOKENIZER, PART_TOKENS, PART_STUDY, PART_TRAIN,
                 PART_VALID, PART_KIND_COUNT };

struct part_row {
    const char *name;
    enum part_kind kind;
    unsigned forms;          /* bits of enum upload_form */
    bool repeats;
    uint64_t limit;          /* bytes; 0: the upload's own limit */
    const char *file;        /* below the upload's (or the study's checkpoint) directory; NULL: decided by kind */
};

/* The row of a part, and for a tokenizer file its name in *file. A tokenizer file comes as `tokenizer` with a file name of the
 * list, or under that name itself. ERROR_INVALID names what the form knows. */
int part_find(const struct multipart_part *part, enum upload_form form, const struct part_row **row, const char **file,
              struct error *error);
const struct part_row *part_row_of(enum part_kind kind);
/* A shard's file name: a base name ending .safetensors, of letters, digits, '.', '_', '-', not beginning with a dot. */
bool part_shard_name_is_valid(const char *name);

#endif
