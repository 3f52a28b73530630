/* bench_kavg: parallel SGD (K = 1), K-AVG at K = 4 and 16, and asynchronous SGD, at equal data, in logical order: nothing
 * depends on a clock. A tiny byte model from random weights, P learners, plain SGD at several rates; each method is shown at
 * its best. Asynchronous SGD (Downpour): updates of single learners one after the other, each with the gradient of its rows at
 * the weights of `staleness` updates before. The link is simulated: an average of P learners is a ring all-reduce, 2 (P - 1)
 * messages of a P-th of the weights; an asynchronous update sends a gradient to one server and fetches the weights.
 *   bench_kavg DATA OUT.svg     prints a Markdown table */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "model/kernels_ops.h"
#include "trainer/kavg.h"
#include "trainer/step.h"

enum { LEARNERS = 8, ROWS = 4, CONTEXT = 32, STEPS = 400, POINTS = 20, WINDOWS_TOKENS = 16384, SNAPSHOTS = 64 };
static const double bytes_per_second = 1.25e9, latency_seconds = 50e-6;    /* ten gigabit, one switch */
static const double rates[] = {1.0 / 64, 1.0 / 32, 1.0 / 16, 0.125, 0.25, 0.5, 1, 2};
enum { RATES = sizeof rates / sizeof *rates };

struct method { const char *name; uint64_t every; int staleness; const char *colour; };
static const struct method methods[] = {
    {"parallel SGD, K = 1", 1, -1, "#1f77b4"},
    {"K-AVG, K = 4", 4, -1, "#2ca02c"},
    {"K-AVG, K = 16", 16, -1, "#9467bd"},
    {"ASGD, staleness 7", 0, LEARNERS - 1, "#ff7f0e"},
    {"ASGD, staleness 31", 0, 4 * LEARNERS - 1, "#d62728"},
};
enum { METHODS = sizeof methods / sizeof *methods };

struct bench {
    const struct kernels *kernels;
    struct checkpoint checkpoint;
    struct corpus train, valid;
    struct trial trial;
    struct scratch *scratch;
    struct evaluation evaluation;
    void *snapshots[SNAPSHOTS];
};

struct curve { double losses[POINTS + 1]; double final, rate; };

static _Noreturn void fail(const struct error *error)
{
    fprintf(stderr, "bench_kavg: %s\n", error->message);
    exit(1);
}

static struct trial_options options_of(const struct bench *bench, const struct method *method, double rate)
{
    struct training training = training_defaults(&bench->checkpoint.table.shape);
    training.batch = method->staleness < 0 ? LEARNERS * ROWS : ROWS;
    training.context = CONTEXT;
    training.steps = method->staleness < 0 ? STEPS : STEPS * LEARNERS;
    training.learning_rate = rate;
    training.optimizer = (struct optimizer_spec){.name = OPTIMIZER_SGD};
    training.schedule = (struct schedule_spec){.name = SCHEDULE_CONSTANT, .warmup_steps = training.steps / 20};
    training.average.kind = AVERAGE_NONE;
    training.clip = 0;
    training.learners.count = method->staleness < 0 ? LEARNERS : 1;
    for (int i = 0; i < LEARNERS; i++) {
        training.learners.local_steps[i] = method->staleness < 0 ? method->every : 1;
    }
    return (struct trial_options){.kernels = bench->kernels, .training = training, .hidden_rate_scale = 1};
}

static double evaluate(struct bench *bench)
{
    struct error error = {0};
    bool finished = false;
    bench->evaluation.next = 0;
    if (bench->trial.diverged) {
        return NAN;
    }
    if (trial_evaluate(&bench->trial, bench->scratch, &bench->valid, &bench->evaluation, UINT64_MAX / 2, NULL, &finished,
                       &error) != 0) {
        fail(&error);
    }
    return loss_summarize(bench->evaluation.losses, bench->evaluation.windows.count).mean;
}

/* One update of one learner. The rows are those that all learners read, in the same order. */
static int stale_step(struct bench *bench, int staleness, struct error *error)
{
    struct trial *trial = &bench->trial;
    const size_t slab = trial->table.slab;
    const uint64_t old = trial->step < (uint64_t)staleness ? 0 : trial->step - (uint64_t)staleness;
    struct step_place place = {.trial = trial, .step = trial->step, .share = step_share(trial, 0, trial->step),
                               .scratch = bench->scratch, .train = &bench->train};
    struct learner stale = trial->learners[0];
    struct gradient_sum sum = {0};
    double norm;
    bench->kernels->ops->blend(1, trial->learners->weights, 0, bench->snapshots[trial->step % SNAPSHOTS], slab);
    stale.weights = bench->snapshots[old % SNAPSHOTS];
    int status = step_gradient(&place, &stale, &sum, error);
    if (status == 0 && !step_update(&place, trial->learners, bench->scratch->gradients, &sum, &norm)) {
        trial->diverged = true;
    }
    trial->step++;
    return status;
}

static struct curve run(struct bench *bench, const struct method *method, double rate)
{
    const struct trial_options options = options_of(bench, method, rate);
    struct curve curve = {.rate = rate};
    struct error error = {0};
    if (trial_init(&bench->trial, &bench->checkpoint, &options, &error) != 0 ||
        scratch_new(&bench->scratch, bench->kernels, &bench->checkpoint.table, &options.training, &error) != 0) {
        fail(&error);
    }
    curve.losses[0] = evaluate(bench);
    for (int i = 1; i <= POINTS; i++) {
        /* at averages: points are multiples of 20 steps, K of 16 is met a little later */
        const uint64_t until = options.training.steps * (uint64_t)i / POINTS;
        while (bench->trial.step < until && !bench->trial.diverged) {
            const int status = method->staleness < 0
                                   ? kavg_round(&bench->trial, options.training.steps, bench->scratch, &bench->train, NULL, &error)
                                   : stale_step(bench, method->staleness, &error);
            if (status != 0) {
                fail(&error);
            }
        }
        curve.losses[i] = evaluate(bench);
    }
    curve.final = curve.losses[POINTS];
    trial_fini(&bench->trial);
    scratch_free(bench->scratch);
    fprintf(stderr, "%s, rate %g: %.4f\n", method->name, rate, curve.final);
    return curve;
}

static double link_seconds(const struct method *method, double bytes, uint64_t *messages)
{
    const double p = LEARNERS;
    if (method->staleness >= 0) {
        *messages = 2ull * STEPS * LEARNERS;
        return (double)*messages * (bytes / bytes_per_second + latency_seconds);
    }
    const uint64_t averages = (STEPS + method->every - 1) / method->every;
    *messages = averages * 2 * (LEARNERS - 1);
    return (double)averages * 2 * (p - 1) * (bytes / p / bytes_per_second + latency_seconds);
}

static void draw(const char *path, const struct curve *best)
{
    enum { WIDTH = 640, HEIGHT = 400, LEFT = 56, BOTTOM = 48, TOP = 16, RIGHT = 190 };
    const double low = 2, high = 6;
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return;
    }
    fprintf(file, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n", WIDTH, HEIGHT, WIDTH, HEIGHT);
    for (int i = 0; i <= 4; i++) {
        const double value = low + (high - low) * i / 4, y = HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * i / 4.0;
        fprintf(file, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%.1f</text>\n", LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, value);
    }
    for (int m = 0; m < METHODS; m++) {
        fprintf(file, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", methods[m].colour);
        for (int i = 0; i <= POINTS && isfinite(best[m].losses[i]); i++) {
            const double share = (fmin(best[m].losses[i], high) - low) / (high - low);
            fprintf(file, "%.1f,%.1f ", LEFT + (WIDTH - LEFT - RIGHT) * i / (double)POINTS,
                    HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * share);
        }
        fprintf(file, "\"/>\n<text x=\"%d\" y=\"%d\" fill=\"%s\">%s</text>\n", WIDTH - RIGHT + 10, TOP + 20 + 18 * m,
                methods[m].colour, methods[m].name);
    }
    fprintf(file, "<text x=\"%d\" y=\"%d\">steps (%d in all); validation loss, each at its best rate</text>\n</svg>\n", LEFT,
            HEIGHT - 16, STEPS);
    fclose(file);
}

static void tell(const struct curve curves[METHODS][RATES], const char *svg, double bytes)
{
    struct curve best[METHODS];
    printf("| method, rate |");
    for (int r = 0; r < RATES; r++) {
        printf(" %.3g |", rates[r]);
    }
    printf(" best | steps | averages or updates | messages | simulated link |\n|---|");
    for (int r = 0; r < RATES; r++) {
        printf("---|");
    }
    printf("---|---|---|---|---|\n");
    for (int m = 0; m < METHODS; m++) {
        uint64_t messages;
        const double seconds = link_seconds(&methods[m], bytes, &messages);
        best[m] = (struct curve){.final = INFINITY};
        printf("| %s |", methods[m].name);
        for (int r = 0; r < RATES; r++) {
            if (curves[m][r].final < best[m].final) {
                best[m] = curves[m][r];
            }
            printf(isfinite(curves[m][r].final) ? " %.3f |" : " diverged |", curves[m][r].final);
        }
        printf(" %.3f | %d x %d | %d | %llu | %.2f s |\n", best[m].final, STEPS, LEARNERS,
               methods[m].staleness < 0 ? (int)((STEPS + methods[m].every - 1) / methods[m].every) : STEPS * LEARNERS,
               (unsigned long long)messages, seconds);
    }
    draw(svg, best);
}

int main(int count, char **arguments)
{
    static struct curve curves[METHODS][RATES];
    struct bench bench = {.kernels = kernels_cpu()};
    const struct shape shape = {.family = FAMILY_GPT2, .layers = 2, .width = 48, .heads = 4, .kv_heads = 4, .head_size = 12,
                                .ff = 192, .context = CONTEXT, .vocabulary = 256, .tied = true,
                                .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5};
    struct error error = {0};
    if (count != 3) {
        fprintf(stderr, "usage: bench_kavg DATA OUT.svg\n");
        return 2;
    }
    if (corpus_open(&bench.train, arguments[1], CORPUS_BYTES, shape.vocabulary, CONTEXT, &error) != 0 ||
        corpus_split(&bench.train, &bench.valid, CONTEXT, &error) != 0 ||
        checkpoint_init(&bench.checkpoint, &shape, &error) != 0) {
        fail(&error);
    }
    checkpoint_randomize(&bench.checkpoint, 1);
    bench.evaluation.windows = windows_of(&bench.valid, CONTEXT, WINDOWS_TOKENS);
    bench.evaluation.losses = memory_array((size_t)bench.evaluation.windows.count, sizeof(float));
    for (int i = 0; i < SNAPSHOTS; i++) {
        bench.snapshots[i] = bench.kernels->alloc(bench.checkpoint.table.slab * sizeof(float));
    }
    for (int m = 0; m < METHODS; m++) {
        for (int r = 0; r < RATES; r++) {
            curves[m][r] = run(&bench, &methods[m], rates[r]);
        }
    }
    tell(curves, arguments[2], (double)bench.checkpoint.table.parameters * sizeof(float));
    for (int i = 0; i < SNAPSHOTS; i++) {
        bench.kernels->release(bench.snapshots[i]);
    }
    memory_free(bench.evaluation.losses);
    corpus_close(&bench.train);
    corpus_close(&bench.valid);
    checkpoint_fini(&bench.checkpoint);
    return 0;
}
