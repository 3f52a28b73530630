#include <stdio.h>
#include <string.h>

#include "api/request_parts.h"
#include "base/check.h"
#include "base/memory.h"

static int refuse_operator(const char *name, const struct place *place, struct error *error)
{
    int count;
    const struct growth_operator *const *rows = growth_operators(&count);
    const char *names[64];
    char listed[ERROR_MESSAGE_BYTES / 2] = "";
    for (int i = 0; i < count && i < 64; i++) {
        names[i] = rows[i]->name;
        size_t length = strlen(listed);
        snprintf(listed + length, sizeof listed - length, "%s%s", i ? ", " : "", rows[i]->name);
    }
    struct shown shown = shown_text(name);
    const char *nearest = name_nearest(name, names, count < 64 ? count : 64);
    if (nearest)
        return refuse_member(error, place, "op", "unknown operator \"%s\"; did you mean \"%s\"?", shown.text, nearest);
    return refuse_member(error, place, "op", "unknown operator \"%s\"; use one of: %s", shown.text, listed);
}

static int step_read(const cJSON *node, struct place *place, struct growth_step *step, struct error *error)
{
    if (!cJSON_IsObject(node))
        return refuse(error, place, "expected an object such as {\"op\": \"stack\", \"layers\": 12}, got %s",
                      json_kind(node));
    const cJSON *op = json_member(node, "op");
    if (!op) return refuse_member(error, place, "op", "op is missing: name the operator, such as \"stack\"");
    if (!cJSON_IsString(op))
        return refuse_member(error, place, "op", "op must be text, not %s", json_kind(op));
    step->op = growth_operator_find(op->valuestring);
    if (!step->op) return refuse_operator(op->valuestring, place, error);
    CHECK(step->op->parameter_count <= OPERATOR_PARAMETERS_MAX);
    struct parameter_table table = {step->op->name, "op", step->op->parameters, step->op->parameter_count, NULL, true};
    return parameters_read(&table, node, place, step->values, error);
}

int operators_read(const cJSON *array, struct place *place, struct growth_list *list, struct error *error)
{
    int count = cJSON_GetArraySize(array), index = 0, first = 0;
    if (count < 1 || count > GROWTH_STEPS_MAX)
        return refuse(error, place, "operators must have from 1 to %d elements, not %d", GROWTH_STEPS_MAX, count);
    const cJSON *node;
    cJSON_ArrayForEach(node, array) {
        size_t outer = place_enter_index(place, index);
        struct growth_step *step = &list->steps[index++];
        list->count = index;
        int code = step_read(node, place, step, error);
        place_leave(place, outer);
        if (code == ERROR_NO_MEMORY) return code;
        if (code) first = code;
    }
    return first;
}

int operators_check(const cJSON *array, struct place *place, struct error *error)
{
    struct growth_list *list = memory_new(sizeof *list);
    if (!list) return error_set(error, ERROR_NO_MEMORY, "not enough memory to read the operators; try again later");
    int code = operators_read(array, place, list, error);
    growth_list_fini(list);
    memory_free(list);
    return code;
}

int request_operators(const char *text, size_t length, struct growth_list *list, struct error *error)
{
    cJSON *tree;
    struct place place = {0};
    *list = (struct growth_list){0};
    int code = json_read(text, length, &tree, error);
    if (code) return code;
    if (!cJSON_IsArray(tree))
        code = refuse(error, &place, "operators must be a list such as [{\"op\": \"stack\", \"layers\": 12}], not %s",
                      json_kind(tree));
    else
        code = operators_read(tree, &place, list, error);
    cJSON_Delete(tree);
    if (code) growth_list_fini(list);
    return code;
}
