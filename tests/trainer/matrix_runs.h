/* Runs of the matrix: a combination is trained for 12 steps, saved at 6 and gone on with in a trial of its own, exported at 6
 * and gone on with from the files, and compared with the combinations that have the default instead of one of its rows. Weights
 * of a world's combinations are kept, so that each is trained once. */
#ifndef TESTS_TRAINER_MATRIX_RUNS_H
#define TESTS_TRAINER_MATRIX_RUNS_H

#include "tests/trainer/matrix.h"

#include <math.h>

#include "trainer/kavg.h"

enum { MATRIX_HALF = MATRIX_STEPS / 2 };
/* Distances of weights over the way from the start: rows differ by more than the rounding of another order of additions,
 * which is all that a joint step may differ by. */
#define MATRIX_DIFFERENCE 2e-3
#define MATRIX_JOINT 2e-4

struct matrix_world {
    int family;
    struct fixture *fixture;
    struct shape base;             /* half as wide, a third as deep: laws are not 1 */
    float **weights;               /* by matrix_index; NULL: not trained yet */
    int runs, continued;           /* combinations gone through; of these from files */
    double least, joint;           /* smallest difference of a row, largest of a joint one */
};

static inline size_t matrix_index(const struct combination *c)
{
    size_t index = 0;
    for (int axis = MATRIX_FAMILY + 1; axis < MATRIX_TRAINED; axis++)
        index = index * (size_t)matrix_sizes[axis] + (size_t)c->at[axis];
    return index;
}

static inline size_t matrix_count(void)
{
    size_t count = 1;
    for (int axis = MATRIX_FAMILY + 1; axis < MATRIX_TRAINED; axis++)
        count *= (size_t)matrix_sizes[axis];
    return count;
}

static inline void matrix_world_open(struct matrix_world *world, int family)
{
    *world = (struct matrix_world){.family = family, .least = INFINITY};
    world->fixture = family_fixture(&family_worlds[family], kernels_cpu(), MATRIX_BATCH);
    world->weights = memory_array(matrix_count(), sizeof *world->weights);
    assert_non_null(world->weights);
    memset(world->weights, 0, matrix_count() * sizeof *world->weights);
    struct shape *base = &world->base;
    *base = family_worlds[family].shape;
    base->width /= 2, base->heads /= 2, base->kv_heads /= 2, base->ff /= 2;
    base->layers = 1;
    base->decoder_layers = base->decoder_layers > 0 ? 1 : 0;
}

static inline void matrix_world_close(struct matrix_world *world)
{
    for (size_t i = 0; i < matrix_count(); i++)
        memory_free(world->weights[i]);
    memory_free(world->weights);
    fixture_free(world->fixture);
}

static inline struct trial_options matrix_options(const struct matrix_world *world, const struct combination *c)
{
    struct trial_options options = world->fixture->options;
    options.training = matrix_training(c);
    options.base = world->base;
    return options;
}

static inline void matrix_train(const struct matrix_world *world, struct trial *trial, uint64_t until)
{
    struct scratch *scratch;
    struct error error = {0};
    assert_ok(scratch_new(&scratch, trial->options.kernels, &trial->table, &trial->options.training, &error), &error);
    while (trial->step < until && !trial->diverged)
        assert_ok(trial->kavg != NULL ? kavg_round(trial, until, scratch, &world->fixture->train, NULL, &error)
                                      : trial_step(trial, scratch, &world->fixture->train, NULL, &error), &error);
    assert_int_equal(trial->step, until);
    assert_false(trial->diverged);
    scratch_free(scratch);
}

/* What is evaluated. */
static inline void matrix_keep(struct matrix_world *world, const struct combination *c, const struct trial *trial)
{
    const size_t bytes = trial->table.slab * sizeof(float);
    float **kept = &world->weights[matrix_index(c)];
    if (*kept != NULL)
        return;
    *kept = memory_new(bytes);
    assert_non_null(*kept);
    memcpy(*kept, trial->average != NULL ? trial->average : trial->learners->weights, bytes);
}

static inline const float *matrix_weights(struct matrix_world *world, const struct combination *c)
{
    if (world->weights[matrix_index(c)] == NULL) {
        const struct trial_options options = matrix_options(world, c);
        struct trial trial;
        struct error error = {0};
        assert_ok(trial_init(&trial, &world->fixture->checkpoint, &options, &error), &error);
        matrix_train(world, &trial, MATRIX_STEPS);
        matrix_keep(world, c, &trial);
        trial_fini(&trial);
    }
    return world->weights[matrix_index(c)];
}

/* ---- what must hold of a combination ---- */

/* An exported trial that loses nothing goes on as if it had never stopped. */
static inline void matrix_goes_on_from_files(struct matrix_world *world, struct trial_options options,
                                             const struct checkpoint *half, const struct trial *whole)
{
    struct trial trial;
    struct error error = {0};
    options.from_raw = true;
    assert_ok(trial_init(&trial, half, &options, &error), &error);
    assert_int_equal(trial.step, MATRIX_HALF);
    matrix_train(world, &trial, MATRIX_STEPS);
    assert_memory_equal(trial.learners->weights, whole->learners->weights, trial.table.slab * sizeof(float));
    trial_fini(&trial);
    world->continued++;
}

static inline void matrix_file_is_refused_by(struct matrix_world *world, const struct combination *c, const char *path)
{
    const struct trial_options options = matrix_options(world, c);
    struct trial trial;
    struct error error = {0};
    assert_ok(trial_init_empty(&trial, &world->fixture->checkpoint.table.shape, &options, &error), &error);
    assert_fails(trial_load(&trial, path, &error), ERROR_DAMAGED, &error);
    trial_fini(&trial);
}

/* Euclidean, over the first one's way from the start. */
static inline double matrix_distance(const float *one, const float *other, const float *start, size_t count)
{
    double apart = 0, way = 0;
    for (size_t i = 0; i < count; i++) {
        apart += pow((double)one[i] - (double)other[i], 2);
        way += pow((double)one[i] - (double)start[i], 2);
    }
    return sqrt(apart / way);
}

/* Each row beside the same with the axis's default: other weights, and a file of another trial. */
static inline void matrix_rows_differ(struct matrix_world *world, const struct combination *c, const char *path)
{
    const float *own = matrix_weights(world, c);
    const size_t slab = world->fixture->checkpoint.table.slab;
    for (int axis = MATRIX_FAMILY + 1; axis < MATRIX_TRAINED; axis++) {
        struct combination plain = *c;
        if (c->at[axis] == 0)
            continue;
        plain.at[axis] = 0;
        assert_int_equal(matrix_broken_rules(&plain), 0);
        const double apart = matrix_distance(own, matrix_weights(world, &plain), world->fixture->checkpoint.weights, slab);
        const bool joint = axis == MATRIX_LEARNERS && matrix_learners[c->at[axis]].joint;
        /* a router's balance is counted in each learner's rows: another loss, but hardly */
        const bool balanced = joint && family_worlds[world->family].shape.router_aux > 0;
        if (balanced ? !(apart > 0) : joint ? !(apart < MATRIX_JOINT) : !(apart > MATRIX_DIFFERENCE))
            fail_msg("%s: %s is %.2e from %s", matrix_title(c), matrix_name(axis, c->at[axis]), apart, matrix_name(axis, 0));
        world->least = joint ? world->least : fmin(world->least, apart);
        world->joint = joint && !balanced ? fmax(world->joint, apart) : world->joint;
        matrix_file_is_refused_by(world, &plain, path);
    }
}

static inline void matrix_run(struct matrix_world *world, const struct combination *c)
{
    const struct trial_options options = matrix_options(world, c);
    const struct training *training = &options.training;
    const struct shape *shape = &world->fixture->checkpoint.table.shape;
    struct checkpoint half;
    struct trial whole, resumed;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    assert_ok(trial_init(&whole, &world->fixture->checkpoint, &options, &error), &error);
    matrix_train(world, &whole, MATRIX_HALF);
    assert_ok(trial_save(&whole, test_path(path, world->fixture->directory, "trial"), &error), &error);
    assert_ok(checkpoint_init(&half, shape, &error), &error);
    assert_ok(trial_export(&whole, &half, &error), &error);
    matrix_train(world, &whole, MATRIX_STEPS);
    matrix_keep(world, c, &whole);
    assert_ok(trial_init_empty(&resumed, shape, &options, &error), &error);
    assert_ok(trial_load(&resumed, path, &error), &error);
    matrix_train(world, &resumed, MATRIX_STEPS);
    assert_trials_equal(&whole, &resumed);
    if (learners_warning(training) == NULL && training->average.kind == AVERAGE_NONE)
        matrix_goes_on_from_files(world, options, &half, &whole);
    matrix_rows_differ(world, c, path);
    checkpoint_fini(&half);
    trial_fini(&whole);
    trial_fini(&resumed);
    world->runs++;
}

#endif
