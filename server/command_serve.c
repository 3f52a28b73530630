/* lag serve: listens first, recovers after; SIGTERM saves what runs and exits 0. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "server/auth.h"
#include "server/command.h"
#include "server/host.h"
#include "server/http.h"
#include "model/kernels.h"

struct serving {
    struct host host;
    struct auth auth;
    struct http *http;
    int waiting;              /* drain and http_stop */
};

static void stopped(void *context)
{
    struct serving *serving = context;

    if (--serving->waiting == 0)
        uv_stop(&serving->host.loop);
}

static void stop(struct host *host)
{
    struct serving *serving = host->owner;

    log_write(LOG_INFO, NULL, "stopping: saving what runs");
    serving->waiting = 2;
    http_stop(serving->http, stopped, serving);
    service_drain(host->service, stopped, serving);
}

static int refuse_later(const struct options *options, struct error *error)
{
    if (options->values[OPTION_TLS_CERT] || options->values[OPTION_TLS_KEY])
        return error_set(error, ERROR_NOT_YET, "TLS arrives in a later release; put a TLS proxy in front and leave "
                         "--tls-cert and --tls-key out");
    return 0;
}

static void announce(const struct serving *serving, const struct options *options)
{
    const struct host *host = &serving->host;
    char address[300];

    snprintf(address, sizeof address, "%.250s", options->values[OPTION_LISTEN]);
    char *colon = strrchr(address, ':');
    if (colon)
        *colon = '\0';
    printf("listening on http://%s:%u\n", address, http_port(serving->http));
    fflush(stdout);
    log_write(LOG_INFO, NULL, "lag %s: %d workers, %" PRIu64 " MiB for training, %s, store %s%s", LAG_VERSION,
              host->workers, host->memory_bytes >> 20, kernels_description(kernels_cpu()), options->values[OPTION_STORE],
              host->has_data_root ? ", paths allowed below the data root" : "");
}

int command_serve(const struct options *options, struct error *error)
{
    static struct serving serving;       /* as long as the process */
    struct http_options http = { .listen = options->values[OPTION_LISTEN], .version = LAG_VERSION };

    if (refuse_later(options, error))
        return 0;
    if (options->values[OPTION_TOKEN_FILE] && auth_load(&serving.auth, options->values[OPTION_TOKEN_FILE], error))
        return error_wrap(error, "--token-file"), 0;
    serving.host.owner = &serving;
    serving.host.stop = stop;
    serving.host.recover = true;
    if (host_open(&serving.host, options, NULL, error))
        return 0;
    http.auth = serving.auth.required ? &serving.auth : NULL;
    http.insecure = options->values[OPTION_INSECURE] != NULL;
    http.clock = &serving.host.clock;
    if (http_start(&serving.http, &http, serving.host.service, &serving.host.metrics, &serving.host.loop, error) == 0) {
        announce(&serving, options);
        service_start(serving.host.service);
        uv_run(&serving.host.loop, UV_RUN_DEFAULT);
    }
    host_close(&serving.host);
    return 0;
}
