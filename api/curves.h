/* curves.json as input: what `lag replay` reads. Takes what `lag run --out` writes, and files of other makers that have
 * at least what is required.
 *
 *   {"request": {"training": {"steps": T, "batch"?, "context"?, "seed"?, "schedule"?: {"warmup_steps"}},
 *                "selection"?: {"confidence", "rank_by"}, "candidates"?: [operators with ramps]},
 *    "tokens_per_step"?: …,
 *    "candidates": [{"candidate": name, "flops_per_token"?: …,
 *                    "points": [{"step", "loss", "raw_loss", "tokens"?, "flops"?, "blocks"?: [1e-5 nats, …]}, …]}, …]}
 *
 * Blocks, where there are any, are as many at every point; they count as the validation windows. Thread rule: any
 * thread; the replay is the caller's. */
#ifndef API_CURVES_H
#define API_CURVES_H

#include <stddef.h>

#include "study/judgement.h"

enum { CURVES_BYTES_MAX = 16 << 20 };      /* of a file */

/* Caller: replay_fini. ERROR_SYNTAX, ERROR_INVALID with the pointer, ERROR_TOO_LARGE, ERROR_NO_MEMORY. */
int curves_read(const char *text, size_t length, struct replay *replay, struct error *error);

/* Final losses of the replay's candidates from a file of curves (the raw loss at its last step), or from an object
 * {"candidate": loss, …}; NaN for those that it lacks. ERROR_INVALID if it knows none of them; the rest as above. */
int curves_read_finals(const char *text, size_t length, const struct replay *replay,
                       double finals[SPEC_CANDIDATES_MAX], struct error *error);

#endif
