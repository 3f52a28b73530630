/* Uploads: a body streamed into files of a directory of its own, below the service's upload directory. Knows which parts
 * each form has; verifies nothing of their contents. Writes go to the page cache; the service syncs what it accepts. Nothing
 * is held but one part's headers and a study's JSON. Thread rule: loop thread. */
#ifndef SERVER_HTTP_UPLOAD_H
#define SERVER_HTTP_UPLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/file.h"

enum upload_form { UPLOAD_CHECKPOINT = 1, UPLOAD_DATASET = 2, UPLOAD_STUDY = 4 };    /* bits of a part's forms */

struct upload;

struct upload_options {
    const char *directory;       /* made by upload_new; must not exist */
    enum upload_form form;
    const char *content_type;    /* multipart/form-data; boundary=…, or NULL: the raw body is the one file `tokens` */
};

/* ERROR_SYNTAX (no boundary), ERROR_IO, ERROR_DISK_FULL, ERROR_NO_MEMORY. */
int upload_new(struct upload **upload, const struct upload_options *options, struct error *error);
/* Closes and frees; the directory stays: its remover is the caller. */
void upload_free(struct upload *upload);
/* ERROR_SYNTAX, ERROR_INVALID (unknown part, bad file name: says what is known), ERROR_TOO_LARGE (a small part over its
 * limit), ERROR_DISK_FULL, ERROR_IO, ERROR_NO_MEMORY. After an error only upload_free is left. */
int upload_write(struct upload *upload, const char *bytes, size_t length, struct error *error);
/* The body is complete: needed parts are there, shards have their names. */
int upload_finish(struct upload *upload, struct error *error);

const char *upload_directory(const struct upload *upload);
/* After finish. "" where the form has none: the checkpoint's directory, and the token files. */
const char *upload_checkpoint(const struct upload *upload);
const char *upload_train(const struct upload *upload);
const char *upload_valid(const struct upload *upload);
const struct buffer *upload_study(const struct upload *upload);

#endif
