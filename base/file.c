#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

enum { COPY_BLOCK_BYTES = 256 * 1024, FIRST_READ_BYTES = 4096 };

/* Opens a regular file for reading. O_NONBLOCK: a FIFO must not hold the thread until someone writes to it. */
static int open_regular(const char *path, int *fd, uint64_t *size, struct error *error)
{
    struct stat status;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return error_set(error, ERROR_NOT_FOUND, "%s: there is no such file; check the path", path);
        return error_set_errno(error, errno, "cannot open %s", path);
    }
    int result = ERROR_NONE;
    if (fstat(*fd, &status) != 0)
        result = error_set_errno(error, errno, "cannot read the size of %s", path);
    else if (!S_ISREG(status.st_mode))
        result = error_set(error, ERROR_INVALID, "%s is not a regular file; give the path of a file", path);
    if (result != ERROR_NONE) {
        close(*fd);
        *fd = -1;
        return result;
    }
    *size = (uint64_t)status.st_size;
    return ERROR_NONE;
}

/* Fills `bytes` as far as the file goes; *got < length only at its end. */
static int read_fully(int fd, uint64_t offset, void *bytes, size_t length, size_t *got)
{
    for (*got = 0; *got < length;) {
        ssize_t count = pread(fd, (char *)bytes + *got, length - *got, (off_t)(offset + *got));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        if (count == 0)
            break;
        *got += (size_t)count;
    }
    return 0;
}

/* Reads to the end of the file: its size is only a hint (files of /proc and /sys say 0 or 4096). */
static int read_to_end(int fd, const char *path, size_t hint, size_t limit, char **bytes, size_t *length,
                       struct error *error)
{
    size_t capacity = hint < FIRST_READ_BYTES ? FIRST_READ_BYTES : hint + 1, used = 0;
    for (;;) {
        size_t got = 0;
        char *grown = memory_resize(*bytes, capacity + 1);
        if (!grown)
            return error_set(error, ERROR_NO_MEMORY, "no memory to read %s (%zu bytes)", path, capacity);
        *bytes = grown;
        if (read_fully(fd, used, grown + used, capacity - used, &got) != 0)
            return error_set_errno(error, errno, "cannot read %s", path);
        used += got;
        if (used > limit)
            return error_set(error, ERROR_TOO_LARGE, "%s is larger than %zu bytes, the most that is read here", path,
                             limit);
        if (used < capacity)
            break;
        capacity *= 2;
    }
    (*bytes)[used] = '\0';
    *length = used;
    return ERROR_NONE;
}

int file_read(const char *path, size_t limit, char **bytes, size_t *length, struct error *error)
{
    int fd;
    uint64_t size;
    *bytes = NULL;
    *length = 0;
    int result = open_regular(path, &fd, &size, error);
    if (result != ERROR_NONE)
        return result;
    if (size > limit)
        result = error_set(error, ERROR_TOO_LARGE, "%s has %llu bytes; at most %zu are read here", path,
                           (unsigned long long)size, limit);
    else
        result = read_to_end(fd, path, (size_t)size, limit, bytes, length, error);
    close(fd);
    if (result != ERROR_NONE) {
        memory_free(*bytes);
        *bytes = NULL;
    }
    return result;
}

int file_reader_open(struct file_reader *reader, const char *path, struct error *error)
{
    size_t length = strlen(path), room = sizeof reader->path;
    *reader = (struct file_reader){.fd = -1};
    if (length < room)
        memcpy(reader->path, path, length + 1);
    else    /* the end of a path says more than its beginning */
        snprintf(reader->path, room, "...%s", path + length - (room - 4));
    return open_regular(path, &reader->fd, &reader->size, error);
}

int file_reader_read(const struct file_reader *reader, uint64_t offset, void *bytes, size_t length,
                     struct error *error)
{
    size_t got = 0;
    if (offset > reader->size || length > reader->size - offset)
        return error_set(error, ERROR_IO, "%s ends at byte %llu, before what was to be read (%zu bytes from %llu)",
                         reader->path, (unsigned long long)reader->size, length, (unsigned long long)offset);
    if (read_fully(reader->fd, offset, bytes, length, &got) != 0)
        return error_set_errno(error, errno, "cannot read %s", reader->path);
    if (got < length)
        return error_set(error, ERROR_IO, "%s became shorter while it was read; leave it alone and try again",
                         reader->path);
    return ERROR_NONE;
}

void file_reader_close(struct file_reader *reader)
{
    if (reader->fd >= 0)
        close(reader->fd);
    reader->fd = -1;
}

static int copy_blocks(const struct file_reader *reader, struct file_writer *writer, char *block, struct error *error)
{
    for (uint64_t offset = 0; offset < reader->size;) {
        uint64_t left = reader->size - offset;
        size_t count = left < COPY_BLOCK_BYTES ? (size_t)left : COPY_BLOCK_BYTES;
        int result = file_reader_read(reader, offset, block, count, error);
        if (result == ERROR_NONE)
            result = file_writer_write(writer, block, count, error);
        if (result != ERROR_NONE)
            return result;
        offset += count;
    }
    return ERROR_NONE;
}

int file_copy(const char *from, const char *to, struct error *error)
{
    struct file_reader reader;
    struct file_writer writer;
    int result = file_reader_open(&reader, from, error);
    if (result != ERROR_NONE)
        return result;
    char *block = memory_new(COPY_BLOCK_BYTES);
    if (!block)
        result = error_set(error, ERROR_NO_MEMORY, "no memory to copy %s", from);
    else
        result = file_writer_open(&writer, to, error);
    if (result == ERROR_NONE) {
        result = copy_blocks(&reader, &writer, block, error);
        if (result == ERROR_NONE)
            result = file_writer_commit(&writer, error);
        else
            file_writer_abort(&writer);
    }
    memory_free(block);
    file_reader_close(&reader);
    return result;
}
