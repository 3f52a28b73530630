/* The objective of a request: defaults by family, tokens, the echo, recipes and reports, and what is refused. */
#include "tests/api/fixture.h"

#include "api/report.h"

static const char MLM_DATA[] = "{\"train\": \"t\", \"objective\": \"mlm\", \"mask_token\": 250, \"pad_token\": 0, \"eos_token\": "
    "251, \"special_tokens\": [252, 253], \"sentinel_first\": 249, \"sentinel_count\": 10, \"sentinel_step\": -2, "
    "\"mode_tokens\": {\"r\": 1, \"x\": 3}}";

static struct request_facts facts_of(enum family family)
{
    struct request_facts facts = parent_facts();
    facts.parent.family = family;
    if (family == FAMILY_BERT) facts.parent.types = 2;
    if (family == FAMILY_LLAMA) facts.parent.rope.theta = 1e4;
    return facts;
}

/* A study of one candidate with this data object. */
static int resolve_data(const char *data, enum family family, struct study_spec *spec, struct error *error)
{
    char text[2048];
    struct request *request;
    struct request_facts facts = facts_of(family);
    snprintf(text, sizeof text, "{\"checkpoint\": \"c\", \"data\": %s, \"candidates\": [{\"operators\": [{\"op\": \"stack\", "
             "\"layers\": 6}]}]}", data);
    int code = request_new(&request, text, strlen(text), error);
    if (code) return code;
    code = request_resolve(request, &facts, spec, error);
    request_free(request);
    return code;
}

static void assert_mlm(const struct objective_spec *o)
{
    assert_int_equal(o->name, OBJECTIVE_MLM);
    assert_true(o->mask_token == 250 && o->pad_token == 0 && o->eos_token == 251);
    assert_true(o->special_tokens.count == 2 && o->special_tokens.ids[0] == 252 && o->special_tokens.ids[1] == 253);
    assert_true(o->sentinel_first == 249 && o->sentinel_count == 10 && o->sentinel_step == -2);
    assert_true(o->mode_tokens[MODE_R] == 1 && o->mode_tokens[MODE_S] == TOKEN_NONE && o->mode_tokens[MODE_X] == 3);
}

static void tokens_reach_the_training_and_the_echo(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    assert_ok(resolve_data(MLM_DATA, FAMILY_BERT, &spec, &error), &error);
    assert_mlm(&spec.training.objective);
    char *text = echo_text(&spec), *again;
    assert_contains(text, "\"objective\": \"mlm\"");
    assert_contains(text, "\"special_tokens\": [252, 253]");
    assert_contains(text, "\"mode_tokens\": {\"r\": 1, \"x\": 3}");
    study_spec_fini(&spec);
    struct request *request;
    struct request_facts facts = facts_of(FAMILY_BERT);
    assert_ok(request_new(&request, text, strlen(text), &error), &error);
    assert_ok(request_resolve(request, &facts, &spec, &error), &error);
    assert_mlm(&spec.training.objective);
    again = echo_text(&spec);
    assert_string_equal(again, text);
    memory_free(text);
    memory_free(again);
    request_free(request);
    study_spec_fini(&spec);
}

static void objectives_default_by_family(void **state)
{
    (void)state;
    static const struct { enum family family; const char *data; enum objective_name name; } rows[] = {
        {FAMILY_GPT2, "{\"train\": \"t\"}", OBJECTIVE_CAUSAL},
        {FAMILY_LLAMA, "{\"train\": \"t\"}", OBJECTIVE_CAUSAL},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 5}", OBJECTIVE_MLM},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct study_spec spec;
        struct error error = {0};
        assert_ok(resolve_data(rows[i].data, rows[i].family, &spec, &error), &error);
        assert_int_equal(spec.training.objective.name, rows[i].name);
        char *text = echo_text(&spec);
        assert_contains(text, rows[i].name == OBJECTIVE_MLM ? "\"mask_token\": 5" : "\"objective\": \"causal\"");
        assert_true((strstr(text, "mask_token") != NULL) == (rows[i].name == OBJECTIVE_MLM));
        assert_null(strstr(text, "sentinel"));
        assert_null(strstr(text, "mode_tokens"));
        memory_free(text);
        study_spec_fini(&spec);
    }
}

static void what_a_model_can_not_learn_is_refused(void **state)
{
    (void)state;
    static const struct { enum family family; const char *data, *pointer, *words; } rows[] = {
        {FAMILY_BERT, "{\"train\": \"t\"}", "/data/mask_token", "mlm needs mask_token: give its id"},
        {FAMILY_BERT, "{\"train\": \"t\", \"objective\": \"causal\"}", "/data/objective",
         "A bert model can not learn the objective causal; use mlm"},
        {FAMILY_GPT2, "{\"train\": \"t\", \"objective\": \"mlm\", \"mask_token\": 3}", "/data/objective",
         "A gpt2 model can not learn the objective mlm; use causal"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 256}", "/data/mask_token", "tokens are 0 to 255"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 5, \"special_tokens\": [1, 400]}", "/data/special_tokens/1", "400"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 5, \"special_tokens\": [1, -4]}", "/data/special_tokens/1",
         "nearest valid value is 0"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 5, \"special_tokens\": [1.5]}", "/data/special_tokens/0",
         "must be an integer, not a number"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 5, \"special_tokens\": 3}", "/data/special_tokens",
         "must be a list of token ids, not an integer"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": \"[MASK]\"}", "/data/mask_token", "must be an integer, not text"},
        {FAMILY_BERT, "{\"train\": \"t\", \"mask_token\": 5, \"mode_tokens\": {\"q\": 3}}", "/data/mode_tokens/q",
         "unknown field \"q\""},
        {FAMILY_BERT, "{\"train\": \"t\", \"objective\": \"mln\"}", "/data/objective", "did you mean \"mlm\"?"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct study_spec spec;
        struct error error = {0};
        assert_fails(resolve_data(rows[i].data, rows[i].family, &spec, &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, rows[i].pointer);
        assert_contains(error.details[0].text, rows[i].words);
    }
}

static void too_many_special_tokens_are_refused(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    char data[1024] = "{\"train\": \"t\", \"mask_token\": 5, \"special_tokens\": [0";
    for (int i = 0; i < OBJECTIVE_SPECIAL_MAX; i++) strcat(data, ", 1");
    strcat(data, "]}");
    assert_fails(resolve_data(data, FAMILY_BERT, &spec, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/data/special_tokens");
    assert_contains(error.message, "65 tokens; at most 64");
}

/* Parts on their own: what is not said stays as it was. */
static void a_data_object_is_stored_over_the_defaults(void **state)
{
    (void)state;
    struct spec_data data;
    struct error error = {0};
    struct objective_spec objective = objective_defaults(FAMILY_BERT);
    assert_ok(request_data(MLM_DATA, strlen(MLM_DATA), &data, &objective, &error), &error);
    assert_mlm(&objective);
    objective = objective_defaults(FAMILY_BERT);
    static const char plain[] = "{\"train\": \"x\", \"pad_token\": 7}";
    assert_ok(request_data(plain, strlen(plain), &data, &objective, &error), &error);
    assert_true(objective.name == OBJECTIVE_MLM && objective.pad_token == 7 && objective.mask_token == TOKEN_NONE);
}

static void reports_give_the_objective_back(void **state)
{
    (void)state;
    struct shape shape = facts_of(FAMILY_BERT).parent;
    struct report_data report;
    struct error error = {0};
    struct objective_spec objective = objective_defaults(FAMILY_BERT);
    struct spec_data data;
    struct buffer out;
    assert_ok(request_data(MLM_DATA, strlen(MLM_DATA), &data, &objective, &error), &error);
    buffer_init(&out);
    buffer_text(&out, "{\"data\": {\"format\": \"bytes\", \"context\": 32, ");
    request_echo_objective(&objective, &out);
    buffer_text(&out, ", \"seed\": 4, \"something\": [1]}}");
    assert_ok(report_parse(out.data, out.length, &shape, &report, &error), &error);
    assert_mlm(&report.objective);
    assert_true(report.context == 32 && report.seed == 4 && report.format == CORPUS_BYTES);
    buffer_fini(&out);
    assert_ok(report_parse(NULL, 0, &shape, &report, &error), &error);
    assert_true(report.objective.name == OBJECTIVE_MLM && report.objective.mask_token == TOKEN_NONE);
    static const char wrong[] = "{\"data\": {\"mask_token\": \"x\"}}";
    assert_fails(report_parse(wrong, strlen(wrong), &shape, &report, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "lag_report.json");
}

static void recipes_and_candidate_reports_carry_the_objective(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    struct recipe recipe;
    struct error error = {0};
    struct shape shape = facts_of(FAMILY_BERT).parent;
    finished_init(&f, DEMO_REQUEST);
    f.spec.training.objective = objective_defaults(FAMILY_BERT);
    f.spec.training.objective.mask_token = 250;
    struct study_view view = finished_view(&f);
    buffer_init(&out);
    response_recipe(&out, &view);
    assert_contains(out.data, "\"mask_token\": 250");
    assert_ok(recipe_read(out.data, out.length, &shape, &recipe, &error), &error);
    assert_true(recipe.training.objective.name == OBJECTIVE_MLM && recipe.training.objective.mask_token == 250);
    buffer_fini(&out);
    finished_fini(&f);
}

static void echo_and_report_fail_cleanly_at_every_allocation(void **state)
{
    (void)state;
    struct shape shape = facts_of(FAMILY_BERT).parent;
    static const char text[] = "{\"data\": {\"objective\": \"mlm\", \"mask_token\": 3, \"special_tokens\": [1]}}";
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        struct report_data report;
        int code = report_parse(text, strlen(text), &shape, &report, &error);
        if (fault_struck(FAULT_ALLOC, n)) assert_fails(code, ERROR_NO_MEMORY, &error);
        else assert_ok(code, &error);
    }
}

TEST_MAIN(cmocka_unit_test(tokens_reach_the_training_and_the_echo), cmocka_unit_test(objectives_default_by_family),
          cmocka_unit_test(what_a_model_can_not_learn_is_refused), cmocka_unit_test(too_many_special_tokens_are_refused),
          cmocka_unit_test(a_data_object_is_stored_over_the_defaults),
          cmocka_unit_test(reports_give_the_objective_back),
          cmocka_unit_test(recipes_and_candidate_reports_carry_the_objective),
          cmocka_unit_test(echo_and_report_fail_cleanly_at_every_allocation))
