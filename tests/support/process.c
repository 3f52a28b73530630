#include "tests/support/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/memory.h"
#include "tests/support/support.h"

extern char **environ;

const char *process_lag(void)
{
    const char *path = getenv("LAG_BINARY");
    if (!path || !*path) {
        print_message("LAG_BINARY is not set: skipped\n");
        skip();
    }
    return path;
}

/* Runs in the child: only async-signal-safe calls, and exec. */
static void child_run(const char *const *arguments, char *const *environment, int out, int err)
{
    int nothing = open("/dev/null", O_RDONLY);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(125);
    execve(arguments[0], (char *const *)arguments, environment);
    _exit(126);
}

static char **environment_make(const char *const *more)
{
    size_t count = 0, extra = 0, at = 0;
    while (environ[count])
        count++;
    while (more && more[extra])
        extra++;
    char **list = memory_array(count + extra + 1, sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "LAG_", 4) != 0)
            list[at++] = environ[i];
    for (size_t i = 0; i < extra; i++)
        list[at++] = (char *)more[i];
    return list;
}

void process_start(struct process *process, const char *const *arguments, const char *const *environment)
{
    int out[2], err[2];
    char **list = environment_make(environment);
    *process = (struct process){.exit_code = -1};
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    process->pid = fork();
    assert_true(process->pid >= 0);
    if (process->pid == 0)
        child_run(arguments, list, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    memory_free(list);
    process->pipes[PROCESS_OUT] = out[0];
    process->pipes[PROCESS_ERR] = err[0];
    for (int i = 0; i < 2; i++) {
        process->text[i] = memory_new(1);
        assert_non_null(process->text[i]);
    }
}

static void take(struct process *process, int stream)
{
    char block[4096];
    ssize_t got = read(process->pipes[stream], block, sizeof block);
    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0) {
        close(process->pipes[stream]);
        process->pipes[stream] = -1;
        return;
    }
    char *text = memory_resize(process->text[stream], process->length[stream] + (size_t)got + 1);
    assert_non_null(text);
    memcpy(text + process->length[stream], block, (size_t)got);
    process->text[stream] = text;
    process->length[stream] += (size_t)got;
    text[process->length[stream]] = '\0';
}

/* Waits until something came, and takes it; 0 when both pipes are at their end. */
static int take_some(struct process *process)
{
    struct pollfd polls[2];
    if (process->pipes[0] < 0 && process->pipes[1] < 0)
        return 0;
    for (int i = 0; i < 2; i++)
        polls[i] = (struct pollfd){.fd = process->pipes[i], .events = POLLIN};
    if (poll(polls, 2, -1) < 0)
        return 1;
    for (int i = 0; i < 2; i++)
        if (process->pipes[i] >= 0 && polls[i].revents)
            take(process, i);
    return 1;
}

int process_read_until(struct process *process, int stream, const char *text)
{
    while (!strstr(process->text[stream], text)) {
        if (process->pipes[stream] < 0 || !take_some(process))
            return strstr(process->text[stream], text) != NULL;
    }
    return 1;
}

void process_signal(const struct process *process, int number)
{
    assert_int_equal(kill(process->pid, number), 0);
}

void process_wait(struct process *process)
{
    int status = 0;
    while (take_some(process))
        continue;
    while (waitpid(process->pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    process->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    process->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void process_free(struct process *process)
{
    for (int i = 0; i < 2; i++) {
        if (process->pipes[i] >= 0)
            close(process->pipes[i]);
        memory_free(process->text[i]);
    }
    *process = (struct process){.pipes = {-1, -1}};
}

void process_run(struct process *process, const char *const *arguments, const char *const *environment)
{
    process_start(process, arguments, environment);
    process_wait(process);
}

void process_assert_exit(const struct process *process, int code, const char *file, int line)
{
    if (process->exit_code == code)
        return;
    print_error("exit code %d, signal %d, instead of exit code %d\n%s%s", process->exit_code, process->signal, code,
                process->text[PROCESS_OUT], process->text[PROCESS_ERR]);
    _fail(file, line);
}
