#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int parse_port(const char *text, uint16_t *port)
{
    unsigned value = 0;
    size_t length = strlen(text);

    if (length == 0 || length > 5)
        return -1;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -1;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (value > 65535)
        return -1;
    *port = (uint16_t)value;
    return 0;
}

int listen_parse(struct listen_address *address, const char *text, struct error *error)
{
    static const char *const form = "use HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or localhost:0";
    const char *host = text, *colon = strrchr(text, ':');
    size_t length;

    if (!colon)
        return error_set(error, ERROR_INVALID, "The address \"%.200s\" has no port; %s", text, form);
    length = (size_t)(colon - text);
    if (text[0] == '[') {
        if (length < 3 || text[length - 1] != ']')
            return error_set(error, ERROR_INVALID, "The address \"%.200s\" lacks a closing bracket; %s", text, form);
        host++;
        length -= 2;
    } else if (memchr(text, ':', length)) {
        return error_set(error, ERROR_INVALID, "An IPv6 address needs brackets, not \"%.200s\"; %s", text, form);
    }
    if (length == 0)
        return error_set(error, ERROR_INVALID, "The address \"%.200s\" has no host; say 0.0.0.0%.20s to listen on every "
                         "interface", text, colon);
    if (length >= sizeof address->host)
        return error_set(error, ERROR_INVALID, "The host of the address is too long; %s", form);
    if (parse_port(colon + 1, &address->port))
        return error_set(error, ERROR_INVALID, "\"%.40s\" is not a port from 0 to 65535; %s", colon + 1, form);
    memcpy(address->host, host, length);
    address->host[length] = '\0';
    return 0;
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;
        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    return false;
}

static int bound_port(int fd, uint16_t *port)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;

    if (getsockname(fd, (struct sockaddr *)&bound, &length))
        return -1;
    *port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                              : ((struct sockaddr_in *)&bound)->sin_port);
    return 0;
}

/* 0, or errno of what failed. */
static int open_one(const struct addrinfo *info, int *fd, uint16_t *port)
{
    const int on = 1;
    int saved;
    int made = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (made < 0)
        return errno;
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(made, info->ai_addr, info->ai_addrlen) || listen(made, 511) || bound_port(made, port)) {
        saved = errno;
        close(made);
        return saved;
    }
    *fd = made;
    return 0;
}

int listen_open(const struct listen_address *address, bool has_token, bool insecure, int *fd, uint16_t *port,
                struct error *error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char service[8];
    int failed = 0;

    snprintf(service, sizeof service, "%u", address->port);
    failed = getaddrinfo(address->host, service, &hints, &found);
    if (failed)
        return error_set(error, ERROR_INVALID, "The host \"%s\" is not known (%s); use an address of this machine",
                         address->host, gai_strerror(failed));
    for (const struct addrinfo *info = found; info; info = info->ai_next)
        if (!is_loopback(info->ai_addr) && !has_token && !insecure) {
            freeaddrinfo(found);
            return error_set(error, ERROR_FORBIDDEN, "%s can be reached from other machines: give --token-file F, or say "
                             "--insecure if that is meant", address->host);
        }
    failed = EADDRNOTAVAIL;
    for (const struct addrinfo *info = found; info && failed; info = info->ai_next)
        failed = open_one(info, fd, port);
    freeaddrinfo(found);
    if (failed == EADDRINUSE)
        return error_set(error, ERROR_CONFLICT, "%s:%u is in use; stop what listens there or choose another port (0: any "
                         "free one)", address->host, address->port);
    return failed ? error_set_errno(error, failed, "Cannot listen on %s:%u", address->host, address->port) : 0;
}
