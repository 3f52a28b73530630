/* safetensors files: a strict reader (pull parser of its own; every case of a malformed file has a message that names
 * it) and a writer. Format: u64 little-endian header length, JSON header, data. Reads by pread, never by mmap.
 * Source of the rules: https://github.com/huggingface/safetensors (format), and the list in docs/guarantees.md. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"

/* X(code, name, bytes) every dtype the format knows; those of half a byte are refused. */
#define DTYPE_TABLE(X)                                                                                    \
    X(DTYPE_F32, "F32", 4) X(DTYPE_F16, "F16", 2) X(DTYPE_BF16, "BF16", 2) X(DTYPE_F64, "F64", 8)         \
    X(DTYPE_I64, "I64", 8) X(DTYPE_I32, "I32", 4) X(DTYPE_I16, "I16", 2) X(DTYPE_I8, "I8", 1)             \
    X(DTYPE_U64, "U64", 8) X(DTYPE_U32, "U32", 4) X(DTYPE_U16, "U16", 2) X(DTYPE_U8, "U8", 1)             \
    X(DTYPE_BOOL, "BOOL", 1) X(DTYPE_F8_E4M3, "F8_E4M3", 1) X(DTYPE_F8_E5M2, "F8_E5M2", 1)

enum dtype {
#define X(code, name, bytes) code,
    DTYPE_TABLE(X)
#undef X
    DTYPE_COUNT
};

enum {
    SAFETENSORS_RANK_MAX = 8,
    SAFETENSORS_DEPTH_MAX = 8,              /* nesting of the header */
    SAFETENSORS_TENSORS_MAX = 100000,
    SAFETENSORS_HEADER_DEFAULT = 16 << 20,  /* bytes */
    SAFETENSORS_HEADER_MAX = 100000000      /* the format's own limit */
};

struct safetensors_entry {
    char *name;                      /* unescaped, never empty, without NUL; never a path */
    enum dtype dtype;
    int rank;
    uint64_t dims[SAFETENSORS_RANK_MAX];
    uint64_t begin, end;             /* byte offsets in the data part */
};

struct safetensors_meta { char *key, *value; };

struct safetensors {
    struct file_reader reader;
    uint64_t data_offset;            /* where the data part begins in the file */
    char *text;                      /* the header; names and metadata point into it */
    int count;
    struct safetensors_entry *entries;      /* sorted by name */
    int meta_count;
    struct safetensors_meta *metadata;
};

/* Opens and checks the whole header. header_limit 0: 16 MiB (100 MB at most). ERROR_INVALID with a message that names
 * the case, ERROR_NOT_FOUND, ERROR_IO, ERROR_NO_MEMORY. */
int safetensors_open(struct safetensors *file, const char *path, uint64_t header_limit, struct error *error);
void safetensors_close(struct safetensors *file);
/* The same checks on a header in memory (fuzzing, tests): `size` is the whole file's size, `bytes` its first
 * `available` bytes. Fills entries and metadata; file->reader stays unused. */
int safetensors_parse(struct safetensors *file, const void *bytes, size_t available, uint64_t size,
                      uint64_t header_limit, struct error *error);
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);
const char *safetensors_metadata(const struct safetensors *file, const char *key);   /* NULL: absent */
uint64_t safetensors_entry_elements(const struct safetensors_entry *entry);

/* Reads elements [first, first + count) as float32 (F32, F16, BF16; others ERROR_INVALID naming dtype and tensor). Does
 * not judge NaN or Inf: the checkpoint loader does. */
int safetensors_read_floats(const struct safetensors *file, const struct safetensors_entry *entry, uint64_t first,
                            uint64_t count, float *out, struct error *error);
/* Raw bytes of a whole entry (I64 token tensors and the like). */
int safetensors_read_raw(const struct safetensors *file, const struct safetensors_entry *entry, void *out,
                         struct error *error);

/* Writer: declare every tensor, begin, then give the data in the order of declaration, in any number of pieces. The
 * file appears whole at commit. Header padded with spaces to a multiple of 8; data in declaration order without
 * holes. */
struct safetensors_writer {
    struct file_writer file;
    struct safetensors_entry *entries;
    int count, capacity, current;
    uint64_t current_done;           /* bytes of the current entry already written */
    struct safetensors_meta *metadata;
    int meta_count, meta_capacity;
    bool open;
    bool finite_only;                /* floats that are NaN or Inf are ERROR_DIVERGED with the tensor's name */
    bool overlap;                    /* set before begin: file_writer_overlap */
    bool skip_hash;                  /* set before begin where nobody asks for file_hash: it stays empty */
    struct hash_state hash;          /* of every byte of the file */
    char file_hash[HASH_HEX_BYTES];  /* SHA-256 of the whole file, after commit */
};
void safetensors_writer_init(struct safetensors_writer *writer);
int safetensors_writer_add(struct safetensors_writer *writer, const char *name, enum dtype dtype, int rank,
                           const uint64_t *dims, struct error *error);
int safetensors_writer_metadata(struct safetensors_writer *writer, const char *key, const char *value,
                                struct error *error);
int safetensors_writer_begin(struct safetensors_writer *writer, const char *path, struct error *error);
/* Converts float32 to the entry's dtype (round to nearest even) and writes. A finite value that the dtype can not hold
 * (over 65504 for F16) is ERROR_INVALID with the tensor's name: nothing becomes infinite silently. A piece never spans
 * two tensors. */
int safetensors_writer_floats(struct safetensors_writer *writer, const float *values, size_t count,
                              struct error *error);
int safetensors_writer_raw(struct safetensors_writer *writer, const void *bytes, size_t length, struct error *error);
int safetensors_writer_commit(struct safetensors_writer *writer, struct error *error);   /* ends the file */
void safetensors_writer_fini(struct safetensors_writer *writer);                          /* aborts if not committed */

const char *dtype_name(enum dtype dtype);
int dtype_bytes(enum dtype dtype);
int dtype_parse(const char *name);             /* -1: unknown */
bool dtype_is_trainable(enum dtype dtype);     /* F32, F16, BF16 */

#endif
