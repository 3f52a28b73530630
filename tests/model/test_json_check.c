#include <string.h>

#include "base/memory.h"
#include "model/config.h"
#include "tests/support/support.h"

#define LITERAL(text) text, sizeof text - 1

static void valid_json_is_accepted(void **state)
{
    (void)state;
    static const struct { const char *text; size_t length; } rows[] = {
        {LITERAL("{}")}, {LITERAL("[]")}, {LITERAL(" null ")}, {LITERAL("true")}, {LITERAL("\"\"")}, {LITERAL("0")},
        {LITERAL("-0")}, {LITERAL("-12.5e+10")}, {LITERAL("1E-7")}, {LITERAL("[1,2,[3,{\"a\":[]}]]")},
        {LITERAL("{\"a\":1,\"b\":{\"a\":1}}")}, {LITERAL("9007199254740992")}, {LITERAL("-9007199254740992")},
        {LITERAL("9007199254740993.0")}, {LITERAL("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uD83D\\uDE00\"")},
        {LITERAL("\"\xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80 \x7F\"")}, {LITERAL("{\"a\":1,\"A\":2,\"\":3}")},
        {LITERAL("1e308")}, {LITERAL("1e-999")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        assert_ok(json_check(rows[i].text, rows[i].length, 8, &error), &error);
    }
}

static void what_cjson_lets_through_is_refused(void **state)
{
    (void)state;
    static const struct { const char *text; size_t length; const char *words; } rows[] = {
        {LITERAL(""), "ends too early"},
        {LITERAL("  "), "ends too early"},
        {LITERAL("{\"a\":1,\"a\":2}"), "there twice"},
        {LITERAL("{\"a\":1,\"\\u0061\":2}"), "there twice"},
        {LITERAL("[04]"), "leading zero"},
        {LITERAL("[-]"), "without digits"},
        {LITERAL("[.5]"), "'.' stands where a value"},
        {LITERAL("[1.]"), "after the point"},
        {LITERAL("[+1]"), "'+' stands"},
        {LITERAL("[0x10]"), "'x' stands"},
        {LITERAL("[1,]"), "']' stands where a value"},
        {LITERAL("[,1]"), "',' stands"},
        {LITERAL("{\"a\":1,}"), "a key in quotes"},
        {LITERAL("{\"a\"}"), "':'"},
        {LITERAL("{} x"), "after the end"},
        {LITERAL("{}\0"), "NUL padding"},
        {LITERAL("\xEF\xBB\xBF{}"), "byte-order mark"},
        {LITERAL("[\"a\tb\"]"), "raw control"},
        {LITERAL("[\"\xFF\"]"), "Invalid UTF-8"},
        {LITERAL("[\"\\uD800\"]"), "lone surrogate"},
        {LITERAL("[\"\\u0000\"]"), "\\u0000"},
        {LITERAL("[NaN]"), "NaN and Infinity"},
        {LITERAL("[-Infinity]"), "NaN and Infinity"},
        {LITERAL("[1e999]"), "too large for a double"},
        {LITERAL("[True]"), "'T' stands"},
        {LITERAL("[truth]"), "'t' stands"},
        {LITERAL("[nullx]"), "'x' stands"},
        {LITERAL("[1 2]"), "',' or ']'"},
        {LITERAL("{\"a\":1 \"b\":2}"), "',' or '}'"},
        {LITERAL("[\"a"), "closing quote"},
        {LITERAL("[\"\\"), "unknown escape"},
        {LITERAL("[\"\\u12"), "four hexadecimal"},
        {LITERAL("[[[[[[[[[]]]]]]]]]"), "nested over 8 levels"},
        {LITERAL("// x\n{}"), "'/' stands"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        assert_fails(json_check(rows[i].text, rows[i].length, 8, &error), ERROR_SYNTAX, &error);
        assert_contains(error.message, rows[i].words);
        assert_contains(error.message, "at byte ");
    }
}

static void place_of_a_duplicate_or_a_large_integer_is_its_pointer(void **state)
{
    (void)state;
    static const struct { const char *text, *pointer; } rows[] = {
        {"{\"a\":[0,{\"b/c\":1,\"~\":2,\"b/c\":3}]}", "/a/1/b~1c"},
        {"{\"a\":{\"b\":[1,2,9007199254740993]}}", "/a/b/2"},
        {"{\"seed\":-9007199254740993}", "/seed"},
        {"[[],[],100000000000000000000]", "/2"},
        {"9007199254740993", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error error = {0};
        assert_fails(json_check(rows[i].text, strlen(rows[i].text), 8, &error), ERROR_SYNTAX, &error);
        assert_int_equal(error.detail_count, 1);
        assert_string_equal(error.details[0].pointer, rows[i].pointer);
    }
}

static void the_byte_offset_is_that_of_the_fault(void **state)
{
    (void)state;
    struct error error = {0};
    assert_fails(json_check(LITERAL("{\"a\": tru}"), 8, &error), ERROR_SYNTAX, &error);
    assert_contains(error.message, "at byte 6.");
}

static void depth_is_counted_from_the_outermost_value(void **state)
{
    (void)state;
    char deep[400];
    struct error error = {0};
    assert_ok(json_check(LITERAL("[[]]"), 2, &error), &error);
    assert_fails(json_check(LITERAL("[[]]"), 1, &error), ERROR_SYNTAX, &error);
    memset(deep, '[', sizeof deep);    /* a wish for more than the scanner keeps */
    error_clear(&error);
    assert_fails(json_check(deep, sizeof deep, 1000000, &error), ERROR_SYNTAX, &error);
    assert_contains(error.message, "nested over 128");
}

static void text_need_not_end_with_nul_and_is_not_changed(void **state)
{
    (void)state;
    static const char text[] = "[\"\\u0041\", 12]";
    struct error error = {0};
    char *exact = memory_new(sizeof text - 1);
    memcpy(exact, text, sizeof text - 1);
    assert_ok(json_check(exact, sizeof text - 1, 8, &error), &error);
    assert_memory_equal(exact, text, sizeof text - 1);
    memory_free(exact);
}

static void every_truncation_and_every_wrong_byte_is_judged_without_harm(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,-2.5e3,true,null,\"x\\u00e9\\ud83d\\ude00\xC3\xA9\"],\"b\":{\"c\":0}}";
    const size_t length = sizeof text - 1;
    for (size_t cut = 0; cut < length; cut++) {
        struct error error = {0};
        char *copy = memory_new(cut);
        memcpy(copy, text, cut);
        assert_fails(json_check(copy, cut, 8, &error), ERROR_SYNTAX, &error);
        memory_free(copy);
    }
    for (size_t at = 0; at < length; at++)
        for (int byte = 0; byte < 256; byte++) {
            struct error error = {0};
            char *copy = memory_new(length);
            memcpy(copy, text, length);
            copy[at] = (char)byte;
            int code = json_check(copy, length, 8, &error);
            assert_true(code == 0 || code == ERROR_SYNTAX);
            memory_free(copy);
        }
}

static void checking_without_memory_fails_cleanly(void **state)
{
    (void)state;
    int rounds = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        int code = json_check(LITERAL("{\"a\":{\"b\":1}}"), 8, &error);
        if (fault_struck(FAULT_ALLOC, n))
            assert_fails(code, ERROR_NO_MEMORY, &error);
        else
            assert_ok(code, &error);
        rounds++;
    }
    assert_int_equal(rounds, 4);
}

TEST_MAIN(cmocka_unit_test(valid_json_is_accepted), cmocka_unit_test(what_cjson_lets_through_is_refused),
          cmocka_unit_test(place_of_a_duplicate_or_a_large_integer_is_its_pointer),
          cmocka_unit_test(the_byte_offset_is_that_of_the_fault),
          cmocka_unit_test(depth_is_counted_from_the_outermost_value),
          cmocka_unit_test(text_need_not_end_with_nul_and_is_not_changed),
          cmocka_unit_test(every_truncation_and_every_wrong_byte_is_judged_without_harm),
          cmocka_unit_test(checking_without_memory_fails_cleanly))
