/* The matrix of training, whole: every combination that goes together, as test_matrix.c runs those of its pairs. */
#include "tests/trainer/matrix_runs.h"

static void every_combination_runs_twelve_steps_resumes_at_six_and_differs_from_the_default(void **state)
{
    (void)state;
    matrix_check_entries();
    for (int family = 0; family < FAMILY_WORLDS; family++) {
        struct combination c = {.at = {[MATRIX_FAMILY] = family}};
        struct matrix_world world;
        matrix_world_open(&world, family);
        do {
            if (c.at[MATRIX_WIDTH_RATE] == 0 && c.at[MATRIX_ROWS] == 0 && matrix_broken_rules(&c) == 0)
                matrix_run(&world, &c);
        } while (matrix_next(&c, MATRIX_FAMILY + 1));
        print_message("    %s: %d combinations; rows differ by %.1e at least (%.0e), joint steps by %.1e at most (%.0e)\n",
                      family_worlds[family].title, world.runs, world.least, MATRIX_DIFFERENCE, world.joint, MATRIX_JOINT);
        matrix_world_close(&world);
    }
}

TEST_MAIN(cmocka_unit_test(every_combination_runs_twelve_steps_resumes_at_six_and_differs_from_the_default))
