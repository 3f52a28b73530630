#include "tests/support/support.h"

#include "tests/trainer/fixture.h"

static struct fixture *fixture;
static struct scratch *scratch;
static char path[FILE_PATH_BYTES];

static void begin(const struct kernels *kernels)
{
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels, &shape);
    scratch = fixture_scratch(fixture);
    test_path(path, fixture->directory, "trial");
}

static void end(void)
{
    scratch_free(scratch);
    fixture_free(fixture);
}

static void make_empty(struct trial *trial)
{
    struct error error = {0};
    assert_ok(trial_init_empty(trial, &fixture->checkpoint.table.shape, &fixture->options, &error), &error);
}

/* 12 steps against 6 + save + load + 6. */
static void expect_same_bits(void)
{
    struct trial whole, half, rest;
    struct error error = {0};
    fixture_start(fixture, &whole);
    fixture_start(fixture, &half);
    whole.first_data_step = half.first_data_step = 1000;
    fixture_train(fixture, &whole, scratch, 12);
    fixture_train(fixture, &half, scratch, 6);
    assert_ok(trial_save(&half, path, &error), &error);
    make_empty(&rest);
    assert_ok(trial_load(&rest, path, &error), &error);
    assert_trials_equal(&rest, &half);
    fixture_train(fixture, &rest, scratch, 6);
    assert_trials_equal(&rest, &whole);
    trial_fini(&whole);
    trial_fini(&half);
    trial_fini(&rest);
}

static void a_resumed_trial_equals_the_uninterrupted_one(void **state)
{
    (void)state;
    const struct kernels *bodies[2] = {kernels_cpu(), kernels_ref_float()};
    for (int body = 0; body < 2; body++) {
        for (int kind = 0; kind < AVERAGE_KIND_COUNT; kind++) {
            begin(bodies[body]);
            fixture->options.training.average.kind = (enum average_kind)kind;
            fixture->options.sampler = kind == AVERAGE_EMA ? SAMPLER_SEQUENTIAL : SAMPLER_RANDOM;
            fixture->options.training.schedule.name = kind == AVERAGE_NONE ? SCHEDULE_WSD : SCHEDULE_CONSTANT;
            fixture->options.training.steps = 14;
            expect_same_bits();
            end();
        }
    }
}

static void every_field_of_the_state_is_saved(void **state)
{
    (void)state;
    begin(kernels_cpu());
    struct trial trial, loaded;
    struct error error = {0};
    fixture_start(fixture, &trial);
    trial.diverged = true;
    trial.diverged_step = 77;
    trial.step = 9;
    trial.average_start = 5;
    assert_ok(trial_save(&trial, path, &error), &error);
    make_empty(&loaded);
    assert_ok(trial_load(&loaded, path, &error), &error);
    assert_trials_equal(&loaded, &trial);
    trial_fini(&loaded);
    trial_fini(&trial);
    end();
}

static void save_one(void)
{
    struct trial trial;
    struct error error = {0};
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 2);
    assert_ok(trial_save(&trial, path, &error), &error);
    trial_fini(&trial);
}

static void expect_load_refused(const struct shape *shape, const struct trial_options *options, const char *piece)
{
    struct trial trial;
    struct error error = {0};
    assert_ok(trial_init_empty(&trial, shape, options, &error), &error);
    assert_fails(trial_load(&trial, path, &error), ERROR_DAMAGED, &error);
    assert_contains(error.message, piece);
    trial_fini(&trial);
}

static void a_file_of_another_shape_or_training_is_refused(void **state)
{
    (void)state;
    begin(kernels_cpu());
    save_one();
    const struct shape own = fixture_shape();
    struct shape shape = own;
    shape.layers = 3;
    expect_load_refused(&shape, &fixture->options, "another shape");
    shape = own;
    shape.activation = ACTIVATION_RELU;   /* the same sizes */
    expect_load_refused(&shape, &fixture->options, "another shape");
#define REFUSE(change)                                                     \
    do {                                                                   \
        struct trial_options options = fixture->options;                   \
        options.change;                                                    \
        expect_load_refused(&own, &options, "other training values");      \
    } while (0)
    REFUSE(training.batch = 7);
    REFUSE(training.context = 9);
    REFUSE(training.steps = 41);
    REFUSE(training.learning_rate = 1e-3);
    REFUSE(training.optimizer.beta1 = 0.8);
    REFUSE(training.optimizer.beta2 = 0.8);
    REFUSE(training.optimizer.epsilon = 1e-7);
    REFUSE(training.optimizer.weight_decay = 0);
    REFUSE(training.schedule.name = SCHEDULE_WSD);
    REFUSE(training.schedule.warmup_steps = 5);
    REFUSE(training.schedule.decay_form = DECAY_SQRT);
    REFUSE(training.schedule.minimum = 0.1);
    REFUSE(training.average.kind = AVERAGE_NONE);
    REFUSE(training.average.fraction = 0.1);
    REFUSE(training.clip = 0);
    REFUSE(training.seed = 2);
    REFUSE(training.compute = PRODUCT_BF16);
    REFUSE(training.objective.pad_token = 3);
    REFUSE(training.objective.special_tokens.count = 1);
    REFUSE(hidden_rate_scale = 0.5);
    REFUSE(sampler = SAMPLER_SEQUENTIAL);
    REFUSE(seed_index = 1);
#undef REFUSE
    end();
}

static void expect_check_refused(void)
{
    struct error error = {0};
    assert_fails(trial_file_check(path, &error), ERROR_DAMAGED, &error);
}

static void a_cut_or_changed_file_is_refused(void **state)
{
    (void)state;
    begin(kernels_cpu());
    save_one();
    size_t length;
    char *bytes = test_read_file(path, &length);
    const struct shape shape = fixture_shape();
    for (size_t cut = 0; cut < length; cut += cut < 200 ? 1 : length / 37) {
        test_write_file(path, bytes, cut);
        expect_load_refused(&shape, &fixture->options, "saved trial");
        expect_check_refused();
    }
    for (size_t at = 0; at < length; at += at < 200 ? 1 : length / 61) {
        bytes[at] ^= 4;
        test_write_file(path, bytes, length);
        bytes[at] ^= 4;
        expect_load_refused(&shape, &fixture->options, "saved trial");
        expect_check_refused();
    }
    char *longer = memory_resize(bytes, length + 1);
    assert_non_null(longer);
    longer[length] = 0;
    test_write_file(path, longer, length + 1);
    expect_load_refused(&shape, &fixture->options, "wrong size");
    test_write_file(path, longer, length);
    struct trial trial;
    struct error error = {0};
    make_empty(&trial);
    assert_ok(trial_load(&trial, path, &error), &error);   /* the file as it was is whole */
    assert_ok(trial_file_check(path, &error), &error);
    memory_free(longer);
    trial_fini(&trial);
    end();
}

static void an_absent_file_is_not_found(void **state)
{
    (void)state;
    begin(kernels_cpu());
    struct trial trial;
    struct error error = {0};
    make_empty(&trial);
    assert_fails(trial_load(&trial, path, &error), ERROR_NOT_FOUND, &error);
    trial_fini(&trial);
    end();
}

/* Whatever fails while saving: the old file is there, or, when only the directory's fsync failed, the new one. */
static void sweep_saving(enum fault_kind kind)
{
    struct trial old, new;
    begin(kernels_cpu());
    fixture_start(fixture, &old);
    fixture_start(fixture, &new);
    fixture_train(fixture, &old, scratch, 1);
    fixture_train(fixture, &new, scratch, 2);
    bool struck = true;
    for (int64_t n = 1; struck; n++) {   /* saves the old trial first, unharmed: so no SWEEP_FAULTS */
        struct trial loaded;
        struct error error = {0}, ignored = {0};
        assert_true(n < SWEEP_ROUNDS_MAX);
        assert_ok(trial_save(&old, path, &error), &error);
        fault_arm(kind, n);
        const int result = trial_save(&new, path, &error);
        struck = fault_count(kind) >= n;
        fault_arm(kind, 0);
        assert_int_equal(result != 0, struck);
        assert_int_equal(test_count_temporaries(fixture->directory), 0);
        make_empty(&loaded);
        assert_ok(trial_load(&loaded, path, &ignored), &ignored);
        assert_true(loaded.step == (struck ? 1u : 2u) || (kind == FAULT_FSYNC && loaded.step == 2));
        assert_trials_equal(&loaded, loaded.step == 1 ? &old : &new);
        trial_fini(&loaded);
    }
    trial_fini(&old);
    trial_fini(&new);
    end();
}

static void every_fault_while_saving_leaves_a_whole_file(void **state)
{
    (void)state;
    for (int kind = 0; kind < FAULT_KIND_COUNT; kind++) {
        sweep_saving((enum fault_kind)kind);
    }
}

static void every_allocation_of_loading_may_fail(void **state)
{
    (void)state;
    begin(kernels_cpu());
    save_one();
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct trial trial;
        struct error error = {0};
        int result = trial_init_empty(&trial, &fixture->checkpoint.table.shape, &fixture->options, &error);
        const bool made = result == 0;
        result = made ? trial_load(&trial, path, &error) : result;
        if (fault_struck(FAULT_ALLOC, n)) {
            assert_fails(result, ERROR_NO_MEMORY, &error);
        } else {
            assert_ok(result, &error);
        }
        if (made) {
            trial_fini(&trial);
        }
    }
    end();
}

TEST_MAIN(cmocka_unit_test(a_resumed_trial_equals_the_uninterrupted_one),
          cmocka_unit_test(every_field_of_the_state_is_saved),
          cmocka_unit_test(a_file_of_another_shape_or_training_is_refused),
          cmocka_unit_test(a_cut_or_changed_file_is_refused),
          cmocka_unit_test(an_absent_file_is_not_found),
          cmocka_unit_test(every_fault_while_saving_leaves_a_whole_file),
          cmocka_unit_test(every_allocation_of_loading_may_fail))
