/* Items: uploaded checkpoints and datasets, immutable, named by their content. */
#ifndef SERVER_ITEMS_H
#define SERVER_ITEMS_H

#include "server/store.h"

struct item {
    const char *kind;             /* "checkpoint", "dataset"; NULL: none */
    char id[STORE_ID_BYTES];
    char info[512];               /* members shown by the API: a JSON object */
    bool existed;
};

/* The name of a checkpoint's content: weights, and every file beside them (configuration, optimizer state, report,
 * tokenizer): what differs in any of them is another checkpoint. */
int item_checkpoint_id(const char *directory, const char *weights_hash, char id[STORE_ID_BYTES], struct error *error);
/* On a worker: judges the upload (every header, every weight), names it by its hash, moves it into the store. The upload is
 * moved or removed in every case. ERROR_INVALID with what is wrong, ERROR_DISK_FULL … */
int item_accept_checkpoint(struct item *item, const struct store *store, const char *directory, struct error *error);
int item_accept_dataset(struct item *item, const struct store *store, const char *file, struct error *error);
/* The row, if there is an item. */
void item_record(struct changes *changes, const struct item *item, int64_t created_ms);

#endif
