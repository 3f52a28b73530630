/* Checkpoint: shape + named tensors + provenance (+ optimizer state). Immutable once accepted; addressed by content.
 *
 * In memory every tensor lies in one slab of float32 (layout: model/tensor.h). On disk: a Hugging Face directory.
 * Thread rule: built by one thread, then read by any. */
#ifndef MODEL_CHECKPOINT_H
#define MODEL_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/hash.h"
#include "model/config.h"
#include "model/safetensors.h"
#include "model/tensor.h"

/* The slabs of an optimizer's state, as optimizer.safetensors names them. X(code, name) */
#define MOMENT_PARTS(X)                                                                         \
    X(MOMENT_M, m)                  /* adamw: mean of gradients */                              \
    X(MOMENT_V, v)                  /* adamw, schedule_free_adamw: mean of their squares */     \
    X(MOMENT_Z, z)                  /* schedule-free: the iterate whose average the raw weights are */\
    X(MOMENT_MOMENTUM, momentum)    /* sgd: sum of gradients, each momentum times the one before */
enum moment_part {
#define X(code, name) code,
    MOMENT_PARTS(X)
#undef X
    MOMENT_PART_COUNT,
    MOMENT_RAW = MOMENT_PART_COUNT
};
#define MOMENT_BIT(part) (1u << (part))
enum { MOMENTS_ADAM = MOMENT_BIT(MOMENT_M) | MOMENT_BIT(MOMENT_V), MOMENTS_RAW = MOMENT_BIT(MOMENT_RAW) };
const char *moment_part_name(enum moment_part part);

/* How far a schedule-free average has come: updates k, sum of (k + 1)^r max(rate)^p, max(rate). All 0 where it begins. */
struct averaging { uint64_t updates; double weight_sum, rate_maximum; };

/* Raw float32 iterate and optimizer state, each a slab of the checkpoint's table, and a step counter per tensor. */
struct moments {
    float *raw;            /* .w: the raw iterate (continuing starts here, growing from the weights); may be NULL */
    union {                /* NULL: not of this optimizer */
        float *parts[MOMENT_PART_COUNT];
        struct {
#define X(code, name) float *name;
            MOMENT_PARTS(X)
#undef X
        };
    };
    uint64_t *steps;       /* one per tensor of the table; 0: its state is 0 (its z the weights) */
    struct averaging averaging;
};
/* Which parts there are: MOMENT_BIT of each, MOMENTS_RAW. */
unsigned moments_parts(const struct moments *moments);

/* Where the weights come from and how far they were trained (lag_report.json's `training` object). */
struct provenance {
    uint64_t step;                  /* optimizer steps done by the run that saved it */
    uint64_t tokens_seen;           /* of the whole lineage */
    bool tokens_seen_known;
    uint64_t data_cursor;           /* the sampler's next step */
    uint64_t seed;
};

struct checkpoint {
    struct tensor_table table;      /* table.shape is the shape */
    float *weights;                 /* table.slab floats, padding zero */
    struct moments *moments;        /* NULL: none */
    struct provenance provenance;
    enum dtype dtype;               /* of the file; what saving uses by default */
    bool prefixed;                  /* names in the file carry the family's prefix */
    char *config_text;              /* config.json as it was; NULL for a fresh model */
    double dropout;                 /* > 0: trained as 0, warn */
    char hash[HASH_HEX_BYTES];      /* of shape, dtype and weights: equal checkpoints have equal hashes */
    char directory[FILE_PATH_BYTES];   /* "" or where tokenizer and generation files are copied from */
};

struct checkpoint_load { bool moments; bool ignore_report; };   /* NULL: both false */

/* Loads config.json + model.safetensors, or the shards of model.safetensors.index.json, + optimizer.safetensors (when
 * asked for and there) + lag_report.json (when there). Config and tensors must agree: the first five disagreements are
 * named, missing and unexpected alike; NaN and Inf weights are refused with tensor, index and count. On failure
 * *checkpoint needs no fini. ERROR_INVALID, ERROR_NOT_FOUND, ERROR_IO, ERROR_NO_MEMORY. */
int checkpoint_load(struct checkpoint *checkpoint, const char *directory, const struct checkpoint_load *options,
                    struct error *error);
/* A zeroed checkpoint of a shape, float32, prefixed, without moments; its hash is empty until checkpoint_rehash. */
int checkpoint_init(struct checkpoint *checkpoint, const struct shape *shape, struct error *error);
/* GPT-2's initialisation: N(0, 0.02), output projections by 1/sqrt(2L), biases 0, gains 1; streams per tensor from
 * (seed, tensor's name, RNG_INIT). Rehashes. */
void checkpoint_randomize(struct checkpoint *checkpoint, uint64_t seed);
int checkpoint_copy(struct checkpoint *copy, const struct checkpoint *from, struct error *error);
void checkpoint_fini(struct checkpoint *checkpoint);
/* Makes the moments have just these parts (bits of moments_parts): absent ones are added as zeros, others are dropped; the
 * step counters stay, 0 at first. ERROR_NO_MEMORY: the moments are as they were, but for parts added. */
int checkpoint_set_moments(struct checkpoint *checkpoint, unsigned parts, struct error *error);
/* SHA-256 over shape, dtype and the float32 values of the weights: what is stored, whatever the shards and prefixes. */
void checkpoint_rehash(struct checkpoint *checkpoint);

/* Weights that are not in memory: gives tensor number `tensor` of the table to the writer, in any number of pieces. */
struct checkpoint_supply {
    void *owner;
    int (*give)(void *owner, int tensor, struct safetensors_writer *writer, struct error *error);
};

struct checkpoint_save {
    const struct checkpoint_supply *supply;   /* NULL: weights. Else the checkpoint needs none, and moments must be NULL */
    uint64_t shard_bytes;          /* of a supplied model: files of at most so many bytes, and an index; 0: one file */
    const float *weights;          /* NULL: the checkpoint's own (a slab of its table) */
    const struct moments *moments; /* NULL: no optimizer.safetensors */
    bool dtype_given;              /* else the checkpoint's */
    enum dtype dtype;
    const char *report;            /* text of lag_report.json, NULL: none written */
    const char *card;              /* text of README.md (model card), NULL: none */
};

/* Writes a complete loadable directory: config.json (patched), model.safetensors ("format": "pt"),
 * optimizer.safetensors (with the model file's hash), lag_report.json, README.md, and the tokenizer and generation
 * files of checkpoint->directory. Each file is atomic; the directory is created. The optimizer file comes last, and one
 * of an earlier save is removed first: a crash in between leaves none, or one whose hash does not match and is refused.
 * ERROR_DIVERGED for weights that are not finite, ERROR_INVALID for values that the dtype can not hold, each naming the
 * tensor. */
int checkpoint_save(const struct checkpoint *checkpoint, const char *directory, const struct checkpoint_save *options,
                    struct error *error);
/* One weights file alone (initial/model.safetensors). hash (may be NULL): SHA-256 of the file. */
int checkpoint_save_weights(const struct checkpoint *checkpoint, const float *weights, enum dtype dtype,
                            const char *path, char hash[HASH_HEX_BYTES], struct error *error);

/* Only the headers (config and tensors must agree all the same): shape, dtype, bytes, without reading weights (inspect,
 * admission). */
struct checkpoint_header {
    struct shape shape;
    enum dtype dtype;
    uint64_t bytes;          /* of the weights files */
    bool has_moments;        /* an optimizer.safetensors stands beside them */
    double dropout;
};
int checkpoint_read_header(struct checkpoint_header *header, const char *directory, struct error *error);

#endif
