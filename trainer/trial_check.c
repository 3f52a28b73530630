/* A saved trial judged by its own hash, without knowing its shape. */
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "trainer/trial.h"

enum { CHECK_PIECE_BYTES = 1 << 18 };

static int hash_front(const struct file_reader *reader, uint64_t length, uint8_t digest[HASH_BYTES],
                      struct error *error)
{
    unsigned char *piece = memory_new(CHECK_PIECE_BYTES);
    struct hash_state state;

    if (!piece)
        return error_set(error, ERROR_NO_MEMORY, "checking a trial file: out of memory");
    hash_begin(&state);
    for (uint64_t at = 0; at < length && !error->code; at += CHECK_PIECE_BYTES) {
        size_t bytes = length - at < CHECK_PIECE_BYTES ? (size_t)(length - at) : CHECK_PIECE_BYTES;
        if (file_reader_read(reader, at, piece, bytes, error) == 0)
            hash_update(&state, piece, bytes);
    }
    hash_end(&state, digest);
    memory_free(piece);
    return (int)error->code;
}

int trial_file_check(const char *path, struct error *error)
{
    uint8_t digest[HASH_BYTES], stored[HASH_BYTES];
    struct file_reader reader;
    char magic[8];

    if (file_reader_open(&reader, path, error))
        return (int)error->code;
    if (reader.size < sizeof magic + HASH_BYTES)
        error_set(error, ERROR_DAMAGED, "%s is too short for a saved trial", path);
    else if (file_reader_read(&reader, 0, magic, sizeof magic, error) == 0
             && file_reader_read(&reader, reader.size - HASH_BYTES, stored, HASH_BYTES, error) == 0
             && hash_front(&reader, reader.size - HASH_BYTES, digest, error) == 0
             && (memcmp(magic, "LAGTRIAL", sizeof magic) != 0 || memcmp(digest, stored, HASH_BYTES) != 0))
        error_set(error, ERROR_DAMAGED, "%s is not a whole saved trial: its hash does not agree", path);
    file_reader_close(&reader);
    return (int)error->code;
}
