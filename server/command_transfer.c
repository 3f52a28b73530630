/* lag transfer: is the learning rate that is best at the small size still right at the grown one? */
#include "server/transfer_run.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/transfer.h"
#include "base/file.h"
#include "server/command.h"

static atomic_bool interrupted;

static void on_interrupt(int number)
{
    (void)number;
    if (atomic_exchange(&interrupted, true))
        _exit(130);
}

static void tell(const struct transfer_world *world, enum transfer_size size, int rate, int seed)
{
    const struct transfer_run *run = &world->sweep.runs[size][rate][seed];

    if (run->diverged)
        fprintf(stderr, "%s size, rate %.3g, seed %d: diverged\n", size == TRANSFER_SMALL ? "small" : "grown",
                world->sweep.rate[rate], seed + 1);
    else
        fprintf(stderr, "%s size, rate %.3g, seed %d: loss %.4f, sharpness %.4g\n", size == TRANSFER_SMALL ? "small" : "grown",
                world->sweep.rate[rate], seed + 1, run->loss, run->sharpness);
}

static int sweep(struct transfer_world *world, struct error *error)
{
    for (int seed = 0; seed < world->sweep.seeds; seed++)
        for (int rate = 0; rate < world->sweep.rates; rate++)
            for (int size = 0; size < TRANSFER_SIZES; size++) {
                if (transfer_train(world, (enum transfer_size)size, rate, seed, &interrupted, error))
                    return (int)error->code;
                tell(world, (enum transfer_size)size, rate, seed);
            }
    return 0;
}

static void describe(const struct shape *shape, char *text, size_t size)
{
    if (shape->decoder_layers > 0)
        snprintf(text, size, "%d + %d layers, width %d, ff %d", shape->layers, shape->decoder_layers, shape->width, shape->ff);
    else
        snprintf(text, size, "%d layers, width %d, ff %d", shape->layers, shape->width, shape->ff);
}

static int show(const struct transfer_world *world, const struct transfer_verdict *verdict, const struct options *options,
                struct error *error)
{
    char small[96], grown[96];
    const struct transfer_view view = { &world->sweep, verdict, small, grown,
                                        parametrization_name(world->training.parametrization), world->steps };
    const char *path = options->values[OPTION_OUT];
    struct buffer out;

    describe(&world->sides[TRANSFER_SMALL].checkpoint.table.shape, small, sizeof small);
    describe(&world->sides[TRANSFER_GROWN].checkpoint.table.shape, grown, sizeof grown);
    buffer_init(&out);
    (options->values[OPTION_JSON] ? response_transfer_json : response_transfer_text)(&out, &view);
    command_print(&out, error);
    buffer_fini(&out);
    if (!path || error->code)
        return 0;
    buffer_init(&out);
    response_transfer_plot(&out, &view);
    if (out.failed)
        error_set(error, ERROR_NO_MEMORY, "drawing the sweep: out of memory");
    else if (file_write(path, out.data, out.length, error))
        error_wrap(error, "--out %s", path);
    buffer_fini(&out);
    return 0;
}

int command_transfer(const struct options *options, struct error *error)
{
    static struct transfer_world world;
    struct sigaction action = { .sa_handler = on_interrupt };
    struct transfer_verdict verdict;
    int code = 0;

    if (transfer_open(&world, options, error) == 0) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        if (sweep(&world, error) == 0 && transfer_judge(&world.sweep, &verdict, error) == 0)
            show(&world, &verdict, options, error);
    }
    if (error->code == ERROR_CANCELLED) {
        error_clear(error);
        fprintf(stderr, "interrupted; nothing of a sweep is kept\n");
        code = 130;
    }
    transfer_close(&world);
    return code;
}
