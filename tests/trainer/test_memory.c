/* What training takes, as the kernel body's allocator sees it: no part of it grows with rows x context x vocabulary, nor
 * with the square of the context; the activations of a micro-batch grow with its tokens and with nothing else. */
#include "tests/trainer/family_worlds.h"

#include "model/block_head.h"

static size_t taken_bytes;
static int released;

static void *counting_alloc(size_t bytes)
{
    taken_bytes += bytes;
    return kernels_cpu()->alloc(bytes);
}

static void counting_release(void *memory)
{
    released++;
    kernels_cpu()->release(memory);
}

static struct kernels counting_kernels(void)
{
    struct kernels kernels = *kernels_cpu();
    kernels.alloc = counting_alloc;
    kernels.release = counting_release;
    return kernels;
}

/* A world whose model has other sizes; its objective's tokens stay where they are, sentinels are as many as fit. */
static struct family_world sized(const struct family_world *world, int vocabulary, int positions)
{
    struct family_world other = *world;
    other.shape.vocabulary = vocabulary;
    other.shape.context = positions;
    return other;
}

static struct training training_of(const struct family_world *world, int batch, int context, bool recompute)
{
    struct training training = training_defaults(&world->shape);
    training.batch = batch;
    training.context = context;
    training.recompute = recompute;
    training.objective = family_objective(world);
    training.objective.sentinel_first = world->shape.vocabulary - 1;
    training.objective.sentinel_count = world->shape.vocabulary - FIXTURE_VOCABULARY - 3;
    return training;
}

/* A trial and its scratch, one step and one evaluation: the bytes taken. All are taken before the step, and none is given
 * back before the end, so that their sum is the peak. */
static size_t trained_bytes(const struct family_world *world, int batch, int context, bool recompute)
{
    const struct kernels kernels = counting_kernels();
    struct fixture *fixture = fixture_new(&kernels, &world->shape);
    struct trial trial;
    float losses[4];
    struct error error = {0};
    bool finished = false;
    fixture->options.training = training_of(world, batch, context, recompute);
    taken_bytes = 0;
    released = 0;
    fixture_start(fixture, &trial);
    struct scratch *scratch = fixture_scratch(fixture);
    const size_t before = taken_bytes;
    struct evaluation evaluation = {
        .windows = windows_of(&fixture->valid, context, (uint64_t)context * 4), .losses = losses,
    };
    fixture_train(fixture, &trial, scratch, 1);
    assert_ok(trial_evaluate(&trial, scratch, &fixture->valid, &evaluation, UINT64_MAX, NULL, &finished, &error), &error);
    assert_true(finished && !trial.diverged && trial.last_loss > 0);
    assert_int_equal(taken_bytes, before);
    assert_int_equal(released, 0);
    trial_fini(&trial);
    scratch_free(scratch);
    fixture_free(fixture);
    return before;
}

/* Weights, first and second moment, running average, gradients. */
enum { SLABS = 5, SMALL = 8192, LARGE = 2 * SMALL };

static size_t growth_with_vocabulary(const struct family_world *world, int batch, int context, bool recompute)
{
    const struct family_world small = sized(world, SMALL, FAMILY_CONTEXT), large = sized(world, LARGE, FAMILY_CONTEXT);
    return trained_bytes(&large, batch, context, recompute) - trained_bytes(&small, batch, context, recompute);
}

/* Whole logits of 128 rows of 16 tokens would be 64 MiB more. */
static void twice_the_vocabulary_costs_its_weights_and_one_chunk_of_logits(void **state)
{
    (void)state;
    assert_int_equal(head_block_chunk(SMALL, 2048), HEAD_CHUNK_LEAST);
    assert_int_equal(head_block_chunk(LARGE, 2048), HEAD_CHUNK_LEAST);
    for (int i = 0; i < FAMILY_WORLDS; i++) {
        const struct family_world *world = &family_worlds[i];
        const struct family_world small = sized(world, SMALL, FAMILY_CONTEXT), large = sized(world, LARGE, FAMILY_CONTEXT);
        const bool recompute = i % 2 == 1;
        const size_t weights = (slab_floats(&large.shape) - slab_floats(&small.shape)) * SLABS * sizeof(float);
        const size_t chunk = (size_t)HEAD_CHUNK_LEAST * (LARGE - SMALL) * sizeof(float);
        const size_t growth = growth_with_vocabulary(world, 128, 16, recompute);
        print_message("    %-16s %zu bytes more: %zu of weights, %zu of logits\n", world->title, growth, weights,
                      growth - weights);
        assert_int_equal(growth, weights + chunk);
        assert_int_equal(growth_with_vocabulary(world, 64, 16, recompute), growth);
        assert_int_equal(growth_with_vocabulary(world, 128, 8, recompute), growth);
    }
}

enum { LONGEST = 2048, LONG_VOCABULARY = 1024 };

/* Of the scratch of one row, without its chunk of logits. What is stated in advance is what is taken, beside what the host
 * holds. */
static size_t row_bytes(const struct family_world *world, int context, bool recompute)
{
    const struct kernels kernels = counting_kernels();
    const struct family_world deep = sized(world, LONG_VOCABULARY, LONGEST);
    const struct training training = training_of(&deep, 1, context, recompute);
    struct tensor_table table;
    struct scratch *scratch;
    struct error error = {0};
    assert_ok(objective_check(&training.objective, &deep.shape, context, &error), &error);
    assert_ok(tensor_table_init(&table, &deep.shape, &error), &error);
    taken_bytes = 0;
    assert_ok(scratch_new(&scratch, &kernels, &table, &training, &error), &error);
    assert_int_equal(scratch->rows, 1);
    const size_t taken = taken_bytes, stated = scratch_bytes(&kernels, &deep.shape, &training);
    const size_t parts = objective_parts_bytes(&training.objective, &deep.shape, 1, context);
    const int held = recompute ? 1 : deep.shape.layers;     /* layers whose choices of experts the host holds */
    const size_t choices = 2 * sizeof(int32_t) * (size_t)(held * context * deep.shape.top_k);
    const size_t positions = 2 * sizeof(int32_t) * (size_t)context;     /* lists of those that predict */
    assert_true(stated >= taken + parts + choices && stated - taken - parts - choices <= 65536 + positions);
    scratch_free(scratch);
    tensor_table_fini(&table);
    const int predicted = objective_sizes_of(&training.objective, &deep.shape, context).targets;
    return taken - (size_t)head_block_chunk(LONG_VOCABULARY, (size_t)predicted) * LONG_VOCABULARY * sizeof(float);
}

/* Whole probabilities of one head and 2048 positions would be 16 MiB, more than all that is taken; were anything a square,
 * the second of these ratios would be 4. Sides of an encoder-decoder are a few tokens longer than their share. */
static void twice_the_context_costs_twice_the_activations(void **state)
{
    (void)state;
    for (int i = 0; i < FAMILY_WORLDS; i++)
        for (int recompute = 0; recompute < 2; recompute++) {
            const struct family_world *world = &family_worlds[i];
            const size_t at[] = {
                row_bytes(world, LONGEST / 8, recompute), row_bytes(world, LONGEST / 4, recompute),
                row_bytes(world, LONGEST / 2, recompute), row_bytes(world, LONGEST, recompute),
            };
            const double first = (double)(at[2] - at[1]) / (double)(at[1] - at[0]);
            const double second = (double)(at[3] - at[2]) / (double)(at[2] - at[1]);
            print_message("    %-16s %s: %zu, %zu, %zu, %zu bytes\n", world->title,
                          recompute ? "recomputed" : "kept", at[0], at[1], at[2], at[3]);
            assert_near(first, 2, 0.02);
            assert_near(second, 2, 0.02);
            assert_true(at[3] < (size_t)LONGEST * LONGEST * sizeof(float));
        }
}

TEST_MAIN(cmocka_unit_test(twice_the_vocabulary_costs_its_weights_and_one_chunk_of_logits),
          cmocka_unit_test(twice_the_context_costs_twice_the_activations))
