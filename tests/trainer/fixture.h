/* A tiny GPT-2, a corpus of bytes and a training of a few steps: what the trial tests share. Header only: each program
 * uses what it needs. */
#ifndef TESTS_TRAINER_FIXTURE_H
#define TESTS_TRAINER_FIXTURE_H

#include <string.h>

#include "base/memory.h"
#include "model/checkpoint.h"
#include "trainer/trial.h"

enum { FIXTURE_TOKENS = 3000, FIXTURE_VOCABULARY = 48 };

struct fixture {
    char directory[FILE_PATH_BYTES];
    unsigned char tokens[FIXTURE_TOKENS];
    struct corpus train, valid;
    struct checkpoint checkpoint;
    struct trial_options options;
};

static inline struct shape fixture_shape(void)
{
    return (struct shape){.family = FAMILY_GPT2, .layers = 2, .width = 16, .heads = 2, .kv_heads = 2, .head_size = 8,
                          .ff = 24, .context = 16, .vocabulary = FIXTURE_VOCABULARY, .tied = true,
                          .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5};
}

/* 300 rows of 8 tokens are two micro-batches of unequal size. */
static inline struct trial_options fixture_options(const struct kernels *kernels, const struct shape *shape)
{
    struct training training = training_defaults(shape);
    training.batch = 6;
    training.context = 8;
    training.steps = 40;
    training.schedule.warmup_steps = 4;
    training.schedule.decay_steps = 10;
    return (struct trial_options){.kernels = kernels, .training = training, .hidden_rate_scale = 1,
                                  .sampler = SAMPLER_RANDOM, .seed_index = 0};
}

static inline struct fixture *fixture_new(const struct kernels *kernels, const struct shape *shape)
{
    struct fixture *fixture = memory_new(sizeof *fixture);
    struct error error = {0};
    char path[FILE_PATH_BYTES];
    assert_non_null(fixture);
    test_directory_make(fixture->directory);
    /* words of a little grammar: learnable, not constant */
    for (unsigned i = 0, word = 1; i < FIXTURE_TOKENS; i++) {
        word = i % 5 == 0 ? word * 1103515245u + 12345u : word;
        fixture->tokens[i] = (unsigned char)(((word >> 16) % 7 * 5 + i % 5 * 3) % FIXTURE_VOCABULARY);
    }
    test_write_file(test_path(path, fixture->directory, "tokens.bin"), fixture->tokens, FIXTURE_TOKENS);
    assert_ok(corpus_open(&fixture->train, path, CORPUS_BYTES, FIXTURE_VOCABULARY, 8, &error), &error);
    assert_ok(corpus_split(&fixture->train, &fixture->valid, 8, &error), &error);
    assert_ok(checkpoint_init(&fixture->checkpoint, shape, &error), &error);
    checkpoint_randomize(&fixture->checkpoint, 7);
    fixture->options = fixture_options(kernels, shape);
    return fixture;
}

static inline void fixture_free(struct fixture *fixture)
{
    corpus_close(&fixture->train);
    corpus_close(&fixture->valid);
    checkpoint_fini(&fixture->checkpoint);
    test_directory_remove(fixture->directory);
    memory_free(fixture);
}

static inline struct scratch *fixture_scratch(const struct fixture *fixture)
{
    struct scratch *scratch;
    struct error error = {0};
    assert_ok(scratch_new(&scratch, fixture->options.kernels, &fixture->checkpoint.table, &fixture->options.training,
                          &error), &error);
    return scratch;
}

static inline void fixture_start(const struct fixture *fixture, struct trial *trial)
{
    struct error error = {0};
    assert_ok(trial_init(trial, &fixture->checkpoint, &fixture->options, &error), &error);
}

static inline void fixture_train(const struct fixture *fixture, struct trial *trial, struct scratch *scratch, int steps)
{
    struct error error = {0};
    for (int i = 0; i < steps; i++) {
        assert_ok(trial_step(trial, scratch, &fixture->train, NULL, &error), &error);
    }
}

/* Every bit that a following step could depend on. */
static inline void assert_trials_equal(const struct trial *a, const struct trial *b)
{
    const size_t bytes = trial_slab_bytes(&a->table.shape, &a->options.training);
    assert_int_equal(bytes, trial_slab_bytes(&b->table.shape, &b->options.training));
    assert_memory_equal(a->slab, b->slab, bytes);
    assert_memory_equal(a->tensor_steps, b->tensor_steps, (size_t)(a->learner_count * a->table.count) * sizeof *a->tensor_steps);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->first_data_step, b->first_data_step);
    assert_int_equal(a->average_start, b->average_start);
    assert_int_equal(a->diverged, b->diverged);
    assert_int_equal(a->diverged_step, b->diverged_step);
    assert_memory_equal(&a->last_loss, &b->last_loss, sizeof a->last_loss);
    assert_memory_equal(&a->last_gradient_norm, &b->last_gradient_norm, sizeof a->last_gradient_norm);
}

#endif
