/* Golden curves for tests of rules: a world's curves as a replay. */
#ifndef TESTS_REPLAY_WORLD_H
#define TESTS_REPLAY_WORLD_H

#include "study/replay.h"
#include "tests/support/study_world.h"

/* Every point of the world's grid, for everybody; nothing is decided. */
void world_fill(struct world *world);
/* The world's points as a replay of its own; replay_fini. */
void world_replay(const struct world *world, struct replay *replay);

/* As on real curves: who starts low ends high, the order turns over between 250 and 500, knees before 60. Eight
 * candidates, "c7" is best in the end; the horizon is 20,000 steps. */
void upside_down_world_init(struct world *world, uint64_t max_k);
double upside_down_loss(int candidate, double step);

#endif
