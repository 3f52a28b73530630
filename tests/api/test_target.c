/* A target: without candidates the design space is enumerated and echoed as candidates; with candidates each must reach
 * it; the dry run shows every candidate's resolved plan. */
#include "tests/api/fixture.h"

#define HEAD "{\"checkpoint\": \"ckpt_1\", \"data\": {\"train\": \"data_1\"}, "

static int resolve_for(const struct shape *parent, const char *text, struct study_spec *spec, struct error *error)
{
    struct request *request;
    struct request_facts facts = parent_facts();
    facts.parent = *parent;
    int code = request_new(&request, text, strlen(text), error);
    if (code) return code;
    code = request_resolve(request, &facts, spec, error);
    request_free(request);
    return code;
}

static struct shape t5_parent(void)
{
    struct shape shape = parent_shape();
    shape.family = FAMILY_T5;
    shape.layers = 2;
    shape.decoder_layers = 3;
    shape.gated = shape.scaled_head = true;
    shape.buckets = 8;
    shape.bucket_distance = 16;
    return shape;
}

static void resolved(const char *text, struct study_spec *spec)
{
    struct error error = {0};
    assert_ok(resolve_text(text, strlen(text), spec, &error), &error);
}

static void a_target_alone_is_a_complete_request(void **state)
{
    struct study_spec spec;
    (void)state;
    resolved(HEAD "\"target\": {\"layers\": 6}}", &spec);
    assert_true(spec.candidate_count > 4 && spec.candidate_count <= 16);
    assert_int_equal(spec.max_candidates, 16);
    assert_string_equal(spec.candidates[0].name, "stack");
    bool random = false;
    for (int i = 0; i < spec.candidate_count; i++) {
        random = random || !strcmp(spec.candidates[i].name, "random");
        assert_int_equal(spec.candidates[i].moments, MOMENTS_RESET);
    }
    assert_true(random);
    study_spec_fini(&spec);
}

static void max_candidates_cuts(void **state)
{
    struct study_spec spec;
    (void)state;
    resolved(HEAD "\"target\": {\"layers\": 6, \"width\": 128}, \"max_candidates\": 5}", &spec);
    assert_int_equal(spec.candidate_count, 5);
    assert_string_equal(spec.candidates[0].name, "hyperclone-stack");
    study_spec_fini(&spec);
}

/* What is stored is read again after a crash: it must give the same study, whatever the table of operators becomes. */
static void the_echo_lists_what_was_found_and_reads_back_the_same(void **state)
{
    struct study_spec spec, again;
    struct error error = {0};
    (void)state;
    resolved(HEAD "\"target\": {\"layers\": 4, \"width\": 128}, \"max_candidates\": 7}", &spec);
    char *text = echo_text(&spec);
    assert_non_null(strstr(text, "\"max_candidates\": 7"));
    assert_ok(resolve_text(text, strlen(text), &again, &error), &error);
    char *second = echo_text(&again);
    assert_string_equal(text, second);
    memory_free(text);
    memory_free(second);
    study_spec_fini(&spec);
    study_spec_fini(&again);
}

static void listed_candidates_echo_no_max_candidates(void **state)
{
    struct study_spec spec;
    (void)state;
    resolved(HEAD "\"target\": {\"layers\": 6}, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]}",
             &spec);
    char *text = echo_text(&spec);
    assert_null(strstr(text, "max_candidates"));
    memory_free(text);
    study_spec_fini(&spec);
}

/* ---- the dry run ---- */

static void validate_shows_every_candidates_resolved_plan(void **state)
{
    struct study_spec spec;
    struct error error = {0};
    struct shape parent = parent_shape();
    struct buffer out;
    (void)state;
    resolved(HEAD "\"target\": {\"layers\": 6, \"width\": 128}}", &spec);
    buffer_init(&out);
    assert_ok(response_validate(&out, &spec, &parent, (struct response_speed){1e9, 1e9}, 2, &error), &error);
    cJSON *tree = cJSON_Parse(out.data);
    assert_non_null(tree);
    cJSON *list = cJSON_GetObjectItem(tree, "candidates"), *candidate;
    assert_int_equal(cJSON_GetArraySize(list), spec.candidate_count);
    cJSON_ArrayForEach(candidate, list) {
        cJSON *maps = cJSON_GetObjectItem(candidate, "maps"), *width = cJSON_GetObjectItem(maps, "width");
        assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(maps, "layers")), 6);
        assert_int_equal(cJSON_GetObjectItem(width, "from")->valueint, 64);
        assert_int_equal(cJSON_GetObjectItem(width, "to")->valueint, 128);
        assert_true(cJSON_GetObjectItem(candidate, "parameters")->valuedouble > 1e6);
        assert_true(cJSON_GetObjectItem(candidate, "flops_per_token")->valuedouble > 6e6);
        assert_true(cJSON_GetObjectItem(candidate, "trial_bytes")->valuedouble > 12e6);
    }
    cJSON_Delete(tree);
    buffer_fini(&out);
    study_spec_fini(&spec);
}

/* ---- refusals ---- */

struct refusal { const char *text, *pointer, *says; bool t5; };

static const struct refusal REFUSALS[] = {
    {HEAD "\"target\": {\"width\": 72}}", "/target/width", "nearest reachable: 64", false},
    {HEAD "\"target\": {\"layers\": 2}}", "/target/layers", "nearest reachable: 3", false},
    {HEAD "\"target\": {\"layers\": 3}}", "/target", "already", false},
    {HEAD "\"target\": {\"width\": 128, \"heads\": 5}}", "/target/heads", "nearest reachable: 8", false},
    {HEAD "\"target\": {\"layers\": 6}, \"max_candidates\": 0}", "/max_candidates", "from 1 to 64", false},
    {HEAD "\"target\": {}}", "/candidates", "at least one candidate", false},
    {HEAD "\"max_candidates\": 1, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, "
     "{\"operators\": [{\"op\": \"interleave\", \"layers\": 6}]}]}", "/max_candidates", "leave it out", false},
    {HEAD "\"target\": {\"layers\": 6, \"ff\": 512}, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]}",
     "/candidates/0", "ends with ff 256, the target asks for 512", false},
    {HEAD "\"target\": {\"heads\": 8}, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]}",
     "/candidates/0", "ends with heads 4, the target asks for 8", false},
    {HEAD "\"target\": {\"context\": 128}, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]}",
     "/candidates/0", "ends with context 64, the target asks for 128", false},
    {HEAD "\"target\": {\"width\": 128}, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]}",
     "/candidates/0", "ends with width 64, the target asks for 128", false},
    {HEAD "\"target\": {\"layers\": 6}, \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"encoder_layers\": 6}]}]}",
     "/candidates/0", "ends with decoder layers 3, the target asks for 6", true},
};

/* Positions that only the grown models have are trained. */
static void context_may_be_all_that_every_candidate_has(void **state)
{
    struct study_spec spec;
    (void)state;
    resolved(HEAD "\"target\": {\"context\": 96, \"layers\": 4}, \"training\": {\"context\": 96}}", &spec);
    assert_int_equal(spec.training.context, 96);
    assert_true(spec.candidate_count > 4);
    study_spec_fini(&spec);
    resolved(HEAD "\"target\": {\"context\": 96}}", &spec);
    assert_int_equal(spec.training.context, 64);        /* the default stays what the parent has */
    study_spec_fini(&spec);
}

static void wrong_targets_name_field_and_nearest(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        const struct refusal *refusal = &REFUSALS[i];
        struct shape parent = refusal->t5 ? t5_parent() : parent_shape();
        struct study_spec spec;
        struct error error = {0};
        char text[1024];
        snprintf(text, sizeof text, "%.*s, \"data\": {\"train\": \"data_1\"%s}%s", (int)strlen("{\"checkpoint\": \"ckpt_1\""),
                 refusal->text, refusal->t5 ? ", \"pad_token\": 0, \"eos_token\": 1, \"sentinel_first\": 255, "
                 "\"sentinel_count\": 100" : "", refusal->text + strlen("{\"checkpoint\": \"ckpt_1\", \"data\": {\"train\": "
                 "\"data_1\"}"));
        assert_int_equal(resolve_for(&parent, text, &spec, &error), ERROR_INVALID);
        bool found = false;
        for (int d = 0; d < error.detail_count; d++)
            found = found || (!strcmp(error.details[d].pointer, refusal->pointer)
                              && strstr(error.details[d].text, refusal->says));
        if (!found)
            fail_msg("row %zu: %s at %s", i, error.message, error.detail_count ? error.details[0].pointer : "nowhere");
    }
}

static void a_depth_target_reaches_both_stacks_of_t5(void **state)
{
    struct shape parent = t5_parent();
    struct study_spec spec;
    struct error error = {0};
    (void)state;
    assert_ok(resolve_for(&parent, "{\"checkpoint\": \"ckpt_1\", \"data\": {\"train\": \"data_1\", \"pad_token\": 0, "
                          "\"eos_token\": 1, \"sentinel_first\": 255, \"sentinel_count\": 100}, \"target\": {\"layers\": 6}}",
                          &spec, &error), &error);
    assert_true(spec.candidate_count > 3);
    study_spec_fini(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_target_alone_is_a_complete_request),
        cmocka_unit_test(max_candidates_cuts),
        cmocka_unit_test(the_echo_lists_what_was_found_and_reads_back_the_same),
        cmocka_unit_test(listed_candidates_echo_no_max_candidates),
        cmocka_unit_test(validate_shows_every_candidates_resolved_plan),
        cmocka_unit_test(context_may_be_all_that_every_candidate_has),
        cmocka_unit_test(wrong_targets_name_field_and_nearest),
        cmocka_unit_test(a_depth_target_reaches_both_stacks_of_t5),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
