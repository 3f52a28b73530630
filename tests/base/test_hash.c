#include <string.h>

#include "base/hash.h"
#include "tests/support/support.h"

/* FIPS 180-4 example messages (NIST's "SHA-256 examples"), and the empty message. */
static const struct { const char *text, *hex; } published[] = {
    {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};

static void sha256_gives_the_published_digests(void **state)
{
    (void)state;
    char hex[HASH_HEX_BYTES];
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        hash_bytes_hex(published[i].text, strlen(published[i].text), hex);
        assert_string_equal(hex, published[i].hex);
    }
}

static void a_million_letters_in_uneven_pieces(void **state)
{
    (void)state;
    struct hash_state hash;
    uint8_t digest[HASH_BYTES];
    char letters[977], hex[HASH_HEX_BYTES];
    memset(letters, 'a', sizeof letters);
    hash_begin(&hash);
    for (size_t left = 1000000, piece = 1; left > 0; piece = piece % sizeof letters + 1) {
        size_t count = piece < left ? piece : left;
        hash_update(&hash, letters, count);
        left -= count;
    }
    hash_end(&hash, digest);
    hash_hex(digest, hex);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void the_number_is_the_digests_first_sixteen_digits(void **state)
{
    (void)state;
    assert_true(hash_u64("abc", 3) == 0xba7816bf8f01cfeau);
    assert_true(hash_u64("", 0) == 0xe3b0c44298fc1c14u);
}

TEST_MAIN(cmocka_unit_test(sha256_gives_the_published_digests), cmocka_unit_test(a_million_letters_in_uneven_pieces),
          cmocka_unit_test(the_number_is_the_digests_first_sixteen_digits))
