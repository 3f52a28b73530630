/* Requests: what is refused, where and with which words; what is accepted; defaults; the echo. */
#include "tests/api/fixture.h"

#include "api/request_parts.h"

/* Every case stands in a whole request: HEAD, the case's members, TAIL. */
#define HEAD "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, "
#define ONE "\"candidates\": [{\"name\": \"a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"
#define CANDIDATES(list) HEAD "\"candidates\": " list "}"
#define OPERATORS(list) CANDIDATES("[{\"operators\": " list "}]")
#define TRAINING(members) HEAD ONE ", \"training\": {" members "}}"
#define SELECTION(members) HEAD ONE ", \"selection\": {" members "}}"
#define DATA(members) "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\", " members "}, " ONE "}"
#define TOP(members) HEAD ONE ", " members "}"

struct refusal { const char *request, *pointer, *words; };
static const struct refusal REFUSALS[] = {
    /* unknown fields, with a guess where one is close */
    {TOP("\"color\": 1"), "/color", "unknown field \"color\"; leave it out or use one of: name, checkpoint"},
    {TOP("\"selecton\": {}"), "/selecton", "did you mean \"selection\"?"},
    {TRAINING("\"learning_rat\": 1"), "/training/learning_rat", "did you mean \"learning_rate\"?"},
    {TRAINING("\"lr\": 1"), "/training/lr", "unknown field \"lr\""},
    {DATA("\"vaild\": \"v\""), "/data/vaild", "did you mean \"valid\"?"},
    {SELECTION("\"k_max\": 7"), "/selection/k_max", "unknown field"},
    {TOP("\"a/b~c\": 1"), "/a~1b~0c", "unknown field \"a/b~c\""},
    {TOP("\"data/train\": 1"), "/data~1train", "unknown field"},
    {TOP("\"bell\\u0007\": 1"), "/bell\a", "unknown field \"bell?\""},
    {CANDIDATES("[{\"names\": \"x\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/names",
     "did you mean \"name\"?"},
    /* types */
    {"[]", "", "a study must be a JSON object, not a list"},
    {"3", "", "not an integer"},
    {TRAINING("\"batch\": \"16\""), "/training/batch", "batch must be an integer, not text"},
    {TRAINING("\"batch\": 1.5"), "/training/batch", "batch must be an integer, not a number"},
    {TRAINING("\"batch\": null"), "/training/batch", "not null"},
    {TRAINING("\"clip\": true"), "/training/clip", "clip must be a number, not true or false"},
    {TRAINING("\"optimizer\": \"adamw\""), "/training/optimizer", "an object such as {\"name\": \"adamw\"}, not text"},
    {TOP("\"training\": []"), "/training", "training must be an object, not a list"},
    {TOP("\"name\": 4"), "/name", "name must be text, not an integer"},
    {TOP("\"name\": \"a\\u0001b\""), "/name", "control characters"},
    {SELECTION("\"eliminate\": 0"), "/selection/eliminate", "eliminate must be true or false, not an integer"},
    {SELECTION("\"k\": 1.5"), "/selection/k", "\"auto\" or an integer, not a number"},
    {CANDIDATES("{}"), "/candidates", "candidates must be a list, not an object"},
    {CANDIDATES("[3]"), "/candidates/0", "expected an object, got an integer"},
    {OPERATORS("{}"), "/candidates/0/operators", "operators must be a list of operators"},
    {OPERATORS("[\"stack\"]"), "/candidates/0/operators/0", "expected an object such as {\"op\""},
    /* ranges */
    {TRAINING("\"batch\": 0"), "/training/batch", "must be from 1 to 65536; 0 is out of range, the nearest valid value is 1"},
    {TRAINING("\"batch\": 100000"), "/training/batch", "the nearest valid value is 65536"},
    {TRAINING("\"learning_rate\": 0"), "/training/learning_rate", "must be from 1e-10 to 100"},
    {TRAINING("\"steps\": -5"), "/training/steps", "the nearest valid value is 1"},
    {TRAINING("\"optimizer\": {\"betas\": [0.9]}"), "/training/optimizer/betas", "betas must have 2 numbers, not 1"},
    {TRAINING("\"optimizer\": {\"betas\": [0.9, 1.5]}"), "/training/optimizer/betas/1", "out of range"},
    {TRAINING("\"optimizer\": {\"betas\": [0.9, \"x\"]}"), "/training/optimizer/betas/1", "must be a number, not text"},
    {TRAINING("\"optimizer\": {\"epsilon\": -1}"), "/training/optimizer/epsilon", "must be from 0 to 1"},
    {SELECTION("\"confidence\": 1"), "/selection/confidence", "the nearest valid value is 0.9999"},
    {SELECTION("\"evaluate_every\": 0"), "/selection/evaluate_every", "must be from 1"},
    {TOP("\"keep\": \"top:0\""), "/keep", "top:N"},
    {TOP("\"keep\": \"top:65\""), "/keep", "from 1 to 64"},
    {TOP("\"keep\": \"best\""), "/keep", "keep can't be \"best\""},
    {TOP("\"name\": \"\""), "/name", "name must not be empty"},
    {OPERATORS("[]"), "/candidates/0/operators", "from 1 to 32 elements, not 0"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": 0}]"), "/candidates/0/operators/0/layers", "must be from 1 to"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": 6, \"noise\": 2}]"), "/candidates/0/operators/0/noise", "from 0 to 1"},
    /* choices */
    {DATA("\"format\": \"u8\""), "/data/format", "valid: auto, bytes, u16"},
    {DATA("\"sampler\": \"randm\""), "/data/sampler", "did you mean \"random\"?"},
    {SELECTION("\"k\": \"atuo\""), "/selection/k", "did you mean \"auto\"?"},
    {SELECTION("\"rank_by\": \"luck\""), "/selection/rank_by", "valid: loss, predicted"},
    {TRAINING("\"average\": {\"kind\": \"mean\"}"), "/training/average/kind", "valid: none, window, ema"},
    {TRAINING("\"optimizer\": {\"name\": \"adam\"}"), "/training/optimizer/name", "did you mean \"adamw\"?"},
    {TRAINING("\"optimizer\": {\"name\": 3}"), "/training/optimizer/name", "name must be text, not an integer"},
    {TRAINING("\"schedule\": {\"name\": \"step\"}"), "/training/schedule/name", "use one of: constant, wsd"},
    {CANDIDATES("[{\"operators\": [{\"op\": \"stack\", \"layers\": 6}], \"moments\": \"keep\"}]"), "/candidates/0/moments",
     "valid: reset, carry, old_only"},
    {OPERATORS("[{\"op\": \"stak\", \"layers\": 6}]"), "/candidates/0/operators/0/op", "did you mean \"stack\"?"},
    {OPERATORS("[{\"op\": \"magic\"}]"), "/candidates/0/operators/0/op", "unknown operator \"magic\"; use one of: stack"},
    {OPERATORS("[{\"op\": 3}]"), "/candidates/0/operators/0/op", "op must be text"},
    {OPERATORS("[{\"layers\": 6}]"), "/candidates/0/operators/0/op", "op is missing"},
    {OPERATORS("[{\"op\": \"stack\"}]"), "/candidates/0/operators/0/layers", "stack needs layers"},
    {OPERATORS("[{\"op\": \"stack\", \"layer\": 6}]"), "/candidates/0/operators/0/layer", "did you mean \"layers\"?"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": \"6\"}]"), "/candidates/0/operators/0/layers", "must be an integer, not text"},
    {OPERATORS("[{\"op\": \"layer_map\", \"map\": [0, \"x\"]}]"), "/candidates/0/operators/0/map/1", "an integer or null"},
    {OPERATORS("[{\"op\": \"layer_map\", \"map\": []}]"), "/candidates/0/operators/0/map", "from 1 to"},
    {OPERATORS("[{\"op\": \"layer_map\", \"slices\": [[0, 3], [1]]}]"), "/candidates/0/operators/0/slices/1", "a pair"},
    {OPERATORS("[{\"op\": \"identity\", \"layers\": 6, \"placement\": \"bottom\"}]"),
     "/candidates/0/operators/0/placement", "valid: interleaved, top"},
    /* missing */
    {"{\"data\": {\"train\": \"t\"}, " ONE "}", "/checkpoint", "checkpoint is missing"},
    {"{\"checkpoint\": \"c\", " ONE "}", "/data/train", "train is missing"},
    {HEAD "\"name\": \"x\"}", "/candidates", "at least one candidate"},
    {CANDIDATES("[]"), "/candidates", "from 1 to 64 elements, not 0"},
    {CANDIDATES("[{\"name\": \"a\"}]"), "/candidates/0/operators", "operators is missing"},
    {HEAD "\"target\": {\"layers\": 6}}", "/candidates", "later release; list the candidates"},
    /* names */
    {CANDIDATES("[{\"name\": \"a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, {\"name\": \"a\", \"operators\": "
                "[{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/1/name", "already that of /candidates/0"},
    {CANDIDATES("[{\"name\": \".a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name",
     "can't be a candidate's name"},
    {CANDIDATES("[{\"name\": \"a \", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name", "name"},
    {CANDIDATES("[{\"name\": \"../x\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name", "name"},
    {CANDIDATES("[{\"name\": \"a/b\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name", "name"},
    {CANDIDATES("[{\"name\": \"é\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name", "name"},
    /* across fields */
    {TRAINING("\"context\": 65"), "/training/context", "longer than the checkpoint's 64 positions; use at most 64"},
    {TRAINING("\"steps\": 100, \"schedule\": {\"warmup_steps\": 101}"), "/training/schedule/warmup_steps",
     "use at most 100"},
    {TRAINING("\"steps\": 100, \"schedule\": {\"name\": \"wsd\", \"warmup_steps\": 40, \"decay_steps\": 61}"),
     "/training/schedule/decay_steps", "use at most 60"},
    {TRAINING("\"schedule\": {\"decay_steps\": 61}"), "/training/schedule/decay_steps", "belongs to the schedule wsd"},
    {TRAINING("\"average\": {\"kind\": \"ema\", \"fraction\": 0.2}"), "/training/average/fraction", "belongs to the kind window"},
    {TRAINING("\"average\": {\"decay\": 0.9}"), "/training/average/decay", "belongs to the kind ema"},
    {SELECTION("\"k\": 20001"), "/selection/k", "the nearest valid value is 20000"},
    {SELECTION("\"k\": 500, \"max_k\": 600"), "/selection/max_k", "\"auto\" only"},
    {SELECTION("\"max_k\": 199"), "/selection/max_k", "raise max_k to 200 or more, shorten training.schedule.warmup_steps"},
    {SELECTION("\"max_k\": 20001"), "/selection/max_k", "the nearest valid value is 20000"},
    {TRAINING("\"steps\": 20"), "/selection/max_k", "raise max_k and training.steps to 50 or more, or give k as a number"},
    /* plans: the growth room's own words, under the candidate's pointer */
    {CANDIDATES("[{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, {\"operators\": [{\"op\": \"stack\", \"layers\": 2}]}]"),
     "/candidates/1/operators/0/layers", "3"},
    {OPERATORS("[{\"op\": \"hyperclone\", \"width\": 100}]"), "/candidates/0/operators/0/width", "64"},
    {OPERATORS("[{\"op\": \"layer_map\", \"map\": [0, 1, 2, 3]}]"), "/candidates/0/operators/0/map/3", "2"},
    {TOP("\"target\": {\"layers\": 7}"), "/candidates/0", "ends with layers 6, the target asks for 7 (+1)"},
    {TOP("\"target\": {\"width\": 128, \"layers\": 6}"), "/candidates/0", "ends with width 64, the target asks for 128"},
    /* later releases */
    {DATA("\"objective\": \"mlm\""), "/data/objective", "arrives in a later release; leave it out or use \"causal\""},
    {DATA("\"mask_token\": 3"), "/data/mask_token", "arrives in a later release; leave it out"},
    {DATA("\"special_tokens\": [3]"), "/data/special_tokens", "later release"},
    {DATA("\"mode_tokens\": {}"), "/data/mode_tokens", "later release"},
    {TRAINING("\"optimizer\": {\"name\": \"sgd\"}"), "/training/optimizer/name", "sgd arrives in a later release; use one of: adamw"},
    {TRAINING("\"optimizer\": {\"name\": \"schedule_free_adamw\"}"), "/training/optimizer/name", "later release"},
    {TRAINING("\"optimizer\": {\"momentum\": 0.9}"), "/training/optimizer/momentum", "later release"},
    {TRAINING("\"optimizer\": {\"decoupling\": 100}"), "/training/optimizer/decoupling", "later release"},
    {TRAINING("\"schedule\": {\"name\": \"cosine\"}"), "/training/schedule/name", "use one of: constant, wsd"},
    {TRAINING("\"schedule\": {\"a\": 4.6}"), "/training/schedule/a", "later release"},
    {TRAINING("\"parametrization\": \"mup\""), "/training/parametrization", "leave it out or use \"standard\""},
    {TRAINING("\"learners\": 2"), "/training/learners", "leave it out or use 1"},
    {TRAINING("\"learners_mode\": \"gradients\""), "/training/learners_mode", "later release"},
    {TRAINING("\"average_every\": 10"), "/training/average_every", "later release"},
    {TRAINING("\"outer\": {\"name\": \"nesterov\"}"), "/training/outer/name", "later release"},
    {TRAINING("\"batch_growth\": 2"), "/training/batch_growth", "later release"},
    {TRAINING("\"recompute\": true"), "/training/recompute", "leave it out or use false"},
    {TRAINING("\"compute\": \"bf16\""), "/training/compute", "leave it out or use \"f32\""},
    {SELECTION("\"compare\": \"flops\""), "/selection/compare", "later release"},
    {SELECTION("\"eliminate\": true"), "/selection/eliminate", "later release"},
    {SELECTION("\"seeds\": 2"), "/selection/seeds", "leave it out or use 1"},
    {TOP("\"landscape\": {\"every\": 10}"), "/landscape", "later release"},
    {TOP("\"stages\": [{\"layers\": 6}]"), "/stages", "later release"},
    {TOP("\"prop_alpha\": 1"), "/prop_alpha", "later release"},
    {TOP("\"max_candidates\": 4"), "/max_candidates", "later release"},
    {OPERATORS("[{\"op\": \"ligo\", \"layers\": 6}]"), "/candidates/0/operators/0/op", "ligo arrives in a later release"},
    {OPERATORS("[{\"op\": \"add_heads\", \"heads\": 6}]"), "/candidates/0/operators/0/op", "later release"},
    /* strict JSON */
    {TRAINING("\"batch\": 4, \"batch\": 5"), "/training/batch", "there twice"},
    {TRAINING("\"batch\": 4, \"\\u0062atch\": 5"), "/training/batch", "there twice"},
    {TRAINING("\"seed\": 9007199254740993"), "/training/seed", "2^53"},
    {TRAINING("\"learning_rate\": 1e999"), "/training/learning_rate", "too large"},
};

static void wrong_requests_are_refused_by_pointer_and_words(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        const struct refusal *r = &REFUSALS[i];
        struct study_spec spec;
        struct error error = {0};
        int code = resolve_text(r->request, strlen(r->request), &spec, &error);
        if (code != ERROR_INVALID) fail_msg("%s\n gives %d: %s", r->request, code, error.message);
        assert_int_equal(error.code, ERROR_INVALID);
        if (error.detail_count < 1 || strcmp(error.details[0].pointer, r->pointer))
            fail_msg("%s\n points at %s: %s", r->request, error.details[0].pointer, error.message);
        if (!strstr(error.message, r->words)) fail_msg("%s\n says: %s", r->request, error.message);
    }
}

static void text_that_is_not_json_is_a_syntax_error_with_its_offset(void **state)
{
    (void)state;
    static const char *const texts[] = {"", " ", "{", "{\"a\"}", "{'a': 1}", "{\"name\": 01}", "{\"name\": \"a\tb\"}", "nul",
        "{\"name\": \"\\ud800\"}", "{} x", "\xEF\xBB\xBF{}", "{\"name\": NaN}", "{\"name\": \"a\\u0000b\"}",
        "{\"name\": \"\xFF\"}", "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct request *request;
        struct error error = {0};
        int code = request_new(&request, texts[i], strlen(texts[i]), &error);
        if (code != ERROR_SYNTAX) fail_msg("%s\n gives %d: %s", texts[i], code, error.message);
        if (!strstr(error.message, "byte")) fail_msg("%s\n says: %s", texts[i], error.message);
        assert_null(request);
    }
}

static void a_text_over_the_limit_is_too_large(void **state)
{
    (void)state;
    char *text = memory_new(SPEC_JSON_BYTES_MAX + 2);
    struct request *request;
    struct error error = {0};
    assert_non_null(text);
    memset(text, ' ', SPEC_JSON_BYTES_MAX + 1);
    assert_fails(request_new(&request, text, SPEC_JSON_BYTES_MAX + 1, &error), ERROR_TOO_LARGE, &error);
    assert_contains(error.message, "1048576");
    memory_free(text);
}

static void several_mistakes_are_named_in_one_answer(void **state)
{
    (void)state;
    static const char text[] = HEAD ONE ", \"colour\": 1, \"training\": {\"batch\": 0, \"clip\": \"x\"}, \"keep\": \"none\", "
        "\"selection\": {\"seeds\": 3, \"raw_share\": 2}}";
    static const char *const pointers[] = {"/colour", "/training/batch", "/training/clip", "/keep", "/selection/seeds"};
    struct study_spec spec;
    struct error error = {0};
    assert_fails(resolve_text(text, strlen(text), &spec, &error), ERROR_INVALID, &error);
    assert_int_equal(error.detail_count, ERROR_DETAILS_MAX);
    for (int i = 0; i < ERROR_DETAILS_MAX; i++) assert_string_equal(error.details[i].pointer, pointers[i]);
}

static void too_many_candidates_and_operators_are_refused(void **state)
{
    (void)state;
    for (int operators = 0; operators < 2; operators++) {
        struct buffer text;
        struct study_spec spec;
        struct error error = {0};
        buffer_init(&text);
        buffer_text(&text, HEAD "\"candidates\": [");
        if (operators) buffer_text(&text, "{\"operators\": [");
        for (int i = 0; i < (operators ? 33 : 65); i++)
            buffer_format(&text, operators ? "%s{\"op\": \"stack\", \"layers\": 6}" :
                          "%s{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}", i ? ", " : "");
        buffer_text(&text, operators ? "]}]}" : "]}");
        assert_fails(resolve_text(text.data, text.length, &spec, &error), ERROR_INVALID, &error);
        assert_string_equal(error.details[0].pointer, operators ? "/candidates/0/operators" : "/candidates");
        assert_contains(error.message, operators ? "from 1 to 32 elements, not 33" : "from 1 to 64 elements, not 65");
        buffer_fini(&text);
    }
}

/* ---- what is accepted ---- */

static const char EVERYTHING[] =
    "{\"name\": \"all of it\", \"checkpoint\": \"c\", \"data\": {\"train\": \"t\", \"valid\": \"v\", \"format\": \"bytes\", "
    "\"objective\": \"causal\", \"sampler\": \"sequential\"}, \"target\": {\"layers\": 6, \"width\": 128, \"heads\": 8, "
    "\"ff\": 512, \"context\": 64}, \"candidates\": [{\"name\": \"both ways-1.0\", \"operators\": [{\"op\": \"hyperclone\", "
    "\"width\": 128, \"layout\": \"diagonal\", \"noise_db\": null, \"seed\": 7}, {\"op\": \"layer_map\", "
    "\"slices\": [[0, 3], [0, 3]], \"noise\": 0.01}], \"moments\": \"old_only\"}], "
    "\"training\": {\"batch\": 4, \"context\": 32, \"steps\": 5000, \"learning_rate\": 0.0005, \"optimizer\": {\"name\": "
    "\"adamw\", \"betas\": [0.8, 0.99], \"epsilon\": 1e-6, \"weight_decay\": 0}, \"schedule\": {\"name\": \"wsd\", "
    "\"warmup_steps\": 30, \"decay_steps\": 700, \"decay_form\": \"sqrt\", \"minimum\": 0.1}, \"clip\": 0, \"seed\": 9, "
    "\"average\": {\"kind\": \"ema\", \"decay\": 0.98}, \"parametrization\": \"standard\", \"width_learning_rate\": "
    "\"given\", \"learners\": 1, \"learners_mode\": \"weights\", \"outer\": {\"name\": \"none\"}, \"recompute\": false, "
    "\"compute\": \"f32\"}, \"selection\": {\"k\": 300, \"max_k\": 300, \"valid_tokens\": 640, \"evaluate_every\": 50, "
    "\"raw_share\": 0.5, \"rank_by\": \"predicted\", \"confidence\": 0.9, \"compare\": \"steps\", \"eliminate\": false, "
    "\"seeds\": 1}, \"keep\": \"winner\"}";

static void every_known_value_reaches_the_spec(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    assert_ok(resolve_text(EVERYTHING, strlen(EVERYTHING), &spec, &error), &error);
    assert_string_equal(spec.name, "all of it");
    assert_string_equal(spec.data.valid, "v");
    assert_int_equal(spec.data.sampler, SAMPLER_SEQUENTIAL);
    assert_int_equal(spec.target.width, 128);
    assert_int_equal(spec.candidate_count, 1);
    assert_string_equal(spec.candidates[0].name, "both ways-1.0");
    assert_int_equal(spec.candidates[0].moments, MOMENTS_OLD_ONLY);
    const struct growth_list *list = &spec.candidates[0].operators;
    assert_int_equal(list->count, 2);
    assert_int_equal(growth_step_value(&list->steps[0], "width")->integer, 128);
    assert_int_equal(growth_step_value(&list->steps[0], "layout")->integer, 1);
    assert_true(growth_step_value(&list->steps[0], "noise_db")->is_null);
    const struct parameter_value *slices = growth_step_value(&list->steps[1], "slices");
    assert_int_equal(slices->list_count, 4);
    assert_int_equal(slices->list[3], 3);
    assert_true(growth_step_value(&list->steps[1], "noise")->number == 0.01);
    const struct training *t = &spec.training;
    assert_int_equal(t->batch, 4);
    assert_int_equal(t->context, 32);
    assert_int_equal(t->steps, 5000);
    assert_true(t->learning_rate == 0.0005 && t->clip == 0 && t->seed == 9 && !t->width_rate_scaled);
    assert_true(t->optimizer.beta1 == 0.8 && t->optimizer.beta2 == 0.99 && t->optimizer.epsilon == 1e-6
                && t->optimizer.weight_decay == 0);
    assert_int_equal(t->schedule.name, SCHEDULE_WSD);
    assert_true(t->schedule.warmup_steps == 30 && t->schedule.decay_steps == 700 && t->schedule.decay_form == DECAY_SQRT
                && t->schedule.minimum == 0.1);
    assert_true(t->average.kind == AVERAGE_EMA && t->average.decay == 0.98);
    const struct spec_selection *s = &spec.selection;
    assert_true(!s->k_auto && s->k == 300 && s->max_k == 300 && s->k_min == 60 && s->valid_tokens == 640);
    assert_true(s->evaluate_every == 50 && s->raw_share == 0.5 && s->rank_by == RANK_BY_PREDICTED && s->confidence == 0.9);
    assert_int_equal(spec.keep, KEEP_WINNER);
    study_spec_fini(&spec);
}

static void absent_fields_get_the_contracts_defaults(void **state)
{
    (void)state;
    static const char text[] = HEAD ONE "}";
    struct study_spec spec;
    struct error error = {0};
    assert_ok(resolve_text(text, strlen(text), &spec, &error), &error);
    const struct training *t = &spec.training;
    const struct spec_selection *s = &spec.selection;
    assert_string_equal(spec.name, "study");
    assert_string_equal(spec.data.valid, "");
    assert_int_equal(spec.data.format, CORPUS_BYTES);
    assert_int_equal(spec.data.sampler, SAMPLER_RANDOM);
    assert_true(t->batch == 16 && t->context == 64 && t->steps == 20000 && t->learning_rate == 2e-3 && t->clip == 1);
    assert_true(t->optimizer.name == OPTIMIZER_ADAMW && t->optimizer.beta1 == 0.9 && t->optimizer.beta2 == 0.95
                && t->optimizer.epsilon == 1e-8 && t->optimizer.weight_decay == 0.1);
    assert_true(t->schedule.name == SCHEDULE_CONSTANT && t->schedule.warmup_steps == 100 && t->seed == 1);
    assert_true(t->average.kind == AVERAGE_WINDOW && t->average.fraction == 0.2 && t->width_rate_scaled);
    assert_true(s->k_auto && s->max_k == 1000 && s->k_min == 200 && s->valid_tokens == 100000 && s->evaluate_every == 0);
    assert_true(s->raw_share == 0.25 && s->confidence == 0.95 && s->rank_by == RANK_BY_LOSS);
    assert_true(spec.keep == KEEP_TOP && spec.keep_top == 3 && spec.candidates[0].moments == MOMENTS_RESET);
    study_spec_fini(&spec);
}

static void defaults_that_follow_from_other_values(void **state)
{
    (void)state;
    static const struct { const char *members; uint64_t warmup, max_k, k_min; } cases[] = {
        {"\"steps\": 1000", 50, 1000, 100}, {"\"steps\": 100000", 100, 5000, 200}, {"\"steps\": 60", 3, 60, 50},
        {"\"steps\": 30000, \"schedule\": {\"warmup_steps\": 400}", 400, 1500, 800},
        {"\"schedule\": {\"warmup_steps\": 0}", 0, 1000, 50},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct study_spec spec;
        struct error error = {0};
        snprintf(text, sizeof text, HEAD ONE ", \"training\": {%s}}", cases[i].members);
        assert_ok(resolve_text(text, strlen(text), &spec, &error), &error);
        assert_int_equal(spec.training.schedule.warmup_steps, cases[i].warmup);
        assert_int_equal(spec.selection.max_k, cases[i].max_k);
        assert_int_equal(spec.selection.k_min, cases[i].k_min);
        study_spec_fini(&spec);
    }
    static const char early[] = SELECTION("\"k\": 10");
    struct study_spec spec;
    struct error error = {0};
    assert_ok(resolve_text(early, strlen(early), &spec, &error), &error);    /* a number may lie before k_min */
    assert_int_equal(spec.selection.max_k, 10);
    study_spec_fini(&spec);
}

static void echo_read_again_gives_the_identical_echo(void **state)
{
    (void)state;
    static const char *const requests[] = {DEMO_REQUEST, EVERYTHING, HEAD ONE "}", SELECTION("\"k\": 700"),
        TRAINING("\"average\": {\"kind\": \"none\"}, \"learning_rate\": 0.00012345678901234567"),
        TOP("\"keep\": \"top:12\", \"name\": \"quote \\\" <&> \\u00e9 \\\\\""), TOP("\"keep\": \"all\"")};
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct study_spec spec, again;
        struct error error = {0};
        assert_ok(resolve_text(requests[i], strlen(requests[i]), &spec, &error), &error);
        char *first = echo_text(&spec);
        assert_ok(resolve_text(first, strlen(first), &again, &error), &error);
        char *second = echo_text(&again);
        assert_string_equal(first, second);
        memory_free(first);
        memory_free(second);
        study_spec_fini(&spec);
        study_spec_fini(&again);
    }
}

/* Every row that is not refused outright appears in the echo of a request that uses everything, or says why not. */
static void echo_shows_every_field_that_applies(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    int count;
    const struct field *rows = field_rows(&count);
    assert_ok(resolve_text(EVERYTHING, strlen(EVERYTHING), &spec, &error), &error);
    char *text = echo_text(&spec);
    for (int i = 0; i < count; i++) {
        char member[80];
        assert_true(strlen(rows[i].summary) > 0);
        if (rows[i].shown && !rows[i].shown(&spec)) continue;
        snprintf(member, sizeof member, "\"%s\": ", field_key(&rows[i]));
        assert_contains(text, member);
    }
    memory_free(text);
    study_spec_fini(&spec);
}

static void every_available_parameter_is_bound_to_a_value(void **state)
{
    (void)state;
    const struct named *const both[] = {&NAMED_OPTIMIZER, &NAMED_SCHEDULE};
    for (int n = 0; n < 2; n++) {
        int count;
        const struct table_row *rows = both[n]->rows(&count);
        for (int i = 0; i < count; i++)
            for (int j = 0; rows[i].available && j < rows[i].parameter_count; j++)
                if (!named_is_bound(both[n], rows[i].parameters[j].name))
                    fail_msg("%s of %s goes nowhere", rows[i].parameters[j].name, rows[i].name);
    }
}

static void candidates_without_names_get_readable_unique_ones(void **state)
{
    (void)state;
    static const char text[] = CANDIDATES("[{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, "
        "{\"operators\": [{\"op\": \"stack\", \"layers\": 6}], \"moments\": \"carry\"}, "
        "{\"operators\": [{\"op\": \"hyperclone\", \"width\": 128}, {\"op\": \"stack\", \"layers\": 6}]}, "
        "{\"name\": \"stack-6-2\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, "
        "{\"operators\": [{\"op\": \"layer_map\", \"map\": [0, 0, 1, 2]}]}]");
    static const char *const names[] = {"stack-6", "stack-6-3", "hyperclone-128-stack-6", "stack-6-2", "layer_map"};
    struct study_spec spec;
    struct error error = {0};
    assert_ok(resolve_text(text, strlen(text), &spec, &error), &error);
    for (int i = 0; i < 5; i++) assert_string_equal(spec.candidates[i].name, names[i]);
    study_spec_fini(&spec);
}

static void data_too_short_for_a_window_is_refused(void **state)
{
    (void)state;
    struct request *request;
    struct study_spec spec;
    struct error error = {0};
    static const char text[] = DATA("\"valid\": \"v\"");
    struct request_facts facts = parent_facts();
    assert_ok(request_new(&request, text, strlen(text), &error), &error);
    assert_int_equal(request_context(request, &facts.parent), 64);
    facts.train_tokens = 64;
    assert_fails(request_resolve(request, &facts, &spec, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/data/train");
    error_clear(&error);
    facts.train_tokens = facts.valid_tokens = 65;
    assert_ok(request_resolve(request, &facts, &spec, &error), &error);
    study_spec_fini(&spec);
    facts.valid_tokens = 64;
    assert_fails(request_resolve(request, &facts, &spec, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/data/valid");
    request_free(request);
}

static void multipart_parts_fill_the_references(void **state)
{
    (void)state;
    struct request *request;
    struct study_spec spec;
    struct error error = {0};
    struct request_facts facts = parent_facts();
    assert_ok(request_new(&request, "{" ONE "}", strlen("{" ONE "}"), &error), &error);
    assert_string_equal(request_checkpoint(request), "");
    assert_string_equal(request_train(request), "");
    assert_int_equal(request_format(request), CORPUS_AUTO);
    assert_ok(request_set_checkpoint(request, "ckpt_9", &error), &error);
    assert_ok(request_set_data(request, "data_8", NULL, &error), &error);
    assert_ok(request_resolve(request, &facts, &spec, &error), &error);
    assert_string_equal(spec.checkpoint, "ckpt_9");
    assert_string_equal(spec.data.train, "data_8");
    assert_string_equal(spec.data.valid, "");
    study_spec_fini(&spec);
    request_free(request);
}

static void parts_are_read_on_their_own(void **state)
{
    (void)state;
    static struct growth_list list;
    struct training training;
    struct spec_data data;
    struct error error = {0};
    struct shape shape = parent_shape();
    static const char operators[] = "[{\"op\": \"middle\", \"layers\": 6, \"block\": 1}]";
    assert_ok(request_operators(operators, strlen(operators), &list, &error), &error);
    assert_string_equal(list.steps[0].op->name, "middle");
    growth_list_fini(&list);
    assert_fails(request_operators("{}", 2, &list, &error), ERROR_INVALID, &error);
    error_clear(&error);
    static const char steps[] = "{\"steps\": 400, \"batch\": 3}";
    assert_ok(request_training(steps, strlen(steps), &shape, &training, &error), &error);
    assert_true(training.batch == 3 && training.steps == 400 && training.schedule.warmup_steps == 20);
    static const char wrong[] = "{\"batch\": 0}";
    assert_fails(request_training(wrong, strlen(wrong), &shape, &training, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/batch");
    error_clear(&error);
    static const char tokens[] = "{\"train\": \"x.bin\", \"format\": \"u16\", \"sampler\": \"sequential\"}";
    assert_ok(request_data(tokens, strlen(tokens), &data, &error), &error);
    assert_true(!strcmp(data.train, "x.bin") && data.format == CORPUS_U16 && data.sampler == SAMPLER_SEQUENTIAL);
    assert_fails(request_data("{}", 2, &data, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/train");
}

TEST_MAIN(cmocka_unit_test(wrong_requests_are_refused_by_pointer_and_words),
          cmocka_unit_test(text_that_is_not_json_is_a_syntax_error_with_its_offset),
          cmocka_unit_test(a_text_over_the_limit_is_too_large), cmocka_unit_test(several_mistakes_are_named_in_one_answer),
          cmocka_unit_test(too_many_candidates_and_operators_are_refused),
          cmocka_unit_test(every_known_value_reaches_the_spec), cmocka_unit_test(absent_fields_get_the_contracts_defaults),
          cmocka_unit_test(defaults_that_follow_from_other_values),
          cmocka_unit_test(echo_read_again_gives_the_identical_echo), cmocka_unit_test(echo_shows_every_field_that_applies),
          cmocka_unit_test(every_available_parameter_is_bound_to_a_value),
          cmocka_unit_test(candidates_without_names_get_readable_unique_ones),
          cmocka_unit_test(data_too_short_for_a_window_is_refused), cmocka_unit_test(multipart_parts_fill_the_references),
          cmocka_unit_test(parts_are_read_on_their_own))
