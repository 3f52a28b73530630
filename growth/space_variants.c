/* Which settings of the operators make a candidate of their own, most preferred first within an axis. */
#include "growth/space.h"
#include "growth/stage.h"

static const struct growth_variant TABLE[] = {
    /* depth: methods 1.5, copies first, then what keeps the function, then the controls */
    {.op = "stack", .name = "stack", .rank = 1, .map_only = true},
    {.op = "interleave", .name = "interleave", .rank = 2, .map_only = true},
    {.op = "middle", .name = "middle", .rank = 3, .map_only = true},
    {.op = "identity", .name = "identity", .rank = 4, .map_only = true},
    {.op = "gradual_last", .name = "gradual_last", .rank = 5, .map_only = true},
    {.op = "random", .name = "random", .rank = 6, .control = true},
    {.op = "first", .name = "first", .rank = 7, .map_only = true},
    {.op = "solar", .name = "solar", .rank = 8, .map_only = true},
    {.op = "identity", .name = "identity-top", .parameter = "placement", .value = "\"top\"", .rank = 9, .map_only = true},
    {.op = "gradual_last", .name = "last-by-one", .parameter = "block", .value = "1", .rank = 10, .map_only = true},
    {.op = "first", .name = "first-by-one", .parameter = "block", .value = "1", .rank = 11, .map_only = true},
    {.op = "middle", .name = "middle-by-two", .parameter = "block", .value = "2", .rank = 12, .map_only = true},
    {.op = "stack", .name = "stack-noise", .parameter = "noise", .value = "0.2", .rank = 13},
    {.op = "interleave", .name = "interleave-noise", .parameter = "noise", .value = "0.2", .rank = 14},
    {.op = "random", .name = "random-top", .parameter = "placement", .value = "\"top\"", .rank = 15, .control = true},
    /* width: what separates the copies at once first */
    {.op = "hyperclone", .name = "hyperclone", .rank = 1},
    {.op = "lemon", .name = "lemon", .rank = 2},
    {.op = "hyperclone", .name = "hyperclone-diagonal", .parameter = "layout", .value = "\"diagonal\"", .rank = 3},
    {.op = "aki", .name = "aki", .rank = 4},
    {.op = "fpi", .name = "fpi", .rank = 5, .map_only = true},
    {.op = "zero_pad", .name = "zero_pad", .rank = 6},
    {.op = "staged", .name = "staged", .rank = 7, .map_only = true},
    {.op = "msg_width", .name = "msg_width", .rank = 8},
    {.op = "hyperclone", .name = "hyperclone-exact", .parameter = "noise_db", .value = "null", .rank = 9, .map_only = true},
    {.op = "msg_depth", .name = "msg_depth", .rank = 16},
    {.op = "ligo", .name = "ligo", .rank = 17},
    /* heads and MLP units alone; equal copies never separate, so the unequal split is preferred */
    {.op = "add_heads", .name = "add_heads", .parameter = "split", .value = "\"unequal\"", .rank = 1},
    {.op = "add_heads", .name = "add_heads-equal", .parameter = "split", .value = "\"equal\"", .rank = 10},
    {.op = "widen_ff", .name = "widen_ff", .parameter = "split", .value = "\"unequal\"", .rank = 1},
    {.op = "widen_ff", .name = "widen_ff-equal", .parameter = "split", .value = "\"equal\"", .rank = 10},
    {.op = "extend_context", .name = "extend_context", .rank = 1},
};

const struct growth_variant *growth_variants(int *count)
{
    *count = GROWTH_COUNT_OF(TABLE);
    return TABLE;
}
