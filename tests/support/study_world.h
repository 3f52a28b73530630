/* A world of made-up curves for tests of the study room: candidates whose losses are given by a function,
 * validation windows with effects common to all and noise of each, and a scheduler that lends trials to workers
 * which finish in any order. */
#ifndef TESTS_STUDY_WORLD_H
#define TESTS_STUDY_WORLD_H

#include "study/study.h"

struct world;
typedef double world_loss(const struct world *world, int candidate, double step);

struct world {
    struct study_spec spec;
    struct study study;
    world_loss *averaged, *raw;       /* raw NULL: as averaged */
    double window_noise;              /* sd of a candidate's own effect on one window; 0.02 */
    double jitter;                    /* sd of the averaged loss at one point, independent; 0 */
    float *effects;                   /* (candidates, windows), means exactly about 0 */
    float *losses;                    /* scratch, windows */
};

/* `count` candidates named c0, c1 …; k auto, k_min 50, cap and horizon as given, no warm-up; 60 windows. */
void world_init(struct world *world, int count, uint64_t max_k, uint64_t horizon, world_loss *averaged);
/* After changing the spec: the study anew, from nothing. */
int world_restart(struct world *world, struct error *error);
void world_fini(struct world *world);
/* Records the point of the world's functions. */
int world_point(struct world *world, int candidate, uint64_t step, struct error *error);
/* Runs with so many workers; who finishes next is drawn from `seed`. Until finished or nothing is left to do. */
int world_run(struct world *world, int workers, uint64_t seed, struct error *error);

#endif
