#include "trainer/kavg_auto.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "model/kernels_ops.h"
#include "trainer/step.h"

enum { LOCAL_LEAST = 4, LOCAL_MOST = 16, OUTER_LEAST = 32, OUTER_MOST = 500, BOUND_MOST = 256 };
static const double overhead_most = 0.1, speeds_differ = 1.25, probe_length = 1e-3;

/* ---- measuring ---- */

struct measuring {
    const struct kavg_subject *subject;
    struct trial trial;                  /* one learner with a learner's rows */
    struct scratch *scratch;
    void *mean, *first;                  /* slabs: of the learners' gradients; the first's */
    int rows;
};

static double seconds_now(const struct measuring *measuring)
{
    struct clock *clock = measuring->subject->clock;
    return (double)clock->monotonic_ns(clock) * 1e-9;
}

/* The gradient of learner j's rows at the trial's weights. */
static int measure_gradient(struct measuring *measuring, int learner, double *loss, struct error *error)
{
    struct step_place place = {.trial = &measuring->trial, .scratch = measuring->scratch,
                               .train = measuring->subject->train};
    struct gradient_sum sum = {0};
    place.share = (struct batch_share){(uint64_t)learner * (uint64_t)measuring->rows, measuring->rows, measuring->rows, NULL};
    int status = step_gradient(&place, measuring->trial.learners, &sum, error);
    if (status == 0) {
        void *gradients = measuring->scratch->gradients;
        *loss = sum.loss;
        measuring->subject->kernels->ops->blend(sum.scale, gradients, 0, gradients, measuring->trial.table.slab);
    }
    return status;
}

/* Steps of all learners, each the faster of two; the first gradient also warms up. */
static int measure_steps(struct measuring *measuring, struct kavg_costs *costs, struct error *error)
{
    const struct kernel_ops *ops = measuring->subject->kernels->ops;
    const struct kernels *kernels = measuring->subject->kernels;
    const size_t slab = measuring->trial.table.slab;
    const int count = measuring->subject->training->learners.count;
    double loss, squares = 0;
    int status = measure_gradient(measuring, 0, &loss, error);
    for (int i = 0; i < count && status == 0; i++) {
        costs->step_seconds[i] = INFINITY;
        for (int turn = 0; turn < 2 && status == 0; turn++) {
            const double begin = seconds_now(measuring);
            status = measure_gradient(measuring, i, &loss, error);
            costs->step_seconds[i] = fmin(costs->step_seconds[i], seconds_now(measuring) - begin);
        }
        if (status != 0) {
            break;
        }
        costs->loss += loss / count;
        squares += kernels->sum_squares(measuring->scratch->gradients, slab);
        ops->blend(1, measuring->scratch->gradients, i > 0, measuring->mean, slab);
        if (i == 0) {
            ops->blend(1, measuring->scratch->gradients, 0, measuring->first, slab);
        }
    }
    ops->blend(1.0 / count, measuring->mean, 0, measuring->mean, slab);
    const double spread = squares - count * kernels->sum_squares(measuring->mean, slab);
    costs->variance = fmax(0, spread / (count - 1)) * measuring->rows;
    return status;
}

/* L along the gradient: how far the first learner's gradient moves with the weights, over how far these move. */
static int measure_smoothness(struct measuring *measuring, struct kavg_costs *costs, struct error *error)
{
    const struct kernels *kernels = measuring->subject->kernels;
    void *weights = measuring->trial.learners->weights, *gradients = measuring->scratch->gradients;
    const size_t slab = measuring->trial.table.slab;
    const double norm = sqrt(kernels->sum_squares(measuring->mean, slab));
    const double length = probe_length * sqrt(kernels->sum_squares(weights, slab));
    double loss;
    if (!(norm > 0 && length > 0)) {
        return 0;
    }
    kernels->ops->blend(-length / norm, measuring->mean, 1, weights, slab);
    int status = measure_gradient(measuring, 0, &loss, error);
    kernels->ops->blend(-1, measuring->first, 1, gradients, slab);
    costs->smoothness = sqrt(kernels->sum_squares(gradients, slab)) / length;
    return status;
}

/* An update, which belongs to every step, and a slab added to another: P - 1 of them, and P - 1 copies, are an average. */
static void measure_slabs(struct measuring *measuring, struct kavg_costs *costs)
{
    const struct kavg_subject *subject = measuring->subject;
    const int count = subject->training->learners.count;
    const struct step_place place = {.trial = &measuring->trial, .scratch = measuring->scratch};
    const struct gradient_sum sum = {.loss = 0, .scale = 1};
    double norm, begin = seconds_now(measuring);
    step_update(&place, measuring->trial.learners, measuring->first, &sum, &norm);
    const double update = seconds_now(measuring) - begin;
    for (int i = 0; i < count; i++) {
        costs->step_seconds[i] = (costs->step_seconds[i] + update) * subject->step_factor;
    }
    begin = seconds_now(measuring);
    subject->kernels->ops->blend(1, measuring->first, 1, measuring->mean, measuring->trial.table.slab);
    subject->kernels->ops->blend(1, measuring->first, 0, measuring->mean, measuring->trial.table.slab);
    costs->average_seconds = (seconds_now(measuring) - begin) * (count - 1) * subject->average_factor;
}

static int measuring_open(struct measuring *measuring, struct error *error)
{
    const struct kavg_subject *subject = measuring->subject;
    struct trial_options options = {.kernels = subject->kernels, .training = *subject->training, .hidden_rate_scale = 1,
                                    .sampler = subject->sampler};
    const size_t bytes = subject->checkpoint->table.slab * sizeof(float);
    measuring->rows = learners_rows(subject->training, 0);
    options.training.batch = measuring->rows;
    options.training.learners = learners_defaults();
    options.training.average.kind = AVERAGE_NONE;
    int status = trial_init(&measuring->trial, subject->checkpoint, &options, error);
    if (status == 0) {
        status = scratch_new(&measuring->scratch, subject->kernels, &subject->checkpoint->table, &options.training, error);
    }
    if (status != 0) {
        return status;
    }
    measuring->mean = subject->kernels->alloc(bytes);
    measuring->first = subject->kernels->alloc(bytes);
    return measuring->mean != NULL && measuring->first != NULL ? 0 :
           error_set(error, ERROR_NO_MEMORY, "No memory to measure the steps of learners.");
}

int kavg_measure(const struct kavg_subject *subject, struct kavg_costs *costs, struct error *error)
{
    struct measuring measuring = {.subject = subject};
    *costs = (struct kavg_costs){0};
    int status = measuring_open(&measuring, error);
    if (status == 0) {
        status = measure_steps(&measuring, costs, error);
    }
    if (status == 0) {
        status = measure_smoothness(&measuring, costs, error);
    }
    if (status == 0) {
        measure_slabs(&measuring, costs);
    }
    subject->kernels->release(measuring.mean);
    subject->kernels->release(measuring.first);
    scratch_free(measuring.scratch);
    trial_fini(&measuring.trial);
    return status;
}

/* ---- choosing ---- */

double kavg_bound_at(const struct kavg_bound *bound, uint64_t k)
{
    const double s = bound->smoothness * bound->step, n = (double)k, delta = 1 - s * s;
    if (!(delta > 0) || !(1 - s * s * (n + 1) * (n - 2) / 2 - s * n >= 0)) {
        return INFINITY;
    }
    const double a = 2 * bound->loss / (bound->steps * bound->step) * (1 + bound->average / n);
    const double noise = s * bound->variance / bound->rows;
    return n / (n - 1 + delta) * (a + noise * (n / bound->learners + s * (2 * n - 1) * (n - 1) / 6));
}

static uint64_t least_bound(const struct kavg_bound *bound, uint64_t most)
{
    uint64_t best = 1;
    for (uint64_t k = 2; k <= most && k <= BOUND_MOST; k++) {
        if (kavg_bound_at(bound, k) < kavg_bound_at(bound, best)) {
            best = k;
        }
    }
    return best;
}

static uint64_t between(uint64_t least, uint64_t value, uint64_t most)
{
    return value < least ? least : value > most ? most : value;
}

/* Steps in proportion to speed; true: not all alike. */
static bool share_by_speed(const struct training *training, const struct kavg_costs *costs, uint64_t k,
                           struct learners_spec *learners)
{
    double fastest = INFINITY, slowest = 0;
    for (int i = 0; i < learners->count; i++) {
        fastest = fmin(fastest, costs->step_seconds[i]);
        slowest = fmax(slowest, costs->step_seconds[i]);
    }
    const bool uneven = slowest > speeds_differ * fastest && !learners->averaged_moments &&
                        !optimizer_is_schedule_free(training->optimizer.name);
    for (int i = 0; i < LEARNERS_MAX; i++) {
        const double share = uneven && i < learners->count ? fastest / costs->step_seconds[i] : 1;
        learners->local_steps[i] = between(1, (uint64_t)llround((double)k * share), k);
    }
    return uneven && k > 1;
}

void kavg_choose(const struct training *training, const struct kavg_costs *costs, uint64_t steps,
                 struct learners_spec *learners)
{
    const struct optimizer_spec *optimizer = &training->optimizer;
    const bool sgd = optimizer->name == OPTIMIZER_SGD, outer = learners->outer.name != OUTER_NONE;
    double step = 0;
    for (int i = 0; i < learners->count; i++) {
        step = fmax(step, costs->step_seconds[i]);
    }
    const double average = step > 0 ? costs->average_seconds / step : 0;
    const uint64_t cheap = (uint64_t)fmin(OUTER_MOST, fmax(1, ceil(average / overhead_most)));
    const uint64_t most = steps / 8 > 1 ? steps / 8 : 1;
    const struct kavg_bound bound = {.loss = costs->loss, .smoothness = costs->smoothness, .variance = costs->variance,
                                     .step = training->learning_rate / (sgd ? 1 - optimizer->momentum : 1),
                                     .rows = learners_rows(training, 0), .steps = (double)steps, .average = average,
                                     .learners = learners->count};
    uint64_t k;
    char reason[LEARNERS_WHY_BYTES / 2];
    if (sgd && !outer) {
        k = least_bound(&bound, most);
        snprintf(reason, sizeof reason, isfinite(kavg_bound_at(&bound, 1)) ?
                 "the bound of arXiv 1708.01012 (loss %.3g, smoothness %.3g, variance %.3g, step %.3g) is least at K %" PRIu64 :
                 "the bound of arXiv 1708.01012 needs a smaller step (loss %.3g, smoothness %.3g, variance %.3g, step %.3g): "
                 "K %" PRIu64, bound.loss, bound.smoothness, bound.variance, bound.step, k);
    } else {
        k = outer ? between(OUTER_LEAST, cheap, OUTER_MOST) : between(LOCAL_LEAST, cheap, LOCAL_MOST);
        const bool cut = k > most;
        k = cut ? most : k;
        snprintf(reason, sizeof reason, "no bound speaks of %s, %d to %d served others: K %" PRIu64 "%s", outer ?
                 "an outer step" : "this optimizer", outer ? OUTER_LEAST : LOCAL_LEAST, outer ? OUTER_MOST : LOCAL_MOST, k,
                 cut ? ", an eighth of a trial's steps" : "");
    }
    const bool uneven = share_by_speed(training, costs, k, learners);
    snprintf(learners->why, sizeof learners->why, "an average takes %.2g of a step (%.3g ms of %.3g ms), below a tenth of the "
             "time from K %" PRIu64 " on; %s%s", average, 1e3 * costs->average_seconds, 1e3 * step, cheap, reason,
             uneven ? "; slower learners take fewer steps" : "");
    learners->automatic = false;
}
