#include "server/transfer_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/request.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/data_file.h"
#include "server/transfer_rows.h"
#include "study/spec.h"
#include "trainer/landscape.h"

enum { STEPS_DEFAULT = 200, SEEDS_DEFAULT = 2, VALID_TOKENS_DEFAULT = 20000, RATES_DEFAULT = 7, RATES_LEAST = 4 };

/* ---- flags */

/* Text of a flag, or of the file that it names. Caller: memory_free. */
static char *text_or_file(const char *value, size_t *length, struct error *error)
{
    char *text = NULL;

    if (value[0] == '[' || value[0] == '{') {
        text = memory_string(value);
        *length = strlen(value);
        if (!text)
            error_set(error, ERROR_NO_MEMORY, "reading the flags: out of memory");
    } else if (file_read(value, (size_t)SPEC_JSON_BYTES_MAX, &text, length, error)) {
        text = NULL;
    }
    return text;
}

static int read_list(struct transfer_world *world, const struct options *options, struct error *error)
{
    size_t length = 0;
    char *text;

    if (option_required(options, OPTION_OPERATORS, error))
        return (int)error->code;
    text = text_or_file(options->values[OPTION_OPERATORS], &length, error);
    if (text && request_operators(text, length, &world->list, error) == 0)
        world->has_list = true;
    memory_free(text);
    for (int i = 0; world->has_list && i < world->list.count; i++)
        if (growth_step_reference(&world->list.steps[i]))
            return error_set(error, ERROR_INVALID, "--operators, operator %d (%s) joins another checkpoint, which has no one small "
                             "size to compare with; use operators that grow one model", i, world->list.steps[i].op->name);
    return error_wrap(error, "--operators");
}

static int read_training(struct transfer_world *world, const struct options *options, struct error *error)
{
    const struct shape *shape = &world->sides[TRANSFER_SMALL].checkpoint.table.shape;
    const char *path = options->values[OPTION_TRAINING], *name = options->values[OPTION_PARAMETRIZATION];
    struct training *training = &world->training;
    char *text = NULL;
    size_t length;
    enum parametrization parametrization;

    *training = training_defaults(shape);
    if (path && file_read(path, (size_t)SPEC_JSON_BYTES_MAX, &text, &length, error) == 0)
        request_training(text, length, shape, 0, training, error);
    memory_free(text);
    if (error->code)
        return error_wrap(error, "--training %s", path);
    if (training->learners.automatic)
        return error_set(error, ERROR_INVALID, "--training %s: \"average_every\": \"auto\" would be measured anew at every "
                         "call; give a number of steps", path);
    if (name && parametrization_parse(name, &parametrization))
        return error_set(error, ERROR_INVALID, "--parametrization must be standard, mup, completep or ntp, not \"%.40s\"", name);
    if (name)
        training->parametrization = parametrization;
    if (option_count(options, OPTION_STEPS, 10, 1000000, STEPS_DEFAULT, &world->steps, error)
        || option_count(options, OPTION_SEED, 0, (uint64_t)1 << 53, training->seed, &training->seed, error))
        return (int)error->code;
    training->steps = world->steps;
    if (training->schedule.warmup_steps > world->steps / 5)
        training->schedule.warmup_steps = world->steps / 5;
    if (training->schedule.decay_steps > world->steps / 5)
        training->schedule.decay_steps = world->steps / 5;
    training->average.kind = AVERAGE_NONE;
    return 0;
}

static int read_sweep(struct transfer_world *world, const struct options *options, struct error *error)
{
    struct transfer_sweep *sweep = &world->sweep;
    static const struct option_list rates = { 1e-12, 1000, false, RATES_LEAST, TRANSFER_RATES_MAX, "1e-4,3e-4,1e-3,3e-3" };
    const char *tolerance = options->values[OPTION_TOLERANCE];
    uint64_t seeds;
    char *end;

    sweep->rates = RATES_DEFAULT;
    for (int i = 0; i < RATES_DEFAULT; i++)           /* factors of two around the training object's */
        sweep->rate[i] = ldexp(world->training.learning_rate, i - RATES_DEFAULT / 2);
    if (option_numbers(options, OPTION_RATES, &rates, sweep->rate, &sweep->rates, error)
        || option_count(options, OPTION_SEEDS, 1, TRANSFER_SEEDS_MAX, SEEDS_DEFAULT, &seeds, error))
        return (int)error->code;
    sweep->seeds = (int)seeds;
    sweep->seed = world->training.seed;
    sweep->tolerance = tolerance ? strtod(tolerance, &end) : 0.01;
    if (tolerance && (end == tolerance || *end || !(sweep->tolerance > 0 && sweep->tolerance < 100)))
        return error_set(error, ERROR_INVALID, "--tolerance must be a number of nats above 0, not \"%.40s\"", tolerance);
    return 0;
}

/* ---- opening */

static int open_small(struct transfer_world *world, const struct options *options, struct error *error)
{
    struct transfer_side *small = &world->sides[TRANSFER_SMALL];

    if (option_required(options, OPTION_CHECKPOINT, error)
        || checkpoint_load(&small->checkpoint, options->values[OPTION_CHECKPOINT], NULL, error))
        return (int)error->code;
    small->has_checkpoint = true;
    small->rate_scale = 1;
    return 0;
}

static int open_data(struct transfer_world *world, const struct options *options, struct error *error)
{
    const struct shape *shape = &world->sides[TRANSFER_SMALL].checkpoint.table.shape;
    struct training *training = &world->training;
    int vocabulary = shape->vocabulary, context = training->context;
    struct data_file file;
    uint64_t tokens;

    if (option_required(options, OPTION_DATA, error)
        || data_file_read(&file, options->values[OPTION_DATA], NULL, &training->objective, error)
        || option_count(options, OPTION_VALID_TOKENS, 1, (uint64_t)1 << 53, VALID_TOKENS_DEFAULT, &tokens, error))
        return (int)error->code;
    if (options->values[OPTION_VALID])
        snprintf(file.valid, sizeof file.valid, "%s", options->values[OPTION_VALID]);
    if (objective_check(&training->objective, shape, context, error))
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
    world->sweep.windows = world->windows.count;
    return 0;
}

static int open_grown(struct transfer_world *world, struct error *error)
{
    struct transfer_side *small = &world->sides[TRANSFER_SMALL], *grown = &world->sides[TRANSFER_GROWN];
    struct ligo_fit fit = { .kernels = kernels_cpu(), .training = world->training, .sampler = world->sampler,
                            .train = &world->train };
    struct growth_learner learner = ligo_fit_learner(&fit);
    const struct growth_options with = { .moments = MOMENTS_RESET, .seed = world->training.seed, .learner = &learner,
                                         .parametrization = world->training.parametrization };

    if (growth_plan_init(&world->plan, &small->checkpoint.table.shape, &world->list, error))
        return error_wrap(error, "--operators");
    world->has_plan = true;
    if (growth_ramps_init(&world->ramps, &world->plan, error))
        return (int)error->code;
    world->has_ramps = true;
    if (world->plan.ramp_steps > world->steps)
        return error_set(error, ERROR_INVALID, "--operators: masks rise over %llu steps and the runs have %llu; raise --steps, or "
                         "lower ramp_steps", (unsigned long long)world->plan.ramp_steps, (unsigned long long)world->steps);
    if (growth_apply_with(&world->plan, &world->list, &small->checkpoint, &with, &grown->checkpoint, error))
        return error_wrap(error, "--operators");
    grown->has_checkpoint = true;
    grown->rate_scale = training_hidden_rate_scale(&world->training, world->plan.width_factor);
    grown->ramps = &world->ramps;
    return 0;
}

static int allocate_losses(struct transfer_world *world, struct error *error)
{
    struct transfer_sweep *sweep = &world->sweep;

    for (int size = 0; size < TRANSFER_SIZES; size++)
        for (int rate = 0; rate < sweep->rates; rate++)
            for (int seed = 0; seed < sweep->seeds; seed++) {
                struct transfer_run *run = &sweep->runs[size][rate][seed];
                run->losses = memory_array((size_t)sweep->windows, sizeof *run->losses);
                if (!run->losses)
                    return error_set(error, ERROR_NO_MEMORY, "no memory for the losses of the sweep");
            }
    return 0;
}

int transfer_open(struct transfer_world *world, const struct options *options, struct error *error)
{
    memset(world, 0, sizeof *world);
    if (read_list(world, options, error) || open_small(world, options, error) || read_training(world, options, error)
        || read_sweep(world, options, error) || open_data(world, options, error)
        || training_check(&world->training, &world->sides[TRANSFER_SMALL].checkpoint.table.shape, error)
        || open_grown(world, error))
        return (int)error->code;
    return allocate_losses(world, error);
}

void transfer_close(struct transfer_world *world)
{
    for (int size = 0; size < TRANSFER_SIZES; size++) {
        if (world->sides[size].has_checkpoint)
            checkpoint_fini(&world->sides[size].checkpoint);
        for (int rate = 0; rate < TRANSFER_RATES_MAX; rate++)
            for (int seed = 0; seed < TRANSFER_SEEDS_MAX; seed++)
                memory_free(world->sweep.runs[size][rate][seed].losses);
    }
    if (world->has_ramps)
        growth_ramps_fini(&world->ramps);
    if (world->has_plan)
        growth_plan_fini(&world->plan);
    if (world->has_list)
        growth_list_fini(&world->list);
    if (world->has_train)
        corpus_close(&world->train);
    if (world->has_valid)
        corpus_close(&world->valid);
    memset(world, 0, sizeof *world);
}

/* ---- a run */

static int take_landscape(struct transfer_world *world, const struct trial *trial, struct transfer_run *run,
                          const atomic_bool *stop, struct error *error)
{
    const struct landscape_spec spec = landscape_defaults(true);
    struct landscape *landscape;
    bool finished = false;

    if (landscape_new(&landscape, trial, &spec, error))
        return (int)error->code;
    if (landscape_advance(landscape, &world->train, UINT64_MAX, stop, &finished, error) == 0) {
        const struct landscape_values values = landscape_answer(landscape);
        run->sharpness = values.hessian[0];
        run->preconditioned = values.preconditioned;
        run->stability_ratio = values.stability_ratio;
    }
    landscape_free(landscape);
    return (int)error->code;
}

/* A loss this far above that of guessing is divergence, as in a study (methods C.1). */
static bool is_lost(const struct trial *trial, double loss)
{
    return !isfinite(loss) || loss > log(trial->table.shape.vocabulary) + 1;
}

static int judge(struct transfer_world *world, struct trial *trial, struct scratch *scratch, struct transfer_run *run,
                 const atomic_bool *stop, struct error *error)
{
    struct evaluation evaluation = { .windows = world->windows, .losses = run->losses };
    bool finished = false;

    if (!trial->diverged && trial_evaluate(trial, scratch, &world->valid, &evaluation, UINT64_MAX, stop, &finished, error))
        return (int)error->code;
    run->loss = trial->diverged ? (double)NAN : loss_summarize(run->losses, world->windows.count).mean;
    run->diverged = is_lost(trial, run->loss);
    if (run->diverged)
        run->loss = (double)NAN;
    return run->diverged ? 0 : take_landscape(world, trial, run, stop, error);
}

uint64_t transfer_run_bytes(const struct transfer_world *world)
{
    const struct landscape_spec spec = landscape_defaults(true);
    const struct kernels *kernels = kernels_cpu();
    uint64_t most = 0;

    for (int size = 0; size < TRANSFER_SIZES; size++) {
        const struct shape *shape = &world->sides[size].checkpoint.table.shape;
        uint64_t bytes = (uint64_t)trial_bytes(shape, &world->training) + scratch_bytes(kernels, shape, &world->training)
                         + landscape_bytes(kernels, shape, &world->training, &spec);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static int train(struct transfer_world *world, struct trial *trial, struct transfer_run *run, const atomic_bool *stop,
                 struct error *error)
{
    struct scratch *scratch;

    if (scratch_new(&scratch, trial->options.kernels, &trial->table, &trial->options.training, error))
        return (int)error->code;
    while (!error->code && trial->step < world->steps && !trial->diverged)
        trial_step(trial, scratch, &world->train, stop, error);
    if (!error->code)
        judge(world, trial, scratch, run, stop, error);
    scratch_free(scratch);
    return (int)error->code;
}

int transfer_train(struct transfer_world *world, const struct transfer_place *place, const atomic_bool *stop, bool *found,
                   struct error *error)
{
    struct transfer_side *side = &world->sides[place->size];
    struct transfer_run *run = &world->sweep.runs[place->size][place->rate][place->seed];
    struct trial_options options = {
        .kernels = kernels_cpu(), .training = world->training, .hidden_rate_scale = side->rate_scale,
        .base = world->sides[TRANSFER_SMALL].checkpoint.table.shape, .sampler = world->sampler, .ramps = side->ramps,
    };
    struct trial trial;

    *found = false;
    options.training.learning_rate = world->sweep.rate[place->rate];
    options.training.seed = world->training.seed + (uint64_t)place->seed;
    if (trial_init(&trial, &side->checkpoint, &options, error))
        return (int)error->code;
    if (!world->rows.kept || (transfer_rows_take(world, place, &trial, found, error) == 0 && !*found)) {
        run->sharpness = run->preconditioned = run->stability_ratio = (double)NAN;
        if (train(world, &trial, run, stop, error) == 0 && world->rows.kept)
            transfer_rows_keep(world, place, &trial, error);
    }
    run->done = !error->code;
    trial_fini(&trial);
    return (int)error->code;
}
