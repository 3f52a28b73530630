/* Depth: how the operators that change the number of layers fill a stage's layer map. An operator says what one stack
 * of blocks becomes; here both stacks of an encoder-decoder are gone through. Internal to growth/. */
#ifndef GROWTH_DEPTH_H
#define GROWTH_DEPTH_H

#include "growth/stage.h"

/* One stack and its new depth. */
struct depth {
    const char *pointer;      /* of the parameter that gave it: "/layers", "/encoder_layers" … */
    int from, to;             /* to: in the limits, checked by the rule */
    int64_t wanted;           /* what was asked for */
};

struct depth_rule {
    bool identity;            /* the map comes with flags of identity blocks */
    /* Refuses depths that the operator can not make, with the pointer and what is valid. NULL: growth_depth_is_more. */
    int (*check)(const struct growth_step *step, const struct depth *depth, struct error *error);
    /* layers[i]: old layer of new layer i < depth->to of this stack, -1 for a fresh one; identity: as many zeroed
     * flags, or NULL. */
    int (*fill)(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                struct error *error);
};

/* Refuses what is not above the present depth. */
int growth_depth_is_more(const struct growth_step *step, const struct depth *depth, struct error *error);
/* Resolves layers (both stacks), or encoder_layers and decoder_layers, and fills the stage's shape and map.
 * ERROR_INVALID, ERROR_NO_MEMORY. */
int growth_depth_plan(const struct growth_step *step, const struct depth_rule *rule, const struct shape *from,
                      struct growth_plan_stage *stage, struct error *error);
/* Sets both depths and allocates the map over all blocks, each from itself where it can. ERROR_NO_MEMORY. */
int growth_depth_blocks(struct growth_plan_stage *stage, int layers, int decoder_layers, bool identity,
                        struct error *error);
/* The map of one stack in a map over all blocks: entries count from the stack's first block until shifted. */
int32_t *growth_depth_stack(struct growth_plan_stage *stage, bool decoder);
/* Makes the decoder's entries numbers of blocks. */
void growth_depth_shift(struct growth_plan_stage *stage);

/* layers, encoder_layers, decoder_layers: the first three parameters of every row with depths. */
#define GROWTH_DEPTH_PARAMETERS                                                                                    \
    {.name = "layers", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX,                      \
     .summary = "layers of the grown model; t5: of both stacks"},                                                  \
    {.name = "encoder_layers", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX,              \
     .summary = "t5, in place of layers: of the encoder alone"},                                                   \
    {.name = "decoder_layers", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX,              \
     .summary = "t5, in place of layers: of the decoder alone"}

#endif
