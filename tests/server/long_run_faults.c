/* Every allocation of a whole study of two steps, from its admission to its files, failed one by one. */
#include "tests/server/fault_parts.h"

static void study_survives_each_failed_allocation(void **state)
{
    const struct fault_place *it = *state;
    int64_t rounds = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        study_with_fault(it, FAULT_ALLOC, n);
        rounds = n;
    }
    print_message("%lld rounds\n", (long long)rounds);
    assert_true(rounds > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(study_survives_each_failed_allocation)};
    return cmocka_run_group_tests(tests, fault_place_make, fault_place_remove);
}
