/* Where to listen: "host:port", "[v6]:port", port 0 = any free one. */
#ifndef SERVER_LISTEN_H
#define SERVER_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct listen_address {
    char host[256];       /* without brackets */
    uint16_t port;        /* 0: any */
};

/* ERROR_INVALID says what would be valid. */
int listen_parse(struct listen_address *address, const char *text, struct error *error);
/* A bound, listening, non-blocking socket in *fd; the port it got in *port. Refuses an address that is not loopback when there
 * is neither a token nor `insecure` (ERROR_FORBIDDEN); ERROR_CONFLICT when the port is taken. The caller owns *fd. */
int listen_open(const struct listen_address *address, bool has_token, bool insecure, int *fd, uint16_t *port,
                struct error *error);

#endif
