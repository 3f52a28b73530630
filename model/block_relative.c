#include "model/block_relative.h"

#include <math.h>

int relative_bucket(int distance, bool bidirectional, int buckets, int farthest)
{
    int first = 0, away = distance < 0 ? -distance : distance;
    if (bidirectional) {
        buckets /= 2;
        first = distance > 0 ? buckets : 0;
    } else if (distance > 0) {
        away = 0;
    }
    int exact = buckets / 2;
    if (away < exact)
        return first + away;
    float place = logf((float)away / (float)exact) / (float)log((double)farthest / exact);
    int bucket = exact + (int)(place * (float)(buckets - exact));
    return first + (bucket < buckets ? bucket : buckets - 1);
}

void relative_block_bind(struct relative_block *block, const struct tensor_table *table, int nth, bool bidirectional,
                         int context, int32_t *map)
{
    const struct shape *shape = &table->shape;
    *block = (struct relative_block){
        .table = tensor_find_role(table, ROLE_RELATIVE_BIAS, -1, nth)->offset,
        .buckets = shape->buckets, .context = context, .map = map,
    };
    for (int distance = 1 - context; distance < context; distance++)
        map[distance + context - 1] = relative_bucket(distance, bidirectional, shape->buckets, shape->bucket_distance);
}
