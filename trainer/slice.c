#include "trainer/slice.h"

#include "base/fault.h"

enum { SLICE_STEPS_MAX = 1 << 20 };

uint64_t slice_steps(const struct shape *shape, const struct training *training, double seconds,
                     double flops_per_second)
{
    const double tokens = (double)training->batch * training->context;
    const double per_token = objective_flops_per_token(&training->objective, shape, training->context);
    const double steps = seconds * flops_per_second / (per_token * tokens);
    if (!(steps > 1)) {
        return 1;
    }
    return steps < SLICE_STEPS_MAX ? (uint64_t)steps : SLICE_STEPS_MAX;
}

static int slice_train(struct slice *slice)
{
    struct trial *trial = slice->trial;
    while (trial->step < slice->until_step && slice->steps_done < slice->steps_limit && !trial->diverged) {
        const uint64_t before = trial->step;
        int status = trial_step(trial, slice->scratch, slice->train, &slice->stop, &slice->error);
        if (status != 0) {
            return status;
        }
        slice->steps_done += trial->step - before;
    }
    return 0;
}

void slice_run(struct slice *slice)
{
    error_clear(&slice->error);
    slice->steps_done = 0;
    slice->evaluation_finished = false;
    if (slice->evaluation != NULL) {
        slice->status = trial_evaluate(slice->trial, slice->scratch, slice->valid, slice->evaluation,
                                       slice->evaluation_tokens, &slice->stop, &slice->evaluation_finished,
                                       &slice->error);
    } else {
        slice->status = slice_train(slice);
    }
    FAULT_POINT(slice_done);
}

void slice_job_run(struct pool_job *job)
{
    slice_run((struct slice *)job);
}
