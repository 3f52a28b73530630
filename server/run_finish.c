/* The end of a study: ranking, files of the kept candidates, documents, and one commit. Everything before the commit can be
 * done again; what was written under its final name is replaced by the same bytes. */
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "server/run_stages.h"
#include "server/service_state.h"

static bool is_kept(const struct run *run, const struct ranking_row *row)
{
    const struct candidate *candidate = &run->study.candidates[row->candidate];

    if (candidate->state != CANDIDATE_COMPLETED || candidate->same_as >= 0
        || !run_part_keeps(run, row->candidate == run->outcome.choice))
        return false;
    if (row->candidate == run->outcome.choice)
        return true;
    if (run->spec.keep == KEEP_ALL)
        return true;
    return run->spec.keep == KEEP_TOP && row->rank <= run->spec.keep_top;
}

/* ---- one candidate's directory */

/* The state that was saved at k. One that is gone, damaged or of another step is lost: the candidate is trained anew. */
static int open_trial(struct run *run, const struct checkpoint *grown, int candidate, struct trial *trial,
                      struct error *error)
{
    struct trial_options options = run_trial_options(run, candidate);
    struct error ignored = { 0 };
    char path[FILE_PATH_BYTES];

    if (run_saved_trial(run, candidate, path, error) || trial_init_empty(trial, &grown->table.shape, &options, error))
        return (int)error->code;
    if (trial_load(trial, path, error) == 0 && trial->step != run->outcome.k)
        error_set(error, ERROR_DAMAGED, "%s is of step %llu instead of %llu", path, (unsigned long long)trial->step,
                  (unsigned long long)run->outcome.k);
    if (error->code == ERROR_DAMAGED || error->code == ERROR_NOT_FOUND) {
        run->lost_candidate = candidate;
        (void)file_remove(path, &ignored);
    }
    if (error->code)
        trial_fini(trial);
    return (int)error->code;
}

/* Of a candidate that was grown in behind masks there is no such file: without them it is another model. */
static int save_grown(const struct checkpoint *grown, const char *directory, struct error *error)
{
    char path[FILE_PATH_BYTES], hash[HASH_HEX_BYTES];

    if (file_join(path, directory, "initial", error) || file_make_directory(path, error)
        || file_join(path, directory, "initial/model.safetensors", error))
        return (int)error->code;
    return checkpoint_save_weights(grown, grown->weights, grown->dtype, path, hash, error);
}

static int save_trained(struct run *run, struct checkpoint *grown, const struct trial *trial, int candidate,
                        const char *directory, struct error *error)
{
    uint64_t tokens = training_tokens(&run->spec.training, trial->step);
    struct study_view view;
    struct candidate_files files = { .view = &view, .candidate = candidate, .step = trial->step,
                                     .tokens_seen = run->sources.parent.provenance.tokens_seen + tokens,
                                     .data_cursor = trial->first_data_step + trial->step,
                                     .ramp_steps = run->seats[candidate].ramps.longest };
    struct checkpoint_save options = { 0 };
    struct buffer report, card;

    run_view(run, &view);
    buffer_init(&report);
    buffer_init(&card);
    response_candidate_report(&report, &files);
    response_candidate_card(&card, &files);
    if (report.failed || card.failed)
        error_set(error, ERROR_NO_MEMORY, "writing a candidate's files: out of memory");
    else if (trial_export(trial, grown, error) == 0) {
        options.moments = grown->moments;
        options.report = report.data;
        options.card = card.data;
        checkpoint_save(grown, directory, &options, error);
    }
    buffer_fini(&report);
    buffer_fini(&card);
    return (int)error->code;
}

static int save_candidate(struct run *run, int candidate, const char *directory, struct error *error)
{
    bool masked = run->seats[candidate].ramps.longest > 0;
    struct checkpoint grown;
    struct trial trial;

    if (file_make_directory(directory, error) || run_grow_candidate(run, candidate, &grown, error))
        return (int)error->code;
    if ((masked || save_grown(&grown, directory, error) == 0)
        && open_trial(run, &grown, candidate, &trial, error) == 0) {
        save_trained(run, &grown, &trial, candidate, directory, error);
        trial_fini(&trial);
    }
    checkpoint_fini(&grown);
    return (int)error->code;
}

static int write_candidate(struct run *run, int candidate, struct error *error)
{
    char directory[FILE_PATH_BYTES], temporary[FILE_PATH_BYTES];

    if (store_path(&run->service->store, directory, error, "studies/%s/candidates/%d", run->row.id, candidate)
        || store_path(&run->service->store, temporary, error, "studies/%s/candidates/%d.new", run->row.id, candidate)
        || file_remove_tree(temporary, error))
        return (int)error->code;
    FAULT_POINT(files_write);
    if (save_candidate(run, candidate, temporary, error))
        return (int)error->code;
    FAULT_POINT(files_before_rename);
    if (file_remove_tree(directory, error))
        return (int)error->code;
    return file_rename(temporary, directory, error);
}

/* ---- documents */

static int write_document(const struct run *run, const char *name, struct buffer *text, struct error *error)
{
    char path[FILE_PATH_BYTES];

    if (text->failed)
        error_set(error, ERROR_NO_MEMORY, "writing %s: out of memory", name);
    else if (store_path(&run->service->store, path, error, "studies/%s/%s", run->row.id, name) == 0)
        file_write(path, text->data, text->length, error);
    buffer_fini(text);
    return (int)error->code;
}

static int write_documents(struct run *run, struct error *error)
{
    struct study_view view;
    struct buffer text;

    run_view(run, &view);
    view.state = run->outcome.choice >= 0 ? STUDY_SUCCEEDED : STUDY_FAILED;     /* by the time that anybody reads them */
    buffer_init(&text);
    response_report(&text, &view);
    if (write_document(run, "report.html", &text, error))
        return (int)error->code;
    response_curves_csv(&text, &run->study);
    if (write_document(run, "curves.csv", &text, error))
        return (int)error->code;
    response_curves_json(&text, &run->study);
    if (write_document(run, "curves.json", &text, error))
        return (int)error->code;
    response_table(&text, &run->study, &run->outcome, 80);
    if (write_document(run, "table.txt", &text, error))
        return (int)error->code;
    response_plot(&text, &run->study, &run->outcome, *run->row.name ? run->row.name : run->row.id);
    return write_document(run, "plot.svg", &text, error);
}

static void finish_run(struct pool_job *job)
{
    struct run *run = job->owner;
    struct error *error = &run->error;
    char path[FILE_PATH_BYTES];

    error_clear(error);
    run->lost_candidate = -1;
    FAULT_POINT(rank_begin);
    if (store_path(&run->service->store, path, error, "studies/%s/candidates", run->row.id)
        || file_make_directory(path, error))
        return;
    for (int i = 0; i < run->outcome.ranking.count && !error->code; i++)
        if (is_kept(run, &run->outcome.ranking.rows[i]))
            write_candidate(run, run->outcome.ranking.rows[i].candidate, error);
    if (!error->code)
        write_documents(run, error);
}

/* ---- the commit */

static void cleanup_run(struct pool_job *job)
{
    struct run *run = job->owner;
    struct error ignored = { 0 };
    char path[FILE_PATH_BYTES];

    if (run->whole)
        run_part_tidy(run);
    else if (store_path(&run->service->store, path, &ignored, "studies/%s/trials", run->row.id) == 0)
        (void)file_remove_tree(path, &ignored);
}

static void cleanup_done(struct pool_job *job, bool cancelled)
{
    struct run *run = job->owner;

    (void)cancelled;
    run->job_running = false;
    service_run_remove(run->service, run);
}

static void commit_done(struct journal_entry *entry, const struct error *error)
{
    struct run *run = entry->owner;

    memory_free(entry);
    run->commits_pending--;
    if (error->code) {
        run->phase = RUN_FINISHING;
        run->ending = false;
        run->row.state = STUDY_RUNNING;
        run_trouble(run, error);
        service_pump_soon(run->service);
        return;
    }
    service_notify(run->service, run->row.id);
    run->job = (struct pool_job){ .lane = POOL_SERVICE, .run = cleanup_run, .done = cleanup_done, .owner = run };
    run->job_running = true;
    run->service->pool.submit(&run->service->pool, &run->job);
}

static void fill_end(struct run *run, struct changes *changes)
{
    struct buffer result, event;
    struct study_view view;
    char identity[64];

    buffer_init(&result);
    run_view(run, &view);
    response_study(&result, &view);
    for (int i = 0; i < run->spec.candidate_count; i++)
        store_set_candidate(changes, run->row.id, i, &run->study.candidates[i]);
    store_set_state(changes, run->row.id, run->row.state, run->reason, run->row.started_ms, run->row.ended_ms,
                    result.data ? result.data : "");
    service_event_identity(run->service, identity);
    for (int i = 0; i < 2; i++) {
        buffer_init(&event);
        response_event_state(&event, run->row.state, run->reason);
        run_add_event(changes, run, i == 0 ? "state" : "end", identity, &event);
    }
    changes->failed |= result.failed;
    buffer_fini(&result);
}

static void commit_end(struct run *run)
{
    struct journal_entry *entry = memory_new(sizeof *entry);
    struct error error = { 0 };

    if (!entry) {
        error_set(&error, ERROR_NO_MEMORY, "finishing study %s: out of memory", run->row.id);
        run_trouble(run, &error);
        return;
    }
    *entry = (struct journal_entry){ .done = commit_done, .owner = run, .has_points = true,
                                     .before = FAULT_AT_finish_before_commit, .after = FAULT_AT_finish_after_commit };
    changes_init(&entry->changes);
    run->ending = true;
    run->phase = RUN_ENDED;
    run->row.ended_ms = service_wall(run->service);
    run->row.state = run->outcome.choice >= 0 ? STUDY_SUCCEEDED : STUDY_FAILED;
    if (run->row.state == STUDY_FAILED)
        snprintf(run->reason, sizeof run->reason, "no candidate completed: all diverged or failed; lower "
                 "training.learning_rate or lengthen schedule.warmup_steps and send the study again");
    fill_end(run, &entry->changes);
    run->commits_pending++;
    journal_append(&run->service->journal, entry);
}

static void finish_done(struct pool_job *job, bool cancelled)
{
    struct run *run = job->owner;

    run->job_running = false;
    if (run->error.code && run->lost_candidate >= 0 && run->intent == INTENT_GO) {
        struct log_fields fields = { .study = run->row.id, .error = &run->error,
                                     .candidate = run->spec.candidates[run->lost_candidate].name };
        log_write(LOG_WARNING, &fields, "a saved trial is of no use; the candidate is trained anew");
        run->error.code = ERROR_IO;                 /* passes: by what follows */
        run_forget_points(run, run->lost_candidate, run->outcome.k);
    }
    if (run->error.code)
        run_trouble(run, &run->error);
    else if (!cancelled && run->intent != INTENT_CANCEL)
        commit_end(run);
    service_pump_soon(run->service);
}

void run_finish(struct run *run)
{
    struct error error = { 0 };
    struct study_view view;
    struct buffer recipe;

    for (int i = 0; i < run->spec.candidate_count; i++)
        seat_release(&run->seats[i]);           /* all completed ones are saved: k is a barrier */
    run_view(run, &view);
    if (!view.outcome) {
        error_set(&error, ERROR_NO_MEMORY, "ranking study %s: out of memory", run->row.id);
        run_trouble(run, &error);
        return;
    }
    memory_free(run->recipe);
    run->recipe = NULL;
    buffer_init(&recipe);
    if (run->outcome.choice >= 0)
        response_recipe(&recipe, &view);
    run->recipe = buffer_take(&recipe, NULL);
    if (run->outcome.choice >= 0 && !run->recipe) {
        error_set(&error, ERROR_NO_MEMORY, "ranking study %s: out of memory", run->row.id);
        run_trouble(run, &error);
        return;
    }
    run->job = (struct pool_job){ .lane = POOL_SERVICE, .run = finish_run, .done = finish_done, .owner = run };
    run->job_running = true;
    run->service->pool.submit(&run->service->pool, &run->job);
}
