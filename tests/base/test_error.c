#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "base/error.h"
#include "tests/support/support.h"

static void first_cause_wins(void **state)
{
    (void)state;
    struct error error = {0};
    assert_int_equal(error_set(&error, ERROR_IO, "disk %d", 7), ERROR_IO);
    assert_int_equal(error_set(&error, ERROR_INVALID, "later"), ERROR_IO);
    assert_int_equal(error_set_at(&error, ERROR_INVALID, "/a", "later"), ERROR_IO);
    assert_int_equal(error_set_errno(&error, ENOSPC, "later"), ERROR_IO);
    assert_string_equal(error.message, "disk 7");
    assert_int_equal(error.detail_count, 0);
}

static void without_a_record_only_the_code_is_returned(void **state)
{
    (void)state;
    assert_int_equal(error_set(NULL, ERROR_CONFLICT, "x"), ERROR_CONFLICT);
    assert_int_equal(error_set_at(NULL, ERROR_INVALID, "/a", "x"), ERROR_INVALID);
    assert_int_equal(error_set_errno(NULL, EDQUOT, "x"), ERROR_DISK_FULL);
    assert_int_equal(error_wrap(NULL, "x"), ERROR_NONE);
    error_add_detail(NULL, "/a", "x");
    error_prefix_pointer(NULL, "/a");
}

static void wrap_prefixes_a_recorded_error_only(void **state)
{
    (void)state;
    struct error error = {0};
    assert_int_equal(error_wrap(&error, "while idle"), ERROR_NONE);
    assert_string_equal(error.message, "");
    error_set(&error, ERROR_NOT_FOUND, "no file");
    assert_int_equal(error_wrap(&error, "candidate %s", "stack"), ERROR_NOT_FOUND);
    assert_int_equal(error_wrap(&error, "study"), ERROR_NOT_FOUND);
    assert_string_equal(error.message, "study: candidate stack: no file");
}

static void details_stop_at_five_and_take_prefixes(void **state)
{
    (void)state;
    struct error error = {0};
    error_add_detail(&error, "/none", "dropped: nothing is recorded yet");
    assert_int_equal(error.detail_count, 0);
    error_set_at(&error, ERROR_INVALID, "/layers", "%d is too small", 0);
    for (int i = 0; i < 8; i++)
        error_add_detail(&error, "/more", "detail %d", i);
    assert_int_equal(error.detail_count, ERROR_DETAILS_MAX);
    assert_string_equal(error.details[0].text, "0 is too small");
    assert_string_equal(error.details[4].text, "detail 3");
    error_prefix_pointer(&error, "/operators/0");
    error_prefix_pointer(&error, "/candidates/2");
    assert_string_equal(error.details[0].pointer, "/candidates/2/operators/0/layers");
    assert_string_equal(error.details[4].pointer, "/candidates/2/operators/0/more");
}

static void overlong_texts_are_cut_not_overrun(void **state)
{
    (void)state;
    char text[2000];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    struct error error = {0};
    error_set_at(&error, ERROR_INVALID, text, "%s", text);
    assert_int_equal(strlen(error.message), ERROR_MESSAGE_BYTES - 1);
    assert_int_equal(strlen(error.details[0].pointer), ERROR_POINTER_BYTES - 1);
    assert_int_equal(error_wrap(&error, "b"), ERROR_INVALID);
    assert_int_equal(strlen(error.message), ERROR_MESSAGE_BYTES - 1);
    assert_memory_equal(error.message, "b: aaa", 6);
    assert_int_equal(error_wrap(&error, "%s", text), ERROR_INVALID);
    error_prefix_pointer(&error, text);
    assert_int_equal(strlen(error.details[0].pointer), ERROR_POINTER_BYTES - 1);
    error_set_errno(&(struct error){0}, EIO, "%s", text);
}

static void errno_becomes_a_kind_and_its_text(void **state)
{
    (void)state;
    const struct { int errno_value; enum error_code code; } rows[] = {
        {ENOSPC, ERROR_DISK_FULL}, {EDQUOT, ERROR_DISK_FULL}, {ENOMEM, ERROR_NO_MEMORY}, {EIO, ERROR_IO},
        {EACCES, ERROR_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct error error = {0};
        char expected[256];
        snprintf(expected, sizeof expected, "cannot write f: %s", strerror(rows[i].errno_value));
        assert_int_equal(error_set_errno(&error, rows[i].errno_value, "cannot write %s", "f"), rows[i].code);
        assert_string_equal(error.message, expected);
    }
}

static void clear_makes_a_record_usable_again(void **state)
{
    (void)state;
    struct error error = {0};
    error_set_at(&error, ERROR_INVALID, "/a", "first");
    error_clear(&error);
    assert_int_equal(error.code, ERROR_NONE);
    assert_int_equal(error.detail_count, 0);
    assert_int_equal(error_set(&error, ERROR_IO, "second"), ERROR_IO);
    assert_string_equal(error.message, "second");
}

/* The contract's exit codes and the statuses of HTTP; words are unique, they name metrics. */
static void every_row_has_word_title_status_and_exit_code(void **state)
{
    (void)state;
    for (int i = 0; i < ERROR_CODE_COUNT; i++) {
        enum error_code code = (enum error_code)i;
        int status = error_http_status(code), exit_code = error_exit_code(code);
        assert_true(error_word(code)[0] != '\0' && error_title(code)[0] != '\0');
        assert_int_equal(strspn(error_word(code), "abcdefghijklmnopqrstuvwxyz_"), strlen(error_word(code)));
        assert_true(i == 0 ? status == 200 : status >= 400 && status < 600);
        assert_true(exit_code == 130 || (exit_code >= 0 && exit_code <= 3));
        assert_int_equal(exit_code == 0, i == 0);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(error_word(code), error_word((enum error_code)j));
    }
}

static void a_failed_check_names_its_place_and_aborts(void **state)
{
    (void)state;
    int ends[2], status;
    char text[256] = "";
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        CHECK(1 + 1 == 2);
        CHECK(1 + 1 == 3);
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    close(ends[0]);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_contains(text, "test_error.c:");
    assert_contains(text, "1 + 1 == 3");
}

static void shortening_replaces_every_occurrence(void **state)
{
    (void)state;
    struct error error = {0};
    error_set_at(&error, ERROR_INVALID, "/tmp/u/1/config.json", "/tmp/u/1/a and /tmp/u/1/b differ");
    error_shorten(&error, "/tmp/u/1", "upload");
    assert_string_equal(error.message, "upload/a and upload/b differ");
    assert_string_equal(error.details[0].pointer, "upload/config.json");
    error_shorten(&error, "a", "longer");
    assert_string_equal(error.message, "upload/a and upload/b differ");
}

TEST_MAIN(cmocka_unit_test(shortening_replaces_every_occurrence), cmocka_unit_test(first_cause_wins),
          cmocka_unit_test(without_a_record_only_the_code_is_returned),
          cmocka_unit_test(wrap_prefixes_a_recorded_error_only),
          cmocka_unit_test(details_stop_at_five_and_take_prefixes),
          cmocka_unit_test(overlong_texts_are_cut_not_overrun), cmocka_unit_test(errno_becomes_a_kind_and_its_text),
          cmocka_unit_test(clear_makes_a_record_usable_again),
          cmocka_unit_test(every_row_has_word_title_status_and_exit_code),
          cmocka_unit_test(a_failed_check_names_its_place_and_aborts))
