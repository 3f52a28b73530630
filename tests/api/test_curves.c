/* curves.json as input: what is taken, and that every wrong value is refused with its place and never taken. */
#include "api/curves.h"

#include <math.h>
#include <string.h>

#include "api/replay.h"
#include "base/memory.h"
#include "tests/support/support.h"

static const char HEAD[] =
    "{\"request\": {\"candidates\": [{\"name\": \"a\", \"operators\": [{\"op\": \"msg_width\", \"ramp_steps\": 300}]}], "
    "\"training\": {\"steps\": 900, \"batch\": 4, \"context\": 8, \"seed\": 7, \"schedule\": {\"warmup_steps\": 60}}, "
    "\"selection\": {\"confidence\": 0.9, \"rank_by\": \"predicted\"}}, \"tokens_per_step\": 32, ";
static const char A[] =
    "{\"candidate\": \"a\", \"flops_per_token\": 10, \"points\": ["
    "{\"step\": 0, \"tokens\": 0, \"flops\": 0, \"loss\": 2.5, \"raw_loss\": 2.6, \"blocks\": [240000, 260000]}, "
    "{\"step\": 4, \"loss\": 2.25, \"raw_loss\": 2.3, \"blocks\": [220000, 230000]}, "
    "{\"step\": 5, \"loss\": 2, \"raw_loss\": 2.1, \"blocks\": [190000, 210000]}]}";
static const char B[] =
    "{\"candidate\": \"b\", \"points\": [{\"step\": 0, \"loss\": 2, \"raw_loss\": 2, \"blocks\": [200000, 200000]}, "
    "{\"step\": 4, \"loss\": null, \"raw_loss\": 2, \"blocks\": [null, 200000]}]}";

static int read(const char *head, const char *list, struct replay *replay, struct error *error)
{
    char text[4096];
    error_clear(error);
    int length = snprintf(text, sizeof text, "%s\"candidates\": [%s]}", head, list);
    return curves_read(text, (size_t)length, replay, error);
}

static void what_a_run_writes_is_read_back(void **state)
{
    (void)state;
    struct replay replay;
    struct error error = { 0 };
    char list[2048];
    snprintf(list, sizeof list, "%s, %s", A, B);
    assert_ok(read(HEAD, list, &replay, &error), &error);
    assert_int_equal(replay.spec.candidate_count, 2);
    assert_true(replay.spec.training.steps == 900 && replay.spec.training.seed == 7 && replay.study.tokens_per_step == 32);
    assert_true(replay.spec.selection.k_min == 300 && replay.spec.selection.confidence == 0.9);
    assert_true(replay.spec.selection.rank_by == RANK_BY_PREDICTED && replay.study.windows == 2);
    const struct point *point = curve_at(&replay.study.candidates[0].curve, 4);
    assert_true(point->loss == 2.25 && point->raw_loss == 2.3);
    assert_near((double)point->losses[1], 2.3, 1e-6);
    assert_true(replay_last(&replay) == 5 && replay_has(&replay, 1, 0) && !replay_has(&replay, 1, 4));
    double finals[SPEC_CANDIDATES_MAX];
    const char *object = "{\"a\": 1.5, \"b\": null, \"c\": 3}";
    assert_ok(curves_read_finals(object, strlen(object), &replay, finals, &error), &error);
    assert_true(finals[0] == 1.5 && isnan(finals[1]) && isnan(finals[2]));
    char whole[4096];
    int length = snprintf(whole, sizeof whole, "%s\"candidates\": [%s]}", HEAD, list);
    assert_ok(curves_read_finals(whole, (size_t)length, &replay, finals, &error), &error);
    assert_true(finals[0] == 2.1 && isnan(finals[1]));
    assert_fails(curves_read_finals("{\"z\": 1}", 8, &replay, finals, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "no final loss");
    replay_fini(&replay);
}

/* Text in which `from` is replaced by `to`, once. */
static void assert_refused(const char *from, const char *to, enum error_code code, const char *piece)
{
    char text[4096], changed[4096];
    struct replay replay;
    struct error error = { 0 };
    snprintf(text, sizeof text, "%s\"candidates\": [%s, %s]}", HEAD, A, B);
    char *at = strstr(text, from);
    assert_non_null(at);
    int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_fails(curves_read(changed, (size_t)length, &replay, &error), code, &error);
    print_message("%s -> %s: %s\n", from, to, error.message);
    if (error.detail_count && !strstr(error.message, piece))
        assert_contains(error.details[0].pointer, piece);
    else
        assert_contains(error.message, piece);
}

static void wrong_values_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct { const char *from, *to; enum error_code code; const char *piece; } cases[] = {
        {"\"steps\": 900", "\"steps\": 0", ERROR_INVALID, "/request/training/steps"},
        {"\"steps\": 900", "\"steps\": 1e300", ERROR_INVALID, "/request/training/steps"},
        {"\"steps\": 900, ", "", ERROR_INVALID, "training.steps"},
        {"\"warmup_steps\": 60", "\"warmup_steps\": -1", ERROR_INVALID, "/request/training/schedule/warmup_steps"},
        {"\"confidence\": 0.9", "\"confidence\": 1", ERROR_INVALID, "/request/selection/confidence"},
        {"\"predicted\"", "\"luck\"", ERROR_INVALID, "/request/selection/rank_by"},
        {"\"tokens_per_step\": 32", "\"tokens_per_step\": \"x\"", ERROR_INVALID, "tokens_per_step"},
        {"\"candidate\": \"a\"", "\"candidate\": \"b\"", ERROR_INVALID, "/candidates/1/candidate"},
        {"\"candidate\": \"a\"", "\"candidate\": 3", ERROR_INVALID, "/candidates/0/candidate"},
        {"\"candidate\": \"a\"", "\"candidate\": \"\"", ERROR_INVALID, "/candidates/0/candidate"},
        {"\"flops_per_token\": 10", "\"flops_per_token\": -10", ERROR_INVALID, "/candidates/0/flops_per_token"},
        {"\"step\": 4", "\"step\": 0", ERROR_INVALID, "/candidates/0/points/1/step"},
        {"\"step\": 4", "\"step\": 4.5", ERROR_INVALID, "/candidates/0/points/1/step"},
        {"\"step\": 4", "\"step\": null", ERROR_INVALID, "/candidates/0/points/1/step"},
        {"\"step\": 4, ", "", ERROR_INVALID, "/candidates/0/points/1/step"},
        {"\"loss\": 2.25", "\"loss\": \"2\"", ERROR_INVALID, "/candidates/0/points/1/loss"},
        {"\"loss\": 2.25, ", "", ERROR_INVALID, "/candidates/0/points/1/loss"},
        {"\"loss\": 2.25", "\"loss\": 1e30", ERROR_INVALID, "/candidates/0/points/1/loss"},
        {"\"raw_loss\": 2.3, ", "", ERROR_INVALID, "/candidates/0/points/1/raw_loss"},
        {"[220000, 230000]", "[220000]", ERROR_INVALID, "/candidates/0/points/1/blocks"},
        {"[220000, 230000]", "[220000, true]", ERROR_INVALID, "/candidates/0/points/1/blocks"},
        {"[220000, 230000]", "{\"x\": 1, \"y\": 2}", ERROR_INVALID, "/candidates/0/points/1/blocks"},
        {"[220000, 230000]", "[220000, 1e300]", ERROR_INVALID, "/candidates/0/points/1/blocks"},
        {"{\"step\": 0, \"tokens\"", "[], {\"step\": 0, \"tokens\"", ERROR_INVALID, "/candidates/0/points/0"},
        {"\"points\": [", "\"points\": 3, \"others\": [", ERROR_INVALID, "/candidates/0/points"},
        {"\"candidates\": [{\"candidate\"", "\"them\": [{\"candidate\"", ERROR_INVALID, "candidates"},
        {"{\"request\"", "[\"request\"", ERROR_SYNTAX, "byte"},
        {"\"seed\": 7", "\"seed\": 7, \"seed\": 7", ERROR_INVALID, "seed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].from, cases[i].to, cases[i].code, cases[i].piece);
}

static void curves_without_candidates_or_points_are_refused(void **state)
{
    (void)state;
    struct replay replay;
    struct error error = { 0 };
    assert_fails(read(HEAD, "", &replay, &error), ERROR_INVALID, &error);
    assert_fails(read(HEAD, "{\"candidate\": \"a\", \"points\": []}", &replay, &error), ERROR_INVALID, &error);
    assert_fails(read(HEAD, "7", &replay, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_fails(curves_read("", 0, &replay, &error), ERROR_SYNTAX, &error);
    assert_ok(read(HEAD, "{\"candidate\": \"a\", \"points\": [{\"step\": 0, \"loss\": 1, \"raw_loss\": 1}, "
                   "{\"step\": 9, \"loss\": 1, \"raw_loss\": 1}]}", &replay, &error), &error);
    assert_int_equal(replay.study.windows, 0);          /* no blocks: no errors can be told, but rules apply */
    for (const struct rule_row *row = rule_rows(); row->name; row++) {
        struct rule_answer answer;
        struct rule_settings settings = { .step = 9, .cap = 9, .seed = 1 };
        assert_ok(rule_apply(row, &replay, &settings, &answer, &error), &error);
        assert_int_equal(answer.choice, 0);
    }
    replay_fini(&replay);
}

static void every_failed_allocation_is_told(void **state)
{
    (void)state;
    char text[4096];
    int rounds = 0, length = snprintf(text, sizeof text, "%s\"candidates\": [%s, %s]}", HEAD, A, B);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct replay replay;
        struct error error = { 0 };
        int failed = curves_read(text, (size_t)length, &replay, &error);
        if (!failed)
            replay_fini(&replay);
        assert_int_equal(failed, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
        rounds++;
    }
    assert_true(rounds > 50);
}

static void answers_are_valid_json_with_nulls_for_what_is_not_known(void **state)
{
    (void)state;
    struct replay replay;
    struct error error = { 0 };
    struct buffer out;
    struct truth truth;
    static const double runs[1][SPEC_CANDIDATES_MAX] = { { 2, 3 } };
    char list[2048];
    snprintf(list, sizeof list, "%s, %s", A, B);
    assert_ok(read(HEAD, list, &replay, &error), &error);
    truth_from_runs(&truth, runs, 1, 2);
    struct replay_row row = { .rule = rule_find("raw") };
    struct replay_view view = { .replay = &replay, .truth = &truth, .settings = { 5, 5, 1 }, .rows = &row, .row_count = 1 };
    assert_ok(rule_apply(row.rule, &replay, &view.settings, &row.answer, &error), &error);
    row.judgement = judge(&row.answer, &truth);
    buffer_init(&out);
    response_replay_json(&out, &view);
    assert_contains(out.data, "\"rule\": \"raw\", \"kind\": \"step\", \"choice\": \"a\", \"step\": 5, \"settled\": true, "
                              "\"p_best\": null");
    assert_contains(out.data, "\"truth\": {\"runs\": 1, \"noise\": null, \"spread\": 1, \"best\": \"a\"");
    assert_contains(out.data, "{\"candidate\": \"b\", \"score\": null, \"steps\": 0, \"tied\": false}");
    assert_contains(out.data, "\"spearman\": null, \"regret\": 0,");
    buffer_fini(&out);
    buffer_init(&out);
    response_replay_text(&out, &view);
    assert_contains(out.data, "2 candidates, 3 evaluation points up to step 5; no rule stops before 300");
    buffer_fini(&out);
    struct calibration drawn[2] = { { 0.5, true, true, 5, 6, 0, 0 }, { NAN, false, false, 5, 7, 0.5, 0.25 } };
    struct calibration_view calibration = { &replay, rule_find("raw"), drawn, 2 };
    buffer_init(&out);
    response_calibration_json(&out, &calibration);
    assert_contains(out.data, "{\"p_best\": null, \"hit\": false, \"settled\": false, \"step\": 5, \"candidates\": 7, "
                              "\"regret_share\": 0.5, \"tied_share\": 0.25}");
    response_calibration_text(&out, &calibration);
    assert_contains(out.data, "settled 50.0 %, hits 50.0 %, claimed 50.0 %, regret 25.00 % of the spread, "
                              "of the tie group 12.50 %");
    buffer_fini(&out);
    replay_fini(&replay);
}

TEST_MAIN(cmocka_unit_test(what_a_run_writes_is_read_back), cmocka_unit_test(wrong_values_are_refused_with_their_place),
          cmocka_unit_test(curves_without_candidates_or_points_are_refused), cmocka_unit_test(every_failed_allocation_is_told),
          cmocka_unit_test(answers_are_valid_json_with_nulls_for_what_is_not_known))
