#include "growth/operator.h"

#include <string.h>

#include "base/memory.h"
#include "growth/stage.h"

/* The table: depth first, then width. Adding an operator is one file and one line here. */
static const struct growth_operator *const TABLE[] = {
    &growth_op_stack,  &growth_op_interleave, &growth_op_first,    &growth_op_gradual_last,
    &growth_op_middle, &growth_op_solar,      &growth_op_layer_map, &growth_op_identity,
    &growth_op_random, &growth_op_hyperclone, &growth_op_fpi,    &growth_op_aki,
    &growth_op_lemon,  &growth_op_zero_pad,   &growth_op_widen_ff, &growth_op_add_heads,
    &growth_op_staged, &growth_op_ligo,   &growth_op_fuse,    &growth_op_extend_context,
    &growth_op_upcycle, &growth_op_msg_depth, &growth_op_msg_width,
};

static const char *const POLICIES[] = {
    [MOMENTS_RESET] = "reset",
    [MOMENTS_CARRY] = "carry",
    [MOMENTS_OLD_ONLY] = "old_only",
};

const struct growth_operator *const *growth_operators(int *count)
{
    *count = GROWTH_COUNT_OF(TABLE);
    return TABLE;
}

const struct growth_operator *growth_operator_find(const char *name)
{
    for (int i = 0; i < GROWTH_COUNT_OF(TABLE); i++)
        if (strcmp(TABLE[i]->name, name) == 0)
            return TABLE[i];
    return NULL;
}

const char *moments_policy_name(enum moments_policy policy)
{
    return POLICIES[policy];
}

int moments_policy_parse(const char *text, enum moments_policy *policy)
{
    for (int i = 0; i < GROWTH_COUNT_OF(POLICIES); i++)
        if (strcmp(POLICIES[i], text) == 0) {
            *policy = (enum moments_policy)i;
            return 0;
        }
    return -1;
}

void growth_list_fini(struct growth_list *list)
{
    for (int i = 0; i < list->count; i++)
        for (int j = 0; j < OPERATOR_PARAMETERS_MAX; j++) {
            memory_free(list->steps[i].values[j].list);
            memory_free(list->steps[i].values[j].text);
        }
    *list = (struct growth_list){0};
}
