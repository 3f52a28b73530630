/* hyperclone: the n-fold clone of every width: stream, heads, kv heads, MLP units. Recipes: methods appendix B.1. */
#include "growth/clone.h"

enum layout_choice { LAYOUT_SYMMETRIC, LAYOUT_DIAGONAL };

static const struct parameter parameters[] = {
    {.name = "width", .type = PARAMETER_INTEGER, .required = true, .minimum = 1, .maximum = GROWTH_WIDTH_MAX,
     .summary = "width of the grown model: an integer multiple n >= 2 of the present one"},
    {.name = "layout", .type = PARAMETER_CHOICE, .choices = "symmetric|diagonal", .fallback = "\"symmetric\"",
     .summary = "symmetric: every block of a hidden matrix is W/n; diagonal: W on the diagonal, 0 elsewhere"},
    {.name = "noise_db", .type = PARAMETER_NUMBER, .nullable = true, .minimum = 0, .maximum = 200, .fallback = "10",
     .summary = "signal-to-noise ratio, in decibels, of noise that cancels over the copies; null: none, and then "
                "training never separates the copies"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int hyperclone_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                           struct error *error)
{
    int n = 1, code = growth_clone_copies(step, from, &n, error);
    if (code != 0 || (code = growth_clone_plan(stage, n, error)) != 0)
        return code;
    stage->diagonal = growth_step_integer(step, "layout") == LAYOUT_DIAGONAL;
    stage->noisy = !growth_step_is_null(step, "noise_db");
    if (stage->noisy)
        stage->noise_db = growth_step_number(step, "noise_db");
    else
        stage->symmetry = SYMMETRY_KEPT;
    return 0;
}

const struct growth_operator growth_op_hyperclone = {
    .name = "hyperclone",
    .summary = "n copies of every unit of stream, heads and MLP; the head reads the mean of the copies",
    .source = "HyperCloning, arXiv 2409.12903; diagonal as in Staged Training, arXiv 2203.06211",
    .symmetry_note = "with noise_db null the copies get equal gradients and never separate: give noise_db, or noise",
    .promise = PROMISE_EXACT,
    .symmetry = SYMMETRY_BROKEN,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "m/n and v/n^2, tiled; untied head and tied final norm m and v; step counters kept",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = hyperclone_plan,
};
