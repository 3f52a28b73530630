/* Depth maps of copies: stack, interleave, first, gradual_last, middle, solar. Each fills a layer map and nothing else;
 * none promises the function. Rules: methods appendix A, contract 3. */
#include "growth/depth.h"

#define FAMILIES (1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5)
#define COPIES_MOMENTS "copies keep m, v and the step counter of their layer"

/* ---- stack ---- */

static const struct parameter layers_only[] = {GROWTH_DEPTH_PARAMETERS, GROWTH_NOISE_PARAMETER, GROWTH_SEED_PARAMETER};

static int stack_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                      struct error *error)
{
    (void)identity, (void)step, (void)error;
    for (int i = 0; i < depth->to; i++)
        layers[i] = i % depth->from;
    return 0;
}

static int stack_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    static const struct depth_rule rule = {.fill = stack_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
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

static int interleave_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                           struct error *error)
{
    (void)identity, (void)step, (void)error;
    for (int i = 0; i < depth->to; i++)
        layers[i] = i * depth->from / depth->to;
    return 0;
}

static int interleave_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                           struct error *error)
{
    static const struct depth_rule rule = {.fill = interleave_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
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
    GROWTH_DEPTH_PARAMETERS,
    {.name = "block", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX,
     .summary = "layers of the repeated block; default min(L' - L, L)"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

/* b of the request, at most L; default min(L' - L, L). */
static int block_of(const struct growth_step *step, const struct depth *depth, int *block, struct error *error)
{
    int added = depth->to - depth->from;
    *block = added < depth->from ? added : depth->from;
    if (!growth_step_has(step, "block"))
        return 0;
    int64_t wanted = growth_step_integer(step, "block");
    if (wanted < 1 || wanted > depth->from)
        return error_set_at(error, ERROR_INVALID, "/block", "block must be from 1 to the %d layers there are (nearest "
                            "valid: %d), not %lld", depth->from, wanted < 1 ? 1 : depth->from, (long long)wanted);
    *block = (int)wanted;
    return 0;
}

static int first_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                      struct error *error)
{
    (void)identity;
    int block, code = block_of(step, depth, &block, error);
    if (code != 0)
        return code;
    int added = depth->to - depth->from;
    for (int i = 0; i < depth->to; i++)
        layers[i] = i < added ? i % block : i - added;
    return 0;
}

static int first_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    static const struct depth_rule rule = {.fill = first_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
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

static int gradual_last_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                             struct error *error)
{
    (void)identity;
    int block, code = block_of(step, depth, &block, error);
    if (code != 0)
        return code;
    for (int i = 0; i < depth->to; i++)
        layers[i] = i < depth->from ? i : depth->from - block + (i - depth->from) % block;
    return 0;
}

static int gradual_last_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                             struct error *error)
{
    static const struct depth_rule rule = {.fill = gradual_last_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
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
    GROWTH_DEPTH_PARAMETERS,
    {.name = "block", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LAYERS_MAX, .fallback = "1",
     .summary = "layers per block; divides L and L' - L"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int middle_check(const struct growth_step *step, const struct depth *asked, struct error *error)
{
    int code = growth_depth_is_more(step, asked, error);
    if (code != 0)
        return code;
    int64_t block = growth_step_integer(step, "block");
    int depth = asked->from, layers = (int)asked->wanted;
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
        return error_set_at(error, ERROR_INVALID, asked->pointer, "%s must be %d plus a multiple of the block of "
                            "%d (nearest valid: %d), not %d", asked->pointer + 1, depth, (int)block, up ? above : below,
                            layers);
    }
    return 0;
}

/* MIDAS: the middle one of n = L / b blocks, q = ceil(n / 2) - 1, is inserted again right after itself; repeated on the
 * result until L' is reached, n counted anew each time. */
static int middle_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                       struct error *error)
{
    (void)identity, (void)error;
    int block = (int)growth_step_integer(step, "block");
    for (int i = 0; i < depth->from; i++)
        layers[i] = i;
    for (int count = depth->from; count < depth->to; count += block) {
        int middle = (count / block + 1) / 2 - 1;
        for (int i = count + block - 1; i >= (middle + 1) * block; i--)
            layers[i] = layers[i - block];
    }
    return 0;
}

static int middle_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                       struct error *error)
{
    static const struct depth_rule rule = {.check = middle_check, .fill = middle_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
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

static int solar_check(const struct growth_step *step, const struct depth *depth, struct error *error)
{
    int least = depth->from + 2 - depth->from % 2, most = 2 * depth->from;
    int64_t wanted = depth->wanted;
    (void)step;
    if (most > GROWTH_LAYERS_MAX)
        most = GROWTH_LAYERS_MAX;
    if (wanted % 2 == 0 && wanted >= least && wanted <= most)
        return 0;
    int64_t nearest = wanted < least ? least : wanted > most ? most : wanted - wanted % 2;
    return error_set_at(error, ERROR_INVALID, depth->pointer, "%s must be 2 (L - m): even, above the %d there are and "
                        "at most %d (nearest valid: %lld), not %lld", depth->pointer + 1, depth->from, most,
                        (long long)nearest, (long long)wanted);
}

/* m = L - L' / 2: the last m of the lower copy, the first m of the upper one are dropped. */
static int solar_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                      struct error *error)
{
    (void)identity, (void)step, (void)error;
    int dropped = depth->from - depth->to / 2;
    for (int i = 0; i < depth->to; i++)
        layers[i] = i < depth->from - dropped ? i : i - depth->from + 2 * dropped;
    return 0;
}

static int solar_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                      struct error *error)
{
    static const struct depth_rule rule = {.check = solar_check, .fill = solar_fill};
    return growth_depth_plan(step, &rule, from, stage, error);
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
