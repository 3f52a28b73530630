#include "base/file_overlap.h"

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/memory.h"

enum { SLOTS = 32 };     /* so that neither side waits for a hitch of the other */

/* A buffer and its way to the disk. The C library keeps the order of a file's requests. */
struct slot { struct aiocb request; bool under_way; char *block; };

struct file_overlap {
    struct slot slots[SLOTS];
    int filling;               /* the slot whose block the writer has */
    uint64_t offset;           /* of the next write */
};

static void give_back(struct file_overlap *overlap)
{
    for (int i = 0; i < SLOTS; i++)
        if (i != overlap->filling)
            memory_free(overlap->slots[i].block);
    memory_free(overlap);
}

int file_writer_overlap(struct file_writer *writer, struct error *error)
{
    struct file_overlap *overlap = memory_new(sizeof *overlap);
    bool there = overlap != NULL;
    for (int i = 1; i < SLOTS && there; i++)
        there = (overlap->slots[i].block = memory_array(FILE_BLOCK_BYTES, 1)) != NULL;
    if (!there) {
        if (overlap != NULL)
            give_back(overlap);
        return error_set(error, ERROR_NO_MEMORY, "no memory to write %s", writer->path);
    }
    overlap->slots[0].block = writer->block;
    writer->overlap = overlap;
    return ERROR_NONE;
}

/* What a write has left over. */
static int write_rest(struct file_writer *writer, const char *bytes, size_t length, uint64_t offset,
                      struct error *error)
{
    while (length > 0) {
        ssize_t count = pwrite(writer->fd, bytes, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_set_errno(error, errno, "cannot write %s", writer->path);
        bytes += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return ERROR_NONE;
}

static int wait_for(struct file_writer *writer, struct slot *slot, struct error *error)
{
    const struct aiocb *const list[1] = {&slot->request};
    int state;
    if (!slot->under_way)
        return ERROR_NONE;
    while ((state = aio_error(&slot->request)) == EINPROGRESS)
        (void)aio_suspend(list, 1, NULL);      /* a signal ends it early: then again */
    slot->under_way = false;
    ssize_t count = aio_return(&slot->request);
    if (state != 0 || count < 0)
        return error_set_errno(error, state, "cannot write %s", writer->path);
    if (count > 0)      /* to the disk at once: fsync then finds little left to do */
        (void)sync_file_range(writer->fd, slot->request.aio_offset, count, SYNC_FILE_RANGE_WRITE);
    return write_rest(writer, slot->block + count, slot->request.aio_nbytes - (size_t)count,
                      (uint64_t)slot->request.aio_offset + (uint64_t)count, error);
}

/* Every slot is waited for, whatever happened to another. */
int file_overlap_wait(struct file_writer *writer, struct error *error)
{
    int result = ERROR_NONE;
    for (int i = 0; i < SLOTS; i++) {
        int code = wait_for(writer, &writer->overlap->slots[i], error);
        result = result == ERROR_NONE ? code : result;
    }
    return result;
}

int file_overlap_write(struct file_writer *writer, size_t length, struct error *error)
{
    struct file_overlap *overlap = writer->overlap;
    struct slot *slot = &overlap->slots[overlap->filling];
    int result = ERROR_NONE;
    if (length == 0)
        return ERROR_NONE;
    if (fault_strikes(FAULT_WRITE))
        return error_set_errno(error, ENOSPC, "cannot write %s", writer->path);
    slot->request = (struct aiocb){.aio_fildes = writer->fd, .aio_buf = slot->block, .aio_nbytes = length,
                                   .aio_offset = (off_t)overlap->offset, .aio_sigevent = {.sigev_notify = SIGEV_NONE}};
    slot->under_way = aio_write(&slot->request) == 0;
    if (!slot->under_way)      /* out of threads or requests */
        result = write_rest(writer, slot->block, length, overlap->offset, error);
    overlap->offset += length;
    overlap->filling = (overlap->filling + 1) % SLOTS;
    writer->block = overlap->slots[overlap->filling].block;
    int code = wait_for(writer, &overlap->slots[overlap->filling], error);
    return result == ERROR_NONE ? code : result;
}

void file_overlap_end(struct file_writer *writer)
{
    struct error ignored = {0};
    if (writer->overlap == NULL)
        return;
    (void)file_overlap_wait(writer, &ignored);
    give_back(writer->overlap);
    writer->overlap = NULL;
}
