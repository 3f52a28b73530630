/* SHA-256 (by libnettle): content addresses of checkpoints, data, requests. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_BYTES = 32, HASH_HEX_BYTES = 65 };

struct hash_state { uint64_t opaque[16]; };   /* room for nettle's context; its size is checked when compiling */

void hash_begin(struct hash_state *state);
void hash_update(struct hash_state *state, const void *bytes, size_t length);
void hash_end(struct hash_state *state, uint8_t digest[HASH_BYTES]);
/* 64 lower-case hex digits and a NUL. */
void hash_hex(const uint8_t digest[HASH_BYTES], char hex[HASH_HEX_BYTES]);
/* One call for bytes in memory. */
void hash_bytes_hex(const void *bytes, size_t length, char hex[HASH_HEX_BYTES]);
/* The first 8 bytes of SHA-256 as a number: seeds from text. */
uint64_t hash_u64(const void *bytes, size_t length);

#endif
