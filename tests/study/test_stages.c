/* Stages: how they share the steps, and in which order their parts follow. */
#include "study/stages.h"

#include <string.h>

#include "tests/support/support.h"

static struct stages shared_out(int count, uint64_t steps, double alpha)
{
    struct stages stages = {.count = count};
    struct error error = {0};
    assert_ok(stages_split(&stages, steps, alpha, &error), &error);
    return stages;
}

/* Methods, appendix D. */
static void prop_alpha_gives_the_published_lengths(void **state)
{
    (void)state;
    static const uint64_t squares[] = {10, 43, 98, 175, 274, 400}, linear[] = {100, 200, 300, 400};
    struct stages stages = shared_out(6, 1000, 2);
    for (int j = 0; j < 6; j++)
        assert_int_equal(stages.of[j].steps, squares[j]);
    assert_int_equal(stages_steps(&stages), 1000);
    stages = shared_out(4, 1000, 1);
    for (int j = 0; j < 4; j++)
        assert_int_equal(stages.of[j].steps, linear[j]);
}

static void equal_shares_leave_the_remainder_to_the_last(void **state)
{
    (void)state;
    struct stages stages = shared_out(3, 1000, 0);
    assert_int_equal(stages.of[0].steps, 333);
    assert_int_equal(stages.of[1].steps, 333);
    assert_int_equal(stages.of[2].steps, 334);
    stages = shared_out(1, 7, 3);
    assert_int_equal(stages.of[0].steps, 7);
}

static void a_stage_without_steps_is_refused(void **state)
{
    (void)state;
    struct stages stages = {.count = 6};
    struct error error = {0};
    assert_int_equal(stages_split(&stages, 50, 2, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/prop_alpha");
    assert_non_null(strstr(error.message, "stage 1 would get none"));
}

static void parts_follow_by_chain(void **state)
{
    (void)state;
    static const char *const adaptive[] = {"1", "1t", "2", "2t", "3", "3t"}, *const middle[] = {"b2-1", "b2-2", "b2-3"};
    struct stages stages = {.count = 3, .baselines = {"gradual_last", "middle"}, .baseline_count = 2};
    char name[STAGES_PART_NAME_BYTES];
    int seen = 0;
    assert_int_equal(stages_chains(&stages), 3);
    struct stage_part part = stages_first(0);
    do {
        stages_part_name(&part, name);
        assert_string_equal(name, adaptive[seen++]);
    } while (stages_next(&stages, &part));
    assert_int_equal(seen, 6);
    part = stages_first(2);
    seen = 0;
    do {
        stages_part_name(&part, name);
        assert_string_equal(name, middle[seen++]);
        assert_false(part.search);
    } while (stages_next(&stages, &part));
    assert_int_equal(seen, 3);
    assert_string_equal(stages_chain_name(&stages, 0), "adaptive");
    assert_string_equal(stages_chain_name(&stages, 2), "middle");
}

TEST_MAIN(cmocka_unit_test(prop_alpha_gives_the_published_lengths),
          cmocka_unit_test(equal_shares_leave_the_remainder_to_the_last),
          cmocka_unit_test(a_stage_without_steps_is_refused),
          cmocka_unit_test(parts_follow_by_chain))
