/* A directory's config.json and weights files, opened and agreed upon. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"

enum { HASH_BLOCK_BYTES = 256 * 1024 };

static int fail_memory(struct error *error)
{
    return error_set(error, ERROR_NO_MEMORY, "No memory to open a checkpoint; free some and try again.");
}

static int read_config(struct checkpoint_source *source, struct error *error)
{
    char path[FILE_PATH_BYTES], *text;
    size_t length;
    int code = file_join(path, source->directory, CHECKPOINT_CONFIG_FILE, error);
    if (code == 0)
        code = file_read(path, CONFIG_LIMIT_BYTES, &text, &length, error);
    if (code != 0)
        return code;
    code = config_parse(&source->config, text, length, error);
    memory_free(text);
    if (code == ERROR_INVALID)
        error_wrap(error, "%s", source->directory);
    return code;
}

static int open_file(struct checkpoint_source *source, const char *name, struct error *error)
{
    char path[FILE_PATH_BYTES];
    int code = file_join(path, source->directory, name, error);
    if (code == 0)
        code = safetensors_open(&source->files[source->file_count], path, 0, error);
    if (code == 0)
        source->bytes += source->files[source->file_count++].reader.size;
    return code;
}

/* Every tensor of the index is in its shard, and every tensor of a shard in the index. */
static int check_shard(const struct shard_index *index, const char *shard, const struct safetensors *file,
                       struct error *error)
{
    int named = 0;
    for (int i = 0; i < index->place_count; i++) {
        const struct shard_place *place = &index->places[i];
        if (strcmp(place->shard, shard) != 0)
            continue;
        named++;
        if (safetensors_find(file, place->name) == NULL)
            return error_set_at(error, ERROR_INVALID, place->name, "%s: \"%.100s\" is not in %s, where the index puts "
                                "it; export the model again.", CHECKPOINT_INDEX_FILE, place->name, shard);
    }
    for (int i = 0; i < file->count && named < file->count; i++) {
        const char *name = file->entries[i].name, *other = shard_index_find(index, name);
        if (other == NULL || strcmp(other, shard) != 0)
            return error_set_at(error, ERROR_INVALID, name, "%s: \"%.100s\" is in %s, but the index puts it in %s; "
                                "each tensor must be in exactly one shard, export the model again.",
                                CHECKPOINT_INDEX_FILE, name, shard, other == NULL ? "none" : other);
    }
    return 0;
}

static int open_shards(struct checkpoint_source *source, const char *index_path, struct error *error)
{
    struct shard_index index;
    int code = shard_index_read(&index, index_path, error);
    if (code != 0)
        return code;
    source->files = memory_array((size_t)index.shard_count, sizeof *source->files);
    if (source->files == NULL)
        code = fail_memory(error);
    for (int i = 0; i < index.shard_count && code == 0; i++) {
        code = open_file(source, index.shards[i], error);
        if (code == 0)
            code = check_shard(&index, index.shards[i], &source->files[i], error);
    }
    shard_index_fini(&index);
    return code;
}

static int open_weights(struct checkpoint_source *source, struct error *error)
{
    char single[FILE_PATH_BYTES], index[FILE_PATH_BYTES];
    int code = file_join(single, source->directory, CHECKPOINT_WEIGHTS_FILE, error);
    if (code == 0)
        code = file_join(index, source->directory, CHECKPOINT_INDEX_FILE, error);
    if (code != 0)
        return code;
    if (!file_exists(single) && file_exists(index))
        return open_shards(source, index, error);
    if (!file_exists(single))
        return error_set(error, ERROR_NOT_FOUND, "%s has neither " CHECKPOINT_WEIGHTS_FILE " nor " CHECKPOINT_INDEX_FILE
                         "; give a directory as save_pretrained writes it (pickled weights are never read: save "
                         "them as safetensors).", source->directory);
    source->files = memory_array(1, sizeof *source->files);
    return source->files == NULL ? fail_memory(error) : open_file(source, CHECKPOINT_WEIGHTS_FILE, error);
}

static struct source_place find_entry(const struct checkpoint_source *source, const char *name)
{
    struct source_place place = {0};
    for (int i = 0; i < source->file_count && place.entry == NULL; i++)
        place = (struct source_place){&source->files[i], safetensors_find(&source->files[i], name)};
    return place;
}

/* Tensors of other tasks are there if the file has them. */
static void settle_extras(struct checkpoint_source *source)
{
    struct shape *shape = &source->config.shape;
    const struct layout *layout = layout_of(shape->family);
    for (int i = 0; i < layout->row_count; i++) {
        const struct tensor_row *row = &layout->rows[i];
        char prefixed[CHECKPOINT_NAME_BYTES];
        snprintf(prefixed, sizeof prefixed, "%s%s", layout->prefix, row->name);
        bool there = find_entry(source, row->name).entry != NULL || find_entry(source, prefixed).entry != NULL;
        if (row->presence == PRESENT_POOLER)
            shape->pooler |= there;
        if (row->presence == PRESENT_NEXT_SENTENCE)
            shape->next_sentence |= there;
    }
}

/* The file decides whether the head is a tensor of its own: it is if it ships, unless config.json ties it and it is a
 * mere copy. */
static int settle_head(struct checkpoint_source *source, struct error *error)
{
    struct shape *shape = &source->config.shape;
    const struct layout *layout = layout_of(shape->family);
    struct source_place head = {0}, embedding = {0};
    if (!layout->head_decides)
        return 0;
    for (int i = 0; i < layout->row_count; i++) {
        if (layout->rows[i].role == ROLE_HEAD)
            head = find_entry(source, layout->rows[i].name);
        if (layout->rows[i].role == ROLE_TOKEN_EMBEDDING)
            embedding = find_entry(source, layout->rows[i].name);
    }
    bool equal = false;
    int code = 0;
    if (head.entry != NULL && embedding.entry != NULL && shape->tied)
        code = checkpoint_places_equal(&head, &embedding, &equal, error);
    shape->tied = head.entry == NULL || equal;
    return code;
}

static int open_all(struct checkpoint_source *source, struct error *error)
{
    int code = read_config(source, error);
    if (code == 0)
        code = open_weights(source, error);
    if (code == 0)
        code = settle_head(source, error);
    if (code == 0)
        settle_extras(source);
    if (code == 0)
        code = tensor_table_init(&source->table, &source->config.shape, error);
    if (code != 0)
        return code;
    source->places = memory_array((size_t)source->table.count, sizeof *source->places);
    if (source->places == NULL)
        return fail_memory(error);
    code = checkpoint_source_match(source, error);
    if (code == ERROR_INVALID)
        error_wrap(error, "%s", source->directory);
    return code;
}

int checkpoint_source_open(struct checkpoint_source *source, const char *directory, struct error *error)
{
    memset(source, 0, sizeof *source);
    source->directory = directory;
    int code = open_all(source, error);
    if (code != 0)
        checkpoint_source_close(source);
    return code;
}

void checkpoint_source_close(struct checkpoint_source *source)
{
    for (int i = 0; i < source->file_count; i++)
        safetensors_close(&source->files[i]);
    memory_free(source->files);
    memory_free(source->places);
    tensor_table_fini(&source->table);
    config_fini(&source->config);
    memset(source, 0, sizeof *source);
}

static int hash_file(struct hash_state *state, const struct file_reader *reader, char *block, struct error *error)
{
    for (uint64_t offset = 0; offset < reader->size;) {
        uint64_t left = reader->size - offset;
        size_t now = left < HASH_BLOCK_BYTES ? (size_t)left : HASH_BLOCK_BYTES;
        int code = file_reader_read(reader, offset, block, now, error);
        if (code != 0)
            return code;
        hash_update(state, block, now);
        offset += now;
    }
    return 0;
}

int checkpoint_source_hash(const struct checkpoint_source *source, char hex[HASH_HEX_BYTES], struct error *error)
{
    struct hash_state state;
    uint8_t digest[HASH_BYTES];
    char *block = memory_new(HASH_BLOCK_BYTES);
    int code = 0;
    if (block == NULL)
        return fail_memory(error);
    hash_begin(&state);
    for (int i = 0; i < source->file_count && code == 0; i++)
        code = hash_file(&state, &source->files[i].reader, block, error);
    hash_end(&state, digest);
    hash_hex(digest, hex);
    memory_free(block);
    return code;
}
