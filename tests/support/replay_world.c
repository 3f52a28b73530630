#include "tests/support/replay_world.h"

#include <math.h>
#include <stdio.h>

#include "tests/support/support.h"

void world_fill(struct world *world)
{
    for (int i = 0; i < world->spec.candidate_count; i++)
        for (int g = 0; g < world->study.grid.count; g++)
            assert_int_equal(world_point(world, i, world->study.grid.steps[g], NULL), 0);
}

void world_replay(const struct world *world, struct replay *replay)
{
    struct error error = { 0 };
    assert_ok(replay_init(replay, world->spec.candidate_count, world->study.windows, &error), &error);
    replay->spec.training = world->spec.training;
    replay->spec.selection = world->spec.selection;
    replay->study.tokens_per_step = world->study.tokens_per_step;
    for (int i = 0; i < world->spec.candidate_count; i++) {
        const struct curve *curve = &world->study.candidates[i].curve;
        snprintf(replay->spec.candidates[i].name, sizeof replay->spec.candidates[i].name, "%s", world->spec.candidates[i].name);
        for (int j = 0; j < curve->count; j++)
            assert_ok(curve_append(&replay->study.candidates[i].curve, &curve->points[j], &error), &error);
    }
    assert_ok(replay_finish(replay, UINT64_MAX, &error), &error);
}

double upside_down_loss(int candidate, double step)
{
    static const double shift[] = { 0, .02, -.02, .03, -.03, .01, 0, -.01 };
    double share = (log(step + 10) - log(110)) / (log(1000) - log(110));
    double start = 1.8 + 0.04 * candidate + shift[candidate], end = 1.7 - 0.03 * candidate;
    return start + (end - start) * share;
}

static double averaged(const struct world *world, int candidate, double step)
{
    (void)world;
    return upside_down_loss(candidate, step);
}

/* Those that start high recover within the first 50 steps. */
static double raw(const struct world *world, int candidate, double step)
{
    (void)world;
    return upside_down_loss(candidate, step < 60 ? 60 : step) + (candidate > 2 ? 1.2 * exp(-step / 12) : 0);
}

void upside_down_world_init(struct world *world, uint64_t max_k)
{
    world_init(world, 8, max_k, 20000, averaged);
    world->spec.training.schedule.warmup_steps = 60;
    world->spec.selection.k_min = 120;
    world->jitter = 2e-4;
    world->raw = raw;
}
