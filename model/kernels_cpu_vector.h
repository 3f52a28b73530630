/* Vectors of LANES floats, as wide as the file is compiled for. Every loop of the cpu body is written over these, so
 * the order of its sums depends on LANES alone: not on the compiler's taste, not on where a buffer lies. Included by
 * kernels_cpu.c only. Rows may end within a vector: loads and stores take how many numbers are left. */
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16 };
#define X86_INTRINSIC(name) _mm512_##name
#elif defined(__AVX2__)
enum { LANES = 8 };
#define X86_INTRINSIC(name) _mm256_##name
#elif defined(__SSE2__)
enum { LANES = 4 };
#define X86_INTRINSIC(name) _mm_##name
#else
enum { LANES = 4 };
#endif
#if defined(X86_INTRINSIC)
#include <immintrin.h>
#endif

typedef float floats __attribute__((vector_size(LANES * 4)));
typedef float floats_anywhere __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t masks __attribute__((vector_size(LANES * 4)));
typedef uint32_t words __attribute__((vector_size(LANES * 4)));
typedef float half_floats __attribute__((vector_size(LANES * 2), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(LANES * 4)));    /* LANES / 2 of them */

static inline floats vector_of(float x)
{
    return x - (floats){0};    /* not +: the compiler may drop only x - 0, as 0 + -0 is 0 */
}

/* Asks for numbers that a loop will read or write a while later: where the processor's own prefetching is weak (virtual
 * machines), loops over long vectors wait for memory without. The address need not exist. */
enum { STREAM_AHEAD = 512, ROWS_AHEAD = 8 };

static inline void vector_expect(const float *at)
{
    __builtin_prefetch(at);
}

static inline floats vector_load(const float *from)
{
    return *(const floats_anywhere *)from;
}

static inline void vector_store(float *to, floats x)
{
    *(floats_anywhere *)to = x;
}

/* The first `left` numbers, zeros after them. */
static inline floats vector_load_part(const float *from, size_t left)
{
    if (left >= LANES)
        return vector_load(from);
#if defined(__AVX512F__)
    return (floats)_mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), from);
#else
    float lanes[LANES] = {0};
    for (size_t i = 0; i < left; i++)
        lanes[i] = from[i];
    return vector_load(lanes);
#endif
}

static inline void vector_store_part(float *to, floats x, size_t left)
{
    if (left >= LANES) {
        vector_store(to, x);
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << left) - 1), (__m512)x);
#else
    float lanes[LANES];
    vector_store(lanes, x);
    for (size_t i = 0; i < left; i++)
        to[i] = lanes[i];
#endif
}

static inline floats vector_select(masks where, floats yes, floats no)
{
    return (floats)((where & (masks)yes) | (~where & (masks)no));
}

/* a where it is larger (smaller), else b: a NaN in a is dropped, one in b stays. That is what x86's instruction does;
 * gcc does not find it in the portable form. */
static inline floats vector_max(floats a, floats b)
{
#if defined(X86_INTRINSIC)
    return X86_INTRINSIC(max_ps)(a, b);
#else
    return vector_select(a > b, a, b);
#endif
}

static inline floats vector_min(floats a, floats b)
{
#if defined(X86_INTRINSIC)
    return X86_INTRINSIC(min_ps)(a, b);
#else
    return vector_select(a < b, a, b);
#endif
}

static inline floats vector_sqrt(floats x)
{
#if defined(X86_INTRINSIC)
    return X86_INTRINSIC(sqrt_ps)(x);
#else
    floats root = x;
    for (int i = 0; i < LANES; i++)
        root[i] = __builtin_sqrtf(x[i]);
    return root;
#endif
}

/* NaN stays NaN. */
static inline floats vector_clamp(floats x, float low, float high)
{
    return vector_min(vector_of(high), vector_max(vector_of(low), x));
}

/* 0, 1, 2, … */
static inline masks vector_lanes(void)
{
    masks lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    return lane;
}

/* True in the first `left` lanes. */
static inline masks vector_first(size_t left)
{
    return vector_lanes() < (masks){0} + (int32_t)(left < LANES ? left : LANES);
}

/* Lane i of the result is lane i ^ distance of x. */
static inline floats vector_swap(floats x, int distance)
{
    return __builtin_shuffle(x, vector_lanes() ^ distance);
}

/* Sum of the lanes, by halves. */
static inline float vector_sum(floats x)
{
#pragma GCC unroll 4
    for (int width = LANES / 2; width > 0; width /= 2)
        x += vector_swap(x, width);
    return x[0];
}

static inline float vector_largest(floats x)
{
#pragma GCC unroll 4
    for (int width = LANES / 2; width > 0; width /= 2)
        x = vector_max(x, vector_swap(x, width));
    return x[0];
}

/* LANES / 2 floats as doubles. */
static inline doubles vector_widen(const float *from)
{
    return __builtin_convertvector(*(const half_floats *)from, doubles);
}

static inline double vector_sum_doubles(doubles x)
{
    double sum = 0;
    for (int i = 0; i < LANES / 2; i++)
        sum += x[i];
    return sum;
}

/* x 2^n for an integer n that lies in the low bits of n + 1.5 2^23 = shifted; in two factors, so that n = 128 is within
 * reach. */
static inline floats vector_scale(floats x, floats n, floats shifted)
{
#if defined(__AVX512F__)
    (void)shifted;
    return _mm512_scalef_ps(x, n);
#else
    (void)n;
    masks exponent = (masks)((words)shifted - (words)vector_of(12582912.0f)), half = exponent >> 1;
    floats scale_half = (floats)((words)(half + 127) << 23);
    return x * scale_half * (floats)((words)(exponent - half + 127) << 23);
#endif
}

/* e^x, relative error below 2e-7 on [-87.3, 88.7]; 0 below, +Inf above, NaN for NaN. x = n ln 2 + r with |r| <= ln 2 /
 * 2 (ln 2 in two parts, after Cody and Waite), e^r by the polynomial that interpolates it at Chebyshev nodes (own fit,
 * error 1e-8), times 2^n. */
static inline floats vector_exp(floats x)
{
    const floats round_to_integer = vector_of(12582912.0f);    /* 1.5 * 2^23: the sum's low bits are the integer */
    floats bounded = vector_clamp(x, -87.3f, 89.0f);
    floats shifted = bounded * 1.442695041f + round_to_integer;
    floats n = shifted - round_to_integer;
    floats r = bounded - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    floats p = vector_of(1.392618359e-03f);
    p = p * r + 8.363179053e-03f;
    p = p * r + 4.166655462e-02f;
    p = p * r + 1.666657699e-01f;
    p = p * r + 0.5f;
    p = p * (r * r) + r + 1.0f;
    floats y = vector_scale(p, n, shifted);
    return (floats)(~(x < vector_of(-87.3f)) & (masks)y);
}

/* 1 / x for x between 2^-120 and 2^120, relative error below 1e-7. */
static inline floats vector_reciprocal(floats x)
{
#if defined(__AVX512F__)
    floats y = _mm512_rcp14_ps(x);    /* relative error 2^-14, squared by a step of Newton's iteration */
    return y + y * (1.0f - x * y);
#else
    return 1.0f / x;
#endif
}

/* Phi(x) = P(N(0, 1) <= x) and *density = its derivative, absolute error below 2e-7.
 * Phi(-z) = e^(-z^2/2) t P(t), t = 1 / (1 + 0.3 z): own fit of degree 9 on z in [0, 13.5], relative error 5e-9. */
static inline floats vector_normal(floats x, floats *density)
{
    floats z = vector_min(vector_of(13.0f), vector_max(-x, x));
    floats t = vector_reciprocal(1.0f + 0.3f * z);
    floats bell = vector_exp(-0.5f * z * z);
    floats p = vector_of(-2.085754844e-02f);
    p = p * t + 1.137380478e-01f;
    p = p * t + -2.313456706e-01f;
    p = p * t + 1.960452428e-01f;
    p = p * t + -8.302591155e-02f;
    p = p * t + 9.811377132e-02f;
    p = p * t + 7.770884950e-02f;
    p = p * t + 1.103812325e-01f;
    p = p * t + 1.195544155e-01f;
    p = p * t + 1.196875695e-01f;
    floats below = bell * t * p;
    *density = bell * 0.3989422804f;
    return vector_select(x < vector_of(0), below, 1.0f - below);
}
