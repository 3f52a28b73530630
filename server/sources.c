#include "server/sources.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

enum { HASH_PIECE_BYTES = 1 << 20 };

int source_hash_file(const char *path, char hex[65], struct error *error)
{
    struct file_reader reader;
    struct hash_state state;
    uint8_t digest[HASH_BYTES];
    char *piece = memory_new(HASH_PIECE_BYTES);

    if (!piece)
        return error_set(error, ERROR_NO_MEMORY, "reading %s: out of memory", path);
    if (file_reader_open(&reader, path, error)) {
        memory_free(piece);
        return (int)error->code;
    }
    hash_begin(&state);
    for (uint64_t at = 0; at < reader.size && !error->code; at += HASH_PIECE_BYTES) {
        size_t length = reader.size - at < HASH_PIECE_BYTES ? (size_t)(reader.size - at) : HASH_PIECE_BYTES;
        if (file_reader_read(&reader, at, piece, length, error) == 0)
            hash_update(&state, piece, length);
    }
    hash_end(&state, digest);
    hash_hex(digest, hex);
    file_reader_close(&reader);
    memory_free(piece);
    return (int)error->code;
}

static bool is_id(const char *reference, const char *prefix)
{
    size_t length = strlen(prefix);

    return strncmp(reference, prefix, length) == 0 && reference[length]
           && strspn(reference + length, "0123456789abcdefghijklmnopqrstuvwxyz") == strlen(reference + length);
}

int source_locate(const struct store *store, const char *data_root, const char *reference, const char *what,
                  const char *pointer, char path[FILE_PATH_BYTES], struct error *error)
{
    bool checkpoint = strcmp(what, "checkpoint") == 0;
    struct error inner = { 0 };

    if (!*reference)
        return error_set_at(error, ERROR_INVALID, pointer, "%s is missing: give the id of an uploaded %s, or a path",
                            pointer, what);
    if (is_id(reference, checkpoint ? "ckpt_" : "data_")) {
        if (store_path(store, path, error, checkpoint ? "checkpoints/%s" : "datasets/%s/tokens", reference))
            return (int)error->code;
        if (file_exists(path))
            return 0;
        return error_set_at(error, ERROR_INVALID, pointer, "there is no %s %s; upload it first (POST /v1/%ss)", what,
                            reference, what);
    }
    if (!data_root)
        return error_set_at(error, ERROR_INVALID, pointer,
                            "\"%.200s\" is a path, and this server has no --data-root; upload the %s and give its id",
                            reference, what);
    if (file_resolve_beneath(data_root, reference, path, &inner) == 0)
        return 0;
    if (inner.code == ERROR_NO_MEMORY)
        return error_set(error, inner.code, "%s", inner.message);
    return error_set_at(error, ERROR_INVALID, pointer, "%s", inner.message);
}

/* Data errors name the field that gave the file. */
static int blame(struct error *error, const char *pointer)
{
    if (error->code != ERROR_INVALID && error->code != ERROR_NOT_FOUND)
        return (int)error->code;
    error->code = ERROR_INVALID;
    if (error->detail_count == 0)
        error_add_detail(error, pointer, "%s", error->message);
    else if (!error->details[0].pointer[0])
        error_prefix_pointer(error, pointer);
    return (int)error->code;
}

static int hash_data(struct sources *sources, const char *train, const char *valid, struct error *error)
{
    char both[2 * 65] = "";

    if (source_hash_file(train, both, error))
        return (int)error->code;
    if (valid && source_hash_file(valid, both + 64, error))
        return (int)error->code;
    hash_bytes_hex(both, strlen(both), sources->data_hash);
    return 0;
}

static int open_valid(struct sources *sources, const struct store *store, const char *data_root,
                      const struct request *request, const char *train_path, int context, struct error *error)
{
    char path[FILE_PATH_BYTES];

    sources->valid_held_out = !*request_valid(request);
    if (sources->valid_held_out) {
        if (corpus_split(&sources->train, &sources->valid, context, error))
            return blame(error, "/data/train");
    } else {
        if (source_locate(store, data_root, request_valid(request), "dataset", "/data/valid", path, error))
            return (int)error->code;
        if (corpus_open(&sources->valid, path, request_format(request), sources->facts.parent.vocabulary, context, error))
            return blame(error, "/data/valid");
    }
    if (hash_data(sources, train_path, sources->valid_held_out ? NULL : path, error))
        corpus_close(&sources->valid);
    return (int)error->code;
}

static int open_data(struct sources *sources, const struct store *store, const char *data_root,
                     const struct request *request, struct error *error)
{
    int context = request_context(request, &sources->facts.parent);
    char path[FILE_PATH_BYTES];

    if (source_locate(store, data_root, request_train(request), "dataset", "/data/train", path, error))
        return (int)error->code;
    if (corpus_open(&sources->train, path, request_format(request), sources->facts.parent.vocabulary, context, error))
        return blame(error, "/data/train");
    if (open_valid(sources, store, data_root, request, path, context, error)) {
        corpus_close(&sources->train);
        return (int)error->code;
    }
    sources->facts.format = sources->train.format;
    sources->facts.train_tokens = sources->train.tokens;
    sources->facts.valid_tokens = sources->valid.tokens;
    return 0;
}

/* What is read when it fails is closed by the caller. */
static int open_partners(struct sources *sources, const struct store *store, const char *data_root,
                         const struct request *request, struct error *error)
{
    char pointer[ERROR_POINTER_BYTES], path[FILE_PATH_BYTES];
    const char *reference;
    int count = 0;

    while (request_partner(request, count, pointer))
        count++;
    if (partners_init(&sources->partners, count, error))
        return (int)error->code;
    while ((reference = request_partner(request, sources->partners.count, pointer)) != NULL) {
        if (source_locate(store, data_root, reference, "checkpoint", pointer, path, error))
            return (int)error->code;
        if (partners_add(&sources->partners, path, true, error))
            return blame(error, pointer);
    }
    sources->facts.partners = sources->partners.of;
    sources->facts.partner_count = sources->partners.count;
    return 0;
}

static void start_from_raw(struct checkpoint *parent)
{
    if (!parent->moments || !parent->moments->raw)
        return;
    memcpy(parent->weights, parent->moments->raw, parent->table.slab * sizeof *parent->weights);
    checkpoint_rehash(parent);
}

int sources_open(struct sources *sources, const struct store *store, const char *data_root,
                 const struct request *request, struct error *error)
{
    return sources_open_from(sources, store, data_root, request, "", error);
}

int sources_open_from(struct sources *sources, const struct store *store, const char *data_root,
                      const struct request *request, const char *parent, struct error *error)
{
    struct checkpoint_load options = { .moments = true };
    char path[FILE_PATH_BYTES];

    *sources = (struct sources){ 0 };
    if (*parent)
        snprintf(path, sizeof path, "%s", parent);
    else if (source_locate(store, data_root, request_checkpoint(request), "checkpoint", "/checkpoint", path, error))
        return (int)error->code;
    if (checkpoint_load(&sources->parent, path, &options, error))
        return blame(error, "/checkpoint");
    if (*parent)
        start_from_raw(&sources->parent);
    sources->facts.parent = sources->parent.table.shape;
    sources->facts.dropout = sources->parent.dropout;
    sources->facts.tokens_seen = sources->parent.provenance.tokens_seen;
    sources->facts.tokens_seen_known = sources->parent.provenance.tokens_seen_known;
    if (open_partners(sources, store, data_root, request, error)
        || open_data(sources, store, data_root, request, error)) {
        partners_fini(&sources->partners);
        checkpoint_fini(&sources->parent);
        return (int)error->code;
    }
    sources->open = true;
    return 0;
}

void sources_close(struct sources *sources)
{
    if (!sources->open)
        return;
    partners_fini(&sources->partners);
    checkpoint_fini(&sources->parent);
    corpus_close(&sources->train);
    corpus_close(&sources->valid);
    sources->open = false;
}
