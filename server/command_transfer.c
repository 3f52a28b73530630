/* lag transfer: is the learning rate that is best at the small size still right at the grown one? */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/transfer.h"
#include "base/file.h"
#include "server/command.h"
#include "server/transfer_rows.h"
#include "server/workforce.h"

static atomic_bool interrupted;

static void on_interrupt(int number)
{
    (void)number;
    if (atomic_exchange(&interrupted, true))
        _exit(130);
}

/* ---- the sweep: job number = (seed, rate, size), size fastest */

struct sweep_work {
    struct transfer_world *world;
    struct clock clock;
    int64_t begun_ns;
    int jobs, ended, trained;
    bool found[TRANSFER_SIZES * TRANSFER_RATES_MAX * TRANSFER_SEEDS_MAX];    /* by job: it has a row of an earlier call */
};

static struct transfer_place place_of(const struct transfer_world *world, int job)
{
    return (struct transfer_place){ .size = (enum transfer_size)(job % TRANSFER_SIZES),
                                    .rate = job / TRANSFER_SIZES % world->sweep.rates,
                                    .seed = job / TRANSFER_SIZES / world->sweep.rates };
}

static int run_one(void *owner, int job, struct error *error)
{
    struct sweep_work *work = owner;
    const struct transfer_place place = place_of(work->world, job);

    return transfer_train(work->world, &place, &interrupted, &work->found[job], error);
}

/* ", about 3 min left" from what the runs took that were trained. */
static void tell_time(struct sweep_work *work)
{
    double spent = (double)(work->clock.monotonic_ns(&work->clock) - work->begun_ns) * 1e-9;
    double left = work->trained > 0 ? spent / work->trained * (work->jobs - work->ended) : 0;

    if (left >= 90)
        fprintf(stderr, ", about %.0f min left", left / 60);
    else if (left >= 1)
        fprintf(stderr, ", about %.0f s left", left);
}

static void tell(void *owner, int job)
{
    struct sweep_work *work = owner;
    const struct transfer_place place = place_of(work->world, job);
    const struct transfer_run *run = &work->world->sweep.runs[place.size][place.rate][place.seed];

    work->ended++;
    work->trained += !work->found[job];
    fprintf(stderr, "%3d/%d %s, rate %.3g, seed %d: ", work->ended, work->jobs, transfer_size_name(place.size),
            work->world->sweep.rate[place.rate], place.seed + 1);
    if (run->diverged)
        fprintf(stderr, "diverged");
    else
        fprintf(stderr, "loss %.4f", run->loss);
    if (work->found[job])
        fprintf(stderr, ", kept from before");
    else
        tell_time(work);
    fprintf(stderr, "\n");
}

static int sweep(struct sweep_work *work, int workers, struct error *error)
{
    const struct transfer_world *world = work->world;
    const struct workforce workforce = { .jobs = work->jobs, .workers = workers, .stop = &interrupted, .run = run_one,
                                         .done = tell, .owner = work };
    struct sigaction action = { .sa_handler = on_interrupt };

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    fprintf(stderr, "%d runs of %llu steps by %d worker%s\n", work->jobs, (unsigned long long)world->steps, workers,
            workers == 1 ? "" : "s");
    work->begun_ns = work->clock.monotonic_ns(&work->clock);
    return workforce_run(&workforce, error);
}

/* ---- the answer */

static void describe(const struct shape *shape, char *text, size_t size)
{
    if (shape->decoder_layers > 0)
        snprintf(text, size, "%d + %d layers, width %d, ff %d", shape->layers, shape->decoder_layers, shape->width, shape->ff);
    else
        snprintf(text, size, "%d layers, width %d, ff %d", shape->layers, shape->width, shape->ff);
}

static const struct document {
    const char *name;
    void (*write)(struct buffer *out, const struct transfer_view *view);
} documents[] = {
    { "table.txt", response_transfer_text },
    { "result.json", response_transfer_json },
    { "plot.svg", response_transfer_plot },
};

static int write_document(const struct document *document, const struct transfer_view *view, const char *directory,
                          struct error *error)
{
    char path[FILE_PATH_BYTES];
    struct buffer out;

    if (file_join(path, directory, document->name, error))
        return (int)error->code;
    buffer_init(&out);
    document->write(&out, view);
    if (out.failed)
        error_set(error, ERROR_NO_MEMORY, "writing %s: out of memory", document->name);
    else
        file_write(path, out.data, out.length, error);
    buffer_fini(&out);
    return (int)error->code;
}

static int show(const struct transfer_world *world, const struct transfer_verdict *verdict, const struct options *options,
                struct error *error)
{
    char small[96], grown[96];
    const struct transfer_view view = { &world->sweep, verdict, small, grown,
                                        parametrization_name(world->training.parametrization), world->steps };
    const char *directory = options->values[OPTION_OUT];
    struct buffer out;

    describe(&world->sides[TRANSFER_SMALL].checkpoint.table.shape, small, sizeof small);
    describe(&world->sides[TRANSFER_GROWN].checkpoint.table.shape, grown, sizeof grown);
    buffer_init(&out);
    (options->values[OPTION_JSON] ? response_transfer_json : response_transfer_text)(&out, &view);
    command_print(&out, error);
    buffer_fini(&out);
    for (size_t i = 0; directory && i < sizeof documents / sizeof documents[0] && !error->code; i++)
        write_document(&documents[i], &view, directory, error);
    return (int)error->code;
}

int command_transfer(const struct options *options, struct error *error)
{
    static struct transfer_world world;
    static struct sweep_work work;
    const char *directory = options->values[OPTION_OUT];
    struct transfer_verdict verdict;
    int workers, code = 0;

    if (transfer_open(&world, options, error) == 0 && (!directory || transfer_rows_open(&world, directory, error) == 0)
        && workforce_size(options, transfer_run_bytes(&world), &workers, error) == 0) {
        work = (struct sweep_work){ .world = &world, .clock = clock_system(),
                                    .jobs = TRANSFER_SIZES * world.sweep.rates * world.sweep.seeds };
        if (sweep(&work, workers, error) == 0 && transfer_judge(&world.sweep, &verdict, error) == 0)
            show(&world, &verdict, options, error);
    }
    if (error->code == ERROR_CANCELLED) {
        error_clear(error);
        if (directory)
            fprintf(stderr, "interrupted; %d of %d runs are kept in %s, and the same command goes on from there\n", work.ended,
                    work.jobs, directory);
        else
            fprintf(stderr, "interrupted after %d of %d runs; with --out DIR they would be kept\n", work.ended, work.jobs);
        code = 130;
    } else if (error->code && directory && work.ended > 0) {
        fprintf(stderr, "%d of %d runs are kept in %s; the same command goes on from there\n", work.ended, work.jobs, directory);
    }
    transfer_close(&world);
    return code;
}
