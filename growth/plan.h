/* A plan: a candidate's operator list resolved against its parent's shape, before any weight is touched; and its
 * application: parent checkpoint in, grown checkpoint out, weights and optimizer state.
 *
 * A stage (one operator) is described by maps, which every tensor of every family follows through its axes:
 *   layer map   new layer -> old layer, or -1 for a fresh one, with flags (identity: output projections zeroed)
 *   unit maps   per axis kind (width, heads, kv heads, ff): new unit -> old unit, and its fan-out coefficient
 * A tensor of the grown model is computed from the parent's tensors one at a time (so growing can stream).
 * Source: methods 6 and appendices A, B; the papers are named in each operator's row. */
#ifndef GROWTH_PLAN_H
#define GROWTH_PLAN_H

#include "base/buffer.h"
#include "growth/operator.h"
#include "model/kernels.h"
#include "model/parametrization.h"

/* Filled by growth_operator.plan; see growth/stage.h for the fields. */
struct growth_plan_stage;

struct growth_plan {
    struct shape from, to;
    int stage_count;
    struct growth_plan_stage *stages;        /* owned */
    enum promise promise;                    /* exact only if every stage is */
    double width_factor;                     /* copies of a stream unit (n of a clone), else 1: divides hidden rates */
    uint64_t ramp_steps;                     /* until the last mask is gone (growth/ramps.h); 0: no masks */
    bool symmetric;                          /* some stage makes copies that training never separates */
    int warning_count;
    char warnings[8][256];                   /* shown before training */
};

/* Resolves a list against a shape. On failure the error's pointer is relative to the candidate: "/operators/1/layers".
 * ERROR_INVALID, ERROR_NO_MEMORY. An empty list is refused. */
int growth_plan_init(struct growth_plan *plan, const struct shape *from, const struct growth_list *list,
                     struct error *error);
void growth_plan_fini(struct growth_plan *plan);

/* What fits the maps of stages that learn from data: trainer/ligo_fit.h. `learn` fills the weights of `after`, a zeroed
 * checkpoint of the stage's shape, from those of `before`. Same arguments, same bytes. */
struct growth_transform;
struct growth_learner {
    void *owner;
    int (*learn)(void *owner, const struct growth_transform *transform, const struct checkpoint *before,
                 struct checkpoint *after, struct error *error);
};
/* The first stage that learns from data; -1: none does. */
int growth_plan_learns(const struct growth_plan *plan);

/* Grows. `parent` is only read. `seed`: the study's; streams come from (seed, hash of the canonical operator list),
 * so that neither a candidate's name nor its position matters. `moments`: what to do with parent->moments (absent
 * ones: reset). The result has moments iff the parent has and policy is not reset. *grown is initialised here. */
int growth_apply(const struct growth_plan *plan, const struct growth_list *list, const struct checkpoint *parent,
                 enum moments_policy moments, uint64_t seed, struct checkpoint *grown, struct error *error);
/* The same with a learner; without one (NULL) a plan that learns is refused: ERROR_INVALID ("/operators/1/op"). */
struct growth_options {
    enum moments_policy moments;
    uint64_t seed;
    const struct growth_learner *learner;
    enum parametrization parametrization;    /* of what is drawn afresh; 0: standard */
    const struct shape *base;                /* that it starts from; NULL: the parent's shape */
};
int growth_apply_with(const struct growth_plan *plan, const struct growth_list *list, const struct checkpoint *parent,
                      const struct growth_options *options, struct checkpoint *grown, struct error *error);

/* The list as canonical JSON text: parameters in the table's order, those given and those with a fixed default
 * ([{"op":"stack","layers":12,"noise":0,"seed":0}]); a default that depends on the shape (block) stays out. Echoed,
 * hashed, stored: equal texts grow equal bytes. */
void growth_list_json(const struct growth_list *list, struct buffer *out);
/* Hash of that text, which the streams of random numbers come from. ERROR_NO_MEMORY. */
int growth_list_hash(const struct growth_list *list, uint64_t *hash, struct error *error);
/* The resolved maps of the composed plan as JSON: {"layers": [old layer of each new one, null for a fresh one],
 * "identity": [new layers whose output projections are 0], of an encoder-decoder for its decoder
 * "decoder_layers" and "decoder_identity", "width": units, "heads": units, "kv_heads": units, "ff":
 * units, "context": units}, the last five only if they grow; where there are masks "masked": [new layers that are grown in]
 * ("decoder_masked") and "ramp_steps"; units = {"from", "to", "slices": [[a, b), …]}, the slices of old units one after
 * another (null: a new unit; those of a partner count on after the parent's); upcycled, too, "experts", of which a dense
 * MLP is one. Running out of memory shows in out->failed. */
void growth_plan_json(const struct growth_plan *plan, struct buffer *out);

struct growth_ramps;
/* The measured preservation: max |difference of logits| over the largest |logit| of the parent, on probe tokens
 * drawn from (seed, RNG_PROBE), 2 rows of min(context, 64) positions. Runs in float32 before any rounding. */
int growth_preservation(const struct checkpoint *parent, const struct checkpoint *grown,
                        const struct kernels *kernels, uint64_t seed, double *preservation, struct error *error);
/* The same behind the masks of step 0 (NULL: none). */
struct growth_probe {
    const struct checkpoint *parent, *grown;
    const struct growth_ramps *ramps;
    const struct kernels *kernels;
    uint64_t seed;
};
int growth_preservation_masked(const struct growth_probe *probe, double *preservation, struct error *error);

#endif
