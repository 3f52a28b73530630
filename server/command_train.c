/* lag train: trains one model, from scratch (--shape), from a checkpoint, or on from a study's winner (--recipe). A checkpoint
 * that has its optimizer state goes on from there, bit for bit as if it had never stopped. */
#include "server/training_run.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "api/json.h"
#include "base/clock.h"
#include "base/memory.h"
#include "server/command.h"
#include "server/progress.h"

static atomic_bool interrupted;

static void on_interrupt(int number)
{
    (void)number;
    if (atomic_exchange(&interrupted, true))
        _exit(130);
}

/* ---- the log: JSON lines */

static void log_line(struct training_run *run, double validation, double error_of, struct error *error)
{
    char loss[NUMBER_BYTES], mean[NUMBER_BYTES], deviation[NUMBER_BYTES], norm[NUMBER_BYTES];
    const struct trial *trial = &run->trial;

    if (!run->log || error->code)
        return;
    number_text(trial->last_loss, loss);            /* what is not finite is null */
    number_text(validation, mean);
    number_text(error_of, deviation);
    number_text(trial->last_gradient_norm, norm);
    if (fprintf(run->log, "{\"step\":%llu,\"tokens\":%llu,\"train_loss\":%s,\"loss\":%s,\"standard_error\":%s,"
                "\"learning_rate\":%.9g,\"gradient_norm\":%s}\n", (unsigned long long)trial->step,
                (unsigned long long)training_run_tokens(run), loss, mean, deviation,
                schedule_rate(&run->training, trial->step), norm) < 0
        || fflush(run->log))
        error_set_errno(error, errno, "cannot write --log");
}

static void tell_evaluation(struct training_run *run, struct loss_summary summary, struct progress *progress)
{
    if (!progress->terminal)
        fprintf(stderr, "step %llu of %llu: training loss %.4f, validation loss %.4f\n", (unsigned long long)run->trial.step,
                (unsigned long long)run->training.steps, run->trial.last_loss, summary.mean);
}

static int train(struct training_run *run, struct progress *progress, struct error *error)
{
    struct clock clock = clock_system();

    while (run->trial.step < run->training.steps && !atomic_load(&interrupted)) {
        struct loss_summary summary;

        if (training_run_step(run, &interrupted, error)) {
            if (error->code != ERROR_CANCELLED)
                return (int)error->code;
            error_clear(error);
            break;
        }
        if (run->trial.diverged)
            return error_set(error, ERROR_DIVERGED, "the loss or gradient is not finite at step %llu; lower the learning rate "
                             "or lengthen the warm-up; nothing was written", (unsigned long long)run->trial.diverged_step);
        progress_train(progress, run->trial.step, run->training.steps, run->trial.last_loss,
                       (double)clock.monotonic_ns(&clock) * 1e-9);
        if (grid_has(&run->grid, run->trial.step)) {
            if (training_run_evaluate(run, &summary, error))
                return (int)error->code;
            tell_evaluation(run, summary, progress);
            log_line(run, summary.mean, summary.standard_error, error);
        } else if (run->log_every && run->trial.step % run->log_every == 0) {
            log_line(run, (double)NAN, (double)NAN, error);
        }
        if (error->code)
            return (int)error->code;
    }
    return 0;
}

static int finish(struct training_run *run, const struct options *options, struct error *error)
{
    struct loss_summary summary;

    if (training_run_evaluate(run, &summary, error) || training_run_save(run, options->values[OPTION_OUT], summary, error))
        return 0;
    printf("step %llu: validation loss %.6f", (unsigned long long)run->trial.step, summary.mean);
    if (isfinite(summary.standard_error))
        printf(" (standard error %.6f)", summary.standard_error);
    printf(", saved in %s\n", options->values[OPTION_OUT]);
    if (run->trial.step < run->training.steps) {
        fprintf(stderr, "interrupted; everything is saved. To go on: the same command with --checkpoint %s\n",
                options->values[OPTION_OUT]);
        return 130;
    }
    return 0;
}

int command_train(const struct options *options, struct error *error)
{
    static struct training_run run;
    struct sigaction action = { .sa_handler = on_interrupt };
    struct progress progress;
    int code = 0;

    progress_init(&progress, isatty(STDERR_FILENO) != 0);
    if (training_run_open(&run, options, error) == 0) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        train(&run, &progress, error);
        progress_end(&progress);
        if (!error->code)
            code = finish(&run, options, error);
    }
    training_run_close(&run);
    return code;
}
