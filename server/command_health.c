/* lag health: GET /livez of the server at --listen (LAG_LISTEN); exit 0 if it answers 200. For container health checks. */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "server/command.h"
#include "server/listen.h"

static int open_socket(const struct listen_address *address, struct error *error)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV }, *found = NULL;
    struct timeval limit = { .tv_sec = 5 };
    const char *host = address->host;
    char port[8];
    int fd = -1;

    if (!*host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = "127.0.0.1";
    snprintf(port, sizeof port, "%u", address->port);
    if (getaddrinfo(host, port, &hints, &found)) {
        error_set(error, ERROR_UNAVAILABLE, "cannot resolve %.200s", host);
        return -1;
    }
    for (struct addrinfo *one = found; one && fd < 0; one = one->ai_next) {
        fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (connect(fd, one->ai_addr, one->ai_addrlen)) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    if (fd < 0)
        error_set(error, ERROR_UNAVAILABLE, "nothing answers at %.200s port %s: %s", host, port, strerror(errno));
    return fd;
}

int command_health(const struct options *options, struct error *error)
{
    static const char request[] = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    struct listen_address address;
    char answer[64] = "";
    int fd;

    if (listen_parse(&address, options->values[OPTION_LISTEN], error) || (fd = open_socket(&address, error)) < 0)
        return 0;
    ssize_t got = send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 ? recv(fd, answer, sizeof answer - 1, 0) : -1;
    close(fd);
    if (got < 12 || strncmp(answer, "HTTP/1.1 200", 12) != 0)
        error_set(error, ERROR_UNAVAILABLE, "the server at %.200s did not answer 200", options->values[OPTION_LISTEN]);
    return 0;
}
