/* The matrix of training in pairs: each pair of rows of the tables is in a combination that is run; and every combination that
 * does not go together is refused where and how it should be. All combinations: long_matrix.c. */
#include "tests/trainer/matrix_runs.h"

enum { COVER_MOST = 200 };

static void every_row_of_every_table_has_an_entry(void **state)
{
    (void)state;
    matrix_check_entries();
}

static const char *detail_at(const struct error *error, const char *pointer)
{
    for (int i = 0; i < error->detail_count; i++)
        if (strcmp(error->details[i].pointer, pointer) == 0)
            return error->details[i].text;
    return NULL;
}

static void expect_refused(const struct fixture *fixture, const struct combination *c, bool *seen)
{
    struct trial_options options = fixture->options;
    struct trial trial;
    struct error error = {0}, of_trial = {0};
    options.training = matrix_training(c);
    assert_fails(training_check(&options.training, &fixture->checkpoint.table.shape, &error), ERROR_INVALID, &error);
    for (int i = 0; i < MATRIX_RULES; i++) {
        if (!matrix_rules[i].is_broken(c))
            continue;
        const char *text = detail_at(&error, matrix_rules[i].pointer);
        if (text == NULL || strstr(text, matrix_rules[i].remedy) == NULL)
            fail_msg("%s: %s must say \"%s\", not \"%s\"", matrix_title(c), matrix_rules[i].pointer, matrix_rules[i].remedy,
                     text != NULL ? text : "nothing");
        seen[i] = true;
    }
    assert_int_equal(error.detail_count, matrix_broken_rules(c));
    assert_fails(trial_init(&trial, &fixture->checkpoint, &options, &of_trial), ERROR_INVALID, &of_trial);
}

/* The family decides nothing of it: its shape is only asked for the context. */
static void what_does_not_go_together_is_refused_with_pointer_and_remedy(void **state)
{
    (void)state;
    struct fixture *fixture = family_fixture(&family_worlds[0], kernels_cpu(), MATRIX_BATCH);
    struct combination c = {0};
    bool seen[MATRIX_RULES] = {0};
    int allowed = 0, refused = 0;
    do {
        const struct training training = matrix_training(&c);
        struct error error = {0};
        if (matrix_broken_rules(&c) > 0) {
            expect_refused(fixture, &c, seen);
            refused++;
        } else if (training_check(&training, &fixture->checkpoint.table.shape, &error) != 0) {
            fail_msg("%s: %s", matrix_title(&c), error.message);
        } else {
            allowed++;
        }
    } while (matrix_next(&c, MATRIX_FAMILY + 1));
    print_message("    %d combinations of a family are accepted, %d refused\n", allowed, refused);
    for (int i = 0; i < MATRIX_RULES; i++)
        assert_true(seen[i]);
    fixture_free(fixture);
}

static void pairs_run_twelve_steps_resume_at_six_and_differ_from_the_default(void **state)
{
    (void)state;
    static struct combination cover[COVER_MOST];
    const int count = matrix_cover(cover, COVER_MOST);
    double least = INFINITY, joint = 0;
    assert_in_range(count, matrix_sizes[MATRIX_FAMILY] * matrix_sizes[MATRIX_LEARNERS], COVER_MOST - 1);
    for (int family = 0; family < FAMILY_WORLDS; family++) {
        struct matrix_world world;
        matrix_world_open(&world, family);
        for (int i = 0; i < count; i++)
            if (cover[i].at[MATRIX_FAMILY] == family)
                matrix_run(&world, &cover[i]);
        assert_true(world.runs > world.continued && world.continued > 0);
        least = fmin(least, world.least), joint = fmax(joint, world.joint);
        matrix_world_close(&world);
    }
    print_message("    %d combinations; rows differ by %.1e at least (%.0e), joint steps by %.1e at most (%.0e)\n", count, least,
                  MATRIX_DIFFERENCE, joint, MATRIX_JOINT);
}

TEST_MAIN(cmocka_unit_test(every_row_of_every_table_has_an_entry),
          cmocka_unit_test(what_does_not_go_together_is_refused_with_pointer_and_remedy),
          cmocka_unit_test(pairs_run_twelve_steps_resume_at_six_and_differ_from_the_default))
