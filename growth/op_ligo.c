/* ligo: a wider or deeper model whose weights are a linear map of the old ones, learned on data. The map: growth/ligo.h; how
 * it is fitted: trainer/ligo_fit.h. Recipe: methods 6.14. */
#include "growth/depth.h"
#include "growth/width.h"

static const struct parameter parameters[] = {
    GROWTH_DEPTH_PARAMETERS,
    {.name = "width", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,
     .summary = "width of the grown model, above the present one (default: that one); gpt2, bert: a multiple of the head "
                "size"},
    GROWTH_HEADS_PARAMETER,
    GROWTH_FF_PARAMETER,
    {.name = "steps", .type = PARAMETER_INTEGER, .minimum = 1, .maximum = GROWTH_LEARNED_MAX, .fallback = "100",
     .summary = "gradient steps that fit the map on the training data"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static bool is_any_given(const struct growth_step *step, const char *const *names, int count)
{
    bool any = false;
    for (int i = 0; i < count; i++)
        any = any || growth_step_has(step, names[i]);
    return any;
}

/* New units hold mixtures of all old ones. */
static void new_fill(const struct unit_set *set, int32_t *source)
{
    for (int unit = 0; unit < set->to; unit++)
        source[unit] = unit < set->from ? unit : -1;
}

/* The block that each new one mostly is before the fit. */
static int stacked_fill(const struct growth_step *step, const struct depth *depth, int32_t *layers, bool *identity,
                        struct error *error)
{
    (void)step, (void)identity, (void)error;
    for (int i = 0; i < depth->to; i++)
        layers[i] = i % depth->from;
    return 0;
}

static int ligo_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                     struct error *error)
{
    static const char *const depths[] = {"layers", "encoder_layers", "decoder_layers"};
    static const char *const widths[] = {"width", "heads", "ff"};
    static const struct depth_rule depth = {.fill = stacked_fill};
    static const struct width_rule width = {.fill = new_fill};
    bool deeper = is_any_given(step, depths, GROWTH_COUNT_OF(depths));
    bool wider = is_any_given(step, widths, GROWTH_COUNT_OF(widths));
    int code = 0;
    if (!deeper && !wider)
        return error_set_at(error, ERROR_INVALID, "/layers", "ligo needs layers or width, or both: sizes of the grown "
                            "model");
    if (wider)
        code = growth_width_plan(step, &width, from, stage, error);
    if (code == 0 && deeper)
        code = growth_depth_plan(step, &depth, from, stage, error);
    stage->learned_steps = (int)growth_step_integer(step, "steps");
    return code;
}

const struct growth_operator growth_op_ligo = {
    .name = "ligo",
    .summary = "any width and depth: every tensor a learned linear map of the old ones (new units mix all units, new layers "
               "all layers), fitted on the training data while the old weights stay; needs data",
    .source = "LiGO, arXiv 2303.00980",
    .symmetry_note = "new units start as random mixtures, all different",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_BROKEN,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "all start at 0 with step 0, whatever is asked for: through a dense map that does not keep the function no "
               "rule gives the new gradients from the old ones",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = ligo_plan,
};
