#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/http_parts.h"
#include "server/multipart.h"

/* Everything that the sink sees, as text: "<name|file>data</>" */
struct seen { char text[4096]; size_t length; int fail_at; };

static void note(struct seen *seen, const char *bytes, size_t length)
{
    assert_true(seen->length + length < sizeof seen->text);
    memcpy(seen->text + seen->length, bytes, length);
    seen->length += length;
    seen->text[seen->length] = '\0';
}

static int on_begin(void *context, const struct multipart_part *part, struct error *error)
{
    char text[512];
    (void)error;
    snprintf(text, sizeof text, "<%s|%s>", part->name, part->file_name);
    note(context, text, strlen(text));
    return 0;
}

static int on_data(void *context, const char *bytes, size_t length, struct error *error)
{
    struct seen *seen = context;
    if (seen->fail_at)
        return error_set(error, ERROR_DISK_FULL, "full");
    note(seen, bytes, length);
    return 0;
}

static int on_end(void *context, struct error *error)
{
    (void)error;
    note(context, "</>", 3);
    return 0;
}

/* Feeds in two pieces split at `cut`, or byte by byte for a cut of SIZE_MAX. */
static int parse(const char *body, size_t length, size_t cut, struct seen *seen, struct error *error)
{
    static struct multipart parser;
    const struct multipart_sink sink = {on_begin, on_data, on_end, seen};
    int code = 0;
    memset(seen, 0, sizeof *seen);
    multipart_init(&parser, "bound", &sink);
    if (cut == SIZE_MAX) {
        for (size_t i = 0; i < length && !code; i++)
            code = multipart_feed(&parser, body + i, 1, error);
    } else {
        code = multipart_feed(&parser, body, cut, error);
        code = code ? code : multipart_feed(&parser, body + cut, length - cut, error);
    }
    return code ? code : multipart_finish(&parser, error);
}

static const char BODY[] =
    "preamble, ignored\r\n--bound\r\nContent-Disposition: form-data; name=\"config\"; filename=\"c.json\"\r\n"
    "Content-Type: application/json\r\n\r\n{}\r\n\r\n--boun\r\n--bounX\r-\r\n--bound  \r\n"
    "content-disposition: form-data; filename=\"a \\\"b\\\".bin\"; name=model\r\n\r\n\r\r\n\r\n--bound\r\n"
    "Content-Disposition: form-data; name=\"empty\"\r\n\r\n\r\n--bound--\r\nepilogue";
static const char SEEN[] = "<config|c.json>{}\r\n\r\n--boun\r\n--bounX\r-</><model|a \"b\".bin>\r\r\n</><empty|></>";

static void parts_come_out_the_same_wherever_the_input_is_split(void **state)
{
    (void)state;
    struct seen seen;
    for (size_t cut = 0; cut < sizeof BODY; cut++) {
        struct error error = {0};
        assert_int_equal(parse(BODY, sizeof BODY - 1, cut == sizeof BODY - 1 ? SIZE_MAX : cut, &seen, &error), 0);
        assert_string_equal(seen.text, SEEN);
    }
}

static void binary_data_with_every_byte_survives(void **state)
{
    (void)state;
    static const char head[] = "--bound\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n";
    char body[4096], *cursor = body;
    struct seen seen;
    struct error error = {0};
    memcpy(cursor, head, sizeof head - 1);
    cursor += sizeof head - 1;
    for (int i = 0; i < 1024; i++)
        *cursor++ = (char)(i % 256 == 10 ? '\r' : i);
    memcpy(cursor, "\r\n--bound--", 11);
    cursor += 11;
    assert_int_equal(parse(body, (size_t)(cursor - body), SIZE_MAX, &seen, &error), 0);
    assert_int_equal(seen.length, 4 + 1024 + 3);
    assert_memory_equal(seen.text + 4, body + sizeof head - 1, 1024);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    const size_t whole = strlen(BODY) - strlen("\r\nepilogue");
    struct seen seen;
    for (size_t length = 0; length < whole; length++) {
        struct error error = {0};
        assert_int_equal(parse(BODY, length, 0, &seen, &error), ERROR_SYNTAX);
    }
}

static void malformed_bodies_are_refused(void **state)
{
    (void)state;
    static const struct { const char *body; int code; } cases[] = {
        {"--boundX\r\n\r\n", ERROR_SYNTAX},
        {"--bound-X", ERROR_SYNTAX},
        {"--bound\rX", ERROR_SYNTAX},
        {"--bound\r\n\r\nno headers\r\n--bound--", ERROR_SYNTAX},
        {"--bound\r\nContent-Type: a/b\r\n\r\nno name\r\n--bound--", ERROR_SYNTAX},
        {"--bound\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nx\r\n--bound--", ERROR_SYNTAX},
        {"--bound\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nx\r\n--bound--", ERROR_SYNTAX},
        {"--bound\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nx", ERROR_MEDIA_TYPE},
        {"nothing at all", ERROR_SYNTAX},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct seen seen;
        struct error error = {0};
        assert_int_equal(parse(cases[i].body, strlen(cases[i].body), 0, &seen, &error), cases[i].code);
    }
}

static void too_many_parts_and_too_long_headers_are_refused(void **state)
{
    (void)state;
    static const char part[] = "--bound\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n";
    static struct multipart parser;
    struct seen seen = {0};
    const struct multipart_sink sink = {on_begin, on_data, on_end, &seen};
    struct error error = {0};
    int code = 0, parts = 0;
    multipart_init(&parser, "bound", &sink);
    while (!code && parts < 1000) {
        seen.length = 0;
        code = multipart_feed(&parser, part, sizeof part - 1, &error);
        parts++;
    }
    assert_int_equal(code, ERROR_TOO_LARGE);
    assert_int_equal(parts, MULTIPART_PARTS_MAX + 1);
    multipart_init(&parser, "bound", &sink);
    error_clear(&error);
    code = multipart_feed(&parser, "--bound\r\n", 9, &error);
    for (parts = 0; !code && parts < 100000; parts++)
        code = multipart_feed(&parser, "X", 1, &error);
    assert_int_equal(code, ERROR_TOO_LARGE);
    assert_int_equal(parts, MULTIPART_HEADER_BYTES + 1);
}

static void the_sinks_error_ends_the_parsing(void **state)
{
    (void)state;
    static struct multipart parser;
    struct seen seen = {.fail_at = 1};
    const struct multipart_sink sink = {on_begin, on_data, on_end, &seen};
    struct error error = {0};
    multipart_init(&parser, "bound", &sink);
    assert_int_equal(multipart_feed(&parser, BODY, sizeof BODY - 1, &error), ERROR_DISK_FULL);
}

static void boundaries_are_taken_from_the_content_type(void **state)
{
    (void)state;
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    struct error error = {0};
    assert_int_equal(multipart_boundary("multipart/form-data; boundary=abc; charset=x", boundary, &error), 0);
    assert_string_equal(boundary, "abc");
    assert_int_equal(multipart_boundary("multipart/form-data; Boundary=\"a b\"", boundary, &error), 0);
    assert_string_equal(boundary, "a b");
    assert_int_equal(multipart_boundary("multipart/form-data", boundary, &error), ERROR_SYNTAX);
    error_clear(&error);
    assert_int_equal(multipart_boundary("multipart/form-data; boundary=", boundary, &error), ERROR_SYNTAX);
    error_clear(&error);
    assert_int_equal(multipart_boundary("multipart/form-data; boundary=a\x01", boundary, &error), ERROR_SYNTAX);
    error_clear(&error);
    assert_int_equal(multipart_boundary("multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234"
                                        "567890123456789", boundary, &error), 0);
    assert_int_equal(multipart_boundary("multipart/form-data; boundary=0123456789012345678901234567890123456789012345678901234"
                                        "5678901234567890", boundary, &error), ERROR_SYNTAX);
}

static void shard_names_are_plain_base_names(void **state)
{
    (void)state;
    assert_true(part_shard_name_is_valid("model-00001-of-00002.safetensors"));
    assert_false(part_shard_name_is_valid(".safetensors"));
    assert_false(part_shard_name_is_valid("..safetensors"));
    assert_false(part_shard_name_is_valid("a/b.safetensors"));
    assert_false(part_shard_name_is_valid("a b.safetensors"));
    assert_false(part_shard_name_is_valid("model.bin"));
    assert_false(part_shard_name_is_valid(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_out_the_same_wherever_the_input_is_split),
        cmocka_unit_test(binary_data_with_every_byte_survives),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(malformed_bodies_are_refused),
        cmocka_unit_test(too_many_parts_and_too_long_headers_are_refused),
        cmocka_unit_test(the_sinks_error_ends_the_parsing),
        cmocka_unit_test(boundaries_are_taken_from_the_content_type),
        cmocka_unit_test(shard_names_are_plain_base_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
