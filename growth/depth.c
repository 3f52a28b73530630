#include "growth/depth.h"

#include "base/check.h"
#include "base/memory.h"

int growth_depth_is_more(const struct growth_step *step, const struct depth *depth, struct error *error)
{
    (void)step;
    if (depth->from >= GROWTH_LAYERS_MAX)
        return error_set_at(error, ERROR_INVALID, depth->pointer, "the model has %d layers already, the limit is %d: "
                            "drop this operator", depth->from, GROWTH_LAYERS_MAX);
    if (depth->wanted <= depth->from || depth->wanted > GROWTH_LAYERS_MAX)
        return error_set_at(error, ERROR_INVALID, depth->pointer, "%s must be above the %d there are and at most %d "
                            "(nearest valid: %d), not %lld", depth->pointer + 1, depth->from, GROWTH_LAYERS_MAX,
                            depth->wanted <= depth->from ? depth->from + 1 : GROWTH_LAYERS_MAX,
                            (long long)depth->wanted);
    return 0;
}

int growth_depth_blocks(struct growth_plan_stage *stage, int layers, int decoder_layers, bool identity,
                        struct error *error)
{
    size_t blocks = (size_t)layers + (size_t)decoder_layers;
    CHECK(stage->layers == NULL && layers > 0 && decoder_layers >= 0);
    stage->layers = memory_array(blocks, sizeof *stage->layers);
    if (identity)
        stage->identity = memory_array(blocks, sizeof *stage->identity);
    if (stage->layers == NULL || (identity && stage->identity == NULL))
        return error_set(error, ERROR_NO_MEMORY, "no memory for a map of %zu layers", blocks);
    stage->to.layers = layers;
    stage->to.decoder_layers = decoder_layers;
    for (int i = 0; i < layers; i++)
        growth_depth_stack(stage, false)[i] = i < stage->from.layers ? i : 0;
    for (int i = 0; i < decoder_layers; i++)
        growth_depth_stack(stage, true)[i] = i < stage->from.decoder_layers ? i : 0;
    return 0;
}

int32_t *growth_depth_stack(struct growth_plan_stage *stage, bool decoder)
{
    return stage->layers + (decoder ? stage->to.layers : 0);
}

void growth_depth_shift(struct growth_plan_stage *stage)
{
    int32_t *layers = growth_depth_stack(stage, true);
    for (int i = 0; i < stage->to.decoder_layers; i++)
        if (layers[i] >= 0)
            layers[i] += stage->from.layers;
}

/* What is asked of one stack; from = wanted where nothing is. `own`: the parameter of this stack alone. */
static struct depth depth_of(const struct growth_step *step, const char *own, int from)
{
    const char *name = growth_step_has(step, "layers") ? "layers" : own + 1;
    struct depth depth = {.pointer = growth_step_has(step, "layers") ? "/layers" : own, .from = from, .wanted = from};
    if (growth_step_has(step, name))
        depth.wanted = growth_step_integer(step, name);
    return depth;
}

/* Which of the three parameters are there. */
static int check_given(const struct growth_step *step, const struct shape *from, struct error *error)
{
    static const char *const own[] = {"/encoder_layers", "/decoder_layers"};
    bool all = growth_step_has(step, "layers"), any = false;
    for (int i = 0; i < 2; i++) {
        if (!growth_step_has(step, own[i] + 1))
            continue;
        if (from->decoder_layers == 0 || all)
            return error_set_at(error, ERROR_INVALID, own[i], from->decoder_layers == 0 ?
                                "only models with an encoder and a decoder have two depths: give layers instead" :
                                "layers sets both depths already: give one or the other");
        any = true;
    }
    if (!all && !any)
        return error_set_at(error, ERROR_INVALID, "/layers", "%s needs layers: layers of the grown model",
                            step->op->name);
    return 0;
}

static int check_depth(const struct growth_step *step, const struct depth_rule *rule, struct depth *depth,
                       struct error *error)
{
    bool is_asked = growth_step_has(step, depth->pointer + 1);
    int code = !is_asked ? 0 : rule->check != NULL ? rule->check(step, depth, error)
                                                   : growth_depth_is_more(step, depth, error);
    depth->to = (int)depth->wanted;
    return code;
}

int growth_depth_plan(const struct growth_step *step, const struct depth_rule *rule, const struct shape *from,
                      struct growth_plan_stage *stage, struct error *error)
{
    struct depth depths[2] = {
        depth_of(step, "/encoder_layers", from->layers), depth_of(step, "/decoder_layers", from->decoder_layers),
    };
    int stacks = from->decoder_layers > 0 ? 2 : 1;
    int code = check_given(step, from, error);
    for (int i = 0; i < stacks && code == 0; i++)
        code = check_depth(step, rule, &depths[i], error);
    if (code == 0)
        code = growth_depth_blocks(stage, depths[0].to, stacks == 2 ? depths[1].to : 0, rule->identity, error);
    for (int i = 0; i < stacks && code == 0; i++)
        if (growth_step_has(step, depths[i].pointer + 1))
            code = rule->fill(step, &depths[i], growth_depth_stack(stage, i == 1),
                              rule->identity ? stage->identity + (i == 1 ? depths[0].to : 0) : NULL, error);
    if (code == 0)
        growth_depth_shift(stage);
    return code;
}
