#include "trainer/corpus.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "trainer/corpus_format.h"

enum { SCAN_BYTES = 1 << 20, READ_BYTES = 8192 };

static const char *const format_names[CORPUS_FORMAT_COUNT] = {
#define X(code, name) name,
    CORPUS_FORMATS(X)
#undef X
};

const char *corpus_format_name(enum corpus_format format)
{
    return (unsigned)format < CORPUS_FORMAT_COUNT ? format_names[format] : "unknown";
}

int corpus_format_parse(const char *text, enum corpus_format *format)
{
    for (int i = 0; i < CORPUS_FORMAT_COUNT; i++) {
        if (strcmp(text, format_names[i]) == 0) {
            *format = (enum corpus_format)i;
            return 0;
        }
    }
    return -1;
}

/* One little-endian token, sign-extended if signed. As uint64_t it is below the vocabulary if and only if it is
 * valid. */
static uint64_t token_decode(const unsigned char *bytes, int token_bytes, bool is_signed)
{
    uint64_t bits = 0;
    for (int i = token_bytes - 1; i >= 0; i--) {
        bits = bits << 8 | bytes[i];
    }
    if (is_signed && token_bytes < 8 && bits >> (8 * token_bytes - 1) != 0) {
        bits |= ~UINT64_C(0) << (8 * token_bytes);
    }
    return bits;
}

/* `offset`: index of the token in the file. */
static int token_refuse(const struct corpus *corpus, uint64_t offset, uint64_t bits, struct error *error)
{
    char value[32];
    if (corpus->token_signed) {
        snprintf(value, sizeof value, "%" PRId64, (int64_t)bits);
    } else {
        snprintf(value, sizeof value, "%" PRIu64, bits);
    }
    return error_set_at(error, ERROR_INVALID, "",
                        "The data file %s (read as %s) holds token %s at offset %" PRIu64
                        ", outside the vocabulary of %d. Give data made with this checkpoint's tokenizer, or the "
                        "file's true format.",
                        corpus->file.path, corpus_format_name(corpus->format), value, offset, corpus->vocabulary);
}

/* Checks `count` encoded tokens; the first lies at index `offset` of the file. */
static int tokens_check(const struct corpus *corpus, const unsigned char *bytes, uint64_t offset, size_t count,
                        struct error *error)
{
    const int size = corpus->token_bytes;
    const uint64_t vocabulary = (uint64_t)corpus->vocabulary;
    for (size_t i = 0; i < count; i++) {
        const uint64_t bits = token_decode(bytes + i * (size_t)size, size, corpus->token_signed);
        if (bits >= vocabulary) {
            return token_refuse(corpus, offset + i, bits, error);
        }
    }
    return 0;
}

static int corpus_scan(const struct corpus *corpus, struct error *error)
{
    unsigned char *block = memory_array(SCAN_BYTES, 1);
    if (block == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory to read the data file %s.", corpus->file.path);
    }
    const uint64_t per_block = SCAN_BYTES / (uint64_t)corpus->token_bytes;
    int status = 0;
    for (uint64_t at = 0; at < corpus->tokens && status == 0; at += per_block) {
        const uint64_t left = corpus->tokens - at;
        const size_t count = (size_t)(left < per_block ? left : per_block);
        status = file_reader_read(&corpus->file, corpus->data_offset + at * (uint64_t)corpus->token_bytes, block,
                                  count * (size_t)corpus->token_bytes, error);
        if (status == 0) {
            status = tokens_check(corpus, block, at, count, error);
        }
    }
    memory_free(block);
    return status;
}

int corpus_reopen(struct corpus *corpus, const char *path, enum corpus_format format, int vocabulary,
                  struct error *error)
{
    memset(corpus, 0, sizeof *corpus);
    corpus->vocabulary = vocabulary;
    int status = file_reader_open(&corpus->file, path, error);
    if (status != 0) {
        return status;
    }
    status = corpus_resolve(corpus, path, format, error);
    if (status != 0) {
        corpus_close(corpus);
    }
    return status;
}

int corpus_open(struct corpus *corpus, const char *path, enum corpus_format format, int vocabulary, int context,
                struct error *error)
{
    int status = corpus_reopen(corpus, path, format, vocabulary, error);
    if (status != 0) {
        return status;
    }
    if (corpus->tokens < (uint64_t)context + 1) {
        status = error_set_at(error, ERROR_INVALID, "",
                              "The data file %s holds %" PRIu64 " tokens, fewer than the context + 1 = %d that one row "
                              "of a batch reads. Give more data or a smaller training.context.",
                              corpus->file.path, corpus->tokens, context + 1);
    } else {
        status = corpus_scan(corpus, error);
    }
    if (status != 0) {
        corpus_close(corpus);
    }
    return status;
}

void corpus_close(struct corpus *corpus)
{
    file_reader_close(&corpus->file);
}

int corpus_split(struct corpus *train, struct corpus *valid, int context, struct error *error)
{
    const uint64_t window = (uint64_t)context + 1;
    const uint64_t tenth = train->tokens / 10;
    const uint64_t held_out = tenth > window ? tenth : window;
    if (train->tokens < window || train->tokens - window < held_out) {
        return error_set_at(error, ERROR_INVALID, "",
                            "The data file %s holds %" PRIu64 " tokens, too few to hold out a validation window of "
                            "%" PRIu64 " and still train. Give data.valid, more data or a smaller training.context.",
                            train->file.path, train->tokens, window);
    }
    *valid = *train;
    valid->file.fd = fcntl(train->file.fd, F_DUPFD_CLOEXEC, 0);
    if (valid->file.fd < 0) {
        return error_set_errno(error, errno, "opening %s again", train->file.path);
    }
    train->tokens -= held_out;
    valid->first = train->first + train->tokens;
    valid->tokens = held_out;
    return 0;
}

/* `count` tokens from index `at` of the corpus, without wrapping. */
static int corpus_read_run(const struct corpus *corpus, uint64_t at, int count, int32_t *tokens, struct error *error)
{
    unsigned char block[READ_BYTES];
    const int size = corpus->token_bytes;
    const int per_block = READ_BYTES / size;
    for (int done = 0; done < count; done += per_block) {
        const int piece = count - done < per_block ? count - done : per_block;
        const uint64_t first = corpus->first + at + (uint64_t)done;
        int status = file_reader_read(&corpus->file, corpus->data_offset + first * (uint64_t)size, block,
                                      (size_t)piece * (size_t)size, error);
        if (status == 0) {
            status = tokens_check(corpus, block, first, (size_t)piece, error);
        }
        if (status != 0) {
            return status;
        }
        for (int i = 0; i < piece; i++) {
            tokens[done + i] = (int32_t)token_decode(block + (size_t)i * (size_t)size, size, corpus->token_signed);
        }
    }
    return 0;
}

int corpus_read(const struct corpus *corpus, uint64_t position, int count, int32_t *tokens, struct error *error)
{
    if (corpus->tokens == 0) {
        return error_set_at(error, ERROR_INVALID, "", "The data file %s is empty.", corpus->file.path);
    }
    uint64_t at = position % corpus->tokens;
    int done = 0;
    while (done < count) {
        const uint64_t left = corpus->tokens - at;
        const int piece = (uint64_t)(count - done) < left ? count - done : (int)left;
        int status = corpus_read_run(corpus, at, piece, tokens + done, error);
        if (status != 0) {
            return status;
        }
        done += piece;
        at = 0;
    }
    return 0;
}
