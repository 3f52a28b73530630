#include "server/training_run.h"

#include <errno.h>
#include <string.h>

#include "api/json.h"
#include "api/recipe.h"
#include "api/request.h"
#include "api/response.h"
#include "api/settings.h"
#include "base/memory.h"
#include "growth/plan.h"
#include "model/kernels.h"
#include "server/data_file.h"
#include "trainer/optimizer.h"
#include "server/learners_auto.h"
#include "server/resources.h"

/* ---- model */

/* The config.json that is written afterwards is a fresh one: a model made here has no dropout and no special tokens, and
 * what transformers would assume for absent keys must not come back. */
static int open_shape(struct training_run *run, const char *path, uint64_t seed, struct error *error)
{
    struct config config;
    char *text = NULL;
    size_t length;

    if (file_read(path, CONFIG_LIMIT_BYTES, &text, &length, error))
        return (int)error->code;
    if (config_parse(&config, text, length, error) == 0) {
        if (checkpoint_init(&run->checkpoint, &config.shape, error) == 0) {
            run->has_checkpoint = true;
            checkpoint_randomize(&run->checkpoint, seed);
            run->checkpoint.prefixed = true;
            run->checkpoint.provenance.tokens_seen_known = true;
        }
        config_fini(&config);
    }
    memory_free(text);
    return error_wrap(error, "--shape %s", path);
}

static int open_model(struct training_run *run, const struct options *options, struct error *error)
{
    const char *checkpoint = options->values[OPTION_CHECKPOINT], *shape = options->values[OPTION_SHAPE];
    struct checkpoint_load load = { .moments = true };
    uint64_t seed;

    if (option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, 1, &seed, error))
        return (int)error->code;
    if (!checkpoint == !shape)
        return error_set(error, ERROR_INVALID, "give either --checkpoint DIR or --shape config.json");
    if (shape)
        return open_shape(run, shape, seed, error);
    if (checkpoint_load(&run->checkpoint, checkpoint, &load, error))
        return (int)error->code;
    run->has_checkpoint = true;
    return 0;
}

/* ---- training values: recipe, or file, then flags */

static int read_text(const char *path, char **text, size_t *length, struct error *error)
{
    return file_read(path, (size_t)SPEC_JSON_BYTES_MAX, text, length, error);
}

/* The winner's own files, or what `lag train` saved when this run was interrupted: steps, data and tokens from the recipe's on. */
static int check_same_run(const struct training_run *run, const struct recipe *recipe, struct error *error)
{
    const struct provenance *at = &run->checkpoint.provenance;
    uint64_t steps = at->step - recipe->step;
    uint64_t tokens = training_tokens(&recipe->training, at->step) - training_tokens(&recipe->training, recipe->step);

    if (at->step < recipe->step || !run->checkpoint.moments)
        return error_set(error, ERROR_INVALID, "the recipe goes on from step %llu with its optimizer state, the checkpoint is at "
                         "step %llu%s; give the directory that the recipe came with, or one that this run saved later",
                         (unsigned long long)recipe->step, (unsigned long long)at->step,
                         run->checkpoint.moments ? "" : " and has none");
    if (at->data_cursor != recipe->data_cursor + steps || at->seed != recipe->training.seed
        || (at->tokens_seen_known && at->tokens_seen != recipe->tokens_seen + tokens))
        return error_set(error, ERROR_INVALID, "the checkpoint is at step %llu of another run: its data cursor is %llu, seed %llu, "
                         "tokens seen %llu, those of the recipe's run %llu, %llu, %llu; give the directory that the recipe came "
                         "with, or one that this run saved later", (unsigned long long)at->step,
                         (unsigned long long)at->data_cursor, (unsigned long long)at->seed,
                         (unsigned long long)at->tokens_seen, (unsigned long long)(recipe->data_cursor + steps),
                         (unsigned long long)recipe->training.seed, (unsigned long long)(recipe->tokens_seen + tokens));
    return 0;
}

static int take_recipe(struct training_run *run, const char *path, struct error *error)
{
    struct recipe recipe;
    char *text = NULL;
    size_t length;

    if (read_text(path, &text, &length, error))
        return (int)error->code;
    if (recipe_read(text, length, &run->checkpoint.table.shape, &recipe, error) == 0) {
        run->training = recipe.training;
        run->data = recipe.data;
        run->learning_rate_scale = recipe.learning_rate_scale;
        run->base = recipe.base;
        run->from_recipe = true;
        run->recipe_holds_out = !recipe.data.valid[0];
        run->training.average.kind = AVERAGE_NONE;
        check_same_run(run, &recipe, error);
    }
    memory_free(text);
    return error_wrap(error, "--recipe %s", path);
}

static int take_training(struct training_run *run, const struct options *options, struct error *error)
{
    const struct shape *shape = &run->checkpoint.table.shape;
    const char *path = options->values[OPTION_TRAINING];
    char *text = NULL;
    size_t length;
    uint64_t steps;

    run->training = training_defaults(shape);
    run->training.average.kind = AVERAGE_NONE;
    if (!path)
        return 0;
    if (option_count(options, OPTION_STEPS, 1, (uint64_t)1 << 53, 0, &steps, error) || read_text(path, &text, &length, error))
        return (int)error->code;
    if (request_training(text, length, shape, steps, &run->training, error) == 0
        && !settings_has_member(text, length, "average"))
        run->training.average.kind = AVERAGE_NONE;
    memory_free(text);
    return error_wrap(error, "--training %s", path);
}

/* The power schedule goes on where the lineage is; a run that is continued, where that one is. */
static void take_tokens(struct training_run *run)
{
    const struct provenance *provenance = &run->checkpoint.provenance;
    struct training *training = &run->training;
    bool goes_on = run->checkpoint.moments && run->checkpoint.moments->raw;

    if (training->schedule.name != SCHEDULE_POWER || training->schedule.tokens_known || !provenance->tokens_seen_known)
        return;
    training_continue_tokens(training, goes_on ? provenance->step : 0, provenance->tokens_seen);
    training->schedule.tokens_known = true;
}

static int take_flags(struct training_run *run, const struct options *options, struct error *error)
{
    struct training *training = &run->training;
    uint64_t batch, context, steps, seed;
    const struct shape *shape = &run->checkpoint.table.shape;

    if (option_count(options, OPTION_BATCH, 1, 1 << 20, (uint64_t)training->batch, &batch, error)
        || option_count(options, OPTION_CONTEXT, 1, (uint64_t)shape->context, (uint64_t)training->context, &context, error)
        || option_count(options, OPTION_STEPS, 1, (uint64_t)1 << 53, training->steps, &steps, error)
        || option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, training->seed, &seed, error)
        || option_count(options, OPTION_VALID_TOKENS, 1, (uint64_t)1 << 53, 100000, &run->valid_tokens, error)
        || option_count(options, OPTION_LOG_EVERY, 1, (uint64_t)1 << 53, 0, &run->log_every, error))
        return (int)error->code;
    if (run->from_recipe && (options->given[OPTION_BATCH] || options->given[OPTION_CONTEXT] || options->given[OPTION_SEED]))
        return error_set(error, ERROR_INVALID, "a recipe fixes batch, context and seed; leave these flags out");
    if (!options->values[OPTION_TRAINING] && !run->from_recipe) {
        uint64_t warmup = steps / 20 < 100 ? steps / 20 : 100;
        training->schedule.warmup_steps = warmup;
        training->schedule.decay_steps = steps / 10;
    }
    training->batch = (int)batch;
    training->context = (int)context;
    training->steps = steps;
    training->seed = seed;
    take_tokens(run);
    return 0;
}

/* ---- data */

/* What is held out for validation is not trained on: the winner goes on as it began only on the same part of the data. */
static int check_held_out(const struct training_run *run, struct error *error)
{
    if (!run->from_recipe || run->recipe_holds_out == !run->valid_path[0])
        return 0;
    if (run->recipe_holds_out)
        return error_set(error, ERROR_INVALID, "the recipe's study held out the last tenth of its training data; leave out "
                         "--valid, so that training goes on with the same tokens");
    return error_set(error, ERROR_INVALID, "the recipe's study had validation data of its own; give it with --valid, so that "
                     "training goes on with the same tokens");
}

static int take_data(struct training_run *run, const struct options *options, struct error *error)
{
    struct objective_spec *objective = &run->training.objective;
    struct data_file file;

    if (option_required(options, OPTION_DATA, error)
        || data_file_read(&file, options->values[OPTION_DATA], options->values[OPTION_OBJECTIVE], objective, error))
        return (int)error->code;
    if (file.data.train[0])    /* a plain file says nothing of format and sampler: a recipe's stay */
        run->data = file.data;
    memcpy(run->train_path, file.train, sizeof run->train_path);
    memcpy(run->valid_path, file.valid, sizeof run->valid_path);
    if (options->values[OPTION_VALID])
        snprintf(run->valid_path, sizeof run->valid_path, "%s", options->values[OPTION_VALID]);
    if (check_held_out(run, error))
        return (int)error->code;
    if (options->values[OPTION_FORMAT] && corpus_format_parse(options->values[OPTION_FORMAT], &run->data.format))
        return error_set(error, ERROR_INVALID, "--format must be auto, bytes, u16, u32, llmc, npy or safetensors");
    if (options->values[OPTION_SAMPLER] && sampler_parse(options->values[OPTION_SAMPLER], &run->data.sampler))
        return error_set(error, ERROR_INVALID, "--sampler must be random or sequential");
    if (objective_check(objective, &run->checkpoint.table.shape, run->training.context, error))
        return error_wrap(error, "the objective; its tokens are members of a JSON file given as --data");
    return 0;
}

static int open_data(struct training_run *run, struct error *error)
{
    int vocabulary = run->checkpoint.table.shape.vocabulary, context = run->training.context;

    if (corpus_open(&run->train, run->train_path, run->data.format, vocabulary, context, error))
        return error_wrap(error, "--data %s", run->train_path);
    if (run->valid_path[0] ? corpus_open(&run->valid, run->valid_path, run->data.format, vocabulary, context, error)
                           : corpus_split(&run->train, &run->valid, context, error)) {
        corpus_close(&run->train);
        return error_wrap(error, "validation data");
    }
    run->has_data = true;
    return 0;
}

/* ---- trial */

/* What the run would not tell otherwise: K, once it is measured. */
static int measure_learners(struct training_run *run, struct error *error)
{
    bool asked = run->training.learners.automatic;

    if (learners_auto_model(&run->training, &run->checkpoint, run->data.sampler, &run->train, error))
        return (int)error->code;
    if (asked)
        fprintf(stderr, "average_every %llu: %s\n", (unsigned long long)learners_round_steps(&run->training),
                run->training.learners.why);
    return 0;
}

static int open_trial(struct training_run *run, struct error *error)
{
    const struct moments *moments = run->checkpoint.moments;
    struct trial_options options = {
        .kernels = kernels_cpu(), .training = run->training, .sampler = run->data.sampler,
        .hidden_rate_scale = run->learning_rate_scale, .base = run->base,
        .from_raw = moments && moments->raw,
    };
    const char *texts[TRAINING_WARNINGS_MAX];
    int count = training_warnings(&run->training, options.kernels, texts);

    if (run->checkpoint.dropout > 0)
        fprintf(stderr, "warning: config.json has dropout %.3g; it is trained as 0\n", run->checkpoint.dropout);
    for (int i = 0; i < count; i++)
        fprintf(stderr, "warning: %s\n", texts[i]);
    if (optimizer_state_warning(run->training.optimizer.name, moments))
        fprintf(stderr, "warning: %s\n", optimizer_state_warning(run->training.optimizer.name, moments));
    if (trial_init(&run->trial, &run->checkpoint, &options, error))
        return (int)error->code;
    run->has_trial = true;
    if (!options.from_raw)
        run->trial.first_data_step = run->checkpoint.provenance.data_cursor;
    run->first_step = run->trial.step;
    if (run->trial.step >= run->training.steps)
        return error_set(error, ERROR_INVALID, "the checkpoint has %llu steps already; --steps is the total, give more than that",
                         (unsigned long long)run->trial.step);
    if (scratch_new(&run->scratch, options.kernels, &run->trial.table, &run->training, error))
        return (int)error->code;
    return run->trial.kavg ? train_team_new(&run->team, &run->trial, resources_cores(), error) : 0;
}

int training_run_step(struct training_run *run, const atomic_bool *stop, struct error *error)
{
    if (run->team)
        return train_team_round(run->team, &run->train, run->training.steps, error);
    return trial_step(&run->trial, run->scratch, &run->train, stop, error);
}

static int open_evaluation(struct training_run *run, struct error *error)
{
    struct evaluation *evaluation = &run->evaluation;

    evaluation->windows = windows_of(&run->valid, run->training.context, run->valid_tokens);
    evaluation->losses = memory_array((size_t)evaluation->windows.count, sizeof *evaluation->losses);
    if (!evaluation->losses)
        return error_set(error, ERROR_NO_MEMORY, "evaluating: out of memory");
    if (grid_init(&run->grid, run->training.steps, run->training.steps / 10, error))
        return (int)error->code;
    grid_round(&run->grid, learners_round_steps(&run->training));
    run->has_grid = true;
    return 0;
}

static int open_log(struct training_run *run, const char *path, struct error *error)
{
    if (path && !(run->log = fopen(path, run->first_step ? "ae" : "we")))
        return error_set_errno(error, errno, "cannot open --log %s", path);
    return 0;
}

int training_run_open(struct training_run *run, const struct options *options, struct error *error)
{
    const char *recipe = options->values[OPTION_RECIPE];

    *run = (struct training_run){ .learning_rate_scale = 1 };
    if (recipe && options->values[OPTION_TRAINING])
        return error_set(error, ERROR_INVALID, "give --recipe or --training, not both");
    if (option_required(options, OPTION_OUT, error) || open_model(run, options, error)
        || (recipe ? take_recipe(run, recipe, error) : take_training(run, options, error))
        || take_flags(run, options, error) || take_data(run, options, error) || open_data(run, error)
        || measure_learners(run, error) || open_trial(run, error) || open_evaluation(run, error)
        || open_log(run, options->values[OPTION_LOG], error))
        return (int)error->code;
    return 0;
}

void training_run_close(struct training_run *run)
{
    if (run->log)
        fclose(run->log);
    if (run->has_grid)
        grid_fini(&run->grid);
    memory_free(run->evaluation.losses);
    scratch_free(run->scratch);
    train_team_free(run->team);
    if (run->has_trial)
        trial_fini(&run->trial);
    if (run->has_data) {
        corpus_close(&run->train);
        corpus_close(&run->valid);
    }
    if (run->has_checkpoint)
        checkpoint_fini(&run->checkpoint);
    *run = (struct training_run){ 0 };
}

uint64_t training_run_tokens(const struct training_run *run)
{
    return training_tokens(&run->training, run->trial.step);
}

int training_run_evaluate(struct training_run *run, struct loss_summary *summary, struct error *error)
{
    struct evaluation *evaluation = &run->evaluation;
    bool finished = false;

    evaluation->next = evaluation->raw_next = 0;
    while (!finished)
        if (trial_evaluate(&run->trial, run->scratch, &run->valid, evaluation, UINT64_MAX / 2, NULL, &finished, error))
            return (int)error->code;
    *summary = loss_summarize(evaluation->losses, evaluation->windows.count);
    return 0;
}

/* ---- saving */

static void write_report(const struct training_run *run, struct loss_summary summary, struct buffer *out)
{
    const struct provenance *provenance = &run->checkpoint.provenance;

    buffer_format(out, "{\"training\":{\"step\":%llu,\"tokens_seen\":%llu,\"data_cursor\":%llu,\"seed\":%llu},",
                  (unsigned long long)provenance->step, (unsigned long long)provenance->tokens_seen,
                  (unsigned long long)provenance->data_cursor, (unsigned long long)provenance->seed);
    buffer_format(out, "\"data\":{\"format\":\"%s\",", corpus_format_name(run->train.format));
    request_echo_objective(&run->training.objective, out);
    buffer_format(out, ",\"sampler\":\"%s\",\"context\":%d,\"valid_tokens\":%llu,\"seed\":%llu},",
                  sampler_name(run->data.sampler), run->training.context, (unsigned long long)run->valid_tokens,
                  (unsigned long long)run->training.seed);
    buffer_text(out, "\"loss\":");
    json_number(out, summary.mean);
    buffer_text(out, ",\"standard_error\":");
    json_number(out, summary.standard_error);      /* of one window: null */
    buffer_text(out, "}\n");
}

int training_run_save(struct training_run *run, const char *directory, struct loss_summary summary, struct error *error)
{
    uint64_t before = run->checkpoint.provenance.tokens_seen;
    struct plain_card facts = { .shape = &run->checkpoint.table.shape, .loss = summary.mean };
    struct checkpoint_save options = { 0 };
    struct buffer report, card;

    if (trial_export(&run->trial, &run->checkpoint, error))
        return (int)error->code;
    run->checkpoint.provenance.tokens_seen = before + training_run_tokens(run) - training_tokens(&run->training, run->first_step);
    run->checkpoint.provenance.tokens_seen_known = true;
    buffer_init(&report);
    write_report(run, summary, &report);
    options.moments = run->checkpoint.moments;
    options.report = report.data;
    facts.step = run->trial.step;
    facts.tokens_seen = run->checkpoint.provenance.tokens_seen;
    buffer_init(&card);
    response_plain_card(&card, &facts);
    options.card = card.data;
    if (report.failed || card.failed)
        error_set(error, ERROR_NO_MEMORY, "saving: out of memory");
    else
        checkpoint_save(&run->checkpoint, directory, &options, error);
    buffer_fini(&report);
    buffer_fini(&card);
    return (int)error->code;
}
