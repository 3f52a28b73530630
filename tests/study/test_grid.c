#include "study/curve.h"
#include "tests/support/support.h"

static void geometric_steps_are_the_distinct_floors_of_the_exact_fractions(void **state)
{
    (void)state;
    struct grid grid;
    unsigned __int128 numerator = 4, denominator = 1;      /* 4 * 6^n / 5^n, exact */
    assert_int_equal(grid_init(&grid, 4000, 0, NULL), 0);
    assert_int_equal(grid.steps[0], 0);
    assert_false(grid.geometric[0]);
    uint64_t before = 0;
    int i = 1;
    for (int n = 0; n < 38; n++, numerator *= 6, denominator *= 5) {
        uint64_t exact = (uint64_t)(numerator / denominator);
        if (exact != before && exact <= 4000) {
            assert_int_equal(grid.steps[i], exact);
            assert_true(grid.geometric[i++]);
            before = exact;
        }
    }
    assert_int_equal(grid.count, i + 1);
    assert_int_equal(grid.steps[i], 4000);
    assert_true(grid.geometric[i]);
    grid_fini(&grid);
}

static void twenty_thousand_steps_have_forty_seven_points_and_the_last(void **state)
{
    (void)state;
    struct grid grid;
    static const uint64_t known[] = { 0, 4, 5, 6, 8, 9, 11, 14, 17, 20, 24, 29, 35, 42, 51, 61, 73, 88, 106, 127 };
    assert_int_equal(grid_init(&grid, 20000, 0, NULL), 0);
    assert_int_equal(grid.count, 48);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(grid.steps[i], known[i]);
    assert_true(grid_has(&grid, 549) && grid_has(&grid, 659) && grid_has(&grid, 317) && grid_has(&grid, 1367));
    grid_fini(&grid);
}

static void regular_points_lie_between_and_do_not_decide(void **state)
{
    (void)state;
    struct grid grid;
    assert_int_equal(grid_init(&grid, 23, 5, NULL), 0);
    static const uint64_t steps[] = { 0, 4, 5, 6, 8, 9, 10, 11, 14, 15, 17, 20, 23 };
    static const bool decides[] = { 0, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1 };
    assert_int_equal(grid.count, 13);
    for (int i = 0; i < grid.count; i++) {
        assert_int_equal(grid.steps[i], steps[i]);
        assert_int_equal(grid.geometric[i], decides[i]);
        assert_int_equal(grid_is_geometric(&grid, steps[i]), decides[i]);
        assert_int_equal(grid_next(&grid, steps[i]), i + 1 < grid.count ? steps[i + 1] : 23);
    }
    assert_int_equal(grid_next(&grid, 12), 14);
    assert_int_equal(grid_next(&grid, 99), 23);
    assert_false(grid_has(&grid, 7) || grid_has(&grid, 24) || grid_is_geometric(&grid, 7));
    grid_fini(&grid);
}

static void tiny_and_huge_grids_are_fine_and_absurd_ones_are_refused(void **state)
{
    (void)state;
    struct grid grid;
    struct error error = { 0 };
    assert_int_equal(grid_init(&grid, 1, 0, NULL), 0);
    assert_int_equal(grid.count, 2);
    assert_true(grid.geometric[1]);
    grid_fini(&grid);
    assert_int_equal(grid_init(&grid, 1ull << 53, 0, NULL), 0);
    assert_true(grid.count < GRID_GEOMETRIC_MAX);
    assert_int_equal(grid.steps[grid.count - 1], 1ull << 53);
    grid_fini(&grid);
    assert_int_equal(grid_init(&grid, UINT64_MAX, UINT64_MAX / 2, NULL), 0);
    assert_int_equal(grid.steps[grid.count - 1], UINT64_MAX);
    grid_fini(&grid);
    assert_int_equal(grid_init(&grid, 1ull << 53, 1, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/selection/evaluate_every");
    grid_fini(&grid);
}

static void points_are_rounded_up_to_averages_and_the_last_stays(void **state)
{
    (void)state;
    struct grid grid, plain;
    assert_int_equal(grid_init(&grid, 50, 7, NULL), 0);
    assert_int_equal(grid_init(&plain, 50, 7, NULL), 0);
    grid_round(&grid, 1);
    assert_int_equal(grid.count, plain.count);
    grid_round(&grid, 8);
    static const uint64_t steps[] = {0, 8, 16, 24, 32, 40, 48, 50};
    assert_int_equal(grid.count, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(grid.steps[i], steps[i]);
    for (int i = 0; i < plain.count; i++)      /* what decided decides at the average that follows */
        if (plain.geometric[i])
            assert_true(grid_is_geometric(&grid, plain.steps[i] + 7 - (plain.steps[i] + 7) % 8 < 50
                                                     ? plain.steps[i] + 7 - (plain.steps[i] + 7) % 8 : 50));
    grid_fini(&grid);
    grid_fini(&plain);
}

static void every_failed_allocation_is_reported(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 2; n++) {
        struct grid grid;
        struct error error = { 0 };
        fault_arm(FAULT_ALLOC, n);
        assert_int_equal(grid_init(&grid, 100, 7, &error), ERROR_NO_MEMORY);
        fault_arm(FAULT_ALLOC, 0);
        grid_fini(&grid);
    }
}

TEST_MAIN(cmocka_unit_test(geometric_steps_are_the_distinct_floors_of_the_exact_fractions),
          cmocka_unit_test(twenty_thousand_steps_have_forty_seven_points_and_the_last),
          cmocka_unit_test(regular_points_lie_between_and_do_not_decide),
          cmocka_unit_test(tiny_and_huge_grids_are_fine_and_absurd_ones_are_refused),
          cmocka_unit_test(points_are_rounded_up_to_averages_and_the_last_stays),
          cmocka_unit_test(every_failed_allocation_is_reported))
