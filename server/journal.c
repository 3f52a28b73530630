#include "server/journal.h"

#include "server/metrics.h"

/* Under a savepoint of its own. Some failures (a full disk) take the whole transaction with them. */
static void apply_entry(struct journal *journal, struct journal_entry *entry, sqlite3 *database)
{
    struct error error = { 0 };

    if (sql_run(database, "SAVEPOINT entry", &journal->error))
        return;
    entry->refused = changes_apply(&entry->changes, database, &error) != 0;
    if (entry->refused && !journal->refusal.code)
        journal->refusal = error;
    if (entry->refused && sqlite3_get_autocommit(database))
        journal->error = error;
    else
        sql_run(database, entry->refused ? "ROLLBACK TO entry; RELEASE entry" : "RELEASE entry", &journal->error);
}

static void run_transaction(struct journal *journal)
{
    sqlite3 *database = journal->store->writer;
    struct error ignored = { 0 };

    if (sql_run(database, "BEGIN IMMEDIATE", &journal->error))
        return;
    for (struct journal_entry *entry = journal->writing; entry && !journal->error.code; entry = entry->next)
        apply_entry(journal, entry, database);
    if (!journal->error.code && fault_strikes(FAULT_FSYNC))
        error_set(&journal->error, ERROR_IO, "writing the store: fsync failed");
    if (!journal->error.code)
        sql_run(database, "COMMIT", &journal->error);
    if (journal->error.code)
        sql_run(database, "ROLLBACK", &ignored);
}

static void cross_points(const struct journal *journal, bool after)
{
    for (struct journal_entry *entry = journal->writing; entry; entry = entry->next)
        if (entry->has_points)
            fault_point(after ? entry->after : entry->before);
}

static void journal_run(struct pool_job *job)
{
    struct journal *journal = job->owner;
    int64_t begin = journal->clock->monotonic_ns(journal->clock);

    cross_points(journal, false);
    error_clear(&journal->error);
    error_clear(&journal->refusal);
    run_transaction(journal);
    cross_points(journal, true);
    journal->last_seconds = (double)(journal->clock->monotonic_ns(journal->clock) - begin) * 1e-9;
}

static void journal_begin(struct journal *journal)
{
    journal->writing = journal->waiting;
    journal->waiting = NULL;
    journal->waiting_end = &journal->waiting;
    journal->running = true;
    journal->pool->submit(journal->pool, &journal->job);
}

static void journal_done(struct pool_job *job, bool cancelled)
{
    struct journal *journal = job->owner;
    struct journal_entry *entry = journal->writing, *next;
    struct error error = journal->error, refusal = journal->refusal;

    if (cancelled)
        error_set(&error, ERROR_CANCELLED, "writing the store: stopped");
    journal->writing = NULL;
    journal->running = false;
    journal->commits++;
    journal->seconds += journal->last_seconds;
    if (journal->metrics)
        metrics_observe(journal->metrics, METRICS_FSYNC, journal->last_seconds);
    for (; entry; entry = next) {
        next = entry->next;
        changes_fini(&entry->changes);
        entry->done(entry, entry->refused && !error.code ? &refusal : &error);
    }
    if (journal->waiting && !journal->running)
        journal_begin(journal);
}

void journal_init(struct journal *journal, struct store *store, struct pool *pool, struct clock *clock)
{
    *journal = (struct journal){ .store = store, .pool = pool, .clock = clock };
    journal->waiting_end = &journal->waiting;
    journal->job = (struct pool_job){ .lane = POOL_SERVICE, .run = journal_run, .done = journal_done,
                                      .owner = journal };
}

void journal_append(struct journal *journal, struct journal_entry *entry)
{
    entry->next = NULL;
    entry->refused = false;
    *journal->waiting_end = entry;
    journal->waiting_end = &entry->next;
    if (!journal->running)
        journal_begin(journal);
}

bool journal_is_idle(const struct journal *journal)
{
    return !journal->running && !journal->waiting;
}
