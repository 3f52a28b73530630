#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "tests/support/support.h"

static void assert_escapes(void (*append)(struct buffer *, const char *), const char *text, const char *expected)
{
    struct buffer buffer;
    buffer_init(&buffer);
    append(&buffer, text);
    assert_false(buffer.failed);
    assert_string_equal(buffer.data, expected);
    assert_int_equal(buffer.length, strlen(expected));
    buffer_fini(&buffer);
}

static void pieces_are_joined_and_ended_by_nul(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer);
    assert_null(buffer.data);
    buffer_append(&buffer, "a\0b", 3);
    buffer_text(&buffer, "cd");
    buffer_format(&buffer, "%03d|%s", 7, "x");
    buffer_append(&buffer, NULL, 0);
    assert_int_equal(buffer.length, 10);
    assert_memory_equal(buffer.data, "a\0bcd007|x", 11);
    buffer_fini(&buffer);
    assert_null(buffer.data);
}

static void growth_keeps_every_byte(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer);
    for (int i = 0; i < 20000; i++)
        buffer_format(&buffer, "%d,", i);
    const char *cursor = buffer.data;
    for (int i = 0; i < 20000; i++) {
        char expected[16];
        int length = snprintf(expected, sizeof expected, "%d,", i);
        assert_memory_equal(cursor, expected, (size_t)length);
        cursor += length;
    }
    assert_int_equal(cursor - buffer.data, buffer.length);
    assert_int_equal(*cursor, '\0');
    buffer_fini(&buffer);
}

static void json_escapes_what_json_forbids(void **state)
{
    (void)state;
    assert_escapes(buffer_json_string, "", "\"\"");
    assert_escapes(buffer_json_string, "plain / text", "\"plain / text\"");
    assert_escapes(buffer_json_string, "q\" b\\ \b\f\n\r\t", "\"q\\\" b\\\\ \\b\\f\\n\\r\\t\"");
    assert_escapes(buffer_json_string, "\x01\x1f\x7f", "\"\\u0001\\u001f\x7f\"");
    assert_escapes(buffer_json_escaped, "a\"b", "a\\\"b");
    for (int c = 1; c < 0x20; c++) {
        struct buffer buffer;
        const char text[2] = {(char)c, '\0'};
        buffer_init(&buffer);
        buffer_json_string(&buffer, text);
        assert_int_equal(buffer.data[1], '\\');
        buffer_fini(&buffer);
    }
}

static void valid_utf8_is_kept(void **state)
{
    (void)state;
    const char *kept[] = {"\"\xC2\x80\"", "\"\xDF\xBF\"", "\"\xE0\xA0\x80\"", "\"\xED\x9F\xBF\"", "\"\xEE\x80\x80\"",
                          "\"\xEF\xBF\xBF\"", "\"\xF0\x90\x80\x80\"", "\"\xF4\x8F\xBF\xBF\"",
                          "\"caf\xC3\xA9 \xE2\x82\xAC\""};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.*s", (int)strlen(kept[i]) - 2, kept[i] + 1);
        assert_escapes(buffer_json_string, text, kept[i]);
    }
}

#define BAD "\xEF\xBF\xBD"

/* Stray and missing continuation bytes, overlong forms, surrogates, beyond U+10FFFF, bytes that are never used. */
static void invalid_utf8_becomes_replacement_characters(void **state)
{
    (void)state;
    static const struct { const char *text, *expected; } rows[] = {
        {"a\x80z", "\"a" BAD "z\""},
        {"\xC3", "\"" BAD "\""},
        {"\xC3(", "\"" BAD "(\""},
        {"\xE2\x82", "\"" BAD BAD "\""},
        {"\xE2\x82\"", "\"" BAD BAD "\\\"\""},
        {"\xC0\xAF", "\"" BAD BAD "\""},
        {"\xC1\xBF", "\"" BAD BAD "\""},
        {"\xE0\x9F\xBF", "\"" BAD BAD BAD "\""},
        {"\xED\xA0\x80", "\"" BAD BAD BAD "\""},
        {"\xF0\x8F\xBF\xBF", "\"" BAD BAD BAD BAD "\""},
        {"\xF4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""},
        {"\xF5\x80\x80\x80", "\"" BAD BAD BAD BAD "\""},
        {"\xFF\xFE", "\"" BAD BAD "\""},
        {"\xF0\x9F\x98\x80\xF0\x9F\x98", "\"\xF0\x9F\x98\x80" BAD BAD BAD "\""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_escapes(buffer_json_string, rows[i].text, rows[i].expected);
}

static void xml_escapes_markup_and_drops_controls(void **state)
{
    (void)state;
    assert_escapes(buffer_xml, "<a href=\"x\">&'", "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    assert_escapes(buffer_xml, "a\tb\nc\rd", "a\tb\nc\rd");
    assert_escapes(buffer_xml, "a\x01\x1b[z", "a" BAD BAD "[z");
    assert_escapes(buffer_xml, "\xC3\xA9\xFF", "\xC3\xA9" BAD);
}

static void take_hands_the_bytes_over(void **state)
{
    (void)state;
    struct buffer buffer;
    size_t length = 99;
    buffer_init(&buffer);
    buffer_text(&buffer, "abc");
    char *bytes = buffer_take(&buffer, &length);
    assert_string_equal(bytes, "abc");
    assert_int_equal(length, 3);
    assert_null(buffer.data);
    memory_free(bytes);
    bytes = buffer_take(&buffer, NULL);
    assert_string_equal(bytes, "");
    memory_free(bytes);
}

static void write_document(struct buffer *buffer)
{
    for (int i = 0; i < 200; i++) {
        buffer_format(buffer, "[%d,", i);
        buffer_json_string(buffer, "\"na\xFFme\"");
        buffer_text(buffer, "]\n");
    }
}

static void a_buffer_out_of_memory_stays_failed(void **state)
{
    (void)state;
    size_t whole = 0;
    int failures = 0;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct buffer buffer;
        buffer_init(&buffer);
        write_document(&buffer);
        bool struck = fault_struck(FAULT_ALLOC, n);
        assert_int_equal(buffer.failed, struck);
        size_t before = buffer.length;
        buffer_text(&buffer, "more");
        assert_int_equal(buffer.length, struck ? before : before + 4);
        whole = buffer.length;
        char *bytes = buffer_take(&buffer, NULL);
        assert_int_equal(!bytes, struck);
        assert_false(buffer.failed);
        memory_free(bytes);
        failures += struck;
    }
    assert_true(failures >= 4);
    assert_int_equal(whole, 200 * strlen("[,\"\\\"na" BAD "me\\\"\"]\n") + 10 + 180 + 300 + 4);
}

TEST_MAIN(cmocka_unit_test(pieces_are_joined_and_ended_by_nul), cmocka_unit_test(growth_keeps_every_byte),
          cmocka_unit_test(json_escapes_what_json_forbids), cmocka_unit_test(valid_utf8_is_kept),
          cmocka_unit_test(invalid_utf8_becomes_replacement_characters),
          cmocka_unit_test(xml_escapes_markup_and_drops_controls), cmocka_unit_test(take_hands_the_bytes_over),
          cmocka_unit_test(a_buffer_out_of_memory_stays_failed))
