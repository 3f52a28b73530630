/* Reference numbers that Hugging Face transformers computed in PyTorch: tests/oracle/ holds the script that makes them
 * and says what each file has. Needs model/. Everything fails the test on error. Programs run in the repository's
 * root. */
#ifndef TESTS_SUPPORT_ORACLE_H
#define TESTS_SUPPORT_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#include "model/checkpoint.h"
#include "model/network.h"

struct oracle {
    struct checkpoint checkpoint;
    struct safetensors reference;
};

/* tests/fixtures/oracle/<name>: "gpt2_a" (tied), "gpt2_b" (untied). */
void oracle_open(struct oracle *oracle, const char *name);
void oracle_close(struct oracle *oracle);

/* Numbers and names below are of reference.safetensors; `name` is a format. Free with memory_free. */
float *oracle_floats(const struct oracle *oracle, size_t count, const char *name, ...)
    __attribute__((format(printf, 3, 4)));
/* Number `index` of a list kept as pairs of F32. */
double oracle_number(const struct oracle *oracle, const char *name, size_t index);
/* A batch "short" or "full", with its decoder's side where it has one; targets that are not counted are TARGET_IGNORED.
 * Masks are left out. Free with oracle_batch_free. */
struct batch oracle_batch(const struct oracle *oracle, const char *name);
void oracle_batch_free(struct batch *batch);
/* Targets of a row: the decoder's of an encoder-decoder. */
int oracle_batch_targets(const struct batch *batch);

/* How far a list is from its reference: both are Euclidean norms. */
struct oracle_distance { double difference, reference; };
struct oracle_distance oracle_distance(const double *actual, const float *reference, size_t count);
/* Numbers [first, first + count) of a kernel body's memory (element 4 or 8). Free with memory_free. */
double *oracle_doubles(const void *numbers, size_t element, size_t first, size_t count);

#endif
