/* Further checkpoints that a request names in its operators (fuse: `with`): which there are, and giving them to the
 * operators once the server has read them. */
#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"

/* The first parameter of a row that names a checkpoint; NULL: none. */
static const char *partner_parameter(const cJSON *operator_node)
{
    const cJSON *op = json_member(operator_node, "op");
    const struct growth_operator *row = cJSON_IsString(op) ? growth_operator_find(op->valuestring) : NULL;
    for (int i = 0; row && i < row->parameter_count; i++)
        if (row->parameters[i].type == PARAMETER_CHECKPOINT) return row->parameters[i].name;
    return NULL;
}

/* The reference of one operator and its pointer; NULL: it names none. */
static const char *reference_of(const cJSON *node, int candidate, int step, char pointer[ERROR_POINTER_BYTES])
{
    const char *name = partner_parameter(node);
    const cJSON *value = name ? json_member(node, name) : NULL;
    if (!cJSON_IsString(value)) return NULL;
    snprintf(pointer, ERROR_POINTER_BYTES, "/candidates/%d/operators/%d/%s", candidate, step, name);
    return value->valuestring;
}

/* Was the reference named by an operator before this one? */
static bool is_repeated(const cJSON *candidates, const cJSON *until, const char *reference)
{
    const cJSON *candidate, *node;
    char pointer[ERROR_POINTER_BYTES];
    cJSON_ArrayForEach(candidate, candidates)
        cJSON_ArrayForEach(node, json_member(candidate, "operators")) {
            if (node == until) return false;
            const char *other = reference_of(node, 0, 0, pointer);
            if (other && !strcmp(other, reference)) return true;
        }
    return false;
}

const char *request_partner(const struct request *request, int index, char pointer[ERROR_POINTER_BYTES])
{
    const cJSON *candidates = json_member(request->tree, "candidates"), *candidate, *node;
    int found = 0, at = 0;
    cJSON_ArrayForEach(candidate, candidates) {
        int step = 0;
        cJSON_ArrayForEach(node, json_member(candidate, "operators")) {
            const char *reference = reference_of(node, at, step++, pointer);
            if (reference && !is_repeated(candidates, node, reference) && found++ == index) return reference;
        }
        at++;
    }
    return NULL;
}

static int join_step(const struct request *request, const struct request_facts *facts, struct growth_step *step,
                     struct error *error)
{
    const char *reference = growth_step_reference(step), *named;
    char pointer[ERROR_POINTER_BYTES];
    if (!reference) return 0;
    for (int i = 0; i < facts->partner_count && (named = request_partner(request, i, pointer)) != NULL; i++)
        if (!strcmp(named, reference)) return growth_step_join(step, &facts->partners[i], error);
    return 0;       /* planning says what is missing */
}

int partners_join(const struct request *request, const struct request_facts *facts, struct study_spec *spec,
                  struct error *error)
{
    for (int i = 0; i < spec->candidate_count; i++)
        for (int j = 0; j < spec->candidates[i].operators.count; j++) {
            struct growth_step *step = &spec->candidates[i].operators.steps[j];
            struct error found = {0};
            if (!step->op || !join_step(request, facts, step, &found)) continue;
            char prefix[48];
            snprintf(prefix, sizeof prefix, "/candidates/%d/operators/%d", i, j);
            error_prefix_pointer(&found, prefix);
            if (found.code != ERROR_INVALID) {
                error_clear(error);
                *error = found;
                return (int)found.code;
            }
            error_merge(error, &found);
        }
    return (int)error->code;
}
