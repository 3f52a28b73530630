#include "server/request_id.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

bool request_id_is_sane(const char *text)
{
    size_t length = strlen(text);

    if (length == 0 || length > 64)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i]))
            return false;
    return true;
}

void request_id_choose(const char *given, char id[REQUEST_ID_BYTES])
{
    static uint64_t fallback;             /* loop thread only; still unique when the kernel gives no random bytes */
    uint8_t bytes[12] = {0};

    if (given && request_id_is_sane(given)) {
        snprintf(id, REQUEST_ID_BYTES, "%s", given);
        return;
    }
    if (getrandom(bytes, sizeof bytes, GRND_NONBLOCK) != (ssize_t)sizeof bytes) {
        fallback++;
        memcpy(bytes, &fallback, sizeof fallback);
    }
    memcpy(id, "req_", 5);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(id + 4 + 2 * i, 3, "%02x", bytes[i]);
}
