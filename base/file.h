/* Files: whole reads with a cap, positioned reads, and writes that are either there whole after a crash or not at all.
 * Every write, fsync and rename is a fault point. No mmap: a file that shrinks under us is an error, not a SIGBUS.
 * Thread rule: any thread; a struct belongs to one thread at a time. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { FILE_PATH_BYTES = 4096 };

/* path = directory "/" name; ERROR_INVALID if it does not fit. */
int file_join(char path[FILE_PATH_BYTES], const char *directory, const char *name, struct error *error);

/* The whole file, NUL-terminated (caller: memory_free). ERROR_NOT_FOUND, ERROR_TOO_LARGE beyond `limit` bytes,
 * ERROR_INVALID for what is not a regular file, ERROR_IO. */
int file_read(const char *path, size_t limit, char **bytes, size_t *length, struct error *error);

/* Positioned reads from an open file. */
struct file_reader { int fd; uint64_t size; char path[256]; };   /* path: for messages, shortened */
int file_reader_open(struct file_reader *reader, const char *path, struct error *error);
int file_reader_read(const struct file_reader *reader, uint64_t offset, void *bytes, size_t length,
                     struct error *error);
void file_reader_close(struct file_reader *reader);

/* A file that appears under its name only when committed: temporary file in the same directory, writes, fsync, rename,
 * fsync of the directory. Abort (or a crash) leaves the old file, or none. Buffered: 1 MiB. */
struct file_writer {
    struct file_overlap *overlap;     /* NULL: every write is waited for */
    int fd;
    uint64_t written;
    size_t pending;
    char *block;
    char path[FILE_PATH_BYTES], temporary[FILE_PATH_BYTES];
};
int file_writer_open(struct file_writer *writer, const char *path, struct error *error);
/* From now on a full buffer is written while the next one is filled, by the C library's asynchronous writes: for files
 * of gigabytes, whose making takes about as long as writing them. To be asked for before the first byte. A failure is told
 * by a later call, commit at the latest. ERROR_NO_MEMORY. */
int file_writer_overlap(struct file_writer *writer, struct error *error);
int file_writer_write(struct file_writer *writer, const void *bytes, size_t length, struct error *error);
/* Both end the writer, whatever they return; after a failed commit the temporary file is gone. */
int file_writer_commit(struct file_writer *writer, struct error *error);
void file_writer_abort(struct file_writer *writer);

/* Whether a file name is one that file_writer gives its temporary files: what a crash left behind may be removed. */
bool file_is_temporary(const char *name);

/* The three together for bytes in memory. */
int file_write(const char *path, const void *bytes, size_t length, struct error *error);

/* Copies with a writer (atomic). */
int file_copy(const char *from, const char *to, struct error *error);

bool file_exists(const char *path);
bool file_is_directory(const char *path);
/* mkdir -p, mode 0755. */
int file_make_directory(const char *path, struct error *error);
/* rm -rf without following links; a path that is not there is fine. */
int file_remove_tree(const char *path, struct error *error);
int file_remove(const char *path, struct error *error);    /* not there: fine */
/* rename with fsync of the parent directory. */
int file_rename(const char *from, const char *to, struct error *error);
int file_sync_directory(const char *path, struct error *error);
/* fsync of a file that was written by other means (an upload). */
int file_sync(const char *path, struct error *error);
/* Bytes free for us on the file system of `path`. */
int file_free_bytes(const char *path, uint64_t *bytes, struct error *error);
/* Names in a directory, sorted by bytes, without "." and ".."; caller frees with file_names_free. */
struct file_names { char **names; int count; };
int file_list(const char *directory, struct file_names *names, struct error *error);
void file_names_free(struct file_names *names);

/* Resolves `path` as a client gave it beneath `root` (an existing directory): relative paths from root, absolute ones
 * only if they lie beneath it; symbolic links that leave root are refused. ERROR_FORBIDDEN, ERROR_NOT_FOUND. */
int file_resolve_beneath(const char *root, const char *path, char resolved[FILE_PATH_BYTES], struct error *error);

#endif
