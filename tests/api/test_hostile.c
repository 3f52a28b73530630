/* Broken and short-of-memory: no truncation or changed byte of a request crashes, no failed allocation leaks (run under
 * the address sanitizer's leak check). */
#include "tests/api/fixture.h"

static const char SMALL[] =
    "{\"checkpoint\": \"c\", \"data\": {\"train\": \"t\"}, \"candidates\": [{\"operators\": [{\"op\": \"layer_map\", "
    "\"map\": [0, 1, 2, null]}]}, {\"name\": \"w\", \"operators\": [{\"op\": \"hyperclone\", \"width\": 128}, "
    "{\"op\": \"identity\", \"layers\": 5, \"placement\": [1, 3]}]}], \"training\": {\"optimizer\": {\"betas\": "
    "[0.9, 0.99]}, "
    "\"schedule\": {\"name\": \"wsd\", \"decay_steps\": 10}}, \"selection\": {\"k\": \"auto\"}}";

/* Refused with a reason, or accepted; then everything is given back. */
static bool try_text(const char *text, size_t length)
{
    struct study_spec spec;
    struct error error = {0};
    int code = resolve_text(text, length, &spec, &error);
    assert_int_equal(code, error.code);
    if (code) {
        assert_true(code == ERROR_SYNTAX || code == ERROR_INVALID || code == ERROR_NO_MEMORY);
        assert_true(strlen(error.message) > 0);
        for (int i = 0; i < error.detail_count; i++) assert_true(strlen(error.details[i].text) > 0);
        return false;
    }
    study_spec_fini(&spec);
    return true;
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t length = 0; length < strlen(SMALL); length++) {
        char *copy = memory_new(length + 1);    /* exactly as long: reading past it is seen by the sanitizer */
        assert_non_null(copy);
        memcpy(copy, SMALL, length);
        assert_false(try_text(copy, length));
        memory_free(copy);
    }
    assert_true(try_text(SMALL, strlen(SMALL)));
}

static void every_changed_byte_is_judged_without_a_crash(void **state)
{
    (void)state;
    static const char others[] = "\"\\{}[],:0-9e.\x01\xFF au";
    char copy[sizeof SMALL];
    int accepted = 0, refused = 0;
    for (size_t i = 0; i < strlen(SMALL); i++) {
        for (size_t j = 0; j < sizeof others; j++) {    /* the final NUL too */
            memcpy(copy, SMALL, sizeof SMALL);
            copy[i] = others[j];
            if (try_text(copy, strlen(SMALL))) accepted++;
            else refused++;
        }
    }
    print_message("    %d accepted, %d refused\n", accepted, refused);
    assert_true(accepted > 20 && refused > 5000);
}

static void every_failed_allocation_of_a_request_is_survived(void **state)
{
    (void)state;
    int rounds = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct study_spec spec;
        struct error error = {0};
        int code = resolve_text(SMALL, strlen(SMALL), &spec, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            study_spec_fini(&spec);
        }
        rounds++;
    }
    print_message("    %d rounds\n", rounds);
    assert_true(rounds > 60);
}

/* Each writer under the sweep: a failed allocation shows in the buffer, never as a text that is whole but other. */
static void sweep_writer(const char *what, void (*write)(struct buffer *out, const struct finished *f),
                         const struct finished *f)
{
    int rounds = 0;
    struct buffer whole;
    buffer_init(&whole);
    write(&whole, f);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct buffer out;
        buffer_init(&out);
        write(&out, f);
        if (!fault_struck(FAULT_ALLOC, n)) assert_string_equal(out.data, whole.data);
        else assert_true(out.failed);
        buffer_fini(&out);
        rounds++;
    }
    buffer_fini(&whole);
    print_message("    %s: %d rounds\n", what, rounds);
    assert_true(rounds > 2);
}

static void write_study(struct buffer *out, const struct finished *f)
{
    struct study_view view = finished_view(f);
    response_study(out, &view);
}
static void write_echo(struct buffer *out, const struct finished *f) { request_echo(&f->spec, out); }
static void write_plot(struct buffer *out, const struct finished *f)
{
    response_plot(out, &f->study, &f->outcome, "x");
}
static void write_table(struct buffer *out, const struct finished *f)
{
    response_table(out, &f->study, &f->outcome, 80);
}
static void write_csv(struct buffer *out, const struct finished *f) { response_curves_csv(out, &f->study); }
static void write_curves(struct buffer *out, const struct finished *f) { response_curves_json(out, &f->study); }
static void write_operators(struct buffer *out, const struct finished *f)
{
    (void)f;
    response_operators(out);
    response_operators_text(out, 80);
}
static void write_recipe(struct buffer *out, const struct finished *f)
{
    struct study_view view = finished_view(f);
    response_recipe(out, &view);
}
static void write_files(struct buffer *out, const struct finished *f)
{
    struct study_view view = finished_view(f);
    struct candidate_files files = {.view = &view, .candidate = 1, .step = 1, .tokens_seen = 2, .data_cursor = 3};
    response_candidate_report(out, &files);
    response_candidate_card(out, &files);
}

static void every_failed_allocation_of_a_response_is_survived(void **state)
{
    (void)state;
    static const struct { const char *what; void (*write)(struct buffer *out, const struct finished *f); } writers[] = {
        {"study", write_study}, {"echo", write_echo}, {"plot", write_plot}, {"table", write_table}, {"csv", write_csv},
        {"curves", write_curves}, {"operators", write_operators}, {"recipe", write_recipe}, {"files", write_files}};
    struct finished f;
    finished_init(&f, DEMO_REQUEST);
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++) sweep_writer(writers[i].what, writers[i].write, &f);
    finished_fini(&f);
}

static void every_failed_allocation_of_a_dry_run_is_survived(void **state)
{
    (void)state;
    struct study_spec spec;
    struct error error = {0};
    struct shape parent = parent_shape();
    assert_ok(resolve_text(SMALL, strlen(SMALL), &spec, &error), &error);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct buffer out;
        buffer_init(&out);
        error_clear(&error);
        int code = response_validate(&out, &spec, &parent, (struct response_speed){1e9, 1e9}, 1, &error);
        if (fault_struck(FAULT_ALLOC, n)) assert_fails(code, ERROR_NO_MEMORY, &error);
        else assert_ok(code, &error);
        buffer_fini(&out);
    }
    study_spec_fini(&spec);
}

static void every_failed_allocation_of_a_recipe_is_survived(void **state)
{
    (void)state;
    struct finished f;
    struct buffer text;
    struct shape shape = parent_shape();
    finished_init(&f, DEMO_REQUEST);
    buffer_init(&text);
    write_recipe(&text, &f);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct recipe recipe;
        struct error error = {0};
        int code = recipe_read(text.data, text.length, &shape, &recipe, &error);
        if (fault_struck(FAULT_ALLOC, n)) assert_fails(code, ERROR_NO_MEMORY, &error);
        else assert_ok(code, &error);
    }
    buffer_fini(&text);
    finished_fini(&f);
}

TEST_MAIN(cmocka_unit_test(every_truncation_is_refused), cmocka_unit_test(every_changed_byte_is_judged_without_a_crash),
          cmocka_unit_test(every_failed_allocation_of_a_request_is_survived),
          cmocka_unit_test(every_failed_allocation_of_a_response_is_survived),
          cmocka_unit_test(every_failed_allocation_of_a_dry_run_is_survived),
          cmocka_unit_test(every_failed_allocation_of_a_recipe_is_survived))
