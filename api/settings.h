/* Settings: a flat JSON object of names and scalar values, handed out one by one as text (the --config file). */
#ifndef API_SETTINGS_H
#define API_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Calls `take` for every member in order; numbers and booleans as their JSON text. Stops at its first error.
 * ERROR_SYNTAX, ERROR_INVALID (a member that is no scalar). */
int settings_read(const char *text, size_t length,
                  int (*take)(void *context, const char *name, const char *value, struct error *error), void *context,
                  struct error *error);

/* Whether a JSON object has a member of that name (false for anything that is no object). */
bool settings_has_member(const char *text, size_t length, const char *name);

#endif
