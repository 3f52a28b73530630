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
    assert_contains(out.data, "then wsd, over the last 900 steps exponential decay to 0.05 of it, up to step");
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

static void every_optimizer_is_told_in_pytorchs_words(void **state)
{
    (void)state;
    static const char *const words[OPTIMIZER_COUNT] = {
        [OPTIMIZER_ADAMW] = "torch.optim.AdamW(parameters, lr=0.001, betas=(0.9, 0.95), eps=1e-08, weight_decay=0.1)",
        [OPTIMIZER_SGD] = "torch.optim.SGD(parameters, lr=0.001, momentum=0.9, weight_decay=0)",
        [OPTIMIZER_SCHEDULE_FREE_ADAMW] = "schedulefree.AdamWScheduleFree(parameters, lr=0.001, betas=(0.9, 0.95), eps=1e-08",
        [OPTIMIZER_SCHEDULE_FREE_SGD] = "schedulefree.SGDScheduleFree(parameters, lr=0.001, momentum=0.9, warmup_steps=",
    };
    struct shape shape = parent_shape();
    for (int i = 0; i < OPTIMIZER_COUNT; i++) {
        struct finished f;
        struct buffer out;
        struct recipe recipe;
        struct error error = {0};
        finished_init(&f, DEMO_REQUEST);
        f.spec.training.optimizer = optimizer_defaults((enum optimizer_name)i);
        f.spec.training.average.kind = training_default_average((enum optimizer_name)i);
        if (optimizer_is_schedule_free((enum optimizer_name)i)) f.spec.training.optimizer.decoupling = 10;
        struct study_view view = finished_view(&f);
        buffer_init(&out);
        response_recipe(&out, &view);
        assert_contains(out.data, words[i]);
        if (optimizer_is_schedule_free((enum optimizer_name)i))      /* no warm-up beside the package's own */
            assert_contains(out.data, "rate: constant but for the optimizer's own warm-up, no scheduler");
        assert_ok(recipe_read(out.data, out.length, &shape, &recipe, &error), &error);
        const struct optimizer_spec *a = &f.spec.training.optimizer, *b = &recipe.training.optimizer;
        assert_true(a->name == b->name && a->momentum == b->momentum && a->decoupling == b->decoupling && a->r == b->r &&
                    a->weight_power == b->weight_power && a->weight_decay == b->weight_decay);
        buffer_fini(&out);
        finished_fini(&f);
    }
}

/* Each schedule reads back as it was, and is told with its formula and the rate of the next step. */
static void every_schedule_is_told_with_the_rate_to_go_on_with(void **state)
{
    (void)state;
    static const char *const words[SCHEDULE_COUNT] = {
        [SCHEDULE_CONSTANT] = "rate: 100 steps of linear warm-up, then constant, up to step 20000; go on from step 659, whose rate "
                              "is 0.001, for 14853888 tokens more, with the data's batch number 659",
        [SCHEDULE_WSD] = "then wsd, over the last 2000 steps linear decay to 0.1 of it",
        [SCHEDULE_LINEAR] = "then linear decay to 0.1 of it",
        [SCHEDULE_COSINE] = "then cosine decay to 0.1 of it",
        [SCHEDULE_POWER] = "then power, min(0.001, 0.375 n^-0.6) when n tokens have been seen, 7000 of them before step 0, over "
                           "the last 2000 steps linear decay to 0.1 of it",
        [SCHEDULE_INVERSE_SQRT] = "then inverse_sqrt, 0.001 sqrt(100 / u) at update u, counted from 1",
    };
    struct shape shape = parent_shape();
    for (int i = 0; i < SCHEDULE_COUNT; i++) {
        struct finished f;
        struct buffer out;
        struct recipe recipe;
        struct error error = {0};
        finished_init(&f, DEMO_REQUEST);
        struct training *training = &f.spec.training;
        const bool tail = i == SCHEDULE_WSD || i == SCHEDULE_POWER, falls = tail || i == SCHEDULE_LINEAR || i == SCHEDULE_COSINE;
        training->schedule = (struct schedule_spec){.name = (enum schedule_name)i, .warmup_steps = 100, .a = 4, .b = -0.51,
                                                    .minimum = falls ? 0.1 : 0, .decay_steps = tail ? 2000 : 0};
        if (i == SCHEDULE_POWER)
            training->schedule.a = 2, training->schedule.b = -0.6, training->schedule.tokens_seen = 7000,
            training->schedule.tokens_known = true;
        struct study_view view = finished_view(&f);
        buffer_init(&out);
        response_recipe(&out, &view);
        print_message("  %s\n", strstr(out.data, "rate: ") ? strstr(out.data, "rate: ") : out.data);
        assert_contains(out.data, words[i]);
        assert_contains(out.data, "batches of 12 sequences of 64 tokens; ");
        assert_ok(recipe_read(out.data, out.length, &shape, &recipe, &error), &error);
        for (uint64_t step = 0; step < training->steps; step += 97)
            assert_true(schedule_rate(&recipe.training, step) == schedule_rate(training, step));
        buffer_fini(&out);
        finished_fini(&f);
    }
}

static void a_parametrization_goes_on_with_its_base(void **state)
{
    (void)state;
    static const char request[] =
        "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, \"candidates\": [{\"name\": \"wide\", \"operators\": "
        "[{\"op\": \"hyperclone\", \"width\": 128}]}], \"training\": {\"parametrization\": \"mup\"}}";
    struct finished f;
    struct buffer out;
    struct recipe recipe;
    struct error error = {0};
    struct shape parent = parent_shape(), grown = parent;
    grown.width *= 2, grown.heads *= 2, grown.kv_heads *= 2, grown.ff *= 2;
    finished_init(&f, request);
    struct study_view view = finished_view(&f);
    buffer_init(&out);
    response_recipe(&out, &view);
    assert_contains(out.data, "\"base\": {\"layers\": 3, \"decoder_layers\": 0, \"width\": 64");
    assert_contains(out.data, "{\"tensors\": \"h.*.attn.c_attn.weight\", \"rate\": 0.5, \"decay\": 2, \"epsilon\": 0.5, "
                              "\"gradient\": 1}");
    assert_contains(out.data, "a parameter group for each row of laws");
    assert_ok(recipe_read(out.data, out.length, &grown, &recipe, &error), &error);
    assert_true(recipe.training.parametrization == PARAMETRIZATION_MUP && recipe.learning_rate_scale == 1);
    struct shape base = recipe.base;
    assert_true(base.width == parent.width && base.heads == parent.heads && base.ff == parent.ff
                && base.kv_heads == parent.kv_heads && base.layers == parent.layers);
    buffer_fini(&out);
    finished_fini(&f);
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
        {"{\"format\": 1, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}, "
         "\"base\": {\"width\": 64}}",
         "/base/layers", ERROR_INVALID},
        {"{\"format\": 1, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}, "
         "\"base\": {\"width\": 0.5}}",
         "/base/width", ERROR_INVALID},
        {"{\"format\": 1, \"step\": 1, \"tokens\": 1, \"tokens_seen\": 1, \"data_cursor\": 1, \"data\": {}, "
         "\"base\": {\"widht\": 64}}",
         "/base/widht", ERROR_INVALID},
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
          cmocka_unit_test(width_clones_scale_the_hidden_rates), cmocka_unit_test(a_parametrization_goes_on_with_its_base),
          cmocka_unit_test(every_optimizer_is_told_in_pytorchs_words),
          cmocka_unit_test(every_schedule_is_told_with_the_rate_to_go_on_with),
          cmocka_unit_test(there_is_no_recipe_without_a_choice),
          cmocka_unit_test(wrong_recipes_are_refused))
