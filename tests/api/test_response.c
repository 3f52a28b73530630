/* What users see of a study: read back with a JSON reader, field by field. */
#include "tests/api/fixture.h"

#include "api/json.h"

static cJSON *read_back(const struct buffer *out)
{
    struct error error = {0};
    cJSON *tree;
    assert_false(out->failed);
    assert_ok(json_read(out->data, out->length, &tree, &error), &error);
    return tree;
}

static void assert_members(const cJSON *object, const char *const *names, int count)
{
    const cJSON *child = object->child;
    for (int i = 0; i < count; i++, child = child->next) {
        assert_non_null(child);
        assert_string_equal(child->string, names[i]);
    }
    assert_null(child);
}

static double number_at(const cJSON *object, const char *name)
{
    const cJSON *node = json_member(object, name);
    assert_true(cJSON_IsNumber(node));
    return node->valuedouble;
}

static const char *text_at(const cJSON *object, const char *name)
{
    const cJSON *node = json_member(object, name);
    assert_true(cJSON_IsString(node));
    return node->valuestring;
}

static void finished_study_has_the_contracts_fields_in_order(void **state)
{
    (void)state;
    static const char *const members[] = {"id",      "name",       "state",   "status",  "k",
                                          "request", "transition", "choice",  "ranking", "rank_agreement",
                                          "cost",    "recipe",     "warnings"};
    static const char *const row_members[] = {"rank", "candidate", "state", "tie_group", "score", "loss", "margin",
        "standard_error", "p_best", "slope", "predicted_final_loss", "loss_at_0", "loss_at_transition", "preservation",
        "stability_ratio", "parameters", "flops_per_token", "flops_spent", "seconds"};
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    struct study_view view = finished_view(&f);
    static const char *const warnings[] = {"dropout 0.1 is trained as 0"};
    view.warnings = warnings;
    view.warning_count = 1;
    buffer_init(&out);
    response_study(&out, &view);
    cJSON *tree = read_back(&out);
    assert_members(tree, members, 13);
    assert_string_equal(text_at(tree, "state"), "succeeded");
    assert_string_equal(text_at(tree, "status"), "settled");
    assert_true(number_at(tree, "k") == 659);
    const cJSON *transition = json_member(tree, "transition"), *knees = json_member(transition, "knees");
    assert_true(number_at(transition, "step") == 549 && number_at(transition, "agreement") == 0.7142857142857143);
    assert_string_equal(text_at(transition, "method"), "agreement");
    assert_true(number_at(knees, "stack") == 44 && cJSON_IsNull(json_member(knees, "identity")));
    const cJSON *choice = json_member(tree, "choice"), *ranking = json_member(tree, "ranking");
    assert_string_equal(text_at(choice, "candidate"), "stack");
    assert_string_equal(text_at(choice, "files"), "/v1/studies/study_01/candidates/stack/files/");
    assert_int_equal(cJSON_GetArraySize(ranking), 8);
    const cJSON *row = cJSON_GetArrayItem(ranking, 1);
    assert_members(row, row_members, 19);
    /* doubles come back as the very same doubles */
    assert_true(number_at(row, "loss") == f.outcome.ranking.rows[1].loss);
    assert_true(number_at(row, "margin") == f.outcome.ranking.rows[1].margin);
    assert_true(number_at(row, "rank") == 2 && number_at(row, "parameters") == 320064);
    assert_true(cJSON_IsNull(json_member(row, "stability_ratio")) && cJSON_IsNull(json_member(tree, "recipe")));
    assert_true(number_at(json_member(tree, "cost"), "fraction") == 0.034);
    assert_string_equal(cJSON_GetArrayItem(json_member(tree, "warnings"), 0)->valuestring, warnings[0]);
    cJSON_Delete(tree);
    buffer_fini(&out);
    finished_fini(&f);
}

static void request_in_the_response_is_the_echo(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    struct study_view view = finished_view(&f);
    buffer_init(&out);
    response_study(&out, &view);
    char *echo = echo_text(&f.spec);
    assert_contains(out.data, echo);
    memory_free(echo);
    buffer_fini(&out);
    finished_fini(&f);
}

static void numbers_that_are_not_there_are_null(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    f.outcome.has_transition = false;
    f.outcome.settled = false;
    f.outcome.agreement = f.outcome.rank_agreement_at_0 = NAN;
    snprintf(f.outcome.provisional_reason, sizeof f.outcome.provisional_reason, "the cap came first");
    struct ranking_row *last = &f.outcome.ranking.rows[7];
    last->loss = last->score = last->margin = last->p_best = INFINITY;
    last->tie_group = 0;
    f.study.candidates[last->candidate].state = CANDIDATE_DIVERGED;
    f.study.candidates[last->candidate].diverged_step = 40;
    snprintf(f.study.candidates[last->candidate].reason, 256, "loss is NaN");
    f.study.candidates[2].same_as = 0;
    struct study_view view = finished_view(&f);
    buffer_init(&out);
    response_study(&out, &view);
    cJSON *tree = read_back(&out);
    assert_string_equal(text_at(tree, "status"), "provisional");
    assert_true(cJSON_IsNull(json_member(json_member(tree, "transition"), "step")));
    assert_true(cJSON_IsNull(json_member(json_member(tree, "rank_agreement"), "at_0")));
    const cJSON *row = cJSON_GetArrayItem(json_member(tree, "ranking"), 7);
    assert_true(cJSON_IsNull(json_member(row, "loss")) && cJSON_IsNull(json_member(row, "tie_group")));
    assert_string_equal(text_at(row, "state"), "diverged");
    assert_true(number_at(row, "diverged_step") == 40);
    assert_string_equal(text_at(row, "reason"), "loss is NaN");
    assert_string_equal(cJSON_GetArrayItem(json_member(tree, "warnings"), 0)->valuestring, "the cap came first");
    assert_contains(out.data, "\"same_as\": \"stack\"");
    assert_null(strstr(out.data, "nan"));
    assert_null(strstr(out.data, "inf,"));
    cJSON_Delete(tree);
    buffer_fini(&out);
    finished_fini(&f);
}

static void study_that_has_not_run_lists_pending_candidates(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    struct buffer out;
    assert_ok(resolve_text(DEMO_REQUEST, strlen(DEMO_REQUEST), &spec, &error), &error);
    struct study_view view = {.id = "study_02", .state = STUDY_QUEUED, .reason = "disk full", .spec = &spec,
                              .created_ms = 1763820000123};
    buffer_init(&out);
    response_study(&out, &view);
    cJSON *tree = read_back(&out);
    assert_string_equal(text_at(tree, "reason"), "disk full");
    assert_true(cJSON_IsNull(json_member(tree, "status")) && cJSON_IsNull(json_member(tree, "k")));
    assert_true(cJSON_IsNull(json_member(tree, "choice")) && cJSON_IsNull(json_member(tree, "transition")));
    const cJSON *ranking = json_member(tree, "ranking");
    assert_int_equal(cJSON_GetArraySize(ranking), 8);
    assert_string_equal(text_at(cJSON_GetArrayItem(ranking, 0), "state"), "pending");
    assert_true(cJSON_IsNull(json_member(cJSON_GetArrayItem(ranking, 0), "rank")));
    cJSON_Delete(tree);
    buffer_fini(&out);
    buffer_init(&out);
    response_study_line(&out, &view);
    tree = read_back(&out);
    assert_string_equal(text_at(tree, "created"), "2025-11-22T14:00:00.123Z");
    assert_true(cJSON_IsNull(json_member(tree, "ended")) && cJSON_IsNull(json_member(tree, "choice")));
    cJSON_Delete(tree);
    buffer_fini(&out);
    study_spec_fini(&spec);
}

static void numbers_print_shortest_and_read_back_the_same(void **state)
{
    (void)state;
    static const struct { double value; const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "0"},
                 {0.1, "0.1"},
                 {1e-8, "1e-08"},
                 {659, "659"},
                 {1.0 / 3, "0.3333333333333333"},
                 {-2.5, "-2.5"},
                 {123456789012345.0, "123456789012345"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {NAN, "null"},
                 {INFINITY, "null"},
                 {5e-324, "4.94065645841247e-324"}};
    char text[NUMBER_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        number_text(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
    }
    double value = 1;
    for (int i = 0; i < 2000; i++) {
        value = fmod(value * 1.37 + 0.001 * i, 1e3) * pow(10, i % 40 - 20);
        number_text(value, text);
        assert_true(strtod(text, NULL) == value);
        if (value > 1e100 || value < 1e-100) value = 1.5;
    }
}

static void curves_csv_has_one_line_per_point(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    f.study.candidates[0].curve.points[1].raw_loss = NAN;
    int points = 0, lines = 0;
    for (int i = 0; i < 8; i++) points += f.study.candidates[i].curve.count;
    buffer_init(&out);
    response_curves_csv(&out, &f.study);
    for (const char *c = out.data; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, points + 1);
    static const char head[] =
        "candidate,seed,step,tokens,flops,loss,standard_error,raw_loss,learning_rate\nstack,1,0,0,0,2.81";
    assert_memory_equal(out.data, head, sizeof head - 1);
    assert_contains(out.data, ",0.011,,0.001\n");    /* a missing number is an empty field */
    assert_contains(out.data, "\nmiddle by one,1,4,3072,");
    buffer_fini(&out);
    /* a name that needs quoting can't come from a request, but a writer must not rely on it */
    snprintf(f.spec.candidates[0].name, SPEC_NAME_MAX + 1, "a,\"b\"");
    buffer_init(&out);
    response_curves_csv(&out, &f.study);
    assert_contains(out.data, "\n\"a,\"\"b\"\"\",1,0,0,0,");
    buffer_fini(&out);
    finished_fini(&f);
}

static void curves_json_has_blocks_of_integers(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    float *losses = f.study.candidates[0].curve.points[0].losses;
    for (int i = 0; i < FIXTURE_WINDOWS; i++) losses[i] = (float)i;
    f.study.candidates[0].curve.points[1].losses[0] = NAN;
    buffer_init(&out);
    response_curves_json(&out, &f.study);
    cJSON *tree = read_back(&out);
    assert_true(number_at(tree, "windows") == FIXTURE_WINDOWS && number_at(tree, "blocks") == 32);
    const cJSON *first = cJSON_GetArrayItem(json_member(tree, "candidates"), 0), *points = json_member(first, "points");
    assert_string_equal(text_at(first, "candidate"), "stack");
    assert_int_equal(cJSON_GetArraySize(points), f.study.candidates[0].curve.count);
    const cJSON *blocks = json_member(cJSON_GetArrayItem(points, 0), "blocks");
    assert_int_equal(cJSON_GetArraySize(blocks), 32);
    /* 40 windows in 32 blocks: block 3 has windows 3 and 4, block 31 has 38 and 39 */
    assert_true(cJSON_GetArrayItem(blocks, 0)->valuedouble == 0
                && cJSON_GetArrayItem(blocks, 3)->valuedouble == 350000);
    assert_true(cJSON_GetArrayItem(blocks, 31)->valuedouble == 3850000);
    assert_true(cJSON_IsNull(cJSON_GetArrayItem(json_member(cJSON_GetArrayItem(points, 1), "blocks"), 0)));
    cJSON_Delete(tree);
    buffer_fini(&out);
    finished_fini(&f);
}

static void problem_has_every_member(void **state)
{
    (void)state;
    static const char *const members[] = {"type", "title", "status", "detail", "instance", "request_id", "errors"};
    struct error error = {0};
    struct buffer out;
    error_set_at(&error, ERROR_INVALID, "/training/batch", "batch \"x\" is wrong");
    error_add_detail(&error, "/keep", "so is keep");
    buffer_init(&out);
    response_problem(&out, &error, "/v1/studies", "req_1");
    cJSON *tree = read_back(&out);
    assert_members(tree, members, 7);
    assert_string_equal(text_at(tree, "type"), "urn:lag:error:invalid");
    assert_true(number_at(tree, "status") == 422);
    assert_string_equal(text_at(tree, "detail"), "batch \"x\" is wrong");
    assert_int_equal(cJSON_GetArraySize(json_member(tree, "errors")), 2);
    assert_string_equal(text_at(cJSON_GetArrayItem(json_member(tree, "errors"), 1), "pointer"), "/keep");
    cJSON_Delete(tree);
    buffer_fini(&out);
    for (int code = 1; code < ERROR_CODE_COUNT; code++) {
        error = (struct error){0};
        error_set(&error, (enum error_code)code, "something");
        buffer_init(&out);
        response_problem(&out, &error, NULL, NULL);
        tree = read_back(&out);
        assert_true(number_at(tree, "status") == error_http_status((enum error_code)code));
        assert_string_equal(text_at(tree, "title"), error_title((enum error_code)code));
        assert_int_equal(cJSON_GetArraySize(json_member(tree, "errors")), 0);
        cJSON_Delete(tree);
        buffer_fini(&out);
    }
}

static void events_are_json_objects(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    struct decision decision = {.kind = DECISION_CONTINUE,
                                .step = 230,
                                .agreement = NAN,
                                .best_now = 6,
                                .best_predicted = -1,
                                .knees_passed = true,
                                .reason = "agreement is \"low\""};
    buffer_init(&out);
    response_event_decision(&out, &f.study, &decision);
    cJSON *tree = read_back(&out);
    assert_string_equal(text_at(tree, "decision"), "continue");
    assert_string_equal(text_at(tree, "best_now"), "identity");
    assert_true(cJSON_IsNull(json_member(tree, "best_predicted")) && cJSON_IsNull(json_member(tree, "agreement")));
    assert_true(cJSON_IsTrue(json_member(tree, "knees_passed")) && cJSON_IsFalse(json_member(tree, "holds")));
    cJSON_Delete(tree);
    buffer_fini(&out);
    buffer_init(&out);
    response_event_evaluation(&out, "stack", &f.study.candidates[0].curve.points[2]);
    tree = read_back(&out);
    assert_true(number_at(tree, "step") == (double)f.study.candidates[0].curve.points[2].step);
    assert_true(number_at(tree, "loss") == f.study.candidates[0].curve.points[2].loss);
    cJSON_Delete(tree);
    buffer_fini(&out);
    buffer_init(&out);
    response_event_state(&out, STUDY_CANCELLED, NULL);
    assert_string_equal(out.data, "{\"state\": \"cancelled\", \"reason\": \"\"}");
    buffer_fini(&out);
    finished_fini(&f);
}

static void report_holds_what_the_loader_and_eval_read(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    struct study_view view = finished_view(&f);
    struct candidate_files files = {
        .view = &view, .candidate = 6, .step = 659, .tokens_seen = 507112, .data_cursor = 659};
    buffer_init(&out);
    response_candidate_report(&out, &files);
    cJSON *tree = read_back(&out);
    const cJSON *training = json_member(tree, "training"), *data = json_member(tree, "data");
    assert_true(number_at(training, "step") == 659 && number_at(training, "tokens_seen") == 507112);
    assert_true(number_at(training, "data_cursor") == 659 && number_at(training, "seed") == 1);
    assert_string_equal(text_at(data, "objective"), "causal");
    assert_string_equal(text_at(data, "format"), "bytes");
    assert_string_equal(text_at(data, "sampler"), "random");
    assert_true(number_at(data, "context") == 64 && number_at(data, "valid_tokens") == 12000);
    assert_string_equal(text_at(tree, "candidate"), "identity");
    assert_true(cJSON_IsFalse(json_member(tree, "chosen")));
    assert_string_equal(text_at(json_member(tree, "ranking"), "candidate"), "identity");
    cJSON_Delete(tree);
    buffer_fini(&out);
    finished_fini(&f);
}

static void card_escapes_names_and_says_which_model_was_chosen(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    snprintf(f.spec.name, sizeof f.spec.name, "*x* <script>");
    struct study_view view = finished_view(&f);
    struct candidate_files files = {.view = &view, .candidate = 0, .step = 659, .tokens_seen = 1, .data_cursor = 659};
    buffer_init(&out);
    response_candidate_card(&out, &files);
    static const char head[] =
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- lag\n- model-growth\n- gpt2\n---\n";
    assert_memory_equal(out.data, head, sizeof head - 1);
    assert_contains(out.data, "\\*x\\* \\<script\\>");
    assert_contains(out.data, "The study chose this model");
    buffer_fini(&out);
    files.candidate = 1;
    buffer_init(&out);
    response_candidate_card(&out, &files);
    assert_contains(out.data, "The study chose another candidate, \"stack\"");
    buffer_fini(&out);
    finished_fini(&f);
}

/* Steps at 3e10 FLOP/s, evaluations in float32 at 1e10, two workers. */
static double seconds_of(const struct study_spec *spec, const cJSON *tree)
{
    double steps = 0, all = number_at(tree, "flops");
    const cJSON *candidate;
    cJSON_ArrayForEach(candidate, json_member(tree, "candidates"))
        steps += number_at(candidate, "flops_per_token") * spec->training.batch * spec->training.context *
                 (double)spec->selection.max_k;
    assert_true(steps > 0 && steps < all);
    return (steps / 3e10 + (all - steps) / 1e10) / 2;
}

static void dry_run_shows_maps_and_costs(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    struct buffer out;
    struct shape parent = parent_shape();
    assert_ok(resolve_text(DEMO_REQUEST, strlen(DEMO_REQUEST), &spec, &error), &error);
    for (int workers = 1; workers <= 2; workers++) {
        buffer_init(&out);
        struct response_speed speed = {workers == 1 ? 0 : 3e10, workers == 1 ? 0 : 1e10};
        assert_ok(response_validate(&out, &spec, &parent, speed, workers, &error), &error);
        cJSON *tree = read_back(&out);
        const cJSON *map = cJSON_GetArrayItem(json_member(tree, "candidates"), 5);
        assert_string_equal(text_at(map, "candidate"), "map");
        assert_int_equal(cJSON_GetArraySize(json_member(json_member(map, "maps"), "layers")), 6);
        assert_true(cJSON_GetArrayItem(json_member(json_member(map, "maps"), "layers"), 4)->valuedouble == 1);
        struct shape grown = parent;
        grown.layers = 6;
        assert_true(number_at(map, "parameters") == (double)shape_parameters(&grown));
        assert_true(number_at(map, "trial_bytes") > 12 * number_at(map, "parameters"));
        if (workers == 1) assert_true(cJSON_IsNull(json_member(tree, "predicted_seconds")));
        else assert_near(number_at(tree, "predicted_seconds"), seconds_of(&spec, tree), 1e-9);
        cJSON_Delete(tree);
        buffer_fini(&out);
    }
    study_spec_fini(&spec);
}

TEST_MAIN(cmocka_unit_test(finished_study_has_the_contracts_fields_in_order),
          cmocka_unit_test(request_in_the_response_is_the_echo),
          cmocka_unit_test(numbers_that_are_not_there_are_null),
          cmocka_unit_test(study_that_has_not_run_lists_pending_candidates),
          cmocka_unit_test(numbers_print_shortest_and_read_back_the_same),
          cmocka_unit_test(curves_csv_has_one_line_per_point), cmocka_unit_test(curves_json_has_blocks_of_integers),
          cmocka_unit_test(problem_has_every_member), cmocka_unit_test(events_are_json_objects),
          cmocka_unit_test(report_holds_what_the_loader_and_eval_read),
          cmocka_unit_test(card_escapes_names_and_says_which_model_was_chosen),
          cmocka_unit_test(dry_run_shows_maps_and_costs))
