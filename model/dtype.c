#include "model/dtype.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/check.h"
#include "base/wide.h"

#if defined __x86_64__
#include <immintrin.h>
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian and are copied as they are");

static const struct { const char *name; int bytes; } dtypes[] = {
#define X(code, name, bytes) [code] = {name, bytes},
    DTYPE_TABLE(X)
#undef X
};

const char *dtype_name(enum dtype dtype)
{
    return (unsigned)dtype < DTYPE_COUNT ? dtypes[dtype].name : "unknown";
}

int dtype_bytes(enum dtype dtype)
{
    return (unsigned)dtype < DTYPE_COUNT ? dtypes[dtype].bytes : 0;
}

int dtype_parse(const char *name)
{
    for (int dtype = 0; dtype < DTYPE_COUNT; dtype++)
        if (strcmp(name, dtypes[dtype].name) == 0)
            return dtype;
    return -1;
}

bool dtype_is_trainable(enum dtype dtype)
{
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* binary16: sign 1, exponent 5 (bias 15), fraction 10. binary32: sign 1, exponent 8 (bias 127), fraction 23. */
float dtype_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 0x1F, fraction = bits & 0x3FF;
    if (exponent == 0x1F)
        return float_of(sign | 0x7F800000 | fraction << 13);
    if (exponent != 0)
        return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = (float)fraction * 0x1p-24f;    /* subnormal: exact */
    return float_of(sign | bits_of(magnitude));
}

uint16_t dtype_to_f16(float value)
{
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
    if (magnitude > 0x7F800000) {
        uint32_t payload = magnitude >> 13 & 0x3FF;
        return (uint16_t)(sign | 0x7C00 | (payload != 0 ? payload : 0x200));
    }
    if (magnitude >= 0x477FF000)                     /* 65520, halfway to 2^16, and above: infinite */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude >= 0x38800000) {                   /* 2^-14: normal in binary16 */
        uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
        return (uint16_t)(sign | (rounded - (112u << 23)) >> 13);
    }
    if (magnitude <= 0x33000000)                     /* 2^-25, halfway to the least subnormal, and below: 0 */
        return (uint16_t)sign;
    uint32_t fraction = (magnitude & 0x7FFFFF) | 0x800000, shift = 126 - (magnitude >> 23);
    uint32_t kept = fraction >> shift, rest = fraction & ((1u << shift) - 1), half = 1u << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
    return (uint16_t)(sign | kept);
}

float dtype_from_bf16(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t dtype_to_bf16(float value)
{
    uint32_t bits = bits_of(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) {
        uint32_t upper = bits >> 16;
        return (uint16_t)((upper & 0x7F) != 0 ? upper : upper | 0x40);
    }
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* Groups of eight by the processor's own conversions, which round as these functions do; groups that hold a NaN, whose
 * payload the processor changes, or an infinity are left to the loops. Return how many values were converted before. */
#if defined __x86_64__
static __attribute__((target("avx2,f16c"))) size_t decode_f16_groups(const unsigned char *from, size_t count, float *values)
{
    const __m128i special = _mm_set1_epi16(0x7C00);
    size_t done = 0;
    for (; count - done >= 8; done += 8) {
        __m128i bits = _mm_loadu_si128((const __m128i *)(const void *)(from + 2 * done));
        if (_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_and_si128(bits, special), special)) != 0)
            break;
        _mm256_storeu_ps(values + done, _mm256_cvtph_ps(bits));
    }
    return done;
}

static __attribute__((target("avx2,f16c"))) size_t encode_f16_groups(const float *values, size_t count, unsigned char *to)
{
    const __m128i special = _mm_set1_epi16(0x7C00);
    size_t done = 0;
    for (; count - done >= 8; done += 8) {
        __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(values + done), _MM_FROUND_TO_NEAREST_INT);
        if (_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_and_si128(bits, special), special)) != 0)
            break;
        _mm_storeu_si128((__m128i *)(void *)(to + 2 * done), bits);
    }
    return done;
}

static bool has_groups(enum dtype dtype)
{
    return dtype == DTYPE_F16 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
}
#else
static size_t decode_f16_groups(const unsigned char *from, size_t count, float *values)
{
    (void)from, (void)count, (void)values;
    return 0;
}

static size_t encode_f16_groups(const float *values, size_t count, unsigned char *to)
{
    (void)values, (void)count, (void)to;
    return 0;
}

static bool has_groups(enum dtype dtype)
{
    (void)dtype;
    return false;
}
#endif

/* Does a value of `size` bytes have all bits of `special`, those of the exponent? */
static bool is_special(const unsigned char *from, size_t size, uint32_t special)
{
    uint32_t bits = 0;
    memcpy(&bits, from, size);
    return (bits & special) == special;
}

WIDE_LOOP any_special_loop(const unsigned char *from, size_t size, size_t count, uint32_t special, bool *found)
{
    uint32_t any = 0;
    if (size == sizeof(uint32_t)) {
#pragma omp simd reduction(| : any)
        for (size_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, from + 4 * i, sizeof bits);
            any |= (bits & special) == special;
        }
    } else {
#pragma omp simd reduction(| : any)
        for (size_t i = 0; i < count; i++) {
            uint16_t bits;
            memcpy(&bits, from + 2 * i, sizeof bits);
            any |= (bits & special) == special;
        }
    }
    *found = any != 0;
}

WIDE_FORMS(any_special, (const unsigned char *from, size_t size, size_t count, uint32_t special, bool *found),
           (from, size, count, special, found))

size_t dtype_find_nonfinite(enum dtype dtype, const void *bytes, size_t count)
{
    uint32_t special = dtype == DTYPE_F16 ? 0x7C00 : dtype == DTYPE_BF16 ? 0x7F80 : 0x7F800000;
    size_t size = (size_t)dtype_bytes(dtype), first = 0;
    CHECK(dtype_is_trainable(dtype));
    bool found;
    any_special(bytes, size, count, special, &found);     /* without a branch: fast where all is well */
    if (!found)
        return count;
    while (!is_special((const unsigned char *)bytes + size * first, size, special))
        first++;
    return first;
}

void dtype_decode(enum dtype dtype, const void *bytes, size_t count, float *values)
{
    const unsigned char *from = bytes;
    CHECK(dtype_is_trainable(dtype));
    if (dtype == DTYPE_F32) {
        if (count > 0)
            memcpy(values, from, count * sizeof *values);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        if (has_groups(dtype) && (i += decode_f16_groups(from + 2 * i, count - i, values + i)) == count)
            break;
        memcpy(&bits, from + 2 * i, sizeof bits);
        values[i] = dtype == DTYPE_F16 ? dtype_from_f16(bits) : dtype_from_bf16(bits);
    }
}

size_t dtype_encode(enum dtype dtype, const float *values, size_t count, void *bytes)
{
    unsigned char *to = bytes;
    size_t first = count;
    CHECK(dtype_is_trainable(dtype));
    if (dtype == DTYPE_F32) {
        if (count > 0)
            memcpy(to, values, count * sizeof *values);
        return count;
    }
    for (size_t i = 0; i < count; i++) {
        if (has_groups(dtype) && (i += encode_f16_groups(values + i, count - i, to + 2 * i)) == count)
            break;
        uint16_t bits = dtype == DTYPE_F16 ? dtype_to_f16(values[i]) : dtype_to_bf16(values[i]);
        uint16_t infinite = dtype == DTYPE_F16 ? 0x7C00 : 0x7F80;
        if ((bits & 0x7FFF) == infinite && first == count && isfinite(values[i]))
            first = i;
        memcpy(to + 2 * i, &bits, sizeof bits);
    }
    return first;
}
