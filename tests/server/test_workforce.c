/* Numbered jobs on workers: each once, an error or a stop ends them early, the first error is told. */
#include "tests/support/support.h"

#include "server/workforce.h"

enum { JOBS = 40 };

struct tally {
    atomic_bool stop;
    atomic_int run[JOBS];
    int done[JOBS], fails_at, stops_at;
};

static int job_run(void *owner, int job, struct error *error)
{
    struct tally *tally = owner;
    atomic_fetch_add(&tally->run[job], 1);
    if (job == tally->fails_at)
        return error_set(error, ERROR_IO, "job %d failed", job);
    return 0;
}

static void job_done(void *owner, int job)
{
    struct tally *tally = owner;
    tally->done[job]++;
    if (job == tally->stops_at)
        atomic_store(&tally->stop, true);
}

static int work(struct tally *tally, int workers, struct error *error)
{
    const struct workforce workforce = {.jobs = JOBS, .workers = workers, .stop = &tally->stop, .run = job_run,
                                        .done = job_done, .owner = tally};
    return workforce_run(&workforce, error);
}

static void every_job_is_done_once_by_any_workers(void **state)
{
    (void)state;
    for (int workers = 1; workers <= 64; workers *= 4) {
        struct tally tally = {.fails_at = -1, .stops_at = -1};
        struct error error = {0};
        assert_ok(work(&tally, workers, &error), &error);
        for (int i = 0; i < JOBS; i++) {
            assert_int_equal(atomic_load(&tally.run[i]), 1);
            assert_int_equal(tally.done[i], 1);
        }
    }
}

static void a_failed_job_ends_the_work_with_its_error(void **state)
{
    (void)state;
    struct tally tally = {.fails_at = 5, .stops_at = -1};
    struct error error = {0};
    int begun = 0;
    assert_fails(work(&tally, 3, &error), ERROR_IO, &error);
    assert_string_equal(error.message, "job 5 failed");
    assert_int_equal(tally.done[5], 0);
    for (int i = 0; i < JOBS; i++) {
        assert_true(atomic_load(&tally.run[i]) == tally.done[i] + (i == 5));
        begun += atomic_load(&tally.run[i]);
    }
    assert_in_range(begun, 6, JOBS - 1);
}

static void a_stop_ends_the_work_as_cancelled_and_loses_no_job(void **state)
{
    (void)state;
    struct tally tally = {.fails_at = -1, .stops_at = 7};
    struct error error = {0};
    int begun = 0;
    assert_fails(work(&tally, 2, &error), ERROR_CANCELLED, &error);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(atomic_load(&tally.run[i]), tally.done[i]);
        begun += tally.done[i];
    }
    assert_in_range(begun, 8, 10);
}

static void short_memory_is_told_and_leaks_nothing(void **state)
{
    (void)state;
    for (int n = 1; n <= 3; n++) {
        struct tally tally = {.fails_at = -1, .stops_at = -1};
        struct error error = {0};
        fault_arm(FAULT_ALLOC, n);
        assert_fails(work(&tally, 2, &error), ERROR_NO_MEMORY, &error);
        fault_arm(FAULT_ALLOC, 0);
        assert_int_equal(tally.done[0], 0);
    }
}

TEST_MAIN(cmocka_unit_test(every_job_is_done_once_by_any_workers), cmocka_unit_test(a_failed_job_ends_the_work_with_its_error),
          cmocka_unit_test(a_stop_ends_the_work_as_cancelled_and_loses_no_job),
          cmocka_unit_test(short_memory_is_told_and_leaks_nothing))
