#include "tests/api/fixture.h"

#include "api/report.h"
#include "api/settings.h"

struct taken { char text[256]; };

static int take(void *context, const char *name, const char *value, struct error *error)
{
    struct taken *taken = context;
    size_t length = strlen(taken->text);

    if (strcmp(name, "refused") == 0)
        return error_set_at(error, ERROR_INVALID, name, "this one is refused");
    snprintf(taken->text + length, sizeof taken->text - length, "%s=%s;", name, value);
    return 0;
}

static int read_text(const char *text, struct taken *taken, struct error *error)
{
    *taken = (struct taken){ "" };
    return settings_read(text, strlen(text), take, taken, error);
}

static void members_come_in_order_as_text(void **state)
{
    struct error error = { 0 };
    struct taken taken;

    (void)state;
    assert_ok(read_text("{\"listen\": \"[::1]:0\", \"workers\": 2, \"insecure\": true}", &taken, &error), &error);
    assert_string_equal(taken.text, "listen=[::1]:0;workers=2;insecure=true;");
}

static void the_first_refusal_ends_the_reading(void **state)
{
    struct error error = { 0 };
    struct taken taken;

    (void)state;
    assert_fails(read_text("{\"a\": 1, \"refused\": 2, \"b\": 3}", &taken, &error), ERROR_INVALID, &error);
    assert_string_equal(taken.text, "a=1;");
}

static void what_is_no_flat_object_is_refused(void **state)
{
    static const char *const texts[] = { "[]", "{\"a\": []}", "{\"a\": {}}", "{\"a\": null}", "{\"a\": 1", "{\"a\": 1, \"a\": 2}" };

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error error = { 0 };
        struct taken taken;
        assert_true(read_text(texts[i], &taken, &error) != 0);
        assert_true(error.message[0] != '\0');
    }
}

static void members_are_found_by_name(void **state)
{
    (void)state;
    assert_true(settings_has_member("{\"average\": null}", 17, "average"));
    assert_false(settings_has_member("{\"steps\": 1}", 12, "average"));
    assert_false(settings_has_member("[]", 2, "average"));
}

static struct shape small_shape(void)
{
    return (struct shape){ .family = FAMILY_GPT2, .layers = 1, .width = 16, .heads = 2, .kv_heads = 2, .head_size = 8,
                           .ff = 64, .context = 32, .vocabulary = 256, .tied = true, .norm_epsilon = 1e-5 };
}

static void a_report_gives_the_defaults_of_eval(void **state)
{
    static const char text[] = "{\"training\": {}, \"data\": {\"format\": \"u16\", \"context\": 24, "
                               "\"valid_tokens\": 960, \"seed\": 7}}";
    struct shape shape = small_shape();
    struct report_data data;
    struct error error = { 0 };

    (void)state;
    assert_ok(report_parse(NULL, 0, &shape, &data, &error), &error);
    assert_int_equal(data.format, CORPUS_AUTO);
    assert_int_equal(data.context, 32);
    assert_int_equal(data.valid_tokens, 100000);
    assert_ok(report_parse(text, sizeof text - 1, &shape, &data, &error), &error);
    assert_int_equal(data.format, CORPUS_U16);
    assert_int_equal(data.context, 24);
    assert_int_equal(data.valid_tokens, 960);
    assert_int_equal(data.seed, 7);
}

static void a_report_with_nonsense_is_refused_with_the_way_out(void **state)
{
    static const char *const texts[] = { "{\"data\": {\"context\": 33}}", "{\"data\": {\"context\": 0}}",
                                         "{\"data\": {\"context\": 1.5}}",
                                         "{\"data\": {\"valid_tokens\": -1}}", "{\"data\": {\"format\": \"u24\"}}" };
    struct shape shape = small_shape();

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error error = { 0 };
        struct report_data data;
        assert_fails(report_parse(texts[i], strlen(texts[i]), &shape, &data, &error), ERROR_INVALID, &error);
        assert_contains(error.message, "lag_report.json");
        assert_contains(error.message, "remove the file");
    }
}

TEST_MAIN(cmocka_unit_test(members_come_in_order_as_text), cmocka_unit_test(the_first_refusal_ends_the_reading),
          cmocka_unit_test(what_is_no_flat_object_is_refused), cmocka_unit_test(members_are_found_by_name),
          cmocka_unit_test(a_report_gives_the_defaults_of_eval),
          cmocka_unit_test(a_report_with_nonsense_is_refused_with_the_way_out))
