#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/support.h"

static void make_directory(const char *path)
{
    struct error error = {0};
    assert_ok(file_make_directory(path, &error), &error);
}

static void join_puts_one_slash_between(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES], *name = memory_new(FILE_PATH_BYTES + 1);
    struct error error = {0};
    assert_ok(file_join(path, "a/b", "c", &error), &error);
    assert_string_equal(path, "a/b/c");
    assert_ok(file_join(path, "/", "c", &error), &error);
    assert_string_equal(path, "/c");
    memset(name, 'n', FILE_PATH_BYTES - 3);
    assert_ok(file_join(path, "a", name, &error), &error);
    assert_int_equal(strlen(path), FILE_PATH_BYTES - 1);
    name[FILE_PATH_BYTES - 3] = 'n';
    assert_fails(file_join(path, "a", name, &error), ERROR_INVALID, &error);
    memory_free(name);
}

static void directories_are_made_with_their_parents(void **state)
{
    char path[FILE_PATH_BYTES], file[FILE_PATH_BYTES];
    struct error error = {0};
    test_path(path, *state, "a//b/c/");
    make_directory(path);
    make_directory(path);
    assert_true(file_is_directory(path));
    make_directory("/");
    test_write_file(test_path(file, *state, "file"), "", 0);
    assert_false(file_is_directory(file));
    assert_fails(file_make_directory(file, &error), ERROR_IO, &error);
    error_clear(&error);
    assert_fails(file_make_directory(test_path(path, *state, "file/below"), &error), ERROR_IO, &error);
    error_clear(&error);
    assert_fails(file_make_directory("", &error), ERROR_INVALID, &error);
}

static void a_new_directory_is_made_durable_in_its_parent(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    test_path(path, *state, "a/b");
    fault_arm(FAULT_FSYNC, 0);
    make_directory(path);
    assert_int_equal(fault_count(FAULT_FSYNC), 2);
    test_path(path, *state, "c");
    fault_arm(FAULT_FSYNC, 1);
    assert_fails(file_make_directory(path, &error), ERROR_IO, &error);
    fault_arm(FAULT_FSYNC, 0);
}

static void remove_tree_takes_everything_and_follows_no_link(void **state)
{
    char path[FILE_PATH_BYTES], tree[FILE_PATH_BYTES], kept[FILE_PATH_BYTES];
    struct error error = {0};
    make_directory(test_path(kept, *state, "kept"));
    test_write_file(test_path(kept, *state, "kept/f"), "x", 1);
    make_directory(test_path(path, *state, "tree/a/b"));
    test_write_file(test_path(path, *state, "tree/a/f"), "x", 1);
    test_write_file(test_path(path, *state, "tree/a/b/f"), "x", 1);
    assert_int_equal(symlink("../../kept", test_path(path, *state, "tree/a/link")), 0);
    assert_int_equal(symlink("nowhere", test_path(path, *state, "tree/dangling")), 0);
    test_path(tree, *state, "tree");
    assert_ok(file_remove_tree(tree, &error), &error);
    assert_false(file_exists(tree));
    assert_true(file_exists(kept));
    assert_ok(file_remove_tree(tree, &error), &error);
    assert_int_equal(symlink("kept", tree), 0);
    assert_ok(file_remove_tree(tree, &error), &error);
    assert_true(file_exists(kept));
    assert_ok(file_remove_tree(kept, &error), &error);
    assert_false(file_exists(kept));
}

static void remove_forgives_what_is_not_there(void **state)
{
    char path[FILE_PATH_BYTES];
    struct error error = {0};
    test_path(path, *state, "f");
    assert_ok(file_remove(path, &error), &error);
    test_write_file(path, "x", 1);
    assert_ok(file_remove(path, &error), &error);
    assert_false(file_exists(path));
    assert_fails(file_remove(*state, &error), ERROR_IO, &error);
}

static void rename_moves_and_names_what_is_missing(void **state)
{
    char from[FILE_PATH_BYTES], to[FILE_PATH_BYTES];
    struct error error = {0};
    make_directory(test_path(to, *state, "d"));
    test_path(to, *state, "d/to");
    test_write_file(test_path(from, *state, "from"), "x", 1);
    fault_arm(FAULT_RENAME, 1);
    assert_fails(file_rename(from, to, &error), ERROR_IO, &error);
    assert_true(file_exists(from) && !file_exists(to));
    error_clear(&error);
    fault_arm(FAULT_FSYNC, 0);
    assert_ok(file_rename(from, to, &error), &error);
    assert_int_equal(fault_count(FAULT_FSYNC), 2);
    assert_true(!file_exists(from) && file_exists(to));
    assert_fails(file_rename(from, to, &error), ERROR_NOT_FOUND, &error);
}

static void list_is_sorted_by_bytes(void **state)
{
    char path[FILE_PATH_BYTES];
    struct file_names names;
    struct error error = {0};
    assert_ok(file_list(*state, &names, &error), &error);
    assert_int_equal(names.count, 0);
    file_names_free(&names);
    for (int i = 40; i > 0; i--) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        test_write_file(test_path(path, *state, name), "", 0);
    }
    test_write_file(test_path(path, *state, ".hidden"), "", 0);
    assert_ok(file_list(*state, &names, &error), &error);
    assert_int_equal(names.count, 41);
    assert_string_equal(names.names[0], ".hidden");
    assert_string_equal(names.names[2], "10");
    for (int i = 1; i < names.count; i++)
        assert_true(strcmp(names.names[i - 1], names.names[i]) < 0);
    file_names_free(&names);
    assert_fails(file_list(path, &names, &error), ERROR_NOT_FOUND, &error);
    file_names_free(&names);
}

static void listing_without_memory_leaks_nothing(void **state)
{
    char path[FILE_PATH_BYTES];
    int rounds = 0;
    test_write_file(test_path(path, *state, "a"), "", 0);
    test_write_file(test_path(path, *state, "b"), "", 0);
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct file_names names;
        struct error error = {0};
        int result = file_list(*state, &names, &error);
        assert_int_equal(result, fault_struck(FAULT_ALLOC, n) ? ERROR_NO_MEMORY : 0);
        assert_int_equal(names.count, result ? 0 : 2);
        file_names_free(&names);
        rounds++;
    }
    assert_int_equal(rounds, 4);
}

static void free_bytes_are_told(void **state)
{
    uint64_t bytes = 0;
    struct error error = {0};
    assert_ok(file_free_bytes(*state, &bytes, &error), &error);
    assert_true(bytes > 0);
    assert_fails(file_free_bytes("/no/such/place", &bytes, &error), ERROR_IO, &error);
}

/* root/in/f, root/in.d/f beside it; outside/f; links inside and out. */
static void build_rooms(const char *top)
{
    char path[FILE_PATH_BYTES];
    const char *directories[] = {"root/in", "rootless", "outside"};
    for (size_t i = 0; i < 3; i++)
        make_directory(test_path(path, top, directories[i]));
    const char *files[] = {"root/in/f", "rootless/f", "outside/f"};
    for (size_t i = 0; i < 3; i++)
        test_write_file(test_path(path, top, files[i]), "x", 1);
    const struct { const char *target, *name; } links[] = {
        {"in", "root/good"}, {"../outside", "root/bad"}, {"../../outside/f", "root/in/badfile"},
        {"..", "root/in/up"}, {"../..", "root/in/upup"}, {"loop", "root/loop"}, {"../rootless", "root/near"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        assert_int_equal(symlink(links[i].target, test_path(path, top, links[i].name)), 0);
    char target[FILE_PATH_BYTES];
    assert_int_equal(symlink(test_path(target, top, "outside"), test_path(path, top, "root/absolute")), 0);
    assert_int_equal(symlink("root", test_path(path, top, "alias")), 0);
}

static void resolve_accepts_what_lies_beneath(void **state)
{
    char root[FILE_PATH_BYTES], real[FILE_PATH_BYTES], alias[FILE_PATH_BYTES], resolved[FILE_PATH_BYTES];
    char absolute[FILE_PATH_BYTES];
    struct error error = {0};
    build_rooms(*state);
    test_path(root, *state, "root");
    test_path(alias, *state, "alias");
    test_path(real, root, "in/f");
    const char *paths[] = {"in/f", "./in//f", "in/../in/f", "good/f", "in/up/in/f", "good/../in/f"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_ok(file_resolve_beneath(root, paths[i], resolved, &error), &error);
        assert_string_equal(resolved, real);
        assert_ok(file_resolve_beneath(alias, paths[i], resolved, &error), &error);
        assert_string_equal(resolved, real);
    }
    assert_ok(file_resolve_beneath(root, real, resolved, &error), &error);
    assert_string_equal(resolved, real);
    assert_ok(file_resolve_beneath(alias, test_path(absolute, alias, "good/f"), resolved, &error), &error);
    assert_string_equal(resolved, real);
    assert_ok(file_resolve_beneath(root, ".", resolved, &error), &error);
    assert_string_equal(resolved, root);
    assert_ok(file_resolve_beneath("/", real, resolved, &error), &error);
    assert_string_equal(resolved, real);
}

static void resolve_refuses_what_leads_out(void **state)
{
    char root[FILE_PATH_BYTES], resolved[FILE_PATH_BYTES], absolute[3][FILE_PATH_BYTES];
    build_rooms(*state);
    test_path(root, *state, "root");
    test_path(absolute[0], *state, "outside/f");
    test_path(absolute[1], *state, "rootless/f");
    test_path(absolute[2], root, "../outside/f");
    const char *paths[] = {"..", "../outside/f", "../rootless/f", "in/../../outside/f", "bad/f", "bad", "in/badfile",
                           "in/upup/outside/f", "in/upup", "absolute/f", "near/f", "/etc/passwd", "/", "../nothing",
                           absolute[0], absolute[1], absolute[2]};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct error error = {0};
        assert_fails(file_resolve_beneath(root, paths[i], resolved, &error), ERROR_FORBIDDEN, &error);
        assert_contains(error.message, paths[i]);
    }
}

static void resolve_tells_missing_from_forbidden(void **state)
{
    char root[FILE_PATH_BYTES], resolved[FILE_PATH_BYTES], *long_path = memory_new(FILE_PATH_BYTES + 1);
    struct error error = {0};
    build_rooms(*state);
    test_path(root, *state, "root");
    const char *missing[] = {"nothing", "in/f/below", "in/nothing/f"};
    for (size_t i = 0; i < 3; i++) {
        error_clear(&error);
        assert_fails(file_resolve_beneath(root, missing[i], resolved, &error), ERROR_NOT_FOUND, &error);
    }
    error_clear(&error);
    assert_fails(file_resolve_beneath(root, "loop", resolved, &error), ERROR_IO, &error);
    error_clear(&error);
    memset(long_path, 'p', FILE_PATH_BYTES);
    assert_fails(file_resolve_beneath(root, long_path, resolved, &error), ERROR_INVALID, &error);
    error_clear(&error);
    test_path(root, *state, "no-root");
    assert_fails(file_resolve_beneath(root, "f", resolved, &error), ERROR_IO, &error);
    memory_free(long_path);
}

#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, test_directory_setup, test_directory_teardown)
TEST_MAIN(cmocka_unit_test(join_puts_one_slash_between), IN_DIRECTORY(directories_are_made_with_their_parents),
          IN_DIRECTORY(a_new_directory_is_made_durable_in_its_parent),
          IN_DIRECTORY(remove_tree_takes_everything_and_follows_no_link),
          IN_DIRECTORY(remove_forgives_what_is_not_there), IN_DIRECTORY(rename_moves_and_names_what_is_missing),
          IN_DIRECTORY(list_is_sorted_by_bytes), IN_DIRECTORY(listing_without_memory_leaks_nothing),
          IN_DIRECTORY(free_bytes_are_told), IN_DIRECTORY(resolve_accepts_what_lies_beneath),
          IN_DIRECTORY(resolve_refuses_what_leads_out), IN_DIRECTORY(resolve_tells_missing_from_forbidden))
