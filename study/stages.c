#include "study/stages.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

int stages_split(struct stages *stages, uint64_t steps, double alpha, struct error *error)
{
    double sum = 0;
    uint64_t given = 0;
    for (int j = 1; j <= stages->count; j++)
        sum += pow(j, alpha);
    for (int j = 1; j < stages->count; j++) {
        stages->of[j - 1].steps = (uint64_t)floor((double)steps * pow(j, alpha) / sum);
        given += stages->of[j - 1].steps;
    }
    stages->of[stages->count - 1].steps = steps > given ? steps - given : 0;
    for (int j = 0; j < stages->count; j++)
        if (stages->of[j].steps == 0)
            return error_set_at(error, ERROR_INVALID, "/prop_alpha",
                                "of training.steps %" PRIu64 " stage %d would get none; raise training.steps, lower "
                                "prop_alpha, or use fewer stages", steps, j + 1);
    return 0;
}

uint64_t stages_steps(const struct stages *stages)
{
    uint64_t steps = 0;
    for (int j = 0; j < stages->count; j++)
        steps += stages->of[j].steps;
    return steps;
}

int stages_chains(const struct stages *stages)
{
    return 1 + stages->baseline_count;
}

struct stage_part stages_first(int chain)
{
    return (struct stage_part){ .chain = chain, .stage = 1, .search = chain == 0 };
}

bool stages_next(const struct stages *stages, struct stage_part *part)
{
    if (part->search) {
        part->search = false;
        return true;
    }
    if (part->stage >= stages->count)
        return false;
    part->stage++;
    part->search = part->chain == 0;
    return true;
}

void stages_part_name(const struct stage_part *part, char name[STAGES_PART_NAME_BYTES])
{
    if (part->chain > 0)
        snprintf(name, STAGES_PART_NAME_BYTES, "b%d-%d", part->chain, part->stage);
    else
        snprintf(name, STAGES_PART_NAME_BYTES, "%d%s", part->stage, part->search ? "" : "t");
}

const char *stages_chain_name(const struct stages *stages, int chain)
{
    return chain == 0 ? "adaptive" : stages->baselines[chain - 1];
}
