#include "server/learners_auto.h"

#include "base/clock.h"
#include "growth/plan.h"
#include "model/kernels.h"
#include "trainer/kavg_auto.h"

/* How much more a step and an average take in the candidate of most operations than in the parent. */
static int largest_factors(const struct study_spec *spec, const struct shape *parent, struct kavg_subject *subject,
                           struct error *error)
{
    const struct training *training = &spec->training;
    double own = objective_flops_per_token(&training->objective, parent, training->context);

    for (int i = 0; i < spec->candidate_count; i++) {
        struct growth_plan plan;
        if (growth_plan_init(&plan, parent, &spec->candidates[i].operators, error))
            return (int)error->code;
        double factor = objective_flops_per_token(&training->objective, &plan.to, training->context) / own;
        double floats = (double)trial_slab_bytes(&plan.to, training) / (double)trial_slab_bytes(parent, training);
        subject->step_factor = factor > subject->step_factor ? factor : subject->step_factor;
        subject->average_factor = floats > subject->average_factor ? floats : subject->average_factor;
        growth_plan_fini(&plan);
    }
    return 0;
}

int learners_auto_study(struct study_spec *spec, const struct checkpoint *parent, const struct corpus *train,
                        struct error *error)
{
    struct training *training = &spec->training;
    struct training measured = *training;
    struct clock clock = clock_system();
    struct kavg_subject subject = { .kernels = kernels_cpu(), .checkpoint = parent, .training = &measured,
                                    .sampler = spec->data.sampler, .train = train, .clock = &clock };
    struct kavg_costs costs;

    if (!training->learners.automatic || largest_factors(spec, &parent->table.shape, &subject, error))
        return (int)error->code;
    if (measured.context > parent->table.shape.context)      /* of positions that candidates grow */
        measured.context = parent->table.shape.context;
    if (kavg_measure(&subject, &costs, error) == 0)
        kavg_choose(training, &costs, spec->selection.max_k, &training->learners);
    return (int)error->code;
}

int learners_auto_model(struct training *training, const struct checkpoint *checkpoint, enum sampler sampler,
                        const struct corpus *train, struct error *error)
{
    struct clock clock = clock_system();
    struct kavg_subject subject = { .kernels = kernels_cpu(), .checkpoint = checkpoint, .training = training,
                                    .sampler = sampler, .train = train, .clock = &clock, .step_factor = 1,
                                    .average_factor = 1 };
    struct kavg_costs costs;

    if (training->learners.automatic && kavg_measure(&subject, &costs, error) == 0)
        kavg_choose(training, &costs, training->steps, &training->learners);
    return (int)error->code;
}
