/* A service with canned answers for the HTTP tests: defines every function of server/service.h that the HTTP files call, so
 * that the linker takes none from the archive. Included once per test program. Everything runs on the loop thread; a test
 * reaches it through harness_on_loop. */
#ifndef TESTS_SERVER_FAKE_SERVICE_H
#define TESTS_SERVER_FAKE_SERVICE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/file.h"
#include "base/hash.h"
#include "server/service.h"

struct fake_call {                       /* a callback that is due */
    uv_timer_t timer;
    service_callback *callback;
    service_text_callback *text_callback;
    void *context;
    struct error error;
    char id[SERVICE_ID_BYTES];
    bool existed;
    struct fake_call *next;
};

struct service {
    uv_loop_t *loop;
    char uploads[FILE_PATH_BYTES];
    char files[FILE_PATH_BYTES];         /* where candidate files lie */
    char received[2048];                 /* "name:bytes " of the last upload's directory, or the study's body and key */
    char hash[HASH_HEX_BYTES];           /* of the last dataset */
    uint64_t received_bytes;
    bool not_ready, hold;
    struct fake_call *held;              /* callbacks kept back while `hold` */
    struct service_watch *watches;
    int event_count;
    bool ended;
    int calls;
};

static void fake_close_done(uv_handle_t *handle) { free(handle->data); }

static void fake_fire(uv_timer_t *timer)
{
    struct fake_call *call = timer->data;
    if (call->callback)
        call->callback(call->context, &call->error, call->error.code ? NULL : call->id, call->existed);
    else if (call->error.code)
        call->text_callback(call->context, &call->error, NULL, 0);
    else
        call->text_callback(call->context, &call->error, "{\"valid\":true}", 14);
    uv_close((uv_handle_t *)timer, fake_close_done);
}

static struct fake_call *fake_call_new(struct service *service, void *context)
{
    struct fake_call *call = calloc(1, sizeof *call);
    if (!call)
        abort();
    service->calls++;
    call->context = context;
    uv_timer_init(service->loop, &call->timer);
    call->timer.data = call;
    return call;
}

static void fake_call_go(struct service *service, struct fake_call *call)
{
    if (!service->hold) {
        uv_timer_start(&call->timer, fake_fire, 0, 0);
        return;
    }
    call->next = service->held;
    service->held = call;
}

static inline void fake_release(void *context)
{
    struct service *service = context;
    service->hold = false;
    for (struct fake_call *call = service->held, *next; call; call = next) {
        next = call->next;
        uv_timer_start(&call->timer, fake_fire, 0, 0);
    }
    service->held = NULL;
}

static inline void fake_notify(void *context)
{
    struct service *service = context;
    for (struct service_watch *watch = service->watches, *next; watch; watch = next) {
        next = watch->next;
        watch->notify(watch);
    }
}

/* "study_none" is not there, "study_busy" refuses to be changed, everything else is fine. */
static int fake_judge(const char *id, struct error *error)
{
    if (strstr(id, "none"))
        return error_set(error, ERROR_NOT_FOUND, "There is no %s", id);
    if (strstr(id, "busy"))
        return error_set(error, ERROR_CONFLICT, "%s is in use by study_x", id);
    return 0;
}

static int fake_answer(struct service *service, const char *id, service_callback *callback, void *context)
{
    struct fake_call *call = fake_call_new(service, context);
    call->callback = callback;
    fake_judge(id, &call->error);
    snprintf(call->id, sizeof call->id, "%s", id);
    fake_call_go(service, call);
    return 0;
}

static void fake_list_directory(struct service *service, const char *directory)
{
    struct file_names names = {0};
    struct error error = {0};
    size_t length = strlen(service->received);
    if (file_list(directory, &names, &error))
        abort();
    for (int i = 0; i < names.count; i++) {
        char path[FILE_PATH_BYTES];
        struct file_reader reader;
        if (file_join(path, directory, names.names[i], &error))
            abort();
        if (file_is_directory(path))
            continue;
        if (file_reader_open(&reader, path, &error))
            abort();
        length += (size_t)snprintf(service->received + length, sizeof service->received - length, "%s:%llu ",
                                   names.names[i], (unsigned long long)reader.size);
        service->received_bytes += reader.size;
        file_reader_close(&reader);
    }
    file_names_free(&names);
}

static void fake_receive_file(struct service *service, const char *label, const char *path)
{
    struct error error = {0};
    struct file_reader reader;
    struct hash_state state;
    uint8_t digest[HASH_BYTES];
    static char block[1 << 20];
    size_t length = strlen(service->received);
    if (file_reader_open(&reader, path, &error))
        abort();
    hash_begin(&state);
    for (uint64_t at = 0; at < reader.size;) {
        size_t part = reader.size - at < sizeof block ? (size_t)(reader.size - at) : sizeof block;
        if (file_reader_read(&reader, at, block, part, &error))
            abort();
        hash_update(&state, block, part);
        at += part;
    }
    hash_end(&state, digest);
    hash_hex(digest, service->hash);
    service->received_bytes = reader.size;
    snprintf(service->received + length, sizeof service->received - length, "%s:%llu ", label,
             (unsigned long long)reader.size);
    file_reader_close(&reader);
}

/* ---- server/service.h */

bool service_ready(const struct service *service, char reason[256])
{
    if (service->not_ready)
        snprintf(reason, 256, "recovering 3 studies");
    return !service->not_ready;
}

void service_ready_verbose(struct service *service, struct buffer *out)
{
    buffer_text(out, service->not_ready ? "[-]recovery failed: recovering 3 studies\n" : "[+]recovery ok\n[+]store ok\n");
}

const char *service_upload_directory(const struct service *service) { return service->uploads; }

int service_accept_checkpoint(struct service *service, const char *directory, service_callback *callback, void *context)
{
    struct error error = {0};
    service->received[0] = '\0';
    service->received_bytes = 0;
    fake_list_directory(service, directory);
    file_remove_tree(directory, &error);
    return fake_answer(service, "ckpt_1", callback, context);
}

int service_accept_dataset(struct service *service, const char *file, service_callback *callback, void *context)
{
    service->received[0] = '\0';
    fake_receive_file(service, "tokens", file);
    return fake_answer(service, "data_1", callback, context);
}

int service_submit(struct service *service, const struct study_submission *submission, service_callback *callback,
                    void *context)
{
    struct fake_call *call = fake_call_new(service, context);
    service->received[0] = '\0';
    snprintf(service->received, sizeof service->received, "%.*s|%s|", (int)submission->body_length, submission->body,
             submission->idempotency_key ? submission->idempotency_key : "");
    if (submission->checkpoint_directory)
        fake_list_directory(service, submission->checkpoint_directory);
    if (submission->train_file)
        fake_receive_file(service, "train", submission->train_file);
    if (submission->valid_file)
        fake_receive_file(service, "valid", submission->valid_file);
    call->callback = callback;
    if (submission->body_length == 0)
        error_set(&call->error, ERROR_SYNTAX, "The body is not JSON");
    else if (submission->idempotency_key && strcmp(submission->idempotency_key, "taken") == 0)
        error_set(&call->error, ERROR_CONFLICT, "The key was used for another body");
    else if (submission->body_length < 3)
        error_set_at(&call->error, ERROR_INVALID, "/checkpoint", "checkpoint is missing");
    call->existed = submission->idempotency_key && strcmp(submission->idempotency_key, "again") == 0;
    snprintf(call->id, sizeof call->id, "study_1");
    fake_call_go(service, call);
    return 0;
}

int service_validate(struct service *service, const char *body, size_t length, service_text_callback *callback,
                      void *context)
{
    struct fake_call *call = fake_call_new(service, context);
    call->text_callback = callback;
    if (length < 3 || body[0] != '{')
        error_set(&call->error, ERROR_SYNTAX, "The body is not JSON");
    fake_call_go(service, call);
    return 0;
}

int service_cancel(struct service *service, const char *id, service_callback *callback, void *context)
{
    return fake_answer(service, id, callback, context);
}

int service_resume(struct service *service, const char *id, service_callback *callback, void *context)
{
    return fake_answer(service, id, callback, context);
}

int service_delete(struct service *service, const char *kind, const char *id, service_callback *callback, void *context)
{
    (void)kind;
    return fake_answer(service, id, callback, context);
}

int service_study_json(struct service *service, const char *id, struct buffer *out, bool *ended, struct error *error)
{
    struct error judged = {0};
    if (fake_judge(id, &judged) == ERROR_NOT_FOUND)
        return error_set(error, ERROR_NOT_FOUND, "There is no study %s", id);
    buffer_format(out, "{\"id\":\"%s\",\"state\":\"%s\"}", id, service->ended ? "succeeded" : "running");
    *ended = service->ended;
    return 0;
}

int service_list(struct service *service, const char *kind, const char *state, int limit, const char *after,
                 struct buffer *out, struct error *error)
{
    (void)service;
    (void)error;
    buffer_format(out, "{\"kind\":\"%s\",\"state\":\"%s\",\"limit\":%d,\"after\":\"%s\",\"items\":[],\"next\":null}", kind,
                  state ? state : "", limit, after ? after : "");
    return 0;
}

int service_show(struct service *service, const char *kind, const char *id, struct buffer *out, struct error *error)
{
    (void)service;
    if (strstr(id, "none"))
        return error_set(error, ERROR_NOT_FOUND, "There is no %s in %s", id, kind);
    buffer_format(out, "{\"id\":\"%s\"}", id);
    return 0;
}

int service_study_document(struct service *service, const char *id, const char *what, struct buffer *out,
                           struct error *error)
{
    (void)service;
    if (strstr(id, "none"))
        return error_set(error, ERROR_NOT_FOUND, "There is no study %s", id);
    buffer_format(out, "document %s", what);
    return 0;
}

int service_candidate_file(struct service *service, const char *id, const char *candidate, const char *file,
                           char path[4096], struct buffer *listing, struct error *error)
{
    if (strstr(id, "none") || strcmp(candidate, "two words") != 0)
        return error_set(error, ERROR_NOT_FOUND, "There is no candidate %s", candidate);
    if (strstr(id, "busy"))
        return error_set(error, ERROR_CONFLICT, "The candidate is not finished");
    if (!*file) {
        buffer_text(listing, "[\"config.json\"]");
        return 0;
    }
    return file_join(path, service->files, file, error);
}

int service_watch_add(struct service *service, const char *id, struct service_watch *watch, struct error *error)
{
    if (strstr(id, "none"))
        return error_set(error, ERROR_NOT_FOUND, "There is no study %s", id);
    watch->next = service->watches;
    service->watches = watch;
    return 0;
}

void service_watch_remove(struct service *service, struct service_watch *watch)
{
    struct service_watch **place = &service->watches;
    while (*place && *place != watch)
        place = &(*place)->next;
    if (!*place)
        abort();
    *place = watch->next;
}

int service_events(struct service *service, const char *id, uint64_t *last, int limit, struct buffer *out, bool *ended,
                   struct error *error)
{
    (void)id;
    (void)error;
    for (int sent = 0; sent < limit && *last < (uint64_t)service->event_count; sent++) {
        ++*last;
        buffer_format(out, "id: %llu\nevent: evaluation\ndata: {\"n\":%llu}\n\n", (unsigned long long)*last,
                      (unsigned long long)*last);
    }
    *ended = service->ended && *last >= (uint64_t)service->event_count;
    return 0;
}

void service_counts(struct service *service, struct service_counts *counts)
{
    (void)service;
    memset(counts, 0, sizeof *counts);
    counts->studies[STUDY_RUNNING] = 2;
    counts->workers = 4;
    counts->flops = 1.5e18;
}

#endif
