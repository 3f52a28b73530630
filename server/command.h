/* Commands: one function per subcommand of `lag`, each in a file of its own (command_<name>.c). Returns the exit code. */
#ifndef SERVER_COMMAND_H
#define SERVER_COMMAND_H

#include "base/clock.h"
#include "server/options.h"

#define LAG_VERSION "0.1.0"

typedef int command_function(const struct options *options, struct error *error);

command_function command_serve, command_run, command_grow, command_train, command_eval, command_logits,
    command_inspect, command_operators, command_optimizers, command_schedules, command_check, command_health,
    command_coordcheck, command_replay, command_transfer, command_powerfit;

/* Writes bytes to standard output, all of them; ERROR_IO if it can't (a closed pipe is fine: 0). */
int command_print(const struct buffer *text, struct error *error);
/* Width of the terminal on standard output; 80 if it is none. */
int command_columns(void);

#endif
