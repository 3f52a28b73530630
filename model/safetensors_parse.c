/* The header of a safetensors file: entries and metadata pulled from its JSON.
 *
 *   0        8            8 + N                 size
 *   | N u64  | JSON, N B  | data               |      offsets count from 8 + N
 *
 * Sizes are compared before anything is added, subtracted or allocated. */
#include "model/safetensors_parse.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/json_scan.h"

int safetensors_header_length(const unsigned char first[8], uint64_t size, uint64_t limit, uint64_t *length,
                              struct error *error)
{
    if (limit == 0)
        limit = SAFETENSORS_HEADER_DEFAULT;
    if (limit > SAFETENSORS_HEADER_MAX)
        limit = SAFETENSORS_HEADER_MAX;
    if (size < 8)
        return error_set(error, ERROR_INVALID, "The file has %llu bytes, fewer than the 8 of a header length; it is "
                         "empty or cut: copy it again.", (unsigned long long)size);
    *length = 0;
    for (int i = 7; i >= 0; i--)
        *length = *length << 8 | first[i];
    if (*length == 0)
        return error_set(error, ERROR_INVALID, "The header length is 0; this is no safetensors file.");
    if (*length > limit)
        return error_set(error, ERROR_INVALID, "The header length %llu is over the limit of %llu bytes; this is no "
                         "safetensors file, or one that should be split.", (unsigned long long)*length,
                         (unsigned long long)limit);
    if (*length > size - 8)
        return error_set(error, ERROR_INVALID, "The header of %llu bytes does not fit the file of %llu; the file is "
                         "truncated: copy it again.", (unsigned long long)*length, (unsigned long long)size);
    return 0;
}

/* Room for one more element of an array that doubles. */
static int reserve(void **array, size_t element, int count, int *capacity, struct error *error)
{
    if (count < *capacity)
        return 0;
    int wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = memory_resize(*array, (size_t)wanted * element);
    if (grown == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory for the table of a safetensors file; try again.");
    *array = grown;
    *capacity = wanted;
    return 0;
}

/* What an entry has shown so far. */
struct entry_fields { bool dtype, shape, offsets; };

static int parse_dtype(struct json_scan *scan, struct safetensors_entry *entry)
{
    struct json_span name;
    if (json_peek(scan) != JSON_STRING)
        return json_fail(scan, "The dtype of \"%.100s\" is %s, not a string,", entry->name,
                         json_kind_name(json_peek(scan)));
    int code = json_string(scan, &name);
    if (code != 0)
        return code;
    int dtype = dtype_parse(name.bytes);
    if (dtype < 0)
        return json_fail(scan, "Tensor \"%.100s\" has the unknown dtype \"%.40s\"; export it as F32, F16 or BF16, "
                         "found", entry->name, name.bytes);
    entry->dtype = (enum dtype)dtype;
    return 0;
}

static int parse_shape(struct json_scan *scan, struct safetensors_entry *entry)
{
    bool more;
    if (json_peek(scan) != JSON_ARRAY)
        return json_fail(scan, "The shape of \"%.100s\" is %s, not an array,", entry->name,
                         json_kind_name(json_peek(scan)));
    int code = json_array_open(scan);
    entry->rank = 0;
    while (code == 0 && (code = json_array_next(scan, &more)) == 0 && more) {
        if (entry->rank == SAFETENSORS_RANK_MAX)
            return json_fail(scan, "Tensor \"%.100s\" has more than %d dimensions", entry->name, SAFETENSORS_RANK_MAX);
        code = json_u64(scan, "A dimension", &entry->dims[entry->rank]);
        entry->rank++;
    }
    return code;
}

static int parse_offsets(struct json_scan *scan, struct safetensors_entry *entry)
{
    uint64_t offsets[2] = {0, 0};
    int count = 0;
    bool more;
    if (json_peek(scan) != JSON_ARRAY)
        return json_fail(scan, "data_offsets of \"%.100s\" is %s, not an array,", entry->name,
                         json_kind_name(json_peek(scan)));
    int code = json_array_open(scan);
    while (code == 0 && (code = json_array_next(scan, &more)) == 0 && more) {
        if (count == 2)
            return json_fail(scan, "data_offsets of \"%.100s\" has more than two numbers", entry->name);
        code = json_u64(scan, "An offset", &offsets[count++]);
    }
    if (code == 0 && count != 2)
        return json_fail(scan, "data_offsets of \"%.100s\" has %d numbers, not two,", entry->name, count);
    entry->begin = offsets[0];
    entry->end = offsets[1];
    return code;
}

static int parse_field(struct json_scan *scan, struct json_span key, struct safetensors_entry *entry,
                       struct entry_fields *seen)
{
    if (json_span_is(key, "dtype")) {
        seen->dtype = true;
        return parse_dtype(scan, entry);
    }
    if (json_span_is(key, "shape")) {
        seen->shape = true;
        return parse_shape(scan, entry);
    }
    if (json_span_is(key, "data_offsets")) {
        seen->offsets = true;
        return parse_offsets(scan, entry);
    }
    return json_skip(scan);
}

/* Bytes of an entry by its shape and dtype; -1 when a product overflows, whether or not a further dimension is 0. */
static int entry_bytes(const struct safetensors_entry *entry, uint64_t *bytes)
{
    bool empty = false;
    *bytes = (uint64_t)dtype_bytes(entry->dtype);
    for (int i = 0; i < entry->rank; i++) {
        if (entry->dims[i] == 0)
            empty = true;
        else if (__builtin_mul_overflow(*bytes, entry->dims[i], bytes))
            return -1;
    }
    if (empty)
        *bytes = 0;
    return 0;
}

static int check_entry(const struct safetensors_entry *entry, struct error *error)
{
    uint64_t bytes;
    if (entry->end < entry->begin)
        return error_set_at(error, ERROR_INVALID, entry->name, "Tensor \"%.100s\" ends before it begins: data_offsets "
                            "[%llu, %llu].", entry->name, (unsigned long long)entry->begin,
                            (unsigned long long)entry->end);
    if (entry_bytes(entry, &bytes) != 0)
        return error_set_at(error, ERROR_INVALID, entry->name, "The shape of tensor \"%.100s\" overflows 64 bits.",
                            entry->name);
    if (bytes != entry->end - entry->begin)
        return error_set_at(error, ERROR_INVALID, entry->name, "Tensor \"%.100s\": shape and dtype %s make %llu bytes, "
                            "its data_offsets %llu.", entry->name, dtype_name(entry->dtype),
                            (unsigned long long)bytes, (unsigned long long)(entry->end - entry->begin));
    return 0;
}

static int parse_entry(struct json_scan *scan, struct safetensors_entry *entry)
{
    struct entry_fields seen = {false, false, false};
    struct json_span key;
    bool more;
    if (json_peek(scan) != JSON_OBJECT)
        return json_fail(scan, "The entry of \"%.100s\" is %s, not an object,", entry->name,
                         json_kind_name(json_peek(scan)));
    int code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more)
        code = parse_field(scan, key, entry, &seen);
    if (code != 0)
        return code;
    if (!seen.dtype || !seen.shape || !seen.offsets)
        return json_fail(scan, "The entry of \"%.100s\" has no %s; its object ends", entry->name,
                         !seen.dtype ? "dtype" : !seen.shape ? "shape" : "data_offsets");
    return check_entry(entry, scan->error);
}

static int parse_metadata(struct json_scan *scan, struct safetensors *file)
{
    struct json_span key, value;
    int capacity = 0, code;
    bool more;
    if (json_take_null(scan))
        return 0;
    if (json_peek(scan) != JSON_OBJECT)
        return json_fail(scan, "__metadata__ is %s, not an object,", json_kind_name(json_peek(scan)));
    if (file->metadata != NULL)
        return json_fail(scan, "The key \"__metadata__\" is there twice; keep one, found");
    code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more) {
        if (json_peek(scan) != JSON_STRING)
            return json_fail(scan, "__metadata__ holds a value that is no string: \"%.100s\" is %s,", key.bytes,
                             json_kind_name(json_peek(scan)));
        if ((code = json_string(scan, &value)) != 0 ||
            (code = reserve((void **)&file->metadata, sizeof *file->metadata, file->meta_count, &capacity,
                            scan->error)) != 0)
            return code;
        file->metadata[file->meta_count++] = (struct safetensors_meta){(char *)key.bytes, (char *)value.bytes};
    }
    return code;
}

/* One member of the header: metadata, or a tensor's entry. */
static int parse_member(struct json_scan *scan, struct safetensors *file, struct json_span key, int *capacity)
{
    if (json_span_is(key, "__metadata__"))
        return parse_metadata(scan, file);
    if (key.length == 0)
        return json_fail(scan, "A tensor has an empty name");
    if (file->count == SAFETENSORS_TENSORS_MAX)
        return json_fail(scan, "The file holds over %d tensors", SAFETENSORS_TENSORS_MAX);
    int code = reserve((void **)&file->entries, sizeof *file->entries, file->count, capacity, scan->error);
    if (code != 0)
        return code;
    struct safetensors_entry *entry = &file->entries[file->count];
    memset(entry, 0, sizeof *entry);
    entry->name = (char *)key.bytes;
    if ((code = parse_entry(scan, entry)) == 0)
        file->count++;
    return code;
}

static int parse_members(struct json_scan *scan, struct safetensors *file)
{
    struct json_span key;
    int capacity = 0, code;
    bool more;
    if (json_peek(scan) == JSON_ARRAY || json_peek(scan) == JSON_STRING || json_peek(scan) == JSON_NUMBER ||
        json_peek(scan) == JSON_WORD)
        return json_fail(scan, "The header is %s, not an object,", json_kind_name(json_peek(scan)));
    code = json_object_open(scan);
    while (code == 0 && (code = json_object_next(scan, &key, &more)) == 0 && more)
        code = parse_member(scan, file, key, &capacity);
    return code == 0 ? json_scan_finish(scan) : code;
}

static int compare_names(const void *a, const void *b)
{
    const struct safetensors_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

int safetensors_parse_header(struct safetensors *file, size_t length, uint64_t data_bytes, struct error *error)
{
    struct json_scan *scan = memory_new(sizeof *scan);
    if (scan == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory to read a safetensors header; try again.");
    int code = json_scan_init(scan, file->text, length, SAFETENSORS_DEPTH_MAX, ERROR_INVALID, error);
    if (code == 0)
        code = parse_members(scan, file);
    json_scan_fini(scan);
    memory_free(scan);
    if (code == 0)
        code = safetensors_check_ranges(file, data_bytes, error);
    if (code == 0 && file->count > 1)
        qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_names);
    return code;
}
