#include "base/hash.h"

#include <nettle/sha2.h>
#include <stdalign.h>

_Static_assert(sizeof(struct sha256_ctx) <= sizeof(struct hash_state), "struct hash_state is too small for nettle");
_Static_assert(alignof(struct sha256_ctx) <= alignof(struct hash_state), "struct hash_state is aligned too loosely");
_Static_assert((int)SHA256_DIGEST_SIZE == (int)HASH_BYTES, "a SHA-256 digest has 32 bytes");

static struct sha256_ctx *context_of(struct hash_state *state)
{
    return (struct sha256_ctx *)(void *)state;
}

void hash_begin(struct hash_state *state)
{
    sha256_init(context_of(state));
}

void hash_update(struct hash_state *state, const void *bytes, size_t length)
{
    sha256_update(context_of(state), length, bytes);
}

void hash_end(struct hash_state *state, uint8_t digest[HASH_BYTES])
{
    sha256_digest(context_of(state), HASH_BYTES, digest);
}

void hash_hex(const uint8_t digest[HASH_BYTES], char hex[HASH_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < HASH_BYTES; i++) {
        hex[2 * i] = digits[digest[i] >> 4];
        hex[2 * i + 1] = digits[digest[i] & 15];
    }
    hex[2 * HASH_BYTES] = '\0';
}

static void digest_of(const void *bytes, size_t length, uint8_t digest[HASH_BYTES])
{
    struct hash_state state;
    hash_begin(&state);
    hash_update(&state, bytes, length);
    hash_end(&state, digest);
}

void hash_bytes_hex(const void *bytes, size_t length, char hex[HASH_HEX_BYTES])
{
    uint8_t digest[HASH_BYTES];
    digest_of(bytes, length, digest);
    hash_hex(digest, hex);
}

/* Big-endian, so that the number reads like the first 16 hex digits. */
uint64_t hash_u64(const void *bytes, size_t length)
{
    uint8_t digest[HASH_BYTES];
    uint64_t number = 0;
    digest_of(bytes, length, digest);
    for (int i = 0; i < 8; i++)
        number = number << 8 | digest[i];
    return number;
}
