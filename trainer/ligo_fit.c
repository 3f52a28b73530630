#include "trainer/ligo_fit.h"

#include <math.h>

#include "base/fault.h"
#include "growth/ligo.h"
#include "growth/stage.h"
#include "trainer/scratch.h"

static const double BETA1 = 0.9, BETA2 = 0.999;

/* One fit under way. Slabs are the kernels'. */
struct fitting {
    struct ligo_fit *fit;
    struct training training;       /* of the stage's shape */
    struct ligo *ligo;
    struct scratch *scratch;
    void *before, *after;           /* weights */
    void *m, *v;                    /* of the learned numbers */
};

/* ---- sizes ---- */

static struct training stage_training(const struct training *training, const struct shape *shape)
{
    struct training cut = *training;
    if (cut.context > shape->context) {
        cut.context = shape->context;
    }
    return cut;
}

static int measure_stage(const struct growth_plan_stage *stage, const struct training *training,
                         const struct kernels *kernels, struct fit_need *need, struct error *error)
{
    const struct training cut = stage_training(training, &stage->to);
    struct ligo_need map;
    int status = ligo_measure(stage, kernels, &map, error);
    if (status != 0) {
        return status;
    }
    /* the old weights, and the new ones twice: where they are trained, and in the grown checkpoint */
    const size_t numbers = slab_floats(&stage->from) + 2 * slab_floats(&stage->to) + 2 * map.learned;
    const size_t bytes = map.bytes + numbers * sizeof(float), scratch = scratch_bytes(kernels, &stage->to, &cut);
    const double tokens = (double)cut.batch * cut.context;
    need->bytes = bytes > need->bytes ? bytes : need->bytes;
    need->scratch_bytes = scratch > need->scratch_bytes ? scratch : need->scratch_bytes;
    need->flops += stage->learned_steps *
                   (map.flops + tokens * objective_flops_per_token(&cut.objective, &stage->to, cut.context));
    return 0;
}

int ligo_fit_measure(const struct growth_plan *plan, const struct training *training, const struct kernels *kernels,
                     struct fit_need *need, struct error *error)
{
    int status = 0;
    *need = (struct fit_need){0};
    for (int i = 0; i < plan->stage_count && status == 0; i++) {
        if (plan->stages[i].learned_steps > 0) {
            status = measure_stage(&plan->stages[i], training, kernels, need, error);
        }
    }
    return status;
}

int candidate_measure(const struct growth_plan *plan, const struct training *training, const struct kernels *kernels,
                      struct candidate_need *need, struct error *error)
{
    struct fit_need fit;
    int status = ligo_fit_measure(plan, training, kernels, &fit, error);
    const size_t trial = trial_bytes(&plan->to, training), scratch = scratch_bytes(kernels, &plan->to, training);
    *need = (struct candidate_need){
        .bytes = fit.bytes > trial ? fit.bytes : trial,
        .scratch_bytes = fit.scratch_bytes > scratch ? fit.scratch_bytes : scratch,
        .growth_flops = fit.flops,
    };
    return status;
}

/* ---- a fit ---- */

static void fitting_fini(struct fitting *fitting)
{
    const struct kernels *kernels = fitting->fit->kernels;
    ligo_free(fitting->ligo);
    scratch_free(fitting->scratch);
    kernels->release(fitting->before);
    kernels->release(fitting->after);
    kernels->release(fitting->m);
    kernels->release(fitting->v);
}

static int fitting_init(struct fitting *fitting, struct ligo_fit *fit, const struct growth_transform *transform,
                        const struct checkpoint *before, const struct checkpoint *after, struct error *error)
{
    const struct kernels *kernels = fit->kernels;
    const struct shape *shape = &after->table.shape;
    *fitting = (struct fitting){.fit = fit, .training = stage_training(&fit->training, shape)};
    int status = objective_check(&fitting->training.objective, shape, fitting->training.context, error);
    if (status == 0) {
        status = ligo_new(&fitting->ligo, kernels, transform->stage, &before->table, &after->table, error);
    }
    if (status == 0) {
        status = ligo_start(fitting->ligo, transform, error);
    }
    if (status == 0) {
        status = scratch_new(&fitting->scratch, kernels, &after->table, &fitting->training, error);
    }
    if (status != 0) {
        return status;
    }
    const size_t learned = ligo_learned(fitting->ligo) * kernels->element;
    fitting->before = kernels->alloc(before->table.slab * kernels->element);
    fitting->after = kernels->alloc(after->table.slab * kernels->element);
    fitting->m = kernels->alloc(learned);
    fitting->v = kernels->alloc(learned);
    if (fitting->before == NULL || fitting->after == NULL || fitting->m == NULL || fitting->v == NULL) {
        return error_set(error, ERROR_NO_MEMORY, "No memory to fit a learned growth.");
    }
    kernels->upload(fitting->before, before->weights, before->table.slab * sizeof(float));
    return 0;
}

/* Linear decay from the rate to 0. */
static double fit_rate(const struct fitting *fitting, uint64_t step, uint64_t steps)
{
    const struct training *training = &fitting->training;
    double rate = training->learning_rate;
    if (training->optimizer.name != OPTIMIZER_ADAMW) {
        rate = training_default_rate(OPTIMIZER_ADAMW, SCHEDULE_CONSTANT, fitting->scratch->table.shape.width);
    }
    return rate * (1 - (double)step / (double)steps);
}

static void update(struct fitting *fitting, double gradient_scale, double rate, uint64_t step)
{
    const struct kernels *kernels = fitting->fit->kernels;
    const struct optimizer_spec *spec = &fitting->training.optimizer;
    const struct adamw_step adamw = {
        .rate = rate, .beta1 = BETA1, .beta2 = BETA2, .epsilon = spec->epsilon, .decay = spec->weight_decay,
        .gradient_scale = gradient_scale, .correction1 = 1 - pow(BETA1, (double)step + 1),
        .correction2 = 1 - pow(BETA2, (double)step + 1),
    };
    for (int i = 0; i < ligo_part_count(fitting->ligo); i++) {
        const struct ligo_part part = ligo_part_at(fitting->ligo, i);
        const size_t at = part.offset * kernels->element;
        kernels->adamw(&adamw, part.values, (char *)fitting->m + at, (char *)fitting->v + at,
                       (const char *)ligo_gradient(fitting->ligo) + at, part.count);
    }
}

/* One step; *finite: false ended it before anything was changed. */
static int fit_step(struct fitting *fitting, uint64_t step, uint64_t steps, bool *finite, struct error *error)
{
    struct ligo_fit *fit = fitting->fit;
    const struct training *training = &fitting->training;
    const struct batch_place place = {training, fit->sampler, fit->seed_index, training->steps + step, NULL, NULL};
    struct gradient_sum gradient = {0};
    FAULT_POINT(fit_step);
    ligo_materialize(fitting->ligo, fitting->before, fitting->after);
    int status = gradient_of_batch(&place, fitting->after, fitting->scratch, fit->train, fit->stop, &gradient, error);
    if (status != 0) {
        return status;
    }
    ligo_adjoint(fitting->ligo, fitting->before, fitting->scratch->gradients);
    const double squares = fit->kernels->sum_squares(ligo_gradient(fitting->ligo), ligo_learned(fitting->ligo));
    const double norm = gradient.scale * sqrt(squares);
    *finite = isfinite(gradient.loss) && isfinite(norm);
    if (step == 0) {
        fit->first_loss = gradient.loss;
    }
    fit->last_loss = gradient.loss;
    if (*finite) {
        update(fitting, gradient.scale * clip_scale(training->clip, norm), fit_rate(fitting, step, steps), step);
    }
    return 0;
}

static int learn(void *owner, const struct growth_transform *transform, const struct checkpoint *before,
                 struct checkpoint *after, struct error *error)
{
    struct ligo_fit *fit = owner;
    const uint64_t steps = (uint64_t)transform->stage->learned_steps;
    struct fitting fitting;
    bool finite = true;
    int status = fitting_init(&fitting, fit, transform, before, after, error);
    fit->steps_done = 0;
    for (uint64_t step = 0; status == 0 && finite && step < steps; step++) {
        status = fit_step(&fitting, step, steps, &finite, error);
        fit->steps_done += status == 0 && finite;
    }
    if (status == 0) {
        ligo_materialize(fitting.ligo, fitting.before, fitting.after);
        fit->kernels->download(after->weights, fitting.after, after->table.slab * sizeof(float));
    }
    fitting_fini(&fitting);
    return status;
}

struct growth_learner ligo_fit_learner(struct ligo_fit *fit)
{
    return (struct growth_learner){.owner = fit, .learn = learn};
}
