#include "trainer/corpus_format.h"

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "model/safetensors.h"

/* llm.c's data files: 256 int32 (magic, version, number of tokens, zeros), then uint16 tokens. */
enum { LLMC_MAGIC = 20240520, LLMC_VERSION = 1, LLMC_HEADER_BYTES = 1024 };
/* Up to this vocabulary a file without a magic is taken for bytes: a byte tokenizer with room for special tokens. */
enum { BYTES_VOCABULARY_MAX = 512 };
enum { SNIFF_BYTES = 9 };
static const uint64_t safetensors_header_cap = 100u * 1000 * 1000;

static int format_refuse(const struct corpus *corpus, struct error *error, const char *what)
{
    return error_set_at(error, ERROR_INVALID, "", "The data file %s, read as %s, %s.", corpus->file.path,
                        corpus_format_name(corpus->format), what);
}

/* Headerless tokens of `size` bytes from `offset` to the end of the file. */
static int plain_resolve(struct corpus *corpus, int size, uint64_t offset, struct error *error)
{
    const uint64_t bytes = corpus->file.size - offset;
    if (bytes % (uint64_t)size != 0) {
        return error_set_at(error, ERROR_INVALID, "",
                            "The data file %s, read as %s, has %" PRIu64 " bytes of tokens, not a multiple of %d. Say "
                            "its true format in data.format.",
                            corpus->file.path, corpus_format_name(corpus->format), bytes, size);
    }
    corpus->data_offset = offset;
    corpus->token_bytes = size;
    corpus->tokens = bytes / (uint64_t)size;
    return 0;
}

static int bytes_resolve(struct corpus *corpus, struct error *error)
{
    return plain_resolve(corpus, 1, 0, error);
}

static int u16_resolve(struct corpus *corpus, struct error *error)
{
    return plain_resolve(corpus, 2, 0, error);
}

static int u32_resolve(struct corpus *corpus, struct error *error)
{
    return plain_resolve(corpus, 4, 0, error);
}

static int llmc_resolve(struct corpus *corpus, struct error *error)
{
    uint32_t header[3];
    if (corpus->file.size < LLMC_HEADER_BYTES) {
        return format_refuse(corpus, error, "is shorter than the header of 256 numbers");
    }
    int status = file_reader_read(&corpus->file, 0, header, sizeof header, error);
    if (status != 0) {
        return status;
    }
    if (le32toh(header[0]) != LLMC_MAGIC) {
        return format_refuse(corpus, error, "does not begin with the magic number 20240520");
    }
    if (le32toh(header[1]) != LLMC_VERSION) {
        return format_refuse(corpus, error, "is not of version 1 (uint16 tokens); write it as u32 instead");
    }
    status = plain_resolve(corpus, 2, LLMC_HEADER_BYTES, error);
    if (status == 0 && corpus->tokens != le32toh(header[2])) {
        return error_set_at(error, ERROR_INVALID, "",
                            "The llmc data file %s names %" PRIu32 " tokens in its header and holds %" PRIu64
                            ": it was cut or appended to. Write it again.",
                            corpus->file.path, le32toh(header[2]), corpus->tokens);
    }
    return status;
}

static bool dtype_is_integer(enum dtype dtype, bool *is_signed)
{
    switch (dtype) {
    case DTYPE_I64: case DTYPE_I32: case DTYPE_I16: case DTYPE_I8:
        *is_signed = true;
        return true;
    case DTYPE_U64: case DTYPE_U32: case DTYPE_U16: case DTYPE_U8:
        *is_signed = false;
        return true;
    default:
        return false;
    }
}

static int safetensors_entry_resolve(struct corpus *corpus, const struct safetensors *file, struct error *error)
{
    if (file->count != 1) {
        return error_set_at(error, ERROR_INVALID, "",
                            "The safetensors data file %s holds %d tensors; it must hold one, of integers in one "
                            "dimension.",
                            corpus->file.path, file->count);
    }
    const struct safetensors_entry *entry = &file->entries[0];
    if (!dtype_is_integer(entry->dtype, &corpus->token_signed) || entry->rank != 1) {
        return error_set_at(error, ERROR_INVALID, "",
                            "Tensor %s of the safetensors data file %s is %s in %d dimensions; it must be of integers "
                            "in one dimension.",
                            entry->name, corpus->file.path, dtype_name(entry->dtype), entry->rank);
    }
    corpus->data_offset = file->data_offset + entry->begin;
    corpus->token_bytes = dtype_bytes(entry->dtype);
    corpus->tokens = entry->dims[0];
    return 0;
}

static int safetensors_resolve(struct corpus *corpus, const char *path, struct error *error)
{
    struct safetensors file;
    int status = safetensors_open(&file, path, 0, error);
    if (status != 0) {
        return status;
    }
    status = safetensors_entry_resolve(corpus, &file, error);
    safetensors_close(&file);
    return status;
}

/* The format that the first bytes tell, CORPUS_AUTO if none does. A length that fits the file, followed by an opening
 * brace, is a safetensors header: in text the same 8 bytes are a number far beyond any file. */
static enum corpus_format format_sniff(const unsigned char *bytes, size_t count, uint64_t size)
{
    if (count >= sizeof npy_magic && memcmp(bytes, npy_magic, sizeof npy_magic) == 0) {
        return CORPUS_NPY;
    }
    uint32_t first = 0;
    memcpy(&first, bytes, count < sizeof first ? count : sizeof first);
    if (count >= sizeof first && le32toh(first) == LLMC_MAGIC) {
        return CORPUS_LLMC;
    }
    if (count == SNIFF_BYTES && bytes[8] == '{') {
        uint64_t length;
        memcpy(&length, bytes, sizeof length);
        length = le64toh(length);
        if (length >= 2 && length <= size - 8 && length <= safetensors_header_cap) {
            return CORPUS_SAFETENSORS;
        }
    }
    return CORPUS_AUTO;
}

static int format_detect(struct corpus *corpus, enum corpus_format *format, struct error *error)
{
    unsigned char bytes[SNIFF_BYTES] = {0};
    const size_t count = corpus->file.size < SNIFF_BYTES ? (size_t)corpus->file.size : SNIFF_BYTES;
    int status = file_reader_read(&corpus->file, 0, bytes, count, error);
    if (status != 0) {
        return status;
    }
    *format = format_sniff(bytes, count, corpus->file.size);
    if (*format == CORPUS_AUTO && corpus->vocabulary <= BYTES_VOCABULARY_MAX) {
        *format = CORPUS_BYTES;
    }
    if (*format == CORPUS_AUTO) {
        return error_set_at(error, ERROR_INVALID, "",
                            "The data file %s does not tell its format, and a vocabulary of %d does not fit bytes: say "
                            "u16 or u32 in data.format.",
                            corpus->file.path, corpus->vocabulary);
    }
    return 0;
}

int corpus_resolve(struct corpus *corpus, const char *path, enum corpus_format format, struct error *error)
{
    static int (*const resolvers[CORPUS_FORMAT_COUNT])(struct corpus *, struct error *) = {
        [CORPUS_BYTES] = bytes_resolve, [CORPUS_U16] = u16_resolve, [CORPUS_U32] = u32_resolve,
        [CORPUS_LLMC] = llmc_resolve,   [CORPUS_NPY] = npy_resolve,
    };
    if (format == CORPUS_AUTO) {
        int status = format_detect(corpus, &format, error);
        if (status != 0) {
            return status;
        }
    }
    corpus->format = format;
    if (format == CORPUS_SAFETENSORS) {
        return safetensors_resolve(corpus, path, error);
    }
    return resolvers[format](corpus, error);
}
