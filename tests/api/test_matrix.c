/* The matrix of training as requests: each combination of the tables that goes together is read as the values it means, and
 * its echo read again is the same echo; each that does not is refused under /training with pointer and remedy. */
#include "tests/trainer/matrix.h"

#include "tests/api/fixture.h"

#define REQUEST "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, \"selection\": {\"k\": 12}, \"candidates\": [{\"name\": " \
    "\"a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}], \"training\": %s}"

#define SAME(member) assert_true(got->member == want->member)

static void assert_same_learners(const struct learners_spec *got, const struct learners_spec *want)
{
    SAME(count);
    SAME(mode);
    SAME(automatic);
    SAME(outer.name);
    SAME(outer.learning_rate);
    SAME(outer.momentum);
    SAME(averaged_moments);
    SAME(batch_growth);
    assert_memory_equal(got->local_steps, want->local_steps, (size_t)want->count * sizeof *want->local_steps);
}

static void assert_same_optimizer(const struct optimizer_spec *got, const struct optimizer_spec *want)
{
    SAME(name);
    SAME(beta1);
    SAME(beta2);
    SAME(epsilon);
    SAME(weight_decay);
    SAME(momentum);
    SAME(nesterov);
    SAME(r);
    SAME(weight_power);
    SAME(decay_at);
    if (want->decoupling != 0)         /* not given, a request says what it comes to */
        SAME(decoupling);
    else if (got->decoupling != 0)
        assert_true(fabs(got->decoupling * (1 - optimizer_beta(want)) - 1) < 1e-12);
}

static void assert_same_schedule(const struct training *got, const struct training *want)
{
    SAME(schedule.name);
    SAME(schedule.warmup_steps);
    SAME(schedule.minimum);
    SAME(schedule.tokens_seen);
    for (uint64_t step = 0; step <= want->steps; step++)       /* what is of other schedules means nothing */
        assert_true(schedule_rate(got, step) == schedule_rate(want, step));
}

static void assert_same_training(const struct training *got, const struct training *want)
{
    SAME(batch);
    SAME(context);
    SAME(steps);
    SAME(learning_rate);
    SAME(clip);
    SAME(seed);
    SAME(parametrization);
    SAME(width_rate_scaled);
    SAME(recompute);
    SAME(compute);
    SAME(average.kind);
    if (want->average.kind == AVERAGE_WINDOW)
        SAME(average.fraction);
    if (want->average.kind == AVERAGE_EMA)
        SAME(average.decay);
    assert_same_optimizer(&got->optimizer, &want->optimizer);
    assert_same_schedule(got, want);
    assert_same_learners(&got->learners, &want->learners);
}

static void request_of(const struct combination *c, char *text, size_t size)
{
    char training[1024];
    matrix_json(c, training, sizeof training);
    const int length = snprintf(text, size, REQUEST, training);
    assert_true(length > 0 && (size_t)length < size);
}

static void every_combination_is_read_as_it_is_meant_and_echoed_alike(void **state)
{
    (void)state;
    struct combination c = {0};
    do {
        char text[2048];
        struct study_spec spec, again;
        struct error error = {0};
        if (matrix_broken_rules(&c) > 0)
            continue;
        request_of(&c, text, sizeof text);
        assert_ok(resolve_text(text, strlen(text), &spec, &error), &error);
        const struct training want = matrix_training(&c);
        assert_same_training(&spec.training, &want);
        char *first = echo_text(&spec);
        assert_ok(resolve_text(first, strlen(first), &again, &error), &error);
        assert_same_training(&again.training, &want);
        char *second = echo_text(&again);
        assert_string_equal(first, second);
        memory_free(first);
        memory_free(second);
        study_spec_fini(&spec);
        study_spec_fini(&again);
    } while (matrix_next(&c, MATRIX_FAMILY + 1));
}

static bool says(const struct error *error, const struct matrix_rule *rule)
{
    const char *remedy = rule->request != NULL ? rule->request : rule->remedy;
    char pointer[64];
    snprintf(pointer, sizeof pointer, "/training%s", rule->pointer);
    for (int i = 0; i < error->detail_count; i++)
        if (strcmp(error->details[i].pointer, pointer) == 0 && strstr(error->details[i].text, remedy) != NULL)
            return true;
    return false;
}

/* One mistake at a time is told in any case; of several at least one. */
static void what_does_not_go_together_is_refused_with_pointer_and_remedy(void **state)
{
    (void)state;
    struct combination c = {0};
    bool seen[MATRIX_RULES] = {0};
    do {
        char text[2048];
        struct study_spec spec;
        struct error error = {0};
        int told = 0;
        if (matrix_broken_rules(&c) == 0)
            continue;
        request_of(&c, text, sizeof text);
        assert_fails(resolve_text(text, strlen(text), &spec, &error), ERROR_INVALID, &error);
        for (int i = 0; i < MATRIX_RULES; i++)
            if (matrix_rules[i].is_broken(&c) && says(&error, &matrix_rules[i]))
                seen[i] = true, told++;
        if (told != error.detail_count || told == 0)
            fail_msg("%s: %s %s", matrix_title(&c), error.details[0].pointer, error.message);
    } while (matrix_next(&c, MATRIX_FAMILY + 1));
    for (int i = 0; i < MATRIX_RULES; i++)
        assert_true(seen[i]);
}

TEST_MAIN(cmocka_unit_test(every_combination_is_read_as_it_is_meant_and_echoed_alike),
          cmocka_unit_test(what_does_not_go_together_is_refused_with_pointer_and_remedy))
