/* Bodies: JSON into memory, uploads onto the disk, everything else dropped within limits. libmicrohttpd can't answer in
 * the middle of a body: what fails there drops the files and reads on to the end, then the problem is sent. */
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "server/http_exchange.h"

int exchange_body_begin(struct exchange *exchange)
{
    struct http *http = exchange->http;
    char directory[FILE_PATH_BYTES], name[64];
    const struct upload_options options = {directory, exchange->form, exchange->content_type};
    int code;

    snprintf(name, sizeof name, "http-%ld-%llu", (long)getpid(), (unsigned long long)++http->upload_number);
    code = file_join(directory, service_upload_directory(http->service), name, &exchange->error);
    code = code ? code : upload_new(&exchange->upload, &options, &exchange->error);
    if (code) {
        http_remove_later(http, directory);
        return code;
    }
    http->upload_count++;
    exchange->reserved = exchange->expected == UINT64_MAX ? 0 : exchange->expected;
    http->upload_reserved += exchange->reserved;
    return 0;
}

void exchange_drop_body(struct exchange *exchange)
{
    struct http *http = exchange->http;

    buffer_fini(&exchange->body);
    buffer_init(&exchange->body);
    if (!exchange->upload)
        return;
    if (http && !http->finished)
        http_remove_later(http, upload_directory(exchange->upload));
    else
        file_remove_tree(upload_directory(exchange->upload), &(struct error){0});
    if (http) {
        http->upload_count--;
        http->upload_reserved -= exchange->reserved;
    }
    exchange->reserved = 0;
    upload_free(exchange->upload);
    exchange->upload = NULL;
}

static int take(struct exchange *exchange, const char *data, size_t length)
{
    const struct http_options *limits = &exchange->http->options;
    const uint64_t limit = exchange->body_kind == BODY_UPLOAD ? limits->upload_bytes : limits->json_bytes;
    uint64_t spent = length < exchange->reserved ? length : exchange->reserved;

    if (exchange->received > limit)
        return error_set(&exchange->error, ERROR_TOO_LARGE, "The body exceeds the limit of %llu bytes; send less",
                         (unsigned long long)limit);
    if (exchange->body_kind == BODY_UPLOAD) {
        exchange->reserved -= spent;      /* these bytes are no longer announced: they are on the disk */
        exchange->http->upload_reserved -= spent;
        return upload_write(exchange->upload, data, length, &exchange->error);
    }
    if (exchange->body_kind == BODY_NONE)
        return 0;
    buffer_append(&exchange->body, data, length);
    return exchange->body.failed ? error_set(&exchange->error, ERROR_NO_MEMORY, "No memory for the body; try again later")
                                 : 0;
}

enum MHD_Result exchange_body_piece(struct exchange *exchange, const char *data, size_t length)
{
    exchange->received += length;
    if (exchange->phase == EXCHANGE_BODY && take(exchange, data, length) == 0)
        return MHD_YES;
    if (exchange->phase == EXCHANGE_BODY) {
        exchange->phase = EXCHANGE_DRAIN;
        exchange_drop_body(exchange);
    }
    exchange->drained += length;
    return exchange->drained > exchange->http->options.drain_bytes ? MHD_NO : MHD_YES;
}

int exchange_body_end(struct exchange *exchange)
{
    struct http *http = exchange->http;
    int code;

    if (!exchange->upload)
        return 0;
    http->metrics->upload_bytes += exchange->received;
    code = upload_finish(exchange->upload, &exchange->error);
    if (code)
        exchange_drop_body(exchange);
    else
        http->metrics->uploads++;
    return code;
}
