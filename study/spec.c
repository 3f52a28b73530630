#include "study/spec.h"

#include "base/memory.h"

void study_spec_fini(struct study_spec *spec)
{
    for (int i = 0; spec->candidates && i < spec->candidate_count; i++)
        growth_list_fini(&spec->candidates[i].operators);
    memory_free(spec->candidates);
    spec->candidates = NULL;
    spec->candidate_count = 0;
}
