#include "tests/support/study_world.h"

#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/rng.h"

static void draw_effects(struct world *world, int windows)
{
    for (int i = 0; i < world->spec.candidate_count; i++) {
        struct rng rng = rng_stream(99, (uint64_t)i, RNG_PROBE);
        double mean = 0;
        for (int w = 0; w < windows; w++) {
            world->effects[i * windows + w] = (float)rng_normal(&rng);
            mean += (double)world->effects[i * windows + w] / windows;
        }
        for (int w = 0; w < windows; w++)
            world->effects[i * windows + w] -= (float)mean;
    }
}

void world_init(struct world *world, int count, uint64_t max_k, uint64_t horizon, world_loss *averaged)
{
    enum { WINDOWS = 60 };
    *world = (struct world){ .averaged = averaged, .window_noise = 0.02 };
    struct study_spec *spec = &world->spec;
    spec->candidates = memory_array((size_t)count, sizeof *spec->candidates);
    spec->candidate_count = count;
    for (int i = 0; i < count; i++)
        snprintf(spec->candidates[i].name, sizeof spec->candidates[i].name, "c%d", i);
    spec->training.steps = horizon;
    spec->training.batch = 16;
    spec->training.context = 64;
    spec->training.seed = 1;
    spec->selection = (struct spec_selection){ .k_auto = true, .max_k = max_k, .k_min = 50,
                                               .valid_tokens = WINDOWS * 64, .raw_share = 0.25, .confidence = 0.95,
                                               .rank_by = RANK_BY_LOSS };
    world->effects = memory_array((size_t)count * WINDOWS, sizeof *world->effects);
    world->losses = memory_array(WINDOWS, sizeof *world->losses);
    draw_effects(world, WINDOWS);
    study_init(&world->study, spec, WINDOWS, NULL);
}

int world_restart(struct world *world, struct error *error)
{
    int windows = world->study.windows;
    study_fini(&world->study);
    return study_init(&world->study, &world->spec, windows, error);
}

void world_fini(struct world *world)
{
    study_fini(&world->study);
    memory_free(world->spec.candidates);
    memory_free(world->effects);
    memory_free(world->losses);
}

int world_point(struct world *world, int candidate, uint64_t step, struct error *error)
{
    int windows = world->study.windows;
    struct rng rng = rng_stream(7, (uint64_t)candidate * 1000003 + step, RNG_PROBE);
    double loss = world->averaged(world, candidate, (double)step) + world->jitter * rng_normal(&rng), mean = 0;
    for (int w = 0; w < windows; w++) {
        double common = 0.3 * sin(1.7 * w) - 0.3 * sin(1.7 * (windows - 1 - w));
        world->losses[w] = (float)(loss + common + world->window_noise * world->effects[candidate * windows + w]);
        mean += world->losses[w];
    }
    struct point point = { .step = step, .tokens = step * 1024, .losses = world->losses, .loss = mean / windows,
                           .standard_error = 0.01, .flops = (double)step * 1024 * 1e6 };
    point.raw_loss = world->raw ? world->raw(world, candidate, (double)step) : point.loss;
    return study_point(&world->study, candidate, &point, error);
}

static int decide_all(struct study *study, struct error *error)
{
    struct error own = { 0 };
    while (study_decide(study, &own).kind != DECISION_NONE)
        ;
    return own.code ? error_set(error, own.code, "%s", own.message) : 0;
}

int world_run(struct world *world, int workers, uint64_t seed, struct error *error)
{
    struct study *study = &world->study;
    struct work lent[SPEC_CANDIDATES_MAX];
    bool busy[SPEC_CANDIDATES_MAX] = { false };
    struct rng rng = rng_stream(seed, 0, RNG_DATA);
    int count = 0, undecided = decide_all(study, error);
    if (undecided)
        return undecided;
    for (;;) {
        while (count < workers) {
            struct work work = study_next_work(study, busy);
            if (work.kind == WORK_NONE)
                break;
            busy[work.candidate] = true;
            lent[count++] = work;
        }
        if (count == 0)
            return 0;
        int who = (int)rng_below(&rng, (uint64_t)count), failed = 0;
        struct work work = lent[who];
        lent[who] = lent[--count];
        busy[work.candidate] = false;
        if (work.kind == WORK_TRAIN)
            study_trained(study, work.candidate, work.step);
        else
            failed = world_point(world, work.candidate, work.step, error);
        if (failed)
            return failed;
        failed = decide_all(study, error);
        if (failed)
            return failed;
    }
}
