#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file_overlap.h"
#include "base/memory.h"

enum { BLOCK_BYTES = FILE_BLOCK_BYTES };

static const char temporary_prefix[] = ".lag-", temporary_suffix[] = ".tmp";
static _Atomic uint64_t temporary_counter;

bool file_is_temporary(const char *name)
{
    size_t length = strlen(name), prefix = sizeof temporary_prefix - 1, suffix = sizeof temporary_suffix - 1;
    return length > prefix + suffix && memcmp(name, temporary_prefix, prefix) == 0 &&
           memcmp(name + length - suffix, temporary_suffix, suffix) == 0;
}

/* The directory part of a path: all before the last slash, "." where there is none. */
static void directory_of(const char *path, char directory[FILE_PATH_BYTES])
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        snprintf(directory, FILE_PATH_BYTES, ".");
    else
        snprintf(directory, FILE_PATH_BYTES, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* Creates a file of a new name in the target's directory. A killed process leaves its files behind and the next one may
 * have its number (in a container it is always 1): names that exist are passed over. */
static int open_temporary(struct file_writer *writer, struct error *error)
{
    char directory[FILE_PATH_BYTES], name[64];
    directory_of(writer->path, directory);
    for (;;) {
        snprintf(name, sizeof name, "%s%ld-%llu%s", temporary_prefix, (long)getpid(),
                 (unsigned long long)atomic_fetch_add(&temporary_counter, 1), temporary_suffix);
        int result = file_join(writer->temporary, directory, name, error);
        if (result != ERROR_NONE)
            return result;
        writer->fd = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (writer->fd >= 0)
            return ERROR_NONE;
        if (errno == ENOENT || errno == ENOTDIR)
            return error_set(error, ERROR_NOT_FOUND, "%s: there is no such directory; create it first", directory);
        if (errno != EEXIST)
            return error_set_errno(error, errno, "cannot create a file in %s", directory);
    }
}

int file_writer_open(struct file_writer *writer, const char *path, struct error *error)
{
    size_t length = strlen(path);
    *writer = (struct file_writer){.fd = -1};
    if (length >= sizeof writer->path)
        return error_set(error, ERROR_INVALID, "a path of %zu bytes is too long; the limit is %d", length,
                         FILE_PATH_BYTES - 1);
    memcpy(writer->path, path, length + 1);
    writer->block = memory_array(BLOCK_BYTES, 1);
    if (!writer->block)
        return error_set(error, ERROR_NO_MEMORY, "no memory to write %s", path);
    int result = open_temporary(writer, error);
    if (result != ERROR_NONE) {
        memory_free(writer->block);
        writer->block = NULL;
    }
    return result;
}

static int write_through(struct file_writer *writer, const char *bytes, size_t length, struct error *error)
{
    while (length > 0) {
        ssize_t count = -1;
        if (fault_strikes(FAULT_WRITE))
            errno = ENOSPC;
        else
            count = write(writer->fd, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set_errno(error, errno, "cannot write %s", writer->path);
        bytes += count;
        length -= (size_t)count;
    }
    return ERROR_NONE;
}

static int flush_block(struct file_writer *writer, struct error *error)
{
    size_t pending = writer->pending;
    writer->pending = 0;
    if (writer->overlap != NULL)
        return file_overlap_write(writer, pending, error);
    return write_through(writer, writer->block, pending, error);
}

int file_writer_write(struct file_writer *writer, const void *bytes, size_t length, struct error *error)
{
    int result = ERROR_NONE;
    if (length > BLOCK_BYTES - writer->pending)
        result = flush_block(writer, error);
    if (result != ERROR_NONE)
        return result;
    while (writer->overlap != NULL && length > BLOCK_BYTES && result == ERROR_NONE) {     /* pieces go by the buffers */
        memcpy(writer->block, bytes, BLOCK_BYTES);
        writer->pending = BLOCK_BYTES;
        result = flush_block(writer, error);
        bytes = (const char *)bytes + BLOCK_BYTES;
        length -= BLOCK_BYTES;
        writer->written += BLOCK_BYTES;
    }
    if (result != ERROR_NONE)
        return result;
    if (length >= BLOCK_BYTES && writer->overlap == NULL) {
        result = write_through(writer, bytes, length, error);
    } else if (length > 0) {
        memcpy(writer->block + writer->pending, bytes, length);
        writer->pending += length;
    }
    if (result == ERROR_NONE)
        writer->written += length;
    return result;
}

static int fsync_or_fault(int fd)
{
    if (!fault_strikes(FAULT_FSYNC))
        return fsync(fd);
    errno = EIO;
    return -1;
}

static int rename_or_fault(const char *from, const char *to)
{
    if (!fault_strikes(FAULT_RENAME))
        return rename(from, to);
    errno = EIO;
    return -1;
}

int file_sync_directory(const char *path, struct error *error)
{
    int result = ERROR_NONE;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, errno, "cannot open the directory %s", path);
    /* EINVAL: a file system whose directories need no fsync, and know none. */
    if (fsync_or_fault(fd) != 0 && errno != EINVAL)
        result = error_set_errno(error, errno, "cannot make the directory %s durable", path);
    close(fd);
    return result;
}

int file_sync(const char *path, struct error *error)
{
    int result = ERROR_NONE;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(error, errno, "cannot open %s", path);
    if (fsync_or_fault(fd) != 0)
        result = error_set_errno(error, errno, "cannot make %s durable", path);
    close(fd);
    return result;
}

static int sync_parent(const char *path, struct error *error)
{
    char directory[FILE_PATH_BYTES];
    directory_of(path, directory);
    return file_sync_directory(directory, error);
}

int file_rename(const char *from, const char *to, struct error *error)
{
    char from_directory[FILE_PATH_BYTES], to_directory[FILE_PATH_BYTES];
    if (rename_or_fault(from, to) != 0) {
        if (errno == ENOENT)
            return error_set(error, ERROR_NOT_FOUND, "cannot rename %s to %s: one of the two places is not there", from,
                             to);
        return error_set_errno(error, errno, "cannot rename %s to %s", from, to);
    }
    directory_of(from, from_directory);
    directory_of(to, to_directory);
    int result = file_sync_directory(to_directory, error);
    if (result == ERROR_NONE && strcmp(from_directory, to_directory) != 0)
        result = file_sync_directory(from_directory, error);
    return result;
}

int file_writer_commit(struct file_writer *writer, struct error *error)
{
    int result = flush_block(writer, error);
    if (writer->overlap != NULL && result == ERROR_NONE)
        result = file_overlap_wait(writer, error);
    file_overlap_end(writer);
    if (result == ERROR_NONE && fsync_or_fault(writer->fd) != 0)
        result = error_set_errno(error, errno, "cannot make %s durable", writer->path);
    int closed = close(writer->fd);
    writer->fd = -1;
    if (result == ERROR_NONE && closed != 0)
        result = error_set_errno(error, errno, "cannot finish %s", writer->path);
    if (result == ERROR_NONE && rename_or_fault(writer->temporary, writer->path) != 0)
        result = error_set_errno(error, errno, "cannot put %s in its place", writer->path);
    if (result != ERROR_NONE)
        unlink(writer->temporary);
    else
        result = sync_parent(writer->path, error);
    memory_free(writer->block);
    writer->block = NULL;
    return result;
}

void file_writer_abort(struct file_writer *writer)
{
    if (!writer->block)    /* never opened, or ended already */
        return;
    file_overlap_end(writer);
    close(writer->fd);
    unlink(writer->temporary);
    memory_free(writer->block);
    writer->block = NULL;
    writer->fd = -1;
}

int file_write(const char *path, const void *bytes, size_t length, struct error *error)
{
    struct file_writer writer;
    int result = file_writer_open(&writer, path, error);
    if (result != ERROR_NONE)
        return result;
    result = file_writer_write(&writer, bytes, length, error);
    if (result == ERROR_NONE)
        return file_writer_commit(&writer, error);
    file_writer_abort(&writer);
    return result;
}
