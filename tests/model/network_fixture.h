/* A random network of some shape with weights in the body's element, for the tests of networks. */
#ifndef TESTS_MODEL_NETWORK_FIXTURE_H
#define TESTS_MODEL_NETWORK_FIXTURE_H

#include "tests/model/numbers.h"

#include "model/network.h"

struct network_fixture {
    const struct kernels *kernels;
    struct tensor_table table;
    struct network *network;
    void *weights, *gradients;         /* slabs */
    int32_t *inputs, *targets;
    struct batch batch;
};

static inline struct shape gpt2_shape(int layers, int heads, int head_size, int ff, int context, int vocabulary,
                                      bool tied)
{
    return (struct shape){
        .family = FAMILY_GPT2, .layers = layers, .width = heads * head_size, .heads = heads, .kv_heads = heads,
        .head_size = head_size, .ff = ff, .context = context, .vocabulary = vocabulary, .tied = tied,
        .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5,
    };
}

/* The same numbers for every body: gains about 1, everything else about 0, large enough that every path matters. */
static inline void fixture_weights(struct network_fixture *fixture, double deviation)
{
    size_t element = fixture->kernels->element;
    for (int i = 0; i < fixture->table.count; i++) {
        const struct tensor *tensor = &fixture->table.tensors[i];
        bool is_gain = role_is_gain(tensor->row->role);
        struct rng rng = rng_stream(7, (uint64_t)i, RNG_INIT);
        for (size_t j = 0; j < tensor->count; j++) {
            float value = (float)((is_gain ? 1 : 0) + deviation * rng_normal(&rng));
            void *at = numbers_at(element, fixture->weights, tensor->offset + j);
            if (element == sizeof(double))
                *(double *)at = value;
            else
                *(float *)at = value;
        }
    }
}

static inline void fixture_init(struct network_fixture *fixture, const struct kernels *kernels,
                                const struct shape *shape, int rows, int context, bool gradients)
{
    struct error error = {0};
    size_t positions = (size_t)rows * (size_t)context;
    struct rng rng = rng_stream(8, 0, RNG_DATA);
    *fixture = (struct network_fixture){.kernels = kernels};
    assert_ok(tensor_table_init(&fixture->table, shape, &error), &error);
    assert_ok(network_new(&fixture->network, kernels, &fixture->table, rows, context, gradients, &error), &error);
    fixture->weights = kernels->alloc(fixture->table.slab * kernels->element);
    fixture->gradients = kernels->alloc(fixture->table.slab * kernels->element);
    fixture->inputs = memory_array(positions, sizeof(int32_t));
    fixture->targets = memory_array(positions, sizeof(int32_t));
    assert_true(fixture->weights != NULL && fixture->gradients != NULL && fixture->inputs != NULL &&
                fixture->targets != NULL);
    for (size_t i = 0; i < positions; i++) {
        fixture->inputs[i] = (int32_t)rng_below(&rng, (uint64_t)shape->vocabulary);
        fixture->targets[i] = (int32_t)rng_below(&rng, (uint64_t)shape->vocabulary);
    }
    fixture->batch = (struct batch){
        .rows = rows, .context = context, .inputs = fixture->inputs, .targets = fixture->targets,
    };
    fixture_weights(fixture, 0.3);
}

static inline void fixture_fini(struct network_fixture *fixture)
{
    network_free(fixture->network);
    fixture->kernels->release(fixture->weights);
    fixture->kernels->release(fixture->gradients);
    memory_free(fixture->inputs);
    memory_free(fixture->targets);
    tensor_table_fini(&fixture->table);
}

/* Gradients of the whole batch, from zero. */
static inline double fixture_gradient(struct network_fixture *fixture, double scale)
{
    fixture->kernels->zero(fixture->gradients, fixture->table.slab);
    return network_gradient(fixture->network, fixture->weights, &fixture->batch, scale, fixture->gradients);
}

#endif
