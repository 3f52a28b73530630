/* The writer: entries are declared, laid end to end, and their data follows in the same order. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/dtype.h"
#include "model/safetensors.h"

enum { PIECE_VALUES = 8192 };

void safetensors_writer_init(struct safetensors_writer *writer)
{
    memset(writer, 0, sizeof *writer);
}

static int fail_memory(struct error *error)
{
    return error_set(error, ERROR_NO_MEMORY, "No memory for the header of a safetensors file; try again.");
}

/* Room for one more element of an array that doubles. */
static int reserve(void **array, size_t element, int count, int *capacity, struct error *error)
{
    if (count < *capacity)
        return 0;
    int wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = memory_resize(*array, (size_t)wanted * element);
    if (grown == NULL)
        return fail_memory(error);
    *array = grown;
    *capacity = wanted;
    return 0;
}

static int check_declaration(const struct safetensors_writer *writer, const char *name, int rank, struct error *error)
{
    if (writer->open)
        return error_set(error, ERROR_INTERNAL, "Tensor \"%.100s\" was declared after its file had begun.", name);
    if (name[0] == '\0' || strcmp(name, "__metadata__") == 0)
        return error_set(error, ERROR_INVALID, "A tensor can not be named \"%s\"; choose another name.", name);
    if (rank < 0 || rank > SAFETENSORS_RANK_MAX)
        return error_set(error, ERROR_INVALID, "Tensor \"%.100s\" has %d dimensions; at most %d are allowed.", name,
                         rank, SAFETENSORS_RANK_MAX);
    if (writer->count == SAFETENSORS_TENSORS_MAX)
        return error_set(error, ERROR_INVALID, "A file holds at most %d tensors.", SAFETENSORS_TENSORS_MAX);
    return 0;
}

int safetensors_writer_add(struct safetensors_writer *writer, const char *name, enum dtype dtype, int rank,
                           const uint64_t *dims, struct error *error)
{
    uint64_t bytes = (uint64_t)dtype_bytes(dtype), begin, end;
    int code = check_declaration(writer, name, rank, error);
    if (code != 0)
        return code;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(bytes, dims[i], &bytes))
            return error_set(error, ERROR_INVALID, "The shape of tensor \"%.100s\" overflows 64 bits.", name);
    begin = writer->count > 0 ? writer->entries[writer->count - 1].end : 0;
    if (__builtin_add_overflow(begin, bytes, &end))
        return error_set(error, ERROR_INVALID, "The file's size overflows 64 bits at tensor \"%.100s\".", name);
    code = reserve((void **)&writer->entries, sizeof *writer->entries, writer->count, &writer->capacity, error);
    if (code != 0)
        return code;
    struct safetensors_entry *entry = &writer->entries[writer->count];
    *entry = (struct safetensors_entry){.name = memory_string(name), .dtype = dtype, .rank = rank, .begin = begin,
                                        .end = end};
    if (entry->name == NULL)
        return fail_memory(error);
    if (rank > 0)
        memcpy(entry->dims, dims, (size_t)rank * sizeof *dims);
    writer->count++;
    return 0;
}

int safetensors_writer_metadata(struct safetensors_writer *writer, const char *key, const char *value,
                                struct error *error)
{
    struct safetensors_meta meta;
    int code = reserve((void **)&writer->metadata, sizeof *writer->metadata, writer->meta_count,
                       &writer->meta_capacity, error);
    if (code != 0)
        return code;
    meta.key = memory_string(key);
    meta.value = memory_string(value);
    if (meta.key == NULL || meta.value == NULL) {
        memory_free(meta.key);
        memory_free(meta.value);
        return fail_memory(error);
    }
    writer->metadata[writer->meta_count++] = meta;
    return 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A reader would refuse two tensors of one name. */
static int check_names(const struct safetensors_writer *writer, struct error *error)
{
    const char **names = memory_array((size_t)writer->count, sizeof *names);
    int code = 0;
    if (names == NULL)
        return fail_memory(error);
    for (int i = 0; i < writer->count; i++)
        names[i] = writer->entries[i].name;
    if (writer->count > 1)
        qsort(names, (size_t)writer->count, sizeof *names, compare_strings);
    for (int i = 1; i < writer->count && code == 0; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            code = error_set(error, ERROR_INVALID, "Two tensors are named \"%.100s\"; rename one.", names[i]);
    memory_free(names);
    return code;
}

static void header_entry(struct buffer *header, const struct safetensors_entry *entry)
{
    buffer_json_string(header, entry->name);
    buffer_format(header, ":{\"dtype\":\"%s\",\"shape\":[", dtype_name(entry->dtype));
    for (int i = 0; i < entry->rank; i++)
        buffer_format(header, "%s%llu", i > 0 ? "," : "", (unsigned long long)entry->dims[i]);
    buffer_format(header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)entry->begin,
                  (unsigned long long)entry->end);
}

static void header_metadata(struct buffer *header, const struct safetensors_writer *writer)
{
    buffer_text(header, "\"__metadata__\":{");
    for (int i = 0; i < writer->meta_count; i++) {
        buffer_text(header, i > 0 ? "," : "");
        buffer_json_string(header, writer->metadata[i].key);
        buffer_text(header, ":");
        buffer_json_string(header, writer->metadata[i].value);
    }
    buffer_text(header, "}");
}

/* The length in the first 8 bytes, then the JSON, padded with spaces to a multiple of 8. */
static void header_build(struct buffer *header, const struct safetensors_writer *writer)
{
    buffer_append(header, "\0\0\0\0\0\0\0\0", 8);
    buffer_text(header, "{");
    if (writer->meta_count > 0)
        header_metadata(header, writer);
    for (int i = 0; i < writer->count; i++) {
        buffer_text(header, i > 0 || writer->meta_count > 0 ? "," : "");
        header_entry(header, &writer->entries[i]);
    }
    buffer_text(header, "}");
    buffer_append(header, "       ", (8 - header->length % 8) % 8);
    uint64_t length = header->length - 8;
    for (int i = 0; i < 8 && !header->failed; i++)
        header->data[i] = (char)(unsigned char)(length >> (8 * i) & 0xFF);
}

static int write_bytes(struct safetensors_writer *writer, const void *bytes, size_t length, struct error *error)
{
    if (!writer->skip_hash)
        hash_update(&writer->hash, bytes, length);
    return file_writer_write(&writer->file, bytes, length, error);
}

int safetensors_writer_begin(struct safetensors_writer *writer, const char *path, struct error *error)
{
    struct buffer header;
    int code = check_names(writer, error);
    if (code != 0)
        return code;
    buffer_init(&header);
    header_build(&header, writer);
    if (header.failed)
        code = fail_memory(error);
    else if (header.length - 8 > SAFETENSORS_HEADER_DEFAULT)
        code = error_set(error, ERROR_INVALID, "The header would have %zu bytes, over the limit of %d; use fewer "
                         "tensors.", header.length - 8, SAFETENSORS_HEADER_DEFAULT);
    else
        code = file_writer_open(&writer->file, path, error);
    if (code == 0) {
        writer->open = true;
        code = writer->overlap ? file_writer_overlap(&writer->file, error) : 0;
    }
    if (code == 0) {
        hash_begin(&writer->hash);
        code = write_bytes(writer, header.data, header.length, error);
    }
    buffer_fini(&header);
    return code;
}

/* The entry that further bytes belong to; NULL when all are complete. */
static const struct safetensors_entry *current_entry(struct safetensors_writer *writer)
{
    while (writer->current < writer->count) {
        const struct safetensors_entry *entry = &writer->entries[writer->current];
        if (writer->current_done < entry->end - entry->begin)
            return entry;
        writer->current++;
        writer->current_done = 0;
    }
    return NULL;
}

static int check_piece(struct safetensors_writer *writer, const struct safetensors_entry *entry, uint64_t length,
                       struct error *error)
{
    if (!writer->open || entry == NULL)
        return error_set(error, ERROR_INTERNAL, "Data was given to a safetensors file that expects none.");
    if (length > entry->end - entry->begin - writer->current_done)
        return error_set(error, ERROR_INTERNAL, "More data than declared was given for tensor \"%.100s\".",
                         entry->name);
    return 0;
}

int safetensors_writer_raw(struct safetensors_writer *writer, const void *bytes, size_t length, struct error *error)
{
    if (length == 0)
        return 0;
    int code = check_piece(writer, current_entry(writer), length, error);
    if (code == 0)
        code = write_bytes(writer, bytes, length, error);
    if (code == 0)
        writer->current_done += length;
    return code;
}

static int encode_piece(struct safetensors_writer *writer, const struct safetensors_entry *entry, const float *values,
                        size_t count, struct error *error)
{
    unsigned char piece[PIECE_VALUES * sizeof(float)];
    size_t bytes = (size_t)dtype_bytes(entry->dtype), bad = dtype_encode(entry->dtype, values, count, piece);
    if (bad < count)
        return error_set_at(error, ERROR_INVALID, entry->name, "Value %llu of tensor \"%.100s\" is %g, which %s can "
                            "not hold; save with dtype %s.",
                            (unsigned long long)(writer->current_done / bytes + bad), entry->name, (double)values[bad],
                            dtype_name(entry->dtype), entry->dtype == DTYPE_F16 ? "BF16 or F32" : "F32");
    if (writer->finite_only && (bad = dtype_find_nonfinite(entry->dtype, piece, count)) < count)
        return error_set_at(error, ERROR_DIVERGED, entry->name, "Tensor \"%.100s\" holds NaN or Inf at index %llu; a "
                            "diverged model is not saved.", entry->name,
                            (unsigned long long)(writer->current_done / bytes + bad));
    int code = write_bytes(writer, piece, count * bytes, error);
    if (code == 0)
        writer->current_done += count * bytes;
    return code;
}

int safetensors_writer_floats(struct safetensors_writer *writer, const float *values, size_t count,
                              struct error *error)
{
    const struct safetensors_entry *entry;
    if (count == 0)
        return 0;
    entry = current_entry(writer);
    int code = check_piece(writer, entry, count * (entry != NULL ? (uint64_t)dtype_bytes(entry->dtype) : 1), error);
    if (code == 0 && !dtype_is_trainable(entry->dtype))
        code = error_set(error, ERROR_INTERNAL, "Floats were given for tensor \"%.100s\" of dtype %s.", entry->name,
                         dtype_name(entry->dtype));
    for (size_t done = 0; done < count && code == 0; done += PIECE_VALUES)
        code = encode_piece(writer, entry, values + done, count - done < PIECE_VALUES ? count - done : PIECE_VALUES,
                            error);
    return code;
}

int safetensors_writer_commit(struct safetensors_writer *writer, struct error *error)
{
    uint8_t digest[HASH_BYTES];
    const struct safetensors_entry *unfinished = current_entry(writer);
    if (!writer->open)
        return error_set(error, ERROR_INTERNAL, "A safetensors file that never began can not be committed.");
    if (unfinished != NULL)
        return error_set(error, ERROR_INTERNAL, "Tensor \"%.100s\" is not complete.", unfinished->name);
    writer->open = false;
    hash_end(&writer->hash, digest);
    if (!writer->skip_hash)
        hash_hex(digest, writer->file_hash);
    return file_writer_commit(&writer->file, error);
}

void safetensors_writer_fini(struct safetensors_writer *writer)
{
    if (writer->open)
        file_writer_abort(&writer->file);
    for (int i = 0; i < writer->count; i++)
        memory_free(writer->entries[i].name);
    for (int i = 0; i < writer->meta_count; i++) {
        memory_free(writer->metadata[i].key);
        memory_free(writer->metadata[i].value);
    }
    memory_free(writer->entries);
    memory_free(writer->metadata);
    memset(writer, 0, sizeof *writer);
}
