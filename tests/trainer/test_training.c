#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "trainer/optimizer.h"
#include "trainer/training.h"

static const struct shape shape = {.family = FAMILY_GPT2, .layers = 2, .width = 64, .heads = 4, .kv_heads = 4,
                                   .head_size = 16, .ff = 256, .context = 128, .vocabulary = 256, .tied = true,
                                   .norm_epsilon = 1e-5};

static void defaults_are_the_contracts(void **state)
{
    (void)state;
    struct shape wide = shape;
    wide.width = 768;
    wide.context = 1024;
    const struct training narrow = training_defaults(&shape), training = training_defaults(&wide);
    assert_int_equal(training.batch, 16);
    assert_int_equal(training.context, 256);
    assert_int_equal(narrow.context, 128);
    assert_int_equal(training.steps, 20000);
    assert_true(narrow.learning_rate == 2e-3);
    assert_true(training.learning_rate == 0.4 / 768);
    assert_int_equal(training.schedule.name, SCHEDULE_CONSTANT);
    assert_int_equal(training.schedule.warmup_steps, 100);
    assert_int_equal(training.schedule.decay_steps, 2000);
    assert_true(training.clip == 1 && training.seed == 1 && training.width_rate_scaled);
    assert_true(training.optimizer.beta1 == 0.9 && training.optimizer.beta2 == 0.95);
    assert_true(training.optimizer.epsilon == 1e-8 && training.optimizer.weight_decay == 0.1);
    assert_int_equal(training.average.kind, AVERAGE_WINDOW);
    assert_true(training.average.fraction == 0.2);
    assert_int_equal(training_default_warmup(500), 25);
    assert_true(training_default_rate(OPTIMIZER_SGD, SCHEDULE_CONSTANT, 64) == 0.1);
    assert_true(training_default_rate(OPTIMIZER_SCHEDULE_FREE_ADAMW, SCHEDULE_CONSTANT, 64) == 4e-3);
    struct error error = {0};
    assert_ok(training_check(&training, &wide, &error), &error);
}

static struct training scheduled(enum schedule_name name, uint64_t warmup, uint64_t decay)
{
    struct training training = training_defaults(&shape);
    training.steps = 100;
    training.learning_rate = 0.5;
    training.schedule = (struct schedule_spec){.name = name, .warmup_steps = warmup, .decay_steps = decay,
                                               .a = 4, .b = -0.51};
    return training;
}

static void warmup_rises_in_equal_parts_from_the_first_update(void **state)
{
    (void)state;
    const struct training training = scheduled(SCHEDULE_CONSTANT, 4, 0);
    const double expected[6] = {0.125, 0.25, 0.375, 0.5, 0.5, 0.5};
    for (uint64_t step = 0; step < 6; step++) {
        assert_near(schedule_rate(&training, step), expected[step], 1e-15);
    }
    const struct training none = scheduled(SCHEDULE_CONSTANT, 0, 0);
    assert_true(schedule_rate(&none, 0) == 0.5);
    assert_true(schedule_rate(&none, 1000000) == 0.5);
}

static void wsd_decays_in_each_form_to_its_minimum(void **state)
{
    (void)state;
    /* u = 0, 1/4, 1/2, 3/4, 1; exponential: methods appendix D. */
    static const struct { enum decay_form form; double minimum, factors[5]; } cases[] = {
        {DECAY_LINEAR, 0, {1, 0.75, 0.5, 0.25, 0}},
        {DECAY_LINEAR, 0.1, {1, 0.775, 0.55, 0.325, 0.1}},
        {DECAY_EXPONENTIAL, 0, {1, 0.650068, 0.377541, 0.165296, 0}},
        {DECAY_EXPONENTIAL, 0.1, {1, 0.685061, 0.439787, 0.248767, 0.1}},
        {DECAY_SQRT, 0, {1, 0.5, 0.292893219, 0.133974596, 0}},
        {DECAY_SQRT, 0.1, {1, 0.55, 0.363603897, 0.220577137, 0.1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct training training = scheduled(SCHEDULE_WSD, 0, 20);
        training.schedule.decay_form = cases[i].form;
        training.schedule.minimum = cases[i].minimum;
        for (int quarter = 0; quarter <= 4; quarter++) {
            assert_near(schedule_rate(&training, 80 + 5 * (uint64_t)quarter), 0.5 * cases[i].factors[quarter], 5e-7);
        }
        assert_true(schedule_rate(&training, 79) == 0.5);
        assert_near(schedule_rate(&training, 5000), 0.5 * cases[i].minimum, 1e-15);
        for (uint64_t step = 80; step < 100; step++) {
            assert_true(schedule_rate(&training, step) > schedule_rate(&training, step + 1));
        }
    }
}

static void wsd_warms_up_too_and_may_have_no_decay(void **state)
{
    (void)state;
    struct training training = scheduled(SCHEDULE_WSD, 10, 100);
    assert_near(schedule_rate(&training, 4), 0.5 * 0.5 * 0.96, 1e-15);
    training = scheduled(SCHEDULE_WSD, 0, 0);
    assert_true(schedule_rate(&training, 99) == 0.5);
}

static void available_rows_have_a_function_and_parameters(void **state)
{
    (void)state;
    int count;
    const struct table_row *rows = optimizer_rows(&count);
    assert_int_equal(count, OPTIMIZER_COUNT);
    for (int i = 0; i < count; i++) {
        assert_non_null(rows[i].name);
        assert_int_equal(rows[i].available, optimizer_of((enum optimizer_name)i) != NULL);
        assert_int_equal(rows[i].available, rows[i].parameter_count > 0);
    }
    rows = schedule_rows(&count);
    assert_int_equal(count, SCHEDULE_COUNT);
    for (int i = 0; i < count; i++) {
        assert_int_equal(rows[i].available, rows[i].parameter_count > 0);
        if (rows[i].available) {
            const struct training training = scheduled((enum schedule_name)i, 5, 10);
            for (uint64_t step = 0; step < 100; step++) {
                const double rate = schedule_rate(&training, step);
                assert_true(rate > 0 && rate <= training.learning_rate);
            }
        }
    }
}

static void names_of_choices_are_those_of_the_tables(void **state)
{
    (void)state;
    char joined[128] = "";
    for (int i = 0; i < DECAY_FORM_COUNT; i++) {
        strcat(joined, i > 0 ? "|" : "");
        strcat(joined, decay_form_name((enum decay_form)i));
    }
    int count;
    const struct table_row *wsd = &schedule_rows(&count)[SCHEDULE_WSD];
    bool found = false;
    for (int i = 0; i < wsd->parameter_count; i++) {
        if (strcmp(wsd->parameters[i].name, "decay_form") == 0) {
            assert_string_equal(wsd->parameters[i].choices, joined);
            found = true;
        }
    }
    assert_true(found);
    for (int i = 0; i < AVERAGE_KIND_COUNT; i++) {
        enum average_kind kind;
        assert_int_equal(average_kind_parse(average_kind_name((enum average_kind)i), &kind), 0);
        assert_int_equal(kind, i);
    }
    enum average_kind kind;
    assert_int_equal(average_kind_parse("mean", &kind), -1);
    enum sampler sampler;
    assert_int_equal(sampler_parse("sequential", &sampler), 0);
    assert_int_equal(sampler, SAMPLER_SEQUENTIAL);
    assert_int_equal(sampler_parse("shuffled", &sampler), -1);
}

static void expect_refused(const struct training *training, const char *pointer)
{
    struct error error = {0};
    assert_fails(training_check(training, &shape, &error), ERROR_INVALID, &error);
    assert_int_equal(error.detail_count, 1);
    assert_string_equal(error.details[0].pointer, pointer);
    assert_int_equal(training_check(training, &shape, NULL), ERROR_INVALID);
}

static void every_value_out_of_range_is_refused_with_its_pointer(void **state)
{
    (void)state;
#define REFUSE(change, pointer)                                        \
    do {                                                               \
        struct training training = scheduled(SCHEDULE_WSD, 5, 10);     \
        training.change;                                               \
        expect_refused(&training, pointer);                            \
    } while (0)
    REFUSE(batch = 0, "/batch");
    REFUSE(batch = -1, "/batch");
    REFUSE(context = 129, "/context");
    REFUSE(context = 0, "/context");
    REFUSE(learning_rate = 0, "/learning_rate");
    REFUSE(learning_rate = NAN, "/learning_rate");
    REFUSE(clip = -1, "/clip");
    REFUSE(clip = NAN, "/clip");
    REFUSE(optimizer.beta1 = 1, "/optimizer/betas/0");
    REFUSE(optimizer.beta2 = -0.1, "/optimizer/betas/1");
    REFUSE(optimizer.epsilon = -1, "/optimizer/epsilon");
    REFUSE(optimizer.weight_decay = INFINITY, "/optimizer/weight_decay");
    REFUSE(optimizer.momentum = 1, "/optimizer/momentum");
    REFUSE(optimizer.r = -1, "/optimizer/r");
    REFUSE(optimizer.weight_power = NAN, "/optimizer/weight_power");
    REFUSE(optimizer.decay_at = (enum decay_point)2, "/optimizer/decay_at");
    REFUSE(optimizer.decoupling = -1, "/optimizer/decoupling");
    REFUSE(optimizer.name = (enum optimizer_name)99, "/optimizer/name");
    REFUSE(schedule.name = (enum schedule_name)99, "/schedule/name");
    REFUSE(schedule.minimum = 1.5, "/schedule/minimum");
    REFUSE(schedule.warmup_steps = 101, "/schedule/warmup_steps");
    REFUSE(schedule.decay_steps = 101, "/schedule/decay_steps");
    REFUSE(average.fraction = 0, "/average/fraction");
    REFUSE(compute = (enum product_type)2, "/compute");
    REFUSE(average = ((struct average_spec){AVERAGE_EMA, 0.2, 1}), "/average/decay");
#undef REFUSE
    struct training training = scheduled(SCHEDULE_CONSTANT, 0, 0);
    training.steps = 0;
    expect_refused(&training, "/steps");
}

static void several_disagreements_are_all_named(void **state)
{
    (void)state;
    struct training training = scheduled(SCHEDULE_COSINE, 0, 0);
    training.batch = 0;
    training.optimizer.name = OPTIMIZER_SCHEDULE_FREE_SGD;
    struct error error = {0};
    assert_fails(training_check(&training, &shape, &error), ERROR_INVALID, &error);
    assert_int_equal(error.detail_count, 3);
    assert_contains(error.details[1].text, "use constant, which has a warm-up, or the optimizer sgd");
    assert_contains(error.details[2].text, "use the average none");
}

/* Methods appendix D: min(.02, 4 beta n^-.51) at n = 1e6, 1e7, … 1e12. */
static void power_gives_the_papers_rates(void **state)
{
    (void)state;
    static const struct { int batch; double rates[7]; } cases[] = {
        {8, {0.02, 0.00861291, 0.00266164, 0.000822527, 0.000254185, 7.85507e-5, 2.42745e-5}},
        {64, {0.02, 0.02, 0.02, 0.00658021, 0.00203348, 0.000628405, 0.000194196}},
        {1024, {0.02, 0.02, 0.02, 0.02, 0.02, 0.0100545, 0.00310713}},
    };
    struct training training = scheduled(SCHEDULE_POWER, 0, 0);
    training.context = 4096;
    training.learning_rate = 0.02;
    training.steps = 1000;
    training.schedule.a = 4;
    training.schedule.b = -0.51;
    for (int i = 0; i < 3; i++) {
        training.batch = cases[i].batch;
        for (int power = 0; power < 7; power++) {
            const uint64_t tokens = (uint64_t)(pow(10, 6 + power) + 0.5), own = (uint64_t)training.batch * 4096;
            if (tokens >= own) {
                training.schedule.tokens_seen = tokens - own;
                assert_near(schedule_rate(&training, 0) / cases[i].rates[power], 1, 5e-6);
            }
        }
    }
}

/* Two runs of 40 steps, the second told what the first has seen, are one of 80; the batch and context matter by their product
 * alone. */
static void power_depends_on_tokens_and_batch_alone(void **state)
{
    (void)state;
    struct training whole = scheduled(SCHEDULE_POWER, 0, 0);
    whole.batch = 16;
    whole.context = 64;
    whole.learning_rate = 0.02;
    whole.schedule.a = 4;
    whole.schedule.b = -0.51;
    whole.schedule.tokens_seen = 123456;
    struct training second = whole, third = whole, other = whole;
    second.schedule.tokens_seen += 40 * 16 * 64;
    training_continue_tokens(&third, 40, whole.schedule.tokens_seen + 40 * 16 * 64);
    assert_int_equal(third.schedule.tokens_seen, whole.schedule.tokens_seen);
    training_continue_tokens(&other, 400, 1000);      /* saw less than its steps: another batch, once */
    assert_int_equal(other.schedule.tokens_step, 400);
    struct training square = whole;
    square.batch = 8;
    square.context = 128;
    for (uint64_t step = 0; step < 40; step++) {
        assert_true(schedule_rate(&whole, 40 + step) == schedule_rate(&second, step));
        assert_true(schedule_rate(&whole, 40 + step) == schedule_rate(&third, 40 + step));
        assert_true(schedule_rate(&whole, step) == schedule_rate(&square, step));
        assert_true(schedule_rate(&whole, step + 1) < schedule_rate(&whole, step));
    }
}

static void power_warms_up_to_its_law_and_decays_from_it(void **state)
{
    (void)state;
    struct training law = scheduled(SCHEDULE_POWER, 0, 0), training = scheduled(SCHEDULE_POWER, 10, 20);
    law.learning_rate = training.learning_rate = 0.02;
    law.schedule.a = training.schedule.a = 0.5;
    law.schedule.b = training.schedule.b = -0.51;
    law.schedule.tokens_seen = training.schedule.tokens_seen = 5000;
    for (uint64_t step = 0; step < 10; step++) {
        assert_near(schedule_rate(&training, step), (double)(step + 1) / 10 * schedule_rate(&law, 9), 1e-15);
    }
    for (uint64_t step = 9; step < 80; step++) {
        assert_true(schedule_rate(&training, step) == schedule_rate(&law, step));
    }
    assert_near(schedule_rate(&training, 80), schedule_rate(&law, 79), 1e-15);
    assert_near(schedule_rate(&training, 90), 0.5 * schedule_rate(&law, 79), 1e-15);
    assert_near(schedule_rate(&training, 100), 0, 1e-15);
}

static void linear_and_cosine_fall_to_the_horizon(void **state)
{
    (void)state;
    struct training linear = scheduled(SCHEDULE_LINEAR, 20, 0), cosine = scheduled(SCHEDULE_COSINE, 20, 0);
    linear.schedule.minimum = cosine.schedule.minimum = 0.1;
    assert_near(schedule_rate(&linear, 19), 0.5, 1e-15);
    assert_near(schedule_rate(&linear, 20), 0.5, 1e-15);
    assert_near(schedule_rate(&linear, 60), 0.5 * 0.55, 1e-15);
    assert_near(schedule_rate(&cosine, 60), 0.5 * 0.55, 1e-15);
    assert_near(schedule_rate(&cosine, 40), 0.5 * (0.1 + 0.9 * 0.5 * (1 + sqrt(0.5))), 1e-15);
    assert_near(schedule_rate(&linear, 100), 0.05, 1e-15);
    assert_near(schedule_rate(&cosine, 1000), 0.05, 1e-15);
}

static void inverse_sqrt_is_one_at_the_end_of_the_warmup(void **state)
{
    (void)state;
    const struct training training = scheduled(SCHEDULE_INVERSE_SQRT, 25, 0), bare = scheduled(SCHEDULE_INVERSE_SQRT, 0, 0);
    assert_near(schedule_rate(&training, 24), 0.5, 1e-15);
    assert_near(schedule_rate(&training, 99), 0.25, 1e-15);
    assert_near(schedule_rate(&bare, 0), 0.5, 1e-15);
    assert_near(schedule_rate(&bare, 3), 0.25, 1e-15);
}

static void defaults_of_an_optimizer_follow_its_row(void **state)
{
    (void)state;
    assert_true(training_default_rate(OPTIMIZER_ADAMW, SCHEDULE_POWER, 64) == 0.02);
    assert_true(training_default_clip(OPTIMIZER_SGD) == 1 && training_default_clip(OPTIMIZER_SCHEDULE_FREE_SGD) == 0);
    assert_int_equal(training_default_average(OPTIMIZER_SCHEDULE_FREE_ADAMW), AVERAGE_NONE);
    assert_int_equal(training_default_average(OPTIMIZER_SGD), AVERAGE_WINDOW);
    assert_true(optimizer_defaults(OPTIMIZER_SCHEDULE_FREE_SGD).weight_decay == 0);
    const char *texts[TRAINING_WARNINGS_MAX];
    struct training training = scheduled(SCHEDULE_POWER, 0, 0);
    assert_int_equal(training_warnings(&training, kernels_ref_float(), texts), 2);
    assert_contains(texts[0], "mup");
    assert_contains(texts[1], "tokens_seen");
    training.schedule.tokens_known = true;
    training.parametrization = PARAMETRIZATION_MUP;
    assert_int_equal(training_warnings(&training, kernels_ref_float(), texts), 0);
}

TEST_MAIN(cmocka_unit_test(power_gives_the_papers_rates), cmocka_unit_test(power_depends_on_tokens_and_batch_alone),
          cmocka_unit_test(power_warms_up_to_its_law_and_decays_from_it),
          cmocka_unit_test(linear_and_cosine_fall_to_the_horizon),
          cmocka_unit_test(inverse_sqrt_is_one_at_the_end_of_the_warmup),
          cmocka_unit_test(defaults_of_an_optimizer_follow_its_row),
          cmocka_unit_test(defaults_are_the_contracts),
          cmocka_unit_test(warmup_rises_in_equal_parts_from_the_first_update),
          cmocka_unit_test(wsd_decays_in_each_form_to_its_minimum),
          cmocka_unit_test(wsd_warms_up_too_and_may_have_no_decay),
          cmocka_unit_test(available_rows_have_a_function_and_parameters),
          cmocka_unit_test(names_of_choices_are_those_of_the_tables),
          cmocka_unit_test(every_value_out_of_range_is_refused_with_its_pointer),
          cmocka_unit_test(several_disagreements_are_all_named))
