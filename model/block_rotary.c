#include "model/block_rotary.h"

#include <math.h>

enum { PAIRS_AT_ONCE = 64 };

static float reciprocal(float x)
{
    return 1.0f / x;
}

/* Base of the dynamic scaling ("NTK-aware"): grows with a row's length beyond the context trained on. */
static double dynamic_theta(const struct shape *shape, int positions)
{
    double size = shape->head_size, factor = shape->rope.factor;
    double length = positions > shape->context ? positions : shape->context;
    return shape->rope.theta * pow(factor * length / shape->context - (factor - 1), size / (size - 2));
}

/* Llama 3.1: long waves are divided by the factor, short ones stay, those between go over smoothly. */
static float llama3_frequency(const struct rope *rope, float frequency)
{
    float original = (float)rope->original_context, factor = (float)rope->factor;
    float low = (float)rope->low_frequency, high = (float)rope->high_frequency;
    float wavelength = reciprocal(frequency) * (float)(2 * M_PI);
    if (wavelength < (float)(rope->original_context / rope->high_frequency))
        return frequency;
    if (wavelength > (float)(rope->original_context / rope->low_frequency))
        return frequency / factor;
    float smooth = (reciprocal(wavelength) * original - low) / (high - low);
    return (1 - smooth) * frequency / factor + smooth * frequency;
}

void rotary_frequencies(const struct shape *shape, int positions, int first, int count, float *frequencies)
{
    const struct rope *rope = &shape->rope;
    float theta = (float)(rope->scaling == ROPE_DYNAMIC ? dynamic_theta(shape, positions) : rope->theta);
    for (int i = 0; i < count; i++) {
        float exponent = (float)(2 * (first + i)) / (float)shape->head_size;
        float frequency = reciprocal((float)pow((double)theta, (double)exponent));
        if (rope->scaling == ROPE_LINEAR)
            frequency /= (float)rope->factor;
        else if (rope->scaling == ROPE_LLAMA3)
            frequency = llama3_frequency(rope, frequency);
        frequencies[i] = frequency;
    }
}

void rotary_block_plan(struct rotary_block *block, const struct shape *shape, int context, struct carve *carve)
{
    block->kernels = carve->kernels;
    block->head_size = shape->head_size;
    block->context = context;
    block->cosines = carve_numbers(carve, (size_t)context, (size_t)shape->head_size / 2);
    block->sines = carve_numbers(carve, (size_t)context, (size_t)shape->head_size / 2);
}

/* Up to PAIRS_AT_ONCE floats into a table, in the body's element. */
static void put(const struct kernels *kernels, void *table, size_t at, const float *values, int count)
{
    double wide[PAIRS_AT_ONCE];
    for (int i = 0; i < count; i++)
        wide[i] = (double)values[i];
    kernels->upload(numbers_at(kernels->element, table, at),
                    kernels->element == sizeof(double) ? (const void *)wide : values, (size_t)count * kernels->element);
}

void rotary_block_bind(struct rotary_block *block, const struct shape *shape)
{
    int pairs = block->head_size / 2;
    for (int first = 0; first < pairs; first += PAIRS_AT_ONCE) {
        int count = pairs - first < PAIRS_AT_ONCE ? pairs - first : PAIRS_AT_ONCE;
        float frequencies[PAIRS_AT_ONCE], cosines[PAIRS_AT_ONCE], sines[PAIRS_AT_ONCE];
        rotary_frequencies(shape, block->context, first, count, frequencies);
        for (int t = 0; t < block->context; t++) {
            size_t at = (size_t)t * (size_t)pairs + (size_t)first;
            for (int i = 0; i < count; i++) {
                float angle = (float)t * frequencies[i];
                cosines[i] = (float)cos((double)angle);
                sines[i] = (float)sin((double)angle);
            }
            put(block->kernels, block->cosines, at, cosines, count);
            put(block->kernels, block->sines, at, sines, count);
        }
    }
}

void rotary_block_turn(const struct pass *pass, const struct rotary_block *block, int heads, int stride, bool back,
                       void *x)
{
    struct rotation rotation = {
        .batch = pass->batch->rows, .positions = pass->batch->context, .heads = heads, .head_size = block->head_size,
        .stride = stride, .inverse = back,
    };
    pass_rotate(pass, &rotation, block->cosines, block->sines, x);
}
