#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/memory.h"
#include "tests/support/support.h"

static struct clock stopped;
static FILE *sink;

/* The log writes into an unlinked file. */
static int open_sink(void **state)
{
    (void)state;
    stopped = clock_settable(0, 1795356309123);
    sink = tmpfile();
    return sink ? 0 : -1;
}

static int close_sink(void **state)
{
    (void)state;
    log_setup(2, LOG_INFO, true, NULL);
    return fclose(sink);
}

static const char *written(char *text, size_t room)
{
    ssize_t count = pread(fileno(sink), text, room - 1, 0);
    assert_true(count >= 0);
    text[count] = '\0';
    return text;
}

static void a_line_is_one_json_object_in_the_agreed_order(void **state)
{
    (void)state;
    char text[4096];
    struct error error = {0};
    error_set(&error, ERROR_DISK_FULL, "cannot write \"f\"");
    log_setup(fileno(sink), LOG_DEBUG, true, &stopped);
    log_write(LOG_WARNING, &(struct log_fields){"req_1", "study_2", "stack", &error}, "step %d", 5);
    log_write(LOG_INFO, NULL, "plain");
    log_write(LOG_ERROR, &(struct log_fields){.candidate = "a"}, "%s", "");
    assert_string_equal(written(text, sizeof text),
                        "{\"ts\":\"2026-11-22T14:05:09.123Z\",\"level\":\"warning\",\"msg\":\"step 5\",\"request_id\":"
                        "\"req_1\",\"study\":\"study_2\",\"candidate\":\"stack\",\"error\":\"disk_full: cannot write "
                        "\\\"f\\\"\"}\n"
                        "{\"ts\":\"2026-11-22T14:05:09.123Z\",\"level\":\"info\",\"msg\":\"plain\"}\n"
                        "{\"ts\":\"2026-11-22T14:05:09.123Z\",\"level\":\"error\",\"msg\":\"\",\"candidate\":\"a\"}\n");
}

static void hostile_values_stay_on_their_line(void **state)
{
    (void)state;
    char text[4096];
    log_setup(fileno(sink), LOG_INFO, true, &stopped);
    log_write(LOG_INFO, &(struct log_fields){.candidate = "a\",\"level\":\"error\n\x1b[2J\xFF"}, "x\ny\r\"");
    assert_string_equal(written(text, sizeof text),
                        "{\"ts\":\"2026-11-22T14:05:09.123Z\",\"level\":\"info\",\"msg\":\"x\\ny\\r\\\"\","
                        "\"candidate\":\"a\\\",\\\"level\\\":\\\"error\\n\\u001b[2J\xEF\xBF\xBD\"}\n");
}

static void a_terminal_gets_text_with_control_characters_escaped(void **state)
{
    (void)state;
    char text[4096];
    log_setup(fileno(sink), LOG_INFO, false, &stopped);
    log_write(LOG_INFO, &(struct log_fields){.study = "s 1"}, "line\n\x1b[31mred");
    assert_string_equal(written(text, sizeof text),
                        "2026-11-22T14:05:09.123Z info    line\\n\\u001b[31mred study=\"s 1\"\n");
}

static void levels_below_the_least_are_left_out(void **state)
{
    (void)state;
    char text[4096];
    log_setup(fileno(sink), LOG_WARNING, true, &stopped);
    log_write(LOG_DEBUG, NULL, "debug");
    log_write(LOG_INFO, NULL, "info");
    assert_string_equal(written(text, sizeof text), "");
    log_write(LOG_WARNING, NULL, "seen");
    assert_contains(written(text, sizeof text), "seen");
}

static void a_long_message_is_cut_and_the_line_stays_whole(void **state)
{
    (void)state;
    static char message[10000], text[20000];
    memset(message, '"', sizeof message - 1);
    log_setup(fileno(sink), LOG_INFO, true, &stopped);
    log_write(LOG_INFO, NULL, "%s", message);
    size_t length = strlen(written(text, sizeof text));
    assert_true(length > 4000 && length < 4300);
    assert_string_equal(text + length - 5, "\\\"\"}\n");
}

static void without_memory_a_line_says_that_a_line_is_lost(void **state)
{
    (void)state;
    char text[4096];
    log_setup(fileno(sink), LOG_INFO, true, &stopped);
    fault_arm(FAULT_ALLOC, 1);
    errno = EAGAIN;
    log_write(LOG_INFO, NULL, "lost");
    fault_arm(FAULT_ALLOC, 0);
    assert_int_equal(errno, EAGAIN);
    assert_string_equal(written(text, sizeof text),
                        "{\"level\":\"error\",\"msg\":\"a log line was lost: out of memory\"}\n");
}

static void a_log_that_cannot_be_written_harms_nobody(void **state)
{
    (void)state;
    log_setup(-1, LOG_INFO, true, &stopped);
    errno = 0;
    log_write(LOG_INFO, NULL, "nowhere");
    assert_int_equal(errno, 0);
}

static void *write_many(void *name)
{
    for (int i = 0; i < 200; i++)
        log_write(LOG_INFO, &(struct log_fields){.candidate = name}, "line %d", i);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    static char text[400000];
    char names[THREADS][16];
    pthread_t threads[THREADS];
    log_setup(fileno(sink), LOG_INFO, true, &stopped);
    for (int t = 0; t < THREADS; t++) {
        snprintf(names[t], sizeof names[t], "t%d", t);
        assert_int_equal(pthread_create(&threads[t], NULL, write_many, names[t]), 0);
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    int next[THREADS] = {0}, lines = 0;
    written(text, sizeof text);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        int thread, number;
        assert_int_equal(sscanf(line, "{\"ts\":\"2026-11-22T14:05:09.123Z\",\"level\":\"info\",\"msg\":\"line %d\","
                                      "\"candidate\":\"t%d\"}", &number, &thread), 2);
        assert_int_equal(number, next[thread]++);
    }
    assert_int_equal(lines, THREADS * 200);
}

#define WITH_SINK(test) cmocka_unit_test_setup_teardown(test, open_sink, close_sink)
TEST_MAIN(WITH_SINK(a_line_is_one_json_object_in_the_agreed_order), WITH_SINK(hostile_values_stay_on_their_line),
          WITH_SINK(a_terminal_gets_text_with_control_characters_escaped),
          WITH_SINK(levels_below_the_least_are_left_out), WITH_SINK(a_long_message_is_cut_and_the_line_stays_whole),
          WITH_SINK(without_memory_a_line_says_that_a_line_is_lost),
          WITH_SINK(a_log_that_cannot_be_written_harms_nobody), WITH_SINK(lines_of_several_threads_do_not_mix))
