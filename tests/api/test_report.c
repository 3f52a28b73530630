/* report.html: every part is there, well-formed, escaped, finite; and lag_report.json has the same numbers. */
#include "tests/api/fixture.h"
#include "tests/api/xml.h"

#include "api/json.h"
#include "base/fault.h"
#include "study/agreement.h"

static const char DOCTYPE[] = "<!DOCTYPE html>\n";

/* What holds of every page. */
static void assert_page_is_sound(const struct buffer *out)
{
    static const char *const never[] = {"<script", "http:", "https:", " src=", "@import", "<link", " onload", "javascript:",
                                        ">nan", ">-nan", ">inf", "nan<", " inf<", "NaN", "\"nan", "(null)"};
    assert_false(out->failed);
    assert_int_equal(strncmp(out->data, DOCTYPE, strlen(DOCTYPE)), 0);
    assert_true(assert_well_formed(out->data + strlen(DOCTYPE)) > 40);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        if (strstr(out->data, never[i])) fail_msg("the page has \"%s\": %.60s", never[i], strstr(out->data, never[i]) - 20);
    assert_contains(out->data, "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"");
    assert_contains(out->data, "prefers-color-scheme:dark");
    assert_contains(out->data, "@media print");
    assert_contains(out->data, "name=\"viewport\"");
}

/* Every id stands once, and every reference has its target. */
static void assert_names_are_unique(const char *text)
{
    for (const char *at = strstr(text, " id=\""); at; at = strstr(at + 1, " id=\"")) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 5, "\"") + 6, at);
        assert_int_equal(count_of(text, name), 1);
    }
    for (const char *at = strstr(text, "href=\"#"); at; at = strstr(at + 1, "href=\"#")) {
        char name[64];
        snprintf(name, sizeof name, " id=\"%.*s\"", (int)strcspn(at + 7, "\""), at + 7);
        assert_contains(text, name);
    }
}

static void page_of(const struct study_view *view, struct buffer *out)
{
    buffer_init(out);
    response_report(out, view);
    assert_page_is_sound(out);
    assert_names_are_unique(out->data);
}

static void page_of_finished(const struct finished *f, struct buffer *out)
{
    struct study_view view = finished_view(f);
    page_of(&view, out);
}

static void assert_number(const struct buffer *out, const char *format, double value)
{
    char text[64];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(text, sizeof text, format, value);
#pragma GCC diagnostic pop
    assert_contains(out->data, text);
}

static void page_of_a_finished_study_has_every_part(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "id=\"choice\"", "id=\"step-0\"", "id=\"curves\"", "id=\"ranking\"", "id=\"candidates\"", "id=\"cost\"",
        "id=\"warnings\"", "id=\"recipe\"", "id=\"provenance\"", "aria-label=\"Averaged loss\"", "aria-label=\"Raw loss\"",
        "aria-label=\"Agreement a(t)\"", "transition: step 549", "ranked at k = 659", "The last stretch", "Two orders.",
        "It has the lowest loss at k and the best prediction.", "2 candidates are in tie group 1",
        "Settled: the transition was found at step 549.", "identity would have been picked (2.0500); it is now number 8 of 8.",
        "3.4 % of the exhaustive search", "6.1 TFLOP", "180 TFLOP", "dropout 0.1 is trained as 0", "learning_rate_scale",
        "ckpt_1", "data_2", "study_01", "gpt2, 3 layers, width 64", "Grown from gpt2, 3 layers",
        "1 of 8 candidates compute what the small model computed"};
    static const char *const warnings[] = {"dropout 0.1 is trained as 0"};
    struct finished f;
    struct buffer out, recipe;
    finished_init(&f, DEMO_REQUEST);
    struct study_view view = finished_view(&f);
    view.warnings = warnings;
    view.warning_count = 1;
    buffer_init(&recipe);
    response_recipe(&recipe, &view);
    view.recipe = recipe.data;
    page_of(&view, &out);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) assert_contains(out.data, parts[i]);
    for (int i = 0; i < 8; i++) {
        const struct ranking_row *row = &f.outcome.ranking.rows[i];
        assert_contains(out.data, f.spec.candidates[i].name);
        assert_number(&out, ">%.4f<", row->loss);
        assert_number(&out, ">%.4f<", row->predicted_final_loss);
        assert_number(&out, ">%.4f<", row->loss_at_0);
        assert_number(&out, ">%.4f<", row->loss_at_transition);
        if (i) assert_number(&out, ">%+.4f<", -row->margin);
    }
    assert_int_equal(count_of(out.data, "<tr class=\"first\">"), 2);          /* the choice, in both tables */
    assert_int_equal(count_of(out.data, "<svg class=\"whisker"), 8);
    assert_int_equal(count_of(out.data, "<svg class=\"whisker tied"), 2);
    buffer_fini(&out);
    buffer_fini(&recipe);
    finished_fini(&f);
}

/* One circle per deciding point at which a(t) is defined, filled where the rule held. */
static void agreement_curve_is_the_rules_own(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    int defined = 0, held = 0;
    finished_init(&f, DEMO_REQUEST);
    for (int i = 1; i < f.study.grid.count && f.study.grid.steps[i] <= 659; i++) {
        struct decision decision;
        struct error error = {0};
        if (!f.study.grid.geometric[i]) continue;
        assert_ok(agreement_judge(&f.study, f.study.grid.steps[i], &decision, &error), &error);
        defined += isfinite(decision.agreement);
        held += isfinite(decision.agreement) && decision.holds;
    }
    page_of_finished(&f, &out);
    assert_true(defined > 8);
    assert_int_equal(count_of(out.data, "<circle class=\"yes\""), held);
    assert_int_equal(count_of(out.data, "<circle class=\"no\""), defined - held);
    assert_contains(out.data, "before k_min");
    buffer_fini(&out);
    finished_fini(&f);
}

static void decisions_that_were_taken_are_shown_as_taken(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    struct decision taken = {.kind = DECISION_CONTINUE, .step = 659, .agreement = 0.25, .live = 8, .best_now = 0,
                             .best_predicted = 1, .reason = "as it was decided"};
    finished_init(&f, DEMO_REQUEST);
    f.study.decisions = &taken;
    f.study.decision_count = 1;
    page_of_finished(&f, &out);
    f.study.decisions = NULL;
    assert_contains(out.data, "<title>step 659: as it was decided</title>");
    buffer_fini(&out);
    finished_fini(&f);
}

static void raw_and_averaged_curves_are_two_drawings(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < f.study.candidates[i].curve.count; j++) f.study.candidates[i].curve.points[j].raw_loss += 50;
    page_of_finished(&f, &out);
    const char *averaged = strstr(out.data, "aria-label=\"Averaged loss\""), *raw = strstr(out.data, "aria-label=\"Raw loss\"");
    assert_true(averaged && raw && averaged < raw);
    const char *high = strstr(averaged, ">52.0<");                            /* a tick of the raw axis */
    assert_true(high && high > raw);
    buffer_fini(&out);
    finished_fini(&f);
}

static void hostile_names_are_escaped(void **state)
{
    (void)state;
    static const char *const warnings[] = {"</li></ul><script>alert(3)</script>", "a & b \"c\" 'd'"};
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    snprintf(f.spec.name, sizeof f.spec.name, "</title><script>alert(1)</script>");
    snprintf(f.spec.candidates[0].name, SPEC_NAME_MAX + 1, "<script>alert(\"2\")</script>");
    snprintf(f.spec.candidates[1].name, SPEC_NAME_MAX + 1, "\" onload=\"x\" \xff\xfe \x01 &amp;");
    snprintf(f.spec.checkpoint, sizeof f.spec.checkpoint, "<img src=x onerror=alert(4)>");
    snprintf(f.spec.data.train, sizeof f.spec.data.train, "</pre><script>");
    snprintf(f.outcome.choice_reason, sizeof f.outcome.choice_reason, "\"<script>\" is best");
    f.study.candidates[2].state = CANDIDATE_FAILED;
    snprintf(f.study.candidates[2].reason, 256, "<script>alert(5)</script>");
    struct study_view view = finished_view(&f);
    view.warnings = warnings;
    view.warning_count = 2;
    view.reason = "<script>alert(6)</script>";
    view.recipe = "{\"study\": \"<script>alert(7)</script>\", \"data\": {\"train\": \"</pre>\"}}";
    buffer_init(&out);
    response_report(&out, &view);
    assert_false(out.failed);
    assert_well_formed(out.data + strlen(DOCTYPE));
    assert_null(strstr(out.data, "<script"));
    assert_null(strstr(out.data, "<img"));
    assert_null(strstr(out.data, "\" onload=\""));
    for (int i = 1; i <= 7; i++) {
        char text[64];
        if (i == 2 || i == 4) continue;
        snprintf(text, sizeof text, "&lt;script&gt;alert(%d)&lt;/script&gt;", i);
        assert_contains(out.data, text);
    }
    assert_contains(out.data, "&lt;script&gt;alert(&quot;2&quot;)&lt;/script&gt;");
    buffer_fini(&out);
    finished_fini(&f);
}

static void numbers_that_are_not_there_are_dashes(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    f.outcome.agreement = f.outcome.rank_agreement_at_0 = f.outcome.cost_fraction = NAN;
    f.outcome.search_flops = f.outcome.exhaustive_flops = NAN;
    for (int i = 0; i < 8; i++) {
        struct ranking_row *row = &f.outcome.ranking.rows[i];
        row->loss = row->score = row->margin = row->standard_error = row->p_best = row->slope = NAN;
        row->predicted_final_loss = row->loss_at_0 = row->loss_at_transition = row->flops_spent = INFINITY;
        f.study.candidates[i].preservation = f.study.candidates[i].seconds = NAN;
        f.outcome.knees[i] = NAN;
        for (int j = 0; j < f.study.candidates[i].curve.count; j++) f.study.candidates[i].curve.points[j].raw_loss = NAN;
    }
    page_of_finished(&f, &out);
    assert_contains(out.data, "–");
    assert_contains(out.data, "no evaluation yet");                           /* of the raw curves */
    buffer_fini(&out);
    for (int i = 0; i < 8; i++) {
        struct curve *curve = &f.study.candidates[i].curve;
        for (int j = 0; j < curve->count; j++) curve->points[j].loss = j % 3 ? NAN : 1e30;
    }
    page_of_finished(&f, &out);
    buffer_fini(&out);
    finished_fini(&f);
}

static void one_candidate_and_sixty_four_have_a_page(void **state)
{
    (void)state;
    static const int counts[] = {1, 2, 64};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        struct buffer request, out;
        struct finished f;
        buffer_init(&request);
        buffer_text(&request, "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, \"candidates\": [");
        for (int i = 0; i < counts[c]; i++)
            buffer_format(&request, "%s{\"name\": \"number_%d_of_a_name_that_is_as_long_as_names_may_be_and_unbroken\", "
                          "\"operators\": [{\"op\": \"stack\", \"layers\": 6}]}", i ? ", " : "", i);
        buffer_text(&request, "]}");
        finished_init(&f, request.data);
        page_of_finished(&f, &out);
        assert_int_equal(count_of(out.data, "<svg class=\"swatch\""), 3 * counts[c]);   /* legend and two tables */
        assert_int_equal(count_of(out.data, "Two orders.") > 0, counts[c] > 1);
        assert_int_equal(count_of(out.data, "aria-label=\"Agreement a(t)\"") > 0, counts[c] >= 4);
        assert_contains(out.data, "study</h1>");                              /* the name where none is given */
        buffer_fini(&out);
        buffer_fini(&request);
        finished_fini(&f);
    }
}

/* Diverged, eliminated, failed, copied: each is named with what became of it, and step 0's pick may be among them. */
static void candidates_that_did_not_complete_are_told(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    const enum candidate_state_name states[] = {CANDIDATE_DIVERGED, CANDIDATE_ELIMINATED, CANDIDATE_FAILED};
    for (int i = 5; i < 8; i++) {
        struct ranking_row *row = &f.outcome.ranking.rows[i];
        row->tie_group = 0;
        row->loss = row->score = row->margin = row->p_best = NAN;
        f.study.candidates[row->candidate].state = states[7 - i];
    }
    struct candidate *first = &f.study.candidates[f.outcome.ranking.rows[7].candidate];       /* identity */
    first->diverged_step = 40;
    snprintf(first->reason, sizeof first->reason, "its loss is not a number");
    f.study.candidates[f.outcome.ranking.rows[3].candidate].same_as = f.outcome.ranking.rows[2].candidate;
    f.outcome.ranking.completed = 5;
    page_of_finished(&f, &out);
    assert_contains(out.data, "diverged at step 40: its loss is not a number");
    assert_contains(out.data, "<small>eliminated</small>");
    assert_contains(out.data, "<small>failed</small>");
    assert_contains(out.data, "<small>same weights as ");
    assert_contains(out.data, "identity would have been picked (2.0500); it is now diverged.");
    assert_contains(out.data, "It did not come to step 659");
    assert_int_equal(count_of(out.data, "<tr class=\"dead"), 6);
    buffer_fini(&out);
    finished_fini(&f);
}

static void study_without_a_transition_says_why_and_what_to_do(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    f.outcome.settled = f.outcome.has_transition = false;
    snprintf(f.outcome.provisional_reason, sizeof f.outcome.provisional_reason, "the cap came first; raise max_k to 2000");
    page_of_finished(&f, &out);
    assert_contains(out.data, "<span class=\"pill\">provisional</span></p>");
    assert_contains(out.data, "no transition was found");
    assert_contains(out.data, "Provisional: the cap came first; raise max_k to 2000");
    assert_null(strstr(out.data, "transition: step"));
    buffer_fini(&out);
    finished_fini(&f);
}

static void study_that_is_not_decided_has_a_page_of_what_there_is(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    struct study_view view = finished_view(&f);
    view.outcome = NULL;
    f.study.finished = false;
    page_of(&view, &out);
    assert_contains(out.data, "not decided yet");
    assert_contains(out.data, "id=\"curves\"");
    assert_null(strstr(out.data, "id=\"ranking\""));
    buffer_fini(&out);
    view.study = NULL;
    buffer_init(&out);
    response_report(&out, &view);
    assert_well_formed(out.data + strlen(DOCTYPE));
    assert_contains(out.data, "The study has not begun.");
    buffer_fini(&out);
    view = finished_view(&f);
    f.study.finished = true;
    f.outcome.choice = -1;
    f.outcome.k = 0;
    for (int i = 0; i < 8; i++) f.outcome.ranking.rows[i].tie_group = 0;
    f.outcome.ranking.completed = 0;
    page_of(&view, &out);
    assert_contains(out.data, "none completed");
    assert_contains(out.data, "nothing chosen");
    buffer_fini(&out);
    finished_fini(&f);
}

/* d = slope * (ln(t + 10) - ln(k + 10)): the picked one's line comes to the choice's loss after so many steps more. */
static void what_step_0_would_have_cost_is_in_page_and_json(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out, json;
    struct error error = {0};
    cJSON *tree;
    finished_init(&f, DEMO_REQUEST);
    const struct ranking_row *choice = &f.outcome.ranking.rows[0], *picked = &f.outcome.ranking.rows[7];
    double behind = picked->loss - choice->loss, more = 669 * (exp(behind / 0.08) - 1);
    struct study_view view = finished_view(&f);
    struct candidate_files files = {.view = &view, .candidate = 0, .step = 659};
    page_of(&view, &out);
    assert_number(&out, "its loss lies %.4f nats above the choice&#39;s (standard error 0.0040)", behind);
    assert_number(&out, "about %.0f more steps", more);
    buffer_init(&json);
    response_candidate_report(&json, &files);
    assert_ok(json_read(json.data, json.length, &tree, &error), &error);
    const cJSON *result = json_member(tree, "result"), *start = json_member(result, "step_0");
    assert_string_equal(json_member(start, "candidate")->valuestring, "identity");
    assert_true(json_member(start, "behind")->valuedouble == behind);
    assert_near(json_member(start, "more_steps")->valuedouble, more, 1e-6 * more);
    assert_true(json_member(start, "rank")->valuedouble == 8);
    assert_int_equal(cJSON_GetArraySize(json_member(result, "ranking")), 8);
    assert_true(json_member(json_member(result, "cost"), "fraction")->valuedouble == 0.034);
    const cJSON *steps = json_member(result, "agreement"), *step;
    int defined = 0;
    cJSON_ArrayForEach(step, steps) {
        char mark[64];
        if (!cJSON_IsNumber(json_member(step, "agreement"))) continue;
        defined++;
        snprintf(mark, sizeof mark, "<title>step %.0f: ", json_member(step, "step")->valuedouble);
        assert_contains(out.data, mark);
    }
    assert_int_equal(defined, count_of(out.data, "<circle class=\"yes\"") + count_of(out.data, "<circle class=\"no\""));
    cJSON_Delete(tree);
    buffer_fini(&json);
    buffer_fini(&out);
    f.outcome.choice = picked->candidate;                                     /* the same pick: nothing was lost */
    page_of(&view, &out);
    assert_contains(out.data, "The search confirmed that pick.");
    buffer_fini(&out);
    finished_fini(&f);
}

static void stages_come_below_their_overview(void **state)
{
    (void)state;
    static const char result[] =
        "{\"id\": \"study_9\", \"name\": \"in <stages>\", \"state\": \"succeeded\", \"cost\": {\"search_flops\": 1e12, "
        "\"exhaustive_flops\": 4e12}, \"stages\": [{\"stage\": 1, \"layers\": 4, \"steps\": 70, \"state\": \"succeeded\", \"k\": "
        "51, \"status\": \"settled\", \"choice\": {\"candidate\": \"<b>stack\"}, \"ranking\": [{\"p_best\": 0.75}], \"loss\": "
        "2.5}, {\"stage\": 2, \"layers\": 6, \"steps\": 80, \"state\": \"searching\", \"k\": null, \"status\": null, \"choice\": "
        "null, \"ranking\": null, \"loss\": null}], \"comparison\": {\"steps\": 150, \"reason\": \"<i>why\", \"ranking\": "
        "[{\"rank\": 1, \"candidate\": \"adaptive\", \"state\": \"completed\", \"loss\": 2.4, \"p_best\": 1, \"margin\": -0.1, "
        "\"standard_error\": 0.01}, {\"rank\": 2, \"candidate\": \"middle\", \"state\": \"completed\", \"loss\": 2.5, \"margin\": "
        "-0.1, \"standard_error\": 0.01, \"p_best\": 0}]}}";
    struct finished f;
    struct buffer first, out;
    finished_init(&f, DEMO_REQUEST);
    page_of_finished(&f, &first);
    const char *const both[] = {first.data, first.data}, *const one[] = {first.data, NULL};
    buffer_init(&out);
    response_stages_report(&out, result, both, 2);
    assert_page_is_sound(&out);
    assert_names_are_unique(out.data);
    assert_int_equal(count_of(out.data, "<main>") + count_of(out.data, "</main>"), 2);
    assert_int_equal(count_of(out.data, "aria-label=\"Averaged loss\""), 2);
    assert_contains(out.data, "&lt;b&gt;stack");
    assert_contains(out.data, "&lt;i&gt;why");
    assert_contains(out.data, "After 150 steps each");
    assert_contains(out.data, "url(#stage-2-averaged)");
    buffer_fini(&out);
    buffer_init(&out);
    response_stages_report(&out, result, one, 2);
    assert_page_is_sound(&out);
    assert_int_equal(count_of(out.data, "<article"), 1);
    buffer_fini(&out);
    buffer_fini(&first);
    finished_fini(&f);
}

static void lack_of_memory_is_told_at_every_allocation(void **state)
{
    (void)state;
    struct finished f;
    finished_init(&f, DEMO_REQUEST);
    int counts[8];
    for (int i = 0; i < 8; i++) {
        counts[i] = f.study.candidates[i].curve.count;
        f.study.candidates[i].curve.count = 12;       /* a short study: fewer allocations */
    }
    f.outcome.k = f.study.candidates[0].curve.points[11].step;
    struct study_view view = finished_view(&f);
    view.recipe = "{\"step\": 1}";
    for (int64_t n = 1;; n++) {
        struct buffer out;
        buffer_init(&out);
        fault_arm(FAULT_ALLOC, n);
        response_report(&out, &view);
        int64_t crossed = fault_count(FAULT_ALLOC);
        fault_arm(FAULT_ALLOC, 0);
        bool failed = out.failed;
        buffer_fini(&out);
        if (crossed < n) {
            assert_false(failed);
            assert_true(n > 20);
            break;
        }
        assert_true(failed);
    }
    for (int i = 0; i < 8; i++) f.study.candidates[i].curve.count = counts[i];
    finished_fini(&f);
}

TEST_MAIN(cmocka_unit_test(page_of_a_finished_study_has_every_part), cmocka_unit_test(agreement_curve_is_the_rules_own),
          cmocka_unit_test(decisions_that_were_taken_are_shown_as_taken),
          cmocka_unit_test(raw_and_averaged_curves_are_two_drawings), cmocka_unit_test(hostile_names_are_escaped),
          cmocka_unit_test(numbers_that_are_not_there_are_dashes), cmocka_unit_test(one_candidate_and_sixty_four_have_a_page),
          cmocka_unit_test(candidates_that_did_not_complete_are_told),
          cmocka_unit_test(study_without_a_transition_says_why_and_what_to_do),
          cmocka_unit_test(study_that_is_not_decided_has_a_page_of_what_there_is),
          cmocka_unit_test(what_step_0_would_have_cost_is_in_page_and_json),
          cmocka_unit_test(stages_come_below_their_overview), cmocka_unit_test(lack_of_memory_is_told_at_every_allocation))
