#include "tests/support/support.h"

#include <string.h>

#include "base/memory.h"
#include "model/safetensors.h"
#include "trainer/corpus.h"

static char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES];

static int setup(void **state)
{
    (void)state;
    test_directory_make(directory);
    test_path(path, directory, "tokens.bin");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_directory_remove(directory);
    return 0;
}

/* ---- building files ---- */

/* `count` numbers of `size` bytes, little-endian, at `out`. */
static void encode(unsigned char *out, const int64_t *values, int count, int size)
{
    for (int i = 0; i < count; i++) {
        for (int b = 0; b < size; b++) {
            out[i * size + b] = (unsigned char)((uint64_t)values[i] >> (8 * b));
        }
    }
}

static void write_numbers(const int64_t *values, int count, int size)
{
    unsigned char bytes[4096];
    encode(bytes, values, count, size);
    test_write_file(path, bytes, (size_t)(count * size));
}

/* An npy file of version `major` with this header text (without its newline) and these data bytes. */
static void write_npy(int major, const char *header, const void *data, size_t data_bytes)
{
    unsigned char bytes[8192] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)major, 0};
    const size_t length = strlen(header) + 1;
    size_t at = 8;
    for (int i = 0; i < (major > 1 ? 4 : 2); i++) {
        bytes[at++] = (unsigned char)(length >> (8 * i));
    }
    memcpy(bytes + at, header, length - 1);
    bytes[at + length - 1] = '\n';
    memcpy(bytes + at + length, data, data_bytes);
    test_write_file(path, bytes, at + length + data_bytes);
}

static void write_llmc(uint32_t magic, uint32_t version, uint32_t named, int count)
{
    unsigned char bytes[1024 + 2 * 64] = {0};
    const int64_t header[3] = {magic, version, named};
    encode(bytes, header, 3, 4);
    for (int i = 0; i < count; i++) {
        bytes[1024 + 2 * i] = (unsigned char)(i + 1);
    }
    test_write_file(path, bytes, 1024 + 2 * (size_t)count);
}

/* ---- expectations ---- */

static void expect_tokens(enum corpus_format format, int vocabulary, enum corpus_format resolved, const int32_t *tokens,
                          int count)
{
    struct corpus corpus;
    struct error error = {0};
    int32_t got[64];
    assert_ok(corpus_open(&corpus, path, format, vocabulary, 3, &error), &error);
    assert_int_equal(corpus.format, resolved);
    assert_int_equal(corpus.tokens, count);
    assert_ok(corpus_read(&corpus, 0, count, got, &error), &error);
    assert_memory_equal(got, tokens, (size_t)count * sizeof *tokens);
    corpus_close(&corpus);
}

static void expect_refused(enum corpus_format format, int vocabulary, const char *piece)
{
    struct corpus corpus;
    struct error error = {0};
    assert_fails(corpus_open(&corpus, path, format, vocabulary, 3, &error), ERROR_INVALID, &error);
    assert_contains(error.message, piece);
}

static const int64_t small[6] = {1, 2, 3, 250, 5, 6};
static const int32_t small_tokens[6] = {1, 2, 3, 250, 5, 6};

static void plain_formats_are_read_little_endian(void **state)
{
    (void)state;
    const int64_t wide[4] = {1, 258, 65535, 7};
    const int32_t wide_tokens[4] = {1, 258, 65535, 7};
    const int64_t wider[4] = {1, 70000, 3, 16777216};
    const int32_t wider_tokens[4] = {1, 70000, 3, 16777216};
    write_numbers(small, 6, 1);
    expect_tokens(CORPUS_BYTES, 256, CORPUS_BYTES, small_tokens, 6);
    write_numbers(wide, 4, 2);
    expect_tokens(CORPUS_U16, 65536, CORPUS_U16, wide_tokens, 4);
    write_numbers(wider, 4, 4);
    expect_tokens(CORPUS_U32, 20000000, CORPUS_U32, wider_tokens, 4);
}

static void auto_takes_bytes_for_small_vocabularies_and_asks_otherwise(void **state)
{
    (void)state;
    write_numbers(small, 6, 1);
    expect_tokens(CORPUS_AUTO, 512, CORPUS_BYTES, small_tokens, 6);
    expect_refused(CORPUS_AUTO, 513, "say u16 or u32");
}

static void half_a_token_is_refused(void **state)
{
    (void)state;
    write_numbers(small, 5, 1);
    expect_refused(CORPUS_U16, 300, "not a multiple of 2");
    write_numbers(small, 6, 1);
    expect_refused(CORPUS_U32, 300, "not a multiple of 4");
}

static void a_token_beyond_the_vocabulary_is_refused_with_offset_and_value(void **state)
{
    (void)state;
    write_numbers(small, 6, 1);
    expect_refused(CORPUS_BYTES, 250, "token 250 at offset 3");
    expect_tokens(CORPUS_BYTES, 251, CORPUS_BYTES, small_tokens, 6);
    const int64_t large[4] = {0, 1, 2, 4294967295};
    write_numbers(large, 4, 4);
    expect_refused(CORPUS_U32, 50257, "token 4294967295 at offset 3");
}

static void the_scan_finds_a_token_behind_its_first_piece(void **state)
{
    (void)state;
    const size_t length = 3 * (1 << 20) + 5;
    char *bytes = memory_array(length, 1);
    assert_non_null(bytes);
    bytes[length - 1] = 9;
    test_write_file(path, bytes, length);
    expect_refused(CORPUS_BYTES, 9, "token 9 at offset 3145732");
    struct corpus corpus;
    struct error error = {0};
    assert_ok(corpus_open(&corpus, path, CORPUS_BYTES, 10, 3, &error), &error);
    corpus_close(&corpus);
    memory_free(bytes);
}

static void a_file_shorter_than_context_and_one_is_refused(void **state)
{
    (void)state;
    write_numbers(small, 3, 1);
    expect_refused(CORPUS_BYTES, 256, "3 tokens");
    write_numbers(small, 4, 1);
    expect_tokens(CORPUS_BYTES, 256, CORPUS_BYTES, small_tokens, 4);
    test_write_file(path, "", 0);
    expect_refused(CORPUS_AUTO, 256, "0 tokens");
}

static void an_absent_file_is_not_found(void **state)
{
    (void)state;
    struct corpus corpus;
    struct error error = {0};
    char absent[FILE_PATH_BYTES];
    test_path(absent, directory, "absent.bin");
    assert_fails(corpus_open(&corpus, absent, CORPUS_BYTES, 256, 3, &error), ERROR_NOT_FOUND, &error);
}

static void llmc_files_are_recognised_and_checked(void **state)
{
    (void)state;
    const int32_t tokens[5] = {1, 2, 3, 4, 5};
    write_llmc(20240520, 1, 5, 5);
    expect_tokens(CORPUS_AUTO, 50257, CORPUS_LLMC, tokens, 5);
    expect_tokens(CORPUS_LLMC, 50257, CORPUS_LLMC, tokens, 5);
    expect_refused(CORPUS_AUTO, 5, "token 5 at offset 4");
    write_llmc(20240520, 1, 6, 5);
    expect_refused(CORPUS_AUTO, 50257, "names 6 tokens in its header and holds 5");
    write_llmc(20240520, 7, 5, 5);
    expect_refused(CORPUS_AUTO, 50257, "version 1");
    write_llmc(20240521, 1, 5, 5);
    expect_refused(CORPUS_LLMC, 50257, "magic");
    test_write_file(path, "\x88\xd8\x34\x01", 4);
    expect_refused(CORPUS_AUTO, 50257, "shorter than the header");
}

static void npy_files_of_every_type_and_version_are_read(void **state)
{
    (void)state;
    static const struct { const char *type; int size; } types[] = {{"|u1", 1}, {"<u2", 2}, {"<i2", 2}, {"<u4", 4},
                                                                   {"<i4", 4}, {"<u8", 8}, {"<i8", 8}};
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        for (int major = 1; major <= 3; major++) {
            char header[256];
            unsigned char data[48];
            snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (6,), }      ",
                     types[t].type);
            encode(data, small, 6, types[t].size);
            write_npy(major, header, data, 6 * (size_t)types[t].size);
            expect_tokens(CORPUS_AUTO, 50257, CORPUS_NPY, small_tokens, 6);
        }
    }
    write_npy(1, "{\"shape\":(6,),\"descr\":\"|u1\",\"fortran_order\":False}", "\1\2\3\372\5\6", 6);
    expect_tokens(CORPUS_NPY, 251, CORPUS_NPY, small_tokens, 6);
}

static void malformed_npy_headers_are_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *header, *piece; } cases[] = {
        {"{'descr': '>u2', 'fortran_order': False, 'shape': (2,), }", "big-endian"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "integers"},
        {"{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2,), }", "structured"},
        {"{'descr': '<u2', 'fortran_order': True, 'shape': (2,), }", "Fortran"},
        {"{'descr': '<u2', 'fortran_order': 0, 'shape': (2,), }", "fortran_order"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (), }", "scalar"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (1, 2), }", "more than one dimension"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (2), }", "malformed 'shape'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (-2,), }", "malformed 'shape'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (02,), }", "malformed 'shape'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (99999999999999999999,), }", "malformed 'shape'"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': [2], }", "malformed 'shape'"},
        {"{'descr': '<u2', 'fortran_order': False, }", "lacks a key"},
        {"{'descr': '<u2', 'shape': (2,), }", "lacks a key"},
        {"{}", "lacks a key"},
        {"{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (2,), }", "twice"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (2,), 'x': 1, }", "unknown key"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (2,), } x", "behind its header"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (2,)", "malformed header"},
        {"{'descr': '<u2' 'fortran_order': False, 'shape': (2,), }", "malformed header"},
        {"{'descr': '<u2, 'fortran_order': False}", "integers"},
        {"{'descr': '<u2", "structured or malformed"},
        {"['descr']", "malformed header"},
        {"{'a key that is far longer than any key of an npy header could ever be': 1}", "malformed header"},
        {"", "malformed header"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }", "shorter than its shape"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (1,), }", "bytes behind its data"},
        {"{'descr': '<u2', 'fortran_order': False, 'shape': (1152921504606846975,), }", "shorter than its shape"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_npy(1, cases[i].header, "\1\0\2\0", 4);
        expect_refused(CORPUS_AUTO, 50257, cases[i].piece);
    }
}

static void cut_npy_files_are_refused_at_every_length(void **state)
{
    (void)state;
    write_npy(1, "{'descr': '<u2', 'fortran_order': False, 'shape': (6,), }", "\1\0\2\0\3\0\4\0\5\0\6\0", 12);
    size_t length;
    char *bytes = test_read_file(path, &length);
    for (size_t cut = 0; cut < length; cut++) {
        struct corpus corpus;
        struct error error = {0};
        test_write_file(path, bytes, cut);
        assert_fails(corpus_open(&corpus, path, CORPUS_NPY, 50257, 3, &error), ERROR_INVALID, &error);
    }
    memory_free(bytes);
    test_write_file(path, "\x93NUMPY\4\0\1\0\0\0{", 13);
    expect_refused(CORPUS_AUTO, 50257, "unknown version");
    test_write_file(path, "\x93NUMPY\2\0\xff\xff\xff\xff{", 13);
    expect_refused(CORPUS_AUTO, 50257, "4096");
}

static void a_negative_token_is_refused_with_its_value(void **state)
{
    (void)state;
    const int64_t values[4] = {1, 2, -7, 3};
    unsigned char data[32];
    static const struct { const char *type; int size; } types[] = {{"|i1", 1}, {"<i2", 2}, {"<i4", 4}, {"<i8", 8}};
    for (size_t t = 0; t < 4; t++) {
        char header[128];
        snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (4,), }", types[t].type);
        encode(data, values, 4, types[t].size);
        write_npy(1, header, data, 4 * (size_t)types[t].size);
        expect_refused(CORPUS_NPY, 50257, "token -7 at offset 2");
    }
    write_npy(1, "{'descr': '<u8', 'fortran_order': False, 'shape': (4,), }", data, 32);
    expect_refused(CORPUS_NPY, 50257, "token 18446744073709551609 at offset 2");
}

/* A safetensors file with the header text given and 24 data bytes 1, 0, 0, … 2, 0, 0, … 3, 0, …. */
static void write_safetensors(const char *header)
{
    unsigned char bytes[512] = {0};
    const size_t length = strlen(header);
    const int64_t words[4] = {(int64_t)length, 1, 2, 3};
    encode(bytes, words, 1, 8);
    memcpy(bytes + 8, header, length);
    encode(bytes + 8 + length, words + 1, 3, 8);
    test_write_file(path, bytes, 8 + length + 24);
}

static void safetensors_files_hold_one_vector_of_integers(void **state)
{
    (void)state;
    const int32_t tokens[6] = {1, 0, 2, 0, 3, 0};
    write_safetensors("{\"t\":{\"dtype\":\"I32\",\"shape\":[6],\"data_offsets\":[0,24]}} ");
    expect_tokens(CORPUS_AUTO, 50257, CORPUS_SAFETENSORS, tokens, 6);
    expect_tokens(CORPUS_SAFETENSORS, 4, CORPUS_SAFETENSORS, tokens, 6);
    expect_refused(CORPUS_AUTO, 3, "token 3 at offset 4");
    write_safetensors("{\"t\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}} ");
    expect_refused(CORPUS_AUTO, 50257, "F32");
    write_safetensors("{\"t\":{\"dtype\":\"I32\",\"shape\":[2,3],\"data_offsets\":[0,24]}} ");
    expect_refused(CORPUS_AUTO, 50257, "2 dimensions");
    write_safetensors("{\"a\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[0,12]},"
                      "\"b\":{\"dtype\":\"I32\",\"shape\":[3],\"data_offsets\":[12,24]}} ");
    expect_refused(CORPUS_AUTO, 50257, "2 tensors");
    write_safetensors("{\"t\":{\"dtype\":\"I32\",\"shape\":[7],\"data_offsets\":[0,24]}} ");
    expect_refused(CORPUS_SAFETENSORS, 50257, "");
    write_numbers(small, 6, 1);
    expect_refused(CORPUS_SAFETENSORS, 50257, "");
}

static void a_split_holds_out_the_last_tenth_or_one_window(void **state)
{
    (void)state;
    int64_t values[100];
    for (int i = 0; i < 100; i++) {
        values[i] = i;
    }
    write_numbers(values, 100, 1);
    struct corpus train, valid;
    struct error error = {0};
    int32_t token;
    assert_ok(corpus_open(&train, path, CORPUS_BYTES, 256, 3, &error), &error);
    assert_ok(corpus_split(&train, &valid, 3, &error), &error);
    assert_int_equal(train.tokens, 90);
    assert_int_equal(valid.tokens, 10);
    corpus_close(&train);   /* the second has a file of its own */
    assert_ok(corpus_read(&valid, 0, 1, &token, &error), &error);
    assert_int_equal(token, 90);
    corpus_close(&valid);
    assert_ok(corpus_open(&train, path, CORPUS_BYTES, 256, 3, &error), &error);
    assert_ok(corpus_split(&train, &valid, 30, &error), &error);
    assert_int_equal(train.tokens, 69);
    assert_int_equal(valid.tokens, 31);
    corpus_close(&valid);
    corpus_close(&train);
    assert_ok(corpus_open(&train, path, CORPUS_BYTES, 256, 3, &error), &error);
    assert_fails(corpus_split(&train, &valid, 50, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "data.valid");
    assert_int_equal(train.tokens, 100);
    corpus_close(&train);
}

static void reading_wraps_within_its_part_of_the_file(void **state)
{
    (void)state;
    int64_t values[20];
    for (int i = 0; i < 20; i++) {
        values[i] = i;
    }
    write_numbers(values, 20, 2);
    struct corpus train, valid;
    struct error error = {0};
    int32_t tokens[12];
    assert_ok(corpus_open(&train, path, CORPUS_U16, 256, 4, &error), &error);
    assert_ok(corpus_split(&train, &valid, 4, &error), &error);
    assert_ok(corpus_read(&valid, 3, 12, tokens, &error), &error);
    for (int i = 0; i < 12; i++) {
        assert_int_equal(tokens[i], 15 + (3 + i) % 5);
    }
    assert_ok(corpus_read(&train, 15 * UINT64_C(1000000007) + 13, 4, tokens, &error), &error);
    const int32_t expected[4] = {13, 14, 0, 1};
    assert_memory_equal(tokens, expected, sizeof expected);
    corpus_close(&valid);
    corpus_close(&train);
}

static void a_file_that_changes_while_open_is_an_error_not_a_crash(void **state)
{
    (void)state;
    int64_t values[100] = {0};
    write_numbers(values, 100, 2);
    struct corpus corpus;
    struct error error = {0};
    int32_t tokens[8];
    assert_ok(corpus_open(&corpus, path, CORPUS_U16, 256, 4, &error), &error);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fwrite("\377\377", 1, 2, file), 2);
    fclose(file);
    assert_fails(corpus_read(&corpus, 0, 8, tokens, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "token 65535 at offset 0");
    error_clear(&error);
    file = fopen(path, "wb");
    assert_non_null(file);
    fclose(file);
    assert_fails(corpus_read(&corpus, 50, 8, tokens, &error), ERROR_IO, &error);
    corpus_close(&corpus);
}

static void reopening_does_not_scan(void **state)
{
    (void)state;
    write_numbers(small, 6, 1);
    struct corpus corpus;
    struct error error = {0};
    assert_ok(corpus_reopen(&corpus, path, CORPUS_BYTES, 10, &error), &error);
    assert_int_equal(corpus.tokens, 6);
    corpus_close(&corpus);
}

static void no_allocation_failure_leaks_or_passes(void **state)
{
    (void)state;
    write_safetensors("{\"t\":{\"dtype\":\"I32\",\"shape\":[6],\"data_offsets\":[0,24]}} ");
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct corpus corpus;
        struct error error = {0};
        int result = corpus_open(&corpus, path, CORPUS_AUTO, 50257, 3, &error);
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(result, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(result, &error);
            corpus_close(&corpus);
        }
    }
}

static void format_names_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < CORPUS_FORMAT_COUNT; i++) {
        enum corpus_format format;
        assert_int_equal(corpus_format_parse(corpus_format_name((enum corpus_format)i), &format), 0);
        assert_int_equal(format, i);
    }
    enum corpus_format format;
    assert_int_equal(corpus_format_parse("u64", &format), -1);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(CASE(plain_formats_are_read_little_endian),
          CASE(auto_takes_bytes_for_small_vocabularies_and_asks_otherwise),
          CASE(half_a_token_is_refused),
          CASE(a_token_beyond_the_vocabulary_is_refused_with_offset_and_value),
          CASE(the_scan_finds_a_token_behind_its_first_piece),
          CASE(a_file_shorter_than_context_and_one_is_refused),
          CASE(an_absent_file_is_not_found),
          CASE(llmc_files_are_recognised_and_checked),
          CASE(npy_files_of_every_type_and_version_are_read),
          CASE(malformed_npy_headers_are_refused_by_name),
          CASE(cut_npy_files_are_refused_at_every_length),
          CASE(a_negative_token_is_refused_with_its_value),
          CASE(safetensors_files_hold_one_vector_of_integers),
          CASE(a_split_holds_out_the_last_tenth_or_one_window),
          CASE(reading_wraps_within_its_part_of_the_file),
          CASE(a_file_that_changes_while_open_is_an_error_not_a_crash),
          CASE(reopening_does_not_scan),
          CASE(no_allocation_failure_leaks_or_passes),
          CASE(format_names_round_trip))
