#include "base/rng.h"

#include <math.h>

/* Multipliers and Weyl increments of Philox4x32: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as
 * 1, 2, 3", SC11, section 3.3 and table 2. */
enum { ROUNDS = 10 };
static const uint32_t multiplier_0 = 0xD2511F53u, multiplier_1 = 0xCD9E8D57u;
static const uint32_t weyl_0 = 0x9E3779B9u, weyl_1 = 0xBB67AE85u;

void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t block[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t product_0 = (uint64_t)multiplier_0 * c0;
        uint64_t product_1 = (uint64_t)multiplier_1 * c2;
        c0 = (uint32_t)(product_1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)product_1;
        c2 = (uint32_t)(product_0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)product_0;
        k0 += weyl_0;
        k1 += weyl_1;
    }
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
}

/* Philox on 64-bit words, low half first: counter = (low, high). */
static void philox_u64(uint64_t key, uint64_t low, uint64_t high, uint64_t block[2])
{
    const uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high, (uint32_t)(high >> 32)};
    const uint32_t key_words[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    uint32_t words[4];
    rng_philox(counter, key_words, words);
    block[0] = words[0] | (uint64_t)words[1] << 32;
    block[1] = words[2] | (uint64_t)words[3] << 32;
}

/* Philox is a bijection of its counter: under one seed no two (index, purpose) share the whole key of a stream. */
struct rng rng_stream(uint64_t seed, uint64_t index, enum rng_purpose purpose)
{
    struct rng rng = {.position = 0};
    philox_u64(seed, index, (uint64_t)purpose, rng.key);
    return rng;
}

struct rng rng_at(struct rng stream, uint64_t position)
{
    stream.position = position;
    return stream;
}

/* key[0] is the cipher's key, key[1] the counter's high half; draws 2b and 2b + 1 are the halves of block b. */
uint64_t rng_u64(struct rng *rng)
{
    uint64_t block[2];
    philox_u64(rng->key[0], rng->position >> 1, rng->key[1], block);
    return block[rng->position++ & 1];
}

static double unit_interval(uint64_t bits)
{
    return (double)(bits >> 11) * 0x1p-53;
}

double rng_uniform(struct rng *rng)
{
    return unit_interval(rng_u64(rng));
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)rng_u64(rng) * bound) >> 64);
}

/* Box and Muller 1958, the cosine half; 1 - u lies in (0, 1], so the logarithm is finite. */
double rng_normal(struct rng *rng)
{
    static const double two_pi = 6.283185307179586476925;
    uint64_t pair[2];
    if (rng->position & 1) {
        pair[0] = rng_u64(rng);
        pair[1] = rng_u64(rng);
    } else {
        philox_u64(rng->key[0], rng->position >> 1, rng->key[1], pair);
        rng->position += 2;
    }
    return sqrt(-2.0 * log(1.0 - unit_interval(pair[0]))) * cos(two_pi * unit_interval(pair[1]));
}
