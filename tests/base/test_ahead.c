/* Pieces made ahead: order, values and the first error are a plain loop's. */
#include "tests/support/support.h"

#include <stdint.h>
#include <string.h>

#include "base/ahead.h"
#include "base/fault.h"

enum { PIECES = 200, NUMBERS = 64 };

struct run {
    int made, taken, fail_making, fail_taking;      /* pieces that fail; PIECES: none */
    uint64_t sum;
};

static int make(void *owner, int piece, void *buffer, struct error *error)
{
    struct run *run = owner;
    uint64_t *numbers = buffer;
    assert_int_equal(piece, run->made++);
    if (piece == run->fail_making)
        return error_set(error, ERROR_DAMAGED, "piece %d can not be made", piece);
    for (int i = 0; i < NUMBERS; i++)
        numbers[i] = (uint64_t)piece * 1000 + (uint64_t)i;
    return 0;
}

static int take(void *owner, int piece, const void *buffer, struct error *error)
{
    struct run *run = owner;
    const uint64_t *numbers = buffer;
    assert_int_equal(piece, run->taken++);
    if (piece == run->fail_taking)
        return error_set(error, ERROR_DISK_FULL, "piece %d can not be taken", piece);
    for (int i = 0; i < NUMBERS; i++) {
        assert_int_equal(numbers[i], (uint64_t)piece * 1000 + (uint64_t)i);
        run->sum += numbers[i];
    }
    return 0;
}

static int run_pieces(struct run *run, int count, struct error *error)
{
    const struct ahead ahead = {.count = count, .bytes = NUMBERS * sizeof(uint64_t), .make = make, .take = take, .owner = run};
    return ahead_run(&ahead, error);
}

static void every_piece_is_taken_once_in_order(void **state)
{
    (void)state;
    for (int count = 0; count <= PIECES; count = count < 4 ? count + 1 : count * 5) {
        struct run run = {.fail_making = PIECES, .fail_taking = PIECES};
        struct error error = {0};
        assert_int_equal(run_pieces(&run, count, &error), 0);
        assert_true(run.made == count && run.taken == count);
        uint64_t numbers = (uint64_t)count * (uint64_t)NUMBERS, ramp = NUMBERS * (NUMBERS - 1) / 2;
        assert_int_equal(run.sum, count > 0 ? numbers * 1000 * (uint64_t)(count - 1) / 2 + (uint64_t)count * ramp : 0);
    }
}

static void what_was_made_before_an_error_is_taken(void **state)
{
    (void)state;
    for (int at = 0; at < 7; at++) {
        struct run run = {.fail_making = at, .fail_taking = PIECES};
        struct error error = {0};
        assert_int_equal(run_pieces(&run, PIECES, &error), ERROR_DAMAGED);
        assert_true(run.taken == at && run.made == at + 1);
        assert_non_null(strstr(error.message, "can not be made"));
    }
}

static void nothing_is_taken_after_an_error(void **state)
{
    (void)state;
    for (int at = 0; at < 7; at++) {
        struct run run = {.fail_making = PIECES, .fail_taking = at};
        struct error error = {0};
        assert_int_equal(run_pieces(&run, PIECES, &error), ERROR_DISK_FULL);
        assert_int_equal(run.taken, at + 1);
        assert_true(run.made <= at + 3);
        assert_non_null(strstr(error.message, "can not be taken"));
    }
}

static void without_memory_nothing_is_made(void **state)
{
    (void)state;
    struct run run = {.fail_making = PIECES, .fail_taking = PIECES};
    struct error error = {0};
    fault_arm(FAULT_ALLOC, 1);
    assert_int_equal(run_pieces(&run, PIECES, &error), ERROR_NO_MEMORY);
    fault_arm(FAULT_ALLOC, 0);
    assert_int_equal(run.made, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_is_taken_once_in_order),
        cmocka_unit_test(what_was_made_before_an_error_is_taken),
        cmocka_unit_test(nothing_is_taken_after_an_error),
        cmocka_unit_test(without_memory_nothing_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
