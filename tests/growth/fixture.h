/* What the tests of growth share: tiny gpt2 models with every tensor random, and operator lists built by hand. */
#ifndef TESTS_GROWTH_FIXTURE_H
#define TESTS_GROWTH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "growth/plan.h"
#include "growth/stage.h"
#include "model/checkpoint.h"

#define UNUSED __attribute__((unused))

static UNUSED struct shape tiny_shape(int layers, bool tied)
{
    return (struct shape){
        .family = FAMILY_GPT2, .layers = layers, .width = 8, .heads = 2, .kv_heads = 2, .head_size = 4, .ff = 12,
        .context = 10, .vocabulary = 19, .tied = tied, .activation = ACTIVATION_GELU_TANH, .norm_epsilon = 1e-5,
    };
}

/* A generator of the tests' own (xorshift64*), uniform in [-1, 1). */
static UNUSED double draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 2685821657736338717ull) >> 11) / 4503599627370496.0 - 1;
}

/* Every tensor random, biases and gains too; with moments (m of both signs, v > 0, a step counter per tensor). */
static UNUSED void random_checkpoint(struct checkpoint *checkpoint, const struct shape *shape, uint64_t seed,
                                     bool moments)
{
    struct error error = {0};
    uint64_t state = seed * 77777 + 12345;
    assert_int_equal(checkpoint_init(checkpoint, shape, &error), 0);
    if (moments)
        assert_int_equal(checkpoint_set_moments(checkpoint, MOMENTS_ADAM, &error), 0);
    for (int t = 0; t < checkpoint->table.count; t++) {
        const struct tensor *tensor = &checkpoint->table.tensors[t];
        enum role role = tensor->row->role;
        double center = role_is_gain(role) ? 1 : 0;
        for (size_t i = tensor->offset; i < tensor->offset + tensor->count; i++) {
            checkpoint->weights[i] = (float)(center + 0.4 * draw(&state));
            if (moments) {
                checkpoint->moments->m[i] = (float)(0.01 * draw(&state));
                checkpoint->moments->v[i] = (float)(1e-4 * (1.5 + draw(&state)));
            }
        }
        if (moments)
            checkpoint->moments->steps[t] = 100 + (uint64_t)t;
    }
    checkpoint_rehash(checkpoint);
}

/* ---- lists ---- */

static UNUSED int add_step(struct growth_list *list, const char *op)
{
    struct growth_step *step = &list->steps[list->count];
    *step = (struct growth_step){.op = growth_operator_find(op)};
    assert_non_null(step->op);
    return list->count++;
}

static UNUSED struct parameter_value *value_at(struct growth_list *list, int step, const char *name)
{
    struct parameter_value *value = (struct parameter_value *)growth_step_value(&list->steps[step], name);
    assert_non_null(value);
    value->given = value->present = true;
    return value;
}

static UNUSED void set_integer(struct growth_list *list, int step, const char *name, int64_t integer)
{
    value_at(list, step, name)->integer = integer;
}

static UNUSED void set_number(struct growth_list *list, int step, const char *name, double number)
{
    value_at(list, step, name)->number = number;
}

static UNUSED void set_null(struct growth_list *list, int step, const char *name)
{
    value_at(list, step, name)->is_null = true;
}

static UNUSED void set_list(struct growth_list *list, int step, const char *name, const int32_t *values, int count)
{
    struct parameter_value *value = value_at(list, step, name);
    value->list = memory_array((size_t)count, sizeof *value->list);
    assert_non_null(value->list);
    memcpy(value->list, values, (size_t)count * sizeof *values);
    value->list_count = count;
}

/* One operator with one integer. */
static UNUSED void one_step(struct growth_list *list, const char *op, const char *name, int64_t integer)
{
    *list = (struct growth_list){0};
    set_integer(list, add_step(list, op), name, integer);
}

static UNUSED void grow_with(const struct checkpoint *parent, const struct growth_list *list,
                             enum moments_policy policy, uint64_t seed, struct checkpoint *grown)
{
    struct growth_plan plan;
    struct error error = {0};
    int code = growth_plan_init(&plan, &parent->table.shape, list, &error);
    if (code != 0)
        fail_msg("plan refused: %s", error.message);
    code = growth_apply(&plan, list, parent, policy, seed, grown, &error);
    if (code != 0)
        fail_msg("apply failed: %s", error.message);
    growth_plan_fini(&plan);
}

static UNUSED const float *weights_of(const struct checkpoint *checkpoint, const char *name)
{
    const struct tensor *tensor = tensor_find(&checkpoint->table, name);
    if (tensor == NULL)
        fail_msg("no tensor %s", name);
    return checkpoint->weights + tensor->offset;
}

/* "h.%d." of a tensor's name replaced by another layer. */
static UNUSED const struct tensor *same_at_layer(const struct checkpoint *checkpoint, const struct tensor *tensor,
                                                 int layer)
{
    char name[TENSOR_NAME_BYTES];
    snprintf(name, sizeof name, "h.%d%s", layer, strchr(tensor->name + 2, '.'));
    return tensor_find(&checkpoint->table, name);
}

#endif
