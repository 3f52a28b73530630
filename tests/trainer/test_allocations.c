/* A step after the first allocates nothing: malloc and its family are replaced by counting ones. */
#include "tests/support/support.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "tests/trainer/fixture.h"
#include "trainer/ligo_fit.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define COUNTS_MALLOC 0
static long allocations;
static size_t allocated_bytes;
#else
#define COUNTS_MALLOC 1
static long allocations;
static size_t allocated_bytes;

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static void count(size_t size)
{
    __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&allocated_bytes, size, __ATOMIC_RELAXED);
}

void *malloc(size_t size)
{
    count(size);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
    count(number * size);
    return __libc_calloc(number, size);
}

void *realloc(void *block, size_t size)
{
    count(size);
    return __libc_realloc(block, size);
}

void *memalign(size_t alignment, size_t size)
{
    count(size);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = memalign(alignment, size);
    return *block != NULL ? 0 : ENOMEM;
}
#endif

static void the_counter_counts(void **state)
{
    (void)state;
    if (!COUNTS_MALLOC) {
        print_message("skipped: malloc can't be replaced here; the allocations of base/memory.h are still counted\n");
        skip();
    }
    const long before = allocations;
    void *blocks[2] = {memory_array(3, 100), memory_array(300, 100)};
    memory_free(blocks[0]);
    memory_free(blocks[1]);
    assert_int_equal(allocations - before, 2);
}

static void a_step_after_the_first_allocates_nothing(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    const struct kernels *bodies[2] = {kernels_cpu(), kernels_ref_float()};
    for (int body = 0; body < 2; body++) {
        struct fixture *fixture = fixture_new(bodies[body], &shape);
        fixture->options.training.batch = body == 0 ? 300 : 6;
        struct scratch *scratch = fixture_scratch(fixture);
        struct trial trial;
        float losses[16], raw_losses[4];
        struct evaluation evaluation = {.windows = windows_of(&fixture->valid, 8, 128), .raw_count = 4,
                                        .losses = losses, .raw_losses = raw_losses};
        struct error error = {0};
        bool finished;
        fixture_start(fixture, &trial);
        assert_ok(trial_step(&trial, scratch, &fixture->train, NULL, &error), &error);
        const long before = allocations;
        fault_arm(FAULT_ALLOC, 0);
        int failures = 0;
        for (int i = 0; i < 20; i++) {
            failures += trial_step(&trial, scratch, &fixture->train, NULL, &error) != 0;
        }
        failures += trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, UINT64_MAX, NULL, &finished, &error);
        const long after = allocations;
        assert_int_equal(fault_count(FAULT_ALLOC), 0);
        assert_int_equal(after - before, 0);
        assert_int_equal(failures, 0);
        assert_true(finished);
        trial_fini(&trial);
        scratch_free(scratch);
        fixture_free(fixture);
    }
}

/* Local steps, averages and outer steps of learners, and data parallelism. */
static void rounds_of_learners_after_the_first_allocate_nothing(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    for (int mode = 0; mode < LEARNERS_MODE_COUNT; mode++) {
        struct fixture *fixture = fixture_new(kernels_cpu(), &shape);
        struct learners_spec *learners = &fixture->options.training.learners;
        struct trial trial;
        struct error error = {0};
        int failures = 0;
        learners->count = 2;
        learners->mode = (enum learners_mode)mode;
        if (mode == LEARNERS_WEIGHTS) {
            learners->local_steps[0] = learners->local_steps[1] = 2;
            learners->outer.name = OUTER_NESTEROV;
            learners->averaged_moments = true;
        }
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &trial);
        assert_ok(trial_step(&trial, scratch, &fixture->train, NULL, &error), &error);
        const long before = allocations;
        fault_arm(FAULT_ALLOC, 0);
        for (int i = 0; i < 10; i++) {
            failures += trial_step(&trial, scratch, &fixture->train, NULL, &error) != 0;
        }
        const long after = allocations;
        assert_int_equal(fault_count(FAULT_ALLOC), 0);
        assert_int_equal(after - before, 0);
        assert_int_equal(failures, 0);
        trial_fini(&trial);
        scratch_free(scratch);
        fixture_free(fixture);
    }
}

/* Admission refuses by these numbers, so what is really taken may not exceed them by more than bookkeeping. */
static void what_is_taken_is_what_was_announced(void **state)
{
    (void)state;
    if (!COUNTS_MALLOC) {
        print_message("skipped: malloc can't be replaced here\n");
        skip();
    }
    struct shape shape = fixture_shape();
    shape.width = 128;
    shape.heads = shape.kv_heads = 16;
    shape.ff = 512;
    struct fixture *fixture = fixture_new(kernels_cpu(), &shape);
    struct trial trial;
    size_t before = allocated_bytes;
    struct scratch *scratch = fixture_scratch(fixture);
    const double scratch_taken = (double)(allocated_bytes - before);
    before = allocated_bytes;
    fixture_start(fixture, &trial);
    const double trial_taken = (double)(allocated_bytes - before);
    const double scratch_said = (double)scratch_bytes(kernels_cpu(), &shape, &fixture->options.training);
    const double trial_said = (double)trial_bytes(&shape, &fixture->options.training);
    print_message("    scratch: said %.0f, took %.0f; trial: said %.0f, took %.0f bytes\n", scratch_said, scratch_taken,
                  trial_said, trial_taken);
    assert_true(scratch_taken <= scratch_said + 32768 && scratch_taken >= 0.9 * scratch_said);
    assert_true(trial_taken <= trial_said + 32768 && trial_taken >= 0.9 * trial_said);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
}

/* The same for a fit: what it takes beside the weights that it starts from, scratch and grown weights included. */
static void a_fit_takes_what_was_announced(void **state)
{
    (void)state;
    if (!COUNTS_MALLOC) {
        print_message("skipped: malloc can't be replaced here\n");
        skip();
    }
    struct shape shape = fixture_shape();
    shape.width = 128;
    shape.heads = shape.kv_heads = 16;
    shape.ff = 512;
    struct fixture *fixture = fixture_new(kernels_cpu(), &shape);
    struct parameter_value *value;
    struct growth_list list = {.count = 1, .steps[0] = {.op = growth_operator_find("ligo")}};
    static const struct { const char *name; int value; } given[] = {{"layers", 4}, {"width", 192}, {"ff", 768}, {"steps", 2}};
    for (int i = 0; i < 4; i++) {
        value = (struct parameter_value *)growth_step_value(&list.steps[0], given[i].name);
        *value = (struct parameter_value){.given = true, .present = true, .integer = given[i].value};
    }
    struct growth_plan plan;
    struct fit_need need;
    struct checkpoint grown;
    struct error error = {0};
    struct ligo_fit fit = {.kernels = kernels_cpu(), .training = fixture->options.training, .train = &fixture->train};
    const struct growth_learner learner = ligo_fit_learner(&fit);
    const struct growth_options options = {.seed = 1, .learner = &learner};
    assert_ok(growth_plan_init(&plan, &shape, &list, &error), &error);
    assert_ok(ligo_fit_measure(&plan, &fit.training, kernels_cpu(), &need, &error), &error);
    const size_t before = allocated_bytes;
    assert_ok(growth_apply_with(&plan, &list, &fixture->checkpoint, &options, &grown, &error), &error);
    const double taken = (double)(allocated_bytes - before), said = (double)(need.bytes + need.scratch_bytes);
    print_message("    fit: said %.0f, took %.0f bytes\n", said, taken);
    assert_true(taken <= 1.02 * said + 32768 && taken >= 0.9 * said);
    checkpoint_fini(&grown);
    growth_plan_fini(&plan);
    fixture_free(fixture);
}

TEST_MAIN(cmocka_unit_test(the_counter_counts),
          cmocka_unit_test(a_fit_takes_what_was_announced),
          cmocka_unit_test(a_step_after_the_first_allocates_nothing),
          cmocka_unit_test(rounds_of_learners_after_the_first_allocate_nothing),
          cmocka_unit_test(what_is_taken_is_what_was_announced))
