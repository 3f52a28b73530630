/* Random streams: counter-based (Philox4x32-10, Salmon et al. 2011), so that a draw is a pure function of
 * (seed, index, purpose, position). Nothing has to be saved to resume a stream but its position, and two purposes never
 * disturb each other. Thread rule: a struct rng belongs to one thread; copies are independent. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

/* What a stream is for. Values are part of saved state: append, never renumber. */
enum rng_purpose {
    RNG_DATA = 1,       /* which windows a training step reads */
    RNG_MASK = 2,       /* denoising masks of a training step */
    RNG_VALIDATION = 3, /* validation masks */
    RNG_GROWTH = 4,     /* new weights and noise of an operator */
    RNG_BOOTSTRAP = 5,  /* resampled validation windows */
    RNG_PROBE = 6,      /* the preservation check's tokens, probe vectors */
    RNG_INIT = 7        /* a model initialised from its shape */
};

struct rng {
    uint64_t key[2];      /* from (seed, index, purpose) */
    uint64_t position;    /* number of 64-bit draws taken so far */
};

/* The stream of (seed, index, purpose), at position 0. `index` is the study's seed index, a hash, a tensor number … */
struct rng rng_stream(uint64_t seed, uint64_t index, enum rng_purpose purpose);

/* The same stream at another position (for example step * batch + row). */
struct rng rng_at(struct rng stream, uint64_t position);

uint64_t rng_u64(struct rng *rng);                    /* uniform 64 bits; position + 1 */
/* As `count` calls of rng_u64, and many times faster (on x86-64 with AVX2): the same draws on every kind of processor. */
void rng_fill(struct rng *rng, uint64_t *draws, size_t count);
double rng_uniform(struct rng *rng);                  /* uniform in [0, 1), 53 bits; position + 1 */
/* Uniform in [0, bound), bound > 0, by the high product (bias below bound / 2^64); position + 1. */
uint64_t rng_below(struct rng *rng, uint64_t bound);
double rng_normal(struct rng *rng);                   /* N(0, 1), Box-Muller; position + 2 */

/* One block of the cipher itself, ten rounds (public for the published known-answer vectors). */
void rng_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t block[4]);

#endif
