#include "api/learner_steps.h"

#include "api/request_parts.h"

static const uint64_t steps_default = 4;    /* K of learners that average their weights */

bool learner_steps_has_type(const cJSON *node)
{
    return cJSON_IsString(node) || json_is_integer(node) || cJSON_IsArray(node);
}

int learner_steps_check(const cJSON *node, double most, struct place *place, struct error *error)
{
    const cJSON *element;
    int index = 0;
    if (cJSON_IsString(node)) return choice_check("average_every", node->valuestring, "auto", place, error);
    if (!cJSON_IsArray(node)) return range_check("average_every", node->valuedouble, 1, most, place, error);
    const int count = cJSON_GetArraySize(node);
    if (count < 1 || count > LEARNERS_MAX)
        return refuse(error, place, "average_every has %d steps; give one number per learner, at most %d, or one for all", count,
                      LEARNERS_MAX);
    cJSON_ArrayForEach(element, node) {
        size_t outer = place_enter_index(place, index++);
        if (json_is_integer(element)) range_check("steps of a learner", element->valuedouble, 1, most, place, error);
        else refuse(error, place, "steps of a learner must be an integer, not %s", json_kind(element));
        place_leave(place, outer);
    }
    return error ? (int)error->code : 0;
}

void learner_steps_store(const cJSON *node, struct learners_spec *learners)
{
    const cJSON *element;
    int index = 0;
    learners->automatic = cJSON_IsString(node);
    if (cJSON_IsArray(node)) {
        cJSON_ArrayForEach(element, node) learners->local_steps[index++] = (uint64_t)element->valuedouble;
    } else if (!learners->automatic) {
        for (int i = 0; i < LEARNERS_MAX; i++) learners->local_steps[i] = (uint64_t)node->valuedouble;
    }
}

void learner_steps_print(const struct learners_spec *learners, struct buffer *out)
{
    bool even = true;
    if (learners->automatic) {
        buffer_text(out, "\"auto\"");
        return;
    }
    for (int i = 1; i < learners->count; i++) even &= learners->local_steps[i] == learners->local_steps[0];
    if (even) {
        json_unsigned(out, learners->local_steps[0]);
        return;
    }
    buffer_text(out, "[");
    for (int i = 0; i < learners->count; i++) {
        buffer_text(out, i ? ", " : "");
        json_unsigned(out, learners->local_steps[i]);
    }
    buffer_text(out, "]");
}

void learner_steps_follow(const cJSON *training, struct training *to, struct place *place, struct error *error)
{
    struct learners_spec *learners = &to->learners;
    const cJSON *every = json_member(training, "average_every");
    if (cJSON_IsArray(every) && cJSON_GetArraySize(every) != learners->count)
        refuse_member(error, place, "average_every", "average_every lists %d learners, there are %d: give a number for each, "
                      "or one for all", cJSON_GetArraySize(every), learners->count);
    if (every || learners->count < 2 || learners->mode != LEARNERS_WEIGHTS) return;
    for (int i = 0; i < LEARNERS_MAX; i++)
        learners->local_steps[i] = to->steps < steps_default ? to->steps : steps_default;
}
