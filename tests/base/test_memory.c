#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/support.h"

static bool all_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i])
            return false;
    return true;
}

/* Sizes around each threshold; the heap is dirtied first, so that zeroes are no accident. */
static void blocks_are_zeroed_and_large_ones_aligned(void **state)
{
    (void)state;
    const size_t sizes[] = {1, 15, 4095, 4096, 4097, 65536, (1u << 20) - 1, 1u << 20, (1u << 20) + 4095,
                            3000001, 40u << 20};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            unsigned char *block = memory_array(sizes[i], 1);
            assert_non_null(block);
            assert_true(all_zero(block, sizes[i]));
            if (sizes[i] >= 4096)
                assert_int_equal((uintptr_t)block % 64, 0);
            memset(block, 0xA5, sizes[i]);
            memory_free(block);
        }
    }
}

/* The neighbours of a block that is zeroed by whole pages keep their bytes. */
static void zeroing_a_large_block_touches_nothing_else(void **state)
{
    (void)state;
    enum { COUNT = 12, BYTES = (1 << 20) + 100 };
    unsigned char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++) {
        assert_non_null(blocks[i] = memory_new(BYTES));
        memset(blocks[i], i + 1, BYTES);
    }
    for (int i = 0; i < COUNT; i += 2) {
        memory_free(blocks[i]);
        assert_non_null(blocks[i] = memory_new(BYTES));
        assert_true(all_zero(blocks[i], BYTES));
    }
    for (int i = 1; i < COUNT; i += 2)
        for (size_t j = 0; j < BYTES; j++)
            assert_int_equal(blocks[i][j], i + 1);
    for (int i = 0; i < COUNT; i++)
        memory_free(blocks[i]);
}

static void a_large_block_costs_nothing_until_touched(void **state)
{
    (void)state;
    enum { BYTES = 256 << 20 };
    long before = 0, after = 0, size = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        skip();
    assert_int_equal(fscanf(file, "%ld %ld", &size, &before), 2);
    fclose(file);
    char *block = memory_new(BYTES);
    assert_non_null(block);
    assert_non_null(file = fopen("/proc/self/statm", "r"));
    assert_int_equal(fscanf(file, "%ld %ld", &size, &after), 2);
    fclose(file);
    double pages = (double)(after - before);
    memory_free(block);
    assert_close(pages * (double)sysconf(_SC_PAGESIZE), BYTES / 8.0);
}

static void nothing_is_a_block_of_its_own(void **state)
{
    (void)state;
    void *first = memory_array(0, 8), *second = memory_array(8, 0), *third = memory_new(0);
    assert_non_null(first);
    assert_non_null(second);
    assert_non_null(third);
    assert_ptr_not_equal(first, second);
    memory_free(first);
    memory_free(second);
    memory_free(third);
    memory_free(NULL);
}

static void overflow_is_no_memory_not_a_small_block(void **state)
{
    (void)state;
    /* volatile: the compiler must not see, and warn about, what is asked for on purpose */
    volatile size_t half = SIZE_MAX / 2, most = SIZE_MAX;
    size_t product = 42;
    assert_null(memory_array(half, 3));
    assert_null(memory_array(most, most));
    assert_null(memory_new(most));
    assert_null(memory_resize(NULL, most));
    assert_null(memory_string_n("x", most));
    assert_int_equal(memory_multiply(half, 3, &product), -1);
    assert_int_equal(product, 42);
    assert_int_equal(memory_multiply(most, 1, &product), 0);
    assert_true(product == most);
    assert_int_equal(memory_multiply(0, most, &product), 0);
    assert_int_equal(product, 0);
}

static void resize_keeps_the_bytes(void **state)
{
    (void)state;
    char *block = memory_resize(NULL, 4);
    assert_non_null(block);
    memcpy(block, "abcd", 4);
    const size_t sizes[] = {10, 5000, 2u << 20, 4, 0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_non_null(block = memory_resize(block, sizes[i]));
        if (sizes[i])
            assert_memory_equal(block, "abcd", 4);
    }
    memory_free(block);
    block = memory_array(5000, 1);
    assert_non_null(block = memory_resize(block, 9000));
    assert_true(all_zero((unsigned char *)block, 5000));
    memory_free(block);
}

static void strings_are_copied(void **state)
{
    (void)state;
    char *whole = memory_string("abc"), *part = memory_string_n("abcdef", 2), *none = memory_string_n("", 0);
    assert_string_equal(whole, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(none, "");
    memory_free(whole);
    memory_free(part);
    memory_free(none);
}

static void the_armed_allocation_fails_once(void **state)
{
    (void)state;
    fault_arm(FAULT_ALLOC, 3);
    void *first = memory_new(8), *second = memory_string("two");
    assert_non_null(first);
    assert_non_null(second);
    assert_null(memory_resize(first, 4096));
    void *fourth = memory_array(4, 4);
    assert_non_null(fourth);
    assert_int_equal(fault_count(FAULT_ALLOC), 4);
    fault_arm(FAULT_ALLOC, 0);
    memory_free(first);
    memory_free(second);
    memory_free(fourth);
}

static void a_sweep_visits_every_allocation_and_ends(void **state)
{
    (void)state;
    int failed = 0, rounds = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        void *blocks[4];
        rounds++;
        for (int i = 0; i < 4; i++) {
            blocks[i] = memory_new(16);
            failed += !blocks[i];
            assert_int_equal(!blocks[i], i + 1 == n);
        }
        for (int i = 0; i < 4; i++)
            memory_free(blocks[i]);
    }
    assert_int_equal(failed, 4);
    assert_int_equal(rounds, 5);
}

TEST_MAIN(cmocka_unit_test(blocks_are_zeroed_and_large_ones_aligned),
          cmocka_unit_test(zeroing_a_large_block_touches_nothing_else),
          cmocka_unit_test(a_large_block_costs_nothing_until_touched), cmocka_unit_test(nothing_is_a_block_of_its_own),
          cmocka_unit_test(overflow_is_no_memory_not_a_small_block), cmocka_unit_test(resize_keeps_the_bytes),
          cmocka_unit_test(strings_are_copied), cmocka_unit_test(the_armed_allocation_fails_once),
          cmocka_unit_test(a_sweep_visits_every_allocation_and_ends))
