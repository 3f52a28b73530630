/* The service: opening, starting, draining, and the bits that its files share. */
#include "server/service.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "server/pump.h"
#include "server/service_state.h"
#include "server/tidy.h"

enum { TICK_MS = 500 };

int64_t service_now(struct service *service)
{
    return service->options.clock->monotonic_ns(service->options.clock);
}

int64_t service_wall(struct service *service)
{
    return service->options.clock->wall_ms(service->options.clock);
}

const char *service_data_root(const struct service *service)
{
    return service->data_root[0] ? service->data_root : NULL;
}

const char *service_upload_directory(const struct service *service)
{
    return service->upload_directory;
}

void service_new_id(struct service *service, const char *prefix, char id[SERVICE_ID_BYTES])
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    uint64_t time = (uint64_t)service_wall(service), chance = 0;
    char text[27];

    if (getrandom(&chance, sizeof chance, 0) != (ssize_t)sizeof chance)
        chance = (uint64_t)service_now(service);
    for (int i = 9; i >= 0; i--, time >>= 5)
        text[i] = digits[time & 31];
    uint64_t counter = service->id_counter++;
    for (int i = 13; i >= 10; i--, counter >>= 5)
        text[i] = digits[counter & 31];
    for (int i = 25; i >= 14; i--, chance >>= 5)
        text[i] = digits[chance & 31];
    text[26] = '\0';
    snprintf(id, SERVICE_ID_BYTES, "%s%s", prefix, text);
}

void service_event_identity(struct service *service, char identity[64])
{
    snprintf(identity, 64, "%lld:%llu", (long long)service_wall(service), (unsigned long long)service->id_counter++);
}

/* ---- memory */

bool service_memory_take(struct service *service, size_t bytes)
{
    if (service->memory_used > 0 && service->memory_used + bytes > service->trial_memory)
        return false;
    service->memory_used += bytes;
    return true;
}

void service_memory_give(struct service *service, size_t bytes)
{
    service->memory_used -= bytes;
}

void service_memory_limit(struct service *service)
{
    uint64_t scratch = 0, others = 0, limit = service->options.memory_bytes;

    for (const struct run *run = service->runs; run; run = run->next) {
        scratch = run->scratch_bytes > scratch ? run->scratch_bytes : scratch;
        others += run->partner_bytes;
    }
    others += scratch * (uint64_t)service->options.workers;
    service->trial_memory = limit > others ? limit - others : 0;
}

/* ---- runs */

struct run *service_run_find(struct service *service, const char *id)
{
    for (struct run *run = service->runs; run; run = run->next)
        if (strcmp(run->row.id, id) == 0)
            return run;
    return NULL;
}

void service_run_remove(struct service *service, struct run *run)
{
    char id[SERVICE_ID_BYTES];

    for (struct run **link = &service->runs; *link; link = &(*link)->next)
        if (*link == run) {
            *link = run->next;
            break;
        }
    memcpy(id, run->row.id, sizeof id);
    run_free(run);
    service_memory_limit(service);
    service_notify(service, id);
    service_pump_soon(service);
}

int service_start_run(struct service *service, const char *id, bool recovered, struct error *error)
{
    struct study_row row;
    struct run *run, **link;

    if (service->draining)         /* it stays queued in the store, for the next start */
        return 0;
    if (store_study(&service->store, id, &row, error))
        return (int)error->code;
    run = run_new(service, &row, error);
    if (!run)
        return (int)error->code;
    run->recovered = recovered;
    for (link = &service->runs; *link; link = &(*link)->next)
        continue;
    *link = run;
    run_load(run);
    return 0;
}

int service_begin_run(struct service *service, const char *id, bool recovered, struct error *error)
{
    struct error inner = { 0 };

    if (service_start_run(service, id, recovered, &inner) == 0)
        return 0;
    if (!service->options.recover)
        return error_set(error, inner.code, "%s", inner.message);
    service->recovered = false;         /* stored it is: the next tick finds it */
    return 0;
}

int service_take_up(struct service *service, const char *id, struct error *error)
{
    struct study_row row;
    bool open_state;

    if (service_run_find(service, id))
        return 0;
    if (store_study(&service->store, id, &row, error))
        return (int)error->code;
    open_state = row.state == STUDY_QUEUED || row.state == STUDY_RUNNING;
    study_row_fini(&row);
    return open_state ? service_start_run(service, id, true, error) : 0;
}

void service_notify(struct service *service, const char *id)
{
    struct service_watch *watch = service->watches, *next;
    size_t length = strcspn(id, "/");           /* what a part tells is told of the whole */

    for (; watch; watch = next) {
        next = watch->next;
        if (strncmp(watch->id, id, length) == 0 && !watch->id[length])
            watch->notify(watch);
    }
}

int service_watch_add(struct service *service, const char *id, struct service_watch *watch, struct error *error)
{
    struct study_row row;

    if (!service_run_find(service, id)) {
        if (store_study(&service->store, id, &row, error))
            return (int)error->code;
        study_row_fini(&row);
    }
    snprintf(watch->id, sizeof watch->id, "%s", id);
    watch->next = service->watches;
    service->watches = watch;
    return 0;
}

void service_watch_remove(struct service *service, struct service_watch *watch)
{
    for (struct service_watch **link = &service->watches; *link; link = &(*link)->next)
        if (*link == watch) {
            *link = watch->next;
            return;
        }
}

/* ---- the loop's handles */

static bool all_quiet(struct service *service)
{
    return !service->runs && !service->jobs && journal_is_idle(&service->journal);
}

static void pump_now(uv_idle_t *handle)
{
    struct service *service = handle->data;

    uv_idle_stop(handle);
    service->pumping = false;
    pump(service);
    if (service->drained && !service->drain_told && all_quiet(service)) {
        service->drain_told = true;
        service->drained(service->drain_context);
    }
}

void service_pump_soon(struct service *service)
{
    if (service->pumping || service->closing)
        return;
    service->pumping = true;
    uv_idle_start(&service->pump_idle, pump_now);
}

/* The pool first: it is the one that may find no memory, and handles can't be taken back at once. */
static int open_handles(struct service *service, struct error *error)
{
    uv_loop_t *loop = service->options.loop;

    if (pool_uv_init(&service->pool, loop, service->options.workers, error))
        return (int)error->code;
    if (uv_timer_init(loop, &service->tick) || uv_idle_init(loop, &service->pump_idle))
        return error_set(error, ERROR_NO_MEMORY, "the event loop has no room for the service");
    service->tick.data = service->pump_idle.data = service;
    service->handles_open = 2;
    return 0;
}

int service_open(struct service **opened, const struct service_options *options, struct error *error)
{
    struct service *service = memory_new(sizeof *service);

    *opened = NULL;
    if (!service)
        return error_set(error, ERROR_NO_MEMORY, "starting the service: out of memory");
    service->options = *options;
    service->kernels = kernels_cpu();
    service->trial_memory = options->memory_bytes;
    service->slots = memory_array((size_t)options->workers, sizeof *service->slots);
    if (options->data_root)
        snprintf(service->data_root, sizeof service->data_root, "%s", options->data_root);
    if (!service->slots)
        error_set(error, ERROR_NO_MEMORY, "starting the service: out of memory");
    else if (store_open(&service->store, options->store, error) == 0) {
        if (store_path(&service->store, service->upload_directory, error, "uploads") == 0
            && open_handles(service, error) == 0) {
            journal_init(&service->journal, &service->store, &service->pool, options->clock);
            service->journal.metrics = options->metrics;
            *opened = service;
            return 0;
        }
        pool_uv_fini(&service->pool);
        store_close(&service->store);
    }
    memory_free(service->slots);
    memory_free(service);
    return (int)error->code;
}

/* ---- recovery */

static void refused_stored(struct journal_entry *entry, const struct error *error)
{
    struct service *service = entry->owner;

    (void)error;                        /* not written: the next start says it again */
    memory_free(entry);
    service->jobs--;
    service_pump_soon(service);
}

/* A stored study that no retry can bring to life: its row is wrong. */
static void refuse_stored(struct service *service, const char *id, const struct error *error)
{
    struct log_fields fields = { .study = id, .error = error };
    struct journal_entry *entry = memory_new(sizeof *entry);

    log_write(LOG_ERROR, &fields, "a stored study could not be taken up");
    if (!entry)
        return;
    changes_init(&entry->changes);
    store_set_state(&entry->changes, id, STUDY_FAILED, error->message, 0, service_wall(service), "");
    entry->done = refused_stored;
    entry->owner = service;
    service->jobs++;
    journal_append(&service->journal, entry);
}

/* false: not all could be looked at; the next tick tries again. */
static bool recover_state(struct service *service, enum study_state_name state)
{
    struct error error = { 0 };
    struct id_list list;

    if (store_studies_in(&service->store, state, &list, &error) == 0) {
        for (int i = 0; i < list.count && !error.code; i++) {
            if (service_run_find(service, list.ids[i])
                || service_start_run(service, list.ids[i], true, &error) == 0)
                continue;
            if (error.code == ERROR_NO_MEMORY || error.code == ERROR_IO || error.code == ERROR_UNAVAILABLE)
                break;
            refuse_stored(service, list.ids[i], &error);
            error_clear(&error);
        }
        id_list_fini(&list);
    }
    snprintf(service->trouble, sizeof service->trouble, "%.500s", error.message);
    return !error.code;
}

static void recover(struct service *service)
{
    service->recovered = !service->options.recover
                         || (recover_state(service, STUDY_RUNNING) && recover_state(service, STUDY_QUEUED));
}

void service_tick(struct service *service)
{
    if (service->started && !service->recovered && !service->draining)
        recover(service);
    service_pump_soon(service);
}

static void tick(uv_timer_t *timer)
{
    service_tick(timer->data);
}

void service_start(struct service *service)
{
    service->started = true;
    recover(service);
    service_tidy(service);
    uv_timer_start(&service->tick, tick, TICK_MS, TICK_MS);
    service_pump_soon(service);
}

/* ---- stopping */

static void drain_runs(struct service *service)
{
    service->draining = true;
    for (struct run *run = service->runs; run; run = run->next)
        if (run->intent == INTENT_GO && run->phase != RUN_ENDED)
            run_stop(run, INTENT_DRAIN);
        else
            run->retry_ns = 0;          /* one that is stopping already tries once more, now */
    service_pump_soon(service);
}

void service_drain(struct service *service, void (*done)(void *context), void *context)
{
    service->drained = done;
    service->drain_context = context;
    drain_runs(service);
}

static void handle_closed(uv_handle_t *handle)
{
    struct service *service = handle->data;

    if (--service->handles_open > 0)
        return;
    memory_free(service->slots);
    memory_free(service);
}

void service_close(struct service *service)
{
    drain_runs(service);
    while (!all_quiet(service))
        uv_run(service->options.loop, UV_RUN_ONCE);
    service->closing = true;
    uv_idle_stop(&service->pump_idle);
    for (int i = 0; i < service->options.workers; i++)
        scratch_free(service->slots[i].scratch);     /* a measurement went with its seat */
    pool_uv_fini(&service->pool);
    store_close(&service->store);
    uv_close((uv_handle_t *)&service->tick, handle_closed);
    uv_close((uv_handle_t *)&service->pump_idle, handle_closed);
}
