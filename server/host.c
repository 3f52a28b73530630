#include "server/host.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "server/command.h"
#include "server/resources.h"

static void on_signal(uv_signal_t *handle, int number)
{
    struct host *host = handle->data;

    (void)number;
    if (host->signals++ > 0)
        _exit(130);              /* a second Ctrl-C: what is saved is saved */
    host->stop(host);
}

static int read_limits(struct host *host, const struct options *options, struct error *error)
{
    uint64_t workers;

    if (option_count(options, OPTION_WORKERS, 1, 256, (uint64_t)resources_cores(), &workers, error)
        || option_bytes(options, OPTION_MEMORY, resources_memory() / 4 * 3, &host->memory_bytes, error))
        return (int)error->code;
    host->workers = (int)workers;
    return 0;
}

static int read_data_root(struct host *host, const struct options *options, const char *fallback, struct error *error)
{
    const char *root = options->values[OPTION_DATA_ROOT] ? options->values[OPTION_DATA_ROOT] : fallback;

    if (!root)
        return 0;
    if (!realpath(root, host->data_root))
        return error_set(error, ERROR_INVALID, "--data-root %s can't be used: %s", root, strerror(errno));
    if (!file_is_directory(host->data_root))
        return error_set(error, ERROR_INVALID, "--data-root %s is no directory", root);
    host->has_data_root = true;
    return 0;
}

static void start_signals(struct host *host)
{
    signal(SIGPIPE, SIG_IGN);
    uv_signal_init(&host->loop, &host->interrupt);
    uv_signal_init(&host->loop, &host->terminate);
    host->interrupt.data = host->terminate.data = host;
    uv_signal_start(&host->interrupt, on_signal, SIGINT);
    uv_signal_start(&host->terminate, on_signal, SIGTERM);
}

int host_open(struct host *host, const struct options *options, const char *default_data_root, struct error *error)
{
    struct service_options settings;

    if (read_limits(host, options, error) || read_data_root(host, options, default_data_root, error))
        return (int)error->code;
    if (uv_loop_init(&host->loop))
        return error_set(error, ERROR_NO_MEMORY, "there is no room for an event loop");
    host->clock = clock_system();
    metrics_init(&host->metrics);
    settings = (struct service_options){
        .store = options->values[OPTION_STORE], .data_root = host->has_data_root ? host->data_root : NULL,
        .workers = host->workers, .memory_bytes = host->memory_bytes, .clock = &host->clock, .loop = &host->loop,
        .version = LAG_VERSION, .metrics = &host->metrics, .recover = host->recover,
    };
    if (service_open(&host->service, &settings, error)) {
        uv_run(&host->loop, UV_RUN_DEFAULT);
        uv_loop_close(&host->loop);
        return (int)error->code;
    }
    start_signals(host);
    return 0;
}

void host_close(struct host *host)
{
    uv_close((uv_handle_t *)&host->interrupt, NULL);
    uv_close((uv_handle_t *)&host->terminate, NULL);
    service_close(host->service);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    uv_loop_close(&host->loop);
}
