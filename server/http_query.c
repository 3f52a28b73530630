/* Query parameters. MHD splits them and turns '+' into spaces; the escapes are decoded here, strictly. */
#include <string.h>

#include "server/http_exchange.h"

struct wanted { const char *name, *value; bool found; };

static enum MHD_Result match(void *context, enum MHD_ValueKind kind, const char *key, const char *value)
{
    struct wanted *wanted = context;

    (void)kind;
    if (!key || strcmp(key, wanted->name) != 0)
        return MHD_YES;
    wanted->found = true;
    wanted->value = value ? value : "";
    return MHD_NO;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int refuse(struct exchange *exchange, const char *name, const char *what)
{
    return error_set_at(&exchange->error, ERROR_SYNTAX, name, "The query parameter \"%s\" %s", name, what);
}

int query_text(struct exchange *exchange, const char *name, char *value, size_t room)
{
    struct wanted wanted = {.name = name};
    size_t length = 0;

    value[0] = '\0';
    MHD_get_connection_values(exchange->connection, MHD_GET_ARGUMENT_KIND, match, &wanted);
    if (!wanted.found)
        return 0;
    for (const char *c = wanted.value; *c; c++) {
        int byte = (unsigned char)*c;
        if (*c == '%') {
            const int high = hex(c[1]), low = high < 0 ? -1 : hex(c[2]);
            if (low < 0)
                return -refuse(exchange, name, "has a bad percent escape; write % and two hex digits");
            byte = high * 16 + low;
            c += 2;
        }
        if (byte < ' ' || byte == 127)
            return -refuse(exchange, name, "has a control character; leave it out");
        if (length + 1 >= room)
            return -refuse(exchange, name, "is too long; shorten it");
        value[length++] = (char)byte;
    }
    value[length] = '\0';
    return 1;
}

int query_number(struct exchange *exchange, const char *name, uint64_t least, uint64_t most, bool cap, uint64_t *value)
{
    char text[32];
    uint64_t number = 0;
    int found = query_text(exchange, name, text, sizeof text);

    if (found <= 0)
        return -found;
    for (const char *c = text; *c || c == text; c++) {
        if (*c < '0' || *c > '9')
            return refuse(exchange, name, "must be a whole number of decimal digits");
        number = number > UINT64_MAX / 10 - 1 ? UINT64_MAX / 10 : number * 10 + (uint64_t)(*c - '0');
    }
    if (number > most && cap)
        number = most;
    if (number < least || number > most)
        return error_set_at(&exchange->error, ERROR_SYNTAX, name, "The query parameter \"%s\" must lie between %llu and %llu",
                            name, (unsigned long long)least, (unsigned long long)most);
    *value = number;
    return 0;
}
