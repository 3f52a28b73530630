#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"
#include "base/memory.h"
#include "growth/space.h"

/* ---- names: they become directory names and parts of URLs ---- */

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_'
           || c == '-' || c == ' ';
}

static bool is_name(const char *name)
{
    size_t length = strlen(name);
    if (length < 1 || length > SPEC_NAME_MAX || strchr("._- ", name[0]) || strchr(" .", name[length - 1])) return false;
    for (size_t i = 0; i < length; i++)
        if (!is_name_character(name[i])) return false;
    return true;
}

/* Among the candidates before the one that is being named, the last so far. */
static int name_index(const struct study_spec *spec, const char *name)
{
    for (int i = 0; i + 1 < spec->candidate_count; i++)
        if (!strcmp(spec->candidates[i].name, name)) return i;
    return -1;
}

static void name_append(char name[SPEC_NAME_MAX + 1], const char *text)
{
    size_t length = strlen(name);
    snprintf(name + length, SPEC_NAME_MAX + 1 - length, "%s%s", length ? "-" : "", text);
}

/* The number that tells one use of an operator from another: its first integer parameter that was given. */
static const struct parameter_value *telling_value(const struct growth_step *step)
{
    for (int i = 0; i < step->op->parameter_count; i++)
        if (step->values[i].given && step->op->parameters[i].type == PARAMETER_INTEGER) return &step->values[i];
    return NULL;
}

static bool name_is_requested(const cJSON *array, const char *text)
{
    const cJSON *node;
    cJSON_ArrayForEach(node, array) {
        const cJSON *name = json_member(node, "name");
        if (cJSON_IsString(name) && !strcmp(name->valuestring, text)) return true;
    }
    return false;
}

/* "hyperclone-512-stack-12" for a candidate without a name; "stack-12-2" if that is taken. */
static void name_make(const cJSON *array, const struct study_spec *spec, struct spec_candidate *candidate)
{
    char base[SPEC_NAME_MAX + 1] = "", number[24];
    for (int i = 0; i < candidate->operators.count; i++) {
        const struct growth_step *step = &candidate->operators.steps[i];
        const struct parameter_value *value = telling_value(step);
        name_append(base, step->op->name);
        if (value) {
            snprintf(number, sizeof number, "%lld", (long long)value->integer);
            name_append(base, number);
        }
    }
    base[SPEC_NAME_MAX - 4] = 0;    /* room for "-128": with 64 candidates more are never tried */
    for (size_t length = strlen(base); length && !isalnum((unsigned char)base[length - 1]); length--)
        base[length - 1] = 0;
    snprintf(candidate->name, sizeof candidate->name, "%s", base);
    for (unsigned i = 2; name_index(spec, candidate->name) >= 0 || name_is_requested(array, candidate->name); i++)
        snprintf(candidate->name, sizeof candidate->name, "%.*s-%u", SPEC_NAME_MAX - 4, base, i % 1000);
}

static void name_give(const cJSON *array, const cJSON *node, struct study_spec *spec, struct spec_candidate *candidate,
                      const struct place *place, struct error *error)
{
    const cJSON *name = json_member(node, "name");
    if (!name) {
        name_make(array, spec, candidate);
        return;
    }
    struct shown shown = shown_text(name->valuestring);
    int same = name_index(spec, name->valuestring);
    if (!is_name(name->valuestring))
        refuse_member(error, place, "name",
                      "\"%s\" can't be a candidate's name; use 1 to %d of letters, digits, '.', '_', "
                      "'-' and space, beginning with a letter or digit, not ending with a space or dot",
                      shown.text, SPEC_NAME_MAX);
    else if (same >= 0)
        refuse_member(error, place, "name", "the name \"%s\" is already that of /candidates/%d; names must be unique",
                      shown.text, same);
    else
        snprintf(candidate->name, sizeof candidate->name, "%s", name->valuestring);
}

static int candidate_read(const cJSON *array, const cJSON *node, struct study_spec *spec, struct place *place,
                          struct error *error)
{
    struct spec_candidate *candidate = &spec->candidates[spec->candidate_count++];
    const cJSON *operators = json_member(node, "operators"), *moments = json_member(node, "moments");
    if (moments) moments_policy_parse(moments->valuestring, &candidate->moments);
    if (!operators)
        return refuse_member(error, place, "operators", "operators is missing: give a list such as "
                             "[{\"op\": \"stack\", \"layers\": 12}]");
    size_t outer = place_enter(place, "operators");
    int code = operators_read(operators, place, &candidate->operators, error);
    place_leave(place, outer);
    if (!code) name_give(array, node, spec, candidate, place, error);
    return code;
}

_Static_assert(GROWTH_SPACE_NAME_BYTES <= SPEC_NAME_MAX + 1 && (int)GROWTH_SPACE_MAX == (int)SPEC_CANDIDATES_MAX,
               "the space's limits");

/* No ramp outlasts the study. */
static void ramps_fit(struct growth_list *list, uint64_t last_step)
{
    for (int i = 0; i < list->count; i++) {
        struct parameter_value *ramp = (struct parameter_value *)growth_step_value(&list->steps[i], "ramp_steps");
        if (ramp && (uint64_t)growth_step_integer(&list->steps[i], "ramp_steps") > last_step)
            *ramp = (struct parameter_value){.given = true, .present = true, .integer = (int64_t)last_step};
    }
}

/* The design space in place of a list. What the search refuses is told once: the plans are its own. */
static int candidates_enumerate(const struct shape *parent, struct study_spec *spec, struct error *error)
{
    struct growth_space space;
    struct error found = {0};
    if (spec->max_candidates == 0) spec->max_candidates = GROWTH_SPACE_DEFAULT;
    int code = growth_space_init(&space, parent, &spec->target, spec->max_candidates, &found);
    if (code) {
        error_prefix_pointer(&found, "/target");
        error_merge(error, &found);
        return code;
    }
    spec->candidates = memory_array((size_t)space.count, sizeof *spec->candidates);
    if (!spec->candidates)
        code = error_set(error, ERROR_NO_MEMORY, "not enough memory for %d candidates; try again later", space.count);
    for (int i = 0; i < space.count && !code; i++) {
        struct spec_candidate *candidate = &spec->candidates[spec->candidate_count++];
        snprintf(candidate->name, sizeof candidate->name, "%s", space.ways[i].name);
        candidate->operators = space.ways[i].list;
        space.ways[i].list = (struct growth_list){0};
        ramps_fit(&candidate->operators, spec->selection.max_k);
    }
    growth_space_fini(&space);
    return code;
}

int candidates_resolve(const cJSON *array, const struct shape *parent, struct study_spec *spec, struct error *error)
{
    struct place place = {0};
    int count = cJSON_GetArraySize(array), index = 0;
    if (spec->max_candidates > 0 && count > spec->max_candidates)
        return refuse_member(error, &place, "max_candidates", "%d candidates are listed, more than max_candidates %d, "
                             "which is for a target without candidates: leave it out", count, spec->max_candidates);
    place_enter(&place, "candidates");
    if (!array && !target_is_empty(&spec->target))
        return parent ? candidates_enumerate(parent, spec, error) : 0;
    if (count < 1)
        return refuse(error, &place,
                      "a study needs at least one candidate, such as {\"name\": \"stack\", \"operators\": "
                      "[{\"op\": \"stack\", \"layers\": 12}]}, or a target, such as {\"layers\": 12}");
    spec->candidates = memory_array((size_t)count, sizeof *spec->candidates);
    if (!spec->candidates)
        return error_set(error, ERROR_NO_MEMORY, "not enough memory for %d candidates; try again later", count);
    const cJSON *node;
    cJSON_ArrayForEach(node, array) {
        size_t outer = place_enter_index(&place, index++);
        int code = candidate_read(array, node, spec, &place, error);
        place_leave(&place, outer);
        if (code == ERROR_NO_MEMORY) return code;
    }
    return (int)error->code;
}
