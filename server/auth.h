/* The bearer token: read once from a file, kept as its SHA-256, compared in constant time. Never logged, never echoed. */
#ifndef SERVER_AUTH_H
#define SERVER_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"

struct auth {
    bool required;                   /* false: no token configured, everyone may */
    uint8_t digest[HASH_BYTES];
};

enum { AUTH_TOKEN_MAX = 1024 };

/* The file's one line, without the line's end. ERROR_INVALID if it is empty, longer than AUTH_TOKEN_MAX, or has white
 * space or unprintable characters in it; what file_read says otherwise. */
int auth_load(struct auth *auth, const char *path, struct error *error);
int auth_set(struct auth *auth, const char *token, struct error *error);
/* `header`: the value of Authorization, NULL if there was none. */
bool auth_accepts(const struct auth *auth, const char *header);

#endif
