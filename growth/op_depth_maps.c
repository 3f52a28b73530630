/* Depth maps of copies: stack, interleave, first, gradual_last, middle, solar. Each fills a layer map and nothing else;
 * none promises the function. Rules: methods appendix A, contract 3. */
#include "growth/stage.h"

#define FAMILIES (1u << FAMILY_GPT2)
#define COPIES_MOMENTS "copies keep m, v and the step counter of their layer"

/* ---- stack ---- */

static const struct parameter layers_only[] = {GROWTH_LAYERS_PARAMETER, GROWTH_NOISE_PARAMETER, GROWTH_SEED_PARAMETER};

static int stack_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    int layers, code = growth_stage_more_layers(step, from, &layers, error);
    if (code != 0 || (code = growth_stage_layers(stage, layers, false, error)) != 0)
        return code;
    for (int i = 0; i < layers; i++)
        stage->layers[i] = i % from->layers;
    return 0;
}

const struct growth_operator growth_op_stack = {
    .name = "stack",
    .summary = "the whole stack of layers again on top of itself: new layer i copies old layer i mod L",
    .source = "StackBERT, Gong et al., ICML 2019; G_stack, Du et al., arXiv 2405.15319",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = FAMILIES,
    .moments = COPIES_MOMENTS,
    .parameters = layers_only,
    .parameter_count = GROWTH_COUNT_OF(layers_only),
    .plan = stack_plan,
};

/* ---- interleave ---- */

static int interleave_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                           struct error *error)
{
    int layers, code = growth_stage_more_layers(step, from, &layers, error);
    if (code != 0 || (code = growth_stage_layers(stage, layers, false, error)) != 0)
        return code;
    for (int i = 0; i < layers; i++)
        stage->layers[i] = i * from->layers / layers;
    return 0;
}

const struct growth_operator growth_op_interleave = {
    .name = "interleave",
    .summary = "every layer repeated in place: new layer i copies old layer floor(i L / L')",
    .source = "interpolation, as compared by Du et al., arXiv 2405.15319",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = FAMILIES,
    .moments = COPIES_MOMENTS,
    .parameters = layers_only,
    .parameter_count = GROWTH_COUNT_OF(layers_only),
    .plan = interleave_plan,
};

/* ---- first, gradual_last: a block of b layers repeated at the bottom or on top ---- */

static const struct parameter block_parameters[] = {
    GROWTH_LAYERS_PARAMETER,
    {.name = "block", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX,
     .summary = "layers of the repeated block; default min(L' - L, L)"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* b of the request, at most L; default min(L' - L, L). */
static int block_of(const struct growth_step *step, const struct shape *from, int layers, int *block,
                    struct error *error)
{
    int added = layers - from->layers;
    *block = added < from->layers ? added : from->layers;
    if (!growth_step_has(step, "block"))
        return 0;
    int64_t wanted = growth_step_integer(step, "block");
    if (wanted < 1 || wanted > from->layers)
        return error_set_at(error, ERROR_INVALID, "/block", "block must be from 1 to the %d layers there are (nearest "
                            "valid: %d), not %lld", from->layers, wanted < 1 ? 1 : from->layers, (long long)wanted);
    *block = (int)wanted;
    return 0;
}

static int first_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    int layers, block, code = growth_stage_more_layers(step, from, &layers, error);
    if (code != 0 || (code = block_of(step, from, layers, &block, error)) != 0 ||
        (code = growth_stage_layers(stage, layers, false, error)) != 0)
        return code;
    int added = layers - from->layers;
    for (int i = 0; i < layers; i++)
        stage->layers[i] = i < added ? i % block : i - added;
    return 0;
}

const struct growth_operator growth_op_first = {
    .name = "first",
    .summary = "the lowest layers again below: with D = L' - L, new layer i copies i mod b for i < D, then i - D",
    .source = "front stacking, compared as a partial stack by Du et al., arXiv 2405.15319, H.3",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = FAMILIES,
    .moments = COPIES_MOMENTS,
    .parameters = block_parameters,
    .parameter_count = GROWTH_COUNT_OF(block_parameters),
    .plan = first_plan,
};

static int gradual_last_plan(const struct growth_step *step, const struct shape *from,
                             struct growth_plan_stage *stage, struct error *error)
{
    int layers, block, code = growth_stage_more_layers(step, from, &layers, error);
    if (code != 0 || (code = block_of(step, from, layers, &block, error)) != 0 ||
        (code = growth_stage_layers(stage, layers, false, error)) != 0)
        return code;
    int depth = from->layers;
    for (int i = 0; i < layers; i++)
        stage->layers[i] = i < depth ? i : depth - block + (i - depth) % block;
    return 0;
}

const struct growth_operator growth_op_gradual_last = {
    .name = "gradual_last",
    .summary = "the last b layers again on top: new layer i >= L copies L - b + (i - L) mod b",
    .source = "gradual stacking (GRADSTACK), the baseline of MIDAS, arXiv 2409.19044",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = FAMILIES,
    .moments = COPIES_MOMENTS,
    .parameters = block_parameters,
    .parameter_count = GROWTH_COUNT_OF(block_parameters),
    .plan = gradual_last_plan,
};

/* ---- middle ---- */

static const struct parameter middle_parameters[] = {
    GROWTH_LAYERS_PARAMETER,
    {.name = "block", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX, .fallback = "1",
     .summary = "layers per block; divides L and L' - L"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int middle_check(int64_t block, int depth, int layers, struct error *error)
{
    if (block < 1 || block > depth || depth % block != 0) {
        int nearest = block < 1 ? 1 : block > depth ? depth : (int)block;
        while (depth % nearest != 0)
            nearest--;
        return error_set_at(error, ERROR_INVALID, "/block", "block must divide the %d layers there are (nearest valid: "
                            "%d), not %lld", depth, nearest, (long long)block);
    }
    if ((layers - depth) % block != 0) {
        int below = layers - (layers - depth) % (int)block, above = below + (int)block;
        bool up = below <= depth || (above - layers < layers - below && above <= GROWTH_LAYERS_MAX);
        return error_set_at(error, ERROR_INVALID, "/layers", "layers must be %d plus a multiple of the block of %d "
                            "(nearest valid: %d), not %d", depth, (int)block, up ? above : below, layers);
    }
    return 0;
}

/* MIDAS: the middle one of n = L / b blocks, q = ceil(n / 2) - 1, is inserted again right after itself; repeated on the
 * result until L' is reached, n counted anew each time. */
static int middle_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                       struct error *error)
{
    int layers, code = growth_stage_more_layers(step, from, &layers, error);
    if (code != 0)
        return code;
    int64_t wanted = growth_step_integer(step, "block");
    if ((code = middle_check(wanted, from->layers, layers, error)) != 0 ||
        (code = growth_stage_layers(stage, layers, false, error)) != 0)
        return code;
    int block = (int)wanted;
    for (int i = 0; i < from->layers; i++)
        stage->layers[i] = i;
    for (int depth = from->layers; depth < layers; depth += block) {
        int middle = (depth / block + 1) / 2 - 1;
        for (int i = depth + block - 1; i >= (middle + 1) * block; i--)
            stage->layers[i] = stage->layers[i - block];
    }
    return 0;
}

const struct growth_operator growth_op_middle = {
    .name = "middle",
    .summary = "the middle block of b layers again right after itself, repeated until L'",
    .source = "MIDAS, arXiv 2409.19044",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = FAMILIES,
    .moments = COPIES_MOMENTS,
    .parameters = middle_parameters,
    .parameter_count = GROWTH_COUNT_OF(middle_parameters),
    .plan = middle_plan,
};

/* ---- solar ---- */

static int solar_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    int depth = from->layers, layers, code;
    int64_t wanted = growth_step_integer(step, "layers");
    int least = depth + 2 - depth % 2, most = 2 * depth;
    if (most > GROWTH_LAYERS_MAX)
        most = GROWTH_LAYERS_MAX;
    if (wanted % 2 != 0 || wanted < least || wanted > most) {
        int64_t nearest = wanted < least ? least : wanted > most ? most : wanted - wanted % 2;
        return error_set_at(error, ERROR_INVALID, "/layers", "layers must be 2 (L - m): even, above the %d there are "
                            "and at most %d (nearest valid: %lld), not %lld", depth, most,
                            (long long)nearest, (long long)wanted);
    }
    layers = (int)wanted;
    if ((code = growth_stage_layers(stage, layers, false, error)) != 0)
        return code;
    int dropped = depth - layers / 2;     /* m: the last m of the lower copy, the first m of the upper one */
    for (int i = 0; i < layers; i++)
        stage->layers[i] = i < depth - dropped ? i : i - depth + 2 * dropped;
    return 0;
}

const struct growth_operator growth_op_solar = {
    .name = "solar",
    .summary = "two copies that overlap: the lower one without its last m layers, the upper one without its first m; "
               "L' = 2 (L - m)",
    .source = "SOLAR depth up-scaling, arXiv 2312.15166",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = FAMILIES,
    .moments = COPIES_MOMENTS,
    .parameters = layers_only,
    .parameter_count = GROWTH_COUNT_OF(layers_only),
    .plan = solar_plan,
};
