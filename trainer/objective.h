/* Objectives: what a model learns to predict. An objective turns raw windows of tokens into the parts of a batch.
 *
 * One table (trainer/objective.c), one row and one function per objective: objective_mlm.c, objective_span.c … A row of
 * a batch is made from its own window and its own random stream alone, so that neither micro-batches nor the grouping
 * of validation windows change what is masked. Nothing here allocates but objective_parts_make.
 * What it is not: a reader of files (trainer/corpus.h), a loss (model/network.h).
 * Thread rule: everything is const or caller-owned. */
#ifndef TRAINER_OBJECTIVE_H
#define TRAINER_OBJECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/rng.h"
#include "model/network.h"
#include "model/shape.h"

/* X(code, name, summary, source) */
#define OBJECTIVE_TABLE(X)                                                                                      \
    X(OBJECTIVE_CAUSAL, "causal", "every token from those before it", "")                                       \
    X(OBJECTIVE_MLM, "mlm", "15 % of the tokens from all others", "BERT, arXiv 1810.04805")                     \
    X(OBJECTIVE_SPAN_CORRUPTION, "span_corruption", "spans replaced by sentinels", "T5, arXiv 1910.10683")      \
    X(OBJECTIVE_UL2, "ul2", "a mixture of denoisers R, S and X", "UL2, arXiv 2205.05131")
enum objective_name {
#define X(code, ...) code,
    OBJECTIVE_TABLE(X)
#undef X
    OBJECTIVE_COUNT
};
const char *objective_name(enum objective_name name);
int objective_parse(const char *text, enum objective_name *name);        /* 0 or -1 */

/* The order of mode_tokens. */
enum objective_mode { MODE_R, MODE_S, MODE_X, MODE_COUNT };

enum { TOKEN_NONE = -1, OBJECTIVE_SPECIAL_MAX = 64 };

struct token_list {
    int count;
    int32_t ids[OBJECTIVE_SPECIAL_MAX];
};

/* A study's choice: the members of its `data` object. Token ids, TOKEN_NONE where none is given. */
struct objective_spec {
    enum objective_name name;
    int32_t mask_token, pad_token, eos_token;
    struct token_list special_tokens;                        /* never masked, beside pad, eos, mask and sentinels */
    int32_t sentinel_first, sentinel_count, sentinel_step;   /* the i-th is first + i step; count 0: none given */
    int32_t mode_tokens[MODE_COUNT];
};

/* The family's objective (bert mlm, t5 span_corruption, others causal), no tokens, sentinel_step -1. */
struct objective_spec objective_defaults(enum family family);

/* Refuses an objective that the family can not learn, a needed token that is missing, and tokens outside the
 * vocabulary: ERROR_INVALID, each with a pointer relative to the data object ("/objective", "/mask_token"). context: raw
 * tokens of a window. */
int objective_check(const struct objective_spec *spec, const struct shape *shape, int context, struct error *error);

/* What one window of `context` raw tokens becomes. */
struct objective_sizes {
    int inputs;              /* T: tokens the (encoder's) input is padded to */
    int targets;             /* T, or T2 with a decoder */
    bool decoder;            /* decoder_inputs are made; targets are the decoder's */
    bool mask, decoder_mask; /* padding may occur */
    bool prefix;
};
struct objective_sizes objective_sizes_of(const struct objective_spec *spec, const struct shape *shape, int context);
/* Operations to train on one raw token (shape_flops_per_row): of an encoder-decoder those of both sides as long as the
 * objective makes them, padding included, over the window's raw tokens. */
double objective_flops_per_token(const struct objective_spec *spec, const struct shape *shape, int context);

/* One window to fill. Pointers are NULL where objective_sizes has no use for them. */
struct objective_window {
    const struct objective_spec *spec;
    const struct shape *shape;
    struct objective_sizes sizes;
    int context;
    const int32_t *tokens;             /* context + 1 raw tokens */
    struct rng rng;                    /* the window's own stream: OBJECTIVE_DRAWS per raw token */
    int32_t *inputs;                   /* (sizes.inputs) */
    int32_t *targets;                  /* (sizes.targets), TARGET_IGNORED where nothing is predicted */
    unsigned char *mask;               /* (sizes.inputs) 0: padding */
    int32_t *prefix;                   /* (1) */
    int32_t *decoder_inputs;           /* (sizes.targets) */
    unsigned char *decoder_mask;       /* (sizes.targets) */
    int32_t *work;                     /* OBJECTIVE_WORK numbers per raw token, scratch */
};
enum { OBJECTIVE_DRAWS = 8, OBJECTIVE_WORK = 4 };

/* A row of the table. `fill` predicts at least one token of every window. */
struct objective {
    enum objective_name name;
    unsigned families;                 /* bit per enum family */
    /* More than what objective_check does for all: the tokens this objective needs. */
    int (*check)(const struct objective_spec *spec, const struct shape *shape, int context, struct error *error);
    struct objective_sizes (*sizes)(const struct objective_spec *spec, const struct shape *shape, int context);
    void (*fill)(struct objective_window *window);
};
const struct objective *objective_of(enum objective_name name);      /* NULL: not available yet */
extern const struct objective objective_causal, objective_mlm, objective_span_corruption, objective_ul2;

/* True for pad, eos, mask, sentinels, mode tokens and special_tokens. */
bool objective_is_special(const struct objective_spec *spec, int32_t token);
/* For `check` of a row: ERROR_INVALID with the pointer unless the token was given. */
int objective_need_token(const struct objective_spec *spec, int32_t token, const char *pointer, struct error *error);

/* Host buffers of `rows` windows, for a worker's scratch. */
struct objective_parts {
    struct objective_spec spec;
    struct shape shape;
    struct objective_sizes sizes;
    int rows, context;
    int32_t *inputs, *targets, *prefix, *decoder_inputs, *work;
    unsigned char *mask, *decoder_mask;
};
/* Bytes of those buffers; 0 on overflow. */
size_t objective_parts_bytes(const struct objective_spec *spec, const struct shape *shape, int rows, int context);
/* The spec passed objective_check. ERROR_NO_MEMORY. Pair with objective_parts_free. */
int objective_parts_make(struct objective_parts *parts, const struct objective_spec *spec, const struct shape *shape,
                         int rows, int context, struct error *error);
void objective_parts_free(struct objective_parts *parts);
/* Fills row `row` from context + 1 raw tokens (context: at most the parts'; every row of a batch the same). `stream`
 * (seed, seed index, RNG_MASK or RNG_VALIDATION), `number`: the window's own number within it (step * batch + row of a
 * training step; start / context of a validation window). */
void objective_fill_row(struct objective_parts *parts, int row, int context, const int32_t *tokens, struct rng stream,
                        uint64_t number);
/* The first `rows` rows as a batch; valid until the next fill. */
struct batch objective_batch(const struct objective_parts *parts, int rows, int context);

/* How many tokens a batch predicts. */
uint64_t batch_predicted(const struct batch *batch);

#endif
