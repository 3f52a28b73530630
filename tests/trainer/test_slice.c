#include "tests/support/support.h"

#include <uv.h>

#include "tests/trainer/fixture.h"
#include "trainer/slice.h"

enum { TRIALS = 5, STEPS = 18, WINDOWS = 20, RAW = 5 };

/* Several trials of one study, each advanced slice by slice: train, evaluate at the end, as a driver would. */
struct running {
    struct fixture *fixture;
    struct pool *pool;
    struct trial trials[TRIALS];
    struct slice slices[TRIALS];
    struct evaluation evaluations[TRIALS];
    float losses[TRIALS][WINDOWS], raw_losses[TRIALS][RAW];
    int handed_back, finished;
};

static void next_slice(struct running *running, struct slice *slice);

static void slice_done(struct pool_job *job, bool cancelled)
{
    struct slice *slice = (struct slice *)job;
    struct running *running = job->owner;
    assert_false(cancelled);
    assert_ok(slice->status, &slice->error);
    running->handed_back++;
    if (slice->evaluation != NULL && slice->evaluation_finished) {
        running->finished++;
        return;
    }
    next_slice(running, slice);
}

static void next_slice(struct running *running, struct slice *slice)
{
    const int index = (int)(slice - running->slices);
    slice->evaluation = slice->trial->step == STEPS ? &running->evaluations[index] : NULL;
    running->pool->submit(running->pool, &slice->job);
}

static struct running *running_new(struct pool *pool)
{
    const struct shape shape = fixture_shape();
    struct running *running = memory_new(sizeof *running);
    assert_non_null(running);
    running->fixture = fixture_new(kernels_cpu(), &shape);
    running->pool = pool;
    for (int i = 0; i < TRIALS; i++) {
        running->fixture->options.training.learning_rate = 1e-3 * (i + 1);
        checkpoint_randomize(&running->fixture->checkpoint, (uint64_t)i);
        fixture_start(running->fixture, &running->trials[i]);
        running->evaluations[i] = (struct evaluation){.windows = windows_of(&running->fixture->valid, 8, 8 * WINDOWS),
                                                      .raw_count = RAW, .losses = running->losses[i],
                                                      .raw_losses = running->raw_losses[i]};
        struct slice *slice = &running->slices[i];
        slice->job = (struct pool_job){.lane = POOL_TRAIN, .run = slice_job_run, .done = slice_done, .owner = running};
        slice->trial = &running->trials[i];
        slice->scratch = fixture_scratch(running->fixture);
        slice->train = &running->fixture->train;
        slice->valid = &running->fixture->valid;
        slice->until_step = STEPS;
        slice->steps_limit = (uint64_t)(1 + i);
        slice->evaluation_tokens = 48;
    }
    for (int i = 0; i < TRIALS; i++) {
        next_slice(running, &running->slices[i]);
    }
    return running;
}

static void running_free(struct running *running)
{
    for (int i = 0; i < TRIALS; i++) {
        trial_fini(&running->trials[i]);
        scratch_free(running->slices[i].scratch);
    }
    fixture_free(running->fixture);
    memory_free(running);
}

static struct running *run_inline(int workers, uint64_t seed)
{
    struct pool pool;
    struct error error = {0};
    assert_ok(pool_inline_init(&pool, workers, &error), &error);
    if (seed != 0) {
        pool_inline_order(&pool, seed);
    }
    struct running *running = running_new(&pool);
    while (pool_inline_step(&pool)) {
    }
    assert_int_equal(running->finished, TRIALS);
    pool_inline_fini(&pool);
    return running;
}

static struct running *run_uv(int workers)
{
    uv_loop_t loop;
    struct pool pool;
    struct error error = {0};
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_ok(pool_uv_init(&pool, &loop, workers, &error), &error);
    struct running *running = running_new(&pool);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(running->finished, TRIALS);
    pool_uv_fini(&pool);
    assert_int_equal(uv_loop_close(&loop), 0);
    return running;
}

static void expect_equal(const struct running *a, const struct running *b)
{
    for (int i = 0; i < TRIALS; i++) {
        assert_trials_equal(&a->trials[i], &b->trials[i]);
    }
    assert_int_equal(a->handed_back, b->handed_back);
    assert_memory_equal(a->losses, b->losses, sizeof a->losses);
    assert_memory_equal(a->raw_losses, b->raw_losses, sizeof a->raw_losses);
}

static void workers_and_order_do_not_change_a_bit(void **state)
{
    (void)state;
    struct running *first = run_inline(1, 0);
    assert_int_equal(first->trials[0].step, STEPS);
    assert_true(first->losses[0][0] != first->losses[1][0]);
    for (uint64_t seed = 1; seed < 4; seed++) {
        struct running *shuffled = run_inline(4, seed);
        expect_equal(first, shuffled);
        running_free(shuffled);
    }
    const int workers[3] = {4, 2, 1};   /* the first makes libuv's threads */
    for (int i = 0; i < 3; i++) {
        struct running *threaded = run_uv(workers[i]);
        expect_equal(first, threaded);
        running_free(threaded);
    }
    running_free(first);
}

static struct fixture *fixture;
static struct trial trial;
static struct slice slice;

static int setup(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels_cpu(), &shape);
    fixture_start(fixture, &trial);
    slice = (struct slice){.trial = &trial, .scratch = fixture_scratch(fixture), .train = &fixture->train,
                           .valid = &fixture->valid, .until_step = 10, .steps_limit = 4};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trial_fini(&trial);
    scratch_free(slice.scratch);
    fixture_free(fixture);
    return 0;
}

static void a_slice_ends_at_its_limit_and_at_the_step_asked_for(void **state)
{
    (void)state;
    const uint64_t done[4] = {4, 4, 2, 0};
    for (int i = 0; i < 4; i++) {
        slice_run(&slice);
        assert_ok(slice.status, &slice.error);
        assert_int_equal(slice.steps_done, done[i]);
    }
    assert_int_equal(trial.step, 10);
}

static void a_stopped_slice_says_so_and_can_go_on(void **state)
{
    (void)state;
    atomic_store(&slice.stop, true);
    slice_run(&slice);
    assert_fails(slice.status, ERROR_CANCELLED, &slice.error);
    assert_int_equal(slice.steps_done, 0);
    atomic_store(&slice.stop, false);
    slice_run(&slice);
    assert_ok(slice.status, &slice.error);
    assert_int_equal(slice.steps_done, 4);
}

static void a_diverged_trial_ends_its_slice_without_an_error(void **state)
{
    (void)state;
    slice_run(&slice);
    ((float *)trial.learners->weights)[0] = (float)1e39;   /* Inf */
    slice.steps_limit = 100;
    slice_run(&slice);
    assert_ok(slice.status, &slice.error);
    assert_true(trial.diverged);
    assert_int_equal(trial.diverged_step, 4);
    assert_int_equal(slice.steps_done, 0);
}

static void an_error_of_the_step_is_the_slices(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    FILE *file = fopen(test_path(path, fixture->directory, "tokens.bin"), "wb");
    assert_non_null(file);
    fclose(file);
    slice_run(&slice);
    assert_fails(slice.status, ERROR_IO, &slice.error);
}

static void the_length_of_a_slice_follows_the_speed(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    const struct training *training = &fixture->options.training;
    const double step = shape_flops_per_token(&shape, 8) * 48;
    assert_int_equal(slice_steps(&shape, training, 0.05, step * 200.5), 10);
    assert_int_equal(slice_steps(&shape, training, 0.05, step), 1);
    assert_int_equal(slice_steps(&shape, training, 0.05, 0), 1);
    assert_int_equal(slice_steps(&shape, training, 0.05, 0.0 / 0.0), 1);
    assert_true(slice_steps(&shape, training, 0.05, 1e300) <= 1 << 20);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(cmocka_unit_test(workers_and_order_do_not_change_a_bit),
          CASE(a_slice_ends_at_its_limit_and_at_the_step_asked_for),
          CASE(a_stopped_slice_says_so_and_can_go_on),
          CASE(a_diverged_trial_ends_its_slice_without_an_error),
          CASE(an_error_of_the_step_is_the_slices),
          CASE(the_length_of_a_slice_follows_the_speed))
