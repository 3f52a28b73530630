#include "server/tidy.h"

#include <string.h>

#include "base/memory.h"
#include "server/service_state.h"

struct tidying {
    struct service *service;
    struct pool_job job;
    char **paths;
    int count;
};

static void tidying_free(struct tidying *tidying)
{
    for (int i = 0; i < tidying->count; i++)
        memory_free(tidying->paths[i]);
    memory_free(tidying->paths);
    memory_free(tidying);
}

static void tidy_run(struct pool_job *job)
{
    struct tidying *tidying = job->owner;
    struct error ignored = { 0 };

    for (int i = 0; i < tidying->count; i++)
        (void)file_remove_tree(tidying->paths[i], &ignored);
}

static void tidy_done(struct pool_job *job, bool cancelled)
{
    struct tidying *tidying = job->owner;
    struct service *service = tidying->service;

    (void)cancelled;
    tidying_free(tidying);
    service->jobs--;
    service_pump_soon(service);
}

/* Directory `name` of studies/: all of it if no row knows it, its trials if the study has succeeded. */
static void judge(struct tidying *tidying, const char *name)
{
    const struct store *store = &tidying->service->store;
    char path[FILE_PATH_BYTES];
    struct error error = { 0 };
    struct study_row row;
    bool known = store_study(&tidying->service->store, name, &row, &error) == 0, succeeded = false;

    if (!known && error.code != ERROR_NOT_FOUND)
        return;
    error_clear(&error);
    if (known) {
        succeeded = row.state == STUDY_SUCCEEDED;
        study_row_fini(&row);
    }
    if ((known && !succeeded)
        || store_path(store, path, &error, known ? "studies/%s/trials" : "studies/%s", name) || !file_exists(path))
        return;
    tidying->paths[tidying->count] = memory_string(path);
    tidying->count += tidying->paths[tidying->count] != NULL;
}

/* The list is made before anything is admitted: a new study's directory can't be taken for a deleted one's. */
void service_tidy(struct service *service)
{
    struct tidying *tidying = memory_new(sizeof *tidying);
    char path[FILE_PATH_BYTES];
    struct error ignored = { 0 };
    struct file_names names;

    if (!tidying)
        return;
    tidying->service = service;
    if (store_path(&service->store, path, &ignored, "studies") == 0 && file_list(path, &names, &ignored) == 0) {
        tidying->paths = memory_array((size_t)names.count, sizeof *tidying->paths);
        for (int i = 0; tidying->paths && i < names.count; i++)
            judge(tidying, names.names[i]);
        file_names_free(&names);
    }
    if (tidying->count == 0) {
        tidying_free(tidying);
        return;
    }
    tidying->job = (struct pool_job){ .lane = POOL_SERVICE, .run = tidy_run, .done = tidy_done, .owner = tidying };
    service->jobs++;
    service->pool.submit(&service->pool, &tidying->job);
}
