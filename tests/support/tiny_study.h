/* A study that takes a fraction of a second: a 2-layer, 16-wide byte model of random weights, generated text, four grown
 * candidates of 60 steps. And the comparison of two results as the contract defines "identical". */
#ifndef TESTS_SUPPORT_TINY_STUDY_H
#define TESTS_SUPPORT_TINY_STUDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"

/* Members of the request as JSON text; NULL: as below. */
struct tiny_study {
    const char *name, *candidates, *training, *selection, *more;     /* more: further members, each with a leading comma */
    const char *data;
};

extern const char *const tiny_candidates;      /* stack, interleave, identity (4 layers), wide (32, one layer map) */
extern const char *const tiny_training;        /* batch 4, context 16, horizon 1000, warm-up 5 */
extern const char *const tiny_selection;       /* auto, max_k 62, k_min 50, about 1000 validation tokens */

/* Writes base/ (checkpoint), train.txt and study.json into an existing directory. */
void tiny_study_write(const char *directory, const struct tiny_study *study);
/* Only the JSON, into `file`. */
void tiny_study_json(const char *file, const struct tiny_study *study);
/* Bytes of memory in which each worker has room for one trial of a tiny study, so that others are parked: `own` for the
 * trial and its scratch, and what products pack into on this processor. tiny_memory_text writes them for --memory. */
uint64_t tiny_memory(int workers, uint64_t own);
const char *tiny_memory_text(char text[32], int workers, uint64_t own);
/* Deterministic text of about `bytes` bytes, different for different seeds. */
void tiny_text_write(const char *file, size_t bytes, unsigned seed);

/* Same but for id, choice.files and seconds; prints the first member that differs. */
bool tiny_results_equal(const char *a, const char *b);
#define assert_identical(a, b) tiny_assert_identical(a, b, __FILE__, __LINE__)
void tiny_assert_identical(const char *a, const char *b, const char *file, int line);
/* Every file of two `lag run --out` directories: equal bytes, JSON documents as results, report.html
 * without what it marks as different from run to run. */
#define assert_same_files(a, b) tiny_assert_same_files(a, b, __FILE__, __LINE__)
void tiny_assert_same_files(const char *a, const char *b, const char *file, int line);

#endif
