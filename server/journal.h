/* Journal: the store's writes, one serial job at a time on the pool. Entries that wait while a job runs are committed
 * together: one transaction, one fsync. An entry that the database refuses (or that ran out of memory while it was built)
 * fails alone; a failed transaction fails all of its entries. Each owner tries again in its own way.
 * Thread rule: loop thread; only the job itself runs on a worker. */
#ifndef SERVER_JOURNAL_H
#define SERVER_JOURNAL_H

#include "base/clock.h"
#include "base/fault.h"
#include "server/store.h"
#include "trainer/pool.h"

struct metrics;

struct journal_entry {
    struct changes changes;                                                       /* owned; freed after done */
    void (*done)(struct journal_entry *entry, const struct error *error);         /* error->code 0: durable */
    void *owner;
    bool has_points;                                                              /* fault points around the commit */
    enum fault_point_name before, after;
    bool refused;                                                                 /* the journal's own */
    struct journal_entry *next;
};

struct journal {
    struct store *store;
    struct pool *pool;
    struct clock *clock;
    struct metrics *metrics;      /* NULL: nobody looks */
    struct pool_job job;
    struct journal_entry *waiting, **waiting_end, *writing;
    struct error error;           /* of the transaction */
    struct error refusal;         /* of the first entry that the database refused */
    bool running;
    uint64_t commits;
    double seconds;               /* spent in transactions */
    double last_seconds;
};

void journal_init(struct journal *journal, struct store *store, struct pool *pool, struct clock *clock);
/* Takes the entry over; `done` follows on the loop thread and the entry is the owner's again (changes already freed). */
void journal_append(struct journal *journal, struct journal_entry *entry);
bool journal_is_idle(const struct journal *journal);

#endif
