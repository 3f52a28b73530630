/* Sources: the files that a study reads, found and opened: the parent checkpoint, training and validation tokens. Used by
 * admission (to learn the facts) and by every start of a run (to verify that they are still the same).
 * Thread rule: one thread at a time; safe on a worker. */
#ifndef SERVER_SOURCES_H
#define SERVER_SOURCES_H

#include "api/request.h"
#include "model/checkpoint.h"
#include "server/partners.h"
#include "server/store.h"
#include "trainer/corpus.h"

struct sources {
    struct checkpoint parent;         /* weights and moments */
    struct corpus train, valid;
    bool valid_held_out;
    struct partners partners;         /* that operators name (fuse) */
    struct request_facts facts;
    char data_hash[65];               /* of the token files' bytes */
    bool open;
};

/* Where a reference lies: ids ("ckpt_…", "data_…") in the store, anything else a path beneath the data root. `what`: "checkpoint"
 * or "dataset", `pointer`: the field to blame. ERROR_INVALID with the pointer. */
int source_locate(const struct store *store, const char *data_root, const char *reference, const char *what,
                  const char *pointer, char path[FILE_PATH_BYTES], struct error *error);

/* Opens everything a request names: reads and judges all weights and all tokens. */
/* `parent` not "": the directory of the parent checkpoint, which a stage of this study made, in the place of the one that is
 * named; growing starts from its raw iterate, where training stopped. */
int sources_open_from(struct sources *sources, const struct store *store, const char *data_root,
                      const struct request *request, const char *parent, struct error *error);
int sources_open(struct sources *sources, const struct store *store, const char *data_root,
                 const struct request *request, struct error *error);
void sources_close(struct sources *sources);

/* SHA-256 of a file's bytes, in pieces. */
int source_hash_file(const char *path, char hex[65], struct error *error);

#endif
