#include "model/dtype.h"

#include <math.h>
#include <string.h>

#include "tests/support/support.h"

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

/* The compiler's own binary16: conversions by its run-time library. */
static float reference_from_f16(uint16_t bits)
{
    _Float16 half;
    memcpy(&half, &bits, sizeof half);
    return (float)half;
}

static uint16_t reference_to_f16(float value)
{
    _Float16 half = (_Float16)value;
    uint16_t bits;
    memcpy(&bits, &half, sizeof bits);
    return bits;
}

/* The nearer of the two neighbours, decided in double; on a tie the even one. */
static uint16_t reference_to_bf16(float value)
{
    uint16_t below = (uint16_t)(bits_of(value) >> 16), above = (uint16_t)(below + 1);
    double low = (double)float_of((uint32_t)below << 16), high = (double)float_of((uint32_t)above << 16);
    if ((above & 0x7FFF) == 0x7F80)    /* where the next value would stand if the exponent went on */
        high = signbit(value) ? -0x1p128 : 0x1p128;
    double to_low = fabs((double)value - low), to_high = fabs((double)value - high);
    if (to_low != to_high)
        return to_low < to_high ? below : above;
    return below % 2 == 0 ? below : above;
}

static void every_f16_value_survives_the_round_trip(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = dtype_from_f16((uint16_t)bits), expected = reference_from_f16((uint16_t)bits);
        if (isnan(expected))
            assert_true(isnan(value));
        else
            assert_int_equal(bits_of(value), bits_of(expected));
        assert_int_equal(dtype_to_f16(value), bits);
    }
}

static void every_bf16_value_survives_the_round_trip(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = dtype_from_bf16((uint16_t)bits);
        assert_int_equal(bits_of(value), bits << 16);
        assert_int_equal(dtype_to_bf16(value), bits);
    }
}

/* Around every 16-bit value and every midpoint between two, and everywhere else in strides of a prime. */
static void rounding_to_f16_is_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7C00; bits++) {
        float low = reference_from_f16((uint16_t)bits), high = bits == 0x7BFF ? 65536.0f
                                                                              : reference_from_f16((uint16_t)(bits + 1));
        float middle = low + (high - low) / 2;
        const float probes[] = {nextafterf(low, high), nextafterf(middle, low), middle, nextafterf(middle, high)};
        for (int i = 0; i < 4; i++) {
            assert_int_equal(dtype_to_f16(probes[i]), reference_to_f16(probes[i]));
            assert_int_equal(dtype_to_f16(-probes[i]), reference_to_f16(-probes[i]));
        }
    }
    for (uint64_t bits = 0; bits < 0x100000000u; bits += 10007) {
        float value = float_of((uint32_t)bits);
        if (!isnan(value))
            assert_int_equal(dtype_to_f16(value), reference_to_f16(value));
    }
}

static void rounding_to_bf16_is_to_nearest_even(void **state)
{
    (void)state;
    for (uint64_t upper = 0; upper < 65536; upper++) {
        const uint32_t lower[] = {0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF};
        for (int i = 0; i < 6; i++) {
            float value = float_of((uint32_t)(upper << 16 | lower[i]));
            if (isfinite(value))
                assert_int_equal(dtype_to_bf16(value), reference_to_bf16(value));
        }
    }
}

static void nan_stays_nan_and_infinity_infinity(void **state)
{
    (void)state;
    const uint32_t nans[] = {0x7F800001, 0x7FC00000, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F801000};
    for (size_t i = 0; i < sizeof nans / sizeof nans[0]; i++) {
        assert_true(isnan(dtype_from_f16(dtype_to_f16(float_of(nans[i])))));
        assert_true(isnan(dtype_from_bf16(dtype_to_bf16(float_of(nans[i])))));
    }
    assert_int_equal(dtype_to_f16(INFINITY), 0x7C00);
    assert_int_equal(dtype_to_f16(-INFINITY), 0xFC00);
    assert_int_equal(dtype_to_bf16(INFINITY), 0x7F80);
    assert_int_equal(dtype_to_bf16(-INFINITY), 0xFF80);
}

static void encoding_reports_the_first_value_that_became_infinite(void **state)
{
    (void)state;
    const float values[] = {1.0f, 65504.0f, 65519.9f, INFINITY, -65520.0f, 1e6f, 0.0f};
    uint16_t out[7];
    assert_int_equal(dtype_encode(DTYPE_F16, values, 7, out), 4);
    assert_int_equal(dtype_encode(DTYPE_F16, values, 4, out), 4);
    assert_int_equal(dtype_encode(DTYPE_BF16, values, 7, out), 7);
    const float large[] = {3.0e38f, 3.4e38f};
    assert_int_equal(dtype_encode(DTYPE_BF16, large, 2, out), 1);
    float copy[2];
    assert_int_equal(dtype_encode(DTYPE_F32, large, 2, copy), 2);
    assert_memory_equal(copy, large, sizeof large);
}

static void decoding_reads_bytes_of_any_alignment(void **state)
{
    (void)state;
    unsigned char bytes[9] = {0xAA, 0x00, 0x3C, 0x00, 0xC0};    /* F16 1, -2 after one byte */
    float values[2];
    dtype_decode(DTYPE_F16, bytes + 1, 2, values);
    assert_true(values[0] == 1.0f && values[1] == -2.0f);
    memcpy(bytes + 1, &(float[]){0.1f, -3.5f}, 8);
    dtype_decode(DTYPE_F32, bytes + 1, 2, values);
    assert_true(values[0] == 0.1f && values[1] == -3.5f);
}

static void names_and_sizes_are_those_of_the_format(void **state)
{
    (void)state;
    const struct { const char *name; int bytes; } expected[] = {
        {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"F64", 8}, {"I64", 8}, {"I32", 4}, {"I16", 2}, {"I8", 1},
        {"U64", 8}, {"U32", 4}, {"U16", 2}, {"U8", 1}, {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
    };
    assert_int_equal(sizeof expected / sizeof expected[0], DTYPE_COUNT);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        int dtype = dtype_parse(expected[i].name);
        assert_true(dtype >= 0);
        assert_string_equal(dtype_name((enum dtype)dtype), expected[i].name);
        assert_int_equal(dtype_bytes((enum dtype)dtype), expected[i].bytes);
        assert_int_equal(dtype_is_trainable((enum dtype)dtype), i < 3);
    }
    assert_int_equal(dtype_parse("F4"), -1);
    assert_int_equal(dtype_parse("f32"), -1);
    assert_int_equal(dtype_parse(""), -1);
}

/* Groups of values go by the processor's conversions, single ones by the loops: both must give the same bits. */
static void many_values_are_converted_as_one_by_one(void **state)
{
    enum { COUNT = 65536 + 13 };
    static uint16_t bits[COUNT], back[COUNT];
    static float values[COUNT];
    uint32_t word = 12345;
    (void)state;
    for (int i = 0; i < COUNT; i++)
        bits[i] = (uint16_t)i;
    dtype_decode(DTYPE_F16, bits, COUNT, values);
    for (int i = 0; i < COUNT; i++) {
        float one = dtype_from_f16(bits[i]);
        assert_memory_equal(&one, &values[i], sizeof one);
    }
    for (int i = 0; i < COUNT; i++) {     /* every exponent, NaN and infinity among them */
        word = word * 1664525u + 1013904223u;
        uint32_t pattern = i % 2 == 0 ? word : (word & 0x8FFFFFFFu) | 0x30000000u;
        memcpy(&values[i], &pattern, sizeof pattern);
    }
    (void)dtype_encode(DTYPE_F16, values, COUNT, back);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(back[i], dtype_to_f16(values[i]));
}

static void the_first_value_that_is_not_finite_is_found(void **state)
{
    static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    enum { COUNT = 5000 };
    static float values[COUNT];
    static uint32_t stored[COUNT];
    (void)state;
    for (int d = 0; d < 3; d++)
        for (int at = -1; at < COUNT; at = at < 0 ? 0 : at * 3 + 1) {
            for (int i = 0; i < COUNT; i++)
                values[i] = at >= 0 && i >= at ? (i % 2 == 0 ? INFINITY : NAN) : i % 3 == 0 ? -60000.0f : (float)i;
            (void)dtype_encode(dtypes[d], values, COUNT, stored);
            assert_int_equal(dtype_find_nonfinite(dtypes[d], stored, COUNT), at < 0 ? COUNT : at);
        }
}

TEST_MAIN(cmocka_unit_test(every_f16_value_survives_the_round_trip),
          cmocka_unit_test(every_bf16_value_survives_the_round_trip),
          cmocka_unit_test(rounding_to_f16_is_to_nearest_even), cmocka_unit_test(rounding_to_bf16_is_to_nearest_even),
          cmocka_unit_test(nan_stays_nan_and_infinity_infinity),
          cmocka_unit_test(encoding_reports_the_first_value_that_became_infinite),
          cmocka_unit_test(decoding_reads_bytes_of_any_alignment),
          cmocka_unit_test(names_and_sizes_are_those_of_the_format),
          cmocka_unit_test(many_values_are_converted_as_one_by_one),
          cmocka_unit_test(the_first_value_that_is_not_finite_is_found))
