#include "server/pump.h"

#include <string.h>

#include "base/fault.h"
#include "base/memory.h"
#include "server/run_stages.h"
#include "server/service_state.h"

/* A resident trial that may leave memory: it waits at a barrier with its state on disk, or it can be grown again. */
static bool may_park(const struct seat *seat)
{
    const struct run *run = seat->run;
    bool on_disk = seat->saved && seat->saved_step == seat->trial.step;

    if (!seat->resident || seat->state != SEAT_IDLE || seat->commits_pending > 0)
        return false;
    if (run->phase == RUN_GROWING)
        return true;
    return (on_disk || seat->trial.step == 0 || seat->trial.diverged)
           && study_candidate_work(&run->study, seat->candidate).kind == WORK_NONE;
}

static bool park_one(struct service *service)
{
    for (struct run *run = service->runs; run; run = run->next)
        for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
            if (may_park(&run->seats[i])) {
                FAULT_POINT(park);
                seat_release(&run->seats[i]);
                return true;
            }
    return false;
}

static bool take_memory(struct seat *seat)
{
    struct service *service = seat->run->service;

    while (!service_memory_take(service, seat->trial_bytes))
        if (!park_one(service))
            return false;
    seat->bytes = seat->trial_bytes;
    return true;
}

static bool lend_grow(struct run *run, int slot)
{
    for (int i = 0; i < run->spec.candidate_count; i++) {
        struct seat *seat = &run->seats[i];

        if (seat->state == SEAT_EMPTY && !seat->known && !run->study.candidates[i].grown) {
            if (!take_memory(seat))
                return false;
            seat_grow(seat, slot);
            return true;
        }
    }
    return false;
}

static bool bring_in(struct seat *seat, int slot)
{
    struct error ignored = { 0 };
    char path[FILE_PATH_BYTES];

    if (!take_memory(seat))
        return false;
    if (!seat->damaged && run_saved_trial(seat->run, seat->candidate, path, &ignored) == 0 && file_exists(path))
        seat_load(seat, slot);
    else
        seat_grow(seat, slot);
    return true;
}

static bool lend_work(struct run *run, int slot)
{
    bool busy[SPEC_CANDIDATES_MAX];

    for (int i = 0; i < run->spec.candidate_count; i++)
        busy[i] = (run->seats[i].state != SEAT_IDLE && run->seats[i].state != SEAT_EMPTY)
                  || seat_measured_elsewhere(&run->seats[i], slot);
    for (;;) {
        struct work work = study_next_work(&run->study, busy);
        struct seat *seat;

        if (work.kind == WORK_NONE)
            return false;
        seat = &run->seats[work.candidate];
        if (seat->resident) {
            seat_lend(seat, slot, &work);
            return true;
        }
        if (bring_in(seat, slot))
            return true;
        busy[work.candidate] = true;        /* no room now: somebody else first */
    }
}

/* A candidate more at a time comes first; a worker that finds none helps in a round that is under way. */
static bool lend_learner(struct run *run, int slot)
{
    for (int i = 0; i < run->spec.candidate_count; i++)
        if (seat_has_idle_learner(&run->seats[i])) {
            seat_lend_learner(&run->seats[i], slot, 0);
            return true;
        }
    return false;
}

static void retry_saves(struct run *run)
{
    for (int i = 0; run->seats && i < run->spec.candidate_count; i++)
        if (run->seats[i].state == SEAT_WAITING && run->seats[i].commits_pending == 0)
            seat_save_again(&run->seats[i]);
}

static bool lend_one(struct service *service, int slot)
{
    for (struct run *run = service->runs; run; run = run->next) {
        if (run->intent != INTENT_GO || run->retry_ns)
            continue;
        if (run->phase == RUN_GROWING && lend_grow(run, slot))
            return true;
        if (run->phase == RUN_ACTIVE && !run->study.finished && (lend_work(run, slot) || lend_learner(run, slot)))
            return true;
    }
    return false;
}

/* On any free slot: what one has nothing for may go on on another, where its measurement lies. */
static bool lend_any(struct service *service)
{
    for (int i = 0; i < service->options.workers; i++)
        if (!service->slots[i].busy && lend_one(service, i))
            return true;
    return false;
}

void pump(struct service *service)
{
    struct run *run, *next;

    for (run = service->runs; run; run = next) {
        next = run->next;
        if (!run->retry_ns || run->intent != INTENT_GO)
            retry_saves(run);
        run_advance(run);
    }
    while (lend_any(service))
        continue;
}
