/* lag: the binary. Finds the command, runs it, turns its error into one line on standard error and an exit code. */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "server/command.h"

static command_function *const functions[COMMAND_COUNT] = {
    [COMMAND_SERVE] = command_serve,           [COMMAND_RUN] = command_run,
    [COMMAND_GROW] = command_grow,             [COMMAND_TRAIN] = command_train,
    [COMMAND_EVAL] = command_eval,             [COMMAND_LOGITS] = command_logits,
    [COMMAND_INSPECT] = command_inspect,       [COMMAND_OPERATORS] = command_operators,
    [COMMAND_OPTIMIZERS] = command_optimizers, [COMMAND_SCHEDULES] = command_schedules,
    [COMMAND_CHECK] = command_check,           [COMMAND_HEALTH] = command_health,
    [COMMAND_COORDCHECK] = command_coordcheck, [COMMAND_POWERFIT] = command_powerfit,
    [COMMAND_REPLAY] = command_replay,         [COMMAND_TRANSFER] = command_transfer,
};

static int print_help(const char *command)
{
    struct error error = { 0 };
    struct buffer text;

    buffer_init(&text);
    options_help(&text, command);
    command_print(&text, &error);
    buffer_fini(&text);
    return error_exit_code(error.code);
}

/* A detail whose text is the message, or begins with the pointer, is not said twice. */
static void complain(const struct error *error)
{
    fprintf(stderr, "lag: %s\n", error->message);
    for (int i = 0; i < error->detail_count; i++) {
        const struct error_detail *detail = &error->details[i];
        bool same = strcmp(detail->text, error->message) == 0;
        bool named = strncmp(detail->text, detail->pointer, strlen(detail->pointer)) == 0;

        if (same && (!detail->pointer[0] || strstr(error->message, detail->pointer)))
            continue;
        fprintf(stderr, "  %s%s%s\n", same || !named ? detail->pointer : "", same || named || !detail->pointer[0] ? "" : ": ",
                same ? "" : detail->text);
    }
}

static int run_command(int count, char **arguments)
{
    struct error error = { 0 };
    struct options options;
    int code = 0;

    if (options_parse(&options, count, arguments, &error) == 0) {
        if (options.values[OPTION_HELP])
            code = print_help(arguments[1]);
        else if (!functions[options.command])
            error_set(&error, ERROR_NOT_YET, "`lag %s` arrives in a later release", arguments[1]);
        else
            code = functions[options.command](&options, &error);
    }
    options_fini(&options);
    if (!error.code)
        return code;
    complain(&error);
    return code ? code : error_exit_code(error.code);
}

int main(int count, char **arguments)
{
    static struct clock clock;

    signal(SIGXFSZ, SIG_IGN);     /* a limit of the file size (ulimit -f) is an error of write(), as a full disk is */
    clock = clock_system();
    log_setup(STDERR_FILENO, LOG_INFO, !isatty(STDERR_FILENO), &clock);
    if (count < 2) {
        print_help(NULL);
        return 2;
    }
    if (strcmp(arguments[1], "--help") == 0 || strcmp(arguments[1], "-h") == 0 || strcmp(arguments[1], "help") == 0)
        return print_help(count > 2 ? arguments[2] : NULL);
    if (strcmp(arguments[1], "--version") == 0) {
        printf("lag %s\n", LAG_VERSION);
        return 0;
    }
    return run_command(count, arguments);
}
