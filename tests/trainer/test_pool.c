#include "tests/support/support.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "trainer/pool.h"

enum { JOBS_MAX = 40 };

/* A job that writes down when it ran and when it was handed back. */
struct noting_job {
    struct pool_job job;   /* first */
    struct pool *pool;     /* to submit to from done */
    int number;
    bool ran;
    int done, cancelled;
    sem_t *begun, *release;       /* NULL: does not wait */
    bool again;                   /* submitted once more from done */
};

static struct noting_job jobs[JOBS_MAX];
static int order[JOBS_MAX], handed_back;
static bool within_call;
static uv_thread_t loop_thread;

static void note_run(struct pool_job *job)
{
    struct noting_job *noting = (struct noting_job *)job;
    if (noting->begun != NULL) {
        sem_post(noting->begun);
    }
    if (noting->release != NULL) {
        sem_wait(noting->release);
    }
    noting->ran = true;
}

static void note_done(struct pool_job *job, bool cancelled)
{
    struct noting_job *noting = (struct noting_job *)job;
    const uv_thread_t self = uv_thread_self();
    assert_false(within_call);
    assert_true(uv_thread_equal(&self, &loop_thread));
    noting->done++;
    noting->cancelled += cancelled;
    order[handed_back++] = noting->number;
    if (noting->again) {
        noting->again = false;
        noting->pool->submit(noting->pool, job);
    }
}

static void reset(void)
{
    memset(jobs, 0, sizeof jobs);
    handed_back = 0;
    loop_thread = uv_thread_self();
    for (int i = 0; i < JOBS_MAX; i++) {
        jobs[i].number = i;
        jobs[i].job = (struct pool_job){.lane = POOL_TRAIN, .run = note_run, .done = note_done, .owner = &jobs[i]};
    }
}

static void submit(struct pool *pool, int number)
{
    within_call = true;
    pool->submit(pool, &jobs[number].job);
    within_call = false;
}

static bool cancel(struct pool *pool, int number)
{
    within_call = true;
    const bool cancelled = pool->cancel(pool, &jobs[number].job);
    within_call = false;
    return cancelled;
}

/* ---- inline ---- */

static void inline_runs_in_order_when_stepped(void **state)
{
    (void)state;
    struct pool pool;
    struct error error = {0};
    reset();
    assert_ok(pool_inline_init(&pool, 2, &error), &error);
    for (int i = 0; i < 5; i++) {
        submit(&pool, i);
    }
    assert_int_equal(pool.in_flight[POOL_TRAIN], 2);
    assert_false(jobs[0].ran);
    for (int i = 0; i < 5; i++) {
        assert_true(pool_inline_step(&pool));
        assert_true(jobs[i].ran && jobs[i].done == 1 && jobs[i].cancelled == 0);
        assert_int_equal(order[i], i);
    }
    assert_false(pool_inline_step(&pool));
    assert_int_equal(pool.in_flight[POOL_TRAIN], 0);
    pool_inline_fini(&pool);
}

static void inline_lanes_have_room_of_their_own(void **state)
{
    (void)state;
    struct pool pool;
    struct error error = {0};
    reset();
    assert_ok(pool_inline_init(&pool, 1, &error), &error);
    for (int i = 0; i < 4; i++) {
        submit(&pool, i);
    }
    for (int i = 4; i < 8; i++) {
        jobs[i].job.lane = POOL_SERVICE;
        submit(&pool, i);
    }
    assert_int_equal(pool.in_flight[POOL_TRAIN], 1);
    assert_int_equal(pool.in_flight[POOL_SERVICE], 2);
    while (pool_inline_step(&pool)) {
        assert_true(pool.in_flight[POOL_TRAIN] <= 1 && pool.in_flight[POOL_SERVICE] <= 2);
    }
    assert_int_equal(handed_back, 8);
    const int expected[8] = {0, 4, 5, 1, 6, 7, 2, 3};   /* a service job never waits for all the training before it */
    assert_memory_equal(order, expected, sizeof expected);
    pool_inline_fini(&pool);
}

static void inline_order_follows_the_seed(void **state)
{
    (void)state;
    int first[12], other = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        for (int repeat = 0; repeat < 2; repeat++) {
            struct pool pool;
            struct error error = {0};
            reset();
            assert_ok(pool_inline_init(&pool, 4, &error), &error);
            pool_inline_order(&pool, seed);
            for (int i = 0; i < 12; i++) {
                submit(&pool, i);
            }
            while (pool_inline_step(&pool)) {
            }
            assert_int_equal(handed_back, 12);
            for (int i = 0; i < 12; i++) {
                assert_true(jobs[order[i]].done == 1 && order[i] < i + 4);   /* of the four in flight */
                other += order[i] != i;
            }
            if (repeat == 0) {
                memcpy(first, order, sizeof first);
            }
            assert_memory_equal(first, order, sizeof first);
            pool_inline_fini(&pool);
        }
    }
    assert_true(other > 100);
}

static void inline_cancel_hands_back_later_without_running(void **state)
{
    (void)state;
    struct pool pool;
    struct error error = {0};
    reset();
    assert_ok(pool_inline_init(&pool, 1, &error), &error);
    for (int i = 0; i < 4; i++) {
        submit(&pool, i);
    }
    assert_true(cancel(&pool, 0));   /* in flight, not begun */
    assert_true(cancel(&pool, 2));   /* waiting */
    assert_true(cancel(&pool, 2));   /* twice: done follows once */
    assert_int_equal(handed_back, 0);
    while (pool_inline_step(&pool)) {
    }
    assert_int_equal(handed_back, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].cancelled, i % 2 == 0);
        assert_int_equal(jobs[i].ran, i % 2 == 1);
    }
    assert_false(cancel(&pool, 1));   /* long done */
    submit(&pool, 1);                 /* a job may be used again */
    assert_true(pool_inline_step(&pool));
    assert_int_equal(jobs[1].done, 2);
    pool_inline_fini(&pool);
}

/* ---- uv. libuv makes its threads once per process: the first pool here is of 1 worker, so 3 threads. ---- */

static void uv_threads_are_workers_and_two(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pool pool;
    struct error error = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_ok(pool_uv_init(&pool, &loop, 1, &error), &error);
    assert_string_equal(getenv("UV_THREADPOOL_SIZE"), "3");
    reset();
    submit(&pool, 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_true(jobs[0].ran && jobs[0].done == 1);
    pool_uv_fini(&pool);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void uv_runs_every_job_and_returns_on_the_loop(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pool pool;
    struct error error = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    for (int workers = 1; workers <= 4; workers *= 2) {
        reset();
        assert_ok(pool_uv_init(&pool, &loop, workers, &error), &error);
        for (int i = 0; i < JOBS_MAX; i++) {
            jobs[i].job.lane = i % 3 == 0 ? POOL_SERVICE : POOL_TRAIN;
            submit(&pool, i);
        }
        assert_int_equal(pool.in_flight[POOL_TRAIN], workers);
        assert_int_equal(pool.in_flight[POOL_SERVICE], 2);
        assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        assert_int_equal(handed_back, JOBS_MAX);
        for (int i = 0; i < JOBS_MAX; i++) {
            assert_true(jobs[i].ran && jobs[i].done == 1 && jobs[i].cancelled == 0);
        }
        assert_int_equal(pool.in_flight[POOL_TRAIN] + pool.in_flight[POOL_SERVICE], 0);
        pool_uv_fini(&pool);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void uv_one_worker_is_first_in_first_out(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pool pool;
    struct error error = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    reset();
    assert_ok(pool_uv_init(&pool, &loop, 1, &error), &error);
    for (int i = 0; i < JOBS_MAX; i++) {
        submit(&pool, i);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (int i = 0; i < JOBS_MAX; i++) {
        assert_int_equal(order[i], i);
    }
    pool_uv_fini(&pool);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Three threads, held: jobs 0, 1, 2 run, 3 lies in libuv's own queue, 4 and 5 in ours. */
static void uv_cancel_takes_out_what_has_not_begun(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pool pool;
    struct error error = {0};
    sem_t begun, release;
    assert_int_equal(sem_init(&begun, 0, 0) | sem_init(&release, 0, 0), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    reset();
    assert_ok(pool_uv_init(&pool, &loop, 4, &error), &error);
    for (int i = 0; i < 6; i++) {
        jobs[i].begun = &begun;
        jobs[i].release = &release;
        submit(&pool, i);
    }
    for (int i = 0; i < 3; i++) {
        sem_wait(&begun);
    }
    assert_int_equal(pool.in_flight[POOL_TRAIN], 4);
    assert_false(cancel(&pool, 0));   /* runs */
    assert_true(cancel(&pool, 3));    /* by uv_cancel */
    assert_true(cancel(&pool, 3));
    assert_true(cancel(&pool, 5));    /* out of our queue */
    assert_true(cancel(&pool, 5));
    assert_int_equal(handed_back, 0);
    while (handed_back < 2) {         /* both come back although every thread is held */
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_true(jobs[3].done == 1 && jobs[5].done == 1);
    for (int i = 0; i < 4; i++) {
        sem_post(&release);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(handed_back, 6);
    for (int i = 0; i < 6; i++) {
        const bool taken_out = i == 3 || i == 5;
        assert_int_equal(jobs[i].done, 1);
        assert_int_equal(jobs[i].cancelled, taken_out);
        assert_int_equal(jobs[i].ran, !taken_out);
    }
    assert_false(cancel(&pool, 0));
    pool_uv_fini(&pool);
    assert_int_equal(uv_loop_close(&loop), 0);
    sem_destroy(&begun);
    sem_destroy(&release);
}

static void uv_service_jobs_do_not_wait_for_training(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pool pool;
    struct error error = {0};
    sem_t release;
    assert_int_equal(sem_init(&release, 0, 0), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
    reset();
    assert_ok(pool_uv_init(&pool, &loop, 1, &error), &error);
    for (int i = 0; i < 10; i++) {
        jobs[i].release = &release;
        submit(&pool, i);
    }
    for (int i = 10; i < 20; i++) {
        jobs[i].job.lane = POOL_SERVICE;
        submit(&pool, i);
    }
    while (handed_back < 10) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    for (int i = 0; i < 10; i++) {
        assert_true(order[i] >= 10);
        sem_post(&release);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(handed_back, 20);
    pool_uv_fini(&pool);
    assert_int_equal(uv_loop_close(&loop), 0);
    sem_destroy(&release);
}

static void a_job_may_be_submitted_again_from_its_done(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct pool pools[2];
    struct error error = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_ok(pool_inline_init(&pools[0], 2, &error), &error);
    assert_ok(pool_uv_init(&pools[1], &loop, 2, &error), &error);
    for (int p = 0; p < 2; p++) {
        reset();
        for (int i = 0; i < 6; i++) {
            jobs[i].again = true;
            jobs[i].pool = &pools[p];
            submit(&pools[p], i);
        }
        assert_true(cancel(&pools[p], 5));
        while (pool_inline_step(&pools[0])) {
        }
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(handed_back, 12);
        assert_true(jobs[5].done == 2 && jobs[5].cancelled == 1 && jobs[5].ran);
    }
    pool_inline_fini(&pools[0]);
    pool_uv_fini(&pools[1]);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void wrong_numbers_of_workers_are_refused(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    const int wrong[3] = {0, -1, 1001};
    for (int i = 0; i < 3; i++) {
        struct pool pool;
        struct error error = {0};
        assert_fails(pool_inline_init(&pool, wrong[i], &error), ERROR_INVALID, &error);
        error_clear(&error);
        assert_fails(pool_uv_init(&pool, &loop, wrong[i], &error), ERROR_INVALID, &error);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void only_making_a_pool_can_run_out_of_memory(void **state)
{
    (void)state;
    uv_loop_t loop;
    assert_int_equal(uv_loop_init(&loop), 0);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct pool pools[2];
        struct error error = {0};
        int result = pool_inline_init(&pools[0], 3, &error);
        if (result == 0) {
            result = pool_uv_init(&pools[1], &loop, 3, &error);
            if (result == 0) {
                const int64_t before = fault_count(FAULT_ALLOC);
                reset();
                for (int i = 0; i < 8; i++) {
                    submit(&pools[1], i);
                    cancel(&pools[1], i);
                }
                uv_run(&loop, UV_RUN_DEFAULT);
                assert_int_equal(handed_back, 8);
                assert_int_equal(fault_count(FAULT_ALLOC), before);
                pool_uv_fini(&pools[1]);
            }
            pool_inline_fini(&pools[0]);
        }
        assert_int_equal(result, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : ERROR_NONE);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

TEST_MAIN(cmocka_unit_test(inline_runs_in_order_when_stepped),
          cmocka_unit_test(inline_lanes_have_room_of_their_own),
          cmocka_unit_test(inline_order_follows_the_seed),
          cmocka_unit_test(inline_cancel_hands_back_later_without_running),
          cmocka_unit_test(uv_threads_are_workers_and_two),
          cmocka_unit_test(uv_runs_every_job_and_returns_on_the_loop),
          cmocka_unit_test(uv_one_worker_is_first_in_first_out),
          cmocka_unit_test(uv_cancel_takes_out_what_has_not_begun),
          cmocka_unit_test(uv_service_jobs_do_not_wait_for_training),
          cmocka_unit_test(a_job_may_be_submitted_again_from_its_done),
          cmocka_unit_test(wrong_numbers_of_workers_are_refused),
          cmocka_unit_test(only_making_a_pool_can_run_out_of_memory))
