/* What every test program shares: main, assertions that show their numbers, temporary directories, fault sweeps.
 * The file includes cmocka and what cmocka needs; a test includes this one header and the headers it tests:
 *
 *     #include "tests/support/support.h"
 *
 *     static void stack_copies_blocks_in_order(void **state) { (void)state; … }
 *
 *     TEST_MAIN(cmocka_unit_test(stack_copies_blocks_in_order), …)
 *
 * Helpers that need more than base/ (a tiny model, a server process) go into files of their own beside this one. */
#ifndef TESTS_SUPPORT_SUPPORT_H
#define TESTS_SUPPORT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/file.h"

#define TEST_MAIN(...)                                              \
    int main(void)                                                  \
    {                                                               \
        const struct CMUnitTest tests[] = {__VA_ARGS__};            \
        return cmocka_run_group_tests(tests, NULL, NULL);           \
    }

/* ---- assertions ---- */

/* residual <= bound; NaN fails. Always prints what, residual and bound. */
#define assert_close(residual, bound) support_assert_close(#residual, residual, bound, __FILE__, __LINE__)
/* |actual - expected| <= bound; prints the difference and the bound. */
#define assert_near(actual, expected, bound) \
    support_assert_near(#actual, actual, expected, bound, __FILE__, __LINE__)
/* A call that must succeed; on failure the message of `error` (a struct error *) is shown. */
#define assert_ok(result, error) support_assert_code(#result, result, ERROR_NONE, error, __FILE__, __LINE__)
/* A call that must return `code`, with the same code recorded in `error`. */
#define assert_fails(result, code, error) support_assert_code(#result, result, code, error, __FILE__, __LINE__)
/* `text` (may be NULL: fails) contains `piece`; shows the text if it doesn't. */
#define assert_contains(text, piece) support_assert_contains(text, piece, __FILE__, __LINE__)

void support_assert_close(const char *what, double residual, double bound, const char *file, int line);
void support_assert_near(const char *what, double actual, double expected, double bound, const char *file, int line);
void support_assert_code(const char *what, int result, enum error_code code, const struct error *error,
                         const char *file, int line);
void support_assert_contains(const char *text, const char *piece, const char *file, int line);

/* Largest |a[i] - b[i]|; NaN if any difference is NaN. For assert_close. */
double largest_difference(const float *a, const float *b, size_t count);
double largest_difference_double(const double *a, const double *b, size_t count);

/* ---- files; each of these fails the test if it can't do its work ---- */

/* A new empty directory under $TMPDIR or /tmp; test_directory_remove takes everything in it away. */
void test_directory_make(char path[FILE_PATH_BYTES]);
/* The same in memory (/dev/shm) where there is room and $TMPDIR doesn't say otherwise: for tests with hundreds of commits
 * on little data. What is asked of them stays: a killed process loses nothing there either, and failed fsyncs are faults. */
void test_memory_directory_make(char path[FILE_PATH_BYTES]);
void test_directory_remove(const char *path);
/* As cmocka fixtures: *state is the directory's path (char *).
 *     cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown) */
int test_directory_setup(void **state);
int test_directory_teardown(void **state);

/* directory "/" name in `path`; returns path. */
char *test_path(char path[FILE_PATH_BYTES], const char *directory, const char *name);
void test_write_file(const char *path, const void *bytes, size_t length);
/* The whole file, NUL-terminated; memory_free it. `length` may be NULL. */
char *test_read_file(const char *path, size_t *length);
/* Number of names in a directory whose temporary files of file_writer are still there; -1 without a directory. */
int test_count_temporaries(const char *directory);

/* ---- fault sweeps: fail the n-th crossing for every n ----
 *
 *     SWEEP_FAULTS(FAULT_ALLOC, n) {
 *         int result = thing_do(&error);
 *         if (fault_struck(FAULT_ALLOC, n)) { failed: nothing leaked, old state intact }
 *         else                              { the last round, nothing was failed: result is 0 }
 *     }
 * The loop ends, disarmed, after the first round in which the n-th crossing was not reached; more than
 * SWEEP_ROUNDS_MAX rounds fail the test. Don't `break` out of it. Count the rounds and assert on the count where it is
 * known: a sweep that ended after one round has tested nothing. */
enum { SWEEP_ROUNDS_MAX = 20000 };
#define SWEEP_FAULTS(kind, n) for (int64_t n = sweep_begin(kind); n > 0; n = sweep_next(kind, n))
int64_t sweep_begin(enum fault_kind kind);
int64_t sweep_next(enum fault_kind kind, int64_t n);
/* Whether this round's crossing was reached. The first call in a round also disarms: what the round does afterwards
 * (look at files, clean up) can't fail any more, and is not counted. */
bool fault_struck(enum fault_kind kind, int64_t n);

#endif
