#include "tests/support/support.h"

#include <math.h>

#include "tests/trainer/fixture.h"
#include "trainer/scratch.h"

static struct fixture *fixture;

static int setup(void **state)
{
    (void)state;
    const struct shape shape = fixture_shape();
    fixture = fixture_new(kernels_cpu(), &shape);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(fixture);
    return 0;
}

static void bytes_are_those_of_the_contract(void **state)
{
    (void)state;
    const int sizes[4][3] = {{1, 16, 24}, {3, 40, 100}, {12, 768, 3072}, {96, 12288, 49152}};
    for (int i = 0; i < 4; i++) {
        for (int tied = 0; tied < 2; tied++) {
            struct shape shape = fixture_shape();
            struct tensor_table table;
            struct error error = {0};
            shape.layers = sizes[i][0];
            shape.width = sizes[i][1];
            shape.heads = shape.kv_heads = shape.width / 8;
            shape.ff = sizes[i][2];
            shape.tied = tied;
            assert_ok(tensor_table_init(&table, &shape, &error), &error);
            struct training training = training_defaults(&shape);
            assert_int_equal(slab_floats(&shape), table.slab);
            assert_int_equal(trial_bytes(&shape, &training), 16 * table.slab);
            training.average.kind = AVERAGE_NONE;
            assert_int_equal(trial_bytes(&shape, &training), 12 * table.slab);
            assert_true(scratch_bytes(kernels_cpu(), &shape, &training) > 4 * table.slab);
            tensor_table_fini(&table);
        }
    }
}

static void micro_batches_are_about_two_thousand_tokens(void **state)
{
    (void)state;
    assert_int_equal(micro_batch_rows(16, 256), 8);
    assert_int_equal(micro_batch_rows(4, 256), 4);
    assert_int_equal(micro_batch_rows(16, 4096), 1);
    assert_int_equal(micro_batch_rows(16, 300), 6);
}

static void a_trial_starts_from_the_grown_weights(void **state)
{
    (void)state;
    struct trial trial;
    const size_t slab = fixture->checkpoint.table.slab;
    fixture->checkpoint.provenance = (struct provenance){.step = 99, .data_cursor = 99};
    fixture_start(fixture, &trial);
    assert_memory_equal(trial.learners->weights, fixture->checkpoint.weights, slab * sizeof(float));
    assert_memory_equal(trial.average, fixture->checkpoint.weights, slab * sizeof(float));
    for (size_t i = 0; i < slab; i++) {
        assert_true(((float *)trial.learners->state[0])[i] == 0 && ((float *)trial.learners->state[1])[i] == 0);
    }
    assert_int_equal(trial.step, 0);
    assert_int_equal(trial.first_data_step, 0);
    assert_true(isnan(trial.last_loss));
    assert_false(trial.diverged);
    trial_fini(&trial);
}

static void what_a_trial_can_not_do_is_refused(void **state)
{
    (void)state;
    struct trial trial;
    struct error error = {0};
    struct trial_options options = fixture->options;
    options.kernels = kernels_ref_double();
    assert_fails(trial_init(&trial, &fixture->checkpoint, &options, &error), ERROR_INVALID, &error);
    trial_fini(&trial);
    error_clear(&error);
    options = fixture->options;
    options.from_raw = true;
    assert_fails(trial_init(&trial, &fixture->checkpoint, &options, &error), ERROR_INVALID, &error);
    assert_contains(error.message, "optimizer.safetensors");
    trial_fini(&trial);
    error_clear(&error);
    options = fixture->options;
    options.training.optimizer.name = (enum optimizer_name)99;
    assert_fails(trial_init(&trial, &fixture->checkpoint, &options, &error), ERROR_INVALID, &error);
    assert_string_equal(error.details[0].pointer, "/optimizer/name");
    trial_fini(&trial);
    error_clear(&error);
    options = fixture->options;
    options.hidden_rate_scale = NAN;
    assert_fails(trial_init(&trial, &fixture->checkpoint, &options, &error), ERROR_INVALID, &error);
    trial_fini(&trial);
}

static void a_scratch_serves_only_its_own_sizes(void **state)
{
    (void)state;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    struct error error = {0};
    fixture_start(fixture, &trial);
    assert_true(scratch_fits(scratch, &trial));
    trial_fini(&trial);
    fixture->options.training.batch = 7;
    fixture_start(fixture, &trial);
    assert_false(scratch_fits(scratch, &trial));
    assert_fails(trial_step(&trial, scratch, &fixture->train, NULL, &error), ERROR_INTERNAL, &error);
    trial_fini(&trial);
    fixture->options.training.batch = 6;
    fixture->options.kernels = kernels_ref_float();
    fixture_start(fixture, &trial);
    assert_false(scratch_fits(scratch, &trial));
    trial_fini(&trial);
    scratch_free(scratch);
}

static void exporting_gives_averaged_weights_and_the_raw_state(void **state)
{
    (void)state;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    struct error error = {0};
    const size_t bytes = fixture->checkpoint.table.slab * sizeof(float);
    char hash[HASH_HEX_BYTES];
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 12);
    checkpoint_rehash(&fixture->checkpoint);
    strcpy(hash, fixture->checkpoint.hash);
    assert_ok(trial_export(&trial, &fixture->checkpoint, &error), &error);
    const struct moments *moments = fixture->checkpoint.moments;
    assert_memory_equal(fixture->checkpoint.weights, trial.average, bytes);
    assert_memory_equal(moments->raw, trial.learners->weights, bytes);
    assert_memory_equal(moments->m, trial.learners->state[0], bytes);
    assert_memory_equal(moments->v, trial.learners->state[1], bytes);
    for (int i = 0; i < trial.table.count; i++) {
        assert_int_equal(moments->steps[i], 12);
    }
    assert_int_equal(fixture->checkpoint.provenance.step, 12);
    assert_int_equal(fixture->checkpoint.provenance.data_cursor, 12);
    assert_string_not_equal(fixture->checkpoint.hash, hash);
    trial_fini(&trial);
    scratch_free(scratch);
}

static void a_continued_run_equals_the_uninterrupted_one(void **state)
{
    (void)state;
    fixture->options.training.average.kind = AVERAGE_NONE;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial whole, half, rest;
    struct error error = {0};
    fixture_start(fixture, &whole);
    fixture_start(fixture, &half);
    fixture_train(fixture, &whole, scratch, 12);
    fixture_train(fixture, &half, scratch, 6);
    assert_ok(trial_export(&half, &fixture->checkpoint, &error), &error);
    assert_memory_equal(fixture->checkpoint.weights, half.learners->weights, fixture->checkpoint.table.slab * sizeof(float));
    fixture->options.from_raw = true;
    fixture_start(fixture, &rest);
    assert_int_equal(rest.step, 6);
    fixture_train(fixture, &rest, scratch, 6);
    rest.average_start = whole.average_start;   /* without an average nothing reads it */
    assert_trials_equal(&rest, &whole);
    trial_fini(&whole);
    trial_fini(&half);
    trial_fini(&rest);
    scratch_free(scratch);
}

static void a_continued_run_begins_its_average_anew(void **state)
{
    (void)state;
    struct scratch *scratch = fixture_scratch(fixture);
    struct trial trial;
    struct error error = {0};
    const size_t slab = fixture->checkpoint.table.slab;
    fixture_start(fixture, &trial);
    fixture_train(fixture, &trial, scratch, 12);
    assert_ok(trial_export(&trial, &fixture->checkpoint, &error), &error);
    trial_fini(&trial);
    fixture->options.from_raw = true;
    fixture_start(fixture, &trial);
    assert_memory_equal(trial.average, trial.learners->weights, slab * sizeof(float));
    fixture_train(fixture, &trial, scratch, 1);
    assert_close(largest_difference(trial.average, trial.learners->weights, slab), 1e-7);
    trial_fini(&trial);
    scratch_free(scratch);
}

static void no_allocation_failure_leaks(void **state)
{
    (void)state;
    SWEEP_FAULTS(FAULT_ALLOC, n) {
        struct trial trial;
        struct scratch *scratch = NULL;
        struct error error = {0};
        const bool started = trial_init(&trial, &fixture->checkpoint, &fixture->options, &error) == 0;
        const bool made = started && scratch_new(&scratch, fixture->options.kernels, &fixture->checkpoint.table,
                                                 &fixture->options.training, &error) == 0;
        const bool exported = made && trial_export(&trial, &fixture->checkpoint, &error) == 0;
        assert_int_equal(exported, !fault_struck(FAULT_ALLOC, n));
        assert_int_equal(error.code, exported ? ERROR_NONE : ERROR_NO_MEMORY);
        scratch_free(scratch);
        if (started) {
            trial_fini(&trial);
        }
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(CASE(bytes_are_those_of_the_contract),
          CASE(micro_batches_are_about_two_thousand_tokens),
          CASE(a_trial_starts_from_the_grown_weights),
          CASE(what_a_trial_can_not_do_is_refused),
          CASE(a_scratch_serves_only_its_own_sizes),
          CASE(exporting_gives_averaged_weights_and_the_raw_state),
          CASE(a_continued_run_equals_the_uninterrupted_one),
          CASE(a_continued_run_begins_its_average_anew),
          CASE(no_allocation_failure_leaks))
