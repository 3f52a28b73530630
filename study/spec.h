/* The spec: one study's resolved request. Every field has its value; nothing is left to a default later.
 * Parsed and echoed by api/request; stored as its JSON; pure data here. */
#ifndef STUDY_SPEC_H
#define STUDY_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "growth/operator.h"
#include "growth/target.h"
#include "trainer/landscape.h"
#include "trainer/training.h"

/* The limits of the contract, in one table: X(name, value, what). */
#define SPEC_LIMITS(X)                                       \
    X(SPEC_CANDIDATES_MAX, 64, "candidates of a study")      \
    X(SPEC_NAME_MAX, 64, "characters of a candidate's name") \
    X(SPEC_STAGES_MAX, 16, "stages of a study")              \
    X(SPEC_JSON_BYTES_MAX, 1 << 20, "bytes of a JSON body")
enum spec_limit {
#define X(name, value, what) name = value,
    SPEC_LIMITS(X)
#undef X
};

struct spec_candidate {
    char name[SPEC_NAME_MAX + 1];
    struct growth_list operators;          /* owned */
    enum moments_policy moments;
};

enum keep_kind { KEEP_ALL, KEEP_TOP, KEEP_WINNER };
enum rank_by { RANK_BY_LOSS, RANK_BY_PREDICTED };

struct spec_selection {
    bool k_auto;
    uint64_t k;                            /* when not auto */
    uint64_t max_k;                        /* min(T, max(1000, 0.05 T)); k when k is a number */
    uint64_t k_min;                        /* max(2 warm-up, 50, longest ramp) */
    uint64_t valid_tokens;                 /* 100000 */
    uint64_t evaluate_every;               /* 0: none */
    double raw_share;                      /* 0.25 */
    double confidence;                     /* 0.95 */
    enum rank_by rank_by;
};

struct spec_data {
    char train[FILE_PATH_BYTES], valid[FILE_PATH_BYTES];   /* as given: an id or a path; valid "" = held out */
    enum corpus_format format;                             /* resolved when the data was opened */
    enum sampler sampler;
};

struct study_spec {
    char name[129];
    char checkpoint[FILE_PATH_BYTES];      /* as given: id or path */
    struct spec_data data;
    struct spec_candidate *candidates;     /* owned */
    int candidate_count;
    struct growth_target target;
    int max_candidates;                    /* how many a target without candidates was expanded into; 0: not asked */
    struct training training;
    struct spec_selection selection;
    struct landscape_spec landscape;
    enum keep_kind keep;
    int keep_top;                          /* 3 */
};

void study_spec_fini(struct study_spec *spec);

#endif
