/* lag powerfit: which constants of the power schedule do small runs ask for? Trains what of the sweep is not kept yet, fits. */
#include "server/powerfit_run.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/command.h"
#include "server/workforce.h"

static atomic_bool interrupted;

static void on_interrupt(int number)
{
    (void)number;
    if (atomic_exchange(&interrupted, true))
        _exit(130);
}

/* ---- the sweep */

struct sweep_work {
    struct powerfit_world *world;
    struct clock clock;
    int64_t begun_ns;
    int ended;
    struct error error;              /* of keeping a run */
};

static int run_one(void *owner, int job, struct error *error)
{
    struct sweep_work *work = owner;

    return powerfit_train(work->world, &work->world->left[job], &interrupted, error);
}

/* ", about 3 min left": by steps' tokens, as the last runs are the longest. */
static void tell_time(struct sweep_work *work)
{
    double done = 0, all = 0;

    for (int i = 0; i < work->world->left_count; i++) {
        all += (double)work->world->left[i].tokens;
        done += i < work->ended ? (double)work->world->left[i].tokens : 0;
    }
    double left = (double)(work->clock.monotonic_ns(&work->clock) - work->begun_ns) * 1e-9 * (all - done) / done;
    if (left >= 90)
        fprintf(stderr, ", about %.0f min left", left / 60);
    else if (left >= 1)
        fprintf(stderr, ", about %.0f s left", left);
}

static void keep_one(void *owner, int job)
{
    struct sweep_work *work = owner;
    struct powerfit_world *world = work->world;
    const struct power_run *run = &world->left[job];

    work->ended++;
    if (!work->error.code && powerfit_keep(world, run, &work->error))
        atomic_store(&interrupted, true);
    fprintf(stderr, "%3d/%d batch %d, %llu tokens, rate %.3g, seed %llu: ", work->ended, world->left_count, run->batch,
            (unsigned long long)run->tokens, run->rate, (unsigned long long)run->seed);
    if (isfinite(run->loss))
        fprintf(stderr, "loss %.4f", run->loss);
    else
        fprintf(stderr, "diverged");
    tell_time(work);
    fprintf(stderr, "\n");
}

static void warn(const struct powerfit_world *world)
{
    const struct training *training = &world->training;

    if (training->optimizer.name != OPTIMIZER_ADAMW)
        fprintf(stderr, "warning: the power law was found for adamw; with sgd it may not hold\n");
    if (training->parametrization == PARAMETRIZATION_STANDARD)
        fprintf(stderr, "warning: under the standard parametrization the constants are for models of this width; under mup "
                "(--training) they are for others too\n");
}

static int sweep(struct powerfit_world *world, int workers, struct error *error)
{
    struct sweep_work work = { .world = world, .clock = clock_system() };
    const struct workforce workforce = { .jobs = world->left_count, .workers = workers, .stop = &interrupted, .run = run_one,
                                         .done = keep_one, .owner = &work };
    struct sigaction action = { .sa_handler = on_interrupt };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    warn(world);
    fprintf(stderr, "%d runs by %d worker%s, %d are kept from before\n", world->left_count, workers, workers == 1 ? "" : "s",
            world->runs.count);
    work.begun_ns = work.clock.monotonic_ns(&work.clock);
    workforce_run(&workforce, error);
    if (work.error.code)
        *error = work.error;
    return (int)error->code;
}

/* ---- the answer */

static void write_text(struct buffer *out, const struct power_fit *fit, const struct powerfit_runs *runs)
{
    (void)runs;
    response_powerfit_text(out, fit);
}

static void write_plot(struct buffer *out, const struct power_fit *fit, const struct powerfit_runs *runs)
{
    (void)runs;
    response_powerfit_plot(out, fit);
}

static const struct document {
    const char *name;
    void (*write)(struct buffer *out, const struct power_fit *fit, const struct powerfit_runs *runs);
} documents[] = {
    { "table.txt", write_text },
    { "result.json", response_powerfit_json },
    { "plot.svg", write_plot },
};

static int write_document(const struct document *document, const struct power_fit *fit, const struct powerfit_runs *runs,
                          const char *directory, struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct buffer out;

    if (file_make_directory(directory, error) || file_join(path, directory, document->name, error))
        return (int)error->code;
    buffer_init(&out);
    document->write(&out, fit, runs);
    if (out.failed)
        error_set(error, ERROR_NO_MEMORY, "writing %s: out of memory", document->name);
    else
        file_write(path, out.data, out.length, error);
    buffer_fini(&out);
    return (int)error->code;
}

static int show(const struct powerfit_world *world, const struct power_fit *fit, const struct options *options,
                struct error *error)
{
    const char *directory = options->values[OPTION_OUT];
    struct buffer out;

    buffer_init(&out);
    (options->values[OPTION_JSON] ? response_powerfit_json : write_text)(&out, fit, &world->runs);
    command_print(&out, error);
    buffer_fini(&out);
    for (size_t i = 0; directory && i < sizeof documents / sizeof documents[0] && !error->code; i++)
        write_document(&documents[i], fit, &world->runs, directory, error);
    return (int)error->code;
}

static int fit_and_show(struct powerfit_world *world, const struct options *options, struct error *error)
{
    struct power_fit *fit = memory_new(sizeof *fit);

    if (!fit)
        return error_set(error, ERROR_NO_MEMORY, "no memory for fitting the power law");
    /* in whatever order they ended, the answer is the same */
    qsort(world->runs.runs, (size_t)world->runs.count, sizeof *world->runs.runs, power_run_order);
    if (power_fit_runs(world->runs.runs, world->runs.count, world->training.seed, fit, error) == 0)
        show(world, fit, options, error);
    memory_free(fit);
    return (int)error->code;
}

int command_powerfit(const struct options *options, struct error *error)
{
    static struct powerfit_world world;
    int workers = 0, code = 0;

    if (powerfit_open(&world, options, error) == 0
        && (world.left_count == 0
            || (workforce_size(options, powerfit_run_bytes(&world), &workers, error) == 0 && sweep(&world, workers, error) == 0)))
        fit_and_show(&world, options, error);
    if (error->code == ERROR_CANCELLED) {
        error_clear(error);
        if (world.path[0])
            fprintf(stderr, "interrupted; %d runs are kept in %s, and the same command goes on from there\n", world.runs.count,
                    world.path);
        else
            fprintf(stderr, "interrupted; with --out DIR finished runs would be kept\n");
        code = 130;
    }
    powerfit_close(&world);
    return code;
}
