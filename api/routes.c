#include "api/routes.h"

#include <stdio.h>
#include <string.h>

static const struct route_row ROWS[ROUTE_COUNT] = {
#define X(code, method_, path_, public_, body_, summary_) [code] = {method_, path_, public_, body_, summary_},
    ROUTE_TABLE(X)
#undef X
};

const struct route_row *route_rows(void)
{
    return ROWS;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Decodes a placeholder's text; `%2F` never, `/` as it is. False for a bad escape, a NUL, or what does not fit. */
static bool argument_decode(const char *given, size_t length, char text[ROUTE_ARGUMENT_BYTES])
{
    size_t out = 0;
    for (size_t i = 0; i < length; i++) {
        int byte = (unsigned char)given[i];
        if (given[i] == '%') {
            if (i + 2 >= length) return false;
            int high = hex_digit(given[i + 1]), low = hex_digit(given[i + 2]);
            if (high < 0 || low < 0) return false;
            byte = high * 16 + low;
            i += 2;
            if (byte == '/') return false;
        }
        if (byte == 0 || out + 1 >= ROUTE_ARGUMENT_BYTES) return false;
        text[out++] = (char)byte;
    }
    text[out] = 0;
    return true;
}

/* A name of several parts ("initial/model.safetensors"): no part is empty, "." or "..". */
static bool is_relative(const char *text)
{
    while (*text) {
        size_t length = strcspn(text, "/");
        bool dots = length <= 2 && strspn(text, ".") >= length;
        if (dots || (text[length] && !text[length + 1])) return false;
        text += length + (text[length] == '/');
    }
    return true;
}

/* Walks pattern and path segment by segment. {file}, always last, takes the rest: empty lists the files. */
static bool path_matches(const char *pattern, const char *path, struct route_match *match)
{
    int arguments = 0;
    while (*pattern == '/' && *path == '/') {
        pattern++;
        path++;
        bool rest = !strcmp(pattern, "{file}");
        size_t wanted = strcspn(pattern, "/"), given = rest ? strlen(path) : strcspn(path, "/");
        if (*pattern == '{') {
            if ((given == 0 && !rest) || arguments >= ROUTE_ARGUMENTS) return false;
            char *argument = match->arguments[arguments++];
            if (!argument_decode(path, given, argument) || (rest && !is_relative(argument))) return false;
        } else if (wanted != given || memcmp(pattern, path, wanted)) {
            return false;
        }
        pattern += wanted;
        path += given;
    }
    return !*pattern && !*path;
}

static void allow_add(char allow[128], const char *method)
{
    size_t length = strlen(allow);
    snprintf(allow + length, 128 - length, "%s%s", length ? ", " : "", method);
}

int route_find(const char *method, const char *path, struct route_match *match, char allow[128])
{
    bool get_at = false, head_at = false, known = false, literal = false;
    enum route get_route = ROUTE_COUNT;
    struct route_match get_match;
    allow[0] = 0;
    /* "/v1/studies/validate" would also be an {id}: a path that stands in the table as it is means that row only */
    for (int i = 0; i < ROUTE_COUNT; i++) literal |= !strcmp(path, ROWS[i].path) && !strchr(path, '{');
    for (int i = 0; i < ROUTE_COUNT; i++) {
        struct route_match found = {0};
        if (!path_matches(ROWS[i].path, path, &found)) continue;
        if (literal && strchr(ROWS[i].path, '{')) continue;
        known = true;
        found.route = (enum route)i;
        if (!strcmp(method, ROWS[i].method)) {
            *match = found;
            return 0;
        }
        if (!strcmp(ROWS[i].method, "GET")) {
            get_at = true;
            get_route = (enum route)i;
            get_match = found;
        }
        if (!strcmp(ROWS[i].method, "HEAD")) head_at = true;
        allow_add(allow, ROWS[i].method);
    }
    if (!known) return 404;
    if (get_at && !strcmp(method, "HEAD")) {
        *match = get_match;
        match->route = get_route;
        return 0;
    }
    if (get_at && !head_at) allow_add(allow, "HEAD");
    return 405;
}
