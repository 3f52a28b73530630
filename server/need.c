#include "server/need.h"

#include "growth/plan.h"
#include "server/service_state.h"

int need_of_study(const struct service *service, const struct study_spec *spec, const struct shape *parent,
                  struct need *need, struct error *error)
{
    uint64_t largest = 0, scratch = 0, all = 0;

    for (int i = 0; i < spec->candidate_count; i++) {
        struct candidate_need needs;
        struct growth_plan plan;
        if (growth_plan_init(&plan, parent, &spec->candidates[i].operators, error))
            return (int)error->code;
        candidate_measure(&plan, &spec->training, service->kernels, &needs, error);
        needs.scratch_bytes += landscape_bytes(service->kernels, &plan.to, &spec->training, &spec->landscape);
        all += trial_bytes(&plan.to, &spec->training);
        growth_plan_fini(&plan);
        if (error->code)
            return (int)error->code;
        largest = needs.bytes > largest ? needs.bytes : largest;
        scratch = needs.scratch_bytes > scratch ? needs.scratch_bytes : scratch;
    }
    int together = spec->candidate_count < service->options.workers ? spec->candidate_count
                                                                     : service->options.workers;
    need->memory = (uint64_t)together * largest + (uint64_t)service->options.workers * scratch;
    need->disk = 2 * all;
    need->trial = largest;
    return 0;
}

static double mebibytes(uint64_t bytes)
{
    return (double)bytes / (1 << 20);
}

int need_check(const struct service *service, const struct need *need, struct error *error)
{
    uint64_t free_bytes = 0;

    if (file_free_bytes(service->store.directory, &free_bytes, error))
        return (int)error->code;
    if (need->memory > service->options.memory_bytes)
        return error_set_at(error, ERROR_INVALID, "/candidates", "training needs %.2f MiB with one trial per worker, the "
                            "limit is %.2f MiB; raise --memory, lower --workers or training.batch, or grow less",
                            mebibytes(need->memory), mebibytes(service->options.memory_bytes));
    if (need->disk > free_bytes)
        return error_set(error, ERROR_DISK_FULL, "the study may write %.2f MiB, the store's disk has %.2f MiB free; free "
                         "some space or send fewer candidates", mebibytes(need->disk), mebibytes(free_bytes));
    return 0;
}
