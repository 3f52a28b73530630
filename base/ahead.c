#include "base/ahead.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/memory.h"

enum { BUFFERS = 2 };

struct line {
    const struct ahead *ahead;
    char *buffers;
    int codes[BUFFERS];         /* the maker's; the taker reads one after its piece's `full` */
    struct error error;         /* with the code that is not 0 */
    sem_t empty, full;
    atomic_bool stopped;        /* by the taker: nothing more is wanted */
};

static void *buffer_of(const struct line *line, int piece)
{
    return line->buffers + (size_t)(piece % BUFFERS) * line->ahead->bytes;
}

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0 && errno == EINTR)
        continue;
}

static void *make_all(void *argument)
{
    struct line *line = argument;
    const struct ahead *ahead = line->ahead;
    int code = 0;
    for (int piece = 0; piece < ahead->count && code == 0; piece++) {
        wait_for(&line->empty);
        if (atomic_load(&line->stopped))
            break;
        code = ahead->make(ahead->owner, piece, buffer_of(line, piece), &line->error);
        line->codes[piece % BUFFERS] = code;
        sem_post(&line->full);
    }
    return NULL;
}

static int take_all(struct line *line, struct error *error)
{
    const struct ahead *ahead = line->ahead;
    int code = 0;
    for (int piece = 0; piece < ahead->count && code == 0; piece++) {
        wait_for(&line->full);
        code = line->codes[piece % BUFFERS];
        if (code != 0)
            *error = line->error;
        else
            code = ahead->take(ahead->owner, piece, buffer_of(line, piece), error);
        atomic_store(&line->stopped, code != 0);
        sem_post(&line->empty);
    }
    return code;
}

static int plain_loop(const struct line *line, struct error *error)
{
    const struct ahead *ahead = line->ahead;
    int code = 0;
    for (int piece = 0; piece < ahead->count && code == 0; piece++) {
        code = ahead->make(ahead->owner, piece, line->buffers, error);
        if (code == 0)
            code = ahead->take(ahead->owner, piece, line->buffers, error);
    }
    return code;
}

int ahead_run(const struct ahead *ahead, struct error *error)
{
    struct line line = {.ahead = ahead};
    pthread_t maker;
    line.buffers = memory_array(ahead->count > 1 ? BUFFERS : 1, ahead->bytes);
    if (line.buffers == NULL)
        return error_set(error, ERROR_NO_MEMORY, "no memory for pieces of %zu bytes; free some and try again", ahead->bytes);
    sem_init(&line.empty, 0, BUFFERS);
    sem_init(&line.full, 0, 0);
    int code;
    if (ahead->count > 1 && pthread_create(&maker, NULL, make_all, &line) == 0) {
        code = take_all(&line, error);
        pthread_join(maker, NULL);
    } else {
        code = plain_loop(&line, error);
    }
    sem_destroy(&line.empty);
    sem_destroy(&line.full);
    memory_free(line.buffers);
    return code;
}
