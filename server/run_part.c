/* A part of a staged study as a run: its id, its parent, what it takes over, which files it keeps and leaves. */
#include <stdio.h>
#include <string.h>

#include "server/run_stages.h"
#include "server/service_state.h"

void stages_part_id(const char *whole, const struct stage_part *part, char id[SERVICE_ID_BYTES])
{
    char name[STAGES_PART_NAME_BYTES];

    stages_part_name(part, name);
    snprintf(id, SERVICE_ID_BYTES, "%.32s/%s", whole, name);
}

void run_part_id(const struct run *whole, const struct stage_part *part, char id[SERVICE_ID_BYTES])
{
    stages_part_id(whole->row.id, part, id);
}

const char *run_public_id(const struct run *run)
{
    return run->whole ? run->whole->row.id : run->row.id;
}

static struct stage_part training_of(const struct run *run, int stage)
{
    return (struct stage_part){ .chain = run->part.chain, .stage = stage };
}

int run_part_parent(const struct run *run, char directory[FILE_PATH_BYTES], struct error *error)
{
    struct stage_part before = training_of(run, run->part.stage - 1);
    char id[SERVICE_ID_BYTES];

    directory[0] = '\0';
    if (!run->whole || run->part.stage == 1)
        return 0;
    run_part_id(run->whole, &before, id);
    return store_path(&run->service->store, directory, error, "studies/%s/candidates/0", id);
}

int run_saved_trial(const struct run *run, int candidate, char path[FILE_PATH_BYTES], struct error *error)
{
    struct stage_part search = { .stage = run->part.stage, .search = true };
    char id[SERVICE_ID_BYTES];

    if (seat_trial_path(run, candidate, path, error))
        return (int)error->code;
    if (!run->whole || run->part.chain > 0 || run->part.search || file_exists(path))
        return 0;
    run_part_id(run->whole, &search, id);
    return store_path(&run->service->store, path, error, "studies/%s/trials/%d.trial", id, run->taken_over);
}

/* The choice's files are the training's, which goes on with it; of other candidates those of the last stage. */
bool run_part_keeps(const struct run *run, bool chosen)
{
    if (!run->whole || !run->part.search)
        return true;
    return !chosen && run->part.stage == run->whole->staging->stages.count;
}

void run_part_remove(const struct run *run, const struct stage_part *part, const char *what)
{
    struct error ignored = { 0 };
    char id[SERVICE_ID_BYTES], path[FILE_PATH_BYTES];

    run_part_id(run->whole ? run->whole : run, part, id);
    if (store_path(&run->service->store, path, &ignored, "studies/%s/%s", id, what) == 0)
        (void)file_remove_tree(path, &ignored);
}

static void remove_losers(const struct run *run)
{
    struct error ignored = { 0 };
    char directory[FILE_PATH_BYTES], path[FILE_PATH_BYTES], winner[32];
    struct file_names names;

    snprintf(winner, sizeof winner, "%d.trial", run->outcome.choice);
    if (store_path(&run->service->store, directory, &ignored, "studies/%s/trials", run->row.id)
        || file_list(directory, &names, &ignored))
        return;
    for (int i = 0; i < names.count; i++)
        if (strcmp(names.names[i], winner) != 0 && file_join(path, directory, names.names[i], &ignored) == 0)
            (void)file_remove(path, &ignored);
    file_names_free(&names);
}

void run_part_tidy(const struct run *run)
{
    struct stage_part search = { .stage = run->part.stage, .search = true };
    struct stage_part before = training_of(run, run->part.stage - 1);

    if (run->part.search) {
        remove_losers(run);
        return;
    }
    run_part_remove(run, &run->part, "trials");
    if (run->part.chain == 0)
        run_part_remove(run, &search, "trials");
    if (run->part.stage > 1 && run->whole->staging->compare.keep != KEEP_ALL)
        run_part_remove(run, &before, "candidates");
}
