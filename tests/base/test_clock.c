#include <stdint.h>
#include <time.h>

#include "base/clock.h"
#include "tests/support/support.h"

static void times_are_written_as_rfc_3339(void **state)
{
    (void)state;
    static const struct { int64_t wall_ms; const char *text; } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782399999, "2000-02-28T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1795356309123, "2026-11-22T14:05:09.123Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {-62135596800000, "0001-01-01T00:00:00.000Z"},
        {-62167219200000, "0000-01-01T00:00:00.000Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[CLOCK_TEXT_BYTES];
        clock_format(rows[i].wall_ms, text);
        assert_string_equal(text, rows[i].text);
    }
}

static void the_settable_clock_stands_until_set(void **state)
{
    (void)state;
    struct clock clock = clock_settable(5, 7);
    assert_int_equal(clock.monotonic_ns(&clock), 5);
    assert_int_equal(clock.wall_ms(&clock), 7);
    clock.set_ns += 1000;
    clock.set_wall_ms = 9;
    assert_int_equal(clock.monotonic_ns(&clock), 1005);
    assert_int_equal(clock.wall_ms(&clock), 9);
}

static void the_system_clock_is_the_systems(void **state)
{
    (void)state;
    struct clock clock = clock_system();
    int64_t first = clock.monotonic_ns(&clock), second = clock.monotonic_ns(&clock);
    assert_true(first > 0 && second >= first);
    int64_t least = (int64_t)time(NULL) * 1000, wall = clock.wall_ms(&clock), most = ((int64_t)time(NULL) + 1) * 1000;
    /* time(2) may lag behind by a tick of the kernel's coarse clock */
    assert_true(wall >= least && wall <= most + 100);
}

TEST_MAIN(cmocka_unit_test(times_are_written_as_rfc_3339), cmocka_unit_test(the_settable_clock_stands_until_set),
          cmocka_unit_test(the_system_clock_is_the_systems))
