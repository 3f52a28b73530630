#include "model/dtype.h"

#include <math.h>
#include <string.h>

#include "base/check.h"

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
        uint16_t bits = dtype == DTYPE_F16 ? dtype_to_f16(values[i]) : dtype_to_bf16(values[i]);
        uint16_t infinite = dtype == DTYPE_F16 ? 0x7C00 : 0x7F80;
        if ((bits & 0x7FFF) == infinite && first == count && isfinite(values[i]))
            first = i;
        memcpy(to + 2 * i, &bits, sizeof bits);
    }
    return first;
}
