/* A small model of every family and kind with an objective that it learns: what is to hold for all of them is tested with
 * these. */
#ifndef TESTS_TRAINER_FAMILY_WORLDS_H
#define TESTS_TRAINER_FAMILY_WORLDS_H

#include "tests/support/support.h"

#include "tests/trainer/fixture.h"
#include "trainer/scratch.h"

enum { FAMILY_VOCABULARY = 64, FAMILY_CONTEXT = 16 };

struct family_world {
    const char *title;
    struct shape shape;
    enum objective_name objective;
};

#define SIZES .width = 16, .heads = 4, .kv_heads = 4, .head_size = 4, .ff = 20, .context = FAMILY_CONTEXT, \
    .vocabulary = FAMILY_VOCABULARY, .norm_epsilon = 1e-5
#define GROUPED .layers = 3, .width = 16, .heads = 4, .kv_heads = 2, .head_size = 4, .ff = 20, .context = FAMILY_CONTEXT, \
    .vocabulary = FAMILY_VOCABULARY, .norm_epsilon = 1e-5, .activation = ACTIVATION_SILU, .rope = {.theta = 1e4}
#define SIDES .layers = 2, .decoder_layers = 3, .buckets = 8, .bucket_distance = 12, SIZES

static const struct family_world family_worlds[] = {
    {"gpt2", {.family = FAMILY_GPT2, .layers = 3, .tied = true, .activation = ACTIVATION_GELU_TANH, SIZES},
     OBJECTIVE_CAUSAL},
    {"llama", {.family = FAMILY_LLAMA, GROUPED}, OBJECTIVE_CAUSAL},
    {"llama, ul2", {.family = FAMILY_LLAMA, .tied = true, GROUPED}, OBJECTIVE_UL2},
    {"mistral, window", {.family = FAMILY_MISTRAL, .window = 3, GROUPED}, OBJECTIVE_CAUSAL},
    {"qwen2", {.family = FAMILY_QWEN2, .tied = true, .attention_bias = true, GROUPED}, OBJECTIVE_CAUSAL},
    {"mixtral", {.family = FAMILY_MIXTRAL, .experts = 4, .top_k = 2, .router_aux = 0.01, GROUPED}, OBJECTIVE_CAUSAL},
    {"mixtral, ul2", {.family = FAMILY_MIXTRAL, .experts = 3, .top_k = 3, .tied = true, GROUPED}, OBJECTIVE_UL2},
    {"bert, mlm", {.family = FAMILY_BERT, .layers = 3, .tied = true, .types = 2, .activation = ACTIVATION_GELU_ERF, SIZES},
     OBJECTIVE_MLM},
    {"t5, spans", {.family = FAMILY_T5, .tied = true, .scaled_head = true, .activation = ACTIVATION_RELU, SIDES},
     OBJECTIVE_SPAN_CORRUPTION},
    {"t5, gated, ul2", {.family = FAMILY_T5, .gated = true, .activation = ACTIVATION_GELU_TANH, SIDES}, OBJECTIVE_UL2},
};
enum { FAMILY_WORLDS = sizeof family_worlds / sizeof family_worlds[0] };
#undef SIZES
#undef GROUPED
#undef SIDES

/* The corpus's tokens lie below all of these. */
static inline struct objective_spec family_objective(const struct family_world *world)
{
    struct objective_spec spec = objective_defaults(world->shape.family);
    spec.name = world->objective;
    spec.pad_token = FIXTURE_VOCABULARY;
    spec.eos_token = FIXTURE_VOCABULARY + 1;
    spec.mask_token = FIXTURE_VOCABULARY + 2;
    spec.sentinel_first = FAMILY_VOCABULARY - 1;
    spec.sentinel_count = FAMILY_VOCABULARY - FIXTURE_VOCABULARY - 3;
    return spec;
}

/* Steps of `batch` rows of 8 tokens. */
static inline struct fixture *family_fixture(const struct family_world *world, const struct kernels *kernels, int batch)
{
    struct fixture *fixture = fixture_new(kernels, &world->shape);
    fixture->options.training.objective = family_objective(world);
    fixture->options.training.batch = batch;
    return fixture;
}

#endif
