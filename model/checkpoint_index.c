/* model.safetensors.index.json: {"metadata": …, "weight_map": {"tensor": "shard file", …}}. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/checkpoint_files.h"
#include "model/json_scan.h"

/* A shard is a file beside the index and nothing else. */
static bool is_plain_name(const char *name)
{
    static const char ending[] = ".safetensors";
    size_t length = strlen(name);
    return name[0] != '.' && strpbrk(name, "/\\") == NULL && length > sizeof ending - 1 && length < 256 &&
           strcmp(name + length - (sizeof ending - 1), ending) == 0;
}

static int add_place(struct json_scan *scan, struct shard_index *index, const char *name, int *capacity)
{
    struct json_span shard;
    int code = json_string(scan, &shard);
    if (code != 0)
        return code;
    if (!is_plain_name(shard.bytes))
        return json_fail(scan, "\"%.100s\" is no plain name of a .safetensors file beside the index; correct it, found",
                         shard.bytes);
    if (index->place_count == SAFETENSORS_TENSORS_MAX)
        return json_fail(scan, "The index names over %d tensors", SAFETENSORS_TENSORS_MAX);
    if (index->place_count == *capacity) {
        int wanted = *capacity == 0 ? 64 : *capacity * 2;
        struct shard_place *grown = memory_resize(index->places, (size_t)wanted * sizeof *grown);
        if (grown == NULL)
            return error_set(scan->error, ERROR_NO_MEMORY, "No memory for an index of shards; try again.");
        index->places = grown;
        *capacity = wanted;
    }
    index->places[index->place_count++] = (struct shard_place){name, shard.bytes};
    return 0;
}

static int scan_index(struct json_scan *scan, struct shard_index *index)
{
    struct json_span key;
    bool more, inner;
    int capacity = 0, code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more) {
        if (!json_span_is(key, "weight_map")) {
            code = json_skip(scan);
            continue;
        }
        code = json_object_open(scan);
        while (code == 0 && (code = json_object_next(scan, &key, &inner)) == 0 && inner)
            code = add_place(scan, index, key.bytes, &capacity);
    }
    if (code == 0 && (code = json_scan_finish(scan)) == 0 && index->place_count == 0)
        code = error_set(scan->error, ERROR_INVALID, "The index has no weight_map with tensors; export the model "
                         "again.");
    return code;
}

static int compare_places(const void *a, const void *b)
{
    const struct shard_place *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int collect_shards(struct shard_index *index, struct error *error)
{
    int count = 0;
    index->shards = memory_array((size_t)index->place_count, sizeof *index->shards);
    if (index->shards == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory for an index of shards; try again.");
    for (int i = 0; i < index->place_count; i++)
        index->shards[i] = index->places[i].shard;
    qsort(index->shards, (size_t)index->place_count, sizeof *index->shards, compare_strings);
    for (int i = 0; i < index->place_count; i++)
        if (count == 0 || strcmp(index->shards[count - 1], index->shards[i]) != 0)
            index->shards[count++] = index->shards[i];
    index->shard_count = count;
    if (count > CHECKPOINT_SHARDS_MAX)
        return error_set(error, ERROR_INVALID, "The index names %d shards; at most %d are supported, export with "
                         "larger ones.", count, CHECKPOINT_SHARDS_MAX);
    return 0;
}

int shard_index_read(struct shard_index *index, const char *path, struct error *error)
{
    size_t length;
    memset(index, 0, sizeof *index);
    int code = file_read(path, CHECKPOINT_INDEX_LIMIT_BYTES, &index->text, &length, error);
    if (code != 0)
        return code;
    struct json_scan *scan = memory_new(sizeof *scan);
    if (scan == NULL) {
        code = error_set(error, ERROR_NO_MEMORY, "No memory to read an index of shards; try again.");
    } else {
        code = json_scan_init(scan, index->text, length, SAFETENSORS_DEPTH_MAX, ERROR_INVALID, error);
        if (code == 0)
            code = scan_index(scan, index);
        json_scan_fini(scan);
        memory_free(scan);
    }
    if (code == 0)
        code = collect_shards(index, error);
    if (code != 0) {
        shard_index_fini(index);
        error_wrap(error, "%s", path);
        return code;
    }
    qsort(index->places, (size_t)index->place_count, sizeof *index->places, compare_places);
    return 0;
}

void shard_index_fini(struct shard_index *index)
{
    memory_free(index->places);
    memory_free(index->shards);
    memory_free(index->text);
    memset(index, 0, sizeof *index);
}

const char *shard_index_find(const struct shard_index *index, const char *name)
{
    struct shard_place wanted = {name, NULL};
    const struct shard_place *place = bsearch(&wanted, index->places, (size_t)index->place_count,
                                              sizeof *index->places, compare_places);
    return place == NULL ? NULL : place->shard;
}
