/* Child processes for tests of the real binary: started with arguments and environment, read through pipes, waited for.
 * No sleeps: everything waits on pipes or on the process's end. Everything fails the test if it can't do its work. */
#ifndef TESTS_SUPPORT_PROCESS_H
#define TESTS_SUPPORT_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

struct process {
    pid_t pid;
    int pipes[2];                 /* its standard output and error; -1: at their end */
    char *text[2];                /* what came so far, NUL-terminated; owned */
    size_t length[2];
    int exit_code;                /* after process_wait; -1: ended by a signal */
    int signal;                   /* 0: exited */
};
enum { PROCESS_OUT, PROCESS_ERR };

/* The binary under test: $LAG_BINARY; the test is skipped aloud without it. */
const char *process_lag(void);

/* Starts `arguments` (NULL-terminated, [0] the program), with `environment` ("NAME=VALUE" …, NULL-terminated; NULL: none)
 * on top of ours; every other LAG_ variable is taken out. Standard input is empty. */
void process_start(struct process *process, const char *const *arguments, const char *const *environment);
/* Reads until `text` has come on `stream` (true) or the process closed it (false). */
int process_read_until(struct process *process, int stream, const char *text);
void process_signal(const struct process *process, int number);
/* Reads to the end and waits. */
void process_wait(struct process *process);
void process_free(struct process *process);

/* All in one; the caller frees with process_free. */
void process_run(struct process *process, const char *const *arguments, const char *const *environment);
/* Fails the test with the process's output unless it exited with `code`. */
#define assert_exit(process, code) process_assert_exit(process, code, __FILE__, __LINE__)
void process_assert_exit(const struct process *process, int code, const char *file, int line);

#endif
