#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/support.h"

/* The variables are read once per process, at the first crossing: each case is a child that sets them before it. The
 * parent must cross nothing itself. */
static int status_of(const char *variable, const char *value, void (*work)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        setenv(variable, value, 1);
        if (freopen("/dev/null", "w", stderr))
            work();
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static bool was_killed(int status)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static void cross_three_points(void)
{
    FAULT_POINT(trial_save_begin);
    FAULT_POINT(decide);
    FAULT_POINT(trial_save_begin);
}

static void the_nth_crossing_of_a_named_point_kills(void **state)
{
    (void)state;
    assert_true(was_killed(status_of("LAG_KILL", "trial_save_begin:1", cross_three_points)));
    assert_true(was_killed(status_of("LAG_KILL", "trial_save_begin:2", cross_three_points)));
    assert_int_equal(status_of("LAG_KILL", "trial_save_begin:3", cross_three_points), 0);
    assert_true(was_killed(status_of("LAG_KILL", "decide:1", cross_three_points)));
    assert_int_equal(status_of("LAG_KILL", "decide:2", cross_three_points), 0);
    assert_int_equal(status_of("LAG_KILL", "recover:1", cross_three_points), 0);
}

static void any_counts_the_crossings_of_all_points(void **state)
{
    (void)state;
    assert_true(was_killed(status_of("LAG_KILL", "any:3", cross_three_points)));
    assert_int_equal(status_of("LAG_KILL", "any:4", cross_three_points), 0);
    assert_int_equal(status_of("LAG_KILL", "", cross_three_points), 0);
}

/* Exits with 10 + the number of the allocation that failed. */
static void allocate_five_times(void)
{
    int failed = 0;
    for (int i = 1; i <= 5; i++) {
        void *block = memory_new(8);
        if (!block)
            failed = i;
        memory_free(block);
    }
    _exit(10 + failed);
}

static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", "alloc:2", allocate_five_times)), 12);
    assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", "alloc:5", allocate_five_times)), 15);
    assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", "alloc:6", allocate_five_times)), 10);
    assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", "fsync:1", allocate_five_times)), 10);
}

static void a_fault_that_does_not_exist_ends_the_process(void **state)
{
    (void)state;
    const char *bad[] = {"alloc", "alloc:", "alloc:0", "alloc:-1", "alloc:1x", "allocs:1", "allo:1", ":1", "decide:1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", bad[i], allocate_five_times)), 2);
    assert_int_equal(WEXITSTATUS(status_of("LAG_KILL", "nowhere:1", cross_three_points)), 2);
}

static void *allocate_many(void *failures)
{
    for (int i = 0; i < 10000; i++) {
        void *block = memory_new(1);
        *(int *)failures += !block;
        memory_free(block);
    }
    return NULL;
}

static void count_across_threads(void)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    int failures[THREADS] = {0}, sum = 0;
    for (int t = 0; t < THREADS; t++)
        if (pthread_create(&threads[t], NULL, allocate_many, &failures[t]) != 0)
            _exit(99);
    for (int t = 0; t < THREADS; t++) {
        pthread_join(threads[t], NULL);
        sum += failures[t];
    }
    _exit(fault_count(FAULT_ALLOC) == THREADS * 10000 ? sum : 98);
}

static void threads_share_one_count_and_one_fault(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", "alloc:25000", count_across_threads)), 1);
    assert_int_equal(WEXITSTATUS(status_of("LAG_FAULT", "alloc:40001", count_across_threads)), 0);
}

TEST_MAIN(cmocka_unit_test(the_nth_crossing_of_a_named_point_kills),
          cmocka_unit_test(any_counts_the_crossings_of_all_points), cmocka_unit_test(the_nth_allocation_fails_once),
          cmocka_unit_test(a_fault_that_does_not_exist_ends_the_process),
          cmocka_unit_test(threads_share_one_count_and_one_fault))
