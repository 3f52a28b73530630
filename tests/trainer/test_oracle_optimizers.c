/* Fifty steps of every optimizer against PyTorch's and the schedulefree package's, in float64 (tests/oracle/), and the
 * vectors of methods appendix D. The gradient is that of a quadratic at the point where the optimizer asks for it. */
#include "tests/support/support.h"

#include <math.h>
#include <string.h>

#include "model/safetensors.h"
#include "tests/trainer/fixture.h"
#include "trainer/optimizer.h"

enum { STEPS = 50, MATRIX = 20, VECTOR = 6 };

/* The optimizer alone: a trial whose gradients the test makes, on the first numbers of one matrix and one vector. */
struct run {
    struct fixture *fixture;
    struct trial trial;
    struct scratch *scratch;
    const struct tensor *tensors[2];
    float *gradients;
};

static const char *const names[2] = {"matrix", "vector"};
static const size_t counts[2] = {MATRIX, VECTOR};

static void run_init(struct run *run, const struct kernels *kernels, const struct optimizer_spec *spec, double rate,
                     uint64_t warmup)
{
    const struct shape shape = fixture_shape();
    run->fixture = fixture_new(kernels, &shape);
    struct training *training = &run->fixture->options.training;
    training->optimizer = *spec;
    training->schedule = (struct schedule_spec){.name = SCHEDULE_CONSTANT, .warmup_steps = warmup};
    training->steps = 1000;
    training->learning_rate = rate;
    training->average.kind = AVERAGE_NONE;
    run->tensors[0] = run->tensors[1] = NULL;
    const struct tensor_table *table = &run->fixture->checkpoint.table;
    for (int i = 0; i < table->count; i++) {
        const struct tensor *tensor = &table->tensors[i];
        const int kind = tensor->row->rank >= 2 ? 0 : 1;
        if (run->tensors[kind] == NULL && role_is_trained(tensor->row->role) && tensor->count >= counts[kind]) {
            run->tensors[kind] = tensor;
        }
    }
    assert_true(run->tensors[0] != NULL && run->tensors[1] != NULL);
    run->gradients = memory_array(table->slab, sizeof *run->gradients);
    assert_non_null(run->gradients);
}

static void run_start(struct run *run)
{
    fixture_start(run->fixture, &run->trial);
    run->scratch = fixture_scratch(run->fixture);
}

static void run_fini(struct run *run)
{
    scratch_free(run->scratch);
    trial_fini(&run->trial);
    memory_free(run->gradients);
    fixture_free(run->fixture);
}

static void run_step(struct run *run, float *const curvature[2], float *const target[2])
{
    const float *point = learner_point(&run->trial, run->trial.learners, run->scratch);
    for (int k = 0; k < 2; k++) {
        const size_t offset = run->tensors[k]->offset;
        for (size_t i = 0; i < counts[k]; i++) {
            run->gradients[offset + i] = curvature[k][i] * (point[offset + i] - target[k][i]);
        }
    }
    optimizer_of(run->trial.options.training.optimizer.name)
        ->update(&run->trial, run->trial.learners, run->gradients, 1,
                 schedule_rate(&run->trial.options.training, run->trial.step));
    run->trial.step++;
}

/* ---- the packages ---- */

struct oracle_case { const char *name; struct optimizer_spec spec; double rate; uint64_t warmup; };

static const struct oracle_case cases[] = {
    {"adamw", {OPTIMIZER_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1}, 0.03, 0},
    {"sgd_plain", {OPTIMIZER_SGD, .momentum = 0}, 0.1, 0},
    {"sgd_momentum", {OPTIMIZER_SGD, .momentum = 0.9, .weight_decay = 0.02}, 0.1, 0},
    {"sgd_nesterov", {OPTIMIZER_SGD, .momentum = 0.9, .weight_decay = 0.02, .nesterov = true}, 0.1, 0},
    {"schedule_free_sgd", {OPTIMIZER_SCHEDULE_FREE_SGD, .momentum = 0.9, .weight_decay = 0.02, .weight_power = 2}, 0.5, 10},
    {"schedule_free_sgd_powers", {OPTIMIZER_SCHEDULE_FREE_SGD, .momentum = 0.7, .r = 0.75, .weight_power = 1}, 0.5, 5},
    {"schedule_free_adamw",
     {OPTIMIZER_SCHEDULE_FREE_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .weight_power = 2},
     0.05, 10},
    {"schedule_free_adamw_powers",
     {OPTIMIZER_SCHEDULE_FREE_ADAMW, .beta1 = 0.98, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.1, .r = 0.75,
      .weight_power = 2},
     0.05, 2},
    {"schedule_free_adamw_at_z",
     {OPTIMIZER_SCHEDULE_FREE_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .weight_decay = 0.1, .weight_power = 2,
      .decay_at = DECAY_AT_Z},
     0.05, 10},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static float *read_list(const struct safetensors *file, const char *part, const char *name, size_t count)
{
    char full[80];
    struct error error = {0};
    snprintf(full, sizeof full, "%s.%s", part, name);
    const struct safetensors_entry *entry = safetensors_find(file, full);
    float *values = memory_array(count, sizeof *values);
    assert_true(entry != NULL && values != NULL);
    assert_ok(safetensors_read_floats(file, entry, 0, count, values, &error), &error);
    return values;
}

static double case_distance(const struct oracle_case *row, const struct safetensors *file, const struct kernels *kernels)
{
    struct run run;
    float *start[2], *curvature[2], *target[2], *points[2];
    double worst = 0, moved = 0;
    run_init(&run, kernels, &row->spec, row->rate, row->warmup);
    for (int k = 0; k < 2; k++) {
        start[k] = read_list(file, "start", names[k], counts[k]);
        curvature[k] = read_list(file, "curvature", names[k], counts[k]);
        target[k] = read_list(file, "target", names[k], counts[k]);
        points[k] = read_list(file, row->name, names[k], STEPS * counts[k]);
        memcpy(run.fixture->checkpoint.weights + run.tensors[k]->offset, start[k], counts[k] * sizeof(float));
    }
    run_start(&run);
    for (int step = 0; step < STEPS; step++) {
        run_step(&run, curvature, target);
        for (int k = 0; k < 2; k++) {
            const float *weights = (const float *)run.trial.learners->weights + run.tensors[k]->offset;
            for (size_t i = 0; i < counts[k]; i++) {
                const double expected = points[k][(size_t)step * counts[k] + i];
                worst = fmax(worst, fabs(weights[i] - expected));
                moved = fmax(moved, fabs(expected - start[k][i]));
            }
        }
    }
    assert_true(moved > 0.5);
    run_fini(&run);
    for (int k = 0; k < 2; k++) {
        memory_free(start[k]);
        memory_free(curvature[k]);
        memory_free(target[k]);
        memory_free(points[k]);
    }
    return worst;
}

static void fifty_steps_are_those_of_the_packages(void **state)
{
    (void)state;
    struct safetensors file;
    struct error error = {0};
    assert_ok(safetensors_open(&file, "tests/fixtures/oracle/optimizers/reference.safetensors", 0, &error), &error);
    const struct kernels *bodies[2] = {kernels_ref_float(), kernels_cpu()};
    for (int i = 0; i < CASES; i++) {
        for (int body = 0; body < 2; body++) {
            const double worst = case_distance(&cases[i], &file, bodies[body]);
            print_message("    %-28s %-4s residual %.2g, bound 1e-5\n", cases[i].name, bodies[body]->name, worst);
            assert_close(worst, 1e-5);
        }
    }
    safetensors_close(&file);
}

static void every_optimizer_has_a_case(void **state)
{
    (void)state;
    for (int name = 0; name < OPTIMIZER_COUNT; name++) {
        int found = 0;
        for (int i = 0; i < CASES; i++) {
            found += cases[i].spec.name == (enum optimizer_name)name;
        }
        assert_true(found > 0);
    }
}

/* ---- appendix D: f(y) = y^2 / 2 from 1 ---- */

struct vector { double z, x, y; };

static void expect_vectors(const struct optimizer_spec *spec, double rate, uint64_t warmup, const struct vector *vectors,
                           int count)
{
    struct run run;
    float ones[MATRIX], zeros[MATRIX] = {0};
    for (int i = 0; i < MATRIX; i++) {
        ones[i] = 1;
    }
    float *const curvature[2] = {ones, ones}, *const target[2] = {zeros, zeros};
    run_init(&run, kernels_ref_float(), spec, rate, warmup);
    run.fixture->checkpoint.weights[run.tensors[0]->offset] = 1;
    run_start(&run);
    for (int step = 0; step < count; step++) {
        run_step(&run, curvature, target);
        const struct learner *learner = run.trial.learners;
        const size_t at = run.tensors[0]->offset;
        const float *y = learner_point(&run.trial, learner, run.scratch);
        assert_near(((const float *)learner->state[0])[at], vectors[step].z, 3e-7);
        assert_near(((const float *)learner->weights)[at], vectors[step].x, 3e-7);
        assert_near(y[at], vectors[step].y, 3e-7);
    }
    run_fini(&run);
}

static void schedule_free_adamw_gives_the_vectors_of_the_definition(void **state)
{
    (void)state;
    struct optimizer_spec spec = optimizer_defaults(OPTIMIZER_SCHEDULE_FREE_ADAMW);
    spec.beta2 = 0.99;
    const struct vector plain[] = {
        {0.945, 0.945, 0.945},
        {0.83840280, 0.85972224, 0.85759029},
        {0.73816107, 0.80569505, 0.79894165},
        {0.64168055, 0.75522905, 0.74387420},
        {0.54901009, 0.70670694, 0.69093726},
        {0.46028202, 0.65976886, 0.63982018},
    };
    const struct vector refined[] = {
        {0.945, 0.945, 0.945},
        {0.83840280, 0.83840280, 0.83840280},
        {0.73983764, 0.73983764, 0.73983764},
        {0.64887676, 0.64887676, 0.64887676},
        {0.56537218, 0.56537218, 0.56537218},
        {0.48922122, 0.49284746, 0.49248484},
    };
    expect_vectors(&spec, 0.1, 2, plain, 6);
    spec.decoupling = 1 / (1 - spec.beta1);      /* the original by its other name */
    expect_vectors(&spec, 0.1, 2, plain, 6);
    spec.decoupling = 50;
    expect_vectors(&spec, 0.1, 2, refined, 6);
}

static void schedule_free_sgd_gives_the_vectors_of_the_definition(void **state)
{
    (void)state;
    const struct optimizer_spec spec = optimizer_defaults(OPTIMIZER_SCHEDULE_FREE_SGD);
    const struct vector vectors[] = {
        {0.5, 0.5, 0.5},
        {0.25, 0.375, 0.3625},
        {0.06875, 0.27291667, 0.2525},
        {-0.0575, 0.1903125, 0.16553125},
        {-0.14026563, 0.12419687, 0.09775062},
    };
    expect_vectors(&spec, 0.5, 0, vectors, 5);
}

TEST_MAIN(cmocka_unit_test(fifty_steps_are_those_of_the_packages), cmocka_unit_test(every_optimizer_has_a_case),
          cmocka_unit_test(schedule_free_adamw_gives_the_vectors_of_the_definition),
          cmocka_unit_test(schedule_free_sgd_gives_the_vectors_of_the_definition))
