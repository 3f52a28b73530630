/* What the commands share, and the three that only print a table. */
#include "server/command.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "api/response.h"

int command_print(const struct buffer *text, struct error *error)
{
    size_t done = 0;

    if (text->failed)
        return error_set(error, ERROR_NO_MEMORY, "out of memory");
    while (done < text->length) {
        ssize_t wrote = write(STDOUT_FILENO, text->data + done, text->length - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return errno == EPIPE ? 0 : error_set_errno(error, errno, "cannot write to standard output");
        done += (size_t)wrote;
    }
    return 0;
}

int command_columns(void)
{
    struct winsize size;

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
        return size.ws_col;
    return 80;
}

static int print_table(const struct options *options, void (*json)(struct buffer *out),
                       void (*text)(struct buffer *out, int columns), struct error *error)
{
    struct buffer out;

    buffer_init(&out);
    if (options->values[OPTION_JSON]) {
        json(&out);
        buffer_text(&out, "\n");
    } else {
        text(&out, command_columns());
    }
    command_print(&out, error);
    buffer_fini(&out);
    return 0;
}

int command_operators(const struct options *options, struct error *error)
{
    return print_table(options, response_operators, response_operators_text, error);
}

int command_optimizers(const struct options *options, struct error *error)
{
    return print_table(options, response_optimizers, response_optimizers_text, error);
}

int command_schedules(const struct options *options, struct error *error)
{
    return print_table(options, response_schedules, response_schedules_text, error);
}
