#include "tests/support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

void support_assert_close(const char *what, double residual, double bound, const char *file, int line)
{
    print_message("    %s: residual %.3e, bound %.3e\n", what, residual, bound);
    if (!(residual <= bound)) {
        print_error("%s: residual %.17g is beyond its bound %.17g\n", what, residual, bound);
        _fail(file, line);
    }
}

void support_assert_near(const char *what, double actual, double expected, double bound, const char *file, int line)
{
    double residual = fabs(actual - expected);
    print_message("    %s: residual %.3e, bound %.3e\n", what, residual, bound);
    if (!(residual <= bound)) {
        print_error("%s: %.17g is not within %.3e of %.17g\n", what, actual, bound, expected);
        _fail(file, line);
    }
}

void support_assert_code(const char *what, int result, enum error_code code, const struct error *error,
                         const char *file, int line)
{
    bool recorded = !error || (int)error->code == result;
    if (result == (int)code && recorded)
        return;
    const char *got = result >= 0 && result < ERROR_CODE_COUNT ? error_word((enum error_code)result) : "no error code";
    print_error("%s: returned %d (%s), expected %d (%s)\n", what, result, got, (int)code, error_word(code));
    if (error && error->code != ERROR_NONE)
        print_error("recorded: %s: %s\n", error_word(error->code), error->message);
    else if (error)
        print_error("no error was recorded\n");
    _fail(file, line);
}

void support_assert_contains(const char *text, const char *piece, const char *file, int line)
{
    if (text && strstr(text, piece))
        return;
    print_error("\"%s\" is not in \"%s\"\n", piece, text ? text : "(null)");
    _fail(file, line);
}

double largest_difference(const float *a, const float *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= largest))
            largest = difference;
        if (isnan(largest))
            return largest;
    }
    return largest;
}

double largest_difference_double(const double *a, const double *b, size_t count)
{
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs(a[i] - b[i]);
        if (!(difference <= largest))
            largest = difference;
        if (isnan(largest))
            return largest;
    }
    return largest;
}

static void directory_make_below(const char *parent, char path[FILE_PATH_BYTES])
{
    int written = snprintf(path, FILE_PATH_BYTES, "%s/lag-test-XXXXXX", parent);
    assert_in_range(written, 1, FILE_PATH_BYTES - 1);
    assert_non_null(mkdtemp(path));
}

static const char *temporary_parent(void)
{
    const char *parent = getenv("TMPDIR");
    return parent && *parent ? parent : NULL;
}

void test_directory_make(char path[FILE_PATH_BYTES])
{
    directory_make_below(temporary_parent() ? temporary_parent() : "/tmp", path);
}

void test_memory_directory_make(char path[FILE_PATH_BYTES])
{
    static const char memory[] = "/dev/shm";
    const uint64_t wanted = UINT64_C(256) << 20;
    struct error ignored = {0};
    uint64_t room = 0;
    if (temporary_parent() || access(memory, W_OK) != 0 || file_free_bytes(memory, &room, &ignored) != 0 || room < wanted)
        test_directory_make(path);
    else
        directory_make_below(memory, path);
}

void test_directory_remove(const char *path)
{
    struct error error = {0};
    assert_ok(file_remove_tree(path, &error), &error);
}

int test_directory_setup(void **state)
{
    char *path = memory_new(FILE_PATH_BYTES);
    assert_non_null(path);
    test_directory_make(path);
    *state = path;
    return 0;
}

int test_directory_teardown(void **state)
{
    test_directory_remove(*state);
    memory_free(*state);
    return 0;
}

char *test_path(char path[FILE_PATH_BYTES], const char *directory, const char *name)
{
    struct error error = {0};
    assert_ok(file_join(path, directory, name, &error), &error);
    return path;
}

/* Plain stdio, so that a test of base/file does not check itself. */
void test_write_file(const char *path, const void *bytes, size_t length)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

char *test_read_file(const char *path, size_t *length)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    long size = ftell(file);
    assert_true(size >= 0);
    rewind(file);
    char *bytes = memory_new((size_t)size + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, file), (size_t)size);
    fclose(file);
    if (length)
        *length = (size_t)size;
    return bytes;
}

int test_count_temporaries(const char *directory)
{
    struct file_names names;
    struct error error = {0};
    if (file_list(directory, &names, &error) != 0)
        return -1;
    int count = 0;
    for (int i = 0; i < names.count; i++)
        count += file_is_temporary(names.names[i]);
    file_names_free(&names);
    return count;
}

static bool sweep_answered, sweep_answer;

static int64_t sweep_arm(enum fault_kind kind, int64_t n)
{
    sweep_answered = false;
    fault_arm(kind, n);
    return n;
}

int64_t sweep_begin(enum fault_kind kind)
{
    return sweep_arm(kind, 1);
}

int64_t sweep_next(enum fault_kind kind, int64_t n)
{
    if (!fault_struck(kind, n))
        return 0;
    if (n >= SWEEP_ROUNDS_MAX)
        fail_msg("the sweep did not end after %d rounds", SWEEP_ROUNDS_MAX);
    return sweep_arm(kind, n + 1);
}

bool fault_struck(enum fault_kind kind, int64_t n)
{
    if (!sweep_answered) {
        sweep_answer = fault_count(kind) >= n;
        sweep_answered = true;
        fault_arm(kind, 0);
    }
    return sweep_answer;
}
