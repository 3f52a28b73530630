/* Philox on many counters at once. The vector form does what base/rng.c does, in 64-bit lanes whose upper halves nobody
 * reads: a product takes the lower ones alone. */
#include "base/rng.h"

#if defined __x86_64__
#include <immintrin.h>

enum { ROUNDS = 10, VECTORS = 4, LANES = 4 };     /* so many vectors go round together: a product takes its time */

static const uint32_t multiplier_0 = 0xD2511F53u, multiplier_1 = 0xCD9E8D57u;
static const uint32_t weyl_0 = 0x9E3779B9u, weyl_1 = 0xBB67AE85u;

/* The counters' words of four blocks. */
struct words { __m256i c0, c1, c2, c3; };

static inline __attribute__((always_inline, target("avx2"))) void turn(struct words *words, __m256i key_0, __m256i key_1)
{
    __m256i product_0 = _mm256_mul_epu32(words->c0, _mm256_set1_epi64x(multiplier_0));
    __m256i product_1 = _mm256_mul_epu32(words->c2, _mm256_set1_epi64x(multiplier_1));
    words->c0 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product_1, 32), words->c1), key_0);
    words->c1 = product_1;
    words->c2 = _mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product_0, 32), words->c3), key_1);
    words->c3 = product_0;
}

/* Two draws of each block, block by block. */
static inline __attribute__((always_inline, target("avx2"))) void put(const struct words *words, uint64_t *draws)
{
    __m256i even = _mm256_blend_epi32(words->c0, _mm256_slli_epi64(words->c1, 32), 0xAA);
    __m256i odd = _mm256_blend_epi32(words->c2, _mm256_slli_epi64(words->c3, 32), 0xAA);
    __m256i outer = _mm256_unpacklo_epi64(even, odd), inner = _mm256_unpackhi_epi64(even, odd);   /* 0 2, 1 3 */
    _mm256_storeu_si256((__m256i *)(void *)draws, _mm256_permute2x128_si256(outer, inner, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(draws + 4), _mm256_permute2x128_si256(outer, inner, 0x31));
}

/* VECTORS * LANES blocks from number `first` on. */
static __attribute__((target("avx2"))) void fill_avx2(const uint64_t key[2], uint64_t first, uint64_t *draws)
{
    const __m256i numbers = _mm256_set_epi64x(3, 2, 1, 0), high = _mm256_set1_epi64x((long long)key[1]);
    uint32_t key_0 = (uint32_t)key[0], key_1 = (uint32_t)(key[0] >> 32);
    struct words words[VECTORS];
    for (int i = 0; i < VECTORS; i++) {
        __m256i low = _mm256_add_epi64(_mm256_set1_epi64x((long long)(first + (uint64_t)(i * LANES))), numbers);
        words[i] = (struct words){low, _mm256_srli_epi64(low, 32), high, _mm256_srli_epi64(high, 32)};
    }
    for (int round = 0; round < ROUNDS; round++, key_0 += weyl_0, key_1 += weyl_1) {
        __m256i keys_0 = _mm256_set1_epi64x(key_0), keys_1 = _mm256_set1_epi64x(key_1);
#pragma GCC unroll 4
        for (int i = 0; i < VECTORS; i++)
            turn(&words[i], keys_0, keys_1);
    }
    for (int i = 0; i < VECTORS; i++)
        put(&words[i], draws + (size_t)i * 2 * LANES);
}

static size_t fill_blocks(struct rng *rng, uint64_t *draws, size_t count)
{
    size_t done = 0, step = (size_t)2 * VECTORS * LANES;
    if (!__builtin_cpu_supports("avx2") || (rng->position & 1) != 0)
        return 0;
    for (; count - done >= step; done += step, rng->position += step)
        fill_avx2(rng->key, rng->position >> 1, draws + done);
    return done;
}
#else
static size_t fill_blocks(struct rng *rng, uint64_t *draws, size_t count)
{
    (void)rng, (void)draws, (void)count;
    return 0;
}
#endif

void rng_fill(struct rng *rng, uint64_t *draws, size_t count)
{
    size_t done = 0;
    if (count > 0 && (rng->position & 1) != 0)
        draws[done++] = rng_u64(rng);
    done += fill_blocks(rng, draws + done, count - done);
    while (done < count)
        draws[done++] = rng_u64(rng);
}
