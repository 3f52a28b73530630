#include "growth/clone.h"

int growth_clone_copies(const struct growth_step *step, const struct shape *from, int *copies, struct error *error)
{
    int64_t wanted = growth_step_integer(step, "width");
    int64_t most = GROWTH_WIDTH_MAX / from->width;
    if (from->ff > 0 && GROWTH_FF_MAX / from->ff < most)
        most = GROWTH_FF_MAX / from->ff;
    if (most < 2)
        return error_set_at(error, ERROR_INVALID, "/width", "a model of width %d and ff %d is too wide to be cloned: "
                            "use another operator", from->width, from->ff);
    int64_t nearest = wanted > GROWTH_WIDTH_MAX ? most : (wanted + from->width / 2) / from->width;
    nearest = nearest < 2 ? 2 : nearest > most ? most : nearest;
    if (wanted != nearest * from->width)
        return error_set_at(error, ERROR_INVALID, "/width", "width must be a multiple of the present %d, from %d to "
                            "%lld (nearest valid: %lld), not %lld", from->width, 2 * from->width,
                            (long long)(most * from->width), (long long)(nearest * from->width), (long long)wanted);
    *copies = (int)nearest;
    return 0;
}

int growth_clone_plan(struct growth_plan_stage *stage, int copies, struct error *error)
{
    const struct shape *from = &stage->from;
    struct shape *to = &stage->to;
    to->width = copies * from->width;
    to->heads = copies * from->heads;
    to->kv_heads = copies * from->kv_heads;
    to->ff = copies * from->ff;
    stage->copies = copies;
    int code = growth_stage_units(stage, UNIT_WIDTH, from->width, to->width, error);
    if (code != 0 || (code = growth_stage_units(stage, UNIT_HEADS, from->heads, to->heads, error)) != 0 ||
        (code = growth_stage_units(stage, UNIT_KV, from->kv_heads, to->kv_heads, error)) != 0)
        return code;
    return growth_stage_units(stage, UNIT_FF, from->ff, to->ff, error);
}
