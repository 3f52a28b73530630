/* What the tests of learners share: the tiny world of a trial with 8 rows a step, and its learners. Header only. */
#ifndef TESTS_TRAINER_KAVG_WORLD_H
#define TESTS_TRAINER_KAVG_WORLD_H

#include "tests/support/support.h"

#include <math.h>

#include "tests/trainer/fixture.h"
#include "trainer/kavg.h"
#include "trainer/optimizer.h"
#include "trainer/scratch.h"

enum { STEPS = 12 };

static struct fixture *fixture;

static inline int setup(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels_cpu(), &shape);
    fixture->options.training.batch = 8;
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

static inline struct learners_spec *learners(int count, uint64_t every)
{
    struct learners_spec *spec = &fixture->options.training.learners;
    *spec = learners_defaults();
    spec->count = count;
    for (int i = 0; i < count; i++)
        spec->local_steps[i] = every;
    return spec;
}

static inline size_t slab(void)
{
    return fixture->checkpoint.table.slab;
}

#endif
