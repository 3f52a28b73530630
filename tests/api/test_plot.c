/* The plot and the terminal table: well-formed, finite, escaped, within their width. */
#include "tests/api/fixture.h"
#include "tests/api/xml.h"

static void assert_plot_is_sound(const struct buffer *out)
{
    assert_false(out->failed);
    assert_true(assert_well_formed(out->data) > 30);
    assert_null(strstr(out->data, "nan"));
    assert_null(strstr(out->data, "inf"));
    assert_null(strstr(out->data, "NaN"));
    assert_contains(out->data, "prefers-color-scheme:dark");
}

static void plot_of_a_finished_study_shows_everything(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    buffer_init(&out);
    response_plot(&out, &f.study, &f.outcome, "a & b <c>");
    assert_plot_is_sound(&out);
    assert_contains(out.data, "viewBox=\"0 0 960 540\"");
    assert_contains(out.data, "a &amp; b &lt;c&gt;");
    assert_contains(out.data, "transition: step 549");
    assert_contains(out.data, "ranked at k = 659");
    assert_contains(out.data, "the last stretch, enlarged");
    for (int i = 0; i < 8; i++) assert_contains(out.data, f.spec.candidates[i].name);
    assert_int_equal(count_of(out.data, "<path class=\"curve c0 d0 best\""), 3);    /* both panels, legend */
    buffer_fini(&out);
    finished_fini(&f);
}

/* Every x of a curve lies within its panel, left of the legend. */
static void no_curve_reaches_into_the_legend(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    buffer_init(&out);
    response_plot(&out, &f.study, &f.outcome, "x");
    char *group = strstr(out.data, "clip-path=\"url(#curves)\"");
    assert_non_null(group);
    *strstr(group, "</g>") = 0;
    int points = 0;
    for (const char *at = group; (at = strpbrk(at, "ML")); at++) {
        char *end;
        double x = strtod(at + 1, &end);
        if (end == at + 1) continue;
        assert_true(x >= 60 && x <= 592);
        points++;
    }
    assert_true(points > 8 * 20);
    buffer_fini(&out);
    finished_fini(&f);
}

static void plot_survives_spikes_nan_and_missing_points(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    f.study.candidates[0].curve.points[5].loss = 1e30;
    f.study.candidates[1].curve.points[6].loss = NAN;
    f.study.candidates[2].curve.points[0].loss = INFINITY;
    f.study.candidates[3].curve.points[9].loss = -INFINITY;
    for (int i = 0; i < f.study.candidates[4].curve.count; i++) f.study.candidates[4].curve.points[i].loss = NAN;
    f.outcome.ranking.rows[3].loss = f.outcome.ranking.rows[3].margin = NAN;
    buffer_init(&out);
    response_plot(&out, &f.study, &f.outcome, "spikes");
    assert_plot_is_sound(&out);
    assert_contains(out.data, "higher losses are cut off");
    buffer_fini(&out);
    int counts[8];
    for (int i = 0; i < 8; i++) counts[i] = f.study.candidates[i].curve.count;
    for (int i = 0; i < 8; i++) f.study.candidates[i].curve.count = 0;
    buffer_init(&out);
    response_plot(&out, &f.study, NULL, "nothing yet");
    assert_plot_is_sound(&out);
    assert_contains(out.data, "no evaluation yet");
    buffer_fini(&out);
    for (int i = 0; i < 8; i++) f.study.candidates[i].curve.count = 1;
    buffer_init(&out);
    response_plot(&out, &f.study, NULL, "one point");
    assert_plot_is_sound(&out);
    buffer_fini(&out);
    for (int i = 0; i < 8; i++) f.study.candidates[i].curve.points[0].loss = 2;
    buffer_init(&out);
    response_plot(&out, &f.study, NULL, "one value");
    assert_plot_is_sound(&out);
    buffer_fini(&out);
    for (int i = 0; i < 8; i++) f.study.candidates[i].curve.count = counts[i];    /* what is there is given back */
    finished_fini(&f);
}

/* 64 candidates: the picture grows, every curve keeps a look of its own. */
static void sixty_four_candidates_stay_apart(void **state)
{
    (void)state;
    struct buffer request, out;
    struct finished f;
    buffer_init(&request);
    buffer_text(&request, "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, \"candidates\": [");
    for (int i = 0; i < 64; i++)
        buffer_format(&request,
                      "%s{\"name\": \"a rather long candidate name number %d\", \"operators\": [{\"op\": \"stack\", "
                      "\"layers\": 6}]}",
                      i ? ", " : "", i);
    buffer_text(&request, "]}");
    finished_init(&f, request.data);
    buffer_init(&out);
    response_plot(&out, &f.study, &f.outcome, "many");
    assert_plot_is_sound(&out);
    for (int i = 0; i < 8; i++) {
        for (int d = 0; d < 8; d++) {
            char class[40];
            snprintf(class, sizeof class, "<path class=\"curve c%d d%d\" d=\"M628", i, d);
            int rows = count_of(out.data, class);
            snprintf(class, sizeof class, "<path class=\"curve c%d d%d best\" d=\"M628", i, d);
            rows += count_of(out.data, class);
            assert_int_equal(rows, 1);
        }
    }
    buffer_fini(&out);
    buffer_fini(&request);
    finished_fini(&f);
}

/* ---- table ---- */

static int widest_line(const char *text)
{
    int widest = 0, width = 0;
    for (; *text; text++) {
        width = *text == '\n' ? 0 : width + (((unsigned char)*text & 0xC0) != 0x80);
        if (width > widest) widest = width;
    }
    return widest;
}

static void table_keeps_within_the_columns(void **state)
{
    (void)state;
    struct finished f;
    finished_init(&f, DEMO_REQUEST);
    snprintf(f.spec.candidates[2].name, SPEC_NAME_MAX + 1, "éééééééééééééééééééééééééééé");
    f.study.candidates[7].state = CANDIDATE_DIVERGED;
    for (int columns = 40; columns <= 200; columns++) {
        struct buffer out;
        buffer_init(&out);
        response_table(&out, &f.study, &f.outcome, columns);
        assert_false(out.failed);
        if (widest_line(out.data) > columns) fail_msg("%d columns:\n%s", columns, out.data);
        if (columns >= 60) assert_contains(out.data, "P(best)");
        assert_contains(out.data, "diverged");
        buffer_fini(&out);
    }
    finished_fini(&f);
}

static void table_says_what_step_0_would_have_picked(void **state)
{
    (void)state;
    struct finished f;
    struct buffer out;
    finished_init(&f, DEMO_REQUEST);
    buffer_init(&out);
    response_table(&out, &f.study, &f.outcome, 300);
    assert_contains(out.data, "identity would have been picked (2.0500); it is now number 8 of 8.");
    assert_contains(out.data, "Picked at step 659: stack, with probability 0.91");
    assert_contains(out.data, "2 candidates are in tie group 1");
    assert_contains(out.data, "Settled: the transition was found at step 549.");
    buffer_fini(&out);
    f.outcome.settled = false;
    snprintf(f.outcome.provisional_reason, sizeof f.outcome.provisional_reason, "raise max_k.");
    f.outcome.choice = -1;
    buffer_init(&out);
    response_table(&out, &f.study, &f.outcome, 300);
    assert_contains(out.data, "Provisional: raise max_k.");
    assert_contains(out.data, "nothing was picked");
    buffer_fini(&out);
    buffer_init(&out);
    response_table(&out, &f.study, NULL, 80);
    assert_contains(out.data, "There is no ranking yet.");
    buffer_fini(&out);
    finished_fini(&f);
}

TEST_MAIN(cmocka_unit_test(plot_of_a_finished_study_shows_everything),
          cmocka_unit_test(no_curve_reaches_into_the_legend),
          cmocka_unit_test(plot_survives_spikes_nan_and_missing_points),
          cmocka_unit_test(sixty_four_candidates_stay_apart), cmocka_unit_test(table_keeps_within_the_columns),
          cmocka_unit_test(table_says_what_step_0_would_have_picked))
