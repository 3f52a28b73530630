/* Weights that come tensor by tensor: one file, or shards of a bounded size and their index. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"

enum { SHARD_NAME_BYTES = 64 };

struct saving {
    const struct checkpoint *checkpoint;
    const char *directory;
    enum dtype dtype;
    const struct checkpoint_save *options;
    int shard_count;
    int *shard_of;           /* owned: the shard of each tensor */
    uint64_t bytes;
};

static uint64_t tensor_bytes(const struct saving *saving, int tensor)
{
    return saving->checkpoint->table.tensors[tensor].count * (uint64_t)dtype_bytes(saving->dtype);
}

/* In the table's order; a tensor that is larger than a shard may be has one of its own. */
static int assign_shards(struct saving *saving, struct error *error)
{
    const struct tensor_table *table = &saving->checkpoint->table;
    uint64_t limit = saving->options->shard_bytes, filled = 0;
    saving->shard_of = memory_array((size_t)table->count, sizeof *saving->shard_of);
    if (saving->shard_of == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory to save %d tensors; free some and try again.", table->count);
    saving->shard_count = 1;
    for (int i = 0; i < table->count; i++) {
        uint64_t bytes = tensor_bytes(saving, i);
        if (limit > 0 && filled > 0 && filled + bytes > limit) {
            saving->shard_count++;
            filled = 0;
        }
        saving->shard_of[i] = saving->shard_count - 1;
        filled += bytes;
        saving->bytes += bytes;
    }
    return 0;
}

static void shard_name(const struct saving *saving, int shard, char name[SHARD_NAME_BYTES])
{
    if (saving->shard_count == 1)
        snprintf(name, SHARD_NAME_BYTES, CHECKPOINT_WEIGHTS_FILE);
    else
        snprintf(name, SHARD_NAME_BYTES, "model-%05d-of-%05d.safetensors", shard + 1, saving->shard_count);
}

static int write_shard(const struct saving *saving, int shard, struct safetensors_writer *writer, const char *path,
                       struct error *error)
{
    const struct tensor_table *table = &saving->checkpoint->table;
    const struct checkpoint_supply *supply = saving->options->supply;
    int code = safetensors_writer_metadata(writer, "format", "pt", error);
    for (int i = 0; i < table->count && code == 0; i++)
        if (saving->shard_of[i] == shard)
            code = checkpoint_declare_tensor(writer, saving->checkpoint, &table->tensors[i], "", saving->dtype, error);
    if (code == 0)
        code = safetensors_writer_begin(writer, path, error);
    for (int i = 0; i < table->count && code == 0; i++)
        if (saving->shard_of[i] == shard)
            code = supply->give(supply->owner, i, writer, error);
    return code == 0 ? safetensors_writer_commit(writer, error) : code;
}

static int save_shard(const struct saving *saving, int shard, struct error *error)
{
    struct safetensors_writer writer;
    char path[FILE_PATH_BYTES], name[SHARD_NAME_BYTES];
    shard_name(saving, shard, name);
    int code = file_join(path, saving->directory, name, error);
    if (code != 0)
        return code;
    safetensors_writer_init(&writer);
    writer.skip_hash = writer.overlap = writer.finite_only = true;
    code = write_shard(saving, shard, &writer, path, error);
    safetensors_writer_fini(&writer);
    return code;
}

static void index_text(const struct saving *saving, struct buffer *out)
{
    const struct tensor_table *table = &saving->checkpoint->table;
    buffer_format(out, "{\"metadata\": {\"total_size\": %llu}, \"weight_map\": {", (unsigned long long)saving->bytes);
    for (int i = 0; i < table->count; i++) {
        char tensor[CHECKPOINT_NAME_BYTES], shard[SHARD_NAME_BYTES];
        checkpoint_file_name(&table->tensors[i], table->shape.family, saving->checkpoint->prefixed, tensor);
        shard_name(saving, saving->shard_of[i], shard);
        buffer_text(out, i > 0 ? ",\n" : "\n");
        buffer_json_string(out, tensor);
        buffer_text(out, ": ");
        buffer_json_string(out, shard);
    }
    buffer_text(out, "}}\n");
}

/* One of the two names a model by itself: whichever was there before goes once the other stands. */
static int save_index(const struct saving *saving, struct error *error)
{
    char index[FILE_PATH_BYTES], single[FILE_PATH_BYTES];
    struct buffer text;
    int code = file_join(index, saving->directory, CHECKPOINT_INDEX_FILE, error);
    if (code == 0)
        code = file_join(single, saving->directory, CHECKPOINT_WEIGHTS_FILE, error);
    if (code != 0 || saving->shard_count == 1)
        return code == 0 ? file_remove(index, error) : code;
    buffer_init(&text);
    index_text(saving, &text);
    code = text.failed ? error_set(error, ERROR_NO_MEMORY, "No memory for the index of the shards; try again.")
                       : file_write(index, text.data, text.length, error);
    buffer_fini(&text);
    return code == 0 ? file_remove(single, error) : code;
}

int checkpoint_save_supplied(const struct checkpoint *checkpoint, const char *directory, enum dtype dtype,
                             const struct checkpoint_save *options, struct error *error)
{
    struct saving saving = {.checkpoint = checkpoint, .directory = directory, .dtype = dtype, .options = options};
    int code = assign_shards(&saving, error);
    for (int shard = 0; shard < saving.shard_count && code == 0; shard++)
        code = save_shard(&saving, shard, error);
    if (code == 0)
        code = save_index(&saving, error);
    memory_free(saving.shard_of);
    return code;
}
