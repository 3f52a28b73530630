#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/dtype.h"
#include "model/safetensors_parse.h"

/* Bytes of 16-bit values converted at a time. */
enum { PIECE_BYTES = 128 << 10 };

/* The header's text, from memory (bytes) or from file->reader. */
static int take_header(struct safetensors *file, const void *bytes, uint64_t length, struct error *error)
{
    file->text = memory_new((size_t)length + 1);
    if (file->text == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory for a header of %llu bytes; try again.",
                         (unsigned long long)length);
    if (bytes == NULL)
        return file_reader_read(&file->reader, 8, file->text, (size_t)length, error);
    memcpy(file->text, (const char *)bytes + 8, (size_t)length);
    return 0;
}

static void free_tables(struct safetensors *file)
{
    memory_free(file->entries);
    memory_free(file->metadata);
    memory_free(file->text);
    memset(file, 0, sizeof *file);
    file->reader.fd = -1;
}

int safetensors_parse(struct safetensors *file, const void *bytes, size_t available, uint64_t size,
                      uint64_t header_limit, struct error *error)
{
    unsigned char first[8] = {0};
    uint64_t length = 0;
    memset(file, 0, sizeof *file);
    file->reader.fd = -1;
    if (available > 0)
        memcpy(first, bytes, available < 8 ? available : 8);
    int code = safetensors_header_length(first, size, header_limit, &length, error);
    if (code != 0)
        return code;
    if (available < 8 || length > available - 8)
        return error_set(error, ERROR_INVALID, "The header has %llu bytes, only %zu of the file's first bytes are "
                         "here.", (unsigned long long)length, available);
    code = take_header(file, bytes, length, error);
    if (code == 0)
        code = safetensors_parse_header(file, (size_t)length, size - 8 - length, error);
    file->data_offset = 8 + length;
    if (code != 0)
        free_tables(file);
    return code;
}

static int open_file(struct safetensors *file, const char *path, uint64_t header_limit, struct error *error)
{
    unsigned char first[8] = {0};
    uint64_t length = 0;
    int code = file_reader_open(&file->reader, path, error);
    if (code != 0) {
        file->reader.fd = -1;
        return code;
    }
    if (file->reader.size >= sizeof first)
        code = file_reader_read(&file->reader, 0, first, sizeof first, error);
    if (code == 0)
        code = safetensors_header_length(first, file->reader.size, header_limit, &length, error);
    if (code == 0)
        code = take_header(file, NULL, length, error);
    if (code == 0)
        code = safetensors_parse_header(file, (size_t)length, file->reader.size - 8 - length, error);
    file->data_offset = 8 + length;
    return code;
}

int safetensors_open(struct safetensors *file, const char *path, uint64_t header_limit, struct error *error)
{
    memset(file, 0, sizeof *file);
    file->reader.fd = -1;
    int code = open_file(file, path, header_limit, error);
    if (code == 0)
        return 0;
    safetensors_close(file);
    if (code == ERROR_INVALID)
        error_wrap(error, "%s", path);
    return code;
}

void safetensors_close(struct safetensors *file)
{
    if (file->reader.fd >= 0)
        file_reader_close(&file->reader);
    free_tables(file);
}

const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name)
{
    int low = 0, high = file->count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        int order = strcmp(name, file->entries[middle].name);
        if (order == 0)
            return &file->entries[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *file, const char *key)
{
    for (int i = 0; i < file->meta_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    return NULL;
}

uint64_t safetensors_entry_elements(const struct safetensors_entry *entry)
{
    return (entry->end - entry->begin) / (uint64_t)dtype_bytes(entry->dtype);
}

/* Converts in pieces through the stack; F32 goes straight to its place. */
static int read_converted(const struct safetensors *file, const struct safetensors_entry *entry, uint64_t first,
                          uint64_t count, float *out, struct error *error)
{
    unsigned char piece[PIECE_BYTES];
    uint64_t bytes = (uint64_t)dtype_bytes(entry->dtype);
    uint64_t offset = file->data_offset + entry->begin + first * bytes;
    if (entry->dtype == DTYPE_F32)
        return file_reader_read(&file->reader, offset, out, (size_t)(count * bytes), error);
    for (uint64_t done = 0; done < count;) {
        uint64_t now = count - done < PIECE_BYTES / bytes ? count - done : PIECE_BYTES / bytes;
        int code = file_reader_read(&file->reader, offset + done * bytes, piece, (size_t)(now * bytes), error);
        if (code != 0)
            return code;
        dtype_decode(entry->dtype, piece, (size_t)now, out + done);
        done += now;
    }
    return 0;
}

int safetensors_read_floats(const struct safetensors *file, const struct safetensors_entry *entry, uint64_t first,
                            uint64_t count, float *out, struct error *error)
{
    uint64_t elements = safetensors_entry_elements(entry);
    if (!dtype_is_trainable(entry->dtype))
        return error_set_at(error, ERROR_INVALID, entry->name, "Tensor \"%.100s\" is %s; F32, F16 or BF16 is needed.",
                            entry->name, dtype_name(entry->dtype));
    if (first > elements || count > elements - first)
        return error_set_at(error, ERROR_INVALID, entry->name, "Elements %llu to %llu of tensor \"%.100s\" were asked "
                            "for; it has %llu.", (unsigned long long)first, (unsigned long long)(first + count),
                            entry->name, (unsigned long long)elements);
    return count == 0 ? 0 : read_converted(file, entry, first, count, out, error);
}

int safetensors_read_raw(const struct safetensors *file, const struct safetensors_entry *entry, void *out,
                         struct error *error)
{
    size_t length = (size_t)(entry->end - entry->begin);
    return length == 0 ? 0 : file_reader_read(&file->reader, file->data_offset + entry->begin, out, length, error);
}
