/* fuse: two models of one shape side by side in one of twice the width. The stream holds both streams, hidden matrices are
 * block-diagonal, and the head reads the mean of both. The norms see both streams at once, so that the result is not quite
 * the mean of the two models (it is if they are the same). */
#include "growth/clone.h"

static const struct parameter parameters[] = {
    {.name = "with", .type = PARAMETER_CHECKPOINT, .required = true,
     .summary = "the other checkpoint, of exactly the same shape: an id, or a path like that of checkpoint"},
    {.name = "content", .type = PARAMETER_TEXT,
     .summary = "hash of the other checkpoint's content; filled in when it is read, compared when given"},
    GROWTH_NOISE_PARAMETER,
    GROWTH_SEED_PARAMETER,
};

static int check_partner(const struct growth_step *step, const struct shape *from, struct error *error)
{
    char difference[SHAPE_DIFFERENCE_BYTES];
    if (step->partner == NULL)
        return error_set_at(error, ERROR_INVALID, "/with", "the other checkpoint was not read: name one that is here");
    if (shape_difference(from, &step->partner->shape, difference))
        return error_set_at(error, ERROR_INVALID, "/with", "models are fused if their shapes are the same; of the one "
                            "that is grown and the other one %s: name another checkpoint, or grow one of them first",
                            difference);
    if (from->width > GROWTH_WIDTH_MAX / 2 || from->ff > GROWTH_FF_MAX / 2)
        return error_set_at(error, ERROR_INVALID, "/with", "a model of width %d and ff %d is too wide to be doubled: "
                            "use another operator", from->width, from->ff);
    return 0;
}

static int fuse_plan(const struct growth_step *step, const struct shape *from, struct growth_plan_stage *stage,
                     struct error *error)
{
    int code = check_partner(step, from, error);
    if (code != 0)
        return code;
    stage->partner = step->partner;
    stage->diagonal = true;
    return growth_clone_plan(stage, 2, error);
}

const struct growth_operator growth_op_fuse = {
    .name = "fuse",
    .summary = "two models side by side in one of twice the width: stream, heads and MLP units of both, matrices "
               "block-diagonal; the head reads the mean of both",
    .source = "block-diagonal growth of Staged Training, arXiv 2203.06211, with two models; LAG, arXiv 2406.02469",
    .symmetry_note = "",
    .promise = PROMISE_NONE,
    .symmetry = SYMMETRY_NONE,
    .families = 1u << FAMILY_GPT2 | GROWTH_LLAMA_FAMILIES | 1u << FAMILY_BERT | 1u << FAMILY_T5,
    .moments = "each model's own, m/2 and v/4; untied head and tied final norm m and v; between the two m = 0, v = mean of "
               "the tensor; the smaller step counter",
    .parameters = parameters,
    .parameter_count = GROWTH_COUNT_OF(parameters),
    .plan = fuse_plan,
};
