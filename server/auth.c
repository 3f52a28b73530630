#include "server/auth.h"

#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/memory.h"

static void digest_of(const char *token, size_t length, uint8_t digest[HASH_BYTES])
{
    struct hash_state state;

    hash_begin(&state);
    hash_update(&state, token, length);
    hash_end(&state, digest);
}

int auth_set(struct auth *auth, const char *token, struct error *error)
{
    size_t length = strlen(token);

    if (length == 0)
        return error_set(error, ERROR_INVALID, "The token is empty; write one line of at least 16 random characters");
    if (length > AUTH_TOKEN_MAX)
        return error_set(error, ERROR_INVALID, "The token is longer than %d characters; use a shorter one",
                         AUTH_TOKEN_MAX);
    for (size_t i = 0; i < length; i++)
        if (token[i] <= ' ' || token[i] > '~')
            return error_set(error, ERROR_INVALID, "The token has a space or an unprintable character at byte %zu; "
                             "use letters, digits and punctuation on one line", i);
    digest_of(token, length, auth->digest);
    auth->required = true;
    return 0;
}

int auth_load(struct auth *auth, const char *path, struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    int code = file_read(path, AUTH_TOKEN_MAX + 2, &text, &length, error);

    if (code)
        return error_wrap(error, "Token file");
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        text[--length] = '\0';
    if (strlen(text) != length)
        code = error_set(error, ERROR_INVALID, "The token has a NUL byte in it; use one line of text");
    else
        code = auth_set(auth, text, error);
    explicit_bzero(text, length);
    memory_free(text);
    return code ? error_wrap(error, "Token file %s", path) : 0;
}

bool auth_accepts(const struct auth *auth, const char *header)
{
    uint8_t digest[HASH_BYTES];
    unsigned difference = 0;

    if (!auth->required)
        return true;
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return false;
    header += 7;
    while (*header == ' ')
        header++;
    /* Digests have one length and differ everywhere when tokens differ anywhere: time tells nothing. */
    digest_of(header, strlen(header), digest);
    for (int i = 0; i < HASH_BYTES; i++)
        difference |= (unsigned)(digest[i] ^ auth->digest[i]);
    return difference == 0;
}
