#include "server/powerfit_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/request.h"
#include "base/file.h"
#include "base/memory.h"
#include "model/checkpoint.h"
#include "model/config.h"
#include "server/data_file.h"

enum { RATES_DEFAULT = 7, LENGTHS_DEFAULT = 4, STEPS_FIRST = 64, STEPS_LEAST = 10, STEPS_MOST = 1000000,
       VALID_TOKENS_DEFAULT = 20000 };

/* ---- flags */

static int read_shape(struct powerfit_world *world, const struct options *options, struct error *error)
{
    const char *shape = options->values[OPTION_SHAPE], *checkpoint = options->values[OPTION_CHECKPOINT];
    char path[FILE_PATH_BYTES], *text = NULL;
    struct config config;
    size_t length;

    if (!shape == !checkpoint)
        return error_set(error, ERROR_INVALID, "give either --shape config.json or --checkpoint DIR: the model to train");
    if (shape)
        snprintf(path, sizeof path, "%s", shape);
    else if (file_join(path, checkpoint, "config.json", error))
        return (int)error->code;
    if (file_read(path, CONFIG_LIMIT_BYTES, &text, &length, error))
        return (int)error->code;
    if (config_parse(&config, text, length, error) == 0) {
        world->shape = config.shape;
        config_fini(&config);
    }
    memory_free(text);
    return error_wrap(error, "%s", path);
}

static int read_training(struct powerfit_world *world, const struct options *options, struct error *error)
{
    const char *path = options->values[OPTION_TRAINING];
    struct training *training = &world->training;
    char *text = NULL;
    size_t length;

    *training = training_defaults(&world->shape);
    if (path && file_read(path, (size_t)SPEC_JSON_BYTES_MAX, &text, &length, error) == 0)
        request_training(text, length, &world->shape, 0, training, error);
    memory_free(text);
    if (error->code)
        return error_wrap(error, "--training %s", path);
    if (optimizer_is_schedule_free(training->optimizer.name))
        return error_set(error, ERROR_INVALID, "a schedule-free optimizer has no schedule to fit; give --training with adamw");
    if (training->learners.count > 1)
        return error_set(error, ERROR_INVALID, "the runs of a sweep have one learner; give --training without learners");
    if (training->schedule.name != SCHEDULE_WSD && training->schedule.name != SCHEDULE_POWER)
        training->schedule.decay_form = DECAY_LINEAR, training->schedule.minimum = 0;
    training->schedule.name = SCHEDULE_WSD;
    training->average.kind = AVERAGE_NONE;
    return option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, training->seed, &training->seed, error);
}

static int read_lists(struct powerfit_world *world, const struct options *options, struct error *error)
{
    static const struct option_list rates = { 1e-12, 1000, false, 4, POWER_RATES_MAX, "1e-3,2e-3,4e-3,8e-3" };
    static const struct option_list batches = { 1, 1 << 20, true, 1, POWERFIT_BATCHES_MAX, "8,16,32" };
    static const struct option_list lengths = { 1, 1e15, true, 2, POWERFIT_LENGTHS_MAX, "1e6,2e6,4e6" };
    const struct training *training = &world->training;
    uint64_t seeds;

    world->rate_count = RATES_DEFAULT;
    for (int i = 0; i < RATES_DEFAULT; i++)           /* factors of two around the training object's */
        world->rates[i] = ldexp(training->learning_rate, i - RATES_DEFAULT / 2);
    world->batch_count = 2;
    for (int i = 0; i < world->batch_count; i++)
        world->batches[i] = ldexp(training->batch, i);
    if (option_numbers(options, OPTION_RATES, &rates, world->rates, &world->rate_count, error)
        || option_numbers(options, OPTION_BATCHES, &batches, world->batches, &world->batch_count, error)
        || option_count(options, OPTION_SEEDS, 1, POWER_SEEDS_MAX, 1, &seeds, error))
        return (int)error->code;
    world->seeds = (int)seeds;
    world->length_count = LENGTHS_DEFAULT;
    for (int i = 0; i < LENGTHS_DEFAULT; i++)
        world->lengths[i] = ldexp(STEPS_FIRST * world->batches[world->batch_count - 1] * training->context, i);
    return option_numbers(options, OPTION_LENGTHS, &lengths, world->lengths, &world->length_count, error);
}

/* ---- what a run is */

static uint64_t run_steps(const struct powerfit_world *world, int length, int batch)
{
    return (uint64_t)llround(world->lengths[length] / (world->batches[batch] * world->training.context));
}

static struct training run_training(const struct powerfit_world *world, const struct power_run *run)
{
    struct training training = world->training;
    double warmup = (double)training.schedule.warmup_steps * training.batch / run->batch;

    training.batch = run->batch;
    training.steps = run->tokens / ((uint64_t)run->batch * (uint64_t)run->context);
    training.learning_rate = run->rate;
    training.seed = run->seed;
    training.schedule.warmup_steps = (uint64_t)fmin(ceil(warmup), (double)(training.steps / 5));
    training.schedule.decay_steps = training_default_decay(training.steps);
    return training;
}

static int check_sweep(const struct powerfit_world *world, struct error *error)
{
    int cells = world->batch_count * world->length_count;

    if (cells > POWER_CELLS_MAX || powerfit_total(world) > POWER_RUNS_MAX)
        return error_set(error, ERROR_INVALID, "%d runs of %d batches and lengths are more than the %d of %d that a fit takes",
                         powerfit_total(world), cells, POWER_RUNS_MAX, POWER_CELLS_MAX);
    for (int batch = 0; batch < world->batch_count; batch++)
        for (int length = 0; length < world->length_count; length++) {
            uint64_t steps = run_steps(world, length, batch);
            struct power_run run = { .batch = (int)world->batches[batch], .context = world->training.context,
                                     .rate = world->rates[0], .seed = world->training.seed };
            if (steps < STEPS_LEAST || steps > STEPS_MOST)
                return error_set(error, ERROR_INVALID, "%.15g tokens are %llu steps of %.15g x %d; a run has %d to %d: change "
                                 "--lengths or --batches", world->lengths[length], (unsigned long long)steps,
                                 world->batches[batch], run.context, STEPS_LEAST, STEPS_MOST);
            run.tokens = steps * (uint64_t)run.batch * (uint64_t)run.context;
            struct training training = run_training(world, &run);
            if (training_check(&training, &world->shape, error))
                return (int)error->code;
        }
    return 0;
}

/* ---- data */

static int open_data(struct powerfit_world *world, const struct options *options, struct error *error)
{
    struct training *training = &world->training;
    int vocabulary = world->shape.vocabulary, context = training->context;
    struct data_file file;
    uint64_t tokens;

    if (option_required(options, OPTION_DATA, error)
        || data_file_read(&file, options->values[OPTION_DATA], NULL, &training->objective, error)
        || option_count(options, OPTION_VALID_TOKENS, 1, (uint64_t)1 << 53, VALID_TOKENS_DEFAULT, &tokens, error))
        return (int)error->code;
    if (options->values[OPTION_VALID])
        snprintf(file.valid, sizeof file.valid, "%s", options->values[OPTION_VALID]);
    if (objective_check(&training->objective, &world->shape, context, error))
        return error_wrap(error, "the objective; its tokens are members of a JSON file given as --data");
    world->sampler = file.data.sampler;
    if (corpus_open(&world->train, file.train, file.data.format, vocabulary, context, error))
        return error_wrap(error, "--data");
    world->has_train = true;
    if (file.valid[0] ? corpus_open(&world->valid, file.valid, file.data.format, vocabulary, context, error)
                      : corpus_split(&world->train, &world->valid, context, error))
        return error_wrap(error, "validation data");
    world->has_valid = true;
    world->windows = windows_of(&world->valid, context, tokens);
    return 0;
}

/* ---- the sweep's hash: whatever else makes losses incomparable */

static int take_sweep(struct powerfit_world *world, struct error *error)
{
    struct checkpoint checkpoint;
    struct hash_state state;
    uint8_t digest[HASH_BYTES];
    struct buffer text;

    if (checkpoint_init(&checkpoint, &world->shape, error))
        return (int)error->code;
    checkpoint_randomize(&checkpoint, 1);
    buffer_init(&text);
    buffer_format(&text, "model %s\nwarmup %llu sampler %s windows %d\n", checkpoint.hash,
                  (unsigned long long)world->training.schedule.warmup_steps * (unsigned)world->training.batch,
                  sampler_name(world->sampler), world->windows.count);
    powerfit_write_training(&text, &world->training);
    request_echo_objective(&world->training.objective, &text);
    checkpoint_fini(&checkpoint);
    if (text.failed) {
        error_set(error, ERROR_NO_MEMORY, "no memory for the sweep's hash");
    } else {
        hash_begin(&state);
        hash_update(&state, text.data, text.length);
        if (data_hash(&state, &world->train, error) == 0 && data_hash(&state, &world->valid, error) == 0) {
            hash_end(&state, digest);
            hash_hex(digest, world->runs.sweep);
        }
    }
    buffer_fini(&text);
    return (int)error->code;
}

/* ---- opening */

static int read_runs(struct powerfit_world *world, const char *path, struct error *error)
{
    char *text = NULL;
    size_t length;

    if (file_read(path, POWERFIT_BYTES_MAX, &text, &length, error) == 0
        && powerfit_read(text, length, &world->runs, error) == 0) {
        buffer_append(&world->lines, text, length);
        if (length > 0 && text[length - 1] != '\n')
            buffer_text(&world->lines, "\n");
    }
    memory_free(text);
    return error_wrap(error, "%s", path);
}

static int open_kept(struct powerfit_world *world, const char *directory, struct error *error)
{
    char sweep[HASH_HEX_BYTES];

    if (!directory)
        return 0;
    memcpy(sweep, world->runs.sweep, sizeof sweep);
    if (file_exists(directory) && !file_is_directory(directory))
        return error_set(error, ERROR_INVALID, "--out %s: name a directory; finished runs, table, JSON and plot go into it",
                         directory);
    if (file_make_directory(directory, error) || file_join(world->path, directory, "runs.jsonl", error))
        return error_wrap(error, "--out %s", directory);
    if (!file_exists(world->path))
        return 0;
    world->runs.sweep[0] = '\0';
    if (read_runs(world, world->path, error))
        return (int)error->code;
    if (world->runs.count > 0 && strcmp(world->runs.sweep, sweep) != 0)
        return error_set(error, ERROR_INVALID, "--out %s has runs of another sweep: model, data or training differ, so that their "
                         "losses can't be compared; give another directory", directory);
    memcpy(world->runs.sweep, sweep, sizeof sweep);
    return 0;
}

/* What --runs makes senseless. */
static int refuse_training_flags(const struct options *options, struct error *error)
{
    static const enum option trained[] = { OPTION_SHAPE, OPTION_CHECKPOINT, OPTION_DATA, OPTION_TRAINING, OPTION_VALID,
                                           OPTION_RATES, OPTION_BATCHES, OPTION_LENGTHS, OPTION_SEEDS, OPTION_VALID_TOKENS };

    for (size_t i = 0; i < sizeof trained / sizeof *trained; i++)
        if (options->given[trained[i]])
            return error_set(error, ERROR_INVALID, "--%s says what to train, and --runs FILE trains nothing; give one of them. A "
                             "sweep keeps its runs in --out and goes on with them", option_flag(trained[i]));
    return 0;
}

static bool is_done(const struct powerfit_world *world, const struct power_run *run)
{
    for (int i = 0; i < world->runs.count; i++)
        if (power_run_order(&world->runs.runs[i], run) == 0)
            return true;
    return false;
}

static int plan_left(struct powerfit_world *world, struct error *error)
{
    int total = powerfit_total(world);

    world->left = memory_array((size_t)total, sizeof *world->left);
    if (!world->left)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the runs of a sweep");
    for (int at = 0; at < total; at++) {
        int rate = at % world->rate_count, batch = at / world->rate_count % world->batch_count;
        int length = at / world->rate_count / world->batch_count % world->length_count;
        int seed = at / world->rate_count / world->batch_count / world->length_count;
        struct power_run run = { .batch = (int)world->batches[batch], .context = world->training.context,
                                 .rate = world->rates[rate], .seed = world->training.seed + (uint64_t)seed };
        run.tokens = run_steps(world, length, batch) * (uint64_t)run.batch * (uint64_t)run.context;
        if (!is_done(world, &run))
            world->left[world->left_count++] = run;
    }
    if (world->runs.count + world->left_count > POWER_RUNS_MAX)
        return error_set(error, ERROR_INVALID, "%d kept runs and %d more are too many for a fit, which takes %d", world->runs.count,
                         world->left_count, POWER_RUNS_MAX);
    return 0;
}

int powerfit_open(struct powerfit_world *world, const struct options *options, struct error *error)
{
    memset(world, 0, sizeof *world);
    buffer_init(&world->lines);
    world->runs.runs = memory_array(POWER_RUNS_MAX, sizeof *world->runs.runs);
    if (!world->runs.runs)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the runs of a sweep");
    if (options->values[OPTION_RUNS]) {
        if (refuse_training_flags(options, error)
            || option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, 1, &world->training.seed, error))
            return (int)error->code;
        return read_runs(world, options->values[OPTION_RUNS], error);
    }
    if (read_shape(world, options, error) || read_training(world, options, error) || read_lists(world, options, error)
        || check_sweep(world, error) || open_data(world, options, error) || take_sweep(world, error)
        || open_kept(world, options->values[OPTION_OUT], error))
        return (int)error->code;
    return plan_left(world, error);
}

void powerfit_close(struct powerfit_world *world)
{
    memory_free(world->left);
    memory_free(world->runs.runs);
    buffer_fini(&world->lines);
    if (world->has_train)
        corpus_close(&world->train);
    if (world->has_valid)
        corpus_close(&world->valid);
    memset(world, 0, sizeof *world);
}

/* ---- runs */

int powerfit_total(const struct powerfit_world *world)
{
    return world->seeds * world->batch_count * world->length_count * world->rate_count;
}

uint64_t powerfit_run_bytes(const struct powerfit_world *world)
{
    struct training training = world->training;

    training.batch = (int)world->batches[world->batch_count - 1];
    return (uint64_t)trial_bytes(&world->shape, &training) + scratch_bytes(kernels_cpu(), &world->shape, &training)
           + shape_parameters(&world->shape) * sizeof(float);
}

static int judge(const struct powerfit_world *world, const struct trial *trial, struct scratch *scratch, struct power_run *run,
                 const atomic_bool *stop, struct error *error)
{
    float *losses = memory_array((size_t)world->windows.count, sizeof *losses);
    struct evaluation evaluation = { .windows = world->windows, .losses = losses };
    bool finished = false;

    run->loss = (double)NAN;
    if (!losses)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the losses of a run");
    if (!trial->diverged
        && trial_evaluate(trial, scratch, &world->valid, &evaluation, UINT64_MAX, stop, &finished, error) == 0) {
        run->loss = loss_summarize(losses, world->windows.count).mean;
        if (!isfinite(run->loss) || run->loss > log(world->shape.vocabulary) + 1)      /* as in a study (methods C.1) */
            run->loss = (double)NAN;
    }
    memory_free(losses);
    return (int)error->code;
}

static int begin(const struct powerfit_world *world, const struct power_run *run, struct trial *trial, struct error *error)
{
    const struct trial_options options = { .kernels = kernels_cpu(), .training = run_training(world, run), .hidden_rate_scale = 1,
                                           .base = world->shape, .sampler = world->sampler };
    struct checkpoint checkpoint;

    if (checkpoint_init(&checkpoint, &world->shape, error))
        return (int)error->code;
    checkpoint_randomize(&checkpoint, run->seed);
    int code = trial_init(trial, &checkpoint, &options, error);
    checkpoint_fini(&checkpoint);
    return code;
}

int powerfit_train(const struct powerfit_world *world, struct power_run *run, const atomic_bool *stop, struct error *error)
{
    struct scratch *scratch = NULL;
    struct trial trial;

    if (begin(world, run, &trial, error))
        return (int)error->code;
    if (scratch_new(&scratch, kernels_cpu(), &trial.table, &trial.options.training, error) == 0) {
        while (!error->code && trial.step < trial.options.training.steps && !trial.diverged)
            trial_step(&trial, scratch, &world->train, stop, error);
        if (!error->code)
            judge(world, &trial, scratch, run, stop, error);
        scratch_free(scratch);
    }
    trial_fini(&trial);
    return (int)error->code;
}

int powerfit_keep(struct powerfit_world *world, const struct power_run *run, struct error *error)
{
    world->runs.runs[world->runs.count++] = *run;
    if (!world->path[0])
        return 0;
    powerfit_write_run(&world->lines, run, world->runs.sweep);
    buffer_text(&world->lines, "\n");
    if (world->lines.failed)
        return error_set(error, ERROR_NO_MEMORY, "no memory for the lines of finished runs");
    file_write(world->path, world->lines.data, world->lines.length, error);
    return (int)error->code;
}
