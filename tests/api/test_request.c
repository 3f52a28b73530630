/* Requests that are accepted: values, defaults, names, the echo. */
#include "tests/api/fixture.h"
#include "tests/api/request_text.h"

#include "api/request_parts.h"

static const char EVERYTHING[] =
    "{\"name\": \"all of it\", \"checkpoint\": \"c\", \"data\": {\"train\": \"t\", \"valid\": \"v\", \"format\": "
    "\"bytes\", "
    "\"objective\": \"causal\", \"sampler\": \"sequential\"}, \"target\": {\"layers\": 6, \"width\": 128, \"heads\": "
    "8, "
    "\"ff\": 512, \"context\": 64}, \"candidates\": [{\"name\": \"both ways-1.0\", \"operators\": [{\"op\": "
    "\"hyperclone\", "
    "\"width\": 128, \"layout\": \"diagonal\", \"noise_db\": null, \"seed\": 7}, {\"op\": \"layer_map\", "
    "\"slices\": [[0, 3], [0, 3]], \"noise\": 0.01}], \"moments\": \"old_only\"}], "
    "\"training\": {\"batch\": 4, \"context\": 32, \"steps\": 5000, \"learning_rate\": 0.0005, \"optimizer\": "
    "{\"name\": "
    "\"adamw\", \"betas\": [0.8, 0.99], \"epsilon\": 1e-6, \"weight_decay\": 0}, \"schedule\": {\"name\": \"wsd\", "
    "\"warmup_steps\": 30, \"decay_steps\": 700, \"decay_form\": \"sqrt\", \"minimum\": 0.1}, \"clip\": 0, \"seed\": "
    "9, "
    "\"average\": {\"kind\": \"ema\", \"decay\": 0.98}, \"parametrization\": \"standard\", \"width_learning_rate\": "
    "\"given\", \"learners\": 2, \"learners_mode\": \"weights\", \"average_every\": [4, 2], \"average_every_why\": \"so\", "
    "\"outer\": {\"name\": \"nesterov\", \"learning_rate\": 0.5, \"momentum\": 0.8}, \"batch_growth\": 0.001, \"recompute\": "
    "true, "
    "\"compute\": \"bf16\"}, \"selection\": {\"k\": 300, \"max_k\": 300, \"valid_tokens\": 640, \"evaluate_every\": "
    "50, "
    "\"raw_share\": 0.5, \"rank_by\": \"predicted\", \"confidence\": 0.9, \"compare\": \"steps\", \"eliminate\": "
    "false, "
    "\"seeds\": 1}, \"landscape\": {\"every\": 100, \"top\": 2, \"what\": [\"ntk\", \"hessian\"]}, \"keep\": \"winner\"}";

static void every_known_value_reaches_the_spec(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    assert_ok(resolve_text(EVERYTHING, strlen(EVERYTHING), &spec, &error), &error);
    assert_string_equal(spec.name, "all of it");
    assert_true(spec.landscape.asked && spec.landscape.every == 100 && spec.landscape.top == 2);
    assert_int_equal(spec.landscape.what, 1u << LANDSCAPE_NTK | 1u << LANDSCAPE_HESSIAN);
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
    assert_true(t->learning_rate == 0.0005 && t->clip == 0 && t->seed == 9 && !t->width_rate_scaled
                && t->recompute && t->compute == PRODUCT_BF16);
    assert_true(t->optimizer.beta1 == 0.8 && t->optimizer.beta2 == 0.99 && t->optimizer.epsilon == 1e-6
                && t->optimizer.weight_decay == 0);
    assert_int_equal(t->schedule.name, SCHEDULE_WSD);
    assert_true(t->schedule.warmup_steps == 30 && t->schedule.decay_steps == 700 && t->schedule.decay_form == DECAY_SQRT
                && t->schedule.minimum == 0.1);
    assert_true(t->average.kind == AVERAGE_EMA && t->average.decay == 0.98);
    const struct learners_spec *l = &t->learners;
    assert_true(l->count == 2 && l->mode == LEARNERS_WEIGHTS && !l->automatic && l->local_steps[0] == 4 && l->local_steps[1] == 2);
    assert_true(l->outer.name == OUTER_NESTEROV && l->outer.learning_rate == 0.5 && l->outer.momentum == 0.8);
    assert_true(l->batch_growth == 0.001 && !l->averaged_moments);
    assert_string_equal(l->why, "so");
    const struct spec_selection *s = &spec.selection;
    assert_true(!s->k_auto && s->k == 300 && s->max_k == 300 && s->k_min == 60 && s->valid_tokens == 640);
    assert_true(s->evaluate_every == 50 && s->raw_share == 0.5 && s->rank_by == RANK_BY_PREDICTED
                && s->confidence == 0.9);
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
    assert_true(t->average.kind == AVERAGE_WINDOW && t->average.fraction == 0.2 && t->width_rate_scaled
                && !t->recompute && t->compute == PRODUCT_F32);
    assert_true(s->k_auto && s->max_k == 1000 && s->k_min == 200 && s->valid_tokens == 100000
                && s->evaluate_every == 0);
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
    static const char ramps[] = HEAD "\"candidates\": [{\"operators\": [{\"op\": \"msg_depth\", \"layers\": 6, "
                                "\"ramp_steps\": 300}]}, {\"operators\": [{\"op\": \"msg_depth\", \"layers\": 6}]}]}";
    struct study_spec masked;
    struct error none = {0};
    assert_ok(resolve_text(ramps, strlen(ramps), &masked, &none), &none);
    assert_int_equal(masked.selection.k_min, 300);                           /* the longest ramp */
    study_spec_fini(&masked);
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
        TRAINING("\"optimizer\": {\"name\": \"schedule_free_adamw\", \"betas\": [0.98, 0.95], \"r\": 0.75}"),
        TRAINING("\"optimizer\": {\"name\": \"schedule_free_sgd\", \"decay_at\": \"z\", \"decoupling\": 50}"),
        TRAINING("\"optimizer\": {\"name\": \"sgd\", \"nesterov\": true}, \"schedule\": {\"name\": \"cosine\"}"),
        TRAINING("\"schedule\": {\"name\": \"power\", \"maximum\": 0.005}"), TRAINING("\"schedule\": {\"name\": \"power\"}"),
        TOP("\"keep\": \"top:12\", \"name\": \"quote \\\" <&> \\u00e9 \\\\\""), TOP("\"keep\": \"all\""),
        TRAINING("\"learners\": 4, \"average_every\": \"auto\", \"optimizer\": {\"name\": \"sgd\", \"averaged_moments\": true}"),
        TRAINING("\"learners\": 4"), TRAINING("\"learners\": 8, \"learners_mode\": \"gradients\""),
        TRAINING("\"batch_growth\": 0.1")};
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

/* Contract 2: rates, clipping, average and decay by optimizer; what the rows' own fallbacks say is what the trainer takes. */
static void an_optimizer_brings_its_own_defaults(void **state)
{
    (void)state;
    static const struct { double rate, clip, decay; enum average_kind average; } expected[OPTIMIZER_COUNT] = {
        [OPTIMIZER_ADAMW] = {2e-3, 1, 0.1, AVERAGE_WINDOW},
        [OPTIMIZER_SGD] = {0.1, 1, 0, AVERAGE_WINDOW},
        [OPTIMIZER_SCHEDULE_FREE_ADAMW] = {4e-3, 0, 0.1, AVERAGE_NONE},
        [OPTIMIZER_SCHEDULE_FREE_SGD] = {1, 0, 0, AVERAGE_NONE},
    };
    int count;
    for (int i = 0; i < OPTIMIZER_COUNT; i++) {
        char text[512];
        struct study_spec spec;
        struct error error = {0};
        snprintf(text, sizeof text, HEAD ONE ", \"training\": {\"optimizer\": {\"name\": \"%s\"}}}",
                 optimizer_rows(&count)[i].name);
        assert_ok(resolve_text(text, strlen(text), &spec, &error), &error);
        const struct training *training = &spec.training;
        struct optimizer_spec defaults = optimizer_defaults((enum optimizer_name)i);
        if (optimizer_is_schedule_free((enum optimizer_name)i))
            defaults.decoupling = 1 / (1 - optimizer_beta(&defaults));
        assert_true(training->learning_rate == expected[i].rate && training->clip == expected[i].clip);
        assert_true(training->optimizer.weight_decay == expected[i].decay && training->average.kind == expected[i].average);
        assert_true(training->optimizer.beta1 == defaults.beta1 && training->optimizer.beta2 == defaults.beta2);
        assert_true(training->optimizer.momentum == defaults.momentum && training->optimizer.nesterov == defaults.nesterov);
        assert_true(training->optimizer.r == defaults.r && training->optimizer.weight_power == defaults.weight_power);
        assert_true(training->optimizer.decay_at == defaults.decay_at && training->optimizer.decoupling == defaults.decoupling);
        assert_true(training->optimizer.weight_decay == defaults.weight_decay && training->optimizer.epsilon == defaults.epsilon);
        study_spec_fini(&spec);
    }
}

/* The largest rate by either name; tokens from the request, else from the checkpoint's report. */
static void the_power_schedule_knows_its_maximum_and_its_tokens(void **state)
{
    (void)state;
    static const struct { const char *members; double rate; uint64_t tokens; bool known; } cases[] = {
        {"\"schedule\": {\"name\": \"power\"}", 0.02, 0, false},
        {"\"schedule\": {\"name\": \"power\", \"maximum\": 0.005}", 0.005, 0, false},
        {"\"learning_rate\": 0.01, \"schedule\": {\"name\": \"power\"}", 0.01, 0, false},
        {"\"learning_rate\": 0.01, \"schedule\": {\"name\": \"power\", \"maximum\": 0.01, \"tokens_seen\": 77}", 0.01, 77,
         true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct study_spec spec;
        struct error error = {0};
        snprintf(text, sizeof text, HEAD ONE ", \"training\": {%s}}", cases[i].members);
        assert_ok(resolve_text(text, strlen(text), &spec, &error), &error);
        assert_true(spec.training.learning_rate == cases[i].rate && spec.training.schedule.decay_form == DECAY_EXPONENTIAL);
        assert_int_equal(spec.training.schedule.tokens_seen, cases[i].tokens);
        assert_int_equal(spec.training.schedule.tokens_known, cases[i].known);
        study_spec_fini(&spec);
    }
    static const char text[] = TRAINING("\"schedule\": {\"name\": \"power\"}");
    struct request *request;
    struct study_spec spec;
    struct error error = {0};
    struct request_facts facts = parent_facts();
    facts.tokens_seen = 12345;
    facts.tokens_seen_known = true;
    assert_ok(request_new(&request, text, strlen(text), &error), &error);
    assert_ok(request_resolve(request, &facts, &spec, &error), &error);
    assert_int_equal(spec.training.schedule.tokens_seen, 12345);
    assert_true(spec.training.schedule.tokens_known);
    request_free(request);
    study_spec_fini(&spec);
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
    struct objective_spec objective = objective_defaults(shape.family);
    static const char operators[] = "[{\"op\": \"middle\", \"layers\": 6, \"block\": 1}]";
    assert_ok(request_operators(operators, strlen(operators), &list, &error), &error);
    assert_string_equal(list.steps[0].op->name, "middle");
    growth_list_fini(&list);
    assert_fails(request_operators("{}", 2, &list, &error), ERROR_INVALID, &error);
    error_clear(&error);
    static const char steps[] = "{\"steps\": 400, \"batch\": 3}";
    for (uint64_t flag = 0; flag < 2; flag++) {     /* the text goes before a flag */
        assert_ok(request_training(steps, strlen(steps), &shape, 60 * flag, &training, &error), &error);
        assert_true(training.batch == 3 && training.steps == 400 && training.schedule.warmup_steps == 20);
    }
    static const char silent[] = "{\"schedule\": {\"name\": \"wsd\"}}";
    assert_ok(request_training(silent, strlen(silent), &shape, 60, &training, &error), &error);
    assert_true(training.steps == 60 && training.schedule.warmup_steps == 3 && training.schedule.decay_steps == 6);
    static const char wrong[] = "{\"batch\": 0}";
    assert_fails(request_training(wrong, strlen(wrong), &shape, 0, &training, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/batch");
    error_clear(&error);
    static const char tokens[] = "{\"train\": \"x.bin\", \"format\": \"u16\", \"sampler\": \"sequential\"}";
    assert_ok(request_data(tokens, strlen(tokens), &data, &objective, &error), &error);
    assert_true(!strcmp(data.train, "x.bin") && data.format == CORPUS_U16 && data.sampler == SAMPLER_SEQUENTIAL);
    assert_fails(request_data("{}", 2, &data, &objective, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/train");
}

TEST_MAIN(cmocka_unit_test(every_known_value_reaches_the_spec),
          cmocka_unit_test(absent_fields_get_the_contracts_defaults),
          cmocka_unit_test(defaults_that_follow_from_other_values),
          cmocka_unit_test(echo_read_again_gives_the_identical_echo),
          cmocka_unit_test(an_optimizer_brings_its_own_defaults),
          cmocka_unit_test(the_power_schedule_knows_its_maximum_and_its_tokens),
          cmocka_unit_test(echo_shows_every_field_that_applies),
          cmocka_unit_test(every_available_parameter_is_bound_to_a_value),
          cmocka_unit_test(candidates_without_names_get_readable_unique_ones),
          cmocka_unit_test(data_too_short_for_a_window_is_refused),
          cmocka_unit_test(multipart_parts_fill_the_references), cmocka_unit_test(parts_are_read_on_their_own))
