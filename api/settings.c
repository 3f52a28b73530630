#include "api/settings.h"

#include "api/json.h"

static int take_member(const cJSON *member,
                       int (*take)(void *context, const char *name, const char *value, struct error *error),
                       void *context, struct error *error)
{
    char number[NUMBER_BYTES];
    const char *value = NULL;

    if (cJSON_IsString(member)) {
        value = member->valuestring;
    } else if (cJSON_IsNumber(member)) {
        number_text(member->valuedouble, number);
        value = number;
    } else if (cJSON_IsBool(member)) {
        value = cJSON_IsTrue(member) ? "true" : "false";
    }
    if (!value)
        return error_set_at(error, ERROR_INVALID, member->string, "\"%.60s\" must be text, a number, true or false, not %s",
                            member->string, json_kind(member));
    return take(context, member->string, value, error);
}

int settings_read(const char *text, size_t length,
                  int (*take)(void *context, const char *name, const char *value, struct error *error), void *context,
                  struct error *error)
{
    cJSON *tree = NULL;

    if (json_read(text, length, &tree, error))
        return (int)error->code;
    if (!cJSON_IsObject(tree))
        error_set(error, ERROR_INVALID, "a JSON object is needed, this is %s", json_kind(tree));
    for (const cJSON *member = tree->child; member && !error->code; member = member->next)
        take_member(member, take, context, error);
    cJSON_Delete(tree);
    return (int)error->code;
}

bool settings_has_member(const char *text, size_t length, const char *name)
{
    struct error ignored = { 0 };
    cJSON *tree = NULL;
    bool has;

    if (json_read(text, length, &tree, &ignored))
        return false;
    has = json_member(tree, name) != NULL;
    cJSON_Delete(tree);
    return has;
}
