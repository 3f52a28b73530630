/* Trials of models that are grown in behind masks: what a step and an evaluation see, that nothing but the step decides
 * it, the same bits after a stop in the middle of a ramp, and files of other ramps refused. */
#include "tests/support/support.h"

#include "tests/growth/plain.h"
#include "tests/trainer/family_worlds.h"

enum { RAMP = 6, STEPS = 10 };

/* A world's model two blocks deeper, or wider in every way, with its masks. */
enum kind { DEEPER, WIDER, KINDS };

struct masked {
    struct fixture *fixture;           /* its checkpoint is the grown model */
    struct checkpoint parent;
    struct growth_ramps ramps;
    struct scratch *scratch;
};

static void grow_list(const struct shape *from, enum kind kind, struct growth_list *list)
{
    bool filled = from->family == FAMILY_GPT2 || from->family == FAMILY_BERT;
    if (kind == DEEPER) {
        one_step(list, "msg_depth", "layers", (from->layers > from->decoder_layers ? from->layers : from->decoder_layers) + 2);
    } else {
        one_step(list, "msg_width", "width", from->width + from->head_size);
        set_integer(list, 0, "ff", from->ff + 7);
        if (!filled)
            set_integer(list, 0, "heads", 2 * from->heads);
    }
    set_integer(list, 0, "ramp_steps", RAMP);
}

static void masked_init(struct masked *masked, const struct family_world *world, enum kind kind,
                        const struct kernels *kernels)
{
    struct growth_list list;
    struct growth_plan plan;
    struct error error = {0};
    const struct shape *from = &world->shape;
    masked->fixture = family_fixture(world, kernels, 4);
    masked->parent = masked->fixture->checkpoint;
    grow_list(from, kind, &list);
    grow_with(&masked->parent, &list, MOMENTS_RESET, 1, &masked->fixture->checkpoint);
    assert_ok(growth_plan_init(&plan, from, &list, &error), &error);
    assert_ok(growth_ramps_init(&masked->ramps, &plan, &error), &error);
    growth_plan_fini(&plan);
    masked->fixture->options.ramps = &masked->ramps;
    masked->scratch = fixture_scratch(masked->fixture);
}

static void masked_fini(struct masked *masked)
{
    scratch_free(masked->scratch);
    growth_ramps_fini(&masked->ramps);
    checkpoint_fini(&masked->parent);
    fixture_free(masked->fixture);
}

/* Losses of all windows on the trial's own weights; caller: memory_free. */
static float *evaluated_losses(const struct masked *masked, const struct trial *trial, struct windows windows)
{
    struct evaluation evaluation = {.windows = windows};
    struct error error = {0};
    bool finished = false;
    evaluation.losses = memory_array((size_t)windows.count, sizeof(float));
    assert_non_null(evaluation.losses);
    assert_ok(trial_evaluate(trial, masked->scratch, &masked->fixture->valid, &evaluation, UINT64_MAX / 2, NULL, &finished,
                             &error), &error);
    assert_true(finished);
    return evaluation.losses;
}

static void the_point_at_0_is_the_parents(void **state)
{
    (void)state;
    for (int w = 0; w < FAMILY_WORLDS * KINDS; w++) {
        struct masked masked;
        struct trial trial;
        struct error error = {0};
        masked_init(&masked, &family_worlds[w / KINDS], (enum kind)(w % KINDS), kernels_cpu());
        const struct windows windows = windows_of(&masked.fixture->valid, 8, 100);
        const struct evaluated before = {
            .kernels = kernels_cpu(), .checkpoint = &masked.parent, .valid = &masked.fixture->valid, .windows = &windows,
            .objective = &masked.fixture->options.training.objective, .seed = masked.fixture->options.training.seed,
        };
        float *expected = memory_array((size_t)windows.count, sizeof(float));
        assert_ok(evaluate_weights(&before, expected, &error), &error);
        fixture_start(masked.fixture, &trial);
        float *losses = evaluated_losses(&masked, &trial, windows);
        print_message("  %s\n", family_worlds[w / KINDS].title);
        if (w % KINDS == DEEPER)
            assert_memory_equal(losses, expected, (size_t)windows.count * sizeof(float));
        assert_close(largest_difference(losses, expected, (size_t)windows.count), 2e-5);
        memory_free(losses), memory_free(expected);
        trial_fini(&trial);
        masked_fini(&masked);
    }
}

/* Shares of all units at a step; returns the stream's sum. */
static double units_by_hand(const struct masked *masked, int step, float units[RAMP_UNITS][64])
{
    double sum = 0;
    for (int kind = 0; kind < RAMP_UNITS; kind++) {
        int each = kind == RAMP_HEADS ? 4 : 1, count = masked->ramps.unit_counts[kind] * each;
        assert_true(count <= 64);
        for (int i = 0; i < count; i++)
            units[kind][i] = masked->ramps.units[kind][i / each] == 0 ? 1 : (float)((double)step / RAMP);
        for (int i = 0; kind == RAMP_STREAM && i < count; i++)
            sum += (double)units[kind][i];
    }
    for (int kind = 0; kind < RAMP_UNITS; kind++)
        assert_true(masked->ramps.unit_counts[kind] > 0);
    return sum;
}

/* The mask of a step, made by hand: the trial's batch and shape stay, its ramps go, and the network is told. */
static void every_step_and_evaluation_sees_the_mask_of_its_step(void **state)
{
    (void)state;
    for (int w = 0; w < FAMILY_WORLDS * KINDS; w++) {
        struct masked masked;
        struct trial trial;
        struct error error = {0};
        masked_init(&masked, &family_worlds[w / KINDS], (enum kind)(w % KINDS), kernels_ref_float());
        masked.fixture->options.training.average.kind = AVERAGE_NONE;
        const struct shape *shape = &masked.fixture->checkpoint.table.shape;
        const struct windows windows = windows_of(&masked.fixture->valid, 8, 40);
        fixture_start(masked.fixture, &trial);
        for (int step = 0; step < STEPS; step++) {
            double shares[16];
            float units[RAMP_UNITS][64];
            struct masking masking = {.blocks = shares};
            if (w % KINDS == WIDER && step < RAMP)
                masking = (struct masking){
                    .blocks = shares, .stream = units[RAMP_STREAM], .ff = units[RAMP_FF], .heads = units[RAMP_HEADS],
                    .stream_sum = units_by_hand(&masked, step, units),
                };
            for (int block = 0; block < shape->layers + shape->decoder_layers; block++)
                shares[block] = masked.ramps.blocks[block] == 0 || step >= RAMP ? 1 : (double)step / RAMP;
            float *losses = evaluated_losses(&masked, &trial, windows), *by_hand = evaluated_losses(&masked, &trial, windows);
            for (int first = 0, done = 0; first < windows.count; first += done) {
                const struct window_group group = {
                    .windows = &windows, .count = windows.count, .first = first, .masking = &masking,
                    .masks = rng_stream(trial.options.training.seed, 0, RNG_VALIDATION),
                };
                assert_ok(evaluate_group(masked.scratch, trial.learners->weights, &masked.fixture->valid, &group, by_hand, &done,
                                         &error), &error);
            }
            assert_memory_equal(losses, by_hand, (size_t)windows.count * sizeof(float));
            memory_free(losses), memory_free(by_hand);
            fixture_train(masked.fixture, &trial, masked.scratch, 1);
        }
        trial_fini(&trial);
        masked_fini(&masked);
    }
}

/* At step 0 no gradient reaches the new blocks; from step 1 on it does. */
static void new_blocks_learn_from_step_1_on(void **state)
{
    (void)state;
    struct masked masked;
    struct trial trial;
    masked_init(&masked, &family_worlds[0], DEEPER, kernels_cpu());
    masked.fixture->options.training.optimizer.weight_decay = 0;
    fixture_start(masked.fixture, &trial);
    for (int step = 1; step <= 2; step++) {
        fixture_train(masked.fixture, &trial, masked.scratch, 1);
        for (int t = 0; t < trial.table.count; t++) {
            const struct tensor *tensor = &trial.table.tensors[t];
            if (tensor->layer < 3)
                continue;
            assert_int_equal(memcmp((float *)trial.learners->weights + tensor->offset,
                                    masked.fixture->checkpoint.weights + tensor->offset, tensor->count * sizeof(float)) == 0,
                             step == 1);
        }
    }
    trial_fini(&trial);
    masked_fini(&masked);
}

/* Once the ramp has ended it is as if there had been none. */
static void behind_the_ramp_the_model_is_an_ordinary_one(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct masked masked;
        struct trial masked_trial, plain;
        masked_init(&masked, &family_worlds[1], (enum kind)kind, kernels_cpu());
        fixture_start(masked.fixture, &masked_trial);
        fixture_train(masked.fixture, &masked_trial, masked.scratch, RAMP);
        masked.fixture->options.ramps = NULL;
        fixture_start(masked.fixture, &plain);
        memcpy(plain.slab, masked_trial.slab, trial_bytes(&plain.table.shape, &plain.options.training));
        memcpy(plain.learners->tensor_steps, masked_trial.learners->tensor_steps,
               (size_t)plain.table.count * sizeof *plain.learners->tensor_steps);
        plain.step = masked_trial.step;
        fixture_train(masked.fixture, &masked_trial, masked.scratch, 3);
        fixture_train(masked.fixture, &plain, masked.scratch, 3);
        assert_trials_equal(&plain, &masked_trial);
        trial_fini(&plain);
        trial_fini(&masked_trial);
        masked_fini(&masked);
    }
}

static void a_trial_goes_on_in_the_middle_of_a_ramp_with_the_same_bits(void **state)
{
    (void)state;
    for (int w = 0; w < FAMILY_WORLDS * KINDS; w++) {
        struct masked masked;
        struct trial whole, half, rest;
        struct error error = {0};
        char path[FILE_PATH_BYTES];
        masked_init(&masked, &family_worlds[w / KINDS], (enum kind)(w % KINDS), kernels_cpu());
        test_path(path, masked.fixture->directory, "trial");
        fixture_start(masked.fixture, &whole);
        fixture_start(masked.fixture, &half);
        fixture_train(masked.fixture, &whole, masked.scratch, STEPS);
        fixture_train(masked.fixture, &half, masked.scratch, RAMP / 2);
        assert_ok(trial_save(&half, path, &error), &error);
        assert_ok(trial_init_empty(&rest, &half.table.shape, &masked.fixture->options, &error), &error);
        assert_ok(trial_load(&rest, path, &error), &error);
        fixture_train(masked.fixture, &rest, masked.scratch, STEPS - RAMP / 2);
        assert_trials_equal(&rest, &whole);
        trial_fini(&whole);
        trial_fini(&half);
        trial_fini(&rest);
        masked_fini(&masked);
    }
}

static void a_file_of_other_ramps_is_refused(void **state)
{
    (void)state;
    struct masked masked;
    struct trial trial, other;
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    masked_init(&masked, &family_worlds[0], DEEPER, kernels_cpu());
    test_path(path, masked.fixture->directory, "trial");
    fixture_start(masked.fixture, &trial);
    assert_ok(trial_save(&trial, path, &error), &error);
    for (int with = 0; with < 2; with++) {
        masked.fixture->options.ramps = with ? &masked.ramps : NULL;
        masked.ramps.blocks[4] = RAMP + 1;
        assert_ok(trial_init_empty(&other, &trial.table.shape, &masked.fixture->options, &error), &error);
        assert_fails(trial_load(&other, path, &error), ERROR_DAMAGED, &error);
        assert_contains(error.message, "other training values");
        error = (struct error){0};
        trial_fini(&other);
    }
    trial_fini(&trial);
    masked_fini(&masked);
}

TEST_MAIN(
    cmocka_unit_test(the_point_at_0_is_the_parents),
    cmocka_unit_test(every_step_and_evaluation_sees_the_mask_of_its_step),
    cmocka_unit_test(new_blocks_learn_from_step_1_on),
    cmocka_unit_test(behind_the_ramp_the_model_is_an_ordinary_one),
    cmocka_unit_test(a_trial_goes_on_in_the_middle_of_a_ramp_with_the_same_bits),
    cmocka_unit_test(a_file_of_other_ramps_is_refused)
)
