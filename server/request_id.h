/* Request ids: the client's X-Request-Id when it is sane, else one of our own. */
#ifndef SERVER_REQUEST_ID_H
#define SERVER_REQUEST_ID_H

#include <stdbool.h>

enum { REQUEST_ID_BYTES = 72 };

/* 1 to 64 of letters, digits, '.', '_', '-'. */
bool request_id_is_sane(const char *text);
/* The given one if it is sane (NULL: none), else "req_" and 24 random hex digits. */
void request_id_choose(const char *given, char id[REQUEST_ID_BYTES]);

#endif
