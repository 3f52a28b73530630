#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/support.h"

static void assert_content(const char *path, const char *expected)
{
    size_t length;
    char *bytes = test_read_file(path, &length);
    assert_int_equal(length, strlen(expected));
    assert_string_equal(bytes, expected);
    memory_free(bytes);
}

/* ---- reading ---- */

static void read_returns_the_whole_file_ended_by_nul(void **state)
{
    char path[FILE_PATH_BYTES], *bytes;
    size_t length;
    struct error error = {0};
    test_path(path, *state, "f");
    for (size_t size = 0; size <= 20000; size = size * 3 + 1) {
        char *content = memory_new(size + 1);
        memset(content, 'x', size);
        test_write_file(path, content, size);
        assert_ok(file_read(path, size, &bytes, &length, &error), &error);
        assert_int_equal(length, size);
        assert_memory_equal(bytes, content, size + 1);
        memory_free(bytes);
        memory_free(content);
    }
}

/* Files of /proc say that they are empty. */
static void read_does_not_believe_the_size(void **state)
{
    (void)state;
    char *bytes;
    size_t length;
    struct error error = {0};
    assert_ok(file_read("/proc/self/status", 1 << 20, &bytes, &length, &error), &error);
    assert_contains(bytes, "Threads:");
    assert_int_equal(strlen(bytes), length);
    memory_free(bytes);
    assert_fails(file_read("/proc/self/status", 10, &bytes, &length, &error), ERROR_TOO_LARGE, &error);
    assert_null(bytes);
}

static void read_refuses_by_name(void **state)
{
    char path[FILE_PATH_BYTES], *bytes;
    size_t length;
    test_path(path, *state, "f");
    test_write_file(path, "12345", 5);
    struct error error = {0};
    assert_fails(file_read(path, 4, &bytes, &length, &error), ERROR_TOO_LARGE, &error);
    assert_contains(error.message, "5 bytes");
    error_clear(&error);
    assert_fails(file_read(*state, 100, &bytes, &length, &error), ERROR_INVALID, &error);
    error_clear(&error);
    test_path(path, *state, "missing");
    assert_fails(file_read(path, 100, &bytes, &length, &error), ERROR_NOT_FOUND, &error);
    assert_contains(error.message, path);
    error_clear(&error);
    test_path(path, *state, "f/g");
    assert_fails(file_read(path, 100, &bytes, &length, &error), ERROR_NOT_FOUND, &error);
    error_clear(&error);
    test_path(path, *state, "fifo");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_fails(file_read(path, 100, &bytes, &length, &error), ERROR_INVALID, &error);
}

static void reader_reads_at_positions_within_the_file(void **state)
{
    char path[FILE_PATH_BYTES], bytes[8] = "";
    struct file_reader reader;
    struct error error = {0};
    test_path(path, *state, "f");
    test_write_file(path, "0123456789", 10);
    assert_ok(file_reader_open(&reader, path, &error), &error);
    assert_int_equal(reader.size, 10);
    assert_ok(file_reader_read(&reader, 6, bytes, 4, &error), &error);
    assert_string_equal(bytes, "6789");
    assert_ok(file_reader_read(&reader, 10, bytes, 0, &error), &error);
    const struct { uint64_t offset; size_t length; } outside[] = {{7, 4}, {11, 0}, {UINT64_MAX, 2}, {2, SIZE_MAX}};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        error_clear(&error);
        assert_fails(file_reader_read(&reader, outside[i].offset, bytes, outside[i].length, &error), ERROR_IO, &error);
    }
    error_clear(&error);
    assert_int_equal(truncate(path, 8), 0);
    assert_fails(file_reader_read(&reader, 6, bytes, 4, &error), ERROR_IO, &error);
    assert_contains(error.message, "shorter");
    file_reader_close(&reader);
    file_reader_close(&reader);
}

static void reader_keeps_the_end_of_a_long_path(void **state)
{
    char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES], name[201];
    struct file_reader reader;
    struct error error = {0};
    memset(name, 'd', 200);
    name[200] = '\0';
    test_path(directory, *state, name);
    assert_ok(file_make_directory(directory, &error), &error);
    memset(name, 'n', 195);
    memcpy(name + 195, ".file", 6);
    test_path(path, directory, name);
    test_write_file(path, "x", 1);
    assert_ok(file_reader_open(&reader, path, &error), &error);
    assert_int_equal(strlen(reader.path), sizeof reader.path - 1);
    assert_memory_equal(reader.path, "...", 3);
    assert_string_equal(reader.path + 250, ".file");
    file_reader_close(&reader);
}

/* ---- writing ---- */

static void a_file_appears_only_when_committed(void **state)
{
    char path[FILE_PATH_BYTES];
    struct file_writer writer;
    struct error error = {0};
    test_path(path, *state, "f");
    assert_ok(file_writer_open(&writer, path, &error), &error);
    assert_ok(file_writer_write(&writer, "new", 3, &error), &error);
    assert_false(file_exists(path));
    assert_int_equal(test_count_temporaries(*state), 1);
    assert_ok(file_writer_commit(&writer, &error), &error);
    assert_content(path, "new");
    assert_int_equal(test_count_temporaries(*state), 0);
}

static void abort_leaves_the_old_file(void **state)
{
    char path[FILE_PATH_BYTES];
    struct file_writer writer;
    struct error error = {0};
    test_path(path, *state, "f");
    test_write_file(path, "old", 3);
    assert_ok(file_writer_open(&writer, path, &error), &error);
    assert_ok(file_writer_write(&writer, "new", 3, &error), &error);
    file_writer_abort(&writer);
    file_writer_abort(&writer);
    assert_content(path, "old");
    assert_int_equal(test_count_temporaries(*state), 0);
}

/* Pieces below, at and over the block of 1 MiB, so that each way through the buffer is taken. */
static void pieces_of_every_size_arrive_in_order(void **state)
{
    char path[FILE_PATH_BYTES];
    struct file_writer writer;
    struct error error = {0};
    const size_t pieces[] = {1, 0, 1000, (1 << 20) - 1001, 1, 1 << 20, (1 << 20) + 1, 5, 3 << 20, (1 << 20) - 1, 2};
    size_t total = 0, length;
    test_path(path, *state, "f");
    unsigned char *source = memory_new(3 << 20);
    assert_ok(file_writer_open(&writer, path, &error), &error);
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        for (size_t i = 0; i < pieces[p]; i++)
            source[i] = (unsigned char)((total + i) * 31 >> 3);
        assert_ok(file_writer_write(&writer, source, pieces[p], &error), &error);
        total += pieces[p];
        assert_int_equal(writer.written, total);
    }
    assert_ok(file_writer_commit(&writer, &error), &error);
    unsigned char *bytes = (unsigned char *)test_read_file(path, &length);
    assert_int_equal(length, total);
    for (size_t i = 0; i < total; i++)
        if (bytes[i] != (unsigned char)(i * 31 >> 3))
            fail_msg("byte %zu differs", i);
    memory_free(bytes);
    memory_free(source);
}

static void two_writers_of_one_name_do_not_meet(void **state)
{
    char path[FILE_PATH_BYTES];
    struct file_writer first, second;
    struct error error = {0};
    test_path(path, *state, "f");
    assert_ok(file_writer_open(&first, path, &error), &error);
    assert_ok(file_writer_open(&second, path, &error), &error);
    assert_string_not_equal(first.temporary, second.temporary);
    assert_ok(file_writer_write(&first, "first", 5, &error), &error);
    assert_ok(file_writer_write(&second, "second", 6, &error), &error);
    assert_ok(file_writer_commit(&second, &error), &error);
    assert_content(path, "second");
    assert_ok(file_writer_commit(&first, &error), &error);
    assert_content(path, "first");
}

/* In a container the process number is the same after each start: what a crash left must not stop the next writer. */
static void a_leftover_of_a_killed_process_is_passed_over(void **state)
{
    char path[FILE_PATH_BYTES], blocked[FILE_PATH_BYTES];
    struct file_writer writer;
    struct error error = {0};
    unsigned long long counter;
    long process;
    test_path(path, *state, "f");
    assert_ok(file_writer_open(&writer, path, &error), &error);
    const char *name = strrchr(writer.temporary, '/') + 1;
    assert_true(file_is_temporary(name));
    assert_int_equal(sscanf(name, ".lag-%ld-%llu.tmp", &process, &counter), 2);
    file_writer_abort(&writer);
    for (unsigned long long i = 1; i <= 3; i++) {
        char leftover[64];
        snprintf(leftover, sizeof leftover, ".lag-%ld-%llu.tmp", process, counter + i);
        test_write_file(test_path(blocked, *state, leftover), "left", 4);
    }
    assert_ok(file_write(path, "new", 3, &error), &error);
    assert_content(path, "new");
    assert_content(blocked, "left");
    assert_int_equal(test_count_temporaries(*state), 3);
}

static void writing_where_nothing_can_be_is_refused(void **state)
{
    char path[FILE_PATH_BYTES], *long_path = memory_new(FILE_PATH_BYTES + 10);
    struct file_writer writer;
    struct error error = {0};
    test_path(path, *state, "no/such/place");
    assert_fails(file_write(path, "x", 1, &error), ERROR_NOT_FOUND, &error);
    error_clear(&error);
    memset(long_path, 'p', FILE_PATH_BYTES + 9);
    assert_fails(file_writer_open(&writer, long_path, &error), ERROR_INVALID, &error);
    file_writer_abort(&writer);
    memory_free(long_path);
    error_clear(&error);
    /* a directory of that name stands in the way of the rename */
    test_path(path, *state, "directory");
    assert_ok(file_make_directory(path, &error), &error);
    assert_fails(file_write(path, "x", 1, &error), ERROR_IO, &error);
    assert_int_equal(test_count_temporaries(*state), 0);
}

static void temporary_names_are_told_from_others(void **state)
{
    (void)state;
    assert_true(file_is_temporary(".lag-12-0.tmp"));
    const char *others[] = {"", ".lag-", ".tmp", ".lag-.tmp", "model.safetensors", ".lag-1-2.tmp2", "lag-1-2.tmp"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(file_is_temporary(others[i]));
}

static void copy_equals_its_source(void **state)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct error error = {0};
    size_t length, size = 700001;
    char *content = memory_new(size), *copied;
    for (size_t i = 0; i < size; i++)
        content[i] = (char)(i * 7 + i / 256);
    test_path(from, *state, "from");
    test_path(to, *state, "to");
    test_write_file(from, content, size);
    assert_ok(file_copy(from, to, &error), &error);
    copied = test_read_file(to, &length);
    assert_int_equal(length, size);
    assert_memory_equal(copied, content, size);
    memory_free(copied);
    memory_free(content);
    assert_fails(file_copy(test_path(from, *state, "missing"), to, &error), ERROR_NOT_FOUND, &error);
}

/* ---- the n-th fault, for every n ---- */

static const char old_content[] = "old", new_content[] = "new content";

static int write_new(const char *path, struct error *error)
{
    return file_write(path, new_content, sizeof new_content - 1, error);
}

static int write_new_in_pieces(const char *path, struct error *error)
{
    struct file_writer writer;
    int result = file_writer_open(&writer, path, error);
    for (const char *letter = new_content; result == 0 && *letter; letter++)
        result = file_writer_write(&writer, letter, 1, error);
    if (result == 0)
        return file_writer_commit(&writer, error);
    file_writer_abort(&writer);
    return result;
}

static int copy_new(const char *path, struct error *error)
{
    char source[FILE_PATH_BYTES];
    snprintf(source, sizeof source, "%s.source", path);
    test_write_file(source, new_content, sizeof new_content - 1);
    return file_copy(source, path, error);
}

/* Whatever fails: the old file or the new one, whole; no temporary; success only if the new one is there. */
static void sweep_writing(const char *directory, enum fault_kind kind, int (*work)(const char *, struct error *),
                          int faults_expected, enum error_code code_expected)
{
    char path[FILE_PATH_BYTES];
    int faults = 0;
    test_path(path, directory, "f");
    SWEEP_FAULTS(kind, n) {
        struct error error = {0};
        test_write_file(path, old_content, sizeof old_content - 1);
        int result = work(path, &error);
        bool struck = fault_struck(kind, n);
        faults += struck;
        assert_int_equal(result, struck ? (int)code_expected : 0);
        assert_int_equal(error.code, result);
        char *bytes = test_read_file(path, NULL);
        bool is_new = strcmp(bytes, new_content) == 0;
        assert_true(is_new || (result != 0 && strcmp(bytes, old_content) == 0));
        memory_free(bytes);
        assert_int_equal(test_count_temporaries(directory), 0);
    }
    assert_int_equal(faults, faults_expected);
}

static void a_fault_leaves_the_old_file_or_the_new_one(void **state)
{
    int (*const works[])(const char *, struct error *) = {write_new, write_new_in_pieces, copy_new};
    for (int i = 0; i < 3; i++) {
        sweep_writing(*state, FAULT_WRITE, works[i], 1, ERROR_DISK_FULL);
        sweep_writing(*state, FAULT_FSYNC, works[i], 2, ERROR_IO);
        sweep_writing(*state, FAULT_RENAME, works[i], 1, ERROR_IO);
    }
}

static void out_of_memory_leaves_the_old_file(void **state)
{
    sweep_writing(*state, FAULT_ALLOC, write_new, 1, ERROR_NO_MEMORY);
    sweep_writing(*state, FAULT_ALLOC, copy_new, 2, ERROR_NO_MEMORY);
}

static void a_write_of_many_blocks_can_fail_at_each(void **state)
{
    char path[FILE_PATH_BYTES];
    int faults = 0;
    char *content = memory_new(4 << 20);
    test_path(path, *state, "f");
    SWEEP_FAULTS(FAULT_WRITE, n) {
        struct file_writer writer;
        struct error error = {0};
        int result = file_writer_open(&writer, path, &error);
        for (int i = 0; result == 0 && i < 4; i++)
            result = file_writer_write(&writer, content, 700000, &error);
        if (result == 0)
            result = file_writer_commit(&writer, &error);
        else
            file_writer_abort(&writer);
        bool struck = fault_struck(FAULT_WRITE, n);
        faults += struck;
        assert_int_equal(result, struck ? ERROR_DISK_FULL : 0);
        assert_int_equal(file_exists(path), !struck);
        assert_int_equal(test_count_temporaries(*state), 0);
    }
    assert_true(faults >= 3);
    memory_free(content);
}

static void reading_without_memory_leaks_nothing(void **state)
{
    char path[FILE_PATH_BYTES], *bytes;
    size_t length;
    test_path(path, *state, "f");
    test_write_file(path, "content", 7);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct error error = {0};
        int result = file_read(path, 100, &bytes, &length, &error);
        assert_int_equal(result, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
        assert_int_equal(!bytes, result != 0);
        memory_free(bytes);
    }
}

/* More than the buffers hold, in pieces smaller and larger than one. */
enum { OVERLAP_BYTES = 40 << 20 };

static int write_overlapped(const char *path, const char *content, struct error *error)
{
    static const size_t pieces[] = {1, 700001, 3 << 20, 4096, (1 << 20) + 1, 1 << 20};
    struct file_writer writer;
    int result = file_writer_open(&writer, path, error);
    if (result != 0)
        return result;
    result = file_writer_overlap(&writer, error);
    for (size_t done = 0, i = 0; done < OVERLAP_BYTES && result == 0; i++) {
        size_t now = pieces[i % 6] < OVERLAP_BYTES - done ? pieces[i % 6] : OVERLAP_BYTES - done;
        result = file_writer_write(&writer, content + done, now, error);
        done += now;
    }
    if (result == 0)
        return file_writer_commit(&writer, error);
    file_writer_abort(&writer);
    return result;
}

static void overlapped_writes_arrive_in_order_or_not_at_all(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};
    char path[FILE_PATH_BYTES], *content = memory_array(OVERLAP_BYTES, 1);
    struct error error = {0};
    size_t length;
    uint64_t word = 1;
    assert_non_null(content);
    for (size_t i = 0; i < OVERLAP_BYTES; i += sizeof word) {
        word = word * 6364136223846793005u + 1442695040888963407u;
        memcpy(content + i, &word, sizeof word);
    }
    test_path(path, *state, "f");
    assert_ok(write_overlapped(path, content, &error), &error);
    char *found = test_read_file(path, &length);
    assert_int_equal(length, OVERLAP_BYTES);
    assert_memory_equal(found, content, OVERLAP_BYTES);
    memory_free(found);
    for (int kind = 0; kind < 4; kind++)
        for (int64_t n = 1, past = 0; !past; n += 1 + n / 4) {
            struct error told = {0};
            test_write_file(path, "old", 3);
            fault_arm(kinds[kind], n);
            int result = write_overlapped(path, content, &told);
            past = fault_count(kinds[kind]) < n;
            fault_arm(kinds[kind], 0);
            assert_int_equal(result == 0, past);
            found = test_read_file(path, &length);
            assert_true(length == 3 || (length == OVERLAP_BYTES && memcmp(found, content, length) == 0));
            memory_free(found);
            assert_int_equal(test_count_temporaries(*state), 0);
        }
    memory_free(content);
}

#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, test_memory_setup, test_memory_teardown)
static int test_memory_setup(void **state)
{
    static char directory[FILE_PATH_BYTES];
    test_memory_directory_make(directory);
    *state = directory;
    return 0;
}

static int test_memory_teardown(void **state)
{
    test_directory_remove(*state);
    return 0;
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)
TEST_MAIN(IN_DIRECTORY(read_returns_the_whole_file_ended_by_nul), cmocka_unit_test(read_does_not_believe_the_size),
          IN_DIRECTORY(read_refuses_by_name), IN_DIRECTORY(reader_reads_at_positions_within_the_file),
          IN_DIRECTORY(reader_keeps_the_end_of_a_long_path), IN_DIRECTORY(a_file_appears_only_when_committed),
          IN_DIRECTORY(abort_leaves_the_old_file), IN_DIRECTORY(pieces_of_every_size_arrive_in_order),
          IN_DIRECTORY(two_writers_of_one_name_do_not_meet),
          IN_DIRECTORY(a_leftover_of_a_killed_process_is_passed_over),
          IN_DIRECTORY(writing_where_nothing_can_be_is_refused), cmocka_unit_test(temporary_names_are_told_from_others),
          IN_DIRECTORY(copy_equals_its_source), IN_DIRECTORY(a_fault_leaves_the_old_file_or_the_new_one),
          IN_DIRECTORY(out_of_memory_leaves_the_old_file), IN_DIRECTORY(a_write_of_many_blocks_can_fail_at_each),
          IN_DIRECTORY(reading_without_memory_leaks_nothing),
          IN_MEMORY(overlapped_writes_arrive_in_order_or_not_at_all))
