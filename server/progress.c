#include "server/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { BAR_CELLS = 20 };

void progress_init(struct progress *progress, bool terminal)
{
    struct winsize size;

    *progress = (struct progress){ .terminal = terminal, .columns = 80 };
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        progress->columns = size.ws_col;
}

static void format_left(double seconds, char text[32])
{
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e7)
        snprintf(text, 32, "--:--");
    else if (seconds < 3600)
        snprintf(text, 32, "%d:%02d", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(text, 32, "%d:%02d:%02d", (int)seconds / 3600, (int)seconds / 60 % 60, (int)seconds % 60);
}

/* One line, never wider than the terminal: a wrapped line could not be redrawn. */
static void draw(struct progress *progress, const char *what, uint64_t done, uint64_t total, double loss, double now)
{
    char bar[BAR_CELLS + 1], left[32], line[256];
    double rate = progress->begun && now > progress->begin
                      ? (double)(done - progress->begin_steps) / (now - progress->begin) : 0;
    int cells = total > 0 ? (int)((double)BAR_CELLS * (double)done / (double)total) : 0;

    for (int i = 0; i < BAR_CELLS; i++)
        bar[i] = i < cells ? '#' : '.';
    bar[BAR_CELLS] = '\0';
    format_left(rate > 0 ? (double)(total - done) / rate : -1, left);
    snprintf(line, sizeof line, "[%s] %s  loss %.4f  %.0f steps/s  %s left", bar, what, loss, rate, left);
    fprintf(stderr, "\r%.*s\033[K", progress->columns - 1, line);
    fflush(stderr);
    progress->drawn = true;
}

static void begin(struct progress *progress, uint64_t done, double now)
{
    if (progress->begun)
        return;
    progress->begun = true;
    progress->begin = now;
    progress->begin_steps = done;
}

void progress_train(struct progress *progress, uint64_t done, uint64_t total, double loss, double now)
{
    char what[64];

    begin(progress, done, now);
    if (!progress->terminal || (now - progress->last < 0.1 && done < total))
        return;
    progress->last = now;
    snprintf(what, sizeof what, "step %llu/%llu", (unsigned long long)done, (unsigned long long)total);
    draw(progress, what, done, total, loss, now);
}

/* The lowest of the candidates' latest losses. */
static double best_loss(const struct study *study)
{
    double best = (double)NAN;

    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct point *point = curve_last(&study->candidates[i].curve);
        if (point && !(point->loss >= best))
            best = point->loss;
    }
    return best;
}

static void plain_lines(struct progress *progress, const struct study *study)
{
    for (; progress->decisions < study->decision_count; progress->decisions++) {
        const struct decision *decision = &study->decisions[progress->decisions];
        const char *leader = decision->best_now >= 0 ? study->spec->candidates[decision->best_now].name : "none";

        if (isfinite(decision->agreement))
            fprintf(stderr, "step %llu: leader %s, agreement %.2f, best loss %.4f%s\n", (unsigned long long)decision->step,
                    leader, decision->agreement, best_loss(study), decision->holds ? ", the rule holds" : "");
        else
            fprintf(stderr, "step %llu: leader %s, best loss %.4f%s\n", (unsigned long long)decision->step, leader,
                    best_loss(study), decision->holds ? ", the rule holds" : "");
    }
}

void progress_show(struct progress *progress, const struct study *study, double now)
{
    uint64_t done = 0, total = 0;
    char what[64];

    if (!study)
        return;
    if (study->decision_count < progress->decisions) {       /* the next stage */
        progress->decisions = 0;
        progress->begun = false;
    }
    for (int i = 0; i < study->spec->candidate_count; i++) {
        const struct candidate *candidate = &study->candidates[i];
        bool counts = candidate->same_as < 0 && candidate->state != CANDIDATE_DIVERGED
                      && candidate->state != CANDIDATE_FAILED;
        done += counts ? candidate->step : 0;
        total += counts ? study->spec->selection.max_k : 0;
    }
    begin(progress, done, now);
    if (!progress->terminal) {
        plain_lines(progress, study);
        return;
    }
    snprintf(what, sizeof what, "%d x step %llu/%llu", study->spec->candidate_count,
             (unsigned long long)(done / (uint64_t)(study->spec->candidate_count ? study->spec->candidate_count : 1)),
             (unsigned long long)study->spec->selection.max_k);
    draw(progress, what, done, total, best_loss(study), now);
}

void progress_end(struct progress *progress)
{
    if (progress->drawn)
        fprintf(stderr, "\n");
    progress->drawn = false;
}
