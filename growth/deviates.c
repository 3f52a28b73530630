#include "growth/deviates.h"

#include <math.h>
#include <string.h>

#if defined __x86_64__
#include <immintrin.h>
#endif

enum { PIECE = 512, PER_DRAW = 4 };     /* draws at a time, deviates of one */

/* Natural logarithm of a number in (0, 1]: halves are taken off, then the series of artanh. */
static double logarithm(double x)
{
    static const double log_2 = 0.693147180559945309417;
    int halves = 0;
    for (; x < 0.70710678118654752; halves++)
        x *= 2;
    double s = (x - 1) / (x + 1), square = s * s, sum = 0;
    for (int k = 25; k >= 1; k -= 2)
        sum = sum * square + 1.0 / k;
    return 2 * s * sum - halves * log_2;
}

static double polynomial(const double *coefficients, double x)
{
    double sum = 0;
    for (int i = 7; i >= 0; i--)
        sum = sum * x + coefficients[i];
    return sum;
}

/* The quantile of p in (1/2, 1). */
static double quantile(double p)
{
    static const double a[8] = {3.3871328727963666080e0, 1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[8] = {1, 4.2313330701600911252e+1, 6.8718700749205790830e+2, 5.3941960214247511077e+3,
                                2.1213794301586595867e+4, 3.9307895800092710610e+4, 2.8729085735721942674e+4,
                                5.2264952788528545610e+3};
    static const double c[8] = {1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
                                3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
                                2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[8] = {1, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
                                1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
                                1.05075007164441684324e-9};
    double q = p - 0.5;
    if (q <= 0.425)
        return q * polynomial(a, 0.180625 - q * q) / polynomial(b, 0.180625 - q * q);
    double r = sqrt(-logarithm(1 - p)) - 1.6;     /* at most 3.4: the algorithm's third range is never reached */
    return polynomial(c, r) / polynomial(d, r);
}

void deviates_table(float *table)
{
    double squares = 0;
    for (int i = 0; i < DEVIATES_TABLE; i++) {
        double value = quantile(0.5 + (i + 0.5) / (2.0 * DEVIATES_TABLE));
        squares += value * value;
    }
    double scale = 1 / sqrt(squares / DEVIATES_TABLE);
    for (int i = 0; i < DEVIATES_TABLE; i++)
        table[i] = (float)(scale * quantile(0.5 + (i + 0.5) / (2.0 * DEVIATES_TABLE)));
}

/* The upper one of 16 bits is the sign: no branch. */
static inline float deviate(const float *table, uint64_t bits)
{
    uint32_t value;
    float signed_value;
    memcpy(&value, &table[bits & (DEVIATES_TABLE - 1)], sizeof value);
    value ^= (uint32_t)(bits << 16) & 0x80000000u;
    memcpy(&signed_value, &value, sizeof signed_value);
    return signed_value;
}

#if defined __x86_64__
/* Whole draws, eight deviates at a time. Returns how many draws were used. */
static __attribute__((target("avx2"))) size_t deviates_of_draws(const float *table, const uint64_t *draws, size_t count,
                                                                float *deviates)
{
    const __m256i magnitude = _mm256_set1_epi32(DEVIATES_TABLE - 1), sign = _mm256_set1_epi32(INT32_MIN);
    size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(draws + i)));
        __m256 value = _mm256_i32gather_ps(table, _mm256_and_si256(bits, magnitude), 4);
        __m256i flip = _mm256_and_si256(_mm256_slli_epi32(bits, 16), sign);
        _mm256_storeu_ps(deviates + PER_DRAW * i, _mm256_xor_ps(value, _mm256_castsi256_ps(flip)));
    }
    return i;
}
#endif

/* The same for any processor, and for what eight at a time leave. */
static void fill_draws(const float *table, const uint64_t *draws, size_t count, float *deviates)
{
    size_t i = 0;
#if defined __x86_64__
    if (__builtin_cpu_supports("avx2"))
        i = deviates_of_draws(table, draws, count, deviates);
#endif
    for (; i < count; i++)
        for (int part = 0; part < PER_DRAW; part++)
            deviates[PER_DRAW * i + (size_t)part] = deviate(table, draws[i] >> 16 * part);
}

void deviates_fill(const float *table, struct rng stream, size_t first, float *deviates, size_t count)
{
    uint64_t draws[PIECE];
    struct rng rng = rng_at(stream, first / PER_DRAW);
    size_t skipped = first % PER_DRAW;
    for (size_t done = 0; done < count;) {
        size_t wanted = (skipped + count - done + PER_DRAW - 1) / PER_DRAW, now = wanted < PIECE ? wanted : PIECE;
        rng_fill(&rng, draws, now);
        size_t i = skipped, end = now * PER_DRAW;
        if (end - i > count - done)
            end = i + count - done;
        for (; i < end && i % PER_DRAW != 0; i++)
            deviates[done++] = deviate(table, draws[i / PER_DRAW] >> 16 * (i % PER_DRAW));
        if (i % PER_DRAW == 0) {
            size_t whole = (end - i) / PER_DRAW;
            fill_draws(table, draws + i / PER_DRAW, whole, deviates + done);
            i += PER_DRAW * whole;
            done += PER_DRAW * whole;
        }
        for (; i < end; i++)
            deviates[done++] = deviate(table, draws[i / PER_DRAW] >> 16 * (i % PER_DRAW));
        skipped = 0;
    }
}
