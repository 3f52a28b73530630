#include "model/config.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/check.h"
#include "base/memory.h"
#include "model/config_family.h"

enum { CONFIG_DEPTH = 64 };

static void set_hooks(void)
{
    cJSON_Hooks hooks = {.malloc_fn = memory_new, .free_fn = memory_free};
    cJSON_InitHooks(&hooks);
}

void json_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_hooks);
}

const struct config_family *config_family_of(enum family family)
{
    static const struct config_family *const families[FAMILY_COUNT] = {
        [FAMILY_GPT2] = &config_gpt2,
        [FAMILY_LLAMA] = &config_llama,
        [FAMILY_MISTRAL] = &config_mistral,
        [FAMILY_QWEN2] = &config_qwen2,
        [FAMILY_BERT] = &config_bert,
        [FAMILY_T5] = &config_t5,
        [FAMILY_MIXTRAL] = &config_mixtral,
    };
    CHECK(family < FAMILY_COUNT);
    return families[family];
}

const char *config_axis_key(enum family family, enum axis axis)
{
    return config_family_of(family)->axis_keys[axis];
}

int config_fail(struct error *error, const char *key, const char *text)
{
    char pointer[ERROR_POINTER_BYTES];
    snprintf(pointer, sizeof pointer, "/%s", key);
    return error_set_at(error, ERROR_INVALID, pointer, "config.json: %s %s.", key, text);
}

const cJSON *config_find(const cJSON *root, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, key);
    return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

int config_read_size(const cJSON *item, const char *key, int *size, struct error *error)
{
    char text[96];
    if (cJSON_IsNumber(item) && item->valuedouble >= 1 && item->valuedouble <= SHAPE_SIZE_MAX &&
        floor(item->valuedouble) == item->valuedouble) {
        *size = (int)item->valuedouble;
        return 0;
    }
    snprintf(text, sizeof text, "must be a whole number from 1 to %d", SHAPE_SIZE_MAX);
    return config_fail(error, key, text);
}

static int read_activation(const struct config_key *key, const cJSON *item, enum activation *activation,
                           struct error *error)
{
    char text[256] = "must be one of";
    int found = cJSON_IsString(item) ? activation_parse(item->valuestring) : -1;
    if (found >= 0) {
        *activation = (enum activation)found;
        return 0;
    }
    for (int i = 0; i < ACTIVATION_COUNT; i++) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s %s", i > 0 ? "," : "", activation_name((enum activation)i));
    }
    return config_fail(error, key->name, text);
}

static int read_key(const struct config_key *key, const cJSON *root, struct shape *shape, struct error *error)
{
    char *field = (char *)shape + key->offset;
    const cJSON *item = config_find(root, key->name);
    if (item == NULL && key->alias != NULL)
        item = config_find(root, key->alias);
    if (item == NULL && key->required)
        return config_fail(error, key->name, "is missing; add it");
    switch (key->kind) {
    case CONFIG_SIZE:
        *(int *)field = (int)key->fallback;
        return item == NULL ? 0 : config_read_size(item, key->name, (int *)field, error);
    case CONFIG_NUMBER:
        *(double *)field = item == NULL ? key->fallback : item->valuedouble;
        return item == NULL || (cJSON_IsNumber(item) && item->valuedouble > 0)
                   ? 0 : config_fail(error, key->name, "must be a number above 0");
    case CONFIG_BOOLEAN:
        *(bool *)field = item == NULL ? key->fallback != 0 : cJSON_IsTrue(item);
        return item == NULL || cJSON_IsBool(item) ? 0 : config_fail(error, key->name, "must be true or false");
    case CONFIG_ACTIVATION:
        *(enum activation *)field = (enum activation)(int)key->fallback;
        return item == NULL ? 0 : read_activation(key, item, (enum activation *)field, error);
    }
    return 0;
}

/* What no family of ours can honour. */
static int refuse_foreign(const cJSON *root, struct error *error)
{
    const cJSON *pruned = config_find(root, "pruned_heads");
    if (config_find(root, "quantization_config") != NULL)
        return config_fail(error, "quantization_config", "is not supported; export the model unquantized as F32, F16 "
                           "or BF16");
    if (config_find(root, "auto_map") != NULL)
        return config_fail(error, "auto_map", "asks for code shipped with the model, which is never run; use a model "
                           "of a built-in type");
    if (pruned != NULL && cJSON_GetArraySize(pruned) > 0)
        return config_fail(error, "pruned_heads", "is not empty; pruned models are not supported, save the pruned "
                           "model as a plain one");
    return 0;
}

static int read_family(const cJSON *root, enum family *family, struct error *error)
{
    const cJSON *type = config_find(root, "model_type");
    int found = cJSON_IsString(type) ? family_parse(type->valuestring) : -1;
    char text[256];
    size_t used = 0;
    if (found >= 0) {
        *family = (enum family)found;
        return 0;
    }
    if (type == NULL)
        used = (size_t)snprintf(text, sizeof text, "is missing; supported are");
    else
        used = (size_t)snprintf(text, sizeof text, "\"%.60s\" is not supported; supported are",
                                cJSON_IsString(type) ? type->valuestring : "(no string)");
    for (int i = 0; i < FAMILY_COUNT && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s %s", i > 0 ? "," : "",
                                 family_name((enum family)i));
    return config_fail(error, "model_type", text);
}

static int read_switches(const struct config_family *family, const cJSON *root, struct error *error)
{
    for (int i = 0; i < family->switch_count; i++) {
        const struct config_switch *row = &family->switches[i];
        const cJSON *item = config_find(root, row->name);
        char text[256];
        if (item == NULL || (cJSON_IsBool(item) && cJSON_IsTrue(item) == row->accepted))
            continue;
        snprintf(text, sizeof text, "is not %s: %s", row->accepted ? "true" : "false", row->advice);
        return config_fail(error, row->name, text);
    }
    return 0;
}

static int read_dropouts(const struct config_family *family, const cJSON *root, double *largest, struct error *error)
{
    *largest = 0;
    for (const char *const *name = family->dropouts; *name != NULL; name++) {
        const cJSON *item = config_find(root, *name);
        if (item == NULL)
            continue;
        if (!cJSON_IsNumber(item) || item->valuedouble < 0 || item->valuedouble > 1)
            return config_fail(error, *name, "must be a number from 0 to 1");
        *largest = fmax(*largest, item->valuedouble);
    }
    return 0;
}

static int read_config(struct config *config, const cJSON *root, struct error *error)
{
    const struct config_family *family;
    int code;
    if (!cJSON_IsObject(root))
        return error_set(error, ERROR_INVALID, "config.json is not a JSON object; use the file of a Hugging Face "
                         "model.");
    if ((code = read_family(root, &config->shape.family, error)) != 0 || (code = refuse_foreign(root, error)) != 0)
        return code;
    family = config_family_of(config->shape.family);
    if ((code = read_switches(family, root, error)) != 0)
        return code;
    for (int i = 0; i < family->key_count; i++)
        if ((code = read_key(&family->keys[i], root, &config->shape, error)) != 0)
            return code;
    if ((code = read_dropouts(family, root, &config->dropout, error)) != 0)
        return code;
    if (family->read != NULL && (code = family->read(root, &config->shape, error)) != 0)
        return code;
    if ((code = family->derive(&config->shape, error)) == 0)
        code = shape_check(&config->shape, error);
    if (code != 0)
        error_wrap(error, "config.json");
    return code;
}

int config_parse(struct config *config, const char *text, size_t length, struct error *error)
{
    memset(config, 0, sizeof *config);
    if (length > CONFIG_LIMIT_BYTES)
        return error_set(error, ERROR_INVALID, "config.json has %zu bytes; at most %d are read.", length,
                         CONFIG_LIMIT_BYTES);
    int code = json_check(text, length, CONFIG_DEPTH, error);
    if (code == ERROR_SYNTAX && error != NULL && error->code == ERROR_SYNTAX)
        error->code = (enum error_code)(code = ERROR_INVALID);
    if (code != 0) {
        error_wrap(error, "config.json");
        return code;
    }
    json_setup();
    cJSON *root = cJSON_ParseWithLength(text, length);
    config->text = memory_string_n(text, length);
    if (root == NULL || config->text == NULL)
        code = error_set(error, ERROR_NO_MEMORY, "No memory to read config.json; try again.");
    else
        code = read_config(config, root, error);
    cJSON_Delete(root);
    if (code != 0)
        config_fini(config);
    return code;
}

void config_fini(struct config *config)
{
    memory_free(config->text);
    memset(config, 0, sizeof *config);
}
