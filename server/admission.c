/* Admission: a submission becomes a stored study. On a worker: parse, find and judge every file, resolve, plan, check
 * memory and disk. On the loop: one commit; the answer (202) follows its fsync. */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "model/kernels_ops.h"
#include "server/items.h"
#include "server/learners_auto.h"
#include "server/need.h"
#include "server/service_state.h"
#include "server/speed.h"

struct admission {
    struct service *service;
    struct admission *next;                    /* in service->committing */
    struct admission *followers;               /* equal ones that came while this one is committed */
    struct pool_job job;
    struct journal_entry entry;
    bool dry_run, by_content;
    double seen_flops[PRODUCT_TYPE_COUNT];     /* per second and worker, in steps so far; 0: too few of them */
    char *body;
    size_t body_length;
    char *key;
    char checkpoint_directory[FILE_PATH_BYTES], train_file[FILE_PATH_BYTES], valid_file[FILE_PATH_BYTES];
    struct item checkpoint, train, valid;      /* multipart parts that became items */
    struct study_row row;
    struct buffer answer;                      /* of a dry run */
    struct error error;
    service_callback *callback;
    service_text_callback *text_callback;
    void *context;
    char id[SERVICE_ID_BYTES];
    bool existed;
};

static void admission_free(struct admission *admission)
{
    struct error ignored = { 0 };

    if (admission->checkpoint_directory[0])
        (void)file_remove_tree(admission->checkpoint_directory, &ignored);
    if (admission->train_file[0])
        (void)file_remove(admission->train_file, &ignored);
    if (admission->valid_file[0])
        (void)file_remove(admission->valid_file, &ignored);
    changes_fini(&admission->entry.changes);
    buffer_fini(&admission->answer);
    study_row_fini(&admission->row);
    memory_free(admission->body);
    memory_free(admission->key);
    admission->service->jobs--;
    service_pump_soon(admission->service);
    memory_free(admission);
}

/* ---- on a worker */

static int accept_parts(struct admission *admission, struct request *request, struct error *error)
{
    const struct store *store = &admission->service->store;

    if (admission->checkpoint_directory[0]) {
        if (item_accept_checkpoint(&admission->checkpoint, store, admission->checkpoint_directory, error)
            || request_set_checkpoint(request, admission->checkpoint.id, error))
            return (int)error->code;
    }
    if (admission->train_file[0] && item_accept_dataset(&admission->train, store, admission->train_file, error))
        return (int)error->code;
    if (admission->valid_file[0] && item_accept_dataset(&admission->valid, store, admission->valid_file, error))
        return (int)error->code;
    if (admission->train_file[0] || admission->valid_file[0])
        return request_set_data(request, admission->train_file[0] ? admission->train.id : request_train(request),
                                admission->valid_file[0] ? admission->valid.id : request_valid(request), error);
    return 0;
}

/* `resolved`: the request, taken over. `asked`: the same before anything was measured for it, by which equal
 * studies are known. */
static int fill_row(struct admission *admission, const struct request *request, const char *name, struct buffer *resolved,
                    struct buffer *asked, const struct sources *sources, struct error *error)
{
    struct study_row *row = &admission->row;
    struct buffer echo = *resolved;
    char hex[HASH_HEX_BYTES];

    row->name = memory_string(name);
    row->reason = memory_string("");
    row->result = memory_string("");
    row->idempotency_key = memory_string(admission->key ? admission->key : "");
    hash_bytes_hex(admission->body, admission->body_length, hex);
    row->body_hash = memory_string(hex);
    row->checkpoint = memory_string(request_checkpoint(request));
    row->train = memory_string(request_train(request));
    row->valid = memory_string(request_valid(request));
    memcpy(row->checkpoint_hash, sources->parent.hash, sizeof row->checkpoint_hash);
    memcpy(row->data_hash, sources->data_hash, sizeof row->data_hash);
    if (!echo.failed) {
        row->request = memory_string(echo.data);
        buffer_text(asked, row->checkpoint_hash);
        buffer_text(asked, row->data_hash);
    }
    if (!asked->failed) {
        hash_bytes_hex(asked->data, asked->length, hex);
        row->content = memory_string(hex);
    }
    buffer_fini(&echo);
    buffer_init(resolved);
    row->state = STUDY_QUEUED;
    if (row->name && row->reason && row->result && row->idempotency_key && row->body_hash && row->checkpoint
        && row->train && row->valid && row->request && row->content)
        return 0;
    return error_set(error, ERROR_NO_MEMORY, "admitting the study: out of memory; try again");
}

/* ---- one study */

static int resolve_study(struct admission *admission, const struct request *request, const struct sources *sources,
                         struct error *error)
{
    struct service *service = admission->service;
    struct study_spec spec;
    struct need need = { 0 };
    struct buffer echo, asked;

    if (request_resolve(request, &sources->facts, &spec, error))
        return (int)error->code;
    buffer_init(&asked);
    request_echo(&spec, &asked);
    learners_auto_study(&spec, &sources->parent, &sources->train, error);
    if (!error->code)
        need_of_study(service, &spec, &sources->facts.parent, &need, error);
    need.memory += partners_bytes(&sources->partners);
    if (!error->code && need_check(service, &need, error) == 0) {
        if (admission->dry_run) {
            response_validate(&admission->answer, &spec, &sources->facts.parent,
                              speed_of_worker(service, admission->seen_flops, spec.training.compute),
                              service->options.workers, error);
        } else {
            buffer_init(&echo);
            request_echo(&spec, &echo);
            fill_row(admission, request, spec.name, &echo, &asked, sources, error);
        }
    }
    buffer_fini(&asked);
    study_spec_fini(&spec);
    return (int)error->code;
}

/* ---- stages: every part is resolved ahead */

struct staged {
    struct admission *admission;
    struct need most;                          /* of any part */
    uint64_t parents;                          /* bytes of the checkpoints between stages that stay, of one chain */
    struct response_speed speed;               /* of a worker; a dry run's */
    struct buffer answer, first;               /* a dry run's parts; the echo */
    char name[sizeof ((struct study_spec *)0)->name];
    const struct request *request;
    struct stages stages;
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int visit_stage(void *context, const struct stage_part *part, const struct study_spec *spec,
                       const struct shape *parent, struct error *error)
{
    struct staged *staged = context;
    struct admission *admission = staged->admission;
    struct service *service = admission->service;
    struct need need = { 0 };

    if (spec->training.learners.automatic)
        return error_set_at(error, ERROR_INVALID, "/training/average_every", "auto is measured for a study of one stage only; "
                            "give a number");
    if (need_of_study(service, spec, parent, &need, error))
        return (int)error->code;
    staged->most.memory = larger(staged->most.memory, need.memory);
    staged->most.disk = larger(staged->most.disk, need.disk);
    staged->parents = (spec->keep == KEEP_ALL ? staged->parents : 0) + 3 * need.trial;
    if (part->search && part->stage == 1) {
        snprintf(staged->name, sizeof staged->name, "%s", spec->name);
        request_staged_echo(staged->request, &staged->stages, spec, &staged->first, error);
    }
    if (admission->dry_run && !error->code) {
        if (staged->speed.steps == 0)          /* one compute in all parts */
            staged->speed = speed_of_worker(service, admission->seen_flops, spec->training.compute);
        buffer_format(&staged->answer, "%s{\"stage\": %d, \"chain\": \"%s\", \"study\": ",
                      staged->answer.length ? ", " : "", part->stage, stages_chain_name(&staged->stages, part->chain));
        response_validate(&staged->answer, spec, parent, staged->speed, service->options.workers, error);
        buffer_text(&staged->answer, "}");
    }
    return (int)error->code;
}

static void answer_stages(struct staged *staged, struct error *error)
{
    struct buffer *out = &staged->admission->answer;

    if (!staged->first.failed && !staged->answer.failed) {
        buffer_text(out, "{\"request\": ");
        buffer_text(out, staged->first.data);
        buffer_text(out, ", \"stages\": [");
        buffer_text(out, staged->answer.data);
        buffer_text(out, "]}\n");
    }
    if (staged->first.failed || staged->answer.failed || out->failed)
        error_set(error, ERROR_NO_MEMORY, "resolving the stages: out of memory; try again");
}

static int resolve_stages(struct admission *admission, const struct request *request, const struct sources *sources,
                          struct error *error)
{
    struct staged staged = { .admission = admission, .request = request };
    struct buffer asked;
    struct stages_visitor visitor = { visit_stage, &staged };

    buffer_init(&staged.answer);
    buffer_init(&staged.first);
    if (request_resolve_stages(request, &sources->facts, &staged.stages, &visitor, error) == 0) {
        staged.most.disk += (uint64_t)stages_chains(&staged.stages) * staged.parents;
        staged.most.memory += partners_bytes(&sources->partners);
        buffer_init(&asked);
        buffer_text(&asked, staged.first.data ? staged.first.data : "");
        if (need_check(admission->service, &staged.most, error) == 0) {
            if (admission->dry_run)
                answer_stages(&staged, error);
            else
                fill_row(admission, request, staged.name, &staged.first, &asked, sources, error);
        }
        buffer_fini(&asked);
    }
    if (admission->dry_run || error->code)     /* else the row took it over */
        buffer_fini(&staged.first);
    buffer_fini(&staged.answer);
    return (int)error->code;
}

static int resolve(struct admission *admission, struct request *request, struct error *error)
{
    struct service *service = admission->service;
    struct sources sources;

    if (sources_open(&sources, &service->store, service_data_root(service), request, error))
        return (int)error->code;
    if (request_is_staged(request))
        resolve_stages(admission, request, &sources, error);
    else
        resolve_study(admission, request, &sources, error);
    sources_close(&sources);
    return (int)error->code;
}

static void admission_run(struct pool_job *job)
{
    struct admission *admission = job->owner;
    struct request *request = NULL;
    struct error *error = &admission->error;

    if (error->code)
        return;
    if (request_new(&request, admission->body, admission->body_length, error))
        return;
    if (accept_parts(admission, request, error) == 0)
        resolve(admission, request, error);
    request_free(request);
}

/* ---- on the loop */

static void answer(struct admission *admission)
{
    if (admission->dry_run)
        admission->text_callback(admission->context, &admission->error, admission->answer.data,
                                 admission->answer.length);
    else
        admission->callback(admission->context, &admission->error, admission->id, admission->existed);
    admission_free(admission);
}

static void settle(struct admission *admission);

/* Those that waited look again: what they ask for is stored now, or is theirs to store. */
static void commit_over(struct admission *admission)
{
    struct admission **link = &admission->service->committing, *follower = admission->followers, *next;

    while (*link != admission)
        link = &(*link)->next;
    *link = admission->next;
    admission->followers = NULL;
    for (; follower; follower = next) {
        next = follower->next;
        settle(follower);
    }
}

static void admitted(struct journal_entry *entry, const struct error *error)
{
    struct admission *admission = entry->owner;

    admission->error = *error;
    commit_over(admission);
    if (!error->code)
        service_begin_run(admission->service, admission->id, false, &admission->error);
    answer(admission);
}

/* The same study again: by its key, or (lag run) by its content. */
static bool find_existing(struct admission *admission)
{
    struct store *store = &admission->service->store;
    char body_hash[65];

    if (admission->key
        && (store_find_study(store, "idempotency_key", admission->key, admission->id, body_hash, &admission->error)
            || admission->id[0])) {
        if (admission->id[0] && strcmp(body_hash, admission->row.body_hash) != 0)
            error_set(&admission->error, ERROR_CONFLICT, "the Idempotency-Key was used with another body, for study %s; use "
                      "a new key for a new study", admission->id);
    } else if (admission->by_content) {
        (void)store_find_study(store, "content", admission->row.content, admission->id, body_hash, &admission->error);
    }
    admission->existed = admission->id[0] != '\0';
    return admission->existed || admission->error.code;
}

static void commit_admission(struct admission *admission)
{
    struct journal_entry *entry = &admission->entry;
    struct service *service = admission->service;
    struct buffer event;

    admission->next = service->committing;
    service->committing = admission;
    service_new_id(service, "study_", admission->id);
    memcpy(admission->row.id, admission->id, sizeof admission->row.id);
    admission->row.created_ms = service_wall(service);
    *entry = (struct journal_entry){ .done = admitted, .owner = admission, .has_points = true,
                                     .before = FAULT_AT_admit_before_commit, .after = FAULT_AT_admit_after_commit };
    changes_init(&entry->changes);
    item_record(&entry->changes, &admission->checkpoint, admission->row.created_ms);
    item_record(&entry->changes, &admission->train, admission->row.created_ms);
    item_record(&entry->changes, &admission->valid, admission->row.created_ms);
    store_add_study(&entry->changes, &admission->row);
    buffer_init(&event);
    response_event_state(&event, STUDY_QUEUED, "");
    store_add_event(&entry->changes, admission->id, "state", "admitted", event.data ? event.data : "{}");
    entry->changes.failed |= event.failed;
    buffer_fini(&event);
    journal_append(&service->journal, entry);
}

/* The admission under way that this one has to wait for: of the same key, or the same study where that counts. */
static struct admission *find_leader(const struct admission *admission)
{
    for (struct admission *other = admission->service->committing; other; other = other->next)
        if ((admission->key && other->key && strcmp(admission->key, other->key) == 0)
            || (admission->by_content && strcmp(admission->row.content, other->row.content) == 0))
            return other;
    return NULL;
}

static void settle(struct admission *admission)
{
    struct admission *leader = find_leader(admission);

    if (leader) {
        admission->next = leader->followers;
        leader->followers = admission;
    } else if (find_existing(admission)) {
        answer(admission);
    } else {
        commit_admission(admission);
    }
}

static void admission_done(struct pool_job *job, bool cancelled)
{
    struct admission *admission = job->owner;

    if (cancelled)
        error_set(&admission->error, ERROR_UNAVAILABLE, "the server is stopping; send the study again later");
    if (admission->error.code || admission->dry_run)
        answer(admission);
    else
        settle(admission);
}

static struct admission *admission_new(struct service *service, const char *body, size_t length)
{
    struct admission *admission = memory_new(sizeof *admission);

    if (!admission)
        return NULL;
    admission->service = service;
    service->jobs++;
    admission->body = memory_string_n(body, length);
    admission->body_length = length;
    buffer_init(&admission->answer);
    admission->job = (struct pool_job){ .lane = POOL_SERVICE, .run = admission_run, .done = admission_done,
                                        .owner = admission };
    return admission;
}

static void admission_submit(struct admission *admission)
{
    if (!admission->body)
        error_set(&admission->error, ERROR_NO_MEMORY, "admitting the study: out of memory; try again");
    admission->service->pool.submit(&admission->service->pool, &admission->job);
}

static void take_path(char path[FILE_PATH_BYTES], const char *given)
{
    if (given)
        snprintf(path, FILE_PATH_BYTES, "%s", given);
}

int service_submit(struct service *service, const struct study_submission *submission, service_callback *callback,
                   void *context)
{
    struct admission *admission = admission_new(service, submission->body, submission->body_length);

    if (!admission)
        return ERROR_NO_MEMORY;
    admission->callback = callback;
    admission->context = context;
    admission->by_content = submission->by_content;
    take_path(admission->checkpoint_directory, submission->checkpoint_directory);
    take_path(admission->train_file, submission->train_file);
    take_path(admission->valid_file, submission->valid_file);
    if (submission->idempotency_key && *submission->idempotency_key) {
        admission->key = memory_string(submission->idempotency_key);
        if (!admission->key)
            error_set(&admission->error, ERROR_NO_MEMORY, "admitting the study: out of memory; try again");
    }
    admission_submit(admission);
    return 0;
}

int service_validate(struct service *service, const char *body, size_t length, service_text_callback *callback,
                     void *context)
{
    struct admission *admission = admission_new(service, body, length);

    if (!admission)
        return ERROR_NO_MEMORY;
    admission->dry_run = true;
    speed_seen(&service->counts, admission->seen_flops);
    admission->text_callback = callback;
    admission->context = context;
    admission_submit(admission);
    return 0;
}
