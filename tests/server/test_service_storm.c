#include "tests/server/storm_parts.h"

static void study_comes_through_twelve_storms(void **state)
{
    (void)state;
    storm_seeds(1, 12);
}

TEST_MAIN(cmocka_unit_test(study_comes_through_twelve_storms))
