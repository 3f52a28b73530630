/* Accepting uploads into the store, and deleting from it. */
#include "server/items.h"

#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "server/service_state.h"
#include "server/sources.h"

enum { ID_HEX_DIGITS = 26 };

/* The place is taken by the same content. Who put it there may have failed to make its name durable. */
static int keep_other(struct item *item, const char *from, const char *to, struct error *error)
{
    char parent[FILE_PATH_BYTES];

    item->existed = true;
    snprintf(parent, sizeof parent, "%s", to);
    *strrchr(parent, '/') = '\0';
    if (file_sync_directory(parent, error))
        return (int)error->code;
    return file_remove_tree(from, error);
}

/* Moves `from` to its place; if the place is taken the content is there already. */
static int move_in(struct item *item, const char *from, const char *to, struct error *error)
{
    struct error inner = { 0 };

    if (file_exists(to))
        return keep_other(item, from, to, error);
    if (file_rename(from, to, &inner) == 0)
        return 0;
    if (file_exists(from) && file_exists(to))        /* the same upload came twice at once */
        return keep_other(item, from, to, error);
    return error_set(error, inner.code, "%s", inner.message);
}

static int sync_tree(const char *directory, struct error *error)
{
    struct file_names names;

    if (file_list(directory, &names, error))
        return (int)error->code;
    for (int i = 0; i < names.count && !error->code; i++) {
        char path[FILE_PATH_BYTES];
        if (file_join(path, directory, names.names[i], error) == 0)
            file_sync(path, error);
    }
    file_names_free(&names);
    return error->code ? (int)error->code : file_sync_directory(directory, error);
}

/* Weights are named by their values: the same ones in shards or under another prefix are the same. */
static bool holds_weights(const char *name)
{
    size_t length = strlen(name);
    bool tensors = length > 12 && strcmp(name + length - 12, ".safetensors") == 0;

    return (tensors && strcmp(name, "optimizer.safetensors") != 0) || strcmp(name, "model.safetensors.index.json") == 0;
}

int item_checkpoint_id(const char *directory, const char *weights_hash, char id[STORE_ID_BYTES], struct error *error)
{
    char path[FILE_PATH_BYTES], hex[HASH_HEX_BYTES];
    uint8_t digest[HASH_BYTES];
    struct hash_state state;
    struct file_names names;

    if (file_list(directory, &names, error))
        return (int)error->code;
    hash_begin(&state);
    hash_update(&state, weights_hash, strlen(weights_hash));
    for (int i = 0; i < names.count && !error->code; i++) {
        if (holds_weights(names.names[i]) || file_join(path, directory, names.names[i], error)
            || source_hash_file(path, hex, error))
            continue;
        hash_update(&state, names.names[i], strlen(names.names[i]) + 1);
        hash_update(&state, hex, HASH_HEX_BYTES);
    }
    hash_end(&state, digest);
    hash_hex(digest, hex);
    snprintf(id, STORE_ID_BYTES, "ckpt_%.*s", ID_HEX_DIGITS, hex);
    file_names_free(&names);
    return (int)error->code;
}

static int judge_checkpoint(struct item *item, const char *directory, struct error *error)
{
    struct checkpoint_load options = { .moments = true };
    struct checkpoint checkpoint;
    const struct shape *shape;

    if (checkpoint_load(&checkpoint, directory, &options, error)) {
        if (error->code == ERROR_NOT_FOUND)
            error->code = ERROR_INVALID;
        return (int)error->code;
    }
    shape = &checkpoint.table.shape;
    item_checkpoint_id(directory, checkpoint.hash, item->id, error);
    snprintf(item->info, sizeof item->info,
             "{\"family\":\"%s\",\"layers\":%d,\"width\":%d,\"heads\":%d,\"ff\":%d,\"context\":%d,\"vocabulary\":%d,"
             "\"parameters\":%llu,\"dtype\":\"%s\",\"moments\":%s,\"sha256\":\"%s\"}",
             family_name(shape->family), shape->layers, shape->width, shape->heads, shape->ff, shape->context,
             shape->vocabulary, (unsigned long long)checkpoint.table.parameters, dtype_name(checkpoint.dtype),
             checkpoint.moments ? "true" : "false", checkpoint.hash);
    checkpoint_fini(&checkpoint);
    return (int)error->code;
}

int item_accept_checkpoint(struct item *item, const struct store *store, const char *directory, struct error *error)
{
    struct error ignored = { 0 };
    char path[FILE_PATH_BYTES];

    *item = (struct item){ .kind = "checkpoint" };
    if (judge_checkpoint(item, directory, error) == 0 && sync_tree(directory, error) == 0
        && store_path(store, path, error, "checkpoints/%s", item->id) == 0)
        move_in(item, directory, path, error);
    if (error->code) {
        error_shorten(error, directory, "upload");
        (void)file_remove_tree(directory, &ignored);
        item->kind = NULL;
    }
    return (int)error->code;
}

int item_accept_dataset(struct item *item, const struct store *store, const char *file, struct error *error)
{
    struct error ignored = { 0 };
    char path[FILE_PATH_BYTES], hex[65];
    struct file_reader reader;

    *item = (struct item){ .kind = "dataset" };
    if (file_reader_open(&reader, file, error) == 0) {
        uint64_t size = reader.size;
        file_reader_close(&reader);
        if (size == 0)
            error_set(error, ERROR_INVALID, "the dataset is empty; upload a file of tokens");
        else if (source_hash_file(file, hex, error) == 0 && file_sync(file, error) == 0) {
            snprintf(item->id, sizeof item->id, "data_%.*s", ID_HEX_DIGITS, hex);
            snprintf(item->info, sizeof item->info, "{\"bytes\":%llu,\"sha256\":\"%s\"}", (unsigned long long)size, hex);
            if (store_path(store, path, error, "datasets/%s", item->id) == 0 && file_make_directory(path, error) == 0
                && store_path(store, path, error, "datasets/%s/tokens", item->id) == 0)
                move_in(item, file, path, error);
        }
    }
    if (error->code) {
        error_shorten(error, file, "upload");
        (void)file_remove(file, &ignored);
        item->kind = NULL;
    }
    return (int)error->code;
}

void item_record(struct changes *changes, const struct item *item, int64_t created_ms)
{
    if (item->kind)
        store_add_item(changes, item->kind, item->id, created_ms, item->info);
}

/* ---- service_accept_*: a job, then a commit */

struct acceptance {
    struct service *service;
    struct pool_job job;
    struct journal_entry entry;
    bool is_checkpoint;
    char path[FILE_PATH_BYTES];
    struct item item;
    struct error error;
    service_callback *callback;
    void *context;
};

static void accept_answer(struct acceptance *acceptance, const struct error *error)
{
    struct service *service = acceptance->service;

    acceptance->callback(acceptance->context, error, acceptance->item.id, acceptance->item.existed);
    memory_free(acceptance);
    service->jobs--;
    service_pump_soon(service);
}

static void accept_run(struct pool_job *job)
{
    struct acceptance *acceptance = job->owner;

    (acceptance->is_checkpoint ? item_accept_checkpoint : item_accept_dataset)(
        &acceptance->item, &acceptance->service->store, acceptance->path, &acceptance->error);
}

static void accept_committed(struct journal_entry *entry, const struct error *error)
{
    accept_answer(entry->owner, error);
}

static void accept_done(struct pool_job *job, bool cancelled)
{
    struct acceptance *acceptance = job->owner;

    if (cancelled)
        error_set(&acceptance->error, ERROR_UNAVAILABLE, "the server is stopping; upload again later");
    if (acceptance->error.code) {
        accept_answer(acceptance, &acceptance->error);
        return;
    }
    acceptance->entry = (struct journal_entry){ .done = accept_committed, .owner = acceptance };
    changes_init(&acceptance->entry.changes);
    item_record(&acceptance->entry.changes, &acceptance->item, service_wall(acceptance->service));
    journal_append(&acceptance->service->journal, &acceptance->entry);
}

static int accept_begin(struct service *service, bool is_checkpoint, const char *path, service_callback *callback,
                        void *context)
{
    struct acceptance *acceptance = memory_new(sizeof *acceptance);
    struct error ignored = { 0 };

    if (!acceptance) {
        (void)file_remove_tree(path, &ignored);
        return ERROR_NO_MEMORY;
    }
    acceptance->service = service;
    acceptance->is_checkpoint = is_checkpoint;
    acceptance->callback = callback;
    acceptance->context = context;
    snprintf(acceptance->path, sizeof acceptance->path, "%s", path);
    acceptance->job = (struct pool_job){ .lane = POOL_SERVICE, .run = accept_run, .done = accept_done,
                                         .owner = acceptance };
    service->jobs++;
    service->pool.submit(&service->pool, &acceptance->job);
    return 0;
}

int service_accept_checkpoint(struct service *service, const char *directory, service_callback *callback, void *context)
{
    return accept_begin(service, true, directory, callback, context);
}

int service_accept_dataset(struct service *service, const char *file, service_callback *callback, void *context)
{
    return accept_begin(service, false, file, callback, context);
}
