/* Numbers of 16 bits to float32 and back, round to nearest, ties to even (IEEE 754; bfloat16 is the upper half of a
 * binary32). A NaN keeps the upper bits of its payload, so that every 16-bit value survives the way there and back. */
#ifndef MODEL_DTYPE_H
#define MODEL_DTYPE_H

#include <stddef.h>
#include <stdint.h>

#include "model/safetensors.h"

float dtype_from_f16(uint16_t bits);
float dtype_from_bf16(uint16_t bits);
uint16_t dtype_to_f16(float value);
uint16_t dtype_to_bf16(float value);

/* Stored bytes (any alignment, little-endian) of a trainable dtype to float32. */
void dtype_decode(enum dtype dtype, const void *bytes, size_t count, float *values);
/* Index of the first stored value that is NaN or Inf, `count` if all are finite. */
size_t dtype_find_nonfinite(enum dtype dtype, const void *bytes, size_t count);
/* And back. Returns the index of the first finite value that became infinite, `count` if there was none. */
size_t dtype_encode(enum dtype dtype, const float *values, size_t count, void *bytes);

#endif
