/* One case per line of what a strict reader refuses, each with the words that must name it. */
#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "model/safetensors.h"
#include "tests/support/support.h"

/* A whole file: the header's length (or another number), its bytes, data of zeros. */
static void build(struct buffer *file, const void *header, size_t length, uint64_t stated, size_t data)
{
    buffer_init(file);
    for (int i = 0; i < 8; i++)
        buffer_append(file, &(char){(char)(stated >> (8 * i) & 0xFF)}, 1);
    buffer_append(file, header, length);
    for (size_t i = 0; i < data; i++)
        buffer_append(file, "", 1);
    assert_false(file->failed);
}

static void refuse(const char *name, const struct buffer *file, uint64_t limit, const char *words)
{
    struct error error = {0};
    struct safetensors parsed;
    print_message("    %s\n", name);
    int code = safetensors_parse(&parsed, file->data, file->length, file->length, limit, &error);
    if (code == 0)
        safetensors_close(&parsed);
    assert_fails(code, ERROR_INVALID, &error);
    assert_contains(error.message, words);
}

/* X4 is one F32 tensor of 4 bytes at the beginning of the data. */
#define X4 "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"
#define ENTRY(dtype, shape, offsets) "{\"x\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define LITERAL(text) text, sizeof text - 1

struct refusal {
    const char *name;
    const char *header;
    size_t length;
    size_t data;             /* bytes behind the header */
    const char *words;       /* in the message */
};

static const struct refusal shapes_and_ranges[] = {
    {"data without tensors", LITERAL("{}"), 4, "names no tensors"},
    {"truncated data", LITERAL("{" X4 "}"), 3, "4 bytes of data are expected, 3 are there"},
    {"no data at all", LITERAL("{" X4 "}"), 0, "truncated"},
    {"trailing bytes", LITERAL("{" X4 "}"), 5, "Trailing bytes"},
    {"hole at the beginning", LITERAL(ENTRY("\"F32\"", "[1]", "[4,8]")), 8, "hole before \"x\""},
    {"hole in the middle",
     LITERAL("{" X4 ",\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}"), 12, "hole before \"y\""},
    {"overlap", LITERAL("{" X4 ",\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[2,6]}}"), 6, "overlaps"},
    {"overlap inside another",
     LITERAL("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"), 8, "overlaps"},
    {"empty tensor inside another",
     LITERAL("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
             "\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}"), 8, "overlaps"},
    {"two names on one range",
     LITERAL("{" X4 ",\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4, "share one range"},
    {"end before begin", LITERAL(ENTRY("\"F32\"", "[1]", "[8,4]")), 8, "ends before it begins"},
    {"end before begin with wrap-around", LITERAL(ENTRY("\"F32\"", "[1]", "[18446744073709551615,3]")), 4,
     "ends before it begins"},
    {"shape and range disagree", LITERAL(ENTRY("\"F32\"", "[2]", "[0,4]")), 4, "make 8 bytes, its data_offsets 4"},
    {"dtype and range disagree", LITERAL(ENTRY("\"F16\"", "[1]", "[0,4]")), 4, "make 2 bytes"},
    {"scalar of the wrong size", LITERAL(ENTRY("\"F32\"", "[]", "[0,8]")), 8, "make 4 bytes"},
    {"empty tensor with bytes", LITERAL(ENTRY("\"F32\"", "[0]", "[0,4]")), 4, "make 0 bytes"},
    {"offsets past the file", LITERAL(ENTRY("\"F32\"", "[1000]", "[0,4000]")), 4, "past the end of the file"},
    {"empty tensor past the file", LITERAL(ENTRY("\"F32\"", "[0]", "[4000,4000]")), 0, "past the end of the file"},
    {"overflowing product", LITERAL(ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,0]")), 0, "overflows 64 bits"},
    {"overflow by the dtype's size", LITERAL(ENTRY("\"F64\"", "[2305843009213693952]", "[0,0]")), 0, "overflows 64 bits"},
    {"overflow although a dimension is 0", LITERAL(ENTRY("\"U8\"", "[0,18446744073709551615,2]", "[0,0]")), 0,
     "overflows 64 bits"},
    {"nine dimensions", LITERAL(ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]")), 4, "more than 8 dimensions"},
};

static const struct refusal entries[] = {
    {"unknown dtype", LITERAL(ENTRY("\"F128\"", "[1]", "[0,16]")), 16, "unknown dtype \"F128\""},
    {"dtype of half a byte", LITERAL(ENTRY("\"F4\"", "[2]", "[0,1]")), 1, "unknown dtype \"F4\""},
    {"dtype in lower case", LITERAL(ENTRY("\"f32\"", "[1]", "[0,4]")), 4, "unknown dtype"},
    {"dtype that is a number", LITERAL(ENTRY("32", "[1]", "[0,4]")), 4, "dtype of \"x\" is a number"},
    {"shape that is a number", LITERAL(ENTRY("\"F32\"", "1", "[0,4]")), 4, "shape of \"x\" is a number"},
    {"shape that is null", LITERAL(ENTRY("\"F32\"", "null", "[0,4]")), 4, "is true, false or null, not an array"},
    {"offsets that are an object", LITERAL(ENTRY("\"F32\"", "[1]", "{}")), 4, "data_offsets of \"x\" is an object"},
    {"one offset", LITERAL(ENTRY("\"F32\"", "[1]", "[4]")), 4, "has 1 numbers, not two"},
    {"no offsets", LITERAL(ENTRY("\"F32\"", "[1]", "[]")), 4, "has 0 numbers, not two"},
    {"three offsets", LITERAL(ENTRY("\"F32\"", "[1]", "[0,4,8]")), 4, "more than two numbers"},
    {"missing dtype", LITERAL("{\"x\":{\"shape\":[1],\"data_offsets\":[0,4]}}"), 4, "has no dtype"},
    {"missing shape", LITERAL("{\"x\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}"), 4, "has no shape"},
    {"missing offsets", LITERAL("{\"x\":{\"dtype\":\"F32\",\"shape\":[1]}}"), 4, "has no data_offsets"},
    {"entry that is an array", LITERAL("{\"x\":[\"F32\",[1],[0,4]]}"), 4, "entry of \"x\" is an array, not an object"},
    {"entry that is null", LITERAL("{\"x\":null}"), 0, "entry of \"x\" is true, false or null"},
    {"empty name", LITERAL("{\"\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4, "empty name"},
    {"name with NUL", LITERAL("{\"a\\u0000b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4, "\\u0000"},
    {"duplicate names", LITERAL("{" X4 ",\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"), 8,
     "\"x\" is there twice"},
    {"duplicate names after unescaping",
     LITERAL("{" X4 ",\"\\u0078\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"), 8, "\"x\" is there twice"},
    {"duplicate fields", LITERAL("{\"x\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4,
     "\"dtype\" is there twice"},
    {"duplicate keys in an ignored field",
     LITERAL("{\"x\":{\"more\":{\"a\":1,\"a\":2},\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4,
     "\"a\" is there twice"},
    {"duplicate metadata", LITERAL("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}"), 0, "\"a\" is there twice"},
    {"two metadata objects", LITERAL("{\"__metadata__\":{\"a\":\"1\"},\"__metadata__\":{\"b\":\"2\"}}"), 0,
     "\"__metadata__\" is there twice"},
    {"two metadata nulls", LITERAL("{\"__metadata__\":null,\"__metadata__\":null}"), 0,
     "\"__metadata__\" is there twice"},
    {"metadata with a number", LITERAL("{\"__metadata__\":{\"a\":1}}"), 0, "\"a\" is a number"},
    {"metadata with null", LITERAL("{\"__metadata__\":{\"a\":null}}"), 0, "holds a value that is no string"},
    {"metadata with an object", LITERAL("{\"__metadata__\":{\"a\":{}}}"), 0, "\"a\" is an object"},
    {"metadata that is an array", LITERAL("{\"__metadata__\":[]}"), 0, "__metadata__ is an array"},
    {"metadata that is a string", LITERAL("{\"__metadata__\":\"pt\"}"), 0, "__metadata__ is a string"},
};

static const struct refusal numbers[] = {
    {"integer as 4.0", LITERAL(ENTRY("\"F32\"", "[1]", "[0,4.0]")), 4, "fraction or an exponent"},
    {"integer as 1e0", LITERAL(ENTRY("\"F32\"", "[1e0]", "[0,4]")), 4, "fraction or an exponent"},
    {"integer as 1E0", LITERAL(ENTRY("\"F32\"", "[1E0]", "[0,4]")), 4, "fraction or an exponent"},
    {"integer as -0", LITERAL(ENTRY("\"F32\"", "[1]", "[-0,4]")), 4, "minus sign"},
    {"integer as -4", LITERAL(ENTRY("\"F32\"", "[-1]", "[0,4]")), 4, "minus sign"},
    {"integer as 04", LITERAL(ENTRY("\"F32\"", "[1]", "[0,04]")), 4, "leading zero"},
    {"integer as 00", LITERAL(ENTRY("\"F32\"", "[1]", "[00,4]")), 4, "leading zero"},
    {"integer as +4", LITERAL(ENTRY("\"F32\"", "[1]", "[0,+4]")), 4, "'+' stands where a number"},
    {"integer as \"4\"", LITERAL(ENTRY("\"F32\"", "[1]", "[0,\"4\"]")), 4, "is a string, not a number"},
    {"integer as 0x4", LITERAL(ENTRY("\"F32\"", "[1]", "[0,0x4]")), 4, "'x' stands where"},
    {"integer 2^64", LITERAL(ENTRY("\"F32\"", "[18446744073709551616]", "[0,4]")), 4, "does not fit 64 bits"},
    {"integer of 40 digits", LITERAL(ENTRY("\"F32\"", "[1]", "[0,1000000000000000000000000000000000000000]")), 4,
     "does not fit 64 bits"},
    {"integer that is true", LITERAL(ENTRY("\"F32\"", "[true]", "[0,4]")), 4, "is true, false or null, not a number"},
    {"NaN", LITERAL(ENTRY("\"F32\"", "[NaN]", "[0,4]")), 4, "NaN and Infinity"},
    {"Infinity", LITERAL(ENTRY("\"F32\"", "[1]", "[0,Infinity]")), 4, "NaN and Infinity"},
    {"-Infinity in an ignored field", LITERAL("{\"x\":{\"more\":-Infinity}}"), 0, "NaN and Infinity"},
    {"number without digits in an ignored field", LITERAL("{\"x\":{\"more\":-}}"), 0, "without digits"},
    {"number ending in a point in an ignored field", LITERAL("{\"x\":{\"more\":1.}}"), 0, "after the point"},
    {"number ending in e in an ignored field", LITERAL("{\"x\":{\"more\":1e}}"), 0, "in its exponent"},
};

static const struct refusal texts[] = {
    {"byte-order mark", LITERAL("\xEF\xBB\xBF{}"), 0, "byte-order mark"},
    {"NUL padding", LITERAL("{}\0\0\0"), 0, "NUL padding"},
    {"something after the object", LITERAL("{} {}"), 0, "after the end"},
    {"closing brace too many", LITERAL("{}}"), 0, "after the end"},
    {"header that is an array", LITERAL("[]"), 0, "header is an array, not an object"},
    {"header that is a string", LITERAL("\"x\""), 0, "header is a string"},
    {"header of white space", LITERAL("   "), 0, "ends too early"},
    {"unfinished object", LITERAL("{" X4), 4, "ends too early"},
    {"unfinished string", LITERAL("{\"x"), 0, "without its closing quote"},
    {"key without quotes", LITERAL("{x:{}}"), 0, "'x' stands where a key in quotes"},
    {"missing colon", LITERAL("{\"x\" {}}"), 0, "'{' stands where ':'"},
    {"missing comma", LITERAL("{" X4 " " X4 "}"), 4, "',' or '}'"},
    {"comma at the end", LITERAL("{" X4 ",}"), 4, "a key in quotes"},
    {"comment", LITERAL("{/**/" X4 "}"), 4, "'/' stands where"},
    {"single quotes", LITERAL("{'x':{}}"), 0, "a key in quotes"},
    {"form feed as white space", LITERAL("{\f" X4 "}"), 4, "0x0c stands where"},
    {"lone high surrogate", LITERAL("{\"\\ud800\":{}}"), 0, "lone surrogate"},
    {"lone low surrogate", LITERAL("{\"\\udc00x\":{}}"), 0, "lone surrogate"},
    {"high surrogate before a letter", LITERAL("{\"\\ud800\\u0041\":{}}"), 0, "lone surrogate"},
    {"short \\u", LITERAL("{\"\\u12\":{}}"), 0, "four hexadecimal digits"},
    {"unknown escape", LITERAL("{\"\\x41\":{}}"), 0, "unknown escape"},
    {"invalid UTF-8", LITERAL("{\"a\xFF\":{}}"), 0, "Invalid UTF-8"},
    {"overlong UTF-8", LITERAL("{\"\xC0\xAF\":{}}"), 0, "Invalid UTF-8"},
    {"overlong UTF-8 of three bytes", LITERAL("{\"\xE0\x80\xAF\":{}}"), 0, "Invalid UTF-8"},
    {"surrogate in UTF-8", LITERAL("{\"\xED\xA0\x80\":{}}"), 0, "Invalid UTF-8"},
    {"UTF-8 over U+10FFFF", LITERAL("{\"\xF4\x90\x80\x80\":{}}"), 0, "Invalid UTF-8"},
    {"cut UTF-8", LITERAL("{\"\xE2\x82\":{}}"), 0, "Invalid UTF-8"},
    {"raw control character", LITERAL("{\"a\nb\":{}}"), 0, "raw control character 0x0a"},
    {"raw NUL in a name", LITERAL("{\"a\0b\":{}}"), 0, "raw control character 0x00"},
    {"nesting over 8", LITERAL("{\"x\":{\"more\":[[[[[[[]]]]]]]}}"), 0, "nested over 8 levels"},
    {"misspelt word in an ignored field", LITERAL("{\"x\":{\"more\":nul}}"), 0, "'n' stands where a value"},
};

static void refuse_rows(const struct refusal *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buffer file;
        build(&file, rows[i].header, rows[i].length, rows[i].length, rows[i].data);
        refuse(rows[i].name, &file, 0, rows[i].words);
        buffer_fini(&file);
    }
}

static void wrong_shapes_and_ranges_are_refused(void **state)
{
    (void)state;
    refuse_rows(shapes_and_ranges, sizeof shapes_and_ranges / sizeof shapes_and_ranges[0]);
}

static void wrong_entries_are_refused(void **state)
{
    (void)state;
    refuse_rows(entries, sizeof entries / sizeof entries[0]);
}

static void wrong_numbers_are_refused(void **state)
{
    (void)state;
    refuse_rows(numbers, sizeof numbers / sizeof numbers[0]);
}

static void text_that_is_not_strict_json_is_refused(void **state)
{
    (void)state;
    refuse_rows(texts, sizeof texts / sizeof texts[0]);
}

static void header_lengths_are_checked_before_anything_is_allocated(void **state)
{
    (void)state;
    const struct { const char *name; uint64_t stated, limit; size_t extra; const char *words; } rows[] = {
        {"length 0", 0, 0, 8, "header length is 0"},
        {"length over 16 MiB", (16 << 20) + 1, 0, 8, "over the limit of 16777216"},
        {"length over a limit of 100 MB, asked for more", 100000001, UINT64_MAX, 8, "over the limit of 100000000"},
        {"length 2^64 - 1", UINT64_MAX, 0, 8, "over the limit"},
        {"length past the end", 9, 0, 8, "does not fit the file of 16"},
        {"length of the whole file", 16, 0, 8, "does not fit the file"},
    };
    fault_arm(FAULT_ALLOC, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buffer file;
        build(&file, "{}      ", rows[i].extra, rows[i].stated, 0);
        fault_arm(FAULT_ALLOC, 1);    /* any allocation would fail, with another error */
        refuse(rows[i].name, &file, rows[i].limit, rows[i].words);
        fault_arm(FAULT_ALLOC, 0);
        buffer_fini(&file);
    }
}

static void files_below_8_bytes_are_refused(void **state)
{
    (void)state;
    for (size_t length = 0; length < 8; length++) {
        struct error error = {0};
        struct safetensors parsed;
        assert_fails(safetensors_parse(&parsed, "\2\0\0\0\0\0\0\0", length, length, 0, &error), ERROR_INVALID, &error);
        assert_contains(error.message, "fewer than the 8");
    }
}

static void over_100000_tensors_are_refused(void **state)
{
    (void)state;
    struct buffer header, file;
    buffer_init(&header);
    for (int i = 0; i <= SAFETENSORS_TENSORS_MAX; i++)
        buffer_format(&header, "%c\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i == 0 ? '{' : ',', i);
    buffer_text(&header, "}");
    build(&file, header.data, header.length, header.length, 0);
    refuse("100,001 tensors", &file, 0, "over 100000 tensors");
    buffer_fini(&file);
    buffer_fini(&header);
}

static void a_path_is_named_in_front_of_the_case(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    struct safetensors file;
    test_write_file(test_path(path, *state, "x.safetensors"), "\1\0\0\0", 4);
    assert_fails(safetensors_open(&file, path, 0, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "x.safetensors: The file has 4 bytes");
    error_clear(&error);
    assert_fails(safetensors_open(&file, test_path(path, *state, "none"), 0, &error), ERROR_NOT_FOUND, &error);
}

TEST_MAIN(cmocka_unit_test(files_below_8_bytes_are_refused),
          cmocka_unit_test(header_lengths_are_checked_before_anything_is_allocated),
          cmocka_unit_test(wrong_shapes_and_ranges_are_refused), cmocka_unit_test(wrong_entries_are_refused),
          cmocka_unit_test(wrong_numbers_are_refused), cmocka_unit_test(text_that_is_not_strict_json_is_refused),
          cmocka_unit_test(over_100000_tensors_are_refused),
          cmocka_unit_test_setup_teardown(a_path_is_named_in_front_of_the_case, test_directory_setup,
                                          test_directory_teardown))
