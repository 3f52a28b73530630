#include "model/safetensors.h"

#include <string.h>

#include "base/buffer.h"
#include "base/memory.h"
#include "tests/support/support.h"
#include "tests/support/tiny_checkpoint.h"

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)
#define LITERAL(text) text, sizeof text - 1
#define X4 "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"

static void build(struct buffer *file, const void *header, size_t length, const void *data, size_t data_length)
{
    buffer_init(file);
    for (int i = 0; i < 8; i++)
        buffer_append(file, &(char){(char)(length >> (8 * i) & 0xFF)}, 1);
    buffer_append(file, header, length);
    if (data_length > 0)
        buffer_append(file, data, data_length);
    assert_false(file->failed);
}

static void accept(struct safetensors *parsed, const void *header, size_t length, size_t data_length)
{
    static const char zeros[64];
    struct error error = {0};
    struct buffer file;
    assert_true(data_length <= sizeof zeros);
    build(&file, header, length, zeros, data_length);
    assert_ok(safetensors_parse(parsed, file.data, file.length, file.length, 0, &error), &error);
    buffer_fini(&file);
}

static void everything_that_the_format_allows_is_accepted(void **state)
{
    (void)state;
    static const struct { const char *name, *header; size_t length, data; int count, meta_count; } rows[] = {
        {"no tensors", LITERAL("{}"), 0, 0, 0},
        {"white space before and after", LITERAL(" \t\r\n{ " X4 " } \n\t\r "), 4, 1, 0},
        {"fields in another order", LITERAL("{\"x\":{\"data_offsets\":[0,4],\"shape\":[1],\"dtype\":\"F32\"}}"), 4, 1, 0},
        {"extra fields", LITERAL("{\"x\":{\"a\":[1.5e3,{\"b\":null}],\"dtype\":\"F32\",\"shape\":[1],"
                                 "\"data_offsets\":[0,4],\"c\":\"\\ud83d\\ude00\"}}"), 4, 1, 0},
        {"nesting of 8", LITERAL("{\"x\":{\"a\":[[[[[[]]]]]],\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"), 4,
         1, 0},
        {"metadata null", LITERAL("{\"__metadata__\":null," X4 "}"), 4, 1, 0},
        {"metadata empty", LITERAL("{\"__metadata__\":{}," X4 "}"), 4, 1, 0},
        {"metadata last", LITERAL("{" X4 ",\"__metadata__\":{\"format\":\"pt\",\"\":\"\"}}"), 4, 1, 2},
        {"scalar", LITERAL("{\"x\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]}}"), 8, 1, 0},
        {"zero-size tensor", LITERAL("{\"x\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]}}"), 0, 1, 0},
        {"zero-size tensors on one place before others",
         LITERAL("{\"b\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
                 "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}," X4 "}"), 4, 3, 0},
        {"unaligned data", LITERAL("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                   "\"x\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[1,5]}}"), 5, 2, 0},
        {"eight dimensions", LITERAL("{\"x\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}"), 4,
         1, 0},
        {"name that looks like a path", LITERAL("{\"../../etc\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"), 1,
         1, 0},
        {"float of 8 bits", LITERAL("{\"x\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[0,3]}}"), 3,
         1, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct safetensors parsed;
        print_message("    %s\n", rows[i].name);
        accept(&parsed, rows[i].header, rows[i].length, rows[i].data);
        assert_int_equal(parsed.count, rows[i].count);
        assert_int_equal(parsed.meta_count, rows[i].meta_count);
        safetensors_close(&parsed);
    }
}

static void entries_are_sorted_by_unescaped_name_and_found(void **state)
{
    (void)state;
    struct safetensors parsed;
    accept(&parsed, LITERAL("{\"z\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                            "\"\\u0061\\\"\\/\\n\\u00e9\\ud83d\\ude00\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]},"
                            "\"__metadata__\":{\"k\\u0065y\":\"v\\u0061lue\"}}"), 3);
    assert_string_equal(parsed.entries[0].name, "a\"/\n\xC3\xA9\xF0\x9F\x98\x80");
    assert_ptr_equal(safetensors_find(&parsed, "z"), &parsed.entries[1]);
    assert_ptr_equal(safetensors_find(&parsed, parsed.entries[0].name), &parsed.entries[0]);
    assert_null(safetensors_find(&parsed, "y"));
    assert_int_equal(safetensors_entry_elements(&parsed.entries[1]), 2);
    assert_string_equal(safetensors_metadata(&parsed, "key"), "value");
    assert_null(safetensors_metadata(&parsed, "none"));
    safetensors_close(&parsed);
}

static void a_raised_limit_lets_a_header_over_16_mib_through(void **state)
{
    (void)state;
    size_t length = (16 << 20) + 8;
    struct error error = {0};
    struct safetensors parsed;
    char *bytes = memory_new(8 + length);
    assert_non_null(bytes);
    memset(bytes + 8, ' ', length);
    bytes[8] = '{', bytes[9] = '}';
    memcpy(bytes, &(uint64_t){length}, 8);
    assert_fails(safetensors_parse(&parsed, bytes, 8 + length, 8 + length, 0, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_ok(safetensors_parse(&parsed, bytes, 8 + length, 8 + length, SAFETENSORS_HEADER_MAX, &error), &error);
    safetensors_close(&parsed);
    memory_free(bytes);
}

/* A small valid file with everything in it. */
static void sample(struct buffer *file)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"\\u0041\":\"\\ud83d\\ude00\"},"
        "\"w\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[8,10],\"x\":[true,-1.5e-3]} }";
    build(file, header, sizeof header - 1, "0123456789", 10);
}

static void every_truncation_and_every_wrong_byte_is_parsed_or_refused(void **state)
{
    (void)state;
    struct buffer file;
    int parsed_count = 0, refused_count = 0;
    sample(&file);
    for (size_t length = 0; length < file.length; length++) {
        struct error error = {0};
        struct safetensors parsed;
        char *copy = memory_new(length);    /* exact size: reading past it is seen by the sanitizer */
        memcpy(copy, file.data, length);
        assert_fails(safetensors_parse(&parsed, copy, length, length, 0, &error), ERROR_INVALID, &error);
        assert_true(error.message[0] != '\0');
        error_clear(&error);
        if (length < file.length - 10)    /* the file is whole, but not all of its header is here */
            assert_fails(safetensors_parse(&parsed, copy, length, file.length, 0, &error), ERROR_INVALID, &error);
        memory_free(copy);
    }
    for (size_t at = 0; at < file.length; at++)
        for (int byte = 0; byte < 256; byte++) {
            struct error error = {0};
            struct safetensors parsed;
            char kept = file.data[at];
            file.data[at] = (char)byte;
            int code = safetensors_parse(&parsed, file.data, file.length, file.length, 0, &error);
            assert_true(code == 0 || code == ERROR_INVALID);
            assert_int_equal(code, error.code);
            if (code == 0)
                safetensors_close(&parsed);
            code == 0 ? parsed_count++ : refused_count++;
            file.data[at] = kept;
        }
    print_message("    %d files parsed, %d refused\n", parsed_count, refused_count);
    assert_true(parsed_count > 10 * 256 && refused_count > 1000);
    buffer_fini(&file);
}

static void parsing_without_memory_fails_cleanly(void **state)
{
    (void)state;
    struct buffer file;
    int rounds = 0;
    sample(&file);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        struct safetensors parsed;
        int code = safetensors_parse(&parsed, file.data, file.length, file.length, 0, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(code, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(code, &error);
            safetensors_close(&parsed);
        }
        rounds++;
    }
    assert_int_equal(rounds, 6);    /* text, scanner, keys, metadata, entries; none */
    buffer_fini(&file);
}

static void floats_are_read_from_any_place_and_dtype(void **state)
{
    static const char *const dtypes[] = {"F32", "F16", "BF16"};
    char path[FILE_PATH_BYTES];
    enum { COUNT = 40000 };    /* several pieces of 16-bit conversion */
    float *values = memory_array(COUNT, sizeof *values);
    for (int i = 0; i < 3; i++) {
        struct error error = {0};
        struct safetensors file;
        struct tiny_file *tiny = tiny_file_new();
        tiny_file_add(tiny, "pad", "U8", 1, &(uint64_t){3});    /* all that follows is unaligned */
        struct tiny_tensor *tensor = tiny_file_add(tiny, "w", dtypes[i], 2, (const uint64_t[]){COUNT / 10, 10});
        for (size_t j = 0; j < COUNT; j++)
            tiny_tensor_set(tensor, j, tiny_value("w", j));
        tiny_file_write(tiny, test_path(path, *state, "w.safetensors"));
        tiny_file_free(tiny);
        assert_ok(safetensors_open(&file, path, 0, &error), &error);
        const struct safetensors_entry *entry = safetensors_find(&file, "w");
        assert_ok(safetensors_read_floats(&file, entry, 0, COUNT, values, &error), &error);
        for (size_t j = 0; j < COUNT; j++)
            assert_true(values[j] == tiny_value("w", j));
        assert_ok(safetensors_read_floats(&file, entry, 20001, 5, values, &error), &error);
        for (size_t j = 0; j < 5; j++)
            assert_true(values[j] == tiny_value("w", 20001 + j));
        assert_ok(safetensors_read_floats(&file, entry, COUNT, 0, values, &error), &error);
        assert_fails(safetensors_read_floats(&file, entry, COUNT, 1, values, &error), ERROR_INVALID, &error);
        error_clear(&error);
        assert_fails(safetensors_read_floats(&file, entry, 1, UINT64_MAX, values, &error), ERROR_INVALID, &error);
        error_clear(&error);
        assert_fails(safetensors_read_floats(&file, safetensors_find(&file, "pad"), 0, 1, values, &error),
                     ERROR_INVALID, &error);
        assert_contains(error.message, "\"pad\" is U8");
        safetensors_close(&file);
    }
    memory_free(values);
}

/* Declares and writes three tensors, one of them empty, in pieces. */
static int write_sample(const char *path, char hash[HASH_HEX_BYTES], struct error *error)
{
    const float values[6] = {1, -2, 3.5f, 0, -0.0f, 65504};
    struct safetensors_writer writer;
    safetensors_writer_init(&writer);
    int code = safetensors_writer_metadata(&writer, "format", "p\"t\n", error);
    if (code == 0)
        code = safetensors_writer_add(&writer, "step", DTYPE_I64, 0, NULL, error);
    if (code == 0)
        code = safetensors_writer_add(&writer, "none", DTYPE_F32, 2, (const uint64_t[]){0, 4}, error);
    if (code == 0)
        code = safetensors_writer_add(&writer, "w", DTYPE_F16, 2, (const uint64_t[]){2, 3}, error);
    if (code == 0)
        code = safetensors_writer_begin(&writer, path, error);
    if (code == 0)
        code = safetensors_writer_raw(&writer, &(int64_t){-7}, sizeof(int64_t), error);
    if (code == 0)
        code = safetensors_writer_floats(&writer, values, 4, error);
    if (code == 0)
        code = safetensors_writer_floats(&writer, values + 4, 2, error);
    if (code == 0)
        code = safetensors_writer_commit(&writer, error);
    if (code == 0)
        memcpy(hash, writer.file_hash, HASH_HEX_BYTES);
    safetensors_writer_fini(&writer);
    return code;
}

static void written_file_is_read_back(void **state)
{
    char path[FILE_PATH_BYTES], hash[HASH_HEX_BYTES], expected[HASH_HEX_BYTES];
    struct error error = {0};
    struct safetensors file;
    float values[6];
    int64_t step;
    size_t length;
    assert_ok(write_sample(test_path(path, *state, "s.safetensors"), hash, &error), &error);
    assert_ok(safetensors_open(&file, path, 0, &error), &error);
    assert_int_equal(file.data_offset % 8, 0);
    assert_int_equal(file.count, 3);
    assert_string_equal(safetensors_metadata(&file, "format"), "p\"t\n");
    assert_ok(safetensors_read_raw(&file, safetensors_find(&file, "step"), &step, &error), &error);
    assert_int_equal(step, -7);
    const struct safetensors_entry *entry = safetensors_find(&file, "w");
    assert_int_equal(entry->rank, 2);
    assert_int_equal(entry->dims[1], 3);
    assert_ok(safetensors_read_floats(&file, entry, 0, 6, values, &error), &error);
    assert_memory_equal(values, ((float[]){1, -2, 3.5f, 0, -0.0f, 65504}), sizeof values);
    safetensors_close(&file);
    char *bytes = test_read_file(path, &length);
    hash_bytes_hex(bytes, length, expected);
    assert_string_equal(hash, expected);
    memory_free(bytes);
    assert_int_equal(test_count_temporaries(*state), 0);
}

static void a_value_that_f16_can_not_hold_is_refused_with_its_tensor(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    struct safetensors_writer writer;
    const float values[3] = {1, 65504, 70000};
    safetensors_writer_init(&writer);
    assert_ok(safetensors_writer_add(&writer, "h.0.w", DTYPE_F16, 1, (const uint64_t[]){4}, &error), &error);
    assert_ok(safetensors_writer_begin(&writer, test_path(path, *state, "o.safetensors"), &error), &error);
    assert_ok(safetensors_writer_floats(&writer, values, 1, &error), &error);
    assert_fails(safetensors_writer_floats(&writer, values, 3, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "Value 3 of tensor \"h.0.w\" is 70000");
    assert_contains(error.message, "BF16 or F32");
    safetensors_writer_fini(&writer);
    assert_false(file_exists(path));
    assert_int_equal(test_count_temporaries(*state), 0);
}

static void wrong_use_of_the_writer_is_an_error_and_leaves_no_file(void **state)
{
    char path[FILE_PATH_BYTES];
    const float values[4] = {0};
    struct error error = {0};
    struct safetensors_writer writer;
    test_path(path, *state, "u.safetensors");
    safetensors_writer_init(&writer);
    assert_fails(safetensors_writer_commit(&writer, &error), ERROR_INTERNAL, &error);
    error_clear(&error);
    assert_fails(safetensors_writer_add(&writer, "", DTYPE_F32, 0, NULL, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_fails(safetensors_writer_add(&writer, "__metadata__", DTYPE_F32, 0, NULL, &error), ERROR_INVALID, &error);
    error_clear(&error);
    assert_fails(safetensors_writer_add(&writer, "x", DTYPE_F32, 2, (const uint64_t[]){1ull << 62, 4}, &error),
                 ERROR_INVALID, &error);
    error_clear(&error);
    assert_ok(safetensors_writer_add(&writer, "x", DTYPE_F32, 1, (const uint64_t[]){2}, &error), &error);
    assert_ok(safetensors_writer_add(&writer, "y", DTYPE_I64, 0, NULL, &error), &error);
    assert_ok(safetensors_writer_begin(&writer, path, &error), &error);
    assert_fails(safetensors_writer_floats(&writer, values, 3, &error), ERROR_INTERNAL, &error);
    error_clear(&error);
    assert_fails(safetensors_writer_commit(&writer, &error), ERROR_INTERNAL, &error);
    assert_contains(error.message, "\"x\" is not complete");
    error_clear(&error);
    assert_ok(safetensors_writer_floats(&writer, values, 2, &error), &error);
    assert_fails(safetensors_writer_floats(&writer, values, 1, &error), ERROR_INTERNAL, &error);
    error_clear(&error);
    assert_fails(safetensors_writer_add(&writer, "z", DTYPE_F32, 0, NULL, &error), ERROR_INTERNAL, &error);
    safetensors_writer_fini(&writer);
    error_clear(&error);
    safetensors_writer_init(&writer);
    assert_ok(safetensors_writer_add(&writer, "x", DTYPE_F32, 0, NULL, &error), &error);
    assert_ok(safetensors_writer_add(&writer, "x", DTYPE_F32, 0, NULL, &error), &error);
    assert_fails(safetensors_writer_begin(&writer, path, &error), ERROR_INVALID, &error);
    safetensors_writer_fini(&writer);
    assert_false(file_exists(path));
    assert_int_equal(test_count_temporaries(*state), 0);
}

static void writing_fails_cleanly_at_every_fault(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};
    static const int least_rounds[] = {8, 2, 2, 2};
    char path[FILE_PATH_BYTES], hash[HASH_HEX_BYTES];
    test_path(path, *state, "f.safetensors");
    for (int k = 0; k < 4; k++) {
        int rounds = 0;
        SWEEP_FAULTS(kinds[k], n) {
            struct error error = {0};
            int code = write_sample(path, hash, &error);
            if (fault_struck(kinds[k], n))
                assert_true(code != 0 && code == (int)error.code);
            else
                assert_ok(code, &error);
            assert_int_equal(test_count_temporaries(*state), 0);
            rounds++;
        }
        assert_true(rounds >= least_rounds[k]);
    }
}

TEST_MAIN(cmocka_unit_test(everything_that_the_format_allows_is_accepted),
          cmocka_unit_test(entries_are_sorted_by_unescaped_name_and_found),
          cmocka_unit_test(a_raised_limit_lets_a_header_over_16_mib_through),
          cmocka_unit_test(every_truncation_and_every_wrong_byte_is_parsed_or_refused),
          cmocka_unit_test(parsing_without_memory_fails_cleanly), IN_DIRECTORY(floats_are_read_from_any_place_and_dtype),
          IN_DIRECTORY(written_file_is_read_back), IN_DIRECTORY(a_value_that_f16_can_not_hold_is_refused_with_its_tensor),
          IN_DIRECTORY(wrong_use_of_the_writer_is_an_error_and_leaves_no_file),
          IN_DIRECTORY(writing_fails_cleanly_at_every_fault))
