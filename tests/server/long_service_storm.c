#include "tests/server/storm_parts.h"

static void study_comes_through_six_hundred_storms(void **state)
{
    (void)state;
    storm_seeds(1001, 1600);
}

TEST_MAIN(cmocka_unit_test(study_comes_through_six_hundred_storms))
