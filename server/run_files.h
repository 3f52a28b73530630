/* The directory that `lag run --out` leaves: result.json curves.csv curves.json plot.svg report.html and one checkpoint
 * directory per kept candidate, under its name. */
#ifndef SERVER_RUN_FILES_H
#define SERVER_RUN_FILES_H

#include "base/buffer.h"
#include "server/service.h"

int run_files_write(struct service *service, const char *id, const struct buffer *result, const char *directory,
                    struct error *error);

#endif
