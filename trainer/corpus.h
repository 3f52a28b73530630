/* Corpus: tokens in a file, read by position. Formats: bytes, u16, u32 (little-endian), llmc (256 int32 header,
 * magic 20240520, version 1, then u16), npy (1-D, C order, little-endian integers of 1 to 8 bytes), safetensors (one
 * 1-D integer tensor and nothing else). Nothing is held in memory.
 * What is wrong with a file's content is ERROR_INVALID with one detail whose pointer is "": a caller that knows which
 * file it was puts "/data/train" or "/data/valid" in front (error_prefix_pointer).
 * Thread rule: after opening any number of threads may read (pread). */
#ifndef TRAINER_CORPUS_H
#define TRAINER_CORPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/file.h"

/* X(code, name) */
#define CORPUS_FORMATS(X)                                                                                  \
    X(CORPUS_AUTO, "auto") X(CORPUS_BYTES, "bytes") X(CORPUS_U16, "u16") X(CORPUS_U32, "u32")              \
    X(CORPUS_LLMC, "llmc") X(CORPUS_NPY, "npy") X(CORPUS_SAFETENSORS, "safetensors")
enum corpus_format {
#define X(code, name) code,
    CORPUS_FORMATS(X)
#undef X
    CORPUS_FORMAT_COUNT
};
const char *corpus_format_name(enum corpus_format format);
int corpus_format_parse(const char *text, enum corpus_format *format);   /* 0 or -1 */

struct corpus {
    struct file_reader file;
    enum corpus_format format;     /* resolved: never CORPUS_AUTO */
    uint64_t data_offset;          /* bytes */
    int token_bytes;               /* 1, 2, 4, 8 */
    bool token_signed;             /* npy and safetensors only */
    uint64_t first, tokens;        /* this corpus is tokens [first, first + tokens) of the file */
    int vocabulary;
};

/* Opens, resolves the format (auto: by magic, else bytes if vocabulary <= 512, else ERROR_INVALID "say u16 or u32"),
 * scans every token once: one >= vocabulary is ERROR_INVALID with its offset. Shorter than context + 1:
 * ERROR_INVALID. */
int corpus_open(struct corpus *corpus, const char *path, enum corpus_format format, int vocabulary, int context,
                struct error *error);
/* The same without the scan (files already accepted: resume). */
int corpus_reopen(struct corpus *corpus, const char *path, enum corpus_format format, int vocabulary,
                  struct error *error);
void corpus_close(struct corpus *corpus);
/* Splits off the last tenth (at least one window of context + 1 tokens) as validation: both share the file (the second
 * opens it again). ERROR_INVALID if too short for both. */
int corpus_split(struct corpus *train, struct corpus *valid, int context, struct error *error);
/* Reads `count` tokens from position (modulo length) as int32. Allocates nothing. ERROR_IO if the file shrank;
 * ERROR_INVALID for a token that is out of the vocabulary now (the file changed). */
int corpus_read(const struct corpus *corpus, uint64_t position, int count, int32_t *tokens, struct error *error);

/* Validation windows (contract 1): of N = (tokens - 1) / context possible non-overlapping windows, W = min(N, max(1,
 * wanted_tokens / context)); window i begins at floor(i N / W) * context. */
struct windows { uint64_t possible; int count; int context; };
struct windows windows_of(const struct corpus *corpus, int context, uint64_t wanted_tokens);
uint64_t windows_position(const struct windows *windows, int index);

/* X(code, name) */
#define SAMPLERS(X) X(SAMPLER_RANDOM, "random") X(SAMPLER_SEQUENTIAL, "sequential")
enum sampler {
#define X(code, name) code,
    SAMPLERS(X)
#undef X
    SAMPLER_COUNT
};
const char *sampler_name(enum sampler sampler);
int sampler_parse(const char *text, enum sampler *sampler);              /* 0 or -1 */

/* Reads the context + 1 tokens of row `row` of step `step` of a batch of `batch` rows. random: its start is uniform in
 * [0, tokens - context - 1], drawn from (seed, seed_index, RNG_DATA) at position step * batch + row; sequential: offset
 * (step * batch + row) * context, index modulo length. */
struct sampling { enum sampler sampler; uint64_t seed, seed_index; int batch, context; };
int sample_row(const struct sampling *sampling, const struct corpus *corpus, uint64_t step, int row, int32_t *tokens,
               struct error *error);
/* The number of that row, which the streams of a step are drawn by: step * batch + row. */
uint64_t sample_number(const struct sampling *sampling, uint64_t step, int row);
/* The same row by its number. */
int sample_numbered(const struct sampling *sampling, const struct corpus *corpus, uint64_t number, int32_t *tokens,
                    struct error *error);

#endif
