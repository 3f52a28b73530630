#include "trainer/slice.h"

#include "base/fault.h"
#include "trainer/kavg.h"

enum { SLICE_STEPS_MAX = 1 << 20 };

uint64_t slice_steps(const struct shape *shape, const struct training *training, double seconds,
                     double flops_per_second)
{
    const double tokens = (double)learners_rows(training, 0) * training->context;
    const double per_token = objective_flops_per_token(&training->objective, shape, training->context);
    const double steps = seconds * flops_per_second / (per_token * tokens);
    if (!(steps > 1)) {
        return 1;
    }
    return steps < SLICE_STEPS_MAX ? (uint64_t)steps : SLICE_STEPS_MAX;
}

static int slice_learner(struct slice *slice)
{
    const struct kavg_work work = {slice->learner, slice->steps_limit, slice->scratch, slice->train, &slice->stop};
    return kavg_run(slice->trial, &work, &slice->steps_done, &slice->error);
}

static int slice_join(struct slice *slice)
{
    const uint64_t before = slice->trial->step;
    kavg_join(slice->trial, slice->scratch);
    slice->steps_done = slice->trial->step - before;
    return 0;
}

static int one_step(struct slice *slice)
{
    struct trial *trial = slice->trial;
    if (trial->kavg != NULL) {
        return kavg_round(trial, slice->until_step, slice->scratch, slice->train, &slice->stop, &slice->error);
    }
    return trial_step(trial, slice->scratch, slice->train, &slice->stop, &slice->error);
}

static int slice_train(struct slice *slice)
{
    struct trial *trial = slice->trial;
    while (trial->step < slice->until_step && slice->steps_done < slice->steps_limit && !trial->diverged) {
        const uint64_t before = trial->step;
        int status = one_step(slice);
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
    if (slice->landscape != NULL) {
        slice->status = landscape_advance(slice->landscape, slice->train, slice->evaluation_tokens, &slice->stop,
                                          &slice->evaluation_finished, &slice->error);
    } else if (slice->evaluation != NULL) {
        slice->status = trial_evaluate(slice->trial, slice->scratch, slice->valid, slice->evaluation,
                                       slice->evaluation_tokens, &slice->stop, &slice->evaluation_finished,
                                       &slice->error);
    } else if (slice->part == SLICE_LEARNER) {
        slice->status = slice_learner(slice);
    } else if (slice->part == SLICE_JOIN) {
        slice->status = slice_join(slice);
    } else {
        slice->status = slice_train(slice);
    }
    FAULT_POINT(slice_done);
}

void slice_job_run(struct pool_job *job)
{
    slice_run((struct slice *)job);
}
