/* config.json written: every size of the shape, everything else as it was. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/memory.h"
#include "model/config_family.h"

/* The old item's key string is handed on, since cJSON's own replacement loses the key when memory is short. */
bool config_put(cJSON *root, const char *key, cJSON *item)
{
    cJSON *old = cJSON_GetObjectItemCaseSensitive(root, key);
    if (item == NULL)
        return false;
    if (old != NULL) {
        item->string = old->string;
        old->string = NULL;
        return cJSON_ReplaceItemViaPointer(root, old, item);
    }
    if (cJSON_AddItemToObject(root, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

bool config_put_float(cJSON *object, const char *key, double number)
{
    char text[40];
    bool whole = number == floor(number) && number < 1e15;
    snprintf(text, sizeof text, whole ? "%.1f" : "%.17g", number);
    for (int digits = 1; digits < 17 && !whole; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            break;
    }
    return config_put(object, key, cJSON_CreateRaw(text));
}

/* A name of the same function stays as it was written. */
static bool put_activation(cJSON *root, const char *key, enum activation activation)
{
    const cJSON *old = cJSON_GetObjectItemCaseSensitive(root, key);
    if (cJSON_IsString(old) && activation_parse(old->valuestring) == (int)activation)
        return true;
    return config_put(root, key, cJSON_CreateString(activation_name(activation)));
}

static bool put_key(cJSON *root, const struct config_key *key, const struct shape *shape)
{
    const char *field = (const char *)shape + key->offset;
    switch (key->kind) {
    case CONFIG_SIZE:
        if (key->alias != NULL && cJSON_HasObjectItem(root, key->alias) &&
            !config_put(root, key->alias, cJSON_CreateNumber(*(const int *)field)))
            return false;
        return config_put(root, key->name, cJSON_CreateNumber(*(const int *)field));
    case CONFIG_NUMBER: return config_put(root, key->name, cJSON_CreateNumber(*(const double *)field));
    case CONFIG_BOOLEAN: return config_put(root, key->name, cJSON_CreateBool(*(const bool *)field));
    case CONFIG_ACTIVATION: return put_activation(root, key->name, *(const enum activation *)field);
    }
    return false;
}

/* transformers 4 says torch_dtype, 5 says dtype: whichever stands there; torch_dtype, which both read, where neither
 * does. */
static bool put_dtype(cJSON *root, enum dtype dtype)
{
    const char *name = dtype == DTYPE_F16 ? "float16" : dtype == DTYPE_BF16 ? "bfloat16" : "float32";
    bool newer = cJSON_HasObjectItem(root, "dtype"), older = cJSON_HasObjectItem(root, "torch_dtype");
    if (newer && !config_put(root, "dtype", cJSON_CreateString(name)))
        return false;
    return (newer && !older) || config_put(root, "torch_dtype", cJSON_CreateString(name));
}

static bool put_architecture(cJSON *root, const char *architecture)
{
    return config_put(root, "architectures", cJSON_CreateStringArray(&architecture, 1));
}

static bool put_fresh(cJSON *root, const struct config_family *family)
{
    for (const char *const *pair = family->fresh; *pair != NULL; pair += 2)
        if (!config_put(root, pair[0], cJSON_CreateRaw(pair[1])))
            return false;
    return true;
}

static bool put_all(cJSON *root, const struct shape *shape, enum dtype dtype, bool is_fresh)
{
    const struct config_family *family = config_family_of(shape->family);
    if (!put_architecture(root, family->architecture) ||
        !config_put(root, "model_type", cJSON_CreateString(family_name(shape->family))) || !put_dtype(root, dtype))
        return false;
    for (int i = 0; i < family->key_count; i++)
        if (!put_key(root, &family->keys[i], shape))
            return false;
    if (family->put != NULL && !family->put(root, shape))
        return false;
    return !is_fresh || put_fresh(root, family);
}

int config_patch(const char *text, const struct shape *shape, enum dtype dtype, char **patched, struct error *error)
{
    json_setup();
    cJSON *root = text != NULL ? cJSON_Parse(text) : cJSON_CreateObject();
    *patched = NULL;
    if (root != NULL && !cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return error_set(error, ERROR_INVALID, "config.json is not a JSON object; use the file of a Hugging Face "
                         "model.");
    }
    if (root != NULL && put_all(root, shape, dtype, text == NULL))
        *patched = cJSON_Print(root);
    cJSON_Delete(root);
    if (*patched == NULL)
        return error_set(error, ERROR_NO_MEMORY, "No memory to write config.json; try again.");
    return 0;
}
