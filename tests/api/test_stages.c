/* Staged requests: what is refused and where, the ordinary requests of the parts, the echo. */
#include "tests/api/fixture.h"

#define HEAD_OF "{\"checkpoint\": \"c\", \"data\": {\"train\": \"d\"}, \"selection\": {\"max_k\": 60}, "
#define TWO "\"stages\": [{\"layers\": 4, \"steps\": 100}, {\"layers\": 6, \"steps\": 200}]"

struct visited { int searches, trainings, layers_from[8], candidates; uint64_t steps[8], max_k[8], warmup[8]; char echo[8192]; };

static struct stages resolved_stages;
static const struct request *resolved_request;

static int visit(void *context, const struct stage_part *part, const struct study_spec *spec, const struct shape *parent,
                 struct error *error)
{
    struct visited *visited = context;
    struct buffer echo;
    if (!part->search) {
        visited->trainings++;
        assert_int_equal(spec->candidate_count, 1);
        assert_int_equal(spec->selection.k, spec->training.steps);
        return 0;
    }
    int at = visited->searches++;
    visited->layers_from[at] = parent->layers;
    visited->steps[at] = spec->training.steps;
    visited->max_k[at] = spec->selection.max_k;
    visited->warmup[at] = spec->training.schedule.warmup_steps;
    visited->candidates = spec->candidate_count;
    if (at == 0) {
        buffer_init(&echo);
        assert_ok(request_staged_echo(resolved_request, &resolved_stages, spec, &echo, error), error);
        snprintf(visited->echo, sizeof visited->echo, "%s", echo.data);
        buffer_fini(&echo);
    }
    return 0;
}

static int resolve(const char *text, struct visited *visited, struct error *error)
{
    struct request_facts facts = parent_facts();
    struct request *request;
    struct stages_visitor visitor = {visit, visited};
    *visited = (struct visited){0};
    if (request_new(&request, text, strlen(text), error))
        return (int)error->code;
    resolved_request = request;
    request_resolve_stages(request, &facts, &resolved_stages, &visitor, error);
    request_free(request);
    return (int)error->code;
}

static const struct { const char *request, *pointer, *words; } REFUSALS[] = {
    {HEAD_OF "\"stages\": [{\"layers\": 4}]}", "/stages/0/steps", "steps is missing"},
    {HEAD_OF "\"stages\": [{\"steps\": 4}]}", "/stages/0/layers", "layers is missing"},
    {HEAD_OF "\"stages\": []}", "/stages", "from 1 to 16 elements, not 0"},
    {HEAD_OF "\"stages\": 3}", "/stages", "stages must be a list, not an integer"},
    {HEAD_OF "\"stages\": [{\"layers\": 0, \"steps\": 5}]}", "/stages/0/layers", "must be from 1"},
    {HEAD_OF "\"stages\": [{\"layers\": 4, \"steps\": 0}]}", "/stages/0/steps", "must be from 1"},
    {HEAD_OF "\"stages\": [{\"layer\": 4, \"steps\": 9}]}", "/stages/0/layer", "did you mean \"layers\"?"},
    {HEAD_OF "\"stages\": [{\"layers\": 6, \"steps\": 90}, {\"layers\": 6, \"steps\": 90}]}", "/stages/1/layers",
     "above the one before, 6; the nearest valid value is 7"},
    {HEAD_OF "\"stages\": [{\"layers\": 3, \"steps\": 90}]}", "/stages/0/layers", "above the checkpoint's 3 layers"},
    {HEAD_OF TWO ", \"prop_alpha\": 1}", "/prop_alpha", "but 2 of them say their steps"},
    {HEAD_OF TWO ", \"prop_alpha\": 9}", "/prop_alpha", "must be from 0 to 8"},
    {HEAD_OF TWO ", \"training\": {\"steps\": 301}}", "/training/steps", "the stages have 300 together"},
    {HEAD_OF TWO ", \"target\": {\"layers\": 7}}", "/target/layers", "the target asks for 7 layers, the last stage for 6"},
    {HEAD_OF TWO ", \"target\": {\"width\": 128}}", "/target/width", "stages grow in depth"},
    {HEAD_OF TWO ", \"baselines\": [\"midle\"]}", "/baselines/0", "did you mean \"middle\"?"},
    {HEAD_OF TWO ", \"baselines\": [\"middle\", \"middle\"]}", "/baselines/1", "named twice"},
    {HEAD_OF TWO ", \"baselines\": [\"stack\"]}", "/baselines/0", "valid: gradual_last, middle"},
    {HEAD_OF "\"target\": {\"layers\": 6}, \"baselines\": [\"middle\"]}", "/baselines", "belongs to a study with stages"},
    {HEAD_OF "\"target\": {\"layers\": 6}, \"prop_alpha\": 1}", "/prop_alpha", "belongs to a study with stages"},
    {HEAD_OF TWO ", \"candidates\": [{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]}", "/candidates/0",
     "stage 1: candidate \"stack-6\" ends with layers 6, the target asks for 4"},
    {HEAD_OF TWO ", \"candidates\": [{\"operators\": [{\"op\": \"solar\"}]}, {\"operators\": [{\"op\": \"stakc\"}]}]}",
     "/candidates/1/operators/0/op", "did you mean \"stack\"?"},
    {HEAD_OF TWO ", \"candidates\": [{\"name\": \"stage-1\", \"operators\": [{\"op\": \"stack\"}]}]}", "/candidates/0/name",
     "names the winner of stage N"},
    {HEAD_OF TWO ", \"candidates\": [{\"operators\": [{\"op\": \"stack\"}]}, {\"operators\": [{\"op\": \"stack\"},"
     " {\"op\": \"hyperclone\", \"width\": 128}]}]}", "/candidates/1", "ends in another shape than \"stack-4\""},
    {HEAD_OF "\"stages\": [{\"layers\": 4, \"steps\": 20}]}", "/selection/max_k", "stage 1:"},
    {"{\"checkpoint\": \"c\", \"data\": {\"train\": \"d\"}, \"selection\": {\"k\": 150}, " TWO "}", "/selection/k",
     "stage 1: k must be from 1 to training.steps, 100"},
};

static void wrong_stages_are_refused_by_pointer_and_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof REFUSALS[0]; i++) {
        struct error error = {0};
        struct visited visited;
        bool found = false;
        int code = resolve(REFUSALS[i].request, &visited, &error);
        for (int d = 0; d < error.detail_count; d++)
            found |= !strcmp(error.details[d].pointer, REFUSALS[i].pointer) && strstr(error.details[d].text, REFUSALS[i].words);
        if (code != ERROR_INVALID || !found) {
            print_error("%s\n  gives %d %s", REFUSALS[i].request, code, error.message);
            for (int d = 0; d < error.detail_count; d++)
                print_error("\n  %s: %s", error.details[d].pointer, error.details[d].text);
            fail_msg("case %zu", i);
        }
    }
}

static void seventeen_stages_are_too_many(void **state)
{
    (void)state;
    struct buffer text;
    struct error error = {0};
    struct visited visited;
    buffer_init(&text);
    buffer_text(&text, HEAD_OF "\"stages\": [");
    for (int i = 0; i < 17; i++)
        buffer_format(&text, "%s{\"layers\": %d, \"steps\": 100}", i ? ", " : "", i + 4);
    buffer_text(&text, "]}");
    assert_int_equal(resolve(text.data, &visited, &error), ERROR_INVALID);
    assert_string_equal(error.details[0].pointer, "/stages");
    assert_non_null(strstr(error.message, "from 1 to 16 elements, not 17"));
    buffer_fini(&text);
}

static void every_stage_has_defaults_of_its_own(void **state)
{
    (void)state;
    struct error error = {0};
    struct visited visited;
    assert_ok(resolve("{\"checkpoint\": \"c\", \"data\": {\"train\": \"d\"}, \"training\": {\"steps\": 50000},"
                      " \"prop_alpha\": 1,"
                      " \"stages\": [{\"layers\": 4}, {\"layers\": 5}, {\"layers\": 6}, {\"layers\": 8}]}", &visited, &error),
              &error);
    static const uint64_t steps[] = {5000, 10000, 15000, 20000};
    static const int from[] = {3, 4, 5, 6};
    assert_int_equal(visited.searches, 4);
    for (int j = 0; j < 4; j++) {
        assert_int_equal(visited.steps[j], steps[j]);
        assert_int_equal(visited.layers_from[j], from[j]);
        assert_int_equal(visited.max_k[j], 1000);
        assert_int_equal(visited.warmup[j], 100);
    }
    assert_true(visited.candidates > 4);
}

static void templates_get_the_stages_depth(void **state)
{
    (void)state;
    struct error error = {0};
    struct visited visited;
    assert_ok(resolve(HEAD_OF TWO ", \"baselines\": [\"middle\", \"gradual_last\"], \"candidates\": [{\"name\": \"s\","
                      " \"operators\":"
                      " [{\"op\": \"stack\"}]}, {\"operators\": [{\"op\": \"middle\", \"block\": 1}], \"moments\": \"carry\"}]}",
                      &visited, &error), &error);
    assert_int_equal(visited.searches, 2);
    assert_int_equal(visited.trainings, 4);
    assert_int_equal(visited.candidates, 2);
    assert_int_equal(visited.max_k[0], 60);
    assert_string_equal(resolved_stages.baselines[0], "middle");
}

static void the_echo_sent_again_is_the_same_study(void **state)
{
    (void)state;
    static const char *const requests[] = {
        HEAD_OF TWO ", \"baselines\": [\"middle\"]}",
        "{\"checkpoint\": \"c\", \"data\": {\"train\": \"d\"}, \"training\": {\"steps\": 900}, \"prop_alpha\": 2,"
        " \"max_candidates\": 5,"
        " \"stages\": [{\"layers\": 4}, {\"layers\": 5}], \"keep\": \"all\"}",
        HEAD_OF TWO ", \"candidates\": [{\"name\": \"s\", \"operators\": [{\"op\": \"stack\"}]}]}",
    };
    for (int i = 0; i < 3; i++) {
        struct error error = {0};
        struct visited once, again;
        assert_ok(resolve(requests[i], &once, &error), &error);
        assert_ok(resolve(once.echo, &again, &error), &error);
        assert_string_equal(once.echo, again.echo);
        assert_memory_equal(once.steps, again.steps, sizeof once.steps);
        assert_memory_equal(once.max_k, again.max_k, sizeof once.max_k);
        assert_memory_equal(once.warmup, again.warmup, sizeof once.warmup);
    }
}

static void every_failed_allocation_is_survived(void **state)
{
    (void)state;
    struct visited visited;
    for (int64_t n = 1;; n++) {
        struct error error = {0};
        struct request *request = NULL;
        struct request_facts facts = parent_facts();
        static const char text[] =
            HEAD_OF TWO ", \"baselines\": [\"middle\"], \"candidates\": [{\"operators\": [{\"op\": \"stack\"}]}]}";
        struct stages_visitor visitor = {visit, &visited};
        visited = (struct visited){.searches = 1};         /* no echo: it asserts */
        fault_arm(FAULT_ALLOC, n);
        int code = request_new(&request, text, strlen(text), &error);
        if (code == 0)
            code = request_resolve_stages(request, &facts, &resolved_stages, &visitor, &error);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        request_free(request);
        assert_true(code == 0 || code == ERROR_NO_MEMORY);
        if (crossed < n)
            break;
        assert_int_equal(code, ERROR_NO_MEMORY);
    }
}

TEST_MAIN(cmocka_unit_test(wrong_stages_are_refused_by_pointer_and_words),
          cmocka_unit_test(seventeen_stages_are_too_many),
          cmocka_unit_test(every_stage_has_defaults_of_its_own),
          cmocka_unit_test(templates_get_the_stages_depth),
          cmocka_unit_test(the_echo_sent_again_is_the_same_study),
          cmocka_unit_test(every_failed_allocation_is_survived))
