/* lag run: one study without HTTP. Ctrl-C saves, prints the line that resumes, exits 130. */
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "server/command.h"
#include "server/host.h"
#include "server/progress.h"
#include "server/run_files.h"

enum { PROGRESS_MS = 250 };

struct running {
    struct host host;
    const struct options *options;
    char *text;
    size_t length;
    char id[SERVICE_ID_BYTES];
    struct service_watch watch;
    bool watching, ended, interrupted, resuming;
    struct progress progress;
    uv_timer_t timer;
    struct error error;
};

static void finish(struct running *running)
{
    running->ended = true;
    uv_stop(&running->host.loop);
}

/* Ended, and out of the service's hands? */
static bool has_ended(struct running *running, enum study_state_name *state)
{
    struct service *service = running->host.service;

    if (service_study_state(service, running->id, state, &running->error))
        return true;
    return !service_works_on(service, running->id) && *state != STUDY_QUEUED && *state != STUDY_RUNNING;
}

static void look(struct running *running)
{
    enum study_state_name state;

    if (!running->ended && !running->interrupted && running->id[0] && !running->resuming
        && has_ended(running, &state))
        finish(running);
}

static void notified(struct service_watch *watch)
{
    struct running *running = watch->owner;

    running->progress.changed = true;
    look(running);
}

static void tick(uv_timer_t *timer)
{
    struct running *running = timer->data;
    struct host *host = &running->host;

    if (running->id[0])
        progress_show(&running->progress, service_study(host->service, running->id),
                      (double)host->clock.monotonic_ns(&host->clock) * 1e-9);
    look(running);
}

static void drained(void *context)
{
    struct running *running = context;

    uv_stop(&running->host.loop);
}

static void interrupt(struct host *host)
{
    struct running *running = host->owner;

    running->interrupted = true;
    service_drain(host->service, drained, running);
}

static void resumed(void *context, const struct error *error, const char *id, bool existed)
{
    struct running *running = context;

    (void)id;
    (void)existed;
    running->resuming = false;
    if (error->code) {
        running->error = *error;
        uv_stop(&running->host.loop);
    }
}

/* The store has this study: finished, stopped on request, or interrupted. */
static void take_up(struct running *running)
{
    struct service *service = running->host.service;
    enum study_state_name state = STUDY_QUEUED;

    if (has_ended(running, &state) && !running->error.code && state != STUDY_SUCCEEDED) {
        running->resuming = service_resume(service, running->id, resumed, running) == 0;
    } else if (!running->error.code && state != STUDY_SUCCEEDED) {
        service_take_up(service, running->id, &running->error);
    }
    if (running->error.code || state == STUDY_SUCCEEDED)
        finish(running);
}

static void submitted(void *context, const struct error *error, const char *id, bool existed)
{
    struct running *running = context;
    struct service *service = running->host.service;

    if (error->code) {
        running->error = *error;
        if (error->code == ERROR_SYNTAX && error->detail_count == 0)
            error_wrap(&running->error, "%s", running->options->arguments[0]);
        uv_stop(&running->host.loop);
        return;
    }
    snprintf(running->id, sizeof running->id, "%s", id);
    running->watch.owner = running;
    running->watch.notify = notified;
    running->watching = service_watch_add(service, id, &running->watch, &running->error) == 0;
    if (existed)
        take_up(running);
}

/* A word of a shell's command line. */
static void print_word(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=+@%";

    if (*word && strspn(word, plain) == strlen(word)) {
        fprintf(stderr, " %s", word);
        return;
    }
    fprintf(stderr, " '");
    for (; *word; word++)
        fprintf(stderr, *word == '\'' ? "'\\''" : "%c", *word);
    fprintf(stderr, "'");
}

static void print_resume(const struct running *running)
{
    const struct option_row *rows = options_rows();

    fprintf(stderr, "interrupted; everything is saved. To go on:\n  lag run");
    for (int i = 0; i < OPTION_COUNT; i++) {
        if (!running->options->given[i])
            continue;
        fprintf(stderr, " --%s", rows[i].flag);
        if (rows[i].kind != 'f')
            print_word(running->options->values[i]);
    }
    print_word(running->options->arguments[0]);
    fprintf(stderr, "\n");
}

/* What a study that ended left: its result, and where there is one its table and files. */
static void show(struct running *running, bool json, struct error *error)
{
    const char *out = running->options->values[OPTION_OUT];
    struct service *service = running->host.service;
    struct buffer result, table;
    struct error none = { 0 };
    bool ended;

    buffer_init(&result);
    buffer_init(&table);
    if (service_study_json(service, running->id, &result, &ended, error) == 0) {
        bool has_table = service_study_document(service, running->id, "table.txt", &table, &none) == 0;
        buffer_text(&result, "\n");
        if (json || has_table)
            command_print(json ? &result : &table, error);
        if (has_table && out && !error->code && run_files_write(service, running->id, &result, out, error) == 0 && !json)
            printf("Files: %s\n", out);
    }
    buffer_fini(&result);
    buffer_fini(&table);
}

static int report(struct running *running, struct error *error)
{
    enum study_state_name state = STUDY_FAILED;
    char reason[512] = "";

    show(running, running->options->values[OPTION_JSON] != NULL, error);
    if (service_study_reason(running->host.service, running->id, &state, reason, error) == 0 && state != STUDY_SUCCEEDED)
        error_set(error, ERROR_DIVERGED, "the study %s: %s", study_state_text(state), reason);
    return state == STUDY_SUCCEEDED ? 0 : 1;
}

static int start(struct running *running, struct error *error)
{
    struct study_submission submission = { .body = running->text, .body_length = running->length, .by_content = true };

    progress_init(&running->progress, isatty(STDERR_FILENO) != 0);
    uv_timer_init(&running->host.loop, &running->timer);
    running->timer.data = running;
    uv_timer_start(&running->timer, tick, PROGRESS_MS, PROGRESS_MS);
    service_start(running->host.service);
    if (service_submit(running->host.service, &submission, submitted, running))
        return error_set(error, ERROR_NO_MEMORY, "starting the study: out of memory");
    return 0;
}

int command_run(const struct options *options, struct error *error)
{
    static struct running running;
    char path[FILE_PATH_BYTES];
    int code = 0;

    running.options = options;
    if (file_read(options->arguments[0], 1 << 20, &running.text, &running.length, error))
        return 0;
    snprintf(path, sizeof path, "%s", options->arguments[0]);
    running.host.owner = &running;
    running.host.stop = interrupt;
    if (host_open(&running.host, options, dirname(path), error) == 0) {
        if (start(&running, error) == 0)
            uv_run(&running.host.loop, UV_RUN_DEFAULT);
        progress_end(&running.progress);
        if (running.error.code)
            *error = running.error;
        else if (running.ended)
            code = report(&running, error);
        else if (running.interrupted)
            code = 130;
        if (running.watching)
            service_watch_remove(running.host.service, &running.watch);
        uv_close((uv_handle_t *)&running.timer, NULL);
        host_close(&running.host);
    }
    if (code == 130 && !error->code)
        print_resume(&running);
    memory_free(running.text);
    return code;
}
