/* Stages: adaptive gradual stacking as studies in a row (methods 1.6, 6.4). Pure values: how many steps each stage has,
 * and in which order the parts of a staged study follow each other. Thread rule: values, caller-owned.
 *
 *     chain 0, adaptive:   search 1 -> training 1 -> search 2 -> training 2 -> … -> training S
 *     chain b, baseline:               training 1 ->             training 2 -> … -> training S
 *
 * A search is LAG on the candidates that reach the stage's depth. A training takes one of them, the search's choice or
 * the baseline's operator, to the end of the stage; its raw iterate and moments are the parent of the chain's next part. */
#ifndef STUDY_STAGES_H
#define STUDY_STAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "study/spec.h"

/* The operators that may run beside as baselines: gradual stacking and MIDAS. */
#define STAGES_BASELINES "gradual_last|middle"
enum { STAGES_BASELINES_MAX = 2, STAGES_CHAINS_MAX = 1 + STAGES_BASELINES_MAX, STAGES_PART_NAME_BYTES = 8 };

struct stage { int layers; uint64_t steps; };

struct stages {
    struct stage of[SPEC_STAGES_MAX];                     /* ascending layers */
    int count;
    const char *baselines[STAGES_BASELINES_MAX];          /* names of operators; static text */
    int baseline_count;
};

/* Prop-alpha: T_j = floor(T j^alpha / sum i^alpha), the last stage takes the remainder (methods 6.4). ERROR_INVALID if a
 * stage would have no step. */
int stages_split(struct stages *stages, uint64_t steps, double alpha, struct error *error);
uint64_t stages_steps(const struct stages *stages);       /* of all */

/* A part: one study of the row. */
struct stage_part {
    int chain;                     /* 0: adaptive; b: baselines[b - 1] */
    int stage;                     /* from 1 */
    bool search;                   /* else training */
};
int stages_chains(const struct stages *stages);
struct stage_part stages_first(int chain);
/* The chain's next part; false: there is none. */
bool stages_next(const struct stages *stages, struct stage_part *part);
/* "2" and "2t" of the adaptive chain, "b1-2" of the first baseline: the end of a part's id. */
void stages_part_name(const struct stage_part *part, char name[STAGES_PART_NAME_BYTES]);
const char *stages_chain_name(const struct stages *stages, int chain);      /* "adaptive", or the baseline's operator */

#endif
