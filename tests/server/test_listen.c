#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "server/auth.h"
#include "server/listen.h"
#include "server/request_id.h"

static void addresses_are_parsed(void **state)
{
    (void)state;
    static const struct { const char *text, *host; int port; } cases[] = {
        {"127.0.0.1:8080", "127.0.0.1", 8080}, {"[::1]:0", "::1", 0}, {"localhost:65535", "localhost", 65535},
        {"0.0.0.0:1", "0.0.0.0", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct listen_address address;
        struct error error = {0};
        assert_int_equal(listen_parse(&address, cases[i].text, &error), 0);
        assert_string_equal(address.host, cases[i].host);
        assert_int_equal(address.port, cases[i].port);
    }
}

static void malformed_addresses_are_refused_with_a_hint(void **state)
{
    (void)state;
    static const char *const cases[] = {"", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "a:1x",
                                        ":8080", "::1:8080", "[::1:8080", "[]:8080", "a:999999", "a: 1", "a:+1"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct listen_address address;
        struct error error = {0};
        assert_int_equal(listen_parse(&address, cases[i], &error), ERROR_INVALID);
        assert_true(strlen(error.message) > 20);
    }
}

static void port_zero_tells_the_port_it_got_and_a_taken_port_is_a_conflict(void **state)
{
    (void)state;
    struct listen_address address;
    struct error error = {0};
    uint16_t port = 0, other = 0;
    int fd = -1, second = -1;
    assert_int_equal(listen_parse(&address, "127.0.0.1:0", &error), 0);
    assert_int_equal(listen_open(&address, false, false, &fd, &port, &error), 0);
    assert_true(port > 0);
    address.port = port;
    assert_int_equal(listen_open(&address, false, false, &second, &other, &error), ERROR_CONFLICT);
    close(fd);
}

static void other_addresses_need_a_token_or_insecure(void **state)
{
    (void)state;
    struct listen_address address;
    struct error error = {0};
    uint16_t port;
    int fd;
    assert_int_equal(listen_parse(&address, "0.0.0.0:0", &error), 0);
    assert_int_equal(listen_open(&address, false, false, &fd, &port, &error), ERROR_FORBIDDEN);
    assert_non_null(strstr(error.message, "--token-file"));
    assert_non_null(strstr(error.message, "--insecure"));
    error_clear(&error);
    assert_int_equal(listen_open(&address, true, false, &fd, &port, &error), 0);
    close(fd);
    assert_int_equal(listen_open(&address, false, true, &fd, &port, &error), 0);
    close(fd);
    assert_int_equal(listen_parse(&address, "127.9.9.9:0", &error), 0);
    assert_int_equal(listen_open(&address, false, false, &fd, &port, &error), 0);
    close(fd);
}

static void tokens_are_loaded_and_compared(void **state)
{
    (void)state;
    char directory[] = "/tmp/lag-auth-XXXXXX", path[64];
    struct auth auth = {0};
    struct error error = {0};
    assert_true(auth_accepts(&auth, NULL));
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/token", directory);
    assert_int_equal(file_write(path, "s3cret-token\n", 13, &error), 0);
    assert_int_equal(auth_load(&auth, path, &error), 0);
    assert_true(auth_accepts(&auth, "Bearer s3cret-token"));
    assert_true(auth_accepts(&auth, "bearer  s3cret-token"));
    assert_false(auth_accepts(&auth, NULL));
    assert_false(auth_accepts(&auth, ""));
    assert_false(auth_accepts(&auth, "Bearer "));
    assert_false(auth_accepts(&auth, "Bearer s3cret-toke"));
    assert_false(auth_accepts(&auth, "Bearer s3cret-token2"));
    assert_false(auth_accepts(&auth, "Basic s3cret-token"));
    static const struct { const char *text; size_t length; } bad[] = {{"", 0}, {"\n", 1}, {"two words\n", 10}, {"a\nb\n", 4},
                                                                       {"a\0b", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error_clear(&error);
        assert_int_equal(file_write(path, bad[i].text, bad[i].length, &error), 0);
        assert_int_equal(auth_load(&auth, path, &error), ERROR_INVALID);
        assert_null(strstr(error.message, "two words"));
    }
    error_clear(&error);
    assert_int_equal(file_remove_tree(directory, &error), 0);
    assert_int_equal(auth_load(&auth, path, &error), ERROR_NOT_FOUND);
}

static void sane_request_ids_are_kept_others_replaced(void **state)
{
    (void)state;
    char id[REQUEST_ID_BYTES], other[REQUEST_ID_BYTES], longest[66];
    request_id_choose("abc-1.2_Z", id);
    assert_string_equal(id, "abc-1.2_Z");
    memset(longest, 'a', 65);
    longest[65] = '\0';
    static const char *const bad[] = {"", "a b", "a\"b", "a\nb", "\xc3\xa4", NULL};
    for (int i = 0; i < 6; i++) {
        request_id_choose(i == 5 ? longest : bad[i], id);
        request_id_choose(NULL, other);
        assert_int_equal(strlen(id), 28);
        assert_true(request_id_is_sane(id));
        assert_string_not_equal(id, other);
    }
    longest[64] = '\0';
    assert_true(request_id_is_sane(longest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_parsed),
        cmocka_unit_test(malformed_addresses_are_refused_with_a_hint),
        cmocka_unit_test(port_zero_tells_the_port_it_got_and_a_taken_port_is_a_conflict),
        cmocka_unit_test(other_addresses_need_a_token_or_insecure),
        cmocka_unit_test(tokens_are_loaded_and_compared),
        cmocka_unit_test(sane_request_ids_are_kept_others_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
