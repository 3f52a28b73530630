/* Wrong requests: refused, where and with which words. One case per line. */
#include "tests/api/fixture.h"
#include "tests/api/request_text.h"

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
    {TRAINING("\"optimizer\": \"adamw\""), "/training/optimizer",
     "an object such as {\"name\": \"adamw\"}, not text"},
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
    {TRAINING("\"batch\": 0"), "/training/batch",
     "must be from 1 to 65536; 0 is out of range, the nearest valid value is 1"},
    {TRAINING("\"batch\": 100000"), "/training/batch", "the nearest valid value is 65536"},
    {TRAINING("\"learning_rate\": 0"), "/training/learning_rate", "must be from 1e-10 to 100"},
    {TRAINING("\"steps\": -5"), "/training/steps", "the nearest valid value is 1"},
    {TRAINING("\"optimizer\": {\"betas\": [0.9]}"), "/training/optimizer/betas", "betas must have 2 numbers, not 1"},
    {TRAINING("\"optimizer\": {\"betas\": [0.9, 1.5]}"), "/training/optimizer/betas/1", "out of range"},
    {TRAINING("\"optimizer\": {\"betas\": [0.9, \"x\"]}"), "/training/optimizer/betas/1",
     "must be a number, not text"},
    {TRAINING("\"optimizer\": {\"epsilon\": -1}"), "/training/optimizer/epsilon", "must be from 0 to 1"},
    {SELECTION("\"confidence\": 1"), "/selection/confidence", "the nearest valid value is 0.9999"},
    {SELECTION("\"evaluate_every\": 0"), "/selection/evaluate_every", "must be from 1"},
    {TOP("\"keep\": \"top:0\""), "/keep", "top:N"},
    {TOP("\"keep\": \"top:65\""), "/keep", "from 1 to 64"},
    {TOP("\"keep\": \"best\""), "/keep", "keep can't be \"best\""},
    {TOP("\"name\": \"\""), "/name", "name must not be empty"},
    {OPERATORS("[]"), "/candidates/0/operators", "from 1 to 32 elements, not 0"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": 0}]"), "/candidates/0/operators/0/layers", "nearest valid: 4"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": 6, \"noise\": 2}]"), "/candidates/0/operators/0/noise",
     "from 0 to 1"},
    /* choices */
    {DATA("\"format\": \"u8\""), "/data/format", "valid: auto, bytes, u16"},
    {DATA("\"sampler\": \"randm\""), "/data/sampler", "did you mean \"random\"?"},
    {SELECTION("\"k\": \"atuo\""), "/selection/k", "did you mean \"auto\"?"},
    {SELECTION("\"rank_by\": \"luck\""), "/selection/rank_by", "valid: loss, predicted"},
    {TRAINING("\"average\": {\"kind\": \"mean\"}"), "/training/average/kind", "valid: none, window, ema"},
    {TRAINING("\"optimizer\": {\"name\": \"adam\"}"), "/training/optimizer/name", "did you mean \"adamw\"?"},
    {TRAINING("\"optimizer\": {\"name\": 3}"), "/training/optimizer/name", "name must be text, not an integer"},
    {TRAINING("\"schedule\": {\"name\": \"step\"}"), "/training/schedule/name", "use one of: constant, wsd"},
    {CANDIDATES("[{\"operators\": [{\"op\": \"stack\", \"layers\": 6}], \"moments\": \"keep\"}]"),
     "/candidates/0/moments", "valid: reset, carry, old_only"},
    {OPERATORS("[{\"op\": \"stak\", \"layers\": 6}]"), "/candidates/0/operators/0/op", "did you mean \"stack\"?"},
    {OPERATORS("[{\"op\": \"magic\"}]"), "/candidates/0/operators/0/op",
     "unknown operator \"magic\"; use one of: stack"},
    {OPERATORS("[{\"op\": 3}]"), "/candidates/0/operators/0/op", "op must be text"},
    {OPERATORS("[{\"layers\": 6}]"), "/candidates/0/operators/0/op", "op is missing"},
    {OPERATORS("[{\"op\": \"stack\"}]"), "/candidates/0/operators/0/layers", "stack needs layers"},
    {OPERATORS("[{\"op\": \"stack\", \"layer\": 6}]"), "/candidates/0/operators/0/layer", "did you mean \"layers\"?"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": \"6\"}]"), "/candidates/0/operators/0/layers",
     "must be an integer, not text"},
    {OPERATORS("[{\"op\": \"layer_map\", \"map\": [0, \"x\"]}]"), "/candidates/0/operators/0/map/1",
     "an integer or null"},
    {OPERATORS("[{\"op\": \"layer_map\", \"map\": []}]"), "/candidates/0/operators/0/map", "from 1 to"},
    {OPERATORS("[{\"op\": \"layer_map\", \"slices\": [[0, 3], [1]]}]"), "/candidates/0/operators/0/slices/1",
     "a pair"},
    {OPERATORS("[{\"op\": \"identity\", \"layers\": 6, \"placement\": \"bottom\"}]"),
     "/candidates/0/operators/0/placement", "valid: interleaved, top"},
    /* missing */
    {"{\"data\": {\"train\": \"t\"}, " ONE "}", "/checkpoint", "checkpoint is missing"},
    {"{\"checkpoint\": \"c\", " ONE "}", "/data/train", "train is missing"},
    {HEAD "\"name\": \"x\"}", "/candidates", "at least one candidate"},
    {CANDIDATES("[]"), "/candidates", "from 1 to 64 elements, not 0"},
    {CANDIDATES("[{\"name\": \"a\"}]"), "/candidates/0/operators", "operators is missing"},
    /* names */
    {CANDIDATES(
         "[{\"name\": \"a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, {\"name\": \"a\", \"operators\": "
         "[{\"op\": \"stack\", \"layers\": 6}]}]"),
     "/candidates/1/name", "already that of /candidates/0"},
    {CANDIDATES("[{\"name\": \".a\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name",
     "can't be a candidate's name"},
    {CANDIDATES("[{\"name\": \"a \", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name",
     "name"},
    {CANDIDATES("[{\"name\": \"../x\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name",
     "name"},
    {CANDIDATES("[{\"name\": \"a/b\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name",
     "name"},
    {CANDIDATES("[{\"name\": \"é\", \"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"), "/candidates/0/name",
     "name"},
    /* across fields */
    {TRAINING("\"context\": 65"), "/training/context", "longer than the checkpoint's 64 positions; use at most 64"},
    {TRAINING("\"steps\": 100, \"schedule\": {\"warmup_steps\": 101}"), "/training/schedule/warmup_steps",
     "use at most 100"},
    {TRAINING("\"steps\": 100, \"schedule\": {\"name\": \"wsd\", \"warmup_steps\": 40, \"decay_steps\": 61}"),
     "/training/schedule/decay_steps", "use at most 60"},
    {TRAINING("\"schedule\": {\"decay_steps\": 61}"), "/training/schedule/decay_steps",
     "belongs to the schedule wsd"},
    {TRAINING("\"average\": {\"kind\": \"ema\", \"fraction\": 0.2}"), "/training/average/fraction",
     "belongs to the kind window"},
    {TRAINING("\"average\": {\"decay\": 0.9}"), "/training/average/decay", "belongs to the kind ema"},
    {SELECTION("\"k\": 20001"), "/selection/k", "the nearest valid value is 20000"},
    {SELECTION("\"k\": 500, \"max_k\": 600"), "/selection/max_k", "\"auto\" only"},
    {SELECTION("\"max_k\": 199"), "/selection/max_k",
     "raise max_k to 200 or more, shorten training.schedule.warmup_steps"},
    {SELECTION("\"max_k\": 20001"), "/selection/max_k", "the nearest valid value is 20000"},
    {TRAINING("\"steps\": 20"), "/selection/max_k",
     "raise max_k and training.steps to 50 or more, or give k as a number"},
    /* plans: the growth room's own words, under the candidate's pointer */
    {CANDIDATES("[{\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}, {\"operators\": [{\"op\": \"stack\", "
                "\"layers\": 2}]}]"),
     "/candidates/1/operators/0/layers", "3"},
    {OPERATORS("[{\"op\": \"hyperclone\", \"width\": 100}]"), "/candidates/0/operators/0/width", "64"},
    {OPERATORS("[{\"op\": \"hyperclone\", \"width\": 0}]"), "/candidates/0/operators/0/width", "nearest valid: 128"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": 9007199254740992}]"), "/candidates/0/operators/0/layers", "nearest valid: 1024"},
    {OPERATORS("[{\"op\": \"first\", \"layers\": 6, \"block\": 4000}]"), "/candidates/0/operators/0/block", "nearest valid: 3"},
    {OPERATORS("[{\"op\": \"stack\", \"layers\": 6, \"seed\": -1}]"), "/candidates/0/operators/0/seed", "nearest valid: 0"},
    {TRAINING_OF("\"context\": 65", "[{\"operators\": [{\"op\": \"extend_context\", \"context\": 96}]}, {\"name\": \"deep\", "
                 "\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}]"),
     "/training/context", "let every candidate extend_context (\"deep\" does not)"},
    {TRAINING_OF("\"context\": 97", "[{\"name\": \"long\", \"operators\": [{\"op\": \"extend_context\", \"context\": 96}]}]"),
     "/training/context", "longer than the 96 positions of candidate \"long\"; use at most 96"},
    {OPERATORS("[{\"op\": \"layer_map\", \"map\": [0, 1, 2, 3]}]"), "/candidates/0/operators/0/map/3", "2"},
    {TOP("\"target\": {\"layers\": 7}"), "/candidates/0", "ends with layers 6, the target asks for 7 (+1)"},
    {TOP("\"target\": {\"width\": 128, \"layers\": 6}"), "/candidates/0",
     "ends with width 64, the target asks for 128"},
    /* objectives: the trainer's own words; more in test_objectives.c */
    {DATA("\"objective\": \"mlm\""), "/data/objective", "A gpt2 model can not learn the objective mlm; use causal"},
    {DATA("\"mask_token\": 256"), "/data/mask_token", "the model's tokens are 0 to 255"},
    /* later releases */
    /* optimizers and schedules: what belongs to another row, and what does not go together */
    {TRAINING("\"optimizer\": {\"momentum\": 0.9}"), "/training/optimizer/momentum",
     "momentum belongs to the optimizer sgd, not to adamw; leave it out or use that optimizer"},
    {TRAINING("\"optimizer\": {\"decoupling\": 100}"), "/training/optimizer/decoupling",
     "belongs to the optimizer schedule_free_adamw"},
    {TRAINING("\"optimizer\": {\"name\": \"sgd\", \"betas\": [0.9, 0.95]}"), "/training/optimizer/betas",
     "belongs to the optimizer adamw"},
    {TRAINING("\"optimizer\": {\"name\": \"schedule_free_sgd\", \"epsilon\": 1e-8}"), "/training/optimizer/epsilon",
     "not to schedule_free_sgd"},
    {TRAINING("\"optimizer\": {\"name\": \"schedule_free_sgd\", \"decay_at\": \"x\"}"), "/training/optimizer/decay_at", "y"},
    {TRAINING("\"optimizer\": {\"name\": \"sgd\", \"momentum\": 1}"), "/training/optimizer/momentum", "0.9999999"},
    {TRAINING("\"optimizer\": {\"name\": \"adam\"}"), "/training/optimizer/name", "did you mean \"adamw\"?"},
    {TRAINING("\"optimizer\": {\"name\": \"schedule_free_adamw\"}, \"schedule\": {\"name\": \"cosine\"}"),
     "/training/schedule/name", "needs no decaying schedule: use constant, which has a warm-up, or the optimizer adamw"},
    {TRAINING("\"optimizer\": {\"name\": \"schedule_free_sgd\"}, \"average\": {\"kind\": \"window\"}"),
     "/training/average/kind", "use the average none, or leave it out"},
    {TRAINING("\"schedule\": {\"a\": 4.6}"), "/training/schedule/a", "belongs to the schedule power, not to constant"},
    {TRAINING("\"schedule\": {\"name\": \"cosine\", \"decay_steps\": 10}"), "/training/schedule/decay_steps",
     "belongs to the schedule wsd"},
    {TRAINING("\"schedule\": {\"name\": \"power\", \"decay_steps\": 20000, \"warmup_steps\": 10}"),
     "/training/schedule/decay_steps", "use at most 19990"},
    {TRAINING("\"learning_rate\": 0.01, \"schedule\": {\"name\": \"power\", \"maximum\": 0.02}"),
     "/training/schedule/maximum", "leave one of them out"},
    {TRAINING("\"schedule\": {\"name\": \"power\", \"b\": 0.5}"), "/training/schedule/b", "0"},
    {TRAINING("\"parametrization\": \"mu\""), "/training/parametrization", "Valid: standard, mup, completep, ntp"},
    {TRAINING("\"parametrization\": \"mup\", \"width_learning_rate\": \"given\""), "/training/width_learning_rate",
     "mup sets the rates of hidden matrices by its own rule"},
    {TRAINING("\"batch\": 15, \"learners\": 2"), "/training/learners", "give a batch of 16, or other learners"},
    {TRAINING("\"learners\": 0"), "/training/learners", "the nearest valid value is 1"},
    {TRAINING("\"learners\": 2, \"learners_mode\": \"gradients\", \"average_every\": 10"), "/training/average_every",
     "use learners_mode weights"},
    {TRAINING("\"learners_mode\": \"gradient\""), "/training/learners_mode", "did you mean \"gradients\"?"},
    {TRAINING("\"average_every\": 10"), "/training/average_every", "or raise learners"},
    {TRAINING("\"outer\": {\"name\": \"nesterov\"}"), "/training/outer/name", "or raise learners"},
    {TRAINING("\"batch_growth\": 2"), "/training/batch_growth", "the nearest valid value is 1"},
    {TRAINING("\"recompute\": 1"), "/training/recompute", "true or false"},
    {TRAINING("\"compute\": \"f16\""), "/training/compute", "did you mean \"bf16\"? Valid: f32, bf16"},
    {TRAINING("\"compute\": true"), "/training/compute", "text"},
    {SELECTION("\"compare\": \"flops\""), "/selection/compare", "later release"},
    {SELECTION("\"eliminate\": true"), "/selection/eliminate", "later release"},
    {SELECTION("\"seeds\": 2"), "/selection/seeds", "leave it out or use 1"},
    {TOP("\"transfer\": {\"rates\": [1e-3], \"steps\": 200}"), "/transfer", "the command `lag transfer` answers it"},
    /* landscape */
    {TOP("\"landscape\": 3"), "/landscape", "landscape must be an object, not an integer"},
    {TOP("\"landscape\": {\"evry\": 10}"), "/landscape/evry", "did you mean \"every\"?"},
    {TOP("\"landscape\": {\"every\": 0}"), "/landscape/every", "must be from 1"},
    {TOP("\"landscape\": {\"top\": 17}"), "/landscape/top", "the nearest valid value is 16"},
    {TOP("\"landscape\": {\"top\": 2, \"what\": [\"ntk\"]}"), "/landscape/top", "add \"hessian\" to what"},
    {TOP("\"landscape\": {\"what\": \"ntk\"}"), "/landscape/what", "what must be a list of names, not text"},
    {TOP("\"landscape\": {\"what\": []}"), "/landscape/what", "what must not be empty"},
    {TOP("\"landscape\": {\"what\": [\"hesian\"]}"), "/landscape/what/0", "did you mean \"hessian\"?"},
    {TOP("\"landscape\": {\"what\": [\"ntk\", \"ntk\"]}"), "/landscape/what/1", "ntk is named twice"},
    {TOP("\"landscape\": {\"what\": [1]}"), "/landscape/what/0", "must be text, not an integer"},
    {OPERATORS("[{\"op\": \"ligo\"}]"), "/candidates/0/operators/0/layers", "ligo needs layers or width"},
    {OPERATORS("[{\"op\": \"ligo\", \"layers\": 6, \"steps\": 100001}]"), "/candidates/0/operators/0/steps",
     "nearest valid: 100000"},
    {OPERATORS("[{\"op\": \"ligo\", \"layers\": 6, \"step\": 10}]"), "/candidates/0/operators/0/step", "steps"},
    /* masks */
    {OPERATORS("[{\"op\": \"msg_depth\", \"layers\": 6, \"ramp_steps\": 0}]"), "/candidates/0/operators/0/ramp_steps",
     "from 1 to 1000000 (nearest valid: 1), not 0"},
    {OPERATORS("[{\"op\": \"msg_depth\", \"layers\": 6, \"ramp_steps\": 1001}]"), "/candidates/0/operators/0/ramp_steps",
     "use at most 1000, or raise selection.max_k"},
    {OPERATORS("[{\"op\": \"msg_width\", \"width\": 1}]"), "/candidates/0/operators/0/width", "nearest valid"},
    {OPERATORS("[{\"op\": \"msg_depth\", \"layers\": 2}]"), "/candidates/0/operators/0/layers", "nearest valid"},
    {OPERATORS("[{\"op\": \"msg_depth\", \"layers\": 6}, {\"op\": \"stack\", \"layers\": 8}]"),
     "/candidates/0/operators/1/op", "put it before the operators that grow behind masks"},
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
    static const char *const texts[] = {"",
                                        " ",
                                        "{",
                                        "{\"a\"}",
                                        "{'a': 1}",
                                        "{\"name\": 01}",
                                        "{\"name\": \"a\tb\"}",
                                        "nul",
                                        "{\"name\": \"\\ud800\"}",
                                        "{} x",
                                        "\xEF\xBB\xBF{}",
                                        "{\"name\": NaN}",
                                        "{\"name\": \"a\\u0000b\"}",
                                        "{\"name\": \"\xFF\"}",
                                        "[0.0000000000000000000000000000000000000000000000000000000000000000001]",
        "[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]"};
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
    static const char text[] =
        HEAD ONE ", \"colour\": 1, \"training\": {\"batch\": 0, \"clip\": \"x\"}, \"keep\": \"none\", "
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

TEST_MAIN(cmocka_unit_test(wrong_requests_are_refused_by_pointer_and_words),
          cmocka_unit_test(text_that_is_not_json_is_a_syntax_error_with_its_offset),
          cmocka_unit_test(a_text_over_the_limit_is_too_large),
          cmocka_unit_test(several_mistakes_are_named_in_one_answer),
          cmocka_unit_test(too_many_candidates_and_operators_are_refused))
