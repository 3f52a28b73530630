/* The recipe: what is written is read back as the same training, data and cursor. */
#include "tests/api/fixture.h"

static void recipe_reads_back_as_the_training_that_was_run(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    struct recipe recipe;
    struct error error = {0};
    struct shape shape = parent_shape();
    finished_init(&f, DEMO_REQUEST);
    f.spec.training.recompute = true;
    f.spec.training.compute = PRODUCT_BF16;
    f.spec.training.schedule = (struct schedule_spec){.name = SCHEDULE_WSD, .warmup_steps = 7, .decay_steps = 900,
                                                      .decay_form = DECAY_EXPONENTIAL, .minimum = 0.05};
    struct study_view view = finished_view(&f);
    buffer_init(&out);
    response_recipe(&out, &view);
    assert_ok(recipe_read(out.data, out.length, &shape, &recipe, &error), &error);
    assert_int_equal(recipe.step, 659);
    assert_int_equal(recipe.data_cursor, 659);
    assert_int_equal(recipe.tokens, 659 * 12 * 64);
    assert_int_equal(recipe.tokens_seen, 659 * 12 * 64 + 1000);
    assert_true(recipe.learning_rate_scale == 1);
    assert_string_equal(recipe.candidate, "stack");
    assert_string_equal(recipe.study, "small to medium");
    assert_string_equal(recipe.data.train, "data_1");
    assert_int_equal(recipe.data.format, CORPUS_BYTES);
    const struct training *a = &f.spec.training, *b = &recipe.training;
    assert_true(a->batch == b->batch && a->context == b->context && a->steps == b->steps && a->seed == b->seed);
    assert_true(a->learning_rate == b->learning_rate && a->clip == b->clip
                && a->width_rate_scaled == b->width_rate_scaled && b->recompute
                && b->compute == PRODUCT_BF16);
    assert_true(a->optimizer.beta1 == b->optimizer.beta1 && a->optimizer.weight_decay == b->optimizer.weight_decay);
    assert_true(b->schedule.name == SCHEDULE_WSD && b->schedule.decay_steps == 900 && b->schedule.minimum == 0.05
                && b->schedule.decay_form == DECAY_EXPONENTIAL && b->schedule.warmup_steps == 7);
    assert_true(b->average.kind == AVERAGE_WINDOW && b->average.fraction == 0.2);
    assert_contains(out.data, "torch.optim.AdamW(parameters, lr=0.001");
    assert_contains(out.data, "under autocast to bfloat16");
    buffer_fini(&out);
    finished_fini(&f);
}

static void width_clones_scale_the_hidden_rates(void **state)
{
    (void)state;
    static const char request[] =
        "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, \"candidates\": [{\"name\": \"wide\", "
        "\"operators\": [{\"op\": \"hyperclone\", \"width\": 128}]}]%s}";
    static const char *const endings[] = {"", ", \"training\": {\"width_learning_rate\": \"given\"}"};
    for (int given = 0; given < 2; given++) {
        char text[512];
        struct finished f;
        struct buffer out;
        struct recipe recipe;
        struct error error = {0};
        struct shape shape = parent_shape();
        snprintf(text, sizeof text, request, endings[given]);
        finished_init(&f, text);
        struct study_view view = finished_view(&f);
        buffer_init(&out);
        response_recipe(&out, &view);
        assert_contains(out.data, "\"width_factor\": 2");
        assert_ok(recipe_read(out.data, out.length, &shape, &recipe, &error), &error);
        assert_true(recipe.learning_rate_scale == (given ? 1 : 0.5));
        buffer_fini(&out);
        finished_fini(&f);
    }
}

static void there_is_no_recipe_without_a_choice(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    f.outcome.choice = -1;
    struct study_view view = finished_view(&f);
    buffer_init(&out);
    response_recipe(&out, &view);
    assert_string_equal(out.data, "null");
    buffer_fini(&out);
    finished_fini(&f);
}

static void wrong_recipes_are_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *pointer; enum error_code code;
    } cases[] = {
        {"{}", "/format", ERROR_INVALID},
        {"[]", "", ERROR_INVALID},
        {"{", NULL, ERROR_SYNTAX},
        {"{\"format\": 2, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}}",
         "/format", ERROR_INVALID},
        {"{\"format\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}}", "/step",
         ERROR_INVALID},
        {"{\"format\": 1, \"step\": -1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}}",
         "/step", ERROR_INVALID},
        {"{\"format\": 1, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1}", "/data",
         ERROR_INVALID},
        {"{\"format\": 1, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}, "
         "\"rate\": 1}",
         "/rate", ERROR_INVALID},
        {"{\"format\": 1, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}, "
         "\"learning_rate_scale\": 0}",
         "/learning_rate_scale", ERROR_INVALID},
    };
    struct shape shape = parent_shape();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe recipe;
        struct error error = {0};
        assert_fails(recipe_read(cases[i].text, strlen(cases[i].text), &shape, &recipe, &error), cases[i].code, &error);
        if (cases[i].pointer) assert_string_equal(error.details[0].pointer, cases[i].pointer);
    }
}

TEST_MAIN(cmocka_unit_test(recipe_reads_back_as_the_training_that_was_run),
          cmocka_unit_test(width_clones_scale_the_hidden_rates), cmocka_unit_test(there_is_no_recipe_without_a_choice),
          cmocka_unit_test(wrong_recipes_are_refused))
