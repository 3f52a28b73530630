#include "study/curve.h"
#include "tests/support/support.h"

static struct point point_at(uint64_t step, float *losses)
{
    return (struct point){ .step = step, .loss = (double)step, .losses = losses };
}

static void append_keeps_its_own_copy_of_the_losses(void **state)
{
    (void)state;
    struct curve curve;
    float losses[3] = { 1, 2, 3 };
    curve_init(&curve, 3);
    assert_null(curve_last(&curve));
    for (uint64_t step = 0; step < 100; step++) {
        struct point point = point_at(step, losses);
        losses[0] = (float)step;
        assert_int_equal(curve_append(&curve, &point, NULL), 0);
    }
    losses[0] = -1;
    for (uint64_t step = 0; step < 100; step++)
        assert_true(curve_at(&curve, step)->losses[0] == (float)step && curve_at(&curve, step)->losses[2] == 3);
    assert_null(curve_at(&curve, 100));
    assert_int_equal(curve_last(&curve)->step, 99);
    curve_fini(&curve);
    assert_int_equal(curve.count, 0);
}

static void a_redone_point_replaces_and_a_lost_one_takes_its_place(void **state)
{
    (void)state;
    struct curve curve;
    struct error error = { 0 };
    float losses[1] = { 1 };
    curve_init(&curve, 1);
    for (uint64_t step = 0; step <= 20; step += 5) {
        struct point point = point_at(step, losses);
        assert_int_equal(curve_append(&curve, &point, &error), 0);
    }
    losses[0] = 7;
    struct point redone = point_at(10, losses), between = point_at(11, losses);
    assert_int_equal(curve_append(&curve, &redone, &error), 0);
    assert_int_equal(curve.count, 5);
    assert_true(curve_at(&curve, 10)->losses[0] == 7);
    assert_int_equal(curve_append(&curve, &between, &error), 0);
    assert_int_equal(curve.count, 6);
    static const uint64_t steps[] = { 0, 5, 10, 11, 15, 20 };
    for (int i = 0; i < 6; i++) {
        assert_int_equal(curve.points[i].step, steps[i]);
        assert_true(curve.points[i].losses[0] == (i == 2 || i == 3 ? 7 : 1));
    }
    between.step = 30;
    between.losses = NULL;
    assert_int_equal(curve_append(&curve, &between, &error), ERROR_INTERNAL);
    curve_fini(&curve);
}

static void truncate_forgets_what_comes_after_the_step(void **state)
{
    (void)state;
    struct curve curve;
    float losses[1] = { 1 };
    curve_init(&curve, 1);
    for (uint64_t step = 0; step <= 50; step += 5) {
        struct point point = point_at(step, losses);
        assert_int_equal(curve_append(&curve, &point, NULL), 0);
    }
    curve_truncate(&curve, 50);
    assert_int_equal(curve.count, 11);
    curve_truncate(&curve, 22);
    assert_int_equal(curve_last(&curve)->step, 20);
    struct point again = point_at(25, losses);
    assert_int_equal(curve_append(&curve, &again, NULL), 0);
    curve_truncate(&curve, 0);
    assert_int_equal(curve.count, 1);
    curve_fini(&curve);
}

static void every_failed_allocation_leaves_the_curve_as_it_was(void **state)
{
    (void)state;
    float losses[2] = { 1, 2 };
    int failures = 0;
    for (int64_t n = 1;; n++) {
        struct curve curve;
        struct error error = { 0 };
        int failed = 0;
        curve_init(&curve, 2);
        fault_arm(FAULT_ALLOC, n);
        for (uint64_t step = 0; step < 70 && !failed; step++) {
            struct point point = point_at(step, losses);
            int count = curve.count;
            failed = curve_append(&curve, &point, &error);
            assert_int_equal(curve.count, failed ? count : count + 1);
        }
        fault_arm(FAULT_ALLOC, 0);
        curve_fini(&curve);
        if (!failed)
            break;
        assert_int_equal(failed, ERROR_NO_MEMORY);
        failures++;
    }
    assert_in_range(failures, 72, 74);     /* 70 copies and the array at 0, 32 and 64 points */
}

TEST_MAIN(cmocka_unit_test(append_keeps_its_own_copy_of_the_losses),
          cmocka_unit_test(a_redone_point_replaces_and_a_lost_one_takes_its_place),
          cmocka_unit_test(truncate_forgets_what_comes_after_the_step),
          cmocka_unit_test(every_failed_allocation_leaves_the_curve_as_it_was))
