/* Learners of a trial in rounds: against plain trials of their own that are averaged by hand, in any order of work, saved and
 * resumed; data parallelism against one network that adds the same gradients; the outer step's numbers. */
#include "tests/trainer/kavg_world.h"

/* The tree of neighbours, by recursion: the sum of learners [first, first + count) of the largest power of two below, and of
 * the others. */
static float tree_sum(float *const *weights, int first, int count, size_t i)
{
    int half = 1;
    if (count == 1)
        return weights[first][i];
    while (2 * half < count)
        half *= 2;
    return tree_sum(weights, first, half, i) + tree_sum(weights, first + half, count - half, i);
}

static void tree_mean(float *const *weights, int count)
{
    for (size_t i = 0; i < slab(); i++) {
        const float mean = (float)(1.0 / count) * tree_sum(weights, 0, count, i);
        for (int j = 0; j < count; j++)
            weights[j][i] = mean;
    }
}

/* P plain trials of a P-th of the batch, each made to read its learner's rows: number step * B + j * B / P is, in batches of
 * B / P, that of data step step * P + j. */
struct plain { struct trial trials[LEARNERS_MAX]; struct scratch *scratch; int count; };

static void plain_begin(struct plain *plain, int count)
{
    struct trial_options options = fixture->options;
    struct error error = {0};
    options.training.learners = learners_defaults();
    options.training.average.kind = AVERAGE_NONE;
    options.training.batch /= count;
    plain->count = count;
    for (int i = 0; i < count; i++)
        assert_ok(trial_init(&plain->trials[i], &fixture->checkpoint, &options, &error), &error);
    assert_ok(scratch_new(&plain->scratch, options.kernels, &fixture->checkpoint.table, &options.training, &error), &error);
}

static void plain_steps(struct plain *plain, int learner, uint64_t steps)
{
    struct trial *trial = &plain->trials[learner];
    struct error error = {0};
    for (uint64_t i = 0; i < steps; i++) {
        trial->first_data_step = trial->step * (uint64_t)plain->count + (uint64_t)learner - trial->step;
        assert_ok(trial_step(trial, plain->scratch, &fixture->train, NULL, &error), &error);
    }
}

static void plain_average(struct plain *plain)
{
    float *weights[LEARNERS_MAX];
    for (int i = 0; i < plain->count; i++)
        weights[i] = plain->trials[i].learners->weights;
    tree_mean(weights, plain->count);
}

static void plain_end(struct plain *plain)
{
    for (int i = 0; i < plain->count; i++)
        trial_fini(&plain->trials[i]);
    scratch_free(plain->scratch);
}

static void rounds_are_local_steps_and_an_average(void **state)
{
    (void)state;
    static const int counts[] = {2, 4, 8};
    for (int c = 0; c < 3; c++) {
        for (uint64_t every = 1; every <= 4; every += 3) {
            struct plain plain;
            struct trial trial;
            learners(counts[c], every);
            struct scratch *scratch = fixture_scratch(fixture);
            fixture_start(fixture, &trial);
            plain_begin(&plain, counts[c]);
            while (trial.step < STEPS) {
                fixture_train(fixture, &trial, scratch, 1);
                for (int i = 0; i < counts[c]; i++)
                    plain_steps(&plain, i, every);
                plain_average(&plain);
                for (int i = 0; i < counts[c]; i++) {
                    assert_memory_equal(trial.learners[i].weights, plain.trials[i].learners->weights, slab() * 4);
                    assert_memory_equal(trial.learners[i].state[0], plain.trials[i].learners->state[0], slab() * 4);
                    assert_memory_equal(trial.learners[i].state[1], plain.trials[i].learners->state[1], slab() * 4);
                }
                assert_int_equal(trial.step, plain.trials[0].step);
            }
            plain_end(&plain);
            trial_fini(&trial);
            scratch_free(scratch);
        }
    }
}

static void three_learners_of_unequal_speed_take_their_own_steps(void **state)
{
    (void)state;
    struct plain plain;
    struct trial trial;
    struct learners_spec *spec = learners(3, 4);
    spec->local_steps[1] = 1;
    spec->local_steps[2] = 2;
    fixture->options.training.batch = 6;
    struct scratch *scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    plain_begin(&plain, 3);
    for (uint64_t round = 0; round < 3; round++) {
        fixture_train(fixture, &trial, scratch, 1);
        for (int i = 0; i < 3; i++) {
            plain.trials[i].step = 4 * round;        /* the schedule and the rows of the round */
            plain_steps(&plain, i, spec->local_steps[i]);
        }
        plain_average(&plain);
        for (int i = 0; i < 3; i++)
            assert_memory_equal(trial.learners[i].weights, plain.trials[i].learners->weights, slab() * 4);
        assert_int_equal(trial.learners[1].tensor_steps[0], round + 1);
    }
    assert_int_equal(trial.step, 12);
    assert_int_equal(training_tokens(&fixture->options.training, 12), 3 * 7 * 2 * 8);
    plain_end(&plain);
    trial_fini(&trial);
    scratch_free(scratch);
}

/* Plain SGD, a step and an average: the step of one learner on all rows. */
static void sgd_at_k_1_is_the_step_on_the_joint_batch(void **state)
{
    (void)state;
    struct training *training = &fixture->options.training;
    struct trial one, two;
    training->optimizer = (struct optimizer_spec){.name = OPTIMIZER_SGD};
    training->learning_rate = 0.5;
    training->clip = 0;
    for (int mode = 0; mode < LEARNERS_MODE_COUNT; mode++) {
        learners(1, 1);
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &one);
        fixture_train(fixture, &one, scratch, STEPS);
        scratch_free(scratch);
        learners(4, 1)->mode = (enum learners_mode)mode;
        scratch = fixture_scratch(fixture);
        fixture_start(fixture, &two);
        fixture_train(fixture, &two, scratch, STEPS);
        double most = 0, moved = 0;
        for (size_t i = 0; i < slab(); i++) {
            const double w = (double)((float *)one.learners->weights)[i];
            most = fmax(most, fabs(w - (double)((float *)two.learners->weights)[i]));
            moved = fmax(moved, fabs(w - (double)fixture->checkpoint.weights[i]));
        }
        print_message("    largest difference %.2g, weights moved by %.2g\n", most, moved);
        assert_true(most < 1e-6 && moved > 1e-2);
        trial_fini(&one);
        trial_fini(&two);
        scratch_free(scratch);
    }
}

/* Every optimizer: averages leave all learners with the same weights and iterates; a resumed trial goes on bit for bit; and
 * learners of their own differ from one. */
static void every_optimizer_averages_and_resumes(void **state)
{
    (void)state;
    struct training *training = &fixture->options.training;
    char path[FILE_PATH_BYTES];
    for (int name = 0; name < OPTIMIZER_COUNT; name++) {
        for (int averaged = 0; averaged < 2; averaged++) {
            struct trial trial, resumed, alone;
            struct error error = {0};
            const bool has_moments = name != OPTIMIZER_SCHEDULE_FREE_SGD;
            training->optimizer = (struct optimizer_spec){.name = (enum optimizer_name)name, .beta1 = 0.9, .beta2 = 0.95,
                                                          .epsilon = 1e-8, .momentum = 0.9, .weight_power = 2, .decoupling = 10};
            training->learning_rate = name == OPTIMIZER_ADAMW || name == OPTIMIZER_SCHEDULE_FREE_ADAMW ? 0.01 : 0.1;
            training->average.kind = training_default_average(training->optimizer.name);
            learners(1, 1);
            struct scratch *scratch = fixture_scratch(fixture);
            fixture_start(fixture, &alone);
            fixture_train(fixture, &alone, scratch, STEPS);
            scratch_free(scratch);
            learners(2, 3)->averaged_moments = averaged && has_moments;
            scratch = fixture_scratch(fixture);
            fixture_start(fixture, &trial);
            fixture_train(fixture, &trial, scratch, 2);
            assert_ok(trial_save(&trial, test_path(path, fixture->directory, "o.trial"), &error), &error);
            assert_ok(trial_init_empty(&resumed, &fixture->checkpoint.table.shape, &fixture->options, &error), &error);
            assert_ok(trial_load(&resumed, path, &error), &error);
            fixture_train(fixture, &trial, scratch, 2);
            fixture_train(fixture, &resumed, scratch, 2);
            assert_trials_equal(&trial, &resumed);
            const struct learner *a = &trial.learners[0], *b = &trial.learners[1];
            const struct optimizer *optimizer = optimizer_of(training->optimizer.name);
            assert_memory_equal(a->weights, b->weights, slab() * 4);
            for (int j = 0; j < optimizer->state_slabs; j++) {
                const bool same = memcmp(a->state[j], b->state[j], slab() * 4) == 0;
                assert_int_equal(same, optimizer->parts[j] == MOMENT_Z || (averaged && has_moments));
            }
            assert_memory_equal(&a->averaging, &b->averaging, sizeof a->averaging);
            assert_int_not_equal(memcmp(a->weights, alone.learners->weights, slab() * 4), 0);
            assert_int_equal(trial.step, STEPS);
            trial_fini(&alone);
            trial_fini(&trial);
            trial_fini(&resumed);
            scratch_free(scratch);
        }
    }
}

/* The gradient of four shares, added, is that of the whole batch but for rounding, whatever makes an update of it. */
static void data_parallel_steps_are_those_of_one_learner(void **state)
{
    (void)state;
    struct training *training = &fixture->options.training;
    for (int name = 0; name < OPTIMIZER_COUNT; name++) {
        struct trial one, four;
        training->optimizer = (struct optimizer_spec){.name = (enum optimizer_name)name, .beta1 = 0.9, .beta2 = 0.95,
                                                      .epsilon = 1e-3, .momentum = 0.9, .weight_power = 2, .decoupling = 10};
        training->average.kind = training_default_average(training->optimizer.name);
        training->learning_rate = 0.05;
        learners(1, 1);
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &one);
        fixture_train(fixture, &one, scratch, STEPS);
        scratch_free(scratch);
        learners(4, 1)->mode = LEARNERS_GRADIENTS;
        scratch = fixture_scratch(fixture);
        fixture_start(fixture, &four);
        fixture_train(fixture, &four, scratch, STEPS);
        double most = 0;
        for (size_t i = 0; i < slab(); i++)
            most = fmax(most, fabs((double)((float *)one.learners->weights)[i] - (double)((float *)four.learners->weights)[i]));
        print_message("    optimizer %d: largest difference %.2g\n", name, most);
        assert_true(most < 1e-4);
        assert_true(fabs(one.last_loss - four.last_loss) < 1e-4);
        trial_fini(&one);
        trial_fini(&four);
        scratch_free(scratch);
    }
}

/* ---- any order, saved and resumed ---- */

static void any_order_in_pieces_gives_the_same_bits(void **state)
{
    (void)state;
    for (int mode = 0; mode < LEARNERS_MODE_COUNT; mode++) {
        struct trial whole, pieces;
        struct scratch *scratches[2];
        struct error error = {0};
        struct learners_spec *spec = learners(4, mode == LEARNERS_WEIGHTS ? 3 : 1);
        spec->mode = (enum learners_mode)mode;
        for (int i = 0; i < 2; i++)
            scratches[i] = fixture_scratch(fixture);
        fixture_start(fixture, &whole);
        fixture_start(fixture, &pieces);
        uint64_t turn = 5;
        while (whole.step < STEPS) {
            fixture_train(fixture, &whole, scratches[0], 1);
            kavg_open(&pieces, 40);
            while (!kavg_is_ready(&pieces)) {
                const int learner = (int)((turn = turn * 2862933555777941757u + 3037000493u) >> 62);
                const struct kavg_work work = {learner, 1, scratches[turn >> 40 & 1], &fixture->train, NULL};
                uint64_t done;
                const bool had = kavg_has_work(&pieces, learner);
                assert_ok(kavg_run(&pieces, &work, &done, &error), &error);
                assert_int_equal(done, had);
            }
            kavg_join(&pieces, scratches[1]);
            assert_trials_equal(&whole, &pieces);
        }
        trial_fini(&whole);
        trial_fini(&pieces);
        scratch_free(scratches[0]);
        scratch_free(scratches[1]);
    }
}

static void saved_at_an_average_it_goes_on_bit_for_bit(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    for (int variant = 0; variant < 3; variant++) {
        struct trial whole, resumed;
        struct error error = {0};
        struct learners_spec *spec = learners(2, variant == 1 ? 1 : 3);
        spec->mode = variant == 1 ? LEARNERS_GRADIENTS : LEARNERS_WEIGHTS;
        spec->outer.name = variant == 2 ? OUTER_NESTEROV : OUTER_NONE;
        spec->batch_growth = variant == 2 ? 0.25 : 0;
        struct scratch *scratch = fixture_scratch(fixture);
        fixture_start(fixture, &whole);
        while (whole.step < 6)
            fixture_train(fixture, &whole, scratch, 1);
        assert_ok(trial_save(&whole, test_path(path, fixture->directory, "k.trial"), &error), &error);
        assert_ok(trial_init_empty(&resumed, &fixture->checkpoint.table.shape, &fixture->options, &error), &error);
        assert_ok(trial_load(&resumed, path, &error), &error);
        assert_trials_equal(&whole, &resumed);
        while (whole.step < STEPS) {
            fixture_train(fixture, &whole, scratch, 1);
            fixture_train(fixture, &resumed, scratch, 1);
        }
        assert_trials_equal(&whole, &resumed);
        trial_fini(&resumed);
        trial_fini(&whole);
        /* another K is another trial */
        spec->local_steps[0] = spec->local_steps[1] = 2;
        spec->mode = LEARNERS_WEIGHTS;
        assert_ok(trial_init_empty(&resumed, &fixture->checkpoint.table.shape, &fixture->options, &error), &error);
        assert_fails(trial_load(&resumed, path, &error), ERROR_DAMAGED, &error);
        trial_fini(&resumed);
        scratch_free(scratch);
    }
}

static void an_open_round_is_neither_evaluated_nor_saved(void **state)
{
    (void)state;
    char path[FILE_PATH_BYTES];
    struct trial trial;
    struct error error = {0};
    float losses[16], raw[4];
    struct evaluation evaluation = {.windows = windows_of(&fixture->valid, 8, 128), .raw_count = 4, .losses = losses,
                                    .raw_losses = raw};
    atomic_bool stop = true;
    bool finished;
    learners(2, 3);
    struct scratch *scratch = fixture_scratch(fixture);
    fixture_start(fixture, &trial);
    assert_fails(trial_step(&trial, scratch, &fixture->train, &stop, &error), ERROR_CANCELLED, &error);
    assert_false(trial_is_joined(&trial));
    error_clear(&error);
    assert_fails(trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, 100, NULL, &finished, &error),
                 ERROR_INTERNAL, &error);
    error_clear(&error);
    assert_fails(trial_save(&trial, test_path(path, fixture->directory, "open.trial"), &error), ERROR_INTERNAL, &error);
    error_clear(&error);
    assert_fails(trial_export(&trial, &fixture->checkpoint, &error), ERROR_INTERNAL, &error);
    /* and goes on where it was stopped */
    struct trial other;
    fixture_start(fixture, &other);
    fixture_train(fixture, &trial, scratch, 1);
    fixture_train(fixture, &other, scratch, 1);
    assert_trials_equal(&trial, &other);
    trial_fini(&other);
    trial_fini(&trial);
    scratch_free(scratch);
}

/* ---- data parallelism ---- */

/* One learner that adds the same micro-batches in the same tree: a network, plain sums, and the kernel of the update. */
static void gradients_are_one_learner_adding_in_the_same_tree(void **state)
{
    (void)state;
    enum { P = 4 };
    const struct kernels *kernels = fixture->options.kernels;
    const struct tensor_table *table = &fixture->checkpoint.table;
    struct learners_spec *spec = learners(P, 1);
    struct training *training = &fixture->options.training;
    struct trial trial;
    struct error error = {0};
    spec->mode = LEARNERS_GRADIENTS;
    training->average.kind = AVERAGE_NONE;
    struct scratch *scratch = fixture_scratch(fixture);
    const int rows = training->batch / P, context = training->context;
    const double targets = (double)training->batch * context;
    float *gradients[P];
    for (int j = 0; j < P; j++)
        gradients[j] = memory_array(slab(), sizeof(float));
    float *w = memory_array(slab(), 4), *m = memory_array(slab(), 4), *v = memory_array(slab(), 4);
    memcpy(w, fixture->checkpoint.weights, slab() * 4);
    fixture_start(fixture, &trial);
    for (uint64_t step = 0; step < 5; step++) {
        double losses[8], sum = 0;
        int counts[8];
        for (int j = 0; j < P; j++) {
            int32_t tokens[64], inputs[64], wanted[64];
            const struct sampling sampling = {SAMPLER_RANDOM, training->seed, 0, training->batch, context};
            for (int row = 0; row < rows; row++) {
                assert_ok(sample_row(&sampling, &fixture->train, step, j * rows + row, tokens, &error), &error);
                memcpy(inputs + row * context, tokens, (size_t)context * 4);
                memcpy(wanted + row * context, tokens + 1, (size_t)context * 4);
            }
            const struct batch batch = {.rows = rows, .context = context, .inputs = inputs, .targets = wanted};
            network_gradient_first(scratch->network, w, &batch, 1 / targets, gradients[j]);
            network_loss(scratch->network, w, &batch, losses, counts);
            for (int row = 0; row < rows; row++)
                sum += losses[row];
        }
        double squares = 0;
        for (size_t i = 0; i < slab(); i++)
            gradients[0][i] = tree_sum(gradients, 0, P, i);
        for (int i = 0; i < table->count; i++)
            squares += kernels->sum_squares(gradients[0] + table->tensors[i].offset, table->tensors[i].count);
        for (int i = 0; i < table->count; i++) {
            const struct tensor *tensor = &table->tensors[i];
            const struct adamw_step update = {
                .rate = schedule_rate(training, step), .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8,
                .decay = tensor->row->rank >= 2 ? 0.1 : 0, .gradient_scale = fmin(1, 1 / (sqrt(squares) + 1e-6)),
                .correction1 = 1 - pow(0.9, (double)step + 1), .correction2 = 1 - pow(0.95, (double)step + 1),
            };
            kernels->adamw(&update, w + tensor->offset, m + tensor->offset, v + tensor->offset,
                           gradients[0] + tensor->offset, tensor->count);
        }
        fixture_train(fixture, &trial, scratch, 1);
        assert_memory_equal(trial.learners->weights, w, slab() * 4);
        assert_memory_equal(trial.learners->state[0], m, slab() * 4);
        assert_memory_equal(trial.learners->state[1], v, slab() * 4);
        assert_true(fabs(trial.last_loss - sum / targets) < 1e-6);
    }
    assert_int_equal(trial.learner_count, 1);
    trial_fini(&trial);
    scratch_free(scratch);
    for (int j = 0; j < P; j++)
        memory_free(gradients[j]);
    memory_free(w);
    memory_free(m);
    memory_free(v);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
TEST_MAIN(CASE(rounds_are_local_steps_and_an_average),
          CASE(three_learners_of_unequal_speed_take_their_own_steps),
          CASE(sgd_at_k_1_is_the_step_on_the_joint_batch),
          CASE(every_optimizer_averages_and_resumes),
          CASE(data_parallel_steps_are_those_of_one_learner),
          CASE(any_order_in_pieces_gives_the_same_bits),
          CASE(saved_at_an_average_it_goes_on_bit_for_bit),
          CASE(an_open_round_is_neither_evaluated_nor_saved),
          CASE(gradients_are_one_learner_adding_in_the_same_tree))
