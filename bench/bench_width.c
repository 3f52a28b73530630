/* bench_width: one model of a width, drawn and trained under a parametrization whose base is 32 wide: validation loss at the
 * end, and with `measure` the curvature on the way (top eigenvalue of the Hessian in the parameters that the parametrization
 * trains, of the preconditioned one, of the tangent kernel). For bench/papers/width.sh, which repeats it over widths and rates.
 *   bench_width DATA PARAMETRIZATION WIDTH RATE SEED STEPS [measure]     prints one line of JSON */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "trainer/coordcheck.h"
#include "trainer/landscape.h"
#include "trainer/stability.h"

enum { BASE_WIDTH = 32, HEAD_SIZE = 16, CONTEXT = 32, ROWS = 8, POINTS = 6, WINDOWS_TOKENS = 16384 };

struct bench {
    struct checkpoint checkpoint;
    struct corpus train, valid;
    struct trial trial;
    struct scratch *scratch;
    struct training training;
    bool measures;
};

static _Noreturn void fail(const struct error *error)
{
    fprintf(stderr, "bench_width: %s\n", error->message);
    exit(1);
}

static void print_number(const char *before, double value)
{
    if (isfinite(value)) {
        printf("%s%.6g", before, value);
    } else {
        printf("%snull", before);
    }
}

static void measure(const struct bench *bench)
{
    struct landscape_spec spec = landscape_defaults(true);
    struct landscape *landscape;
    struct error error = {0};
    bool finished = false;
    spec.what |= 1u << LANDSCAPE_NTK;
    if (landscape_new(&landscape, &bench->trial, &spec, &error) != 0) {
        fail(&error);
    }
    while (!finished) {
        if (landscape_advance(landscape, &bench->train, UINT64_MAX / 2, NULL, &finished, &error) != 0) {
            fail(&error);
        }
    }
    const struct landscape_values values = landscape_answer(landscape);
    printf("%s[%llu", bench->trial.step > 0 ? "," : "", (unsigned long long)bench->trial.step);
    print_number(",", values.hessian[0]);
    print_number(",", values.preconditioned);
    print_number(",", values.ntk);
    print_number(",", stability_of(&bench->training.optimizer, stability_rate(&bench->training, bench->trial.step),
                                   values.preconditioned).ratio);
    printf("]");
    landscape_free(landscape);
}

static void train(struct bench *bench)
{
    struct error error = {0};
    printf(",\"landscape\":[");
    for (int point = 0; point <= POINTS; point++) {
        const uint64_t until = bench->training.steps * (uint64_t)point / POINTS;
        while (bench->trial.step < until && !bench->trial.diverged) {
            if (trial_step(&bench->trial, bench->scratch, &bench->train, NULL, &error) != 0) {
                fail(&error);
            }
        }
        if (bench->measures && !bench->trial.diverged) {
            measure(bench);
        }
    }
    printf("]");
}

static struct loss_summary evaluate(struct bench *bench)
{
    struct evaluation evaluation = {.windows = windows_of(&bench->valid, CONTEXT, WINDOWS_TOKENS)};
    struct loss_summary summary = {NAN, NAN};
    struct error error = {0};
    bool finished = false;
    evaluation.losses = memory_array((size_t)evaluation.windows.count, sizeof *evaluation.losses);
    if (evaluation.losses == NULL) {
        error_set(&error, ERROR_NO_MEMORY, "no memory for the losses");
        fail(&error);
    }
    if (!bench->trial.diverged) {
        if (trial_evaluate(&bench->trial, bench->scratch, &bench->valid, &evaluation, UINT64_MAX / 2, NULL, &finished,
                           &error) != 0) {
            fail(&error);
        }
        summary = loss_summarize(evaluation.losses, evaluation.windows.count);
    }
    memory_free(evaluation.losses);
    return summary;
}

static struct training training_of(const struct shape *shape, enum parametrization parametrization, char **values)
{
    struct training training = training_defaults(shape);
    training.batch = ROWS;
    training.context = CONTEXT;
    training.steps = strtoull(values[2], NULL, 10);
    training.learning_rate = strtod(values[0], NULL);
    training.seed = strtoull(values[1], NULL, 10);
    training.schedule = (struct schedule_spec){.name = SCHEDULE_CONSTANT, .warmup_steps = training.steps / 10};
    training.average.kind = AVERAGE_NONE;
    training.parametrization = parametrization;
    return training;
}

static void bench_open(struct bench *bench, const struct shape *base, enum parametrization parametrization, char **arguments)
{
    struct trial_options options = {.kernels = kernels_cpu(), .hidden_rate_scale = 1, .base = *base};
    struct error error = {0};
    struct shape shape;
    if (corpus_open(&bench->train, arguments[1], CORPUS_BYTES, base->vocabulary, CONTEXT, &error) != 0 ||
        corpus_split(&bench->train, &bench->valid, CONTEXT, &error) != 0 ||
        coordcheck_shape(base, COORDCHECK_WIDTHS, atoi(arguments[3]), &shape, &error) != 0 ||
        checkpoint_init(&bench->checkpoint, &shape, &error) != 0) {
        fail(&error);
    }
    bench->training = options.training = training_of(&shape, parametrization, arguments + 4);
    coordcheck_draw(&bench->checkpoint, parametrization, base, options.training.seed);
    if (trial_init(&bench->trial, &bench->checkpoint, &options, &error) != 0 ||
        scratch_new(&bench->scratch, options.kernels, &bench->checkpoint.table, &options.training, &error) != 0) {
        fail(&error);
    }
}

int main(int count, char **arguments)
{
    const struct shape base = {.family = FAMILY_GPT2, .layers = 2, .width = BASE_WIDTH, .heads = BASE_WIDTH / HEAD_SIZE,
                               .kv_heads = BASE_WIDTH / HEAD_SIZE, .head_size = HEAD_SIZE, .ff = 4 * BASE_WIDTH,
                               .context = CONTEXT, .vocabulary = 256, .tied = true, .activation = ACTIVATION_GELU_TANH,
                               .norm_epsilon = 1e-5};
    enum parametrization parametrization;
    struct bench bench = {.measures = count == 8};
    if (count < 7 || parametrization_parse(arguments[2], &parametrization) != 0) {
        fprintf(stderr, "usage: bench_width DATA PARAMETRIZATION WIDTH RATE SEED STEPS [measure]\n");
        return 2;
    }
    bench_open(&bench, &base, parametrization, arguments);
    printf("{\"key\":\"%s/%s/%s/%s\",\"parametrization\":\"%s\",\"width\":%s,\"rate\":%s,\"seed\":%s,\"steps\":%s", arguments[2],
           arguments[3], arguments[4], arguments[5], arguments[2], arguments[3], arguments[4], arguments[5], arguments[6]);
    train(&bench);
    const struct loss_summary summary = evaluate(&bench);
    print_number(",\"loss\":", summary.mean);
    print_number(",\"standard_error\":", summary.standard_error);
    printf("}\n");
    trial_fini(&bench.trial);
    scratch_free(bench.scratch);
    corpus_close(&bench.train);
    corpus_close(&bench.valid);
    checkpoint_fini(&bench.checkpoint);
    return 0;
}
